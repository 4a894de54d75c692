# %% [markdown]
# # 0 · One minute of Mask2Former
#
# A picture goes in, two tensors come out, and you read them in three ways.
#
# *read 30 min · run 20 s CPU · exercises 45 min*
#
# **Needs** PyTorch tensors, nothing about detection · **Library** [`minim2f/inference.py`](../minim2f/inference.py) · **Paper** section 3.1

# %% [markdown]
# ## You will be able to
#
# - name the two tensors that Mask2Former predicts, and what one number of each means (Shapes)
# - read a 4×4 picture in three ways by hand (The idea in small numbers)
# - write readings of your own: a semantic map with void, boxes, COCO's segments (Exercises)
# - predict what disappears when one query is switched off (Look)
# - recognise a softmax along the wrong axis, though the picture looks fine (Break it)

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

# %% [markdown]
# `setup` fixes seed and number type, so that your numbers are those here. Cells that only draw are folded; skip them.
#
# This map of the book begins every chapter, with its stage lit. Today you get off at **inference**: reading what the network
# says.

# %% tags=["hide-input"]
where_we_are("inference")

# %% [markdown] tags=["demo"]
# ### The minute
#
# A tiny Mask2Former comes with the library. It learnt from drawn landscapes, and has never seen this one.

# %% tags=["demo"]
from minim2f import plots

model = minim2f.load("tiny")
scenes = minim2f.data.open_dataset("scenes", split="val")
scene = scenes[96]
kinds = {c["id"]: c["name"].partition("-")[0] for c in scenes.categories}

tasks = ("semantic", "instance", "panoptic")
results = {task: minim2f.segment(model, scene.image, task, score_threshold=0.8) for task in tasks}

# %% tags=["demo", "hide-input"]
row, found = {"image": scene.image}, {}
for task, result in results.items():
    row[task] = (result.masks if task == "instance" else result.ids, result.segments)
    found[task] = ", ".join(kinds[s["category_id"]] for s in result.segments)
assert found["semantic"].count("car") == 1
assert found["instance"].count("car") == found["panoptic"].count("car") == 2
assert (torch.tensor(results["panoptic"].ids)[scene.ids == 0] == 0).float().mean() > 0.5
show(
    plots.compare([row], scenes.categories, size=1.6),
    "A drawn beach with two touching cars, a ball and a lighthouse, and three maps of it. "
    f"Semantic: {found['semantic']}. Instance: {found['instance']}. Panoptic: {found['panoptic']}; "
    "most of the lighthouse is striped, that is void.",
    caption="Look at the two cars, and at the lighthouse, for which the model has no word. It would look "
    "wrong if an outline ran through the middle of a car, or if the panoptic map counted one car only.",
)

# %% [markdown]
# - **Semantic segmentation** gives each pixel a class. The two cars run together.
# - **Instance segmentation** gives each countable object a mask with a class. Sky and road are absent.
# - **Panoptic segmentation** does both: a pixel belongs to one segment at most, and cars are counted. Pixels of
#   nothing known are **void**, drawn as stripes.
#
# Classes that you can count are **things**, all others **stuff**. The semantic map has no void. What does it call the
# lighthouse?

# %% tags=["demo"]
ids, unknown = torch.tensor(results["semantic"].ids), scene.ids == 0
for s in results["semantic"].segments:
    share = (ids[unknown] == s["id"]).float().mean()
    if share > 0:
        print(f"{share:4.0%} of the lighthouse is {kinds[s['category_id']]}")

# %% [markdown]
# All of it is wrong, and nothing in the map says so. In exercise 0.2 you give it a void.
#
# Once these were three problems for three kinds of network. Here one network does not even know which you want: it ran
# three times, and each time said this and no more (`batch` makes one normalised tensor of a list of pictures, here B = 1):

# %% tags=["demo"]
images = model.batch([scene.image])
with torch.no_grad():
    prediction = model(images)
class_logits, mask_logits = prediction.class_logits[0], prediction.mask_logits[0]
print("class_logits", tuple(class_logits.shape), " mask_logits", tuple(mask_logits.shape))

# %% [markdown]
# A **query** is one of the network's N = 16 slots. Each makes one guess: a row of class scores, and a mask. There are
# K = 13 classes and one more column, **no object**, for a query that has nothing to say. **Logits** are scores that are not
# yet probabilities; a softmax makes them so for the row of classes, a sigmoid for every pixel of a mask.
#
# So segmentation is N masks with a class each: **mask classification**.

# %% [markdown]
# ## Predict
#
# You silence the query of one car: its class row now says "no object", its mask stays as it is. What becomes of the car's
# pixels in each of the three results?
#
# <details><summary>Answer</summary>
#
# Instance: the car leaves the list, nothing else changes. Panoptic: its pixels become void, except where another sure
# query has them in its mask too. Semantic: there is no void, so the pixels go to whichever opinion is left, however weak;
# that may be a second query that also thought "car". You will see the last two under "Look".
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# A car on the left, a car on the right, a road along the bottom: three queries, two classes. `p` are class probabilities,
# `m` mask probabilities. Query 1 makes one mistake: it claims a pixel of the left car.

# %% tags=["demo"]
left_car, right_car, road = [0.9, 0.05, 0.05], [0.85, 0.1, 0.05], [0.05, 0.85, 0.1]
p = torch.tensor([left_car, right_car, road])  # columns: car, road, no object
m = torch.full((3, 4, 4), 0.1)
m[0, :3, :2] = 0.9
m[1, :3, 2:] = 0.9
m[1, 1, 1] = 0.6
m[2, 3] = 0.9

# %% [markdown] tags=["demo"]
# Read the contested pixel, row 1, column 1, where `m` is 0.9, 0.6 and 0.1.
#
# *Semantic.* All queries vote for all classes, class probability times mask probability:
# car 0.9·0.9 + 0.85·0.6 + 0.05·0.1 = 1.325, road 0.05·0.9 + 0.1·0.6 + 0.85·0.1 = 0.19. It is car.
#
# *Instance.* Things only, so the road is left out. A mask is where `m` exceeds ½. The pixel is in both cars, and may be.
# The class probability says what a query saw, not how well it knows where; so an instance's score is that times the mean of
# `m` inside the mask. Query 0 as car: 0.9·0.9 = 0.81. Query 1 as car:
# 0.85·(6·0.9 + 0.6)/7 = 0.73.
#
# *Panoptic.* Only **sure** queries compete, above 0.8: here all three. The pixel goes to the one that wants it most:
# 0.9·0.9 = 0.81 against 0.85·0.6 = 0.51 and 0.85·0.1 = 0.085. Query 0 takes it. Query 1 keeps the other 6 of its 7
# pixels, more than 80 %. With fewer it would lose them all.
#
# `same(a, b)` stops the run unless both are equal, but for rounding:

# %% tags=["demo"]
votes = (p[:, :2] * m[:, 1, 1, None]).sum(0)
same(votes, torch.tensor([1.325, 0.19]))
inside = m > 0.5
same(p[1, 0] * m[1][inside[1]].mean(), 0.85 * (6 * 0.9 + 0.6) / 7)
same(p.amax(1) * m[:, 1, 1], torch.tensor([0.81, 0.51, 0.085]))

# %% [markdown]
# Now you: read row 3, column 0, and row 0, column 3, all three ways, before you look at the picture's lower row. A query
# has the colour of its class; a second one of a class is darker.

# %%
by_hand = {
    "semantic": [["car"] * 4] * 3 + [["road"] * 4],
    "instance": [["0", "0", "1", "1"], ["0", "0+1", "1", "1"], ["0", "0", "1", "1"], [""] * 4],
    "panoptic": [["0", "0", "1", "1"]] * 3 + [["2"] * 4],
}

# %% tags=["hide-input"]
from matplotlib.colors import to_rgba

ink = {"0": "#e58673", "1": "#9d6a60", "0+1": "#c17869", "2": "#cfcfd6", "": "white"}
ink |= {"car": ink["0"], "road": ink["2"]}


def draw_cells(ax, words, cells, title):
    ax.imshow(cells)
    for y, line in enumerate(words):
        for x, word in enumerate(line):
            ax.text(x, y, word, ha="center", va="center")
    ax.set_title(title)
    ax.axis("off")


# %% tags=["hide-input"]
fig, axes = plt.subplots(2, 3, figsize=(6, 4.3))
for q, name in enumerate(["car 0.9", "car 0.85", "road 0.85"]):
    words = [[f"{v:.1f}" for v in line] for line in m[q]]
    cells = [[to_rgba(ink[str(q)], float(v)) for v in line] for line in m[q]]
    draw_cells(axes[0, q], words, cells, f"query {q}: {name}")
for ax, (title, words) in zip(axes[1], by_hand.items()):
    draw_cells(ax, words, [[to_rgba(ink[word]) for word in line] for line in words], title)
fig.tight_layout()
show(
    fig,
    "Upper row: the masks of three queries on 4 by 4 pixels, with their probabilities. Lower row: the "
    "semantic map (car, road), the instance map (query 0, query 1, one pixel both, no road), the panoptic map "
    "(query 0, query 1, below them query 2, the road).",
    caption="The same three masks, read three ways. The contested pixel is car, is both cars, is car 0. It "
    "would look wrong if the instance map had a road.",
)

# %% [markdown]
# ## The equation
#
# $$\text{semantic}\quad \mathrm{votes}_c(i) = \sum_{q=1}^{N} p_q(c)\, m_q(i) \qquad \text{the class of pixel } i \text{ is } \arg\max_c \mathrm{votes}_c(i)$$
#
# $$\text{instance}\quad s_q(c) = p_q(c) \cdot \mathop{\mathrm{mean}}\limits_{i:\, m_q(i) > 1/2} m_q(i)$$
#
# $$\text{panoptic}\quad a(i) = \mathop{\arg\max}\limits_{q\ \text{sure}}\, \bigl(\max_c p_q(c)\bigr)\, m_q(i)$$
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $p$ | `p` | (N, K+1) | softmax of `class_logits` over the classes; the last column is no object |
# | $m$ | `m` | (N, H, W) | sigmoid of `mask_logits`; above ½ where the logit is above 0 |
# | votes | `votes` | (K, H, W) | no probabilities: 1.325 above |
# | $s$ | `scores` | (N, K) | how good a pair of query and class is |
# | $a$ | `owner` | (H, W) | the query that a pixel belongs to, −1 for void |
#
# $q$ counts queries, $c$ classes, $i$ pixels. No object gets no votes and makes no instances. A query is sure if its best
# column is a class, with a probability above 0.8. Of the pixels that it wins, it keeps those in its mask, if all that it
# won, inside the mask or not, are at least 80 % as many as the mask has; one that won fewer was mostly hidden, or a double.
#
# As in the official code, an instance's mask is where $m > ½$, a panoptic one where $m \ge ½$; a logit of exactly 0 is
# rare.

# %% [markdown]
# ## Slow and obvious
#
# `p` and `m` are always the two tensors, made into probabilities.

# %%
def slow_semantic(class_logits, mask_logits):
    p, m = class_logits.softmax(-1), mask_logits.sigmoid()
    votes = torch.zeros(p.shape[1] - 1, *m.shape[1:])
    for q in range(len(p)):
        for c in range(len(votes)):
            votes[c] += p[q, c] * m[q]
    return votes


# %%
def slow_instances(class_logits, mask_logits):
    p, m = class_logits.softmax(-1), mask_logits.sigmoid()
    found = []
    for q in range(len(p)):
        mask = m[q] > 0.5
        fit = m[q][mask].mean() if mask.any() else 0.0
        for c in range(p.shape[1] - 1):
            found.append((float(p[q, c] * fit), c, mask))
    return sorted(found, key=lambda pair: pair[0], reverse=True)


# %%
def slow_panoptic(class_logits, mask_logits, threshold=0.8):
    p, m = class_logits.softmax(-1), mask_logits.sigmoid()
    nothing = p.shape[1] - 1
    sure = [q for q in range(len(p)) if p[q].argmax() != nothing and p[q].max() > threshold]
    winner = torch.full(m.shape[1:], -1)
    for y in range(m.shape[1]):
        for x in range(m.shape[2]):
            winner[y, x] = max(sure, key=lambda q: p[q].max() * m[q, y, x], default=-1)
    owner = torch.full(m.shape[1:], -1)
    for q in sure:
        won, mask = winner == q, m[q] >= 0.5
        if won.sum() >= 0.8 * mask.sum():
            owner[won & mask] = q
    return owner


# %% [markdown]
# ## Fast and short
#
# A loop over queries that adds is an `einsum`, which sums over letters missing behind the arrow. A loop that looks for the
# best is an `argmax`. `shapes.check` returns its tensor if it has the shape that the letters say, and stops if not.

# %% tags=["demo"]
def semantic(class_logits, mask_logits):
    p = shapes.check("class_logits", class_logits, "N K+1").softmax(-1)[:, :-1]
    m = shapes.check("mask_logits", mask_logits, "N H W").sigmoid()
    return torch.einsum("nk,nhw->khw", p, m)


def instances(class_logits, mask_logits):
    p = class_logits.softmax(-1)[:, :-1]
    masks = mask_logits > 0
    fit = (mask_logits.sigmoid() * masks).sum((1, 2)) / masks.sum((1, 2)).clamp(min=1)
    scores, pair = (p * fit[:, None]).flatten().sort(descending=True, stable=True)
    return scores, pair % p.shape[1], masks[pair // p.shape[1]]


# %% tags=["demo"]
def panoptic(class_logits, mask_logits, threshold=0.8):
    m = mask_logits.sigmoid()
    scores, labels = class_logits.softmax(-1).max(-1)
    sure = (scores > threshold) & (labels < class_logits.shape[1] - 1)
    q = torch.arange(len(m))[:, None, None]
    won = ((scores * sure)[:, None, None] * m).argmax(0) == q
    mask = m >= 0.5
    keeps = sure & (won.sum((1, 2)) >= 0.8 * mask.sum((1, 2)))
    mine = won & mask & keeps[:, None, None]
    return ((q + 1) * mine).sum(0) - 1  # a pixel is in one mask at most, so this is its number


# %% [markdown]
# First against your own hand, with logits from which softmax and sigmoid lead back to `p` and `m`:

# %%
small = p.log(), m.logit()
words = [[("car", "road")[c] for c in line] for line in semantic(*small).argmax(0)]
assert words == by_hand["semantic"]
words = [[str(q.item()) for q in line] for line in panoptic(*small)]
assert words == by_hand["panoptic"]
scores, what, _ = instances(*small)
same(scores[what == 0][:2], torch.tensor([0.81, 0.85 * 6 / 7]))

# %% [markdown]
# Then against the loops, on the two tensors of the beach; `same` calls two functions itself, with what follows them:

# %%
same(semantic, slow_semantic, class_logits, mask_logits)
same(panoptic, slow_panoptic, class_logits, mask_logits)
slow_scores, slow_labels, slow_masks = zip(*slow_instances(class_logits, mask_logits))
theirs = torch.tensor(slow_scores), torch.tensor(slow_labels), torch.stack(slow_masks)
same(instances(class_logits, mask_logits), theirs)

# %% [markdown]
# ## Shapes
#
# A backbone turns the picture into features of four sizes, a pixel decoder gives them one width, the queries look at them in
# turn, and two heads write down what each query has seen. `minim2f.walkthrough` runs the model and records every named
# tensor; here are the milestones.

# %%
rows = minim2f.walkthrough(model, images)

# %% tags=["hide-input"]
meanings = {
    "images": "a colour, in standard deviations from the mean",
    "res2": "an early feature: an edge, a colour",
    "res5": "a late one: a part of a car; each number sees a large piece of the picture",
    "P5": "the same on one common width C, for the first look of the queries",
    "P4": "for their second look",
    "P3": "for their third",
    "F_pixel": "one coordinate of a pixel's embedding",
    "X_0": "one coordinate of a query, before it has seen the picture",
    f"X_{model.config.num_layers}": "the same after all layers",
    "E'_object": "one coordinate of the query as a filter for pixels",
    "class_logits": "how much query n likes class k",
    "mask_logits": "E'_object · F_pixel: does pixel (y, x) belong to query n, yes if above 0",
}
shape_table(rows, meanings=meanings)

# %% [markdown]
# ## Look
#
# ### Every query, its mask and its class
#
# `predict` is the model once more, with the mask logits enlarged to the size of the picture. From now on we read those.

# %% tags=["demo"]
from minim2f.prediction import predict

class_logits, mask_logits = predict(model, scene.image)
scores, labels = class_logits.softmax(-1).max(-1)
class_names = [*kinds.values(), "no object"]
query_names = [class_names[k] for k in labels]
owners = [q for q in panoptic(class_logits, mask_logits).unique().tolist() if q >= 0]
print({q: query_names[q] for q in owners})

# %% tags=["demo", "hide-input"]
colours = [(0.3, 0.3, 0.3)] * len(labels)  # grey for idle queries
for q in owners:
    before = sum(query_names[q] == query_names[other] for other in owners if other < q)
    colours[q] = tuple(0.6**before * v / 255 for v in scenes.categories[labels[q]]["color"])

blank = torch.full_like(scene.image, 255)
fig, axes = plt.subplots(2, 8, figsize=(8.2, 3))
for q, ax in enumerate(axes.flat):
    title = f"{q}: {query_names[q]}\n{scores[q]:.2f}"
    plots.draw_mask(ax, blank, mask_logits[q].sigmoid(), colours[q], title)
fig.tight_layout(pad=0.4)
show(
    fig,
    f"The masks of all {len(labels)} queries, one a panel, titled with its best class and probability. "
    f"{len(owners)} speak: {', '.join(query_names[q] for q in owners)}; each covers its object. "
    f"{query_names.count('no object')} say no object, and their masks are stray blobs or empty.",
    caption="Read each panel as a sentence: here is a car. Queries without an object, in grey, may show any "
    "mask; nobody reads it. It would look wrong if two sure queries covered the same car.",
)

# %% [markdown]
# ### Switch them off, one by one

# %% tags=["demo"]
def switch_off(class_logits, queries):
    """The same predictions, but these queries say no object."""
    changed = class_logits.clone()
    changed[queries] = -20.0
    changed[queries, -1] = 20.0
    return changed


# %% tags=["demo", "hide-input"]
def paint(ax, ids, names, colours, title):
    """A map of numbers, -1 for void, in the colours of queries."""
    looks = enumerate(zip(names, colours))
    kinds = [{"id": k, "name": n, "color": [255 * v for v in c]} for k, (n, c) in looks]
    segments = [{"id": k + 1, "category_id": k} for k in ids.unique().tolist() if k >= 0]
    plots.draw_segments(ax, blank, ids + 1, segments, kinds, title)


# %% tags=["demo"]
car = next(q for q in owners if query_names[q] == "car")
quiet = switch_off(class_logits, [car])
of_car = panoptic(class_logits, mask_logits) == car
print(f"query {car}, a car, is off. Of its {of_car.sum()} pixels")
print(f"  panoptic: {(panoptic(quiet, mask_logits)[of_car] < 0).float().mean():.0%} are void")
now = semantic(quiet, mask_logits).argmax(0)[of_car]
for k in now.unique():
    print(f"  semantic: {(now == k).float().mean():.0%} are {class_names[k]}")

# %% tags=["demo", "hide-input"]
class_colours = [[v / 255 for v in c["color"]] for c in scenes.categories]
stuff_last = sorted(owners, key=lambda q: not scenes.categories[labels[q]]["isthing"])[:5]
fig, axes = plt.subplots(2, 1 + len(stuff_last), figsize=(6.4, 2.8))
for column, off in zip(axes.T, [[], *([q] for q in stuff_last)]):
    changed = switch_off(class_logits, off)
    title = f"without {off[0]}:\n{query_names[off[0]]}" if off else "all on\n"
    paint(column[0], panoptic(changed, mask_logits), query_names, colours, title)
    votes = semantic(changed, mask_logits)
    paint(column[1], votes.argmax(0), class_names, class_colours, "")
for ax, name in zip(axes[:, 0], ("panoptic", "semantic")):
    ax.text(-0.08, 0.5, name, rotation=90, ha="right", va="center", transform=ax.transAxes)
fig.tight_layout(pad=0.3)
show(
    fig,
    "Panoptic maps above and semantic maps below: first with all queries, then each without one: "
    f"{', '.join(query_names[q] for q in stuff_last)}. Above, most of that query's segment turns to void; "
    "below, other classes fill the place.",
    caption="A class wears the colour of its surest query. A query that falls silent leaves a hole above, and "
    "a rumour below. It would look wrong if another segment lost pixels.",
)

# %% [markdown]
# Above, a segment is a query: take it away, and void is left. Below, every pixel must have a class, so the next best
# opinion wins, however weak. If it is still the right class, another query held the same opinion, too unsure of itself, or
# of these pixels, to count above.

# %% [markdown]
# ## Checkpoint
#
# The library's three functions, and SciPy as an outside witness. The library also cuts the list of instances and merges
# stuff: ask it for all pairs (`top_k`), and call every class a thing, and it does what you do. Far down the list rounding
# decides the order, so the first twenty are compared.

# %%
from minim2f import inference

same(semantic, inference.semantic_scores, class_logits, mask_logits)
mine = instances(class_logits, mask_logits)
theirs = inference.instances(class_logits, mask_logits, top_k=16 * 13)  # N · K
same([x[:20] for x in mine], [x[:20] for x in theirs])

owner = panoptic(class_logits, mask_logits)
ids, found = inference.panoptic(class_logits, mask_logits, things=torch.ones(13, dtype=torch.bool))
same([owner == q for q in owner.unique() if q >= 0], [ids == s["id"] for s in found])

# %%
import numpy as np
from scipy.special import expit, softmax

witness = np.tensordot(softmax(class_logits.numpy(), 1)[:, :-1].T, expit(mask_logits.numpy()), 1)
same(semantic(class_logits, mask_logits), witness)

# %% [markdown]
# ## Experiment
#
# How many of the sixteen queries does the model need? You switch off more and more. Only the order changes: by probability
# of no object, downwards or upwards, or at random.
#
# **Panoptic quality** (PQ) measures the result. A found and a true segment of one class match if they share more than half
# of the area that they cover together; this share is their IoU. A class adds up its IoUs, and divides by its matches plus
# half of its unmatched segments; PQ is the mean over classes, 1 at best. Three groups of 15 unseen scenes give mean and
# standard deviation.
#
# *Hypothesis.* A scene has seven or eight segments, so the eight least sure queries go for free. The surest cost a segment
# each. Random ones lie between.

# %%
groups = [[scenes[15 * g + i] for i in range(15)] for g in range(3)]
outputs = [[predict(model, sample.image) for sample in group] for group in groups]
orders = {
    "least sure first": lambda c: c.softmax(-1)[:, -1].argsort(descending=True),
    "at random": lambda c: torch.randperm(len(c)),
    "surest first": lambda c: c.softmax(-1)[:, -1].argsort(),
}


def quality(group, outputs, order, count):
    metric = minim2f.metrics.PanopticQuality(scenes.categories)
    for sample, (classes, masks) in zip(group, outputs):
        quiet = switch_off(classes, order(classes)[:count])
        result = inference.as_result(quiet, masks, model.config, "panoptic")
        metric.update(result.ids, result.segments, sample.ids, sample.segments)
    return metric.compute()["All"]["pq"]


# %%
steps, pq = list(range(0, 15, 2)), {}
for name, order in orders.items():
    runs = [[quality(g, o, order, n) for g, o in zip(groups, outputs)] for n in steps]
    pq[name] = torch.tensor(runs)
cell = {name: [f"{v.mean():.2f} ± {v.std():.2f}" for v in values] for name, values in pq.items()}
table(["switched off", *pq], zip(steps, *cell.values()))

# %%
counts = [len(sample.segments) for group in groups for sample in group]
print(f"segments a scene: {sum(counts) / len(counts):.1f} on average, {max(counts)} at most")
drop = {name: (values[:1] - values).mean(1) for name, values in pq.items()}
free = max(n for n, lost in zip(steps, drop["least sure first"]) if lost < 0.03)
print(f"for free: the {free} least sure; the {steps[1]} surest cost {drop['surest first'][1]:.2f}")
assert free >= 6 and drop["surest first"][3] > 0.3

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(5.5, 2.7))
plots.draw_curves(ax, {n: (steps, v.mean(1)) for n, v in pq.items()}, "queries switched off", "PQ")
for k, values in enumerate(pq.values()):
    low, high = values.mean(1) - values.std(1), values.mean(1) + values.std(1)
    ax.fill_between(steps, low, high, color=plots.query_color(k), alpha=0.2, linewidth=0)
show(
    fig,
    "PQ against the number of queries switched off, with bands for the spread. Least sure first stays flat "
    f"for {free} queries and then falls; at random falls steadily; surest first falls from the start.",
    caption="Flat means that nobody misses these queries. It would look wrong if the upper curve fell at once.",
)

# %% [markdown]
# The idle queries are free, and each of the others is worth about a segment. N is a ceiling, not a count: it must not be
# below the segments of the fullest picture.

# %% [markdown]
# ## Break it
#
# One slip: the softmax runs over axis 0, the queries, instead of axis −1, the classes. Before you read on: what will the
# semantic map look like?

# %% tags=["demo"]
right, wrong = class_logits.softmax(-1), class_logits.softmax(0)
maps = [torch.einsum("nk,nhw->khw", x[:, :-1], mask_logits.sigmoid()) for x in (right, wrong)]
agree = (maps[0].argmax(0) == maps[1].argmax(0)).float().mean()
print(f"the two semantic maps agree on {agree:.0%} of the pixels")

# %% [markdown]
# A picture that looks right proves little. Why does it survive? See what the queries that speak give their class:

# %% tags=["demo"]
own = right[owners, labels[owners]], wrong[owners, labels[owners]]
for q, *pair in zip(owners, *own):
    print(f"{query_names[q]:12} right {pair[0]:.2f}  wrong {pair[1]:.2f}")
print(f"surer than 0.8: {(own[0] > 0.8).sum()} right, {(own[1] > 0.8).sum()} wrong")

# %% [markdown]
# A class that only one query likes gives it nearly all of its column, as before. The two cars must share theirs, but to beat
# other classes at these pixels a share is enough. The panoptic reading is less patient: two cars cannot both be surer than
# 0.8. A table of the probabilities shows the fault at a glance:

# %% tags=["demo", "hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(7.4, 3.1), sharey=True, layout="constrained")
for ax, x, axis in zip(axes, (right, wrong), ("classes", "queries")):
    shade = ax.imshow(x, vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(14), class_names, rotation=60, ha="right")
    ax.set_yticks(range(16))
    ax.set(title=f"softmax over the {axis}", ylabel="query" if x is right else "")
fig.colorbar(shade, ax=axes, label="probability")
show(
    fig,
    "Two tables of probabilities, sixteen queries by fourteen columns. Left: one bright cell in each row, "
    "and dark columns for absent classes. Right: the two cars are half as bright, columns of absent classes "
    "are lit somewhere, and the column of no object is dim.",
    caption="Left, each row adds up to 1. Right, each column does: a class that is not in the picture must "
    "still be found somewhere, and no object thins out among the idle queries.",
)

# %%
absent = [k for k in range(13) if k not in scene.labels]
same(wrong.sum(0), torch.ones(14))
assert (own[1][labels[owners] == labels[car]] > 0.8).sum() < 2
assert wrong[:, absent].amax(0).mean() > 2 * right[:, absent].amax(0).mean()

# %% [markdown]
# **How to notice this in your own training.** Each picture "contains" each class, instance lists are full of ghosts,
# panoptic maps lose all but one object of a class, and scores change when you add a query. Assert once that `p.sum(-1)` is 1.

# %% [markdown]
# ## Exercises
#
# ### 0.1 ★ Who speaks
#
# Which queries name a class, and are surer of it than a threshold? Those alone compete in the panoptic reading.

# %%
def speaking(class_logits, threshold):
    """(N, K+1), a number in 0 ... 1 -> (N,) bool"""
    ...


exercise("0.1", speaking)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `x.max(-1)` gives two things at once: the largest value of each row, and its column.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Probabilities of all K+1 columns first; then two conditions, joined by `&`.
#
# </details>

# %% [markdown]
# ### 0.2 ★★ A semantic map with void
#
# Where the lighthouse stands hardly anybody votes. Write a semantic reading that says so: the class with the most votes,
# but −1 for void where even these are fewer than a threshold.

# %%
def semantic_or_void(class_logits, mask_logits, threshold):
    """(N, K+1), (N, H, W), a number of votes -> (H, W) classes, -1 for void"""
    ...


exercise("0.2", semantic_or_void)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First the votes, (K, H, W): two kinds of probabilities, multiplied, and added up over the queries.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `votes.max(0)` gives the most votes of each pixel and the class that has them. `masked_fill` sets a number where a
# condition holds.
#
# </details>

# %% [markdown]
# ### 0.3 ★★ A fourth reading: boxes
#
# You have masks, so you have boxes: the smallest [x, y, width, height] that holds all pixels of a mask, and four zeros for
# an empty one. x counts columns and y rows; inside is where the logit is above 0.

# %%
def boxes(mask_logits):
    """(N, H, W) -> (N, 4) whole numbers: x, y, width, height"""
    ...


exercise("0.3", boxes)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `mask.nonzero(as_tuple=True)` gives the row numbers and the column numbers of all pixels inside.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# A mask of a single pixel is 1 wide and 1 high. An empty one needs an `if`.
#
# </details>

# %% [markdown]
# ### 0.4 ★★★ From owners to segments
#
# `panoptic` returns queries. COCO wants segments: 0 for void, then 1, 2, 3 … without gaps, in the order of the queries,
# things and stuff mixed. Each thing has a number of its own. Queries of one stuff class share one, that of the first: a sky
# in two pieces is one sky. A query that owns no pixel gets none. Leave `owner` itself as it is.

# %%
def segment_ids(owner, labels, things):
    """(H, W) owners, -1 for none; (N,) classes; (K,) bool -> (H, W) ids"""
    ...


exercise("0.4", segment_ids)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Go through `owner.unique()`, which is sorted. Keep a dictionary of the numbers that you have given away.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The key is a pair: `("query", q)` for a thing, `("class", k)` for stuff, so that query 1 and class 1 stay apart.
# `setdefault` looks up a key, or adds it with the next number.
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | what | paper | official code | ours |
# | --- | --- | --- | --- |
# | semantic votes | sum over queries | drops no object and does not renormalise, so votes may exceed 1 | the same |
# | instance score | class times mask confidence (section 4.1) | of the 100 best pairs; a query may come twice | the same |
# | panoptic pixels | to the query that wants them most | only inside its mask, with thresholds 0.8 and 0.8; costs void at unsure borders | the same |
# | size of the masks | not said | logits enlarged to the input, then to the picture | the same; our loops read the quarter size |
# | queries, layers | 100, 9 | the same; 200 queries in the largest model | the same in r50; 16 and 3 in tiny |

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
library_table(
    {
        "the minute": "minim2f.inference.segment",
        "semantic": "minim2f.inference.semantic_scores",
        "instances": "minim2f.inference.instances",
        "panoptic": "minim2f.inference.panoptic",
        "the network": "minim2f.model.mask2former.Mask2Former",
    }
)

# %% [markdown]
# ## Recap
#
# - Class logits (N, K+1) say what each query saw; mask logits (N, H/4, W/4) say where.
# - Semantic adds up votes, instance lists pairs, panoptic gives each pixel to the query that wants it most.
# - An `einsum`, a sort, an `argmax`: each reading is a few lines, and so are your own.
# - A query that falls silent leaves void in a panoptic map, and the next best opinion in a semantic one.
# - A softmax over the queries finds each class in each picture, and loses a car: rows, not columns, must add up to 1.

# %% [markdown]
# ## Further reading
#
# - [MaskFormer](https://arxiv.org/abs/2107.06278), section 3: mask classification, for the first time.
# - [Mask2Former](https://arxiv.org/abs/2112.01527), section 3.1: the half page that this chapter fills out.
# - [Panoptic Segmentation](https://arxiv.org/abs/1801.00868), sections 3 and 4: why both at once, and PQ.

# %% [markdown]
# ### The map of the book
#
# The strip at the top, as a table of contents. Chapters without a link are still to be written.

# %% tags=["hide-input"]
from pathlib import Path

chapters = """
0 | One minute of Mask2Former | inference | How can two tensors be three kinds of segmentation?
1 | From labelling pixels to naming masks | heads | Why can one label per pixel not count two touching cars?
2 | Data | image | How does one PNG hold classes, instances and void?
3 | Backbone | backbone | What is in res2 … res5, and how far does one number see?
4 | Pixel decoder I | pixel decoder | What is lost at a quarter of the size?
5 | Pixel decoder II | pixel decoder | How can a pixel look far for the price of 48 numbers?
6 | Queries and the decoder | queries | How do sixteen equal slots become different?
7 | Masked attention | masked attention | Why look only where the last mask was?
8 | Heads and deep supervision | heads | How is a query a filter for pixels?
9 | Matching | matching | Which query should have found which car?
10 | Losses and point sampling | losses | Why is a handful of pixels enough?
11 | Training | losses | Can it learn one picture by heart, and what if not?
12 | Inference three ways | inference | Why is my result empty, or full of doubles?
13 | Metrics | metrics | What is a PQ of 0.5 worth?
14 | Ablations | all | Which of the ideas carry the weight?
15 | Real weights, your own data | all | How do the published weights get in here?
E | How fast, and why | all | What makes the same numbers come sooner?
"""
lines = []
for number, title, *rest in (line.split(" | ") for line in chapters.strip().split("\n")):
    file = next(Path().glob(f"{number:0>2}_*.ipynb" if number.isdigit() else f"{number}_*.ipynb"), None)
    lines.append([f"[{number} {title}]({file})" if file else f"{number} {title}", *rest])
table(["chapter", "stage on the map", "question that it opens"], lines)

# %% [markdown]
# **An afternoon:** 0, 7, 9. **A course:** all in order. **You know DETR:** 2, 5, 7, 10, 12. **You write fast code:** E.
