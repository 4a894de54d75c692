"""Web pages of built chapters. nbconvert's own template loses the alt text of the figures."""

from __future__ import annotations

from pathlib import Path

from nbconvert import HTMLExporter

from minim2f import files
from minim2f.book.chapter import Chapter
from minim2f.book.links import moved
from minim2f.book.new import TEMPLATE


def write_html(chapters: list[Chapter], out: Path) -> None:
    """Writes chapters as web pages into a folder; what is folded is open there."""
    exporter = HTMLExporter(extra_template_basedirs=[str(TEMPLATE)], template_name="alt_text")
    for chapter in chapters:
        notebook = moved(chapter.built, chapter.notebook.parent, out, along=set())
        page, _ = exporter.from_notebook_node(
            notebook, {"metadata": {"name": chapter.notebook.stem}}
        )
        files.write(out / f"{chapter.notebook.stem}.html", page)
