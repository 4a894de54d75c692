"""A scene while it is composed: its random numbers, its palette, its segments and strokes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .drawing import Stroke, rgb
from .things import DRAWINGS

MOODS = ("day", "morning", "dusk", "autumn", "winter", "night")
# What is coloured, and how in each of the six moods: one colour (six hexadecimal digits), or two,
# of its top and of its bottom (twelve).
COLORS = {
    "sky": "3d8edbd3eef8 86b6eaffe4d2 4a3d8cffa46e 6fb0d2fdf0d2 8eabcbf1f5f8 111a455a6bb0",
    "sun": "fff2b8 fff0c9 ffd87c fff0b4 fffdf0 fff6d6",
    "cloud": "ffffffdcecf7 fff7f2f7d7d2 ffc9a0d987a0 fffaf0f0dfc8 ffffffdbe4ee 6f7fb84a5a96",
    "mountain": "7387b4a9bfd6 9a8cc0dcc3d6 5b4a8ab4718f 8b83a8c9b7b4 8797b6c3cfdf 323e785567a0",
    "snow": "ffffff fff4f4 ffd3c9 fffaf2 ffffff c3d0f0",
    "meadow": "b5d66b8cbf56 c7dc8d98c674 a9a75c76884f d8c25ab9a747 d6e4d0abc8b0 5f9a7244785f",
    "hill": "8fc6544f9a45 a3cf745f9f5c 8b9a534d6b45 c2b04c878a3d bcd6bf7fa88c 4a82642a5650",
    "sand": "f8e6b6ecca8c fbe6c4efc89d f0c192cf9270 f5dfb4e5bf84 efe6d2d8c8a8 b9b0a6968c90",
    "sea": "8fd3dc2b7db4 a9dedf4592b7 d98f964b4a92 86c3c6347c99 9dc3cf4a7d9b 5f80b81c3168",
    "road": "8b8d986f717d 9a919c7d7683 6d607251485e 857d786a635f 868f9d6c7583 565b7c434868",
    "leaf": "4f9a4b2f7a45 6aa85b3d8257 5d7a4b35543f e8843ab9502c 6d9d90426f6a 3a7a6622544f",
    "light": "ffffff fffaf2 f4d3cb fff4e4 f3f7ff b4bee4",
}
PALETTES = np.array(  # (6 moods, 12 keys of COLOURS, top and bottom, RGB)
    [[rgb(color[:6], color[-6:]) for color in colors.split()] for colors in COLORS.values()]
).swapaxes(0, 1)


class Scene:
    """A scene before it has a size: its segments, and the strokes that paint them.

    Attributes:
        rng: the source of all random numbers of this scene, in the order of the calls.
        mood: one of `MOODS`.
        palette: the colours of this scene by their names in `COLOURS`, (2, 3) each: top and bottom.
        segments: class name and iscrowd of each segment; the number of the first is 1.
        strokes: in the order in which they are painted.

    Args:
        seed: of the random numbers, 0 or more.
    """

    def __init__(self, seed: int):
        self.rng = np.random.default_rng(seed)
        mood, other = self.pick(range(len(MOODS))), self.pick(range(len(MOODS)))
        self.mood = MOODS[mood]
        self.palette = dict(zip(COLORS, 0.85 * PALETTES[mood] + 0.15 * PALETTES[other]))
        self.segments: list[tuple[str, int]] = []
        self.strokes: list[Stroke] = []

    def between(self, low: float, high: float) -> float:
        """A random number, uniform from low to high."""
        return low + (high - low) * self.rng.random()

    def many(self, count: int, low: float, high: float) -> np.ndarray:
        """`count` random numbers, (count,), each uniform from low to high."""
        return low + (high - low) * self.rng.random(count)

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.rng.random() < probability

    def pick(self, choices: Sequence) -> Any:
        """One of the choices at random, all equally likely."""
        return choices[int(self.rng.random() * len(choices))]

    def add_segment(self, name: str, crowd: int = 0) -> int:
        """Adds a segment of a class, and returns its number, 1 for the first."""
        self.segments.append((name, crowd))
        return len(self.segments)

    def paint(
        self,
        segment: int,
        colors: str | np.ndarray,
        anchor: np.ndarray,
        local: np.ndarray | float = 0.0,
        **options: Any,
    ) -> None:
        """Adds a `Stroke`, whose pixels belong to the segment.

        Args:
            segment: its number.
            colours: a key of the palette, or (2, 3), the colours of its top and its bottom.
            anchor, local: the polygons, see `Stroke`.
            options: other fields of the `Stroke`.
        """
        colors = self.palette[colors] if isinstance(colors, str) else colors
        self.strokes.append(Stroke(segment, anchor, local, colors, **options))

    def tint(self, *stroke: Any, **options: Any) -> None:
        """Adds a `Stroke` that colours the image and leaves the labels as they are; see `paint`."""
        self.paint(*stroke, labelled=False, **options)

    def draw_thing(
        self,
        segment: int,
        name: str,
        at: np.ndarray,
        scale: float,
        main: np.ndarray,
        trim: np.ndarray,
        turn: float = 0.0,
        flip: bool = False,
        side: float = 0.0,
    ) -> None:
        """Adds the strokes of a thing.

        Args:
            segment: the number of its segment, 0 if its pixels are void.
            name: which of `DRAWINGS`.
            at: (2,), the point on which it stands, in fractions of the picture's width and height.
            scale: its width, in fractions of the picture's shorter side.
            main: its main colour, (1, 3), or (2, 3) for top and bottom.
            trim: its second colour, likewise.
            turn: the angle by which it is turned clockwise, in radians.
            flip: True mirrors it: it looks to the left.
            side: how far it is moved to the right of `at`, in fractions of its width.
        """
        cos, sin = scale / 100 * np.cos(turn), scale / 100 * np.sin(turn)
        matrix = np.array([(-cos, -sin) if flip else (cos, sin), (-sin, cos)])
        light = self.palette["light"] / 255 * ((1.06,), (0.86,))  # brighter above than below
        own = {"main": main, "dark": main * 0.78, "trim": trim, "lamp": rgb("fff0a8") / light}
        for part in DRAWINGS[name]:
            color = own[part.color] if part.color in own else rgb(part.color)
            local = part.points @ matrix + (scale * side, 0.0)
            stroke = Stroke(
                segment, at, local, color * light, part.alpha, part.labelled, part.soft
            )
            self.strokes.append(stroke)
