"""Web pages of built chapters, which need no network.

nbconvert's own template loses the alt text of figures, and fetches a script to draw formulas.
"""

from __future__ import annotations

from pathlib import Path

from nbconvert import HTMLExporter

from minim2f import files
from minim2f.book.chapter import Chapter
from minim2f.book.formulas import markdown_to_html
from minim2f.book.links import moved
from minim2f.book.new import TEMPLATE


def write_html(chapters: list[Chapter], out: Path) -> None:
    """Writes chapters as web pages into a folder; what is folded is open there."""
    pages = exporter(HTMLExporter, "alt_text")
    for chapter in chapters:
        notebook = moved(chapter.built, chapter.notebook.parent, out, along=set())
        page, _ = pages.from_notebook_node(notebook, {"metadata": {"name": chapter.notebook.stem}})
        files.write(out / f"{chapter.notebook.stem}.html", page)


def exporter(kind: type[HTMLExporter], template: str, **options: object) -> HTMLExporter:
    """One of nbconvert's exporters with a template of ours, and with formulas that are drawn."""
    folder = [str(TEMPLATE)]  # the first finds the template, the second what it includes
    made = kind(
        extra_template_basedirs=folder,
        extra_template_paths=folder,
        template_name=template,
        **options,
    )
    made.register_filter("markdown2html", markdown_to_html)
    return made
