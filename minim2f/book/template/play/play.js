// The page: the stored numbers, what is set, what follows from it, and the controls.
"use strict";

const DATA = JSON.parse(document.getElementById("data").textContent);
const THINGS = DATA.categories.map((category) => category.isthing);
const TASKS = { semantic, instance, panoptic };
const $ = (id) => document.getElementById(id);

// --- the stored numbers --------------------------------------------------------------------------

/** Rows of numbers: whole numbers times the scale of their row. */
function unpack({ kind, shape, scale, data }) {
  const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
  const integers = new { int8: Int8Array, int16: Int16Array }[kind](bytes.buffer);
  const length = integers.length / shape[0];
  return scale.map((factor, r) =>
    Float64Array.from(integers.subarray(r * length, (r + 1) * length), (x) => x * factor));
}

/** One of the 3L+1 predictions for a scene: p, mask logits and masks at its size, M and small. */
function predictionOf(scene, layer) {
  const { size, padded } = scene;
  const quarter = padded.map((n) => n / 4);
  const { classLogits, maskEmbeddings } = scene.predictions[layer];
  const e = unpack(maskEmbeddings);
  const features = (scene.features ??= unpack(scene.pixelFeatures));
  const small = maskLogits(e, features);
  const logits = small.map((map) => resize(map, quarter, padded, size));
  const masks = logits.map((map) => map.map(sigmoid));
  const p = softmax(unpack(classLogits));
  const prediction = { p, logits, masks, things: THINGS, ranks: ranksOf(p.map(argmax)) };
  if (layer < scene.predictions.length - 1) {
    const level = padded.map((n) => n / DATA.scales[layer % DATA.scales.length]);
    const resized = features.map((map) => resize(map, quarter, level));
    prediction.attention = { level, masks: attentionMask(e, resized) };
  }
  return { ...prediction, quarter, small: small.map((map) => map.map(sigmoid)) };
}

/** The how many-th query of its class each one is, so that two cars get two shades. */
function ranksOf(labels) {
  return labels.map((label, n) => labels.slice(0, n).filter((other) => other === label).length);
}

// --- what is set, and what follows ---------------------------------------------------------------

const state = {
  scene: 0, layer: 0, off: new Set(), scoreThreshold: 0.8, overlapThreshold: 0.8, topK: 100,
  pixel: null, // { x, y }
  pinned: null, // the query that was clicked
  hovered: null, // the one under the pointer, or with the focus
};
let scene, prediction, results; // of this state
let computed = []; // the predictions of this scene that were asked for, by layer

function settings() {
  const { scoreThreshold, overlapThreshold, topK } = state;
  const queries = [...prediction.p.keys()].filter((n) => !state.off.has(n));
  return { queries, scoreThreshold, overlapThreshold, topK };
}

/** Reads the prediction anew, in three ways, and shows everything that hangs on it. */
function update() {
  results = {};
  for (const [task, read] of Object.entries(TASKS)) results[task] = read(prediction, settings());
  for (const task of Object.keys(TASKS)) showResult(task);
  showSettings();
  showQueries();
  showPixel();
  say(summary());
}

/** Another picture or another of its predictions. */
function choose(index, layer) {
  const other = scene !== DATA.scenes[index];
  scene = DATA.scenes[index];
  Object.assign(state, { scene: index, layer });
  if (other) computed = [];
  prediction = computed[layer] ??= predictionOf(scene, layer);
  if (other) showScene();
  showThumbs();
  update();
}

// --- the address ---------------------------------------------------------------------------------

let timer;
/** Tells screen readers, and keeps the state in the address; once things have come to rest. */
function say(text) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    $("said").textContent = text;
    history.replaceState(null, "", "#" + toHash());
  }, 400);
}

function toHash() {
  const { pixel, pinned, off } = state;
  const parts = {
    scene: state.scene, layer: state.layer, off: [...off].sort((a, b) => a - b).join("."),
    score: state.scoreThreshold, overlap: state.overlapThreshold, top: state.topK,
    pixel: pixel ? `${pixel.y}.${pixel.x}` : "", query: pinned ?? "",
    attention: $("attention").checked ? 1 : "",
  };
  return Object.entries(parts).filter(([, value]) => value !== "").map((part) => part.join("="))
    .join("&");
}

/** A number from the address within bounds; anything else is the default. */
function bounded(text, least, most, otherwise) {
  const value = text ? Number(text) : NaN;
  return value >= least && value <= most ? value : otherwise;
}

function fromHash() {
  const parts = new URLSearchParams(location.hash.slice(1));
  const whole = (name, most, otherwise) =>
    Math.floor(bounded(parts.get(name), 0, most, otherwise));
  const index = whole("scene", DATA.scenes.length - 1, 0);
  const { predictions, size } = DATA.scenes[index];
  const count = predictions[0].classLogits.shape[0];
  const [y, x] = (parts.get("pixel") ?? "").split(".").map(Number);
  const off = (parts.get("off") || "").split(".").filter(Boolean).map(Number);
  Object.assign(state, {
    off: new Set(off.filter((n) => Number.isInteger(n) && n >= 0 && n < count)),
    scoreThreshold: bounded(parts.get("score"), 0, 1, 0.8),
    overlapThreshold: bounded(parts.get("overlap"), 0, 1, 0.8),
    topK: Math.max(1, whole("top", count * THINGS.length, 100)),
    pixel: y >= 0 && y < size[0] && x >= 0 && x < size[1] ? { y, x } : null,
    pinned: parts.get("query") ? whole("query", count - 1, 0) : null,
    hovered: null,
  });
  $("attention").checked = parts.get("attention") === "1";
  choose(index, whole("layer", predictions.length - 1, predictions.length - 1));
}

// --- controls ------------------------------------------------------------------------------------

function radio(name, value, label, act) {
  const input = make("input", { type: "radio", name, value, onchange: act });
  return make("label", {}, input, label);
}

function buildScenes() {
  DATA.scenes.forEach(({ name, picture }, index) => {
    const image = make("img", { src: picture, alt: name, title: name });
    $("scenes").append(radio("scene", index, image, () => {
      Object.assign(state, { off: new Set(), pixel: null, pinned: null });
      choose(index, state.layer);
    }));
  });
}

function buildLayers() {
  DATA.scenes[0].predictions.forEach((_, layer) => {
    const text = make("span", {}, layer ? `layer ${layer}` : "raw queries");
    $("layers").append(radio("layer", layer, text, () => choose(state.scene, layer)));
  });
}

function buildQueries() {
  const [count] = DATA.scenes[0].predictions[0].classLogits.shape;
  $("top").max = count * THINGS.length;
  for (let n = 0; n < count; n++) {
    const box = make("input", { type: "checkbox", onchange: () => flip(n) });
    box.setAttribute("role", "switch");
    box.setAttribute("aria-label", `query ${n} takes part`);
    const button = make("button", { type: "button", onclick: () => pin(n) },
      make("b", {}, `${n}`), make("span"));
    button.title = "keep its mask in the picture";
    const thumbs = ["mask", "M"].map((title) => {
      const canvas = make("canvas", { className: "small", title: `${title} of query ${n}` });
      canvas.setAttribute("aria-hidden", "true"); // the words beside it say what became of it
      return canvas;
    });
    const row = make("li", {}, box, button, ...thumbs, make("span", { className: "fate" }));
    for (const type of ["pointerenter", "focusin"]) row.addEventListener(type, () => hover(n));
    for (const type of ["pointerleave", "focusout"]) row.addEventListener(type, () => hover(null));
    $("list").append(row);
  }
}

function flip(n) {
  if (!state.off.delete(n)) state.off.add(n);
  update();
}

function pin(n) {
  state.pinned = state.pinned === n ? null : n;
  showQueries();
  showPixel();
  say(state.pinned === null ? "no query kept" : `query ${n} kept in the picture: ${fate(n)}`);
}

function hover(n) {
  state.hovered = n;
  showOverlay();
}

function switchAll(isOff) {
  const all = [...prediction.p.keys()];
  state.off = new Set(all.filter(isOff));
  update();
}

function movePixel(pixel) {
  state.pixel = pixel;
  showPixel();
  if (pixel) sayPixel();
}

function pointAt(event) {
  const box = event.currentTarget.getBoundingClientRect();
  const [H, W] = scene.size;
  const x = Math.floor(((event.clientX - box.left) / box.width) * W);
  const y = Math.floor(((event.clientY - box.top) / box.height) * H);
  if (x >= 0 && x < W && y >= 0 && y < H) movePixel({ x, y });
}

function pressKey(event) {
  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  if (event.key === "Escape") movePixel(null);
  const step = steps[event.key];
  if (!step) return;
  event.preventDefault();
  const [H, W] = scene.size;
  const { x, y } = state.pixel ?? { x: W >> 1, y: H >> 1 };
  const far = event.shiftKey ? 8 : 1;
  const within = (value, most) => Math.min(Math.max(value, 0), most);
  movePixel({ x: within(x + far * step[0], W - 1), y: within(y + far * step[1], H - 1) });
}

function slider(id, name) {
  $(id).oninput = () => {
    state[name] = Number($(id).value);
    update();
  };
}

function start() {
  $("model").textContent = DATA.model;
  buildScenes();
  buildLayers();
  buildQueries();
  slider("score", "scoreThreshold");
  slider("overlap", "overlapThreshold");
  slider("top", "topK");
  $("all").onclick = () => switchAll(() => false);
  $("none").onclick = () => switchAll(() => true);
  $("invert").onclick = () => switchAll((n) => !state.off.has(n));
  $("attention").onchange = () => update();
  for (const id of ["overlay", ...Object.keys(TASKS)]) {
    Object.assign($(id), { onpointermove: pointAt, onpointerdown: pointAt });
  }
  $("overlay").onkeydown = pressKey;
  addEventListener("hashchange", fromHash);
  fromHash();
}

start();
