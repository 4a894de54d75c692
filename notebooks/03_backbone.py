# %% [markdown]
# # 3 · Backbone
#
# Turn a picture into four maps, with both kinds of network that the paper uses, and measure what their cells see.
#
# *read 80 min · run 25 s CPU · exercises 80 min*
#
# **Needs** chapter 0 · **Library** [`minim2f/model/backbone.py`](../minim2f/model/backbone.py), [`minim2f/model/swin.py`](../minim2f/model/swin.py) · **Paper** sections 3.1 and 4.1

# %% [markdown]
# ## You will be able to
#
# - count by hand which pixels a cell can see (The idea in small numbers)
# - build a ResNet and a Swin block that equal the known ones (Checkpoint)
# - measure what a cell sees (Experiment)
# - recognise three mistakes that raise no error (Break it)
# - fold a frozen norm into a convolution (3.1)
# - write a residual block (3.2)
# - cut a map of any size into windows, and put it back (3.3)
# - number the relative positions in a window (3.4)

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
where_we_are("backbone")

# %% [markdown]
# A **backbone** turns a picture of H × W pixels into four maps, res2 to res5, each made from the one before. The vectors of a
# map are its **cells**. Each stands for a square of pixels, whose side is the map's **stride**: 4, 8, 16 and 32. Nothing after
# the backbone looks at the picture again. What you need from elsewhere:
#
# - A **convolution** multiplies each square of cells by a learned **kernel** and adds up; with a stride of 2, at every second
#   place. A map's stride is the product of the strides of the layers before it.
# - A **batch norm** brings each channel to mean 0 and standard deviation 1 over all cells of a batch, then applies a learned
#   factor and summand. After training it uses running means and variances instead.
# - **Self-attention** makes a query, a key and a value of each cell. A cell's query times all keys gives scores, their softmax
#   gives weights, and the cell receives the weighted mean of the values. A **head** does this on some of the channels. Chapter 6
#   builds it slowly.

# %% [markdown]
# ## Predict
#
# A cell of res5 in the book's tiny model stands for 32 × 32 pixels, and 195 × 195 pixels can change it. Guess the
# side of the square in the middle that has nine tenths of the influence.
#
# <details><summary>Answer</summary>
#
# Between 60 and 115 pixels, in all networks that you will measure here: a cell listens mostly to the middle. The 195 pixels, which
# you will count by hand, are twice the side of a scene (96 pixels). So at least three quarters of that square lie outside of a
# scene, where a convolution finds only zeros, its **padding**.
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# A line of 15 pixels and two convolutions, three wide. All kernels are (1, 1, 1); the first has a stride of 2. Which pixels
# change cell 4 of the result? Its **gradient** tells: by how much it changes when a pixel grows by 1.

# %% tags=["demo"]
from torch.nn import functional as F

line = torch.zeros(1, 1, 15, requires_grad=True)
ones = torch.ones(1, 1, 3)
first = F.conv1d(line, ones, stride=2, padding=1)
second = F.conv1d(first, ones, padding=1)
(paths,) = torch.autograd.grad(second[0, 0, 4], line)
assert paths[0, 0].tolist() == [0, 0, 0, 0, 0, 1, 1, 2, 1, 2, 1, 1, 0, 0, 0]

# %% [markdown] tags=["demo"]
# By hand: cell 4 reads the cells 3, 4 and 5 of `first`, and those read the pixels 5 to 7, 7 to 9 and 9 to 11. So cell 4 can
# see seven pixels, 5 to 11: its **receptive field**.
#
# The gradient counts **paths**: two from pixel 7 and from pixel 9, one from the others.

# %% [markdown]
# ## The equation
#
# Each cell of a kernel beyond the first widens the field by one stride of the map that the layer reads. On the line, the first
# layer adds 2 · 1 pixels, the second 2 · 2, because it reads a map of stride 2: 1 → 3 → 7.
#
# $$R \leftarrow R + (\kappa - 1)\,r, \qquad r \leftarrow \tau\,r, \qquad \text{from } R = r = 1.$$
#
# A **residual block** adds its input to what it computes; a **norm** in use is a factor and a summand; attention in a **window**
# adds two things to its scores:
#
# $$\mathrm{block}(x) = \mathrm{ReLU}\big(f(x) + x\big), \qquad \mathrm{norm}(x) = \gamma\,\frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta, \qquad \mathrm{softmax}\Big(\frac{q\,k^\top}{\sqrt d} + \mathrm{bias} + M\Big)\,v$$
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $\kappa$, $\tau$ | `kernel`, `stride` | | of one layer: side of its kernel, its own stride |
# | $r$, $R$ | `r`, `R` | | of a map: its stride, side of the receptive field, in pixels |
# | $f$ | `conv1`, `conv2` | | convolutions, each with a norm |
# | $\mu$, $\sigma^2$, $\gamma$, $\beta$ | `running_mean`, `running_var`, `weight`, `bias` | (C,) | mean, variance, factor, summand of a channel; $\varepsilon$ is tiny |
# | $q$, $k$, $v$ | `q`, `k`, `v` | (windows, heads, cells, $d$) | queries, keys, values; $d$ channels a head |
# | bias | `relative_position_bias_table` | (offsets, heads) | a number for each offset from a key to a query |
# | $M$ | `M` | (windows, 1, cells, cells) | $-\infty$ between cells that are no neighbours in the picture, else 0 |

# %% [markdown]
# ## Slow and obvious
#
# ### What a cell can see
#
# A **ResNet** begins with a **stem**: a 7 × 7 convolution and a 3 × 3 maximum, both with stride 2. Four **stages** of blocks make
# res2 to res5; the first block of res3, res4 and res5 has a stride of 2. The tiny model has one **basic block** a stage: two
# 3 × 3 convolutions. ResNet-50 has 3, 4, 6 and 3 **bottlenecks**: 1 × 1, 3 × 3, 1 × 1.


# %% tags=["demo"]
def basic(stride):
    return [(3, stride), (3, 1)]  # kernel and stride of each layer


def narrow(stride):
    return [(1, 1), (3, stride), (1, 1)]


def fields(block, depths):
    """r and R of res2 ... res5, for a kind of block and the number of blocks in each stage"""
    layers, found = [(7, 2), (3, 2)], []
    for level, depth in enumerate(depths, 2):
        layers = layers + block(1 if level == 2 else 2) + block(1) * (depth - 1)
        r, R = 1, 1
        for kernel, stride in layers:
            R, r = R + (kernel - 1) * r, r * stride
        found.append((r, R))
    return found


can_see = {"tiny": fields(basic, [1, 1, 1, 1]), "ResNet-50": fields(narrow, [3, 4, 6, 3])}
print(can_see)

# %% [markdown]
# ### Windows
#
# A **Swin transformer** uses attention instead, but only among the cells of a window: so its cost grows with the picture's
# area, not with the square of that.


# %% tags=["demo"]
def cut(x, window):
    """(B, h, w, C), whole windows only -> (windows · B, window², C)"""
    parts = [part for band in x.split(window, 1) for part in band.split(window, 2)]
    return torch.cat(parts).flatten(1, 2)


def join(windows, like, window):
    """The way back, to the shape of `like`"""
    parts = windows.unflatten(1, (window, window)).split(len(like))
    columns = like.shape[2] // window
    bands = [torch.cat(parts[i : i + columns], 2) for i in range(0, len(parts), columns)]
    return torch.cat(bands, 1)


# `same` compares two tensors, or what two modules or functions make of the same input. It stops
# the run if they differ by more than its `tolerance`, which is 1e-5 unless another is given.
x = torch.randn(2, 8, 12, 3)
same(join(cut(x, 4), x, 4), x)

# %% [markdown]
# Attention does not know where cells lie. So each **relative position**, the offset from a key to its query, has a learned number
# for each head, added to the score. Offsets are counted row by row, from the one farthest up and left. In a window of 2 × 2,
# query 0 lies up and left of key 3: offset (−1, −1), row 0.


# %% tags=["demo"]
def slow_index(window):
    """(window², window²): the row of the table for each query (down) and key (across)"""
    cells = [(y, x) for y in range(window) for x in range(window)]
    rows = torch.zeros(len(cells), len(cells), dtype=torch.long)
    for i, (y, x) in enumerate(cells):  # the query
        for j, (key_y, key_x) in enumerate(cells):
            down, right = y - key_y + window - 1, x - key_x + window - 1
            rows[i, j] = down * (2 * window - 1) + right
    return rows


print(slow_index(2))

# %% [markdown]
# Four cells, nine offsets. The diagonal holds 4: offset (0, 0).

# %% [markdown] tags=["demo"]
# ## Fast and short
#
# ### A residual block, and a ResNet of four
#
# A plain stack of layers must learn to pass its input on; a residual block passes it on unless it learns otherwise.
# If it changes size or channels, the input goes through a 1 × 1 convolution, the **shortcut** (torchvision: `downsample`).


# %% tags=["demo"]
from torch import nn


def conv(inputs, C, kernel, stride=1):
    return nn.Conv2d(inputs, C, kernel, stride, padding=kernel // 2, bias=False)


class MyBlock(nn.Module):
    def __init__(self, inputs, C, stride):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, C, 3, stride), nn.BatchNorm2d(C)
        self.conv2, self.bn2 = conv(C, C, 3), nn.BatchNorm2d(C)
        self.downsample = nn.Identity()
        if stride != 1 or inputs != C:
            self.downsample = nn.Sequential(conv(inputs, C, 1, stride), nn.BatchNorm2d(C))

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y))
        return (y + self.downsample(x)).relu()


# %% tags=["demo"]
class MyResNet(nn.Module):
    def __init__(self, C):  # the channels of res2; they double from stage to stage
        super().__init__()
        pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.stem = nn.Sequential(conv(3, C, 7, 2), nn.BatchNorm2d(C), nn.ReLU(), pool)
        self.res2 = nn.Sequential(MyBlock(C, C, 1))
        self.res3 = nn.Sequential(MyBlock(C, 2 * C, 2))
        self.res4 = nn.Sequential(MyBlock(2 * C, 4 * C, 2))
        self.res5 = nn.Sequential(MyBlock(4 * C, 8 * C, 2))

    @shapes.scoped  # within one call, a letter keeps its size; `check` stops the run if it does not
    def forward(self, images):
        x, features = self.stem(images), {}
        for name, r in (("res2", 4), ("res3", 8), ("res4", 16), ("res5", 32)):
            x = getattr(self, name)(x)
            features[name] = shapes.check(name, x, f"B C{name[-1]} H/{r} W/{r}")
        return features


# %% [markdown] tags=["demo"]
# ### A Swin block
#
# Windows never exchange anything. So every second block **shifts** them by half a window: it rolls the map, cuts as always, and
# rolls back. Rolling brings cells of opposite edges into one window, though they are no neighbours in the picture. Number each
# cell by the edges it was rolled over:


# %% tags=["demo"]
def edges(h, w, shift):
    """(h, w), rolled: 1 for a cell from beyond the left edge, 2 the top one, 3 both, else 0"""
    top, left = torch.arange(h) < shift, torch.arange(w) < shift
    return (2 * top[:, None] + left).roll((-shift, -shift), (0, 1))


print(edges(4, 4, shift=1))

# %% [markdown] tags=["demo"]
# In windows of 2 × 2: at the upper left all four cells are neighbours; at the upper right only those of a column; at the lower
# right none. $M$ is −∞ wherever two numbers of a window differ:


# %% tags=["demo"]
def shift_mask(x, window, shift):
    """(B, h, w, C) -> M (windows · B, 1, cells, cells): 0 between equal numbers, else -inf"""
    B, h, w, C = x.shape
    numbers = edges(h, w, shift).expand(B, h, w)[..., None]  # (B, h, w, 1)
    numbers = cut(numbers, window)  # (windows · B, cells, 1)
    differ = numbers != numbers.transpose(1, 2)  # (windows · B, cells, cells)
    return torch.zeros(differ.shape).masked_fill(differ, -torch.inf)[:, None]


print(shift_mask(torch.zeros(1, 4, 4, 8), window=2, shift=1)[1, 0])  # upper right

# %% [markdown] tags=["demo"]
# The third formula, for all windows and heads at once; `extra` is $\mathrm{bias} + M$:


# %% tags=["demo"]
def attention(qkv, heads, extra):
    """(windows · B, cells, 3C), a number, (..., cells, cells) -> (windows · B, cells, C)"""
    qkv = qkv.unflatten(2, (3, heads, -1))  # (windows · B, cells, 3, heads, d)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (windows · B, heads, cells, d)
    scores = q @ k.transpose(2, 3) / q.shape[-1] ** 0.5  # (windows · B, heads, cells, cells)
    received = (scores + extra).softmax(-1) @ v  # (windows · B, heads, cells, d)
    return received.transpose(1, 2).flatten(2)


# %% tags=["demo"]
class MyAttention(nn.Module):
    def __init__(self, C, heads, window, shift):
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.qkv, self.proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
        offsets = torch.randn((2 * window - 1) ** 2, heads)
        self.relative_position_bias_table = nn.Parameter(offsets)
        self.index = slow_index(window)

    def mask(self, x):
        return shift_mask(x, self.window, self.shift)

    def forward(self, x):
        # (heads, cells, cells)
        bias = self.relative_position_bias_table[self.index].permute(2, 0, 1)
        M = self.mask(x)  # (windows · B, 1, cells, cells)
        x = x.roll((-self.shift, -self.shift), (1, 2))  # (B, h, w, C)
        windows = cut(x, self.window)  # (windows · B, cells, C)
        out = self.proj(attention(self.qkv(windows), self.heads, bias + M))
        return join(out, x, self.window).roll((self.shift, self.shift), (1, 2))


# %% [markdown] tags=["demo"]
# The block is residual twice: attention, then two linear layers on each cell. A **layer norm** brings the channels of each cell
# to mean 0 and standard deviation 1, whatever the other cells are.


# %% tags=["demo"]
class MySwinBlock(nn.Module):
    def __init__(self, C, heads, window, shift=0):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(C), nn.LayerNorm(C)
        self.attn = MyAttention(C, heads, window, shift)
        hidden = nn.Linear(C, 4 * C), nn.GELU(), nn.Identity()  # torchvision has a dropout here
        self.mlp = nn.Sequential(*hidden, nn.Linear(4 * C, C))

    def forward(self, x):
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))


# %% [markdown]
# A Swin transformer begins with a convolution of 4 × 4, stride 4. Between stages, **patch merging** joins the vectors of 2 × 2
# cells, and a linear layer makes one cell of their 4C numbers: so its maps have a ResNet's strides.

# %% [markdown] tags=["demo"]
# ## Shapes
#
# Your ResNet with the trained tiny model's weights, and an unseen scene.

# %% tags=["demo"]
model = minim2f.load("tiny")
scenes = minim2f.data.open_dataset("scenes", split="val")
mine = MyResNet(C=32).eval()  # eval: norms use their running statistics
mine.load_state_dict(model.backbone.state_dict())  # refuses a missing or a surplus weight

with torch.no_grad(), shapes.watch() as rows:  # records what is checked
    mine(model.batch([scenes[9].image]))  # pictures, normalised and stacked

# %% tags=["hide-input"]
meanings = {
    "res2": "a channel of a cell of 4 × 4 pixels: edges, colours",
    "res3": "a channel of a cell of 8 × 8 pixels",
    "res4": "a channel of a cell of 16 × 16 pixels",
    "res5": "a channel of a cell of 32 × 32 pixels: what is there",
}
shape_table(rows, meanings=meanings)

# %% [markdown] tags=["demo"]
# ## Look
#
# ### Four maps of one scene

# %% tags=["demo", "hide-input"]
from minim2f import plots

fig, axes = plt.subplots(1, 5, figsize=(9.6, 2.3), layout="constrained")
plots.draw_image(axes[0], scenes[9].image)
axes[0].set_title("the scene")
for ax, name in zip(axes[1:], ("res2", "res3", "res4", "res5")):
    length = rows[name].tensor[0].norm(dim=0)
    shade = ax.imshow(length / length.max(), vmin=0, vmax=1)
    ax.set_title(f"{name}, {length.shape[0]} × {length.shape[1]}")
    ax.set(xticks=[], yticks=[])
assert length.argmax() == 8  # of res5, said in the caption
fig.colorbar(shade, ax=axes, label="length / longest")
show(
    fig,
    "A drawn scene, and how long the vectors of its cells are in res2 to res5, from 24 by 24 cells "
    "down to 3 by 3.",
    "The length of each cell's vector. Fine maps follow outlines; of res5 nine cells are left. "
    "Length tells how strongly a cell answers, not to what: it need not be largest on an object, "
    "and in res5 the corner is brightest. A map that is equally light everywhere would have lost "
    "the picture.",
)

# %% [markdown] tags=["demo"]
# ### Windows and their shift
#
# A map of 12 × 12 cells, windows of 4 × 4, random weights. Which cells act on cell (5, 5)?


# %% tags=["demo"]
def acting(blocks, y, x):
    """How strongly each cell of a 12 × 12 map acts on cell (y, x) of the result, (12, 12)"""
    cells = torch.randn(1, 12, 12, 32, requires_grad=True)
    out = blocks(cells)[0, y, x]
    (gradient,) = torch.autograd.grad(out, cells, torch.randn_like(out))
    return gradient[0].norm(dim=-1)


def blocks(*shifts):
    return nn.Sequential(*(MySwinBlock(32, 2, 4, shift) for shift in shifts))


seen = {"two blocks": acting(blocks(0, 0), 5, 5)}
seen |= {"two, the second shifted": acting(blocks(0, 2), 5, 5)}
seen |= {"four, 2nd and 4th shifted": acting(blocks(0, 2, 0, 2), 5, 5)}
assert [int((heat > 0).sum()) for heat in seen.values()] == [16, 64, 144]

# %% tags=["demo", "hide-input"]
from matplotlib.patheffects import withStroke


def draw_strength(ax, heat, at, title, shifted):
    """How strongly each cell acts on cell (at, at), in windows of 4 that may be shifted by 2"""
    strength = torch.where(heat > 0, heat / heat.max(), torch.nan).log10()
    ax.patch.set(hatch="////", edgecolor="0.7", linewidth=0)
    shade = ax.imshow(strength, vmin=-3, vmax=0)
    borders = [(place, "-") for place in (3.5, 7.5)]
    borders += [(place, (0, (1.5, 1.5))) for place in (1.5, 5.5, 9.5) if shifted]
    for place, look in borders:
        for draw in (ax.axhline, ax.axvline):
            line = draw(place, color="black", linewidth=1.2, linestyle=look)
            line.set_path_effects([withStroke(linewidth=3, foreground="white")])
    ax.plot(at, at, "wo", markeredgecolor="black")
    ax.set(title=f"{title}: {int((heat > 0).sum())} cells", xticks=[], yticks=[])
    ax.spines[:].set_visible(True)
    return shade


def explain_strength(fig, axes, shade):
    ticks = fig.colorbar(shade, ax=axes, label="strength / largest", ticks=[-3, -2, -1, 0])
    ticks.ax.set_yticklabels(["≤ 0.001", "0.01", "0.1", "1"])


fig, axes = plt.subplots(1, 3, figsize=(9, 3.1), layout="constrained")
for ax, (title, heat) in zip(axes, seen.items()):
    shade = draw_strength(ax, heat, 5, title, shifted=title != "two blocks")
explain_strength(fig, axes, shade)
show(
    fig,
    "Which cells of a 12 by 12 map act on one cell: 16 in its window without shift, 64 in four "
    "windows when the second of two blocks is shifted, all 144 with four blocks.",
    "Solid: windows; dotted: shifted ones; white dot: the cell that is asked; hatched: no "
    "influence. With four blocks all 144 cells act. All strengths below a thousandth of the "
    "largest look alike. Colour outside the window in the first panel would be a bug.",
)

# %% [markdown]
# Without the shift, no number of blocks leads out of a window. With it, a shifted window reaches into four, and so on.

# %% [markdown]
# ## Checkpoint
#
# Your ResNet against the library's:

# %% tags=["demo"]
images = model.batch([sample.image for sample in (scenes[i] for i in range(40))])
same(mine, model.backbone, images[:4], tolerance=1e-4)

# %% [markdown]
# Torchvision is the outside witness: a residual block whose norms have seen some batches, then Swin blocks without and with a shift.

# %%
from torchvision.models.resnet import BasicBlock
from torchvision.models.swin_transformer import SwinTransformerBlock

shortcut = nn.Sequential(conv(16, 24, 1, 2), nn.BatchNorm2d(24))
theirs, ours = BasicBlock(16, 24, 2, shortcut), MyBlock(16, 24, 2)
for _ in range(9):
    theirs(3 + 2 * torch.randn(8, 16, 10, 10))
ours.load_state_dict(theirs.state_dict())
same(ours.eval(), theirs.eval(), torch.randn(2, 16, 15, 22))

# %%
for shift in (0, 3):
    theirs = SwinTransformerBlock(96, 3, [7, 7], [shift, shift]).eval()
    nn.init.normal_(theirs.attn.relative_position_bias_table)
    ours = MySwinBlock(96, 3, window=7, shift=shift)
    # without the relative_position_index, of which we have our own
    weights = {name: w for name, w in theirs.state_dict().items() if "index" not in name}
    ours.load_state_dict(weights)
    same(ours, theirs, torch.randn(2, 21, 14, 96))

# %% [markdown] tags=["demo"]
# ## Experiment
#
# ### What a cell sees
#
# The equation says which pixels *can* act on a cell. How strongly do they? Take the gradient of the middle cell (of a random
# mixture of its channels) with respect to the picture; its square, summed over colours and averaged over pictures, is the
# **influence** of a pixel. Mosaics of nine scenes are large enough for the whole field.


# %% tags=["demo"]
# mosaic(scenes) lays nine pictures into one. settle(backbone, images) runs 40 batches in training
# mode, from which the norms take their running statistics; the weights stay as they are.
from minim2f.book.experiments.ch03 import mosaic, settle


def influence(backbone, images, level):
    """(B, 3, H, W) -> (H, W), sums to 1: each pixel's influence on the middle cell of res{level}"""
    images = images.clone().requires_grad_()
    cells = backbone(images)[f"res{level}"]
    middle = cells[:, :, cells.shape[2] // 2, cells.shape[3] // 2]
    (gradient,) = torch.autograd.grad(middle, images, torch.randn_like(middle))
    heat = gradient.square().sum(1)
    return (heat / heat.sum((1, 2), keepdim=True)).mean(0)


# %% tags=["demo"]
from minim2f.model.backbone import ResNet

tiles = [scenes[i].image for i in range(9 * 6)]
mosaics = [mosaic(tiles[i : i + 9]) for i in range(0, len(tiles), 9)]
pictures = model.batch(mosaics)  # (6, 3, 288, 288)
# tiny's backbone with random weights: "half" of the usual channels, and ordinary batch norms
# (frozen ones, which would ignore the batches, come in Break it)
fresh = settle(ResNet("resnet10_half", frozen_norm=False), images)
heats = {
    name: {level: influence(backbone, pictures, level) for level in (2, 3, 4, 5)}
    for name, backbone in (("random", fresh), ("trained", model.backbone))
}

# %% [markdown]
# No pixel outside the field has any influence. In a ResNet the field of cell $i$ is centred at pixel $r\,i$:

# %%
for (r, R), level in zip(can_see["tiny"], (2, 3, 4, 5)):
    at = 288 // r // 2 * r  # the pixel at the centre of the field
    inside = slice(at - R // 2, at + R // 2 + 1)
    for heat in (heats["random"][level], heats["trained"][level]):
        same(heat[inside, inside].sum(), 1.0)

# %% tags=["demo", "hide-input"]
from matplotlib.patches import Rectangle

fig, axes = plt.subplots(2, 4, figsize=(8.4, 4.7), layout="constrained")
grey = mosaics[0].float().mean(0)
for (name, maps), line in zip(heats.items(), axes):
    for ax, (r, R), level in zip(line, can_see["tiny"], (2, 3, 4, 5)):
        at = 288 // r // 2 * r
        view = slice(at - R // 2 - 8, at + R // 2 + 9)
        ax.imshow(grey[view, view], cmap="Greys_r", vmin=-300, vmax=300)
        strength = (maps[level] / maps[level].max()).clamp(min=1e-9).log10()[view, view]
        shade = ax.imshow(strength, vmin=-4, vmax=0, alpha=(strength > -4).float() * 0.85)
        for size, start, look in ((R, 8, "--"), (r, 8 + R // 2, "-")):
            box = Rectangle((start - 0.5, start - 0.5), size, size, fill=False, linestyle=look)
            box.set(edgecolor="black", linewidth=1.4)
            ax.add_patch(box)
        ax.set(title=f"{name}, res{level}: {R} px", xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
bar = fig.colorbar(shade, ax=axes, label="influence / largest", ticks=[-4, -3, -2, -1, 0])
bar.ax.set_yticklabels(["0.0001", "0.001", "0.01", "0.1", "1"])
show(
    fig,
    "The influence of each pixel on the middle cell of res2 to res5, with random weights above and "
    "trained ones below, each with the square that the cell stands for and its receptive field.",
    "Dashed: what the cell can see, a square of the side in the title; solid: the square that it "
    "stands for, right and below of the centre. Where the picture shows through, the influence is "
    "below 1/10,000 of the largest. Colour beyond the dashed line would be a bug.",
)

# %% [markdown]
# Which square around the centre holds 90 % of the influence?


# %%
def side(heat, centre):
    """(H, W) heat -> the side of the square around pixel (centre, centre) with 90 % of it"""
    for reach in range(len(heat)):
        inside = slice(max(centre - reach, 0), centre + reach + 1)
        if heat[inside, inside].sum() >= 0.9:
            return 2 * reach + 1


# %% [markdown]
# *Hypothesis:* a cell uses only the middle of what it can see, and training widens what it uses.
#
# Three seeds were measured before and after 300 training steps on the same mosaics, and stored. ± is the standard deviation.

# %%
from minim2f.book import experiments
from minim2f.book.experiments import ch03

same(influence, ch03.influence, fresh, pictures[:2], 3)  # ours equal those of the stored run
assert side(heats["trained"][4], 144) == ch03.side(heats["trained"][4], 144)
stored = experiments.read("03_backbone")
print(stored["command"])


def measured(when, what):
    """(seeds, 4): "side" or "displacement" for res2 ... res5, "before" or "after" the training"""
    return torch.tensor([run[when][what] for run in stored["runs"]], dtype=torch.float)


before, after = measured("before", "side"), measured("after", "side")
centres = [288 // r // 2 * r for r, R in can_see["tiny"]]
pairs = zip(heats["trained"].values(), centres)
shipped = torch.tensor([side(heat, at) for heat, at in pairs])
R = torch.tensor([R for r, R in can_see["tiny"]])
assert (before / R)[:, 1:].max() < 0.65 and (after / R)[:, 1:].max() < 0.55
assert (after < before).all() and (shipped < before).all()
assert (shipped > after.mean(0))[1:].all()
# the answer to Predict
assert all(60 < sides[..., 3].min() and sides.max() < 115 for sides in (before, after, shipped))
# the middle of the influence stays at the centre of the field, within a tenth of a stride
assert measured("after", "displacement").abs().max() < 0.1


# %% tags=["hide-input"]
def over_seeds(values, form=".0f", sign=""):
    return f"{values.mean():{sign}{form}} ± {values.std():{form}}"


lines = []
for level, (r, R) in enumerate(can_see["tiny"], 2):
    old, new = before[:, level - 2], after[:, level - 2]
    lines.append([f"res{level}", r, R, over_seeds(old), over_seeds(new)])
    lines[-1] += [over_seeds(new - old, sign="+"), shipped[level - 2].item()]
steps = stored["settings"]["steps"]
header = ["map", "stride", "can see", "90 %: random", f"after {steps} steps"]
table([*header, "after − random, same seed", "shipped model, 9,000 steps"], lines)

# %% [markdown]
# The first half holds from res3 on: about 0.6 of the side, a third of the area, is enough. The second half fails: in each seed,
# for each map, 300 steps *narrow* the square. After 9,000 steps (one run), those of res3 to res5 are no narrower than after 300, but
# narrower than random ones. "Understanding the effective receptive field" (last link) saw training widen them, in other networks;
# we do not know why ours differ.
#
# ### On photographs
#
# Is the box around a segment of a COCO photograph no larger than the field of ResNet-50?


# %%
def longer_side(mask):
    """(H, W) bool -> the longer side of the box around it, in pixels that the network sees

    Published models enlarge a photograph to a short side of 800 pixels, or to a long side of
    1,333, whichever comes first.
    """
    places = mask.nonzero()
    box = (places.amax(0) - places.amin(0) + 1).max().item()
    return box * min(800 / min(mask.shape), 1333 / max(mask.shape))


try:
    photographs = minim2f.data.open_dataset("coco-mini")
    samples = [photographs[i] for i in range(24)]
except FileNotFoundError:
    samples = []
    print("`minim2f data fetch` (10 MB) gets the photographs for this table")

boxes = {"things": [], "stuff": []}
for sample in samples:
    for label, mask in zip(sample.labels, sample.masks):
        # things can be counted, stuff cannot: sky, grass
        kind = "things" if photographs.categories[label]["isthing"] else "stuff"
        boxes[kind].append(longer_side(mask))

# %% tags=["hide-input"]
if samples:
    lines = []
    for kind, found in boxes.items():
        found = torch.tensor(found)
        fits = [f"{(found <= R).float().mean():.0%}" for r, R in can_see["ResNet-50"]]
        lines.append([kind, len(found), *fits])
    header = [f"fits res{level} ({R} px)" for level, (r, R) in enumerate(can_see["ResNet-50"], 2)]
    table(["segments", "how many", *header], lines)

# %% [markdown]
# The field of a res5 cell is large enough for 80 % of the things and 37 % of the stuff, if their boxes lie centred in it. The rest
# is left to the pixel decoder and the queries.

# %% [markdown] tags=["demo"]
# ## Break it
#
# ### The stride in the wrong place
#
# In res3, res4 and res5, move the stride of 2 from the first convolution to the second. Weights and shapes fit. What becomes of the
# trained model?

# %% tags=["demo"]
import copy

from minim2f.training.evaluation import evaluate


def swapped(block):
    """A copy of a block, with the strides of its first two convolutions exchanged"""
    block = copy.deepcopy(block)
    block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride
    return block


broken = copy.deepcopy(model)
for name in ("res3", "res4", "res5"):
    setattr(broken.backbone, name, nn.Sequential(swapped(getattr(model.backbone, name)[0])))
unseen = minim2f.data.open_dataset("scenes", split="val", length=30)
# PQ, from 0 to 1, tells how good a panoptic result is
pq = {name: evaluate(m, unseen)["All"]["pq"] for name, m in (("right", model), ("moved", broken))}
print(", ".join(f"{name}: PQ {value:.2f}" for name, value in pq.items()))
with torch.no_grad():
    pairs = zip(model.backbone(images).items(), broken.backbone(images).values())
    # in units of the length of the map, taken as one long vector
    apart = {name: (a - b).norm() / a.norm() for (name, a), b in pairs}
print(", ".join(f"{name} differs by {value:.0%}" for name, value in apart.items()))
assert 0.02 < pq["right"] - pq["moved"] < 0.1 and apart["res5"] > 0.3

# %% [markdown]
# From res3 on, maps differ by more than half of their length, yet PQ falls by less than 0.1: it looks like a slightly worse model.
#
# The first ResNets had a bottleneck's stride in the first 1 × 1, which then reads one cell of four; torchvision has it in the
# 3 × 3. Weights belong to one of them. The gradient tells which a block has:


# %%
from torchvision.models.resnet import Bottleneck


def unread(block):
    """The share of cells that nothing of the result depends on"""
    x = torch.randn(1, 64, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(block(x).sum(), x)
    return (gradient == 0).all(1).float().mean().item()


block = Bottleneck(64, 32, 2, conv(64, 128, 1, 2)).eval()
print(f"in the 3 × 3: {unread(block):.0%} unread, in the 1 × 1: {unread(swapped(block)):.0%}")
assert unread(block) == 0 and unread(swapped(block)) == 0.75

# %% [markdown] tags=["demo"]
# ### A norm that mixes pictures
#
# In training, a batch norm takes mean and variance from the batch, so a cell depends on the other pictures too. By how much?
# Ten times, put a scene into two batches that differ otherwise:

# %% tags=["demo"]
learning = copy.deepcopy(model.backbone).train()


@torch.no_grad()
def change(backbone, B):
    """(10, 4): how much res2 ... res5 of a scene change in another batch of B, ten draws"""
    found = []
    for seed in range(10):
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        first, *others = images[order[: 2 * B - 1]]
        batches = [first, *others[: B - 1]], [first, *others[B - 1 :]]
        one, two = (backbone(torch.stack(batch)).values() for batch in batches)
        found.append([(a[0] - b[0]).norm() / a[0].norm() for a, b in zip(one, two)])
    return torch.tensor(found)


changes = {B: change(learning, B) for B in (2, 4, 8, 16)}
assert change(model.backbone, 2).max() < 1e-4

# %% tags=["hide-input"]
lines = []
for B, found in changes.items():
    lines.append([B, *(f"{c.mean():.0%} ± {c.std():.0%}" for c in found.T)])
table(["pictures in a batch", "res2 changes by", "res3", "res4", "res5"], lines)

# %% [markdown]
# With running statistics nothing changes. In training, res5 changes by about a third if the batch holds one other picture, by a
# sixth if it holds 15 (±: over ten draws). Photographs are large; a GPU often holds two. So published models **freeze** norms:
# statistics *and* factors stay as ImageNet left them, in training too. This is the middle formula:

# %%
from torchvision.ops import FrozenBatchNorm2d

norm, frozen = mine.stem[1], FrozenBatchNorm2d(32)
frozen.load_state_dict(norm.state_dict())
x = torch.randn(2, 5, 5, 32)  # channels last, to meet vectors of (C,)
deviation = (norm.running_var + norm.eps).sqrt()
by_hand = norm.weight * (x - norm.running_mean) / deviation + norm.bias
same(by_hand.movedim(3, 1), frozen.train(), x.movedim(3, 1))

# %% [markdown]
# ### A shift without its mask
#
# Leave $M$ out. Which cells act on the lower right corner?

# %%
right, leaking = blocks(0, 2), blocks(0, 2)
leaking[1].attn.mask = lambda x: 0.0
corner = {name: acting(b, 11, 11) for name, b in (("with M", right), ("without M", leaking))}
assert [int((heat > 0).sum()) for heat in corner.values()] == [16, 64]
assert corner["without M"][0, 0] > 0

# %% tags=["hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(5.8, 2.7), layout="constrained")
for ax, (title, heat) in zip(axes, corner.items()):
    shade = draw_strength(ax, heat, 11, title, shifted=True)
explain_strength(fig, axes, shade)
show(
    fig,
    "Which cells act on the lower right corner of a 12 by 12 map: 16 cells around it with the "
    "mask, and the other three corners too without it.",
    "Two blocks, the second shifted; lines, dot and hatching as above. Left, only the window that "
    "the corner lies in acts on it. Right, opposite edges have become neighbours: a picture's "
    "grass would listen to its sky.",
)

# %% [markdown]
# **How to notice it in your own training.** After copying weights, compare maps with those
# of their origin. Ask whether a picture's maps depend on its batch, and whether one edge depends on the
# opposite one.

# %% [markdown]
# ## Exercises
#
# ### 3.1 ★ Fold a norm
#
# A convolution without bias, then a frozen norm: make *one* convolution with a bias that does the same.


# %%
def fold(kernels, mean, var, weight, bias, eps):
    """(C, inputs, κ, κ), four (C,), a number -> kernels (C, inputs, κ, κ) and bias (C,)

    A variance or a weight may be 0.
    """
    ...


exercise("3.1", fold)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Write the norm as factor · x + summand. Which part can be done to the kernels beforehand?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The first axis of the kernels counts the channels that come out; `[:, None, None, None]` aligns a vector with it.
#
# </details>

# %% [markdown]
# ### 3.2 ★★ The block of ResNet-50
#
# A bottleneck: 1 × 1 to few channels, 3 × 3, 1 × 1 to many. Norms are left out, so `one`, `two`, `three` and `shortcut` are just
# kernels. Put the stride where torchvision has it.


# %%
def bottleneck(x, one, two, three, shortcut, stride):
    """(B, inputs, h, w), kernels (shortcut may be None), a number -> (B, outputs, ...)"""
    ...


exercise("3.2", bottleneck)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `F.conv2d(x, one)` is the first convolution. Count the ReLUs in `MyBlock`, and where they stand.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Both ways must arrive with the same size. *Break it* tells where the stride goes; which convolution needs padding?
#
# </details>

# %% [markdown]
# ### 3.3 ★★ Windows on a map of any size
#
# Fill the map up with zeros on the right and below, cut it, let `attend` change all windows at once (in any order), put them back,
# and crop. This time reshape, without `split`. A window may be larger than the map.


# %%
def in_windows(x, window, attend):
    """(B, h, w, C), a number, a function of (windows · B, window², C) -> (B, h, w, C)"""
    ...


exercise("3.3", in_windows)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# A row of 12 cells is 3 windows of 4: `unflatten(2, (-1, window))` makes two axes of one. Which axes must stand side by side before you
# flatten?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `F.pad` begins with the last axis: (0, 0, left, right, top, bottom) for channels last. `-size % window` tells how much is missing.
#
# </details>

# %% [markdown]
# ### 3.4 ★★★ Relative positions
#
# What a window of height × width cells adds to its scores. It need not be square, and may be a single cell: what does `slow_index`
# take for granted?


# %%
def relative_bias(table, height, width):
    """(offsets, heads), two numbers -> (heads, height · width, height · width)"""
    ...


exercise("3.4", relative_bias)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# List the cells as pairs (y, x), row by row; `torch.cartesian_prod` does. A difference of two such lists, one of them with an
# extra axis, holds all offsets.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Offsets run from −(height − 1) to height − 1 rows down. How many different offsets to the right belong to each of these rows?
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | | paper | official code | ours |
# | --- | --- | --- | --- |
# | backbones | ResNet-50, -101; Swin-T, S, B, L | the same | and two small ResNets |
# | stride of a bottleneck | – | in the 3 × 3, switchable | in the 3 × 3 |
# | norms of a ResNet | – | frozen for COCO | frozen, except in tiny |
# | layer norm on Swin's four maps | – | yes | yes |
# | shift if one window holds the map | – | yes; torchvision: no | yes |
# | $M$ where cells are no neighbours | – | −100, after a softmax as good as −∞ | −100 |
# | PQ on COCO | ResNet-50 51.9, Swin-T 53.2, Swin-L 57.8 | | not trained |

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
library_table(
    {
        "MyResNet": "minim2f.model.backbone.ResNet",
        "frozen norm": "minim2f.ops.norm.FrozenNorm",
        "MyAttention, in_windows": "minim2f.model.swin.WindowAttention",
        "a Swin of such blocks": "minim2f.model.swin.Swin",
        "influence": "minim2f.book.experiments.ch03.influence",
    }
)

# %% [markdown]
# ## Recap
#
# - A field grows by $(\kappa - 1)\,r$ with each layer.
# - Your blocks equal torchvision's.
# - A cell uses the middle of its field; 300 training steps narrowed that.
# - Strides, norms and masks fail silently: compare numbers, ask the gradient.
# - A frozen norm disappears in the convolution before it.
# - A bottleneck: stride in the 3 × 3, last ReLU after the sum.
# - Windows: fill up, reshape, exchange two axes; then backwards.
# - A window has $(2 \cdot \mathrm{height} - 1)(2 \cdot \mathrm{width} - 1)$ offsets.

# %% [markdown]
# ## Further reading
#
# - [Deep residual learning](https://arxiv.org/abs/1512.03385), section 3: why to add.
# - [Swin transformer](https://arxiv.org/abs/2103.14030), section 3.2: windows and their shift.
# - [Understanding the effective receptive field](https://arxiv.org/abs/1701.04128): theory, and other networks.
