"""One chapter as data: the pair of files, its cells, its parts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from minim2f.book import exercises
from minim2f.book.assemble import assemble
from minim2f.book.cells import FENCE

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"


@dataclass(frozen=True)
class Chapter:
    """A chapter by the path of its percent script; the notebook lies beside it."""

    script: Path

    @property
    def notebook(self) -> Path:
        """The path of the notebook."""
        return self.script.with_suffix(".ipynb")

    @property
    def number(self) -> str:
        """As on the card: "9" for 09_matching.py, "E" for the appendix E_how_fast_and_why.py."""
        return on_card(self.script.name.partition("_")[0])

    @cached_property
    def source(self) -> NotebookNode:
        """The notebook that the script describes, without outputs."""
        return assemble(self.script)

    @cached_property
    def built(self) -> NotebookNode:
        """The notebook with its outputs."""
        return nbformat.read(self.notebook, as_version=4)

    @property
    def is_page(self) -> bool:
        """Whether it is an appendix without exercises: to be looked up, not worked through."""
        return self.number.isalpha() and self.number not in exercises.chapters()

    @property
    def seconds(self) -> int | None:
        """How long the last build ran it."""
        return self.built.metadata.get("minim2f", {}).get("seconds")

    @property
    def code(self) -> list[NotebookNode]:
        """The code cells."""
        return [cell for cell in self.built.cells if cell.cell_type == "code"]

    @property
    def text(self) -> str:
        """All Markdown of the chapter."""
        return "\n\n".join(c.source for c in self.built.cells if c.cell_type == "markdown")

    @property
    def headings(self) -> list[str]:
        """The second-level headings, which are the parts."""
        return headings(self.text)

    def part(self, heading: str) -> list[NotebookNode]:
        """The cells from one second-level heading, which opens its cell, to the next."""
        inside, cells = False, []
        for cell in self.built.cells:
            if cell.cell_type == "markdown" and cell.source.startswith("## "):
                inside = cell.source.splitlines()[0] == f"## {heading}"
            if inside:
                cells.append(cell)
        return cells

    def part_text(self, heading: str) -> str:
        """The Markdown of one part."""
        return "\n\n".join(c.source for c in self.part(heading) if c.cell_type == "markdown")


def chapters(folder: Path = NOTEBOOKS, numbers: list[str] | None = None) -> list[Chapter]:
    """The chapters of a folder, in order; the appendices, which have letters, come last.

    Raises:
        FileNotFoundError: a number that no chapter has.
    """
    paths = [*folder.glob("[0-9][0-9]_*.py"), *folder.glob("[A-Z]_*.py")]
    found = [Chapter(path) for path in sorted(paths)]
    if not numbers:
        return found
    wanted = {on_card(number) for number in numbers}
    missing = wanted - {chapter.number for chapter in found}
    if missing:
        there = ", ".join(chapter.script.name for chapter in found) or "none"
        named = ", ".join(sorted(missing))
        raise FileNotFoundError(f"no chapter [{named}] in {folder}; there are {there}")
    return [chapter for chapter in found if chapter.number in wanted]


def on_card(number: str) -> str:
    """A chapter's number as its card has it: "4" for "04", "E" for "e"."""
    return number.lstrip("0").upper() or "0"


def in_name(number: str) -> str:
    """A chapter's number as its files have it: "04" for "4", "E" for "e"."""
    return on_card(number).zfill(2) if number.isdigit() else number.upper()


def headings(text: str) -> list[str]:
    """The second-level headings of some Markdown."""
    return re.findall(r"^## (.+?)\s*$", FENCE.sub("", text), re.MULTILINE)
