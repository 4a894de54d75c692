"""How things are drawn: each is a list of parts, from back to front.

Coordinates are hundredths of a thing's width: it stands on y = 0, x grows to the right and y
downwards.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .drawing import box, disc, outline

# The main colour of a thing is one of PAINTS, its second colour one of TRIMS.
PAINTS = ("e4453a", "2f80d8", "f5b52c", "1b9e85", "8d5ad0", "f27a3f", "e8619a", "2aa7c9")
TRIMS = ("ffffff", "fff1cf", "ffe04d", "26336b")

SIZES = {  # how wide a thing is, as a share of the picture's shorter side
    "car": 0.35,
    "car ahead": 0.3,
    "boat": 0.26,
    "stop sign": 0.15,
    "umbrella": 0.32,
    "sports ball": 0.15,
    "kite": 0.19,
    "bird": 0.19,
    "flock": 0.055,
    "tree": 0.36,
    "pine": 0.36,
    "cottage": 0.4,
    "fence": 0.38,
    "lighthouse": 0.28,
}


class Part(NamedTuple):
    """P polygons of one colour; the last three fields are those of a `Stroke`."""

    color: str  # six hexadecimal digits, or one of the thing's own: "main", "dark", "trim", "lamp"
    points: np.ndarray  # (P, V, 2)
    alpha: float = 1.0
    labelled: bool = True
    soft: bool = False


def part(color: str, *polygons: np.ndarray) -> Part:
    """A part that belongs to the thing's mask."""
    return Part(color, np.stack(polygons))


def tint(color: str, alpha: float, *polygons: np.ndarray, soft: bool = False) -> Part:
    """A part that colours the image and leaves the labels as they are."""
    return Part(color, np.stack(polygons), alpha, labelled=False, soft=soft)


def shadow(x: float, rx: float, ry: float = 8) -> Part:
    """A soft dark spot on the ground, around x, with the radii rx and ry."""
    return tint("1d1836", 0.6, box(x - rx, -ry, x + rx, ry), soft=True)


def octagon(radius: float) -> np.ndarray:
    """The plate of a stop sign, (8, 2)."""
    turn = (np.arange(8) + 0.5) * (np.pi / 4)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn) - 155], 1)


def lettering() -> list[np.ndarray]:
    """The word STOP, a box for each #."""
    rows = (
        "### ### ### ###",
        "#    #  # # # #",
        "###  #  # # ###",
        "  #  #  # # #  ",
        "###  #  ### #  ",
    )
    dots = [(i - 7.5, j - 2.5) for j, row in enumerate(rows) for i in range(15) if row[i] == "#"]
    return [box(i, j, i + 1, j + 1.02) * 5.2 - (0, 155) for i, j in dots]


def panel(a: float, b: float) -> np.ndarray:
    """The cloth of an umbrella between two ribs, which end at x = a and x = b, (23, 2)."""
    turn = np.linspace(0, np.pi / 2, 10)
    rib = np.stack([np.cos(turn), -50 * np.sin(turn)], 1)
    hem = [((3 * b + a) / 4, -5), ((a + b) / 2, -6.5), ((3 * a + b) / 4, -5)]
    return np.concatenate([(rib * (b, 1))[::-1], hem, rib * (a, 1)]) - (0, 50)


def field(k: int) -> np.ndarray:
    """One of the six coloured fields of a beach ball, which meet left above its middle, (9, 2)."""
    turn = np.linspace(k, k + 1, 8) * (np.pi / 3)
    rim = np.stack([50 * np.cos(turn), 50 * np.sin(turn) - 50], 1)
    return np.concatenate([[(-15, -64)], rim])


def bow(x: float, y: float) -> np.ndarray:
    """A ribbon on the tail of a kite."""
    return outline("-13,-8 13,8 13,-8 -13,8") + (x, y)


def gull(x: float, y: float) -> np.ndarray:
    """A bird in the distance."""
    return outline("-55,-16 -28,-36 0,-4 28,-36 55,-16 26,-10 0,26 -26,-10", 1) + (x, y)


def picket(x: float) -> np.ndarray:
    """A board of a fence."""
    return outline("-4,0 -4,-30 0,-38 4,-30 4,0") + (x, 0)


DRAWINGS: dict[str, list[Part]] = {
    "car": [
        shadow(0, 66),
        part("main", outline("-50,-8 -54,-30 -38,-31 -30,-60 12,-60 25,-35 52,-31 55,-8", 3)),
        tint("ffffff", 0.4, outline("-48,-25 -40,-30 42,-30 50,-25", 2)),
        part("d8f0fa", outline("-31,-31 -24,-52 -8,-52 -8,-31", 2)),
        part("d8f0fa", outline("-4,-31 -4,-52 10,-52 20,-31", 2)),
        part("23263a", disc(-28, -11, 12.5), disc(29, -11, 12.5)),
        part("dfe3ea", disc(-28, -11, 6), disc(29, -11, 6)),
        part("lamp", disc(48, -21, 3.5, 5)),
    ],
    "car ahead": [
        shadow(0, 60),
        part("23263a", box(-40, -20, -22, 0), box(22, -20, 40, 0)),
        part("main", outline("-46,-8 -52,-42 -36,-44 -30,-78 30,-78 36,-44 52,-42 46,-8", 3)),
        part("d8f0fa", outline("-31,-43 -24,-69 24,-69 31,-43", 2)),
        part("lamp", disc(-33, -30, 8), disc(33, -30, 8)),
        part("3a3d52", outline("-18,-25 18,-25 18,-15 -18,-15", 2)),
    ],
    "boat": [
        part("6b4a33", box(-5, -112, 3, -20)),
        tint("main", 1, outline("2,-118 22,-112 2,-105")),
        part("trim", outline("2,-108 2,-24 64,-24 40,-74", 1)),
        part("ffffff", outline("-4,-100 -4,-24 -54,-24 -30,-66", 1)),
        part("main", outline("-64,-26 68,-26 42,6 -42,6", 2)),
        tint("ffffff", 0.75, box(-49, -17, 52, -12)),
        tint("ffffff", 0.6, disc(0, 5, 62, 4.5)),
    ],
    "stop sign": [
        shadow(0, 30, 6),
        part("8b919c", box(-6, -130, 6, 0)),
        part("ffffff", octagon(56)),
        part("d3202c", octagon(48)),
        tint("ffffff", 1, *lettering()),
    ],
    "umbrella": [
        shadow(10, 45),
        part("8a5a36", box(-2.5, -62, 2.5, 0)),
        part("main", panel(-50, -32), panel(-11, 11), panel(32, 50)),
        part("trim", panel(-32, -11), panel(11, 32)),
        part("8a5a36", disc(0, -100, 3, 5)),
        tint("ffffff", 0.35, box(-42, -96, 2, -64), soft=True),
    ],
    "sports ball": [
        shadow(10, 66, 18),
        part("ffffff", disc(0, -50, 50)),
        part("main", field(0), field(2), field(4)),
        part("dark", disc(-15, -64, 9)),
        tint("1d1836", 0.3, box(-30, -60, 70, 10), soft=True),
        tint("ffffff", 0.6, box(-42, -96, 10, -50), soft=True),
    ],
    "kite": [  # its tail is too thin to be labelled: those pixels stay what is behind
        tint("f5efe0", 1, disc(5, 70, 1.5, 13), disc(-5, 90, 1.5, 13), disc(5, 110, 1.5, 13)),
        tint("trim", 1, bow(3, 74), bow(4, 120)),
        tint("main", 1, bow(-2, 98)),
        part("main", outline("0,-65 48,-15 0,60 -48,-15")),
        part("trim", outline("0,-65 48,-15 0,-15"), outline("0,60 -48,-15 0,-15")),
    ],
    "bird": [
        part("dark", outline("20,-10 16,-50 0,-78 -10,-42 -2,-6", 3)),
        part("main", outline("52,-2 42,-24 16,-20 -30,-6 -74,-16 -50,2 -70,14 -20,22 34,20", 3)),
        tint("fff4dc", 0.8, outline("46,4 20,4 -20,14 10,20 36,16", 3)),
        part("f4a428", outline("42,-11 64,-2 42,4")),
        part("dark", outline("16,-2 4,-44 -30,-76 -34,-36 -16,6", 3)),
        tint("1c1c28", 1, disc(34, -7, 4)),
    ],
    "flock": [
        part("main", gull(0, 0), gull(-100, -40), gull(100, -35), gull(-200, 10)),
        part("main", gull(190, 20), gull(-80, 60), gull(90, 70)),
    ],
    "tree": [
        shadow(0, 50),
        part("6d4a34", outline("-9,0 -6,-60 6,-60 9,0")),
        part("main", disc(-24, -66, 28), disc(24, -64, 28), disc(0, -95, 33), disc(0, -60, 26)),
        tint("fff6c8", 0.4, box(-42, -126, 18, -70), soft=True),
        tint("e4453a", 1, disc(-30, -60, 3.5), disc(10, -80, 3.5), disc(30, -55, 3.5)),
    ],
    "pine": [
        shadow(0, 45),
        part("6d4a34", box(-6, -30, 6, 0)),
        part("2f7d58", outline("-46,-18 0,-93 46,-18 0,-12")),
        part("2f7d58", outline("-38,-52 0,-118 38,-52 0,-46")),
        part("2f7d58", outline("-29,-85 0,-141 29,-85 0,-79")),
    ],
    "cottage": [
        shadow(0, 65),
        part("8d5b46", box(18, -95, 30, -60)),
        part("fbf0da", box(-42, -50, 42, 0)),
        part("main", outline("-54,-44 -30,-85 30,-85 54,-44")),
        part("7a4a35", outline("-10,0 -10,-36 10,-36 10,0", 1)),
        part("lamp", box(-33, -34, -18, -17), box(18, -34, 33, -17)),
    ],
    "fence": [
        part("f6efe2", *[picket(x) for x in range(-72, 73, 18)]),
        part("e6dccb", box(-80, -27, 80, -21), box(-80, -13, 80, -7)),
    ],
    "lighthouse": [
        part("8b8794", outline("-50,4 -40,-16 40,-16 50,4", 2)),
        part("fdf8ee", outline("-24,-10 -15,-150 15,-150 24,-10")),
        part("d8473d", outline("-22,-38 -20,-66 20,-66 22,-38")),
        part("d8473d", outline("-19,-94 -17,-122 17,-122 19,-94")),
        part("lamp", box(-10, -172, 10, -150)),
        part("3a3d52", outline("-18,-170 0,-198 18,-170")),
    ],
}
