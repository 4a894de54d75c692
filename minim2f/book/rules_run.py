"""Rules about the files and what running left in them: the pair, the outputs, the sizes."""

from __future__ import annotations

import ast
import base64
import builtins
import re
import statistics
from collections.abc import Iterator

from nbformat import NotebookNode

from minim2f.book import anatomy, editions
from minim2f.book.chapter import Chapter, calls, parse, words
from minim2f.book.editions import tags
from minim2f.book.show import ALT_CHARACTERS, FIGURE_BYTES

VOLATILE = {
    "an absolute path": re.compile(r"(?<![\w.:/<])/\w[\w.-]*/\w|\b[A-Z]:\\\w"),
    "a memory address": re.compile(r"\b0x[0-9a-f]{6,}"),
    "a moment": re.compile(r"\b20\d\d-\d\d-\d\d[ T]\d\d:\d\d"),
}
SHOWING = {"setup", "strip", "figure", "table", "shape_table", "library_table", "same", "check"}


def pairing(chapter: Chapter) -> Iterator[str]:
    """The notebook holds the script's cells, and nothing else."""
    pairs = [
        [(c.cell_type, c.source, sorted(tags(c))) for c in notebook.cells]
        for notebook in (chapter.source, chapter.built)
    ]
    if pairs[0] != pairs[1]:
        same = [a == b for a, b in zip(*pairs)]
        first = same.index(False) if False in same else len(same)
        yield f"script and notebook differ from cell {first} on; build the chapter again"


def hygiene(chapter: Chapter) -> Iterator[str]:
    """Run once from top to bottom, no errors, nothing of the machine or the moment in it."""
    if [cell.execution_count for cell in chapter.code] != list(range(1, len(chapter.code) + 1)):
        yield "the code cells were not run in order from a fresh kernel; build the chapter"
    if "widgets" in chapter.built.metadata:
        yield "widget state is stored in the notebook"
    for number, cell in enumerate(chapter.code, 1):
        if {"execution", "ExecuteTime"} & set(cell.metadata):
            yield f"[{number}] stores when it was run; build the chapter again"
        if not cell.outputs and any(_shows(statement) for statement in parse(cell).body):
            yield f"[{number}] shows nothing; build the chapter again"
        for output in cell.outputs:
            yield from (f"[{number}] {problem}" for problem in _output_problems(output))


def _shows(statement: ast.stmt) -> bool:
    call = getattr(statement, "value", None)
    return isinstance(call, ast.Call) and getattr(call.func, "id", None) in SHOWING


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
                    yield f"[{number}] shows a picture without alt text; use figure(fig, alt)"
                if kind != "image/png" or len(base64.b64decode(data)) > FIGURE_BYTES:
                    yield f"[{number}] shows a picture that is no PNG of at most 100 kB"


def budgets(chapter: Chapter) -> Iterator[str]:
    """Sizes that keep a chapter readable, and quick to load and run."""
    low, high = anatomy.WORDS
    count = words(chapter.text)
    if not low <= count <= high:
        yield f"{count} words of prose, {low} to {high} are wanted"
    size = chapter.notebook.stat().st_size
    if size >= anatomy.NOTEBOOK_BYTES:
        yield f"{size} bytes with outputs, less than {anatomy.NOTEBOOK_BYTES} are wanted"
    lines = [sum(bool(x.strip()) for x in cell.source.splitlines()) for cell in chapter.code]
    if (longest := max(lines)) > anatomy.CODE_LINES:
        yield f"[{lines.index(longest) + 1}] has {longest} lines, at most {anatomy.CODE_LINES}"
    if (median := statistics.median(lines)) > anatomy.CODE_LINES_MEDIAN:
        yield f"the median code cell has {median} lines, at most {anatomy.CODE_LINES_MEDIAN}"
    made = sum(name in ("same", "check", "assert") for name in calls(chapter.code))
    if made < anatomy.CHECKS:
        yield f"{made} checks (same, check, assert), at least {anatomy.CHECKS} are wanted"


def demo(chapter: Chapter) -> Iterator[str]:
    """The lecture edition runs on its own: it uses no name that a left out cell defines."""
    nodes = [n for c in editions.lecture(chapter.built).cells for n in ast.walk(parse(c))]
    known = set(dir(builtins)) | {n.arg for n in nodes if isinstance(n, ast.arg)}
    known |= {n.id for n in nodes if isinstance(n, ast.Name) and not isinstance(n.ctx, ast.Load)}
    known |= {n.name for n in nodes if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    known |= {(n.asname or n.name).partition(".")[0] for n in nodes if isinstance(n, ast.alias)}
    used = {n.id for n in nodes if isinstance(n, ast.Name)}
    if used - known:
        yield f'cells tagged "demo" need {sorted(used - known)}, which no such cell defines'
