"""Appendix D, which is made of the other chapters, tells of them as they are today."""

from __future__ import annotations

import pytest

from minim2f.book import table
from minim2f.book.cells import tags
from minim2f.book.chapter import Chapter, chapters

(PAGE,) = (chapter for chapter in chapters() if chapter.number == "D")
FOLDED = [cell for cell in PAGE.code if "hide-input" in tags(cell)]


@pytest.fixture
def told_today(monkeypatch, capsys) -> tuple[list[str], str]:
    """The page's tables and questions as its cells make them now, and what they print."""
    shown = []
    for place in ("IPython.display.display", "minim2f.book.tables.display"):
        monkeypatch.setattr(place, lambda markdown: shown.append(markdown.data))
    names = {"table": table}
    for cell in FOLDED:
        exec(cell.source, names)
    return shown, capsys.readouterr().out


def told_by(page: Chapter) -> tuple[list[str], str]:
    outputs = [output for cell in FOLDED for output in cell.outputs]
    shown = [o.data["text/markdown"] for o in outputs if "data" in o]
    return shown, "".join(o.text for o in outputs if o.get("name") == "stdout")


def test_the_stored_page_is_up_to_date(told_today) -> None:
    assert told_by(PAGE) == told_today, "a chapter changed: minim2f book build D"


def test_every_written_chapter_has_a_demo_and_two_questions(told_today) -> None:
    demos, *questions = told_today[0][3:]
    for chapter in chapters():
        if chapter.is_page or not chapter.notebook.exists():
            continue
        link = f"({chapter.notebook.name})"
        assert link in demos, f"appendix D's demos lack chapter {chapter.number}"
        (own,) = (text for text in questions if text.startswith("**[") and link in text)
        assert own.count("<details>") >= 2
