"""How each kind of stuff is painted on a page: sky, mountains, sea, sand, grass and roads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .drawing import box, disc, outline, rgb
from .page import Page

WHITE = rgb("ffffff", "ffffff")
PUFFS = [disc(-150, 0, 70), disc(-60, -40, 95), disc(50, -25, 105), disc(150, 0, 65)]
CLOUD = np.minimum(PUFFS, (np.inf, 30))  # flat below
STARFISH = outline("0,-10 3,-3 10,-3 4,2 6,10 0,5 -6,10 -4,2 -10,-3 -3,-3")
TUFT = outline("-5,0 -7,-10 -1,-2 1,-13 3,-2 9,-9 5,0")


def snap(values: np.ndarray) -> np.ndarray:
    """Rounds to 1/4096, so that all that is decided by a curve is decided alike everywhere."""
    return np.round(values * 4096) / 4096


def ridge(page: Page, y: float, swing: float, tilt: float = 0.0) -> np.ndarray:
    """A rolling line from the left to the right border, (49, 2)."""
    x = np.linspace(-0.02, 1.02, 49)
    (f, g), (p, q) = page.many(2, 0.5, 1.1), page.many(2, 0, 1)
    wave = 0.7 * np.sin(2 * np.pi * (f * x + p)) + 0.3 * np.sin(4 * np.pi * (g * x + q))
    return snap(np.stack([x, y + swing * wave + tilt * (x - 0.5)], 1))


def below(curve: np.ndarray, depth: float | None = None) -> np.ndarray:
    """What lies under a line, `depth` deep or down to the lower border, (1, V, 2)."""
    floor = [(1.02, 1.02), (-0.02, 1.02)] if depth is None else curve[::-1] + (0, depth)
    return np.concatenate([curve, floor])[None]


def specks(x: np.ndarray, y: np.ndarray, rx: np.ndarray, ry: np.ndarray) -> np.ndarray:
    """Small diamonds (stars, waves, pebbles), (P, 4, 2)."""
    return np.array([(x - rx, y), (x, y - ry), (x + rx, y), (x, y + ry)]).transpose(2, 0, 1)


def paint_sky(page: Page, horizon: float) -> float:
    """A gradient, stars at night, the sun or moon with its glow, clouds. Returns the sun's x."""
    this = page.segment("sky-other-merged")
    page.fill(this, "sky", box(-0.01, -0.01, 1.01, horizon + 0.12)[None])
    if page.mood == "night":
        x, y, r = page.many(50, 0, 1), page.many(50, 0, horizon), page.many(50, 0.002, 0.006)
        page.decorate(this, WHITE, specks(x, y, r, r), alpha=0.8)
    height = horizon - 0.12 if page.mood == "dusk" else page.between(0.1, 0.22)
    sun = np.array([page.between(0.12, 0.88), height])
    for r, alpha in ((0.45, 0.5), (0.17, 0.7)):
        page.decorate(this, "sun", sun, box(-r, -r, r, r)[None], alpha=alpha, soft=True)
    page.decorate(this, "sun", sun, disc(0, 0, 0.055)[None])
    for _ in range(page.pick((1, 2, 3))):
        at = np.array([page.between(0.05, 0.95), page.between(0.08, horizon - 0.16)])
        shift = np.stack([page.many(4, -20, 20), np.zeros(4)], 1)[:, None]
        size = page.between(0.0005, 0.0009)
        page.decorate(this, "cloud", at, (CLOUD + shift) * size, alpha=0.85)
    return sun[0]


def paint_mountains(page: Page, horizon: float) -> None:
    """A jagged line; each peak has a side in the shade and a cap of snow."""
    this = page.segment("mountain-merged")
    count = page.pick((3, 4, 5))
    slots = -0.15 + 1.3 / count * np.arange(count + 1)
    valley = np.stack([slots, horizon - page.many(count + 1, 0.02, 0.06)], 1)
    x = slots[:-1] + 1.3 / count * page.many(count, 0.35, 0.65)
    peak = np.stack([x, horizon - page.many(count, 0.13, 0.26)], 1)
    foot = np.stack([x, np.full(count, horizon + 0.1)], 1)
    left, right = valley[:-1], valley[1:]
    jag = page.many(4 * count, -0.012, 0.012).reshape(2, count, 2)
    west, east = 0.6 * peak + 0.4 * left + jag[0], 0.6 * peak + 0.4 * right + jag[1]
    line = np.stack([left, west, peak, east], 1).reshape(-1, 2)
    ends = [right[-1], (1.2, horizon + 0.1), (-0.2, horizon + 0.1)]
    page.fill(this, "mountain", np.concatenate([line, ends])[None])
    edge = [foot * t + peak * (1 - t) + (d, 0) for t, d in ((1, 0.04), (0.5, -0.03), (0.25, 0.025))]
    shade = np.stack([peak, east, right, *edge], 1)
    page.decorate(this, page.palette["mountain"] * 0.8, shade, alpha=0.55)
    zigzag = zip((0.25, 0.4, 0.55, 0.7, 0.85), (-0.015, 0.03, -0.01, 0.025, -0.01))
    hem = [east + (west - east) * t + (0, d) for t, d in zigzag]
    page.decorate(this, "snow", np.stack([peak, east, *hem, west], 1))


def paint_sea(page: Page, horizon: float, shore: float, sun: float) -> None:
    """Water with waves, and a path of light below the sun."""
    this = page.segment("sea")
    page.fill(this, "sea", box(-0.01, horizon, 1.01, shore + 0.08)[None])
    depth = page.many(26, 0.08, 1) ** 2
    y, size = horizon + (0.03 + depth) * (shore - horizon), 0.014 + 0.03 * depth
    page.decorate(this, WHITE, specks(page.many(26, 0, 1), y, size, size * 0.12), alpha=0.55)
    x = sun + page.many(26, -0.05, 0.05) * (0.5 + 1.2 * depth)
    page.decorate(this, "sun", specks(x, y - 0.01, size, size * 0.14), alpha=0.75)


def paint_sand(page: Page, curve: np.ndarray) -> None:
    """A beach: foam, a wet strip, pebbles, starfish."""
    this = page.segment("sand")
    page.decorate(this, WHITE, below(curve - (0, 0.016), 0.03), alpha=0.85)
    page.fill(this, "sand", below(curve))
    page.decorate(this, page.palette["sand"] * 0.85, below(curve, 0.025))
    x, u = page.many(70, 0, 1), page.many(70, 0.05, 1)
    y, r = np.interp(x, *curve.T) + 0.03 + 0.5 * u, 0.002 + 0.005 * u
    page.decorate(this, page.palette["sand"] * 0.75, specks(x, y, r, 0.6 * r), alpha=0.7)
    at = np.stack([x[:3], y[:3]], 1)[:, None]
    page.decorate(this, rgb("f0836a", "d9604f"), at, STARFISH[None] * 0.0016, alpha=0.9)


def paint_grass(page: Page, curves: list[np.ndarray]) -> None:
    """Hills, one before the other; all of them are one segment. Tufts and flowers on the last."""
    this = page.segment("grass-merged")
    for k, curve in enumerate(curves, 1):
        near = k / len(curves)
        colours = (1 - near) * page.palette["meadow"] + near * page.palette["hill"]
        page.fill(this, colours, below(curve))
    x, u = page.many(70, 0, 1), page.many(70, 0.04, 1)
    foot = np.stack([x, np.interp(x, *curves[-1].T) + 0.02 + 0.5 * u], 1)[:, None]
    size = (0.0008 + 0.0018 * u)[:, None, None]
    page.decorate(this, page.palette["hill"][::-1] * 0.8, foot[:40], TUFT * size[:40], alpha=0.8)
    petals = rgb(page.pick(("fff6f0", "ffd75e", "ff9db0", "c9a8ff"))) * ((1.0,), (0.9,))
    page.decorate(this, petals, foot[40:], disc(0, 0, 4.5)[::4] * size[40:], alpha=0.9)


def paint_road(page: Page, a: np.ndarray, b: np.ndarray) -> None:
    """Asphalt between two borders, (V, 2) each, with white edges and a dashed middle."""
    this = page.segment("road")

    def lane(s: float, t: float) -> np.ndarray:
        return np.concatenate([a + s * (b - a), (a + t * (b - a))[::-1]])[None]

    page.fill(this, "road", lane(0, 1))
    page.decorate(this, WHITE, np.concatenate([lane(0.05, 0.09), lane(0.91, 0.95)]), alpha=0.7)
    c, d = a + 0.47 * (b - a), a + 0.53 * (b - a)
    dashes = np.stack([c[:-1:2], c[1::2], d[1::2], d[:-1:2]], 1)
    page.decorate(this, rgb("ffe28a", "ffe28a"), dashes, alpha=0.95)


# ---- roads: each paints itself, and knows the places of cars and stop signs

# a place throws the dice for a point and for how a thing looks there; None: try again
Place = Callable[[], "tuple[float, float, dict[str, Any]] | None"]
Blocked = Callable[[float, float], bool]


def road_across(page: Page) -> tuple[dict[str, Place], Blocked]:
    """Paints a road from side to side; returns its places, and whether a point is on it."""
    half = page.between(0.085, 0.1)
    line = ridge(page, page.between(0.74, 0.82), 0.012, page.between(-0.05, 0.05))[::2]
    paint_road(page, line - (0, half), line + (0, half))

    def centre(x: float) -> float:
        return float(np.interp(x, *line.T))

    def car():
        x, left = page.between(0.2, 0.8), page.chance(0.5)
        return x, centre(x) + (0.01 if left else 0.07), {"flip": left}

    def verge():
        x = page.between(0.1, 0.9)
        return x, centre(x) - half - 0.005, {}

    return {"car": car, "stop sign": verge}, lambda x, y: abs(y - centre(x)) < half + 0.02


def road_winding(page: Page, land: np.ndarray) -> tuple[dict[str, Place], Blocked]:
    """The same for a road that comes towards us."""
    t = np.linspace(0, 1, 25)
    start, end, bend = page.between(0.4, 0.6), page.between(0.35, 0.65), page.between(-0.1, 0.1)
    top = np.interp(end, *land.T) + 0.004
    y, half = top + (1.02 - top) * t, snap(0.012 + 0.23 * t**1.3)
    x = snap(end + (start - end) * t + bend * np.sin(2 * np.pi * t))
    paint_road(page, np.stack([x - half, y], 1), np.stack([x + half, y], 1))

    def across(v: float) -> tuple[float, float]:
        return float(np.interp(v, y, x)), float(np.interp(v, y, half))

    def car():
        v, lane = page.between(0.78, 0.97), page.pick((-0.5, 0.5))
        middle, width = across(v)
        return middle + lane * width, v, {"scale": 1.15 * width}

    def verge():
        v, lane = page.between(0.75, 0.9), page.pick((-1, 1))
        middle, width = across(v)
        return middle + lane * (width + 0.05), v, {}

    def blocked(u: float, v: float) -> bool:
        middle, width = across(v)
        return abs(u - middle) < width + 0.1

    return {"car ahead": car, "stop sign": verge}, blocked
