# %% [markdown]
# # E · How fast, and why
#
# Predict what a change to the code will save, measure it so that a noisy machine cannot fool you, and know when to stop.
#
# *read 95 min · run 40 s CPU · exercises 40 min*
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
# What you need, in one breath. The pixel decoder makes $F_{pixel}$ (`f_pixel`), C = 256
# numbers for each pixel at a quarter of the picture's size, and three coarser maps, the levels. N = 100 queries pass nine
# layers. A
# query's **mask embedding** (a row of $E'$) times a pixel's numbers is a mask logit. Resized to
# the next layer's level, masks say where queries may look; read at $P$ random points, they tell the matcher
# which query fits which object. In **deformable attention** a pixel reads 4 points on each of 3 levels, in each
# of 8 heads.

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
# A processor computes, and at the same time it waits for memory. Take a toy: 100 operations and 10 moved numbers a tick.
#
# - **Adding two vectors** of 1,000 numbers: 1,000 operations, 10 ticks; but 3,000 numbers move, 300 ticks.
# - **Multiplying two matrices**, 100 × 100: two million operations, 20,000 ticks; 30,000 numbers move, 3,000 ticks.
#
# The slower sets the time. The sum waits for memory, the product for the processor.

# %% tags=["demo"]
def ticks(operations, numbers):
    return max(operations / 100, numbers / 10)


assert ticks(1_000, 3 * 1_000) == 300  # memory
assert ticks(2 * 100**3, 3 * 100**2) == 20_000  # the processor

# %% [markdown] tags=["demo"]
# So there are two kinds of **levers**, changes that save time. **Compute less**: order the steps so that the thing computed is
# smaller. **Move less**: never write down what is only going to be added up.
#
# The first kind, by hand: a query $(1, 2)$, two maps of 2 × 2 pixels; wanted is the query's mask, resized
# to one pixel, its mean. Either draw the mask (1 × first map + 2 × second) and take its mean, or take the means of the
# maps, then the same sum.

# %% tags=["demo"]
query = torch.tensor([1.0, 2.0])
maps = torch.tensor([[[4.0, 0.0], [2.0, 2.0]], [[1.0, 1.0], [-3.0, 5.0]]])

drawn_first = (query[:, None, None] * maps).sum(0).mean()  # a mask of four pixels
resized_first = query @ maps.mean((1, 2))  # two means, never a mask
assert drawn_first == resized_first == 1 * 2 + 2 * 1

# %% [markdown] tags=["demo"]
# **Two orders in memory**, which is one long line. *Planes*: one map, then the next. *Channels last*: a pixel's
# numbers stand side by side, each pixel is a **row** of a table. The shape is the same.

# %% tags=["demo"]
line = lambda t: t.as_strided((t.numel(),), (1,)).tolist()  # as it lies in memory
rows_of_two = maps[None].contiguous(memory_format=torch.channels_last)
assert line(maps) == [4, 0, 2, 2, 1, 1, -3, 5]
assert line(rows_of_two) == [4, 1, 0, 1, 2, -3, 2, 5] and (rows_of_two == maps).all()

# %% [markdown] tags=["demo"]
# The second kind: `embedding_bag` makes weighted sums of rows. It adds the rows as it meets them, and never
# writes them down. (`F` is the usual short name of `torch.nn.functional`.)

# %% tags=["demo"]
from torch.nn import functional as F

row_table = torch.tensor([[1.0, 10.0], [2.0, 20.0], [3.0, 30.0]])
which, weight = torch.tensor([[0, 2], [1, 1]]), torch.tensor([[0.5, 0.5], [1.0, 2.0]])
sums = F.embedding_bag(which, row_table, per_sample_weights=weight, mode="sum")
assert sums.tolist() == [[2, 20], [6, 60]]  # half of rows 0 and 2; row 1 once and twice

# %% [markdown]
# ## The equation
#
# A step takes at least
#
# $$\mathrm{seconds} \;\ge\; \max\Big(\frac{\mathrm{operations}}{\mathrm{peak}},\; \frac{\mathrm{moved}}{\mathrm{bandwidth}}\Big), \qquad I = \frac{\mathrm{operations}}{\mathrm{moved}}.$$
#
# $I$, operations for each byte, is the **arithmetic intensity**. Drawn over $I$, the speed that the bound allows is the
# **roofline**: a slope, where
# memory rules, then a flat roof. If parts that have shares of the time become faster, each takes share / speedup, the
# rest stays, and the whole becomes
#
# $$\frac{1}{1 - \sum \mathrm{share} + \sum \mathrm{share} / \mathrm{speedup}}$$
#
# times faster: **Amdahl's law**.
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | operations | `operations` | one | additions and multiplications |
# | moved | `moved` | one | bytes that must be read and written |
# | $I$ | `operations / moved` | one | arithmetic intensity |
# | peak | `peak` | one | operations a second, at best |
# | bandwidth | `bandwidth` | one | bytes a second to and from memory |
# | share, speedup | `shares`, `speedups` | (parts,) | share of the time, times faster, of each part |
#
# Measure the rates of your machine, with one thread: a large product, a large convolution
# (other library code, often another speed), a large copy.

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
operations_of = {product: 2 * 1024**3, convolution: 2 * kernel.numel() * 64**2}

# %% tags=["demo"]
speed = {large: operations / best(large) for large, operations in operations_of.items()}
peak = max(speed.values())
bandwidth = 2 * source.nbytes / best(partial(torch.empty_like(source).copy_, source))
rates = f"product {speed[product] / 1e9:.0f}, convolution {speed[convolution] / 1e9:.0f}"
print(f"{rates} billion operations a second")
print(f"copy {bandwidth / 1e9:.0f} billion bytes a second")

# %% [markdown]
# ### A fair clock
#
# Other programs disturb a measurement: one function may take 5 ms in one row of a table and 8 ms in the
# next. So run both ways **in turn**, now this one first and now that one, and trust the
# ratio within a pair: a slow moment is slow for both. The table shows the ratios' median and
# middle half. Where this reaches within a twentieth of 1, the verdict is *open*; that of six or eight pairs is thin
# evidence. My verdicts describe the tables stored *here*, from a shared machine; yours will differ.

# %%
from statistics import median, quantiles

def in_turn(slow, fast, rounds):
    slow(), fast()  # the first round does not count
    pairs = []
    for n in range(rounds):
        took = {way: seconds(way) for way in ([slow, fast] if n % 2 else [fast, slow])}
        pairs.append((took[slow], took[fast]))
    return pairs

# %%
HEADER = ["slow → fast", "slow, ms", "fast, ms", "predicted", "measured", "middle half", "verdict"]

def race(name, predicted, slow, fast, rounds=8):
    pairs = in_turn(slow, fast, rounds)
    low, middle, high = quantiles([one / other for one, other in pairs], n=4, method="inclusive")
    verdict = "pays" if low > 1.05 else "costs" if high < 0.95 else "open"
    times = [f"{1e3 * median(column):.2f}" for column in zip(*pairs)]
    return [name, *times, predicted, f"{middle:.2f}", f"{low:.2f}–{high:.2f}", verdict]

# %% [markdown]
# ## Slow and obvious
#
# Attention mask: draw all masks, resize them. Matcher's points: draw all masks, sample them. Deformable attention:
# `grid_sample` all reads level by level, weigh, add.

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
# Both steps are linear. *Prediction,* from the product alone: the map at 1/8 has a quarter of the pixels, so 4 times faster.
# And $F_{pixel}$ is the same in all layers: resized once for each of
# three sizes it serves nine, which draw 3 × (16² + 32² + 64²) pixels instead of 9 × 128², 9 times fewer. (`same` stops
# where results differ.)

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
races = [
    race("one layer, planes", "4", *both(*layer, planes, (64, 64))),
    race("one layer, channels last", "4", *both(*layer, f_pixel, (64, 64))),
    race("nine layers, three sizes", "9", nine_slow, nine_fast, rounds=6),
]
table(HEADER, races)

# %% [markdown]
# *Verdict:* it pays, but only channels last. There it wins more than predicted: the slow
# way also resizes 100 masks, which the prediction forgot. The fast way resizes 256 channels: quick channels last, where all
# channels of a pixel are averaged together; as planes, this eats the gain.
#
# ### Lever 2: sample first, multiply afterwards
#
# The matcher reads 100 masks at $P$ points. *Prediction,* again from the product alone: it wins by as much as pixels
# outnumber points: 16, or 1.3. (Channels last, a point is read as a sum of four rows.)

# %%
from minim2f.ops.sampling import sample_rows


def sample_then_draw(e, f_pixel, points):
    return e @ sample_rows(f_pixel, points)


few, many = torch.rand(1, 1000, 2), torch.rand(1, 12544, 2)
same(sample_then_draw, draw_then_sample, e, f_pixel, few, tolerance=1e-3)

# %%
reading = draw_then_sample, sample_then_draw, e, f_pixel
table(HEADER, [
    race("1000 points, 16384 pixels", "16", *both(*reading, few)),
    race("12544 points, 16384 pixels", "1.3", *both(*reading, many)),
])

# %% [markdown]
# *Verdict:* it pays. Both ways also read, which the prediction forgot. For few points this keeps the gain below 16, on a quiet
# machine. For many points 100 planes are read no faster than rows, and the gain is about as predicted, or above.
#
# ### Lever 3: a sum of rows need not be written down
#
# A bilinear read is a weighted sum of 4 pixels. So in one head, a pixel's result is a sum of 3 levels × 4 points ×
# 4 pixels = 48 rows, of 256 / 8 = 32 numbers. Find these rows and their shares
# (step by step in [chapter 5](05_pixel_decoder_ii.ipynb)); `embedding_bag` does the rest.

# %%
def four_pixels(locations, sizes):
    """The pixels around each read, and their shares, (1, S, heads, levels, points, 4) each"""
    h, w = torch.tensor(sizes).T[..., None, None]  # (levels, 1, 1) each
    begin = (h * w).cumsum(0) - h * w  # of each level in the table
    x, y = locations.unbind(-1)
    x, y = x[..., None] * w - 0.5, y[..., None] * h - 0.5
    column = x.floor() + torch.tensor([0, 1, 0, 1])
    row = y.floor() + torch.tensor([0, 0, 1, 1])
    share = (1 - (x - column).abs()) * (1 - (y - row).abs())
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    return (begin + row * w + column).long().where(inside, 0), share * inside

# %%
def sum_of_rows(values, sizes, locations, weights):
    heads, depth = values.shape[2:]
    table_of_rows = values.reshape(-1, depth)  # row number: heads * pixel + head
    pixel, share = four_pixels(locations, sizes)
    rows = heads * pixel + torch.arange(heads)[:, None, None, None]
    share = (share * weights[..., None]).view(-1, 48)
    added = F.embedding_bag(rows.view(-1, 48), table_of_rows, per_sample_weights=share, mode="sum")
    return added.view(values.shape)

# %% [markdown]
# *Prediction,* in rows that move for one sum. `by_level` fetches 48 and writes 12 reads, copies
# them together (24), weighs them (24), adds them up: 48 + 12 + 24 + 24 + 12 + 1 = 121.
# `embedding_bag` fetches 48 and writes 1. 121 / 49 is about 2.5. The library's `attend` is the same sum with its own
# backward pass; race that too, since most of a training step is backward.

# %%
from minim2f.model.position import pixel_centres
from minim2f.ops.deformable import attend

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
inputs = attention_inputs([(11, 11), (22, 22), (44, 44)])
towards = torch.randn_like(inputs[0])

def there_and_back(way):
    leaves = [t for t in inputs if torch.is_tensor(t)]  # values, locations, weights
    return torch.autograd.grad(way(*inputs), leaves, towards)


same(sum_of_rows, by_level, *inputs, tolerance=1e-4)
same(attend, by_level, *inputs, tolerance=1e-4)
same(there_and_back(attend), there_and_back(by_level), tolerance=1e-2)

# %%
with torch.no_grad():
    races = [
        race("level by level → sum of rows", "2.5", *both(by_level, sum_of_rows, *inputs)),
        race("level by level → attend", "2.5", *both(by_level, attend, *inputs)),
    ]
with_backward = partial(there_and_back, by_level), partial(there_and_back, attend)
races.append(race("level by level → attend, and backward", "2.5", *with_backward, rounds=6))
table(HEADER, races)

# %% [markdown]
# *Verdict:* it pays in both directions. `sum_of_rows` spends most of its time in `four_pixels`, which the prediction left out;
# `attend` finds the rows in longer loops (*Small things*), and wins more than predicted:
# `grid_sample` adds number by number, on planes, `embedding_bag` the 32 numbers of a row together.
#
# Backward, each sum hands its gradient to rows all over the
# table: **scattered additions**. Sort the reads by row: now all reads of a row lie side by side, and its gradient is again
# a sum of rows.

# %% tags=["hide-input"]
reads_of = [(0, 2), (0, 0), (1, 1), (1, 2), (2, 0), (2, 2)]  # (sum, row) of each read
fig, axes = plt.subplots(1, 2, figsize=(9, 2.3), layout="constrained")
for ax, reads in zip(axes, (reads_of, sorted(reads_of, key=lambda read: read[1]))):
    for place, (of, row) in enumerate(reads):
        ax.plot([place, 2 * row + 0.5], [1, 0], color=f"C{row}", linewidth=1.5, zorder=0)
        frame = dict(boxstyle="round", facecolor="white", edgecolor=f"C{row}")
        text = dict(ha="center", va="center", bbox=frame)
        ax.text(place, 1, f"sum {of}", fontsize=9, **text)
        ax.text(2 * row + 0.5, 0, f"row {row}", fontsize=9, **text)
    ax.set(xlim=(-0.6, 5.6), ylim=(-0.3, 1.3))
    ax.set_title("as they come" if reads == reads_of else "sorted by row")
    ax.axis("off")
show(
    fig,
    "Six reads of three sums above, three rows below, with a line from each read to its row. Left, "
    "as they come, the lines cross; right, sorted by row, they meet in three bundles side by side.",
    "Gradients go down the lines. Left, rows are fetched and written again and again; right, the "
    "reads of a row stand together, and each row is written once.",
)

# %% [markdown]
# *Prediction,* in rows that move for 12 reads. Scattered: 12 terms are written and read, 12 rows of the result read
# and written, 48. Sorted: 12 are read and 1 written, 13. At most 48 / 13 = 3.7, less the sorting. PyTorch's own backward pass
# scatters too.

# %%
def random_bags(count):
    """The 12 rows that each sum reads, its weights for them, the gradient that it hands back."""
    near = torch.arange(count)[:, None] + torch.randint(-300, 300, (count, 12))
    return near.clamp(0, count - 1), torch.rand(count, 12), torch.randn(count, 32)


def scattered(bags, portions, gradient):
    terms = portions[..., None] * gradient[:, None]
    return torch.zeros_like(gradient).index_add_(0, bags.flatten(), terms.flatten(0, 1))

# %%
def in_order(bags, portions, gradient):
    row, place = bags.flatten().sort()  # place: which read comes next
    ends = row.bincount(minlength=len(bags)).cumsum(0)
    ends = F.pad(ends, (1, 0))  # one 0 in front: the first bag begins there
    share = portions.flatten().index_select(0, place)
    options = {"mode": "sum", "per_sample_weights": share, "include_last_offset": True}
    of = place // 12  # reads 0 to 11 belong to sum 0, the next 12 to sum 1
    return F.embedding_bag(of, gradient, ends, **options)


count = 20_000
bags, portions, gradient = handed = random_bags(count)
same(in_order, scattered, *handed, tolerance=1e-3)

# %%
leaf = torch.randn(count, 32).requires_grad_()
total = F.embedding_bag(bags, leaf, per_sample_weights=portions, mode="sum")
pytorch = partial(torch.autograd.grad, total, leaf, gradient, retain_graph=True)
table(HEADER, [
    race("index_add_ → sorted", "< 3.7", *both(scattered, in_order, *handed)),
    race("backward of embedding_bag → sorted", "< 3.7", pytorch, partial(in_order, *handed)),
])

# %% [markdown]
# *Verdict:* it pays; much of the remaining time is the sorting.
#
# ### Lever 4: forget, and compute again
#
# A feed-forward network makes rows four times as wide, and training keeps them for the backward pass. Forget them,
# compute them again, in **strips** of 1,024 rows. *Prediction:* two products forward and four backward are six; only the
# first is needed again: 6 / 7 = 0.86.

# %%
from torch import nn
from minim2f.ops.strips import Strips

ffn = Strips(nn.Linear(256, 1024), nn.ReLU(inplace=True), nn.Linear(1024, 256))
tokens = torch.randn(3 * 1024, 256, requires_grad=True)
strips, whole = lambda: ffn(tokens), lambda: nn.Sequential.forward(ffn, tokens)
leaves = [tokens, *ffn.parameters()]
gradients = lambda way: torch.autograd.grad(way().sum(), leaves)
same(gradients(strips), gradients(whole), tolerance=1e-2)

# %%
def kept(way):
    """Megabytes (2**20 bytes) kept for the backward pass, besides weights and inputs."""
    found = {}
    def note(t):
        found[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        out = way()
    known = {t.data_ptr() for t in leaves}
    return sum(size for at, size in found.items() if at not in known) / 2**20


trained = partial(gradients, whole), partial(gradients, strips)
table(HEADER, [race("whole → strips, and backward", "0.86", *trained, rounds=6)])
print(f"kept: whole {kept(whole):.0f} MB, strips {kept(strips):.0f} MB")

# %% [markdown]
# *Verdict:* it pays in memory alone; no time is won.

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
# Five steps under your own roofline. Two of them, a softmax and the backbone's frozen norm (times, plus), are levers of *Small
# things*, below. The three levels have 5376 = 16² + 32² + 64² pixels. Count operations, and what *must* move: every
# input once, every output once. Counted with all 48 fetched rows, $I$ of the deformable reads would be 0.5, on the slope.

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


big_values, _, big_places, big_weights = big
steps = {  # operations, bytes (4 a number)
    # times and plus, for each row, input and output; rows, weights and results move
    "linear layer": (2 * 5376 * 256 * 1024, 4 * (numbers(tall, wide) + 5376 * 1024)),
    # 2 · 9 · 256 for each number of the result; map, kernel, result
    "3×3 convolution": (operations_of[convolution], 4 * numbers(lattice, kernel, lattice)),
    # 2 · 48 for each number of the result; values, places, weights, result
    "deformable reads": (
        2 * 48 * numbers(big_values),
        4 * numbers(big_values, big_places, big_weights, big_values),
    ),
    # maximum, difference, exp, sum, quotient; in, out
    "softmax": (5 * numbers(last), 4 * 2 * numbers(last)),
    # times, plus; in, out
    "frozen norm": (2 * numbers(f_pixel), 4 * 2 * numbers(f_pixel)),
}

# %%
ways = {  # slow and fast, or the only one
    "linear layer": [partial(F.linear, tall, wide)],
    "3×3 convolution": [convolution],
    "deformable reads": both(by_level, attend, *big),
    "softmax": [partial(last.softmax, -1), partial(first.softmax, 0)],
    "frozen norm": [partial(norm, f_pixel) for norm in norms],
}

# %%
fastest = {name: [best(way, 5) for way in ways[name]] for name in steps}
peak = max(steps[name][0] / min(fastest[name]) for name in steps)  # of this moment

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(8, 4.2))
roof = torch.logspace(-1.6, 3.2, 200)
ax.loglog(roof, (bandwidth * roof).clamp(max=peak) / 1e9, color="black")
ax.set(xlim=(0.02, 2000), ylim=(0.2, 3 * peak / 1e9))
for n, (name, (operations, moved)) in enumerate(steps.items()):
    height, at = [operations / t / 1e9 for t in fastest[name]], operations / moved
    if len(height) == 2:
        arrow = {"arrowstyle": "->", "color": f"C{n}"}
        ax.annotate("", (at, height[1]), (at, height[0]), arrowprops=arrow)
        ax.plot(at, height[0], "o", color=f"C{n}", markerfacecolor="white")
    ax.plot(at, height[-1], "o", color=f"C{n}")
    side = dict(xytext=(-6, 2), ha="right") if name == "frozen norm" else dict(xytext=(7, -14))
    ax.annotate(name, (at, height[-1]), textcoords="offset points", fontsize=9, **side)
ax.text(0.5, 0.65 * bandwidth / 1e9, "memory", rotation=42, rotation_mode="anchor")
ax.text(30, 1.25 * peak / 1e9, "processor")
ax.set(xlabel="arithmetic intensity, operations a byte", ylabel="billion operations a second")
show(
    fig,
    "A log-log plot of speed over arithmetic intensity: a black roofline that rises and then is "
    "flat, two steps at the right near the flat roof, and three steps with arrows that go up.",
    "Hollow is slow, full is fast: the operations stay, the arrow is the lever. The flat roof is the "
    "fastest of the five, here the convolution; how far the linear layer lies below is a matter of "
    "its library. The frozen norm meets the slope within noise: it waits for memory. Points far below "
    "both lines lose their time in short loops and scattered reads. Far above both would be a "
    "counting error.",
)

# %% [markdown]
# ## Checkpoint
#
# Against the library; then two outside witnesses: `grid_sample`, which knows no rows, and
# numerical differences, for the backward pass.

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
# ### From which size on does sampling first pay?
#
# *Hypothesis:* with the published 12,544 points, from 113 × 113 pixels on, where the operations of both orders are equal
# (E.2). One thing changes, the side of the map; three seeds draw the points. To be fair, the other order reads rows as well.

# %%
from minim2f.training.points import uniform

def draw_rows_then_sample(e, f_pixel, points):
    return sample_rows((f_pixel.permute(0, 2, 3, 1) @ e[0].T).permute(0, 3, 1, 2), points)


same(draw_rows_then_sample, draw_then_sample, e, f_pixel, many, tolerance=1e-3)
sides, found = [32, 64, 96, 128, 192, 256], []
for side in sides:
    f_map = torch.randn(1, side, side, 256).permute(0, 3, 1, 2)  # channels last
    found.append([])
    for seed in range(3):
        points = uniform(1, 12544, "cpu", torch.Generator().manual_seed(seed))
        orders = both(draw_rows_then_sample, sample_then_draw, e, f_map, points)
        found[-1] += [slow / fast for slow, fast in in_turn(*orders, rounds=2)]

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6, 3))
middle = torch.tensor([median(ratios) for ratios in found])
low, high = (torch.tensor([f(ratios) for ratios in found]) for f in (min, max))
ax.errorbar(sides, middle, [middle - low, high - middle], marker="o", capsize=3)
ax.axhline(1, color="black", linewidth=1)
ax.axvline(113, color="black", linewidth=1, linestyle=":")
ax.set(xlabel="side of the map, pixels at 1/4", ylabel="times faster", yscale="log")
ax.set_yticks([0.25, 0.5, 1, 2, 4, 8], ["1/4", "1/2", "1", "2", "4", "8"])
ax.minorticks_off()
show(
    fig,
    "The speedup of sampling first over the side of the map, rising from below one at small maps "
    "to above one at large ones; a dotted line marks 113.",
    "Points: medians; bars: all of three seeds and two rounds. Where a bar crosses 1, the question "
    "is open. Dotted: where the counts meet. A flat curve would say that drawing costs nothing.",
)

# %% [markdown]
# *Verdict:* drawing wins on the smallest maps, sampling on the largest, and the border is near the dotted line, where single
# sizes stay open. So `mask_logits_at` asks, more points or more pixels?, and goes the cheaper way.
#
# ### Small things
#
# Each with its prediction; 1 is "nothing". Two facts for the others: a processor's wide registers hold 8 or 16 numbers and
# compute with all at once, if they lie side by side; memory comes in lines of 16 numbers, and of a row that lies across
# memory each line holds one.

# %%
offsets = torch.randn(5376, 8, 3, 4, 2)
size = torch.tensor([[64, 64], [32, 32], [16, 16]])[:, None]
long = size.expand(8, 3, 4, 2).flatten()
in_first = lambda: last.permute(2, 0, 1).contiguous().softmax(0)
two_by_two, one_row = lambda: offsets / size, lambda: offsets.flatten(1) / long
races = [
    race("softmax over 12: along last → first axis", "1", partial(last.softmax, -1), in_first),
    race("offsets / size: pairs → one long row", "1", two_by_two, one_row),
    race("frozen norm: two passes → one", "2", *ways["frozen norm"]),
]

# %%
plane, by_pixel = torch.randn(2, 1, 64, 256, 256)
by_pixel = by_pixel.contiguous(memory_format=torch.channels_last)
pool = partial(F.max_pool2d, kernel_size=3, stride=2, padding=1)
as_rows = lambda t: t.flatten(2).mT.contiguous()
guesses = ("3 × 3 max pooling", "8 to 16", pool), ("pixels as rows", "∞, no copy", as_rows)
for name, guess, way in guesses:
    layouts = partial(way, plane), partial(way, by_pixel)
    races.append(race(f"{name}: planes → channels last", guess, *layouts))

# %%
column = torch.randn(32, 64_000).T.requires_grad_()  # each row lies across memory
compact = column.detach().contiguous().requires_grad_()
at, share = torch.randint(64_000, (5000, 12)), torch.rand(5000, 12)
bag = partial(F.embedding_bag, at, per_sample_weights=share, mode="sum")
layouts = partial(bag, column), partial(bag, compact)
races.append(race("rows of a table: across → along memory", "16", *layouts))

# %%
mixing = torch.randn(512, 256)
mix = partial(F.conv2d, lattice, mixing[:, :, None, None])
linear = lambda: F.linear(lattice.permute(0, 2, 3, 1), mixing)
races.append(race("1 × 1 convolution → linear", "1", mix, linear))
table(HEADER, races)

# %% [markdown]
# Steps along a *short* last dimension are slow: a loop over 12 or 2 numbers ends before it fills a register.
# `embedding_bag` takes a table that lies across memory without a warning. Registers and lines predicted the direction of a gain
# better than its size. A linear layer is the 1 × 1 convolution's product again; the verdict on it changed between my runs.
#
# ### The floor
#
# PyTorch counts operations of products and convolutions (before version 2.15 without
# attention on a CPU, which the cell adds). Divided by the speeds that the large product and the large
# convolution reach, measured in turn with the stages, they give the **floor** of a forward pass: no strict bound (the
# product stays below the roof), but what today's libraries take.

# %%
from torch.utils.flop_counter import FlopCounterMode
from minim2f.bench.measure import stopwatch

with FlopCounterMode(display=False) as counter:
    model(image)
stages = {"backbone": "backbone", "pixel decoder": "pixel_decoder", "decoder": "decoder"}
counted = counter.get_flop_counts()
todo = {stage: dict(counted[f"Mask2Former.{name}"]) for stage, name in stages.items()}
if not any("attention" in str(kind) for kind in todo["decoder"]):
    # two products of 2 N C S each; three rounds of three levels, and of the queries themselves
    todo["decoder"]["attention"] = 3 * 4 * 100 * 256 * (16**2 + 32**2 + 64**2 + 3 * 100)

# %%
clocks, clocked = [], {product: [], convolution: []}
for _ in range(3):
    for large in [product, convolution] * 5:
        clocked[large].append(seconds(large))
    with stopwatch("ours", model, torch.device("cpu")) as clock:
        model(image)
    clocks.append(dict(clock))
measured = {stage: median(clock[stage] for clock in clocks) for stage in stages}

# %%
def at_least(counts):
    like = {kind: convolution if "convolution" in str(kind) else product for kind in counts}
    rate = {large: operations_of[large] / median(clocked[large]) for large in clocked}
    return sum(n / rate[like[kind]] for kind, n in counts.items())


floor = {stage: at_least(counts) for stage, counts in todo.items()}
shared = sum(floor.values()) / sum(measured.values())

# %% tags=["hide-input"]
lines = [
    [stage, f"{sum(todo[stage].values()) / 1e9:.0f}", f"{1e3 * floor[stage]:.0f}"]
    + [f"{1e3 * measured[stage]:.0f}", f"{floor[stage] / measured[stage]:.0%}"] for stage in stages
]
table(["stage", "billion operations", "floor, ms", "measured, ms", "floor / measured"], lines)
print(f"floor: {shared:.0%} of the whole; all else for free: {1 / shared:.2f} times faster")

# %% [markdown]
# Other programs compute at least these products: *theirs*, below, also draws nine times at 1/4. The backward pass costs
# two more for each: three times the floor. Fewer bits (bfloat16) lower it; a compiler
# that fuses the steps between works on the gap alone.
#
# ### The whole, stored
#
# `minim2f bench -o data/bench` runs minim2f beside Hugging Face Transformers: same weights, equal outputs, in
# turn, all threads. Its result is stored, and read here.

# %%
import json
from minim2f.book.chapter import ROOT

stored = ROOT / "data" / "bench" / "bench.json"
bench = json.loads(stored.read_text("utf-8")) if stored.exists() else {}
about = "machine", "threads", "torch", "transformers"
if bench:
    print(", ".join(f"{name} {bench[name]}" for name in about))
else:
    print("not measured here yet: minim2f bench -o data/bench")

# %% tags=["hide-input"]
if bench:
    span = lambda row: "{:.2f}–{:.2f}".format(*row["range"])
    table(["theirs → ours", "theirs, s", "ours, s", "times faster", "middle half"], [
        [name, f"{row['theirs']:.2f}", f"{row['ours']:.2f}", f"{row['ratio']:.2f}", span(row)]
        for name, row in bench["time"].items()
    ])
    table(["peak memory (MB: 2²⁰ bytes)", "theirs, MB", "ours, MB", "share"], [
        [name, f"{row['theirs']:.0f}", f"{row['ours']:.0f}", f"{row['ratio']:.2f}"]
        for name, row in bench["memory"].items()
    ])
    table(["ours, another way", "times faster", "middle half", "outputs differ by"], [
        [name, f"{row['ratio']:.2f}", span(row), f"{row['difference']:.0e}"]
        for name, row in bench["variants"].items()
    ])

# %% tags=["hide-input"]
if bench:
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
# bfloat16 costs digits. Where `torch.compile` differs by more than rounding, a pixel whose mask logit was near 0 changed from
# hidden to seen.
#
# Back to the prediction, with R50's forward pass at 512. The floor's products are a smaller share of *their* longer time; its
# inverse is the most to be won (roughly: this page has one thread).

# %%
if "r50 forward 512" in bench.get("time", {}):
    won = bench["time"]["r50 forward 512"]["ratio"]
    print(f"floor: about {shared:.0%} of ours, so {shared / won:.0%} of theirs")
    print(f"to be won: {won / shared:.1f} times; won: {won:.1f} times")

# %% [markdown]
# Where was it won? A training step by stage, each put into Amdahl's law as if it were alone. $f$ is a share of
# the stages' sum. The whole step, timed by itself, also clears old gradients.

# %%
def alone(f, v):
    return 1 / (1 - f + f / v)


lines, lost = [], []
for backbone, spent in bench.get("stages", {}).items():
    all_theirs, all_ours = (sum(spent[side].values()) for side in ("theirs", "ours"))
    for stage, theirs in spent["theirs"].items():
        name, ours = f"{backbone}: {stage}", spent["ours"][stage]
        f, v = theirs / all_theirs, theirs / ours
        cells = [f"{theirs:.2f}", f"{ours:.2f}", f"{f:.0%}", f"{v:.2f}", f"{alone(f, v):.2f}"]
        lines.append([name, *cells])
        lost += [name] * (v < 1)
    step = bench["time"][f"{backbone} training step 384"]
    sums = f"{all_theirs:.2f}", f"{all_ours:.2f}", "", f"{all_theirs / all_ours:.2f}", ""
    whole_step = f"{step['theirs']:.2f}", f"{step['ours']:.2f}", "", f"{step['ratio']:.2f}", ""
    lines += [[f"{backbone}: sum", *sums], [f"{backbone}: whole step", *whole_step]]
table(["step at 384", "theirs, s", "ours, s", "share f", "faster v", "whole, by it alone"], lines)
print("slower than theirs:", ", ".join(lost) or "nothing")

# %% [markdown]
# *Verdict:* the pixel decoder (lever 3) carries the gain, and R50's backward pass. Stages are
# timed three times, without pairs. Two of them are nearly the same work for both backbones: matching, whose
# factors differ by less than a tenth, and the pixel decoder, 1.94 and 2.83 here. So factors near 1 are open, and the pixel
# decoder is "two or three" times faster. Swin-T's sum and its whole step differ as well.

# %% [markdown]
# ## Break it
#
# The backward pass in one line: `out[bags] += terms`. It runs. Predict what is wrong with it.

# %%
def overwriting():
    out = torch.zeros(count, 32)
    out[bags.flatten()] += (portions[..., None] * gradient[:, None]).flatten(0, 1)
    return out


right, broken = in_order(*handed), overwriting()
assert (right - broken).abs().max() > 1
read_once = bags.flatten().bincount(minlength=count) <= 1
same(broken[read_once], right[read_once], tolerance=1e-3)
wrong = (broken - right).abs().amax(1) > 1e-3
assert not (wrong & read_once).any()
print(f"{wrong.sum()} of {count} rows are wrong, and all of them were read more than once")

# %% [markdown]
# Indexed assignment keeps one of several values for a row. **How to notice it in your
# own code.** Gradients are too small, and training does not crash, it disappoints. One sum tells: all that was
# handed out must arrive.

# %%
handed_out = portions.sum(1) @ gradient
same(right.sum(0), handed_out, tolerance=0.1)
assert (broken.sum(0) - handed_out).abs().max() > 10

# %% [markdown]
# ## Exercises
#
# ### E.1 ★★ A floor for a chain
#
# Linear layers run one after the other, in float32, without bias. Each reads its rows and weights once, and writes its
# results once. What is the least time of all? And which layers wait for memory? (Where both sides take equally long, the
# answer is False.)

# %%
def floor_of_chain(layers, peak, bandwidth):
    """(layers, 3) int64: rows, inputs, outputs; operations a second; bytes a second
    -> seconds of all, a scalar; (layers,) bool, True where the layer waits for memory
    """
    ...


exercise("E.1", floor_of_chain)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Count for one layer: every output of every row is a sum of `inputs` products. Three things move, of 4 bytes a number.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# A layer must end before the next one begins: a maximum for each, then a sum. The larger of the two times is the limit.
#
# </details>

# %% [markdown]
# ### E.2 ★ Two orders
#
# Count the operations of both orders of lever 2: a product of (3, 5) and
# (5, 7) takes 2 · 3 · 5 · 7, a bilinear read 8 for each number that it returns. There may be no points. From how many
# pixels on does sampling first pay?

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
# Drawn masks have N numbers at a point, $F_{pixel}$ has C. (For the published 100, 256 and 12,544 the counts meet at
# about 12,850 pixels, 113 × 113.)
#
# </details>

# %% [markdown]
# ### E.3 ★★ Only the rows that were read
#
# Of a large table few rows are read, or none. Name them, and say which reads to add for each, so that
# `embedding_bag(order, values, ends, mode="sum", include_last_offset=True)` has one row for each of `named`.

# %%
def row_plan(rows):
    """(R,) int64 -> named (T,) ascending, order (R,), equal rows as they came, ends (T + 1,)

    [2, 0, 5, 2] -> [0, 2, 5], [1, 0, 3, 2], [0, 1, 3, 4]
    """
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
# Write Amdahl's law, and try it on the prediction: what if a lever makes the other 40 % a thousand times faster? (There may be
# no part at all: the whole stays as it is.)

# %%
def whole_speedup(shares, speedups):
    """(parts,), (parts,) -> old time / new time"""
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
# | attention masks | resized masks | draws at 1/4 in each layer, resizes | resizes F_pixel three times, multiplies |
# | matcher's points | 12,544 | draws, samples | samples first where points are fewer |
# | matcher's costs | – | by picture | by batch |
# | true masks as numbers | – | in each layer | once a step |
# | masks in the losses | matched | draws all, takes the matched | draws the matched |
# | deformable attention | – | CUDA extension; CPU: `grid_sample` | sums of rows, own backward pass |
# | attention | – | N × S weights for each head | `scaled_dot_product_attention` |
# | frozen batch norm | – | two passes | one `addcmul` |
# | feed-forward | – | keeps wide rows | strips |
#
# All change the results by rounding only.

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
library_table(
    {
        "resize_then_draw": "minim2f.model.transformer_decoder.attention_mask",
        "sample_then_draw": "minim2f.ops.sampling.mask_logits_at",
        "sum_of_rows": "minim2f.ops.deformable.attend",
        "norms[1]": "minim2f.ops.norm.FrozenNorm",
        "strips": "minim2f.ops.strips.Strips",
        "race": "minim2f.bench.measure.paired",
        "the stored result": "minim2f.bench.run.bench",
    }
)

# %% [markdown]
# ## Recap
#
# - Time is at least operations / peak and bytes / bandwidth.
# - Linear steps can change places: compute the smaller thing, once.
# - Scattered additions, sorted by target, are sums of rows.
# - Predict, then measure in turn. A miss shows what the prediction forgot.
# - A part with share $f$ can win at most $1 / (1 - f)$; the products are the floor.

# %% [markdown]
# ## Further reading
#
# - [Roofline](https://doi.org/10.1145/1498765.1498785): the paper behind the picture.
# - [Making deep learning go brrrr](https://horace.io/brrr_intro.html): the same, on GPUs.
# - [Channels last](https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html), through a whole network.
#
# The levers live in [masked attention](07_masked_attention.ipynb) and [matching](09_matching.ipynb).
