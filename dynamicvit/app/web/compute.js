// Measures what Explore shows; what was measured stays for image, model and settings.

const NUMBERS = ["tokens", "gmacs", "milliseconds"].flatMap((name) => [`dense_${name}`, `pruned_${name}`]);
const MAX_PROFILES = 40;

const profiles = new Map(); // image, model, settings and language -> answer, oldest first

const wanted = () => {
  if (!dynamicvit.scene) return null;
  const { image, model, settings } = dynamicvit.scene;
  return JSON.stringify([image, model, settings, dynamicvit.language]);
};

const run = createRun({
  name: "compute_profile",
  question: wanted,
  missing: () => (profiles.has(wanted()) ? [] : ["profile"]),
  forget() {
    profiles.delete(wanted());
    refresh();
  },
  ask() {
    const { image, model, settings } = dynamicvit.scene;
    return server.compute_profile(image, model, settings, element.clientWidth, dynamicvit.language);
  },
  receive(answer) {
    remember(profiles, wanted(), answer, MAX_PROFILES);
    show(answer);
  },
  finish() {},
});

/** Shows what is known about the scene, and has the rest measured. */
function refresh() {
  showMessage(dynamicvit.scene ? "" : dynamicvit.say("tabs.no_scene"));
  if (!dynamicvit.scene) return;
  setText("title", dynamicvit.say("compute.title", {
    title: dynamicvit.scene.title,
    setting: settingText(dynamicvit.scene.settings),
  }));
  const known = profiles.get(wanted());
  if (known) show(known);
  else part("found").classList.add("is-stale");
  run.follow();
}

function show(answer) {
  part("found").hidden = false;
  part("found").classList.remove("is-stale");
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

dynamicvit.on("language", onLanguage);
dynamicvit.on("scene", refresh);
onLanguage();
