// Gradio runs this file once, as a function of `element`, `props` and `watch`, when the line is mounted.
"use strict";

const part = (name) => element.querySelector(`[data-part="line-${name}"]`);

function show() {
  const { done = null, total = null, text = "", values = {}, problem = "" } = props.value ?? {};
  const bar = part("bar");
  bar.hidden = done === null;
  if (total) {
    bar.max = total;
    bar.value = done;
  } else {
    bar.removeAttribute("value");
  }
  part("text").textContent = text && dynamicvit.say(text, values);
  part("problem").textContent = problem;
  part("problem").hidden = !problem;
}

function translate() {
  dynamicvit.translate(element);
  show();
}

watch("value", show);
dynamicvit.on("language", translate);
translate();
