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

part("skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address is that of what is shown
  document.querySelector("#tabs [role=tab][aria-selected=true]")?.focus();
});

function onLanguage() {
  for (const button of buttons) button.setAttribute("aria-pressed", button.lang === dynamicvit.language);
  dynamicvit.translate(element);
  trigger("language", { language: dynamicvit.language });
}

dynamicvit.on("language", onLanguage);
onLanguage();
