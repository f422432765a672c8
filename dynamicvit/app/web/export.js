// Files of what Explore shows, its link, and saved analyses.

const SHOWN_AS_IMAGE = ["png", "svg", "gif", "webp"];

const seen = new Set(); // keys of the images that this page has shown
let waiting = ""; // a saved analysis whose image is not here yet
let previewUrl = "";
let isBusy = false;

function onScene(scene) {
  if (!scene) return;
  const isNew = !seen.has(scene.image);
  seen.add(scene.image);
  part("empty").hidden = true;
  part("room").hidden = false;
  showWhat();
  if (isNew && waiting) openAnalysis(waiting);
}

function showWhat() {
  if (!dynamicvit.scene) return;
  const { title, settings } = dynamicvit.scene;
  const ratios = [settings.keep_ratio ?? settings.keep_mass].flat().map((one) => one.toFixed(2));
  const values = { title, ratios: ratios.join(" / ") };
  setText(
    "what",
    settings.keep_mass ? dynamicvit.say("export.what_mass", values) : dynamicvit.say("export.what", values),
  );
}

// Files -----------------------------------------------------------------------------------------------------------

async function save(format) {
  if (isBusy) return;
  isBusy = true;
  showMessage("");
  setText("state", dynamicvit.say("export.drawing"));
  const answer = await call(() => server.export(format, dynamicvit.scene, dynamicvit.language));
  isBusy = false;
  setText("state", "");
  if (answer.problem) {
    showMessage(answer.problem);
    return;
  }
  const file = new Blob([Uint8Array.from(atob(answer.data), (byte) => byte.charCodeAt(0))], { type: answer.type });
  showFile(file, answer, format);
}

/** Hands the file to the browser and shows it, if it is an image. */
function showFile(file, { name, note }, format) {
  URL.revokeObjectURL(previewUrl);
  previewUrl = URL.createObjectURL(file);
  const link = document.createElement("a");
  Object.assign(link, { href: previewUrl, download: name });
  link.click();
  const size = Math.max(1, Math.round(file.size / 1000));
  setText("state", `${dynamicvit.say("export.saved", { name, size })} ${note}`.trim());
  const isShown = SHOWN_AS_IMAGE.includes(format);
  part("preview").hidden = !isShown;
  if (!isShown) return;
  Object.assign(part("preview-image"), { src: previewUrl, alt: dynamicvit.say("export.preview", { name }) });
  setText("preview-name", name);
}

// Link ------------------------------------------------------------------------------------------------------------

/** The same link leaves the field alone: what is selected in it, and what is said of it. */
function showLink() {
  const field = part("link");
  if (!dynamicvit.link || field.value === dynamicvit.link.url) return;
  field.value = dynamicvit.link.url;
  if (document.activeElement === field) field.select();
  setText("link-state", uploadNote());
}

async function copyLink() {
  const field = part("link");
  try {
    await navigator.clipboard.writeText(field.value);
    setText("link-state", `${dynamicvit.say("export.copied")} ${uploadNote()}`.trim());
  } catch {
    field.select(); // no clipboard here, for instance without https: the visitor presses the keys
    setText("link-state", `${dynamicvit.say("export.copy_by_hand")} ${uploadNote()}`.trim());
  }
}

const uploadNote = () => (dynamicvit.link?.holdsPicture ? "" : dynamicvit.say("export.link_upload"));

// A saved analysis ------------------------------------------------------------------------------------------------

async function openAnalysis(text) {
  const answer = await call(() => server.open_analysis(text, [...seen], dynamicvit.language));
  waiting = answer.waits ? text : "";
  setText("open-state", answer.problem ? dynamicvit.sentence(answer.problem) : answer.note);
  if (answer.open) dynamicvit.open(answer.open);
}

async function onFile() {
  const [file] = part("file").files;
  part("file").value = ""; // so that the same file can be chosen again
  if (file) await openAnalysis(await file.text());
}

function onLanguage() {
  dynamicvit.translate(element);
  showWhat();
  setText("link-state", uploadNote());
}

part("files").addEventListener("click", (event) => {
  const button = event.target.closest("button");
  if (button) save(button.dataset.format);
});
part("copy").addEventListener("click", copyLink);
part("link").addEventListener("focus", () => part("link").select());
part("open").addEventListener("click", () => part("file").click());
part("file").addEventListener("change", onFile);
dynamicvit.on("scene", onScene);
dynamicvit.on("link", showLink);
dynamicvit.on("language", onLanguage);
onLanguage();
showLink();
onScene(dynamicvit.scene);
