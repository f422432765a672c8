// The story of an image, told by itself: Play goes through the stages once, the tour says a sentence at each step,
// present shows the main thing large.

const PLAY_STEP_MS = 900;
const BREAKING_STEP = 0.05; // the tour looks for another answer at lower and lower ratios

// Play --------------------------------------------------------------------------------------------------------------

let playTimer = 0;

function togglePlay() {
  if (playTimer) stopPlaying();
  else playFrom(0);
}

function playFrom(index) {
  if (!shown.answer) return;
  large = index;
  showLarge();
  setText("play", dynamicvit.say("explore.stop"));
  playTimer = setTimeout(index < shown.answer.stages.length ? () => playFrom(index + 1) : stopPlaying, PLAY_STEP_MS);
}

function stopPlaying() {
  if (!playTimer) return;
  clearTimeout(playTimer);
  playTimer = 0;
  setText("play", dynamicvit.say("explore.play"));
  publish();
}

// Tour --------------------------------------------------------------------------------------------------------------

// Each step: the view (null for the last stage), how it looks, and the sentence about an answer.
const TOUR = [
  { view: 0, layer: "faded", grid: true, tell: tellToken },
  { view: 1, layer: "scores", tell: () => dynamicvit.say("tour.score") },
  { view: 1, layer: "faded", tell: tellStage },
  { view: null, layer: "faded", tell: tellAnswer },
  { view: null, layer: "faded", tell: tellSaved },
  { view: null, layer: "faded", tell: tellBreaking },
];
let tourStep = null; // from 1; null outside the tour
let beforeTour = null; // the look and the large view that come back when it is left
let beforeBreaking = null; // the settings that come back when its last step is left

function tellToken({ all, grid: [rows, columns] }) {
  return dynamicvit.say("tour.token", { all, rows, columns });
}

function tellStage(answer) {
  const [stage] = answer.stages;
  const values = { kept: stage.kept.length, rest: stage.live - stage.kept.length, detail: stage.detail };
  return sayOf(answer, "tour.stage", values);
}

function tellAnswer(answer) {
  const { agrees, dense, pruned, stages, all } = answer;
  const values = { kept: stages.at(-1).kept.length, all, pruned: pruned[0].label, dense: dense[0].label };
  return sayOf(answer, agrees ? "tour.answer_same" : "tour.answer_other", values);
}

function tellSaved(answer) {
  return dynamicvit.say("tour.saved", { costs: describeCosts(answer, timings.get(shown.key)) });
}

function tellBreaking({ agrees, dense, pruned }) {
  const values = { ratio: digits(slider), pruned: pruned[0].label, dense: dense[0].label };
  if (!agrees) return dynamicvit.say("tour.breaks", values);
  return dynamicvit.say(Number(slider.value) > Number(slider.min) ? "tour.breaking" : "tour.holds", values);
}

function goTo(step) {
  if (!shown.answer) return;
  stopPlaying();
  if (tourStep === null) beforeTour = { ...look(), large };
  restoreSettings();
  tourStep = step;
  const { view, layer, grid = false } = TOUR[step - 1];
  large = view;
  setLook({ ...look(), layer, grid });
  showLarge();
  if (step === TOUR.length) beginBreaking();
  showTour();
  want();
}

function leaveTour() {
  restoreSettings();
  tourStep = null;
  large = beforeTour.large;
  setLook(beforeTour);
  showLarge();
  showTour();
  want();
  part("tour-button").focus();
}

function restoreSettings() {
  if (beforeBreaking) applySettings(beforeBreaking);
  beforeBreaking = null;
}

/** Begins the last step anew, for another image or model. */
function breakAgain() {
  if (tourStep !== TOUR.length) return;
  restoreSettings();
  beginBreaking();
}

function beginBreaking() {
  beforeBreaking = wantedSettings();
  if (mode() !== "base") applySettings({ keep_ratio: Number(slider.max) });
}

/** In the last step each answer that is the dense one's asks for a lower ratio, down to another answer or the end. */
function followTour() {
  if (tourStep === null || shown.key !== wantedKey()) return;
  showTour();
  if (tourStep !== TOUR.length || !shown.answer.agrees || digits(slider) === digits({ value: slider.min })) return;
  applySettings({ keep_ratio: Math.max(Number(slider.min), slider.value - BREAKING_STEP) });
  want();
}

function showTour() {
  const isOn = tourStep !== null;
  part("tour").hidden = !isOn;
  part("tour-button").setAttribute("aria-expanded", String(isOn));
  if (!isOn) return;
  setText("tour-step", dynamicvit.say("tour.step", { step: tourStep, all: TOUR.length }));
  setText("tour-text", TOUR[tourStep - 1].tell(shown.answer));
  part("tour-back").disabled = tourStep === 1;
  if (document.activeElement === part("tour-next") && tourStep === TOUR.length) part("tour-leave").focus();
  part("tour-next").disabled = tourStep === TOUR.length;
}

/** Starts where a link wants it, once. */
function openTour() {
  const step = Number(new URLSearchParams(location.search).get("tour"));
  if (TOUR[step - 1]) goTo(step);
}

// Present -----------------------------------------------------------------------------------------------------------

function togglePresent() {
  const isOn = document.body.classList.toggle("is-presenting");
  root.classList.toggle("is-presenting", isOn);
  part("present").setAttribute("aria-pressed", String(isOn));
  setText("present", dynamicvit.say(isOn ? "explore.present_end" : "explore.present"));
}

function onStoryKey(event) {
  const isTyping = event.target.matches("input:not([type=range], [type=radio], [type=checkbox]), textarea, select");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !root.checkVisibility()) return;
  const isPresenting = root.classList.contains("is-presenting");
  if (event.key === "p" || event.key === "P" || (event.key === "Escape" && isPresenting)) togglePresent();
}

function onStoryEvents() {
  part("play").addEventListener("click", togglePlay);
  part("present").addEventListener("click", togglePresent);
  part("tour-button").addEventListener("click", () => {
    if (tourStep !== null) return leaveTour();
    goTo(1);
    return part("tour-next").focus();
  });
  part("tour-back").addEventListener("click", () => goTo(tourStep - 1));
  part("tour-next").addEventListener("click", () => goTo(tourStep + 1));
  part("tour-leave").addEventListener("click", leaveTour);
  document.addEventListener("keydown", onStoryKey);
}
