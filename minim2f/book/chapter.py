"""One chapter as data: the pair of files, its cells, its parts, its prose."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).parents[2]
NOTEBOOKS = ROOT / "notebooks"

FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
FOLD = re.compile(r"<details>.*?</details>", re.DOTALL)
CODE_OR_FORMULA = re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$|`[^`\n]*`", re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")
HTML = re.compile(r"<[^>]+>")


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
        return _as_on_card(self.script.name.partition("_")[0])

    @cached_property
    def source(self) -> NotebookNode:
        """The script, read as a notebook without outputs."""
        return jupytext.read(self.script)

    @cached_property
    def built(self) -> NotebookNode:
        """The notebook with its outputs."""
        return nbformat.read(self.notebook, as_version=4)

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
        return re.findall(r"^## (.+?)\s*$", FENCE.sub("", self.text), re.MULTILINE)

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

    @property
    def solutions(self) -> dict[str, str]:
        """The code of the folded solutions, by exercise."""
        found, exercise = {}, ""
        for cell in self.part("Exercises"):
            for title in re.findall(r"^### (\w+\.\d+)", cell.source, re.MULTILINE):
                exercise = title
            if "solution" in cell.metadata.get("tags", []):
                found[exercise] = "\n".join(re.findall(PYTHON, cell.source))
        return found


def chapters(folder: Path = NOTEBOOKS, numbers: list[str] | None = None) -> list[Chapter]:
    """The chapters of a folder, in order; the appendices, which have letters, come last.

    Raises:
        FileNotFoundError: a number that no chapter has.
    """
    paths = [*folder.glob("[0-9][0-9]_*.py"), *folder.glob("[A-Z]_*.py")]
    found = [Chapter(path) for path in sorted(paths)]
    if not numbers:
        return found
    wanted = {_as_on_card(number) for number in numbers}
    missing = wanted - {chapter.number for chapter in found}
    if missing:
        there = ", ".join(chapter.script.name for chapter in found) or "none"
        named = ", ".join(sorted(missing))
        raise FileNotFoundError(f"no chapter [{named}] in {folder}; there are {there}")
    return [chapter for chapter in found if chapter.number in wanted]


def _as_on_card(number: str) -> str:
    return number.lstrip("0").upper() or "0"


def prose(text: str) -> str:
    """What of some Markdown is read as prose: no code, formulas, folds, tags or addresses."""
    for pattern in (FOLD, FENCE, CODE_OR_FORMULA, HTML):
        text = pattern.sub(" ", text)
    return LINK.sub("]", text)


def words(text: str) -> int:
    """The number of words in the prose of some Markdown."""
    return len(re.findall(r"[^\W\d_][\w'’-]*", prose(text)))


def parse(cell: NotebookNode) -> ast.Module:
    """The syntax tree of a code cell, an empty one for Markdown.

    Raises:
        SyntaxError: the cell is not plain Python; notebook magic such as %time is not.
    """
    return ast.parse(cell.source if cell.cell_type == "code" else "")


def calls(cells: list[NotebookNode]) -> list[str]:
    """The plain functions that code cells call, `assert` among them, once for each place."""
    names = []
    for node in (node for cell in cells for node in ast.walk(parse(cell))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            names.append(node.func.id)
        elif isinstance(node, ast.Assert):
            names.append("assert")
    return names


def same_code(one: str, other: str) -> bool:
    """Whether two functions are the same code, but for name, docstring, types, comments, layout."""
    return _skeleton(one) == _skeleton(other)


def _skeleton(source: str) -> str:
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef):
            node.returns = None
            node.body = node.body[ast.get_docstring(node) is not None :]
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            node.name = "function"
    return ast.dump(tree)
