# %% [markdown]
# # 9 · Matching
#
# Before a picture can teach anything, somebody must say which query answers for which segment: you find the cheapest answer.
#
# *read 60 min · run 30 s CPU · exercises 55 min*
#
# **Needs** chapters 1 and 8 · **Library** [`minim2f/training/matching.py`](../minim2f/training/matching.py) · **Paper** sections 3.3 and 4.1

# %% [markdown]
# ## You will be able to
#
# - explain why training needs an assignment, and price one pair by hand (The idea in small numbers)
# - write the price of all pairs of a picture with matrix products (9.3)
# - find the cheapest total without trying every assignment (9.4)
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
# So far: Mask2Former makes N guesses about a picture, one from each **query**. A guess is a class, K+1 logits of which
# the last means "no object", and a mask, one logit for each place, positive inside. Softmax and sigmoid make
# probabilities of them. The truth is G **segments**, each with a class and a mask. Training lowers a **loss**, which compares
# one guess with one segment. This chapter decides which is compared with which.

# %% [markdown]
# ## Predict
#
# Two queries, two segments, and what each pair costs:
#
# | | kite | boat |
# | --- | --- | --- |
# | query 0 | 1 | 2 |
# | query 1 | 1.5 | 9 |
#
# Each segment gets its own query, and the sum should be small. Which query takes the kite?
#
# <details><summary>Answer</summary>
#
# Query 1. That costs 1.5 + 2 = 3.5; the other way is 1 + 9 = 10. The cheapest price in the table, 1, stays unused.
# Only the sum counts.
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# Two segments on 4 × 4 pixels, a ball and the sea, then what three queries draw: `#` has probability 0.9, the rest 0.1.

# %% tags=["demo"]
drawing = """
    .##.  ....  ....   .##.   ....
    .##.  ....  ....   .###   ....
    ....  ####  .###   ....   #..#
    ....  ####  ####   ....   ####
"""
rows = [line.split() for line in drawing.strip().splitlines()]
drawn = torch.tensor([[[c == "#" for c in row[j]] for row in rows] for j in range(5)])
truth, guesses = drawn[:2], drawn[2:]  # ball and sea; queries 0, 1 and 2

print("wrong pixels, ball listed first:", (guesses[:2] != truth).sum().item())
print("wrong pixels, sea listed first:", (guesses[:2] != truth.flip(0)).sum().item())

# %% [markdown] tags=["demo"]
# By position, almost everything is wrong with the ball first, almost nothing with the sea first. But queries and segments
# are sets: training by position would teach the order in which somebody happened to list the segments.
#
# So every pair gets a price, its **matching cost**. An **assignment** gives each segment one query, and no query two
# segments; the cheapest wins. It asks: do the class and the pixels fit, do the masks overlap?

# %% tags=["demo"]
# ball, sea, no object; softmax undoes the log of probabilities that sum to 1
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
# - **Dice**: in BCE a small ball hardly counts: a query that leaves it out still has most pixels right. Dice ignores the
#   background that both share: it divides twice the overlap of the masks by the sum of their sizes. The overlap is
#   4 · 0.9 = 3.6; the query's mask sums to 5 · 0.9 + 11 · 0.1 = 5.6, the ball to 4. With a 1 added above and below the line, the cost is
#   1 − (2 · 3.6 + 1) / (5.6 + 4 + 1) = 0.226.
#
# The published weights are 2, 5 and 5: −1.4 + 1.2134 + 1.1321 = 0.9455, rounded 0.946.

# %% tags=["demo"]
bce = (15 * 0.10536 + 2.30259) / 16
dice = 1 - (2 * 3.6 + 1) / (5.6 + 4 + 1)
by_hand = 2 * -0.7 + 5 * bce + 5 * dice
assert round(by_hand, 3) == 0.946

# %% [markdown]
# ## The equation
#
# With $m$, the sigmoid of a mask logit $x$, the price of query $n$ for segment $g$ is
#
# $$\mathrm{cost}_{ng} = -\lambda_{cls}\,p_n(k_g)\;-\;\frac{\lambda_{ce}}{P}\sum_{i=1}^{P}\big[t_{gi}\ln m_{ni} + (1-t_{gi})\ln(1-m_{ni})\big]\;+\;\lambda_{dice}\Big[1-\frac{2\sum_i m_{ni}t_{gi}+1}{\sum_i m_{ni}+\sum_i t_{gi}+1}\Big]$$
#
# and the assignment is the one-to-one map $\pi$ from segments to queries with the smallest sum
#
# $$\hat\pi = \arg\min_{\pi} \sum_{g=1}^{G} \mathrm{cost}_{\pi(g)\,g}.$$
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $p$ | `class_logits`, after a softmax | (N, K+1) | probability of each class, the last is "no object" |
# | $k$ | `labels` | (G,) | true class of each segment |
# | $x$; $m$ | `mask_logits`; `m` | (N, P) | what query $n$ says at pixel or point $i$; its sigmoid |
# | $t$ | `masks` | (G, P) | truth there: 1 inside, 0 outside, between at a rim |
# | $\lambda_{cls}, \lambda_{ce}, \lambda_{dice}$ | `class_weight`, `mask_weight` (of the BCE), `dice_weight` | 2, 5, 5 | how much each term counts |
# | $\mathrm{cost}$ | `cost` | (N, G) | the price list |
# | $\hat\pi$ | `queries`, `segments` | (min(N, G),) each | the chosen pairs |
#
# The 1 keeps the quotient defined for empty masks.

# %% [markdown] tags=["demo"]
# ## Slow and obvious
#
# One query, one segment, one number at a time. `same` stops the run if two results
# differ, or two functions on the same inputs.

# %% tags=["demo"]
def slow_cost(class_logits, mask_logits, labels, masks):
    cost = torch.zeros(len(mask_logits), len(masks))
    for n, x in enumerate(mask_logits):
        p, m = class_logits[n].softmax(0), x.sigmoid()
        for g, t in enumerate(masks):
            bce = -(t * m.log() + (1 - t) * (1 - m).log()).mean()
            dice = 1 - (2 * (m * t).sum() + 1) / (m.sum() + t.sum() + 1)
            cost[n, g] = 2 * -p[labels[g]] + 5 * bce + 5 * dice
    return cost


cost = slow_cost(class_logits, mask_logits, labels, masks)
same(cost[1, 0], by_hand, tolerance=1e-4)

# %% [markdown] tags=["demo"]
# The most obvious matcher tries all assignments, here 3 · 2 = 6.

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
# Queries 0 and 2 both draw the sea. Query 2 is surer of the class, query 0 has the better
# mask, and the mask decides. Query 2 gets no segment, so it is taught "no object". So of several queries that draw
# one segment, all but one learn to keep quiet.

# %% tags=["demo", "hide-input"]
from matplotlib.patches import Rectangle
from minim2f.plots import query_color

def stamp(ax, mask, colour, x, y):
    """A small picture of a mask, values 0 to 1, in the cell whose upper left corner is (x, y)."""
    ink = torch.tensor(0.93) - mask.float()[..., None] * (0.93 - torch.tensor(colour))
    ax.imshow(ink, extent=(x + 0.08, x + 0.92, y + 0.92, y + 0.08))
    if mask.min() < 0.5 < mask.max():  # pale colours need an outline; it follows the pixels
        fine = mask.float().repeat_interleave(8, 0).repeat_interleave(8, 1)
        across, down = (0.08 + 0.84 * (torch.arange(n) + 0.5) / n for n in reversed(fine.shape))
        line = {"colors": "0.25", "linewidths": 0.7}
        ax.contour(x + across, y + down, fine, levels=[0.5], **line)


def draw_costs(ax, cost, pairs, truth, guesses, names, says, dear):
    """Queries down the side in their colours, segments along the top, the pairs framed."""
    N, G = cost.shape
    ax.imshow(cost, cmap="cividis_r", vmin=cost.min(), vmax=dear, extent=(0, G, N, 0))
    for g in range(G):
        stamp(ax, truth[g], (0.13, 0.13, 0.13), g, -1)
        ax.text(g + 0.5, -1.02, names[g], ha="center", va="bottom", fontsize=9)
    for n in range(N):
        stamp(ax, guesses[n], query_color(n), -1, n)
        ax.text(-1.05, n + 0.5, f"query {n}\n{says[n]}", ha="right", va="center", fontsize=9)
        for g in range(G):
            shade = "white" if cost[n, g] > 0.6 * dear else "black"
            ax.text(g + 0.5, n + 0.5, f"{cost[n, g]:.1f}", ha="center", va="center", color=shade)
    for (n, g), (colour, width) in itertools.product(pairs, [("white", 6), ("black", 2.5)]):
        frame = Rectangle((g + 0.06, n + 0.06), 0.88, 0.88, fill=False, color=colour, lw=width)
        ax.add_patch(frame)
    ax.set(xlim=(-2.4, G + 0.05), ylim=(N + 0.05, -1.4))
    ax.axis("off")

# %% tags=["demo", "hide-input"]
fig, ax = plt.subplots(figsize=(3.4, 3.6))
sure = torch.where(guesses, 0.9, 0.1)
names = ["ball", "sea"]
says = [f"“{names[k]}”" for k in class_logits.argmax(1)]
draw_costs(ax, cost, [(1, 0), (0, 1)], truth, sure, names, says, dear=10)
show(
    fig,
    "A cost matrix of three queries by two segments with small pictures of all masks. Framed: "
    "query 1 with the ball, query 0 with the sea.",
    "Each query's mask has a colour of its own, and its likeliest class stands beside it. Light "
    "cells are cheap (from 10 on all are equally dark), framed pairs are chosen: one in each "
    "column, at most one in a row. A frame on a dark cell would deserve a second look.",
)

# %% [markdown]
# ## Fast and short
#
# **The double loop.** A pixel inside costs $-\ln m = \zeta(-x)$, one outside $-\ln(1-m) = \zeta(x)$, where
# $\zeta(x) = \ln(1+e^x)$ is the **softplus**. Since $\zeta(-x) = \zeta(x) - x$, both fit one line:
#
# $$t\,\zeta(-x) + (1-t)\,\zeta(x) = \zeta(x) - t\,x.$$
#
# The first term knows no segment, the second is a product: the BCE of all pairs is one matrix product. So is the
# overlap in the dice; until you write that yourself (9.2), `pairwise_dice` comes from the library. `shapes.check` names a
# tensor and asserts its shape; within a `shapes.scope`, a letter keeps its size.

# %% tags=["demo"]
from torch.nn.functional import softplus
from minim2f.training.matching import pairwise_dice

def fast_bce(mask_logits, masks):
    """(N, P), (G, P) -> (N, G)"""
    return softplus(mask_logits).mean(1)[:, None] - mask_logits @ masks.T / masks.shape[1]


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
# **The logarithm.** The sigmoid of −200 is 0 in float32, and 0 · ln 0 is NaN. Softplus stays finite.

# %%
far = torch.full((1, 16), -200.0)
assert slow_cost(class_logits[:1], far, labels, masks).isnan().any()
assert fast_cost(class_logits[:1], far, labels, masks).isfinite().all()

# %% [markdown]
# **The permutations.** For ten segments and the 100 queries of most published models there are 6 · 10¹⁹ assignments. The
# **Hungarian algorithm** serves one segment after another. A new segment may take the query of an earlier one, which then
# takes another query, and so on, until a free query ends the chain. Of all such chains it takes the one that raises the total
# least, a shortest path, found in about $GN$ steps. So the total is always the cheapest for the segments served so far. All G
# need about $G^2N$ steps, here 10,000.
#
# SciPy has a fast relative of it; in exercise 9.4 you write a slower one that is exact too.

# %%
import math
from scipy.optimize import linear_sum_assignment

print(f"{math.perm(100, 10):.1e} assignments")
queries, segments = linear_sum_assignment(cost)
assert [*zip(queries, segments)] == [(0, 1), (1, 0)]  # queries ascend

# %% [markdown] tags=["demo"]
# ## Shapes
#
# You train three tiny models, which differ in their seed, for 40 steps on the same four scenes.

# %% tags=["demo"]
from dataclasses import replace
from minim2f.training.batches import collate
from minim2f.training.loop import train
from minim2f.training.recipe import TINY

scenes = minim2f.data.open_dataset("scenes", length=4)
sizes = {"num_queries": 10, "num_classes": len(scenes.categories)}
recipe = replace(TINY, steps=40, batch_size=2, warmup=3, flip=0.0)  # slow first steps; no mirrored pictures

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
# Here masks of 24 × 24 logits meet a truth of 96 × 96 pixels, in the paper 256 × 256 meet 1024 × 1024. Neither has to be
# enlarged: a cost compares both at the same P **points**, places in the unit square where they are read bilinearly. One
# choice of points is every pixel; another is random places. The paper's 12,544 points are a fifth of 256 × 256, and
# so is the memory for logits and truths at them.

# %% tags=["demo"]
from minim2f.training import points

def cost_at(picture, where):
    """The cost matrix of a picture, compared at the points `where`, (1, P, 2)."""
    class_logits, mask_maps, target = picture
    mask_logits = points.sample(mask_maps[None], where)[0]
    masks = points.sample(target.masks[None].float(), where)[0]
    return fast_cost(class_logits, mask_logits, target.labels, masks)

# %%
with shapes.watch() as seen:  # records what is checked
    cost_at(known[0][0], points.uniform(1, 512, "cpu"))  # one set of 512

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
# One known scene, over all its pixels.

# %% tags=["demo"]
from minim2f.model.position import pixel_centres
from minim2f.training.matching import assign

def choose(cost):  # the query that answers for each segment, (G,)
    queries, segments = assign(cost)
    return queries[segments.argsort()]  # pairs come sorted by query; now by segment


class_logits, mask_maps, target = picture = known[0][0]
everywhere = pixel_centres(*target.masks.shape[1:], mask_maps)[None]  # device like mask_maps
cost = cost_at(picture, everywhere)
chosen = choose(cost).tolist()

# %% tags=["demo", "hide-input"]
from torch.nn.functional import interpolate

page = {"figsize": (8.8, 5.9), "width_ratios": [10.3, 4], "layout": "constrained"}
fig, (left, right) = plt.subplots(1, 2, **page)
names = [scenes.categories[k]["name"].split("-")[0].replace(" ", "\n") for k in target.labels]
pairs = [(n, g) for g, n in enumerate(chosen)]
kinds = [category["name"].split("-")[0] for category in scenes.categories] + ["nothing"]
says = [f"“{kinds[k]}”" for k in class_logits.argmax(1)]
assert chosen[2] == 4 and cost[8, 2] < 0 and says[8] == says[4]  # the duplicate of the caption
draw_costs(left, cost, pairs, target.masks, mask_maps.sigmoid(), names, says, dear=20)

winner = interpolate(mask_maps[None], (96, 96), mode="bilinear")[0, chosen].argmax(0)
painted = torch.tensor([query_color(n) for n in chosen])[winner]
right.imshow(torch.cat([scenes[0].image.permute(1, 2, 0) / 255, torch.ones(6, 96, 3), painted]))
for n in chosen:  # rims that grey print keeps
    mine = torch.tensor([query_color(n)]) == painted
    right.contour(mine.all(-1), levels=[0.5], colors="white", linewidths=1, extent=(0, 95, 102, 197))
right.set_title("the scene, and which matched\nquery is the surest where", fontsize=10)
right.axis("off")
show(
    fig,
    "A cost matrix of ten queries by the segments of a drawn landscape, with all masks; one cell"
    " framed in each column. Beside it the landscape, and its pixels in the colours of the "
    "matched queries.",
    "Colours mean queries, on both sides; only matched queries compete on the right. Query 8 draws "
    "the grass too, nearly as cheaply as query 4: a duplicate that loses. From 20 on all cells are "
    "equally dark. Two frames in a row, or a column without one, would be a bug.",
)

# %% [markdown]
# ## Checkpoint
#
# Your cost against the library's.

# %%
from minim2f.training.matching import match, matching_cost

mask_logits = points.sample(mask_maps[None], everywhere)[0]
masks = points.sample(target.masks[None].float(), everywhere)[0]
same(fast_cost, matching_cost, class_logits, mask_logits, target.labels, masks, tolerance=1e-4)

# %% [markdown]
# For one pair, the authors' code gives a BCE of 0.2954811 and a dice cost of 0.1417034. And on 200 random price lists,
# SciPy's total is compared with the best of all permutations.

# %%
x, t = torch.tensor([[2.0, -1.0, 0.0, 3.0]]), torch.tensor([[1.0, 0.0, 1.0, 1.0]])
same(fast_bce(x, t).item(), 0.2954811, tolerance=1e-6)
same(pairwise_dice(x, t).item(), 0.1417034, tolerance=1e-6)

# %%
for trial in range(200):
    prices = torch.randn(5, trial % 5 + 1, dtype=torch.float64)
    assert abs(total(prices, choose(prices)) - total(prices, slow_assign(prices))) < 1e-9

# %% [markdown]
# Last, the whole matcher, from the same random state.

# %%
images, targets = collate(models[0], [scenes[i] for i in range(4)])
prediction = models[0](images)

@torch.no_grad()
def my_match(prediction, targets, config):
    batch = zip(prediction.class_logits, prediction.mask_logits, targets)
    places = (points.uniform(1, config.num_points, "cpu") for _ in targets)  # one set a picture
    return [linear_sum_assignment(cost_at(one, where)) for one, where in zip(batch, places)]


same(my_match, match, prediction, targets, models[0].config)

# %% [markdown]
# ## Experiment
#
# ### How many points are enough?
#
# Hypothesis: a few hundred random points choose the same queries as all pixels.

# %%
unseen = minim2f.data.open_dataset("scenes", split="val", length=16)
new = [predict(model, unseen) for model in models]

def effect_of_points(pictures, count, seed):
    """Share of segments that keep their query, and the extra cost, averaged over all segments."""
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

assert effects["new scenes"][:, 3, 0].mean() > 0.85 and effects["new scenes"][:, 3, 1].mean() < 0.1

# %% tags=["hide-input"]
fig, (left, right) = plt.subplots(1, 2, figsize=(8.6, 3.1), layout="constrained")
for (name, effect), look, aside in zip(effects.items(), ["o:", "s-", "^--"], [0.88, 1, 1.14]):
    middle, (low, high) = effect.mean(0), (effect.amin(0), effect.amax(0))
    for k, ax in enumerate((left, right)):
        reach = [(middle - low)[:, k], (high - middle)[:, k]]
        places = [aside * n for n in counts]
        ax.errorbar(places, middle[:, k], reach, fmt=look, capsize=3, label=name)
left.set(xscale="log", ylim=(0, 1.05), xlabel="points", ylabel="share of segments")
left.set_title("segments that keep their query")
right.set(xscale="log", ylim=0, xlabel="points", ylabel="cost, per segment")
right.set_title("extra cost of the choice")
for ax in (left, right):
    ax.set_xticks(counts, counts)
    ax.minorticks_off()
right.legend()
show(
    fig,
    "Two line charts over 8 to 2048 points. Left, the share of segments that keep their query "
    "rises towards 1. Right, the extra cost of choosing by points falls towards 0.",
    "Mean of three models; bars reach from the lowest to the highest, set side by side. Left: a "
    "curve that stops rising would mean that points miss part of the picture. Right: a value "
    "below 0 would be a bug, since no choice is cheaper than the best.",
)

# %% [markdown]
# After training it holds: with 512 points, the tiny model's setting, about nine of ten segments or more keep their
# query, and the extra cost is small. Before training all queries are alike: another choice costs next to nothing.
#
# And on photographs? A segment with a share $\alpha$ of the picture is missed by all P points with probability
# $(1-\alpha)^P$. Then its truth is all 0, and the query that draws least there gets it.

# %%
def missed(masks, count):
    """The share of segments, of lists of masks (G, H, W), that `count` random points miss."""
    areas = torch.cat([mask.float().mean((1, 2)) for mask in masks])
    return ((1 - areas) ** count).mean().item()


pictures = {"drawn scenes": unseen}
try:
    pictures["photographs of COCO"] = minim2f.data.open_dataset("coco-mini")
except FileNotFoundError:
    print("`minim2f data fetch` (10 MB) adds a row of photographs to this table")

# %% tags=["hide-input"]
rows = []
for kind, dataset in pictures.items():
    truths = [dataset[i].masks for i in range(len(dataset))]
    shares = [f"{missed(truths, count):.1%}" for count in (512, 12_544)]
    rows.append([f"{len(dataset)} {kind}", sum(map(len, truths)), max(map(len, truths)), *shares])
table(["pictures", "segments", "in the fullest", "512 points miss", "12,544 miss"], rows)

# %% [markdown]
# In photographs, 512 points miss a fifth of the segments, the paper's 12,544 one in a hundred.
#
# ### Why is the cost not the loss?
#
# The loss (chapter 10) takes $-\ln p$ where the cost takes $-p$. And it compares each pair at points of its own, three
# quarters of them where the mask is unsure (a logit near 0); the cost compares all at the same uniform points. Hypothesis: with
# either habit of the loss, the masks of the pairs overlap less. Each row below changes one thing against an earlier one.

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
        "A: −p, all pixels": cost_at(picture, everywhere),
        "B: −ln p, all pixels": with_logarithm(picture, everywhere),
        "C: −p, 128 points, the same for all": cost_at(picture, own[:1]),
        "D: −p, 128 points for each query": at_own_points(picture, own),
        "E: −p, 128 mostly unsure points for each": at_own_points(picture, unsure),
    }

# %%
from torch.nn.functional import interpolate

def mask_iou(picture, chosen):
    """Intersection over union of each segment with the mask of its query, (G,)."""
    _, mask_maps, target = picture
    maps = interpolate(mask_maps[None], target.masks.shape[1:], mode="bilinear")[0]
    mine = maps[chosen] > 0
    return (mine & target.masks).sum((1, 2)) / (mine | target.masks).sum((1, 2))


# %%
def marks(picture, generator):
    """Of each variant, the mask IoU of its pairs, and how many pairs a second draw repeats, (5, 2)."""
    found = []
    first, second = (variants(picture, generator).values() for _ in range(2))
    for once, again in zip(map(choose, first), map(choose, second)):
        found.append([mask_iou(picture, once).mean(), (once == again).float().mean()])
    return found


def study(run, seed):
    """Mean marks over a model's pictures, eight times with other points, (8, 5, 2)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.tensor([[marks(picture, generator) for picture in run] for _ in range(8)]).mean(1)


studies = torch.stack([study(run, seed) for seed, run in enumerate(new)])  # (3, 8, 5, 2)

# %%
against = [0, 0, 0, 2, 3]  # the row from which A, B, C, D and E differ by one thing
change = (studies - studies[:, :, against]).mean(1)  # (3 models, 5 variants, 2 marks)
scatter = (studies - studies[:, :, against]).std(1)[..., 0].max() / 8**0.5
assert (change[:, 1, 0] < -0.005).all() and (change[:, 2, 0] < 0).all()
assert change[:, 3:, 0].abs().max() < 0.01 and scatter < 0.005
assert (change[:, 3, 1] < -0.02).all() and (change[:, 4, 1] > 0).all()

# %% tags=["hide-input"]
iou, twice = studies.mean((0, 1)).T
rows = []
for k, name in enumerate(variants(new[0][0], None)):
    moves = [" ".join(f"{x:+.3f}" for x in change[:, k, 0])]
    moves += [" ".join(f"{x:+.2f}" for x in change[:, k, 1])]
    before_it = "ABCDE"[against[k]]
    ious, repeats = f"{iou[k]:.3f}", f"{twice[k]:.2f}"
    rows.append([name, "–", ious, "–", repeats, "–"])
    if k:
        rows[k] = [name, before_it, ious, moves[0], repeats, moves[1]]
header = ["cost", "against", "mask IoU", "change, three models", "repeated", "change, three models "]
table(header, rows)
print(f"standard error of a change of mask IoU: at most {scatter:.3f}")

# %% [markdown]
# "Repeated" is the share of segments that get the same query when the points are drawn a second time.
#
# **The points.** Fewer points (C) cost up to about 0.01 of overlap in each model. That they are private (D) or unsure (E)
# changes it by less, hardly more than chance does: for these habits of the loss, the hypothesis fails.
# Private points lower the steadiness: luck decides more often, so at the next step the same segment is taught to another
# query (DN-DETR, below). Unsure points, near the rims of the masks, are steadier than private uniform ones in all three models.
#
# **The logarithm** (B). The hypothesis holds in all three models: a little overlap is given up on average, and much in single
# cases. Look for the segment that loses most.

# %%
def rivals(picture):
    """For each segment: the queries that −p and −ln p choose, and the mask IoU of both, (G, 2)."""
    queries = [choose(f(picture, everywhere)) for f in (cost_at, with_logarithm)]
    return torch.stack(queries, 1), torch.stack([mask_iou(picture, q) for q in queries], 1)


cases = [picture for run in new for picture in run]  # of all three models
drops = [rivals(picture)[1] @ torch.tensor([1.0, -1.0]) for picture in cases]
case = max(range(len(cases)), key=lambda i: drops[i].max())
picture, g = cases[case], drops[case].argmax()
two, ious = (both[g] for both in rivals(picture))
assert ious[0] > ious[1] + 0.2

# %%
label = picture[2].labels[g]
p = picture[0].softmax(-1)[two]  # of both queries, (2, K+1)
names = [category["name"].split("-")[0] for category in scenes.categories] + ["no object"]
print("the truth:", names[label])
for how, n, probabilities, overlap in zip(["−p", "−ln p"], two, p, ious):
    guess = f"p = {probabilities[label]:.3f}, it says {names[probabilities.argmax()]}"
    print(f"{how:>5} takes query {n}: mask IoU {overlap:.2f}, {guess}")
assert p[0].argmax() != label and p[0, label] < p[1, label]

# %% tags=["hide-input"]
def tint(ax, image, mask, colour, title):
    """A pale grey image, tinted by a mask of values 0 to 1, with a line where it crosses 1/2."""
    grey = 0.45 + 0.5 * image.float().mean(0)[..., None] / 255
    mask = interpolate(mask[None, None].float(), image.shape[1:], mode="bilinear")[0, 0]
    ax.imshow(grey + 0.9 * mask[..., None] * (torch.tensor(colour) - grey))
    ax.contour(mask, levels=[0.5], colors="black", linewidths=1.5)
    ax.set_title(title, fontsize=10)
    ax.axis("off")


image = unseen[case % len(unseen)].image
fig, axes = plt.subplots(2, 2, figsize=(6.6, 6), layout="constrained")
(ax, curve), pair = axes
tint(ax, image, picture[2].masks[g], (0.3, 0.3, 0.3), f"the truth: {names[label]}")
ps = torch.linspace(0.004, 1, 200)
curve.plot(ps, -2 * ps.log(), "k--", label="−2 ln p")
curve.plot(ps, -2 * ps, "k-", label="−2 p")
for j, (ax, n, how, mark) in enumerate(zip(pair, two.tolist(), ("−p", "−ln p"), "os")):
    title = f"{how} takes query {n}: IoU {ious[j]:.2f}"
    tint(ax, image, picture[1][n].sigmoid(), query_color(n), title)
    x, look = p[j, label], {"color": query_color(n), "mec": "black", "ms": 8, "ls": ""}
    curve.plot([x, x], [-2 * x.log(), -2 * x], mark, label=f"query {n}", **look)
curve.set(xlabel="p of the true class", ylabel="class term of the cost")
curve.legend()
show(
    fig,
    "Three views of one scene: the true segment, the mask of the query that −p chooses, and the "
    "worse mask of the query that −ln p chooses. Upper right, both class terms as curves over p, "
    "with both queries as marks.",
    "Masks are outlined where their probability passes 0.5, and tinted by it. Round and square "
    "marks are the two queries, in their colours. On the dashed curve they are farther apart, "
    "and the class decides; on the solid one they differ by 2 at most, and the mask decides.",
)

# %% [markdown]
# The query with the better mask is mistaken about the class. It should get the segment: then the loss corrects its class.
# But $-\ln p$ is unbounded, and one small probability outweighs the masks.
# $-p$ changes a price by 2 at most, so a good mask can still win.
# No gradient passes through the cost: it only ranks pairs.

# %% [markdown] tags=["demo"]
# ## Break it
#
# ### Greedy
#
# Segment after segment takes the cheapest query that is left. Predict the total for kite and boat when the price 9
# grows to 999.

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
# Greedy depends on the order, and its error has no limit. Cheapest cell first does not depend on the order,
# but still takes the 1 and pays the 999.
#
# Now the new scene on which 200 orders differ most.

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
aside = {"textcoords": "offset points", "va": "center"}
ax.annotate("cheapest", (best, 0.6 * ax.get_ylim()[1]), (-6, 0), ha="right", **aside)
middle = (best + max(totals)) / 2
ax.annotate("bars: greedy", (middle, 0.6 * ax.get_ylim()[1]), (0, 0), ha="center", **aside)
ax.set(xlabel="total cost", ylabel="number of orders")
ax.set_xlim(left=best - 0.25 * (max(totals) - best))
show(
    fig,
    "A histogram of the total cost of greedy matching over 200 orders of the segments of one "
    "scene. A dashed line, the cheapest total, lies at its left end.",
    "One scene, one model: only the order of the segments changes. A bar left of the line would "
    "be a bug.",
)

# %% [markdown]
# **How to notice it in your own training.** Shuffle the segments of a picture: a correct matcher gives the same total. This is
# necessary, not sufficient: cheapest cell first passes too. To be sure, compare with SciPy, or small tables with all
# permutations.

# %%
shuffle = torch.arange(cost.shape[1]).flip(0)
same(total(cost[:, shuffle], choose(cost[:, shuffle])), best, tolerance=1e-3)

# %% [markdown]
# ### The edges
#
# No segment: no pairs, and every query learns "no object". More segments than queries: those N are matched that make the sum
# smallest. A tie: any of the cheapest. A NaN is refused
# with an error that names the query and the segment.

# %%
assert [len(indices) for indices in assign(torch.zeros(3, 0))] == [0, 0]

queries, segments = assign(torch.tensor([[5.0, 1.0, 9.0]]))
assert (queries.tolist(), segments.tolist()) == ([0], [1])

tied = torch.tensor([[1.0, 4.0], [1.0, 4.0]])
assert total(tied, choose(tied)) == 5

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
# object". The checker also tries G = 0 and G > N.

# %%
def query_classes(queries, segments, labels, num_queries, num_classes):
    """Pairs, (min(N, G),) each, labels (G,), N, K -> (N,) int64"""
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
# Queries ascend, so segments come in any order: pair number i joins `queries[i]` and `segments[i]`. A tensor can be
# indexed with a whole tensor of positions, to read and to write.
#
# </details>

# %% [markdown]
# ### 9.2 ★★ Dice of all pairs
#
# Write `pairwise_dice` yourself, without loops. The checker also tries G = 0, empty masks and very
# sure queries.

# %%
def my_dice(mask_logits, masks):
    """(N, P), (G, P) -> (N, G)"""
    ...


exercise("9.2", my_dice)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# $\sum_i m_{ni} t_{gi}$ for all $n$ and $g$ is one matrix product.
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
# Do not scroll up. Three terms, their weights, no loops, finite and exact for a very sure query (a logit of ±800,
# in float64) and for G = 0. You may call `pairwise_dice`.

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
# Compute the cheapest total without SciPy and without permutations. Take the queries one by one, and remember only, for
# each set of segments that are served already, the cheapest way to serve them. Without segments the total is 0; prices may be
# negative.

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
# | weights: class, BCE, dice | 2, 5, 5 | 1, 20, 1 by default; 2, 5, 5 as published | 2, 5, 5 |
# | points | 12,544, uniform, the same for all pairs | the same | the same; `num_points=None` takes every pixel |
# | masks at the points | – | samples the N mask maps, as this chapter does | samples features, then multiplies: the same numbers |
# | precision | – | float32, in mixed precision too | at least float32 |
# | NaN in the cost | – | SciPy stops, and does not say where | an error names query and segment |
#
# Hugging Face Transformers does not stop at a NaN: since October 2024 (pull request 34074) it counted as 0, since 2026 (47730)
# it counts as the largest number.

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
# Matching and losses both use `sample`, and it has a fast form, so it lies in `ops`.

# %% [markdown]
# ## Recap
#
# - An assignment says which query is compared with which segment, at a price of −2p + 5 BCE + 5 dice.
# - Two matrix products price all masks.
# - The Hungarian algorithm finds the cheapest sum through chains of exchanges.
# - The cost ranks pairs: its class term is bounded, and all queries meet the same points.
# - In greedy matching, a cheap first choice may force a dear last one.

# %% [markdown]
# ## Further reading
#
# - [End-to-end object detection with transformers](https://arxiv.org/abs/2005.12872), section 3.1: one-to-one matching enters detection.
# - [Masked-attention Mask Transformer](https://arxiv.org/abs/2112.01527), section 3.3 and Table 5: what points save.
# - [DETR issue 590](https://github.com/facebookresearch/detr/issues/590): the same question.
# - [DN-DETR](https://arxiv.org/abs/2203.01305): the harm of unsteady matching, and a cure.
