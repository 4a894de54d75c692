"""Rules about the files and what running left in them: the pair, the outputs, the sizes."""

from __future__ import annotations

import ast
import base64
import builtins
import re
from collections.abc import Iterator

from nbformat import NotebookNode

from minim2f import book
from minim2f.book import editions
from minim2f.book.cells import calls, defined, parse, tags, used
from minim2f.book.chapter import Chapter
from minim2f.book.links import dead_links
from minim2f.book.show import ALT_CHARACTERS, FIGURE_BYTES

CODE_LINES = 25
NOTEBOOK_BYTES = 300_000
VOLATILE = {
    "an absolute path": re.compile(r"(?<![\w.:/<])/\w[\w.-]*/\w|\b[A-Z]:\\\w"),
    "a memory address": re.compile(r"\b0x[0-9a-f]{6,}"),
    "a moment": re.compile(r"\b20\d\d-\d\d-\d\d[ T]\d\d:\d\d"),
}


def pairing(chapter: Chapter) -> Iterator[str]:
    """The notebook holds the script's cells with their solutions, and nothing else."""
    try:
        pair = [[_kept(cell) for cell in nb.cells] for nb in (chapter.source, chapter.built)]
    except KeyError as error:
        yield error.args[0]
        return
    if pair[0] != pair[1]:
        same = [a == b for a, b in zip(*pair)]
        first = same.index(False) if False in same else len(same)
        yield f"script and notebook differ from cell {first} on; build the chapter again"


def _kept(cell: NotebookNode) -> tuple:
    return cell.cell_type, cell.source, sorted(tags(cell)), cell.metadata.get("jupyter", {})


def hygiene(chapter: Chapter) -> Iterator[str]:
    """Run once from top to bottom, no errors, nothing of the machine or the moment in it."""
    if [cell.execution_count for cell in chapter.code] != list(range(1, len(chapter.code) + 1)):
        yield "the code cells were not run in order from a fresh kernel; build the chapter"
    if "widgets" in chapter.built.metadata:
        yield "widget state is stored in the notebook"
    for number, cell in enumerate(chapter.code, 1):
        if {"execution", "ExecuteTime"} & set(cell.metadata):
            yield f"[{number}] stores when it was run; build the chapter again"
        if not cell.outputs and any(map(_shows, parse(cell).body)):
            yield f"[{number}] shows nothing; build the chapter again"
        for output in cell.outputs:
            yield from (f"[{number}] {problem}" for problem in _output_problems(output))


def _shows(statement: ast.stmt) -> bool:
    call = getattr(statement, "value", None)
    return isinstance(call, ast.Call) and getattr(call.func, "id", None) in book.__all__


def _output_problems(output: NotebookNode) -> Iterator[str]:
    if output.output_type == "error":
        yield f"ends in {output.ename}; catch an error that is shown on purpose"
    if output.get("name") == "stderr":
        yield f"writes to stderr: {output.text[:60]!r}"
    data = output.get("data", {})
    if any("widget" in kind for kind in data):
        yield "shows a widget, which stored notebooks cannot"
    text = output.get("text", "") + "".join(v for k, v in data.items() if k.startswith("text/"))
    for what, pattern in VOLATILE.items():
        if found := pattern.search(text):
            yield f"prints {what}: {text[found.start() : found.start() + 40]!r}"


def figures(chapter: Chapter) -> Iterator[str]:
    """Every picture can be read by those who cannot see it, and is small."""
    for number, cell in enumerate(chapter.code, 1):
        for output in cell.outputs:
            for kind, data in output.get("data", {}).items():
                if not kind.startswith("image/"):
                    continue
                if len(output.metadata.get(kind, {}).get("alt", "")) < ALT_CHARACTERS:
                    yield f"[{number}] shows a picture without alt text; use show(fig, alt)"
                if kind != "image/png" or len(base64.b64decode(data)) > FIGURE_BYTES:
                    yield f"[{number}] shows a picture that is no PNG of at most 100 kB"


def sizes(chapter: Chapter) -> Iterator[str]:
    """A chapter loads quickly, and no code that is to be read is longer than a look."""
    size = chapter.notebook.stat().st_size
    if size >= NOTEBOOK_BYTES:
        yield f"{size} bytes with outputs, less than {NOTEBOOK_BYTES} are wanted"
    for number, cell in enumerate(chapter.code, 1):
        lines = sum(bool(line.strip()) for line in cell.source.splitlines())
        if lines > CODE_LINES and "hide-input" not in tags(cell):
            yield f"[{number}] has {lines} lines, at most {CODE_LINES}"


def folded(chapter: Chapter) -> Iterator[str]:
    """What is folded can be skipped: no code that is to be read, or written, needs it."""
    skipped: dict[str, bool] = {}  # each name so far: whether its latest value is from a fold
    for number, cell in enumerate(chapter.code, 1):
        fold = "hide-input" in tags(cell)
        needs = {name for name in used(cell) if skipped.get(name)}
        if needs and not fold:
            yield f"[{number}] needs {sorted(needs)} from a cell tagged hide-input"
        if fold and any(call.func.id == "exercise" for call in calls(cell)):
            yield f"[{number}] asks an exercise in a cell tagged hide-input"
        skipped |= dict.fromkeys(defined(cell), fold)


def demo(chapter: Chapter) -> Iterator[str]:
    """The lecture edition runs on its own: it uses no name that a left out cell defines."""
    cells = editions.lecture(chapter.built).cells
    known = set(dir(builtins)).union(*map(defined, cells))
    if unknown := set().union(*map(used, cells)) - known:
        yield f'cells tagged "demo" need {sorted(unknown)}, which no such cell defines'


def links(chapter: Chapter) -> Iterator[str]:
    """Links to other files of the project lead somewhere."""
    yield from dead_links(chapter.built, chapter.notebook.parent)
