"""The book and the library's reference as a web site, which needs no network and no server."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from nbformat import NotebookNode

from minim2f import files
from minim2f.book.build import write
from minim2f.book.chapter import ROOT, chapters
from minim2f.book.editions import student
from minim2f.book.links import LINK, OUTPUT
from minim2f.book.new import TEMPLATE
from minim2f.book.play import write_play

CONFIG = TEMPLATE / "site"  # what Sphinx is told, and the pages that only the site has


def write_site(out: Path, solutions: bool = True) -> None:
    """Writes all chapters as they were built, README, the library's reference, the page to play.

    Args:
        out: the folder; index.html is the front page.
        solutions: whether the exercises have theirs.

    Raises:
        ModuleNotFoundError: the extra `site` is not installed.
        ValueError: a page has a fault, such as a link that leads nowhere; it was printed.
    """
    with TemporaryDirectory() as folder:
        lay_pages(Path(folder), solutions)
        build_pages(Path(folder), out)
    write_play(out / "play.html")


def lay_pages(pages: Path, solutions: bool = True) -> None:
    """Writes what Sphinx makes the site of: each page where it lies in the repository."""
    for chapter in chapters():
        notebook = chapter.built if solutions else student(chapter.built)
        _lay_notebook(notebook, chapter.notebook, pages)
    contents = (CONFIG / "contents.md").read_text("utf-8")
    _lay_text(ROOT / "README.md", pages, Path("index.md"), contents)
    for path in [ROOT / "CONTRIBUTING.md", *(ROOT / "data" / "bench").glob("*.md")]:
        _lay_text(path, pages, path.relative_to(ROOT))
    shutil.copy(CONFIG / "reference.rst", pages)


def build_pages(pages: Path, out: Path) -> None:
    """Makes the site of the pages that were laid.

    Raises:
        ModuleNotFoundError: the extra `site` is not installed.
        ValueError: a page has a fault; it was printed.
    """
    try:
        import furo  # noqa: F401
        import myst_nb  # noqa: F401
        from sphinx.cmd.build import build_main
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"the site needs {error.name}: python -m pip install sphinx myst-nb furo, "
            "or the extra of minim2f, [site]"
        ) from error
    with TemporaryDirectory() as doctrees:
        options = ["-W", "--keep-going", "-q", "-c", str(CONFIG), "-d", doctrees]
        if build_main([*options, str(pages), str(out)]):
            raise ValueError("the site has faults, which are printed above")


def _lay_notebook(notebook: NotebookNode, path: Path, pages: Path) -> None:
    """Writes a notebook as Sphinx reads it: links lead to pages, figures have alt texts."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = _linked(cell.source, path.parent, pages)
        for output in cell.get("outputs", []):
            if OUTPUT in output.get("data", {}):
                output.data[OUTPUT] = _linked(output.data[OUTPUT], path.parent, pages)
            if alt := output.get("metadata", {}).get("image/png", {}).get("alt"):
                cell.metadata["mystnb"] = {"image": {"alt": alt}}
    write(notebook, pages / path.relative_to(ROOT))


def _lay_text(path: Path, pages: Path, name: Path, more: str = "") -> None:
    text = _linked(path.read_text("utf-8"), path.parent, pages)
    files.write(pages / name, f"{text}\n{more}")


def _linked(text: str, folder: Path, pages: Path) -> str:
    """Some Markdown of a folder, as it must read on a page.

    Links to the library lead to its source's pages; other files that are linked come along.
    """

    def rewritten(link: re.Match) -> str:
        file = (folder / link[1]).resolve()
        if not file.is_file() or not file.is_relative_to(ROOT):
            return link[0]
        path = file.relative_to(ROOT)
        if path.suffix == ".py" and path.parts[0] == "minim2f":
            module = path.parent if path.stem == "__init__" else path.with_suffix("")
            source = os.path.relpath(ROOT / "_modules" / module, folder)
            return f"](site:{Path(source).as_posix()}.html{link[2] or ''})"
        if path.suffix not in (".ipynb", ".md"):  # these are pages
            (pages / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, pages / path)
        return link[0]

    return LINK.sub(rewritten, text)
