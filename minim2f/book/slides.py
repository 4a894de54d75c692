"""Decks of slides of built chapters: a file each, which opens from disk without a network."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from nbconvert import SlidesExporter

from minim2f import files
from minim2f.book.chapter import Chapter
from minim2f.book.deck import deck
from minim2f.book.html import exporter
from minim2f.book.links import moved

REVEAL = "sphinx_revealjs/_static/revealjs/dist"  # the package that brings reveal.js as files


def write_slides(chapters: list[Chapter], out: Path) -> None:
    """Writes chapters as slides into a folder, with the outputs of their last build.

    Appendices that are pages to look things up in are left out.

    Raises:
        ModuleNotFoundError: the extra `slides` is not installed.
        ValueError: all of `chapters` are such pages.
    """
    taught = [chapter for chapter in chapters if not chapter.is_page]
    if not taught:
        pages = ", ".join(chapter.script.name for chapter in chapters)
        raise ValueError(f"{pages}: a page to look things up in, of which there are no slides")
    reveal = {name: _reveal(f"reveal.{name}") for name in ("css", "js")}
    options = {"exclude_input_prompt": True, "exclude_output_prompt": True}
    decks = exporter(SlidesExporter, "slides", **options)
    for chapter in taught:
        notebook = moved(deck(chapter.built), chapter.notebook.parent, out, along=set())
        resources = {"metadata": {"name": chapter.notebook.stem}, "reveal_files": reveal}
        page, _ = decks.from_notebook_node(notebook, resources)
        files.write(out / f"{chapter.notebook.stem}.html", page)


def _reveal(name: str) -> str:
    """A file of reveal.js; it goes into each deck, so that a deck is one file."""
    try:
        package = distribution("sphinx-revealjs")
    except PackageNotFoundError as error:
        raise ModuleNotFoundError(
            "slides need reveal.js, which sphinx-revealjs brings: "
            "python -m pip install sphinx-revealjs, or the extra of minim2f, [slides]"
        ) from error
    return Path(package.locate_file(f"{REVEAL}/{name}")).read_text("utf-8")
