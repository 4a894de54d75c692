"""Roads: each kind paints itself, and says where cars and stop signs may stand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from .drawing import rgb
from .scene import Scene
from .stuff import WHITE, ridge, snap


class Spot(NamedTuple):
    """A point at which a thing may stand, in fractions of the picture, and how it looks there."""

    x: float
    y: float
    looks: dict[str, Any]  # options of `Scene.draw_thing`


# Draws a spot at random; None if it cannot be used, and another one should be drawn.
Place = Callable[[], Spot | None]
# Whether a point is on a road or close to it.
Blocked = Callable[[float, float], bool]


def road_across(scene: Scene) -> tuple[dict[str, Place], Blocked]:
    """Paints a road from the left to the right border.

    Returns:
        The places along it, by the name of the thing that may stand there.
        Whether a point is on the road.
    """
    half = scene.between(0.085, 0.1)
    line = ridge(scene, scene.between(0.74, 0.82), 0.012, scene.between(-0.05, 0.05))[::2]
    _paint_road(scene, line - (0, half), line + (0, half))

    def centre(x: float) -> float:
        return float(np.interp(x, *line.T))

    def car() -> Spot:
        x, left = scene.between(0.2, 0.8), scene.chance(0.5)
        return Spot(x, centre(x) + (0.01 if left else 0.07), {"flip": left})

    def verge() -> Spot:
        x = scene.between(0.1, 0.9)
        return Spot(x, centre(x) - half - 0.005, {})

    def blocked(x: float, y: float) -> bool:
        return abs(y - centre(x)) < half + 0.02

    return {"car": car, "stop sign": verge}, blocked


def road_winding(scene: Scene, land: np.ndarray) -> tuple[dict[str, Place], Blocked]:
    """Paints a road that comes from the upper edge of the land, (V, 2), towards us.

    Returns:
        As `road_across`; a car is seen from behind or from the front.
    """
    t = np.linspace(0, 1, 25)
    start, end, bend = scene.between(0.4, 0.6), scene.between(0.35, 0.65), scene.between(-0.1, 0.1)
    top = np.interp(end, *land.T) + 0.004
    y, half = top + (1.02 - top) * t, snap(0.012 + 0.23 * t**1.3)
    x = snap(end + (start - end) * t + bend * np.sin(2 * np.pi * t))
    _paint_road(scene, np.stack([x - half, y], 1), np.stack([x + half, y], 1))

    def middle_and_half(v: float) -> tuple[float, float]:
        """The x of the road's middle at y = v, and half of its width there."""
        return float(np.interp(v, y, x)), float(np.interp(v, y, half))

    def car() -> Spot:
        v, lane = scene.between(0.78, 0.97), scene.pick((-0.5, 0.5))
        middle, half = middle_and_half(v)
        return Spot(middle + lane * half, v, {"scale": 1.15 * half})

    def verge() -> Spot:
        v, side = scene.between(0.75, 0.9), scene.pick((-1, 1))
        middle, half = middle_and_half(v)
        return Spot(middle + side * (half + 0.05), v, {})

    def blocked(u: float, v: float) -> bool:
        middle, half = middle_and_half(v)
        return abs(u - middle) < half + 0.1

    return {"car ahead": car, "stop sign": verge}, blocked


def _paint_road(scene: Scene, a: np.ndarray, b: np.ndarray) -> None:
    """Asphalt between two borders, (V, 2) each, with white edges and a dashed middle."""
    road = scene.add_segment("road")

    def strip(s: float, t: float) -> np.ndarray:
        """What lies between the fractions s and t of the way from border a to border b."""
        return np.concatenate([a + s * (b - a), (a + t * (b - a))[::-1]])[None]

    scene.paint(road, "road", strip(0, 1))
    scene.tint(road, WHITE, np.concatenate([strip(0.05, 0.09), strip(0.91, 0.95)]), alpha=0.7)
    c, d = a + 0.47 * (b - a), a + 0.53 * (b - a)
    dashes = np.stack([c[:-1:2], c[1::2], d[1::2], d[:-1:2]], 1)
    scene.tint(road, rgb("ffe28a", "ffe28a"), dashes, alpha=0.95)
