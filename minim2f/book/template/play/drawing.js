// Maps, masks and outlines on canvases. A pixel of a map is a block of SUB x SUB on the canvas.
"use strict";

const SUB = 4;
const INK = [20, 22, 26];

/** The k-th shade of a colour, as in minim2f/colors.py: two cars differ a little. */
function shade(color, k) {
  const amount = ((0.5 + 0.618 * k) % 1) - 0.5;
  return color.map((c) => Math.round(c + Math.abs(amount) * ((amount > 0 ? 255 : 0) - c)));
}

/** Colours of segments: the class's; of things shades of it, for a query the same in all maps. */
function segmentColors(segments, categories, ranks) {
  return segments.map(({ label, isthing, query }) =>
    shade(categories[label].color, isthing ? ranks[query] ?? 0 : 0));
}

/** Sets the block of each pixel to its colour, its edges (bits) to another; 0 is transparent. */
function fill(canvas, [H, W], colors, bits, edgeColor) {
  const [height, width] = [H * SUB, W * SUB];
  if (canvas.width !== width || canvas.height !== height) {
    Object.assign(canvas, { width, height }); // which takes time, even if nothing changes
  }
  const image = new ImageData(width, height);
  const words = new Uint32Array(image.data.buffer);
  const end = SUB - 1;
  for (let i = 0; i < H * W; i++) {
    const corner = Math.floor(i / W) * SUB * width + (i % W) * SUB;
    for (let y = 0; y < SUB; y++) {
      words.fill(colors[i], corner + y * width, corner + y * width + SUB);
    }
    if (!bits[i]) continue;
    const color = edgeColor(i);
    for (let k = 0; k < SUB; k++) {
      if (bits[i] & 1) words[corner + k * width] = color;
      if (bits[i] & 2) words[corner + k * width + end] = color;
      if (bits[i] & 4) words[corner + k] = color;
      if (bits[i] & 8) words[corner + end * width + k] = color;
    }
  }
  const context = canvas.getContext("2d");
  context.putImageData(image, 0, 0);
  return context;
}

/** A colour as the word that ImageData holds, on the little-endian machines of our days. */
const word = ([r, g, b], alpha = 255) => ((alpha << 24) | (b << 16) | (g << 8) | r) >>> 0;

/** Of each pixel, whether its left, right, upper, lower neighbour is another (bits 1, 2, 4, 8). */
function edges(ids, [H, W]) {
  return Uint8Array.from(ids, (id, i) => {
    const x = i % W;
    return (
      (x > 0 && ids[i - 1] !== id ? 1 : 0) | (x < W - 1 && ids[i + 1] !== id ? 2 : 0) |
      (i >= W && ids[i - W] !== id ? 4 : 0) | (i < ids.length - W && ids[i + W] !== id ? 8 : 0)
    );
  });
}

/** Segments in their colours, outlined and numbered; void shows the hatching behind the canvas. */
function drawMap(canvas, { ids, segments }, size, colors) {
  const words = [0, ...colors.map((color) => word(color))];
  const ink = word(INK);
  const context = fill(
    canvas, size, Uint32Array.from(ids, (id) => words[id]), edges(ids, size), () => ink);
  for (const { id, i } of innermost(ids, size)) {
    drawNumber(context, id, i % size[1], Math.floor(i / size[1]));
  }
}

function drawNumber(context, text, x, y) {
  context.font = "700 30px system-ui, sans-serif";
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.lineJoin = "round";
  context.lineWidth = 7;
  context.strokeStyle = "#fff";
  context.fillStyle = "#000";
  const margin = 14; // a number at the border is to be read whole
  const X = Math.min(Math.max((x + 0.5) * SUB, margin), context.canvas.width - margin);
  const Y = Math.min(Math.max((y + 0.5) * SUB, margin), context.canvas.height - margin);
  context.strokeText(text, X, Y);
  context.fillText(text, X, Y);
}

/** Of each segment that is seen, the pixel that is farthest from its border. */
function innermost(ids, [H, W]) {
  const far = new Int32Array(ids.length);
  const near = (i, j, there) => (there && ids[i] === ids[j] ? far[j] : 0);
  for (let i = 0; i < ids.length; i++) {
    far[i] = 1 + Math.min(near(i, i - 1, i % W > 0), near(i, i - W, i >= W));
  }
  const best = {};
  for (let i = ids.length - 1; i >= 0; i--) {
    const after = Math.min(
      near(i, i + 1, i % W < W - 1), near(i, i + W, i + W < ids.length));
    far[i] = Math.min(far[i], 1 + after);
    const id = ids[i];
    if (id && (!(id in best) || far[i] > far[best[id]])) best[id] = i;
  }
  return Object.entries(best).map(([id, i]) => ({ id: Number(id), i }));
}

/** A small picture of a map of numbers from 0 (black) to 1 (white). */
function drawSmall(canvas, map, [h, w]) {
  Object.assign(canvas, { width: w, height: h });
  const image = new ImageData(w, h);
  const words = new Uint32Array(image.data.buffer);
  map.forEach((value, i) => {
    const grey = Math.round(255 * value);
    words[i] = word([grey, grey, grey]);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Over the picture: the border of `allowed`, outside of it dimmed if asked; a pixel is framed. */
function drawOverlay(canvas, size, allowed, dimmed, pixel) {
  const [ink, white] = [word(INK), word([255, 255, 255])];
  const outside = dimmed ? word([0, 0, 0], 140) : 0;
  const colors = Uint32Array.from(allowed, (inside) => (inside ? 0 : outside));
  const edgeColor = (i) => (allowed[i] ? white : ink);
  const context = fill(canvas, size, colors, edges(allowed, size), edgeColor);
  if (!pixel) return;
  for (const [color, width] of [["#fff", 5], ["#000", 2]]) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.strokeRect(pixel.x * SUB - 3, pixel.y * SUB - 3, SUB + 6, SUB + 6);
  }
}
