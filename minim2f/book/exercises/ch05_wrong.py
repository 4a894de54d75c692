"""What usually goes wrong in the exercises of chapter 5, each mistake with its hint."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from minim2f.book.exercises import Wrong

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


_ONE_SIZE = "every level has its own size: yours divides by that of the {} one throughout"

PLACES = [
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

# ---- 5.3 the sum of one head


def _hats(where, size):
    return (1 - (where[..., None] - torch.arange(size)).abs()).clamp(min=0)


def _summed(
    across=lambda x, w: x * w - 0.5, weigh=lambda t: t, hats=_hats, swap=False, first=False
):
    """The exercise with other places, weights or reads."""

    def mistake(values, sizes, at, weights):
        out, begin, weights = 0, 0, weigh(weights)
        for j, (h, w) in enumerate(sizes):
            cells = values[begin : begin + h * w].view(h, w, -1)
            x, y = at[:, j].flip(-1).unbind(-1) if swap else at[:, j].unbind(-1)
            right, down = hats(across(x, w), w), hats(across(y, h), h)
            read = torch.einsum("qp,qph,qpw,hwd->qd", weights[:, j], down, right, cells)
            out = read if first and j else out + read
            begin += h * w
        return out

    return mistake


def _closest(values, sizes, at, weights):
    out, begin = 0, 0
    for j, (h, w) in enumerate(sizes):
        cells = values[begin : begin + h * w].view(h, w, -1)
        column = (at[:, j, :, 0] * w).floor().long().clamp(0, w - 1)
        row = (at[:, j, :, 1] * h).floor().long().clamp(0, h - 1)
        out = out + (weights[:, j, :, None] * cells[row, column]).sum(1)
        begin += h * w
    return out


def _maps_as_columns(values, sizes, at, weights):
    """Each level cut as if its cells lay column by column."""
    levels = values.split([h * w for h, w in sizes])
    maps = [level.view(w, h, -1).transpose(0, 1) for level, (h, w) in zip(levels, sizes)]
    turned = torch.cat([image.flatten(0, 1) for image in maps])
    return _summed()(turned, sizes, at, weights)


def _crossed(values, sizes, at, weights):
    turned = [(w, h) for h, w in sizes]
    return _summed()(values, turned, at, weights)


def _always_from_zero(values, sizes, at, weights):
    out = 0
    for j, (h, w) in enumerate(sizes):
        levels = values[: h * w], [(h, w)], at[:, j : j + 1], weights[:, j : j + 1]
        out = out + _summed()(*levels)
    return out


def _by_torch(values, sizes, at, weights, align_corners=False):
    out = 0
    for j, level in enumerate(values.split([h * w for h, w in sizes])):
        image = level.T.reshape(1, -1, *sizes[j])
        read = F.grid_sample(image, 2 * at[None, :, j] - 1, align_corners=align_corners)
        out = out + (read[0] * weights[:, j]).sum(-1).T
    return out


def _border(where, size):
    return _hats(where.clamp(0, size - 1), size)


HEAD = [
    Wrong(_by_torch, "the right numbers, but grid_sample read them: this time you are the reader"),
    Wrong(
        lambda *given: _by_torch(*given, align_corners=True),
        "that aligns corners: cell i has its centre at (i + 1/2) / w",
    ),
    Wrong(
        _summed(across=lambda x, w: x * w),
        "half a cell is missing: where is the centre of the first cell?",
    ),
    Wrong(_summed(hats=_border), "outside of the picture a point reads zeros, not the edge"),
    Wrong(_closest, "that is the nearest cell: bilinear mixes the four around the place"),
    Wrong(_summed(swap=True), "a place is (x, y), a map is (h, w): x chooses the column"),
    Wrong(_maps_as_columns, "the cells of a level lie row by row: view them as (h, w), not (w, h)"),
    Wrong(_crossed, "x goes over the width, y over the height; a size is (h, w)"),
    Wrong(
        _always_from_zero,
        "every level begins where the one before it ended, not at the first row again",
    ),
    Wrong(_summed(weigh=torch.ones_like), "the weights are missing from your sum"),
    Wrong(
        _summed(weigh=lambda t: t.flatten(1).softmax(1).view_as(t)),
        "the weights are weights already: no second softmax",
    ),
    Wrong(
        _summed(weigh=lambda t: t / t.sum(-1, keepdim=True)),
        "weights sum to 1 over the points of all levels together, not on each level",
    ),
    Wrong(
        _summed(weigh=lambda t: t / t.shape[2]),
        "a sum, not a mean, over the points: their weights see to the rest",
    ),
    Wrong(_summed(weigh=lambda t: t / t.shape[1]), "a sum, not a mean, over the levels"),
    Wrong(_summed(first=True), "add up all levels: yours keeps the last one alone"),
    Wrong(lambda *given: _summed()(*given).T, "channels last: (Q, D), not (D, Q)"),
]

# ---- 5.4 where the heads look first


def _looks(turn=1.0, far=lambda p: p + 1, size=lambda t: t.abs().amax(1, keepdim=True), flip=False):
    """The exercise with other angles, distances or another ring around the cell."""

    def mistake(heads, points):
        angle = turn * torch.arange(heads) * (2 * torch.pi / heads)
        direction = torch.stack([angle.cos(), angle.sin()], dim=1)
        direction = (direction.flip(1) if flip else direction) / size(direction)
        return direction[:, None] * far(torch.arange(points))[:, None]

    return mistake


def _ends_meet(heads, points):
    angle = torch.linspace(0, 2 * torch.pi, heads)
    direction = torch.stack([angle.cos(), angle.sin()], dim=1)
    direction = direction / direction.abs().amax(1, keepdim=True)
    return direction[:, None] * torch.arange(1, points + 1)[:, None]


FIRST = [
    Wrong(
        _looks(size=lambda t: 1),
        "that is a circle: on the square around the cell, the larger coordinate is p + 1",
    ),
    Wrong(_looks(far=lambda p: p), "the first point of each head is 1 cell away, not 0"),
    Wrong(
        _looks(far=lambda p: 0 * p + 1),
        "all points of a head lie at one place: point p is p + 1 cells away",
    ),
    Wrong(_looks(flip=True), "x is the cosine, y the sine: head 0 looks to the right"),
    Wrong(_looks(turn=-1), "y grows downwards, and so does the sine: no minus is needed"),
    Wrong(_looks(turn=0.5), "the heads go all the way round: 2 pi, not pi"),
    Wrong(_looks(turn=180 / torch.pi), "torch.cos takes radians, not degrees"),
    Wrong(_ends_meet, "the last head looks where the first does: divide the circle by heads"),
    Wrong(
        lambda heads, points: _looks()(heads, points).transpose(0, 1),
        "heads first: (heads, P, 2)",
    ),
]
