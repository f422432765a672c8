// Gradio runs this file once, as a function of `element`, `props` and `trigger`, when the head is mounted.
"use strict";

const buttons = Object.entries(props.value).map(([code, name]) => {
  const button = document.createElement("button");
  button.type = "button";
  button.lang = code;
  button.textContent = name;
  button.addEventListener("click", () => dynamicvit.setLanguage(code));
  return button;
});
element.querySelector('[data-part="languages"]').replaceChildren(...buttons);

function onLanguage() {
  for (const button of buttons) button.setAttribute("aria-pressed", button.lang === dynamicvit.language);
  dynamicvit.translate(element);
  trigger("language", { language: dynamicvit.language });
}

dynamicvit.on("language", onLanguage);
onLanguage();
