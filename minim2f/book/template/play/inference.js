// What minim2f/inference.py computes, under the same names, for one small prediction.
//
// N queries, K classes, H x W pixels. A map is one Float64Array, its pixels in rows one after the
// other; N maps are an array of N. `queries` are the numbers of those that are switched on: the
// others are left out of everything, as if the model did not have them.
"use strict";

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

/** p: of each query K+1 probabilities; the last column is "no object". */
function softmax(classLogits) {
  return classLogits.map((row) => {
    const top = Math.max(...row); // exp of what remains cannot overflow
    const e = row.map((x) => Math.exp(x - top));
    const sum = e.reduce((a, b) => a + b);
    return e.map((x) => x / sum);
  });
}

/** A mask logit is the product of E' of a query and F_pixel of a pixel: N maps. */
function maskLogits(maskEmbeddings, pixelFeatures) {
  return maskEmbeddings.map((embedding) => {
    const map = new Float64Array(pixelFeatures[0].length);
    embedding.forEach((e, c) => {
      const f = pixelFeatures[c];
      for (let i = 0; i < map.length; i++) map[i] += e * f[i];
    });
    return map;
  });
}

/** Which two old pixels a new one lies between, and how near it is to the second. */
function between(from, to, count) {
  return Array.from({ length: count }, (_, i) => {
    const at = Math.max(((i + 0.5) * from) / to - 0.5, 0);
    const first = Math.floor(at);
    return { first, second: Math.min(first + 1, from - 1), part: at - first };
  });
}

/** A map resized bilinearly from h x w to H x W; of it the upper left part, without padding. */
function resize(map, [h, w], [H, W], [rows, columns] = [H, W]) {
  const wide = new Float64Array(h * columns);
  between(w, W, columns).forEach(({ first, second, part }, x) => {
    for (let y = 0; y < h; y++) {
      wide[y * columns + x] = (1 - part) * map[y * w + first] + part * map[y * w + second];
    }
  });
  const out = new Float64Array(rows * columns);
  between(h, H, rows).forEach(({ first, second, part }, y) => {
    for (let x = 0; x < columns; x++) {
      const [above, below] = [wide[first * columns + x], wide[second * columns + x]];
      out[y * columns + x] = (1 - part) * above + part * below;
    }
  });
  return out;
}

/** M: where each query may look in the next layer, N arrays of 0 and 1; if nowhere, everywhere. */
function attentionMask(maskEmbeddings, smallFeatures) {
  return maskLogits(maskEmbeddings, smallFeatures).map((logits) => {
    const allowed = Uint8Array.from(logits, (x) => x >= 0);
    return allowed.includes(1) ? allowed : allowed.fill(1);
  });
}

/** S[k] = sum over queries of p(k) times mask probability: K maps. */
function semanticScores(p, masks, queries) {
  const pixels = masks[0].length;
  return Array.from({ length: p[0].length - 1 }, (_, k) => {
    const votes = new Float64Array(pixels);
    for (const n of queries) {
      const [share, mask] = [p[n][k], masks[n]];
      for (let i = 0; i < pixels; i++) votes[i] += share * mask[i];
    }
    return votes;
  });
}

/** Semantic: a pixel belongs to the class with the most votes, however few; there is no void. */
function semantic({ p, masks, things }, { queries }) {
  const ids = new Int32Array(masks[0].length);
  if (!queries.length) return { ids, segments: [] };
  const votes = semanticScores(p, masks, queries);
  const labels = ids.map((_, i) => {
    let best = 0;
    for (let k = 1; k < votes.length; k++) if (votes[k][i] > votes[best][i]) best = k;
    return best;
  });
  const present = [...new Set(labels)].sort((a, b) => a - b);
  const segments = present.map((label, s) => ({ id: s + 1, label, isthing: things[label] }));
  return { ids: labels.map((label) => present.indexOf(label) + 1), segments };
}

/** Mean mask probability inside a mask, and how many pixels that is. */
function inside(logits, mask) {
  let [sum, area] = [0, 0];
  for (let i = 0; i < mask.length; i++) {
    if (logits[i] > 0) {
      sum += mask[i];
      area += 1;
    }
  }
  return { sure: sum / (area + 1e-6), area };
}

/** The best (query, class) pairs: by class probability at first, then by that times `sure`. */
function bestPairs({ p, logits, masks, things }, { queries, topK }) {
  const pairs = queries.flatMap((query) =>
    Array.from(p[query].slice(0, -1), (score, label) => ({ query, label, score })));
  const measured = logits.map((map, n) => inside(map, masks[n])); // once for all pairs of a query
  return pairs
    .sort((a, b) => b.score - a.score)
    .slice(0, topK)
    .filter(({ label }) => things[label])
    .map((pair) => ({ ...pair, ...measured[pair.query] }))
    .map((pair) => ({ ...pair, score: pair.score * pair.sure }))
    .sort((a, b) => b.score - a.score);
}

/** Instance: pairs that are good enough. They may overlap; the ids show the best on top. */
function instance(prediction, settings) {
  const kept = bestPairs(prediction, settings).filter(
    ({ score, area }) => score >= settings.scoreThreshold && area > 0);
  const segments = kept.map((pair, s) => ({ id: s + 1, isthing: true, ...pair }));
  const ids = new Int32Array(prediction.masks[0].length);
  for (const { id, query } of [...segments].reverse()) {
    prediction.logits[query].forEach((logit, i) => {
      if (logit > 0) ids[i] = id;
    });
  }
  return { ids, segments };
}

/** Queries that are surer of a class than the threshold: "no object" is none. */
function sureQueries(p, queries, scoreThreshold) {
  const best = queries.map((query) => {
    const score = Math.max(...p[query]);
    return { query, score, label: p[query].indexOf(score) };
  });
  return best.filter(
    ({ query, score, label }) => label < p[query].length - 1 && score > scoreThreshold);
}

/**
 * The query that wins each pixel, by score times mask; -1 where it is below 0.5 itself.
 * Each of the sure queries gets the pixels of its whole mask, those that it won, and those of
 * them that are in its mask.
 */
function contest(sure, masks) {
  const winner = new Int32Array(masks[0].length).fill(-1);
  const counts = sure.map(({ query }) => ({
    whole: masks[query].reduce((sum, m) => sum + (m >= 0.5), 0), won: 0, final: 0,
  }));
  for (let i = 0; i < winner.length; i++) {
    let [best, most] = [0, -1];
    sure.forEach(({ query, score }, s) => {
      const product = score * masks[query][i];
      if (product > most) [best, most] = [s, product];
    });
    counts[best].won += 1;
    if (masks[sure[best].query][i] >= 0.5) {
      counts[best].final += 1;
      winner[i] = best;
    }
  }
  return { winner, counts };
}

/** Panoptic: every pixel to one query, then only queries that keep most of their mask. */
function panoptic({ p, masks, things }, { queries, scoreThreshold, overlapThreshold }) {
  const sure = sureQueries(p, queries, scoreThreshold);
  const ids = new Int32Array(masks[0].length);
  if (!sure.length) return { ids, segments: [], sure };
  const { winner, counts } = contest(sure, masks);
  const segments = [];
  sure.forEach((one, s) => {
    Object.assign(one, counts[s]);
    if (!one.final || one.won / one.whole < overlapThreshold) return;
    let segment = segments.find(({ label }) => label === one.label && !things[label]);
    if (segment) {
      segment.score = Math.max(segment.score, one.score);
    } else {
      const { query, label, score } = one;
      segment = { id: segments.length + 1, query, label, score, isthing: things[label] };
      segments.push(segment);
    }
    one.segment = segment.id;
    winner.forEach((best, i) => {
      if (best === s) ids[i] = segment.id;
    });
  });
  return { ids, segments, sure };
}
