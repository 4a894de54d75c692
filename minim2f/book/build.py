"""Builds a notebook, one way: script → cells and solutions → executed → nothing volatile left."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from minim2f import files
from minim2f.book.assemble import assemble
from minim2f.book.chapter import ROOT, Chapter

CELL_SECONDS = 180
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def build(chapter: Chapter) -> int:
    """Writes a chapter's notebook from its script.

    Returns:
        The seconds it ran, rounded up to fives so that rebuilding rarely changes the file.

    Raises:
        CellControlSignal: a cell failed or took too long; the notebook stays as it was.
        DeadKernelError: the process that runs the cells died; here too.
        KeyError: the script tries an exercise that there is not.
    """
    notebook = assemble(chapter.script)
    start = time.monotonic()
    _execute(notebook, chapter.script.parent)
    seconds = 5 * math.ceil((time.monotonic() - start) / 5)
    notebook.metadata = NotebookNode(
        kernelspec=KERNEL, language_info={"name": "python"}, minim2f={"seconds": seconds}
    )
    write(notebook, chapter.notebook)
    return seconds


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
    files.write(path, nbformat.writes(notebook).rstrip("\n") + "\n")
