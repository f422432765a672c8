// How many tokens are kept: one base ratio, a ratio for each stage, or the adaptive mode; its controls and settings.

const slider = part("slider");
const mass = part("mass");
const stageSliders = () => [...element.querySelectorAll("[data-part=stage-ratio]")];
const modeInputs = [...element.querySelectorAll("[name=keep-mode]")];
const mode = () => modeInputs.find((input) => input.checked).value;
const digits = (input) => Number(input.value).toFixed(2);

/** Gives the settings that the controls ask for, as the server takes them. */
function wantedSettings() {
  if (mode() === "adaptive") return { keep_mass: Number(mass.value) };
  if (mode() === "stages") return { keep_ratio: stageSliders().map((input) => Number(input.value)) };
  return { keep_ratio: Number(slider.value) };
}

/** Names settings, the same for the same ones: "0.70", "0.70,0.50,0.30" or "mass:0.70". */
function settingsKey(settings) {
  if ("keep_mass" in settings) return `mass:${settings.keep_mass.toFixed(2)}`;
  return [settings.keep_ratio].flat().map((ratio) => ratio.toFixed(2)).join(",");
}

/** Puts the controls where settings want them; anything else leaves them as they are. */
function applySettings({ keep_ratio: ratio, keep_mass: share }) {
  if (share !== undefined) {
    mass.value = share;
    setMode("adaptive");
  } else if (Array.isArray(ratio)) {
    setStageCount(ratio.length);
    stageSliders().forEach((input, index) => { input.value = ratio[index]; });
    setMode("stages");
  } else if (ratio !== undefined) {
    slider.value = ratio;
    setMode("base");
  }
  showBudget();
}

function setMode(value) {
  modeInputs.find((input) => input.value === value).checked = true;
}

/** Gives the model's stages a slider each. */
function setStageCount(count) {
  const list = part("stage-sliders");
  while (list.children.length < count) list.append(list.firstElementChild.cloneNode(true));
  while (list.children.length > count) list.lastElementChild.remove();
}

/** Moves the others where they must be for ratios that do not increase from stage to stage. */
function pushOthers(moved) {
  const inputs = stageSliders();
  const place = inputs.indexOf(moved);
  inputs.forEach((input, index) => {
    const limit = index < place ? Math.max : Math.min;
    input.value = limit(Number(input.value), Number(moved.value));
  });
}

/** Shows what the stages kept; where the visitor does not set the stages' sliders, they follow. */
function showKept(answer) {
  setStageCount(answer.stages.length);
  [...part("stage-sliders").children].forEach((control, index) => {
    const stage = answer.stages[index];
    setText("stage-name", stage.name, control);
    setText("stage-count", stage.count, control);
    if (mode() === "adaptive") part("stage-ratio", control).value = stage.share;
  });
  showBudget();
}

/** Gives what a stage keeps at a base ratio: powers of it, or each stage so much less where the model has a step. */
function stageRatio(base, index) {
  const step = shown.answer?.ratio_step;
  return step ? base - step * index : base ** (index + 1);
}

function showBudget() {
  const isBase = mode() === "base";
  if (isBase) stageSliders().forEach((input, index) => { input.value = stageRatio(Number(slider.value), index); });
  setText("ratio", isBase ? digits(slider) : "–");
  setText("mass-value", digits(mass));
  part("control").classList.toggle("is-idle", !isBase);
  part("stage-sliders").classList.toggle("is-idle", mode() !== "stages");
  part("adaptive").classList.toggle("is-idle", mode() !== "adaptive");
  for (const control of part("stage-sliders").children) setText("stage-value", digits(part("stage-ratio", control)), control);
  for (const input of [slider, mass, ...stageSliders()]) {
    const [low, high] = [Number(input.min), Number(input.max)];
    input.style.setProperty("--fill", `${(100 * (input.value - low)) / (high - low)}%`);
  }
}

function togglePanel() {
  const panel = part("stage-panel");
  panel.hidden = !panel.hidden;
  part("stage-button").setAttribute("aria-expanded", String(!panel.hidden));
}

/** Calls `changed` whenever the visitor moves a control; a moved slider puts its own mode in force. */
function onBudget(changed) {
  const moved = (event) => {
    const input = event.target;
    if (input === slider) setMode("base");
    else if (input === mass) setMode("adaptive");
    else if (input.matches("[data-part=stage-ratio]")) {
      pushOthers(input);
      setMode("stages");
    }
    changed();
  };
  part("stage-button").addEventListener("click", togglePanel);
  slider.addEventListener("input", moved);
  part("stage-panel").addEventListener("input", moved);
}
