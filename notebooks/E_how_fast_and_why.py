# %% [markdown]
# # E · How fast, and why
#
# Predict what a change to the code will save, measure it so that a noisy machine cannot fool you, and know when to stop.
#
# *read 75 min · run 40 s CPU · exercises 40 min*
#
# **Needs** chapters 5, 7, 9 and 10 · **Library** `minim2f/ops/deformable.py`, `minim2f/bench/measure.py` · **Paper** sections 3.2 and 3.3

# %% [markdown]
# ## You will be able to
#
# - count operations and bytes of a step, and say which of them sets its time (E.1)
# - rearrange linear steps so that the smaller thing is computed (E.2)
# - turn scattered additions into sums of rows (E.3)
# - judge a change by measured pairs (Experiment)
# - say how much faster a whole can become when a part does (E.4)

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
# The results stay; only the way there changes. What you need, in one breath: the pixel decoder makes $F_{pixel}$, C = 256
# numbers for each pixel at a quarter of the size, and three coarser maps, the levels. N = 100 queries pass nine layers. A
# query's **mask embedding** (a row of $E'$) times a pixel's C numbers is a mask logit. Resized to
# the next layer's level, masks say where queries may look; read at $P$ random points, they tell the matcher
# which query fits which object. In **deformable attention** each pixel of the levels reads 4 points on each of 3 levels, in each
# of 8 heads, and adds what it reads.

# %% [markdown]
# ## Predict
#
# Two programs do the same work. The slower one takes 100 milliseconds; 60 of them are matrix products,
# which the other has to compute as well, with the same library. What is the most that the faster one can win?
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
# A processor does two things at once: it computes, and it waits for memory. Take a toy that computes 100 operations a tick and
# moves 10 numbers a tick.
#
# - **Adding two vectors** of 1,000 numbers: 1,000 operations, 10 ticks. But 3,000 numbers move, 300 ticks.
# - **Multiplying two matrices**, 100 × 100: two million operations, 20,000 ticks. Only 30,000 numbers move, 3,000 ticks.
#
# The slower of the two sets the time. The sum waits for memory, the product for the processor.

# %% tags=["demo"]
def ticks(operations, numbers):
    return max(operations / 100, numbers / 10)


assert ticks(1_000, 3 * 1_000) == 300  # memory
assert ticks(2 * 100**3, 3 * 100**2) == 20_000  # the processor

# %% [markdown] tags=["demo"]
# So there are two kinds of levers. **Compute less**: find an order of steps in which the thing computed is smaller.
# **Move less**: never write down what is only going to be added up.
#
# The first kind, by hand. One query $(1, 2)$, two maps of 2 × 2 pixels, and you want the query's mask resized
# to one pixel, its mean. Draw first: 1 × first map + 2 × second map, then the mean. Resize
# first: the means of the maps, then the same sum.

# %% tags=["demo"]
query = torch.tensor([1.0, 2.0])
maps = torch.tensor([[[4.0, 0.0], [2.0, 2.0]], [[1.0, 1.0], [-3.0, 5.0]]])

drawn_first = (query[:, None, None] * maps).sum(0).mean()  # a mask of four pixels
resized_first = query @ maps.mean((1, 2))  # two means, never a mask
assert drawn_first == resized_first == 1 * 2 + 2 * 1

# %% [markdown] tags=["demo"]
# **Two orders in memory.** Memory is one long line. *Planes* write down a whole map, then the next map. *Channels last*, a pixel's
# numbers stand side by side: each pixel is a **row** of a table. Shape and numbers are the same.

# %% tags=["demo"]
line = lambda t: t.as_strided((t.numel(),), (1,)).tolist()  # as it lies in memory
rows_of_two = maps[None].contiguous(memory_format=torch.channels_last)
assert line(maps) == [4, 0, 2, 2, 1, 1, -3, 5]
assert line(rows_of_two) == [4, 1, 0, 1, 2, -3, 2, 5] and (rows_of_two == maps).all()

# %% [markdown] tags=["demo"]
# The second kind. A sum of rows, with weights, is one call: `embedding_bag` adds the rows as it meets them, and never
# writes them down.

# %% tags=["demo"]
from torch.nn import functional as F

row_table = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
which, weight = torch.tensor([[0, 2], [1, 1]]), torch.tensor([[0.5, 0.5], [1.0, 2.0]])
sums = F.embedding_bag(which, row_table, per_sample_weights=weight, mode="sum")
assert sums.tolist() == [[2, 20], [6, 60]]  # half of rows 0 and 2; row 1 once and twice

# %% [markdown]
# ## The equation
#
# A step that does $a$ operations and moves $b$ bytes takes at least
#
# $$t \;\ge\; \max\Big(\frac{a}{r_a},\; \frac{b}{r_b}\Big), \qquad I = \frac{a}{b}.$$
#
# $I$ is the **arithmetic intensity**. Drawn over $I$, the speed that the bound allows is the **roofline**: a slope, where
# memory rules, then a flat roof. If parts with shares $f_j$ of the time become $v_j$ times faster, the whole becomes
#
# $$v = \frac{1}{1 - \sum_j f_j + \sum_j f_j / v_j}$$
#
# times faster: **Amdahl's law**. What remains of the old time 1 is the rest, and each part's $f_j / v_j$.
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $a$ | `operations` | one | additions and multiplications of a step |
# | $b$ | `moved` | one | bytes that a step must read and write |
# | $r_a$ | `peak` | one | operations a second, at best |
# | $r_b$ | `bandwidth` | one | bytes a second between processor and memory |
# | $f$, $v$ | `shares`, `speedups` | (J,) | share of the time, and times faster, of each of J parts |
#
# $r_a$ and $r_b$ belong to a machine, so measure yours, with one thread: a large product, a large convolution
# (another library, often another speed), and a large copy.

# %% tags=["demo"]
import time

torch.set_num_threads(1)

def seconds(work):
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def best(work, rounds=15):
    return min(seconds(work) for _ in range(rounds))


# %% tags=["demo"]
from functools import partial  # partial(f, x) is the call f(x), not made yet

square, source = torch.randn(1024, 1024), torch.randn(2**24)
lattice = torch.randn(1, 256, 64, 64).contiguous(memory_format=torch.channels_last)
kernel = torch.randn(256, 256, 3, 3).contiguous(memory_format=torch.channels_last)
product = partial(torch.mm, square, square)
convolution = partial(F.conv2d, lattice, kernel, padding=1)
work = {product: 2 * 1024**3, convolution: 2 * kernel.numel() * 64**2}  # operations

# %% tags=["demo"]
speed = {large: operations / best(large) for large, operations in work.items()}
peak = max(speed.values())
bandwidth = 2 * source.nbytes / best(partial(torch.empty_like(source).copy_, source))
print(f"product {speed[product] / 1e9:.0f}, convolution {speed[convolution] / 1e9:.0f} billion operations a second")
print(f"copy {bandwidth / 1e9:.0f} billion bytes a second")

# %% [markdown]
# ### A fair clock
#
# Other programs disturb a measurement. So run both ways **in turn**, now the one first and now the other, and trust the
# ratio within a pair: a slow moment is slow for both. The first round does not count. Report the median and the middle half
# of the ratios; where that comes within a twentieth of 1, you have shown nothing. All tables here are from one
# shared machine; your numbers will differ, the verdicts mostly not.

# %%
from statistics import median, quantiles

def in_turn(slow, fast, rounds):
    slow(), fast()
    pairs = []
    for n in range(rounds):
        took = {way: seconds(way) for way in ([slow, fast] if n % 2 else [fast, slow])}
        pairs.append((took[slow], took[fast]))
    return pairs

# %%
HEADER = ["slow → fast", "slow, ms", "fast, ms", "predicted", "measured", "middle half", "verdict"]

def race(name, predicted, slow, fast, rounds=8):
    pairs = in_turn(slow, fast, rounds)
    low, middle, high = quantiles([a / b for a, b in pairs], n=4, method="inclusive")
    verdict = "pays" if low > 1.05 else "costs" if high < 0.95 else "open"
    times = [f"{1e3 * median(column):.2f}" for column in zip(*pairs)]
    return [name, *times, predicted, f"{middle:.2f}", f"{low:.2f}–{high:.2f}", verdict]

# %% [markdown]
# ## Slow and obvious
#
# Three places, as the paper tells them. The **attention mask** of a layer: draw all masks, resize them. The
# **matcher's points**: draw all masks, sample them. **Deformable attention**: on each level `grid_sample` all reads, then
# weigh and add. (The library's `attend_slow` goes head by head.) Below, `F` is PyTorch's `functional`, no letter.

# %%
from minim2f.ops.sampling import sample

def draw(e, f_pixel):
    return torch.einsum("bnc,bchw->bnhw", e, f_pixel)


def draw_then_resize(e, f_pixel, size):
    return F.interpolate(draw(e, f_pixel), size, mode="bilinear").flatten(2)


def draw_then_sample(e, f_pixel, points):
    return sample(draw(e, f_pixel), points)

# %%
def by_level(values, sizes, locations, weights):
    """(B, S, heads, D), sizes, (B, S, heads, levels, points, 2), ... -> (B, S, heads, D)"""
    batch, _, heads, depth = values.shape
    reads = []
    for n, level in enumerate(values.split([h * w for h, w in sizes], dim=1)):
        image = level.permute(0, 2, 3, 1).reshape(batch * heads, depth, *sizes[n])
        grid = 2 * locations[:, :, :, n].transpose(1, 2).flatten(0, 1) - 1
        reads.append(F.grid_sample(image, grid, align_corners=False))
    weights = weights.transpose(1, 2).reshape(batch * heads, 1, locations.shape[1], -1)
    added = (torch.cat(reads, -1) * weights).sum(-1)
    return added.view(batch, heads, depth, -1).permute(0, 3, 1, 2)

# %% [markdown]
# ## Fast and short
#
# ### Lever 1: resize first, multiply afterwards
#
# Resizing is linear, and so is the product. *Prediction:* the map at 1/8 has a quarter of the pixels, so the product
# needs a quarter of the operations: 4 times faster. And $F_{pixel}$ is the same in all layers: resized once for each of
# three sizes it serves nine, which draw 3 × (16² + 32² + 64²) pixels instead of 9 × 128²: 9 times. (`same` stops the page
# if two results differ.)

# %%
def resize_then_draw(e, f_pixel, size):
    return e @ F.interpolate(f_pixel, size, mode="bilinear").flatten(2)


e, planes = torch.randn(1, 100, 256), torch.randn(1, 256, 128, 128)  # of a picture of 512 pixels
f_pixel = planes.contiguous(memory_format=torch.channels_last)  # as the model makes it
same(resize_then_draw, draw_then_resize, e, f_pixel, (64, 64), tolerance=1e-3)

# %%
def nine_slow():
    return [draw_then_resize(e, f_pixel, (side, side)) for side in (16, 32, 64) * 3]


def nine_fast():
    small = [F.interpolate(f_pixel, (side, side), mode="bilinear") for side in (16, 32, 64)]
    return [e @ level.flatten(2) for level in small * 3]

# %%
def both(slow, fast, *inputs):
    return partial(slow, *inputs), partial(fast, *inputs)


layer = draw_then_resize, resize_then_draw, e
rows = [
    race("one layer, planes", "4", *both(*layer, planes, (64, 64))),
    race("one layer, channels last", "4", *both(*layer, f_pixel, (64, 64))),
    race("nine layers, three sizes", "9", nine_slow, nine_fast, rounds=6),
]
table(HEADER, rows)

# %% [markdown]
# *Verdict:* as predicted, but only channels last. Now 256 channels are resized instead of 100 masks. As planes, that takes
# about as long as the product saves: predicted 4, measured about 1. Channels last, all channels of a pixel are averaged together.
#
# ### Lever 2: sample first, multiply afterwards
#
# The matcher reads 100 masks at $P$ points. *Prediction:* it wins as many times as there are more pixels than points, 16 or
# 1.3. (Channels last, a point is also read as a sum of four rows.)

# %%
from minim2f.ops.sampling import sample_rows


def sample_then_draw(e, f_pixel, points):
    return e @ sample_rows(f_pixel, points)


few, many = torch.rand(1, 1000, 2), torch.rand(1, 12544, 2)
same(sample_then_draw, draw_then_sample, e, f_pixel, few, tolerance=1e-3)

# %%
orders = draw_then_sample, sample_then_draw, e, f_pixel
table(HEADER, [
    race("1000 points, 16384 pixels", "16", *both(*orders, few)),
    race("12544 points, 16384 pixels", "1.3", *both(*orders, many)),
])

# %% [markdown]
# *Verdict:* it pays; less than predicted for few points, since reading takes time too. Where is the border? See the experiment.
#
# ### Lever 3: a sum of rows need not be written down
#
# A bilinear read is a weighted sum of 4 pixels. So in one head a pixel adds 3 levels × 4 points × 4 neighbours = 48 rows, each of
# 256 / 8 = 32 numbers. `by_level` moves each row once (48), then writes, copies, weighs and adds 12 reads (about
# 73 more); `embedding_bag` moves the 48 and its result. *Prediction:* 121 / 49, about 2.5 times faster. Check the way
# back too: most of a training step is there.

# %%
from minim2f.model.position import pixel_centres
from minim2f.ops.deformable import attend, attend_slow

def attention_inputs(sizes):
    """Pixels that read around themselves, some two pixels away."""
    reference = torch.cat([pixel_centres(*size, torch.zeros(())) for size in sizes])
    count = len(reference)
    away = 2 * torch.randn(1, count, 8, 3, 4, 2) / torch.tensor(sizes).flip(1)[:, None]
    weights = torch.randn(1, count, 8, 12).softmax(-1).view(1, count, 8, 3, 4)
    tensors = torch.randn(1, count, 8, 32), reference[:, None, None, None] + away, weights
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
rows = []
for name, slow in {"head by head": attend_slow, "level by level": by_level}.items():
    with torch.no_grad():
        rows.append(race(f"{name} → attend, forward", "2.5", *both(slow, attend, *inputs), rounds=6))
    back = partial(there_and_back, slow), partial(there_and_back, attend)
    rows.append(race(f"{name} → attend, and backward", "2.5", *back, rounds=6))
table(HEADER, rows)

# %% [markdown]
# *Verdict:* it pays more than predicted, in both directions: bytes are not all. `grid_sample` adds number by number, on planes;
# `embedding_bag` adds 32 at once.
#
# A first version was fast forward and slow backward. Going
# back, each sum hands its gradient to its rows, here and there in the table: **scattered additions**. Sort the reads by row, and
# all reads of a row lie side by side: its gradient is again a sum of rows.

# %% tags=["hide-input"]
reads_of = [(0, 2), (0, 0), (1, 1), (1, 2), (2, 0), (2, 2)]  # (sum, row) of each read
fig, axes = plt.subplots(1, 2, figsize=(9, 2.3), layout="constrained")
for ax, reads in zip(axes, (reads_of, sorted(reads_of, key=lambda read: read[1]))):
    for place, (of, row) in enumerate(reads):
        ax.plot([place, 2 * row + 0.5], [1, 0], color=f"C{row}", linewidth=1.5, zorder=0)
        text = dict(ha="center", va="center", bbox=dict(boxstyle="round", facecolor="white", edgecolor=f"C{row}"))
        ax.text(place, 1, f"sum {of}", fontsize=9, **text)
        ax.text(2 * row + 0.5, 0, f"row {row}", fontsize=9, **text)
    ax.set(xlim=(-0.6, 5.6), ylim=(-0.3, 1.3), title="sorted by row" if reads != reads_of else "as they come")
    ax.axis("off")
show(
    fig,
    "Six reads of three sums above, three rows below, with a line from each read to its row. Left, "
    "as they come, the lines cross; right, sorted by row, they meet in three bundles side by side.",
    "Gradients go down the lines. Left, every row is fetched and written again and again; right, the "
    "reads of a row stand together, and each row is written once.",
)

# %% [markdown]
# Counted in rows of 32 numbers, for a toy with 12 reads in each sum: scattered, 12 terms are written and read, and 12 rows of the result read
# and written, 48; sorted, 12 are read and 1 is written. *Prediction:* nearly 4, less the time to sort.

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
pytorch = partial(torch.autograd.grad, total, leaf, gradient, retain_graph=True)
table(HEADER, [
    race("index_add_ → sorted", "< 4", scattered, in_order),
    race("backward of embedding_bag → sorted", "> 1", pytorch, in_order),
])

# %% [markdown]
# ### Lever 4: forget, and compute again
#
# A feed-forward network makes each row four times as wide, and training keeps the wide rows for the way back. Forget them,
# and compute them again. *Prediction:* six products of one size, there and back, become seven: 6 / 7 = 0.86 times as fast. In
# **strips** of 1,024 rows the wide ones stay near the processor, which may win some back.

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


ways = partial(back, whole), partial(back, strips)
table(HEADER, [race("whole → strips, and backward", "0.86", *ways, rounds=6)])
print(f"kept: whole {kept(whole):.0f} MB, strips {kept(strips):.0f} MB")

# %% [markdown]
# *Verdict:* as predicted: it pays in memory, not in time.

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
# Five steps under your own roofline. Count the operations, and the numbers that *must* move: every
# input once, every output once, 4 bytes each. The height is measured.
#
# | step | operations | numbers that move |
# | --- | --- | --- |
# | linear layer, 5376 rows, 256 → 1024 | 2 for each row, input and output | rows, weights, results |
# | 3 × 3 convolution, 256 → 256 | 2 · 9 · 256 for each number of the result | map, kernel, result |
# | deformable reads | 2 · 48 for each number of the result | values, places, weights, result |
# | softmax over 12 | 5 for each: maximum, difference, exp, sum, quotient | in, out |
# | frozen norm | 2 for each: times, plus | in, out |

# %%
from torchvision.ops import FrozenBatchNorm2d
from minim2f.ops.norm import FrozenNorm

norms = FrozenBatchNorm2d(256), FrozenNorm(256)
tall, wide = torch.randn(5376, 256), torch.randn(1024, 256)
last, first = torch.randn(5376, 8, 12), torch.randn(12, 5376, 8)
big = attention_inputs([(16, 16), (32, 32), (64, 64)])
big = [t.detach() if torch.is_tensor(t) else t for t in big]

# %%
def numbers(*tensors):
    return sum(t.numel() for t in tensors)


values, _, places, shares_of = big
steps = {  # operations, bytes
    "linear layer": (2 * 5376 * 256 * 1024, 4 * (numbers(tall, wide) + 5376 * 1024)),
    "3×3 convolution": (work[convolution], 4 * numbers(lattice, kernel, lattice)),
    "deformable reads": (2 * 48 * numbers(values), 4 * numbers(values, places, shares_of, values)),
    "softmax": (5 * numbers(last), 4 * 2 * numbers(last)),
    "frozen norm": (2 * numbers(f_pixel), 4 * 2 * numbers(f_pixel)),
}
ways = {  # slow and fast, or the only one
    "linear layer": [partial(F.linear, tall, wide)],
    "3×3 convolution": [convolution],
    "deformable reads": both(by_level, attend, *big),
    "softmax": [partial(last.softmax, -1), partial(first.softmax, 0)],
    "frozen norm": [partial(norm, f_pixel) for norm in norms],
}

# %%
took = {name: [best(way, 5) for way in ways[name]] for name in steps}

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(8, 4.2))
roof = torch.logspace(-1, 3.2, 200)
ax.loglog(roof, (bandwidth * roof).clamp(max=peak) / 1e9, color="black")
for n, (name, (operations, moved)) in enumerate(steps.items()):
    height, at = [operations / t / 1e9 for t in took[name]], operations / moved
    if len(height) == 2:
        arrow = {"arrowstyle": "->", "color": f"C{n}"}
        ax.annotate("", (at, height[1]), (at, height[0]), arrowprops=arrow)
        ax.plot(at, height[0], "o", color=f"C{n}", markerfacecolor="white")
    ax.plot(at, height[-1], "o", color=f"C{n}")
    ax.annotate(name, (at, height[-1]), xytext=(6, -14), textcoords="offset points", fontsize=9)
ax.text(0.5, 0.65 * bandwidth / 1e9, "memory", rotation=42, rotation_mode="anchor")
ax.text(0.12, 1.15 * peak / 1e9, "processor")
ax.set(xlabel="arithmetic intensity, operations a byte", ylabel="billion operations a second")
show(
    fig,
    "A log-log plot of speed over arithmetic intensity: a black roofline that rises and then is "
    "flat, two steps at the right near the flat roof, and three steps with arrows that go up.",
    "Hollow is slow, full is fast: the operations stay, the arrow is the lever. Products are close to "
    "the flat roof: little is left to win. Points far below both lines wait for neither: short loops "
    "and scattered reads waste the processor. Far above both would be a counting error.",
)

# %% [markdown]
# ## Checkpoint
#
# Your levers against the library; then two outside witnesses: `grid_sample`, which knows no rows and tables, and
# numerical differences in float64, for the written-out backward pass.

# %%
from minim2f.model.transformer_decoder import attention_mask

small = F.interpolate(f_pixel, (64, 64), mode="bilinear").flatten(2)
mine = resize_then_draw(e, f_pixel, (64, 64)) >= 0
same(mine | ~mine.any(-1, keepdim=True), attention_mask(e, small))
same(sample_rows(f_pixel, few), sample(f_pixel, few))

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
# Count first (E.2): drawing takes about 2 N C operations a pixel, sampling first as many a point. *Hypothesis:* with
# the published 12,544 points, a map of 112 × 112 pixels is the border. One thing changes, the side of
# the map; three seeds draw the points. Both orders read rows.

# %%
from minim2f.training.points import uniform

def draw_then_read(e, f_pixel, points):
    return sample_rows((f_pixel.permute(0, 2, 3, 1) @ e[0].T).permute(0, 3, 1, 2), points)


same(draw_then_read, draw_then_sample, e, f_pixel, many, tolerance=1e-3)
sides, found = [32, 64, 96, 128, 192, 256], []
for side in sides:
    f_map = torch.randn(1, side, side, 256).permute(0, 3, 1, 2)  # channels last
    pairs = []
    for seed in range(3):
        points = uniform(1, 12544, "cpu", torch.Generator().manual_seed(seed))
        pairs += in_turn(*both(draw_then_read, sample_then_draw, e, f_map, points), rounds=2)
    found.append([slow / fast for slow, fast in pairs])

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
# *Verdict:* the border is near the dotted line. Training at 1024 pixels has a map of 256 × 256, where it pays; on small pictures it
# costs. So the library asks, more points or more pixels?, and goes the cheaper way: `mask_logits_at`.
#
# ### Small things
#
# Each with the prediction made before: 1 is "nothing, the operations are the same".

# %%
pair = torch.randn(5376, 8, 3, 4, 2)
size = torch.tensor([[64, 64], [32, 32], [16, 16]])[:, None]
long = size.expand(8, 3, 4, 2).flatten()
lay = lambda: last.permute(2, 0, 1).contiguous().softmax(0)
rows = [
    race("softmax over 12: along the last → first axis", "1", partial(last.softmax, -1), lay),
    race("offsets / size: pairs → one long row", "1", lambda: pair / size, lambda: pair.flatten(1) / long),
]

# %%
plane, by_pixel = torch.randn(2, 1, 64, 256, 256)
by_pixel = by_pixel.contiguous(memory_format=torch.channels_last)
pool, as_rows = (lambda t: F.max_pool2d(t, 3, 2, 1)), (lambda t: t.flatten(2).mT.contiguous())
for name, guess, way in ("3 × 3 max pooling", "> 1", pool), ("pixels as rows", "no copy: ∞", as_rows):
    rows.append(race(f"{name}: planes → channels last", guess, partial(way, plane), partial(way, by_pixel)))
rows.append(race("frozen norm: two passes → one", "2", *ways["frozen norm"]))

# %%
column = torch.randn(32, 64_000).T.requires_grad_()  # each row lies across memory
compact = column.detach().contiguous().requires_grad_()
at, share = torch.randint(64_000, (5000, 12)), torch.rand(5000, 12)
bag = partial(F.embedding_bag, at, per_sample_weights=share, mode="sum")
rows.append(race("rows of a table: across → along memory", "> 1", partial(bag, column), partial(bag, compact)))

# %%
mixing, truth = torch.randn(512, 256), torch.rand(10, 512, 512) > 0.5

def as_numbers(times):
    for _ in range(times):
        truth.float()


linear = lambda: F.linear(lattice.permute(0, 2, 3, 1), mixing)
rows += [
    race("1 × 1 convolution → linear", "> 1", partial(F.conv2d, lattice, mixing[:, :, None, None]), linear),
    race("true masks as numbers: 2 × in 10 layers → once", "20", partial(as_numbers, 20), partial(as_numbers, 1)),
]
table(HEADER, rows)

# %% [markdown]
# Steps along a *short* last dimension are slow: a loop over 12 or 2 numbers ends before it fills the
# processor's wide registers. The table that lies across memory is a trap: `embedding_bag`
# accepts it, and falls back to a slow path in silence. The linear layer that "must" win is not shown to. And the last
# row is no trick at all: look where the time goes, before you are clever.
#
# ### The floor
#
# Now the whole forward pass. PyTorch counts the operations of products and convolutions (before version 2.15 without
# attention on a CPU: two products of 2 N C S for each layer, added by hand). Divided by the speeds of a large product and a
# large convolution, they are the **floor**: the time of the products alone, at these speeds.

# %%
from torch.utils.flop_counter import FlopCounterMode
from minim2f.bench.measure import stopwatch

with FlopCounterMode(display=False) as counter:
    model(image)
stages = {"backbone": "backbone", "pixel decoder": "pixel_decoder", "decoder": "decoder"}
counted = counter.get_flop_counts()
todo = {stage: dict(counted[f"Mask2Former.{name}"]) for stage, name in stages.items()}
if not any("attention" in str(kind) for kind in todo["decoder"]):
    todo["decoder"]["attention"] = 3 * 4 * 100 * 256 * (16**2 + 32**2 + 64**2 + 3 * 100)

# %%
clocks, large = [], {product: [], convolution: []}
for _ in range(4):
    for way in large:
        large[way].append(best(way, 5))
    with stopwatch("ours", model, torch.device("cpu")) as clock:
        model(image)
    clocks.append(dict(clock))
took = {stage: min(clock[stage] for clock in clocks) for stage in stages}

# %%
def at_least(counts):
    ways = {kind: convolution if "convolution" in str(kind) else product for kind in counts}
    return sum(n * min(large[ways[kind]]) / work[ways[kind]] for kind, n in counts.items())


floor = {stage: at_least(counts) for stage, counts in todo.items()}
shared = sum(floor.values()) / sum(took.values())

# %% tags=["hide-input"]
rows = [
    [stage, f"{sum(todo[stage].values()) / 1e9:.0f}", f"{1e3 * floor[stage]:.0f}"]
    + [f"{1e3 * took[stage]:.0f}", f"{floor[stage] / took[stage]:.0%}"] for stage in stages
]
table(["stage", "billion operations", "floor, ms", "measured, ms", "floor / measured"], rows)
print(f"floor: {shared:.0%} of the whole; all else for free would make it {1 / shared:.2f} times faster")

# %% [markdown]
# These products *every* implementation of the paper computes, with the same libraries. The backward pass costs two
# products for each, so the floor of a training step is three times as high. Fewer bits (bfloat16) lower the floor; a compiler
# that fuses the steps in between works on the gap alone.
#
# ### The whole, stored
#
# `minim2f bench -o data/bench` runs minim2f beside the model of Hugging Face Transformers: same weights, equal outputs, in
# turn, in three fresh processes. Its result is stored, and read here; unlike this page, it has all threads.

# %%
import json
from minim2f.book.chapter import ROOT

stored = ROOT / "data" / "bench" / "bench.json"
bench = json.loads(stored.read_text("utf-8")) if stored.exists() else {}
print("machine: {machine}, {threads} threads, torch {torch}, transformers {transformers}".format(**bench)
      if bench else "not measured here yet: minim2f bench -o data/bench")

# %% tags=["hide-input"]
if bench:
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
# `torch.compile` differs by more than rounding, a mask logit near 0 fell to the other side.
#
# Back to the prediction, with one real workload: R50's forward pass at 512. If the floor's share of *our* time is as above,
# its share of *theirs* is smaller by the measured factor, and its inverse is the most that anybody can win:

# %%
if bench:
    won = bench["time"]["r50 forward 512"]["ratio"]
    print(f"products: about {shared / won:.0%} of theirs; to be won {won / shared:.1f}, won {won:.1f} times")

# %% [markdown]
# Where was it won? A training step by stage, each put into Amdahl's law as if it were the only change.

# %%
def alone(f, v):
    return 1 / (1 - f + f / v)


rows, lost = [], []
for name, sides_of in bench.get("stages", {}).items():
    for stage, theirs in sides_of["theirs"].items():
        f, v = theirs / sum(sides_of["theirs"].values()), theirs / sides_of["ours"][stage]
        rows.append([f"{name}: {stage}", f"{theirs:.2f}", f"{f:.0%}", f"{v:.2f}", f"{alone(f, v):.2f}"])
        lost += [f"{name}: {stage}"] * (v < 1)
table(["training step at 384", "theirs, s", "share", "times faster", "the whole by it alone"], rows)
print("slower than theirs:", ", ".join(lost) or "nothing")

# %% [markdown]
# *Verdict:* the pixel decoder (lever 3) and the backward pass carry the gain. Factors near 1 are open: stages are timed three
# times, one program after the other, without pairs. Matching does the same work for both backbones; how far its two factors are
# apart tells how far to trust this table. A stage below 1 is a loss, until pairs say otherwise.

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
# Indexed assignment keeps one of several values for a row: they overwrite one another. **How to notice it in your
# own code.** Gradients are too small, and training does not crash, it disappoints. One sum tells: all that was
# handed out must arrive.

# %%
handed_out = shares.sum(1) @ gradient
same(right.sum(0), handed_out, tolerance=0.1)
assert (broken.sum(0) - handed_out).abs().max() > 10

# %% [markdown]
# ## Exercises
#
# ### E.1 ★★ A floor for a chain
#
# Linear layers run one after the other, in float32, without bias. Layer j turns rows of `inputs` numbers into
# rows of `outputs` numbers; it reads its rows and weights once, and writes its results once. What is the least time of all
# together?

# %%
def floor_seconds(layers, peak, bandwidth):
    """(J, 3) int64: rows, inputs, outputs; operations a second; bytes a second -> seconds"""
    ...


exercise("E.1", floor_seconds)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Count for one layer: every output of every row is a sum of `inputs` products. Three things move, of 4 bytes a number.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# A layer must end before the next one begins: a maximum for each, then a sum.
#
# </details>

# %% [markdown]
# ### E.2 ★ Two orders
#
# Mask logits of N queries at P points, in either order of lever 2. Count the operations of both: a product of (x, y) and
# (y, z) takes 2 x y z, a bilinear read takes 8 for each number read. From how many pixels on does sampling first pay?

# %%
def two_orders(queries, channels, pixels, points):
    """N, C, h w, P -> operations (drawing first, sampling first)"""
    ...


exercise("E.2", two_orders)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Each order is a product and a read. In which order does the product meet all pixels, in which only the points?
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Drawn masks have N numbers at a point, $F_{pixel}$ has C.
#
# </details>

# %% [markdown]
# ### E.3 ★★ Only the rows that were read
#
# Of a large table few rows are read, so few have a gradient. Say which, and which reads to add for each, such that
# `embedding_bag(order, values, ends, mode="sum", include_last_offset=True)` has one row for each of `named`. Reads of rows 2, 0, 5, 2 name 0, 2, 5; their
# order is 1, 0, 3, 2, and their ends are 0, 1, 3, 4.

# %%
def row_plan(rows):
    """(R,) int64 -> named (T,) ascending, order (R,), ends (T + 1,); equal rows stay in order"""
    ...


exercise("E.3", row_plan)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Which read comes first when all are sorted by row? `argsort` tells, and with `stable=True` leaves equal rows in order.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `unique` can count. Bag t ends where the counts up to t have been added, and the first one begins at 0.
#
# </details>

# %% [markdown]
# ### E.4 ★ The whole
#
# Some parts of a program become faster, the rest stays. Write Amdahl's law, and try it on the prediction: what if a
# lever makes the other 40 % a thousand times faster?

# %%
def whole_speedup(shares, speedups):
    """(J,), (J,) -> old time / new time"""
    ...


exercise("E.4", whole_speedup)

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
# | points of the matcher | 12,544 points | draws, then samples | samples first where points are fewer than pixels |
# | matcher's costs | – | picture by picture | all pictures of a batch at once |
# | true masks as numbers | – | twice in each layer | once a step |
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
# - The shared products are the floor; a part that takes a share $f$ can win at most $1 / (1 - f)$.

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
