// Draws the method for what Explore shows, as soon as the tab is seen.

let drawn = ""; // what the figure shows
let isVisible = false;
let isDrawing = false;
let restTimer = 0;

const wanted = () => {
  if (!dynamicvit.scene) return "";
  const { image, model, settings } = dynamicvit.scene;
  return JSON.stringify([image, model, settings, dynamicvit.language]);
};

function waitForRest() {
  clearTimeout(restTimer);
  if (isVisible) restTimer = setTimeout(draw, REST_MS);
}

async function draw() {
  const asked = wanted();
  part("empty").hidden = Boolean(asked);
  if (!asked || asked === drawn || isDrawing || !isVisible) return;
  isDrawing = true;
  const answer = await call(() => server.draw_method(dynamicvit.scene, dynamicvit.language));
  isDrawing = false;
  drawn = asked;
  showMessage(answer.problem ?? "");
  if (answer.svg) showChart(part("method"), answer.svg);
  draw();
}

function onLanguage() {
  dynamicvit.translate(element);
  waitForRest();
}

dynamicvit.on("language", onLanguage);
dynamicvit.on("scene", waitForRest);
new IntersectionObserver(([entry]) => {
  isVisible = entry.isIntersecting;
  if (isVisible) draw();
}).observe(part("about-root"));
onLanguage();
