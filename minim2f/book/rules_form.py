"""Rules about what a chapter says: its card, its parts, its goals, its exercises, its voice."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from minim2f.book import anatomy
from minim2f.book.chapter import LINK, ROOT, Chapter, calls, prose, same_code
from minim2f.book.editions import tags
from minim2f.book.exercises import chapters as with_exercises
from minim2f.book.exercises import of_chapter

CARD = re.compile(
    r"# (?P<number>\d+|[A-Z]) · \S.*\n\n\S.*\n\n"
    r"\*read \d+ min · run (?P<seconds>\d+) s CPU · exercises \d+ min\*\n\n"
    r"\*\*Needs\*\* .+ · \*\*Library\*\* (?P<library>.+) · \*\*Paper\*\* .+"
)
EMOJI = re.compile(r"[\U0001F000-\U0001FAFF\u2600-\u2604\u2607-\u26FF\u2705\u274C]")


def card(chapter: Chapter) -> Iterator[str]:
    """The card has its form; number, files and run time are true."""
    found = CARD.match(chapter.built.cells[0].source)
    if not found:
        yield f"the first cell is no card; its form is {anatomy.CARD!r}"
        return
    if found["number"] != chapter.number:
        yield f"the card says chapter {found['number']}, the file {chapter.number}"
    files = re.findall(r"`(minim2f/[^`]*)`", found["library"])
    if not files or not all((ROOT / file).exists() for file in files):
        yield f"library files on the card, as `minim2f/...`: {files}; each is to be there"
    promised, took = int(found["seconds"]), chapter.seconds
    slack = anatomy.RUN_SLACK
    if took is None:
        yield "no run time was recorded; build the chapter"
    elif took > anatomy.SECONDS or not promised / slack <= took <= promised * slack:
        yield f"ran {took} s, the card says {promised} s, the limit is {anatomy.SECONDS} s"


def parts(chapter: Chapter) -> Iterator[str]:
    """The headings in their order, the setup cell, and in each part the calls that make it one."""
    if chapter.headings != anatomy.PARTS:
        missing = [part for part in anatomy.PARTS if part not in chapter.headings]
        extra = [heading for heading in chapter.headings if heading not in anatomy.PARTS]
        yield f"parts are missing {missing}, unknown {extra}, or not in their order"
    first = chapter.code[0]
    if first.source != anatomy.SETUP or tags(first) != {"setup"}:
        yield 'the first code cell is not anatomy.SETUP, tagged "setup"'
    for part, wanted in anatomy.CALLS.items():
        if not wanted & set(calls(chapter.part(part))):
            yield f'"{part}" calls none of {", ".join(sorted(wanted))}'
    if "<details>" not in chapter.part_text("Predict"):
        yield '"Predict" has no folded answer (<details>)'
    if not re.search(r"^\| ?-{3}", chapter.part_text("Paper, official code, ours"), re.MULTILINE):
        yield '"Paper, official code, ours" has no table'


def goals(chapter: Chapter) -> Iterator[str]:
    """Every goal names the part or exercise that proves it, and has its line in the recap."""
    text = chapter.part_text("You will be able to")
    bullets = re.findall(r"^[-*] (.+(?:\n  .+)*)", text, re.MULTILINE)
    if not anatomy.GOALS[0] <= len(bullets) <= anatomy.GOALS[1]:
        yield f"{len(bullets)} goals, {anatomy.GOALS[0]} to {anatomy.GOALS[1]} are wanted"
    proofs = set(anatomy.PARTS) | set(re.findall(r"^### (\w+\.\d+)", chapter.text, re.MULTILINE))
    for bullet in bullets:
        proof = re.search(r"\(([^()]+)\)\.?$", bullet)
        if not proof or proof[1] not in proofs:
            yield f"goal {bullet!r} does not end with the (part or exercise) that proves it"
    recap = re.findall(r"^(?:[-*]|\d+\.) ", chapter.part_text("Recap"), re.MULTILINE)
    if len(recap) != len(bullets):
        yield f"{len(recap)} lines of recap for {len(bullets)} goals"


def equation(chapter: Chapter) -> Iterator[str]:
    """Every code name in the table of letters occurs in the code."""
    code = "\n".join(cell.source for cell in chapter.code)
    rows = re.findall(r"^\|(.+)\|$", chapter.part_text("The equation"), re.MULTILINE)
    if len(rows) < 3:
        yield "the equation has no table letter | code | shape | meaning"
    for row in rows[2:]:
        for name in re.findall(r"`([^`]+)`", re.split(r"(?<!\\)\|", row)[1]):
            if not re.search(rf"(?<!\w){re.escape(name)}(?!\w)", code):
                yield f"the table of letters names `{name}`, which is not in the code"


def exercises(chapter: Chapter) -> Iterator[str]:
    """Each exercise: stars, a stub and its check, two hints, a solution in a cell of its own."""
    part = chapter.part("Exercises")
    text = "\n\n".join(cell.source for cell in part)
    for exercise in re.split(r"^(?=### )", text, flags=re.MULTILINE)[1:]:
        title = re.match(r"### (\w+\.\d+) ★{1,3} \S", exercise)
        if not title:
            yield f"{exercise.splitlines()[0]!r} should read ### {chapter.number}.1 ★★ Title"
            continue
        folds = re.findall(r"<summary>(.+?)</summary>", exercise)
        if folds != ["Hint 1", "Hint 2", "Solution"]:
            yield f"{title[1]} has the folds {folds}, wanted are Hint 1, Hint 2, Solution"
        if f'check("{title[1]}", ' not in exercise:
            yield f'{title[1]} has no check("{title[1]}", your_function)'
    for cell in part:
        if ("<summary>Solution</summary>" in cell.source) != ("solution" in tags(cell)):
            yield 'a solution is in a cell of its own, and that cell is tagged "solution"'
        if "check" in calls([cell]):
            printed = "".join(output.get("text", "") for output in cell.outputs)
            if not printed.startswith("○"):
                yield f"a stub is not untouched: {printed.strip()!r}"


def solutions(chapter: Chapter) -> Iterator[str]:
    """The folded solutions are the very code that `check` compares answers with."""
    there = of_chapter(chapter.number) if chapter.number in with_exercises() else []
    folded = chapter.solutions
    if list(folded) != [exercise.id for exercise in there]:
        ids = [exercise.id for exercise in there]
        yield f"solutions are folded for {list(folded)}, book/exercises has {ids}"
    for exercise in there:
        code = folded.get(exercise.id)
        if code and not same_code(code, inspect.getsource(exercise.reference)):
            yield f"{exercise.id}: the folded solution is not the code of the reference"


def voice(chapter: Chapter) -> Iterator[str]:
    """Short sentences that do not shout; links that lead somewhere."""
    text = prose(chapter.text)
    for found in re.findall(r"\S*\w!", text) + EMOJI.findall(text):
        yield f"exclamation mark or emoji: {found}"
    for link in LINK.findall(chapter.text):
        target = link.partition("#")[0]
        if target and "://" not in link and not (chapter.script.parent / target).exists():
            yield f"the link {link} leads nowhere"
    away = [x for x in LINK.findall(chapter.part_text("Further reading")) if "://" in x]
    if len(away) > anatomy.LINKS:
        yield f"{len(away)} links for further reading, at most {anatomy.LINKS}"
