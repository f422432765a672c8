// Title and language switch.

const buttons = Object.entries(props.value).map(([code, name]) => {
  const button = document.createElement("button");
  button.type = "button";
  button.lang = code;
  button.textContent = name;
  button.addEventListener("click", () => dynamicvit.setLanguage(code));
  return button;
});
part("languages").replaceChildren(...buttons);

function onLanguage() {
  for (const button of buttons) button.setAttribute("aria-pressed", button.lang === dynamicvit.language);
  dynamicvit.translate(element);
  trigger("language", { language: dynamicvit.language });
}

dynamicvit.on("language", onLanguage);
onLanguage();
