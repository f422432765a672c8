// The example images as a row of buttons.

const row = part("row");

function exampleButton({ name, title, url }) {
  const button = document.createElement("button");
  const picture = document.createElement("img");
  button.type = "button";
  button.title = title;
  picture.src = url;
  button.append(picture);
  button.addEventListener("click", () => trigger("choose", { name }));
  return button;
}

function onLanguage() {
  dynamicvit.translate(element);
  for (const button of row.children) {
    button.firstElementChild.alt = dynamicvit.say("examples.one", { title: button.title });
  }
}

row.replaceChildren(...props.value.map(exampleButton));
dynamicvit.on("language", onLanguage);
onLanguage();
