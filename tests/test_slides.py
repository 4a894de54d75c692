"""Slides and web pages: what the deck holds, that nothing is fetched, that nothing is cut off."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError
from importlib.util import find_spec
from pathlib import Path

import pytest
from browser import needs_browser, probed
from bs4 import BeautifulSoup
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from minim2f.book import slides
from minim2f.book.cells import tags
from minim2f.book.chapter import Chapter, chapters
from minim2f.book.deck import deck
from minim2f.book.formulas import markdown_to_html, mathml
from minim2f.cli import main

MISSING = [name for name in ("latex2mathml", "sphinx_revealjs") if not find_spec(name)]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}")

# Shows each slide in turn; leaves what went wrong, and what was fetched, in the page.
PROBE = """
const wrong = [];
addEventListener("error", (event) => wrong.push(event.message || "an error"), true);
addEventListener("DOMContentLoaded", () => Reveal.on("ready", () => {
  const all = Reveal.getSlides();
  for (const slide of all) {
    const { h, v } = Reveal.getIndices(slide);
    Reveal.slide(h, v);
    const box = slide.getBoundingClientRect(), name = slide.innerText.slice(0, 60);
    if (slide.scrollHeight > slide.clientHeight || slide.scrollWidth > slide.clientWidth)
      wrong.push(`${name}: does not fit`);
    for (const e of slide.querySelectorAll("*")) {
      const r = e.getBoundingClientRect();
      const out = r.right > box.right + 1 || r.bottom > box.bottom + 1 || r.left < box.left - 1;
      if (r.width && out) wrong.push(`${name}: ${e.tagName} leaves the slide`);
    }
    for (const e of slide.querySelectorAll("img"))
      if (!e.naturalWidth) wrong.push(`${name}: a figure is not drawn`);
  }
  for (const e of performance.getEntriesByType("resource"))
    if (!e.name.startsWith("data:")) wrong.push(`fetched ${e.name}`);
  report({ slides: all.length, wrong });
}));
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All chapters as slides, and two as web pages, by the commands that users give."""
    out = tmp_path_factory.mktemp("pages")
    assert main(["book", "slides", "-o", str(out / "slides")]) == 0
    assert main(["book", "html", "5", "7", "-o", str(out / "html")]) == 0
    return out


TAUGHT = [chapter for chapter in chapters() if not chapter.is_page]
EACH = pytest.mark.parametrize("chapter", TAUGHT, ids=lambda chapter: chapter.number)


def _soup(folder: Path, chapter: Chapter) -> BeautifulSoup:
    page = folder / "slides" / f"{chapter.script.stem}.html"
    return BeautifulSoup(page.read_text("utf-8"), "html.parser")


def test_a_deck_and_a_page_load_nothing(folder):
    pages = sorted(folder.rglob("*.html"))
    assert len(pages) == len(TAUGHT) + 2
    for path in pages:
        text = path.read_text("utf-8")
        soup = BeautifulSoup(text, "html.parser")
        assert soup.select("link, iframe, object, embed, script[src], [srcset]") == []
        assert all(image["src"].startswith("data:image/png;base64,") for image in soup("img"))
        styles = "\n".join(style.string for style in soup("style"))
        addresses = re.findall(r"url\(\s*['\"]?([^)'\"]+)", styles)
        assert all(address.startswith(("data:", "#")) for address in addresses), path.name
        assert "@import" not in styles


@EACH
def test_every_figure_is_there_with_its_alt_text(folder, chapter):
    figures = []
    for cell in chapter.built.cells:
        if cell.source.startswith("## Exercises"):
            figures.append(None)
        elif cell.cell_type == "markdown" and cell.source.startswith("## ") and None in figures:
            figures.remove(None)
        elif cell.cell_type == "code" and None not in figures:
            shown = [o for o in cell.outputs if "image/png" in o.get("data", {})]
            figures += [
                (o.data["image/png"].strip(), o.metadata["image/png"]["alt"]) for o in shown
            ]
    images = _soup(folder, chapter)("img")
    found = [(image["src"].partition(",")[2].strip(), image["alt"]) for image in images]
    assert found == figures and figures


@EACH
def test_formulas_are_drawn_and_solutions_left_out(folder, chapter):
    soup = _soup(folder, chapter)
    solutions = [cell.source for cell in chapter.built.cells if "solution" in tags(cell)]
    for aside in soup("script") + soup("style"):
        aside.decompose()
    text = soup.get_text()
    for solution in solutions:
        code = re.search(r"```python\n(.*?)```", solution, re.DOTALL)[1]
        assert code.strip() not in text
    assert soup("details") == [] and "Hint 1" not in text
    for code in soup(["pre", "code"]):
        code.decompose()
    text = soup.get_text()
    assert "$" not in text and not re.search(r"\\[a-zA-Z]+", text)


@EACH
@needs_browser
def test_nothing_is_cut_off_in_a_browser(folder, chapter, tmp_path):
    page = folder / "slides" / f"{chapter.script.stem}.html"
    said = probed(page, PROBE, tmp_path, "--virtual-time-budget=20000")
    assert said["wrong"] == []
    assert said["slides"] == len(_soup(folder, chapter).select(".slides > section > section"))


# --- the rule ------------------------------------------------------------------------------------


def _text(source: str, *named: str, slide_type: str | None = None) -> NotebookNode:
    return new_markdown_cell(source, metadata=_metadata(named, slide_type))


def _code(source: str, *named: str, outputs: list[NotebookNode] = (), slide_type=None):
    return new_code_cell(source, outputs=list(outputs), metadata=_metadata(named, slide_type))


def _metadata(named: tuple[str, ...], slide_type: str | None) -> dict:
    place = {"slideshow": {"slide_type": slide_type}} if slide_type else {}
    return {"tags": list(named)} | place


def _printed(text: str) -> NotebookNode:
    return new_output("stream", name="stdout", text=text)


def _table(text: str) -> NotebookNode:
    return new_output("display_data", {"text/markdown": text, "text/plain": text})


CARD = _text("# 9 · Matching\n\nThe promise.\n\n*read 5 min*")


def _slides(*cells: NotebookNode) -> list[list[str]]:
    """The texts on each slide: Markdown, code, and what outputs say."""
    found: list[list[str]] = []
    for cell in deck(new_notebook(cells=[CARD, *cells])).cells:
        if cell.metadata.slideshow.slide_type in ("slide", "subslide"):
            found.append([])
        hidden = cell.metadata.get("transient", {}).get("remove_source", False)
        outputs = [o.get("text") or o.data["text/markdown"] for o in cell.get("outputs", [])]
        found[-1] += [text for text in ["" if hidden else cell.source, *outputs] if text]
    return found


def test_the_title_slide_has_title_and_promise():
    assert _slides() == [["# 9 · Matching\n\nThe promise."]]


def test_demo_cells_are_shown_with_their_code_and_others_are_not():
    title, slide = _slides(
        _text("## Look\n\nFirst.\n\nSecond."),
        _code("import this", "setup"),
        _code("a = 1", outputs=[_printed("not shown")]),
        _code("b = 2", "demo", outputs=[_printed("shown")]),
        _code("c = 3", "hide-input", outputs=[_table("| n |\n| --- |\n| 1 |"), _printed("no")]),
        _text("For reading.\n\n$$x$$\n\n| letter |\n| --- |\n| $x$ |"),
        _text("For showing.", "demo"),
    )
    assert slide == [
        "## Look",
        "First.",
        "b = 2",
        "shown",
        "| n |\n| --- |\n| 1 |",
        "$$x$$",
        "| letter |\n| --- |\n| $x$ |",
        "For showing.",
    ]


def test_a_part_of_prose_is_for_reading_but_recap_is_shown_whole():
    _, recap = _slides(
        _text("## Slow and obvious\n\nLoops.\n\nMore."), _text("## Recap\n\n- a\n\nAnd b.")
    )
    assert recap == ["## Recap", "- a", "And b."]


def test_the_answer_of_a_prediction_waits_for_a_key():
    fold = "<details><summary>Answer</summary>\n\nTwo.\n\n</details>"
    cells = deck(new_notebook(cells=[CARD, _text(f"## Predict\n\nHow many?\n\n{fold}")])).cells
    assert [(cell.source, cell.metadata.slideshow.slide_type) for cell in cells[1:]] == [
        ("## Predict", "slide"),
        ("How many?", "-"),
        ("**Answer.** Two.", "fragment"),
    ]


def test_of_exercises_only_the_titles_are_shown():
    _, exercises = _slides(
        _text("## Exercises\n\n### 9.1 ★ Dice\n\nWrite it."),
        _code("exercise('9.1', dice)", "demo", outputs=[_table("| not this |")]),
        _text("Hint"),
        _text("### 9.2 ★★ More"),
    )
    assert exercises == ["## Exercises", "- 9.1 ★ Dice\n- 9.2 ★★ More"]


def test_a_full_slide_goes_on_under_the_same_heading():
    long = "\n".join(f"x{i} = {i}" for i in range(14))
    _, *parts = _slides(
        _text("## Look\n\n### Closer\n\nHere:", "demo"), _code(long, "demo"), _code(long, "demo")
    )
    heading = "## <small>Look</small> Closer"
    assert parts == [[heading, "Here:", long], [heading, long]]


def test_a_chapter_overrules_the_rule_cell_by_cell():
    _, *parts = _slides(
        _text("## Look\n\nFirst.", slide_type="skip"),
        _code("remember = 'this'", "demo", slide_type="notes"),
        _code("a = 1", outputs=[_printed("said")], slide_type="slide"),
        _code("b = 2", "hide-input", outputs=[_printed("more")], slide_type="-"),
        _text("## Aside\n\nWhole.\n\nCell.", slide_type="slide"),
        _text("the solution", "solution", slide_type="slide"),
    )
    assert parts == [["## Look", "a = 1", "said", "more"], ["## Aside\n\nWhole.\n\nCell."]]


# --- formulas and what is missing ----------------------------------------------------------------


def test_markdown_gets_its_formulas_drawn_but_not_in_code():
    html = markdown_to_html("Of $x_1$ and `$y$`:\n\n$$\\arg\\max_k p_k$$")
    assert html.count("<math") == 2 and 'display="block"' in html
    assert "<msub><mi>x</mi><mn>1</mn></msub>" in html and "<code>$y$</code>" in html
    assert "arg" in BeautifulSoup(html, "html.parser").get_text().replace(" ", "")


def test_a_command_that_cannot_be_drawn_is_named():
    with pytest.raises(ValueError, match=r"draw \\frobnicate in the formula a \+ \\frobnicate"):
        mathml(r"a + \frobnicate")


def test_pages_to_look_things_up_in_have_no_slides(capsys, tmp_path):
    assert main(["book", "slides", "B", "W", "-o", str(tmp_path / "out")]) == 1
    assert "B_glossary.py, W_the_tensor_walkthrough.py: a page" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_is_not_installed_is_named(monkeypatch, capsys, tmp_path):
    def nowhere(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(slides, "distribution", nowhere)
    assert main(["book", "slides", "7", "-o", str(tmp_path)]) == 1
    assert "pip install sphinx-revealjs" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "latex2mathml.converter", None)
    assert main(["book", "html", "7", "-o", str(tmp_path)]) == 1
    assert "pip install latex2mathml" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
