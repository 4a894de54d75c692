"""What usually goes wrong in exercises 3.3 and 3.4, each mistake with its hint."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from minim2f.book.exercises import Wrong

# ---- 3.3 windows on a map of any size


def _windows(before=False, crop=True, cut="squares", back=True):
    """The exercise with another way to fill up, to cut or to put back."""

    def mistake(x, window, attend):
        height, width = x.shape[1:3]
        right, bottom = -width % window, -height % window
        edges = (0, 0, right, 0, bottom, 0) if before else (0, 0, 0, right, 0, bottom)
        padded = F.pad(x, edges)
        cells = padded.unflatten(2, (-1, window)).unflatten(1, (-1, window))
        cells = cells.transpose(2, 3) if cut != "runs" else cells
        cells = cells.transpose(3, 4) if cut == "columns" else cells
        y = attend(cells.reshape(-1, window**2, x.shape[-1])).reshape(cells.shape)
        y = y.transpose(3, 4) if cut == "columns" else y
        y = y.transpose(2, 3) if cut != "runs" and back else y
        y = y.reshape(padded.shape)
        if not crop:
            return y
        return y[:, bottom:, right:] if before else y[:, :height, :width]

    return mistake


def _whole_windows(x, window, attend):
    height, width = (size // window * window for size in x.shape[1:3])
    return _windows()(x[:, :height, :width], window, attend)


def _one_by_one(x, window, attend):
    height, width = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    done = torch.zeros_like(x)
    for top in range(0, height, window):
        for left in range(0, width, window):
            place = slice(None), slice(top, top + window), slice(left, left + window)
            done[place] = attend(x[place].flatten(1, 2)).view(x[place].shape)
    return done[:, :height, :width]


def _by_split(x, window, attend):
    """The same with what the exercise rules out."""
    _ = x.split
    return _one_by_one(x, window, attend)


def _padded(edges, way):
    """The exercise with other edges to fill up, a function of (right, bottom), in a way to cut.

    What is not filled up cannot be cut: the ways differ in what PyTorch says about it.
    """

    def mistake(x, window, attend):
        batch, height, width, channels = x.shape
        filled = F.pad(x, edges(-width % window, -height % window))
        rows, columns = filled.shape[1] // window, filled.shape[2] // window
        if way == "view":
            cells = filled.view(batch, rows, window, columns, window, channels)
        elif way == "columns":
            cells = filled.unflatten(2, (-1, window)).unflatten(1, (-1, window))
        else:
            cells = filled.unflatten(1, (-1, window)).unflatten(3, (-1, window))
        cells = cells.transpose(2, 3)
        y = attend(cells.reshape(-1, window**2, channels)).view(cells.shape).transpose(2, 3)
        return y.reshape(filled.shape)[:, :height, :width]

    return mistake


def _nothing(right, bottom):
    return (0, 0, 0, 0, 0, 0)


def _swapped(right, bottom):
    return (0, 0, 0, bottom, 0, right)


def _one_more(x, window, attend):
    """A map that fits is filled up by a whole window."""
    height, width = x.shape[1:3]
    filled = F.pad(x, (0, 0, 0, window - width % window, 0, window - height % window))
    return _windows()(filled, window, attend)[:, :height, :width]


def _unchanged(x, window, attend):
    return _windows()(x, window, lambda cells: cells)


def _called_often(by_picture):
    """The exercise with one call of attend for each picture, or for each window."""

    def mistake(x, window, attend):
        def one_by_one(cells):
            parts = cells.unflatten(0, (len(x), -1)) if by_picture else cells[:, None]
            return torch.cat([attend(part) for part in parts])

        return _windows()(x, window, one_by_one)

    return mistake


def _cut_only(x, window, attend):
    height, width = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    cells = x.unflatten(2, (-1, window)).unflatten(1, (-1, window)).transpose(2, 3)
    return attend(cells.reshape(-1, window**2, x.shape[-1]))


_WAYS = ("view", "columns", "rows")  # to cut
_FILL_UP = "window does not divide every height and width: first fill the map up with zeros"
_SIDES = "right and bottom are swapped in F.pad: the axis of the width comes before the height's"
_AT_ONCE = "no cutting in a loop: reshape, so that attend gets all windows of all pictures at once"
_ONE_CALL = "call attend once, with the windows of all pictures: you call it again and again"

WINDOWS = [
    Wrong(
        _windows(cut="runs"),
        "a reshape alone cuts runs of cells, not squares: exchange two axes in between",
    ),
    Wrong(
        _windows(back=False),
        "cut rightly, put back wrongly: undo the exchange of axes before you join them",
    ),
    Wrong(
        _windows(cut="columns"),
        "the cells of a window are to come row by row, yours come column by column",
    ),
    Wrong(_windows(crop=False), "take away at the end what was filled up at the beginning"),
    Wrong(
        _windows(before=True),
        "the first window begins at the first cell: fill up on the right and below",
    ),
    Wrong(
        _whole_windows,
        "cells that fill no whole window are lost: fill the map up with zeros instead",
    ),
    *(Wrong(_padded(_nothing, way), _FILL_UP) for way in _WAYS),
    *(Wrong(_padded(_swapped, way), _SIDES) for way in _WAYS),
    Wrong(_one_more, "a map that fits is not filled up: yours gets another row of windows"),
    Wrong(_unchanged, "attend is left out: it is what changes the windows"),
    Wrong(_called_often(by_picture=False), _ONE_CALL),
    Wrong(_called_often(by_picture=True), _ONE_CALL),
    Wrong(_by_split, _AT_ONCE),
    Wrong(_one_by_one, _AT_ONCE),
    Wrong(_cut_only, "the windows are still apart: put them back into a map"),
]


# ---- 3.4 relative positions


def _bias(number, cells=None, heads_first=True):
    """The exercise with another row for an offset, a function of (down, right, height, width)."""
    cells = cells or (lambda h, w: torch.cartesian_prod(torch.arange(h), torch.arange(w)))

    def mistake(table, height, width):
        places = cells(height, width)
        down, right = (places[:, None] - places).unbind(2)
        found = table[number(down, right, height, width)]
        return found.permute(2, 0, 1) if heads_first else found

    return mistake


def _number(down, right, h, w):
    return (down + h - 1) * (2 * w - 1) + right + w - 1


def _square(side):
    """The chapter's slow_index(side), for a side that is a function of height and width."""

    def mistake(table, height, width):
        window = side(height, width)
        cells = torch.cartesian_prod(torch.arange(window), torch.arange(window))
        down, right = (cells[:, None] - cells).unbind(2)
        return table[_number(down, right, window, window)].permute(2, 0, 1)

    return mistake


def _by_columns(h, w):
    return torch.cartesian_prod(torch.arange(w), torch.arange(h)).flip(1)


_SIGN = "left and right are two different offsets, up and down as well: keep the sign"
_NOT_SQUARE = "the window need not be square: height and width count on their own"

POSITIONS = [
    Wrong(_square(lambda height, width: height), _NOT_SQUARE),
    Wrong(_square(lambda height, width: width), _NOT_SQUARE),
    Wrong(_square(max), _NOT_SQUARE),
    Wrong(_bias(lambda down, right, h, w: _number(down, right, *[max(h, w)] * 2)), _NOT_SQUARE),
    Wrong(
        _bias(lambda down, right, h, w: (down + h - 1) * (2 * max(h, w) - 1) + right + w - 1),
        "how many offsets to the right are there for each one down? The height does not matter",
    ),
    Wrong(
        _bias(lambda down, right, h, w: (down + h - 1) * 2 * w + right + w - 1),
        "offsets along a row run from −(width − 1) to width − 1: count them, 0 is one of them",
    ),
    Wrong(_bias(lambda down, right, h, w: down.abs() * (2 * w - 1) + right.abs()), _SIGN),
    Wrong(_bias(lambda down, right, h, w: down.abs() * w + right.abs()), _SIGN),
    Wrong(
        _bias(lambda down, right, h, w: _number(-down, -right, h, w)),
        "offsets lead from key to query: query minus key, not key minus query",
    ),
    Wrong(
        _bias(lambda down, right, h, w: down * (2 * w - 1) + right),
        "offsets up and to the left are negative, and count from the end: let them start at 0",
    ),
    Wrong(
        _bias(lambda down, right, h, w: (down + h - 1) * (2 * h - 1) + right + w - 1),
        "how many offsets to the right are there for each one down? That depends on the width",
    ),
    Wrong(
        _bias(lambda down, right, h, w: (right + w - 1) * (2 * h - 1) + down + h - 1),
        "the table is ordered by the offset down first, then by the one to the right",
    ),
    Wrong(
        _bias(lambda down, right, h, w: (down + h - 1) * w + right + w - 1),
        "an offset along a row may be negative: there are 2 · width − 1 of them, not width",
    ),
    Wrong(
        _bias(lambda down, right, h, w: _number(down.abs(), right.abs(), h, w)),
        _SIGN,
    ),
    Wrong(
        _bias(lambda down, right, h, w: down + h - 1 + right + w - 1),
        "different offsets share a row of the table: the offset down needs a factor",
    ),
    Wrong(_bias(_number, _by_columns), "cells are counted row by row, yours column by column"),
    Wrong(_bias(_number, heads_first=False), "the heads come first: (heads, cells, cells)"),
]
