// Asks the server ratio by ratio; what it answered stays for the image and model, also when the sweep was stopped.

const RATIOS = props.value; // "1.00" first
const CHART_EVERY = 5; // points after which the chart is drawn anew
const FILM_EVERY = 3;
const sweeps = new Map(); // image and model -> rows by ratio
let subject = null; // the image and model that the tab is about
const anew = new Set(); // images and models of which the times are to be measured again
let isDrawing = false;

const keyOf = (scene) => `${scene.image} ${scene.model}`;
const rows = () => sweeps.get(keyOf(subject));
const missing = () => RATIOS.filter((ratio) => !rows().has(ratio));
const currentRatio = () => {
  const ratio = dynamicvit.scene?.settings.keep_ratio;
  return typeof ratio === "number" ? ratio.toFixed(2) : null;
};

const run = createRun({
  name: "sweep_point",
  question: () => subject && keyOf(subject),
  missing,
  forget() {
    anew.add(keyOf(subject));
    rows().clear();
    showSubject();
  },
  ask: (ratio) => server.sweep_point(subject.image, subject.model, Number(ratio), anew.has(keyOf(subject))),
  async receive(row, ratio) {
    rows().set(ratio, row);
    part("found").hidden = false;
    showRow(row);
    markCurrent();
    if (rows().size % CHART_EVERY === 1) await drawChart();
  },
  finish: drawChart,
});

// What is shown ---------------------------------------------------------------------------------------------------

function onScene(scene) {
  if (scene && (!subject || keyOf(scene) !== keyOf(subject))) {
    if (!sweeps.has(keyOf(scene))) sweeps.set(keyOf(scene), new Map());
    subject = scene;
    showSubject();
  }
  part("own-settings").hidden = !scene || currentRatio() !== null;
  markCurrent();
  run.follow();
}

function showSubject() {
  showMessage(subject ? "" : dynamicvit.say("tabs.no_scene"));
  setText("title", subject ? dynamicvit.say("sweep.title", { title: subject.title }) : "");
  setText("about", subject ? sayOf(subject, "sweep.about", { terms: listed(subject.terms) }) : "");
  setText("verdict", "");
  setText("jumped", "");
  part("chart").replaceChildren();
  part("film").replaceChildren();
  if (!subject) return;
  showTable();
  drawChart();
}

function showTable() {
  part("found").hidden = rows().size === 0;
  part("rows").replaceChildren();
  for (const row of rows().values()) showRow(row);
  markCurrent();
}

const answerOf = (row) => dynamicvit.className(row.answer);

function showDense(dense) {
  part("rows").querySelector(".is-dense")?.remove();
  const line = append(part("rows"), "tr", "", { class: "is-dense" });
  part("rows").prepend(line);
  append(line, "th", dynamicvit.say("sweep.dense"), { scope: "row" });
  for (const name of ["confidence", "gmacs"]) append(line, "td", dense[name]);
  append(line, "td", "–");
  append(line, "td", dense.time);
  append(line, "td", answerOf(dense), { class: "answer", title: answerOf(dense) });
}

function showRow(row) {
  const line = append(part("rows"), "tr", "", { "data-ratio": row.ratio });
  const name = append(line, "th", "", { scope: "row" });
  append(name, "button", row.ratio, { type: "button", class: "row-button" });
  for (const value of [row.confidence, row.gmacs, row.saved, row.time]) append(line, "td", value);
  const answer = append(line, "td", "", { class: "answer", title: answerOf(row) });
  append(answer, "span", row.agrees ? "● " : "◇ ", {
    class: row.agrees ? "sign-same" : "sign-other",
    "aria-hidden": "true",
  });
  append(answer, "span", row.agrees ? dynamicvit.say("sweep.same") : answerOf(row));
  line.addEventListener("click", () => jump(row.ratio));
}

/** Draws the chart of what is known; one drawing is under way at a time, and the newest wish goes next. */
async function drawChart() {
  if (isDrawing || !subject || rows().size === 0 || !part("chart").clientWidth) return;
  isDrawing = true;
  const wish = () => `${keyOf(subject)} ${rows().size} ${dynamicvit.language}`;
  const asked = wish();
  const { image, model } = subject;
  const ratios = [...rows().keys()].map(Number);
  const width = part("chart").clientWidth;
  const answer = await call(() => server.sweep_chart(image, model, ratios, width, dynamicvit.language));
  isDrawing = false;
  if (asked !== wish()) {
    if (!run.isRunning) drawChart();
    return;
  }
  if (answer.problem) {
    showMessage(answer.problem);
    return;
  }
  const chart = showChart(part("chart"), answer.svg);
  activatePoints(chart);
  showFilm(chart);
  setText("how", answer.how);
  if (!run.isRunning) setText("verdict", answer.verdict);
  showDense(answer.dense);
}

/** Shows what the last stage keeps at every third ratio, each below its place on the axis of the chart. */
function showFilm(chart) {
  const shown = [...rows().values()].filter((row) => RATIOS.indexOf(row.ratio) % FILM_EVERY === 0);
  const placeOf = (ratio) => {
    const target = chart.querySelector(`[id="ratio-${ratio}"] use`);
    return Number(target.getAttribute("x")) / chart.viewBox.baseVal.width;
  };
  part("film").replaceChildren(...shown.map((row) => {
    const canvas = document.createElement("canvas");
    canvas.style.left = `${100 * placeOf(row.ratio)}%`;
    canvas.title = row.ratio;
    canvas.addEventListener("click", () => jump(row.ratio));
    return canvas;
  }));
  paintFilm();
}

function paintFilm() {
  const colours = paintColours(part("sweep"));
  for (const canvas of part("film").children) {
    const row = rows().get(canvas.title);
    const view = { pixels: dynamicvit.pixels, grid: row.grid, stage: row, mark: null };
    paintView(canvas, view, { layer: row.groups ? "merged" : "faded", outline: true }, colours);
  }
}

// From a point or a row to the explorer ---------------------------------------------------------------------------

/** Makes the points of the chart one stop for the Tab key, with the arrow keys between them. */
function activatePoints(chart) {
  const points = [...rows().values()].map((row) => {
    const point = chart.querySelector(`[id="ratio-${row.ratio}"]`);
    const key = row.agrees ? "sweep.point_same" : "sweep.point_other";
    const label = dynamicvit.say(key, { ...row, answer: answerOf(row) });
    for (const [name, value] of Object.entries({ role: "button", tabindex: -1, "aria-label": label })) {
      point.setAttribute(name, value);
    }
    point.dataset.ratio = row.ratio;
    point.addEventListener("click", () => jump(row.ratio));
    return point;
  });
  points[0].setAttribute("tabindex", 0);
  points.forEach((point, index) => point.addEventListener("keydown", (event) => onPointKey(event, points, index)));
  markCurrent();
}

function onPointKey(event, points, index) {
  const step = { ArrowRight: -1, ArrowUp: -1, ArrowLeft: 1, ArrowDown: 1 }[event.key]; // cheaper is further left
  if (event.key === "Enter" || event.key === " ") jump(points[index].dataset.ratio);
  else if (!step) return;
  event.preventDefault();
  const next = points[index + (step ?? 0)];
  if (!next) return;
  points[index].setAttribute("tabindex", -1);
  next.setAttribute("tabindex", 0);
  next.focus();
}

function jump(ratio) {
  dynamicvit.jump({ keep_ratio: Number(ratio) });
  setText("jumped", dynamicvit.say("sweep.jumped", { ratio }));
}

function markCurrent() {
  for (const node of element.querySelectorAll("[data-ratio]")) {
    const isCurrent = node.dataset.ratio === currentRatio();
    node.classList.toggle("is-current", isCurrent);
    if (isCurrent) node.setAttribute("aria-current", "true");
    else node.removeAttribute("aria-current");
  }
}

// Events ----------------------------------------------------------------------------------------------------------

function onLanguage() {
  dynamicvit.translate(element);
  showSubject();
  run.follow();
}

whenLookChanges(paintFilm);
dynamicvit.on("language", onLanguage);
dynamicvit.on("scene", onScene);
onLanguage();
onScene(dynamicvit.scene);
