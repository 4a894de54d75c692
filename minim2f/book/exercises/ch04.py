"""Exercises of chapter 4, a feature pyramid: lost segments, bilinear reading, Lin's pyramid."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from minim2f.book.exercises import Exercise, ch04_wrong, ch04_wrong_pyramid, integer
from minim2f.book.exercises.forbidden import watchful

# ---- 4.1 segments that a map cannot show


def lost(masks: Tensor, stride: int) -> Tensor:
    """Which segments have no cell that is more than half covered.

    Args:
        masks: (G, H, W) bool; G may be 0, H and W need not be multiples of the stride.
        stride: height and width of a cell in pixels; the first cell begins at the first pixel.

    Returns:
        (G,) bool, True for a lost segment.
    """
    bottom, right = (-size % stride for size in masks.shape[1:])
    padded = F.pad(masks[:, None].float(), (0, right, 0, bottom))
    shares = F.avg_pool2d(padded, stride)
    return shares.flatten(1).amax(1) <= 0.5


def _segments(g: torch.Generator) -> tuple[Tensor, int]:
    """Boxes of up to two cells a side, some with holes."""
    height, width, stride = integer(g, 3, 20), integer(g, 3, 20), (2, 3, 4, 6)[integer(g, 0, 3)]
    masks = torch.zeros(integer(g, 0, 5), height, width)
    for mask in masks:
        top, left = integer(g, 0, height - 1), integer(g, 0, width - 1)
        size = [integer(g, 1, 2 * stride) for _ in range(2)]
        mask[top : top + size[0], left : left + size[1]] = 1
    return masks.bool() & (torch.rand(masks.shape, generator=g) < 0.9), stride


def _drawn(*rows: str) -> Tensor:
    return torch.tensor([[letter == "#" for letter in row] for row in rows])[None]


_LOST_CORNERS = [
    (_drawn("##..", "....", "....", "...."), 2),  # exactly half
    (_drawn("##..", "#...", "....", "...."), 2),
    (_drawn("....###", "....###", "....###", "....###"), 4),  # the width alone is padded
    (torch.zeros(0, 4, 4, dtype=torch.bool), 2),  # no segment
    (torch.zeros(1, 4, 4, dtype=torch.bool), 2),  # an empty one
    (_drawn(".....", ".####", ".####", "....."), 4),  # eight pixels, never more than six in a cell
    (_drawn("....", ".##.", ".##.", "...."), 2),  # as large as a cell, and a quarter of each
    (_drawn("....#", "....#", "....#", "....#"), 4),  # the last cell reaches over the edge
    (_drawn("...", "...", "##.", "##."), 3),
    (_drawn("####", "####", "##..", "##.."), 2),  # most cells, and one not at all
    (_drawn("......", "......", "..##..", "..#...", "......", "......"), 2),  # alone in the middle
]


# ---- 4.2 read a map at any point


def my_sample(x: Tensor, points: Tensor) -> Tensor:
    """Reads a map bilinearly at points; what lies outside of it is zero.

    Args:
        x: (C, h, w).
        points: (P, 2), x and y in [0, 1]; (0, 0) is the outer corner of the first cell.

    Returns:
        (C, P).
    """
    h, w = x.shape[1:]
    u = points[:, 0] * w - 0.5
    v = points[:, 1] * h - 0.5
    across = (1 - (u[:, None] - torch.arange(w)).abs()).clamp(min=0)
    down = (1 - (v[:, None] - torch.arange(h)).abs()).clamp(min=0)
    return torch.einsum("chw,ph,pw->cp", x, down, across)


def _map_and_points(g: torch.Generator) -> tuple[Tensor, Tensor]:
    x = torch.randn(integer(g, 1, 4), integer(g, 1, 6), integer(g, 1, 6), generator=g)
    return x, torch.rand(integer(g, 1, 8), 2, generator=g)


_RAMP = torch.arange(12.0).view(1, 3, 4) + 1
_PLACES = torch.tensor([[0.0, 0.0], [1.0, 1.0], [0.125, 0.5], [0.5, 0.5], [0.3, 0.9], [1.0, 0.0]])
_SAMPLE_CORNERS = [
    watchful(_RAMP, _PLACES, functions="grid_sample interpolate sample"),
    (_RAMP, _PLACES),
]


# ---- 4.3 the pyramid as it was first published


def lin_pyramid(
    res2: Tensor,
    res3: Tensor,
    res4: Tensor,
    res5: Tensor,
    lateral: list[Callable],
    output: list[Callable],
) -> list[Tensor]:
    """A feature pyramid in which sums go down as they are, and are smoothed on their way out.

    Args:
        res2, res3, res4, res5: (B, their channels, h, w), each about half as large as the last.
        lateral: a function for each of the four, in this order, that gives it C channels.
        output: a function for each of the four sums, in this order, that smooths it.

    Returns:
        [P2, P3, P4, P5], (B, C, h, w) each.
    """
    sides = [layer(res) for layer, res in zip(lateral, (res2, res3, res4, res5))]
    sums = [sides[3]]
    for side in (sides[2], sides[1], sides[0]):
        sums.insert(0, side + F.interpolate(sums[0], side.shape[2:], mode="nearest"))
    return [layer(x) for layer, x in zip(output, sums)]


def _linear(g: torch.Generator, inputs: int, outputs: int, kernel: int) -> Callable:
    weight = torch.randn(outputs, inputs, kernel, kernel, generator=g) / (inputs * kernel)

    def convolve(x: Tensor) -> Tensor:
        return F.conv2d(x, weight, padding=kernel // 2)

    return convolve


def _levels(g: torch.Generator) -> tuple:
    channels, widths = integer(g, 1, 4), [integer(g, 1, 5) for _ in range(4)]
    height, width = integer(g, 9, 24), integer(g, 9, 24)
    features = []
    for inputs in widths:
        features.append(torch.randn(2, inputs, height, width, generator=g))
        height, width = (height + 1) // 2, (width + 1) // 2  # an odd size is rounded up
    lateral = [_linear(g, inputs, channels, 1) for inputs in widths]
    output = [_linear(g, channels, channels, 3) for _ in widths]
    return *features, lateral, output


EXERCISES = [
    Exercise("4.1", lost, _segments, ch04_wrong.LOST, _LOST_CORNERS),
    Exercise("4.2", my_sample, _map_and_points, ch04_wrong.SAMPLE, _SAMPLE_CORNERS),
    Exercise("4.3", lin_pyramid, _levels, ch04_wrong_pyramid.PYRAMID),
]
