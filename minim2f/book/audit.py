"""The rules that protect readers; and advice, which an author may have reasons against."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from minim2f.book.cells import tags, words
from minim2f.book.chapter import Chapter
from minim2f.book.rules_form import card, equation, exercises, goals, parts
from minim2f.book.rules_run import (
    demo,
    figures,
    folded,
    hygiene,
    links,
    pairing,
    sizes,
)

RULES = [pairing, hygiene, figures, sizes, folded, demo, links]
RULES += [card, parts, goals, equation, exercises]

WORDS = (900, 1800)  # of prose: no code, no formulas, nothing folded
MEDIAN_LINES = 8


def audit(chapter: Chapter) -> list[str]:
    """All complaints about a chapter, each with the rule that makes it; empty for a good one."""
    if not chapter.notebook.exists():
        return [f"pairing: no {chapter.notebook.name}; minim2f book build {chapter.number}"]
    return [f"{rule.__name__}: {complaint}" for rule in RULES for complaint in rule(chapter)]


def advice(chapter: Chapter) -> Iterator[str]:
    """What makes a chapter long to read; a page is not read from end to end."""
    if chapter.is_page:
        return
    if not WORDS[0] <= (count := words(chapter.text)) <= WORDS[1]:
        yield f"advice: {count} words of prose; {WORDS[0]} to {WORDS[1]} read well"
    shown = [cell for cell in chapter.code if "hide-input" not in tags(cell)]
    lines = statistics.median(sum(map(bool, cell.source.split("\n"))) for cell in shown)
    if lines > MEDIAN_LINES:
        yield f"advice: half of the code cells have {lines} lines or more; {MEDIAN_LINES} read well"
