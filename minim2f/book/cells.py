"""What can be read off a cell: its tags, the names in its code, the words of its prose."""

from __future__ import annotations

import ast
import re
import symtable

from nbformat import NotebookNode

FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
FOLD = re.compile(r"<details>.*?</details>", re.DOTALL)
CODE_OR_FORMULA = re.compile(r"\$\$.*?\$\$|\$[^$\n]+\$|`[^`\n]*`", re.DOTALL)
ADDRESS = re.compile(r"\]\([^)\s]+\)")
HTML = re.compile(r"<[^>]+>")


def tags(cell: NotebookNode) -> set[str]:
    """The tags of a cell: "setup", "demo", "hide-input", "solution"."""
    return set(cell.metadata.get("tags", []))


def parse(cell: NotebookNode) -> ast.Module:
    """The syntax tree of a code cell, an empty one for Markdown.

    Raises:
        SyntaxError: the cell is not plain Python; notebook magic such as %time is not.
    """
    return ast.parse(cell.source if cell.cell_type == "code" else "")


def calls(cell: NotebookNode) -> list[ast.Call]:
    """The calls of plain functions in a code cell: `show(fig)`, and not `plots.figure()`."""
    found = (node for node in ast.walk(parse(cell)) if isinstance(node, ast.Call))
    return [call for call in found if isinstance(call.func, ast.Name)]


def defined(cell: NotebookNode) -> set[str]:
    """The names that a code cell leaves behind: variables, functions, imports."""
    top, *_ = _scopes(cell)
    return {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported()}


def used(cell: NotebookNode) -> set[str]:
    """The names that a code cell takes from elsewhere: earlier cells, or Python itself."""
    top, *inner = _scopes(cell)
    names = {s.get_name() for s in top.get_symbols() if s.is_referenced()}
    names |= {s.get_name() for scope in inner for s in scope.get_symbols() if s.is_global()}
    return names - defined(cell)


def _scopes(cell: NotebookNode) -> list[symtable.SymbolTable]:
    """The scope of a cell's own code, then those of its functions and comprehensions."""
    source = cell.source if cell.cell_type == "code" else ""
    scopes = [symtable.symtable(source, "cell", "exec")]
    for scope in scopes:
        scopes += scope.get_children()
    return scopes


def words(text: str) -> int:
    """How many words of some Markdown are read as prose: no code, formulas, folds, addresses."""
    for pattern in (FOLD, FENCE, CODE_OR_FORMULA, HTML, ADDRESS):
        text = pattern.sub(" ", text)
    return len(re.findall(r"[^\W\d_][\w'’-]*", text))
