"""What usually goes wrong in exercises 5.1, 5.2 and 5.4, each mistake with its hint."""

from __future__ import annotations

import torch

from minim2f.book.exercises import Wrong
from minim2f.ops.deformable import as_fractions

# ---- 5.1 where each cell starts from


def _grid(sizes, place=lambda i, n: (i + 0.5) / n, swap=False, by_column=False):
    """The exercise with other places of the centres, or in another order."""
    points = []
    for h, w in sizes:
        y, x = place(torch.arange(h), h), place(torch.arange(w), w)
        if by_column:
            x, y = x.repeat_interleave(h), y.repeat(w)
        else:
            x, y = x.repeat(h), y.repeat_interleave(w)
        points.append(torch.stack([y, x] if swap else [x, y], dim=1))
    return torch.cat(points)


def _sizes_crossed(sizes):
    points = []
    for h, w in sizes:
        y, x = (torch.arange(h) + 0.5) / w, (torch.arange(w) + 0.5) / h
        points.append(torch.stack([x.repeat(h), y.repeat_interleave(w)], dim=1))
    return torch.cat(points)


def _as_maps(sizes):
    return [_grid([size]) for size in sizes]


REFERENCE = [
    Wrong(
        lambda sizes: _grid(sizes, lambda i, n: i / n),
        "those are the corners of the cells: the centre of the first one is half a cell further",
    ),
    Wrong(
        lambda sizes: _grid(sizes, lambda i, n: (i + 1) / n),
        "those are the far corners of the cells: the centres lie half a cell before them",
    ),
    Wrong(
        lambda sizes: _grid(sizes, lambda i, n: i / max(n - 1, 1)),
        "that aligns corners: the outermost centres lie half a cell inside of the picture",
    ),
    Wrong(
        lambda sizes: _grid(sizes, lambda i, n: (i + 0.5) / (n - 1)),
        "w cells fill the width: the centres are 1/w apart, not 1/(w - 1)",
    ),
    Wrong(
        lambda sizes: _grid(sizes, lambda i, n: (i + 0.5) / max(n - 1, 1)),
        "w cells fill the width: the centres are 1/w apart, not 1/(w - 1)",
    ),
    Wrong(
        lambda sizes: _grid(sizes, lambda i, n: i + 0.5),
        "those are places in cells: as fractions, the same for all levels, they are smaller",
    ),
    Wrong(
        lambda sizes: _grid(sizes, lambda i, n: (2 * i + 1) / n - 1),
        "those are the coordinates of grid_sample, from -1 to 1: fractions go from 0 to 1",
    ),
    Wrong(lambda sizes: _grid(sizes, swap=True), "x comes first: a point is (x, y), a size (h, w)"),
    Wrong(
        lambda sizes: _grid(sizes, by_column=True),
        "row by row, as a map lies in memory: x changes first",
    ),
    Wrong(_sizes_crossed, "x goes over the width, y over the height: each has its own divisor"),
    Wrong(
        lambda sizes: _grid(sizes[::-1]),
        "the levels come in the order of `sizes`, the coarsest first where it is first",
    ),
    Wrong(
        lambda sizes: _grid(sizes[:1]),
        "those are the centres of the first level alone: does your loop return too early?",
    ),
    Wrong(
        lambda sizes: _grid(sizes[-1:]),
        "those are the centres of the last level alone: does your loop overwrite the others?",
    ),
    Wrong(_as_maps, "one tensor of all levels is wanted, (S, 2): put them together"),
]

# ---- 5.2 from offsets to places


def _joined(join, size=lambda size: size.flip(1)):
    """The exercise with another rule, of reference, offsets and divisors that fit each other."""

    def mistake(reference, offsets, sizes):
        by = size(torch.tensor(sizes).float())
        return join(reference[:, None, None, None], offsets, by[:, None])

    return mistake


def _divided(size=lambda size: size.flip(1)):
    return _joined(lambda start, offsets, by: start + offsets / by, size)


def _by_own_level(reference, offsets, sizes):
    own = [torch.tensor([(w, h)]).expand(h * w, 2) for h, w in sizes]
    return reference[:, None, None, None] + offsets / torch.cat(own)[:, None, None, None]


def _without_axis(reference, offsets, sizes):
    return reference[:, None, None, None] + offsets / torch.tensor(sizes).flip(1)


def _reference_without_axes(reference, offsets, sizes):
    return reference + offsets / torch.tensor(sizes).flip(1)[:, None]


_ONE_SIZE = "every level has its own size: yours divides by that of the {} one throughout"


def _by_the_library(reference, offsets, sizes):
    return reference[:, None, None, None] + as_fractions(offsets[None], sizes)[0]


PLACES = [
    Wrong(
        _by_the_library,
        "the right numbers, but as_fractions divided for you: this time you do it",
    ),
    Wrong(
        _divided(torch.ones_like),
        "an offset counts cells, a place is a fraction: one cell of w is 1/w of the width",
    ),
    Wrong(
        _divided(lambda size: size),
        "x is divided by the width, y by the height; a size is (h, w)",
    ),
    Wrong(_divided(lambda size: size[:1].flip(1).expand_as(size)), _ONE_SIZE.format("first")),
    Wrong(_divided(lambda size: size[-1:].flip(1).expand_as(size)), _ONE_SIZE.format("last")),
    Wrong(
        _by_own_level,
        "offsets count cells of the level that is read, not of the level of the cell that asks",
    ),
    Wrong(
        _divided(lambda size: size.flip(1) - 1),
        "w cells fill the width: a cell is 1/w wide, not 1/(w - 1)",
    ),
    Wrong(
        _divided(lambda size: size.amax(1, keepdim=True)),
        "height and width differ: each has its own divisor",
    ),
    Wrong(
        _joined(lambda start, offsets, by: start + offsets * by),
        "you multiply by the size: a cell is a small part of the picture",
    ),
    Wrong(
        _without_axis,
        "levels are the third axis of the offsets, points the fourth: give the divisors an axis "
        "for the points, (levels, 1, 2)",
    ),
    Wrong(
        _reference_without_axes,
        "the cells are the first axis of the offsets: give the reference axes for heads, levels "
        "and points, (S, 1, 1, 1, 2)",
    ),
    Wrong(
        _joined(lambda start, offsets, by: start + 2 * offsets / by),
        "your steps are twice too long: 2/w is a cell for grid_sample, which counts from -1 to 1",
    ),
    Wrong(
        _joined(lambda start, offsets, by: start - offsets / by),
        "an offset of +1 goes to the right: it is added",
    ),
    Wrong(
        _joined(lambda start, offsets, by: start * by + offsets),
        "those are places in cells; wanted are fractions, as `reference` has them",
    ),
    Wrong(
        _joined(lambda start, offsets, by: (start + offsets) / by),
        "the reference is a fraction already: divide the offsets alone",
    ),
    Wrong(
        _joined(lambda start, offsets, by: offsets / by),
        "an offset starts from somewhere: the reference is missing",
    ),
    Wrong(
        lambda *given: 2 * _divided()(*given) - 1,
        "those are the coordinates of grid_sample, from -1 to 1: leave them fractions",
    ),
    Wrong(
        lambda *given: _divided()(*given).clamp(0, 1),
        "a point may lie outside of the picture (it reads zeros there): do not pull it back",
    ),
]

# ---- 5.4 where the heads look first


ANGLES = [  # the same angles but for rounding, which some of the mistakes enlarge
    lambda full, i, heads: i * (full / heads),
    lambda full, i, heads: full * i / heads,
    lambda full, i, heads: i / heads * full,
]


def _onto_square(direction):
    return direction / direction.abs().amax(1, keepdim=True)


def _looks(full=2 * torch.pi, far=lambda p: p, square=_onto_square, flip=False, angle=ANGLES[0]):
    """The exercise with other angles, distances or another ring around the cell."""

    def mistake(heads, points):
        angles = angle(full, torch.arange(heads), heads)
        direction = torch.stack([angles.cos(), angles.sin()], dim=1)
        direction = square(direction.flip(1) if flip else direction)
        return direction[:, None] * far(torch.arange(1, points + 1))[:, None]

    return mistake


def _ends_meet(heads, points):
    angles = torch.linspace(0, 2 * torch.pi, heads)
    direction = _onto_square(torch.stack([angles.cos(), angles.sin()], dim=1))
    return direction[:, None] * torch.arange(1, points + 1)[:, None]


FIRST = [
    Wrong(
        _looks(square=lambda t: t),
        "that is a circle: on the square around the cell, the larger of |x| and |y| is i",
    ),
    Wrong(_looks(far=lambda p: p - 1), "the first point of each head is 1 cell away, not 0"),
    Wrong(_looks(far=lambda p: p + 1), "the first point of each head is 1 cell away, not 2"),
    Wrong(
        _looks(far=lambda p: 0 * p + 1),
        "all points of a head lie at one place: point i is i cells away",
    ),
    Wrong(_looks(flip=True), "x is the cosine, y the sine: head 0 looks to the right"),
    Wrong(_looks(-2 * torch.pi), "y grows downwards, and so does the sine: no minus is needed"),
    Wrong(_looks(torch.pi), "the heads go all the way round: 2 pi, not pi"),
    Wrong(_ends_meet, "the last head looks where the first does: divide the circle by heads"),
]
FIRST += [
    Wrong(_looks(360, angle=angle), "torch.cos takes radians, not degrees") for angle in ANGLES
]
FIRST += [
    Wrong(
        _looks(square=lambda t: t / t.amax(1, keepdim=True), angle=angle),
        "the larger of |x| and |y|: to the left and upwards they are negative, so take abs first",
    )
    for angle in ANGLES
]
FIRST += [
    Wrong(
        change,
        "whole numbers come by themselves with 4 or 8 heads, in no other case: do not round",
    )
    for change in (
        _looks(square=torch.round),
        _looks(square=lambda t: _onto_square(t).round()),
        lambda heads, points: _looks()(heads, points).round(),
        _looks(square=lambda t: _onto_square(t).int()),
        lambda heads, points: _looks()(heads, points).int(),
    )
]
FIRST += [
    Wrong(
        lambda heads, points: _looks()(heads, points).transpose(0, 1),
        "heads first: (heads, P, 2)",
    ),
    Wrong(
        lambda heads, points: _looks()(heads, points)[:, None],
        "no axis for the levels is wanted: (heads, P, 2), alike on all levels",
    ),
    Wrong(
        lambda heads, points: _looks()(heads, points)[:, None].repeat(1, 3, 1, 1),
        "no axis for the levels is wanted: (heads, P, 2), alike on all levels",
    ),
]
