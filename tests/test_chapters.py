"""Every chapter keeps every rule. (That its cells run is tested by `pytest --nbmake notebooks`.)"""

from __future__ import annotations

import pytest

from minim2f.book.audit import RULES
from minim2f.book.chapter import Chapter, chapters

CHAPTERS = [pytest.param(chapter, id=chapter.script.stem) for chapter in chapters()]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter(chapter: Chapter, rule) -> None:
    assert chapter.notebook.exists(), f"build it: python -m minim2f.book.build {chapter.number}"
    assert list(rule(chapter)) == []
