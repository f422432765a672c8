// The whole image with a frame around what the model sees of it, which is moved by pointer and keys.

const KEY_STEP = 0.05; // of the room that the frame has
const REST_MS = 250; // after a key, before the model looks again
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const CENTRE = [0.5, 0.5];

const root = part("crop");
const whole = part("whole");
const frame = part("frame");
let at = CENTRE; // where the frame lies: shares of the room that it leaves, from left and top
let size = [1, 1]; // of the frame, in shares of the image
let held = null; // where in the frame the pointer holds it, in shares of the image
let restTimer = 0;

const within = (share) => Math.min(1, Math.max(0, share));

function place(next) {
  at = next.map((share) => Math.round(100 * within(share)) / 100);
  const [left, top] = at.map((share, axis) => share * (1 - size[axis]));
  const percent = { left, top, width: size[0], height: size[1] };
  for (const [name, share] of Object.entries(percent)) frame.style[name] = `${100 * share}%`;
}

function onScene() {
  const { whole: address, at: shown, box } = dynamicvit.frame;
  root.hidden = false;
  if (part("image").src !== address) part("image").src = address;
  size = box.slice(2).map((share) => Math.min(1, share));
  if (!held) place(shown);
  showTitle();
}

function showTitle() {
  const percent = Math.round(100 * size[0] * size[1]);
  setText("title", dynamicvit.say("crop.title", { percent }));
  part("centre").hidden = at.every((share) => share === CENTRE[0]);
}

/** Asks for the same view of the image with the crop where the frame is now. */
function look() {
  clearTimeout(restTimer);
  const { image } = dynamicvit.frame;
  const key = at.every((share) => share === CENTRE[0]) ? image : `${image}@${at.map((share) => share.toFixed(2)).join()}`;
  const { model, settings, stage, patch } = dynamicvit.scene;
  if (key !== dynamicvit.scene.image) dynamicvit.open({ image: key, model, settings, stage, patch });
  showTitle();
}

const pointed = (event) => {
  const { left, top, width, height } = whole.getBoundingClientRect();
  return [(event.clientX - left) / width, (event.clientY - top) / height];
};

/** Puts the frame's corner at a place of the image; without room on an axis it stays in the middle. */
function placeCorner(corner) {
  place(corner.map((share, axis) => (size[axis] < 1 ? share / (1 - size[axis]) : CENTRE[axis])));
}

function onDown(event) {
  const point = pointed(event);
  const corner = at.map((share, axis) => share * (1 - size[axis]));
  const isInside = point.every((share, axis) => share >= corner[axis] && share <= corner[axis] + size[axis]);
  held = isInside ? point.map((share, axis) => share - corner[axis]) : size.map((share) => share / 2);
  whole.setPointerCapture(event.pointerId);
  onMove(event);
}

function onMove(event) {
  if (held) placeCorner(pointed(event).map((share, axis) => share - held[axis]));
}

function onUp() {
  if (!held) return;
  held = null;
  look();
}

function onKey(event) {
  const move = MOVES[event.key];
  if (!move) return;
  event.preventDefault();
  place(at.map((share, axis) => share + KEY_STEP * move[axis]));
  clearTimeout(restTimer);
  restTimer = setTimeout(look, REST_MS);
}

whole.addEventListener("pointerdown", onDown);
whole.addEventListener("pointermove", onMove);
whole.addEventListener("pointerup", onUp);
whole.addEventListener("pointercancel", onUp);
whole.addEventListener("dragstart", (event) => event.preventDefault());
frame.addEventListener("keydown", onKey);
part("centre").addEventListener("click", () => {
  place(CENTRE);
  look();
  frame.focus();
});
dynamicvit.on("scene", onScene);
dynamicvit.on("language", onLanguage);

function onLanguage() {
  dynamicvit.translate(element);
  if (dynamicvit.frame) showTitle();
}

root.open = matchMedia("(min-width: 821px)").matches;
onLanguage();
if (dynamicvit.frame) onScene();
