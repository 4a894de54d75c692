"""The rules that keep a chapter honest, gathered.

    python -m minim2f.book.audit 07       what chapter 7 still lacks; without a number, all chapters
"""

from __future__ import annotations

import sys

from minim2f.book.chapter import Chapter, chapters
from minim2f.book.rules_form import card, equation, exercises, goals, parts, solutions, voice
from minim2f.book.rules_run import budgets, demo, figures, hygiene, pairing

RULES = [pairing, hygiene, figures, budgets, demo]
RULES += [card, parts, goals, equation, exercises, solutions, voice]


def audit(chapter: Chapter) -> list[str]:
    """All complaints about a chapter, each with the rule that makes it; empty for a good one."""
    if not chapter.notebook.exists():
        return [f"pairing: no {chapter.notebook.name}; build it: python -m minim2f.book.build"]
    return [f"{rule.__name__}: {complaint}" for rule in RULES for complaint in rule(chapter)]


def main(numbers: list[str]) -> int:
    """Prints what the chapters still lack; the exit status is 1 when that is anything."""
    complaints = {chapter.script.name: audit(chapter) for chapter in chapters(numbers=numbers)}
    for name, found in complaints.items():
        print(name, *found or ["nothing to complain about"], sep="\n  ")
    return int(any(complaints.values()))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
