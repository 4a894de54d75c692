"""What a chapter shows: figures that carry alt text, and tables that are made, not typed."""

from __future__ import annotations

import inspect
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import matplotlib.pyplot as plt
from IPython.display import Markdown, display
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

import minim2f

FIGURE_BYTES = 100_000  # with 300 kB for a whole chapter, no figure may take more
ALT_CHARACTERS = 20


def figure(fig: Figure, alt: str, caption: str | None = None) -> None:
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
    picture.save(small, format="png", optimize=True)
    return small.getvalue()


def table(header: Sequence[Any], rows: Iterable[Sequence[Any]]) -> None:
    """Shows a Markdown table: a header, and rows of as many cells (anything with a `str`)."""
    header = list(header)
    lines = [header, ["---"] * len(header)]
    for row in rows:
        if len(row) != len(header):
            raise ValueError(f"a row of {len(row)} cells under a header of {len(header)}: {row}")
        lines.append(list(row))
    text = "\n".join("| " + " | ".join(_cell(x) for x in line) + " |" for line in lines)
    display(Markdown(text))


def _cell(x: Any) -> str:
    return str(x).replace("|", "\\|").replace("\n", " ")


def shape_table(
    model_or_rows: nn.Module | Iterable,
    images: Tensor | None = None,
    names: Sequence[str] | None = None,
    meanings: Mapping[str, str] | None = None,
) -> None:
    """Shows the named tensors of one run: shape in symbols, shape for these images, meaning.

    Args:
        model_or_rows: a model, which is run on `images`; or rows that `minim2f.walkthrough` or
            `minim2f.shapes.watch` recorded.
        images: (B, 3, H, W), wanted with a model only.
        names: the tensors to show, in this order; by default those of `meanings`, else all.
        meanings: what one number of a tensor means, by tensor name.

    Raises:
        ValueError: a model without images.
        KeyError: a name that was not recorded; the message lists those that were.
    """
    if isinstance(model_or_rows, nn.Module):
        if images is None:
            raise ValueError("a model needs images to run on: shape_table(model, images)")
        model_or_rows = minim2f.walkthrough(model_or_rows, images)
    rows = {row.name: row for row in model_or_rows}
    names = list(names or meanings or rows)
    missing = [name for name in names if name not in rows]
    if missing:
        raise KeyError(f"{', '.join(missing)} was not recorded; there are {', '.join(rows)}")
    header = ["tensor", "shape", "here"] + ["one number of it means"] * bool(meanings)
    lines = []
    for name in names:
        row = rows[name]
        symbols = f"({', '.join(row.symbols.split())})"
        meaning = [meanings.get(name, "")] if meanings else []
        lines.append([f"`{name}`", f"`{symbols}`", tuple(row.shape), *meaning])
    table(header, lines)


def library_table(symbols: Mapping[str, str]) -> None:
    """Shows where each thing that the chapter built lives in the library, with its lines.

    Args:
        symbols: the chapter's names and the library's functions or classes,
            {"fast_cost": "minim2f.training.matching.cost"}.

    Raises:
        AttributeError, ImportError: a symbol that the library does not have.
    """
    root = Path(minim2f.__file__).parent.parent
    rows = []
    for mine, name in symbols.items():
        found = inspect.unwrap(resolve_name(name))
        file = Path(inspect.getsourcefile(found)).relative_to(root)
        lines, first = inspect.getsourcelines(found)
        span = f"{first}–{first + len(lines) - 1}"
        rows.append([f"`{mine}`", f"`{name}`", f"`{file.as_posix()}`", span])
    table(["here", "in the library", "file", "lines"], rows)
