"""Rules about what a chapter says: its card, its parts, its goals, its letters, its exercises."""

from __future__ import annotations

import re
from collections.abc import Iterator

from minim2f.book import anatomy
from minim2f.book.assemble import asked_in
from minim2f.book.cells import defined, tags
from minim2f.book.chapter import ROOT, Chapter
from minim2f.book.exercises import chapters as with_exercises
from minim2f.book.exercises import of_chapter

CARD = re.compile(
    r"# (?P<number>\d+|[A-Z]) · \S.*\n\n\S.*\n\n"
    r"\*read \d+ min · run (?P<seconds>\d+) s CPU · exercises \d+ min\*\n\n"
    r"\*\*Needs\*\* .+ · \*\*Library\*\* (?P<library>.+) · \*\*Paper\*\* .+"
)
PAGE = re.compile(
    r"# (?P<number>[A-Z]) · \S.*\n\n\S.*\n\n"
    r"\*read \d+ min · run (?P<seconds>\d+) s CPU\*\n\n"
    r"(?:.+ · )?\*\*Library\*\* (?P<library>.+)"
)
SECONDS = 60
RUN_SLACK = 2  # how much longer or shorter a chapter may run than its card says


def card(chapter: Chapter) -> Iterator[str]:
    """The card has its form; number, files and run time are true."""
    found = (PAGE if chapter.is_page else CARD).match(chapter.built.cells[0].source)
    if not found:
        yield f"the first cell is no card; its form is {anatomy.CARD!r}"
        return
    if found["number"] != chapter.number:
        yield f"the card says chapter {found['number']}, the file {chapter.number}"
    files = re.findall(r"`(minim2f/[^`]*)`", found["library"])
    if not files or not all((ROOT / file).exists() for file in files):
        yield f"library files on the card, as `minim2f/...`: {files}; each is to be there"
    promised, took = int(found["seconds"]), chapter.seconds
    if took is None:
        yield "no run time was recorded; build the chapter"
    elif took > SECONDS or not promised / RUN_SLACK <= took <= promised * RUN_SLACK:
        yield f"ran {took} s, the card says {promised} s, the limit is {SECONDS} s"


def parts(chapter: Chapter) -> Iterator[str]:
    """The parts come in their order, and the first code is the setup that all chapters share."""
    if chapter.is_page:
        return
    if chapter.headings != anatomy.PARTS:
        missing = [part for part in anatomy.PARTS if part not in chapter.headings]
        extra = [heading for heading in chapter.headings if heading not in anatomy.PARTS]
        yield f"parts are missing {missing}, unknown {extra}, or not in their order"
    first = chapter.code[0]
    if first.source != anatomy.SETUP or tags(first) != {"setup"}:
        yield 'the first code cell is not that of the template, tagged "setup"'


def goals(chapter: Chapter) -> Iterator[str]:
    """Every goal names the part or exercise in which the reader proves it."""
    text = chapter.part_text("You will be able to")
    proofs = set(anatomy.PARTS) | {id_ for cell in chapter.code for id_ in asked_in(cell)}
    for goal in re.findall(r"^[-*] (.+(?:\n  .+)*)", text, re.MULTILINE):
        proof = re.search(r"\(([^()]+)\)\.?$", goal)
        if not proof or proof[1] not in proofs:
            yield f"goal {goal!r} does not end with the (part or exercise) that proves it"


def equation(chapter: Chapter) -> Iterator[str]:
    """Every code name in the table of letters occurs in the code."""
    code = "\n".join(cell.source for cell in chapter.code)
    rows = re.findall(r"^\|(.+)\|$", chapter.part_text("The equation"), re.MULTILINE)
    for row in rows[2:]:
        for name in re.findall(r"`([^`]+)`", re.split(r"(?<!\\)\|", row)[1]):
            if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", code):
                yield f"the table of letters names `{name}`, which is not in the code"


def exercises(chapter: Chapter) -> Iterator[str]:
    """All exercises are asked, each with two hints, a solution, and a stub that is untouched."""
    there = of_chapter(chapter.number) if chapter.number in with_exercises() else []
    asked = [id_ for cell in chapter.part("Exercises") for id_ in asked_in(cell)]
    if asked != (ids := [exercise.id for exercise in there]):
        yield f"the chapter tries the exercises {asked}, book/exercises has {ids}"
    text = "\n\n".join(cell.source for cell in chapter.part("Exercises"))
    for section in re.split(r"^(?=### )", text, flags=re.MULTILINE)[1:]:
        title = section.splitlines()[0]
        if not re.match(r"### \w+\.\d+ ★{1,3} \S", title):
            yield f"{title!r} should read ### {chapter.number}.1 ★★ Title"
        folds = re.findall(r"<summary>(.+?)</summary>", section)
        if folds != ["Hint 1", "Hint 2", "Solution"]:
            yield f"{title!r} has the folds {folds}, wanted are Hint 1, Hint 2, Solution"
    names = {exercise.id: exercise.reference.__name__ for exercise in there}
    for cell in chapter.part("Exercises"):
        for id_ in asked_in(cell):
            if names.get(id_) not in defined(cell):
                yield f"the stub of {id_} is not called {names.get(id_)}, like its solution"
            printed = "".join(output.get("text", "") for output in cell.outputs)
            if not printed.startswith("○"):
                yield f"a stub is not untouched: {printed.strip()!r}"
