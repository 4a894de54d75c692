"""How each kind of stuff is painted: sky, mountains, sea, sand and grass.

Each function adds a segment and its strokes to a scene. Points are fractions of the picture's width
and height: (0, 0) is its upper left corner, (1, 1) its lower right one.
"""

from __future__ import annotations

import numpy as np

from .drawing import box, disc, outline, rgb
from .scene import Scene

WHITE = rgb("ffffff", "ffffff")
PUFFS = [disc(-150, 0, 70), disc(-60, -40, 95), disc(50, -25, 105), disc(150, 0, 65)]
CLOUD = np.minimum(PUFFS, (np.inf, 30))  # flat below
STARFISH = outline("0,-10 3,-3 10,-3 4,2 6,10 0,5 -6,10 -4,2 -10,-3 -3,-3")
TUFT = outline("-5,0 -7,-10 -1,-2 1,-13 3,-2 9,-9 5,0")


def snap(values: np.ndarray) -> np.ndarray:
    """Rounds to 1/4096.

    The last digit of a sine differs between machines; what depends on a rounded curve does not.
    """
    return np.round(values * 4096) / 4096


def ridge(scene: Scene, y: float, swing: float, tilt: float = 0.0) -> np.ndarray:
    """A random wavy line from the left to the right border.

    Args:
        scene: gives the random numbers.
        y: its mean height.
        swing: how far it swings up and down.
        tilt: how much lower its right end lies than its left end.

    Returns:
        (49, 2) points.
    """
    x = np.linspace(-0.02, 1.02, 49)
    (f, g), (p, q) = scene.many(2, 0.5, 1.1), scene.many(2, 0, 1)
    wave = 0.7 * np.sin(2 * np.pi * (f * x + p)) + 0.3 * np.sin(4 * np.pi * (g * x + q))
    return snap(np.stack([x, y + swing * wave + tilt * (x - 0.5)], 1))


def below(curve: np.ndarray, depth: float | None = None) -> np.ndarray:
    """The polygon under a line, (1, V, 2): `depth` high, or down to the lower border."""
    floor = [(1.02, 1.02), (-0.02, 1.02)] if depth is None else curve[::-1] + (0, depth)
    return np.concatenate([curve, floor])[None]


def specks(x: np.ndarray, y: np.ndarray, rx: np.ndarray, ry: np.ndarray) -> np.ndarray:
    """P diamonds (stars, waves, pebbles), (P, 4, 2), at (x, y) with radii rx and ry, (P,) each."""
    return np.array([(x - rx, y), (x, y - ry), (x + rx, y), (x, y + ry)]).transpose(2, 0, 1)


def paint_sky(scene: Scene, horizon: float) -> float:
    """Paints a gradient, stars at night, the sun or moon with its glow, and clouds.

    Returns:
        The x of the sun.
    """
    sky = scene.add_segment("sky-other-merged")
    scene.paint(sky, "sky", box(-0.01, -0.01, 1.01, horizon + 0.12)[None])
    if scene.mood == "night":
        x, y, r = scene.many(50, 0, 1), scene.many(50, 0, horizon), scene.many(50, 0.002, 0.006)
        scene.tint(sky, WHITE, specks(x, y, r, r), alpha=0.8)
    height = horizon - 0.12 if scene.mood == "dusk" else scene.between(0.1, 0.22)
    sun = np.array([scene.between(0.12, 0.88), height])
    for r, alpha in ((0.45, 0.5), (0.17, 0.7)):
        scene.tint(sky, "sun", sun, box(-r, -r, r, r)[None], alpha=alpha, soft=True)
    scene.tint(sky, "sun", sun, disc(0, 0, 0.055)[None])
    for _ in range(scene.pick((1, 2, 3))):
        at = np.array([scene.between(0.05, 0.95), scene.between(0.08, horizon - 0.16)])
        shift = np.stack([scene.many(4, -20, 20), np.zeros(4)], 1)[:, None]
        size = scene.between(0.0005, 0.0009)
        scene.tint(sky, "cloud", at, (CLOUD + shift) * size, alpha=0.85)
    return sun[0]


def paint_mountains(scene: Scene, horizon: float) -> None:
    """Paints three to five peaks, each with a side in the shade and a cap of snow."""
    mountains = scene.add_segment("mountain-merged")
    count = scene.pick((3, 4, 5))
    slots = -0.15 + 1.3 / count * np.arange(count + 1)
    valley = np.stack([slots, horizon - scene.many(count + 1, 0.02, 0.06)], 1)
    left, right = valley[:-1], valley[1:]
    x = slots[:-1] + 1.3 / count * scene.many(count, 0.35, 0.65)
    peak = np.stack([x, horizon - scene.many(count, 0.13, 0.26)], 1)
    foot = np.stack([x, np.full(count, horizon + 0.1)], 1)
    # A point on each slope, where the snow ends, so that no slope is a straight line.
    jag = scene.many(4 * count, -0.012, 0.012).reshape(2, count, 2)
    west = 0.6 * peak + 0.4 * left + jag[0]
    east = 0.6 * peak + 0.4 * right + jag[1]
    line = np.stack([left, west, peak, east], 1).reshape(-1, 2)
    ends = [right[-1], (1.2, horizon + 0.1), (-0.2, horizon + 0.1)]
    scene.paint(mountains, "mountain", np.concatenate([line, ends])[None])
    # The eastern side lies in the shade, whose edge runs from the peak down to its foot.
    edge = [foot * t + peak * (1 - t) + (d, 0) for t, d in ((1, 0.04), (0.5, -0.03), (0.25, 0.025))]
    shade = np.stack([peak, east, right, *edge], 1)
    scene.tint(mountains, scene.palette["mountain"] * 0.8, shade, alpha=0.55)
    # The lower edge of the snow runs in a zigzag from the eastern slope to the western one.
    zigzag = ((0.25, -0.015), (0.4, 0.03), (0.55, -0.01), (0.7, 0.025), (0.85, -0.01))
    hem = [east + (west - east) * t + (0, d) for t, d in zigzag]
    scene.tint(mountains, "snow", np.stack([peak, east, *hem, west], 1))


def paint_sea(scene: Scene, horizon: float, shore: float, sun: float) -> None:
    """Paints water from the horizon to the shore, waves, and a path of light below the sun."""
    sea = scene.add_segment("sea")
    scene.paint(sea, "sea", box(-0.01, horizon, 1.01, shore + 0.08)[None])
    depth = scene.many(26, 0.08, 1) ** 2
    y, size = horizon + (0.03 + depth) * (shore - horizon), 0.014 + 0.03 * depth
    scene.tint(sea, WHITE, specks(scene.many(26, 0, 1), y, size, size * 0.12), alpha=0.55)
    x = sun + scene.many(26, -0.05, 0.05) * (0.5 + 1.2 * depth)
    scene.tint(sea, "sun", specks(x, y - 0.01, size, size * 0.14), alpha=0.75)


def paint_sand(scene: Scene, curve: np.ndarray) -> None:
    """Paints a beach below a line, (V, 2): foam, a wet strip, pebbles, starfish."""
    sand = scene.add_segment("sand")
    scene.tint(sand, WHITE, below(curve - (0, 0.016), 0.03), alpha=0.85)
    scene.paint(sand, "sand", below(curve))
    scene.tint(sand, scene.palette["sand"] * 0.85, below(curve, 0.025))
    x, u = scene.many(70, 0, 1), scene.many(70, 0.05, 1)
    y, r = np.interp(x, *curve.T) + 0.03 + 0.5 * u, 0.002 + 0.005 * u
    scene.tint(sand, scene.palette["sand"] * 0.75, specks(x, y, r, 0.6 * r), alpha=0.7)
    at = np.stack([x[:3], y[:3]], 1)[:, None]
    scene.tint(sand, rgb("f0836a", "d9604f"), at, STARFISH[None] * 0.0016, alpha=0.9)


def paint_grass(scene: Scene, curves: list[np.ndarray]) -> None:
    """Paints hills below their lines, (V, 2), from far to near, tufts and flowers on the nearest.

    All of them are one segment.
    """
    grass = scene.add_segment("grass-merged")
    for k, curve in enumerate(curves, 1):
        near = k / len(curves)
        colors = (1 - near) * scene.palette["meadow"] + near * scene.palette["hill"]
        scene.paint(grass, colors, below(curve))
    x, u = scene.many(70, 0, 1), scene.many(70, 0.04, 1)
    foot = np.stack([x, np.interp(x, *curves[-1].T) + 0.02 + 0.5 * u], 1)[:, None]
    size = (0.0008 + 0.0018 * u)[:, None, None]
    scene.tint(grass, scene.palette["hill"][::-1] * 0.8, foot[:40], TUFT * size[:40], alpha=0.8)
    petals = rgb(scene.pick(("fff6f0", "ffd75e", "ff9db0", "c9a8ff"))) * ((1.0,), (0.9,))
    scene.tint(grass, petals, foot[40:], disc(0, 0, 4.5)[::4] * size[40:], alpha=0.9)
