// Opens what a link or a file asks for, and keeps the address that of what is shown.

const FOLLOW_MS = 600; // the address bar follows when nothing has changed for so long: browsers limit how often
const NAMES = ["example", "model", "ratio", "ratios", "mass", "stage", "patch", "tour", "lang"];

const note = part("link-note");
let wanted = null; // what waits for its picture and model to be shown
let isOpen = false; // the address has been read
let ignored = []; // parameters that could not be used
let followTimer = 0;

/** Gives {url, holdsPicture}: the address that reopens a scene. An uploaded picture cannot be in it. */
function linkTo({ image, model, settings, stage, patch, tour }) {
  const url = new URL(location.href);
  for (const name of NAMES) url.searchParams.delete(name);
  const holdsPicture = props.examples.includes(image);
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
  };
  for (const [name, value] of Object.entries(parameters)) {
    if (value !== null && value !== undefined) url.searchParams.set(name, value);
  }
  url.hash = "";
  return { url: url.href, holdsPicture };
}

function publish() {
  if (!isOpen || !dynamicvit.scene) return;
  dynamicvit.publishLink(linkTo(dynamicvit.scene));
  clearTimeout(followTimer);
  followTimer = setTimeout(() => history.replaceState(history.state, "", dynamicvit.link.url), FOLLOW_MS);
}

/** Asks the explorer for what a link wants, as soon as the explorer shows its picture with its model. */
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
  isOpen = true;
  showNote();
  onScene(dynamicvit.scene);
}

function onLanguage() {
  showNote();
  publish();
}

dynamicvit.on("scene", onScene);
dynamicvit.on("language", onLanguage);
dynamicvit.on("open", (request) => trigger("open", request));
watch("value", () => onValue(props.value));
onValue(props.value);
