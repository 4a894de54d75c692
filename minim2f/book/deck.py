"""Which cells of a built chapter are shown as slides, and how they are dealt out."""

from __future__ import annotations

import base64
import copy
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell
from PIL import Image

from minim2f.book.cells import FENCE, FOLD, tags

LINES = 15  # of text that fit on a slide beneath its heading
FEW = 4  # lines that are not worth a slide: what follows joins them, drawn a little smaller
CHARACTERS = 88  # of text in a line
FIGURE = (1200, 490, 38)  # pixels: the widest figure, the highest, and a line of text
PROSE = ("You will be able to", "Predict", "Recap")  # parts that are shown although all is prose
HEADING = re.compile(r"(#{1,3}) (.+)")
ANSWER = re.compile(r"<summary>.*?</summary>(.*?)</details>", re.DOTALL)
BLOCK = re.compile(rf"(?s:{FENCE.pattern})|(?:^.*\S.*\n?)+", re.MULTILINE)


@dataclass
class Piece:
    """What stays together on a slide."""

    part: str  # the second-level heading that it stands under
    title: str  # the third-level heading, "" without one
    cell: NotebookNode
    lines: float  # of text that would be as high
    slide_type: str | None = None  # nbconvert's word for its place, None: where the rule puts it
    lead: bool = False  # shown only because its part begins with it


def deck(notebook: NotebookNode) -> NotebookNode:
    """The slides of a built chapter: a notebook whose cells say where a slide begins.

    The rule, which needs no tags but those that a chapter has anyway:

    - The card becomes the title slide: title and promise.
    - Of a part (`##`) are shown: cells tagged `demo`, text, code and all; and of the others, in
      their order, the part's first paragraph or list, formulas, tables, figures with captions.
    - A part of which that would be its first paragraph alone is for reading, and left out; but
      those in PROSE are shown whole. The answer of a prediction comes at a key press.
    - Of the exercises only the titles are shown. Setup, solutions, hints, and the code of cells
      tagged `hide-input` never are.
    - A slide ends with its part, with its subheading (`###`), or when it is full. What is too
      high all the same, the page draws smaller.

    A chapter overrules this for one cell with nbconvert's own metadata `slideshow.slide_type`:
    "skip" and "notes" leave the cell out; "slide", "subslide", "fragment" and "-" show it whole,
    on a new slide, on one beneath, at a key press, or with what is before it. In a script that is
    `# %% slideshow={"slide_type": "skip"}`. Solutions stay out even so.
    """
    card, *cells = copy.deepcopy(notebook).cells
    title, *rest = _blocks(card.source)
    pieces = [piece for part in _parts(cells) for piece in _shown(part, title.lstrip("# "))]
    slides = copy.copy(notebook)
    slides.cells = [_placed(new_markdown_cell("\n\n".join([title, *rest[:1]])), "slide")]
    slides.cells += _dealt(pieces)
    return slides


def _parts(cells: list[NotebookNode]) -> Iterator[list[NotebookNode]]:
    """The cells of each part, which a second-level heading opens; solutions are gone."""
    part: list[NotebookNode] = []
    for cell in cells:
        if cell.source.startswith("## ") and cell.cell_type == "markdown" and part:
            yield part
            part = []
        if not {"setup", "solution"} & tags(cell):
            part.append(cell)
    yield part


def _shown(cells: list[NotebookNode], chapter: str) -> list[Piece]:
    """The pieces of one part, none if it is for reading."""
    heading = HEADING.match(cells[0].source) if cells else None
    part = heading[2] if heading and heading[1] == "##" else chapter
    if part == "Exercises":
        return _exercises(cells)
    pieces, title, first = [], "", True
    for cell in cells:
        kind = _own_type(cell)
        if kind in ("skip", "notes"):
            continue
        if kind or cell.cell_type == "code":
            kept = [cell] if kind else _code_and_outputs(cell)
            pieces += [Piece(part, title, _folded(c), _height_of_cell(c), kind) for c in kept]
            continue
        whole = part in PROSE or "demo" in tags(cell)
        for block in _blocks(cell.source):
            if found := HEADING.match(block):
                title = found[2] if found[1] == "###" else ""
                continue
            shown = whole or block.startswith(("$$", "|"))
            if shown or first:
                pieces.append(_text(part, title, block, lead=not shown))
            first = first and block.endswith(":")  # what a colon announces comes along
        if part == "Predict":
            pieces += [_answer(part, text) for text in ANSWER.findall(cell.source)]
    return [] if all(piece.lead for piece in pieces) else pieces


def _exercises(cells: list[NotebookNode]) -> list[Piece]:
    """The titles of the exercises, as a list."""
    titles = re.findall(r"^### (.+)$", "\n".join(cell.source for cell in cells), re.MULTILINE)
    return [_text("Exercises", "", "\n".join(f"- {title}" for title in titles))] if titles else []


def _answer(part: str, text: str) -> Piece:
    piece = _text(part, "", f"**Answer.** {text.strip()}")
    piece.slide_type = "fragment"
    return piece


def _text(part: str, title: str, block: str, lead: bool = False) -> Piece:
    return Piece(part, title, new_markdown_cell(block), _height(block), lead=lead)


def _code_and_outputs(cell: NotebookNode) -> list[NotebookNode]:
    """A code cell cut up: its code and what it printed, each figure with its caption, each table.

    Code and print are shown of cells tagged "demo", figures and tables of all.
    """
    demo, cut = "demo" in tags(cell), []
    if demo and "hide-input" not in tags(cell):
        cut.append(new_code_cell(cell.source))
    caption_of = None
    for output in cell.outputs:
        data = output.get("data", {})
        if caption_of and data.get("text/markdown", "").startswith("*"):
            caption_of.outputs.append(output)
        elif demo and not data and cut:
            cut[-1].outputs.append(output)
        elif demo or data:
            cut.append(new_code_cell(outputs=[output], metadata={"tags": ["hide-input"]}))
        caption_of = cut[-1] if "image/png" in data else None
    return cut


def _folded(cell: NotebookNode) -> NotebookNode:
    """A cell that shows no code if it is tagged so; nbconvert asks for this key."""
    if "hide-input" in tags(cell):
        cell.metadata["transient"] = {"remove_source": True}
    return cell


def _dealt(pieces: list[Piece]) -> Iterator[NotebookNode]:
    """The cells of all slides after the first, each slide beneath its heading."""
    before, full = None, 0.0
    for piece, after in zip(pieces, [*pieces[1:], None]):
        announces = after and piece.cell.source.endswith(":")  # stays with what it announces
        needed = piece.lines + (after.lines if announces else 0.0)
        kind = piece.slide_type or _place(piece, before, full, needed)
        if kind in ("slide", "subslide"):
            if not piece.cell.source.startswith("#"):
                yield _placed(new_markdown_cell(_heading(piece)), kind)
                kind = "-"
            full = 0.0
        yield _placed(piece.cell, kind)
        before, full = piece, full + piece.lines


def _place(piece: Piece, before: Piece | None, full: float, needed: float) -> str:
    """Where the rule puts a piece: on a new part's first slide, on one beneath, on the same."""
    if before is None or piece.part != before.part:
        return "slide"
    too_much = full > FEW and full + needed > LINES
    return "subslide" if too_much or piece.title != before.title else "-"


def _heading(piece: Piece) -> str:
    return f"## <small>{piece.part}</small> {piece.title}" if piece.title else f"## {piece.part}"


def _placed(cell: NotebookNode, kind: str) -> NotebookNode:
    cell.metadata["slideshow"] = {"slide_type": kind}
    return cell


def _own_type(cell: NotebookNode) -> str | None:
    """The place that the chapter itself gives a cell."""
    return cell.metadata.get("slideshow", {}).get("slide_type")


def _blocks(text: str) -> list[str]:
    """The paragraphs, lists, tables, formulas and fenced code of some Markdown, without folds."""
    return [block[0].strip() for block in BLOCK.finditer(FOLD.sub("", text))]


def _height_of_cell(cell: NotebookNode) -> float:
    """How many lines of text a cell would be as high as, roughly."""
    if cell.cell_type == "markdown":
        return _height(cell.source)
    shown = "" if "hide-input" in tags(cell) else cell.source
    return _height_of_code(shown) + sum(_height_of_output(output) for output in cell.outputs)


def _height_of_output(output: NotebookNode) -> float:
    data = output.get("data", {})
    if "image/png" in data:
        width, height = Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size
        widest, highest, line = FIGURE
        return min(widest * height / width, highest) / line + 0.5
    return _height(data["text/markdown"]) if data else _height_of_code(output.text)


def _height_of_code(code: str) -> float:
    return 0.7 * len(code.splitlines()) + 0.6 if code else 0.0


def _height(markdown: str) -> float:
    """Of text, formulas and tables; tables and code are set smaller."""
    if markdown.startswith("```"):
        return _height_of_code(markdown)
    if markdown.startswith("$$"):
        return 2.5 * markdown.count("$$") / 2
    lines = sum(math.ceil(len(line) / CHARACTERS) for line in _unwrapped(markdown).splitlines())
    return 0.9 * lines + 0.4 if markdown.startswith("|") else lines + 0.6


def _unwrapped(markdown: str) -> str:
    """Each paragraph, item and row on one line."""
    return re.sub(r"\n\s*(?![-*|\d\s])", " ", markdown)
