// What the models answer and what that costs.

const timings = new Map(); // as `answers`: (image, model, language, settings) -> timing

/** Says in a sentence what was dropped, what is answered and what that saves. */
function showHeadline(answer, timing) {
  const [dense, pruned] = [answer.dense[0].label, answer.pruned[0].label];
  const what = sayOf(answer, "explore.headline_dropped", answer);
  const answers = answer.agrees ? "explore.headline_same" : "explore.headline_other";
  const values = { what, dense, pruned, costs: describeCosts(answer, timing) };
  setText("headline", dynamicvit.say(answers, values));
  setText("number", answer.macs.saved.replace("−", ""));
  setText("number-of", dynamicvit.say(answer.macs.is_loss ? "explore.number_more" : "explore.number_less"));
}

/** Says what is saved: the arithmetic, and the time where it has been measured. */
function describeCosts({ macs }, timing) {
  const arithmetic = macs.is_loss ? "explore.headline_more_macs" : "explore.headline_less_macs";
  const costs = [dynamicvit.say(arithmetic, { share: macs.saved.replace("−", "") })];
  if (timing && !timing.problem) {
    const time = timing.is_slower ? "explore.headline_more_time" : "explore.headline_less_time";
    costs.push(dynamicvit.say(time, { share: timing.saved.replace("−", "") }));
  }
  return costs.join(dynamicvit.say("explore.headline_and"));
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
  part("macs-saved").classList.toggle("is-loss", answer.macs.is_loss);
  const timing = timings.get(shown.key);
  showHeadline(answer, timing);
  if (timing) showTiming(timing);
  else part("time-row").classList.add("is-stale"); // the last ones stay, dimmed, until the slider rests
}

function showTiming(timing) {
  showHeadline(shown.answer, timing);
  followTour();
  part("time-row").classList.remove("is-stale");
  setText("time-note", timing.problem ? dynamicvit.sentence(timing.problem) : timing.note);
  part("time-note").classList.toggle("is-slower", Boolean(timing.is_slower));
  part("time-saved").classList.toggle("is-loss", Boolean(timing.is_slower));
  for (const name of ["dense", "pruned", "saved"]) setText(`time-${name}`, timing[name] ?? "–");
}
