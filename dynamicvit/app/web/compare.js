// Asks the server method by method and draws what each leaves at the end, from the numbers of the patches.

const MAX_SEED = 2147483647;
const MAX_CARDS = 300;

const cards = new Map(); // what was asked -> answer, oldest first
let shownFor = null; // image, model, settings, basis and seed of the cards on the page

const NAMES = {
  predictor: ["compare.predictor", "compare.predictor_about"],
  "class-attention": ["compare.class_attention", "compare.class_attention_about"],
  merging: ["compare.merging", "compare.merging_about"],
  diversity: ["compare.diversity", "compare.diversity_about"],
  random: ["compare.random", "compare.random_about"],
  grid: ["compare.grid", "compare.grid_about"],
  none: ["compare.none", "compare.none_about"],
};
const EXPLAINED = ["predictor", "class-attention", "merging", "diversity"]; // their names have a "_text"
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
const methods = () => dynamicvit.scene.methods; // by which the model can be asked
const missing = () => methods().filter((method) => !known(method));

const run = createRun({
  name: "compare_method",
  question: () => (dynamicvit.scene && hasSeed() ? JSON.stringify([asked(), dynamicvit.language]) : null),
  missing,
  forget() {
    for (const method of methods()) cards.delete(keyOf(asked(), method));
    showCards();
    showEnd();
  },
  ask(method) {
    const { image, model, settings, basis: equal, seed: drawn } = asked();
    return server.compare_method(image, model, settings, method, equal, drawn);
  },
  receive(card, method) {
    remember(cards, keyOf(asked(), method), card, MAX_CARDS);
    showCards();
  },
  finish: showEnd,
});

// What is shown ---------------------------------------------------------------------------------------------------

/** Follows image, model, settings, basis and seed: what is known of them is shown at once. */
function refresh() {
  const scene = dynamicvit.scene;
  const question = scene && JSON.stringify([asked(), dynamicvit.language]);
  if (question && question === shownFor) return;
  shownFor = question;
  showMessage(scene ? "" : dynamicvit.say("tabs.no_scene"));
  if (!scene) return;
  setText("title", dynamicvit.say("compare.title", { title: scene.title, count: methods().length }));
  setText("about", dynamicvit.say("compare.about", { method: nameOf(methods()[0]), setting: settingText(scene.settings) }));
  if (!hasSeed()) showMessage(dynamicvit.say("compare.bad_seed"));
  showCards();
  showEnd();
  run.follow();
}

function showEnd() {
  if (dynamicvit.scene) setText("verdict", missing().length ? "" : verdict());
}

function verdict() {
  const reduced = methods().filter((method) => method !== "none");
  const [same, other] = [true, false].map((agrees) => reduced.filter((method) => known(method).agrees === agrees));
  if (!other.length) return dynamicvit.say("compare.verdict_all");
  if (!same.length) return dynamicvit.say("compare.verdict_none");
  const names = { same: listed(same.map(nameOf)), other: listed(other.map(nameOf)) };
  return dynamicvit.say("compare.verdict_some", names);
}

function showCards() {
  const shown = methods().filter(known);
  const drawings = shown.map(showCard);
  part("cards").replaceChildren(...drawings.map(({ node }) => node));
  if (!shown.length) return;
  const colours = paintColours(part("compare"));
  for (const { canvas, card } of drawings) {
    const view = { pixels: dynamicvit.pixels, grid: card.grid, stage: card.kept && card, mark: null };
    paintView(canvas, view, { layer: card.groups ? "merged" : "faded", outline: true }, colours);
  }
}

function showCard(method) {
  const card = known(method);
  const all = card.grid[0] * card.grid[1];
  const node = document.createElement("li");
  node.className = "card";
  node.dataset.method = method;
  const head = append(node, "div", "", { class: "card-head" });
  append(head, "h3", nameOf(method));
  const about = append(head, "p", "", { class: "quiet" });
  const what = dynamicvit.say(NAMES[method][1], { seed: seed() });
  if (EXPLAINED.includes(method)) append(about, "button", what, { class: "term", type: "button", "data-hint": NAMES[method][0] });
  else about.textContent = what;
  const canvas = append(node, "canvas", "", { role: "img", "aria-label": imageText(method, card, all) });
  const facts = append(node, "div", "", { class: "facts" });
  append(facts, "p", dynamicvit.className(card.label), { class: "answer" });
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

function countText(card, all) {
  const counts = { kept: card.kept?.length ?? all, all };
  return card.groups ? dynamicvit.say("compare.merged", counts) : sayOf(card, "compare.kept", counts);
}

function imageText(method, card, all) {
  const values = { method: nameOf(method), kept: card.kept?.length, all };
  if (!card.kept) return dynamicvit.say("compare.image_all", values);
  return card.groups ? dynamicvit.say("compare.image_merged", values) : sayOf(card, "compare.image_kept", values);
}

// Events ----------------------------------------------------------------------------------------------------------

function onLanguage() {
  dynamicvit.translate(element);
  refresh();
}

part("seed").addEventListener("input", refresh);
for (const choice of element.querySelectorAll("[name=compare-basis]")) choice.addEventListener("change", refresh);
whenLookChanges(() => { if (dynamicvit.scene) showCards(); });
dynamicvit.on("language", onLanguage);
dynamicvit.on("scene", refresh);
onLanguage();
