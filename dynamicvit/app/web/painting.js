// How a view is painted on its canvas, in Explore and in Compare: the image, what a layer puts over its patches, lines, and the marked patch.

// The colour map viridis at 0, 0.1, ... 1: equal steps of the score look equal, also without seeing colours.
const VIRIDIS = [
  [68, 1, 84], [72, 36, 117], [65, 68, 135], [53, 95, 141], [42, 120, 142], [33, 145, 140],
  [34, 168, 132], [68, 191, 112], [122, 209, 81], [189, 223, 38], [253, 231, 37],
];
const SCORE_OPACITY = 0.8;
const VIRIDIS_GRADIENT = `linear-gradient(to right, ${VIRIDIS.map((rgb) => `rgb(${rgb.join(" ")})`).join(", ")})`;

const LAYERS = {
  faded: (context, frame) => {
    context.fillStyle = frame.colours.fade;
    context.fill(frame.dropped);
    hatch(context, frame.dropped, frame);
  },
  /** The look of the authors' figures: 0.2 * pixel + 0.8 * 255. */
  white: (context, frame) => {
    context.fillStyle = "rgb(255 255 255 / 80%)";
    context.fill(frame.dropped);
  },
  merged: fillMerged,
  /** From the lowest to the highest score of the stage; what was dropped before has none. */
  scores: (context, frame) => {
    const [low, high] = scoreRange(frame.stage);
    frame.stage.scores.forEach((score, patch) => {
      context.fillStyle = score === null ? frame.colours.fade : viridis((score - low) / (high - low || 1));
      context.fillRect(...frame.cell(patch));
    });
    hatch(context, frame.dropped, frame);
  },
};

/**
 * Paints one view.
 * `view`: {pixels, grid: [rows, columns], stage: a stage of the answer or null for the input, mark: patch or null,
 * isPinned, and where they are to be framed `alike`: patches}; `look`: {layer, outline, grid}; `colours`: what paintColours gives.
 */
function paintView(canvas, view, look, colours) {
  const side = Math.round(canvas.clientWidth * (window.devicePixelRatio || 1));
  if (!side) return; // in a tab that is not open
  if (canvas.width !== side) canvas.width = canvas.height = side; // an equal size, too, would cost a layout
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  context.drawImage(view.pixels, 0, 0, side, side);
  const frame = { ...view, side, colours, cell: cellsOf(view.grid, side) };
  if (view.stage) {
    frame.dropped = droppedPath(frame);
    LAYERS[look.layer](context, frame);
  }
  if (look.grid) strokeGrid(context, frame);
  if (view.stage && look.outline) strokeOutline(context, frame);
  if (view.alike) strokeAlike(context, frame);
  if (view.mark !== null) strokeMark(context, frame);
}

/** Gives the colours of the theme that a node is in. */
function paintColours(node) {
  const style = getComputedStyle(node);
  const uses = ["fade", "edge", "halo", "hatch", "grid"];
  return Object.fromEntries(uses.map((use) => [use, style.getPropertyValue(`--${use}`)]));
}

/** Gives the function from a patch to its [left, top, width, height], on whole pixels. */
function cellsOf([rows, columns], side) {
  const at = (line, lines) => Math.round((line * side) / lines);
  return (patch) => {
    const [row, column] = [Math.floor(patch / columns), patch % columns];
    const [left, top] = [at(column, columns), at(row, rows)];
    return [left, top, at(column + 1, columns) - left, at(row + 1, rows) - top];
  };
}

function droppedPath({ grid: [rows, columns], stage, cell }) {
  const kept = new Set(stage.kept);
  const path = new Path2D();
  for (let patch = 0; patch < rows * columns; patch += 1) if (!kept.has(patch)) path.rect(...cell(patch));
  return path;
}

function hatch(context, path, { side, colours }) {
  const step = Math.max(5, Math.round(side / 56));
  const tile = new OffscreenCanvas(step, step);
  const pen = tile.getContext("2d");
  pen.strokeStyle = colours.hatch;
  pen.lineWidth = Math.max(1, side / 560);
  // One diagonal, and the corners that its neighbours' diagonals reach into.
  for (const shift of [-step, 0, step]) {
    pen.moveTo(shift - 1, step + 1);
    pen.lineTo(shift + step + 1, -1);
  }
  pen.stroke();
  context.fillStyle = context.createPattern(tile, "repeat");
  context.fill(path);
}

/** Fills what one token stands for with the mean colour of its patches, through which the image still shows. */
function fillMerged(context, { pixels, grid: [rows, columns], stage, cell }) {
  const small = new OffscreenCanvas(columns, rows).getContext("2d");
  small.imageSmoothingQuality = "high";
  small.drawImage(pixels, 0, 0, columns, rows);
  const colours = small.getImageData(0, 0, columns, rows).data;
  const sums = new Map(); // token -> red, green and blue added up, number of patches
  stage.groups.forEach((token, patch) => {
    const sum = sums.get(token) ?? [0, 0, 0, 0];
    for (const channel of [0, 1, 2]) sum[channel] += colours[4 * patch + channel];
    sum[3] += 1;
    sums.set(token, sum);
  });
  stage.groups.forEach((token, patch) => {
    const [red, green, blue, count] = sums.get(token);
    if (count === 1) return;
    context.fillStyle = `rgb(${red / count} ${green / count} ${blue / count} / 75%)`;
    context.fillRect(...cell(patch));
  });
}

function scoreRange(stage) {
  const scores = stage.scores.filter((score) => score !== null);
  return [Math.min(...scores), Math.max(...scores)];
}

function viridis(share) {
  const place = share * (VIRIDIS.length - 1);
  const below = Math.min(Math.floor(place), VIRIDIS.length - 2);
  const mixed = VIRIDIS[below].map((value, k) => value + (place - below) * (VIRIDIS[below + 1][k] - value));
  return `rgb(${mixed.map(Math.round).join(" ")} / ${SCORE_OPACITY})`;
}

function strokeGrid(context, { grid: [rows, columns], side, colours }) {
  const lines = new Path2D();
  for (let row = 1; row < rows; row += 1) addLine(lines, 0, Math.round((row * side) / rows), side, null);
  for (let column = 1; column < columns; column += 1) addLine(lines, Math.round((column * side) / columns), 0, null, side);
  strokeLines(context, lines, "rgb(0 0 0 / 35%)", 1);
  context.translate(0.5, 0.5);
  strokeLines(context, lines, colours.grid, 1);
  context.translate(-0.5, -0.5);
}

/** Draws the border between kept and dropped patches, or between merged tokens. */
function strokeOutline(context, { grid: [rows, columns], stage, side, colours, cell }) {
  const kept = new Set(stage.kept);
  const tokenOf = stage.groups ? (patch) => stage.groups[patch] : (patch) => kept.has(patch);
  const edges = new Path2D();
  for (let patch = 0; patch < rows * columns; patch += 1) {
    const [left, top, width, height] = cell(patch);
    const differs = (other) => tokenOf(patch) !== tokenOf(other);
    if (patch % columns && differs(patch - 1)) addLine(edges, left, top, null, top + height);
    if (patch >= columns && differs(patch - columns)) addLine(edges, left, top, left + width, null);
  }
  context.lineCap = "square";
  strokeLines(context, edges, colours.halo, side / 75); // so that the line shows on content of its own colour
  strokeLines(context, edges, colours.edge, side / 200);
}

/** Draws a frame, dark on light, around the marked patch; a pinned one has a heavier frame. */
function strokeMark(context, { side, mark, isPinned, cell }) {
  const frame = new Path2D();
  frame.rect(...cell(mark));
  const width = Math.max(2, side / (isPinned ? 110 : 180));
  context.lineJoin = "miter";
  strokeLines(context, frame, "#000", 2.5 * width);
  strokeLines(context, frame, "#fff", width);
}

/** Draws dashed frames around the patches that are like the marked one. */
function strokeAlike(context, { side, alike, cell }) {
  const frames = new Path2D();
  for (const patch of alike) frames.rect(...cell(patch));
  strokeLines(context, frames, "#000", side / 100);
  context.setLineDash([side / 70, side / 110]);
  strokeLines(context, frames, "#fff", side / 200);
  context.setLineDash([]);
}

function strokeLines(context, path, colour, width) {
  context.lineWidth = Math.max(1, width);
  context.strokeStyle = colour;
  context.stroke(path);
}

/** Adds a line; null for an end's coordinate means the start's. */
function addLine(path, x0, y0, x1, y1) {
  path.moveTo(x0, y0);
  path.lineTo(x1 ?? x0, y1 ?? y0);
}
