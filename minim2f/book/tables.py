"""Tables that are made, not typed: of anything, of a model's tensors, of the library's places."""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from IPython.display import Markdown, display
from torch import Tensor, nn

import minim2f


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
    """Shows where each thing that the chapter built lives in the library: linked file, lines.

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
        file = Path(inspect.getsourcefile(found))
        lines, first = inspect.getsourcelines(found)
        link = f"[{file.relative_to(root).as_posix()}]({_from_here(file)}#L{first})"
        rows.append([f"`{mine}`", f"`{name}`", link, f"{first}–{first + len(lines) - 1}"])
    table(["here", "in the library", "file", "lines"], rows)


def _from_here(file: Path) -> str:
    """A file's path as a link from the notebook, in whose folder a chapter runs."""
    try:
        return Path(os.path.relpath(file)).as_posix()
    except ValueError:  # Windows: on another drive
        return file.as_uri()
