// The views: one of them large, the others small beside it; the patch that is marked in all of them.

let large = null; // which view is shown large: 0 for the input, else the stage's number; null for the last stage
let cursor = null; // the patch that is pointed at
let pin = null; // the patch that stays marked

function showViews(answer) {
  const descriptions = [answer.input, ...answer.stages];
  const figures = viewFigures(descriptions.length);
  descriptions.forEach((description, index) => {
    const figure = figures[index];
    for (const name of ["name", "percent", "count", "detail"]) setText(name, description[name], figure);
    part("share", figure).style.visibility = index ? "visible" : "hidden";
    part("kept", figure).style.width = `${100 * description.share}%`;
    part("choose", figure).setAttribute("aria-label", description.label);
  });
  setText("layers-title", sayOf(answer, "explore.layers"));
  setText("mode-base", dynamicvit.say("explore.mode_base", { terms: listed(answer.terms) }));
  showKept(answer);
  showLarge();
}

/** Gives the figures of the input and of each stage, as many as the model has. */
function viewFigures(count) {
  const views = part("views");
  while (views.children.length < count) views.append(views.firstElementChild.cloneNode(true));
  while (views.children.length > count) views.lastElementChild.remove();
  views.style.setProperty("--views", count);
  return [...views.children];
}

/** Which view is shown large; a model can have fewer stages than the one before. */
const largeView = () => Math.min(large ?? Infinity, shown.answer.stages.length);
/** The patches that are marked, if the grid has them. */
const onGrid = (patch) => (patch !== null && patch < shown.answer.grid[0] * shown.answer.grid[1] ? patch : null);
const pinnedPatch = () => onGrid(pin);
const markedPatch = () => pinnedPatch() ?? onGrid(cursor);

function showLarge() {
  const { answer } = shown;
  const chosen = largeView();
  viewFigures(answer.stages.length + 1).forEach((figure, index) => {
    part("choose", figure).setAttribute("aria-pressed", String(index === chosen));
  });
  const { name, count, label } = [answer.input, ...answer.stages][chosen];
  setText("large-name", name);
  part("large-name").dataset.hint = chosen ? "about.stage" : "about.token";
  part("large").setAttribute("aria-label", `${label}. ${dynamicvit.say("explore.large_keys")}`);
  setText("large-count", showLegend(answer.stages[chosen - 1]) ? "" : count);
  showMark();
}

/** Shows what the colours of the scores mean, where there are any, and gives whether it did. */
function showLegend(stage) {
  const isShown = look().layer === "scores" && Boolean(stage);
  part("legend").hidden = !isShown;
  if (!isShown) return false;
  const [low, high] = scoreRange(stage);
  setText("legend-low", score(low));
  setText("legend-high", score(high));
  const cut = part("legend-cut");
  cut.hidden = stage.cut === null;
  cut.style.left = `${(100 * (stage.cut - low)) / (high - low || 1)}%`;
  cut.title = stage.cut === null ? "" : dynamicvit.say("explore.legend_cut", { cut: score(stage.cut) });
  return true;
}

function showMark() {
  showPatch(shown.answer, markedPatch(), pinnedPatch() !== null);
  showAlike();
  draw();
}

/** The kept patches that look most like the marked one to the model. */
const alikePatches = () => shown.answer.alike[markedPatch()] ?? [];

function showAlike() {
  const patches = alikePatches();
  setText("patch-alike", patches.length ? sayOf(shown.answer, "explore.patch_alike") : "");
  part("patch-tiles").replaceChildren();
  for (const patch of patches) paintPatch(append(part("patch-tiles"), "canvas", "", tileWords(patch)), patch);
}

function tileWords(patch) {
  const place = describePlace(patch, shown.answer.grid);
  return { role: "img", "aria-label": place, title: place };
}

/** Paints one patch, as large as the image is sharp, on a canvas of its own. */
function paintPatch(canvas, patch) {
  const { pixels, answer: { grid: [rows, columns] } } = shown;
  const [width, height] = [pixels.naturalWidth / columns, pixels.naturalHeight / rows];
  const [left, top] = [(patch % columns) * width, Math.floor(patch / columns) * height];
  canvas.width = canvas.height = Math.max(1, Math.round(width));
  canvas.getContext("2d").drawImage(pixels, left, top, width, height, 0, 0, canvas.width, canvas.height);
}

const look = () => ({
  layer: element.querySelector("[name=layer]:checked").value,
  outline: part("outline").checked,
  grid: part("grid").checked,
});

function setLook({ layer, outline, grid }) {
  element.querySelector(`[name=layer][value=${layer}]`).checked = true;
  part("outline").checked = outline;
  part("grid").checked = grid;
}

function draw() {
  if (!shown.answer) return;
  const colours = paintColours(root);
  const view = (index) => ({
    pixels: shown.pixels,
    grid: shown.answer.grid,
    stage: shown.answer.stages[index - 1] ?? null,
    mark: markedPatch(),
    isPinned: pinnedPatch() !== null,
  });
  [...part("views").children].forEach((figure, index) => {
    paintView(part("canvas", figure), view(index), look(), colours);
  });
  paintView(part("large"), { ...view(largeView()), alike: alikePatches() }, look(), colours);
  root.dataset.painted = Number(root.dataset.painted ?? 0) + 1;
}

function chooseView(event) {
  const button = event.target.closest("[data-part=choose]");
  if (!button) return;
  stopPlaying();
  large = [...part("views").children].indexOf(button.closest("figure"));
  showLarge();
  publish();
}

// Where the mouse, a finger or the arrow keys point ----------------------------------------------------------------

function pointAt(patch) {
  if (patch === cursor || !shown.answer) return;
  cursor = patch;
  if (pinnedPatch() === null) showMark();
}

function setPin(patch) {
  if (!shown.answer) return;
  pin = patch;
  showMark();
  publish();
}

const togglePin = (patch) => setPin(patch === pinnedPatch() ? null : patch);

function patchUnder(event) {
  const [rows, columns] = shown.answer.grid;
  const box = event.target.getBoundingClientRect();
  const place = (share, lines) => Math.min(lines - 1, Math.max(0, Math.floor(share * lines)));
  const row = place((event.clientY - box.top) / box.height, rows);
  return row * columns + place((event.clientX - box.left) / box.width, columns);
}

function onPointer(event) {
  if (shown.answer) pointAt(event.target.matches("canvas") ? patchUnder(event) : null);
}

const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

function onKey(event) {
  if (!shown.answer) return;
  if (event.key in STEPS) moveMark(STEPS[event.key]);
  else if (event.key === "Enter" || event.key === " ") togglePin(markedPatch() ?? middlePatch());
  else if (event.key === "Escape" && markedPatch() !== null) leaveMark();
  else return;
  event.preventDefault();
}

/** Moves the marked patch, pinned or not, and stays on the grid. */
function moveMark([down, right]) {
  const [rows, columns] = shown.answer.grid;
  const from = markedPatch();
  if (from === null) return pointAt(middlePatch());
  const row = Math.min(rows - 1, Math.max(0, Math.floor(from / columns) + down));
  const column = Math.min(columns - 1, Math.max(0, (from % columns) + right));
  const to = row * columns + column;
  if (pinnedPatch() === null) return pointAt(to);
  cursor = to;
  return setPin(to);
}

function leaveMark() {
  if (pinnedPatch() === null) pointAt(null);
  else setPin(null);
}

function middlePatch() {
  const [rows, columns] = shown.answer.grid;
  return Math.floor(rows / 2) * columns + Math.floor(columns / 2);
}

function onFocus() {
  if (shown.answer && part("large").matches(":focus-visible")) pointAt(markedPatch() ?? middlePatch());
}

function onViewEvents() {
  part("legend-bar").style.background = VIRIDIS_GRADIENT;
  part("views").addEventListener("click", chooseView);
  part("layers").addEventListener("change", () => shown.answer && showLarge());
  part("large").addEventListener("click", (event) => shown.answer && togglePin(patchUnder(event)));
  part("large").addEventListener("keydown", onKey);
  part("large").addEventListener("focus", onFocus);
  part("large").addEventListener("blur", () => pointAt(null));
  for (const name of ["large", "views"]) {
    part(name).addEventListener("pointerdown", onPointer);
    part(name).addEventListener("pointermove", onPointer);
    part(name).addEventListener("pointerleave", () => pointAt(null));
  }
  new ResizeObserver(draw).observe(part("views"));
  new ResizeObserver(draw).observe(part("large"));
  new MutationObserver(draw).observe(document.body, { attributes: true, attributeFilter: ["class"] }); // dark mode
}
