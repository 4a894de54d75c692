"""Lays a new chapter: its script, its exercises and its row in the README, from the template."""

from __future__ import annotations

import re
from pathlib import Path

from minim2f import files
from minim2f.book.chapter import ROOT, in_name, on_card

TEMPLATE = Path(__file__).parent / "template"
ROW = re.compile(r"^\| (?P<number>\d\d|[A-Z])\S* \| (?P<title>.+?) \|.*\|$", re.MULTILINE)


def new(number: str, title: str | None = None, root: Path = ROOT) -> list[Path]:
    """Lays a chapter that can be built, with one exercise in it, to be replaced piece by piece.

    Args:
        number: "04", or a letter for an appendix.
        title: by default that of the README's list of chapters.
        root: the folder of the project.

    Returns:
        The files to open: script, exercises, README.

    Raises:
        ValueError: a number that is none, no title anywhere, or a chapter that is there already.
    """
    if not re.fullmatch(r"\d\d?|[A-Za-z]", number):
        raise ValueError(f"{number!r} is no chapter: give a number such as 04, or a letter")
    number, readme = in_name(number), root / "README.md"
    text = readme.read_text("utf-8")
    rows = {row["number"]: row for row in ROW.finditer(text)}
    title = title or (rows[number]["title"] if number in rows else "")
    if not title:
        raise ValueError(f"README.md has no title for chapter {number}: give one with --title")
    name = f"{number}_" + re.sub(r"\W+", "_", title.partition(":")[0].lower()).strip("_")
    script = root / "notebooks" / f"{name}.py"
    exercises = root / "minim2f" / "book" / "exercises" / f"ch{number}.py"
    there = [*script.parent.glob(f"{number}_*"), *exercises.parent.glob(exercises.name)]
    if there:
        raise ValueError(f"chapter {number} is there already: {there[0]}")
    marks = {"@number@": on_card(number), "@title@": title, "@name@": name}
    files.write(script, _filled("chapter.py.txt", marks))
    files.write(exercises, _filled("exercises.py.txt", marks))
    files.write(readme, _with_row(text, rows, number, title, name))
    return [script, exercises, readme]


def _filled(template: str, marks: dict[str, str]) -> str:
    text = (TEMPLATE / template).read_text("utf-8")
    for mark, value in marks.items():
        text = text.replace(mark, value)
    return text


def _with_row(text: str, rows: dict[str, re.Match], number: str, title: str, name: str) -> str:
    """The README with the chapter's row: in place of the planned one, or where it belongs."""
    row = f"| {number} | [{title}](notebooks/{name}.ipynb) | written |"
    if number in rows:
        return text[: rows[number].start()] + row + text[rows[number].end() :]
    before = [known for known in rows if known < number]
    end = rows[max(before)].end() if before else min(r.start() for r in rows.values()) - 1
    return f"{text[:end]}\n{row}{text[end:]}"
