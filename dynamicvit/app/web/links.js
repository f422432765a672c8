// Opens what a link or a file asks for, and keeps the address that of what is shown. Another tab or image is a new entry
// of the browser's history, anything else changes the present one.

const FOLLOW_MS = 600; // the address bar follows when nothing has changed for so long: browsers limit how often
const NAMES = ["example", "model", "ratio", "ratios", "mass", "stage", "patch", "tour", "lang", "tab"];

const note = part("link-note");
let wanted = null; // what waits for its image and model to be shown
let isOpen = false; // the address has been read
let ignored = []; // parameters that could not be used
let followTimer = 0;
let follow = null; // brings the present entry of the history up to date
let place = null; // tab and image of that entry

/** Gives {url, holdsPicture}: the address that reopens a scene. An uploaded image cannot be in it. */
function linkTo({ image, model, settings, stage, patch, tour, tab }) {
  const url = new URL(location.href);
  for (const name of NAMES) url.searchParams.delete(name);
  const holdsPicture = props.examples.includes(image.split("@")[0]); // behind it stands the place of the crop
  const ratio = settings.keep_ratio;
  const parameters = {
    example: holdsPicture ? image : null,
    model,
    ratio: typeof ratio === "number" ? ratio.toFixed(2) : null,
    ratios: Array.isArray(ratio) ? ratio.map((one) => one.toFixed(2)).join(",") : null,
    mass: settings.keep_mass?.toFixed(2),
    stage,
    patch,
    tour,
    lang: dynamicvit.language,
    tab: tab === props.tabs[0] ? null : tab,
  };
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined) url.searchParams.set(name, value);
  }
  url.hash = "";
  return { url: url.href, holdsPicture };
}

function publish() {
  if (!isOpen || !dynamicvit.scene) return;
  dynamicvit.publishLink(linkTo(dynamicvit.scene)); // that of a view leads to Explore
  const scene = { ...dynamicvit.scene, tab: openTab };
  const { url } = linkTo(scene);
  if (place !== null && place !== placeOf(scene)) {
    followNow();
    history.pushState(scene, "", url);
  } else {
    clearTimeout(followTimer);
    follow = () => history.replaceState(scene, "", url);
    followTimer = setTimeout(followNow, FOLLOW_MS);
  }
  place = placeOf(scene);
}

const placeOf = ({ tab, image }) => `${tab} ${image}`;

function followNow() {
  clearTimeout(followTimer);
  follow?.();
  follow = null;
}

/** Shows what an entry of the history holds, after Back and Forward. */
function onHistory({ state }) {
  if (!state?.image) return;
  clearTimeout(followTimer);
  follow = null;
  place = placeOf(state);
  wanted = state;
  chooseTab(state.tab);
  const { image, model } = dynamicvit.scene;
  if (image === state.image && model === state.model) onScene(dynamicvit.scene);
  else trigger("open", state);
}

/** Asks the explorer for what a link wants, as soon as the explorer shows its image with its model. */
function onScene(scene) {
  if (wanted && scene?.image === wanted.image && scene.model === wanted.model) {
    const { settings, stage, patch } = wanted;
    wanted = null;
    dynamicvit.jump({ ...(settings ?? scene.settings), stage, patch });
  }
  if (!wanted) publish();
}

function showNote() {
  note.hidden = !ignored.length;
  note.textContent = ignored.length ? dynamicvit.say("link.ignored", { names: ignored.join(", ") }) : "";
}

function onValue(value) {
  if (!value?.serial) return;
  ignored = value.ignored;
  wanted = value.asks ? value : null;
  if (!isOpen) {
    isOpen = true;
    watchTabs(() => { if (!wanted) publish(); });
    chooseTab(new URLSearchParams(location.search).get("tab"));
  }
  showNote();
  onScene(dynamicvit.scene);
}

function onLanguage() {
  showNote();
  publish();
}

dynamicvit.on("scene", onScene);
dynamicvit.on("language", onLanguage);
addEventListener("popstate", onHistory);
dynamicvit.on("open", (request) => trigger("open", request));
watch("value", () => onValue(props.value));
onValue(props.value);
