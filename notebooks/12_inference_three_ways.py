# %% [markdown]
# # 12 · Inference three ways
#
# You turn N guesses into a map of classes, a list of objects or a map of segments, and find out why a result is empty.
#
# *read 75 min · run 15 s CPU · exercises 75 min*
#
# **Needs** chapter 0 · **Library** [`minim2f/inference.py`](../minim2f/inference.py), [`minim2f/prediction.py`](../minim2f/prediction.py), [`minim2f/results.py`](../minim2f/results.py) · **Paper** section 3.1

# %% [markdown]
# ## You will be able to
#
# - follow one prediction through three rules by hand (The idea in small numbers)
# - write the map of classes of a padded picture (12.1)
# - write the list of instances (12.2)
# - write the panoptic rule (12.3), and say what its thresholds do (Experiment)
# - save results that other tools read (Checkpoint)
# - find out why a result is empty, or one class, or always 100 instances (Break it)

# %% [markdown]
# ## Where we are

# %% tags=["setup"]
import matplotlib.pyplot as plt
import torch

import minim2f
from minim2f import shapes
from minim2f.book import exercise, same, setup, show, where_we_are
from minim2f.book import library_table, shape_table, table

setup(seed=0)

# %% tags=["hide-input"]
where_we_are("inference")

# %% [markdown]
# Mask2Former makes N guesses about a picture, one from each **query**: K+1 **class logits**, the last for "no object", and a
# **mask**, a map of logits. A softmax of the former gives class probabilities, a sigmoid of the latter mask probabilities.
# Classes that one can count (car, dog) are **things**, others (sky, road) **stuff**.

# %% [markdown]
# ## Predict
#
# Every query is doubled: each object is guessed twice, with the same class probabilities, by two masks that differ at random at every
# pixel. What becomes of the semantic map, the instances, the panoptic map? (From chapter 0: a query that wins fewer than 80 % as
# many pixels as its mask has loses everything.)
#
# <details><summary>Answer</summary>
#
# The semantic map hardly changes, because all votes double. The list of instances has each object twice. The panoptic map is
# empty: of two equally sure queries, each wins about half of the pixels, fewer than 80 %, so both lose everything. You will see it
# under *Break it*.
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# A picture of eight pixels in a row, four queries, two classes: a dog (a thing) between two pieces of sky (stuff). Query 2 is a second
# guess at the dog.
#
# | query | class probabilities: dog, sky, no object | mask probability |
# | --- | --- | --- |
# | 0 | 0.05, **0.90**, 0.05 | 0.9 at pixels 0, 1 |
# | 1 | **0.95**, 0.02, 0.03 | 0.9 at pixels 2, 3, 4 |
# | 2 | **0.85**, 0.05, 0.10 | 0.8 at pixels 3, 4, 5 |
# | 3 | 0.06, **0.84**, 0.10 | 0.9 at pixels 6, 7 |
#
# At all other pixels it is 0.1. A pixel counts as *inside* a mask if its probability is above ½ (for instances), or at least ½ (for the
# panoptic map).

# %% tags=["demo"]
p = torch.tensor([[0.05, 0.90, 0.05], [0.95, 0.02, 0.03], [0.85, 0.05, 0.10], [0.06, 0.84, 0.10]])
m = torch.full((4, 1, 8), 0.1)
m[0, 0, :2] = m[1, 0, 2:5] = m[3, 0, 6:] = 0.9
m[2, 0, 3:6] = 0.8
things = torch.tensor([True, False])  # dog, sky

# %% [markdown] tags=["demo"]
# **Semantic.** Every query votes for every class, with class times mask probability. At pixel 5, dog gets
# 0.05·0.1 + 0.95·0.1 + 0.85·0.8 + 0.06·0.1 = 0.786, sky 0.90·0.1 + 0.02·0.1 + 0.05·0.8 + 0.84·0.1 = 0.216. The
# largest vote wins, however small: it is dog.
#
# **Instance.** All 4 · 2 = 8 pairs of a query and a class compete. With **top-k** = 3, those with the largest class probability stay: query 1 as dog
# (0.95), query 0 as sky (0.90), query 2 as dog (0.85). That says what a query saw, not how well it knows where, so
# it is multiplied by the mean mask probability inside the mask. This is the pair's **score**: 0.855, 0.81, 0.68.
# Stuff is dropped (though it took one of three places), and pairs below a score threshold, if one is given. Without one, two dogs remain, since no
# rule compares queries with each other.
#
# **Panoptic.** Here the **score threshold**, 0.8, is for the class probability alone. Queries whose best column is a class, with more
# than that, are *sure*: all four. A pixel goes to the sure query
# with the largest product of class and mask probability. At pixel 3 that is query 1, 0.95·0.9 = 0.855 against 0.85·0.8 = 0.68. So:
#
# | query | pixels inside | pixels won | share |
# | --- | --- | --- | --- |
# | 0 | 2 | 2 | 1 |
# | 1 | 3 | 3 | 1 |
# | 2 | 3 | 1 | 0.33 |
# | 3 | 2 | 2 | 1 |
#
# The **share** is the number of pixels won, divided by that of the pixels inside. Pixels won outside count too, so it may exceed 1. Most queries win
# few of those; then the share tells how much of its mask others left to a query.
#
# A query whose share is below the **overlap threshold**, 0.8, loses everything. That is query 2: a better guess took most of its mask. Pixel 5 is **void**: no segment.
# Queries 0 and 3 are both sky, which is stuff, so they **merge** into one segment. The result is sky, sky, dog, dog,
# dog, void, sky, sky.

# %% tags=["demo"]
hand_map = torch.tensor([[1, 1, 2, 2, 2, 0, 1, 1]])  # 1: sky, 2: dog, 0: void
votes = (p[:, :2, None] * m).sum(0)  # every mask is one row, so this is (classes, pixels)
same(votes[:, 5], torch.tensor([0.786, 0.216]))

# %% [markdown]
# Now you: what changes with a score threshold of 0.86? And, with 0.8 again, with an overlap threshold of 0.3?
#
# <details><summary>Answer</summary>
#
# With 0.86, queries 2 and 3 are not sure. At pixels 5, 6, 7 query 1 has the largest product, 0.095, but its mask probability is
# 0.1, below ½: they are void. Query 1 has won six pixels, twice as many as its mask has: a share of 2.
#
# With an overlap threshold of 0.3, query 2 keeps pixel 5: a second dog of one pixel.
#
# </details>

# %% [markdown]
# ## The equation
#
# $$\mathrm{votes}_k(i) = \sum_n p_n(k)\,m_n(i) \qquad \mathrm{score}_n(k) = p_n(k)\cdot \mathop{\mathrm{mean}}\limits_{i:\,m_n(i)>1/2} m_n(i)$$
#
# $$n \text{ is sure: } \hat k_n = \arg\max_{k} p_n(k) \ne K,\; p_n(\hat k_n) > \mathrm{threshold}_{score} \qquad \mathrm{winner}(i) = \mathop{\arg\max}\limits_{n \text{ sure}}\; p_n(\hat k_n)\, m_n(i)$$
#
# $$n \text{ keeps } \{i : \mathrm{winner}(i) = n,\ m_n(i) \ge \tfrac12\} \text{ if it is not empty, and } \mathrm{share}_n = \frac{\#\{i : \mathrm{winner}(i) = n\}}{\#\{i : m_n(i) \ge \tfrac12\}} \ge \mathrm{threshold}_{overlap}$$
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $p$ | `p` | (N, K+1) | class probabilities; column K is "no object" |
# | $m$ | `m` | (N, h, w) | mask probabilities; $i$ is a pixel |
# | votes | `votes` | (K, h, w) | the largest gives the semantic map |
# | score | `scores` | (pairs,) | how good an instance query $n$ is as class $k$ |
# | $\hat k$ | `labels` | (N,) | the best column of each query |
# | winner | `winner` | (h, w) | the sure query that wins a pixel |
# | $\mathrm{threshold}_{score}$ | `score_threshold` | number | panoptic: for $p_n(\hat k_n)$; instances: for the score |
# | $\mathrm{threshold}_{overlap}$ | `overlap_threshold` | number | the least share |

# %% [markdown]
# ## Slow and obvious
#
# The third function stops before the decision. `same` stops the run if two things differ.

# %%
def slow_semantic(p, m):
    votes = torch.zeros(p.shape[1] - 1, *m.shape[1:])
    for n in range(len(p)):
        for k in range(len(votes)):
            votes[k] += p[n, k] * m[n]
    return votes


def slow_instances(p, m, things, top_k):
    K = p.shape[1] - 1
    pairs = [(p[n, k].item(), n, k) for n in range(len(p)) for k in range(K)]
    found = []
    for probability, n, k in sorted(pairs, reverse=True)[:top_k]:
        inside = m[n] > 0.5
        fit = m[n][inside].mean().item() if inside.any() else 0.0
        if things[k]:
            found.append((probability * fit, k))
    return sorted(found, reverse=True)

# %%
def slow_contest(p, m, score_threshold):
    """Of each query: pixels of its mask, pixels won, pixels won in its mask; 0 if it is not sure."""
    top, labels = (x.tolist() for x in p.max(1))
    sure = [n for n in range(len(p)) if labels[n] < p.shape[1] - 1 and top[n] > score_threshold]
    counts = torch.zeros(3, len(p), dtype=torch.int64)
    for at_pixel in m.flatten(1).T.tolist():  # N mask probabilities
        for n in sure:
            counts[0, n] += at_pixel[n] >= 0.5
        if sure:
            winner = max(sure, key=lambda n: top[n] * at_pixel[n])
            counts[1, winner] += 1
            counts[2, winner] += at_pixel[winner] >= 0.5
    return counts

# %%
same(slow_semantic(p, m)[:, 0, 5], torch.tensor([0.786, 0.216]))
same(slow_instances(p, m, things, top_k=3), [(0.855, 0), (0.68, 0)])
same(slow_contest(p, m, 0.8), torch.tensor([[2, 3, 3, 2], [2, 3, 1, 2], [2, 3, 1, 2]]))

# %% [markdown]
# ## Fast and short
#
# The rest is yours (12.2, 12.3). `einsum` sums over the letters missing behind the arrow; `shapes.check` returns its tensor if it has this shape.

# %% tags=["demo"]
def semantic(p, m):
    p = shapes.check("p", p, "N K+1")
    m = shapes.check("m", m, "N h w")
    return torch.einsum("nk,nhw->khw", p[:, :-1], m)


def contest(p, m, score_threshold):
    """As `slow_contest`, for all pixels at once."""
    top, labels = p.max(1)
    sure = (labels < p.shape[1] - 1) & (top > score_threshold)
    winner = ((top * sure)[:, None, None] * m).argmax(0)
    won = (winner == torch.arange(len(m))[:, None, None]) & sure[:, None, None]
    mask = (m >= 0.5) & sure[:, None, None]
    return torch.stack([mask.sum((1, 2)), won.sum((1, 2)), (won & mask).sum((1, 2))])

# %% [markdown]
# ## Shapes
#
# `predict` runs the tiny model and enlarges the mask logits: from a quarter to
# the padded input (sides are multiples of 32), then, without the padding, to the picture.

# %% tags=["demo"]
from minim2f.prediction import predict

model = minim2f.load("tiny")
scenes = minim2f.data.open_dataset("scenes", split="val")
scene = scenes[96]
is_thing = torch.tensor([bool(c["isthing"]) for c in scenes.categories])
class_logits, mask_logits = predict(model, scene.image)

# %%
with shapes.watch() as seen:  # records what is checked
    semantic(class_logits.softmax(1), mask_logits.sigmoid())

# %% tags=["hide-input"]
shape_table(
    seen,
    meanings={
        "p": "how much query n is class k; column K is no object",
        "m": "how much pixel (y, x) belongs to query n",
    },
)

# %% [markdown] tags=["demo"]
# ## Look
#
# The trained model is so sure that most thresholds do nothing. Less sure is its **first guess**, that of the raw
# queries before any layer (chapter 8).

# %% tags=["demo"]
from torch.nn.functional import interpolate, pad
from minim2f import inference, plots

category_ids = [c["id"] for c in scenes.categories]
names = {c["id"]: c["name"] for c in scenes.categories}

def first_guess(image):
    """Class logits (N, K+1) and mask logits (N, H, W) of the raw queries."""
    with torch.no_grad():
        guess = model(model.batch([image])).auxiliary[0]  # later ones are those of the layers
    return guess.class_logits[0], interpolate(guess.mask_logits, image.shape[1:], mode="bilinear")[0]


unsure = first_guess(scene.image)

# %% tags=["demo", "hide-input"]
def draw_panoptic(ax, logits, score_threshold, overlap_threshold, title, rows=slice(96), columns=slice(96)):
    """Draws a part of the map, with the number of segments of the whole."""
    ids, found = inference.panoptic(*logits, is_thing, score_threshold, overlap_threshold)
    segments = [{"id": s["id"], "category_id": category_ids[s["class"]]} for s in found]
    image, part = scene.image[:, rows, columns], ids[rows, columns]
    plots.draw_segments(ax, image, part, segments, scenes.categories, f"{title}: {len(found)}")
    return len(found), (ids == 0).float().mean().item()


fig, axes = plt.subplots(2, 3, figsize=(7.6, 5.4), layout="constrained")
by_score = [draw_panoptic(a, unsure, t, 0.8, f"panoptic, p > {t}") for a, t in zip(axes[0], (0.5, 0.8, 0.95))]
counts = []
for ax, least in zip(axes[1], (0.0, 0.05, 0.5)):
    result = inference.as_result(*unsure, model.config, "instance", score_threshold=least)
    counts.append(len(result.segments))
    shown = [s for s in result.segments if (result.ids == s["id"]).any()]
    title = f"instances, score ≥ {least}: {counts[-1]}"
    plots.draw_segments(ax, scene.image, result.ids, shown, scenes.categories, title)
assert by_score[0][1] < by_score[-1][1] and counts[0] > 5 * counts[2]
show(
    fig,
    "Six maps of one scene, all from the first guess. Upper row, panoptic: with threshold 0.5 sky, sea, road, ball and a car, and grass below; "
    "the lighthouse and the second car are striped, which is void. With 0.8 the first car is void too, with 0.95 all but the sky. Lower row, instances: "
    "without a threshold masks cover the lower half, at 0.05 six are left, at 0.5 a car, the ball and an umbrella of a few pixels.",
    "The number behind the colon counts segments. Stripes are void, in the lower row pixels of no instance. It would look wrong if a "
    "higher threshold added a segment.",
)
ids, found = inference.panoptic(*unsure, is_thing, 0.5, 0.8)
sizes = [(names[category_ids[s["class"]]], f"{s['score']:.2f}", (ids == s["id"]).sum().item()) for s in found]
table(["panoptic, p > 0.5", "class probability", "pixels"], sizes)
print(f"void in the truth: {(scene.ids == 0).float().mean():.0%}")

# %% [markdown] tags=["demo"]
# The umbrella (the small outline left of the second car) is a phantom: its query is sure and wins its pixels, and no rule asks for a least area. The
# grass is sand in the picture: wrong, and as sure as what is right. The lighthouse is void in the truth too.
#
# For the overlap threshold, each query of the last prediction gets a **second guess**: its mask moved right by six
# pixels, with halved class logits. That is less sure, so the first mostly wins where both claim a pixel.

# %% tags=["demo"]
moved = pad(mask_logits, (6, -6), value=-10.0)  # six empty columns on the left
second_guesses = torch.cat([class_logits, 0.5 * class_logits]), torch.cat([mask_logits, moved])

# %% tags=["demo", "hide-input"]
part = slice(52, 94), slice(20, 78)
fig, axes = plt.subplots(1, 3, figsize=(7.6, 2.2), layout="constrained")
by_overlap = [
    draw_panoptic(ax, second_guesses, 0.5, t, f"share ≥ {t}", *part) for ax, t in zip(axes, (0.0, 0.8, 0.9))
]
none_left = inference.panoptic(*second_guesses, is_thing, 0.5, 1.0)[1] == []
assert none_left and [n for n, _ in by_overlap] == sorted([n for n, _ in by_overlap], reverse=True)
assert by_overlap[0][0] > by_overlap[1][0] > by_overlap[2][0]
show(
    fig,
    "Three enlarged cuts of the panoptic map around the two cars and the ball. With overlap threshold 0 narrow crescents at the right of both cars and "
    "of the ball are segments of their own. With 0.8 they are void. With 0.9 the cars and the road are void as well.",
    "A part of the map, enlarged; the number counts the segments of the whole map. Look at the right side of both cars and of the ball.",
)

# %% [markdown] tags=["demo"]
# With 0, second guesses keep crescents: two more cars, one more ball. With 0.8 only the seven right segments are
# left. With 0.9 both cars and the road are lost too, since second guesses won more than a tenth of their masks; with 1 everything is.

# %% [markdown]
# ## Checkpoint
#
# Against the library: the eight pixels, then the scene. If every class is a thing, nothing merges.

# %%
print("eight pixels, panoptic", end=" ")
# a softmax undoes the logarithm, a sigmoid the `logit`
same(inference.panoptic(p.log(), m.logit(), things)[0], hand_map)
for name, logits in (("last prediction", (class_logits, mask_logits)), ("first guess", unsure)):
    p_scene, m_scene = logits[0].softmax(1), logits[1].sigmoid()
    print(f"{name}, votes", end=" ")
    same(semantic(p_scene, m_scene), inference.semantic_scores(*logits))
    print(f"{name}, scores of instances", end=" ")
    best, _, _ = inference.instances(*logits, top_k=12, things=is_thing)
    same([score for score, k in slow_instances(p_scene, m_scene, is_thing, 12)], best.tolist())
    print(f"{name}, contest", end=" ")
    small = m_scene[:, ::4, ::4]  # every fourth row and column, as the slow way takes long
    same(contest(p_scene, small, 0.5), slow_contest(p_scene, small, 0.5))
    print(f"{name}, pixels of segments", end=" ")
    area, won, inside = contest(p_scene, m_scene, 0.5)
    keeps = (inside > 0) & (won >= 0.8 * area)
    ids, found = inference.panoptic(*logits, torch.ones(13, dtype=torch.bool), 0.5, 0.8)
    same([(ids == s["id"]).sum().item() for s in found], inside[keeps].tolist())

# %% [markdown] tags=["demo"]
# ### Results as data, read by others
#
# `Predictions` writes what `segment` returns in COCO's forms. They are read
# without the library: the PNG with PIL, the instances with **pycocotools**, COCO's own code.

# %% tags=["demo"]
import tempfile
from pathlib import Path
from minim2f.results import Predictions

temporary, results = tempfile.TemporaryDirectory(), {}  # gone when the notebook ends
folder = Path(temporary.name)
for task in ("semantic", "instance", "panoptic"):
    results[task] = minim2f.segment(model, scene.image, task, score_threshold=0.5)
    with Predictions(folder / task, task, model.config.classes) as out:
        out.add(results[task], "beach.png", image_id=96)

# %% [markdown]
# A panoptic PNG holds ids as colours: id = R + 256 G + 65,536 B.

# %%
import contextlib
import io
import json
import numpy as np
from PIL import Image
from pycocotools.coco import COCO

colours = np.array(Image.open(folder / "panoptic/panoptic/beach.png")).astype(int)
same(colours @ [1, 256, 65_536], results["panoptic"].ids)
[annotation] = json.loads((folder / "panoptic/panoptic.json").read_text())["annotations"]
for info in annotation["segments_info"][:3]:
    print({key: info[key] for key in ("id", "category_id", "area", "bbox")}, names[info["category_id"]])

# %%
index = COCO()
index.dataset = {"images": [{"id": 96, "height": 96, "width": 96}], "annotations": []}
index.dataset["categories"] = scenes.categories
with contextlib.redirect_stdout(io.StringIO()):  # it prints its timings
    index.createIndex()
    detections = index.loadRes(str(folder / "instance/instances_results.json"))
theirs = detections.loadAnns(detections.getAnnIds(imgIds=96))
same(np.array([detections.annToMask(a) for a in theirs]).astype(bool), results["instance"].masks)
same([a["bbox"] for a in theirs], [s["box"] for s in results["instance"].segments])

# %% [markdown]
# ## Experiment
#
# *Hypothesis.* The usual thresholds, 0.8 and 0.8, are best for any prediction.
#
# **PQ** (panoptic quality, chapter 13) grades a panoptic map, 1 at best. Graded are the model's own predictions, its first
# guesses, and its own on **noisy** scenes (normal noise of 40 grey values), in three groups of six scenes.

# %%
groups = [[scenes[6 * g + i] for i in range(6)] for g in range(3)]
samples = sum(groups, [])  # one list of all

def noisy(image):
    return (image + 40 * torch.randn(image.shape)).clamp(0, 255).to(torch.uint8)


kinds = {
    "own": lambda image: predict(model, image),
    "first guess": first_guess,
    "noisy": lambda image: predict(model, noisy(image)),
}
outputs = {k: [[f(s.image) for s in group] for group in groups] for k, f in kinds.items()}

def quality(group, logits, score_threshold, overlap_threshold):
    metric = minim2f.metrics.PanopticQuality(scenes.categories)
    for sample, one in zip(group, logits):
        ids, found = inference.panoptic(*one, is_thing, score_threshold, overlap_threshold)
        segments = [{"id": s["id"], "category_id": sample_ids[s["class"]]} for s in found]
        metric.update(ids.numpy(), segments, sample.ids, sample.segments)
    return metric.compute()["All"]["pq"]


sample_ids = [c["id"] for c in scenes.categories]

# %%
settings = [(t, 0.8) for t in (0.5, 0.8, 0.9, 0.95, 0.99)] + [(0.5, t) for t in (0.0, 0.5, 0.95, 1.0)]
pq = {
    kind: torch.tensor([[quality(g, o, *pair) for g, o in zip(groups, outputs[kind])] for pair in settings])
    for kind in kinds
}
everything = {kind: sum(outputs[kind], []) for kind in kinds}  # one list of all scenes
short, nobodys = {}, {}
for kind, predictions in everything.items():
    counts = [contest(c.softmax(1), x.sigmoid(), 0.5) for c, x in predictions]
    area, won, inside = torch.cat(counts, 1)  # of the queries of all scenes; 0 if not sure
    short[kind] = (won < area).sum().item() / (area > 0).sum().item()
    empty = []  # of each scene: the share of pixels in no sure query's mask
    for c, x in predictions:
        top, labels = c.softmax(1).max(1)
        sure = (labels < c.shape[1] - 1) & (top > 0.5)
        empty.append((x[sure] < 0).all(0).float().mean())
    nobodys[kind] = torch.stack(empty).mean().item()

# %% tags=["hide-input"]
def judged(kind):
    """Class probabilities of right segments, and of wrong ones: those with no match in the truth."""
    right, wrong = [], []
    for sample, one in zip(samples, everything[kind]):
        ids, found = inference.panoptic(*one, is_thing, 0.5, 0.8)
        ids[sample.ids == 0] = 0  # what is void in the truth is not counted
        for s in found:
            mine = ids == s["id"]
            of_class = [t["id"] for t in sample.segments if t["category_id"] == sample_ids[s["class"]]]
            truths = [sample.ids == t for t in of_class]
            matched = any((mine & t).sum() > 0.5 * (mine | t).sum() for t in truths)
            (right if matched else wrong).append(s["score"])
    return torch.tensor(right), torch.tensor(wrong)


verdicts = {kind: judged(kind) for kind in kinds}

# %% tags=["hide-input"]
cells = {k: [f"{v.mean():.2f} ± {v.std():.2f}" for v in values] for k, values in pq.items()}
table(["score", "overlap", *kinds], [[*pair, *row] for pair, row in zip(settings, zip(*cells.values()))])
print("PQ at score threshold 0.95 minus PQ at 0.5, overlap threshold 0.8, for each of the three groups")
for kind, values in pq.items():
    print(f"  {kind:12}", " ".join(f"{d:+.2f}" for d in values[3] - values[0]))


def above(probabilities):
    return f"{(probabilities > 0.99).float().mean():.0%}" if len(probabilities) else "–"


rows = []
for kind, (right, wrong) in verdicts.items():
    row = [kind, len(right), above(right), len(wrong), above(wrong)]
    rows.append([*row, f"{short[kind]:.0%}", f"{nobodys[kind]:.0%}"])
header = ["at 0.5 and 0.8", "right segments", "surer than 0.99", "wrong segments", "surer than 0.99 "]
table([*header, "sure queries with a share below 1", "pixels in no sure mask"], rows)
assert short["noisy"] < 0.7 * short["own"] and nobodys["noisy"] > 2 * nobodys["own"]
assert (verdicts["own"][0] > 0.99).float().mean() > 0.95 and (verdicts["noisy"][1] > 0.99).float().mean() > 0.4
assert (pq["own"][:5].amax(0) - pq["own"][:5].amin(0)).max() < 0.08
assert (pq["first guess"][3] < pq["first guess"][0] - 0.3).all()
assert pq["own"][8].mean() < pq["own"][0].mean() - 0.1

# %% [markdown]
# The table gives mean ± standard deviation of the groups. Three are few, so the lines below it compare two thresholds within each group. A
# segment is *right* if its IoU (intersection divided by union) with a true segment of its class is above ½.
#
# **Refuted.** For the first guess 0.8 is too high already. The own prediction is as good with any score
# threshold up to 0.99, since its segments are surer than that. On noisy scenes PQ is lower at every
# threshold: more than half of the wrong segments there are surer than 0.99, as nearly all right ones are.
#
# The overlap threshold hardly matters up to 0.95: training gives each object one query (chapter 9). At 1 it
# drops every query that won even one pixel fewer than its mask has. On noisy scenes these are few: more pixels
# there are in no sure query's mask, yet some sure query wins each of them, which makes up for pixels it lost inside.
#
# ### Instances: score threshold and top-k
#
# How many true things are found by an instance (right class, IoU above ½), and how many instances are listed?

# %%
def listed(kind, top_k, least):
    """The share of true things that are found, and instances listed per scene."""
    found = true = count = 0
    for sample, one in zip(samples, everything[kind]):
        scores, labels, masks = inference.instances(*one, top_k, is_thing)
        kept = (scores >= least) & masks.any(2).any(1)
        thing = is_thing[sample.labels]
        a, b = masks[kept].flatten(1).float(), sample.masks[thing].flatten(1).float()
        iou = a @ b.T / (a.sum(1)[:, None] + b.sum(1) - a @ b.T)
        hit = (iou > 0.5) & (labels[kept, None] == sample.labels[thing])
        found, true, count = found + hit.any(0).sum().item(), true + len(b), count + len(a)
    return found / true, count / len(samples)


thresholds, ks = (0.0, 0.01, 0.05, 0.2, 0.5, 0.8, 0.9, 0.97), (2, 5, 10, 20, 50, 100, 208)
curves = {
    kind: ([listed(kind, 100, t) for t in thresholds], [listed(kind, k, 0.0) for k in ks])
    for kind in ("own", "first guess")
}

# %% tags=["hide-input"]
fig, axes = plt.subplots(2, 2, figsize=(7.6, 4.8), sharex="col")
fig.subplots_adjust(left=0.08, right=0.87, wspace=0.5, hspace=0.15)
for c, (places, name) in enumerate(((range(8), "score threshold, top_k = 100"), (range(7), "top_k, no threshold"))):
    for r, what in enumerate(("share of things found", "instances per scene")):
        drawn = {kind: (list(places), [v[r] for v in both[c]]) for kind, both in curves.items()}
        highest = max(max(y) for _, y in drawn.values())
        axes[r, c].set_ylim(-0.05 * highest, 1.2 * highest)  # room for two names
        plots.draw_curves(axes[r, c], drawn, name if r else "", "" if c else what)
    axes[1, c].set_xticks(list(places), [thresholds, ks][c], fontsize=8)
own, first = curves["own"], curves["first guess"]
assert own[0][4][0] > 0.9 and own[0][0][1] > 5 * own[0][4][1] and own[1][1][0] < 0.7
show(
    fig,
    "Four line charts. Left, over the score threshold: nearly all things are found up to 0.2, then fewer, first by the first guess, and only at 0.97 "
    "by the own prediction; instances per scene fall from about 45 to a few. Right, over top_k: things found "
    "rise and reach all between 10 and 50, while instances per scene grow on and on.",
    "Left: a threshold of 0.01 already removes most of what is no object. Right: beyond 10 pairs nothing more is found in the own prediction, "
    "beyond 50 in the first guess. The marks of the horizontal axes are evenly spaced, their values are not. A curve of found things that falls as top_k grows would be a bug.",
)
for kind, (by_threshold, _) in curves.items():
    print(f"{kind:12} instances per scene: {by_threshold[0][1]:.1f} without a threshold, {by_threshold[1][1]:.1f} with 0.01")
fits = []
for c, x in everything["own"]:
    top, labels = c.softmax(1).max(1)
    sure = [n for n in range(len(c)) if labels[n] < len(is_thing) and is_thing[labels[n]] and top[n] > 0.5]
    fits += [x[n].sigmoid()[x[n] > 0].mean().item() for n in sure]
print(f"own, sure things: mean mask probability inside the mask {np.mean(fits):.2f}")
assert first[0][1][1] < 0.25 * first[0][0][1] and own[1][2][0] > 0.99 and first[1][4][0] > 0.99
assert 0.94 < np.mean(fits) < 0.98

# %% [markdown]
# At 0.97 the own prediction loses most things: the second factor of the score, the mean mask probability, is 0.96 on average. With `top_k=5` most are lost too: the surest pairs are mostly stuff, which is dropped afterwards.

# %% [markdown] tags=["demo"]
# ## Break it
#
# `gates` counts the queries left after each condition of the panoptic rule. Predict which falls first.

# %% tags=["demo"]
def gates(class_logits, mask_logits, score_threshold=0.8, overlap_threshold=0.8):
    p, m = class_logits.softmax(1), mask_logits.sigmoid()
    top, labels = p.max(1)
    names = labels < p.shape[1] - 1
    area, won, inside = contest(p, m, score_threshold)
    keeps = (inside > 0) & (won >= overlap_threshold * area)
    sure = names & (top > score_threshold)
    return [int(x.sum()) for x in (names, sure, inside > 0, keeps)]


untrained = minim2f.Mask2Former(model.config).eval()
twice = torch.cat([mask_logits, mask_logits])
more_idle = class_logits.clone()
more_idle[:, -1] += 12
no_last = class_logits.clone()
no_last[:, -1] = -99  # as if the last column were cut off before the softmax
black = (scene.image / 255).to(torch.uint8)  # divided by 255 once too often

# %% tags=["demo"]
states = {
    "as it is": (class_logits, mask_logits),
    "untrained": predict(untrained, scene.image),
    "no object + 12": (more_idle, mask_logits),
    "class logits / 4": (class_logits / 4, mask_logits),
    "mask logits − 20": (class_logits, mask_logits - 20),
    "each query twice": (torch.cat([class_logits] * 2), twice + torch.randn(twice.shape)),
    "black picture": predict(model, black),
    "no last column": (no_last, mask_logits),
}
passed = {name: gates(*logits) for name, logits in states.items()}

# %% tags=["demo", "hide-input"]
rows, agree, lists = [], {}, {}
as_it_is = inference.semantic_scores(class_logits, mask_logits).argmax(0)
for name, logits in states.items():
    ids, found = inference.panoptic(*logits, is_thing)
    labels = semantic(logits[0].softmax(1), logits[1].sigmoid()).argmax(0)
    agree[name] = (labels == as_it_is).float().mean().item()
    if name == "untrained":
        one_class = labels.flatten().bincount().max().item() / labels.numel()
    scores, _, masks = inference.instances(*logits, 100, is_thing)
    scores = scores[masks.any(2).any(1)]
    lists[name] = (len(scores), int((scores > 0.5).sum()))
    void = f"{(ids == 0).float().mean():.0%}"
    rows.append([name, *passed[name], void, f"{agree[name]:.0%}", *lists[name]])
header = ["state", "name a class", "surer than 0.8", "win in their mask", "keep 80 %", "void"]
table([*header, "semantic map as it is", "instances", "above 0.5"], rows)
largest_p = states["untrained"][0].softmax(1)[:, :-1].max().item()
print(f"untrained: no query gives any class more than {largest_p:.2f}, one class has {one_class:.0%} of the semantic map")
assert largest_p < 0.6
assert lists["as it is"][0] > 6 * lists["as it is"][1]
assert passed["untrained"][1] == 0 and one_class > 0.9
assert all(agree[name] > 0.95 for name in states if name not in ("untrained", "black picture"))
assert passed["no object + 12"][0] < 0.6 * passed["as it is"][0]
assert passed["class logits / 4"][1] < 0.5 * passed["class logits / 4"][0]
assert passed["mask logits − 20"][2] < 0.6 * passed["mask logits − 20"][1]
assert passed["each query twice"][3] <= 3 < passed["each query twice"][2]
assert lists["each query twice"][1] == 2 * lists["as it is"][1]

# %% [markdown] tags=["demo"]
# **My panoptic map is empty.** Compare your model's row, from the left, with the number of segments you expect, here 7. The
# first column that is clearly lower shows the cause.
#
# 1. *Few name a class.* "No object" is too strong (chapter 10), or the picture is not what the model expects, like the black one.
# 2. *Few are surer than the threshold.* Too little training, or a threshold that does not suit this model: look at the
#    largest probabilities.
# 3. *Few win in their mask.* The masks do not reach ½: is the mask loss given logits (chapter 10)?
# 4. *Few keep 80 %.* Several queries guess at each object: a broken matching (chapter 9).
#
# **My semantic map is one class.** In an untrained model all queries favour one class a little, and without a threshold it
# wins everywhere: is any query sure?
#
# **I always get 100 instances.** `top_k` lists pairs, not objects: with N · K above 100 the list is full, though here stuff and empty masks
# are dropped from it. Metrics want the long list (chapter 13); for a picture give `score_threshold=0.5`.
#
# **I see an object twice, or one that is not there.** No rule removes second guesses from the list of instances. For phantoms: is "no object" part of the
# softmax? In the last row it is not, and more queries are sure.
#
# **It takes too much memory.** A photograph of 12 megapixels, N = 100, K = 133:

# %%
H, W, N, K = 3000, 4000, 100, 133
for name, numbers in {"mask logits": N * H * W, "their sigmoid": N * H * W, "votes": K * H * W}.items():
    print(f"{name:14}{4 * numbers / 1e9:5.1f} GB")

# %% [markdown]
# But a pixel's result needs its own N logits alone. `predict_masks` keeps the masks small, and `strips` enlarges
# some rows at a time:

# %%
from minim2f.ops.enlarge import rows_of_a_strip, strips
from minim2f.prediction import predict_masks

strip = rows_of_a_strip(torch.Size((N, H, W))) * N * W  # numbers
print(f"mask logits: {4 * N * H * W / 1e6:.0f} MB at once, {4 * strip / 1e6:.0f} MB in a strip")

large = interpolate(scene.image[None].float(), (900, 1200))[0].to(torch.uint8)
classes_large, masks_large = predict_masks(model, large)
print("strips of the enlarged scene:", len(list(strips(masks_large))))
whole = masks_large.whole()
equal = inference.panoptic(classes_large, masks_large, is_thing)[0] == inference.panoptic(classes_large, whole, is_thing)[0]
assert equal.float().mean() > 0.999  # rounding may decide a tie in another way

# %% [markdown]
# ### On photographs
#
# `tiny` knows 13 classes; *known* is the share of pixels that are truly of one of these.

# %%
try:
    photographs = minim2f.data.open_dataset("coco-mini", split="val")
except FileNotFoundError:
    photographs = []
    print("`minim2f data fetch` (10 MB) gets the photographs for this table")


def classes_at(ids, segments):
    """The category of each pixel, (H, W), 0 where there is none"""
    classes = torch.zeros(ids.shape, dtype=torch.int64)
    for s in segments:
        classes[ids == s["id"]] = s["category_id"]
    return classes


lines = []
for i in range(min(6, len(photographs))):
    truth = classes_at(photographs[i].ids, photographs[i].segments)
    line = [i, f"{torch.isin(truth, torch.tensor(sample_ids)).float().mean():.0%}"]
    for task in ("semantic", "panoptic"):
        result = minim2f.segment(model, photographs[i].image, task)
        said = classes_at(torch.from_numpy(result.ids), result.segments)
        right = (said == truth)[(said > 0) & (truth > 0)].float().mean()
        line += [f"{(said > 0).float().mean():.0%}", f"{right:.0%}"]
    lines.append(line)

# %% tags=["hide-input"]
header = ["photograph", "known", "semantic: named", "of that right", "panoptic: named", "of what it names right"]
if lines:
    table(header, lines)

# %% [markdown]
# The semantic map names every pixel, and at best one in ten rightly. The panoptic map leaves some void, and is hardly more often right.

# %% [markdown]
# ## Exercises
#
# ### 12.1 ★ The map of classes of a padded picture
#
# The picture was resized to `inner`, and padded on the right and below to `padded`. Enlarge the mask logits bilinearly to
# `padded`, cut the padding away, resize bilinearly to `size`, both without `antialias`. Then let the queries vote; return each pixel's class. There may be no
# padding; `size` may be smaller than `inner`.

# %%
def class_map(class_logits, mask_logits, padded, inner, size):
    """(N, K+1), (N, h, w), three times (height, width) -> (H, W) whole numbers"""
    ...


exercise("12.1", class_map)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `interpolate` wants a batch axis: `mask_logits[None]`. Sigmoid and votes come when the logits have their last size.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# "No object" takes part in the softmax, and has no vote. `einsum` counts the votes as in *Fast and short*.
#
# </details>

# %% [markdown]
# ### 12.2 ★★ The best pairs
#
# Write the instance rule without loops, and without `tolist`, `item` or `numpy` in any branch: of all pairs, the `top_k` with the
# largest class probability; then drop stuff. Return scores, classes and queries, in the order of *class probability*. A
# mask is where the logit is above 0; a pair with an empty one stays, with score 0. There may be fewer than `top_k` pairs, or no things among them.

# %%
def best_pairs(class_logits, mask_logits, top_k, things):
    """(N, K+1), (N, h, w), number, (K,) bool -> scores, classes, queries, each (found,)"""
    ...


exercise("12.2", best_pairs)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Flatten the (N, K) probabilities and sort them. Place 7 with K = 3 is query 2, class 1.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Compute the mean inside the mask once for each query, and index it with the queries of the pairs. A divisor of at least 1 keeps empty masks finite.
#
# </details>

# %% [markdown]
# ### 12.3 ★★★ The panoptic rule
#
# Segments are numbered from 1 in the order of their first query, 0 is void. Return the map of
# numbers, and a list with the class of each segment. A query that loses takes no number, and nothing merges with it. It may
# be that no query is sure, that a mask is empty, that a logit or the overlap threshold is exactly 0.

# %%
def panoptic_rule(class_logits, mask_logits, things, score_threshold, overlap_threshold):
    """(N, K+1), (N, h, w), (K,) bool, two numbers -> (h, w) whole numbers, list of classes"""
    ...


exercise("12.3", panoptic_rule)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Inside `contest` are the lines for `top`, `labels`, `sure` and `winner`: copy them. Then go through the queries in order, with
# `winner == n`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Write "won ≥ threshold · area" as a product: a quotient fails for empty masks. The list of classes tells whether a class of stuff has a segment
# already, and which number that has.
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | | official code | Hugging Face transformers 5 | ours |
# | --- | --- | --- | --- |
# | instances | top 100, no threshold | top N, threshold 0.5 | top 100, threshold if given |
# | panoptic thresholds | 0.8, 0.8 | 0.5, 0.8 | 0.8, 0.8 |
# | mask for the overlap | $m$ ≥ ½ | score · $m$ ≥ ½ | $m$ ≥ ½ |
# | won, $m$ below ½ | void | stays | void |
# | stuff in pieces | merged | if in `label_ids_to_fuse` | merged |
# | number after merged stuff | a new one | may be [used already](https://github.com/huggingface/transformers/issues/23461) | a new one |

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
library_table(
    {
        "semantic": "minim2f.inference.semantic_scores",
        "slow_instances": "minim2f.inference.instances",
        "the panoptic rule": "minim2f.inference.panoptic",
        "a picture's result": "minim2f.inference.segment",
        "predict": "minim2f.prediction.predict",
        "predict_masks": "minim2f.prediction.predict_masks",
        "Predictions": "minim2f.results.Predictions",
    }
)

# %% [markdown]
# ## Recap
#
# - Semantic adds up all votes.
# - Instances are the best pairs; queries do not compete.
# - Panoptic queries must be sure, win, and keep; stuff merges.
# - Thresholds do not mend what is sure and wrong.

# %% [markdown]
# ## Further reading
#
# - [MaskFormer](https://arxiv.org/abs/2107.06278), section 3.4: where the rules come from.
# - [Panoptic Segmentation](https://arxiv.org/abs/1801.00868): what void is.
