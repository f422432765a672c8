// Stands before the script of each tab, after shared.js.

/** Puts a chart, given as the text of an <svg>, into a node and gives the element. */
function showChart(node, text) {
  const chart = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
  for (const size of ["width", "height"]) chart.removeAttribute(size);
  node.replaceChildren(document.importNode(chart, true));
  return node.firstElementChild;
}

/**
 * Asks the server one question after the other, with the buttons "start" and "stop", a progress bar and a message.
 * `ask(item)` sends a question, `receive(answer, item)` shows its answer and is waited for, `finish()` is called at the
 * end, also when the visitor stopped it. What was received stays.
 */
function createRun({ ask, receive, finish }) {
  let number = 0; // of the run; an answer to an earlier one is dropped
  let isRunning = false;

  function showState(running) {
    isRunning = running;
    part("start").hidden = running;
    part("stop").hidden = part("progress-box").hidden = !running;
  }

  function showProgress(done, all) {
    Object.assign(part("progress"), { value: done, max: all });
    setText("progress-text", dynamicvit.say("tabs.progress", { done, all }));
  }

  function end() {
    const hadFocus = document.activeElement === part("stop");
    showState(false);
    finish();
    const next = part("start").hidden ? part("verdict") : part("start");
    if (hadFocus) next.focus();
  }

  return {
    get isRunning() {
      return isRunning;
    },
    async start(items) {
      const mine = (number += 1);
      const hadFocus = document.activeElement === part("start");
      showMessage("");
      showState(true);
      if (hadFocus) part("stop").focus();
      for (const [done, item] of items.entries()) {
        showProgress(done, items.length);
        const answer = await call(() => ask(item));
        if (mine !== number) return;
        if (answer.problem) {
          showMessage(answer.problem);
          break;
        }
        await receive(answer, item);
        if (mine !== number) return;
      }
      end();
    },
    stop() {
      number += 1;
      if (isRunning) end();
    },
  };
}

function showMessage(sentence) {
  part("message").hidden = !sentence;
  setText("message", sentence);
}

/** Says which settings Explore has: a base ratio, one ratio for each stage, or the adaptive mode. */
function settingText({ keep_ratio: ratio, keep_mass: mass }) {
  if (mass !== undefined) return dynamicvit.say("prediction.adaptive_aside", { share: `${Math.round(100 * mass)} %` });
  if (typeof ratio === "number") return dynamicvit.say("prediction.pruned_aside", { ratio: ratio.toFixed(2) });
  const ratios = listed(ratio.map((one) => one.toFixed(2)));
  return dynamicvit.say("prediction.stages_aside", { ratios });
}
