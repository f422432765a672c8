// What the explorer is set to, as a line and as the value that the events of a tab get.

const line = part("line");
const narrow = matchMedia("(max-width: 700px)");
const digits = (ratio) => ratio.toFixed(2);

function describe(settings) {
  if ("keep_mass" in settings) return dynamicvit.say("current.mass", { share: digits(settings.keep_mass) });
  const ratios = [settings.keep_ratio].flat().map(digits);
  return dynamicvit.say("current.ratio", { ratios: ratios.join(" / ") });
}

function update() {
  const { model, settings } = dynamicvit.scene ?? {};
  const visitor = { language: dynamicvit.language, is_narrow: narrow.matches };
  line.textContent = settings ? describe(settings) : "";
  props.value = settings ? { model, settings, ...visitor } : visitor;
}

dynamicvit.on("scene", update);
narrow.addEventListener("change", update);
dynamicvit.on("language", () => {
  update();
  trigger("language");
});
update();
