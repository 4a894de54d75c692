"""Every chapter keeps every rule. (That its cells run is tested by `pytest --nbmake notebooks`.)"""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest

from minim2f.book.audit import RULES
from minim2f.book.chapter import ROOT, Chapter, chapters
from minim2f.book.editions import lecture, student, write_edition
from minim2f.book.links import dead_links, relative_links

CHAPTERS = [pytest.param(chapter, id=chapter.script.stem) for chapter in chapters()]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter(chapter: Chapter, rule) -> None:
    assert chapter.notebook.exists(), f"build it: minim2f book build {chapter.number}"
    assert list(rule(chapter)) == []


@pytest.mark.parametrize("edition", [student, lecture])
def test_links_lead_somewhere_in_every_edition(edition, tmp_path: Path) -> None:
    there = [chapter for chapter in chapters() if chapter.notebook.exists()]
    out = tmp_path / "deep" / "below"
    write_edition(there, edition, out)
    for chapter in there:
        notebook = nbformat.read(out / chapter.notebook.name, as_version=4)
        assert dead_links(notebook, out) == []
        own = {t for t, _ in relative_links(notebook) if (out / t).resolve().is_relative_to(ROOT)}
        before = {t for t, _ in relative_links(edition(chapter.built))}
        siblings = {t for t in before if (out / t).exists()}
        assert len(own) == len(before - siblings)
