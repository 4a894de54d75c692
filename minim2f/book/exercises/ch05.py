"""Exercises of chapter 5, deformable attention: centres, places, one head's sum, the first look."""

from __future__ import annotations

import torch
from torch import Tensor

from minim2f.book.exercises import Exercise, ch05_wrong, ch05_wrong_head, integer
from minim2f.book.exercises.forbidden import counted, watchful

Sizes = list[tuple[int, int]]


def _sizes(g: torch.Generator) -> Sizes:
    """One to three levels, coarse or fine, high or wide."""
    return [(integer(g, 1, 5), integer(g, 1, 5)) for _ in range(integer(g, 1, 3))]


# ---- 5.1 where each cell starts from


def reference_points(sizes: list[tuple[int, int]]) -> Tensor:
    """The centres of all cells, level by level, in a level row by row.

    Args:
        sizes: (h, w) of each level.

    Returns:
        (S, 2), x and y in fractions of the picture; S is the sum of h w.
    """
    points = []
    for h, w in sizes:
        y = (torch.arange(h) + 0.5) / h
        x = (torch.arange(w) + 0.5) / w
        points.append(torch.stack([x.repeat(h), y.repeat_interleave(w)], dim=1))
    return torch.cat(points)


def _levels(g: torch.Generator) -> tuple[Sizes]:
    return (_sizes(g),)


_LEVEL_CORNERS = [([(1, 2), (2, 4)],), ([(3, 1)],), ([(1, 1), (2, 2), (4, 4)],)]


# ---- 5.2 from offsets to places


def places(reference: Tensor, offsets: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
    """Where each point reads.

    Args:
        reference: (S, 2), the centre of each cell that asks, x and y in fractions of the picture.
        offsets: (S, heads, levels, P, 2), x and y in cells of the level that is read.
        sizes: (h, w) of each level; S is the sum of h w.

    Returns:
        (S, heads, levels, P, 2), x and y in fractions of the picture.
    """
    size = torch.tensor([(w, h) for h, w in sizes])
    return reference[:, None, None, None] + offsets / size[:, None]


def _asked(g: torch.Generator) -> tuple[Tensor, Tensor, Sizes]:
    sizes = _sizes(g)
    count = sum(h * w for h, w in sizes)
    shape = count, integer(g, 1, 3), len(sizes), integer(g, 1, 4), 2
    return torch.rand(count, 2, generator=g), 2 * torch.randn(shape, generator=g), sizes


def _watched_places() -> tuple[Tensor, Tensor, Sizes]:
    reference, offsets, sizes = _asked(torch.Generator().manual_seed(3))
    reference, offsets = watchful(reference, offsets, functions="as_fractions MyAttention")
    return reference, offsets, sizes


def _one_cell_right() -> tuple[Tensor, Tensor, Sizes]:
    """Every point one cell to the right: a half of one level's width, a quarter of the other's."""
    sizes = [(1, 2), (2, 4)]
    offsets = torch.zeros(10, 1, 2, 1, 2)
    offsets[..., 0] = 1
    return reference_points(sizes), offsets, sizes


# ---- 5.3 the sum of one head


def one_head(values: Tensor, sizes: list[tuple[int, int]], at: Tensor, weights: Tensor) -> Tensor:
    """What one head of deformable attention brings home.

    Args:
        values: (S, d), the cells of all levels one after the other, of one picture and head.
        sizes: (h, w) of each level; S is the sum of h w.
        at: (Q, levels, P, 2), places, x and y in fractions of the picture; outside is zero.
        weights: (Q, levels, P).

    Returns:
        (Q, d).
    """
    out = torch.zeros(len(at), values.shape[1])
    begin = 0
    for j, (h, w) in enumerate(sizes):
        cells = values[begin : begin + h * w].view(h, w, -1)
        u, v = at[:, j, :, 0] * w - 0.5, at[:, j, :, 1] * h - 0.5
        across = (1 - (u[..., None] - torch.arange(w)).abs()).clamp(min=0)
        down = (1 - (v[..., None] - torch.arange(h)).abs()).clamp(min=0)
        out = out + torch.einsum("qp,qph,qpw,hwd->qd", weights[:, j], down, across, cells)
        begin = begin + h * w
    return out


def _reads(g: torch.Generator) -> tuple[Tensor, Sizes, Tensor, Tensor]:
    sizes = _sizes(g)
    asked, points = integer(g, 1, 5), integer(g, 1, 4)
    values = torch.randn(sum(h * w for h, w in sizes), integer(g, 1, 4), generator=g)
    at = torch.rand(asked, len(sizes), points, 2, generator=g) * 1.4 - 0.2
    logits = torch.randn(asked, len(sizes) * points, generator=g)
    return values, sizes, at, logits.softmax(1).view(asked, len(sizes), points)


def _watched_reads() -> tuple[Tensor, Sizes, Tensor, Tensor]:
    """So many cells ask that a loop over them shows."""
    g, sizes = torch.Generator().manual_seed(8), [(4, 2), (2, 3)]
    values = torch.randn(14, 3, generator=g)
    at = torch.rand(300, 2, 2, 2, generator=g) * 1.4 - 0.2
    weights = torch.randn(300, 4, generator=g).softmax(1).view(300, 2, 2)
    words = (
        "grid_sample embedding_bag attend attend_slow sample sum_of_rows by_level slow slow_head"
    )
    # some 40 operations a level are enough; a loop over 300 cells needs thousands
    functions = f"{words} slow_read"
    values, at, weights = counted(values, at, weights, functions=functions, most=500)
    return values, sizes, at, weights


def _by_hand() -> tuple[Tensor, Sizes, Tensor, Tensor]:
    """The example of the chapter."""
    values = torch.tensor([10.0, 20, 0, 4, 8, 4, 2, 6, 2, 0])[:, None]
    at = [[[0.5, 0.5], [0.25, 0.5]], [[0.625, 0.25], [0.5, 0.75]]]
    weights = torch.tensor([[[1.0, 1], [4, 2]]]) / 8
    return values, [(1, 2), (2, 4)], torch.tensor([at]), weights


# ---- 5.4 where the heads look first


def first_offsets(heads: int, points: int) -> Tensor:
    """The offsets before training, on any level.

    Args:
        heads: how many; head i looks at the angle 2 pi i / heads, from the x axis towards y.
        points: P; point i = 1, ..., P of a head is i cells away on the square around the cell.

    Returns:
        (heads, P, 2), x and y in cells.
    """
    angle = torch.arange(heads) * (2 * torch.pi / heads)
    direction = torch.stack([angle.cos(), angle.sin()], dim=1)
    direction = direction / direction.abs().amax(1, keepdim=True)
    return direction[:, None] * torch.arange(1, points + 1)[:, None]


def _counts(g: torch.Generator) -> tuple[int, int]:
    return integer(g, 1, 12), integer(g, 1, 4)


EXERCISES = [
    Exercise("5.1", reference_points, _levels, ch05_wrong.REFERENCE, _LEVEL_CORNERS),
    Exercise("5.2", places, _asked, ch05_wrong.PLACES, [_watched_places(), _one_cell_right()]),
    Exercise("5.3", one_head, _reads, ch05_wrong_head.HEAD, [_watched_reads(), _by_hand()]),
    Exercise("5.4", first_offsets, _counts, ch05_wrong.FIRST, [(8, 4), (1, 1), (4, 2)]),
]
