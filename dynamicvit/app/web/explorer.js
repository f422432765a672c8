// The explorer, after the scripts in explorer/: what the visitor asks for, and when it is shown.

const REST_MS = 300; // the slider has come to rest: time for what costs more than an answer
const MAX_ANSWERS = 400;
const STALE_MS = 150; // so long the last answer stands for the new one

const answers = new Map(); // (image, model, language, settings) -> answer, oldest first
let scene = null; // the image and model that the visitor asked for
let shown = { sequence: 0, key: null, answer: null, pixels: null, frame: null };
let sequence = 0; // counts what the visitor asked for; an answer older than what is shown is dropped
let isAsking = false;
let isMeasuring = false;
let restTimer = 0;
let staleTimer = 0;
let endWait = () => {};

const root = part("root");

// What is asked for -----------------------------------------------------------------------------------------------

const wantedKey = () => `${scene.image} ${scene.model} ${dynamicvit.language} ${settingsKey(wantedSettings())}`;

function onScene(value) {
  if (!value) return;
  showProblem(value.problem);
  if (!value.image) return;
  scene = { ...value, pixels: loadPixels(value.picture) };
  showInput(scene);
  if (value.answer) {
    applySettings(value.answer.settings);
    if (value.answer.language === dynamicvit.language) remember(answers, wantedKey(), value.answer, MAX_ANSWERS);
  }
  breakAgain();
  want();
}

/** Shows what is wanted: at once when it is known, else when the server has answered. */
function want() {
  showBudget();
  if (!scene) return;
  sequence += 1;
  const known = answers.get(wantedKey());
  if (known) {
    show(known, scene, sequence, wantedKey());
  } else {
    markWaiting();
    ask();
  }
}

/** Asks for what is wanted; one call is under way at a time, and when it returns the newest wish goes next. */
async function ask() {
  if (isAsking) return;
  isAsking = true;
  const [asked, key, number] = [scene, wantedKey(), sequence];
  const answer = await call(() => server.analyse(asked.image, asked.model, wantedSettings(), dynamicvit.language));
  isAsking = false;
  if (!answer.problem) remember(answers, key, answer, MAX_ANSWERS);
  if (asked.image === scene.image && asked.model === scene.model) {
    if (answer.problem) {
      showProblem(answer.problem);
      markCurrent();
    } else {
      await show(answer, asked, number, key);
    }
  }
  if (key !== wantedKey() && !answers.has(wantedKey())) ask();
}

/** From a moment on, what is shown is the answer to an older question, and does not look like one to this. */
function markWaiting() {
  if (staleTimer || root.classList.contains("is-waiting")) return;
  staleTimer = setTimeout(() => {
    root.classList.add("is-waiting");
    root.setAttribute("aria-busy", "true");
  }, STALE_MS);
  endWait = explainWait("analyse", "waiting-note");
}

function markCurrent() {
  clearTimeout(staleTimer);
  staleTimer = 0;
  root.classList.remove("is-waiting");
  root.removeAttribute("aria-busy");
  endWait();
}

/** Shows a new image as the input at once, before anything is known of it. */
async function showInput(from) {
  if (!shown.answer || shown.answer.image === from.image) return;
  const pixels = await from.pixels;
  if (scene !== from || shown.answer.image === from.image) return;
  const canvas = part("canvas", part("views").firstElementChild);
  paintView(canvas, { pixels, grid: shown.answer.grid, stage: null, mark: null }, look(), paintColours(root));
}

async function measure() {
  const key = shown.key;
  if (isMeasuring || !key || timings.has(key)) return;
  isMeasuring = true;
  const { image, model, settings } = shown.answer;
  setText("time-note", dynamicvit.say("cost.measuring"));
  part("time-row").classList.add("is-stale");
  const timing = await call(() => server.measure(image, model, settings, dynamicvit.language));
  isMeasuring = false;
  if (!timing.problem) remember(timings, key, timing, MAX_ANSWERS);
  if (shown.key === key) showTiming(timing);
  else waitForRest();
}

function waitForRest() {
  clearTimeout(restTimer);
  restTimer = setTimeout(onRest, REST_MS);
}

function onRest() {
  if (!shown.answer || shown.key !== wantedKey()) return;
  setText("summary", shown.answer.summary); // a live region: spoken at rest, not at every step
  measure();
}

// What is shown ---------------------------------------------------------------------------------------------------

async function loadPixels(url) {
  const pixels = new Image();
  pixels.src = url;
  await pixels.decode();
  return pixels;
}

async function show(answer, from, number, key) {
  const pixels = await from.pixels;
  if (number < shown.sequence) return;
  shown = { sequence: number, key, answer, pixels, frame: from.frame };
  const isFirst = root.classList.contains("is-empty");
  root.classList.remove("is-empty");
  showProblem("");
  if (key === wantedKey()) markCurrent();
  showViews(answer);
  showPredictions(answer);
  showCosts(answer);
  setText("note", answer.note);
  setText("pruned-aside", answer.pruned_aside);
  root.dataset.shown = key;
  followTour();
  publish();
  if (isFirst) openTour();
  waitForRest();
}

function publish() {
  const { image, model, title, settings, methods, has_fast_path, terms } = shown.answer;
  const view = { stage: largeView(), patch: pinnedPatch(), tour: tourStep };
  dynamicvit.publish({ image, model, title, settings, methods, has_fast_path, terms, ...view }, shown.pixels, shown.frame);
}

function showProblem(sentence) {
  const box = part("problem");
  box.hidden = !sentence;
  box.textContent = sentence ? dynamicvit.sentence(sentence) : "";
}

// Events ----------------------------------------------------------------------------------------------------------

function onLanguage() {
  dynamicvit.translate(element);
  setText("few", dynamicvit.say("explore.keep_few", { ratio: slider.min }));
  setText("all", dynamicvit.say("explore.keep_all", { ratio: slider.max }));
  want();
}

/** Restores what publish() told: settings, and where they are given the large view and the pinned patch. */
function onJump({ stage, patch, ...settings }) {
  if (Number.isInteger(stage) && stage >= 0) large = stage;
  if (patch === null || (Number.isInteger(patch) && patch >= 0)) pin = patch;
  applySettings(settings);
  want();
}

onBudget(want);
onViewEvents();
onStoryEvents();
dynamicvit.on("language", onLanguage);
dynamicvit.on("jump", onJump);
watch("value", () => onScene(props.value));
onLanguage();
onScene(props.value);
