// The page: what is set, what follows from it, and what is shown.
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
  const [features, e] = [unpack(scene.pixelFeatures), unpack(maskEmbeddings)];
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
  prediction = predictionOf(scene, layer);
  if (other) showScene();
  update();
}

// --- words ---------------------------------------------------------------------------------------

const two = (x) => (x > 0 && x < 0.005 ? x.toExponential(0) : x.toFixed(2));
const percent = (x) => `${(100 * x).toFixed(0)}\u00a0%`;
const nameOf = (label) => DATA.categories[label]?.name ?? "no object";
const subscript = (n) => String(n).replace(/\d/g, (d) => "₀₁₂₃₄₅₆₇₈₉"[d]);
const share = (ids, id) => ids.reduce((sum, other) => sum + (other === id), 0) / ids.length;

function summary() {
  const count = (task) => results[task].segments.length;
  const empty = percent(share(results.panoptic.ids, 0));
  return `semantic: ${count("semantic")} classes; instance: ${count("instance")}; ` +
    `panoptic: ${count("panoptic")} segments, ${empty} void`;
}

/** What becomes of a query in the panoptic result. */
function fate(n) {
  if (state.off.has(n)) return "switched off";
  const one = results.panoptic.sure.find(({ query }) => query === n);
  const label = argmax(prediction.p[n]);
  if (!one) return label < THINGS.length ? "not sure enough" : "sees nothing";
  if (!one.final) return "wins no pixel inside";
  const part = two(one.won / one.whole);
  return one.segment ? `segment ${one.segment}, share ${part}` : `loses all, share ${part}`;
}

const argmax = (row) => row.indexOf(Math.max(...row));

let timer;
/** Tells screen readers, and keeps the state in the address; once things have come to rest. */
function say(text) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    $("said").textContent = text;
    history.replaceState(null, "", "#" + toHash());
  }, 400);
}

// --- showing -------------------------------------------------------------------------------------

/** An element with properties and children; texts are never read as HTML. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

function showScene() {
  $("picture").src = scene.picture;
  $("picture").alt = scene.name;
  $("scene-name").textContent = scene.name;
  document.documentElement.style.setProperty("--ratio", scene.size[1] / scene.size[0]);
  for (const input of $("scenes").querySelectorAll("input")) {
    input.checked = Number(input.value) === state.scene;
  }
}

function showResult(task) {
  const { ids, segments } = results[task];
  const colors = segmentColors(segments, DATA.categories, prediction.ranks);
  drawMap($(task), results[task], scene.size, colors);
  const texts = segments.map(({ label, score }) =>
    nameOf(label) + (score === undefined ? "" : ` ${two(score)}`));
  const items = texts.map((text, s) => {
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = `rgb(${colors[s]})`;
    return make("li", {}, swatch, text);
  });
  const empty = share(ids, 0);
  if (empty) {
    const swatch = make("span", { className: "swatch void" });
    const word = task === "instance" ? "no instance" : "void";
    items.push(make("li", { className: "void" }, swatch, `${word} ${percent(empty)}`));
  }
  $(`${task}-legend`).replaceChildren(...items);
  $(task).setAttribute("aria-label", `${task} map: ${texts.join(", ") || "nothing"}`);
}

function showSettings() {
  const last = scene.predictions.length - 1;
  const { level } = prediction.attention ?? {};
  for (const input of $("layers").querySelectorAll("input")) {
    input.checked = Number(input.value) === state.layer;
  }
  const from = state.layer ? `after layer ${state.layer} of ${last}` : "of the raw queries";
  const next = level
    ? `. Its masks, at ${level.join(" × ")}, are M${subscript(state.layer)}: where layer ` +
      `${state.layer + 1} may look.`
    : ": the result. No layer follows, so there is no M.";
  $("layer-says").textContent = from + next;
  const values = [
    ["score", state.scoreThreshold, two], ["overlap", state.overlapThreshold, two],
    ["top", state.topK, String],
  ];
  for (const [id, value, format] of values) {
    $(id).value = value;
    $(`${id}-value`).textContent = format(value);
  }
}

function showQueries() {
  const { p, small, quarter, attention } = prediction;
  const on = p.length - state.off.size;
  $("how-many").textContent = `${on} of ${p.length} on`;
  $("list").classList.toggle("last", !attention); // no M follows
  [...$("list").children].forEach((row, n) => {
    const label = argmax(p[n]);
    const [box, button, mask, look, text] = row.children;
    const isOn = !state.off.has(n);
    row.className = (isOn ? "" : "off ") + (label < THINGS.length ? "" : "nothing");
    box.checked = isOn;
    button.setAttribute("aria-pressed", state.pinned === n);
    button.lastChild.textContent = `${nameOf(label)} ${two(p[n][label])}`;
    drawSmall(mask, small[n], quarter);
    if (attention) drawSmall(look, attention.masks[n], attention.level);
    look.title = `M${subscript(state.layer)} of query ${n}`;
    text.textContent = fate(n);
  });
}

/** The query whose mask the picture shows: pointed at, pinned, or the winner of the pixel. */
function shownQuery() {
  return state.hovered ?? state.pinned ?? (state.pixel ? contestAt(indexOfPixel())[0]?.query : null);
}

const indexOfPixel = () => state.pixel.y * scene.size[1] + state.pixel.x;

/** The sure queries at pixel i, the winner first. */
function contestAt(i) {
  return results.panoptic.sure
    .map((one) => ({ ...one, mask: prediction.masks[one.query][i] }))
    .sort((a, b) => b.score * b.mask - a.score * a.mask);
}

/** Where a query may look, at the picture's size: blocks of the coarse M. */
function enlargedM(n) {
  const { level: [h, w], masks } = prediction.attention;
  const [[H, W], [rows, columns]] = [scene.padded, scene.size];
  return Uint8Array.from({ length: rows * columns }, (_, i) => {
    const [y, x] = [Math.floor(i / columns), i % columns];
    return masks[n][Math.floor((y * h) / H) * w + Math.floor((x * w) / W)];
  });
}

function showOverlay() {
  const n = shownQuery();
  const asM = $("attention").checked && prediction.attention;
  const chosen = n !== null && n !== undefined;
  const allowed = !chosen ? null
    : asM ? enlargedM(n) : Uint8Array.from(prediction.logits[n], (x) => x > 0);
  const dimmed = (state.hovered ?? state.pinned) !== null; // a pixel's winner is outlined only
  drawOverlay($("overlay"), scene.size, allowed, dimmed, state.pixel);
  const what = asM ? `where it may look next, M${subscript(state.layer)}` : "its mask";
  $("overlay-says").textContent = chosen ? `Query ${n}: ${what}` : "";
  [...$("list").children].forEach((row, q) => row.classList.toggle("shown", q === n));
}

function showPixel() {
  showOverlay();
  $("pixel").hidden = !state.pixel;
  $("no-pixel").hidden = Boolean(state.pixel);
  $("where").textContent = state.pixel ? `row ${state.pixel.y}, column ${state.pixel.x}` : "";
  $("results").classList.toggle("pointed", Boolean(state.pixel));
  if (!state.pixel) return;
  $("results").style.setProperty("--x", (state.pixel.x + 0.5) / scene.size[1]);
  $("results").style.setProperty("--y", (state.pixel.y + 0.5) / scene.size[0]);
  const i = indexOfPixel();
  showBars("semantic-votes", semanticAt(i));
  showBars("instance-votes", instancesAt(i));
  showBars("panoptic-votes", panopticAt(i));
}

const MOST = 3; // lines of each kind

function semanticAt(i) {
  const { queries } = settings();
  const votes = semanticScores(prediction.p, prediction.masks.map((m) => [m[i]]), queries);
  return votes
    .map(([value], label) => ({ value, text: nameOf(label), number: two(value) }))
    .sort((a, b) => b.value - a.value)
    .slice(0, MOST)
    .map((line, place) => ({ ...line, wins: place === 0 && queries.length > 0 }));
}

function instancesAt(i) {
  const all = results.instance.segments.filter(({ query }) => prediction.logits[query][i] > 0);
  return all.slice(0, MOST).map(({ id, label, score, query }, place) => ({
    value: score, text: `${id} ${nameOf(label)}, query ${query}`, number: two(score),
    wins: place === 0,
  }));
}

function panopticAt(i) {
  const id = results.panoptic.ids[i];
  return contestAt(i).slice(0, MOST).map(({ query, label, score, mask, segment }, place) => {
    const value = score * mask;
    let text = `query ${query}, ${nameOf(label)}`;
    if (place === 0 && !id) text += mask < 0.5 ? ": its mask is below ½, void" : ": lost all, void";
    if (place === 0 && id) text += `: segment ${segment}`;
    return { value, text, number: `${two(score)} × ${two(mask)} = ${two(value)}`, wins: place === 0 };
  });
}

function showBars(id, lines) {
  const rows = lines.map(({ value, text, number, wins }) => {
    const row = make("p", { className: wins ? "wins" : "" },
      make("span", {}, (wins ? "▸ " : "") + text), make("b", {}, number));
    row.style.setProperty("--part", Math.min(value, 1));
    return row;
  });
  $(id).replaceChildren(...(rows.length ? rows : [make("p", {}, "none")]));
}

function sayPixel() {
  const said = [semanticAt, instancesAt, panopticAt].map((at) => {
    const [first] = at(indexOfPixel());
    return first ? `${first.text}, ${first.number}` : "none";
  });
  say(`Row ${state.pixel.y}, column ${state.pixel.x}. Semantic: ${said[0]}. ` +
    `Instance: ${said[1]}. Panoptic: ${said[2]}.`);
}

// --- the address ---------------------------------------------------------------------------------

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
