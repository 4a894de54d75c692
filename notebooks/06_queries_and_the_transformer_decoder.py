# %% [markdown]
# # 6 · Queries and the transformer decoder
#
# Learned vectors look at a picture and talk to each other until each knows its segment: build that layer.
#
# *read 70 min · run 15 s CPU · exercises 55 min*
#
# **Needs** chapter 4 · **Library** [`minim2f/model/transformer_decoder.py`](../minim2f/model/transformer_decoder.py), [`minim2f/model/position.py`](../minim2f/model/position.py) · **Paper** sections 3.1 and 3.2.2, Table 4b

# %% [markdown]
# ## You will be able to
#
# - compute attention by content and by position (The idea in small numbers)
# - put shuffled queries back in order (6.1)
# - write the sine positions of a map (6.2)
# - write cross-attention with several heads (6.3)
# - write a decoder layer, positions where they belong (6.4)
# - say why queries look first (Experiment)
# - recognise twins among queries (Break it)

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
where_we_are("queries", "masked attention")

# %% [markdown]
# The pixel decoder (chapters 4 and 5) has made four maps. On $F_{pixel}$ masks are drawn. The others are looked at: the
# **levels** P5, P4 and P3, at 1/32, 1/16 and 1/8 of the picture's size. A vector of a map, C numbers, is a **cell**.
#
# A **query** is a vector of C numbers too. There are N, each to find one segment: a class
# and a mask can be read off it at any moment (chapter 8). The **transformer decoder** fills queries with what they need to
# know. Each layer has three steps:
#
# 1. **look**: **cross-attention**, each query reads the cells of one level;
# 2. **talk**: **self-attention**, each query reads all queries;
# 3. **think**: a feed-forward network (two linear maps, a ReLU between them) works on each query by itself.
#
# ### Attention in one breath
#
# - Some vectors ask, others answer. Linear maps turn who asks into $q$, and who answers into a **key** $k$ and a
#   **value** $v$.
# - The product of $q$ and $k$ is a **score**: how well the answer fits the question.
# - A softmax turns the scores of one query into **weights**, positive numbers whose sum is 1.
# - The query takes home the sum of all values, each times its weight.
# - Several **attention heads** do this side by side, each with its own part of the C channels. (The heads on the map above
#   are others, see chapter 8.)

# %% [markdown]
# ## Predict
#
# DETR, an older model, talks first and looks second. The queries that enter layer 1 are learned: the same vectors for every
# picture. What can they tell each other in their first talk about a picture of a ship, and what about one of a house?
#
# <details><summary>Answer</summary>
#
# The same in both. No query has looked yet, so what is said cannot depend on the picture. *Experiment* measures it.
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# ### What and where
#
# A picture has four cells: a ball on the left, one on the right, water left, water right. A key has two numbers: is
# it a ball (1 or 0), is it left (1 or 0). Our query wants the *left ball*. Its **content** says what,
# $(\log 3, 0)$, its **position** where, $(0, \log 2)$. With logarithms the softmax is easy by hand: divide
# $e^{score}$ by the sum of all four. (There is one head, without linear maps and without the division by $\sqrt{d}$ that
# comes below.)

# %% tags=["demo"]
keys = torch.tensor([[1.0, 1], [1, 0], [0, 1], [0, 0]])  # ball left, ball right, water left, right
what, where = torch.tensor([3.0, 1]).log(), torch.tensor([1, 2.0]).log()
brightness = torch.tensor([10.0, 2, 6, 0])  # the values: one number a cell

weights = (keys @ (what + where)).softmax(0)
same(weights, torch.tensor([6, 3, 2, 1]) / 12)  # stops the run if they differ by more than 1e-5
same(weights @ brightness, 6.5)
same((keys @ what).softmax(0), torch.tensor([3, 3, 1, 1]) / 8)
same((keys @ where).softmax(0), torch.tensor([2, 1, 2, 1]) / 6)

# %% [markdown] tags=["demo"]
# By hand: the left ball has the score $\log 3 + \log 2$, so $e^{score} = 6$. The others have 3, 2 and $e^0 = 1$; the sum is 12,
# and the query takes home $(6·10 + 3·2 + 2·6 + 1·0) / 12 = 6.5$.
#
# The content alone cannot tell the balls apart, nor the position ball from water; their sum puts the left ball first. What
# comes home is brightness: the *where* helped to choose, and is not in the values.
#
# Here *what* and *where* have a number each. In the model both share all C channels, so a score also has products of
# a content with a position.
#
# ### A place as sines and cosines
#
# To each cell a fixed vector is added before the cell is made a key: its **sine position**. Take a map of h = 2 rows and
# w = 3 columns with C = 8 channels: four numbers tell the row, four the column. For row 1, column 1:
#
# - Rows count from 1, and the whole height is one turn of $2\pi$. So row 1 of 2 is the angle $2\pi · 1/2 = \pi$.
# - The first two numbers are its sine and cosine: 0 and −1.
# - The next two turn 100 times more slowly: sine and cosine of $\pi/100$, 0.0314 and 0.9995.
# - Column 1 of 3 is the angle $2\pi/3$: 0.8660 and −0.5, then 0.0209 and 0.9998.
#
# Why several speeds? The fastest wave makes a whole turn, so opposite edges look alike to it; slower ones tell them apart.

# %% tags=["demo"]
from minim2f.model.position import sine_position

small = sine_position(torch.zeros(1, 8, 2, 3))  # (1, C, h, w); only the map's size counts
by_hand = [0, -1, 0.0314, 0.9995, 0.8660, -0.5, 0.0209, 0.9998]
same(small[0, :, 0, 0], torch.tensor(by_hand), tolerance=1e-4)

# %% [markdown]
# ## The equation
#
# One layer, from $X_{l-1}$ to $X_l$:
#
# $$A_l = \mathrm{LN}\big(X_{l-1} + \mathrm{attention}(X_{l-1} + E,\; Y_j + T_j,\; Y_j)\big)$$
#
# $$S_l = \mathrm{LN}\big(A_l + \mathrm{attention}(A_l + E,\; A_l + E,\; A_l)\big), \qquad X_l = \mathrm{LN}\big(S_l + \mathrm{FFN}(S_l)\big)$$
#
# where $\mathrm{attention}(\text{who asks},\, \text{keys},\, \text{values})$ maps each of the three linearly, and one head of
# $d$ channels is
#
# $$\mathrm{softmax}(q\,k^T / \sqrt{d})\; v$$
#
# and the sine position of row $y = 1 \dots h$ has, in channel $c = 0 \dots C/2 - 1$, the sine (even $c$) or cosine (odd $c$) of
#
# $$\frac{2\pi\, y}{h} \Big/ 10000^{\,2 \lfloor c/2 \rfloor / (C/2)}$$
#
# and column $x$ the same with $w$. The C/2 numbers of the row come first.
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $l$ | `layer` | | number of the layer, from 1 |
# | $j$ | `level` | | the level it looks at; levels take turns |
# | B, N, C, hw | | | pictures, queries, channels, cells of the level |
# | $X_l$ | `x` | (B, N, C) | contents of the queries; $X_0$ is learned |
# | $E$ | `e` | (B, N, C) | their positions: learned, the same in every layer |
# | $Y_j$ | `memory` | (B, hw, C) | cells, plus one learned vector for the level |
# | $T_j$ | `position` | (1, hw, C) | sine positions of the cells |
# | $A_l$, $S_l$ | `A`, `S` | (B, N, C) | contents after looking, after talking |
# | $q$, $k$, $v$ | `q`, `k`, `v` | (N, d), (hw, d), (hw, d) | of one head |
# | LN | `cross_norm`, `self_norm`, `ffn_norm` | | layer norm: mean 0, spread 1 for each vector |
# | FFN | `ffn` | | feed-forward network |
#
# $E$ is called a position because it enters like one; nobody tells it a place. Positions are added to what asks
# and to keys, never to values. The vector of a level, in $Y$, reaches both.

# %% [markdown]
# ## Slow and obvious


# %%
def slow_attention(q, k, v):
    """One head: (N, d), (hw, d), (hw, d) -> (N, d)"""
    brought = torch.zeros(len(q), v.shape[1])
    for n in range(len(q)):
        powers = [(q[n] @ k[cell] / q.shape[1] ** 0.5).exp() for cell in range(len(k))]
        for cell in range(len(k)):
            brought[n] += powers[cell] / sum(powers) * v[cell]
    return brought


# %% [markdown]
# ## Fast and short
#
# Both loops are matrix products. What the heads bring is laid side by side.


# %% tags=["demo"]
def attend(q, k, v):
    """One head: (N, d), (hw, d), (hw, d) -> (N, d)"""
    return (q @ k.T / q.shape[1] ** 0.5).softmax(1) @ v


def by_heads(q, k, v, heads):
    """(N, C), (hw, C), (hw, C) -> (N, C)"""
    parts = zip(q.chunk(heads, 1), k.chunk(heads, 1), v.chunk(heads, 1))
    return torch.cat([attend(*part) for part in parts], 1)


# %%
N, cells, C, heads = 3, 10, 8, 2
q, k, v = torch.randn(N, C), torch.randn(cells, C), torch.randn(cells, C)
same(attend(q, k, v), slow_attention(q, k, v))
first = slow_attention(q[:, :4], k[:, :4], v[:, :4])
same(by_heads(q, k, v, heads)[:, :4], first)

# %% [markdown]
# Now the layer. `nn.MultiheadAttention` is PyTorch's attention, linear maps included; *Checkpoint* compares ours with it.
# `blocked` is the mask that chapter 7 adds to the first attention, True where a query may *not* look.

# %% tags=["demo"]
from torch import nn


class MyLayer(nn.Module):
    def __init__(self, C, heads, wide):
        super().__init__()
        self.cross_attention = nn.MultiheadAttention(C, heads, batch_first=True)
        self.self_attention = nn.MultiheadAttention(C, heads, batch_first=True)
        # The third entry does nothing; the library has its dropout there, so names agree.
        self.ffn = nn.Sequential(nn.Linear(C, wide), nn.ReLU(), nn.Identity(), nn.Linear(wide, C))
        self.cross_norm, self.self_norm, self.ffn_norm = (nn.LayerNorm(C) for _ in range(3))

    @shapes.scoped
    def forward(self, x, e, memory, position, blocked):
        seen, _ = self.cross_attention(x + e, memory + position, memory, attn_mask=blocked)
        A = shapes.check("A", self.cross_norm(x + seen), "B N C")
        heard, _ = self.self_attention(A + e, A + e, A)
        S = shapes.check("S", self.self_norm(A + heard), "B N C")
        return shapes.check("X", self.ffn_norm(S + self.ffn(S)), "B N C")


# %% [markdown]
# ## Shapes
#
# The trained tiny model has 16 queries and three layers. `shapes.watch` keeps what the library checks on an unseen scene. K_1
# are the keys of layer 1; the K in K+1 is the number of classes.

# %% tags=["demo"]
model = minim2f.load("tiny")
decoder = model.decoder
scenes = minim2f.data.open_dataset("scenes", split="val")


@torch.no_grad()
def watched(model, sample):
    """What the library names on the way, {"X_0": ..., "P5": ...}; the tensor is in .tensor"""
    with shapes.watch() as rows:
        model(model.batch([sample.image]))
    return rows


rows = watched(model, scenes[9])

# %% tags=["hide-input"]
meanings = {
    "X_0": "a channel of a query's learned content",
    "Q_1": "a channel of a query, as it asks in layer 1",
    "K_1": "a channel of a cell of P5, as it answers: it knows its place",
    "V_1": "the same as it is taken home: it does not",
    "A_1": "a channel of a query after looking",
    "S_1": "a channel of a query after talking",
    "X_1": "a channel of a query after layer 1",
    "K_2": "a channel of a cell of P4, as it answers",
    "K_3": "a channel of a cell of P3",
    "X_3": "a channel of a query at the end",
    "class_logits_3": "how much a query is for a class, or for none",
}
shape_table(rows, meanings=meanings)

# %% [markdown] tags=["demo"]
# ## Look
#
# ### How alike are two places?
#
# The cosine of their sine positions tells how alike two cells are to a query that asks for a place: 1 if equal.

# %% tags=["demo"]
sines = sine_position(torch.zeros(1, 64, 24, 24))[0]  # (C, h, w)


def alike(y, x):
    """(h, w): the cosine of every cell's position with that of row y, column x, from 1"""
    one = sines[:, y - 1, x - 1]
    return torch.einsum("c,chw->hw", one, sines) / one.norm() ** 2  # all cells have the same norm


assert 0.72 < alike(3, 6).min() < 0.74


# %% tags=["demo", "hide-input"]
panels = [
    ("channel 0: the row", sines[0], None, -1),
    ("channel 32: the column", sines[32], None, -1),
    ("like row 12, column 12", alike(12, 12), (12, 12), 0.7),
    ("like row 3, column 6", alike(3, 6), (3, 6), 0.7),
]
fig, axes = plt.subplots(1, 4, figsize=(9.4, 2.5), layout="constrained")
for number, (ax, (title, values, at, least)) in enumerate(zip(axes, panels)):
    panel = ax.imshow(values, vmin=least, vmax=1)
    ax.set(title=title, xticks=[], yticks=[])
    if at:
        ax.plot(at[1] - 1, at[0] - 1, "x", color="black", ms=8, mew=2)
    if number % 2:  # a scale for each pair of panels
        fig.colorbar(panel, ax=ax, shrink=0.75)
show(
    fig,
    "Four maps of 24 by 24 cells: a sine, one wave from top to bottom; the same from left to right; "
    "and how like all cells are to the middle, and to a cell near the upper edge.",
    "Third and fourth, on one scale: it gets darker away from the cross, but never falls below 0.72, "
    "because most channels turn so slowly that they hardly change over the map. Seen from a cell near "
    "the edge, the opposite edge is a little lighter again: there the fastest channels begin again.",
)

# %% [markdown]
# ### What is each query for?
#
# No query was told its task. Which classes does each name in 60 unseen scenes, and where are its masks on average?

# %%
sixty = [scenes[i] for i in range(60)]
images = model.batch([sample.image for sample in sixty])
names = [c["name"] for c in scenes.categories]


@torch.no_grad()
def answers():
    """Masks (60, N, cells) and classes (60, N) of all queries; the last class is none"""
    prediction = model(images)
    return prediction.mask_logits.flatten(2) > 0, prediction.class_logits.argmax(-1)


drawn, named = answers()
speaks = named < len(names)  # (60, N): the query names a class
busy = speaks.sum(0).argsort(descending=True, stable=True)[:12].tolist()
often = [named[speaks[:, n], n].bincount().sort(descending=True).values for n in busy]
assert sum(bool(times[:2].sum() > 0.9 * times.sum()) for times in often) >= 8

# %% tags=["hide-input"]
from collections import Counter

fig, axes = plt.subplots(2, 6, figsize=(9.4, 3.9), layout="constrained")
for ax, n in zip(axes.flat, busy):
    mine = speaks[:, n]
    covered = drawn[mine, n].float().mean(0).view(24, 24)  # share of its masks
    shown = ax.imshow(covered / covered.max(), vmin=0, vmax=1)
    counted = Counter(names[c].split("-")[0] for c in named[mine, n].tolist()).most_common(2)
    ax.set_title(
        f"query {n}: {mine.sum()} scenes\n"
        + ", ".join(f"{c} {times}" for c, times in counted)
        + f"\nlightest: {covered.max():.0%}",
        fontsize=8,
    )
    ax.set(xticks=[], yticks=[])
fig.colorbar(
    shown, ax=axes, shrink=0.7, label="masks that cover a cell,\nagainst the lightest cell"
)
show(
    fig,
    "The twelve queries that name a class most often in 60 scenes: the mean of each one's masks on a "
    "scale of its own, the number of scenes, the two classes that it names most often, and the "
    "share of its masks that cover its lightest cell.",
    "Most queries of this model have settled on one or two classes. Things are small and stand at random "
    "places, so that few masks cover the same cell; with 30 or 40 of them, gaps as between the two spots of "
    "kite or umbrella are chance. Twelve equal panels would be a bug, see Break it.",
)

# %% [markdown]
# ## Checkpoint
#
# `nn.MultiheadAttention` keeps three linear maps on top of each other in one matrix: for who asks,
# for keys, for values. With them our attention gives PyTorch's numbers.

# %%
from torch.nn import functional as F

torchs = nn.MultiheadAttention(C, heads, batch_first=True)
nn.init.normal_(torchs.in_proj_bias)  # PyTorch starts it at zero, where a mistake would not show
maps = zip((q, k, v), torchs.in_proj_weight.chunk(3), torchs.in_proj_bias.chunk(3))
brought = by_heads(*(F.linear(*parts) for parts in maps), heads)
same(torchs.out_proj(brought), torchs(q[None], k[None], v[None])[0][0])

# %% [markdown]
# Then three such layers, one after the other, with the weights of the trained model: the library's $X_1$, $X_2$ and $X_3$.


# %%
def as_mine(layer):
    """MyLayer with the weights of a layer of the library; PyTorch has other names for two"""
    mine = MyLayer(model.config.channels, model.config.num_heads, model.config.ffn_channels)
    theirs = layer.state_dict()
    mine.load_state_dict({n.replace("in_proj.", "in_proj_"): w for n, w in theirs.items()})
    return mine.eval()


x, e = rows["X_0"].tensor, decoder.query_position.weight[None]
for layer, level in enumerate(("P5", "P4", "P3"), 1):
    features = rows[level].tensor
    position = sine_position(features).flatten(2).mT  # (1, C, h, w) -> (1, hw, C)
    memory = features.flatten(2).mT + decoder.level_embed.weight[layer - 1]
    # M is True where a query may look; MyLayer, like PyTorch, wants to know where it may not.
    blocked = ~rows[f"M_{layer - 1}"].tensor[0]
    with torch.no_grad():
        x = as_mine(decoder.layers[layer - 1])(x, e, memory, position, blocked)
    same(x, rows[f"X_{layer}"].tensor, tolerance=1e-4)

# %% [markdown]
# ### Permute the queries
#
# Nothing in a layer depends on a query's number. Reorder contents and positions together, and the predictions follow.

# %%
from contextlib import contextmanager

learned = decoder.query_content.weight, decoder.query_position.weight


@contextmanager  # for `with arranged(...):`, whose block runs where this function says yield
def arranged(*replacements):
    """Within its block, queries have other contents and positions, (N, C) each"""
    before = [t.data for t in learned]
    for t, new in zip(learned, replacements):
        t.data = new
    try:
        yield
    finally:  # also after an error, so that the model is never left changed
        for t, old in zip(learned, before):
            t.data = old


contents, positions = (t.data.clone() for t in learned)
order = torch.randperm(16)
with torch.no_grad():
    in_order = model(images[:4]).class_logits  # (4, N, K+1)
    with arranged(contents[order], positions[order]):
        same(model(images[:4]).class_logits, in_order[:, order], tolerance=1e-4)

# %% [markdown]
# ## Experiment
#
# ### Look first or talk first?
#
# *Hypothesis:* a talk before the first look tells nothing about the picture. Both orders, three seeds of random weights, two
# scenes: how far apart is $S_l$ between them? (Root of the mean squared difference; numbers in $S_l$ have a spread of 1.) The
# last column is the spread of $S_1$ over the 16 queries of one scene, averaged over channels.


# %%
def between_pictures(seed, **switches):
    """Difference of S_1, S_2, S_3 between two scenes; difference of S_1 between queries"""
    torch.manual_seed(seed)
    fresh = minim2f.Mask2Former(minim2f.preset("tiny", **switches)).eval()
    one, two = (watched(fresh, scenes[i]) for i in (3, 9))
    talks = [(one[f"S_{l}"].tensor, two[f"S_{l}"].tensor) for l in (1, 2, 3)]
    apart = [(a - b).square().mean().sqrt() for a, b in talks]
    return torch.stack([*apart, one["S_1"].tensor.std(1).mean()])


orders = {
    "look first": {},
    "talk first": {"self_attention_first": True},
    "talk first, contents zero": {"self_attention_first": True, "learned_content": False},
}
measured = {o: torch.stack([between_pictures(s, **orders[o]) for s in range(3)]) for o in orders}
assert (measured["talk first"][:, 0] == 0).all() and (measured["look first"][:, 0] > 0.01).all()
assert measured["talk first, contents zero"][:, [0, 3]].max() < 1e-5

# %% tags=["hide-input"]
lines = []
for name, values in measured.items():
    lines.append([name, *(f"{m:.2f} ± {s:.2f}" for m, s in zip(values.mean(0), values.std(0)))])
table(["order", *(f"S_{l}, between scenes" for l in (1, 2, 3)), "S_1, between queries"], lines)

# %% [markdown]
# The first talk says the same about every picture, so its result could be learned as contents at once.
#
# In the third row, DETR's way, contents start at zero: all values are equal, and all queries hear the same.
#
# On COCO the paper reports a PQ (panoptic quality, chapter 13) of 51.9 for looking first, 51.6 for talking first, and 51.2 for
# zero contents.

# %% [markdown]
# ### What makes a query: its content or its position?
#
# *Hypothesis:* both count. Give every query of the trained model another one's content, and leave it its position. Whose masks
# does it draw now? Contents move by 1, 5 or 11 places; counted are pairs of which both old queries named a class.


# %%
def iou(a, b):
    """Pixels in both masks over pixels in either; 0 if there are none"""
    return (a & b).sum(-1) / (a | b).sum(-1).clamp(min=1)


found = []
for places in (1, 5, 11):
    with arranged(contents.roll(places, 0), positions):
        mixed, _ = answers()
    giver, both = drawn.roll(places, 1), speaks & speaks.roll(places, 1)
    like = [iou(*pair)[both] for pair in ((mixed, giver), (mixed, drawn), (giver, drawn))]
    found.append([*(x.mean() for x in like), (like[0] > like[1]).float().mean()])
found = torch.tensor(found)
assert (found[:, 0] > found[:, 1] + 0.5).all() and (found[:, 3] > 0.9).all()

# %% tags=["hide-input"]
kinds = ["that gave the content", "that gave the position", "the two old ones with each other"]
lines = []
for name, iou_ in zip(kinds, found.T):
    each = (f"{value:.2f}" for value in iou_)
    lines.append([name, *each, f"{iou_.mean():.2f} ± {iou_.std():.2f}"])
table(["IoU of the mask with the old query's", "moved by 1", "by 5", "by 11", "mean"], lines)

# %% [markdown]
# The hypothesis fails: here the content makes the query. A prediction is read off $X$; $E$ has a say only in where attention
# goes.
#
# Now take one thing away, without new training, and measure the **fit** of each segment: the IoU of the best mask among
# the queries that name its class, or 0. Segments that share their class with another of their scene might need positions most.

# %%
truth = [sample.masks.flatten(1) for sample in sixty]
labels = torch.cat([sample.labels for sample in sixty])  # one for each of the segments
number = {name.split("-")[0]: c for c, name in enumerate(names)}
sea = labels == number["sea"]
shared = torch.cat([(s.labels == s.labels[:, None]).sum(1) > 1 for s in sixty])
quarter = torch.cat([s.labels * 0 + b // 15 for b, s in enumerate(sixty)])  # four sets of scenes


@torch.no_grad()
def fit():
    """The fit of every segment of the 60 scenes"""
    prediction, best = model(images), []
    masks = F.interpolate(prediction.mask_logits, scale_factor=4, mode="bilinear") > 0
    classes = prediction.class_logits.argmax(-1)
    for b, sample in enumerate(sixty):
        fits = iou(masks[b].flatten(1)[:, None], truth[b][None])  # (N, G)
        best.append((fits * (classes[b][:, None] == sample.labels)).amax(0))
    return torch.cat(best)


usual, lost = fit(), {}
with arranged(contents, positions * 0):
    lost["positions of queries zero"] = fit() - usual
    unplaced = answers()[1]
with arranged(contents * 0, positions):
    lost["contents of queries zero"] = fit() - usual

# %%
from unittest.mock import patch

from minim2f.model.transformer_decoder import TransformerDecoder

# What layers read of a level has two fields: memory, for values, and keys, memory plus sines.
make = TransformerDecoder._level


def changed(**fields):
    """fit(), with a field of each level replaced by another: changed(keys="memory")"""

    def other(*args):
        level = make(*args)  # as the library makes it
        # _replace copies a named tuple, with some of its fields exchanged.
        return level._replace(**{name: getattr(level, by) for name, by in fields.items()})

    # Within this block the library calls other where it would call _level.
    with patch.object(TransformerDecoder, "_level", other):
        return fit()


lost["keys without sines"] = changed(keys="memory") - usual

# %% tags=["hide-input"]
grass = labels == number["grass"]
groups = {
    "all": labels >= 0,
    "sea": sea,
    "grass": grass,
    "the other 11 classes": ~sea & ~grass,
    "class shared in their scene": shared,
}


def over_sets(values):
    """The mean over all segments, and the spread of the means of four sets of scenes"""
    means = torch.stack([values[quarter == s].mean() for s in range(4)])
    return f"{values.mean():+.3f} ± {means.std():.3f}"


lines = []
for name, members in groups.items():
    lines.append([f"{name}: {members.sum()}", f"{usual[members].mean():.2f}"])
    means = (f"{loss[members].mean():+.3f}" for loss in lost.values())
    lines[-1] += map(over_sets, lost.values()) if name == "all" else means
table(["segments", "usual fit", *lost], lines)

without = lost["positions of queries zero"]
each = torch.stack([without[labels == c].mean() for c in range(len(names))])
assert each[number["sea"]] < -0.6 and each[number["grass"]] < -0.04
assert (each.abs() < 0.02).sum() == 11 and without[shared].mean().abs() < 0.02
assert lost["contents of queries zero"].mean() < -0.3
assert lost["keys without sines"].abs().max() < 0.02
named_sea = [int((classes == number["sea"]).any(1).sum()) for classes in (named, unplaced)]
assert named_sea[1] < named_sea[0] / 2
print("scenes in which a query names sea: {} usually, {} without positions".format(*named_sea))
print(f"largest change of a segment without sines: {lost['keys without sines'].abs().max():.3f}")

# %% [markdown]
# Without contents about half of the fit is lost. Without positions nearly the whole loss is one class, sea, which is
# seldom named any more: one query depends on its position. Grass loses 0.07, the others less than 0.02. Without sines
# hardly anything changes, though the exchange works: *Break it* makes another with the same function, and the fit falls.
#
# Segments that share their class hardly need positions either; we do not know why. Convolutions, which see zeros around the
# picture, and the mask in which a query looks (chapter 7) may tell a place too. A model trained without positions may do
# otherwise.

# %% [markdown] tags=["demo"]
# ## Break it
#
# ### Twins
#
# Contents are zero and not learned, positions are zero too. Predict what comes out.

# %% tags=["demo"]
forgotten = minim2f.Mask2Former(minim2f.preset("tiny", learned_content=False)).eval()
nn.init.zeros_(forgotten.decoder.query_position.weight)
embeddings = watched(forgotten, scenes[9])["E'_object"].tensor[0]  # (N, C): what draws the masks
print(f"largest difference between two queries: {(embeddings - embeddings[0]).abs().max():.0e}")
assert (embeddings - embeddings[0]).abs().max() < 1e-5

# %% [markdown]
# Sixteen times the same mask. All weights serve all queries alike, so equal vectors stay equal.
#
# Does training part twins? Let all queries be equal at first, but learned. **Matching** (chapter 9) gives each of G segments to
# one query (here any would do: ties fall by number); the others are to answer *none*. Count the different gradients of the 16
# contents:

# %%
from minim2f.training.batches import collate
from minim2f.training.losses import Criterion

torch.manual_seed(0)
# No deep supervision: the loss is that of the last prediction alone, so there is one matching.
config = minim2f.preset("tiny", categories=scenes.categories, deep_supervision=False)
equal = minim2f.Mask2Former(config)
for t in (equal.decoder.query_content.weight, equal.decoder.query_position.weight):
    t.data[:] = t.data[0].clone()
batch, targets = collate(equal, [scenes[9]])
losses = Criterion(config)(equal(batch), targets, torch.Generator().manual_seed(0))
sum(losses.values()).backward()
gradient = equal.decoder.query_content.weight.grad
differ = (gradient[:, None] - gradient).abs().amax(2) > 1e-3 * gradient.abs().max()  # (N, N)
groups = len(differ.unique(dim=0))
G = len(targets[0].labels)
assert groups == G + 1
print(f"{G} segments, {groups} different gradients among 16 queries")

# %% [markdown]
# One more than there are segments: each matched query has a gradient of its own; all others share one and stay twins in
# this step. So matching parts twins. Where neither contents nor positions are learned, nothing can.

# %% [markdown]
# ### Positions added to values
#
# Take `memory + position` for the values as well. What does the trained model lose?

# %%
spoilt = changed(memory="keys") - usual
assert -0.06 < spoilt.mean() < -0.002 and spoilt[sea].mean() < -0.1
print(f"difference in fit: all {spoilt.mean():+.3f}, sea {spoilt[sea].mean():+.3f}")

# %% [markdown]
# Nothing crashes, and the fit falls a little, again because of sea.
#
# **How to notice it in your own training.** Print the largest difference between two queries. Compare your layer with one
# that you trust.

# %% [markdown]
# ## Exercises
#
# ### 6.1 ★ Back in order
#
# Someone shuffled the queries of a model: new query n is old query `order[n]`. Put its outputs back into the old order. With
# the order 1, 2, 0, row 0 belongs to old query 1, row 1 to old query 2.


# %%
def unshuffle(outputs, order):
    """(B, N, C), (N,) -> (B, N, C): the outputs of old query 0, 1, 2 ..."""
    ...


exercise("6.1", unshuffle)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# For each old query you need the place at which it stands now. Find these places for the order 1, 2, 0 by hand: old query 0
# stands at place 2.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `argsort` tells where the smallest number stands, then where the next one does.
#
# </details>

# %% [markdown]
# ### 6.2 ★★ Where each cell is
#
# Write the sine positions of a whole map from the equation, without the library. C is a multiple of 4; a map may have one
# row or column.


# %%
def my_position(channels, height, width):
    """C, h, w -> (C, h, w)"""
    ...


exercise("6.2", my_position)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Do the rows first: an angle for each channel and row, (C/2, h). Then copy it along the columns.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `i // 2` gives a sine and the cosine after it the same frequency; `torch.where` chooses between both; `expand` copies.
#
# </details>

# %% [markdown]
# ### 6.3 ★★ Cross-attention with heads
#
# For a batch, with the linear maps: `weight` and `bias` hold three on top of each other, as in *Checkpoint*. Stop before the
# output map. Positions have been added already. Do without PyTorch's attention. There may be one query, cell or head.


# %%
def cross_attention(queries, keys, values, weight, bias, heads):
    """(B, N, C), (B, hw, C), (B, hw, C), (3C, C), (3C,) -> (B, N, C)"""
    ...


exercise("6.3", cross_attention)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Map, split the channels into heads, scores, softmax over the cells, weighted sum, join.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `x.unflatten(2, (heads, -1))` splits channels, giving (B, hw, heads, d). `torch.einsum` can name the axes, with the heads
# among them.
#
# </details>

# %% [markdown]
# ### 6.4 ★★★ A layer that normalises first
#
# In the official code's other kind of layer (`PRE_NORM`), norms stand before the steps: a step gets normalised contents, and
# its result is added to the contents as they were. Neither sums nor cells are normalised. Positions are added after the norm,
# where the equation has them. Look, talk, think.


# %%
def pre_norm_layer(x, e, memory, position, look, talk, ffn, norms):
    """x, e (B, N, C); memory (B, hw, C); position (1, hw, C) -> (B, N, C)

    look and talk are functions of (who asks, keys, values), with all linear maps in them;
    ffn and each of the three norms (for look, for talk, for ffn) are functions of contents.
    """
    ...


exercise("6.4", pre_norm_layer)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Three lines of the form `x = x + step(...)`, where `...` is made of `norm(x)`.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Of the six inputs of the two attentions, four carry positions. The values do not.
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | | paper | official code | ours |
# | --- | --- | --- | --- |
# | order of a layer | look, talk, think | the same | the same; `self_attention_first` |
# | contents $X_0$ | learned "query features" | `query_feat` | the same; `learned_content` |
# | positions $E$ | learned | `query_embed`, added in every layer | the same |

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
home = "minim2f.model.transformer_decoder"
library_table(
    {
        "by_heads": f"{home}.Attention",
        "MyLayer": f"{home}.DecoderLayer",
        "the loop over layers": f"{home}.TransformerDecoder",
        "memory, position": f"{home}.Level",
        "my_position": "minim2f.model.position.sine_position",
    }
)

# %% [markdown]
# ## Recap
#
# - Heads share the channels; each has its own softmax.
# - Positions go to who asks and to keys.
# - Queries have no order: `argsort` undoes a shuffle.
# - Before the first look, a talk is the same for every picture.
# - Equal queries are twins, until matching parts them.

# %% [markdown]
# ## Further reading
#
# - [The paper](https://arxiv.org/abs/2112.01527), section 3.2.2 and Table 4b: the order of a layer.
# - [DETR](https://arxiv.org/abs/2005.12872): where the layer comes from.
# - [Attention is all you need](https://arxiv.org/abs/1706.03762), section 3: heads, sines.
