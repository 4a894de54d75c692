"""Exercises of appendix E, how fast and why: the floor, two orders, sums of rows, the whole."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from minim2f.book.exercises import Exercise, Wrong, integer
from minim2f.book.exercises.chE_wrong import FLOORS, ORDERS

# ---- E.1 the time that a chain of layers cannot beat


def floor_of_chain(layers: Tensor, peak: float, bandwidth: float) -> tuple[Tensor, Tensor]:
    """The least time of linear layers that run one after the other, in float32 and without bias.

    Args:
        layers: (layers, 3) int64: rows, inputs and outputs of each.
        peak: operations a second.
        bandwidth: bytes a second.

    Returns:
        Seconds, a scalar; and (layers,) bool, True where a layer waits for memory.
    """
    rows, inputs, outputs = layers.T
    computing = 2 * rows * inputs * outputs / peak
    moving = 4 * (rows * inputs + inputs * outputs + rows * outputs) / bandwidth
    return torch.maximum(computing, moving).sum(), moving > computing


def _chain(g: torch.Generator) -> tuple[Tensor, float, float]:
    layers = torch.randint(1, 6, (integer(g, 1, 5), 3), generator=g)
    return layers, float(integer(g, 50, 200)), float(integer(g, 100, 400))


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


def _up_to_the_largest(rows):
    counts = torch.bincount(rows, minlength=int(rows.max()) + 1)
    return torch.arange(len(counts)), rows.argsort(stable=True), F.pad(counts.cumsum(0), (1, 0))


def _ends_of_all(rows):
    return *row_plan(rows)[:2], _with_empty_bags(rows)[2]


def _as_they_appear(rows):
    named, order, _ = row_plan(rows)
    come = torch.stack([(rows == row).nonzero()[0, 0] for row in named]) if len(named) else named
    return named[come.argsort()], order, row_plan(rows)[2]


def _first_reads(rows):
    named, order, ends = row_plan(rows)
    return named, order[ends[:-1]], torch.arange(len(named) + 1)


def _all_named(rows):
    ordered, order = rows.sort(stable=True)
    return ordered, order, row_plan(rows)[2]


_UNREAD = "a row that nobody read needs no bag: `named` holds only rows that occur"
_WRONG_PLANS = [
    Wrong(_with_empty_bags, _UNREAD),
    Wrong(_up_to_the_largest, _UNREAD),
    Wrong(
        _ends_of_all,
        "only rows that were read have a bag: `ends` has one number more than `named`",
    ),
    Wrong(_as_they_appear, "`named` is to be ascending, not in the order of the first reads"),
    Wrong(_first_reads, "a bag holds all reads of its row, not the first alone"),
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
        shares: (parts,), of the old time; what is missing to 1 stays as it is.
        speedups: (parts,), of these parts.

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
        floor_of_chain,
        _chain,
        FLOORS,
        corners=[
            (torch.tensor([[1, 5, 5], [5, 5, 5]]), 60.0, 300.0),  # memory, then processor
            (torch.tensor([[8, 8, 8], [6, 6, 6], [1, 5, 5]]), 100.0, 100.0),  # 6: a tie
        ],
    ),
    Exercise("E.2", two_orders, _counts, ORDERS, corners=[(100, 256, 16384, 12544)]),
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
        corners=[(torch.tensor([0.4]), torch.tensor([1000.0])), (torch.zeros(0), torch.zeros(0))],
    ),
]
