"""Exercises of appendix E, how fast and why: the floor, sums of rows, the whole."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from minim2f.book.exercises import Exercise, Wrong, integer

# ---- E.1 the time that a chain of steps cannot beat


def floor_seconds(operations: Tensor, moved: Tensor, peak: float, bandwidth: float) -> Tensor:
    """The least time of steps that run one after the other.

    Args:
        operations: (K,), of each step.
        moved: (K,), bytes that each step reads and writes.
        peak: operations a second.
        bandwidth: bytes a second.

    Returns:
        Seconds, a scalar.
    """
    return torch.maximum(operations / peak, moved / bandwidth).sum()


def _steps(g: torch.Generator) -> tuple[Tensor, Tensor, float, float]:
    operations, moved = 100 * torch.rand(2, integer(g, 0, 8), generator=g)
    return operations, moved, float(integer(g, 2, 8)), float(integer(g, 2, 8))


_WRONG_FLOORS = [
    Wrong(
        lambda ops, moved, peak, bandwidth: (ops / peak + moved / bandwidth).sum(),
        "a processor computes while the memory delivers: the slower of the two sets the time",
    ),
    Wrong(
        lambda ops, moved, peak, bandwidth: torch.minimum(ops / peak, moved / bandwidth).sum(),
        "the faster of the two has to wait for the other one",
    ),
    Wrong(
        lambda ops, moved, peak, bandwidth: torch.maximum(
            ops.sum() / peak, moved.sum() / bandwidth
        ),
        "steps wait for each other: each has a bound of its own, and only then do you add",
    ),
    Wrong(
        lambda ops, moved, peak, bandwidth: torch.maximum(ops / bandwidth, moved / peak).sum(),
        "operations belong to the peak, bytes to the bandwidth",
    ),
]


# ---- E.2 scattered additions as sums of rows


def row_sums(rows: Tensor, values: Tensor, count: int) -> Tensor:
    """Adds each row of `values` to the row of the result that `rows` names.

    Args:
        rows: (R,) int64 in 0 ... count-1; a row may be named often, or never.
        values: (R, D).
        count: T.

    Returns:
        (T, D).
    """
    order = rows.argsort(stable=True)
    ends = F.pad(rows.bincount(minlength=count).cumsum(0), (1, 0))
    return F.embedding_bag(order, values, ends, mode="sum", include_last_offset=True)


def _scattered(g: torch.Generator) -> tuple[Tensor, Tensor, int]:
    count, reads = integer(g, 1, 6), integer(g, 1, 12)
    rows = torch.randint(count, (reads,), generator=g)
    return rows, torch.randn(reads, integer(g, 1, 3), generator=g), count


def _last_wins(rows: Tensor, values: Tensor, count: int) -> Tensor:
    out = values.new_zeros(count, values.shape[1])
    for row, value in zip(rows.tolist(), values):
        out[row] = value
    return out


def _bags(order: Tensor, ends: Tensor, values: Tensor, mode: str = "sum") -> Tensor:
    return F.embedding_bag(order, values, ends, mode=mode, include_last_offset=True)


def _ends(rows: Tensor, count: int) -> Tensor:
    return F.pad(rows.bincount(minlength=count).cumsum(0), (1, 0))


_WRONG_SUMS = [
    Wrong(
        _last_wins,
        "a row that is named twice keeps only one of its values: nothing may overwrite",
    ),
    Wrong(
        lambda rows, values, count: _bags(torch.arange(len(rows)), _ends(rows, count), values),
        "the bags are counted in sorted order: bring the values into it as well",
    ),
    Wrong(
        lambda rows, values, count: _bags(rows.argsort(), _ends(rows, count), values, "mean"),
        "sums are wanted: a row that is read often has a large gradient",
    ),
    Wrong(
        lambda rows, values, count: _bags(rows.argsort(), _ends(rows, 0), values),
        "the last rows may never be named: they still need their zeros",
    ),
]


# ---- E.3 the whole


def whole_speedup(shares: Tensor, speedups: Tensor) -> Tensor:
    """How many times faster a whole becomes when some of its parts do (Amdahl's law).

    Args:
        shares: (K,), of the old time; what is missing to 1 stays as it is.
        speedups: (K,), of these parts.

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
        lambda shares, speedups: 1 - shares.sum() + (shares / speedups).sum(),
        "that is the new time as a share of the old: a speedup is its inverse",
    ),
]


EXERCISES = [
    Exercise("E.1", floor_seconds, _steps, _WRONG_FLOORS),
    Exercise("E.2", row_sums, _scattered, _WRONG_SUMS),
    Exercise("E.3", whole_speedup, _parts, _WRONG_WHOLES),
]
