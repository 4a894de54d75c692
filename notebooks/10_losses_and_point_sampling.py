# %% [markdown]
# # 10 · Losses and point sampling
#
# After matching, every query is told how wrong it is: you write the three losses, and compare masks at few, well chosen points.
#
# *read 65 min · run 15 s CPU · exercises 45 min*
#
# **Needs** chapter 9 · **Library** [`minim2f/training/losses.py`](../minim2f/training/losses.py), [`minim2f/training/points.py`](../minim2f/training/points.py) · **Paper** section 3.3

# %% [markdown]
# ## You will be able to
#
# - compute all three losses by hand (The idea in small numbers)
# - write the class loss, finite even for very sure queries (10.1)
# - divide the mask losses of a batch, also where it is split (10.2)
# - choose points where masks are unsure (10.3), and say what
#   that does to the loss and its gradient (Experiment)
# - recognise three wrong losses by their symptoms (Break it)

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
where_we_are("losses")

# %% [markdown]
# Mask2Former makes N guesses about a picture, one from each **query**: K+1 **class logits**, of which the last means
# "no object", and a **mask**, a map of h × w logits, the product of the query's **mask embedding** E' with the
# pixel features F_pixel. The truth is G **segments**. In chapter 9, matching paired each segment with one query.
# A **loss** says how wrong the queries are, and passes gradients back; the matching cost did not.

# %% [markdown]
# ## Predict
#
# A trained model outlines a kite well and is unsure only along the rim. You estimate its mask loss from 100
# places anywhere, and from 100 where the mask is unsure. Which number is larger? Which is nearer
# to that of the whole picture?
#
# <details><summary>Answer</summary>
#
# The unsure places give the larger number, since mistakes gather at the rim. The places anywhere give the number nearer to
# the mean. Mask2Former trains mostly with unsure places; the experiment shows what that changes.
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# ### The class
#
# Three queries, two classes. A query pays $-\ln p$ of what it should have said, the **cross entropy**:
#
# | query | logits: class 0, class 1, no object | should say | p | −ln p | weight |
# | --- | --- | --- | --- | --- | --- |
# | 0 | 1, 2, 0.5 | class 1 | e² / (e¹ + e² + e^0.5) = 0.629 | 0.464 | 1 |
# | 1 | 0, 0, 1 | no object | e / (1 + 1 + e) = 0.576 | 0.551 | 0.1 |
# | 2 | 3, 0, 0 | class 0 | e³ / (e³ + 1 + 1) = 0.909 | 0.095 | 1 |
#
# Most queries answer for no segment. So that they do not outweigh the others, "no object" has a weight of 0.1. The sum
# 0.464 + 0.1 · 0.551 + 0.095 = 0.614 is divided by the sum of the weights, 2.1, and not by 3: 0.293.

# %% tags=["demo"]
class_logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 1.0], [3.0, 0.0, 0.0]])
classes = torch.tensor([1, 2, 0])
by_hand = (0.46436 + 0.1 * 0.55144 + 0.09492) / (1 + 0.1 + 1)
print(f"{by_hand:.4f}")

# %% [markdown] tags=["demo"]
# ### The mask
#
# A matched query is compared with its segment at P points; here P = 4. The query says $x$, the truth is $t$:
#
# | $x$ | 2 | −1 | 0 | 3 |
# | --- | --- | --- | --- | --- |
# | $t$ | 1 | 0 | 1 | 1 |
# | $m$, the sigmoid of $x$ | 0.8808 | 0.2689 | 0.5 | 0.9526 |
# | pays | −ln 0.8808 = 0.127 | −ln (1 − 0.2689) = 0.313 | −ln 0.5 = 0.693 | −ln 0.9526 = 0.049 |
#
# The **binary cross entropy** (BCE) is the mean of the last row, 0.295. The **dice loss** compares areas: the overlap is
# 0.8808 + 0.5 + 0.9526 = 2.3334, the areas are 2.6023 and 3, and the loss is 1 − (2 · 2.3334 + 1) / (2.6023 + 3 + 1) = 0.142.
#
# A second query says 0 everywhere. Its segment is so small that no point fell into it, so all its $t$ are 0: its BCE is ln 2 = 0.693, its dice loss
# 1 − (0 + 1) / (2 + 0 + 1) = 0.667. A query that surely says "outside" has areas near 0 and pays
# 1 − (0 + 1) / (0 + 0 + 1) = 0. Without the added ones it would pay 1.
#
# Both losses are summed over the pairs and divided by the number of segments, here 2: 0.494 and 0.404.

# %% tags=["demo"]
mask_logits = torch.tensor([[2.0, -1.0, 0.0, 3.0], [0.0, 0.0, 0.0, 0.0]])
masks = torch.tensor([[1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
print(f"BCE {(0.2955 + 0.6931) / 2:.3f}, dice {(0.1417 + 0.6667) / 2:.3f}")

# %% [markdown] tags=["demo"]
# ### The division
#
# Why by the segments of the whole batch? Let picture A have one segment, which pays 0.9, and picture B nine, which pay 0.1
# each. Divided by the ten segments, the loss is (0.9 + 9 · 0.1) / 10 = 0.18, and each segment counts 1/10. If each picture took its own mean
# first, the loss would be (0.9 + 0.1) / 2 = 0.5: the lone segment would count 1/2, each of the nine others 1/18.
# In Mask2Former, all segments count alike.

# %% [markdown]
# ## The equation
#
# Here $n$ numbers all queries of the batch, and $g$ all its segments, each with its matched query. Picture $b$ has $G_b$ segments.
#
# $$\mathcal{L}_{cls} = \frac{\sum_n -\omega_{k_n}\ln p_n(k_n)}{\sum_n \omega_{k_n}} \qquad \mathcal{L}_{ce} = \frac{1}{\sum_b G_b}\sum_g \frac1P\sum_{i=1}^P -\big[t_{gi}\ln m_{gi} + (1-t_{gi})\ln(1-m_{gi})\big]$$
#
# $$\mathcal{L}_{dice} = \frac{1}{\sum_b G_b}\sum_g\Big[1-\frac{2\sum_i m_{gi}t_{gi}+1}{\sum_i m_{gi}+\sum_i t_{gi}+1}\Big] \qquad \mathcal{L} = \sum_{\text{predictions}} 2\,\mathcal{L}_{cls} + 5\,\mathcal{L}_{ce} + 5\,\mathcal{L}_{dice}$$
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $p$ | `class_logits`, after a softmax | (N, K+1) | probability of each class; with a batch, all its queries |
# | $k$ | `classes` | (N,) | what each query should say; K is "no object" |
# | $\omega$ | `eos_coef` for "no object", else 1 | (K+1,) | weight of a class; "eos" stands for end of sequence, an old name |
# | $x$, and $m$, its sigmoid | `mask_logits` | (pairs, P) | what a matched query says at a point |
# | $t$ | `masks` | (pairs, P) | truth there: 1 inside, 0 outside, between at a rim |
# | $\sum_b G_b$ | `num_masks` | number | segments of the batch, at least 1 |
#
# **Why training starts at 120 to 180.** At first all K+1 classes are about equally likely, so the class loss is near
# ln(K+1). With $m$ near 0.5 everywhere, the BCE is near ln 2 = 0.69, and the dice loss of a segment that covers 3 % of the points is
# 1 − (2 · 0.5 · 0.03) / (0.5 + 0.03) = 0.94. With COCO's 133 classes, one prediction costs 2 · 4.9 + 5 · 0.7 + 5 · 0.94 = 18. The published models
# predict ten times, before the first and after each of nine layers, and each prediction is scored: 180. With six classes it would be 121.

# %%
from minim2f.training.losses import expected_loss

coco = minim2f.Config(num_classes=133)
print(f"expected at the start: {expected_loss(coco):.0f}")

# %% [markdown] tags=["demo"]
# ## Slow and obvious
#
# `same` stops the run if two numbers differ.

# %% tags=["demo"]
def slow_class_loss(class_logits, classes, eos_coef=0.1):
    paid, weights = 0.0, 0.0
    for logits, k in zip(class_logits, classes):
        weight = eos_coef if k == len(logits) - 1 else 1.0
        paid = paid + weight * -logits.softmax(0)[k].log()
        weights += weight
    return paid / weights


def slow_mask_losses(mask_logits, masks, num_masks):
    bce, dice = 0.0, 0.0
    for x, t in zip(mask_logits, masks):
        m = x.sigmoid()
        bce = bce - (t * m.log() + (1 - t) * (1 - m).log()).mean()
        dice = dice + 1 - (2 * (m * t).sum() + 1) / (m.sum() + t.sum() + 1)
    return bce / num_masks, dice / num_masks

# %% tags=["demo"]
same(slow_class_loss(class_logits, classes), by_hand, tolerance=1e-4)

# %% [markdown]
# ## Fast and short
#
# Chapter 9's trick helps: with the softplus $\zeta(x) = \ln(1 + e^x)$, a point pays $\zeta(x) - tx$. The class
# loss is yours (10.1). `shapes.check` names a tensor and asserts its shape; in a `shapes.scope` a letter keeps its size.

# %% tags=["demo"]
from torch.nn.functional import softplus

def fast_mask_losses(mask_logits, masks, num_masks):
    with shapes.scope():
        x = shapes.check("mask logits", mask_logits, "pairs P")
        t = shapes.check("masks", masks, "pairs P")
    m = x.sigmoid()
    bce = (softplus(x) - t * x).mean(1)
    dice = 1 - (2 * (m * t).sum(1) + 1) / (m.sum(1) + t.sum(1) + 1)
    return bce.sum() / num_masks, dice.sum() / num_masks

# %%
same(fast_mask_losses, slow_mask_losses, mask_logits, masks, 2)

# %% [markdown] tags=["demo"]
# **Points instead of pixels.** For a picture of 1024 × 1024, the mask logits, 256 × 256, would have to be
# enlarged first. `points.sample` reads both at the same places instead, bilinearly between pixels. Below are
# eight pairs with the paper's 12,544 points; `saved_tensors_hooks` shows each tensor
# that PyTorch keeps for the backward pass; `kept` notes its size.

# %% tags=["demo"]
from time import perf_counter
from torch.nn.functional import interpolate
from minim2f.training import points

def at_all_pixels(maps, truth):
    large = interpolate(maps[:, None], truth.shape[1:], mode="bilinear")
    return large.flatten(1), truth.flatten(1)

def at_points(maps, truth, where):
    return points.sample(maps[:, None], where)[:, 0], points.sample(truth[:, None], where)[:, 0]

def at_uniform(maps, truth):
    return at_points(maps, truth, points.uniform(len(maps), 12_544, "cpu"))

def at_uncertain(maps, truth):
    return at_points(maps, truth, points.uncertain(maps.detach(), 12_544))

# %% tags=["demo"]
def measured(read, maps, truth):
    """Seconds for both losses, forwards and backwards, the best of 3; and MB kept."""
    kept, seconds = {}, []
    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.nbytes / 1e6
        return tensor
    for _ in range(3):
        start = perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            kept.clear()
            loss = sum(fast_mask_losses(*read(maps, truth), len(maps)))
        loss.backward()
        seconds.append(perf_counter() - start)
    return min(seconds), sum(kept.values())

random_maps = torch.randn(8, 256, 256, requires_grad=True)
random_truth = (torch.rand(8, 1024, 1024) > 0.5).float()
ways = {"all pixels": at_all_pixels, "uniform": at_uniform, "uncertain": at_uncertain}
costs = {name: measured(read, random_maps, random_truth) for name, read in ways.items()}

# %% tags=["demo", "hide-input"]
table(["compared at", "ms", "MB kept"], [[n, f"{1000 * s:.0f}", f"{mb:.0f}"] for n, (s, mb) in costs.items()])
assert costs["all pixels"][1] > 15 * costs["uncertain"][1]
assert costs["all pixels"][0] > 5 * costs["uncertain"][0]

# %% [markdown]
# Points need less than a fifteenth of the memory here, and less than a fifth of the time. The 101 MB are three
# tensors of 33.5 MB: the enlarged logits, their sigmoid, and the truth.
#
# **Which points?** `uniform` draws them anywhere, as the matcher does. `uncertain` draws 3P candidates, keeps the 0.75 P where the mask's
# logit is nearest to 0, and draws 0.25 P anew. This is the **importance sampling** of PointRend;
# you write it in 10.3.

# %% [markdown] tags=["demo"]
# ## Shapes
#
# The trained tiny model sees eight new scenes. `collate` makes a batch, `match` finds the pairs.
# `num_points=None` takes no random points: masks are compared at the centres of all 24 × 24 cells of the mask maps.

# %% tags=["demo"]
from dataclasses import replace
from minim2f.training.batches import collate
from minim2f.training.matching import match

model = minim2f.load("tiny")
scenes = minim2f.data.open_dataset("scenes", split="val", length=8)
images, targets = collate(model, [scenes[i] for i in range(8)])
with torch.no_grad():
    prediction = model(images)
config = replace(model.config, num_points=None, deep_supervision=False)  # score one prediction
pairs = match(prediction, targets, config)

def matched(b):
    """Mask logits of picture b's matched queries, and their segments, (G, h, w) and (G, H, W)."""
    queries, segments = pairs[b]
    return prediction.mask_logits[b, queries], targets[b].masks[segments].float()

# %%
with shapes.watch() as seen:  # records what is checked
    maps, truth = matched(0)
    where = points.uncertain(maps, 512)
    fast_mask_losses(*at_points(maps, truth, where), len(maps))

# %% tags=["hide-input"]
shape_table(
    seen,
    meanings={
        "loss points": "x and y of a place, 0 to 1: each pair has its own",
        "mask logits": "what the matched query says at one point",
        "masks": "the truth at one point, between 0 and 1 at a rim",
    },
)

# %% [markdown] tags=["demo"]
# ## Look
#
# One query's mask, and points of each kind.

# %% tags=["demo", "hide-input"]
maps, truth = matched(0)
g = int((truth.sum((1, 2)) - 900).abs().argmin())  # neither a speck nor half of the picture
torch.manual_seed(1)
kinds = {
    "uniform": points.uniform(len(maps), 128, "cpu"),
    "uncertain": points.uncertain(maps, 128),
}
one = maps[g : g + 1, None]  # (1, 1, h, w): interpolate wants a batch and channels
large = interpolate(one, truth.shape[1:], mode="bilinear")[0, 0]
fig, axes = plt.subplots(1, 3, figsize=(7.4, 2.9), layout="constrained")
axes[0].imshow(scenes[0].image.permute(1, 2, 0), extent=(0, 1, 1, 0))
for width, color in ((3.5, "white"), (1.5, "black")):
    axes[0].contour(truth[g], [0.5], colors=color, linewidths=width, extent=(0, 1, 0, 1))
axes[0].set_title("picture and segment", fontsize=9)
for ax, (name, where) in zip(axes[1:], kinds.items()):
    drawing = ax.imshow(large.abs(), cmap="gray", vmin=-10, vmax=10, extent=(0, 1, 1, 0))
    chosen = 96 if name == "uncertain" else 0
    looks = {"linewidth": 0.7, "clip_on": False, "zorder": 3}
    ax.scatter(*where[g, :chosen].T, s=13, color="C1", edgecolor="black", **looks)
    ax.scatter(*where[g, chosen:].T, s=20, color="black", edgecolor="white", marker="s", **looks)
    ax.set_title(f"{name}: 128 points", fontsize=9)
for ax in axes:
    ax.set(xlim=(0, 1), ylim=(1, 0), xticks=[], yticks=[])
    ax.spines[:].set_visible(True)
bar = fig.colorbar(drawing, ax=axes, label="|logit|: dark is unsure", shrink=0.75)
bar.ax.set_ylim(0, 10)
near = points.sample(maps[:, None], kinds["uncertain"])[g, 0, :96].abs().median()
usual = large.abs().median()
assert near < 0.8 * usual
show(
    fig,
    "Left, a made scene with one segment outlined. Middle and right, how sure that segment's query "
    "is: dark along the rim, where the logit is near 0, lighter elsewhere. In the middle, 128 square "
    "points are spread over the picture; right, 96 round points gather in dark places, and 32 square "
    "ones lie anywhere.",
    "Squares are drawn anywhere; circles are the 96 least sure of 384 candidates. This mask is so sure "
    "of itself that few candidates are dark, and some circles lie outside of its rim. Circles "
    "as evenly spread as the squares would be a bug.",
)

# %% [markdown]
# ## Checkpoint
#
# The authors' numbers for the small example, and PyTorch's own losses in float64:

# %%
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

same(slow_class_loss(class_logits, classes).item(), 0.2925887, tolerance=1e-6)
bce, dice = fast_mask_losses(mask_logits, masks, 2)
same(bce.item(), 0.4943141, tolerance=1e-6)
same(dice.item(), 0.4041850, tolerance=1e-6)

# %%
many, said = torch.randn(50, 9, dtype=torch.float64), torch.randint(9, (50,))
omega = torch.ones(9, dtype=torch.float64)
omega[-1] = 0.1
same(slow_class_loss(many, said), cross_entropy(many, said, omega), tolerance=1e-12)
some_logits = torch.randn(6, 40, dtype=torch.float64)
some_truth = torch.rand(6, 40, dtype=torch.float64)
theirs = binary_cross_entropy_with_logits(some_logits, some_truth)
same(fast_mask_losses(some_logits, some_truth, 6)[0], theirs, tolerance=1e-12)

# %% [markdown]
# Last, the library's `Criterion`, with its weights 2, 5, 5. `pixel_centres(h, w, like)` gives
# the middle of each cell, on the device and with the dtype of `like`.

# %%
from minim2f.model.position import pixel_centres
from minim2f.training.losses import Criterion

theirs = Criterion(config)(prediction, targets)

should_say = torch.full((8, config.num_queries), config.num_classes)  # "no object", unless matched
read = []
for b, (queries, segments) in enumerate(pairs):
    should_say[b, queries] = targets[b].labels[segments]
    cells = pixel_centres(24, 24, images).expand(len(queries), -1, -1)
    read.append(at_points(*matched(b), cells))
# zip(*read) turns the list of (logits, truth) into all logits and all truths
all_logits, all_truth = map(torch.cat, zip(*read))  # (all pairs of the batch, 576)
bce_of_batch, dice_of_batch = fast_mask_losses(all_logits, all_truth, len(all_logits))
cls = slow_class_loss(prediction.class_logits.flatten(0, 1), should_say.flatten())
same([2 * cls, 5 * bce_of_batch, 5 * dice_of_batch], list(theirs.values()))

# %% [markdown]
# And three untrained models, with three layers, so four predictions:

# %%
first = []
for seed in range(3):
    torch.manual_seed(seed)
    untrained = minim2f.Mask2Former(model.config).eval()
    with torch.no_grad():
        first.append(sum(Criterion(model.config)(untrained(images), targets).values()).item())
print("first losses:", [round(loss) for loss in first], "expected:", round(expected_loss(model.config)))
assert all(0.85 < loss / expected_loss(model.config) < 1.05 for loss in first)

# %% [markdown]
# They lie a little below, mostly because these segments are larger, 13 % on average: there the dice loss starts near 0.82.

# %% [markdown]
# ## Experiment
#
# ### Does it pay to look at the hard places?
#
# Hypothesis: with as many points, uncertain ones give a loss and a gradient that scatter less from draw to draw, and their
# mean over the draws is that of the whole picture.
#
# For each of six scenes, points are drawn 60 times. The gradient is that of BCE + dice with respect
# to the matched queries' E'. Its **noise** is the root mean square distance between a draw and the mean of all 60.
# "Exact" reads 16 places in each of 96 × 96 pixels, so 384 × 384. All numbers are divided by
# the exact ones. Where the noise is 4, a single draw points almost anywhere.

# %%
features = prediction.pixel_features

def losses_at(b, where):
    """BCE, dice, and the gradient of their sum, of picture b at some points."""
    queries, segments = pairs[b]
    embeddings = prediction.mask_embeddings[b, queries].requires_grad_()
    maps = torch.einsum("gc,chw->ghw", embeddings, features[b])
    truth = targets[b].masks[segments].float()
    bce, dice = fast_mask_losses(*at_points(maps, truth, where), len(queries))
    gradient, = torch.autograd.grad(bce + dice, embeddings)
    return bce.item(), dice.item(), gradient.flatten()


def scatter(b, choose):
    """Of 60 draws: BCE, its spread, dice, the gradient's length, noise and direction."""
    exact = losses_at(b, pixel_centres(384, 384, images).expand(len(pairs[b][0]), -1, -1))
    bces, dices, gradients = zip(*(losses_at(b, choose(matched(b)[0])) for _ in range(60)))
    bces, gradients = torch.tensor(bces), torch.stack(gradients)
    mean = gradients.mean(0)
    noise = (gradients - mean).square().sum(1).mean().sqrt()
    direction = torch.cosine_similarity(mean, exact[2], dim=0).item()
    values = bces.mean() / exact[0], bces.std() / exact[0], torch.tensor(dices).mean() / exact[1]
    return [*values, mean.norm() / exact[2].norm(), noise / exact[2].norm(), direction]

# %%
rules = {
    "uniform, P = 128": lambda maps: points.uniform(len(maps), 128, "cpu"),
    "uncertain, P = 128": lambda maps: points.uncertain(maps, 128),
    "uniform, P = 512": lambda maps: points.uniform(len(maps), 512, "cpu"),
    "uncertain, P = 512": lambda maps: points.uncertain(maps, 512),
}
torch.manual_seed(0)
found = torch.tensor([[scatter(b, rule) for b in range(6)] for rule in rules.values()])  # (4, 6, 6)

# %% tags=["hide-input"]
header = ["points", "BCE", "spread of the BCE", "dice", "gradient's length", "gradient's noise", "cosine with exact"]
table(
    header,
    [
        [name] + [f"{row[:, j].min():.2f} to {row[:, j].max():.2f}" for j in range(6)]
        for name, row in zip(rules, found)
    ],
)
relative = found[:, :, 4] / found[:, :, 3]
noise, few, many_more = found[1, :, 4] / found[0, :, 4], relative[1] / relative[0], relative[1] / relative[2]
print("uncertain points, P = 128, scene by scene")
print("  noise, against uniform, P = 128:         ", " ".join(f"{ratio:.2f}" for ratio in noise))
print("  noise / length, against uniform, P = 128:", " ".join(f"{ratio:.2f}" for ratio in few))
print("  noise / length, against uniform, P = 512:", " ".join(f"{ratio:.2f}" for ratio in many_more))
assert (found[1, :, 0] > 2.5).all() and (found[::2, :, 0] - 1).abs().max() < 0.15
assert (found[1::2, :, 1] > found[::2, :, 1]).all()
assert (found[1, :, 3] / found[0, :, 3]).mean() > 1.6 and 0.8 < noise.mean() < 1.2
assert few.max() < 0.75 and 0.6 < many_more.min() and many_more.max() < 1.5
assert found[3, :, 5].min() > 0.85

# %% [markdown]
# Each range covers the six scenes.
#
# **The value: refuted.** Uniform points give the exact BCE up to chance, uncertain ones about three times as much, because they
# prefer hard places. An estimate that is wrong in the mean over all draws is called **biased**. The dice loss rises by 20 to 50 %.
# Never compare the losses of runs whose points follow different rules.
#
# **The scatter: refuted as it was put.** The uncertain BCE scatters more, not less, and the gradient's
# noise is about the same for both rules. But the gradient of uncertain points is about twice as long, so noise divided by
# length is about half as large. This ratio counts: the optimiser, AdamW (chapter 11), divides gradients by their
# recent size, so their length matters little.
#
# Uniform points reach about the same ratio with P = 512. They read the mask at no more places: 384 candidates
# and 128 points are 512, too. Uncertain points save readings of the truth and memory
# for the backward pass: both need only the 128.
#
# **The direction.** With P = 512, the mean gradient of uncertain points nearly has the exact direction. Whether it trains
# better was not measured.

# %% [markdown] tags=["demo"]
# ## Break it
#
# ### The mean of each picture's own mean
#
# How much does one segment count in the picture with the most segments, and in the one with the fewest?

# %% tags=["demo"]
counts = [len(target.labels) for target in targets]
rows = []
for b in (0, 6):
    by_batch, by_picture = 1 / (counts[0] + counts[6]), 1 / (2 * counts[b])
    rows.append([b, counts[b], f"{by_batch:.3f}", f"{by_picture:.3f}"])
table(["picture", "segments", "divided by the batch's", "mean of two means"], rows)

# %% [markdown]
# With the mean of means, the same mistake counts nearly twice as much in picture 6.
#
# **How to notice it in your own training.** Put the same mask logits and segment into a batch twice, once alone in a picture. Both
# copies must get the same gradient.
#
# ### eos_coef = 1
#
# A lazy model never looks: all its queries give the same class probabilities. Its class loss is
# smallest when each probability is that class's share of the weights. (With two classes of weights 3 and 1,
# $-3\ln p - \ln(1-p)$ is smallest at $p$ = 3/4.)

# %%
labels = torch.cat([target.labels for target in targets])

def lazy(num_queries, eos_coef):
    """The lazy model's probability of "no object", and its class loss."""
    says = torch.full((8 * num_queries,), 13)  # 13 classes, so number 13 is "no object"
    says[: len(labels)] = labels
    weights = torch.ones(14)
    weights[13] = eos_coef
    share = weights * says.bincount(minlength=14)
    p = share / share.sum()
    logits = p.log().clamp(min=-100).expand(len(says), -1)  # the same for every query
    return p[13].item(), cross_entropy(logits, says, weights).item()

# %% tags=["hide-input"]
rows = []
for num_queries in (16, 100):
    for eos_coef in (0.1, 1.0):
        quiet, paid = lazy(num_queries, eos_coef)
        rows.append([num_queries, eos_coef, f"{quiet:.2f}", f"{paid:.2f}"])
table(["N", "eos_coef", "p of “no object”", "class loss"], rows)
assert lazy(100, 1.0)[0] > 0.9 and lazy(100, 1.0)[1] < 0.6 < 1.2 < lazy(100, 0.1)[1]

# %% [markdown]
# With 100 queries and weight 1, the lazy model says "no object" with p = 0.92. Its loss is small already, so little can be
# gained by looking. With weight 0.1, p is 0.55, and it still pays 1.79.
#
# **How to notice it in your own training.** The class loss drops fast, while ever fewer queries name a real class.
#
# ### A loss on probabilities
#
# A point is outside, $t = 0$. The query says $x = 2$, wrong; then 20, surely wrong; then −20, surely right. What if
# a sigmoid comes first?

# %%
from torch.nn.functional import binary_cross_entropy

outside = torch.zeros(())
versions = {
    "ζ(x) − t x": lambda x: softplus(x) - outside * x,
    "−ln(1 − m)": lambda x: -(1 - x.sigmoid()).log(),
    "PyTorch's, for probabilities": lambda x: binary_cross_entropy(x.sigmoid(), outside),
    "PyTorch's for logits, given m": lambda x: binary_cross_entropy_with_logits(x.sigmoid(), outside),
}
rows = []
for name, loss in versions.items():
    rows.append([name])
    for value in (2.0, 20.0, -20.0):
        logit = torch.tensor(value, requires_grad=True)
        paid = loss(logit)
        gradient, = torch.autograd.grad(paid, logit)
        rows[-1] += [f"{abs(paid.item()):.2f}", f"{gradient.item():.2f}"]  # abs: no "-0.00"

# %% tags=["hide-input"]
table(["version", "x = 2", "gradient", "x = 20", "gradient ", "x = −20", "gradient  "], rows)

# %% [markdown]
# In float32 the sigmoid of 20 is exactly 1, so the second version is infinite. PyTorch's loss for
# probabilities stops at 100, with gradient 0: the surest mistake teaches nothing. The last version takes the
# sigmoid twice; even the right answer, $x = -20$, pays ln 2 = 0.69.
#
# **How to notice it in your own training.** The loss becomes NaN, or stops falling far above 0. The loss of a perfect
# answer must be nearly 0.

# %% [markdown]
# ## Exercises
#
# ### 10.1 ★ The class loss
#
# Write it without PyTorch's cross entropy or loops; gradients must pass through. Logits may be ±800;
# the classes may all be "no object".

# %%
def class_loss(class_logits, classes, eos_coef):
    """(N, K+1), (N,) int64, number -> a tensor of shape ()"""
    ...


exercise("10.1", class_loss)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `log_softmax` gives ln p, and stays finite where p is 0. A tensor can be indexed with a row number and a column number for each query.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Make the K+1 weights first; indexed with `classes`, they become one weight for each query.
#
# </details>

# %% [markdown]
# ### 10.2 ★★ A batch in parts
#
# A batch often passes in parts, on several GPUs or one by one. Each part sums its pairs' dice losses (`sums`) and
# counts its segments (`counts`). The training step takes the mean of the parts' losses. Return each
# part's loss, so that this mean is the loss of the undivided batch. Some parts, or all, may be empty.

# %%
def part_losses(sums, counts):
    """(parts,), (parts,) int64 -> (parts,)"""
    ...


exercise("10.2", part_losses)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Write down the undivided loss for sums 0.9 and 0.9, counts 1 and 9. Which number must both parts be divided by, so that
# the mean of two gives it?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# All parts share one divisor. Where there is no segment at all, dividing by anything but 0 is right.
#
# </details>

# %% [markdown]
# ### 10.3 ★★★ Uncertain points
#
# For each pair candidates were drawn, and its mask read there; fresh points lie ready.
# Return P points for each pair: first the `int(0.75 * P)` candidates where its mask is least sure, the least sure first; then
# fresh points, from the front, until there are P. No loops over the pairs. P may be 1.

# %%
def choose_points(candidates, logits, fresh, num_points):
    """(pairs, drawn, 2), (pairs, drawn), (pairs, ready, 2), P -> (pairs, P, 2)"""
    ...


exercise("10.3", choose_points)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Unsure means a logit near 0, on either side. `argsort` gives the order of the candidates of each pair.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Each pair picks other candidates. With `rows = torch.arange(len(order))[:, None]`, the index
# `[rows, order]` takes from each pair its own.
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | | paper | official code | ours |
# | --- | --- | --- | --- |
# | weight of "no object" | 0.1, where a matched query has 2 | 2 · 0.1, beside 2 | 2 · 0.1, beside 2 |
# | points | 12,544, importance sampling | 3P drawn, 0.75 P kept, 0.25 P anew | the same |
# | mask divisor | – | segments of all GPUs / number of GPUs, at least 1 | the same, also for parts in time |
# | class divisor | – | weights of one GPU's queries | weights of all parts / their number |
# | padding, void | – | count as outside of every mask | the same |
#
# The mask divisor differs from 10.2 only if there are fewer segments than parts: for one segment in two parts
# it is 1, not 1/2. The class divisors of parts with weights 2.1 and 4.1 are these in the official code, in ours
# 3.1 for both.

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
home = "minim2f.training.losses"
library_table(
    {
        "slow_class_loss": f"{home}.class_loss",
        "fast_mask_losses": f"{home}.mask_loss",
        "fast_mask_losses, dice": f"{home}.dice_loss",
        "the loss of a batch": f"{home}.Criterion",
        "the loss at the start": f"{home}.expected_loss",
        "the divisors of parts": f"{home}.divisors",
        "points.uncertain": "minim2f.training.points.uncertain",
    }
)

# %% [markdown]
# ## Recap
#
# - The class loss is a weighted mean over all queries; "no object" weighs 0.1.
# - The mask losses are sums over pairs, divided by the segments of the batch.
# - Points make masks affordable.
# - Uncertain points overstate the loss; relative to its length, its gradient has about half the noise.
# - Losses take logits, not probabilities.

# %% [markdown]
# ## Further reading
#
# - [Masked-attention Mask Transformer](https://arxiv.org/abs/2112.01527), section 3.3.
# - [PointRend](https://arxiv.org/abs/1912.08193): importance sampling of points, section 3.
# - [V-Net](https://arxiv.org/abs/1606.04797): where the dice loss comes from.
