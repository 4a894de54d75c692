"""Other editions of a built chapter: for students without the solutions, for lecturers the demo."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from minim2f.book.build import write
from minim2f.book.cells import FENCE, tags
from minim2f.book.chapter import Chapter
from minim2f.book.links import moved

HEADING = re.compile(r"^(#{1,3}) .+$", re.MULTILINE)


def student(notebook: NotebookNode) -> NotebookNode:
    """The notebook without the cells tagged "solution"."""
    edition = copy.deepcopy(notebook)
    edition.cells = [cell for cell in edition.cells if "solution" not in tags(cell)]
    return edition


def lecture(notebook: NotebookNode) -> NotebookNode:
    """The setup cell and the cells tagged "demo", each under the headings that it stood under."""
    edition = copy.deepcopy(notebook)
    cells: list[NotebookNode] = []
    pending: dict[int, NotebookNode] = {}  # headings met since the last kept cell, by level
    for cell in edition.cells:
        own = HEADING.finditer(FENCE.sub("", cell.source)) if cell.cell_type == "markdown" else ()
        own = {len(heading[1]): heading[0] for heading in own}
        if {"setup", "demo"} & tags(cell):
            cells += [pending[level] for level in sorted(pending) if level < min(own, default=9)]
            cells.append(cell)
            pending = {}
            continue
        for level, heading in own.items():
            pending = {k: v for k, v in pending.items() if k < level}
            pending[level] = new_markdown_cell(heading, id=f"{cell.id}-{level}")
    edition.cells = cells
    return edition


def write_edition(
    chapters: list[Chapter], edition: Callable[[NotebookNode], NotebookNode], out: Path
) -> None:
    """Writes one edition of some chapters into a folder, where all their links still work."""
    along = {chapter.notebook.name for chapter in chapters}
    for chapter in chapters:
        notebook = moved(edition(chapter.built), chapter.notebook.parent, out, along)
        write(notebook, out / chapter.notebook.name)
