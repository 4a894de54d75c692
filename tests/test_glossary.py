"""Appendix B holds every letter and every term of the book, with the chapter that explains it."""

from __future__ import annotations

import re

import pytest

from minim2f.book.chapter import Chapter, chapters

NUMBERED = [chapter for chapter in chapters() if not chapter.is_page]
# Bold for emphasis, or as the name of a row in a list, not because a word is explained.
EMPHASIS = {
    *("an afternoon", "a course", "you know detr", "clas", "the logarithm", "floor", "in turn"),
    *("lever", "row", "adding two vector", "multiplying two matrice", "compute les", "move les"),
    *("on a gpu", "the rate", "what does not", "what transfer", "bonferroni's", "patche", "querie"),
}


def page(number: str) -> Chapter:
    (found,) = (chapter for chapter in chapters() if chapter.number == number)
    return found


def tables(chapter: Chapter) -> list[list[list[str]]]:
    """The tables that a chapter shows: of each, the rows of its cells."""
    shown = []
    for cell in chapter.code:
        for output in cell.outputs:
            text = output.get("data", {}).get("text/markdown", "")
            rows = [row.strip("| ") for row in text.splitlines() if row.startswith("|")]
            if rows:
                shown.append([re.split(r"\s*(?<!\\)\|\s*", row) for row in rows])
    return shown


def rows_under(header: str) -> list[list[str]]:
    return [row for rows in tables(page("B")) if rows[0][0] == header for row in rows[2:]]


def one(term: str) -> str:
    """A term as it is looked up: small letters, singular."""
    return re.sub(r"(?<=[a-z]{3})s$", "", re.sub(r"\s+", " ", term).strip().lower())


def names(text: str) -> set[str]:
    """The letters in a table's first cell, without subscripts: "$x_i$, $A_l$" -> {"x", "A"}."""
    inside = re.findall(r"\$(.+?)\$", text)
    letters = [letter for some in inside for letter in re.split(r",\s*(?![^{]*\})", some)]
    bare = {re.sub(r"_(\{[^}]*\}|\w)|\^\d|\\hat", "", letter).strip() for letter in letters}
    return {letter for letter in bare if re.fullmatch(r"\\?[A-Za-z]'?|\\[a-z]{2,8}", letter)}


def bold(chapter: Chapter) -> set[str]:
    """What a chapter prints bold where it explains a term: three words at most, no sentence."""
    text = re.sub(r"```.*?```", "", chapter.text, flags=re.DOTALL).split("\n## Paper, official")[0]
    text = re.sub(r"^\*\*Needs\*\*.*$", "", text, flags=re.MULTILINE)
    found = re.findall(r"\*\*([^*]+)\*\*", text)
    terms = {one(term) for term in found if not re.search(r"[.:?,]$|\d", term.strip())}
    return {term for term in terms if len(term.split()) <= 3 and not term.startswith("how to")}


@pytest.mark.parametrize("chapter", NUMBERED, ids=lambda chapter: chapter.number)
def test_every_bold_term_is_in_the_glossary(chapter: Chapter) -> None:
    known = {one(part) for row in rows_under("term") for part in row[0].strip("* ").split(", ")}
    assert sorted(bold(chapter) - known - EMPHASIS) == []


@pytest.mark.parametrize("chapter", NUMBERED, ids=lambda chapter: chapter.number)
def test_every_letter_of_an_equation_is_in_the_list(chapter: Chapter) -> None:
    known = set().union(*(names(row[0]) for row in rows_under("letter")))
    rows = re.findall(r"^\|(.+?)\|", chapter.part_text("The equation"), re.MULTILINE)
    used = set().union(*map(names, rows)) if rows else set()
    assert sorted(used - known) == []


def test_no_term_stands_twice_and_none_lacks_its_chinese() -> None:
    rows = rows_under("term")
    terms = [row[0] for row in rows]
    assert len(terms) > 100 and len(set(terms)) == len(terms)
    assert all(re.search(r"[\u4e00-\u9fff]", row[1]) for row in rows)
    assert all("](" in row[3] for row in rows), "each names its chapter, as a link"


def test_a_term_occurs_in_the_chapter_that_is_to_explain_it() -> None:
    texts = {chapter.number: chapter.text.lower() for chapter in chapters()}
    for term, _, _, where in rows_under("term"):
        for number in re.findall(r"\[(\w+)\]", where):
            words = [one(part) for part in term.strip("* ").split(", ")]
            assert all(word in re.sub(r"\s+", " ", texts[number]) for word in words), (term, number)
