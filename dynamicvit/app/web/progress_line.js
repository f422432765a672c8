// How far a long piece of work is, and what went wrong.

function show() {
  const { done = null, total = null, text = "", values = {}, problem = "" } = props.value ?? {};
  const bar = part("line-bar");
  bar.hidden = done === null;
  if (total) {
    bar.max = total;
    bar.value = done;
  } else {
    bar.removeAttribute("value");
  }
  part("line-text").textContent = text && dynamicvit.say(text, values);
  part("line-problem").textContent = dynamicvit.sentence(problem);
  part("line-problem").hidden = !problem;
}

function translate() {
  dynamicvit.translate(element);
  show();
}

watch("value", show);
dynamicvit.on("language", translate);
translate();
