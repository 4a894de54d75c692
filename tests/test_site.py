"""The site: every link leads somewhere, nothing is fetched, nothing of the chapters is lost."""

from __future__ import annotations

import base64
import json
import re
import sys
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from browser import needs_browser, probed
from bs4 import BeautifulSoup

from minim2f.book import site
from minim2f.book.cells import tags
from minim2f.book.chapter import Chapter, chapters
from minim2f.cli import main

MISSING = [name for name in ("furo", "myst_nb", "latex2mathml") if not find_spec(name)]
pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.filterwarnings("ignore:.*deprecated.*"),  # what the extensions ask of Sphinx
]

EACH = pytest.mark.parametrize("chapter", chapters(), ids=lambda chapter: chapter.number)
LOADS = {"script", "img", "source", "iframe", "object", "embed", "video", "audio", "link"}


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, by the command that users give; any warning of Sphinx makes it fail."""
    out = tmp_path_factory.mktemp("site")
    assert main(["book", "site", "-o", str(out)]) == 0
    return out


@dataclass
class Page(HTMLParser):
    """What a page has: places to link to, links and what it loads, pictures."""

    file: Path
    ids: list[str] = field(default_factory=list)
    links: list[tuple[str, str]] = field(default_factory=list)
    images: list[dict] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [
            (tag, found[key]) for key in ("href", "src", "srcset", "data") if key in found
        ]
        self.images += [found] if tag == "img" else []


page = cache(Page)


def _html(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.html"))


def _of(folder: Path, chapter: Chapter) -> Path:
    return folder / "notebooks" / f"{chapter.script.stem}.html"


def _article(folder: Path, chapter: Chapter) -> BeautifulSoup:
    return BeautifulSoup(_of(folder, chapter).read_text("utf-8"), "html.parser").find("article")


# --- the built site ------------------------------------------------------------------------------


def test_every_link_and_anchor_leads_somewhere(folder):
    dead = []
    for path in _html(folder):
        for _, link in page(path).links:
            parts = urlsplit(link)
            if parts.scheme or link.startswith("//") or link == "#":
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.is_file():
                dead.append(f"{path.relative_to(folder)}: {link} leads nowhere")
            elif parts.fragment and unquote(parts.fragment) not in page(target).ids:
                dead.append(f"{path.relative_to(folder)}: {link} has no such place")
    assert dead == []


def test_nothing_is_loaded_from_a_network(folder):
    for path in _html(folder):
        loaded = [link for tag, link in page(path).links if tag in LOADS]
        assert not [link for link in loaded if urlsplit(link).scheme not in ("", "data")], path
        assert not [link for link in loaded if link.startswith("//")], path
    for path in folder.rglob("*.css"):
        text = path.read_text("utf-8")
        assert "@import" not in text, path.name
        for address in re.findall(r"url\(\s*['\"]?([^)'\"]+)", text):
            if not address.startswith(("data:", "#")):
                assert (path.parent / address.partition("?")[0]).is_file(), (path.name, address)


@EACH
def test_every_figure_is_there_with_its_alt_text(folder, chapter):
    outputs = [output for cell in chapter.code for output in cell.outputs]
    stored = [o for o in outputs if "image/png" in o.get("data", {})]
    wanted = [(o.data["image/png"], o.metadata["image/png"]["alt"]) for o in stored]
    wanted = [(base64.b64decode(data), " ".join(alt.split())) for data, alt in wanted]
    images = [image for image in page(_of(folder, chapter)).images]
    files = [(_of(folder, chapter).parent / image["src"]).read_bytes() for image in images]
    alts = [" ".join(image["alt"].split()) for image in images]
    assert list(zip(files, alts)) == wanted
    assert wanted or chapter.is_page


def test_no_picture_is_without_words(folder):
    assert all(i.get("alt", "").strip() for path in _html(folder) for i in page(path).images)


@EACH
def test_what_was_printed_is_shown_as_it_was_stored(folder, chapter):
    shown = _article(folder, chapter).get_text()
    outputs = [output for cell in chapter.code for output in cell.outputs]
    printed = [o.text.strip() for o in outputs if o.output_type == "stream" and o.name == "stdout"]
    assert [text for text in printed if text not in shown] == [] and printed


@EACH
def test_formulas_are_drawn_and_code_that_draws_is_folded(folder, chapter):
    article = _article(folder, chapter)
    hidden = [cell for cell in chapter.code if "hide-input" in tags(cell)]
    assert len(article.select("details.hide")) == len(hidden)
    formulas = sum(cell.source.count("$$") // 2 for cell in chapter.built.cells)
    assert len(article.select('math[display="block"]')) >= min(formulas, 1)
    assert not article.select("summary[aria-label]")  # what is written there is read aloud
    shown = [o.get("data", {}).get("text/markdown", "") for c in chapter.code for o in c.outputs]
    folds = "".join([chapter.text, *shown]).count("<details>")
    assert len(article.select("details:not(.hide)")) == folds
    for fold in article.select("details:not(.hide)"):
        assert fold.find("summary") and len(fold.get_text(strip=True)) > 10
    for code in article(["pre", "code"]):
        code.decompose()
    text = article.get_text()
    assert "$" not in text and not re.search(r"\\[a-zA-Z]+", text)


@EACH
def test_anchors_are_named_after_headings_and_chapters_are_chained(folder, chapter):
    article = _article(folder, chapter)
    names = [section["id"] for section in article("section")]
    assert len(names) == len(set(names)) and not [n for n in names if re.fullmatch(r"id\d+", n)]
    every = chapters()
    place = [one.script.stem for one in every].index(chapter.script.stem)
    soup = BeautifulSoup(_of(folder, chapter).read_text("utf-8"), "html.parser")
    for rel, other in (("prev", place - 1), ("next", place + 1)):
        if 0 <= other < len(every):
            assert soup.find("link", rel=rel)["href"] == f"{every[other].script.stem}.html"
    front = BeautifulSoup((folder / "index.html").read_text("utf-8"), "html.parser")
    address = f"notebooks/{chapter.script.stem}.html"
    assert front.select_one(f'.sidebar-tree a[href="{address}"]')
    assert front.select_one(f'article a[href="{address}"]') or chapter.number == "B"


def test_links_to_the_library_stay_inside_and_lead_to_the_line(folder):
    chapter = next(chapter for chapter in chapters() if chapter.number == "10")
    link = _article(folder, chapter).find("a", href=re.compile("losses.html#L"))
    target, _, line = link["href"].partition("#L")
    source = (_of(folder, chapter).parent / target).resolve()
    assert source == folder / "_modules" / "minim2f" / "training" / "losses.html"
    shown = BeautifulSoup(source.read_text("utf-8"), "html.parser")
    code = shown.find(id=f"L{line}").next_sibling
    library = Path(site.ROOT, "minim2f/training/losses.py").read_text("utf-8").splitlines()
    assert library[int(line) - 1].startswith(("def ", "class ", "@"))
    assert code.get_text() == library[int(line) - 1].split()[0]


def test_the_reference_has_functions_with_their_shapes(folder):
    soup = BeautifulSoup(
        (folder / "reference" / "minim2f.training.points.html").read_text("utf-8"), "html.parser"
    )
    entry = soup.find(id="minim2f.training.points.uncertain").parent
    text = " ".join(entry.get_text().split())
    assert "mask_logits – (pairs, h, w), one mask at a time" in text and "num_points – P." in text
    assert entry.find("a", href=re.compile(r"_modules/minim2f/training/points.html#"))


def test_the_search_finds_a_chapter(folder):
    text = (folder / "searchindex.js").read_text("utf-8")
    index = json.loads(text[text.index("(") + 1 : text.rindex(")")])
    found = index["terms"]["dice"]
    names = [index["docnames"][n] for n in (found if isinstance(found, list) else [found])]
    assert "notebooks/10_losses_and_point_sampling" in names
    assert not list(folder.glob("_sources/*"))  # where solutions would be


# Tells the page around it what went wrong, and how wide it is.
PROBE = """<script>
const wrong = [];
addEventListener("error", (e) => wrong.push(e.message || e.target.outerHTML), true);
addEventListener("unhandledrejection", (e) => wrong.push(String(e.reason)));
addEventListener("load", () => setTimeout(() => {
  for (const e of performance.getEntriesByType("resource"))
    if (!/^(file|data):/.test(e.name)) wrong.push(`fetched ${e.name}`);
  for (const e of document.images) if (!e.naturalWidth) wrong.push(`not drawn: ${e.src}`);
  for (const e of document.querySelectorAll("html, body, .content, article"))
    if (e.scrollWidth > innerWidth) wrong.push(`${e.tagName}: ${e.scrollWidth} wide`);
  const found = document.querySelectorAll("#search-results li").length;
  parent.postMessage({ page: document.title, wrong, found }, "*");
}, 3000));
</script>"""
PHONE = 390  # pixels
AROUND = "<!DOCTYPE html><html><head></head><body>{frames}</body></html>"
COLLECT = """
const said = [];
addEventListener("message", (event) => {
  said.push(event.data);
  if (said.length == document.querySelectorAll("iframe").length) report({ said });
});
"""


@needs_browser
def test_pages_open_from_disk_on_a_phone(folder, tmp_path):
    names = [_of(folder, chapter) for chapter in chapters()]
    names += [folder / "index.html", folder / "CONTRIBUTING.html", folder / "search.html"]
    names += [folder / "reference" / "minim2f.training.matching.html"]
    names += [folder / "_modules" / "minim2f" / "training" / "matching.html"]
    frames = []
    for number, path in enumerate(names):
        page = tmp_path / f"{number}.html"
        head = f'<head><base href="{path.as_uri()}">{PROBE}'
        page.write_text(path.read_text("utf-8").replace("<head>", head, 1), "utf-8")
        query = "?q=dice" if path.name == "search.html" else ""
        frames.append(f'<iframe width="{PHONE}" height="844" src="{page.name}{query}"></iframe>')
    around = tmp_path / "around.html"
    around.write_text(AROUND.format(frames="\n".join(frames)), "utf-8")
    said = probed(around, COLLECT, tmp_path, "--virtual-time-budget=20000", seconds=240)["said"]
    assert [one for one in said if one["wrong"]] == []
    assert max(one["found"] for one in said) > 2 and len(said) == len(names)


# --- the pages before they are built -------------------------------------------------------------


def test_students_get_no_solution(tmp_path, monkeypatch, capsys):
    laid = {}
    monkeypatch.setattr(site, "build_pages", lambda pages, out: laid.update(_texts(pages)))
    assert main(["book", "site", "-o", str(tmp_path / "all")]) == 0
    everything = dict(laid)
    laid.clear()
    assert main(["book", "site", "--student", "-o", str(tmp_path / "students")]) == 0
    assert laid.keys() == everything.keys()
    solutions = [c.source for one in chapters() for c in one.built.cells if "solution" in tags(c)]
    codes = [re.search(r"```python\n(.*?)```", one, re.DOTALL)[1].strip() for one in solutions]
    assert codes and all(any(code in text for text in everything.values()) for code in codes)
    assert not [code for code in codes if any(code in text for text in laid.values())]


def _texts(pages: Path) -> dict[str, str]:
    """The laid pages, notebooks as the text of their cells."""
    texts = {path.name: path.read_text("utf-8") for path in pages.rglob("*.md")}
    for path in pages.rglob("*.ipynb"):
        cells = json.loads(path.read_text("utf-8"))["cells"]
        texts[path.name] = "\n".join("".join(cell["source"]) for cell in cells)
    return texts


def test_the_reference_holds_no_solution(folder):
    names = [path.name for path in _html(folder / "reference")]
    assert "minim2f.training.matching.html" in names and len(names) > 100
    assert not [name for name in names if "exercises" in name]
    assert not list((folder / "_modules").rglob("exercises"))


def test_a_link_that_leads_nowhere_is_a_fault(tmp_path, capsys):
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "index.md").write_text("# A page\n\n[to another](another.md)\n", "utf-8")
    with pytest.raises(ValueError, match="the site has faults"):
        site.build_pages(pages, tmp_path / "out")
    assert "another.md" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["furo", "myst_nb"])
def test_what_is_not_installed_is_named(monkeypatch, capsys, tmp_path, name):
    monkeypatch.setitem(sys.modules, name, None)
    assert main(["book", "site", "-o", str(tmp_path / "site")]) == 1
    assert "pip install sphinx myst-nb furo" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
