// Asks the server method by method and draws what each leaves at the end, from the numbers of the patches.

const METHODS = props.value;
const MAX_SEED = 2147483647;
const MAX_CARDS = 300;

const cards = new Map(); // what was asked -> answer, oldest first
const crops = new Map(); // picture and model -> promise of the pixels
let shownFor = null; // picture, model, settings, basis and seed of the cards on the page

const NAMES = {
  predictor: ["compare.predictor", "compare.predictor_about"],
  "class-attention": ["compare.class_attention", "compare.class_attention_about"],
  merging: ["compare.merging", "compare.merging_about"],
  diversity: ["compare.diversity", "compare.diversity_about"],
  random: ["compare.random", "compare.random_about"],
  grid: ["compare.grid", "compare.grid_about"],
  none: ["compare.none", "compare.none_about"],
};
const nameOf = (method) => dynamicvit.say(NAMES[method][0]);
const basis = () => element.querySelector("[name=compare-basis]:checked").value;
const seed = () => (part("seed").value.trim() === "" ? NaN : Number(part("seed").value));
const hasSeed = () => Number.isInteger(seed()) && seed() >= 0 && seed() <= MAX_SEED;

/** Everything that the cards depend on; the seed only where chance decides. */
const asked = () => {
  const { image, model, settings } = dynamicvit.scene;
  return { image, model, settings, basis: basis(), seed: seed() };
};
const keyOf = (question, method) => {
  const parts = { ...question, method, seed: method === "random" ? question.seed : 0 };
  return JSON.stringify([parts.image, parts.model, parts.settings, parts.basis, parts.seed, parts.method]);
};
const known = (method) => cards.get(keyOf(asked(), method));
const missing = () => METHODS.filter((method) => !known(method));

const run = createRun({
  ask(method) {
    const { image, model, settings, basis: equal, seed: drawn } = asked();
    return server.compare_method(image, model, settings, method, equal, drawn);
  },
  receive(card, method) {
    remember(keyOf(asked(), method), card);
    return showCards();
  },
  finish: showEnd,
});

function remember(key, card) {
  cards.delete(key);
  cards.set(key, card);
  if (cards.size > MAX_CARDS) cards.delete(cards.keys().next().value);
}

// What is shown ---------------------------------------------------------------------------------------------------

/** Follows picture, model, settings, basis and seed: what is known of them is shown at once. */
function refresh() {
  const scene = dynamicvit.scene;
  const question = scene && JSON.stringify([asked(), dynamicvit.language]);
  if (question && question === shownFor) return;
  run.stop();
  shownFor = question;
  showMessage(scene ? "" : dynamicvit.say("tabs.no_scene"));
  if (!scene) {
    part("start").hidden = true;
    return;
  }
  setText("title", dynamicvit.say("compare.title", { title: scene.title }));
  setText("about", dynamicvit.say("compare.about", { setting: settingText(scene.settings) }));
  if (!hasSeed()) showMessage(dynamicvit.say("compare.bad_seed"));
  showCards();
  showEnd();
}

function showEnd() {
  if (!dynamicvit.scene) return;
  const isComplete = missing().length === 0;
  part("start").hidden = run.isRunning || isComplete;
  part("start").disabled = !hasSeed();
  setText("verdict", isComplete ? verdict() : "");
}

function verdict() {
  const reduced = METHODS.filter((method) => method !== "none");
  const [same, other] = [true, false].map((agrees) => reduced.filter((method) => known(method).agrees === agrees));
  if (!other.length) return dynamicvit.say("compare.verdict_all");
  if (!same.length) return dynamicvit.say("compare.verdict_none");
  const names = { same: listed(same.map(nameOf)), other: listed(other.map(nameOf)) };
  return dynamicvit.say("compare.verdict_some", names);
}

async function showCards() {
  const shown = METHODS.filter(known);
  const drawings = shown.map(showCard);
  part("cards").replaceChildren(...drawings.map(({ node }) => node));
  if (!shown.length) return;
  const pixels = await cropOf(dynamicvit.scene);
  for (const { canvas, card } of drawings) if (pixels && canvas.isConnected) drawCard(canvas, card, pixels);
}

function showCard(method) {
  const card = known(method);
  const all = card.grid[0] * card.grid[1];
  const node = document.createElement("li");
  node.className = "card";
  node.dataset.method = method;
  const head = append(node, "div", "", { class: "card-head" });
  append(head, "h3", nameOf(method));
  append(head, "p", dynamicvit.say(NAMES[method][1], { seed: seed() }), { class: "quiet" });
  const canvas = append(node, "canvas", "", { role: "img", "aria-label": imageText(method, card, all) });
  const facts = append(node, "div", "", { class: "facts" });
  append(facts, "p", card.label, { class: "answer" });
  append(facts, "p", card.percent);
  append(facts, "span", "", { class: "bar" }).style.setProperty("--share", card.share);
  showAgreement(facts, method, card);
  append(facts, "p", dynamicvit.say("compare.cost", card));
  if (card.kept) append(facts, "p", ratioText(card), { class: "quiet" });
  append(facts, "p", countText(card, all), { class: "quiet" });
  return { node, canvas, card };
}

function showAgreement(facts, method, { agrees }) {
  if (method === "none") append(facts, "p", dynamicvit.say("compare.reference"), { class: "agreement-reference" });
  else if (agrees) append(facts, "p", `✓ ${dynamicvit.say("compare.same")}`, { class: "agreement-same" });
  else append(facts, "p", `≠ ${dynamicvit.say("compare.other")}`, { class: "agreement-other" });
}

function ratioText({ ratios }) {
  if (!ratios.length) return dynamicvit.say("compare.adaptive");
  if (ratios.length === 1) return dynamicvit.say("compare.ratio", { ratio: ratios[0] });
  return dynamicvit.say("compare.stage_ratios", { ratios: listed(ratios) });
}

function countText({ kept, groups }, all) {
  const counts = { kept: kept?.length ?? all, all };
  return groups ? dynamicvit.say("compare.merged", counts) : dynamicvit.say("compare.kept", counts);
}

function imageText(method, { kept, groups }, all) {
  const values = { method: nameOf(method), kept: kept?.length, all };
  if (!kept) return dynamicvit.say("compare.image_all", values);
  return groups ? dynamicvit.say("compare.image_merged", values) : dynamicvit.say("compare.image_kept", values);
}

// Drawing ---------------------------------------------------------------------------------------------------------

/** Gives the part of the picture that the model sees; nothing when the server has no answer. */
function cropOf({ image, model }) {
  const key = `${image} ${model}`;
  if (!crops.has(key)) {
    crops.clear(); // one picture at a time is shown, and the next is asked for again
    crops.set(key, loadCrop(image, model));
  }
  return crops.get(key);
}

async function loadCrop(image, model) {
  const answer = await call(() => server.compare_crop(image, model));
  if (answer.problem) {
    showMessage(answer.problem);
    crops.clear();
    return null;
  }
  const pixels = new Image();
  pixels.src = answer.picture;
  await pixels.decode();
  return pixels;
}

function drawCard(canvas, card, pixels) {
  const side = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1));
  if (!side) return; // the tab is not seen; it is drawn anew when it is
  canvas.width = canvas.height = side;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(pixels, 0, 0, side, side);
  if (!card.kept) return;
  const kept = new Set(card.kept);
  const styles = getComputedStyle(part("compare"));
  if (card.groups) fillRegions(context, side, card, pixels);
  else fadeDropped(context, side, card.grid, kept, styles.getPropertyValue("--fade"));
  const edges = edgesBetween(side, card.grid, card.groups ? (patch) => card.groups[patch] : (patch) => kept.has(patch));
  stroke(context, edges, styles.getPropertyValue("--halo"), card.groups ? 3 : 4);
  stroke(context, edges, styles.getPropertyValue("--kept"), 2);
}

const cell = (index, count, side) => Math.round((index * side) / count);

/** Calls visit(patch, left, top, width, height) for each patch of a square picture. */
function eachPatch(side, [rows, columns], visit) {
  for (let row = 0; row < rows; row += 1) {
    for (let column = 0; column < columns; column += 1) {
      const [left, top] = [cell(column, columns, side), cell(row, rows, side)];
      const [right, bottom] = [cell(column + 1, columns, side), cell(row + 1, rows, side)];
      visit(row * columns + column, left, top, right - left, bottom - top);
    }
  }
}

function fadeDropped(context, side, grid, kept, colour) {
  context.fillStyle = colour;
  eachPatch(side, grid, (patch, ...box) => {
    if (!kept.has(patch)) context.fillRect(...box);
  });
}

/** Fills what one token stands for with the mean colour of its patches, through which the picture still shows. */
function fillRegions(context, side, { grid, groups }, pixels) {
  const [rows, columns] = grid;
  const small = new OffscreenCanvas(columns, rows).getContext("2d");
  small.imageSmoothingQuality = "high";
  small.drawImage(pixels, 0, 0, columns, rows);
  const colours = small.getImageData(0, 0, columns, rows).data;
  const sums = new Map(); // token -> red, green and blue added up, number of patches
  groups.forEach((token, patch) => {
    const sum = sums.get(token) ?? [0, 0, 0, 0];
    for (const channel of [0, 1, 2]) sum[channel] += colours[4 * patch + channel];
    sum[3] += 1;
    sums.set(token, sum);
  });
  eachPatch(side, grid, (patch, ...box) => {
    const [red, green, blue, count] = sums.get(groups[patch]);
    if (count === 1) return;
    context.fillStyle = `rgb(${red / count} ${green / count} ${blue / count} / 75%)`;
    context.fillRect(...box);
  });
}

/** Gives the lines between neighbouring patches that differ. */
function edgesBetween(side, [rows, columns], valueOf) {
  const edges = new Path2D();
  eachPatch(side, [rows, columns], (patch, left, top, width, height) => {
    if (patch % columns && valueOf(patch) !== valueOf(patch - 1)) {
      edges.moveTo(left, top);
      edges.lineTo(left, top + height);
    }
    if (patch >= columns && valueOf(patch) !== valueOf(patch - columns)) {
      edges.moveTo(left, top);
      edges.lineTo(left + width, top);
    }
  });
  return edges;
}

function stroke(context, edges, colour, width) {
  context.lineCap = "square";
  context.lineWidth = width * (window.devicePixelRatio || 1);
  context.strokeStyle = colour;
  context.stroke(edges);
}

// Events ----------------------------------------------------------------------------------------------------------

function onLanguage() {
  dynamicvit.translate(element);
  refresh();
}

const redraw = () => { if (dynamicvit.scene) showCards(); };

part("start").addEventListener("click", () => run.start(missing()));
part("stop").addEventListener("click", () => run.stop());
part("seed").addEventListener("input", refresh);
for (const choice of element.querySelectorAll("[name=compare-basis]")) choice.addEventListener("change", refresh);
let width = 0;
new ResizeObserver(() => {
  if (element.clientWidth === width) return;
  width = element.clientWidth;
  redraw();
}).observe(element);
new MutationObserver(redraw).observe(document.body, { attributes: true, attributeFilter: ["class"] }); // dark mode
dynamicvit.on("language", onLanguage);
dynamicvit.on("scene", refresh);
onLanguage();
