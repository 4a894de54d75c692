# %% [markdown]
# # 9 · Matching
#
# Before a picture can teach anything, somebody must say which query answers for which segment: you find that out, and prove that no other answer is cheaper.
#
# *read 15 min · run 25 s CPU · exercises 45 min*
#
# **Needs** chapters 1 and 8 · **Library** [`minim2f/training/matching.py`](../minim2f/training/matching.py) · **Paper** sections 3.3 and 4.1

# %% [markdown]
# ## You will be able to
#
# - explain why training needs an assignment at all, and price one pair by hand (The idea in small numbers)
# - price all pairs of a picture in two matrix products (Fast and short)
# - find the cheapest assignment, and prove that it is the cheapest (Checkpoint)
# - say why the cost is not the loss (Experiment)
# - recognise a greedy matcher by its symptoms (Break it)

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
where_we_are("matching")

# %% [markdown]
# Chapter 8 ended with N queries, each with a class and a mask. The truth has G segments, each with a class and a mask.
# A loss compares one with one. This chapter decides who is compared with whom, in training only: at inference there is
# nothing to compare with.

# %% [markdown]
# ## Predict
#
# Two queries, two segments. The table says what it costs to let a query answer for a segment.
#
# | | kite | boat |
# | --- | --- | --- |
# | query 0 | 1 | 2 |
# | query 1 | 1.5 | 9 |
#
# Each segment gets a query of its own, and the sum should be small. Who takes the kite?
#
# <details><summary>Answer</summary>
#
# Query 1. That costs 1.5 + 2 = 3.5; the other way is 1 + 9 = 10. The cheapest price in the table, 1, stays unused.
# What counts is the sum, not the single bargain.
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# Here is a whole training example, small enough for paper: 4 × 4 pixels with two segments, a ball and the sea, and what
# three queries make of it. Where a query draws `#`, its mask has probability 0.9, elsewhere 0.1.

# %% tags=["demo"]
drawing = """
    ball  sea   query0 query1 query2
    .##.  ....  ....   .##.   ....
    .##.  ....  ....   .###   ....
    ....  ####  .###   ....   #..#
    ....  ####  ####   ....   ####
"""
rows = [line.split() for line in drawing.strip().splitlines()[1:]]
drawn = torch.tensor([[[pixel == "#" for pixel in piece] for piece in row] for row in rows])
truth, guesses = drawn.transpose(0, 1).split([2, 3])

wrong = [(guesses[:2] != listed).sum().item() for listed in (truth, truth.flip(0))]
print("wrong pixels, ball listed first: {}, sea listed first: {}".format(*wrong))

# %% [markdown] tags=["demo"]
# Compare query 0 with segment 0 and query 1 with segment 1: almost everything is wrong. List the sea first: almost
# nothing is. But no order means anything here. Queries are a set, and so are segments; training by position would
# teach the habits of the annotator.
#
# So every pair gets a price, its **matching cost**. An **assignment** gives each segment one query, and no query two
# segments. The cheapest one wins. The price asks three questions: does the class fit, do the pixels fit, do the masks
# overlap?

# %% tags=["demo"]
# ball, sea, no object
class_logits = torch.tensor([[0.1, 0.6, 0.3], [0.7, 0.1, 0.2], [0.1, 0.8, 0.1]]).log()
mask_logits = torch.where(guesses, 0.9, 0.1).logit().flatten(1)  # (N, P) = (3, 16)
masks = truth.flatten(1).float()  # (G, P) = (2, 16)
labels = torch.tensor([0, 1])

# %% [markdown] tags=["demo"]
# Take query 1 and the ball, and count: 15 pixels are right, one is wrong.
#
# - **Class**: it gives "ball" a probability of 0.7. The cost is −0.7.
# - **Binary cross entropy** (BCE): a right pixel costs −ln 0.9 = 0.105, a wrong one −ln 0.1 = 2.303. The mean of
#   15 and 1 is 0.243.
# - **Dice**: the overlap is 4 · 0.9 = 3.6. The query's mask sums to 5 · 0.9 + 11 · 0.1 = 5.6, the ball to 4. The cost is
#   1 − (2 · 3.6 + 1) / (5.6 + 4 + 1) = 0.226.
#
# The published weights are 2, 5 and 5: −1.40 + 1.21 + 1.13 = 0.95.

# %% tags=["demo"]
bce = (15 * 0.10536 + 2.30259) / 16
dice = 1 - (2 * 3.6 + 1) / (5.6 + 4 + 1)
by_hand = 2 * -0.7 + 5 * bce + 5 * dice
assert round(by_hand, 2) == 0.95

# %% [markdown]
# ## The equation
#
# With $s = \sigma(x)$, the sigmoid of a mask logit, the price of query $n$ for segment $g$ is
#
# $$C_{ng} = -\lambda_{cls}\,p_n(c_g)\;-\;\frac{\lambda_{ce}}{P}\sum_{i=1}^{P}\big[t_{gi}\ln s_{ni} + (1-t_{gi})\ln(1-s_{ni})\big]\;+\;\lambda_{dice}\Big[1-\frac{2\sum_i s_{ni}t_{gi}+1}{\sum_i s_{ni}+\sum_i t_{gi}+1}\Big]$$
#
# and the assignment is the one-to-one map $\pi$ from segments to queries with the smallest sum
#
# $$\hat\pi = \arg\min_{\pi} \sum_{g=1}^{G} C_{\pi(g)\,g}.$$
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $p$ | `class_logits`, after a softmax | (N, K+1) | probability of each class, the last is "no object" |
# | $c$ | `labels` | (G,) | true class of each segment |
# | $x$ | `mask_logits` | (N, P) | what query $n$ says at pixel or point $i$ |
# | $t$ | `masks` | (G, P) | truth there: 1 inside, 0 outside |
# | $\lambda$ | `config` | 2, 5, 5 | `class_weight`, `mask_weight`, `dice_weight` |
# | $C$ | `cost` | (N, G) | the price list |
# | $\hat\pi$ | `queries`, `segments` | (min(N, G),) each | the chosen pairs |
#
# The 1 in the dice keeps the quotient defined when both masks are empty.

# %% [markdown] tags=["demo"]
# ## Slow and obvious
#
# One query, one segment, one number at a time.

# %% tags=["demo"]
def slow_cost(class_logits, mask_logits, labels, masks):
    cost = torch.zeros(len(mask_logits), len(masks))
    for n, x in enumerate(mask_logits):
        p, s = class_logits[n].softmax(0), x.sigmoid()
        for g, t in enumerate(masks):
            bce = -(t * s.log() + (1 - t) * (1 - s).log()).mean()
            dice = 1 - (2 * (s * t).sum() + 1) / (s.sum() + t.sum() + 1)
            cost[n, g] = 2 * -p[labels[g]] + 5 * bce + 5 * dice
    return cost


cost = slow_cost(class_logits, mask_logits, labels, masks)
same(cost[1, 0], by_hand, tolerance=1e-4)

# %% [markdown] tags=["demo"]
# With the prices at hand, the most obvious matcher tries everything. Here that is 3 · 2 = 6 assignments.

# %% tags=["demo"]
import itertools

def total(cost, chosen):
    """`chosen[g]` is the query that answers for segment g."""
    return sum(cost[n, g].item() for g, n in enumerate(chosen))


def slow_assign(cost):
    everything = itertools.permutations(range(cost.shape[0]), cost.shape[1])
    return min(everything, key=lambda chosen: total(cost, chosen))


assert slow_assign(cost) == (1, 0)

# %% tags=["demo", "hide-input"]
ways = sorted(itertools.permutations(range(3), 2), key=lambda chosen: total(cost, chosen))
rows = [[f"query {n}" for n in chosen] + [f"{total(cost, chosen):.2f}"] for chosen in ways]
table(["ball", "sea", "total"], rows)

# %% [markdown] tags=["demo"]
# Look at the first two lines. Queries 0 and 2 both draw the sea. Query 2 is surer of the class, query 0 has the better
# mask, and the mask decides. Query 2 gets no segment, so its target is "no object". This is how duplicates disappear:
# one-to-one matching teaches all but one query to keep quiet, and nobody has to remove doubles afterwards.

# %% tags=["demo", "hide-input"]
from matplotlib.patches import Rectangle
from minim2f.plots import query_color

def stamp(ax, mask, colour, x, y):
    """A small picture of a mask, values 0 to 1, in the cell whose upper left corner is (x, y)."""
    ink = torch.tensor(0.93) - mask.float()[..., None] * (0.93 - torch.tensor(colour))
    ax.imshow(ink, extent=(x + 0.08, x + 0.92, y + 0.92, y + 0.08))


def draw_costs(ax, cost, pairs, truth, guesses, names, dear):
    """Queries down the side in their colours, segments along the top, the pairs framed."""
    N, G = cost.shape
    ax.imshow(cost, cmap="cividis_r", vmin=cost.min(), vmax=dear, extent=(0, G, N, 0))
    for g in range(G):
        stamp(ax, truth[g], (0.13, 0.13, 0.13), g, -1)
        ax.text(g + 0.5, -1.02, names[g], ha="center", va="bottom", fontsize=9)
    for n in range(N):
        stamp(ax, guesses[n], query_color(n), -1, n)
        ax.text(-1.05, n + 0.5, f"query {n}", ha="right", va="center", fontsize=9)
        for g in range(G):
            shade = "white" if cost[n, g] > 0.6 * dear else "black"
            ax.text(g + 0.5, n + 0.5, f"{cost[n, g]:.1f}", ha="center", va="center", color=shade)
    for (n, g), (colour, width) in itertools.product(pairs, [("white", 6), ("black", 2.5)]):
        frame = Rectangle((g + 0.06, n + 0.06), 0.88, 0.88, fill=False, color=colour, lw=width)
        ax.add_patch(frame)
    ax.set(xlim=(-2.2, G + 0.05), ylim=(N + 0.05, -1.4))
    ax.axis("off")

# %% tags=["demo", "hide-input"]
fig, ax = plt.subplots(figsize=(3.4, 3.6))
sure = torch.where(guesses, 0.9, 0.1)
draw_costs(ax, cost, [(1, 0), (0, 1)], truth, sure, ["ball", "sea"], dear=10)
show(
    fig,
    "A cost matrix of three queries by two segments with small pictures of all masks. Framed: "
    "query 1 with the ball, query 0 with the sea.",
    "Light is cheap, framed is chosen. Every column has one frame, no row has two; query 2 has "
    "none. A frame on a dark cell would deserve a second look.",
)

# %% [markdown]
# ## Fast and short
#
# Three things need repair.
#
# **The double loop.** A pixel inside the segment costs $-\ln s = \zeta(-x)$, one outside $-\ln(1-s) = \zeta(x)$, where
# $\zeta(x) = \ln(1+e^x)$ is the **softplus**. Since $\zeta(-x) = \zeta(x) - x$, both fit one line:
#
# $$t\,\zeta(-x) + (1-t)\,\zeta(x) = \zeta(x) - t\,x.$$
#
# The first term knows no segment, the second is a product. The BCE of all pairs is one matrix product. So is the
# overlap in the dice; that line you write yourself in exercise 9.2, and until then the library lends it.

# %% tags=["demo"]
from torch.nn import functional as F
from minim2f.training.matching import pairwise_dice

def fast_bce(mask_logits, masks):
    """(N, P), (G, P) -> (N, G)"""
    return F.softplus(mask_logits).mean(1)[:, None] - mask_logits @ masks.T / masks.shape[1]


def fast_cost(class_logits, mask_logits, labels, masks, config=minim2f.Config()):
    with shapes.scope():
        p = shapes.check("class logits", class_logits, "N K+1").softmax(-1)
        shapes.check("mask logits", mask_logits, "N P")
        shapes.check("labels", labels, "G")
        shapes.check("masks", masks, "G P")
        cost = (
            config.class_weight * -p[:, labels]
            + config.mask_weight * fast_bce(mask_logits, masks)
            + config.dice_weight * pairwise_dice(mask_logits, masks)
        )
        return shapes.check("cost", cost, "N G")

# %%
same(fast_cost, slow_cost, class_logits, mask_logits, labels, masks)

# %% [markdown]
# **The logarithm.** The sigmoid of −200 is 0 in float32, and 0 · ln 0 is NaN. Softplus has no such corner.

# %%
far = torch.full((1, 16), -200.0)
assert slow_cost(class_logits[:1], far, labels, masks).isnan().any()
assert fast_cost(class_logits[:1], far, labels, masks).isfinite().all()

# %% [markdown]
# **The permutations.** The published COCO models have 100 queries or more. For a picture with ten segments there are 6 · 10¹⁹ assignments. The
# **Hungarian algorithm** finds the cheapest one without trying them: its effort grows like a product of three sizes,
# not like a factorial. SciPy has a fast relative of it.

# %%
import math
from scipy.optimize import linear_sum_assignment

print(f"{math.perm(100, 10):.1e} assignments")
queries, segments = linear_sum_assignment(cost)
assert [*zip(segments, queries)] == [(1, 0), (0, 1)]

# %% [markdown] tags=["demo"]
# ## Shapes
#
# Now real pictures. You train three tiny models, which differ in their seed, for 40 steps on the same four scenes.
# Matching runs inside that loop, four times a step: for the output of each of the three layers, and for the raw queries.

# %% tags=["demo"]
from dataclasses import replace
from minim2f.training.batches import collate
from minim2f.training.loop import train
from minim2f.training.recipe import TINY

scenes = minim2f.data.open_dataset("scenes", length=4)
sizes = {"num_queries": 10, "num_classes": len(scenes.categories)}
recipe = replace(TINY, steps=40, batch_size=2, learning_rate=1.5e-3, warmup=3, flip=0.0)

def newborn(seed):
    torch.manual_seed(seed)
    return minim2f.Mask2Former(minim2f.preset("tiny", **sizes)).eval()


@torch.no_grad()
def predict(model, dataset):
    """For each picture: class logits (N, K+1), mask logits (N, h, w), and the truth."""
    images, targets = collate(model, [dataset[i] for i in range(len(dataset))])
    prediction = model(images)
    return list(zip(prediction.class_logits, prediction.mask_logits, targets))

# %% tags=["demo"]
models = [newborn(seed) for seed in range(3)]
before = [predict(model, scenes) for model in models]
for seed, model in enumerate(models):
    train(model, scenes, replace(recipe, seed=seed), progress=False)
known = [predict(model, scenes) for model in models]

# %% [markdown] tags=["demo"]
# A cost needs no whole masks. It needs logits and truth at the same P **points**: places in the unit square where both
# are read bilinearly. Every pixel is one choice of points, 512 random places are another.

# %% tags=["demo"]
from minim2f.training import points

def cost_at(picture, where):
    """The cost matrix of a picture, compared at the points `where`, (1, P, 2)."""
    class_logits, mask_maps, target = picture
    mask_logits = points.sample(mask_maps[None], where)[0]
    masks = points.sample(target.masks[None].float(), where)[0]
    return fast_cost(class_logits, mask_logits, target.labels, masks)

# %%
with shapes.watch() as seen:
    cost_at(known[0][0], points.uniform(1, 512, "cpu"))

# %% tags=["hide-input"]
shape_table(
    seen,
    meanings={
        "class logits": "how much a query likes a class",
        "mask logits": "inside (positive) or outside: one query at one point",
        "labels": "the class of one segment",
        "masks": "the truth at one point, between 0 and 1 at a rim",
        "cost": "the price of one pair",
    },
)

# %% [markdown] tags=["demo"]
# ## Look
#
# The price list of one of the four scenes, over all its pixels.

# %% tags=["demo"]
from minim2f.model.position import pixel_centres
from minim2f.training.matching import assign

def choose(cost):  # the query that answers for each segment, (G,)
    queries, segments = assign(cost)
    return queries[segments.argsort()]


class_logits, mask_maps, target = picture = known[0][0]
everywhere = pixel_centres(*target.masks.shape[1:], mask_maps)[None]
cost = cost_at(picture, everywhere)
chosen = choose(cost).tolist()

# %% tags=["demo", "hide-input"]
page = {"figsize": (8.8, 5.9), "width_ratios": [10.3, 4], "layout": "constrained"}
fig, (left, right) = plt.subplots(1, 2, **page)
names = [scenes.categories[k]["name"].split("-")[0].replace(" ", "\n") for k in target.labels]
pairs = [(n, g) for g, n in enumerate(chosen)]
draw_costs(left, cost, pairs, target.masks, mask_maps.sigmoid(), names, dear=cost.quantile(0.85))

winner = F.interpolate(mask_maps[None], (96, 96), mode="bilinear")[0, chosen].argmax(0)
painted = torch.tensor([query_color(n) for n in chosen])[winner]
right.imshow(torch.cat([scenes[0].image.permute(1, 2, 0) / 255, torch.ones(6, 96, 3), painted]))
right.set_title("the scene, and who answers where")
right.axis("off")
show(
    fig,
    "A cost matrix of ten queries by the segments of a drawn landscape, with all masks; one cell"
    " framed in each column. Beside it the landscape, and its pixels in the colours of the "
    "matched queries.",
    "Most columns have one light cell, and it is framed: the queries have taken sides. A light "
    "cell without a frame is a duplicate that lost. Two frames in a row, or a column without "
    "one, would be a bug.",
)

# %% [markdown]
# ## Checkpoint
#
# Your cost against the library's, on the live scene.

# %%
from minim2f.training.matching import match, matching_cost

mask_logits = points.sample(mask_maps[None], everywhere)[0]
masks = points.sample(target.masks[None].float(), everywhere)[0]
same(fast_cost, matching_cost, class_logits, mask_logits, target.labels, masks, tolerance=1e-4)

# %% [markdown]
# Two witnesses from outside. For one hand-made pair, the official code gives a BCE of 0.2954811 and a dice cost of
# 0.1417034. And for 200 random price lists, brute force judges SciPy.

# %%
x, t = torch.tensor([[2.0, -1.0, 0.0, 3.0]]), torch.tensor([[1.0, 0.0, 1.0, 1.0]])
same(fast_bce(x, t).item(), 0.2954811, tolerance=1e-6)
same(pairwise_dice(x, t).item(), 0.1417034, tolerance=1e-6)

# %%
for trial in range(200):
    prices = torch.randn(5, trial % 5 + 1, dtype=torch.float64)
    assert abs(total(prices, choose(prices)) - total(prices, slow_assign(prices))) < 1e-9

# %% [markdown]
# Last, the whole matcher: a batch in, pairs out. `same` starts both from the same random state.

# %%
images, targets = collate(models[0], [scenes[i] for i in range(4)])
prediction = models[0](images)

@torch.no_grad()
def my_match(prediction, targets, config):
    pictures = zip(prediction.class_logits, prediction.mask_logits, targets)
    costs = [cost_at(p, points.uniform(1, config.num_points, "cpu")) for p in pictures]
    return [linear_sum_assignment(cost) for cost in costs]


same(my_match, match, prediction, targets, models[0].config)

# %% [markdown]
# ## Experiment
#
# ### How many points are enough?
#
# Hypothesis: a few hundred random points choose the same queries as all pixels. You test it on the three models: before
# their training, after it, and on 16 scenes that they have never seen.

# %%
unseen = minim2f.data.open_dataset("scenes", split="val", length=16)
new = [predict(model, unseen) for model in models]

def effect_of_points(pictures, count, seed):
    """Share of segments that keep their query, and what the others pay, per segment."""
    generator = torch.Generator().manual_seed(seed)
    keep, extra = [], []
    for picture in pictures:
        full = cost_at(picture, everywhere)
        best = choose(full)
        chosen = choose(cost_at(picture, points.uniform(1, count, "cpu", generator)))
        keep.append((chosen == best).float().mean().item())
        extra.append((total(full, chosen) - total(full, best)) / len(best))
    return sum(keep) / len(keep), sum(extra) / len(extra)

# %%
counts = [8, 32, 128, 512, 2048]
stages, effects = {"before training": before, "known scenes": known, "new scenes": new}, {}
for name, runs in stages.items():
    effect = [[effect_of_points(run, n, seed) for n in counts] for seed, run in enumerate(runs)]
    effects[name] = torch.tensor(effect)  # (models, counts, 2)

# %% tags=["hide-input"]
fig, (left, right) = plt.subplots(1, 2, figsize=(8.6, 2.9), layout="constrained")
for (name, effect), look in zip(effects.items(), ["o:", "s-", "^--"]):
    for ax, mean, spread in zip((left, right), effect.mean(0).T, effect.std(0).T):
        ax.errorbar(counts, mean, spread, fmt=look, capsize=3, label=name)
left.set(xscale="log", ylim=(0, 1.05), xlabel="points", title="segments that keep their query")
right.set(xscale="log", xlabel="points", title="extra cost of the choice, per segment")
for ax in (left, right):
    ax.set_xticks(counts, counts)
    ax.minorticks_off()
right.legend()
show(
    fig,
    "Two line charts over 8 to 2048 points. Left, the share of segments that keep their query "
    "rises towards 1. Right, the extra cost of choosing by points falls towards 0.",
    "Mean and standard deviation over three models. A curve that does not rise with the points "
    "would mean that the points miss part of the picture.",
)

# %% [markdown]
# Before training all queries are alike: points change the choice, and it costs next to nothing. Later the choice
# matters, and 512 points, the tiny model's setting, leave little to gain. The paper takes 12,544, and reports that
# matching by points even beats matching by whole masks (Table 5).
#
# ### Why is the cost not the loss?
#
# Pairs are chosen by one formula and trained by another. The loss (chapter 10) takes $-\ln p$ where the cost takes $-p$.
# And it looks at each pair at points of its own, most of them where the mask is unsure (a logit near 0); the cost looks
# at all queries at the same uniform points. Hypothesis: with either habit of the loss, matching gets worse. Change one
# thing at a time, on the new scenes.

# %%
def with_logarithm(picture, where):
    class_logits, _, target = picture
    p = class_logits.softmax(-1)[:, target.labels]
    return cost_at(picture, where) + 2 * p - 2 * p.log()


def at_own_points(picture, where):
    """Query n is compared at its own points, where[n]; (N, P, 2)."""
    return torch.stack([cost_at(picture, own[None])[n] for n, own in enumerate(where)])

# %%
def variants(picture, generator):
    own = points.uniform(len(picture[1]), 128, "cpu", generator)
    unsure = points.uncertain(picture[1], 128, generator=generator)
    return {
        "−p, all pixels": cost_at(picture, everywhere),
        "−ln p, all pixels": with_logarithm(picture, everywhere),
        "−p, 128 points, the same for all": cost_at(picture, own[:1]),
        "−p, 128 points for each query": at_own_points(picture, own),
        "−p, 128 unsure points for each query": at_own_points(picture, unsure),
    }

# %%
def mask_iou(picture, chosen):
    """Intersection over union of each segment with the mask of its query, (G,)."""
    _, mask_maps, target = picture
    maps = F.interpolate(mask_maps[None], target.masks.shape[1:], mode="bilinear")[0]
    mine = maps[chosen] > 0
    return (mine & target.masks).sum((1, 2)) / (mine | target.masks).sum((1, 2))


def marks(cost, best, picture):
    """Share of kept queries, mask IoU of the pairs, and what this cost asks for the best pairs."""
    chosen = choose(cost)
    asked = cost[best, torch.arange(len(best))]
    return [(chosen == best).float().mean(), mask_iou(picture, chosen).mean(), asked.mean()]

# %%
def study(run, seed):
    """Mean marks of each variant over a model's pictures, (5, 3)."""
    generator, found = torch.Generator().manual_seed(seed), []
    for picture in 3 * run:  # with other points each time
        costs = list(variants(picture, generator).values())
        best = choose(costs[0])
        found.append([marks(cost, best, picture) for cost in costs])
    return torch.tensor(found).mean(0)


studies = torch.stack([study(run, seed) for seed, run in enumerate(new)])

# %%
mean, spread = studies.mean(0), studies.std(0)
texts = [[f"{m:.2f} ± {s:.2f}" for m, s in zip(*pair)] for pair in zip(mean, spread)]
rows = [[name, *row] for name, row in zip(variants(new[0][0], None), texts)]
table(["cost", "segments that keep their query", "mask IoU", "price of the best pairs"], rows)
assert mean[1, 1] < mean[0, 1] and mean[2, 0] > mean[3:, 0].max()

# %% [markdown]
# Mean and standard deviation over three models. The first column counts the segments that get the same query as in the
# first row.
#
# **Points.** With the same points for all, most segments keep their query. Private points are exams with different
# questions: luck decides. Unsure points are each query's hardest questions. They teach well, but they grade badly: the
# same pairs look dearer.
#
# **The logarithm** gives up overlap of the masks for the class: a little on average, a lot in single cases. Look for the
# segment that loses most.

# %%
def drop(picture):
    """How much mask IoU the logarithm costs each segment, (G,)."""
    choices = (choose(f(picture, everywhere)) for f in (cost_at, with_logarithm))
    with_p, with_log = (mask_iou(picture, chosen) for chosen in choices)
    return with_p - with_log


i, picture = max(enumerate(new[0] + new[1] + new[2]), key=lambda case: drop(case[1]).max())
g = drop(picture).argmax().item()
by_p, by_log = (choose(f(picture, everywhere))[g].item() for f in (cost_at, with_logarithm))
assert drop(picture)[g] > 0.2

# %% tags=["hide-input"]
from minim2f.plots import draw_mask

class_logits, mask_maps, target = picture
name = scenes.categories[target.labels[g]]["name"].split("-")[0]
image, p = unseen[i % len(unseen)].image, class_logits.softmax(-1)[:, target.labels[g]]
fig, (ax, *pair, curve) = plt.subplots(1, 4, figsize=(9.2, 2.3), layout="constrained")
draw_mask(ax, image, target.masks[g], "white", f"the truth: {name}")
ps = torch.linspace(0.004, 1, 200)
curve.plot(ps, -2 * ps.log(), "k--", label="−2 ln p")
curve.plot(ps, -2 * ps, "k-", label="−2 p")
for ax, n, how in zip(pair, (by_p, by_log), ("−p", "−ln p")):
    title = f"{how} takes query {n}: p = {p[n]:.2f}"
    draw_mask(ax, image, mask_maps[n].sigmoid(), query_color(n), title)
    look = {"color": query_color(n), "mec": "black", "ms": 8}
    curve.plot([p[n]] * 2, [-2 * p[n].log(), -2 * p[n]], "o", **look)
curve.set(xlabel="p of the true class", title="the class term")
curve.legend()
show(
    fig,
    "Three views of one scene: the true segment, the mask of the query that −p chooses, and the "
    "worse mask of the query that −ln p chooses. Right, both class terms as curves over p, with "
    "both queries as dots.",
    "On the dashed curve the dots are far apart, and the class decides. On the solid one they "
    "can differ by 2 at most, and the mask decides.",
)

# %% [markdown]
# The query with the better mask gives the true class next to nothing: one confident mistake. It is exactly the one that
# should get the segment, because then the cross entropy corrects its class. But $-\ln p$ has no upper bound, and one
# small probability outvotes the masks. The segment goes to a query that has not found it, and the one that has is
# taught "no object". $-p$ is worth 2 at most: a vote, not a veto.
#
# So the cost ranks, and the loss teaches. No gradient passes through matching; it may be blunt, but it must be fair.

# %% [markdown] tags=["demo"]
# ## Break it
#
# ### Greedy
#
# A matcher of four lines: segment after segment takes the cheapest query that is left. Predict its total for the kite
# and the boat of the beginning, when the last price grows from 9 to 999.

# %% tags=["demo"]
def greedy(cost, order):
    cost, chosen = cost.clone(), [None] * cost.shape[1]
    for g in order:
        chosen[g] = cost[:, g].argmin().item()
        cost[chosen[g]] = torch.inf
    return chosen


rows = []
for last in (9.0, 99.0, 999.0):
    prices = torch.tensor([[1.0, 2.0], [1.5, last]])
    ways = greedy(prices, [0, 1]), greedy(prices, [1, 0]), slow_assign(prices)
    rows.append([f"{total(prices, chosen):.1f}" for chosen in ways])
    assert total(prices, ways[0]) == 1 + last and total(prices, ways[2]) == 3.5
table(["greedy, kite first", "greedy, boat first", "cheapest"], rows)

# %% [markdown]
# Greedy depends on the order of the segments, and it can be wrong by any amount. Taking the cheapest cell first cures
# the order, but not the price: it starts with the 1 and pays for it with the 999.
#
# Now on the new scene on which 200 random orders disagree most.

# %%
def greedy_totals(cost):
    torch.manual_seed(0)
    orders = [torch.randperm(cost.shape[1]).tolist() for _ in range(200)]
    return [total(cost, greedy(cost, order)) for order in orders]


prices = [cost_at(picture, everywhere) for picture in new[0]]
cost = max(prices, key=lambda cost: max(greedy_totals(cost)) - min(greedy_totals(cost)))
totals, best = greedy_totals(cost), total(cost, choose(cost))
assert min(totals) > best - 1e-3 and max(totals) > best + 1

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6, 2.1))
ax.hist(totals, bins=30, color="C4", edgecolor="black", linewidth=0.5)
ax.axvline(best, color="black", linestyle="--")
ax.annotate("Hungarian ", (best, ax.get_ylim()[1]), ha="right", va="top")
ax.set(xlabel="total cost", ylabel="orders of 200")
ax.set_xlim(left=best - 0.25 * (max(totals) - best))
show(
    fig,
    "A histogram of the total cost of greedy matching over 200 orders of the segments of one "
    "scene. A dashed line, the Hungarian total, lies at its left end.",
    "One scene, one model: only the order of the segments changes. A bar left of the line would "
    "be a bug.",
)

# %% [markdown]
# **How to notice it in your own training.** Shuffle the segments of a picture. A correct matcher gives the same total.

# %%
shuffle = torch.arange(cost.shape[1]).flip(0)
same(total(cost[:, shuffle], choose(cost[:, shuffle])), best, tolerance=1e-3)

# %% [markdown]
# ### The edges
#
# No segment: no pairs, and every query learns "no object". More segments than queries: the loss never sees the dearest,
# so N should exceed the fullest picture. A tie: any of the cheapest. A NaN has no place in a price list, and is refused
# by name.

# %%
assert [len(indices) for indices in assign(torch.zeros(3, 0))] == [0, 0]

queries, segments = assign(torch.tensor([[5.0, 1.0, 9.0]]))
assert (queries.tolist(), segments.tolist()) == ([0], [1])

twins = torch.tensor([[1.0, 4.0], [1.0, 4.0]])
assert total(twins, choose(twins)) == 5

try:
    assign(torch.tensor([[1.0, 2.0], [3.0, float("nan")]]))
except ValueError as error:
    print(error)

# %% [markdown]
# ## Exercises
#
# ### 9.1 ★ What each query learns
#
# Matching returns pairs. Turn them into the class that each query is to be taught: the label of its segment, or K, "no
# object".

# %%
def query_classes(queries, segments, labels, num_queries, num_classes):
    """Pairs (M,) and (M,), labels (G,), N, K -> (N,) int64"""
    ...


exercise("9.1", query_classes)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Start with N times K, then overwrite.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Queries ascend, so segments come in any order. `labels[segments]` puts the labels in that order too.
#
# </details>

# %% [markdown]
# ### 9.2 ★★ Dice of all pairs
#
# The line that the library has lent you. No loops.

# %%
def my_dice(mask_logits, masks):
    """(N, P), (G, P) -> (N, G)"""
    ...


exercise("9.2", my_dice)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $\sum_i s_{ni} t_{gi}$ for all $n$ and $g$ is one matrix product.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The sizes of the masks are (N,) and (G,). As (N, 1) and (G,) they add up to (N, G).
#
# </details>

# %% [markdown]
# ### 9.3 ★★ The whole cost, from memory
#
# Do not scroll up. Three terms, their weights, no loops. You may call `pairwise_dice`.

# %%
def whole_cost(class_logits, mask_logits, labels, masks):
    """(N, K+1), (N, P), (G,), (G, P) -> (N, G)"""
    ...


exercise("9.3", whole_cost)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# The class term is minus a probability. "No object" takes part in the softmax, though no segment has that label.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# For the BCE of one pair at one point you need softplus(x) and t · x. Only one of them knows the segment.
#
# </details>

# %% [markdown]
# ### 9.4 ★★★ Exact, and not by trying everything
#
# Compute the cheapest total without SciPy and without permutations. Take the queries one by one. All that you need
# to remember is: for each set of segments that are served already, the cheapest way to serve them. With 100 queries and
# ten segments that is a million small steps instead of 6 · 10¹⁹.

# %%
def cheapest_total(cost):
    """(N, G) with G <= N -> a number"""
    ...


exercise("9.4", cheapest_total)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Start with `{frozenset(): 0.0}`. A query either idles, or adds one segment to a set that lacks it.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Loop over `list(best.items())`, a copy: so the same query cannot serve twice.
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | | paper | official code | ours |
# | --- | --- | --- | --- |
# | class term | as in MaskFormer and DETR: $-p$ | $-p$ | $-p$ |
# | weights: class, BCE, dice | 2, 5, 5 | 1, 20, 1 by default; 2, 5, 5 in every published configuration | 2, 5, 5 |
# | points | 12,544, uniform, the same for all pairs of a picture | the same | the same; `num_points=None` takes every pixel of the logits |
# | masks at the points | – | draws N whole masks, then samples | samples the features, then multiplies: the same numbers, no whole masks |
# | how often | – | anew for each of the ten predictions | the same |
# | precision | – | cost in float32, even in mixed precision | at least float32 |
# | NaN in the cost | – | SciPy stops, and does not say where | an error that names the query and the segment |
#
# Hugging Face Transformers replaces NaN by a very large number instead, and trains on.

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
home = "minim2f.training.matching"
library_table(
    {
        "fast_bce": f"{home}.pairwise_bce",
        "my_dice": f"{home}.pairwise_dice",
        "fast_cost": f"{home}.matching_cost",
        "slow_assign, linear_sum_assignment": f"{home}.assign",
        "my_match": f"{home}.match",
        "points.sample": "minim2f.training.points.sample",
    }
)

# %% [markdown]
# ## Recap
#
# - Queries and segments are sets; a one-to-one assignment says who is compared with whom, at a price: −2p + 5 BCE + 5 dice.
# - Softplus turns the BCE of all pairs into one matrix product; the overlap in the dice is another.
# - The Hungarian algorithm finds the cheapest sum; brute force on small price lists proves it.
# - The cost ranks: bounded in the class, the same points for all. The loss teaches: it looks where it hurts.
# - Greedy matching changes with the order of the segments, and pays for its first bargain later.

# %% [markdown]
# ## Further reading
#
# - [End-to-end object detection with transformers](https://arxiv.org/abs/2005.12872), section 3.1: where one-to-one matching
#   entered detection, with a sentence on $-p$ against the logarithm.
# - [Masked-attention Mask Transformer](https://arxiv.org/abs/2112.01527), section 3.3 and Table 5: what points instead of masks save.
# - [DETR issue 590](https://github.com/facebookresearch/detr/issues/590): a reader asks why the cost is not the loss; you can answer now.
# - [linear_sum_assignment](https://docs.scipy.org/doc/scipy/reference/generated/scipy.optimize.linear_sum_assignment.html): the
#   contract of SciPy's matcher, rectangular matrices among it.
# - [DN-DETR](https://arxiv.org/abs/2203.01305): what it costs when matching keeps changing its mind, and a cure.
#
# Before: chapter 8, heads and deep supervision. Next: chapter 10, losses and point sampling.
