"""What usually goes wrong in exercises 4.1 and 4.2, each mistake with its hint."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from minim2f.book.exercises import Wrong

# ---- 4.1 segments that a map cannot show


def _shares(masks, stride, left=False):
    bottom, right = (-size % stride for size in masks.shape[1:])
    edges = (right, 0, bottom, 0) if left else (0, right, 0, bottom)
    return F.avg_pool2d(F.pad(masks[:, None].float(), edges), stride).flatten(1)


def _loose_cells(masks, stride):
    """The cells at the far edges as averages of what is there."""
    return F.avg_pool2d(masks[:, None].float(), stride, ceil_mode=True).flatten(1)


def _whole_cells(masks, stride):
    return F.avg_pool2d(masks[:, None].float(), stride).flatten(1)


def _padded_across(masks, stride):
    """What is missing at the right added below, and the other way round."""
    bottom, right = (-size % stride for size in masks.shape[1:])
    padded = F.pad(masks[:, None].float(), (0, bottom, 0, right))
    return F.avg_pool2d(padded, stride).flatten(1)


def _without_channel(masks, stride):
    bottom, right = (-size % stride for size in masks.shape[1:])
    return F.avg_pool2d(F.pad(masks.float(), (0, right, 0, bottom)), stride).flatten(1)


def _sliding(masks, stride):
    bottom, right = (-size % stride for size in masks.shape[1:])
    padded = F.pad(masks[:, None].float(), (0, right, 0, bottom))
    return F.avg_pool2d(padded, stride, 1).flatten(1)


def _enlarged(masks, stride):
    height, width = (-(-size // stride) for size in masks.shape[1:])
    cells = _shares(masks, stride).unflatten(1, (1, height, width))
    return F.interpolate(cells, scale_factor=stride, mode="bilinear").flatten(1)


LOST = [
    Wrong(
        lambda masks, stride: _shares(masks, stride).amax(1) < 0.5,
        "a cell that is exactly half covered does not show the segment either: a logit of 0",
    ),
    Wrong(
        lambda masks, stride: _shares(masks, stride).amax(1) > 0.5,
        "those are the segments that survive: you were asked for the lost ones",
    ),
    Wrong(
        lambda masks, stride: _shares(masks, stride).amax(1) == 0,
        "a cell that is merely touched shows nothing: more than half of it must be covered",
    ),
    Wrong(
        lambda masks, stride: _shares(masks, stride).amin(1) <= 0.5,
        "one good cell is enough: a segment is lost when all of its cells fail",
    ),
    Wrong(
        lambda masks, stride: _shares(masks, stride).mean(1) <= 0.5,
        "each cell is judged by itself: the mean of all cells is the share of the picture",
    ),
    Wrong(
        lambda masks, stride: masks.flatten(1).sum(1) <= stride**2 / 2,
        "enough pixels are not enough: they may be spread over several cells",
    ),
    Wrong(
        lambda masks, stride: masks.flatten(1).sum(1) <= stride**2,
        "the area alone does not tell: where the segment lies among the cells matters too",
    ),
    Wrong(
        lambda masks, stride: _whole_cells(masks, stride).amax(1) <= 0.5,
        "the cells at the right and lower edge are missing: pad the masks to whole cells",
    ),
    Wrong(
        lambda masks, stride: _loose_cells(masks, stride).amax(1) <= 0.5,
        "a cell at the edge has its full size: what lies beyond the picture counts as outside",
    ),
    Wrong(
        lambda masks, stride: _shares(masks, stride, left=True).amax(1) <= 0.5,
        "the first cell begins at the first pixel: pad on the right and below",
    ),
    Wrong(
        lambda masks, stride: _padded_across(masks, stride).amax(1) <= 0.5,
        "height and width are swapped in the padding: F.pad takes the last axis, the width, first",
    ),
    Wrong(
        lambda masks, stride: _without_channel(masks, stride).amax(1) <= 0.5,
        "G may be 0, and avg_pool2d takes no (0, H, W): give it (G, 1, H, W), masks[:, None]",
    ),
    Wrong(
        lambda masks, stride: _sliding(masks, stride).amax(1) <= 0.5,
        "your windows slide by one pixel: cells lie side by side and do not overlap",
    ),
    Wrong(
        lambda masks, stride: _enlarged(masks, stride).amax(1) <= 0.5,
        "you enlarge before you ask, which lowers the peaks: ask the cells themselves",
    ),
    Wrong(
        lambda masks, stride: (
            ~F.interpolate(masks[:, None].float(), scale_factor=1 / stride).bool().flatten(1).any(1)
        ),
        "interpolate picks one pixel of a cell: its share is the mean of all of them",
    ),
    Wrong(
        lambda masks, stride: (_shares(masks, stride).amax(1) <= 0.5).float(),
        "the answer is right, but as a number: leave it a bool",
    ),
]


# ---- 4.2 read a map at any point


def _hats(where, size):
    return (1 - (where[:, None] - torch.arange(size)).abs()).clamp(min=0)


def _reading(across=None, down=None, hats=_hats):
    """The exercise with other places to read at, functions of the coordinate and the size."""
    across = across or (lambda x, w: x * w - 0.5)
    down = down or across

    def mistake(x, points):
        h, w = x.shape[1:]
        u, v = across(points[:, 0], w), down(points[:, 1], h)
        return torch.einsum("chw,ph,pw->cp", x, hats(v, h), hats(u, w))

    return mistake


def _straight_on(x, points):
    h, w = x.shape[1:]
    u, v = points[:, 0] * w - 0.5, points[:, 1] * h - 0.5
    left, top = (t.floor().long().clamp(0, max(n - 2, 0)) for t, n in ((u, w), (v, h)))
    right, bottom = (left + 1).clamp(max=w - 1), (top + 1).clamp(max=h - 1)
    a, b = u - left, v - top
    upper = (1 - a) * x[:, top, left] + a * x[:, top, right]
    lower = (1 - a) * x[:, bottom, left] + a * x[:, bottom, right]
    return (1 - b) * upper + b * lower


def _out_of_range(x, points):
    h, w = x.shape[1:]
    u, v = points[:, 0] * w - 0.5, points[:, 1] * h - 0.5
    left, top = u.floor().long(), v.floor().long()
    a, b = u - left, v - top
    upper = (1 - a) * x[:, top, left] + a * x[:, top, left + 1]
    lower = (1 - a) * x[:, top + 1, left] + a * x[:, top + 1, left + 1]
    return (1 - b) * upper + b * lower


def _by_torch(x, points):
    return F.grid_sample(x[None], 2 * points[None, :, None] - 1, align_corners=False)[0, :, :, 0]


def _by_torch_aligned(x, points):
    return F.grid_sample(x[None], 2 * points[None, :, None] - 1, align_corners=True)[0, :, :, 0]


def _closest(x, points):
    h, w = x.shape[1:]
    column = (points[:, 0] * w).long().clamp(max=w - 1)
    row = (points[:, 1] * h).long().clamp(max=h - 1)
    return x[:, row, column]


def _swapped(x, points):
    return _reading()(x, points.flip(1))


def _sizes_swapped(x, points):
    h, w = x.shape[1:]
    u, v = points[:, 0] * h - 0.5, points[:, 1] * w - 0.5
    return torch.einsum("chw,ph,pw->cp", x, _hats(v, h), _hats(u, w))


def _cut_to_whole(where, size):
    """Weights of the cell at int(u) and of the next: int cuts -0.3 to 0, floor gives -1."""
    first = where.trunc()
    a, cells = (where - first)[:, None], torch.arange(size)
    return (1 - a) * (cells == first[:, None]) + a * (cells == first[:, None] + 1)


def _one_size(which):
    """Both coordinates times h (which = 0) or both times w (1)."""

    def mistake(x, points):
        h, w = x.shape[1:]
        u, v = (points * (h, w)[which] - 0.5).unbind(1)
        return torch.einsum("chw,ph,pw->cp", x, _hats(v, h), _hats(u, w))

    return mistake


_CORNERS = "that aligns corners: cell i has its centre at (i + 1/2) / w, not at i / (w - 1)"

SAMPLE = [
    Wrong(_by_torch, "the right numbers, but grid_sample read them: this time you are the reader"),
    Wrong(
        _reading(lambda x, w: x * w),
        "half a cell is missing: where is the centre of the first cell?",
    ),
    Wrong(
        _reading(lambda x, w: x * w + 0.5),
        "half a cell in the wrong direction: at x = 1/(2w) you should read the first cell",
    ),
    Wrong(_reading(lambda x, w: (x * w).clamp(max=w - 1)), "half a cell is missing, edges aside"),
    Wrong(_reading(lambda x, w: x * (w - 1)), _CORNERS),
    Wrong(_by_torch_aligned, _CORNERS),
    Wrong(
        _reading(lambda x, w: (x * w - 0.5).clamp(0, w - 1)),
        "outside is zero, so the map fades over the last half cell: yours goes on to the edge",
    ),
    Wrong(
        _straight_on,
        "beyond the outermost centres you go on in a straight line: outside, the map is zero",
    ),
    Wrong(
        _out_of_range,
        "a neighbour may lie outside of the map: there is no cell to read, so it counts as zero",
    ),
    Wrong(_closest, "that is the nearest cell: bilinear mixes the four around the point"),
    Wrong(_swapped, "a point is (x, y), a map is (h, w): x chooses the column"),
    Wrong(_sizes_swapped, "x goes over the width, y over the height: each has its own scale"),
    Wrong(
        _reading(lambda x, w: 2 * x - 1),
        "those are the coordinates of grid_sample, from -1 to 1: count in cells instead",
    ),
    Wrong(
        _reading(hats=_cut_to_whole),
        "int() and long() round -0.3 up to 0: left of the first centre you need floor, -1",
    ),
    Wrong(_one_size(1), "you count y in columns: rows are counted with h, columns with w"),
    Wrong(_one_size(0), "you count x in rows: columns are counted with w, rows with h"),
    Wrong(
        lambda x, points: _reading()(x, points).T,
        "channels first: (C, P), not (P, C)",
    ),
    Wrong(
        _reading(hats=lambda where, size: 1 - (where[:, None] - torch.arange(size)).abs()),
        "cells farther than 1 away get negative weights from you: they should get none",
    ),
]
