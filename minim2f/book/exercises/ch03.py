"""Exercises of chapter 3: a folded norm, a bottleneck, windows on any map, relative positions."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from minim2f.book.exercises import Exercise, ch03_wrong, ch03_wrong_windows, integer
from minim2f.book.exercises.forbidden import watchful

# ---- 3.1 a frozen norm costs nothing


def fold(
    kernels: Tensor, mean: Tensor, var: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """The one convolution that does what a convolution and a frozen norm after it do.

    Args:
        kernels: (C, inputs, k, k), of a convolution without bias.
        mean, var: (C,), the fixed statistics of the norm.
        weight, bias: (C,), its factors and summands.
        eps: is added to the variances.

    Returns:
        Kernels (C, inputs, k, k) and bias (C,) of the convolution.
    """
    scale = weight / (var + eps).sqrt()
    return kernels * scale[:, None, None, None], bias - mean * scale


def _norm(g: torch.Generator) -> tuple:
    channels, inputs, side = integer(g, 1, 5), integer(g, 1, 5), (1, 3)[integer(g, 0, 1)]
    kernels = torch.randn(channels, inputs, side, side, generator=g)
    mean, weight, bias = torch.randn(3, channels, generator=g)
    var = 2 * torch.rand(channels, generator=g)
    return kernels, mean, var, weight, bias, (1e-5, 1e-3, 0.1)[integer(g, 0, 2)]


_NORMS = [  # as many inputs as outputs; a channel that never varied; a factor of zero
    (
        torch.arange(4.0).view(2, 2, 1, 1) + 1,
        torch.tensor([3.0, -1.0]),
        torch.tensor([4.0, 0.25]),
        torch.tensor([2.0, 5.0]),
        torch.tensor([0.5, -7.0]),
        0.0,
    ),
    (torch.ones(1, 1, 3, 3), torch.ones(1), torch.zeros(1), torch.ones(1), torch.zeros(1), 0.01),
    (torch.ones(1, 2, 1, 1), torch.ones(1), torch.ones(1), torch.zeros(1), torch.ones(1), 0.0),
]


# ---- 3.2 the block of ResNet-50


def bottleneck(
    x: Tensor, one: Tensor, two: Tensor, three: Tensor, shortcut: Tensor | None, stride: int
) -> Tensor:
    """A residual block of three convolutions, 1 x 1, 3 x 3 and 1 x 1, without norms and biases.

    Args:
        x: (B, inputs, h, w).
        one, two, three: the kernels of each convolution.
        shortcut: the kernels (1 x 1) of the convolution that x passes; None: x stays as it is.
        stride: of the block.

    Returns:
        (B, outputs, h / stride, w / stride), rounded up.
    """
    y = F.conv2d(x, one).relu()
    y = F.conv2d(y, two, stride=stride, padding=1).relu()
    y = F.conv2d(y, three)
    if shortcut is not None:
        x = F.conv2d(x, shortcut, stride=stride)
    return (y + x).relu()


def _kernels(g: torch.Generator, inputs: int, outputs: int, side: int) -> Tensor:
    return torch.randn(outputs, inputs, side, side, generator=g) / (inputs * side**2) ** 0.5


def _block(g: torch.Generator) -> tuple:
    inputs, narrow, outputs = integer(g, 1, 5), integer(g, 1, 4), integer(g, 1, 5)
    stride, plain = integer(g, 1, 2), integer(g, 0, 1)
    if plain:
        stride, outputs = 1, inputs
    x = torch.randn(integer(g, 1, 2), inputs, integer(g, 3, 8), integer(g, 3, 8), generator=g)
    sizes = (inputs, narrow, 1), (narrow, narrow, 3), (narrow, outputs, 1)
    layers = [_kernels(g, *size) for size in sizes]
    return x, *layers, None if plain else _kernels(g, inputs, outputs, 1), stride


# ---- 3.3 windows on a map of any size


def in_windows(x: Tensor, window: int, attend: Callable[[Tensor], Tensor]) -> Tensor:
    """Cuts a map into windows, lets a function change them, and puts them back.

    Args:
        x: (B, h, w, C); the first window begins at the first cell, the last ones are filled up
            with zeros.
        window: height and width of a window in cells.
        attend: takes all windows of all pictures at once, in any order, (windows * B, window^2,
            C), the cells of each row by row, and returns as many.

    Returns:
        (B, h, w, C).
    """
    height, width = x.shape[1:3]
    x = F.pad(x, (0, 0, 0, -width % window, 0, -height % window))
    x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window)).transpose(2, 3)
    y = attend(x.flatten(3, 4).flatten(0, 2))
    y = y.view(x.shape).transpose(2, 3)
    return y.flatten(3, 4).flatten(1, 2)[:, :height, :width]


def _mixer(g: torch.Generator, window: int) -> Callable[[Tensor], Tensor]:
    mixing = torch.randn(window**2, window**2, generator=g) / window

    def attend(cells: Tensor) -> Tensor:
        return torch.einsum("ij,njc->nic", mixing, cells)

    return attend


def _map(g: torch.Generator) -> tuple:
    x = torch.randn([integer(g, 1, high) for high in (3, 9, 9, 3)], generator=g)
    window = integer(g, 1, 4)
    return x, window, _mixer(g, window)


def _backwards(cells: Tensor) -> Tensor:
    """The cells of each window from the last to the first; it also tells how many windows came."""
    return cells.flip(1) * len(cells)


_GRID = torch.arange(96.0).view(2, 6, 4, 2) + 1
_MAPS = [  # whole windows, by reshaping alone; two columns short; one window larger than the map
    (*watchful(_GRID, functions="split chunk tensor_split unfold fold"), 2, _backwards),
    (_GRID, 3, _backwards),
    (_GRID, 7, _backwards),
]


# ---- 3.4 relative positions


def relative_bias(table: Tensor, height: int, width: int) -> Tensor:
    """What attention in a window adds to its scores: a number for each offset between cells.

    Args:
        table: ((2 * height - 1) * (2 * width - 1), heads): a row for each offset, in the order of
            rows down, -(height - 1) first, and among equals of columns to the right.
        height, width: of the window, in cells.

    Returns:
        (heads, height * width, height * width): the offset leads from the key (last axis) to the
        query; cells are counted row by row.
    """
    cells = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    down, right = (cells[:, None] - cells).unbind(2)
    rows = (down + height - 1) * (2 * width - 1) + right + width - 1
    return table[rows].permute(2, 0, 1)


def _table(g: torch.Generator) -> tuple[Tensor, int, int]:
    height, width = integer(g, 1, 4), integer(g, 1, 4)
    offsets = (2 * height - 1) * (2 * width - 1)
    return torch.randn(offsets, integer(g, 1, 3), generator=g), height, width


_TABLES = [  # a square, with the number of each row; one row of cells, one column, one cell
    (torch.arange(9.0)[:, None], 2, 2),
    (torch.arange(5.0)[:, None], 1, 3),
    (torch.arange(5.0)[:, None], 3, 1),
    (torch.tensor([[3.0, 4.0]]), 1, 1),
]

EXERCISES = [
    Exercise("3.1", fold, _norm, ch03_wrong.FOLD, _NORMS),
    Exercise("3.2", bottleneck, _block, ch03_wrong.BOTTLENECK),
    Exercise("3.3", in_windows, _map, ch03_wrong_windows.WINDOWS, _MAPS),
    Exercise("3.4", relative_bias, _table, ch03_wrong_windows.POSITIONS, _TABLES),
]
