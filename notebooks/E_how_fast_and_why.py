# %% [markdown]
# # E · How fast, and why
#
# Predict what a change to the code will save, measure it so that a noisy machine cannot fool you, and know when to stop.
#
# *read 20 min · run 30 s CPU · exercises 30 min*
#
# **Needs** chapters 5, 7, 9 and 10 · **Library** `minim2f/ops/deformable.py`, `minim2f/bench/measure.py` · **Paper** sections 3.2 and 3.3

# %% [markdown]
# ## You will be able to
#
# - count operations and bytes of a step, and say which of them sets its time (The idea in small numbers)
# - rearrange linear steps so that the smaller thing is computed (Fast and short)
# - turn scattered additions into sums of rows (E.2)
# - judge a change by measured pairs (Experiment)
# - say how much faster a whole can become when a part does (E.3)

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
where_we_are("backbone", "pixel decoder", "masked attention", "matching", "losses")

# %% [markdown]
# The results stay as the chapters before proved them; only the way there changes. Each change, a **lever**, is told in four steps: prediction, change, measurement, verdict.

# %% [markdown]
# ## Predict
#
# Two programs do the same training step. In the slower one, 60 of 100 milliseconds go into matrix products, which the
# other has to compute as well, with the same library. What is the most that the faster one can win?
#
# <details><summary>Answer</summary>
#
# 100 / 60, a factor of 1.7, and only if all else took no time at all. A factor of 2 is out of reach as soon as the
# shared products take more than half of the slower program's time.
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# A processor does two things: it computes, and it waits for memory. Take a toy that computes 100 operations a tick and
# moves 10 numbers a tick.
#
# - **Adding two vectors** of 1,000 numbers: 1,000 operations, 10 ticks. But 3,000 numbers move, 300 ticks.
# - **Multiplying two matrices**, 100 × 100: two million operations, 20,000 ticks. Only 30,000 numbers move, 3,000 ticks.
#
# Both happen at once, so the slower of the two sets the time. The sum waits for memory, the product for the processor.

# %% tags=["demo"]
def ticks(operations, numbers):
    return max(operations / 100, numbers / 10)


assert ticks(1_000, 3 * 1_000) == 300  # memory
assert ticks(2 * 100**3, 3 * 100**2) == 20_000  # the processor

# %% [markdown] tags=["demo"]
# So there are two kinds of levers. **Compute less**: find an order of steps in which the thing computed is smaller.
# **Move less**: never write down what is only going to be added up.
#
# The first kind, by hand. One query $(1, 2)$, two feature maps of 2 × 2 pixels, and you want the query's mask resized
# to one pixel, which is the mean. Draw first: the mask is $1 \cdot F_1 + 2 \cdot F_2$, then its mean. Resize
# first: the means of the maps, then the same sum.

# %% tags=["demo"]
query = torch.tensor([1.0, 2.0])
maps = torch.tensor([[[4.0, 0.0], [2.0, 2.0]], [[1.0, 1.0], [-3.0, 5.0]]])

drawn_first = (query[:, None, None] * maps).sum(0).mean()  # a mask of four pixels
resized_first = query @ maps.mean((1, 2))  # two means, never a mask
assert drawn_first == resized_first == 1 * 2 + 2 * 1

# %% [markdown]
# ## The equation
#
# A step that does $W$ operations and moves $Q$ bytes takes at least
#
# $$t \;\ge\; \max\Big(\frac{W}{\pi},\; \frac{Q}{\beta}\Big), \qquad I = \frac{W}{Q}.$$
#
# $I$ is the **arithmetic intensity**. Drawn over $I$, the speed that the bound allows is the **roofline**: a slope, where
# memory rules, then a flat roof. If parts with shares $p_k$ of the time become $s_k$ times faster, the whole becomes
#
# $$S = \frac{1}{1 - \sum_k p_k + \sum_k p_k / s_k}$$
#
# times faster, which is **Amdahl's law**.
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $W$ | `operations` | (K,) | additions and multiplications of each step |
# | $Q$ | `moved` | (K,) | bytes that a step must read and write |
# | $\pi$ | `peak` | one | operations a second, at best |
# | $\beta$ | `bandwidth` | one | bytes a second between processor and memory |
# | $p$, $s$ | `shares`, `speedups` | (K,) | share of the time, and times faster, of each part |
#
# $\pi$ and $\beta$ belong to a machine, so measure yours, with one thread: a large product, and a large copy.

# %% tags=["demo"]
import time

torch.set_num_threads(1)

def seconds(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


square, source = torch.randn(1024, 1024), torch.randn(2**24)
target = torch.empty_like(source)
product = lambda: torch.mm(square, square)
peak = 2 * 1024**3 / min(seconds(product) for _ in range(25))
bandwidth = 2 * source.nbytes / min(seconds(lambda: target.copy_(source)) for _ in range(25))
print(f"{peak / 1e9:.0f} billion operations, {bandwidth / 1e9:.0f} billion bytes a second")

# %% [markdown]
# ### A fair clock
#
# Other programs disturb a measurement. So run both ways **in turn**, and trust the ratio within a
# pair: a slow moment is slow for both. The first round does not count. Report the median, and the range of
# the middle half of the pairs; if that range comes within a twentieth of 1, you have not shown anything.

# %%
from statistics import median, quantiles

HEADER = ["slow → fast", "slow, ms", "fast, ms", "times faster", "middle half", "verdict"]

def race(name, slow, fast, rounds=7):
    slow(), fast()
    pairs = [(seconds(slow), seconds(fast)) for _ in range(rounds)]
    low, middle, high = quantiles([a / b for a, b in pairs], n=4)
    verdict = "pays" if low > 1.05 else "costs" if high < 0.95 else "open"
    times = [f"{1e3 * median(column):.2f}" for column in zip(*pairs)]
    return [name, *times, f"{middle:.2f}", f"{low:.2f}–{high:.2f}", verdict]

# %% [markdown]
# ## Slow and obvious
#
# Three places, as the paper tells them. The **attention mask** of a layer: draw all masks, resize them. The
# **matcher's points**: draw all masks, sample them. **Deformable attention**: on each level `grid_sample` all reads, then
# weigh and add. (`attend_slow` goes head by head.)

# %%
from torch.nn import functional as F
from minim2f.training import points as P

def draw(e, f_pixel):
    return torch.einsum("bnc,bchw->bnhw", e, f_pixel)


def draw_then_resize(e, f_pixel, size):
    return F.interpolate(draw(e, f_pixel), size, mode="bilinear").flatten(2)


def draw_then_sample(e, f_pixel, points):
    return P.sample(draw(e, f_pixel), points)

# %%
def by_level(values, sizes, locations, weights):
    """(B, S, M, D), L sizes, (B, Q, M, L, K, 2), (B, Q, M, L, K) -> (B, Q, M, D)"""
    B, _, M, D = values.shape
    reads = []
    for n, level in enumerate(values.split([h * w for h, w in sizes], dim=1)):
        image = level.permute(0, 2, 3, 1).reshape(B * M, D, *sizes[n])
        grid = 2 * locations[:, :, :, n].transpose(1, 2).flatten(0, 1) - 1
        reads.append(F.grid_sample(image, grid, align_corners=False))
    weights = weights.transpose(1, 2).reshape(B * M, 1, locations.shape[1], -1)
    return (torch.cat(reads, -1) * weights).sum(-1).view(B, M, D, -1).permute(0, 3, 1, 2)

# %% [markdown]
# ## Fast and short
#
# ### Lever 1: resize first, multiply afterwards
#
# Resizing is linear, and so is the product. *Prediction:* the map at 1/8 has a quarter of the pixels, so the product
# needs a quarter of the operations.

# %%
def resize_then_draw(e, f_pixel, size):
    return e @ F.interpolate(f_pixel, size, mode="bilinear").flatten(2)


e, planes = torch.randn(1, 100, 256), torch.randn(1, 256, 128, 128)  # of a picture of 512 pixels
f_pixel = planes.contiguous(memory_format=torch.channels_last)  # as the model makes it
same(resize_then_draw, draw_then_resize, e, f_pixel, (64, 64), tolerance=1e-3)

# %%
def nine_slow():
    return [draw_then_resize(e, f_pixel, (side, side)) for side in (16, 32, 64) * 3]


def nine_fast():  # each size once, for three layers
    small = [F.interpolate(f_pixel, (side, side), mode="bilinear") for side in (16, 32, 64)]
    return [e @ level.flatten(2) for level in small * 3]

# %%
rows = []
for name, maps in (("one layer, planes", planes), ("one layer, channels last", f_pixel)):
    ways = [lambda f=f: f(e, maps, (64, 64)) for f in (draw_then_resize, resize_then_draw)]
    rows.append(race(name, *ways))
table(HEADER, [*rows, race("nine layers, three sizes", nine_slow, nine_fast, 5)])

# %% [markdown]
# *Verdict:* it depends on the order in memory. Now you resize 256 channels instead of 100 masks. As planes, that takes longer
# than the product saves; channels last, a pixel's channels are averaged together. And queries change in every layer,
# $F_{pixel}$ does not: resized once for each of three sizes, it serves nine layers.
#
# ### Lever 2: sample first, multiply afterwards
#
# The matcher reads 100 masks at $P$ points. *Prediction:* it pays while $P$ is smaller than the number of pixels, and
# stops there. (Channels last, a point is also read differently: as a sum of four rows.)

# %%
from minim2f.ops.sampling import sample_rows


def sample_then_draw(e, f_pixel, points):
    return e @ sample_rows(f_pixel, points)


few, many = torch.rand(1, 1000, 2), torch.rand(1, 12544, 2)
same(sample_then_draw, draw_then_sample, e, f_pixel, few, tolerance=1e-3)

# %%
rows = []
for points in (few, many):
    ways = [lambda f=f: f(e, f_pixel, points) for f in (draw_then_sample, sample_then_draw)]
    rows.append(race(f"{points.shape[1]} points, 16384 pixels", *ways))
table(HEADER, rows)

# %% [markdown]
# *Verdict:* many times faster for few points; with 12,544, little is left. The experiment looks for the border.
#
# ### Lever 3: a sum of rows need not be written down
#
# A query and head adds 12 bilinear reads, which are 48 rows of 32 numbers. `by_level` writes all reads to memory, and
# reads them again to add them. *Prediction:* `embedding_bag`, which adds rows as it meets them, moves a small part of the
# bytes. Check the way back too: most of a training step is there.

# %%
from minim2f.model.position import pixel_centres
from minim2f.ops.deformable import attend, attend_slow

def attention_inputs(sizes):
    """Pixels that look around themselves, some two pixels far, as a trained encoder does."""
    reference = torch.cat([pixel_centres(*size, torch.zeros(())) for size in sizes])
    S = len(reference)
    away = 2 * torch.randn(1, S, 8, 3, 4, 2) / torch.tensor(sizes).flip(1)[:, None]
    weights = torch.randn(1, S, 8, 12).softmax(-1).view(1, S, 8, 3, 4)
    tensors = torch.randn(1, S, 8, 32), reference[:, None, None, None] + away, weights
    values, locations, weights = (t.requires_grad_() for t in tensors)
    return values, sizes, locations, weights

# %%
inputs = attention_inputs([(12, 12), (24, 24), (48, 48)])
values, sizes, locations, weights = inputs
towards = torch.randn_like(values)

def there_and_back(way):
    return torch.autograd.grad(way(*inputs), (values, locations, weights), towards)


same(attend, by_level, *inputs, tolerance=1e-4)
same(there_and_back(attend), there_and_back(attend_slow), tolerance=1e-2)

# %%
twins, rows = {"head by head": attend_slow, "level by level": by_level}, []
for name, slow in twins.items():
    with torch.no_grad():
        forward = lambda: slow(*inputs), lambda: attend(*inputs)
        rows.append(race(f"{name} → attend, forward", *forward, rounds=5))
    both = lambda: there_and_back(slow), lambda: there_and_back(attend)
    rows.append(race(f"{name} → attend, and backward", *both, rounds=3))
table(HEADER, rows)

# %% [markdown]
# *Verdict:* it pays, in both directions. But a first version had a fast forward pass and a slow backward pass. Going
# back, each sum hands its gradient to 48 rows (12 in this toy) all over the table: **scattered additions**. PyTorch's own way adds them one
# read at a time. Sort the reads by row instead. Then all reads of a row lie side by side, and its gradient
# is again a sum of rows:

# %%
count = 8 * len(values[0])
bags = (torch.arange(count)[:, None] + torch.randint(-300, 300, (count, 12))).clamp(0, count - 1)
shares, gradient = torch.rand(count, 12), torch.randn(count, 32)

def scattered():
    terms = shares[..., None] * gradient[:, None]
    return torch.zeros(count, 32).index_add_(0, bags.flatten(), terms.flatten(0, 1))


def in_order():
    row, place = bags.flatten().sort()
    ends = F.pad(row.bincount(minlength=count).cumsum(0), (1, 0))
    share = shares.flatten().index_select(0, place)
    options = {"mode": "sum", "per_sample_weights": share, "include_last_offset": True}
    return F.embedding_bag(place // 12, gradient, ends, **options)


same(in_order, scattered, tolerance=1e-3)

# %%
leaf = torch.randn(count, 32).requires_grad_()
total = F.embedding_bag(bags, leaf, per_sample_weights=shares, mode="sum")
pytorch = lambda: torch.autograd.grad(total, leaf, gradient, retain_graph=True)
table(HEADER, [
    race("index_add_ → sorted", scattered, in_order, 5),
    race("backward of embedding_bag → sorted", pytorch, in_order, 5),
])

# %% [markdown]
# ### Lever 4: forget, and compute again
#
# A feed-forward network makes each row four times as wide, and training keeps the wide rows for the way back. Forget them,
# and compute them again. *Prediction:* forward and back are six products of one size; a seventh costs a sixth. In
# strips of 1,024 rows the wide ones are used while near the processor, which may win some back.

# %%
from torch import nn
from minim2f.ops.strips import Strips

ffn = Strips(nn.Linear(256, 1024), nn.ReLU(inplace=True), nn.Linear(1024, 256))
tokens = torch.randn(2 * 3024, 256, requires_grad=True)
strips, whole = lambda: ffn(tokens), lambda: nn.Sequential.forward(ffn, tokens)
leaves = [tokens, *ffn.parameters()]
back = lambda way: torch.autograd.grad(way().sum(), leaves)
same(back(strips), back(whole), tolerance=1e-2)

# %%
def kept(way):
    """Megabytes that wait for the backward pass, besides weights and inputs."""
    found = {}
    note = lambda t: found.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}) or t
    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        out = way()
    return sum(size for at, size in found.items() if at not in {t.data_ptr() for t in leaves}) / 2**20


table(HEADER, [race("whole → strips, and backward", lambda: back(whole), lambda: back(strips), 5)])
print(f"kept: whole {kept(whole):.0f} MB, strips {kept(strips):.0f} MB")

# %% [markdown]
# *Verdict:* it pays in memory, for a little time.

# %% [markdown]
# ## Shapes
#
# R50 on a picture of 512 pixels: what the levers work on.

# %%
config = minim2f.preset("r50")
model = minim2f.Mask2Former(config).eval().requires_grad_(False)
image = torch.randn(1, 3, 512, 512)

# %% tags=["hide-input"]
shape_table(
    model,
    image,
    meanings={
        "F_pixel": "one feature of one pixel at 1/4: resized once a level, channels last",
        "P3": "one feature of one pixel at 1/8: a row of lever 3 has 32 of its 256",
        "M_0": "may a query look at a pixel at 1/32: drawn at this size, not at 1/4",
        "M_1": "the same at 1/16",
        "M_2": "the same at 1/8",
        "E'_object": "one number of a query's filter: times F_pixel it is a mask",
    },
)

# %% [markdown]
# ## Look
#
# Five steps under your own roofline. For each, count operations and the bytes that *must* move: every
# input once, every output once. The height is measured.

# %%
from torchvision.ops import FrozenBatchNorm2d
from minim2f.ops.norm import FrozenNorm

norms = FrozenBatchNorm2d(256), FrozenNorm(256)
pixels, wide, kernel = torch.randn(5376, 256), torch.randn(1024, 256), torch.randn(256, 256, 3, 3)
maps = torch.randn(1, 256, 64, 64).contiguous(memory_format=torch.channels_last)
last, first = torch.randn(5376, 8, 12), torch.randn(12, 5376, 8)
big = attention_inputs([(16, 16), (32, 32), (64, 64)])
big = [t.detach() if torch.is_tensor(t) else t for t in big]

# %%
V, L, W, S, N = (t.numel() for t in (big[0], big[2], big[3], last, f_pixel))
steps = {  # operations, numbers moved
    "linear layer": (2 * 5376 * 256 * 1024, 5376 * (256 + 1024) + 256 * 1024),
    "3×3 convolution": (18 * 256**2 * 64**2, 2 * 256 * 64**2 + 9 * 256**2),
    "deformable reads": (2 * 48 * V, 2 * V + L + W),
    "softmax": (5 * S, 2 * S),
    "frozen norm": (2 * N, 2 * N),
}
ways = {  # slow and fast, or the only one
    "linear layer": [lambda: F.linear(pixels, wide)],
    "3×3 convolution": [lambda: F.conv2d(maps, kernel, padding=1)],
    "deformable reads": [lambda: by_level(*big), lambda: attend(*big)],
    "softmax": [lambda: last.softmax(-1), lambda: first.softmax(0)],
    "frozen norm": [lambda n=n: n(f_pixel) for n in norms],
}

# %%
took = {name: [min(seconds(way) for _ in range(5)) for way in ways[name]] for name in steps}

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(8, 4.2))
roof = torch.logspace(-1, 3.2, 200)
ax.loglog(roof, (bandwidth * roof).clamp(max=peak) / 1e9, color="black")
for n, (name, (operations, numbers)) in enumerate(steps.items()):
    speed, at = [operations / t / 1e9 for t in took[name]], operations / (4 * numbers)
    if len(speed) == 2:
        arrow = {"arrowstyle": "->", "color": f"C{n}"}
        ax.annotate("", (at, speed[1]), (at, speed[0]), arrowprops=arrow)
        ax.plot(at, speed[0], "o", color=f"C{n}", markerfacecolor="white")
    ax.plot(at, speed[-1], "o", color=f"C{n}")
    ax.annotate(name, (at, speed[-1]), xytext=(6, -14), textcoords="offset points", fontsize=9)
ax.text(0.5, 0.65 * bandwidth / 1e9, "memory", rotation=42, rotation_mode="anchor")
ax.text(0.12, 1.15 * peak / 1e9, "processor: a large product")
ax.set(xlabel="arithmetic intensity, operations a byte", ylabel="billion operations a second")
show(
    fig,
    "A log-log plot of speed over arithmetic intensity: a black roofline that rises and then is "
    "flat, two steps at the right near the flat roof, and three steps with arrows that go up.",
    "Hollow is slow, full is fast: the operations stay, the arrow is the lever. Products sit at "
    "the flat roof, some a little above that of one matrix product: little is left to win there. "
    "Points far below both lines wait for neither: short loops and scattered reads waste the "
    "processor. Far above both would be a counting error.",
)

# %% [markdown]
# ## Checkpoint
#
# Your twins against the library; then two outside witnesses. `grid_sample` never heard of rows and tables, and
# numerical differences in float64 never heard of a written-out backward pass.

# %%
from minim2f.model.transformer_decoder import attention_mask

small = F.interpolate(f_pixel, (64, 64), mode="bilinear").flatten(2)
mine = resize_then_draw(e, f_pixel, (64, 64)) >= 0
same(mine | ~mine.any(-1, keepdim=True), attention_mask(e, small))
same(sample_rows(f_pixel, few), P.sample(f_pixel, few))

# %%
tiny = [t.detach()[:, :3, :1].double() if torch.is_tensor(t) else t for t in inputs]
tiny[0], tiny[1] = torch.randn(1, 21, 1, 2).double(), [(1, 1), (2, 2), (4, 4)]
tiny = [t.requires_grad_() if torch.is_tensor(t) else t for t in tiny]
same(attend(*tiny), by_level(*tiny), tolerance=1e-12)
assert torch.autograd.gradcheck(lambda v, l, w: attend(v, tiny[1], l, w), (tiny[0], *tiny[2:]))

# %% [markdown]
# ## Experiment
#
# ### Where sampling first stops paying
#
# *Hypothesis:* with the published 12,544 points, a map of 112 × 112 pixels is the border. One thing changes, the side of
# the map; three seeds draw the points. Both orders read rows.

# %%
def draw_then_read(e, f_pixel, points):
    return sample_rows((f_pixel.permute(0, 2, 3, 1) @ e[0].T).permute(0, 3, 1, 2), points)


same(draw_then_read, draw_then_sample, e, f_pixel, many, tolerance=1e-3)
sides, found = [32, 64, 96, 128, 192, 256], []
for side in sides:
    f_map = torch.randn(1, side, side, 256).permute(0, 3, 1, 2)  # channels last
    tried = []
    for seed in range(3):
        points = P.uniform(1, 12544, "cpu", torch.Generator().manual_seed(seed))
        ways = [lambda f=f: f(e, f_map, points) for f in (draw_then_read, sample_then_draw)]
        tried.append([seconds(way) for _ in range(3) for way in ways][2:])  # the first is no round
    found.append([slow / fast for times in tried for slow, fast in zip(times[::2], times[1::2])])

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6, 3))
middle = torch.tensor([median(ratios) for ratios in found])
low, high = (torch.tensor([f(ratios) for ratios in found]) for f in (min, max))
ax.errorbar(sides, middle, [middle - low, high - middle], marker="o", capsize=3)
ax.axhline(1, color="black", linewidth=1)
ax.axvline(112, color="black", linewidth=1, linestyle=":")
ax.set(xlabel="side of the map, pixels at 1/4", ylabel="times faster", yscale="log")
ax.set_yticks([0.25, 0.5, 1, 2, 4, 8], ["1/4", "1/2", "1", "2", "4", "8"])
ax.minorticks_off()
show(
    fig,
    "The speedup of sampling first over the side of the map, rising from below one at small maps "
    "to above one at large ones; a dotted line marks 112.",
    "Left of the dotted line there are more points than pixels, and drawing wins. Bars: range over "
    "three seeds and two rounds. A flat curve would say that drawing masks costs nothing.",
)

# %% [markdown]
# The border is near the dotted line. Training at 1024 pixels has a map of 256 × 256, where it pays; on small pictures it
# costs. So the library asks, more points or more pixels?, and goes the cheaper way: see `mask_logits_at`.
#
# ### Seven small things
#
# | change | prediction |
# | --- | --- |
# | softmax over 12 numbers: along the first dimension, not the last | same operations, so nothing |
# | offsets / size: one long vector, not pairs | nothing |
# | channels last: 3 × 3 max pooling | some, neighbours are whole rows |
# | channels last: pixels as rows | all of it, no copy |
# | frozen batch norm in one pass | twice, half of the bytes |
# | rows of a table side by side in memory | some |
# | 1 × 1 convolution as a linear layer | some, it is simpler |

# %%
pair = torch.randn(5376, 8, 3, 4, 2)
size = torch.tensor([[64, 64], [32, 32], [16, 16]])[:, None]
long = size.expand(8, 3, 4, 2).flatten()
rows = [
    race("softmax", lambda: last.softmax(-1), lambda: last.permute(2, 0, 1).contiguous().softmax(0)),
    race("offsets", lambda: pair / size, lambda: pair.flatten(1) / long),
]
plane, line = torch.randn(2, 1, 64, 256, 256)
line = line.contiguous(memory_format=torch.channels_last)
rows += [
    race("pooling", lambda: F.max_pool2d(plane, 3, 2, 1), lambda: F.max_pool2d(line, 3, 2, 1)),
    race("pixels as rows", *(lambda t=t: t.flatten(2).mT.contiguous() for t in (plane, line))),
    race("frozen norm", *(lambda n=n: n(f_pixel) for n in norms)),
]

# %%
column = torch.randn(32, 64_000).T.requires_grad_()
compact = column.detach().contiguous().requires_grad_()
which, how_much = torch.randint(64_000, (5000, 12)), torch.rand(5000, 12)
bag = lambda t: F.embedding_bag(which, t, per_sample_weights=how_much, mode="sum")
mixing = torch.randn(512, 256)
rows += [
    race("rows of a table", lambda: bag(column), lambda: bag(compact)),
    race("1 × 1 convolution", lambda: F.conv2d(maps, mixing[:, :, None, None]),
         lambda: F.linear(maps.permute(0, 2, 3, 1), mixing)),
]
table(HEADER, rows)

# %% [markdown]
# Steps along a *short* last dimension are slow: the loop over 12 or 2 numbers ends before it has begun to use the
# processor's wide registers. Laid out along hundreds, the same arithmetic runs several times faster; so
# does pooling, for neighbours that are whole rows. The linear layer brings nothing that this clock can see: a 1 × 1
# convolution, channels last, already is that product. The table that lies across memory is the trap: `embedding_bag`
# accepts it, and falls back to a slow path in silence.
#
# ### The floor
#
# Now the whole forward pass. PyTorch counts the operations of all products and convolutions. Divided by the speed of a large
# product, measured in turn with the stages, they are the **floor**: the time of the products alone, at that speed.

# %%
from torch.utils.flop_counter import FlopCounterMode
from minim2f.bench.measure import stopwatch

with FlopCounterMode(display=False) as counter:
    model(image)
stages = {"backbone": "backbone", "pixel decoder": "pixel_decoder", "decoder": "decoder"}
counted = counter.get_flop_counts()
work = {stage: sum(counted[f"Mask2Former.{name}"].values()) for stage, name in stages.items()}

# %%
clocks, products = [], []
for _ in range(3):
    products += [seconds(product) for _ in range(5)]
    with stopwatch("ours", model, torch.device("cpu")) as clock:
        model(image)
    clocks.append(clock)
took = {stage: median(clock[stage] for clock in clocks) for stage in stages}
floor = {stage: work[stage] * median(products) / (2 * 1024**3) for stage in stages}

# %% tags=["hide-input"]
rows = [
    [stage, f"{work[stage] / 1e9:.0f}", f"{1e3 * floor[stage]:.0f}", f"{1e3 * took[stage]:.0f}"]
    + [f"{floor[stage] / took[stage]:.0%}"] for stage in stages
]
table(["stage", "billion operations", "floor, ms", "measured, ms", "floor / measured"], rows)
left = sum(took.values()) / sum(floor.values())
print(f"if all else were free, and products as fast as this one: {left:.2f} times faster")

# %% [markdown]
# This is the prediction's 60 of 100 milliseconds: most of what remains are products that *every* implementation of this
# paper computes, with the same library. The backward pass costs two products for each, so the floor of a training step is three times as high. Fewer bits (bfloat16) would lower the floor; a compiler
# that fuses the steps between the products works on the gap alone.
#
# ### The whole, stored
#
# `minim2f bench -o data/bench` runs minim2f beside the model of Hugging Face Transformers: same weights, equal outputs, in
# turn, in three fresh processes. Its result is stored, and read here; unlike this page, it has all threads.

# %% tags=["hide-input"]
import json
from minim2f.book.chapter import ROOT

stored = ROOT / "data" / "bench" / "bench.json"
bench = json.loads(stored.read_text("utf-8")) if stored.exists() else {"time": {}, "variants": {}}
if bench["time"]:
    print(f"{bench['machine']}, {bench['threads']} threads, {bench['rounds']} rounds")
    span = lambda row: "{:.2f}–{:.2f}".format(*row["range"])
    table(["theirs → ours", "theirs, s", "ours, s", "times faster", "middle half"], [
        [name, f"{row['theirs']:.2f}", f"{row['ours']:.2f}", f"{row['ratio']:.2f}", span(row)]
        for name, row in bench["time"].items()
    ])
    table(["peak memory", "theirs, MB", "ours, MB", "share"], [
        [name, f"{row['theirs']:.0f}", f"{row['ours']:.0f}", f"{row['ratio']:.2f}"]
        for name, row in bench["memory"].items()
    ])
    table(["ours, another way", "times faster", "middle half", "outputs differ by"], [
        [name, f"{row['ratio']:.2f}", span(row), f"{row['difference']:.0e}"]
        for name, row in bench["variants"].items()
    ])
else:
    print("not measured here yet: minim2f bench -o data/bench")

# %% tags=["hide-input"]
if bench["time"]:
    fig, ax = plt.subplots(figsize=(7, 0.6 + 0.35 * len(bench["time"])))
    for y, row in enumerate(bench["time"].values()):
        ax.barh(y, row["ratio"], height=0.6, color="lightsteelblue")
        ax.plot(row["range"], [y, y], color="black", marker="|")
    ax.set_yticks(range(len(bench["time"])), list(bench["time"]))
    ax.axvline(1, color="black", linestyle=":")
    ax.invert_yaxis()
    ax.set(xlabel="times faster than Transformers")
    show(
        fig,
        "Bars: how many times faster minim2f is than Transformers, for forward passes of several "
        "sizes and training steps of two backbones, each with its range.",
        "The dotted line is a draw, the black lines are the middle half: one "
        "that crosses the dotted line would prove nothing.",
    )

# %% [markdown]
# The last table: `torch.compile` and bfloat16 depend on the processor, and bfloat16 pays with digits. Where
# `torch.compile` differs by more than rounding, a mask cell near 0 fell to the other side.

# %% [markdown]
# ## Break it
#
# The backward pass in one line: `out[bags] += terms`. It runs. Predict what is wrong with it.

# %%
def overwriting():
    out = torch.zeros(count, 32)
    out[bags.flatten()] += (shares[..., None] * gradient[:, None]).flatten(0, 1)
    return out


right, broken = in_order(), overwriting()
assert (right - broken).abs().max() > 1
read_once = bags.flatten().bincount(minlength=count) <= 1
same(broken[read_once], right[read_once], tolerance=1e-3)
wrong = (broken - right).abs().amax(1) > 1e-3
assert not (wrong & read_once).any()
print(f"{wrong.sum()} of {count} rows are wrong, and all of them were read more than once")

# %% [markdown]
# Indexed assignment keeps one of several values for a row: the additions overwrite one another. **How to notice it in your
# own code.** Gradients are too small, and training does not crash, it disappoints. One sum tells: all that was
# handed out must arrive.

# %%
handed_out = shares.sum(1) @ gradient
same(right.sum(0), handed_out, tolerance=0.1)
assert (broken.sum(0) - handed_out).abs().max() > 10

# %% [markdown]
# ## Exercises
#
# ### E.1 ★ A floor for a chain
#
# Steps run one after the other. Each has its operations and its bytes. What is the least time of all together?

# %%
def floor_seconds(operations, moved, peak, bandwidth):
    """(K,), (K,), operations a second, bytes a second -> seconds"""
    ...


exercise("E.1", floor_seconds)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Within a step, computing and moving happen at once.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# A step must end before the next one begins: a maximum each, then a sum.
#
# </details>

# %% [markdown]
# ### E.2 ★★ Scattered additions, in order
#
# Add each row of `values` to the row of the result that `rows` names. No loop, no `index_add_`, and nothing lost.

# %%
def row_sums(rows, values, count):
    """(R,) int64, (R, D), T -> (T, D)"""
    ...


exercise("E.2", row_sums)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# After sorting, the values for row 0 come first, then those for row 1. `bincount` says how many each.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `embedding_bag(order, values, ends, ...)` adds `values[order[ends[t]:ends[t + 1]]]`. The first of the ends is 0, and there
# are T + 1 of them.
#
# </details>

# %% [markdown]
# ### E.3 ★ The whole
#
# Some parts of a program become faster, the rest stays. Write Amdahl's law, and try it on the prediction: what if a
# lever makes a part of 40 % a thousand times faster?

# %%
def whole_speedup(shares, speedups):
    """(K,), (K,) -> old time / new time"""
    ...


exercise("E.3", whole_speedup)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Set the old time to 1. How long does each part take afterwards?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# The shares need not sum to 1. The rest takes as long as before.
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | | paper | official code | ours |
# | --- | --- | --- | --- |
# | attention masks | masks, resized to the level | draws N masks at 1/4 for each layer, then resizes | resizes F_pixel three times, then multiplies |
# | points of the matcher | 12,544 points | draws, then samples | samples, then multiplies |
# | masks in the losses | matched masks at points | draws all N in every layer, takes the matched | draws the matched only |
# | deformable attention | – | a CUDA extension; on a CPU, `grid_sample` by level | sums of rows in plain PyTorch, with a backward pass of its own |
# | attention | – | builds N × S weights for each head; mask repeated for all heads | `scaled_dot_product_attention`, mask broadcast |
# | frozen batch norm | – | scale, then shift, in training | one `addcmul` |
# | feed-forward networks | – | keep all wide rows | strips, computed again for the backward pass |
#
# All of these change the results by rounding only.

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
library_table(
    {
        "resize_then_draw": "minim2f.model.transformer_decoder.attention_mask",
        "sample_then_draw": "minim2f.ops.sampling.sample_rows",
        "in_order": "minim2f.ops.deformable.attend",
        "norms[1]": "minim2f.ops.norm.FrozenNorm",
        "strips": "minim2f.ops.strips.Strips",
        "race": "minim2f.bench.measure.paired",
        "the stored result": "minim2f.bench.run.bench",
    }
)

# %% [markdown]
# ## Recap
#
# - Time is at least operations / peak and at least bytes / bandwidth: sums wait for memory, products for the processor.
# - Linear steps can change places; compute the smaller thing, and compute it once for all who need it.
# - Sorted by target, scattered additions are sums of rows; assignments by index lose those that meet.
# - Predict, then measure in turn, with a range. Some levers that must work do not.
# - The shared products are the floor; a part that takes a share $p$ can win at most $1 / (1 - p)$.

# %% [markdown]
# ## Further reading
#
# - [Roofline](https://doi.org/10.1145/1498765.1498785): the paper behind the picture, short and clear.
# - [Making deep learning go brrrr from first principles](https://horace.io/brrr_intro.html): compute, memory and overhead, on GPUs.
# - [PyTorch: channels last](https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html): what a memory format is,
#   and how it travels through a network.
# - [PyTorch's benchmark module](https://docs.pytorch.org/docs/stable/benchmark_utils.html): a clock with more care than `race`.
#
# The places that the levers live in: [masked attention](07_masked_attention.ipynb) and [matching](09_matching.ipynb).
