// The numbers and maps of a survey.

const NUMBERS = ["pictures", "agreement", "agreement_detail", "saved", "saved_detail"];

function show() {
  const survey = props.value;
  part("survey").hidden = !survey;
  if (!survey) return;
  const hasPictures = Boolean(survey.pictures);
  part("numbers").hidden = part("maps-figure").hidden = !hasPictures;
  if (hasPictures) showNumbers(survey);
  part("left-out").hidden = !survey.problems.length;
  part("problems").replaceChildren(...survey.problems.map(problemLine));
}

function showNumbers(survey) {
  for (const name of NUMBERS) setText(name, survey[name]);
  showChart(part("maps"), survey.maps);
  part("maps").setAttribute("aria-label", survey.maps_label);
}

function problemLine({ name, sentence }) {
  const line = document.createElement("li");
  append(line, "b", name);
  line.append(` ${sentence}`);
  return line;
}

watch("value", show);
dynamicvit.on("language", () => dynamicvit.translate(element));
dynamicvit.translate(element);
show();
