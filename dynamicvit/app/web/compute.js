// Measures what Explore shows, as soon as the tab is seen; what was measured stays for picture, model and settings.

const REST_MS = 400; // the visitor has stopped moving things in Explore
const NUMBERS = ["tokens", "gmacs", "milliseconds"].flatMap((name) => [`dense_${name}`, `pruned_${name}`]);
const MAX_PROFILES = 40;

const profiles = new Map(); // picture, model, settings and language -> answer, oldest first
let isSeen = false;
let isMeasuring = false;
let restTimer = 0;

const wanted = () => {
  const { image, model, settings } = dynamicvit.scene;
  return JSON.stringify([image, model, settings, dynamicvit.language]);
};

/** Shows what is known about the scene, and measures what is not once the tab is seen and the slider rests. */
function refresh() {
  clearTimeout(restTimer);
  if (!dynamicvit.scene) {
    showMessage(dynamicvit.say("tabs.no_scene"));
    return;
  }
  showMessage("");
  setText("title", dynamicvit.say("compute.title", {
    title: dynamicvit.scene.title,
    setting: settingText(dynamicvit.scene.settings),
  }));
  const known = profiles.get(wanted());
  if (known) {
    show(known);
    return;
  }
  part("found").classList.add("is-stale");
  setText("explanation", dynamicvit.say("compute.measuring"));
  if (isSeen) restTimer = setTimeout(measure, REST_MS);
}

async function measure() {
  if (isMeasuring) return;
  isMeasuring = true;
  part("again").disabled = true;
  const key = wanted();
  const { image, model, settings } = dynamicvit.scene;
  const width = element.clientWidth;
  const answer = await call(() => server.compute_profile(image, model, settings, width, dynamicvit.language));
  isMeasuring = false;
  part("again").disabled = false;
  if (!answer.problem) remember(profiles, key, answer, MAX_PROFILES);
  if (key !== wanted()) refresh();
  else if (answer.problem) showProblem(answer.problem);
  else show(answer);
}

function showProblem(sentence) {
  showMessage(sentence);
  setText("explanation", "");
  part("again").hidden = false;
}

function show(answer) {
  part("found").hidden = part("again").hidden = false;
  part("found").classList.remove("is-stale");
  showMessage("");
  setText("explanation", answer.explanation);
  setText("how", answer.how);
  showChart(part("chart"), answer.svg);
  part("rows").replaceChildren();
  for (const row of answer.rows) {
    const line = append(part("rows"), "tr");
    append(line, "th", row.name, { scope: "row" });
    for (const name of NUMBERS) append(line, "td", row[name]);
  }
}

function onLanguage() {
  dynamicvit.translate(element);
  refresh();
}

part("again").addEventListener("click", measure);
new IntersectionObserver((entries) => {
  isSeen = entries.at(-1).isIntersecting;
  if (isSeen) refresh();
}).observe(element);
dynamicvit.on("language", onLanguage);
dynamicvit.on("scene", refresh);
onLanguage();
