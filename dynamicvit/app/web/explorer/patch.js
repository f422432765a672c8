// What became of one patch: at each stage its score, its rank and how near the cut it was; as a table and as a sentence.

const SCORE_UNITS = 10000; // the server sends scores as whole numbers
const STRIP_HEIGHT = 28;

const score = (units) => (units / SCORE_UNITS).toFixed(3);
const signed = (units) => `${units < 0 ? "−" : "+"}${score(Math.abs(units))}`;

/** Gives what a stage did with a patch: null where it was dropped before, else {isKept, rank, score, gap, places}. */
function fateAt(stage, patch) {
  if (stage.scores[patch] === null) return null;
  const [rank, kept] = [stage.ranks[patch], stage.kept.length];
  const isKept = rank <= kept;
  const gap = stage.cut === null ? null : stage.scores[patch] - stage.cut;
  return { isKept, rank, score: stage.scores[patch], gap, places: isKept ? kept - rank + 1 : rank - kept };
}

function describePlace(patch, [, columns]) {
  const [row, column] = [Math.floor(patch / columns) + 1, (patch % columns) + 1];
  return dynamicvit.say("explore.patch_place", { row, column });
}

function describeEnd(answer, patch) {
  const isDropped = answer.stages.map((stage) => !fateAt(stage, patch)?.isKept);
  if (!isDropped.includes(true)) return sayOf(answer, "explore.patch_kept");
  const numbers = isDropped.flatMap((is, k) => (is ? [k + 1] : [])); // with a fast path it may come back
  const key = numbers.length > 1 ? "explore.patch_more_stages" : "explore.patch_one_stage";
  const stages = dynamicvit.say(key, { numbers: listed(numbers) });
  return sayOf(answer, "explore.patch_dropped", { stage: numbers[0], stages });
}

/** Says in a sentence why a patch was dropped, or how near it was to it. */
function describeWhy(answer, patch) {
  const { stages } = answer;
  const dropped = stages.findIndex((stage) => !fateAt(stage, patch)?.isKept);
  const stage = stages.at(dropped); // the last one of a patch that stays
  const fate = fateAt(stage, patch);
  const values = { score: score(fate.score), rank: fate.rank, live: stage.live, kept: stage.kept.length };
  if (dropped < 0) return sayOf(answer, "explore.why_kept", { ...values, stage: stage.name });
  return sayOf(answer, "explore.why_dropped", { ...values, stage: answer.has_fast_path ? stage.name : dropped + 1 });
}

/** Gives the sentence for a screen reader. */
function describePatch(answer, patch, isPinned) {
  const [place, end] = [describePlace(patch, answer.grid), describeEnd(answer, patch)];
  const head = dynamicvit.say("explore.patch_fate", { place, end });
  const pinned = isPinned ? dynamicvit.say("explore.patch_is_pinned") : "";
  return [head, pinned, ...answer.stages.map((stage) => describeStage(answer, stage, patch))].filter(Boolean).join(" ");
}

function describeStage(answer, stage, patch) {
  const fate = fateAt(stage, patch);
  if (!fate) return "";
  const values = { stage: stage.name, score: score(fate.score), rank: fate.rank, live: stage.live };
  if (fate.gap === null) return sayOf(answer, "explore.patch_uncut", values);
  const distance = { gap: score(Math.abs(fate.gap)), places: fate.places };
  return sayOf(answer, fate.isKept ? "explore.patch_above" : "explore.patch_below", { ...values, ...distance });
}

/** Fills the table, one column for each stage; dashes where there is nothing to say. */
function showPatch(answer, patch, isPinned) {
  const { stages, grid } = answer;
  const fates = stages.map((stage) => (patch === null ? null : fateAt(stage, patch)));
  const dropped = fates.map((fate) => Boolean(fate && !fate.isKept));
  const isTouched = matchMedia("(pointer: coarse)").matches;
  const hint = isTouched ? "explore.patch_none_touch" : "explore.patch_none";
  setText("patch-place", patch === null ? dynamicvit.say(hint) : describePlace(patch, grid));
  setText("patch-end", patch === null ? "" : describeEnd(answer, patch));
  setText("patch-why", patch === null ? "" : describeWhy(answer, patch));
  setText("patch-status", patch === null ? "" : describePatch(answer, patch, isPinned));
  part("patch-end").classList.toggle("is-dropped", dropped.includes(true));
  part("patch-pinned").hidden = !isPinned;
  part("readout").classList.toggle("is-blank", patch === null);
  fillRow("patch-stages", stages.map((stage, k) => describeColumn(stage, fates[k])), dropped, "th");
  fillRow("patch-strips", fates.map(() => ""), dropped);
  stages.forEach((stage, k) => part("patch-strips").children[k + 1].replaceChildren(scoreStrip(stage, patch)));
  fillRow("patch-scores", fates.map((fate) => fate && score(fate.score)), dropped);
  fillRow("patch-ranks", fates.map((fate, k) => fate && describeRank(fate, stages[k])), dropped);
  fillRow("patch-gaps", fates.map((fate) => fate && fate.gap !== null && signed(fate.gap)), dropped);
  fillRow("patch-places", fates.map((fate) => fate && fate.gap !== null && `${fate.isKept ? "+" : "−"}${fate.places}`), dropped);
}

function describeColumn({ name }, fate) {
  if (!fate) return name;
  return fate.isKept
    ? dynamicvit.say("explore.patch_stage_kept", { stage: name })
    : dynamicvit.say("explore.patch_stage_dropped", { stage: name });
}

/** Draws all scores of a stage, the best first, in two colours for kept and dropped; the patch is a line among them. */
function scoreStrip(stage, patch) {
  const sorted = stage.scores.filter((units) => units !== null).sort((one, other) => other - one);
  const [low, high] = scoreRange(stage);
  const height = (units) => 3 + (STRIP_HEIGHT - 3) * ((units - low) / (high - low || 1));
  const area = (from, to, kind) => {
    const tops = sorted.slice(from, to).map((units, k) => `V${STRIP_HEIGHT - height(units)}H${from + k + 1}`);
    appendSvg(strip, "path", { class: kind, d: `M${from} ${STRIP_HEIGHT}${tops.join("")}V${STRIP_HEIGHT}Z` });
  };
  const strip = appendSvg(null, "svg", {
    class: "strip", viewBox: `0 0 ${sorted.length} ${STRIP_HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": true,
  });
  area(0, stage.kept.length, "strip-kept");
  area(stage.kept.length, sorted.length, "strip-dropped");
  if (patch !== null && stage.scores[patch] !== null) {
    const place = stage.ranks[patch] - 0.5;
    appendSvg(strip, "path", { class: "strip-mark", d: `M${place} 0V${STRIP_HEIGHT}` });
  }
  return strip;
}

const describeRank = ({ rank }, { live }) => dynamicvit.say("explore.patch_rank_of", { rank, live });

function fillRow(name, texts, dropped, tag = "td") {
  const row = part(name);
  while (row.children.length > 1) row.lastElementChild.remove();
  texts.forEach((text, k) => {
    const cell = document.createElement(tag);
    if (tag === "th") cell.scope = "col";
    cell.classList.toggle("is-dropped", dropped[k]);
    cell.textContent = text || "–";
    row.append(cell);
  });
}
