# %% [markdown]
# # 4 · Pixel decoder I: a feature pyramid
#
# Build the map that masks are drawn on out of four maps of a backbone, and find out how small a segment it can show.
#
# *read 70 min · run 20 s CPU · exercises 55 min*
#
# **Needs** chapters 2 and 3 · **Library** [`minim2f/model/pixel_decoder.py`](../minim2f/model/pixel_decoder.py) · **Paper** sections 3.2.2 and 4.1, Table 4e

# %% [markdown]
# ## You will be able to
#
# - enlarge a map in three ways (The idea in small numbers)
# - build a feature pyramid that equals the library's (Checkpoint)
# - say what the stride of a mask costs and buys (Experiment)
# - recognise masks that are half a cell off (Break it)
# - tell which segments are surely lost at a stride (4.1)
# - write a bilinear reading (4.2)
# - write the first published pyramid (4.3)

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
where_we_are("pixel decoder")

# %% [markdown]
# What you need of other chapters:
#
# - A **backbone** turns a picture of H × W pixels into maps res2 to res5, each made from the one before. A vector of a map, or
#   **cell**, stands for a square of pixels; its side is the map's **stride**: 4, 8, 16 and 32.
# - A **segment** is a mask, True for its pixels; a **thing** is one of a countable kind, a boat, unlike sky. The **IoU** of two masks
#   is the number of pixels in both, divided by that in either. **PQ** (chapter 13) grades all segments, 0 to 1.
# - A query (chapters 6 to 8) draws its mask on a map $F_{pixel}$: its **mask embedding** $E'$, C numbers, times a cell gives one
#   logit, positive inside. Then the logits are enlarged to the picture's size.
#
# So $F_{pixel}$ must be fine, and its cells must know what they belong to: one product has to tell a boat from the sea. In the
# backbone, res2 is fine but has seen little around each cell, res5 the reverse. A **pixel decoder** makes one map of all four.
# The simplest is a **feature pyramid**: enlarge the coarsest map, add the next finer one, and so on. On the way it leaves P5, P4
# and P3 for queries to look at.

# %% [markdown]
# ## Predict
#
# A ball of 4 × 4 pixels lies in a picture. The masks' map has stride 8, and the ball lies within one cell. The
# network is perfect: each cell tells exactly what share of it belongs to the ball. Enlarge the map, and keep what is above one
# half. How much of the ball is left?
#
# <details><summary>Answer</summary>
#
# Nothing. Its cell tells 16/64 = 1/4, the others 0, and mixing cells gives no more than the largest of them. With stride 4 it
# depends on where the ball lies: a cell that it fills tells 1, but if it lies across cells, none may tell more than half.
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# A line of two cells, 0 and 4, becomes four pixels. Three ways:

# %% tags=["demo"]
from torch.nn import functional as F

cells = torch.tensor([[[0.0, 4.0]]])  # one picture, one channel, a line of two cells
ways = {
    "nearest": {"mode": "nearest"},
    "bilinear": {"mode": "linear"},  # "linear" along a line, "bilinear" on a map
    "corners aligned": {"mode": "linear", "align_corners": True},
}
lines = {name: F.interpolate(cells, 4, **how)[0, 0] for name, how in ways.items()}
assert lines["nearest"].tolist() == [0, 0, 4, 4]
assert lines["bilinear"].tolist() == [0, 1, 3, 4]
same(lines["corners aligned"], torch.tensor([0, 4, 8, 12]) / 3)

# %% [markdown] tags=["demo"]
# By hand: measure in cells, from the left end. The centres of the cells lie at 0.5 and 1.5, those of the pixels at 0.25, 0.75,
# 1.25 and 1.75.
#
# - **Nearest**: a pixel copies the cell that its left end lies in. (PyTorch forgets the half here; `nearest-exact` takes the
#   pixel's centre. From 2 cells to 3 pixels that makes 0, 0, 4 against 0, 4, 4; at whole ratios both agree.)
# - **Bilinear**: it mixes the two cells whose centres it lies between. Pixel 1, at 0.75, is a quarter of the way from 0.5 to
#   1.5: ¾ · 0 + ¼ · 4 = 1. Pixel 0 lies left of all centres, and copies the first.
# - **Corners aligned**: the line of pixels is squeezed until its outer centres lie on those of the cells.

# %% tags=["demo", "hide-input"]
fig, ax = plt.subplots(figsize=(6.4, 2.5))
centres = torch.tensor([0.25, 0.75, 1.25, 1.75])
ax.bar([0.5, 1.5], [0, 4], width=1, color="#dddddd", label="the cells, 0 and 4")
ax.vlines([0, 1, 2], 0, 4, color="#777777", linewidth=1, label="borders of cells")
ax.plot([0.5, 1.5], [0, 4], "k+", ms=12, label="centres of cells")
ax.plot([0, 0.5, 1.5, 2], [0, 0, 4, 4], color="C0", linewidth=1)
looks = {"nearest": "s", "bilinear": "o", "corners aligned": "^"}
for (name, values), color in zip(lines.items(), ["#000000", "C0", "C5"]):
    ax.plot(centres, values, looks[name], color=color, mfc="white", ms=8, mew=1.8, label=name)
ax.set(xlabel="place, in cells", xticks=[0, 0.5, 1, 1.5, 2], yticks=[0, 1, 2, 3, 4])
ax.set(ylabel="value", ylim=(-0.3, 4.3))
ax.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8)
show(
    fig,
    "Two cells of value 0 and 4 as grey bars, and the four pixels that three ways of enlarging "
    "make of them. The bilinear ones lie on a line through the cells' centres.",
    "Circles lie on the line through both centres, flat beyond them. Triangles do not: values of "
    "the same line, read at other places than where they are drawn.",
)

# %% [markdown]
# ## The equation
#
# $$P_5 = \mathrm{out}_5(\mathrm{res}_5), \qquad P_j = \mathrm{out}_j\big(\mathrm{lat}_j(\mathrm{res}_j) + \mathrm{up}(P_{j+1})\big) \text{ for } j = 4, 3, 2, \qquad F_{pixel} = \mathrm{conv}(P_2)$$
#
# Here up is nearest, as in the official code: the 3 × 3 convolution after it smooths the steps. Group norms and ReLUs are left
# out. Logits are enlarged *bilinearly*: along one axis, from $h$ cells to $H$ pixels, up mixes two neighbours:
#
# $$\mathrm{up}(x)_y = (1-\alpha)\,x_i + \alpha\,x_{i+1}, \qquad u = \Big(y+\tfrac12\Big)\frac{h}{H} - \tfrac12 \text{ cut to } [0, h-1], \quad i = \lfloor u \rfloor, \quad \alpha = u - i$$
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $j$ | `level` | | number of a map, 2 to 5; its stride is $2^j$ |
# | $\mathrm{res}_j$ | `features` | (B, its channels, H/$2^j$, W/$2^j$) | a map of the backbone |
# | $\mathrm{lat}_j$ | `lateral` | | a 1 × 1 convolution to C channels |
# | $\mathrm{out}_j$ | `output` | | a 3 × 3 convolution |
# | $\mathrm{up}$ | `enlarge` | | enlarges to the next finer map's size |
# | $P_j$ | `pyramid` | (B, C, H/$2^j$, W/$2^j$) | a level of the pyramid |
# | $F_{pixel}$ | `F_pixel` | (B, C, H/4, W/4) | the map that masks are drawn on |
# | $\mathrm{conv}$ | `mask_features` | | a 3 × 3 convolution, without norm |
# | $H, W$ | | | height and width of the picture |
# | $x_i$ | `cells` | (h,) | value of cell $i$, 0 to $h-1$ |
# | $y$ | `y` | | number of a pixel, 0 to $H-1$ |
# | $u$ | `u` | | where pixel $y$ reads; 0 is the centre of the first cell |
# | $\alpha$ | `a` | | share of the next cell; 0 at the last |
#
# The halves in $u$ stand for centres: of pixels and of cells.

# %% [markdown]
# ## Slow and obvious


# %%
def slow_enlarge(cells, n):
    """A line of h cells -> a line of n pixels, bilinearly."""
    h, pixels = len(cells), []
    for y in range(n):
        u = (y + 0.5) * h / n - 0.5
        u = min(max(u, 0), h - 1)
        i = int(u)
        a = u - i
        after = cells[min(i + 1, h - 1)]
        pixels.append((1 - a) * cells[i] + a * after)
    return torch.tensor(pixels)


same(slow_enlarge([0.0, 4.0], 4), lines["bilinear"])

# %% [markdown] tags=["demo"]
# ## Fast and short
#
# ### Enlarging is a product
#
# Every pixel is a weighted sum of cells, whatever their values. So enlarging a line is a matrix, (H, h). A cell's weight falls
# from 1 to 0 within one cell around its centre: a hat. A map takes one matrix for its rows and one for its columns. Ways of
# enlarging differ only in *where* pixels read.


# %% tags=["demo"]
def bilinear(h, H):
    """Where H pixels read among h cells; 0 is the centre of the first cell."""
    return (torch.arange(H) + 0.5) * h / H - 0.5


def nearest(h, H):
    return (torch.arange(H) * h / H).floor()


def hats(u, h):
    """Places (H,) -> weights (H, h)"""
    distance = (u.clamp(0, h - 1)[:, None] - torch.arange(h)).abs()
    return (1 - distance).clamp(min=0)


def enlarge(x, size, where=bilinear):
    """(..., h, w) -> (..., H, W)"""
    down, across = (hats(where(old, new), old) for old, new in zip(x.shape[-2:], size))
    return down @ x @ across.T


# %%
x = torch.randn(2, 3, 4, 5)
# column 0 of the result copies column 0 of x, so that one line can be compared
same(enlarge(x, (16, 30))[0, 0, :, 0], slow_enlarge(x[0, 0, :, 0].tolist(), 16))
same(enlarge(x, (16, 30)), F.interpolate(x, (16, 30), mode="bilinear"))
same(enlarge(x, (16, 30), nearest), F.interpolate(x, (16, 30), mode="nearest"))
print(hats(bilinear(2, 4), 2))

# %% [markdown] tags=["demo"]
# ### The pyramid
#
# After each convolution but the last (`mask_features`) comes a **group norm**: the channels of a picture, in 32 groups, are
# brought to mean 0 and spread 1, so that maps of different origin may be added. `shapes.check` stops the run at a wrong shape.


# %% tags=["demo"]
from torch import nn


def conv_norm(inputs, C, kernel, *more):
    conv = nn.Conv2d(inputs, C, kernel, padding=kernel // 2, bias=False)
    return nn.Sequential(conv, nn.GroupNorm(32, C), *more)


class MyFPN(nn.Module):
    def __init__(self, inputs, C):  # the channels of res2 ... res5, and those of all outputs
        super().__init__()
        self.lateral, self.output = nn.ModuleDict(), nn.ModuleDict()
        for name, width in zip(("res2", "res3", "res4"), inputs):
            self.lateral[name] = conv_norm(width, C, 1)
            self.output[name] = conv_norm(C, C, 3, nn.ReLU())
        self.output["res5"] = conv_norm(inputs[3], C, 3, nn.ReLU())  # nothing comes from above
        self.mask_features = nn.Conv2d(C, C, 3, padding=1)

    @shapes.scoped
    def forward(self, features):
        x = self.output["res5"](features["res5"])
        pyramid = [shapes.check("P5", x, "B C H/32 W/32")]
        for level in (4, 3, 2):
            side = self.lateral[f"res{level}"](features[f"res{level}"])
            x = self.output[f"res{level}"](side + enlarge(x, side.shape[2:], nearest))
            pyramid.append(shapes.check(f"P{level}", x, f"B C H/{2**level} W/{2**level}"))
        F_pixel = shapes.check("F_pixel", self.mask_features(x), "B C H/4 W/4")
        return F_pixel, pyramid[:3]


# %% [markdown] tags=["demo"]
# ## Shapes
#
# Your pyramid with the weights of the trained tiny model, and a scene of 96 × 96 pixels that it has not seen.

# %% tags=["demo"]
model = minim2f.load("tiny")
scenes = minim2f.data.open_dataset("scenes", split="val")
mine = MyFPN(model.backbone.channels, model.config.channels)
mine.load_state_dict(model.pixel_decoder.state_dict())  # refuses a missing or a surplus weight


@torch.no_grad()
def maps_of(sample):
    """All named maps of one scene: rows["res2"].tensor[0] is (C2, H/4, W/4), and so on"""
    with shapes.watch() as rows:  # records what is checked
        mine(model.backbone(model.batch([sample.image])))
    return rows


rows = maps_of(scenes[26])

# %% tags=["hide-input"]
meanings = {
    "res2": "a channel of a cell of 4 × 4 pixels",
    "res3": "a channel of a cell of 8 × 8 pixels",
    "res4": "a channel of a cell of 16 × 16 pixels",
    "res5": "a channel of a cell of 32 × 32 pixels",
    "P5": "the same cells with C channels: queries look at them first",
    "P4": "P5, refined by res4, for the second look",
    "P3": "P4, refined by res3, for the third",
    "P2": "P3, refined by res2: no query looks at it",
    "F_pixel": "to be multiplied with a number of a mask embedding",
}
shape_table(rows, meanings=meanings)

# %% [markdown] tags=["demo"]
# ## Look
#
# ### Who is like this cell?
#
# Take the cell at the centre of a thing. How like it are all others? The cosine of two cells tells, from −1 to 1. All
# cells of a picture share a large part, which would make them all alike, so subtract the mean cell first.


# %% tags=["demo"]
def likeness(cells, mask):
    """A map (C, h, w), a mask (H, W) -> (h, w): the cosine with the cell at the mask's centre"""
    y, x = (place.float().mean() for place in mask.nonzero(as_tuple=True))
    stride = mask.shape[0] // cells.shape[1]
    unit = F.normalize(cells - cells.mean((1, 2), keepdim=True), dim=0)
    return torch.einsum("c,chw->hw", unit[:, int(y) // stride, int(x) // stride], unit)


# %% tags=["demo"]
def things(sample):
    return [g for g, k in enumerate(sample.labels) if scenes.categories[k]["isthing"]]


sample = scenes[26]
g = max(things(sample), key=lambda g: sample.masks[g].sum())
mask, name = sample.masks[g], scenes.categories[sample.labels[g]]["name"]
shown = ["res2", "res3", "res4", "res5", "F_pixel", "P3", "P4", "P5"]

# %% tags=["demo", "hide-input"]
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize

from minim2f import plots

fig, axes = plt.subplots(2, 5, figsize=(9.6, 4.1), layout="constrained")
plots.draw_image(axes[0, 0], sample.image, "the scene")
plots.draw_mask(axes[1, 0], sample.image, mask, "white", f"a thing: {name}")
for ax, which in zip(axes[:, 1:].flat, shown):
    like = likeness(rows[which].tensor[0], mask)
    ax.imshow(like, vmin=-1, vmax=1, extent=(0, 96, 96, 0))
    ax.contour(torch.arange(96) + 0.5, torch.arange(96) + 0.5, mask, [0.5], colors="white")
    ax.set(title=f"{which}, {like.shape[0]} × {like.shape[1]}", xticks=[], yticks=[])
scale = ScalarMappable(Normalize(-1, 1))
fig.colorbar(scale, ax=axes, shrink=0.7, label="cosine with the cell at its centre")
show(
    fig,
    f"How like each cell is to the one at the centre of a {name}: above for res2 to res5, below for "
    "F_pixel, P3, P4 and P5, each with the outline of the thing.",
    "Above the backbone, below the pyramid; equal strides stand in one column. A good map is light "
    "inside the white outline and dark elsewhere. In F_pixel, light that followed the "
    "borders of large squares would mean that the finer maps were not added.",
)

# %% [markdown]
# The mean likeness inside the thing minus that outside, over all things of 40 scenes.


# %%
def contrast(cells, mask):
    like = enlarge(likeness(cells, mask), mask.shape, nearest)
    return (like[mask].mean() - like[~mask].mean()).item()


found = {which: [] for which in shown}
for sample in (scenes[i] for i in range(40)):
    rows = maps_of(sample)
    for g in things(sample):
        for which in shown:
            found[which].append(contrast(rows[which].tensor[0], sample.masks[g]))
mean = {which: sum(values) / len(values) for which, values in found.items()}
assert mean["F_pixel"] > mean["res2"] + 0.1 and mean["P3"] > mean["res3"] + 0.1

# %% tags=["hide-input"]
pairs = [("res2", "F_pixel"), ("res3", "P3"), ("res4", "P4"), ("res5", "P5")]
lines = [[2**k, a, f"{mean[a]:.2f}", b, f"{mean[b]:.2f}"] for k, (a, b) in enumerate(pairs, 2)]
table(["stride", "backbone", "contrast", "pyramid", "contrast"], lines)

# %% [markdown]
# At strides 4, 8 and 16 the pyramid tells things from their surroundings better than the backbone does, probably with what came
# down. But P5 gains a little too, with nothing from above. Why res3 is below res2 we do not know. Distrust the last row: such a cell is
# larger than many a thing, and is compared with itself.

# %% [markdown]
# ## Checkpoint
#
# Your pyramid against the library's, with the same weights.

# %%
images = model.batch([scenes[i].image for i in range(4)])
features = model.backbone(images)
same(mine, model.pixel_decoder, features, tolerance=1e-4)

# %% [markdown]
# Pillow, which knows nothing of PyTorch, enlarges a map to the same pixels:

# %%
import numpy as np
from PIL import Image

cells = torch.randn(5, 7)
pillow = Image.fromarray(cells.numpy()).resize((21, 20), Image.BILINEAR)  # width first
same(enlarge(cells, (20, 21)), torch.tensor(np.array(pillow)))

# %% [markdown]
# torchvision has the pyramid that was first published. Without its smoothing, and with the same layers, it equals ours (it calls
# lateral layers `inner_blocks`, output layers `layer_blocks`).

# %%
from torchvision.ops import FeaturePyramidNetwork

theirs = FeaturePyramidNetwork(model.backbone.channels, out_channels=64)
theirs.layer_blocks = nn.ModuleList(nn.Identity() for _ in range(4))
bare = MyFPN(model.backbone.channels, C=64)
for name, layer in zip(("res2", "res3", "res4"), theirs.inner_blocks):
    bare.lateral[name], bare.output[name] = layer, nn.Identity()
bare.output["res5"], bare.mask_features = theirs.inner_blocks[3], nn.Identity()

F_pixel, (P5, P4, P3) = bare(features)
same([F_pixel, P3, P4, P5], list(theirs(features).values()), tolerance=1e-4)

# %% [markdown] tags=["demo"]
# ## Experiment
#
# ### What a stride costs
#
# How good can a mask of some stride be? Let every cell tell the share of it that is covered; enlarge; keep what is above one
# half. Call this the **honest** mask.


# %% tags=["demo"]
def iou(a, b):
    return (a & b).sum((1, 2)) / (a | b).sum((1, 2))


def honest(masks, stride, where=bilinear):
    """(G, H, W) bool -> (G,): IoU of each mask with its honest one; H, W multiples of stride"""
    shares = F.avg_pool2d(masks[:, None].float(), stride)
    return iou(enlarge(shares, masks.shape[1:], where)[:, 0] > 0.5, masks)


# %% tags=["demo"]
balls = torch.zeros(2, 32, 32, dtype=torch.bool)  # the ball of Predict, at two places
balls[0, 8:12, 12:16] = True  # fills a cell of stride 4
balls[1, 9:13, 10:14] = True  # lies across four of them: the best is covered by 0.375
for stride in (2, 4, 8):
    filling, across = honest(balls, stride).tolist()
    print(f"stride {stride}: IoU {filling:.2f} if it fills cells, {across:.2f} if not")

# %% tags=["hide-input"]
sample = scenes[9]
fig, axes = plots.figure(1, 5, size=1.85, gap=0.1)
ids = torch.tensor([0, *(s["id"] for s in sample.segments if not s["iscrowd"])])
for ax, r in zip(axes[0], (1, 4, 8, 16, 32)):
    shares = enlarge(F.avg_pool2d(sample.masks.float(), r), (96, 96))
    drawn = ids[(shares.argmax(0) + 1) * (shares.amax(0) > 0.5)]
    title = f"honest, stride {r}" if r > 1 else "the truth"
    plots.draw_segments(ax, sample.image, drawn, sample.segments, scenes.categories, title, False)
show(
    fig,
    "The segments of a scene, and what is left of them in honest masks of stride 4, 8, 16 and 32: "
    "outlines get rounder, small things and thin parts disappear.",
    "Stripes: no segment covers more than half. Corners go first, then thin things, then small ones. "
    "A segment that moved would be a bug (see Break it).",
)

# %% [markdown]
# A segment has **vanished** if its IoU is 0. The table has four sets of 16 unseen scenes each; memory is for one picture in
# float32. *Hypothesis:* every doubling of the stride costs the same.

# %% tags=["demo"]
strides = [1, 2, 4, 8, 16, 32]
sets = [torch.cat([scenes[16 * s + i].masks for i in range(16)]) for s in range(4)]
ious = {r: [honest(masks, r) for masks in sets] for r in strides}
steps = {r: [honest(masks, r, nearest) for masks in sets] for r in strides}


def over_sets(values):
    """One tensor a set -> mean and spread (standard deviation) of the sets' means"""
    means = torch.stack([x.float().mean() for x in values])
    return f"{means.mean():.3f} ± {means.std():.3f}"


average = {r: torch.cat(values).mean() for r, values in ious.items()}
assert average[1] - average[8] < average[8] - average[16]


# %% tags=["demo", "hide-input"]
lines = []
for r in strides:
    gain = [a - b for a, b in zip(ious[r], steps[r])]
    gone = torch.cat(ious[r]) == 0  # vanished
    memory = 256 * 800 * 1088 // r**2 * 4 / 1e6
    lines.append([r, over_sets(ious[r]), over_sets(gain), f"{gone.float().mean():.1%}"])
    lines[-1].append(f"{memory:,.0f} MB")
header = ["stride", "IoU of honest masks", "bilinear − nearest, same masks", "vanished"]
table([*header, "$F_{pixel}$ of a picture of 800 × 1088, C = 256"], lines)

# %% [markdown]
# The hypothesis fails: the doubling from 8 to 16 costs more than all before it. Up to stride 8 hardly anything vanishes, and
# bilinear masks beat the stairs of nearest ones. At 16 they do not: mixing pulls the peaks of small segments below one half.
# Stride 2 would gain some 0.05, for four times the memory.

# %% [markdown]
# ### Does the size in cells decide?
#
# *Hypothesis:* only the number of its cells matters to a segment, at whatever stride.

# %%
edges = [0, 1, 4, 16, 64, 256]


def by_size(ious, masks, stride):
    """Mean IoU of the segments between two edges, in cells; NaN where there are fewer than 8"""
    cells = masks.flatten(1).sum(1) / stride**2
    inside = [(cells >= a) & (cells < b) for a, b in zip(edges, edges[1:])]
    return [ious[i].mean().item() if i.sum() >= 8 else float("nan") for i in inside]


masks = torch.cat(sets)
curves = {r: by_size(torch.cat(ious[r]), masks, r) for r in (2, 4, 8, 16, 32)}
values = torch.tensor([curves[r] for r in (4, 8, 16, 32)])
# an empty entry (NaN) must be neither the largest nor the smallest of its column
apart = values.nan_to_num(-1).amax(0) - values.nan_to_num(2).amin(0)
assert apart[3:].max() < 0.05 < apart[1:3].min()

# %% tags=["hide-input"]
names = [f"{a} to {b}" if a else f"below {b}" for a, b in zip(edges, edges[1:])]
lines = []
for r, line in curves.items():
    cells = masks.flatten(1).sum(1) / r**2
    counts = [((cells >= a) & (cells < b)).sum().item() for a, b in zip(edges, edges[1:])]
    lines.append([r, *("–" if x != x else f"{x:.2f} ({n})" for x, n in zip(line, counts))])
table(["honest, stride", *(f"{name} cell{'s' * (name != names[0])}" for name in names)], lines)

# %% [markdown]
# In brackets are numbers of segments. From 16 cells on, strides 4, 8 and 16 agree within a few hundredths (stride 16 with only 9
# segments); stride 2 does not, .96 against .90. Below 16 cells, strides lie up to 0.3 apart: equal size means other segments
# there, of another form.

# %% [markdown]
# ### Masks that are not honest
#
# A network need not tell shares. Training compares logits with the truth *after* bilinear reading, and rewards what works. So
# let every cell choose the logit that serves best, by gradient descent on the losses of chapter 10: **fitted** masks. The losses are
# *bce*, binary cross-entropy, which judges each pixel, and *dice*, 1 minus a soft form of overlap, which judges each mask.
# *Hypothesis:* they gain little.


# %%
def fitted(masks, stride, steps=30):
    """(G, H, W) bool -> (G,): IoU of each mask with one whose cells were fitted to it"""
    truth, sizes = masks.float(), masks.sum((1, 2))
    logits = (4 * F.avg_pool2d(truth, stride) - 2).requires_grad_()  # starts as the honest mask
    optimiser = torch.optim.Adam([logits], lr=0.8)
    for _ in range(steps):
        x = enlarge(logits, masks.shape[1:])
        s = x.sigmoid()
        dice = 1 - (2 * (s * truth).sum((1, 2)) + 1) / (s.sum((1, 2)) + sizes + 1)
        bce = F.binary_cross_entropy_with_logits(x, truth, reduction="none").mean((1, 2))
        optimiser.zero_grad()
        (dice + bce).sum().backward()
        optimiser.step()
    return iou(enlarge(logits.detach(), masks.shape[1:]) > 0, masks)


# %%
few = [masks[:48] for masks in sets]  # of each set, for the sake of time
free = {r: [fitted(masks, r) for masks in few] for r in (4, 8, 16, 32)}
told = {r: [h[:48] for h in ious[r]] for r in free}
gains = {r: [f - h for f, h in zip(free[r], told[r])] for r in free}
assert all(gain.mean() > 0 for r in gains for gain in gains[r])
assert torch.cat(gains[16]).mean() > 0.2

# %% tags=["hide-input"]
lines = []
for r in free:
    vanished = (torch.cat(free[r]) == 0).float().mean()
    lines.append([r, over_sets(told[r]), over_sets(free[r])])
    lines[-1] += [over_sets(gains[r]), f"{vanished:.1%}"]
table(["stride", "honest", "fitted", "fitted − honest, same masks", "fitted, vanished"], lines)

fig, axes = plt.subplots(1, 2, figsize=(8.6, 2.9), layout="constrained", sharey=True)
for ax, title, found in zip(axes, ("honest", "fitted"), (told, free)):
    for r, look in zip((4, 8, 16, 32), ["o-", "s--", "^-.", "D:"]):
        line = by_size(torch.cat(found[r]), torch.cat(few), r)
        ax.plot(range(len(names)), line, look, label=f"stride {r}")
    ax.set(title=f"{title} masks", xlabel="size of the segment, in cells", ylim=(-0.03, 1))
    ax.set_xticks(range(len(names)), names, fontsize=7)
axes[0].set_ylabel("IoU")
axes[1].legend(loc="lower right")
show(
    fig,
    "IoU of honest masks, left, and of fitted ones of the same segments, right, against the size of "
    "segments in cells, a line for each stride from 4 to 32.",
    "Of 48 segments a set, so values differ from the table above. Left, with less than one "
    "cell nearly all is lost. Right, small segments stand far higher. A line that falls steeply to the right would be a bug.",
)

# %% [markdown]
# The hypothesis fails, most for small segments: one loud cell among neighbours that vote no draws a spot as small as you like. So:
#
# - **Honest** masks follow a rule, and bound nothing: fitted ones beat them.
# - **Fitted** masks show what a map of this stride *can* draw at least.
# - **Learned** masks come from a network that does not see the truth, and may lie below or above the honest ones.
#
# Choose a stride whose honest masks serve your segments: those need no trick. Fitted masks say what a coarser one could do, not
# that it is learned. The README has three trainings, each overfitted to eight photographs: they learn all segments from 16 cells
# on, but 3 of 49 below 4 cells.

# %% [markdown]
# ### On photographs
#
# The same for photographs of COCO at their own size, about 640 × 480 pixels:


# %%
def cut(masks):
    height, width = (size // 32 * 32 for size in masks.shape[1:])
    masks = masks[:, :height, :width]
    return masks[masks.flatten(1).any(1)]


try:
    photographs = minim2f.data.open_dataset("coco-mini")
    photographs = [cut(photographs[i].masks) for i in range(24)]
except FileNotFoundError:
    photographs = []
    print("`minim2f data fetch` (10 MB) gets the photographs for this table")

# %%
real = {r: [honest(masks, r) for masks in photographs] for r in (4, 8, 16, 32)}

# %% tags=["hide-input"]
if photographs:
    lines = []
    for r, values in real.items():
        values = torch.cat(values)
        cells = torch.cat([masks.flatten(1).sum(1) for masks in photographs]) / r**2
        lines.append([r, f"{values.mean():.2f}", f"{(values == 0).float().mean():.0%}"])
        lines[-1] += [f"{(cells < 4).float().mean():.0%}", f"{(cells < 16).float().mean():.0%}"]
    header = ["stride", "IoU of honest masks", "vanished", "below 4 cells", "below 16 cells"]
    table(header, lines)

# %% [markdown]
# At a photograph's own size, stride 4 serves most segments. Half as large, it has at stride 4 as many cells as now at stride 8:
# one segment in seven has fewer than 4.

# %% [markdown] tags=["demo"]
# ## Break it
#
# ### Half a cell
#
# Two mistakes leave the size right, and every mask a little off: aligned corners, and $u$ without its halves.


# %% tags=["demo"]
def aligned(h, H):
    return torch.arange(H) * (h - 1) / (H - 1)


def no_half(h, H):
    return torch.arange(H) * h / H


# %% tags=["demo"]
x = torch.randn(2, 3, 4, 5)
corners = F.interpolate(x, (16, 30), mode="bilinear", align_corners=True)
same(enlarge(x, (16, 30), aligned), corners)

# %% [markdown] tags=["demo"]
# Predict: 25 discs lie in rows and columns. Their honest masks at stride 8 are enlarged with each mistake. Where does each disc go?
#
# <details><summary>Answer</summary>
#
# Without the halves, all move to the upper left by the same amount. With aligned corners they move away from the middle.
#
# </details>

# %% tags=["demo"]
pixels = torch.arange(96) + 0.5
at = torch.cartesian_prod(torch.arange(16, 81, 16), torch.arange(16, 81, 16)).float()
square = (pixels[:, None] - at[:, 0, None, None]) ** 2 + (pixels - at[:, 1, None, None]) ** 2
discs = square < 7**2


# %% tags=["demo"]
def centre(masks):
    """(G, H, W) bool -> (G, 2): the mean place of its pixels, y and x"""
    places = torch.cartesian_prod(pixels, pixels)
    return masks.flatten(1).float() @ places / masks.sum((1, 2))[:, None]


moved, drawn_discs = {}, {}
for where in (bilinear, no_half, aligned):
    drawn = enlarge(F.avg_pool2d(discs.float(), 8), (96, 96), where) > 0.5
    drawn_discs[where.__name__] = drawn
    moved[where.__name__] = centre(drawn) - centre(discs)

# %% tags=["demo", "hide-input"]
fig, axes = plt.subplots(1, 3, figsize=(9, 3.1), layout="constrained")
for ax, (name, arrows) in zip(axes, moved.items()):
    ax.imshow(discs.any(0), cmap="Greys", vmax=4, extent=(0, 96, 96, 0))
    ax.contour(pixels, pixels, drawn_discs[name].any(0), [0.5], colors="C1", linewidths=1)
    look = {"angles": "xy", "scale_units": "xy", "scale": 0.5}
    ax.quiver(at[:, 1], at[:, 0], arrows[:, 1], arrows[:, 0], **look)
    ax.set(title=f"{name}: {arrows.norm(dim=1).mean():.1f} pixels on average", xticks=[], yticks=[])
show(
    fig,
    "Twenty-five discs three times, with arrows that tell where each went: none when done right, "
    "all to the upper left without the halves, outwards from the middle with corners aligned.",
    "Grey are the true discs, coloured lines outline the drawn ones. Arrows are twice as long as "
    "the shift, which is measured along the arrow: 4.9 is 3.5 each way on the diagonal. Arrows in the first panel would be a bug of ours.",
)

# %%
half = (8 - 1) / 2  # pixels: half a cell is 4, half a pixel is 0.5
assert moved["bilinear"].abs().max() < 0.5
assert (moved["no_half"] + half).abs().max() < 1
outwards = (moved["aligned"] * (at - 48)).sum(1)
assert outwards.min() > -0.5 and moved["aligned"].mean(0).abs().max() < 0.5

# %% [markdown]
# Without the halves, at stride $r$, a pixel reads $(r-1)/2$ pixels too far to the lower right, so everything moves to the upper
# left: 3.5 pixels each way at stride 8, 1.5 at stride 4. Aligned corners stretch the masks, away from the middle.


# %%
@torch.no_grad()
def best_masks(sample):
    """The mask logits (G, h, w) of the queries that fit the segments best"""
    logits = model(model.batch([sample.image])).mask_logits[0]
    drawn = enlarge(logits, (96, 96)) > 0
    fits = torch.stack([iou(drawn, mask[None]) for mask in sample.masks])
    return logits[fits.argmax(1)]


logits = torch.cat([best_masks(scenes[i]) for i in range(40)])
masks = torch.cat([scenes[i].masks for i in range(40)])
size = masks.flatten(1).sum(1) / 16  # in cells


# %%
def measure(logits, where):
    """IoU of small and large segments; median shift to the right, at the left and the right"""
    drawn = enlarge(logits, (96, 96), where) > 0
    fit, x = iou(drawn, masks), centre(masks)[:, 1]
    off = centre(drawn)[:, 1] - x  # NaN where nothing is drawn
    shifts = [off[third].nanmedian() for third in (x < 32, x > 64)]
    return fit[size < 16].mean(), fit[size >= 16].mean(), *shifts


measured = {f.__name__: measure(logits, f) for f in (bilinear, nearest, no_half, aligned)}
measured["honest masks, bilinear"] = measure(F.avg_pool2d(masks.float(), 4) - 0.5, bilinear)
right, halfless, corners = (measured[name] for name in ("bilinear", "no_half", "aligned"))
assert right[0] - halfless[0] > 0.15 and right[0] - corners[0] > 0.06
assert right[0] - halfless[0] > right[1] - halfless[1] > right[1] - corners[1]

# %% tags=["hide-input"]
lines = []
for name, (small, large, *off) in measured.items():
    lines.append([name, f"{small:.2f}", f"{large:.2f}", *(f"{d:+.1f}" for d in off)])
header = ["enlarged", "IoU below 16 cells", "IoU from 16 cells on"]
table([*header, "shift to the right, in the left third", "in the right third"], lines)

# %% [markdown]
# Small segments pay most: about a quarter of their IoU without the halves, an eighth with corners aligned. Nearest hardly moves
# them, but makes stairs. Of small segments, learned masks (.90) beat honest ones (.88), as fitted ones do.

# %% [markdown]
# ## Exercises
#
# ### 4.1 ★ Lost segments
#
# Ask your data before you train: of which segments is no cell more than half covered? These are surely lost; bilinear reading loses
# a few more (25.7 % instead of 23.9 % at stride 16). The last cells may reach over the edge, where nothing is. G may be 0, and a
# mask empty.


# %%
def lost(masks, stride):
    """(G, H, W) bool -> (G,) bool, True: no cell is more than half covered"""
    ...


exercise("4.1", lost)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Pad to whole cells, average each cell, look at the best cell of each segment.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `F.pad` takes (left, right, top, bottom) and wants floats; `-size % stride` tells how much is missing. `F.avg_pool2d` averages, also
# for G = 0 if it is given (G, 1, H, W): `masks[:, None]`.
#
# </details>

# %% [markdown]
# ### 4.2 ★★ Read between the cells
#
# Deformable attention (chapter 5) and the losses (10) read a map `x` at points of the unit square: (0, 0) is the upper left corner
# of the picture, (1, 1) the lower right. Do it bilinearly, without `grid_sample`. Outside are zeros, so the map fades beyond the
# outermost centres.


# %%
def my_sample(x, points):
    """(C, h, w), (P, 2) as x and y in [0, 1] -> (C, P)"""
    ...


exercise("4.2", my_sample)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First turn coordinates into cells, counted from the centre of the first cell: 1/(2w) across becomes 0.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# A hat over each centre gives the weights of the columns, (P, w), without any special case at the edge. The rows have their own,
# (P, h). `torch.einsum` can put all three together.
#
# </details>

# %% [markdown]
# ### 4.3 ★★★ The pyramid of 2017
#
# In the pyramid of Lin et al., which torchvision has, res5 has a lateral layer too. The sum of lateral map and coarser
# *sum*, enlarged by *nearest*, goes down as it is; an output layer smooths a copy on the way out. Sizes need not double exactly. Layers are functions
# here.


# %%
def lin_pyramid(res2, res3, res4, res5, lateral, output):
    """Four maps (B, _, h, w), two lists of four functions, finest first -> [P2, P3, P4, P5]"""
    ...


exercise("4.3", lin_pyramid)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First all sums, from the coarsest to the finest. Then smooth each of them.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `F.interpolate(x, size, mode="nearest")` takes the size of the finer map, whatever it is.
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | | paper | official code | ours |
# | --- | --- | --- | --- |
# | pixel decoder | deformable attention; Table 4e has others | both, and a third | `"msdeform"`, or `"fpn"` as here |
# | lateral layer of res5 | – | none: a 3 × 3 convolution at once | none |
# | what goes down | – | the smoothed map (in Lin et al. the sum) | the smoothed map |
# | enlarging on the way | – | nearest here, bilinear in the deformable decoder | the same |
# | $F_{pixel}$ | at 1/4 | 3 × 3 convolution here, 1 × 1 in the deformable decoder | the same |
# | masks to pictures | – | bilinear, corners not aligned | the same |
# | PQ on COCO, ResNet-50 | 50.7 with this pyramid, 51.9 with deformable attention | | not trained |

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
library_table(
    {
        "MyFPN": "minim2f.model.pixel_decoder.FPN",
        "conv_norm": "minim2f.model.pixel_decoder.ConvNorm",
        "enlarge": "minim2f.ops.enlarge.Enlarged",
        "my_sample": "minim2f.ops.sampling.sample",
    }
)

# %% [markdown]
# ## Recap
#
# - The pyramid goes from coarse to fine: enlarge, add, smooth. In that of 2017 the sum goes down, in ours the smoothed map.
# - An honest mask of stride 4 has IoU 0.9 with the truth, in our scenes.
# - Size in cells decides most of it, below 16 cells form as well. Where no cell is more than half covered, an honest mask is empty.
# - A forgotten half moves masks by $(r-1)/2$ pixels, aligned corners stretch them.

# %% [markdown]
# ## Further reading
#
# - [Feature pyramid networks](https://arxiv.org/abs/1612.03144), section 3.
# - [MaskFormer](https://arxiv.org/abs/2107.06278): has our pixel decoder.
# - [The paper](https://arxiv.org/abs/2112.01527), Table 4e.
