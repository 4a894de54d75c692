"""Exercises of appendix E, how fast and why: the floor, two orders, sums of rows, the whole."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from minim2f.book.exercises import Exercise, Wrong, integer

# ---- E.1 the time that a chain of layers cannot beat


def floor_seconds(layers: Tensor, peak: float, bandwidth: float) -> Tensor:
    """The least time of linear layers that run one after the other, in float32 and without bias.

    Args:
        layers: (J, 3) int64: rows, inputs and outputs of each.
        peak: operations a second.
        bandwidth: bytes a second.

    Returns:
        Seconds, a scalar.
    """
    rows, inputs, outputs = layers.T
    operations = 2 * rows * inputs * outputs
    moved = 4 * (rows * inputs + inputs * outputs + rows * outputs)
    return torch.maximum(operations / peak, moved / bandwidth).sum()


def _chain(g: torch.Generator) -> tuple[Tensor, float, float]:
    layers = torch.randint(1, 6, (integer(g, 0, 5), 3), generator=g)
    return layers, float(integer(g, 50, 200)), float(integer(g, 100, 400))


def _floor(bound=torch.maximum, factor=2, size=4, parts=(1, 1, 1), end=torch.sum):
    """A floor with one mistake: in the bound, the counts, what is moved, or how layers add up."""

    def mistake(layers, peak, bandwidth):
        rows, inputs, outputs = layers.T
        read, weights, written = parts
        numbers = read * rows * inputs + weights * inputs * outputs + written * rows * outputs
        operations = factor * rows * inputs * outputs
        return end(bound(operations / peak, size * numbers / bandwidth))

    return mistake


_WRONG_FLOORS = [
    Wrong(
        _floor(bound=torch.add),
        "a processor computes while the memory delivers: the slower of the two sets the time",
    ),
    Wrong(_floor(bound=torch.minimum), "the faster of the two has to wait for the other one"),
    Wrong(
        _floor(bound=lambda computing, moving: computing),
        "the memory can be the slower one: count what moves as well",
    ),
    Wrong(
        _floor(bound=lambda computing, moving: moving),
        "the processor can be the slower one: count the operations as well",
    ),
    Wrong(
        _floor(bound=lambda computing, moving: torch.maximum(computing.sum(), moving.sum())),
        "layers wait for each other: each has a bound of its own, and only then do you add",
    ),
    Wrong(
        _floor(end=torch.max),
        "layers run one after the other: the time of all is wanted, not of the longest",
    ),
    Wrong(_floor(end=lambda each: each), "one number is wanted: the time of all layers together"),
    Wrong(
        lambda layers, peak, bandwidth: floor_seconds(layers, bandwidth, peak),
        "operations belong to the peak, bytes to the bandwidth",
    ),
    Wrong(
        _floor(factor=1),
        "each number of a row meets each weight twice: it is multiplied, then added",
    ),
    Wrong(_floor(size=1), "bandwidth counts bytes: how many has a number in float32?"),
    Wrong(_floor(parts=(1, 0, 1)), "the weights have to be read too"),
    Wrong(_floor(parts=(1, 1, 0)), "the result has to be written too"),
    Wrong(_floor(parts=(0, 1, 1)), "the rows have to be read too"),
]


# ---- E.2 two orders of linear steps


def two_orders(queries: int, channels: int, pixels: int, points: int) -> tuple[int, int]:
    """Operations that the mask logits of all queries at some points take, in either order.

    Args:
        queries: N, each with a mask embedding of C numbers.
        channels: C, of each pixel of F_pixel.
        pixels: h w, of F_pixel.
        points: P, where the masks are read.

    Returns:
        Those of drawing all masks and reading them; and of reading F_pixel and multiplying.
    """
    draw_first = 2 * queries * channels * pixels + 8 * queries * points
    sample_first = 8 * channels * points + 2 * queries * channels * points
    return draw_first, sample_first


def _counts(g: torch.Generator) -> tuple[int, int, int, int]:
    return integer(g, 1, 20), integer(g, 1, 20), integer(g, 1, 200), integer(g, 0, 200)


def _orders(product=2, read=8, drawn=lambda n, c: n, sampled=lambda n, c: c):
    """Two counts with one mistake: in a product, in a read, or in how many maps are read."""

    def mistake(queries, channels, pixels, points):
        one = product * queries * channels
        maps = drawn(queries, channels), sampled(queries, channels)
        return one * pixels + read * maps[0] * points, read * maps[1] * points + one * points

    return mistake


_WRONG_ORDERS = [
    Wrong(
        lambda n, c, pixels, points: two_orders(n, c, pixels, points)[::-1],
        "which of the two comes first? Drawing is to be the first number",
    ),
    Wrong(_orders(product=1), "a product multiplies and adds: two operations for each pair"),
    Wrong(_orders(read=0), "reading is no free step: 8 operations for each number that is read"),
    Wrong(_orders(read=1), "a bilinear read is made of four neighbours: 8 operations"),
    Wrong(_orders(read=4), "a bilinear read multiplies four neighbours, and adds them: 8, not 4"),
    Wrong(
        _orders(sampled=lambda n, c: n),
        "sampling first, there are no masks yet: how many numbers has a point of F_pixel?",
    ),
    Wrong(
        _orders(drawn=lambda n, c: c),
        "drawn first, masks are read and no channels: how many masks are there?",
    ),
]


# ---- E.3 scattered additions as sums of rows


def row_plan(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which reads to add for each row of a table that was read at all.

    Args:
        rows: (R,) int64, at least 0: the row that each read belongs to, in no order.

    Returns:
        named: (T,), the rows that occur, each once, ascending.
        order: (R,), the places of the reads sorted by row; those of one row as they came.
        ends: (T + 1,), so that `order[ends[t]:ends[t + 1]]` are the reads of row `named[t]`.
    """
    order = rows.argsort(stable=True)
    named, counts = rows.unique(return_counts=True)
    return named, order, F.pad(counts.cumsum(0), (1, 0))


def _reads(g: torch.Generator) -> tuple[Tensor]:
    return (torch.randint(integer(g, 1, 12), (integer(g, 0, 12),), generator=g),)


def _plan(named=lambda right: right, order=lambda rows, right: right, ends=lambda right: right):
    """A plan with one mistake, made in one of its three parts."""

    def mistake(rows):
        right = row_plan(rows)
        return named(right[0]), order(rows, right[1]), ends(right[2])

    return mistake


def _with_empty_bags(rows):
    counts = rows.bincount()
    return torch.arange(len(counts)), rows.argsort(stable=True), F.pad(counts.cumsum(0), (1, 0))


def _all_named(rows):
    ordered, order = rows.sort(stable=True)
    return ordered, order, row_plan(rows)[2]


_WRONG_PLANS = [
    Wrong(
        _with_empty_bags,
        "a row that nobody read needs no bag: `named` holds only rows that occur",
    ),
    Wrong(_all_named, "a row that is read twice is named once, and its bag holds both reads"),
    Wrong(
        _plan(order=lambda rows, right: rows.sort().values),
        "`order` is to hold places of reads, not row numbers: which read comes first?",
    ),
    Wrong(
        _plan(order=lambda rows, right: torch.arange(len(rows))),
        "the bags are counted in sorted order: bring the reads into it as well",
    ),
    Wrong(
        _plan(order=lambda rows, right: right.argsort()),
        "that says where each read goes; wanted is which read comes to each place",
    ),
    Wrong(
        _plan(order=lambda rows, right: rows.unique(return_inverse=True)[1]),
        "that is the bag of each read; wanted are the reads of each bag, one bag after the other",
    ),
    Wrong(
        _plan(order=lambda rows, right: len(rows) - 1 - rows.flip(0).argsort(stable=True)),
        "within a row, the reads are to stay in the order in which they came",
    ),
    Wrong(
        _plan(ends=lambda right: right[1:]),
        "the first bag begins at 0: that belongs to the ends as well",
    ),
    Wrong(
        _plan(ends=lambda right: right[:-1]),
        "the last bag has an end as well: there are T + 1 ends of T bags",
    ),
    Wrong(
        _plan(ends=lambda right: right.diff()),
        "these are the sizes of the bags: where do they begin and end?",
    ),
    Wrong(
        _plan(ends=lambda right: F.pad(right.diff(), (1, 0))),
        "after the 0 these are the sizes of the bags: an end counts all reads up to there",
    ),
]


# ---- E.4 the whole


def whole_speedup(shares: Tensor, speedups: Tensor) -> Tensor:
    """How many times faster a whole becomes when some of its parts do (Amdahl's law).

    Args:
        shares: (J,), of the old time; what is missing to 1 stays as it is.
        speedups: (J,), of these parts.

    Returns:
        A scalar, old time / new time.
    """
    return 1 / (1 - shares.sum() + (shares / speedups).sum())


def _parts(g: torch.Generator) -> tuple[Tensor, Tensor]:
    count = integer(g, 1, 4)
    shares = torch.rand(count + 1, generator=g) + 0.1
    return shares[:-1] / shares.sum(), 1.5 + 8 * torch.rand(count, generator=g)


_WRONG_WHOLES = [
    Wrong(
        lambda shares, speedups: 1 - shares.sum() + (shares * speedups).sum(),
        "times add up, speeds do not: how long does each part take afterwards?",
    ),
    Wrong(
        lambda shares, speedups: 1 / (shares / speedups).sum(),
        "the shares need not sum to 1: what became of the rest?",
    ),
    Wrong(lambda shares, speedups: speedups.prod(), "no part is the whole: where are the shares?"),
    Wrong(
        lambda shares, speedups: (1 / (1 - shares + shares / speedups)).prod(),
        "every share is one of the old time: add the new times of all parts, then divide once",
    ),
    Wrong(
        lambda shares, speedups: 1 / (1 - shares.sum()),
        "that is the limit, for parts that take no time any more; these still take some",
    ),
    Wrong(
        lambda shares, speedups: 1 - shares.sum() + (shares / speedups).sum(),
        "that is the new time as a share of the old: a speedup is its inverse",
    ),
]


EXERCISES = [
    Exercise(
        "E.1",
        floor_seconds,
        _chain,
        _WRONG_FLOORS,
        corners=[(torch.tensor([[1, 5, 5], [5, 5, 5]]), 60.0, 300.0)],  # memory, then processor
    ),
    Exercise("E.2", two_orders, _counts, _WRONG_ORDERS, corners=[(100, 256, 16384, 12544)]),
    Exercise(
        "E.3",
        row_plan,
        _reads,
        _WRONG_PLANS,
        corners=[(torch.tensor([2, 0, 5, 2, 0, 2]),), (torch.tensor([], dtype=torch.int64),)],
    ),
    Exercise(
        "E.4",
        whole_speedup,
        _parts,
        _WRONG_WHOLES,
        corners=[(torch.zeros(0), torch.zeros(0)), (torch.tensor([0.4]), torch.tensor([1000.0]))],
    ),
]
