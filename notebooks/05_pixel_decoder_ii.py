# %% [markdown]
# # 5 · Pixel decoder II: deformable attention
#
# Let every cell of three maps read places of its own choice: as a loop, with `grid_sample`, and as a sum of rows.
#
# *read 45 min · run 20 s CPU · exercises 45 min*
#
# **Needs** chapter 4 · **Library** [`minim2f/model/deformable.py`](../minim2f/model/deformable.py), [`minim2f/ops/deformable.py`](../minim2f/ops/deformable.py) · **Paper** sections 3.2.2 and 4.1, Table 4e

# %% [markdown]
# ## You will be able to
#
# - say what full attention costs, and twelve places (Predict)
# - compute one head's reads by hand (The idea in small numbers)
# - place the centres of all cells (5.1)
# - turn offsets into places, on levels of any size (5.2)
# - write the sum of one head (5.3)
# - lay out where the heads look before training (5.4)
# - tell how rows lie in memory (Fast and short)
# - recognise undivided offsets, and exchanged axes (Break it)

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
# A backbone turns a picture into four maps, res2 to res5. A vector of a map is a **cell**; it stands for a square of
# pixels, whose side, 4, 8, 16 or 32, is the map's **stride**. The **pixel decoder** makes P5, P4 and P3 of them, for
# queries to look at, and $F_{pixel}$, to draw masks on. Chapter 4 did it with a **feature pyramid**: enlarge the coarser
# map, add the finer one.
#
# ### Attention in one breath
#
# - In **attention** some vectors ask, and some answer. Here every cell of three maps does both.
# - Linear maps turn who asks into a **query**, and who answers into a **key** and a **value**.
# - Query times key is a score. A softmax turns the scores of one query into **weights**, which sum to 1.
# - The query takes home the sum of all values, each times its weight.
# - Several **heads**, each with its own part of the C channels, do so side by side; a last linear map mixes what they bring.
#
# ### What is new
#
# In a pyramid, knowledge goes from coarse to fine, never back. Attention among all cells
# would let each learn from any other, but S cells make S² pairs. **Deformable attention** lets a
# head look at 4 places on each of 3 levels, twelve in all. It needs no keys: one linear map of the query says
# *where* to look, another *how much* each place counts.

# %% [markdown]
# ## Predict
#
# A picture of 1024 × 1024 pixels has 32² + 64² + 128² = 21,504 cells at strides 32, 16 and 8. There are 8 heads. How
# many weights does one layer of full attention have? How many are left with twelve places a head? And if the
# picture's side is doubled?
#
# <details><summary>Answer</summary>
#
# Full: 8 × 21,504² = 3.7 billion, 15 GB in float32. Twelve places: 8 × 12 × 21,504 = 2.1 million, 8 MB. Twice the side
# is four times the cells: 16 times as many weights with full attention, 4 times with twelve places.
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# Two levels, one channel, one head, two places on each level. A cell of the fine map asks: row 0, column 1. Its
# **reference point** is its centre, in fractions of the picture: x = 1.5/4, y = 0.5/2. **Offsets** say how far from
# there each place is, counted in *cells of the level that is read*.

# %% tags=["demo"]
coarse = torch.tensor([[10.0, 20]])  # 1 × 2 cells
fine = torch.tensor([[0.0, 4, 8, 4], [2, 6, 2, 0]])  # 2 × 4 cells
reference = torch.tensor([0.375, 0.25])  # x, y
offsets = torch.tensor([[[0.25, 0.25], [-0.25, 0.25]], [[1, 0], [0.5, 1]]])  # coarse, fine
weights = torch.tensor([[1.0, 1], [4, 2]]) / 8  # over both levels they sum to 1

size = torch.tensor([[[2.0, 1]], [[4, 2]]])  # w, h of each level
locations = reference + offsets / size
assert locations.tolist() == [[[0.5, 0.5], [0.25, 0.5]], [[0.625, 0.25], [0.5, 0.75]]]

# %% [markdown] tags=["demo"]
# By hand, with bilinear reads, which mix the cells around a place (chapter 4):
#
# | level | place | lies | reads | weight |
# | --- | --- | --- | --- | --- |
# | coarse | (0.5, 0.5) | between both cells | 15 | 1/8 |
# | coarse | (0.25, 0.5) | in the first's centre | 10 | 1/8 |
# | fine | (0.625, 0.25) | in a centre | 8 | 4/8 |
# | fine | (0.5, 0.75) | between 6 and 2 | 4 | 2/8 |
#
# The sum is (15 + 10 + 4 · 8 + 2 · 4)/8 = 8.125.
#
# List all cells, the coarse ones first. The same 8.125 is a **sum of rows** of this list: 5 of 10 rows get a weight. So this
# *is* attention, with a matrix of weights that is nearly empty.

# %% tags=["demo"]
rows = torch.cat([coarse.flatten(), fine.flatten()])  # rows 0, 1 are coarse, 2 to 9 fine
by_row = torch.zeros(10)
by_row[[0, 1, 4, 7, 8]] = torch.tensor([1 / 2 + 1, 1 / 2, 4, 2 / 2, 2 / 2]) / 8
assert by_row.sum() == 1 and by_row @ rows == 8.125

# %% tags=["demo", "hide-input"]
fig, axes = plt.subplots(1, 2, figsize=(8.6, 2.5), layout="constrained")
for j, (ax, cells) in enumerate(zip(axes, (coarse, fine))):
    h, w = cells.shape
    ax.imshow(cells, cmap="Greys", vmin=-4, vmax=60, extent=(0, 1, 1, 0), aspect=0.5)
    for k, value in enumerate(cells.flatten().tolist()):
        corner = (k % w + 0.06) / w, (k // w + 0.08) / h
        ax.text(*corner, f"row {k + 2 * j}: {value:g}", va="top", fontsize=9)
    ax.plot(*reference, "X", color="black", ms=9, label="reference point")
    for p, (x, y) in enumerate(locations[j].tolist()):
        ax.annotate("", (x, y), reference.tolist(), arrowprops={"arrowstyle": "->", "color": "C5"})
        ax.text(x, y + 0.06, f"weight {8 * weights[j, p]:.0f}/8", color="C5", va="top", ha="center")
    ax.set(title=("coarse", "fine")[j], xticks=[k / w for k in range(w + 1)], xlabel="x")
    ax.set(yticks=[k / h for k in range(h + 1)], ylabel="y")
    ax.grid(color="white", linewidth=2)
axes[0].legend(loc="lower right", fontsize=8)
show(
    fig,
    "The two maps over the same unit square, each cell with its row number and value; arrows go from "
    "the reference point to the two places on each map, with their weights.",
    "The cross is at the same place on both levels. One cell to the right is a quarter of the width "
    "on the fine level, and would be a half on the coarse one.",
)

# %% [markdown]
# ## The equation
#
# $$\mathrm{head}_i(s) = \sum_{j=3}^{5} \sum_{p=1}^{P} a_{ijp}(s)\; V_{ij}\!\left(x_s + \frac{\Delta_{ijp}(s)}{(w_j, h_j)}\right), \qquad \sum_{j,p} a_{ijp}(s) = 1$$
#
# A linear map mixes the heads. $\Delta$ and the scores behind $a$ are linear maps of the query: the cell
# plus its position (sines and cosines of x and y, and a vector of its level).
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $s$, $S$ | `S` | | the cell that asks; number of cells, all levels together |
# | $j$, $h_j$, $w_j$ | `sizes` | | a level; its height and width in cells |
# | $i$, $P$ | `heads`, `points` | | a head, of 8; places on a level, 4 |
# | $x_s$ | `reference` | (S, 2) | centre of the cell, x and y in [0, 1] |
# | $\Delta$ | `offsets` | (B, S, heads, levels, P, 2) | in cells of level $j$; B pictures |
# | $x_s + \ldots$ | `locations` | (B, S, heads, levels, P, 2) | places |
# | $a$ | `weights` | (B, S, heads, levels, P) | of places |
# | $V$ | `values` | (B, S, heads, D) | a linear map of the cells; D = C/heads; read bilinearly, outside is zero |
#
# ## Slow and obvious
#
# In float64: only mistakes can differ.


# %%
def slow_read(image, x, y):
    """A map (D, h, w) at one place -> (D,)"""
    h, w = image.shape[1:]
    u, v = x * w - 0.5, y * h - 0.5  # in cells, from the centre of the first
    read = torch.zeros_like(image[:, 0, 0])
    top, left = (int(t.detach().floor()) for t in (v, u))
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < h and 0 <= column < w:
                read = read + (1 - abs(u - column)) * (1 - abs(v - row)) * image[:, row, column]
    return read


# %%
def slow_head(maps, locations, weights):
    """One cell, one head: maps (D, h, w), (levels, P, 2), (levels, P) -> (D,)"""
    total = 0
    for j, image in enumerate(maps):
        for (x, y), weight in zip(locations[j], weights[j]):
            total = total + weight * slow_read(image, x, y)
    return total


same(slow_head([coarse[None], fine[None]], locations, weights), torch.tensor([8.125]))


# %%
def slow(values, sizes, locations, weights):
    """(B, S, heads, D), sizes, (B, S, heads, levels, P, 2), ... -> (B, S, heads, D)"""
    out = torch.zeros_like(values)
    for b, s, i in torch.cartesian_prod(*map(torch.arange, values.shape[:3])).tolist():
        levels = values[b, :, i].split([h * w for h, w in sizes])
        maps = [level.T.unflatten(1, size) for level, size in zip(levels, sizes)]
        out[b, s, i] = slow_head(maps, locations[b, s, i], weights[b, s, i])
    return out


# %% [markdown] tags=["demo"]
# ## Fast and short
#
# ### Level by level
#
# `grid_sample` reads a map at many places, counted from −1 to 1. One call a level; then weigh, and add.

# %% tags=["demo"]
from torch.nn import functional as F


def by_level(values, sizes, locations, weights):
    batch, _, heads, depth = values.shape
    reads = []
    for n, level in enumerate(values.split([h * w for h, w in sizes], dim=1)):
        image = level.permute(0, 2, 3, 1).reshape(batch * heads, depth, *sizes[n])
        grid = 2 * locations[:, :, :, n].transpose(1, 2).flatten(0, 1) - 1
        reads.append(F.grid_sample(image, grid, align_corners=False))
    weights = weights.transpose(1, 2).reshape(batch * heads, 1, locations.shape[1], -1)
    added = (torch.cat(reads, -1) * weights).sum(-1)
    return added.view(batch, heads, depth, -1).permute(0, 3, 1, 2)


# %% [markdown] tags=["demo"]
# ### A sum of rows
#
# A read is a weighted sum of four cells, so a head adds 3 levels × 4 places × 4 cells = 48 rows. Which rows, and with what
# share?


# %% tags=["demo"]
def four_cells(locations, sizes):
    """Places (..., levels, P, 2) -> numbers and shares of four cells each, (..., levels, P, 4)"""
    size = torch.tensor(sizes)[:, None]  # h and w of each level
    begin = torch.tensor([0] + [h * w for h, w in sizes])[:-1].cumsum(0)[:, None, None]
    v_u = locations.flip(-1) * size - 0.5  # y first, in cells
    around = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    cell = v_u.floor()[..., None, :] + around
    share = (1 - (v_u[..., None, :] - cell).abs()).prod(-1)
    inside = ((cell >= 0) & (cell < size[:, None])).all(-1)
    row, column = cell.long().unbind(-1)
    number = begin + row * size[:, None, :, 1] + column
    return number.where(inside, 0), share * inside


# %% [markdown] tags=["demo"]
# `embedding_bag` takes a table, row numbers and weights, and returns weighted sums. A row of this table is *one head's part
# of one cell*, D numbers.


# %% tags=["demo"]
def sum_of_rows(values, sizes, locations, weights):
    B, S, heads, D = values.shape
    cell, share = four_cells(locations, sizes)  # (B, S, heads, levels, P, 4)
    b, _, i = torch.meshgrid(*map(torch.arange, cell.shape[:3]), indexing="ij")
    row = (b * S)[..., None, None, None] + cell
    row = row * heads + i[..., None, None, None]
    table = values.reshape(-1, D)  # row (b S + cell) heads + head
    share = (share * weights[..., None]).flatten(3).flatten(0, 2)
    added = F.embedding_bag(
        row.flatten(3).flatten(0, 2), table, per_sample_weights=share, mode="sum"
    )
    return added.view(B, -1, heads, D)


# %%
def inputs(sizes, B=2, heads=2, D=3, points=4):
    """Random values, places (some lie outside) and weights, in float64"""
    S, levels = sum(h * w for h, w in sizes), len(sizes)
    values = torch.randn(B, S, heads, D)
    locations = 1.4 * torch.rand(B, S, heads, levels, points, 2) - 0.2
    weights = torch.randn(B, S, heads, levels * points).softmax(-1).unflatten(-1, (levels, points))
    values, locations, weights = (t.double() for t in (values, locations, weights))
    return [t.requires_grad_() for t in (values, locations, weights)]


sizes = [(1, 2), (2, 3), (3, 5)]
values, places, shares = inputs(sizes)
same(by_level(values, sizes, places, shares), slow(values, sizes, places, shares), tolerance=1e-12)
same(sum_of_rows, by_level, values, sizes, places, shares, tolerance=1e-12)

# %% [markdown]
# Gradients too, for values, places and weights:

# %%
towards = torch.randn_like(values)


def there_and_back(way):
    out = way(values, sizes, places, shares)
    return torch.autograd.grad(out, (values, places, shares), towards)


same(there_and_back(by_level), there_and_back(slow), tolerance=1e-12)
same(there_and_back(sum_of_rows), there_and_back(slow), tolerance=1e-12)

# %% [markdown]
# This is how places learn: shares change as a place moves, so its gradient is the difference between neighbouring cells.
# A place far outside reads zeros wherever it moves: its gradient is 0.
#
# ### How rows lie in memory
#
# Memory is one long line. Here are four cells with two heads of three channels (h and d). Head 1 reads cell 2: where are
# its three numbers?

# %% tags=["hide-input"]
cells, heads, D = 4, 2, 3
planes_line = [(c, i, d) for i in range(heads) for d in range(D) for c in range(cells)]
rows_line = [(c, i, d) for c in range(cells) for i in range(heads) for d in range(D)]
fig, axes = plt.subplots(2, 1, figsize=(9.6, 2.3), layout="constrained")
titles = "planes, (heads, D, h, w), for grid_sample", "rows, (S, heads, D), for embedding_bag"
for ax, line, title in zip(axes, (planes_line, rows_line), titles):
    for place, (c, i, d) in enumerate(line):
        read = (c, i) == (2, 1)
        look = {"edgecolor": "black" if read else "white", "linewidth": 3 if read else 1}
        shade = ("#56B4E9", "#E69F00", "#F0E442", "#CC79A7")[c]
        ax.add_patch(plt.Rectangle((place + 0.08, 0.06), 0.84, 0.88, facecolor=shade, **look))
        text = f"cell {c}\nh{i} d{d}"
        ax.text(place + 0.5, 0.5, text, ha="center", va="center", fontsize=7, linespacing=1.6)
    ax.set(xlim=(-0.1, len(line) + 0.1), ylim=(-0.05, 1.05), title=title)
    ax.axis("off")
show(
    fig,
    "Two lines of 24 boxes, four cells by two heads by three channels. As planes, the three numbers "
    "that head 1 reads of cell 2 stand four boxes apart; as rows, side by side.",
    "Framed: what is read. A published model has D = 32 and reads 48 times: as planes, 48 × 32 single "
    "numbers; as rows, 48 pieces, each fetched in one go.",
)

# %% [markdown]
# And `embedding_bag` adds rows as it meets them: no read is written down.
#
# ### The module
#
# Centres are exercise 5.1, places 5.2: until then, the library makes both. `shapes.check` stops the run if a shape is
# not what its letters say; under `@shapes.scoped` a letter keeps its size.

# %%
from torch import nn

from minim2f.model.position import pixel_centres
from minim2f.ops.deformable import as_fractions


class MyAttention(nn.Module):
    def __init__(self, C, heads=8, levels=3, points=4):
        super().__init__()
        self.shape = heads, levels, points
        self.offsets = nn.Linear(C, heads * levels * points * 2)
        self.weights = nn.Linear(C, heads * levels * points)
        self.values, self.output = nn.Linear(C, C), nn.Linear(C, C)

    @shapes.scoped
    def forward(self, query, reference, memory, sizes):
        """(B, S, C) with positions, (S, 2), (B, S, C) without, sizes -> (B, S, C)"""
        heads, levels, points = self.shape
        offsets = self.offsets(query).unflatten(-1, (*self.shape, 2))
        weights = self.weights(query).unflatten(-1, (heads, -1)).softmax(-1)  # over all twelve
        weights = weights.unflatten(-1, (levels, points))
        locations = reference[:, None, None, None] + as_fractions(offsets, sizes)
        shapes.check("locations", locations, f"B S {heads} {levels} {points} 2")
        values = self.values(memory).unflatten(-1, (heads, -1))
        return self.output(sum_of_rows(values, sizes, locations, weights).flatten(2))


# %% [markdown]
# The rest of a layer: add the result to the cells, layer norm, a feed-forward network, add, layer norm. After six
# such layers, one step of chapter 4's pyramid with res2 makes $F_{pixel}$.

# %% [markdown] tags=["demo"]
# ## Shapes
#
# The tiny model has a pyramid. Here is one with deformable attention, untrained.

# %% tags=["demo"]
scenes = minim2f.data.open_dataset("scenes", split="val")
config = minim2f.preset("tiny", categories=scenes.categories, pixel_decoder="msdeform")
model = minim2f.Mask2Former(config).eval()
sample = scenes[9]
with torch.no_grad(), shapes.watch() as tensors:
    model(model.batch([sample.image]))

# %% tags=["hide-input"]
meanings = {
    "pixels": "a channel of a cell of res5, res4 or res3, brought to C channels",
    "positions": "what is added to it where it asks",
    "offsets_1": "x or y, in cells of the level that is read",
    "locations_1": "the place, as a fraction of the picture",
    "weights_1": "how much it counts; twelve sum to 1",
    "encoded_1": "the cells after the first layer",
    "encoded_6": "and after the last",
    "P5": "its first part, as a map again",
    "P3": "its last part",
    "F_pixel": "P3, enlarged, and res2",
}
shape_table(tensors, meanings=meanings)

# %% [markdown]
# (The library says Q for the cells that ask, and S for those that answer. Here they are the same.)

# %% [markdown] tags=["demo"]
# ## Look
#
# ### Before training
#
# The linear map of the offsets starts with weights of 0, and a bias that sends each head its own way: to the right, to the
# lower right, down, and so on, 1 to 4 cells far. All weights start as 1/12.

# %% tags=["demo"]
from minim2f.model.deformable import DeformableAttention

first = DeformableAttention(64).offsets.bias.detach().view(8, 3, 4, 2)
print(first[:, 0, 0].round().int().tolist())  # each head's first place, x and y; same on all levels


# %% [markdown]
# ### After training
#
# The experiment below trained such models. Here are three cells of P3, in the last of six layers.

# %%
from minim2f.book import experiments

stored = experiments.read("05_deformable_attention")
runs = {(run["variant"], run["seed"]): run for run in stored["runs"]}


# %%
def points_of(run, layer):
    """[(cell, places (8, 3, 4, 2), weights (8, 3, 4))] of the three cells"""
    found = []
    for drawn in run["drawn"]:
        if drawn["layer"] == layer:
            points = torch.tensor(drawn["x, y, weight"]).view(8, 3, 4, 3)
            found.append((drawn["cell"], points[..., :2], points[..., 2]))
    return found


# %% tags=["hide-input"]
from minim2f import plots


def draw_points(ax, places, weights, title):
    """96 places: a marker for each level, larger for coarser cells; darker where it counts more"""
    plots.draw_image(ax, 140 + sample.image // 5 * 2, title)
    for j, look in enumerate("so^"):
        x, y = (96 * places[:, j].flatten(0, 1) - 0.5).unbind(-1)
        shade = (weights[:, j].flatten() * 6).clamp(0.03, 1)
        style = {"s": [46, 24, 13][j], "c": ["C5", "C0", "black"][j], "lw": 0}
        ax.scatter(x.numpy(), y.numpy(), marker=look, alpha=shade.numpy(), **style)
    ax.set(xlim=(-40, 136), ylim=(136, -40))


fig, axes = plt.subplots(2, 3, figsize=(9, 6.2), layout="constrained")
for n, (cell, places, weights) in enumerate(points_of(runs["learned", 0], layer=6)):
    centre = (torch.tensor(cell[::-1]) + 0.5) / 12
    level_size = torch.tensor([3.0, 6, 12])[:, None, None]
    start = centre + first / level_size
    kind = ("largest thing", "smallest thing", "largest stuff")[n]
    draw_points(axes[0, n], start, torch.full((8, 3, 4), 1 / 12), f"{kind}: before")
    draw_points(axes[1, n], places, weights, f"{kind}: after")
    for ax in axes[:, n]:
        ax.plot(*(96 * centre - 0.5), "X", color="white", mec="black", ms=10)
show(
    fig,
    "A scene six times, with the 96 places that a cell reads: above before training, a star of eight "
    "rays; below after training, for cells in a large thing, a small thing and stuff.",
    "Cross: the cell that asks, at the centre of its segment. Squares are read on P5, circles on P4, "
    "triangles on P3; darker ones count more. Above, the same star everywhere. Below it is torn: places "
    "gather, some count for much, and many lie outside, where a head reads zeros. A whole star below "
    "would say that nothing was learned. (Some places lie beyond the frame.)",
)

# %% [markdown]
# ## Checkpoint
#
# Your module against the library's, with the same weights, shaken so that none is 0.

# %%
theirs = DeformableAttention(64)
for parameter in theirs.parameters():
    nn.init.normal_(parameter, std=0.2)
mine = MyAttention(64)
mine.load_state_dict(theirs.state_dict())  # refuses a missing or a surplus weight
sizes = [(3, 3), (6, 6), (12, 12)]
reference = torch.cat([pixel_centres(h, w, torch.zeros(())) for h, w in sizes])
memory, position = torch.randn(2, 189, 64), torch.randn(1, 189, 64)
same(mine, theirs, memory + position, reference, memory, sizes, tolerance=1e-4)

# %% [markdown]
# `grid_sample` was the outside witness of the values. The library's backward pass is written by hand; its witness is **finite
# differences**: change each number a little, and see how the result changes.

# %%
from minim2f.ops.deformable import attend

small = [(1, 2), (2, 3)]
tensors = inputs(small, B=1, points=2)
assert torch.autograd.gradcheck(
    lambda v, at, w: attend(v, small, at, w), tensors, eps=1e-7, atol=1e-5
)
print("✔ the gradients are the finite differences")

# %% [markdown] tags=["demo"]
# ## Experiment
#
# ### What it costs
#
# Full attention is two products, scores and sums: 4 S² C operations. Twelve places add 48 rows, 2 · 48 S C. So full attention
# computes S/24 times as much. (The linear maps around it cost about the same in both.)
#
# *Hypothesis:* twice the side takes 16 times as long with full attention, 4 times with twelve places. One thread, C = 256;
# `scaled_dot_product_attention` is PyTorch's fast one, and never writes all weights down.

# %% tags=["demo"]
import time
from functools import partial

from minim2f.model.position import pixel_centres
from minim2f.ops.deformable import attend


def best(work, rounds):
    """The least milliseconds of some rounds; of this thread alone, whatever else the machine does"""
    took = []
    for _ in range(rounds):
        begin = time.thread_time()
        work()
        took.append(1e3 * (time.thread_time() - begin))
    return min(took)


# %% tags=["demo"]
def ways(side):
    """Full and deformable attention among the cells of a square picture: two calls, not made yet"""
    sizes = [(side // r, side // r) for r in (32, 16, 8)]
    centres = torch.cat([pixel_centres(h, w, torch.zeros(())) for h, w in sizes])
    S = len(centres)
    q, k, v = torch.randn(3, 1, 8, S, 32)
    size = torch.tensor(sizes)[:, None]
    locations = centres[None, :, None, None, None] + first / size
    weights = torch.full((1, S, 8, 3, 4), 1 / 12)
    values = v.transpose(1, 2).contiguous()
    full = partial(F.scaled_dot_product_attention, q, k, v)
    return S, full, partial(attend, values, sizes, locations, weights)


# %% tags=["demo"]
torch.set_num_threads(1)
cost = {}
with torch.no_grad():
    for side in (128, 256, 512):
        S, *both = ways(side)
        cost[side] = [S, *(best(way, rounds=4 * (512 // side) ** 2) for way in both)]
growth = [[cost[b][n] / cost[a][n] for n in (1, 2)] for a, b in ((128, 256), (256, 512))]
assert growth[1][0] > growth[1][1] and cost[512][1] > 4 * cost[512][2]

# %% tags=["demo", "hide-input"]
lines = []
for side in (128, 256, 512, 1024):
    S = sum((side // r) ** 2 for r in (32, 16, 8))
    _, full, few = cost.get(side, (S, None, None))
    line = [
        f"{side} × {side}",
        f"{S:,}",
        f"{4 * S**2 * 256 / 1e9:.1f}",
        f"{96 * S * 256 / 1e9:.2f}",
    ]
    line += [f"{8 * S**2 * 4 / 1e6:,.0f} MB", f"{96 * S * 4 / 1e6:.1f} MB"]
    lines.append(line + [f"{ms:.1f}" if ms else "–" for ms in (full, few)])
header = ["picture", "S", "billion operations: full", "twelve places"]
header += ["memory of the weights: full", "twelve places", "milliseconds: full", "twelve places"]
table(header, lines)
for (full, few), step in zip(growth, ("128 → 256", "256 → 512")):
    print(f"{step}: full {full:.0f} times, twelve places {few:.1f} times as long")

# %% [markdown]
# *Verdict:* 16 is right. For twelve places the first step takes 3 to 5 times as long, the second 6 to 10, probably since the
# rows no longer fit into the processor's fast memory. At 512 they compute S/24 = 224 times less, and are only 20 to 30
# times as fast (appendix E).
#
# ### Do learned places pay?
#
# Two tiny models a seed, trained alike from the same weights. In one the places learn, in the other they stay where they
# start. *Hypothesis:* learned places segment better.

# %% tags=["hide-input"]
seeds = sorted({seed for _, seed in runs})
scores = {"PQ": "pq", "things": "pq_things", "stuff": "pq_stuff"}
pq = {}
for kind in ("learned", "fixed"):
    for s in scores.values():
        pq[kind, s] = torch.tensor([runs[kind, seed][s] for seed in seeds])
lines = []
for kind in ("learned", "fixed"):
    each = [f"{pq[kind, s].mean():.3f} ± {pq[kind, s].std():.3f}" for s in scores.values()]
    lines.append([f"places {kind}", *each])
for n, seed in enumerate(seeds):
    apart = [f"{pq['learned', s][n] - pq['fixed', s][n]:+.3f}" for s in scores.values()]
    lines.append([f"learned − fixed, seed {seed}", *apart])
table(["", *scores], lines)
wins = (pq["learned", "pq"] > pq["fixed", "pq"]).sum()
assert 0 < wins < len(seeds)  # as the text says
settings = stored["settings"]
spent = sum(run["seconds"] for run in runs.values())
print(f"{settings['steps']} steps, {settings['unseen_scenes']} unseen scenes")
print(f"{stored['command']}: {spent / 60:.0f} minutes, torch {stored['versions']['torch']}")

# %% [markdown]
# *Verdict:* not shown. Learned places win twice, and lose once by more. (The paper won its 1.2 PQ over a pyramid on
# photographs, in 50 epochs.)
#
# ### Where do they go?
#
# *Hypothesis:* places move into the segment of the cell that asks. Measured over the cells of P3, each place with its weight.


# %% tags=["hide-input"]
def shares_of(found):
    """Own segment, that of things, outside, distance, then the levels"""
    return [found[name] for name in ("own", "own_things", "outside", "reach")] + found["levels"]


moments = {"before": [runs["learned", seed]["before"] for seed in seeds]}
for n in range(6):
    moments[f"layer {n + 1}"] = [runs["learned", seed]["after"][n] for seed in seeds]
moments["layer 6, places fixed"] = [runs["fixed", seed]["after"][5] for seed in seeds]
lines = []
for title, found in moments.items():
    values = torch.tensor([shares_of(each) for each in found])
    mean, spread = values.mean(0), values.std(0)
    shown = [f"{100 * m:.0f} ± {100 * d:.0f} %" for m, d in zip(mean, spread)]
    shown[3] = f"{mean[3]:.0f} ± {spread[3]:.0f} pixels"
    lines.append([title, *shown])
for (kind, _), run in runs.items():
    least = 0.75 if kind == "learned" else 0.9
    assert all(layer["own"] < least * run["before"]["own"] for layer in run["after"][5:])
    assert run["after"][5]["outside"] > 0.5
header = [
    "",
    "own segment",
    "own, cells of things",
    "outside",
    "distance",
    "of P5",
    "of P4",
    "of P3",
]
table(header, lines)

# %% [markdown]
# *Verdict:* it fails in every seed. In layers 4 to 6 the share in the own segment is 10 to 13 %, down from 19 %; fixed places
# come to some 14 % by their weights alone. A cell need not fetch what it has: the result is *added* to it. And over half of the
# weight lies outside, where heads read zeros. Would longer training or larger pictures change that? It is open here.
#
# ### On photographs
#
# P5 of a scene has 3 × 3 cells, so most first reads miss it. And in photographs of COCO, enlarged to a short side of 800
# pixels? What cells of P3 read at first:


# %%
def first_look(ids, height, width, by=None, flip=False):
    """ids (H, W) of a picture seen at this size -> cells; outside on P5, P4, P3; own segment"""
    sizes = [(height // r, width // r) for r in (32, 16, 8)]
    centres = pixel_centres(*sizes[2], torch.zeros(()))
    size = torch.tensor(by or sizes)[:, None].flip(-1)  # what offsets are divided by
    start = centres.flip(-1) if flip else centres
    places = start[:, None, None, None] + first / size  # (cells, 8, 3, 4, 2)
    scale = torch.tensor(ids.shape[::-1])
    outside = ((places < 0) | (places >= 1)).any(-1)
    x, y = (places * scale).long().where(~outside[..., None], 0).unbind(-1)
    column, row = (centres * scale).long().unbind(-1)
    asking = ids[row, column]
    own = (ids[y, x] == asking[:, None, None, None]) & ~outside
    share = own[asking > 0].float().mean().item()
    cells = sum(h * w for h, w in sizes)
    return [cells, *outside.float().mean((0, 1, 3)).tolist(), share]


# %%
looks = {"drawn scenes, 96 × 96": [first_look(scenes[i].ids, 96, 96) for i in range(24)]}
try:
    photographs = minim2f.data.open_dataset("coco-mini")
    found = []
    for i in range(24):
        ids = photographs[i].ids
        scale = 800 / min(ids.shape)
        found.append(first_look(ids, *(round(n * scale / 32) * 32 for n in ids.shape)))
    looks["photographs, short side 800"] = found
except FileNotFoundError:
    print("`minim2f data fetch` (10 MB) gets the photographs for this table")

# %% tags=["hide-input"]
lines = []
for name, found in looks.items():
    cells, *shares = torch.tensor(found).mean(0).tolist()
    memory = sum(8 * line[0] ** 2 * 4 for line in found) / len(found)
    lines.append([name, f"{cells:,.0f}", *(f"{share:.0%}" for share in shares)])
    lines[-1].append(f"{memory / 1e9:.1f} GB" if memory > 1e8 else f"{memory / 1e6:.1f} MB")
header = ["pictures", "cells", "outside, P5", "P4", "P3", "in the own segment"]
table([*header, "weights of full attention, a layer"], lines)

# %% [markdown]
# In a scene, four of five first reads on P5 miss the picture. In a photograph one in eight does, and three quarters of all
# reads stay in the own segment, since segments have more cells. Full attention would have some 10 GB of weights in every
# layer.

# %% [markdown] tags=["demo"]
# ## Break it
#
# Two mistakes that run without a word: offsets not divided by the level's size, and x and y exchanged. To see them, let the
# picture itself be the maps, at strides 8, 4 and 2.

# %% tags=["demo"]
maps = [F.avg_pool2d(sample.image.float() / 255, r) for r in (8, 4, 2)]
sizes = [tuple(m.shape[1:]) for m in maps]
colors = torch.cat([m.flatten(1).T for m in maps])[None, :, None]  # (1, S, one head, D = 3)
asking = pixel_centres(*sizes[2], torch.zeros(()))  # the finest cells


def seen(reference, offsets, size):
    """What each cell of the finest map sees on it, with four equal weights -> (48, 48, 3)"""
    locations = reference[:, None, None, None] + offsets / size
    locations = locations.expand(len(reference), 1, 3, 4, 2)[None]
    weights = torch.zeros(1, len(reference), 1, 3, 4)
    weights[:, :, :, 2] = 1 / 4
    return attend(colors, sizes, locations, weights).view(48, 48, 3)


# %% tags=["demo"]
size = torch.tensor(sizes).flip(1)[:, None]  # w, h of each level
head_0 = first[:1]
right = {"no offsets": seen(asking, 0 * head_0, size), "head 0": seen(asking, head_0, size)}
wrong = {
    "no offsets, x and y exchanged": seen(asking.flip(1), 0 * head_0, size),
    "head 0, not divided": seen(asking, head_0, torch.ones(1)),
}

# %% [markdown] tags=["demo"]
# Predict: what does each panel show?

# %% tags=["demo", "hide-input"]
fig, axes = plt.subplots(1, 4, figsize=(9.6, 2.6), layout="constrained")
for ax, (title, view) in zip(axes, {**right, **wrong}.items()):
    ax.imshow(view.clamp(0, 1))
    ax.set(title=title, xticks=[], yticks=[])
show(
    fig,
    "Four views of a scene: as it is; shifted to the left and blurred; mirrored at its diagonal; and "
    "all black.",
    "Without offsets, a cell sees itself. Head 0 looks 1 to 4 cells to the right, so the picture comes "
    "from there. Any other first panel would be a bug.",
)

# %%
same(right["no offsets"], maps[2].permute(1, 2, 0))
same(wrong["no offsets, x and y exchanged"], maps[2].permute(2, 1, 0))
assert wrong["head 0, not divided"].max() < 1e-3

# %% [markdown]
# - **Exchanged**, a cell reads around its mirror image. Cells on the diagonal, the picture's middle among them, are right,
#   which hides the mistake.
# - **Not divided**, an offset of one cell is the whole width: every place lies outside, reads zeros, and stays there.
#
# How many places get a gradient at all?


# %%
def moved(size):
    """The share of places that get a gradient when offsets are divided by this"""
    offsets = first.expand(189, 8, 3, 4, 2).clone().requires_grad_()
    locations = reference[:, None, None, None] + offsets / size  # of the Checkpoint's 189 cells
    weights = torch.full((1, 189, 8, 3, 4), 1 / 12)
    read = attend(torch.randn(1, 189, 8, 8), [(3, 3), (6, 6), (12, 12)], locations[None], weights)
    read.square().sum().backward()
    return (offsets.grad != 0).any(-1).float().mean().item()


gets = moved(torch.tensor([3, 6, 12])[:, None, None]), moved(1)
print(f"divided {gets[0]:.0%}, not divided {gets[1]:.1%}")
assert gets[0] > 0.3 and gets[1] < 0.05

# %% [markdown]
# **How to notice it in your own training.** Keep the test of the first panel: with offsets of 0, and all weight on its own
# level, a cell reads itself. And log, before the first step, what the first look reads:

# %%
broken = {
    "right": {},
    "x and y exchanged": {"flip": True},
    "not divided": {"by": [(1, 1)] * 3},
    "divided by the size of P3 on all levels": {"by": [(12, 12)] * 3},
}
logged = {
    name: torch.tensor([first_look(scenes[i].ids, 96, 96, **how) for i in range(24)]).mean(0)
    for name, how in broken.items()
}
assert logged["not divided"][1:4].min() > 0.99 and logged["not divided"][4] < 0.01
assert logged["right"][4] > logged["x and y exchanged"][4] + 0.05

# %% tags=["hide-input"]
table(
    ["first look", "outside, P5", "P4", "P3", "in the own segment"],
    [[name, *(f"{share:.0%}" for share in found[1:].tolist())] for name, found in logged.items()],
)

# %% [markdown]
# Exchanged axes show in the last column alone. And the last row looks *better* than what is right, since its look is
# shorter on P5 and P4. So numbers raise questions; the test answers them.

# %% [markdown]
# ## Exercises
#
# ### 5.1 ★ Centres
#
# Write the reference points of all cells, level by level, row by row, as fractions of the picture. Levels of 1 × 2 and
# 2 × 4 cells begin with (0.25, 0.5), (0.75, 0.5), (0.125, 0.25).


# %%
def reference_points(sizes):
    """[(h, w), ...] -> (S, 2), x and y"""
    ...


exercise("5.1", reference_points)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Along a line of w cells, where is the centre of the first, and how far is it to the next?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Of the two, x changes fastest. `repeat` says a line again and again, `repeat_interleave` says each of its numbers several
# times.
#
# </details>

# %% [markdown]
# ### 5.2 ★★ Places
#
# From reference points and offsets to places, for all cells, heads and levels at once.


# %%
def places(reference, offsets, sizes):
    """(S, 2), (S, heads, levels, P, 2), [(h, w), ...] -> (S, heads, levels, P, 2)"""
    ...


exercise("5.2", places)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# An offset is counted in cells of the level that is *read*; a place is a fraction. What part of the width is one cell?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# A size is (h, w), an offset (x, y). Levels are the third axis: the divisors need the shape (levels, 1, 2), the reference
# three new axes.
#
# </details>

# %% [markdown]
# ### 5.3 ★★★ One head
#
# Write the sum of one head, without `grid_sample` and `embedding_bag`. `values` has the cells of one level after the other; Q
# cells ask.


# %%
def one_head(values, sizes, at, weights):
    """(S, D), [(h, w), ...], (Q, levels, P, 2), (Q, levels, P) -> (Q, D)"""
    ...


exercise("5.3", one_head)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Level by level: cut its rows out of `values`, view them as a map, read it at (Q, P) places, weigh, add.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# As in exercise 4.2, each place has a hat over the columns, (Q, P, w), and one over the rows, (Q, P, h):
# `(1 - distance).clamp(min=0)`. What lies outside is then zero by itself, and one `torch.einsum` does the rest.
#
# </details>

# %% [markdown]
# ### 5.4 ★★ The first look
#
# Head i looks at the angle 2π i / heads, from the x axis towards y (which grows downwards). Its place p = 0, 1, … lies on a
# square around the cell: the larger of |x| and |y| is p + 1. The first places of 8 heads: (1, 0), (1, 1), (0, 1), and so
# on.


# %%
def first_offsets(heads, points):
    """Two numbers -> (heads, P, 2), x and y in cells"""
    ...


exercise("5.4", first_offsets)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First the directions on a circle, (heads, 2). Then bring each onto the square: which number must become 1?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Divide by the larger of |x| and |y|: `amax` with `keepdim=True`. Then two new axes, and a product with 1, 2, …, P.
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | | paper | official code | ours |
# | --- | --- | --- | --- |
# | layers, levels | 6; 1/8 to 1/32 | 6; res5, res4, res3 in this order | the same |
# | heads, places | as in Deformable DETR | 8, 4; the settings for both are never read | 8, 4 |
# | vector of the level | – | added to the position: reaches queries alone | the same |
# | operation | – | a CUDA extension, or `grid_sample` | sums of rows, own backward pass |
# | PQ on COCO, ResNet-50 | 51.9 (pyramid: 50.7) | | not trained |

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
library_table(
    {
        "MyAttention": "minim2f.model.deformable.DeformableAttention",
        "slow": "minim2f.ops.deformable.attend_slow",
        "sum_of_rows": "minim2f.ops.deformable.attend",
        "reference_points": "minim2f.model.position.pixel_centres",
        "places": "minim2f.ops.deformable.as_fractions",
        "the whole decoder": "minim2f.model.pixel_decoder.DeformablePixelDecoder",
        "the experiment": "minim2f.book.experiments.ch05.experiment",
    }
)

# %% [markdown]
# ## Recap
#
# - Full attention among cells grows with S², twelve places a head with S.
# - Centres are fractions, the same on all levels, half a cell from the edge.
# - Offsets count cells of the level that is read: divide by its w and h.
# - A head adds 48 rows: four with shares for each place.
# - At first the heads look in eight directions.
# - As rows, one head's part of a cell is one piece of memory.
# - With offsets of 0 a cell must read itself.

# %% [markdown]
# ## Further reading
#
# - [Deformable DETR](https://arxiv.org/abs/2010.04159), section 4.1: where it comes from.
# - [Deformable convolution](https://arxiv.org/abs/1703.06211): offsets that learn.
# - [The paper](https://arxiv.org/abs/2112.01527), Table 4e: five pixel decoders.
#
# [Appendix E](E_how_fast_and_why.ipynb) measures the sum of rows; [chapter 7](07_masked_attention.ipynb) looks at P5, P4
# and P3.
