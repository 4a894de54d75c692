"""From a chapter's script to its notebook: the drawing folded, the solutions put in.

A solution stands once, in `exercises/chNN.py`. Here it becomes a folded cell, after the hints.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
from collections import Counter
from pathlib import Path

import jupytext
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from minim2f.book.cells import calls, tags
from minim2f.book.exercises import Exercise, find

FOLDED_SOLUTION = "<details><summary>Solution</summary>\n\n```python\n{}```\n\n</details>"


def assemble(script: Path) -> NotebookNode:
    """The notebook that a script describes, complete but for outputs.

    Raises:
        KeyError: the script calls `exercise` with an id that there is not.
    """
    notebook = jupytext.read(script)
    notebook.cells = _with_solutions(notebook.cells)
    for cell, name in zip(notebook.cells, _ids(notebook.cells)):
        cell.id = name
        if "hide-input" in tags(cell):
            cell.metadata["jupyter"] = {"source_hidden": True}
    return notebook


def asked_in(cell: NotebookNode) -> list[str]:
    """The ids of the exercises that a cell tries: "9.2" for `exercise("9.2", my_dice)`."""
    return [call.args[0].value for call in calls(cell) if call.func.id == "exercise"]


def solution(asked: Exercise) -> str:
    """The solution of an exercise as code that runs by itself: what it imports, the function."""
    source = inspect.getsource(asked.reference)
    names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    module = sys.modules[asked.reference.__module__]
    lines, own = [], []
    for node in ast.parse(inspect.getsource(module)).body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            node.names = [alias for alias in node.names if (alias.asname or alias.name) in names]
            lines += [ast.unparse(node)] if node.names else []
        elif isinstance(node, ast.FunctionDef) and node.name in names:
            own += [node.name]
    if own:
        lines.append(f"from {module.__name__} import {', '.join(own)}")
    return "\n".join([*lines, "", "", source]).lstrip("\n")


def _with_solutions(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Each exercise's solution after its hints; one that is there already is replaced."""
    done: list[NotebookNode] = []
    waiting: list[str] = []
    for cell in [*(cell for cell in cells if "solution" not in tags(cell)), None]:
        if waiting and not (cell and cell.source.startswith("<details>")):
            done += [_solution_cell(exercise_id) for exercise_id in waiting]
            waiting = []
        if cell:
            done.append(cell)
            waiting += asked_in(cell)
    return done


def _solution_cell(exercise_id: str) -> NotebookNode:
    text = FOLDED_SOLUTION.format(solution(find(exercise_id)))
    return new_markdown_cell(text, metadata={"tags": ["solution"]})


def _ids(cells: list[NotebookNode]) -> list[str]:
    """An id a cell, made from its text: inserting a cell leaves the others' ids alone."""
    seen: Counter[str] = Counter()
    ids = []
    for cell in cells:
        text = f"{cell.cell_type}\n{cell.source}"
        seen[text] += 1
        ids.append(hashlib.sha256(f"{text}\n{seen[text]}".encode()).hexdigest()[:8])
    return ids
