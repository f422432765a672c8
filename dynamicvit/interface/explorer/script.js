// Gradio runs this file once, as a function of `element`, `watch` and `server`, when the explorer is mounted.
// Words come from Python ready to show; here they are put in place, always as text and never as markup.
"use strict";

const REST_MS = 300; // the slider has come to rest: time for what costs more than an answer
const MAX_ANSWERS = 400;

const answers = new Map(); // (image, model, ratio, language) -> answer, oldest first
const timings = new Map(); // the same key -> timing
let scene = null; // the image and model that the visitor asked for
let shown = { sequence: 0, key: null, answer: null, picture: null };
let sequence = 0; // counts what the visitor asked for; an answer older than what is shown is dropped
let isAsking = false;
let isMeasuring = false;
let restTimer = 0;

const part = (name, from = element) => from.querySelector(`[data-part="${name}"]`);
const setText = (name, text, from = element) => { part(name, from).textContent = text; };
const root = part("root");
const slider = part("slider");

// What is asked for -----------------------------------------------------------------------------------------------

const wantedRatio = () => Number(slider.value).toFixed(2);
const wantedKey = () => `${scene.image} ${scene.model} ${dynamicvit.language} ${wantedRatio()}`;

function remember(store, key, value) {
  store.delete(key);
  store.set(key, value);
  if (store.size > MAX_ANSWERS) store.delete(store.keys().next().value);
}

function onScene(value) {
  if (!value) return;
  showProblem(value.problem);
  if (!value.image) return;
  scene = { ...value, pixels: loadPixels(value.picture) };
  if (value.answer) {
    slider.value = value.answer.ratio;
    if (value.answer.language === dynamicvit.language) remember(answers, wantedKey(), value.answer);
  }
  want();
}

/** Shows the wanted ratio: at once when it is known, else when the server has answered. */
function want() {
  showRatio();
  if (!scene) return;
  sequence += 1;
  const known = answers.get(wantedKey());
  if (known) show(known, scene, sequence, wantedKey());
  else ask();
}

/** Asks for the wanted ratio; one call is under way at a time, and when it returns the newest wish goes next. */
async function ask() {
  if (isAsking) return;
  isAsking = true;
  const [asked, key, number] = [scene, wantedKey(), sequence];
  const answer = await call(() => server.analyse(asked.image, asked.model, Number(wantedRatio()), dynamicvit.language));
  isAsking = false;
  if (!answer.problem) remember(answers, key, answer);
  if (asked === scene) {
    if (answer.problem) showProblem(answer.problem);
    else await show(answer, asked, number, key);
  }
  if (key !== wantedKey() && !answers.has(wantedKey())) ask();
}

/** Gives the server's answer, or the sentence that says why there is none. */
async function call(send) {
  try {
    return (await send()) ?? noAnswer();
  } catch {
    return noAnswer();
  }
}

const noAnswer = () => ({ problem: dynamicvit.say("explore.no_answer") });

async function measure() {
  const key = shown.key;
  if (isMeasuring || !key || timings.has(key)) return;
  isMeasuring = true;
  const { image, model, ratio } = shown.answer;
  setText("time-note", dynamicvit.say("cost.measuring"));
  part("time-row").classList.add("is-stale");
  const timing = await call(() => server.measure(image, model, Number(ratio), dynamicvit.language));
  isMeasuring = false;
  if (!timing.problem) remember(timings, key, timing);
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
  shown = { sequence: number, key, answer, pixels };
  root.classList.remove("is-empty");
  showProblem("");
  showViews(answer);
  showPredictions(answer);
  showCosts(answer);
  setText("note", answer.note);
  setText("pruned-aside", answer.pruned_aside);
  root.dataset.shown = key;
  const { image, model, title, ratio } = answer;
  dynamicvit.publish({ image, model, title, settings: { keep_ratio: Number(ratio) } });
  waitForRest();
}

function showProblem(sentence) {
  const box = part("problem");
  box.hidden = !sentence;
  box.textContent = sentence ?? "";
}

function showRatio() {
  const [low, high] = [Number(slider.min), Number(slider.max)];
  setText("ratio", wantedRatio());
  slider.style.setProperty("--fill", `${(100 * (slider.value - low)) / (high - low)}%`);
}

function showViews(answer) {
  const descriptions = [answer.input, ...answer.stages];
  const figures = viewFigures(descriptions.length);
  descriptions.forEach((description, index) => {
    const figure = figures[index];
    setText("name", description.name, figure);
    setText("count", description.count, figure);
    setText("detail", description.detail, figure);
    part("share", figure).style.visibility = index ? "visible" : "hidden";
    part("kept", figure).style.width = `${100 * description.share}%`;
    part("canvas", figure).setAttribute("aria-label", description.label);
  });
  draw();
}

/** Gives the figures of the input and of each stage, as many as the model has. */
function viewFigures(count) {
  const views = part("views");
  while (views.children.length < count) views.append(views.firstElementChild.cloneNode(true));
  while (views.children.length > count) views.lastElementChild.remove();
  views.style.setProperty("--views", count);
  return [...views.children];
}

function showPredictions(answer) {
  for (const model of ["dense", "pruned"]) part(model).replaceChildren(...answer[model].map(predictionRow));
  part("agreement").classList.toggle("is-different", !answer.agrees);
  setText("sign", answer.agrees ? "✓" : "≠");
  setText("verdict", answer.verdict);
  setText("confidence", answer.confidence);
}

function predictionRow({ label, share, percent }) {
  const row = document.createElement("li");
  const [name, number, bar] = ["name", "percent", "bar"].map((kind) => {
    const span = document.createElement("span");
    span.className = kind;
    row.append(span);
    return span;
  });
  name.textContent = label;
  name.title = label;
  number.textContent = percent;
  bar.style.setProperty("--share", share);
  return row;
}

function showCosts(answer) {
  setText("macs-dense", answer.macs.dense);
  setText("macs-pruned", answer.macs.pruned);
  setText("macs-predictors", answer.macs.predictors);
  setText("macs-saved", answer.macs.saved);
  const timing = timings.get(shown.key);
  if (timing) showTiming(timing);
  else part("time-row").classList.add("is-stale"); // the last ones stay, dimmed, until the slider rests
}

function showTiming(timing) {
  part("time-row").classList.remove("is-stale");
  setText("time-note", timing.problem ?? timing.note);
  part("time-note").classList.toggle("is-slower", Boolean(timing.is_slower));
  for (const name of ["dense", "pruned", "saved"]) setText(`time-${name}`, timing[name] ?? "–");
}

// Drawing ---------------------------------------------------------------------------------------------------------

function draw() {
  if (!shown.answer) return;
  const style = getComputedStyle(root);
  const colours = Object.fromEntries(["fade", "edge", "halo"].map((use) => [use, style.getPropertyValue(`--${use}`)]));
  [...part("views").children].forEach((figure, index) => {
    const canvas = part("canvas", figure);
    const side = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1));
    canvas.width = canvas.height = side;
    const stage = shown.answer.stages[index - 1];
    drawView(canvas.getContext("2d"), side, stage, colours);
  });
  root.dataset.painted = Number(root.dataset.painted ?? 0) + 1;
}

function drawView(context, side, stage, colours) {
  context.imageSmoothingQuality = "high";
  context.drawImage(shown.pixels, 0, 0, side, side);
  if (!stage) return;
  const [rows, columns] = shown.answer.grid;
  const kept = new Set(stage.kept);
  const x = (column) => Math.round((column * side) / columns);
  const y = (row) => Math.round((row * side) / rows);
  const edges = new Path2D();
  context.fillStyle = colours.fade;
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const isKept = kept.has(row * columns + column);
      const [left, top, right, bottom] = [x(column), y(row), x(column + 1), y(row + 1)];
      if (!isKept) context.fillRect(left, top, right - left, bottom - top);
      if (column && kept.has(row * columns + column - 1) !== isKept) addLine(edges, left, top, left, bottom);
      if (row && kept.has((row - 1) * columns + column) !== isKept) addLine(edges, left, top, right, top);
    }
  }
  context.lineCap = "square";
  strokeEdges(context, edges, colours.halo, side / 75); // so that the line shows on content of its own colour
  strokeEdges(context, edges, colours.edge, side / 200);
}

function strokeEdges(context, edges, colour, width) {
  context.lineWidth = Math.max(1, width);
  context.strokeStyle = colour;
  context.stroke(edges);
}

function addLine(path, x0, y0, x1, y1) {
  path.moveTo(x0, y0);
  path.lineTo(x1, y1);
}

// Events ----------------------------------------------------------------------------------------------------------

function onLanguage() {
  dynamicvit.translate(element);
  setText("few", dynamicvit.say("explore.keep_few", { ratio: slider.min }));
  setText("all", dynamicvit.say("explore.keep_all", { ratio: slider.max }));
  want();
}

function onJump(settings) {
  slider.value = settings.keep_ratio;
  want();
}

slider.addEventListener("input", want);
dynamicvit.on("language", onLanguage);
dynamicvit.on("jump", onJump);
new ResizeObserver(draw).observe(part("views"));
new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["class"] }); // dark mode
watch("value", () => onScene(props.value));
onLanguage();
onScene(props.value);
