"""Relative links in a notebook: which lead nowhere, and how they read from another folder."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator
from pathlib import Path

from nbformat import NotebookNode

LINK = re.compile(r"\]\(([^)\s#]+)(#[^)\s]*)?\)")  # of Markdown: the target, a place in it
OUTPUT = "text/markdown"


def relative_links(notebook: NotebookNode) -> Iterator[tuple[str, str]]:
    """The links to files, in text and in outputs: ("../minim2f/shapes.py", "#L10")."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    texts += [data[OUTPUT] for data in _outputs(notebook)]
    for target, place in (link for text in texts for link in LINK.findall(text)):
        if not re.match(r"[a-z]+:", target):
            yield target, place


def dead_links(notebook: NotebookNode, folder: Path) -> list[str]:
    """The relative links of a notebook in `folder` that lead to no file, or behind its end."""
    dead = []
    for target, place in relative_links(notebook):
        file = folder / target
        if not file.exists():
            dead.append(f"{target} leads nowhere")
        elif line := re.fullmatch(r"#L(\d+)", place):
            if int(line[1]) > len(file.read_text("utf-8").splitlines()):
                dead.append(f"{target}{place} is behind the end of the file")
    return dead


def moved(notebook: NotebookNode, old: Path, new: Path, along: set[str]) -> NotebookNode:
    """A notebook as it must read in another folder for its links to lead to the same files.

    Args:
        old: the folder that its links count from now.
        new: the folder that it will lie in.
        along: names of files that move with it; links to them stay as they are.
    """

    def rewritten(link: re.Match) -> str:
        target, place = link[1], link[2] or ""
        if target in along or not (old / target).exists():
            return link[0]
        path = os.path.relpath((old / target).resolve(), new.resolve())
        return f"]({Path(path).as_posix()}{place})"

    notebook = copy.deepcopy(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(rewritten, cell.source)
    for data in _outputs(notebook):
        data[OUTPUT] = LINK.sub(rewritten, data[OUTPUT])
    return notebook


def _outputs(notebook: NotebookNode) -> Iterator[NotebookNode]:
    """The data of each output that is Markdown."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if OUTPUT in output.get("data", {}):
                yield output.data
