"""What usually goes wrong in exercise 5.3, the sum of one head, each mistake with its hint."""

from __future__ import annotations

from itertools import product

import torch
from torch.nn import functional as F

from minim2f.book.exercises import Wrong


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


def _nearest(pick, outside):
    """One cell a read: the nearest, with zeros or the edge outside of the picture."""

    def hats(where, size):
        at = pick(where)
        at = at.clamp(0, size - 1) if outside == "edge" else at
        return (at[..., None] == torch.arange(size)).float()

    return _summed(hats=hats)


def _gathered(fix, order=tuple(product((0, 1), repeat=2))):
    """The exercise with the four cells of a read taken by number; `fix` sees to those outside.

    From row, column, h and w it makes a row, a column, and what the share is multiplied by.
    """

    def mistake(values, sizes, at, weights):
        out, begin = torch.zeros(len(at), values.shape[1]), 0
        for j, (h, w) in enumerate(sizes):
            cells = values[begin : begin + h * w].view(h, w, -1)
            u, v = at[:, j, :, 0] * w - 0.5, at[:, j, :, 1] * h - 0.5
            for down, right in order:
                row, column = (v.floor() + down).long(), (u.floor() + right).long()
                share = (1 - (u - column).abs()) * (1 - (v - row).abs()) * weights[:, j]
                row, column, kept = fix(row, column, h, w)
                out = out + ((share * kept)[..., None] * cells[row, column]).sum(1)
            begin += h * w
        return out

    return mistake


def _below_zero_wraps(row, column, h, w):
    kept = (row < h) & (column < w)
    return row.clamp(max=h - 1) % h, column.clamp(max=w - 1) % w, kept


def _below_zero_wraps_the_rest_is_edge(row, column, h, w):
    return row.clamp(max=h - 1) % h, column.clamp(max=w - 1) % w, 1


def _planes(values, sizes, at, weights):
    """Each level cut as if its channels lay one after the other."""
    levels = values.split([h * w for h, w in sizes])
    turned = [level.reshape(level.shape[1], -1).T for level in levels]
    return _summed()(torch.cat(turned), sizes, at, weights)


def _last_forgotten(values, sizes, at, weights):
    out = torch.zeros(len(at), values.shape[1])
    return out + _summed()(values, sizes[:-1], at[:, :-1], weights[:, :-1])


def _full_shares(where, size):
    """The shares of the cells inside, enlarged until they sum to 1."""
    share = _hats(where, size)
    return (share / share.sum(-1, keepdim=True)).nan_to_num()


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
    Wrong(
        _summed(hats=_full_shares),
        "at the edge the cells outside count as zeros: the shares of those inside stay as they are",
    ),
    Wrong(
        _summed(hats=lambda where, size: 1 - (where[..., None] - torch.arange(size)).abs()),
        "a cell further than one away has no share, but 1 - distance is negative there: stop at 0",
    ),
    Wrong(_summed(swap=True), "a place is (x, y), a map is (h, w): x chooses the column"),
    Wrong(_maps_as_columns, "the cells of a level lie row by row: view them as (h, w), not (w, h)"),
    Wrong(
        _planes,
        "a row of `values` is a cell with all its channels: view a level as (h, w, d)",
    ),
    Wrong(_crossed, "x goes over the width, y over the height; a size is (h, w)"),
    Wrong(
        _always_from_zero,
        "every level begins where the one before it ended, not at the first row again",
    ),
    Wrong(_last_forgotten, "the last level is missing from your sum"),
    Wrong(
        _summed(weigh=lambda t: torch.ones_like(t) / t[0].numel()),
        "that is the mean of all reads: each counts with its own weight",
    ),
    Wrong(
        _summed(weigh=lambda t: torch.ones_like(t) / t.shape[2]),
        "that is the mean of the reads on each level: each counts with its own weight",
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
    Wrong(lambda *given: _summed()(*given).T, "channels last: (Q, d), not (d, Q)"),
]
HEAD += [
    Wrong(_nearest(pick, outside), "that is the nearest cell: bilinear mixes the four around it")
    for pick, outside in product(
        (torch.round, lambda t: (t + 0.5).floor(), torch.floor), ("zero", "edge")
    )
]
HEAD += [
    Wrong(
        mistake,
        "PyTorch counts row -1 from the end: what lies outside must get a share of 0 instead",
    )
    for mistake in (
        _gathered(lambda row, column, h, w: (row, column, 1)),
        _gathered(lambda row, column, h, w: (row, column, 1), ((0, 0), (1, 0), (0, 1), (1, 1))),
        _gathered(lambda row, column, h, w: (row % h, column % w, 1)),
        _gathered(_below_zero_wraps),
        _gathered(_below_zero_wraps_the_rest_is_edge),
    )
]
