// What the page shows of the state: words, maps, the list of queries, the votes of a pixel.
"use strict";

// --- words ---------------------------------------------------------------------------------------

const two = (x) => (x > 0 && x < 0.005 ? x.toExponential(0) : x.toFixed(2));
/** With one more decimal where the threshold is so near that two would mislead. */
const beside = (x, threshold) => (Math.abs(x - threshold) < 0.005 ? x.toFixed(3) : two(x));
const percent = (x) => `${x > 0 && x < 0.005 ? "< 1" : (100 * x).toFixed(0)} %`
  .replaceAll(" ", "\u00a0"); // no line ends in it
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
  const part = beside(one.won / one.whole, state.overlapThreshold);
  return one.segment ? `segment ${one.segment}, share ${part}` : `loses all, share ${part}`;
}

const argmax = (row) => row.indexOf(Math.max(...row));

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

const NAMED = 12; // segments in a list; without a threshold there are a hundred instances

function showResult(task) {
  const { ids, segments } = results[task];
  const colors = segmentColors(segments, DATA.categories, prediction.ranks);
  drawMap($(task), results[task], scene.size, colors);
  const texts = segments.map(({ label, score }) =>
    nameOf(label) + (score === undefined ? "" : ` ${two(score)}`));
  const items = texts.slice(0, NAMED).map((text, s) => {
    const swatch = make("span", { className: "swatch" });
    swatch.style.background = `rgb(${colors[s]})`;
    return make("li", {}, swatch, text);
  });
  if (texts.length > NAMED) {
    items.push(make("li", { className: "void" }, `and ${texts.length - NAMED} more`));
  }
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
      `${state.layer + 1} may look. An empty one would see nothing, so it may look everywhere.`
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
  const { p, attention } = prediction;
  const on = p.length - state.off.size;
  $("how-many").textContent = `${on} of ${p.length} on`;
  $("list").classList.toggle("last", !attention); // no M follows
  [...$("list").children].forEach((row, n) => {
    const label = argmax(p[n]);
    const [box, button, , , text] = row.children;
    const isOn = !state.off.has(n);
    row.className = (isOn ? "" : "off ") + (label < THINGS.length ? "" : "nothing");
    box.checked = isOn;
    button.setAttribute("aria-pressed", state.pinned === n);
    const score = beside(p[n][label], state.scoreThreshold);
    button.lastChild.textContent = `${nameOf(label)} ${score}`;
    text.textContent = fate(n);
  });
}

function showThumbs() {
  const { small, quarter, attention } = prediction;
  [...$("list").children].forEach((row, n) => {
    const [mask, look] = row.querySelectorAll("canvas");
    drawSmall(mask, small[n], quarter);
    if (attention) drawSmall(look, attention.masks[n], attention.level);
    look.title = `M${subscript(state.layer)} of query ${n}`;
  });
}

/** The query whose mask the picture shows: pointed at, pinned, or the winner of the pixel. */
function shownQuery() {
  const winner = () => (state.pixel ? contestAt(indexOfPixel())[0]?.query : null);
  return state.hovered ?? state.pinned ?? winner();
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
  const allowed = !chosen ? new Uint8Array(scene.size[0] * scene.size[1])
    : asM ? enlargedM(n) : Uint8Array.from(prediction.logits[n], (x) => x > 0);
  const dimmed = state.hovered !== null || state.pinned !== null; // not for a pixel's winner
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
  $("verdict").textContent = verdictAt(i);
}

const MOST = 3; // votes of each kind

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
  return contestAt(i).slice(0, MOST).map(({ query, label, score, mask }, place) => ({
    value: score * mask, text: `query ${query}, ${nameOf(label)}`, wins: place === 0,
    number: `${two(score)} × ${two(mask)} = ${two(score * mask)}`,
  }));
}

/** What the contest at pixel i led to, in words. */
function verdictAt(i) {
  const [winner] = contestAt(i);
  if (!winner) return "Void: no query is sure.";
  if (winner.mask < 0.5) return "Void: the winner's own mask is below ½ here.";
  if (!winner.segment) return "Void: the winner keeps too little of its mask, and loses all.";
  return `Segment ${winner.segment}.`;
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
    `Instance: ${said[1]}. Panoptic: ${said[2]}. ${verdictAt(indexOfPixel())}`);
}
