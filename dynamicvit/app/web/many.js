// The numbers and maps of a survey.

const NUMBERS = ["pictures", "agreement", "agreement_detail", "saved", "saved_detail"];

function show() {
  const survey = props.value;
  part("survey").hidden = !survey;
  if (!survey) return;
  const hasPictures = Boolean(survey.pictures);
  part("numbers").hidden = part("maps-figure").hidden = !hasPictures;
  if (hasPictures) showNumbers(survey);
  showProblems(survey);
}

function showProblems({ problems }) {
  part("left-out").hidden = !problems.length;
  part("problems").replaceChildren(...problems.map(problemLine));
}

function showNumbers(survey) {
  for (const name of NUMBERS) setText(name, survey[name]);
  showChart(part("maps"), survey.maps);
  part("maps").setAttribute("aria-label", survey.maps_label);
}

function problemLine({ name, sentence }) {
  const line = document.createElement("li");
  append(line, "b", name);
  line.append(` ${dynamicvit.sentence(sentence)}`);
  return line;
}

function onLanguage() {
  dynamicvit.translate(element);
  if (props.value) showProblems(props.value);
}

watch("value", show);
dynamicvit.on("language", onLanguage);
onLanguage();
show();
