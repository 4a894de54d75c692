"""`where_we_are("heads")`: the one road through Mask2Former, with this chapter's stage lit."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from minim2f.book.show import show

# stage: the middle of its box, and its name on the strip
STAGES = {
    "image": (7, 14, "image"),
    "backbone": (29, 14, "backbone"),
    "pixel decoder": (52, 14, "pixel\ndecoder"),
    "queries": (75, 27, "queries"),
    "masked attention": (75, 14, "masked\nattention"),
    "heads": (95, 14, "heads"),
    "matching": (109, 27, "matching"),
    "losses": (127, 27, "losses"),
    "inference": (109, 1, "inference"),
    "metrics": (127, 1, "metrics"),
}
BOX = (13, 7.4)

# from, to, and the way the arrow takes
ROAD = [
    ("image", "backbone", "arc3"),
    ("backbone", "pixel decoder", "arc3"),
    ("pixel decoder", "masked attention", "arc3"),
    ("pixel decoder", "heads", "arc3,rad=0.45"),
    ("queries", "masked attention", "arc3"),
    ("masked attention", "heads", "arc3"),
    ("heads", "matching", "angle3,angleA=90,angleB=0"),
    ("heads", "inference", "angle3,angleA=90,angleB=0"),
    ("matching", "losses", "arc3"),
    ("inference", "metrics", "arc3"),
]

# what travels on it, for one image
LABELS = [
    (18, 16.2, "3×H×W"),
    (40.5, 17, "res2…res5\nH/4…H/32"),
    (63.5, 17, "P5, P4, P3\nH/32…H/8"),
    (79.5, 20.4, "X$_0$  N×C"),
    (85, 17, "X\nN×C"),
    (75, 8.7, "3L layers"),
    (73.5, 2.3, "F$_{pixel}$  C×H/4×W/4"),
    (119, 14, "class logits  N×(K+1)\nmask logits  N×H/4×W/4"),
]
LETTERS = "H×W the picture, N queries, C channels,\nK classes, 3L layers: L rounds of three"
PLAIN, LIT, INK, QUIET = "#eeeeee", "#0b4f8a", "#222222", "#666666"


def where_we_are(*stages: str) -> None:
    """Shows the road from image to metrics, shapes on the arrows, the current stage lit.

    Args:
        stages: which to light, of "image", "backbone", "pixel decoder", "queries",
            "masked attention", "heads", "matching", "losses", "inference", "metrics"; none for
            the plain map.

    Raises:
        ValueError: there is no such stage.
    """
    unknown = [stage for stage in stages if stage not in STAGES]
    if unknown:
        raise ValueError(f"no stage {', '.join(unknown)}; there are {', '.join(STAGES)}")
    show(_draw(stages), alt=_describe(stages))


def _describe(stages: tuple[str, ...]) -> str:
    here = f"This chapter is about: {', '.join(stages)}." if stages else "No stage is lit."
    return (
        "The road through Mask2Former: image (3×H×W), backbone (res2 to res5), pixel decoder "
        "(P5, P4, P3 and F_pixel), masked attention with the queries (N×C), heads (class logits "
        "N×(K+1), mask logits N×H/4×W/4); then matching and losses in training, inference and "
        f"metrics in use. {here}"
    )


def _draw(stages: tuple[str, ...]) -> Figure:
    fig, ax = plt.subplots(figsize=(10.5, 2.75))
    fig.subplots_adjust(0, 0, 1, 1)
    ax.set(xlim=(0, 134), ylim=(-3.2, 31.2))
    ax.axis("off")
    boxes = {stage: _box(ax, *where, lit=stage in stages) for stage, where in STAGES.items()}
    for start, end, way in ROAD:
        style = dict(arrowstyle="-|>", color=QUIET, linewidth=1.3, connectionstyle=way)
        style |= dict(patchA=boxes[start], patchB=boxes[end], shrinkA=0, shrinkB=1)
        ax.annotate("", STAGES[end][:2], STAGES[start][:2], arrowprops=style)
    ax.plot([101.5, 108.5], [14, 14], color=QUIET, linewidth=1.3)  # what the heads hand on
    ax.text(0.5, 27, LETTERS, va="center", fontsize=8.5, color=QUIET, linespacing=1.4)
    for x, y, text in LABELS:
        ax.text(x, y, text, ha="center", va="center", fontsize=8.5, color=INK)
    return fig


def _box(ax: Axes, x: float, y: float, name: str, lit: bool) -> FancyBboxPatch:
    width, height = BOX
    color = dict(facecolor=LIT if lit else PLAIN, edgecolor=LIT if lit else QUIET)
    corner = (x - width / 2, y - height / 2)
    box = FancyBboxPatch(corner, width, height, "round,pad=0,rounding_size=1.4", **color)
    look = dict(color="white", weight="bold") if lit else dict(color=INK)
    ax.text(x, y, name, ha="center", va="center", fontsize=10, linespacing=1.05, **look)
    return ax.add_patch(box)
