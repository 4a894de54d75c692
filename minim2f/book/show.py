"""`show(fig, alt, caption)`: a figure that those who cannot see it can read."""

from __future__ import annotations

import io

import matplotlib.pyplot as plt
import numpy as np
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from PIL import Image

FIGURE_BYTES = 100_000  # with 300 kB for a whole chapter, no figure may take more
ALT_CHARACTERS = 20
NEARLY_WHITE = 248  # so light is paper where few colours are left, and paper is to be white


def show(fig: Figure, alt: str, caption: str | None = None) -> None:
    """Shows a figure, keeps its alt text in the notebook, and closes it.

    Args:
        fig: the matplotlib figure.
        alt: what the picture shows, for readers who cannot see it: at least 20 characters.
        caption: what to look at, and what would look wrong; set beneath in italics.

    Raises:
        ValueError: no real alt text, or a PNG of more than 100 kB.
    """
    if len(alt.strip()) < ALT_CHARACTERS:
        raise ValueError(
            f"alt text {alt!r} says too little: describe in a sentence what the figure shows"
        )
    for ax in fig.axes:
        if ax.images and not len(ax.get_xticks()) and not ax.spines["top"].get_visible():
            ax.spines[:].set_visible(False)  # half a frame around a picture
    png = to_png(fig)
    plt.close(fig)
    if len(png) > FIGURE_BYTES:
        raise ValueError(
            f"the figure takes {len(png) // 1000} kB, 100 kB is the limit: "
            "show fewer panels, or make figsize smaller"
        )
    # text/plain is what terminals and text-only readers get: the alt text serves them as well
    display({"image/png": png, "text/plain": alt}, metadata={"image/png": {"alt": alt}}, raw=True)
    if caption:
        display(Markdown(f"*{caption}*"))


def to_png(fig: Figure) -> bytes:
    """The figure as a PNG of 256 colours, less than half the size of the full one."""
    full, small = io.BytesIO(), io.BytesIO()
    fig.savefig(full, format="png", bbox_inches="tight", facecolor="white")
    picture = Image.open(full).convert("RGB")
    palette = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=3)
    picture = picture.quantize(palette=palette, dither=Image.Dither.NONE)
    colors = np.array(picture.getpalette())
    picture.putpalette(np.where(colors >= NEARLY_WHITE, 255, colors).tolist())
    picture.save(small, format="png", optimize=True)
    return small.getvalue()
