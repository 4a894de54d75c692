"""Builds the notebooks, one way: percent script → notebook → executed → nothing volatile left.

    python -m minim2f.book.build              all chapters
    python -m minim2f.book.build 07 09        these two
    python -m minim2f.book.build --student OUT    built notebooks without the folded solutions
    python -m minim2f.book.build --lecture OUT    only the cells tagged "demo", with their headings
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import sys
import time
from collections import Counter
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellControlSignal, DeadKernelError
from nbformat import NotebookNode

from minim2f.book import editions
from minim2f.book.audit import audit
from minim2f.book.chapter import NOTEBOOKS, ROOT, Chapter, chapters

CELL_SECONDS = 180
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def build(chapter: Chapter) -> int:
    """Writes a chapter's notebook from its script.

    Returns:
        The seconds it ran, rounded up to fives so that rebuilding rarely changes the file.

    Raises:
        CellControlSignal: a cell failed or took too long; the notebook stays as it was.
        DeadKernelError: the process that runs the cells died; here too.
    """
    notebook = jupytext.read(chapter.script)
    for cell, name in zip(notebook.cells, _ids(notebook.cells)):
        cell.id = name
    start = time.monotonic()
    _execute(notebook, chapter.script.parent)
    seconds = 5 * math.ceil((time.monotonic() - start) / 5)
    notebook.metadata = NotebookNode(
        kernelspec=KERNEL, language_info={"name": "python"}, minim2f={"seconds": seconds}
    )
    write(notebook, chapter.notebook)
    return seconds


def _ids(cells: list[NotebookNode]) -> list[str]:
    """An id a cell, made from its text: inserting a cell leaves the others' ids alone."""
    seen: Counter[str] = Counter()
    ids = []
    for cell in cells:
        text = f"{cell.cell_type}\n{cell.source}"
        seen[text] += 1
        ids.append(hashlib.sha256(f"{text}\n{seen[text]}".encode()).hexdigest()[:8])
    return ids


def _execute(notebook: NotebookNode, folder: Path) -> None:
    client = NotebookClient(
        notebook,
        kernel_name=KERNEL["name"],
        timeout=CELL_SECONDS,
        record_timing=False,
        coalesce_streams=True,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    client.execute(env=os.environ | {"PYTHONPATH": search})


def write(notebook: NotebookNode, path: Path) -> None:
    """Writes a notebook as stable JSON, whole or not at all."""
    nbformat.validate(notebook)
    text = nbformat.writes(notebook).rstrip("\n") + "\n"
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8", newline="\n")
    os.replace(temporary, path)


def main(arguments: list[str] | None = None) -> int:
    """The command line; the exit status is 1 when a chapter could not be built."""
    parser = argparse.ArgumentParser("python -m minim2f.book.build", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("numbers", nargs="*", metavar="NN", help="chapters, all by default")
    parser.add_argument("--student", type=Path, metavar="OUT", help="write them without solutions")
    parser.add_argument("--lecture", type=Path, metavar="OUT", help="write their demo cells only")
    parser.add_argument("--folder", type=Path, default=NOTEBOOKS, help="where the chapters are")
    options = parser.parse_args(arguments)
    wanted = chapters(options.folder, options.numbers)
    for out, edition in ((options.student, editions.student), (options.lecture, editions.lecture)):
        if out:
            out.mkdir(parents=True, exist_ok=True)
            for chapter in wanted:
                write(edition(chapter.built), out / chapter.notebook.name)
    if options.student or options.lecture:
        return 0
    return max([_build_and_tell(chapter) for chapter in wanted], default=0)


def _build_and_tell(chapter: Chapter) -> int:
    try:
        seconds = build(chapter)
    except (CellControlSignal, DeadKernelError) as error:
        print(f"{chapter.script.name}: not built\n{error}", file=sys.stderr)
        return 1
    complaints = audit(chapter)
    print(f"{chapter.notebook.name}: {seconds} s", *complaints, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
