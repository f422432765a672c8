// Stands before the script of each tab, in the same function: Gradio gives a component one script and no imports.
"use strict";

const part = (name, from = element) => from.querySelector(`[data-part="${name}"]`);
const setText = (name, text, from = element) => { part(name, from).textContent = text; };

/** Makes an element with attributes and a text, and puts it at the end of a parent. */
function append(parent, tag, text = "", attributes = {}) {
  const node = document.createElement(tag);
  node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  parent.append(node);
  return node;
}

/** Gives the server's answer, or the sentence that says why there is none. */
async function call(send) {
  const noAnswer = () => ({ problem: dynamicvit.say("tabs.no_answer") });
  try {
    return (await send()) ?? noAnswer();
  } catch {
    return noAnswer();
  }
}

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

/** Joins items into a list as one says it. */
function listed(items) {
  const [separator, last] = [dynamicvit.say("list.separator"), dynamicvit.say("list.and")];
  return [items.slice(0, -1).join(separator), items.at(-1)].filter(Boolean).join(last);
}

/** Says which settings Explore has: a base ratio, one ratio for each stage, or the adaptive mode. */
function settingText({ keep_ratio: ratio, keep_mass: mass }) {
  if (mass !== undefined) return dynamicvit.say("prediction.adaptive_aside", { share: `${Math.round(100 * mass)} %` });
  if (typeof ratio === "number") return dynamicvit.say("prediction.pruned_aside", { ratio: ratio.toFixed(2) });
  const ratios = listed(ratio.map((one) => one.toFixed(2)));
  return dynamicvit.say("prediction.stages_aside", { ratios });
}
