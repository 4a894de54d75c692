"""A paint box: anti-aliased polygons, with an exact label for every pixel.

A picture is a list of strokes in coordinates without a size; `render` paints them at any size,
the later over the earlier. Vertices are rounded to 1/64 pixel and coverage is counted in whole
numbers, so the last digit of somebody's sine never decides which segment owns a pixel.
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
    with the picture, what is local keeps its form. The polygons of a stroke wind the same way.
    """

    segment: int  # to whom the pixels belong; 0 is nobody (void)
    anchor: np.ndarray  # (P, V, 2) or (2,), x and y
    local: np.ndarray | float  # 0 or (P, V, 2)
    colours: np.ndarray  # (2, 3), 0 ... 255, top and bottom
    alpha: float = 1.0
    labelled: bool = True  # False tints the picture and leaves the labels alone
    soft: bool = False  # fades out from the middle to the sides of the bounding box, like a glow


def render(strokes: list[Stroke], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Paints the strokes in order.

    Returns:
        image: (3, height, width) float32, about 0 ... 255.
        labels: (height, width) int32, the segment of the last labelled stroke that covers at
            least half of the pixel; 0 where there is none.
    """
    edges, lengths = _edges(strokes, height, width)
    starts = np.cumsum(lengths) - lengths
    low = np.minimum.reduceat(edges[:, :2], starts)
    high = np.maximum.reduceat(edges[:, :2], starts)
    windows = np.concatenate([low // GRID, -(-high // GRID)], 1).clip(0, [width, height] * 2)
    crossings = _crossings(edges, lengths, windows)
    # where a column or row lies in each stroke: 0 at its left or top, 1 at its right or bottom
    middle, extent = GRID * (np.arange(max(height, width)) + 0.5), np.maximum(high - low, 1)
    over, down = (((middle - low[:, [k]]) / extent[:, [k]]).astype(np.float32) for k in (0, 1))
    above, below = np.stack([stroke.colours for stroke in strokes], 1)[..., None].astype(np.float32)
    shades = above + (below - above) * down[:, None]

    image = np.zeros((3, height, width), np.float32)
    labels = np.zeros((height, width), np.int32)
    for k, (stroke, (left, top, right, bottom)) in enumerate(zip(strokes, windows.tolist())):
        if left >= right or top >= bottom:
            continue
        cover = _coverage(*crossings[k], bottom - top, right - left)
        if stroke.labelled:
            np.copyto(labels[top:bottom, left:right], stroke.segment, where=cover >= FULL // 2)
        if stroke.soft:
            x, y = 2 * over[k, left:right] - 1, 2 * down[k, top:bottom, None] - 1
            cover *= np.maximum(1 - x * x - y * y, 0) ** 2
        area = image[:, top:bottom, left:right]
        area += (shades[k, :, top:bottom, None] - area) * (cover * (stroke.alpha / FULL))
    return image, labels


def _edges(strokes: list[Stroke], height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """All edges, (E, 4) int64 as x0 y0 x1 y1 in 1/64 pixel, and how many each stroke has."""
    size, unit = np.array([width, height]) * float(GRID), min(width, height) * float(GRID)
    outlines = [stroke.anchor * size + stroke.local * unit for stroke in strokes]
    following = [np.concatenate([o[:, 1:], o[:, :1]], 1) for o in outlines]
    ends = [np.concatenate([o.reshape(-1, 2) for o in end]) for end in (outlines, following)]
    edges = np.rint(np.concatenate(ends, 1)).astype(np.int64)
    return edges, np.array([o.size // 2 for o in outlines])


def _crossings(
    edges: np.ndarray, lengths: np.ndarray, windows: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Where the edges of each stroke cross the scan lines of its window.

    Along a scan line an edge adds its direction, +1 or -1, to all that lies right of it: to a
    part of the pixel in which it crosses, and to the whole of the next ones. The list holds the
    cells (a row has two more than the window) and what each gains, in whole 1/GRID.
    """
    corner = np.repeat(windows[:, :2], lengths, 0).T * GRID
    columns, rows = np.repeat(windows[:, 2:] - windows[:, :2], lengths, 0).T
    (x0, y0), (x1, y1) = edges[:, :2].T - corner, edges[:, 2:].T - corner
    # line k lies at y = k * STEP + STEP / 2; an edge meets the lines from its upper end (taken
    # in) to its lower end (left out), so that two edges in a row never count a line twice
    first = np.clip((np.minimum(y0, y1) + STEP // 2 - 1) // STEP, 0, rows * LINES)
    last = np.clip((np.maximum(y0, y1) + STEP // 2 - 1) // STEP, 0, rows * LINES)
    count = last - first
    total = np.cumsum(count)
    edge = np.repeat(np.arange(len(edges)), count)
    line = np.arange(len(edge)) + (first - total + count)[edge]
    slope = (x1 - x0) / np.where(y1 == y0, 1, y1 - y0)
    x = (x0 + (STEP // 2 - y0) * slope)[edge] + (STEP * slope)[edge] * line
    columns, whole = columns[edge], (GRID * np.sign(y1 - y0))[edge]
    x = np.clip(np.rint(x).astype(np.int64), 0, columns * GRID)
    cell = line // LINES * (columns + 2) + x // GRID
    beyond = x % GRID * (whole // GRID)
    cells = np.stack([cell, cell + 1], 1).reshape(-1)
    gains = np.stack([whole - beyond, beyond], 1).reshape(-1)
    bounds = [0] + (2 * total[np.cumsum(lengths) - 1]).tolist()
    return [(cells[i:j], gains[i:j]) for i, j in pairwise(bounds)]


def _coverage(cells: np.ndarray, gains: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width) float32, whole numbers from 0 to FULL."""
    gained = np.bincount(cells, gains, height * (width + 2))
    # a closed outline crosses a line as often down as up: the sum is back at 0 for the next row
    winding = gained.cumsum(dtype=np.float32).reshape(height, width + 2)[:, :width]
    return np.minimum(np.abs(winding), FULL)


# ---- shapes, (V, 2): x to the right, y downwards

CIRCLE = np.stack([f(np.arange(32) * (np.pi / 16)) for f in (np.cos, np.sin)], 1)


def disc(x: float, y: float, rx: float, ry: float | None = None) -> np.ndarray:
    """An ellipse, or a circle."""
    return CIRCLE * (rx, ry or rx) + (x, y)


def box(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    """A rectangle."""
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], float)


def outline(points: str, rounds: int = 0) -> np.ndarray:
    """A polygon, "x,y x,y ..."; `rounds` of cutting its corners (Chaikin, 1974) make it rounder."""
    curve = np.array([point.split(",") for point in points.split()], float)
    for _ in range(rounds):
        after = np.roll(curve, -1, 0)
        curve = np.stack([0.75 * curve + 0.25 * after, 0.25 * curve + 0.75 * after], 1)
        curve = curve.reshape(-1, 2)
    return curve


@cache
def rgb(*colours: str) -> np.ndarray:
    """Colours of six hexadecimal digits, (len, 3) float32."""
    return np.array([list(bytes.fromhex(colour)) for colour in colours], np.float32)
