// Gradio's tabs, which offer no events in the browser, know no arrow keys and are a stop for the Tab key each. Those that
// have no room stand in a menu, as buttons without an id.

const BAR = "#tabs > .tab-wrapper";

let openTab = props.tabs[0]; // at once the one that was chosen; the page follows
let isFollowing = false;

const shownTab = () => props.tabs.find((name) => document.querySelector(`#tab-${name}`)?.offsetParent) ?? props.tabs[0];

function chooseTab(name) {
  if (!props.tabs.includes(name) || name === openTab) return;
  const inMenu = [...document.querySelectorAll(`${BAR} .overflow-dropdown > button`)];
  const isNamed = (button) => button.textContent.trim() === dynamicvit.say(`tab.${name}`);
  const button = document.querySelector(`#tab-${name}-button`) ?? inMenu.find(isNamed);
  if (!button) return;
  openTab = name;
  isFollowing = true;
  button.click();
}

/** Makes the tabs one stop, with the arrow keys between them, and calls `changed` when another one is open. */
function watchTabs(changed) {
  const bar = document.querySelector(BAR);
  const tabs = () => [...bar.querySelectorAll("[role=tab]")];
  const update = () => {
    const chosen = tabs().find((tab) => tab.getAttribute("aria-selected") === "true") ?? tabs()[0];
    for (const tab of tabs()) tab.tabIndex = tab === chosen ? 0 : -1;
    const shown = shownTab();
    if (isFollowing && shown !== openTab) return;
    isFollowing = false;
    if (shown === openTab) return;
    openTab = shown;
    changed();
  };
  new MutationObserver(update).observe(document.querySelector("#tabs"), {
    attributeFilter: ["aria-selected", "style"],
    childList: true,
    subtree: true,
  });
  bar.addEventListener("keydown", (event) => {
    const all = tabs();
    const from = all.indexOf(event.target);
    const to = { ArrowRight: from + 1, ArrowLeft: from - 1, Home: 0, End: all.length - 1 }[event.key];
    if (from < 0 || to === undefined) return;
    event.preventDefault();
    const next = all[(to + all.length) % all.length];
    next.focus();
    next.click();
  });
  update();
}
