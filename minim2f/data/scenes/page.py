"""A page of the storybook: its dice, its palette, its segments and strokes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .drawing import Stroke, rgb
from .things import THINGS

MOODS = ("day", "morning", "dusk", "autumn", "winter", "night")
COLOURS = {  # for each mood: one colour, or two, top and bottom
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
PALETTES = np.array(  # (6 moods, 12 roles, 2, 3)
    [[rgb(colour[:6], colour[-6:]) for colour in colours.split()] for colours in COLOURS.values()]
).swapaxes(0, 1)


class Page:
    """A scene before it has a size: its segments, and the strokes that paint them.

    Args:
        seed: of the dice, 0 or more. Whoever paints on the page throws the page's dice.
    """

    def __init__(self, seed: int):
        self.dice = np.random.default_rng(seed)
        mood, other = self.pick(range(len(MOODS))), self.pick(range(len(MOODS)))
        self.mood = MOODS[mood]
        self.palette = dict(zip(COLOURS, 0.85 * PALETTES[mood] + 0.15 * PALETTES[other]))
        self.segments: list[tuple[str, int]] = []  # class name and iscrowd
        self.strokes: list[Stroke] = []

    def between(self, low: float, high: float) -> float:
        """A number from low to high."""
        return low + (high - low) * self.dice.random()

    def many(self, count: int, low: float, high: float) -> np.ndarray:
        """(count,) of them."""
        return low + (high - low) * self.dice.random(count)

    def chance(self, probability: float) -> bool:
        """True so often."""
        return self.dice.random() < probability

    def pick(self, choices: Sequence) -> Any:
        """One of the choices."""
        return choices[int(self.dice.random() * len(choices))]

    def segment(self, name: str, crowd: int = 0) -> int:
        """Opens a segment of a class; returns its number, 1 for the first."""
        self.segments.append((name, crowd))
        return len(self.segments)

    def fill(
        self,
        segment: int,
        colours: str | np.ndarray,
        anchor: np.ndarray,
        local: np.ndarray | float = 0.0,
        **options: Any,
    ) -> None:
        """Adds a `Stroke`, in a colour of the palette or in (2, 3) of its own."""
        colours = self.palette[colours] if isinstance(colours, str) else colours
        self.strokes.append(Stroke(segment, anchor, local, colours, **options))

    def decorate(self, *stroke: Any, **options: Any) -> None:
        """Adds one that has no say in the labels."""
        self.fill(*stroke, labelled=False, **options)

    def put(
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
        """Puts a thing on the page.

        Args:
            segment: whose it is, 0 for nobody's.
            name: which of `THINGS`.
            at: (2,), where it stands, in fractions of the picture.
            scale: its width, in fractions of the picture's shorter side.
            main: its colour, (1, 3) or (2, 3) for top and bottom; `trim` likewise.
            turn: clockwise, in radians.
            flip: whether it looks to the left.
            side: how many of its widths it stands right of `at`.
        """
        cos, sin = scale / 100 * np.cos(turn), scale / 100 * np.sin(turn)
        matrix = np.array([(-cos, -sin) if flip else (cos, sin), (-sin, cos)])
        light = self.palette["light"] / 255 * ((1.06,), (0.86,))
        own = {"main": main, "dark": main * 0.78, "trim": trim, "lamp": rgb("fff0a8") / light}
        for part in THINGS[name]:
            colour = own[part.colour] if part.colour in own else rgb(part.colour)
            local = part.points @ matrix + (scale * side, 0.0)
            self.strokes.append(Stroke(segment, at, local, colour * light, *part[2:]))
