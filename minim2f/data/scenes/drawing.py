"""Draws anti-aliased polygons, with an exact label for every pixel.

A picture is a list of strokes in coordinates without a size; `render` paints them at any size,
the later over the earlier. Vertices are rounded to 1/64 pixel and coverage is counted in whole
numbers, so that the last digit of a sine, which differs between machines, changes no label.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np

GRID = 64  # positions of a vertex along the side of a pixel
LINES = 4  # scan lines through a pixel
STEP = GRID // LINES
FULL = GRID * LINES  # the coverage of a pixel that lies wholly inside


class Stroke(NamedTuple):
    """P closed polygons of V vertices each, in a colour that runs from their top to their bottom.

    A vertex lies at anchor * (width, height) + local * min(width, height) pixels: anchors stretch
    with the picture, `local` keeps its form. All polygons of a stroke run clockwise, or all run
    the other way.
    """

    segment: int  # the number of the segment that the pixels belong to; 0 is void
    anchor: np.ndarray  # (P, V, 2) or (2,), x and y
    local: np.ndarray | float  # 0 or (P, V, 2)
    colors: np.ndarray  # (2, 3), 0 ... 255, top and bottom
    alpha: float = 1.0
    labelled: bool = True  # False tints the picture and leaves the labels alone
    soft: bool = False  # fades out from the middle to the sides of the bounding box, like a glow


def render(strokes: list[Stroke], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Paints the strokes in order.

    Returns:
        The image, (3, height, width) float32, about 0 ... 255; and the labels, (height, width)
        int32, the segment of the last labelled stroke that covers at least half of the pixel, 0
        where there is none.
    """
    edges, lengths = _edges(strokes, height, width)
    # the bounding box of each stroke, and the whole pixels of the picture that it touches
    starts = np.cumsum(lengths) - lengths
    low = np.minimum.reduceat(edges[:, :2], starts)
    high = np.maximum.reduceat(edges[:, :2], starts)
    windows = np.concatenate([low // GRID, -(-high // GRID)], 1).clip(0, [width, height] * 2)
    crossings = _crossings(edges, lengths, windows)
    across = _positions(low[:, 0], high[:, 0], width)
    down = _positions(low[:, 1], high[:, 1], height)

    image = np.zeros((3, height, width), np.float32)
    labels = np.zeros((height, width), np.int32)
    for k, (stroke, (left, top, right, bottom)) in enumerate(zip(strokes, windows.tolist())):
        if left >= right or top >= bottom:
            continue
        cover = _coverage(*crossings[k], bottom - top, right - left)
        if stroke.labelled:
            np.copyto(labels[top:bottom, left:right], stroke.segment, where=cover >= FULL // 2)
        x, y = across[k, left:right], down[k, top:bottom, None]
        if stroke.soft:
            cover *= np.maximum(1 - (2 * x - 1) ** 2 - (2 * y - 1) ** 2, 0) ** 2
        above, below = stroke.colors.astype(np.float32)[:, :, None, None]
        area = image[:, top:bottom, left:right]
        area += (above + (below - above) * y - area) * (cover * (stroke.alpha / FULL))
    return image, labels


def _positions(low: np.ndarray, high: np.ndarray, length: int) -> np.ndarray:
    """Where the centres of `length` pixels lie within each stroke: 0 at `low`, 1 at `high`."""
    centres = GRID * (np.arange(length) + 0.5)
    extent = np.maximum(high - low, 1)
    return ((centres - low[:, None]) / extent[:, None]).astype(np.float32)


def _edges(strokes: list[Stroke], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """All edges, (E, 4) int64 as x0 y0 x1 y1 in 1/64 pixel, and how many each stroke has."""
    size, unit = np.array([width, height]) * float(GRID), min(width, height) * float(GRID)
    outlines = [stroke.anchor * size + stroke.local * unit for stroke in strokes]
    next_vertices = [np.concatenate([o[:, 1:], o[:, :1]], 1) for o in outlines]
    starts = np.concatenate([o.reshape(-1, 2) for o in outlines])
    ends = np.concatenate([o.reshape(-1, 2) for o in next_vertices])
    edges = np.rint(np.concatenate([starts, ends], 1)).astype(np.int64)
    return edges, np.array([o.size // 2 for o in outlines])


def _crossings(
    edges: np.ndarray, lengths: np.ndarray, windows: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Where the edges of each stroke cross the scan lines of its window.

    Where an edge crosses a scan line, it adds its direction, +1 or -1, to all that lies to the
    right: to a part of the pixel in which it crosses, and to the whole of the next one, from which
    `_coverage` carries it on.

    Returns:
        For each stroke the pixels, numbered row by row (a row has two more than the window), and
        what is added to each, in 1/GRID.
    """
    corner = np.repeat(windows[:, :2], lengths, 0).T * GRID
    columns, rows = np.repeat(windows[:, 2:] - windows[:, :2], lengths, 0).T
    (x0, y0), (x1, y1) = edges[:, :2].T - corner, edges[:, 2:].T - corner
    # Scan line k lies at y = k * STEP + STEP / 2. An edge crosses the lines from its upper end
    # (included) to its lower end (excluded), so that two edges in a row never count a line twice.
    first = np.clip((np.minimum(y0, y1) + STEP // 2 - 1) // STEP, 0, rows * LINES)
    last = np.clip((np.maximum(y0, y1) + STEP // 2 - 1) // STEP, 0, rows * LINES)
    count = last - first
    total = np.cumsum(count)
    # From here on there is an entry for each crossing: its edge, its scan line, its x.
    edge = np.repeat(np.arange(len(edges)), count)
    line = np.arange(len(edge)) + (first - total + count)[edge]
    slope = (x1 - x0) / np.where(y1 == y0, 1, y1 - y0)
    x = (x0 + (STEP // 2 - y0) * slope)[edge] + (STEP * slope)[edge] * line
    columns, direction = columns[edge], np.sign(y1 - y0)[edge]
    x = np.clip(np.rint(x).astype(np.int64), 0, columns * GRID)
    pixel = line // LINES * (columns + 2) + x // GRID
    to_next = x % GRID * direction
    pixels = np.stack([pixel, pixel + 1], 1).reshape(-1)
    gains = np.stack([GRID * direction - to_next, to_next], 1).reshape(-1)
    bounds = [0] + (2 * total[np.cumsum(lengths) - 1]).tolist()
    return [(pixels[i:j], gains[i:j]) for i, j in pairwise(bounds)]


def _coverage(pixels: np.ndarray, gains: np.ndarray, height: int, width: int) -> np.ndarray:
    """How much of each pixel a stroke covers, (height, width) float32: whole numbers up to FULL."""
    gained = np.bincount(pixels, gains, height * (width + 2))
    # A closed outline crosses a line as often down as up: the sum is back at 0 for the next row.
    winding = gained.cumsum(dtype=np.float32).reshape(height, width + 2)[:, :width]
    return np.minimum(np.abs(winding), FULL)


# ---- shapes, (V, 2): x to the right, y downwards

ANGLES = np.arange(32) * (np.pi / 16)
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], 1)


def disc(x: float, y: float, rx: float, ry: float | None = None) -> np.ndarray:
    """An ellipse around (x, y) with the radii rx and ry, or a circle of radius rx, (32, 2)."""
    return CIRCLE * (rx, ry or rx) + (x, y)


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """A rectangle from (x0, y0) to (x1, y1), (4, 2)."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


def outline(points: str, rounds: int = 0) -> np.ndarray:
    """A polygon from the text "x,y x,y ...", (V, 2).

    Args:
        points: its vertices.
        rounds: how often its corners are cut (Chaikin, 1974), which makes it rounder.
    """
    curve = np.array([point.split(",") for point in points.split()], float)
    for _ in range(rounds):
        after = np.roll(curve, -1, 0)
        curve = np.stack([0.75 * curve + 0.25 * after, 0.25 * curve + 0.75 * after], 1)
        curve = curve.reshape(-1, 2)
    return curve


@cache
def rgb(*colors: str) -> np.ndarray:
    """Colours of six hexadecimal digits each, (len(colours), 3) float32."""
    return np.array([list(bytes.fromhex(color)) for color in colors], np.float32)
