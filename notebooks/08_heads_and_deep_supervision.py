# %% [markdown]
# # 8 · Heads and deep supervision
#
# Read a class and a mask off every query after every layer, and see that its embedding is a filter.
#
# *read 60 min · run 20 s CPU · exercises 60 min*
#
# **Needs** chapters 6 and 7 · **Library** [`minim2f/model/transformer_decoder.py`](../minim2f/model/transformer_decoder.py), [`minim2f/model/mask2former.py`](../minim2f/model/mask2former.py) · **Paper** sections 3.2 and 3.2.2

# %% [markdown]
# ## You will be able to
#
# - make a mask from one embedding, and a class from one query, by hand (The idea in small numbers)
# - write all masks of a batch as one product (8.1)
# - write the heads of a layer from their weights (8.2)
# - find the channels of which a mask is made (8.3)
# - tell after which layer a mask is good enough (8.4)
# - say what a loss on every prediction changes, and what not (Experiment)
# - recognise three common mistakes (Break it)

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
where_we_are("heads")

# %% [markdown]
# What you need of earlier chapters:
#
# - A **query** is a vector of $C$ numbers that is to find one **segment**, an object or a stretch of sky. There are $N$.
# - The transformer decoder has $3L$ **layers**. Each looks at the picture and turns the queries $X_{l-1}$ into $X_l$. The
#   **raw queries** $X_0$ are learned, and the same for every picture.
# - $F_{pixel}$ is a map at 1/4 of the picture's size, $C$ numbers for each place, here called a **pixel**.
# - A **logit** is a score before it becomes a probability: through a softmax for classes, through a sigmoid for masks. A mask
#   logit above 0 is a probability above 0.5, and the pixel is inside the mask.
#
# A **head** is a small network that turns a query into an answer. (The attention heads of chapter 6 are something else.)
# The **class head** makes $K+1$ logits, for $K$ classes and "no object". The **mask head** makes a **mask
# embedding** $E'$, $C$ numbers, whose products with all pixels are the mask.
#
# The heads read the queries before the first layer and after each one: $3L+1$ predictions, numbered 0 to $3L$. The
# last is the answer. In **deep supervision**, training puts a loss on all of them.

# %% [markdown]
# ## Predict
#
# The raw queries $X_0$ are the same for every picture. Are the classes of prediction 0 the same for every picture?
# And its masks?
#
# <details><summary>Answer</summary>
#
# The classes are the same, since they are made from $X_0$ alone. The masks are not: the embeddings are the same, but they are
# multiplied with $F_{pixel}$, which is made from the picture. *Shapes* checks both.
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# Let $C = 2$, and the picture have 2 × 3 pixels, red on the left and blue on the right. The first channel of
# $F_{pixel}$ says how red a pixel is, the second how blue. Two queries have the embeddings (2, −1) and (−1, 1).

# %% tags=["demo"]
pixel_features = torch.tensor(
    [
        [[0.9, 0.8, 0.1], [0.7, 0.4, 0.0]],  # red
        [[0.0, 0.1, 0.9], [0.2, 0.5, 0.8]],  # blue
    ]
)  # (C, h, w)
embeddings = torch.tensor([[2.0, -1.0], [-1.0, 1.0]])  # (N, C)

# %% [markdown] tags=["demo"]
# Take the middle pixel of the lower row, with red 0.4 and blue 0.5. Query 0 gives it the logit 2 · 0.4 − 1 · 0.5 = 0.3, query 1
# gives it −1 · 0.4 + 1 · 0.5 = 0.1. Both are positive, so the pixel is inside both masks, which is
# allowed: queries compete for pixels only at inference (chapter 12).

# %% tags=["demo"]
pixel = pixel_features[:, 1, 1]
same(embeddings[0] @ pixel, 0.3)  # stops the run if they differ by more than 1e-5
same(embeddings[1] @ pixel, 0.1)

# %% [markdown] tags=["demo"]
# An embedding is thus a **filter**: it keeps the pixels where a weighted sum of the channels is positive. Query 0 asks for
# pixels that are more than half as red as blue, query 1 for those that are more blue than red.

# %% tags=["demo", "hide-input"]
def draw_map(ax, values, title, low, high):
    """A map with its numbers; a thick line goes round the positive ones if there are negative ones."""
    ax.imshow(values, cmap="cividis", vmin=low, vmax=high)
    for (y, x), value in zip(torch.cartesian_prod(torch.arange(2), torch.arange(3)), values.flatten()):
        dark = value < (low + high) / 2
        ax.text(x, y, f"{value:.1f}", ha="center", va="center", color="white" if dark else "black")
    if values.min() < 0:
        fine = values.repeat_interleave(20, 0).repeat_interleave(20, 1)
        across, down = torch.linspace(-0.475, 2.475, 60), torch.linspace(-0.475, 1.475, 40)
        ax.contour(across, down, fine > 0, levels=[0.5], colors="black", linewidths=3)
    ax.set_title(title, fontsize=10)
    ax.axis("off")


fig, axes = plt.subplots(1, 4, figsize=(9, 1.7), layout="constrained")
logits = [a * pixel_features[0] + b * pixel_features[1] for a, b in embeddings]
draw_map(axes[0], pixel_features[0], "channel 0: red", 0, 1)
draw_map(axes[1], pixel_features[1], "channel 1: blue", 0, 1)
draw_map(axes[2], logits[0], "query 0: 2 red − blue", -2, 2)
draw_map(axes[3], logits[1], "query 1: blue − red", -2, 2)
show(
    fig,
    "Four maps of 2 by 3 numbers: the red and the blue channel, and the mask logits of two queries. "
    "Query 0 is positive in four pixels on the left, query 1 in three on the right.",
    "Light is high. The black line parts positive logits from negative ones. The middle pixel of the lower row "
    "is on the positive side of both.",
)

# %% [markdown] tags=["demo"]
# Now the class of query 0. Say the query is (5, 1). A **layer norm** first subtracts the mean, 3, which leaves (2, −2). The mean of
# the squares, 4, is the variance; the norm adds $10^{-5}$ to it, and divides by its root, 2. That gives $z$ = (1, −1).
# (A learned scale and shift follow; here they do nothing.) The mask head makes the embedding (2, −1) of the same $z$; its weights
# are left out here. In the class head, each class has $C$ weights and a bias. Let the classes be ball and sea.
#
# | | weights | bias | logit of $z$ |
# | --- | --- | --- | --- |
# | ball | 2, 0 | 0 | 2 |
# | sea | 0, 2 | 0 | −2 |
# | no object | 0, 0 | 1 | 1 |
#
# The softmax of 2, −2 and 1 is 0.72, 0.01 and 0.27: the query says "ball".

# %% tags=["demo"]
from torch.nn import functional

z = functional.layer_norm(torch.tensor([5.0, 1.0]), (2,))
same(z, torch.tensor([1.0, -1.0]))
weight, bias = torch.tensor([[2.0, 0], [0, 2], [0, 0]]), torch.tensor([0.0, 0, 1])
p = functional.linear(z, weight, bias).softmax(0)
same(p, torch.tensor([0.72, 0.01, 0.27]), tolerance=0.01)  # we rounded above

# %% [markdown]
# ## The equation
#
# For $l = 0, \dots, 3L$:
#
# $$Z_l = \mathrm{LayerNorm}(X_l), \qquad \mathrm{class}_l = \mathrm{Linear}(Z_l), \qquad E'_l = \mathrm{MLP}(Z_l)$$
#
# $$M'_l(n, y, x) = \sum_{c=1}^{C} E'_l(n, c)\, F_{pixel}(c, y, x)$$
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $l$ | `layer` | | number of the prediction, 0 for the raw queries |
# | $X_l$ | `X` | (B, N, C) | the queries after layer $l$ |
# | $Z_l$ | `z` | (B, N, C) | the same, normalised |
# | $\mathrm{class}_l$ | `class_logits` | (B, N, K+1) | class logits, the last is "no object" |
# | $E'_l$ | `embeddings` | (B, N, C) | mask embeddings |
# | $F_{pixel}$ | `pixel_features` | (B, C, H/4, W/4) | pixel features |
# | $M'_l$ | `mask_logits` | (B, N, H/4, W/4) | mask logits |
# | $n$, $c$, $y$, $x$ | `n`, `c`, `y`, `x` | | one query, one channel, row and column of a pixel |
#
# MLP is the mask head: three linear layers with a ReLU (negative numbers become 0) after the first and the second. Norm and
# heads exist once: the same weights serve all predictions. Chapter 7's attention mask $M_l$, for layer $l+1$, is $M'_l$
# resized to that layer's level, and cut at 0.

# %% [markdown]
# ## Slow and obvious


# %%
def slow_linear(z, weight, bias):
    """One query: (C,), (out, C), (out,) -> (out,)"""
    out = bias.clone()
    for o in range(len(out)):
        for c in range(len(z)):
            out[o] += weight[o, c] * z[c]
    return out


def slow_masks(embeddings, pixel_features):
    """One picture: (N, C), (C, h, w) -> (N, h, w)"""
    C, h, w = pixel_features.shape
    mask_logits = torch.zeros(len(embeddings), h, w)
    for n in range(len(embeddings)):
        for y in range(h):
            for x in range(w):
                for c in range(C):
                    mask_logits[n, y, x] += embeddings[n, c] * pixel_features[c, y, x]
    return mask_logits


# %% [markdown]
# ## Fast and short
#
# A 1 × 1 convolution computes a weighted sum of each pixel's channels. So an embedding can be handed to PyTorch as its
# **kernel**. The mask head makes $N$ kernels for each picture.


# %% tags=["demo"]
def fast_masks(embeddings, pixel_features):
    """One picture: (N, C), (C, h, w) -> (N, h, w)"""
    kernels = embeddings[:, :, None, None]  # (N, C, 1, 1)
    return functional.conv2d(pixel_features[None], kernels)[0]


def heads(decoder, X):
    """(B, N, C) -> class logits (B, N, K+1) and mask embeddings (B, N, C)"""
    z = decoder.norm(X)
    return decoder.class_head(z), decoder.mask_head(z)


# %%
same(fast_masks(embeddings, pixel_features), slow_masks(embeddings, pixel_features))
same(slow_linear(z, weight, bias), functional.linear(z, weight, bias))

# %% [markdown] tags=["demo"]
# ## Shapes
#
# The tiny model of the package has three layers, so it makes four predictions. `minim2f.walkthrough` runs it once and records
# every named tensor.

# %% tags=["demo"]
model = minim2f.load("tiny")
scenes = minim2f.data.open_dataset("scenes", split="val")
sample = scenes[9]
rows = minim2f.walkthrough(model, model.batch([sample.image]))

# %% tags=["demo", "hide-input"]
meanings = {
    "F_pixel": "a channel of a pixel at 1/4",
    "X_0": "a channel of a raw query",
    "class_logits_0": "how much a raw query likes a class",
    "E'_0": "how much a raw query's filter weighs a channel",
    "M'_0": "inside (positive) or outside: a raw query at one pixel",
    "X_3": "a channel of a query after layer 3",
    "class_logits_3": "how much it now likes a class",
    "E'_3": "how much its filter now weighs a channel",
    "mask_logits": "inside or outside: the last prediction, $M'_3$",
}
shape_table(rows, meanings=meanings)

# %% [markdown] tags=["demo"]
# The model returns its last prediction, whose `auxiliary` are the earlier ones.
#
# Now *Predict*, for two pictures.

# %% tags=["demo"]
torch.set_grad_enabled(False)  # nothing is trained in this chapter


def all_predictions(picture, model=model):
    """The 3L+1 predictions of one picture, the raw queries' first."""
    prediction = model(model.batch([picture]))
    return [*prediction.auxiliary, prediction]


here, there = (all_predictions(scenes[i].image) for i in (9, 3))
same(here[0].class_logits, there[0].class_logits)
same(here[0].mask_embeddings, there[0].mask_embeddings)
assert (here[0].mask_logits - there[0].mask_logits).abs().max() > 10

# %% [markdown] tags=["demo"]
# ## Look
#
# ### How masks sharpen
#
# **Matching** (chapter 9) says which query answers for which segment. We match the last prediction, and follow its queries back.
# Each mask of 24 × 24 pixels is enlarged to the picture and compared with the segment by
# **IoU**, the number of pixels in both divided by that in either.

# %% tags=["demo"]
from minim2f.training.batches import collate
from minim2f.training.matching import match


def iou(mask_logits, masks):
    """(n, h, w) logits, (n, H, W) bool -> (n,)"""
    large = functional.interpolate(mask_logits[None], masks.shape[1:], mode="bilinear")[0]
    return ((large > 0) & masks).sum((1, 2)) / ((large > 0) | masks).sum((1, 2))


def answers(prediction, sample):
    """The queries that answer for a segment, and the labels and masks of those segments."""
    seeded = torch.Generator().manual_seed(0)  # match compares masks at random points
    _, targets = collate(model, [sample])  # packs the segments as training does
    # One picture, so one pair of lists: queries[i] answers for segments[i].
    ((queries, segments),) = match(prediction, targets, model.config, seeded)
    return queries, targets[0].labels[segments], targets[0].masks[segments]


# %% tags=["demo"]
thirty = [scenes[i] for i in range(30)]
predicted = [all_predictions(sample.image) for sample in thirty]
matched = [answers(four[-1], sample) for four, sample in zip(predicted, thirty)]

ious, right, idle = [], [], []  # a row a prediction, a column a segment (of `idle`: a picture)
for four, (queries, labels, masks) in zip(predicted, matched):
    ious.append(torch.stack([iou(one.mask_logits[0, queries], masks) for one in four]))
    says = torch.stack([one.class_logits[0].argmax(-1) for one in four])  # (3L+1, N)
    right.append(says[:, queries] == labels)
    idle.append((says == model.config.num_classes).sum(1, keepdim=True))
ious, right, idle = (torch.cat(found, 1).float() for found in (ious, right, idle))

# %% tags=["demo", "hide-input"]
names = ["0, raw queries", "1", "2", "3, the answer"]
columns = [ious.mean(1), (ious >= 0.8).float().mean(1), right.mean(1)]
lines = [[name, *(f"{column[l]:.2f}" for column in columns)] for l, name in enumerate(names)]
lines = [[*line, f"{idle[l].mean():.1f} of {model.config.num_queries}"] for l, line in enumerate(lines)]
header = ["prediction", "mean IoU", "IoU of 0.8 or more", "class is right", "say “no object”"]
table(header, lines)
change = ious[1:] - ious[:-1]
print(f"{ious.shape[1]} segments of 30 unseen scenes; better by more than 0.02, worse by more than 0.02:")
for l, by in enumerate(change, 1):
    print(f"  layer {l}: {(by > 0.02).float().mean():.0%}, {(by < -0.02).float().mean():.0%}")
assert (columns[0][1:3] > columns[0][:2] + 0.05).all() and columns[0][3] - columns[0][2] < 0.01

# %% [markdown] tags=["demo"]
# In these simple scenes the raw queries, fixed filters, draw four of five segments well (IoU 0.8 or more). In every picture
# 15 of 16 name a class. One possible cause: the loss weights "no object" with 0.1 (chapter 10), and most raw queries
# answer for a segment in some pictures. Layers 1 and 2 mend masks and classes; layer 3 adds nothing here. (Matching the last
# prediction favours it a little.)

# %% tags=["demo", "hide-input"]
from minim2f import plots

gain = ious[-1] - ious[0]
gaining = torch.nonzero(gain > 0.1)[:, 0]
middle = gaining[gain[gaining].argsort()[len(gaining) // 2]]
loser = change.amin(0).argmin()
picked = [int(gain.argmax()), int(middle), int(loser)]
places = [(i, k) for i, (queries, _, _) in enumerate(matched) for k in range(len(queries))]
fig, axes = plots.figure(3, 5, size=1.35, gap=0.34)
seen = []
for line, chosen in zip(axes, picked):
    i, k = places[chosen]
    queries, labels, masks = matched[i]
    query, name = int(queries[k]), scenes.categories[labels[k]]["name"].split("-")[0]
    seen.append(name)
    line[0].text(-6, 48, f"query {query}\n{name}", fontsize=9, ha="right", va="center")
    plots.draw_image(line[0], (thirty[i].image * (0.3 + 0.7 * masks[k])).byte(), "its segment")
    for l, ax in enumerate(line[1:]):
        mask = predicted[i][l].mask_logits[0, query].sigmoid()
        plots.draw_mask(ax, thirty[i].image, mask, "#F0E442", f"$M'_{l}$: {ious[l, chosen]:.2f}")
for ax in axes.flat:
    ax.title.set_fontsize(9)
assert seen == ["grass", "sea", "sports ball"] and ious[1, picked[1]] < 0.01 < 0.9 < ious[2, picked[1]]
show(
    fig,
    f"Three segments ({', '.join(seen)}), one a row, and the masks of predictions 0 to 3 of the query "
    "that answers for each, with their IoU.",
    "The segment that gained most, one with a middling gain, and the one that lost most in a layer. "
    "Yellow is the mask, numbers are IoUs. The grass's query finds only specks of grass at first. The sea's query "
    "first draws sand, then a corner of grass, and only in prediction 2 the sea. The ball's mask hardly changes.",
)

# %% [markdown]
# ### A query as a filter
#
# A logit is the sum of $C = 64$ products. These are those of the umbrella's query, at a pixel of the umbrella and at one of the sky.

# %% tags=["hide-input"]
queries, labels, masks = matched[9]
g = [scenes.categories[label]["name"] for label in labels].index("umbrella")
assert queries[g] == 3  # a hint of exercise 8.3 says so
features = predicted[9][-1].pixel_features[0]
filter_ = predicted[9][-1].mask_embeddings[0, 3]
logits = fast_masks(filter_[None], features)[0]
spots = [divmod(int(logits.argmax()), 24), (6, 3)]
fig, axes = plt.subplots(1, 4, figsize=(10.4, 2.5), width_ratios=(1, 1.18, 1.3, 1.3), layout="constrained")
axes[0].imshow(thirty[9].image.permute(1, 2, 0))
drawn = axes[1].imshow(logits, cmap="cividis")
axes[1].contour(logits, levels=[0], colors="black", linewidths=1.5)
fig.colorbar(drawn, ax=axes[1], shrink=0.8)
axes[1].set_title("mask logits", fontsize=10)
axes[0].set_title("scene 9", fontsize=10)
for (y, x), mark, ax in zip(spots, ("a", "b"), axes[2:]):
    axes[0].text(4 * x + 2, 4 * y + 2, mark, ha="center", va="center", bbox={"fc": "white", "pad": 1.5})
    parts = (filter_ * features[:, y, x]).sort().values
    ax.bar(range(64), parts, width=1, color=["0.35" if part < 0 else "C1" for part in parts])
    ax.set(title=f"pixel {mark}: sum {parts.sum():.1f}", xlabel="channels, sorted", ylim=(-20, 20))
    ax.title.set_fontsize(10)
    strong = parts[-1] / parts.sum() if mark == "a" else parts[:4].sum() / parts.sum()
    assert strong < 0.15 if mark == "a" else strong > 0.5, strong
for ax in axes[:2]:
    ax.axis("off")
show(
    fig,
    "Scene 9 with two pixels marked, the umbrella query's mask logits, and for each pixel the 64 products of its "
    "channels with the embedding as sorted bars, of both signs.",
    "Black line: logit 0, the rim of the mask. Right: the 64 products of each pixel; their sum is the logit. "
    "Each panel sorts its products for itself: one place is not one channel in both. At a, the largest product "
    "is less than 15% of the sum; at b, the four most negative ones are more than half of it.",
)

# %% [markdown]
# How much of the filter depends on the picture? Each scene borrows the embeddings that the same queries made in the scene before it.

# %%
borrowed, said = [], []  # said: the classes of the scene before and of this one
for before, now, (queries, labels, masks) in zip(predicted, predicted[1:], matched[1:]):
    old, new = before[-1], now[-1]
    borrowed.append(iou(fast_masks(old.mask_embeddings[0, queries], new.pixel_features[0]), masks))
    said.append(torch.stack([one.class_logits[0, queries].argmax(-1) for one in (old, new)]))
borrowed, (was, is_now) = torch.cat(borrowed), torch.cat(said, 1)
own = ious[-1, -len(borrowed) :]

# %% tags=["hide-input"]
silent = was == model.config.num_classes
agree, other = was == is_now, (was != is_now) & ~silent
lines = []
for name, group in {"the same class": agree, "“no object”": silent, "another class": other}.items():
    marks = [f"{values[group].mean():.2f}" for values in (own, borrowed)]
    lines.append([name, int(group.sum()), *marks])
table(["in the scene before, the query said", "segments", "own embeddings, IoU", "borrowed, IoU"], lines)
assert (own - borrowed)[agree].mean().abs() < 0.02 and (own - borrowed)[silent].mean() > 0.7
swaps = {}
for pair, value in zip(torch.stack([was, is_now], 1)[other], borrowed[other]):
    swap = " and ".join(sorted(scenes.categories[c]["name"].split("-")[0] for c in pair))
    swaps.setdefault(swap, []).append(value)
print("another class, in either order:")
for swap, values in swaps.items():
    print(f"  {swap}: {len(values)} segments, borrowed IoU {min(values):.2f} to {max(values):.2f}")
assert max(swaps["grass and road"]) < 0.01 and min(swaps["grass and sand"]) > 0.7

# %% [markdown]
# Where a query names the same class in both scenes, the borrowed filter draws as well as its own. A filter from a scene in which
# the query said "no object" mostly draws nothing useful. And some filters serve two classes: one that drew sand still draws
# the next scene's grass, but one that drew road does not. So in this tiny model a filter seems to say roughly *what* to draw,
# and $F_{pixel}$ where it is. That need not hold on photographs, where two dogs in one picture need two filters.

# %% [markdown]
# ## Checkpoint
#
# Ours against the library's, for scene 9; `rows` holds its $X_0$ to $X_3$.

# %%
for layer, theirs in enumerate(here):
    X = rows[f"X_{layer}"].tensor
    class_logits, embeddings = heads(model.decoder, X)
    same(class_logits, theirs.class_logits, tolerance=1e-4)
    mask_logits = fast_masks(embeddings[0], theirs.pixel_features[0])
    same(mask_logits, theirs.mask_logits[0], tolerance=1e-3)

# %% [markdown]
# Outside witnesses: PyTorch's convolution, in `fast_masks`, and NumPy, for one query's norm:

# %%
import numpy as np

query, norm = X[0, 0], model.decoder.norm
centred = query.numpy() - query.numpy().mean()
z = centred / np.sqrt(np.square(centred).mean() + norm.eps)
z = torch.tensor(z) * norm.weight + norm.bias
same(z, norm(query))
class_head = model.decoder.class_head
same(slow_linear(z, class_head.weight, class_head.bias), class_head(norm(query)), tolerance=1e-4)

# %% [markdown]
# ## Experiment
#
# *Hypothesis:* a loss on all predictions makes the last one better than a loss on the last alone.
#
# The switch is `deep_supervision`. Each pair of runs starts from the same weights and sees the same pictures. The score is **PQ**
# (chapter 13) on 40 unseen scenes; `last − all` is the difference within a pair. (The sum of four losses is larger. But the
# optimiser, AdamW, divides by the gradient's usual size, so a loss four times as large makes no larger steps.) These models are not that of *Look*.

# %%
from minim2f.book import experiments

stored = experiments.read("08_heads_and_deep_supervision")
print(stored["command"])
runs = {kind: [run for run in stored["runs"] if run["variant"] == kind] for kind in ("all", "last")}
pq = {kind: torch.tensor([run["pq"] for run in runs[kind]]) for kind in runs}  # (seeds, 3L+1)
pq["last − all"] = pq["last"] - pq["all"]
final = pq["last − all"][:, -1]
print(f"last − all, prediction 3: mean {final.mean():+.3f}, standard deviation {final.std():.3f}")
assert final.abs().max() < 0.03 and (pq["last"][:, 0] < 0.1).all() and (pq["all"][:, 0] > 0.4).all()

# %% tags=["hide-input"]
lines = []
for kind, values in pq.items():
    for l in range(values.shape[1]):
        form = "{:+.2f}" if "−" in kind else "{:.2f}"
        marks = [form.format(value) for value in [*values[:, l], values[:, l].mean()]]
        lines.append([kind, l, *marks])
seeds = [f"seed {run['seed']}" for run in runs["all"]]
table(["loss on", "prediction", *seeds, "mean"], lines)

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(5.6, 2.8))
for kind, color, look in (("all", "C0", "o-"), ("last", "C1", "s--")):
    ax.plot(pq[kind].T, look, color=color, linewidth=0.8, markersize=4, alpha=0.6)
    ax.plot(pq[kind].mean(0), look, color=color, linewidth=2.4, label=f"loss on {kind}")
ax.set(xlabel="prediction", ylabel="PQ on unseen scenes", xticks=range(4), ylim=(-0.02, 0.9))
ax.legend()
show(
    fig,
    "PQ of predictions 0 to 3, loss on all against loss on the last: the last-only models start near 0 and end where "
    "the others end.",
    "Thick: the mean of three seeds. Thin: each seed. With a loss on all, every prediction can be used.",
)

# %% [markdown]
# The hypothesis is not borne out: the last predictions are equally good, within 0.02 in every pair. The length of a run
# matters for such a verdict. After 250 steps (`--steps 250 --seeds 4`) the loss on the last alone was *ahead* in all four pairs, by
# 0.01 to 0.11; at 750 that lead is gone.
#
# What deep supervision does change: every prediction becomes an answer. With it, prediction 1 has a PQ above 0.7 in each run;
# without it, below 0.5. Chapter 7's attention masks are made from these predictions, and without deep supervision no
# loss acts on them.
#
# The paper removes only prediction 0's loss: on COCO, PQ falls from 51.9 to 51.2.

# %% [markdown] tags=["demo"]
# ## Break it
#
# ### K instead of K+1
#
# Without a logit for "no object", a query that answers for no segment is taught class K, which does not exist.

# %% tags=["demo"]
K = model.config.num_classes
class_logits = here[-1].class_logits[0]
silent = torch.full((len(class_logits),), K)  # every query is to say "no object"
try:
    functional.cross_entropy(class_logits[:, :K], silent)
except IndexError as error:
    print(error)

# %% [markdown] tags=["demo"]
# That is the lucky case. (A GPU says "device-side assert".) Whoever then leaves these queries
# out of the loss has a head that cannot say "no object". We imitate it: we cut that logit off the trained model.

# %%
last = torch.cat([four[-1].class_logits[0] for four in predicted])  # of 30 scenes
named = {"K+1 logits": last.softmax(-1)[:, :K], "K logits": last[:, :K].softmax(-1)}
speaks = [(last.argmax(-1) < K).float(), torch.ones(len(last))]  # with K, the best is always a class
lines = []
for (name, p), talks in zip(named.items(), speaks):
    sure = (p.amax(-1) >= 0.8).float()
    lines.append([name, *(f"{16 * values.mean():.1f} of 16" for values in (talks, sure))])
table(["head", "queries that name a class", "with p of 0.8 or more"], lines)

# %% [markdown]
# The best logit is now always a class, and more queries pass panoptic inference's threshold of 0.8.
# And code that drops the last column, as `[:, :-1]` does, drops a real class.
#
# ### Heads without the norm
#
# Somebody forgets the norm before the heads. Predict how far the IoU falls.

# %%
import copy

bare = copy.deepcopy(model)
bare.decoder.norm = torch.nn.Identity()  # returns what it is given
without = [all_predictions(sample.image, bare) for sample in thirty]

lines = []
for l in range(4):
    found = [iou(one[l].mask_logits[0, q], masks) for one, (q, _, masks) in zip(without, matched)]
    pairs = [(one[l], other[l]) for one, other in zip(predicted, without)]
    apart = torch.stack([(a.class_logits - b.class_logits).abs().amax() for a, b in pairs])
    said = torch.cat([a.class_logits.argmax(-1) == b.class_logits.argmax(-1) for a, b in pairs], 1)
    numbers = [ious[l].mean(), torch.cat(found).mean(), said.float().mean(), apart.max()]
    lines.append([l, *(f"{number:.2f}" for number in numbers)])
header = ["prediction", "IoU", "IoU without norm", "same class", "largest difference of class logits"]
table(header, lines)
raw = rows["X_0"].tensor
assert raw.mean(-1).abs().max() < 0.25 and (raw.std(-1) - 1).abs().max() < 0.2

# %% [markdown]
# To two digits, it does not fall. Each layer ends in a layer norm (chapter 6), so for $X_1$ to $X_3$ only a scale and a
# shift of each channel are missing, and most of the large mask logits keep their sign. Only $X_0$ has met no norm. But each raw
# query's numbers have a mean near 0 and a spread near 1 anyway, so masks stay, and the classes of two change.
#
# **How to notice it in your own model.** Compare logits with a reference, as the *Checkpoint* does. Pictures do not show it.
#
# ### Mask logits taken as probabilities
#
# Predict for each: an error, a mask too small, a mask too large, or a loss that stays high?
#
# - `logits > 0.5`, and `logits.sigmoid() > 0`, as the mask
# - `binary_cross_entropy(logits, …)`, which expects probabilities
# - `binary_cross_entropy_with_logits(probabilities, …)`, which expects logits

# %%
answer_logits = torch.cat([one[-1].mask_logits[0, q] for one, (q, _, _) in zip(predicted, matched)])
truth = (answer_logits > 0).float()  # let this be right
area = truth.sum()
lines = [["logits > 0.5", f"{(answer_logits > 0.5).sum() / area:.0%} of the right area"]]
lines += [["logits.sigmoid() > 0", f"{(answer_logits.sigmoid() > 0).sum() / area:.0%} of the right area"]]
try:
    functional.binary_cross_entropy(answer_logits, truth)
except RuntimeError as error:
    lines += [["binary_cross_entropy(logits, …)", f"{error}".split(",")[0]]]
least = functional.binary_cross_entropy_with_logits(truth, truth, reduction="none")
lowest = [f"{least[truth == side].mean():.2f}" for side in (1, 0)]
lines += [["…_with_logits(probabilities, …)", f"a perfect mask costs {lowest[0]} inside, {lowest[1]} outside"]]
table(["what is done", "what happens"], lines)
assert 0.9 < (answer_logits > 0.5).sum() / area < 1

# %% [markdown]
# <details><summary>Where do 759%, 0.31 and 0.69 come from?</summary>
#
# A sigmoid is always above 0, so the second mask is the whole picture, which is 7.59 times as large as an average right mask. In
# the last line, a perfect mask's probabilities, 1 and 0, go through a second sigmoid and become 0.73 and 0.5. Their losses are
# $-\log 0.73 = \log(1+1/e) = 0.31$ and $-\log(1 - 0.5) = \log 2 = 0.69$, and training cannot get below.
#
# </details>
#
# **How to notice it.** The first is silent. The others show: full pictures, an error, a mask loss that stays high.

# %% [markdown]
# ## Exercises
#
# ### 8.1 ★ All masks of a batch
#
# Write the mask logits of a batch as one product, without loops. (Each picture has kernels of its own.)

# %%
def my_mask_logits(embeddings, pixel_features):
    """(B, N, C), (B, C, h, w) -> (B, N, h, w)"""
    ...


exercise("8.1", my_mask_logits)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# In which order do the axes have to stand so that `@` sums over the channels?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `flatten(2)` lays the pixels in one row, `unflatten` undoes it. Or say it with letters, in `torch.einsum`.
#
# </details>

# %% [markdown]
# ### 8.2 ★★ The heads, from their weights
#
# Write norm and heads for all queries at once, with tensors alone. `norm` is (scale, shift), with $10^{-5}$ added to the variance;
# `class_head` is (weight, bias), the weight as (out, in); `mask_head` is a list of three such pairs. The checker also tries equal
# numbers.

# %%
def my_heads(X, norm, class_head, mask_head):
    """(N, C) and weights -> class logits (N, K+1), mask embeddings (N, C)"""
    ...


exercise("8.2", my_heads)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Mean and variance are taken over a query's own channels; `keepdim=True` lets them be subtracted from all of them.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Both heads read the normalised queries. In the mask head, each ReLU stands between two linear layers.
#
# </details>

# %% [markdown]
# ### 8.3 ★★ Which channels make a mask?
#
# Make the logit map of one query from the $k$ channels that contribute most. A channel contributes to a pixel the
# product of its weight and its feature; over the picture, the mean of their absolute values counts. Then try it on the umbrella:
# from which $k$ on does its mask differ in at most one pixel from that of all 64 channels?

# %%
def keep_channels(embedding, pixel_features, k):
    """(C,), (C, h, w), a number -> (h, w)"""
    ...


exercise("8.3", keep_channels)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Keep the products of all channels apart first, (C, h, w), and rank them before you sum.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `topk(k).indices` says which they are; a tensor can be indexed with them. For the umbrella:
# `here[-1].mask_embeddings[0, 3]` and `here[-1].pixel_features[0]`; its $k$ is 25.
#
# </details>

# %% [markdown]
# ### 8.4 ★★★ After which layer is a mask good?
#
# For each segment, find the number of the first prediction whose mask has an IoU of at least `threshold`, or the number of predictions, $3L+1$, if there is none.
# Masks and segments are on the same grid. No segment is empty; a logit of exactly 0 is outside; a mask may become bad again later. There
# may be more than four predictions.

# %%
def first_good(mask_logits, masks, threshold):
    """(3L+1, G, h, w), (G, h, w) bool, a number -> (G,) int64"""
    ...


exercise("8.4", first_good)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Make a table of True and False first, (3L+1, G). `masks` broadcasts over the predictions.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The number of the first good one is the number of predictions before any is good. `cumsum(0)` tells which those are.
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | | paper | official code | ours |
# | --- | --- | --- | --- |
# | norm before the heads | not mentioned | one, shared by all predictions | the same |
# | mask | queries times pixel features | three linear layers of the normalised queries, times pixel features | the same |
# | predictions | one a layer and one of the raw queries | $3L+1 = 10$; its `DEC_LAYERS = 10` counts the raw queries' | `num_layers = 9` makes 10 |
# | their losses | on all of them | summed, all alike | the same; `deep_supervision=False` keeps the last |

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
decoder = "minim2f.model.transformer_decoder.TransformerDecoder"
library_table(
    {
        "heads, my_heads": f"{decoder}.heads",
        "the loop over the layers": f"{decoder}.forward",
        "all_predictions": "minim2f.model.mask2former.Prediction",
        "a loss on each": "minim2f.training.losses.Criterion",
    }
)

# %% [markdown]
# ## Recap
#
# - One norm and two heads read the queries $3L+1$ times.
# - A mask logit is the product of an embedding and a pixel: the embedding is a filter, a 1 × 1 kernel.
# - In six runs deep supervision made every prediction usable, and the last one no better.

# %% [markdown]
# ## Further reading
#
# - [Masked-attention Mask Transformer](https://arxiv.org/abs/2112.01527), section 3.2.2: why the raw queries are supervised.
# - [MaskFormer](https://arxiv.org/abs/2107.06278), section 3.3: mask and per-pixel embeddings.
# - [Conditional convolutions for instance segmentation](https://arxiv.org/abs/2003.05664): kernels made for each object.
