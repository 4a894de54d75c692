"""What usually goes wrong in the exercises of chapter 3, each mistake with its hint."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from minim2f.book.exercises import Wrong

# ---- 3.1 a frozen norm costs nothing


def _folded(scale=None, shift=None):
    """The exercise with another scale or another shift, functions of the norm's numbers."""
    scale = scale or (lambda var, weight, eps: weight / (var + eps).sqrt())
    shift = shift or (lambda mean, bias, scale: bias - mean * scale)

    def mistake(kernels, mean, var, weight, bias, eps):
        factor = scale(var, weight, eps)
        return kernels * factor[:, None, None, None], shift(mean, bias, factor)

    return mistake


def _over_inputs(kernels, mean, var, weight, bias, eps):
    scale = weight / (var + eps).sqrt()
    return kernels * scale[None, :, None, None], bias - mean * scale


def _no_axes(kernels, mean, var, weight, bias, eps):
    scale = weight / (var + eps).sqrt()
    return kernels * scale, bias - mean * scale


def _scale_and_shift(kernels, mean, var, weight, bias, eps):
    scale = weight / (var + eps).sqrt()
    return scale, bias - mean * scale


def _kernels_alone(kernels, mean, var, weight, bias, eps):
    return kernels * (weight / (var + eps).sqrt())[:, None, None, None]


FOLD = [
    Wrong(
        _folded(scale=lambda var, weight, eps: weight / var.sqrt()),
        "eps is missing: a channel that never varied would be divided by zero",
    ),
    Wrong(
        _folded(scale=lambda var, weight, eps: weight / (var.sqrt() + eps)),
        "eps is added to the variance, so it stands under the root",
    ),
    Wrong(
        _folded(scale=lambda var, weight, eps: weight / (var + eps)),
        "you divide by the variance: its root, the spread, is wanted",
    ),
    Wrong(
        _folded(scale=lambda var, weight, eps: weight * (var + eps).sqrt()),
        "the norm divides by the spread, you multiply",
    ),
    Wrong(
        _folded(scale=lambda var, weight, eps: 1 / (var + eps).sqrt()),
        "the factor that the norm has learned, its weight, is missing",
    ),
    Wrong(
        _folded(shift=lambda mean, bias, scale: bias - mean),
        "the mean is taken off before the scaling, so it is scaled as well",
    ),
    Wrong(
        _folded(shift=lambda mean, bias, scale: bias + mean * scale),
        "the mean is taken off: mind the sign",
    ),
    Wrong(
        _folded(shift=lambda mean, bias, scale: (bias - mean) * scale),
        "the bias comes after the scaling: only the mean is scaled",
    ),
    Wrong(
        _folded(shift=lambda mean, bias, scale: bias),
        "the mean is missing: the norm takes it off",
    ),
    Wrong(
        _folded(shift=lambda mean, bias, scale: -mean * scale),
        "the bias of the norm is missing",
    ),
    Wrong(
        _over_inputs,
        "the norm scales what comes out of the convolution: that is the first axis of the kernels",
    ),
    Wrong(_no_axes, "scale meets the last axis of the kernels so: it belongs to the first"),
    Wrong(
        _scale_and_shift,
        "those are scale and shift of the norm; now put the scale into the kernels",
    ),
    Wrong(_kernels_alone, "the bias of the new convolution is missing: two tensors are wanted"),
]


# ---- 3.2 the block of ResNet-50


def _block(strides=(1, 0, 1), relus=(1, 1, 0, 0, 1), padding=1, skip="right"):
    """The exercise with another layout.

    Args:
        strides: for convolution one, two and three: 0 where the stride of the block is.
        relus: after one, two, three, the shortcut and the sum.
        padding: of the 3 x 3 convolution.
        skip: what is added: "right", or one of the mistakes.
    """

    def mistake(x, one, two, three, shortcut, stride):
        steps = [fixed or stride for fixed in strides]
        paddings, y = (0, padding, 0), x
        for layer, step, pad, relu in zip((one, two, three), steps, paddings, relus):
            y = F.conv2d(y, layer, stride=step, padding=pad)
            y = y.relu() if relu else y
        if skip == "none":
            return y.relu()
        if skip == "always" or (skip != "never" and shortcut is not None):
            x = F.conv2d(x, shortcut, stride=1 if skip == "no stride" else stride)
        x = x.relu() if relus[3] else x
        return (y + x).relu() if relus[4] else y + x

    return mistake


BOTTLENECK = [
    Wrong(
        _block(strides=(0, 1, 1)),
        "the stride belongs to the 3 × 3 convolution: in the first, three of four cells go unread",
    ),
    Wrong(
        _block(strides=(1, 1, 1)),
        "no convolution of yours has the stride, so the two ways differ in size",
    ),
    Wrong(
        _block(relus=(1, 1, 1, 0, 1)),
        "no ReLU after the third convolution: a block must be able to take something away",
    ),
    Wrong(_block(relus=(1, 1, 1, 0, 0)), "the last ReLU comes after the sum, not before it"),
    Wrong(_block(relus=(1, 1, 0, 0, 0)), "the ReLU after the sum is missing"),
    Wrong(_block(relus=(0, 0, 0, 0, 1)), "a ReLU follows each of the first two convolutions"),
    Wrong(_block(relus=(0, 1, 0, 0, 1)), "the ReLU after the first convolution is missing"),
    Wrong(_block(relus=(1, 0, 0, 0, 1)), "the ReLU after the second convolution is missing"),
    Wrong(_block(relus=(1, 1, 0, 1, 1)), "what passes by gets no ReLU of its own before the sum"),
    Wrong(_block(padding=0), "the 3 × 3 convolution loses a rim of cells: it needs a padding of 1"),
    Wrong(_block(skip="none"), "nothing passes by: x is to be added before the last ReLU"),
    Wrong(_block(skip="never"), "where there is a shortcut, x passes it before it is added"),
    Wrong(_block(skip="always"), "where the shortcut is None, x is added as it is"),
    Wrong(_block(skip="no stride"), "the shortcut has the stride of the block too"),
]


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


def _cut_only(x, window, attend):
    height, width = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    cells = x.unflatten(2, (-1, window)).unflatten(1, (-1, window)).transpose(2, 3)
    return attend(cells.reshape(-1, window**2, x.shape[-1]))


_AT_ONCE = "no cutting in a loop: reshape, so that attend gets all windows of all pictures at once"

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
    Wrong(_by_split, _AT_ONCE),
    Wrong(_one_by_one, _AT_ONCE),
    Wrong(_cut_only, "the windows are still apart: put them back into a map"),
]


# ---- 3.4 relative positions


def _bias(number, cells=None, heads_first=True):
    """The exercise with another number for a step, a function of (down, right, height, width)."""
    cells = cells or (lambda h, w: torch.cartesian_prod(torch.arange(h), torch.arange(w)))

    def mistake(table, height, width):
        places = cells(height, width)
        down, right = (places[:, None] - places).unbind(2)
        found = table[number(down, right, height, width)]
        return found.permute(2, 0, 1) if heads_first else found

    return mistake


def _number(down, right, h, w):
    return (down + h - 1) * (2 * w - 1) + right + w - 1


def _by_columns(h, w):
    return torch.cartesian_prod(torch.arange(w), torch.arange(h)).flip(1)


POSITIONS = [
    Wrong(
        _bias(lambda down, right, h, w: _number(-down, -right, h, w)),
        "the steps lead from key to query: query minus key, not key minus query",
    ),
    Wrong(
        _bias(lambda down, right, h, w: down * (2 * w - 1) + right),
        "steps upwards and to the left are negative, and count from the end: let them start at 0",
    ),
    Wrong(
        _bias(lambda down, right, h, w: (down + h - 1) * (2 * h - 1) + right + w - 1),
        "how many steps to the right are there for each step down? That depends on the width",
    ),
    Wrong(
        _bias(lambda down, right, h, w: (right + w - 1) * (2 * h - 1) + down + h - 1),
        "the table is ordered by the steps down first, then by those to the right",
    ),
    Wrong(
        _bias(lambda down, right, h, w: (down + h - 1) * w + right + w - 1),
        "a step to the right may lead in either direction: there are 2w − 1 of them, not w",
    ),
    Wrong(
        _bias(lambda down, right, h, w: _number(down.abs(), right.abs(), h, w)),
        "left and right are two different steps: keep the sign",
    ),
    Wrong(
        _bias(lambda down, right, h, w: down + h - 1 + right + w - 1),
        "different steps share a row: the steps down need a factor",
    ),
    Wrong(_bias(_number, _by_columns), "cells are counted row by row, yours column by column"),
    Wrong(_bias(_number, heads_first=False), "the heads come first: (heads, cells, cells)"),
]
