// Stands before the script of each tab, after shared.js.

/** Puts a chart, given as the text of an <svg>, into a node and gives the element. */
function showChart(node, text) {
  const chart = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
  for (const size of ["width", "height"]) chart.removeAttribute(size);
  node.replaceChildren(document.importNode(chart, true));
  return node.firstElementChild;
}

/** Calls a function when the tab is opened, has another width, or another theme. */
function whenLookChanges(redraw) {
  let width = 0;
  new ResizeObserver(() => {
    if (element.clientWidth === width) return;
    width = element.clientWidth;
    redraw();
  }).observe(element);
  new MutationObserver(redraw).observe(document.body, { attributes: true, attributeFilter: ["class"] });
}

const REST_MS = 400; // the visitor has stopped moving things

/**
 * Asks the server one question after the other, by itself while the tab is open, with what run.html holds.
 * `name` is that of the server's function; `question()` says what all of it is about, null when nothing can be asked; `missing()` gives the items without an
 * answer, `forget()` makes that all of them; `ask(item)` sends a question, `receive(answer, item)` shows its answer and is
 * waited for, `finish()` is called at the end, also when the run was stopped, and when the tab is opened. What was
 * received stays.
 */
function createRun({ name, question, missing, forget, ask, receive, finish }) {
  let number = 0; // of the run; an answer to an earlier one is dropped
  let about = null; // the question of the run under way
  let declined = null; // what the visitor stopped, or what failed: it goes on only when asked to
  let isOpen = false;
  let restTimer = 0;
  let endWait = () => {};

  function showState() {
    const isComplete = question() !== null && missing().length === 0;
    part("start").hidden = about !== null || !(isComplete || (question() !== null && question() === declined));
    setText("start", dynamicvit.say(isComplete ? "tabs.again" : "tabs.resume"));
    part("stop").hidden = part("progress-box").hidden = about === null;
  }

  function showProgress(done, all) {
    part("progress").max = all;
    if (all > 1) part("progress").value = done;
    else part("progress").removeAttribute("value");
    setText("progress-text", all > 1 ? dynamicvit.say("tabs.progress", { done, all }) : "");
  }

  function end() {
    const hadFocus = document.activeElement === part("stop");
    about = null;
    number += 1;
    endWait();
    showState();
    if (isOpen) finish();
    if (hadFocus) part("start").focus();
  }

  async function start() {
    clearTimeout(restTimer);
    const mine = (number += 1);
    const hadFocus = document.activeElement === part("start");
    about = question();
    declined = null;
    showMessage("");
    showState();
    if (hadFocus) part("stop").focus();
    const items = missing();
    for (const [done, item] of items.entries()) {
      showProgress(done, items.length);
      const answered = (endWait = explainWait(name, "place"));
      const answer = await call(() => ask(item));
      answered();
      if (mine !== number) return;
      if (answer.problem) {
        showMessage(answer.problem);
        declined = about;
        break;
      }
      await receive(answer, item);
      if (mine !== number) return;
    }
    end();
  }

  /** Ends a run that is about something else now, and starts one when the visitor rests. */
  function follow() {
    clearTimeout(restTimer);
    if (about !== null && (!isOpen || about !== question())) end();
    showState();
    const isWanted = question() !== null && question() !== declined && missing().length > 0;
    if (isOpen && about === null && isWanted) restTimer = setTimeout(start, REST_MS);
  }

  part("start").addEventListener("click", () => {
    if (!missing().length) forget();
    start();
  });
  part("stop").addEventListener("click", () => {
    declined = about;
    end();
  });
  const watchOpen = new IntersectionObserver((entries) => {
    isOpen = entries.at(-1).isIntersecting;
    follow();
    if (isOpen) finish();
  }, { rootMargin: "10000px" }); // below the window, too: not so is a tab that is not chosen
  watchOpen.observe(element);

  return {
    follow,
    get isRunning() {
      return about !== null;
    },
  };
}

let message = "";

function showMessage(sentence) {
  message = sentence;
  part("message").hidden = !sentence;
  setText("message", dynamicvit.sentence(sentence));
}

dynamicvit.on("language", () => {
  if (message) showMessage(message); // a tab without messages has no place for one
});

/** Says which settings Explore has: a base ratio, one ratio for each stage, or the adaptive mode. */
function settingText({ keep_ratio: ratio, keep_mass: mass }) {
  if (mass !== undefined) return dynamicvit.say("prediction.adaptive_aside", { share: `${Math.round(100 * mass)} %` });
  if (typeof ratio === "number") return dynamicvit.say("prediction.pruned_aside", { ratio: ratio.toFixed(2) });
  const ratios = listed(ratio.map((one) => one.toFixed(2)));
  return dynamicvit.say("prediction.stages_aside", { ratios });
}
