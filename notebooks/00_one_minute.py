# %% [markdown]
# # 0 · One minute of Mask2Former
#
# A picture goes in, two tensors come out, and you read them in three ways.
#
# *read 50 min · run 20 s CPU · exercises 45 min*
#
# **Needs** PyTorch tensors, nothing about detection · **Library** [`minim2f/inference.py`](../minim2f/inference.py) · **Paper** section 3.1

# %% [markdown]
# ## You will be able to
#
# - name the two tensors that Mask2Former predicts, and what one number of each means (Shapes)
# - read a 4×4 picture in three ways by hand (The idea in small numbers)
# - write readings of your own: a semantic map with void, boxes, COCO's segments (Exercises)
# - predict what disappears when one query is switched off (Look)
# - recognise a softmax along the wrong axis, though the map looks right (Break it)

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
# `setup` fixes the seed, so that your numbers are those here. Cells that only draw are folded; skip them.
#
# This map of the book begins every chapter. Today's stage is **inference**: reading what the network predicts.

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
# short names: "sky-other-merged" becomes "sky"
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
    plots.compare([row], scenes.categories, size=2),
    "A drawn beach with two touching cars, a ball and a lighthouse, and three maps of it. "
    f"Semantic: {found['semantic']}. Instance: {found['instance']}. Panoptic: {found['panoptic']}; "
    "most of the lighthouse is striped, that is void.",
    caption="Look at the two cars, and at the lighthouse, for which the model has no word. The yellow disc "
    "is the ball, the pale strips are sand. It would look wrong if an outline ran through the middle of a car, or if the panoptic map counted one car only.",
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
ids = torch.tensor(results["semantic"].ids)
unknown = scene.ids == 0  # what the true map calls void: the lighthouse
for s in results["semantic"].segments:
    share = (ids[unknown] == s["id"]).float().mean()
    if share > 0:
        print(f"about {share:3.0%} of the lighthouse is {kinds[s['category_id']]}")

# %% [markdown]
# All of it is wrong, and nothing in the map says so. In exercise 0.2 you give it a void.
#
# One network serves all three, and is never told which you want. It predicts only this (`batch` makes one normalised
# tensor of a list of pictures, here B = 1):

# %% tags=["demo"]
images = model.batch([scene.image])
with torch.no_grad():
    prediction = model(images)
class_logits, mask_logits = prediction.class_logits[0], prediction.mask_logits[0]
print("class_logits", tuple(class_logits.shape), " mask_logits", tuple(mask_logits.shape))

# %% [markdown]
# A **query** is one of the network's N = 16 slots. Each makes one guess: a row of class scores, and a mask. There are
# K = 13 classes and one more column, **no object**, for a query that has nothing to say. **Logits** are scores that are not
# yet probabilities; a softmax makes them so for the row of classes, a sigmoid for every pixel of a mask. Masks are predicted
# at a quarter of the picture's height and width: 24 = 96/4.
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
# Instance: the car leaves the list, nothing else changes. Panoptic: its pixels become void, unless another query that is
# confident of its class has them in its mask too. Semantic: there is no void, so each pixel goes to the class that now
# comes first, however weak; that may be a second query that also leans towards "car". You will see the last two under
# "Look".
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
# *Instance.* Each pair of a query and a class is a candidate. Its mask is where the query's `m` exceeds ½; the pixel is in
# both cars, and may be. The class probability says what a query saw, not how well it knows where; so a pair's score is
# that probability times the mean of `m` inside the mask. Query 0 as car: 0.9·0.9 = 0.81. Query 1 as car:
# 0.85·(6·0.9 + 0.6)/7 = 0.73, and as road only 0.1·(6·0.9 + 0.6)/7 = 0.09. Afterwards pairs of stuff are dropped, since a
# road is not counted, and pairs that score below `score_threshold` (0.8 in the minute; here take 0.5). Two cars remain.
#
# *Panoptic.* A query is **sure** if its best class has a probability above 0.8: here all three. Among the sure, the pixel
# goes to the largest product of class and mask probability: 0.9·0.9 = 0.81 against 0.85·0.6 = 0.51 and 0.85·0.1 = 0.085.
# Query 0 wins. Query 1 wins 6 pixels, and its mask has 7. That is 86 %, at least 80 %, so it keeps what it won.
#
# `same(a, b)` stops the run unless both are equal, but for rounding:

# %% tags=["demo"]
votes = (p[:, :2] * m[:, 1, 1, None]).sum(0)
same(votes, torch.tensor([1.325, 0.19]))
inside = m > 0.5
same(p[1, 0] * m[1][inside[1]].mean(), 0.85 * (6 * 0.9 + 0.6) / 7)
same(p.amax(1) * m[:, 1, 1], torch.tensor([0.81, 0.51, 0.085]))

# %% [markdown]
# Now you: read row 3, column 0, and row 0, column 3, in all three ways.

# %% tags=["hide-input"]
from matplotlib.colors import to_rgba

ink = {"0": "#e58673", "1": "#9d6a60", "0+1": "#c17869", "2": "#cfcfd6", "": "white"}
ink |= {"car": ink["0"], "road": ink["2"]}


def draw_cells(ax, words, cells, title):
    ax.imshow(cells)
    for y, line in enumerate(words):
        for x, word in enumerate(line):
            dark = sum(cells[y][x][:3]) * cells[y][x][3] + 3 * (1 - cells[y][x][3]) < 1.5
            look = {"color": "white", "weight": "bold"} if dark else {"color": "black"}
            ax.text(x, y, word, ha="center", va="center", **look)
    ax.set_title(title)
    ax.axis("off")


# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 3, figsize=(6, 2.3))
for q, (ax, name) in enumerate(zip(axes, ["car 0.9", "car 0.85", "road 0.85"])):
    words = [[f"{v:.1f}" for v in line] for line in m[q]]
    cells = [[to_rgba(ink[str(q)], float(v)) for v in line] for line in m[q]]
    draw_cells(ax, words, cells, f"query {q}: {name}")
fig.tight_layout()
show(
    fig,
    "The masks of three queries on 4 by 4 pixels, with their probabilities: 0.9 for the left car, the right car "
    "and the road, 0.6 where query 1 claims a pixel of the left car, 0.1 elsewhere.",
    caption="Three masks, in the colour of their class; the second car is darker. It would look wrong if no "
    "pixel were claimed twice.",
)

# %% [markdown]
# <details><summary>Answer</summary>
#
# Row 3, column 0 (`m` is 0.1, 0.1, 0.9). Semantic: car 0.09 + 0.085 + 0.045 = 0.22, road 0.005 + 0.01 + 0.765 = 0.78, so road.
# Instance: in no car's mask, and the road is dropped. Panoptic: 0.09, 0.085, 0.765, so query 2.
#
# Row 0, column 3 (`m` is 0.1, 0.9, 0.1). Semantic: car 0.09 + 0.765 + 0.005 = 0.86, road 0.005 + 0.09 + 0.085 = 0.18, so car.
# Instance: in the mask of query 1 alone. Panoptic: 0.09, 0.765, 0.085, so query 1.
#
# </details>

# %% [markdown]
# ## The equation
#
# $$\text{semantic}\quad \mathrm{votes}_k(i) = \sum_{n=0}^{N-1} p_n(k)\, m_n(i) \qquad \text{the class of pixel } i \text{ is } \arg\max_k \mathrm{votes}_k(i)$$
#
# $$\text{instance}\quad \mathrm{score}_n(k) = p_n(k) \cdot \mathop{\mathrm{mean}}\limits_{i:\, m_n(i) > 1/2} m_n(i)$$
#
# $$\text{panoptic}\quad \mathrm{winner}(i) = \mathop{\arg\max}\limits_{n\ \text{sure}}\, \bigl(\max_k p_n(k)\bigr)\, m_n(i)$$
#
# $$\mathrm{owner}(i) = \begin{cases} n = \mathrm{winner}(i) & \text{if query } n \text{ keeps its pixels, and } m_n(i) \ge 1/2 \\ -1 & \text{otherwise} \end{cases}$$
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $p$ | `p` | (N, K+1) | softmax of `class_logits` over the classes; the last column is no object |
# | $m$ | `m` | (N, h, w) | sigmoid of `mask_logits`; above ½ where the logit is above 0 |
# | votes | `votes` | (K, h, w) | no probabilities: 1.325 above |
# | score | `scores` | (N, K) | how good a pair of query and class is |
# | winner | `winner` | (h, w) | the sure query with the largest product |
# | owner | `owner` | (h, w) | the query that a pixel belongs to, −1 for void |
#
# $n$ counts queries, $k$ classes, $i$ pixels. A mask's height h and width w are H/4 and W/4, until it is enlarged to
# the picture. No object gets no votes and makes no instances. The panoptic reading has three steps:
#
# 1. A query is sure if its best column is a class, with a probability above 0.8. Each pixel has one winner among these.
# 2. A query keeps its pixels if it won at least 80 % as many as its mask has (6 of 7 above); those that it won outside its
#    mask count too. With fewer, others took more than a fifth of its mask. Then it is often a second guess at one
#    object, and its rest would be counted as another; so it loses everything.
# 3. Of what it won, it owns what lies in its mask. All other pixels are void.

# %% [markdown]
# ## Slow and obvious
#
# `p` and `m` are always the two tensors, made into probabilities.

# %%
def slow_semantic(class_logits, mask_logits):
    p, m = class_logits.softmax(-1), mask_logits.sigmoid()
    votes = torch.zeros(p.shape[1] - 1, *m.shape[1:])
    for n in range(len(p)):
        for k in range(len(votes)):
            votes[k] += p[n, k] * m[n]
    return votes


# %%
def slow_instances(class_logits, mask_logits):
    p, m = class_logits.softmax(-1), mask_logits.sigmoid()
    found = []
    for n in range(len(p)):
        mask = m[n] > 0.5
        fit = m[n][mask].mean() if mask.any() else 0.0
        for k in range(p.shape[1] - 1):
            found.append((float(p[n, k] * fit), k, mask))
    return sorted(found, key=lambda pair: pair[0], reverse=True)


# %%
def slow_panoptic(class_logits, mask_logits, threshold=0.8):
    p, m = class_logits.softmax(-1), mask_logits.sigmoid()
    nothing = p.shape[1] - 1
    sure = [n for n in range(len(p)) if p[n].argmax() != nothing and p[n].max() > threshold]
    winner = torch.full(m.shape[1:], -1)
    for y in range(m.shape[1]):
        for x in range(m.shape[2]):
            winner[y, x] = max(sure, key=lambda n: p[n].max() * m[n, y, x], default=-1)
    owner = torch.full(m.shape[1:], -1)
    for n in sure:
        won, mask = winner == n, m[n] >= 0.5  # official: >= here, > for instances
        if won.sum() >= 0.8 * mask.sum():
            owner[won & mask] = n
    return owner


# %% [markdown]
# ## Fast and short
#
# `einsum` sums over the letters missing behind the arrow; `argmax` looks for the best. `shapes.check` returns its tensor if
# it has the shape that the letters say, and stops if not.

# %% tags=["demo"]
def semantic(class_logits, mask_logits):
    p = shapes.check("class_logits", class_logits, "N K+1").softmax(-1)[:, :-1]
    m = shapes.check("mask_logits", mask_logits, "N h w").sigmoid()
    return torch.einsum("nk,nhw->khw", p, m)


def instances(class_logits, mask_logits):
    p = class_logits.softmax(-1)[:, :-1]
    masks = mask_logits > 0
    fit = (mask_logits.sigmoid() * masks).sum((1, 2)) / masks.sum((1, 2)).clamp(min=1)
    scores = p * fit[:, None]
    best, pair = scores.flatten().sort(descending=True, stable=True)  # pair = n * K + k
    return best, pair % p.shape[1], masks[pair // p.shape[1]]


# %% tags=["demo"]
def panoptic(class_logits, mask_logits, threshold=0.8):
    m = mask_logits.sigmoid()
    top, labels = class_logits.softmax(-1).max(-1)
    sure = (top > threshold) & (labels < class_logits.shape[1] - 1)
    n = torch.arange(len(m))[:, None, None]
    winner = ((top * sure)[:, None, None] * m).argmax(0)
    won = winner == n
    mask = m >= 0.5
    keeps = sure & (won.sum((1, 2)) >= 0.8 * mask.sum((1, 2)))
    mine = won & mask & keeps[:, None, None]
    return ((n + 1) * mine).sum(0) - 1  # a pixel is in one mask at most, so this is its number


# %% [markdown]
# First against what you read by hand. The functions want logits: `p.log()` will do, as each row of `p` adds up to 1, so
# that softmax leads back to `p`; and `logit` undoes the sigmoid.

# %%
by_hand = {
    "semantic": [["car"] * 4] * 3 + [["road"] * 4],
    "instance": [["0", "0", "1", "1"], ["0", "0+1", "1", "1"], ["0", "0", "1", "1"], [""] * 4],
    "panoptic": [["0", "0", "1", "1"]] * 3 + [["2"] * 4],
}
small = p.log(), m.logit()
words = [[("car", "road")[k] for k in line] for line in semantic(*small).argmax(0)]
assert words == by_hand["semantic"]
words = [[str(n.item()) for n in line] for line in panoptic(*small)]
assert words == by_hand["panoptic"]

best, what, masks = instances(*small)  # all six pairs of a query and a class
kept = (what == 0) & (best > 0.5)  # cars only, above the threshold
same(best[kept], torch.tensor([0.81, 0.85 * 6 / 7]))
first, second = masks[kept].tolist()
names = {(1, 0): "0", (0, 1): "1", (1, 1): "0+1", (0, 0): ""}
words = [[names[pair] for pair in zip(*lines)] for lines in zip(first, second)]
assert words == by_hand["instance"]

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 3, figsize=(6, 2.3))
for ax, (title, words) in zip(axes, by_hand.items()):
    draw_cells(ax, words, [[to_rgba(ink[word]) for word in line] for line in words], title)
fig.tight_layout()
show(
    fig,
    "The semantic map (car, road), the instance map (query 0, query 1, one pixel both, no road), the panoptic "
    "map (query 0, query 1, below them query 2, the road), each on 4 by 4 pixels.",
    caption="The same three masks, read three ways. The contested pixel is car, is in both cars, is query 0's. "
    "It would look wrong if the instance map had a road.",
)

# %% [markdown]
# Then against the loops, on the two tensors of the beach. `same` also takes two functions and their arguments:

# %%
same(semantic, slow_semantic, class_logits, mask_logits)
same(panoptic, slow_panoptic, class_logits, mask_logits)
slow_scores, slow_labels, slow_masks = zip(*slow_instances(class_logits, mask_logits))
theirs = torch.tensor(slow_scores), torch.tensor(slow_labels), torch.stack(slow_masks)
same(instances(class_logits, mask_logits), theirs)

# %% [markdown]
# ## Shapes
#
# A preview of later chapters: `minim2f.walkthrough` runs the model and records every named tensor. Today only the last two
# rows count.

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
# `predict` is the model once more, with mask logits enlarged to the picture. From now on we read those.

# %% tags=["demo"]
from minim2f.prediction import predict

class_logits, mask_logits = predict(model, scene.image)
top, labels = class_logits.softmax(-1).max(-1)
class_names = [*kinds.values(), "no object"]
query_names = [class_names[k] for k in labels]
owners = [q for q in panoptic(class_logits, mask_logits).unique().tolist() if q >= 0]
print({q: query_names[q] for q in owners})

# %% tags=["demo", "hide-input"]
colours = [(0.0, 0.0, 0.0)] * len(labels)  # black for idle queries
for q in owners:
    before = sum(query_names[q] == query_names[other] for other in owners if other < q)
    colours[q] = tuple(0.6**before * v / 255 for v in scenes.categories[labels[q]]["color"])

blank = torch.full_like(scene.image, 255)
fig, axes = plt.subplots(2, 8, figsize=(8.2, 3))
for q, ax in enumerate(axes.flat):
    title = f"{q}: {query_names[q]}\n{top[q]:.2f}"
    plots.draw_mask(ax, blank, mask_logits[q].sigmoid(), colours[q], title)
fig.tight_layout(pad=0.4)
empty = sum(not (mask_logits[q] > 0).any() for q in range(len(labels)) if q not in owners)
show(
    fig,
    f"The masks of all {len(labels)} queries, one a panel, titled with its best class and probability. "
    f"{len(owners)} speak: {', '.join(query_names[q] for q in owners)}; each covers its object. "
    f"{query_names.count('no object')} say no object, and their masks are stray blobs or empty.",
    caption="Each panel is one guess: a class, its probability, a mask (white outline). Of the "
    f"{len(labels) - len(owners)} queries without an object {empty} have no pixel above ½, and what is left of "
    "their masks, in black, is faint. It would look wrong if two sure queries covered the same car.",
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

still = of_car & (semantic(quiet, mask_logits).argmax(0) == labels[car])
p_car, m_there = quiet.softmax(-1)[:, labels[car]], mask_logits.sigmoid()[:, still].mean(1)
print("the two largest votes for car at those that are still car:")
for q in (p_car * m_there).argsort(descending=True)[:2]:
    vote = p_car[q] * m_there[q]
    print(f"  query {q}: class {p_car[q]:.2f} · mask {m_there[q]:.3f} = {vote:.3f}")

# %% tags=["demo", "hide-input"]
from matplotlib.patches import Patch

class_colours = [[v / 255 for v in c["color"]] for c in scenes.categories]
stuff_last = sorted(owners, key=lambda q: not scenes.categories[labels[q]]["isthing"])
fig, axes = plt.subplots(4, 4, figsize=(8.2, 8.4))
seen = set()
for place, off in enumerate([[], *([q] for q in stuff_last)]):
    upper, lower = axes[place // 4 * 2 :, place % 4][:2]
    changed = switch_off(class_logits, off)
    title = f"without {off[0]}: {query_names[off[0]]}" if off else "all on"
    paint(upper, panoptic(changed, mask_logits), query_names, colours, title)
    votes = semantic(changed, mask_logits)
    paint(lower, votes.argmax(0), class_names, class_colours, "")
    seen |= set(votes.argmax(0).unique().tolist())
for ax, name in zip(axes[:, 0], ("panoptic", "semantic") * 2):
    ax.text(-0.04, 0.5, name, rotation=90, ha="right", va="center", transform=ax.transAxes)
tints = {class_names[k]: [0.35 + 0.65 * v for v in class_colours[k]] for k in sorted(seen)}
patches = [Patch(fc=tint, ec="black", lw=0.5, label=name) for name, tint in tints.items()]
fig.tight_layout(pad=0.3, rect=(0, 0.05, 1, 1))
fig.legend(handles=patches, ncols=len(patches), loc="lower center", frameon=False, fontsize=8)
show(
    fig,
    "Panoptic maps, each above its semantic map: first with all queries, then each without one: "
    f"{', '.join(query_names[q] for q in stuff_last)}. In the panoptic maps most of that query's segment turns "
    "to void; in the semantic maps other classes fill the place.",
    caption="Stripes are void. In the panoptic maps the place of a silent query becomes void, in the semantic "
    "ones other classes fill it. It would look wrong if another segment lost pixels.",
)

# %% [markdown]
# In the panoptic map a segment is a query: take it away, and void is left. In the semantic map every pixel must have a
# class, and the largest of the remaining votes decides, here a few hundredths. Why are most of the silent car's pixels car
# still?
#
# <details><summary>Answer</summary>
#
# For two reasons, which the printed votes show. Query 5 is unsure what it sees: it says no object, but leaves car a little.
# Query 13, the other car, is sure of its class, but its mask is nearly 0 at these pixels. Both votes are tiny, and together
# larger than those for any other class. In the panoptic reading neither counts: query 5 is not sure, and query 13 does not
# have these pixels in its mask.
#
# </details>

# %% [markdown]
# ## Checkpoint
#
# The library's three functions, and SciPy. The library also cuts the list of instances and merges stuff: with all pairs
# (`top_k`) and every class a thing it does what you do.

# %%
from minim2f import inference

same(semantic, inference.semantic_scores, class_logits, mask_logits)
mine = instances(class_logits, mask_logits)
theirs = inference.instances(class_logits, mask_logits, top_k=16 * 13)  # N · K
same([x[:20] for x in mine], [x[:20] for x in theirs])  # further down rounding decides the order

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
# How many of the sixteen queries does the model need? You switch off more and more, in the order of their probability of no
# object, downwards or upwards, or at random.
#
# **Panoptic quality** (PQ) measures the result. A found and a true segment of one class match if they share more than half
# of the area that they cover together; this share is their IoU. A class adds up its IoUs, and divides by its matches plus
# half of its unmatched segments, found or true; PQ is the mean over classes, 1 at best. Three groups of 15 unseen scenes
# give three values, of which the table shows mean ± standard deviation.
#
# *Hypothesis.* A scene has seven or eight segments, so the eight most idle queries, surest of no object, go for free. The others
# cost a segment each. Random ones lie between.

# %%
groups = [[scenes[15 * g + i] for i in range(15)] for g in range(3)]
outputs = [[predict(model, sample.image) for sample in group] for group in groups]
orders = {
    "most idle first": lambda c: c.softmax(-1)[:, -1].argsort(descending=True),
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
free = max(n for n, lost in zip(steps, drop["most idle first"]) if lost < 0.03)
print(f"for free: the {free} most idle; the {steps[1]} surest cost {drop['surest first'][1]:.2f}")
surest = [c[orders["surest first"](c)[:2]].argmax(-1) for o in outputs for c, _ in o]
sky = sum("sky" in [class_names[k] for k in two] for two in surest)
print(f"sky is among the {steps[1]} surest in {sky} of {len(surest)} scenes")
assert free >= 6 and drop["surest first"][3] > 0.3

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(5.5, 2.7))
plots.draw_curves(ax, {n: (steps, v.mean(1)) for n, v in pq.items()}, "queries switched off", "PQ")
for k, values in enumerate(pq.values()):
    low, high = values.mean(1) - values.std(1), values.mean(1) + values.std(1)
    ax.fill_between(steps, low, high, color=plots.query_color(k), alpha=0.2, linewidth=0)
show(
    fig,
    "PQ against the number of queries switched off, with bands for the spread. Most idle first stays flat "
    f"for {free} queries and then falls; at random falls steadily; surest first falls from the start.",
    caption="Where a curve is flat, the queries switched off were not needed. It would look wrong if the upper curve fell at once.",
)

# %% [markdown]
# The eight most idle queries are free. The others cost about a segment each, except the first two, which cost less. Why?
#
# <details><summary>Answer</summary>
#
# Two of 7.6 segments would be 0.24 of 0.92, and the later pairs cost about that; the first pair costs 0.16. PQ is a mean over
# classes, not over segments. One of the first two is the sky in every scene, so half of the segments lost are of one class,
# and one class of 13 cannot cost more than 1/13, about 0.08.
#
# </details>
#
# N is a ceiling, not a count: it must not be below the segments of the fullest picture.

# %% [markdown]
# ## Break it
#
# One slip: the softmax runs over axis 0, the queries, instead of axis −1, the classes. Before you read on: what will the
# semantic map look like?

# %% tags=["demo"]
right, wrong = class_logits.softmax(-1), class_logits.softmax(0)
maps = [torch.einsum("nk,nhw->khw", x[:, :-1], mask_logits.sigmoid()) for x in (right, wrong)]
equal = maps[0].argmax(0) == maps[1].argmax(0)
agree = equal.float().mean()
assert unknown[~equal].float().mean() > 0.5  # where they differ is mostly lighthouse
print(f"the two semantic maps agree on {agree:.0%} of the pixels")

# %% [markdown]
# The maps look alike:

# %% tags=["demo", "hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(4.4, 2.4))
for ax, votes, axis in zip(axes, maps, ("classes", "queries")):
    paint(ax, votes.argmax(0), class_names, class_colours, f"softmax over the {axis}")
fig.tight_layout(pad=0.3)
show(
    fig,
    "Two semantic maps of the beach, one with the softmax over the classes, one over the queries; hardly a "
    "pixel differs, and those that do lie mostly in the lighthouse.",
    caption="They differ mostly inside the lighthouse, where both are wrong; nothing shows which one is broken. It would "
    "look wrong if one lacked a car.",
)

# %% [markdown]
# Why does the map survive? See what the queries that speak give their class:

# %% tags=["demo"]
own = right[owners, labels[owners]], wrong[owners, labels[owners]]
for q, *pair in zip(owners, *own):
    print(f"{query_names[q]:12} right {pair[0]:.2f}  wrong {pair[1]:.2f}")
print(f"surer than 0.8: {(own[0] > 0.8).sum()} right, {(own[1] > 0.8).sum()} wrong")

# %% [markdown]
# Where only one query likes a class, that query gets nearly all of the column, as before. The two cars must share theirs, but
# to beat other classes at these pixels a share is enough. The panoptic reading asks for more: two cars cannot both be surer
# than 0.8. A table of the probabilities shows the fault:

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
# **How to notice this in your own training.** Each picture "contains" each class, panoptic maps lose objects of a class
# that is there twice, and scores change when you add a query. Assert once that `p.sum(-1)` is 1.

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
    """(N, K+1), (N, h, w), a number of votes -> (h, w) classes, -1 for void"""
    ...


exercise("0.2", semantic_or_void)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First the votes, (K, h, w): two kinds of probabilities, multiplied, and added up over the queries.
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
# On the beach the right answer gives this:

# %% tags=["hide-input"]
from minim2f.book import exercises

answer = exercises.find("0.2").reference(class_logits, mask_logits, 0.5)
lost = [(answer[place] < 0).float().mean() for place in (unknown, ~unknown)]
fig, ax = plt.subplots(figsize=(2.6, 2.6))
paint(ax, answer, class_names, class_colours, "void below 0.5 votes")
show(
    fig,
    "The semantic map of the beach with void: most of the lighthouse is striped, and a few thin lines between "
    "other segments.",
    caption=f"Void now covers {lost[0]:.0%} of the lighthouse and {lost[1]:.0%} of all else. It would look wrong "
    "if a car were striped.",
)
assert lost[0] > 0.8 and lost[1] < 0.05

# %% [markdown]
# ### 0.3 ★★ A fourth reading: boxes
#
# You have masks, so you have boxes: the smallest [x, y, width, height] that holds all pixels of a mask, and four zeros for
# an empty one. x counts columns and y rows; inside is where the logit is above 0.

# %%
def boxes(mask_logits):
    """(N, h, w) -> (N, 4) whole numbers: x, y, width, height"""
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
# `panoptic` returns queries. COCO, the data set whose format we use, wants segments: 0 for void, then 1, 2, 3 … without gaps,
# in the order of the queries, things and stuff mixed. Each thing has a number of its own. Queries of one stuff class share
# one, that of the first: a sky in two pieces is one sky. A query that owns no pixel gets none; all may be void. Leave `owner`
# itself as it is.

# %%
def segment_ids(owner, labels, things):
    """(h, w) owners, -1 for none; (N,) classes; (K,) bool -> (h, w) ids"""
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
# | semantic votes | sum over queries | drops no object, does not renormalise | the same |
# | instance score | class times mask confidence (section 4.1) | of the 100 best pairs; a query may appear with several classes | the same |
# | panoptic pixels | to the query with the largest product | only inside its mask, with thresholds 0.8 and 0.8; borders where no mask reaches ½ become void | the same |
# | size of the masks | not said | logits enlarged to the input, then to the picture; for purely semantic data votes are summed in between | enlarged first; our loops read the quarter size |
# | queries, layers | 100, 9 | the same; 200 queries in the largest model | the same with ResNet-50; 16 and 3 in our tiny model |

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
# - Class logits say what each query saw; mask logits say where.
# - Semantic adds up votes, instance lists pairs, panoptic gives each pixel to the sure query with the largest product.
# - A query that falls silent leaves void in a panoptic map, and the class with the next most votes in a semantic one.
# - Class probabilities add up to 1 in each row, not in each column.

# %% [markdown]
# ## Further reading
#
# - [MaskFormer](https://arxiv.org/abs/2107.06278), section 3: where mask classification began.
# - [Mask2Former](https://arxiv.org/abs/2112.01527), section 3.1.
# - [Panoptic Segmentation](https://arxiv.org/abs/1801.00868), sections 3 and 4.

# %% [markdown]
# ### The map of the book

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
A | Tensors, einsum and broadcasting | all | What does this line of tensors do?
B | Glossary and symbols | all | What was this word, and that letter?
C | Paper, official code, Hugging Face, ours | all | Who does what differently, and where is it shown?
D | A plan for lecturers | all | What to show in 90 minutes, and what to ask?
E | How fast, and why | all | What makes the same numbers come sooner?
W | The tensor walkthrough | all | Which tensor has which shape, and what is one number of it?
"""
lines = []
for number, title, *rest in (line.split(" | ") for line in chapters.strip().split("\n")):
    file = next(Path().glob(f"{number:0>2}_*.ipynb" if number.isdigit() else f"{number}_*.ipynb"), None)
    lines.append([f"[{number} {title}]({file})" if file else f"{number} {title}", *rest])
table(["chapter", "stage on the map", "question that it opens"], lines)

# %% [markdown]
# **An afternoon:** 0, 7, 9. **A course:** all in order. **You know DETR**, which invented queries: 2, 5, 7, 10, 12. **You write fast code:** E.
