"""The tools of the book: comparisons, exercises, figures, and the builder with its rules."""

from __future__ import annotations

import copy
import io
import math
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from shutil import copyfile, copytree

import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from PIL import Image

from minim2f import shapes
from minim2f.book import (
    anatomy,
    exercise,
    exercises,
    library_table,
    same,
    setup,
    shape_table,
    show,
    table,
    where_we_are,
)
from minim2f.book.assemble import assemble
from minim2f.book.audit import RULES, advice, audit
from minim2f.book.build import write
from minim2f.book.cells import defined, tags, used, words
from minim2f.book.chapter import ROOT, Chapter
from minim2f.book.exercise import verdict
from minim2f.book.links import dead_links, relative_links
from minim2f.book.new import new
from minim2f.book.same import gap
from minim2f.cli import main


@pytest.fixture(scope="session")
def chapter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chapter]:
    """A new chapter, laid in a copy of the project from the template, and built there once."""
    root = tmp_path_factory.mktemp("project")
    copytree(ROOT / "minim2f", root / "minim2f")
    copyfile(ROOT / "README.md", root / "README.md")
    _book(root, "new", "99", "--title", "Softmax")
    _book(root, "build", "99")
    lonely = tmp_path_factory.mktemp("exercises")  # without those that this process has anyway
    copyfile(root / "minim2f" / "book" / "exercises" / "ch99.py", lonely / "ch99.py")
    exercises.__path__.append(str(lonely))
    yield Chapter(root / "notebooks" / "99_softmax.py")
    exercises.__path__.remove(str(lonely))


def _book(root: Path, *arguments: str) -> None:
    """Runs a command of the copy of the project in `root`."""
    run = subprocess.run(
        [sys.executable, "-m", "minim2f", "book", *arguments],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert run.returncode == 0, run.stderr


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list:
    """What was displayed: (object, keyword arguments) each."""
    seen: list = []
    for name in ("show", "tables"):
        module = import_module(f"minim2f.book.{name}")
        monkeypatch.setattr(module, "display", lambda x, **options: seen.append((x, options)))
    return seen


# --- setup and same ------------------------------------------------------------------------------


def test_setup_prints_one_line_and_fixes_all_seeds(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    draws = []
    for _ in range(2):
        setup(seed=3)
        draws.append((torch.rand(1).item(), np.random.rand(), random.random()))
    lines = capsys.readouterr().out.splitlines()
    assert draws[0] == draws[1] and lines[0] == lines[1] and len(lines) == 2
    torch_version = ".".join(torch.__version__.split(".")[:2])
    assert f"torch {torch_version} ·" in lines[0] and "seed 3" in lines[0]
    assert torch.get_num_threads() <= 2 and torch.get_default_dtype() == torch.float32


def test_same_prints_the_largest_difference(capsys):
    same(torch.tensor([1.0, 2.0]), np.array([1.0, 2.000003]))
    same({"a": (1, [True])}, {"a": (1, [True])})
    assert capsys.readouterr().out.splitlines() == [
        "✔ equal, max difference 3e-6",
        "✔ equal, max difference 0",
    ]


def test_same_calls_functions_from_one_random_state(capsys):
    same(lambda n: torch.rand(n), lambda n: torch.rand(n), 5)
    assert "✔" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("mine", "theirs", "message"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 2), r"shape \(2, 3\), expected \(3, 2\)"),
        (torch.zeros(1, 3), torch.zeros(3), r"shape \(1, 3\), expected \(3,\)"),
        (np.array([[0.0, 1], [2, 3]]), np.array([[0.0, 1], [9, 4]]), r"at \(1, 0\) is 2, exp.* 9"),
        ({"a": [torch.tensor(1.5)]}, {"a": [1.0]}, r"result\['a'\]\[0\] is 1.5, expected 1"),
        ({"a": 1}, {"b": 1}, "keys"),
        ((1, 2), (1, 2, 3), "2 items, expected 3"),
        (torch.ones(2), torch.ones(2) > 0, "dtype torch.float32, expected torch.bool"),
        (torch.tensor([math.nan]), torch.tensor([math.nan]), "is nan, expected nan"),
        (torch.tensor([math.nan]), torch.tensor([0.0]), "is nan, expected 0"),
        (None, torch.zeros(2), r"is None, expected an array of shape \(2,\)"),
        ("dog", "cat", "'dog', expected 'cat'"),
    ],
)
def test_same_says_where_it_differs(mine, theirs, message):
    with pytest.raises(AssertionError, match=message):
        same(mine, theirs)


def test_same_takes_equal_infinities_and_empty_tensors():
    scores = torch.tensor([0.0, -math.inf])
    assert gap(scores, scores.clone()).size == 0
    assert gap(torch.zeros(0, 4), torch.zeros(0, 4)).size == 0
    assert gap(scores, torch.tensor([0.0, math.inf])).size == math.inf


# --- exercise ------------------------------------------------------------------------------------


def _raises(error: Exception):
    def function(*args):
        raise error

    return function


@pytest.mark.parametrize(
    ("answer", "begins", "holds"),
    [
        (lambda s: None, "○ 99.1 not tried", ""),
        (lambda s: ..., "○ 99.1 not tried", ""),
        (_raises(NotImplementedError()), "○ 99.1 not tried", ""),
        (lambda s: s.softmax(1), "✔ 99.1 (max difference ", ""),
        (lambda s: s.double().softmax(1), "✔ 99.1 (max difference ", ""),
        (lambda s: s.softmax(0), "✘ 99.1 the classes of one row compete", ""),
        (lambda s: s.exp() / s.exp().sum(-1), "✘ 99.1 keep the summed axis", ""),  # raises as well
        (lambda s: s.exp() / s.exp().sum(1, True), "✘ 99.1 e to a large score is infinite", ""),
        (lambda s: s.softmax(1)[0], "✘ 99.1 result has shape ", "(for scores of shape ("),
        (lambda s: s.softmax(1) + 1, "✘ 99.1 result at (", ", expected "),
        (_raises(ValueError("boom")), "✘ 99.1 ValueError: boom", ""),
        (_raises(NotImplementedError("no Bool")), "✘ 99.1 NotImplementedError: no Bool", ""),
    ],
)
def test_exercise_has_three_answers(chapter, capsys, answer, begins, holds):
    exercise("99.1", answer)
    printed = capsys.readouterr().out
    assert printed.startswith(begins) and holds in printed and printed.count("\n") == 1


def test_exercise_leaves_inputs_and_random_state_alone(chapter, capsys):
    def random_inside(scores):
        return scores.softmax(1) + 0 * torch.rand(1) + 0 * np.random.rand() + 0 * random.random()

    states = [torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()]
    exercise("99.1", random_inside)
    assert capsys.readouterr().out.startswith("✔")
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all() and states[2] == random.getstate()


def test_exercise_notices_an_input_changed_in_place(chapter, capsys):
    def careless(scores):
        result = scores.softmax(1)
        scores.zero_()
        return result

    for _ in range(2):  # the corner cases are not spoilt for the second try
        exercise("99.1", careless)
        printed = capsys.readouterr().out
        assert printed.startswith("✘ 99.1 your function changes its input scores: work on a copy")
    exercise("99.1", lambda scores: scores.softmax(1))
    assert capsys.readouterr().out.startswith("✔")


def test_inputs_may_hold_tensors_in_lists_and_dicts(chapter):
    def total(rows):
        return sum(rows["all"])

    def careless(rows):
        rows["all"][1].add_(1)
        return sum(rows["all"]) - 1

    def rows(generator):
        return ({"all": list(torch.rand(3, 2, generator=generator))},)

    asked = exercises.Exercise("99.9", total, rows)
    assert verdict(asked, total).startswith("✔")
    assert "changes its input rows" in verdict(asked, careless)


def test_errors_of_several_threads_are_one_mistake(chapter):
    failed = iter(range(10_000))  # which index is named depends on which thread was first

    def beyond(x):
        raise IndexError(f"index {next(failed)} is out of bounds for dimension 1 with size 24")

    wrong = [exercises.Wrong(beyond, "sort the other axis")]
    asked = exercises.Exercise("99.8", lambda x: -x, lambda g: (torch.rand(2, generator=g),), wrong)
    assert verdict(asked, beyond) == "✘ 99.8 sort the other axis"
    assert "KeyError" in verdict(asked, _raises(KeyError("index 3")))


def test_exercise_of_an_unknown_exercise_lists_those_there_are(chapter):
    for unknown in ("99.7", "777.1", "nine"):
        with pytest.raises(KeyError, match=f"no exercise '{unknown}'; there are .*99.1"):
            exercise(unknown, lambda: None)


# --- figures and tables --------------------------------------------------------------------------


def test_show_keeps_its_alt_text_and_is_closed(shown):
    fig, ax = plt.subplots()
    show(fig, alt="a diagonal line from left to right", caption="Nothing bends.")
    (data, options), (caption, _) = shown
    assert data["image/png"].startswith(b"\x89PNG")
    assert options["metadata"] == {"image/png": {"alt": "a diagonal line from left to right"}}
    assert caption.data == "*Nothing bends.*" and fig.number not in plt.get_fignums()


def test_a_picture_is_white_around_and_unframed(shown):
    fig, ax = plt.subplots()
    ax.imshow(np.full((4, 4, 3), 0.99))
    ax.set(title=" ", xticks=[], yticks=[])
    show(fig, alt="a square of a grey that is nearly white")
    png = Image.open(io.BytesIO(shown[0][0]["image/png"])).convert("RGB")
    assert png.getpixel((0, 0)) == (255, 255, 255)
    assert np.asarray(png).min() > 240  # no line of a frame


def test_show_wants_alt_text_and_a_modest_size(shown):
    with pytest.raises(ValueError, match="describe in a sentence"):
        show(plt.figure(), alt="  a figure  ")
    fig, ax = plt.subplots(figsize=(12, 9))
    ax.imshow(np.random.rand(900, 1200, 3))
    with pytest.raises(ValueError, match="100 kB is the limit"):
        show(fig, alt="noise in all colours, on a large canvas")
    assert shown == []


def test_the_map_lights_stages_and_describes_them(shown):
    where_we_are("heads", "matching")
    data, options = shown[0]
    assert options["metadata"]["image/png"]["alt"].endswith("heads, matching.")
    where_we_are()
    assert shown[1][0]["image/png"] != data["image/png"]
    with pytest.raises(ValueError, match="no stage head; there are image, backbone"):
        where_we_are("head")


def test_shape_table_filters_and_explains(shown):
    with shapes.watch() as rows:
        shapes.check("P5", torch.zeros(1, 8, 2, 3), "B C H/32 W/32")
        shapes.check("Q", torch.zeros(1, 5, 8), "B N C")
    shape_table(rows, meanings={"Q": "one query | feature"})
    assert shown[0][0].data.splitlines() == [
        "| tensor | shape | here | one number of it means |",
        "| --- | --- | --- | --- |",
        "| `Q` | `(B, N, C)` | (1, 5, 8) | one query \\| feature |",
    ]
    shape_table(rows)
    assert "`P5`" in shown[1][0].data and "means" not in shown[1][0].data
    with pytest.raises(KeyError, match="K was not recorded; there are P5, Q"):
        shape_table(rows, names=["K"])
    with pytest.raises(ValueError, match="needs images"):
        shape_table(torch.nn.Identity())


def test_tables_are_rectangular_and_library_symbols_exist(shown, monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="a row of 1 cells under a header of 2"):
        table(["a", "b"], [["only one"]])
    monkeypatch.chdir(ROOT / "notebooks")
    library_table({"my check": "minim2f.shapes.check"})
    first = shapes.check.__code__.co_firstlineno
    link = f"[minim2f/shapes.py](../minim2f/shapes.py#L{first})"
    assert f"| `my check` | `minim2f.shapes.check` | {link} | {first}–" in shown[0][0].data
    monkeypatch.chdir(tmp_path)  # wherever the notebook lies
    library_table({"my check": "minim2f.shapes.check"})
    (target,) = re.findall(r"\]\((.+)#L", shown[1][0].data)
    assert (tmp_path / target).samefile(ROOT / "minim2f" / "shapes.py")
    with pytest.raises(AttributeError):
        library_table({"my check": "minim2f.shapes.chek"})


# --- the builder and the rules -------------------------------------------------------------------


def test_words_are_counted_as_readers_see_them():
    text = "Two words $x$ `y` [and link](http://a.b)\n\n```\nno\n```\n<details>no</details>"
    assert words(text) == 4


def test_names_of_a_cell_are_read():
    source = "import a.b, c as d\ndef f(x):\n    y = x + z\nfor i in g(d): print(i.k)"
    cell = nbformat.v4.new_code_cell(source)
    assert defined(cell) == {"a", "d", "f", "i"}
    assert used(cell) == {"z", "g", "print"}


def test_a_new_chapter_has_no_complaints_but_the_script_alone_has(chapter):
    assert audit(_copy(chapter, _nothing, chapter.script.parent)) == []
    remarks = list(advice(chapter))
    assert len(remarks) == 1 and "words of prose; 900 to 1800" in remarks[0]


def test_a_new_chapter_is_laid_where_it_belongs(tmp_path):
    table = "| 03 | Backbone | planned |\n| 04 | Decoder I: a pyramid | planned |\n| A–D | x | y |"
    (tmp_path / "README.md").write_text(f"Book\n\n| | chapter | |\n|---|---|---|\n{table}\n\nEnd")
    laid = new("4", root=tmp_path)
    assert [str(path.relative_to(tmp_path).as_posix()) for path in laid] == [
        "notebooks/04_decoder_i.py",
        "minim2f/book/exercises/ch04.py",
        "README.md",
    ]
    assert laid[0].read_text("utf-8").startswith("# %% [markdown]\n# # 4 · Decoder I: a pyramid\n")
    assert 'exercise("4.1", softmax)' in laid[0].read_text("utf-8")
    new("12", "Inference, three ways", tmp_path)
    new("e", "How fast", tmp_path)
    rows = laid[2].read_text("utf-8").splitlines()[4:]
    assert rows == [
        "| 03 | Backbone | planned |",
        "| 04 | [Decoder I: a pyramid](notebooks/04_decoder_i.ipynb) | written |",
        "| 12 | [Inference, three ways](notebooks/12_inference_three_ways.ipynb) | written |",
        "| A–D | x | y |",
        "| E | [How fast](notebooks/E_how_fast.ipynb) | written |",
        "",
        "End",
    ]
    with pytest.raises(ValueError, match="chapter 04 is there already: .*04_decoder_i.py"):
        new("04", "Another", tmp_path)
    with pytest.raises(ValueError, match="no title for chapter 05"):
        new("05", root=tmp_path)
    with pytest.raises(ValueError, match="'4b' is no chapter"):
        new("4b", "Another", tmp_path)


def test_building_twice_gives_the_same_cells_and_no_leftovers(chapter):
    before = chapter.built.cells
    _book(chapter.script.parents[1], "build", "99")
    again = Chapter(chapter.script)
    assert again.built.cells == before
    assert again.notebook.read_bytes().endswith(b"\n}\n")
    files = {path.name for path in chapter.script.parent.iterdir()}
    assert files == {"99_softmax.py", "99_softmax.ipynb"}


def test_solutions_stand_once_and_are_put_in_after_the_hints(chapter, tmp_path):
    script = chapter.script.read_text("utf-8")
    assert "Solution" not in script
    cells = assemble(chapter.script).cells
    (place,) = (number for number, cell in enumerate(cells) if "solution" in tags(cell))
    assert "<summary>Hint 2" in cells[place - 1].source
    code = re.search(r"```python\n(.*)```", cells[place].source, re.DOTALL)[1]
    assert code.startswith("from torch import Tensor\n\n\ndef softmax(scores: Tensor) -> Tensor:\n")
    assert '    """Each row of scores as probabilities' in code
    # one that was written into the script is replaced, not doubled
    hints = "# Each row has its own largest score.\n#\n# </details>\n"
    old = '\n# %% [markdown] tags=["solution"]\n# <details><summary>Solution</summary>\n'
    (tmp_path / "99_softmax.py").write_text(script.replace(hints, hints + old), "utf-8")
    assert [c.source for c in assemble(tmp_path / "99_softmax.py").cells] == [
        c.source for c in cells
    ]


def test_drawing_is_folded_and_nothing_else(chapter):
    for cell in chapter.built.cells:
        folded = cell.metadata.get("jupyter", {}).get("source_hidden", False)
        assert folded == ("hide-input" in tags(cell))
    assert sum("hide-input" in tags(cell) for cell in chapter.code) == 4
    assert "source_hidden" not in chapter.script.read_text("utf-8")


def test_jupyterlab_shows_solutions_and_never_touches_a_script(chapter, tmp_path):
    manager = pytest.importorskip("jupytext").TextFileContentsManager()
    manager.root_dir = str(tmp_path)
    copyfile(ROOT / "jupytext.toml", tmp_path / "jupytext.toml")
    for path in (chapter.notebook, chapter.script):  # in this order: the script is the younger one
        copyfile(path, tmp_path / path.name)
    script = (tmp_path / "99_softmax.py").read_text("utf-8")

    model = manager.get("99_softmax.ipynb")
    assert any("<summary>Solution" in cell["source"] for cell in model["content"]["cells"])
    model["content"]["cells"].insert(1, new_markdown_cell("A reader's note."))
    manager.save(model, "99_softmax.ipynb")
    assert (tmp_path / "99_softmax.py").read_text("utf-8") == script

    model = manager.get("99_softmax.py")  # opened as a notebook, an author's way
    manager.save(model, "99_softmax.py")
    assert assemble(tmp_path / "99_softmax.py").cells == assemble(chapter.script).cells


def test_a_failing_cell_leaves_the_notebook_as_it_was(tmp_path, capsys):
    script = "# %%\nprint('before')\n\n# %%\nassert 1 == 2, 'one is not two'\n"
    (tmp_path / "98_fails.py").write_text(script)
    (tmp_path / "98_fails.ipynb").write_text("old")
    assert main(["book", "build", "--folder", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "98_fails.py: not built" in error and "one is not two" in error
    assert (tmp_path / "98_fails.ipynb").read_text() == "old"


def test_editions_for_students_and_lecturers(chapter, tmp_path):
    for name in ("student", "lecture"):
        folder, out = str(chapter.script.parent), str(tmp_path / name)
        assert main(["book", name, "99", "--folder", folder, "--out", out]) == 0
    student = tmp_path / "student" / "99_softmax.ipynb"
    text = student.read_text(encoding="utf-8")
    assert "<summary>Solution" not in text and "<summary>Hint 2" in text
    notebook = nbformat.read(student, as_version=4)
    assert dead_links(notebook, student.parent) == []
    assert any(target.endswith("minim2f/shapes.py") for target, _ in relative_links(notebook))
    cells = nbformat.read(tmp_path / "lecture" / "99_softmax.ipynb", as_version=4).cells
    assert [cell.source.splitlines()[0] for cell in cells] == [
        "# 99 · Softmax",
        "## Where we are",
        "import matplotlib.pyplot as plt",
        "## The idea in small numbers",
        "scores = torch.tensor([0.0, 0.0])",
        "## Look",
        "### A bar for each class",
        "fig, ax = plt.subplots(figsize=(3, 2))",
    ]


def test_web_pages_keep_the_alt_text(chapter, tmp_path):
    arguments = ["--folder", str(chapter.script.parent), "--out", str(tmp_path)]
    assert main(["book", "html", "99", *arguments]) == 0
    page = (tmp_path / "99_softmax.html").read_text("utf-8")
    images = re.findall(r"<img[^>]*>", page)
    assert len(images) == 2 and "No description" not in page
    assert 'alt="two bars of the same height, one a class"' in images[1]


def test_an_unknown_number_is_named(chapter, capsys):
    for action in ("build", "audit", "student", "lecture", "html", "slides"):
        assert main(["book", action, "42", "--folder", str(chapter.script.parent)]) == 1
        assert re.search(r"no chapter \[42\].*99_softmax.py", capsys.readouterr().err)
    assert main(["book", "experiment", "00"]) == 1
    assert "chapter 00 has no stored experiment" in capsys.readouterr().err


def _nothing(notebook: NotebookNode) -> None: ...


def _copy(chapter: Chapter, spoil, folder: Path) -> Chapter:
    """The chapter in another folder, its notebook changed, its run time as on its card."""
    notebook = copy.deepcopy(chapter.built)
    notebook.metadata["minim2f"] = {"seconds": 10}
    spoil(notebook)
    other = Chapter(folder / chapter.script.name)
    if folder != chapter.script.parent:
        copyfile(chapter.script, other.script)
    write(notebook, other.notebook)
    return other


def _replace(old: str, new: str):
    """A fault: other text in every cell that holds `old`."""

    def spoil(notebook: NotebookNode) -> None:
        hit = [cell for cell in notebook.cells if old in cell.source]
        assert hit, f"{old!r} is not in the example chapter"
        for cell in hit:
            cell.source = cell.source.replace(old, new)

    return spoil


def _output(**changes):
    """A fault: the setup cell's output is another."""

    def spoil(notebook: NotebookNode) -> None:
        next(c for c in notebook.cells if c.cell_type == "code").outputs[0].update(changes)

    return spoil


def _first_code(**changes):
    def spoil(notebook: NotebookNode) -> None:
        next(c for c in notebook.cells if c.cell_type == "code").update(changes)

    return spoil


def _no_alt(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("metadata", {}).clear()


def _slow(notebook: NotebookNode) -> None:
    notebook.metadata["minim2f"]["seconds"] = 55


def _untag(notebook: NotebookNode) -> None:
    for cell in notebook.cells:
        cell.metadata.pop("tags", None)


def _tag(text: str):
    """A fault: the cell with this text is tagged hide-input, too."""

    def spoil(notebook: NotebookNode) -> None:
        cell = next(c for c in notebook.cells if text in c.source and c.cell_type == "code")
        cell.metadata["tags"] = [*cell.metadata.get("tags", []), "hide-input"]

    return spoil


FAULTS = [
    ("pairing", _replace("Neither.", "Both."), "differ from cell 6 on"),
    ("pairing", _replace("amax(1, keepdim=True)).exp", "max()).exp"), "differ from cell"),
    ("pairing", _untag, "differ from cell 3 on"),
    ("pairing", _tag("def slow"), "differ from cell"),
    ("hygiene", _first_code(execution_count=7), "not run in order"),
    ("hygiene", _first_code(outputs=[]), "[1] shows nothing"),
    ("hygiene", _first_code(metadata={"tags": ["setup"], "execution": {}}), "[1] stores when"),
    ("hygiene", _output(name="stderr"), "[1] writes to stderr"),
    ("hygiene", _output(text="saved /srv/you/x.json"), "an absolute path: '/srv/you/x.json'"),
    ("hygiene", _output(text="C:\\Users\\you"), "an absolute path"),
    ("hygiene", _output(text="<object at 0x7f00aa11bb22>"), "a memory address"),
    ("hygiene", _output(text="run 2030-01-01 12:30"), "a moment"),
    ("figures", _no_alt, "[2] shows a picture without alt text"),
    ("sizes", _replace("same(slow", "\n".join(["x = 1"] * 30) + "\nsame(slow"), "has 34 lines"),
    ("folded", _tag("scores = torch.tensor"), "needs ['scores'] from a cell tagged hide-input"),
    ("folded", _tag("exercise("), "asks an exercise in a cell tagged hide-input"),
    ("demo", _replace("scores = torch.tensor([0.0, 0.0])\n", ""), "need ['scores']"),
    ("links", _replace("99_softmax.py", "97_gone.ipynb"), "97_gone.ipynb leads nowhere"),
    ("card", _replace("**Needs** ", ""), "no card"),
    ("card", _replace("# 99 ·", "# 98 ·"), "the card says chapter 98"),
    ("card", _replace("`minim2f/shapes.py`", "`minim2f/shape.py`"), "minim2f/shape.py"),
    ("card", _slow, "ran 55 s, the card says 10 s"),
    ("parts", _replace("## Look", "## Looks"), "missing ['Look'], unknown ['Looks']"),
    ("parts", _replace("setup(seed=0)", "setup(seed=1)"), "the first code cell"),
    ("goals", _replace("(99.1)", "(99.5)"), "does not end with"),
    ("equation", _replace("| `scores` |", "| `score_of` |"), "`score_of`, which is not in the"),
    ("exercises", _replace("### 99.1 ★ ", "### 99.1 "), "should read ### 99.1"),
    ("exercises", _replace("Hint 2", "Hint"), "Hint 1, Hint 2, Solution"),
    ("exercises", _replace('exercise("99.1"', 'exercise("99.2"'), "the exercises ['99.2']"),
    ("exercises", _replace("def softmax(scores):", "def soft(scores):"), "is not called softmax"),
]


@pytest.mark.parametrize(("rule", "spoil", "message"), FAULTS)
def test_every_fault_is_found(chapter, tmp_path, rule, spoil, message):
    complaints = audit(_copy(chapter, spoil, tmp_path))
    assert any(c.startswith(f"{rule}: ") and message in c for c in complaints), complaints


def test_every_rule_has_a_fault():
    assert {fault[0] for fault in FAULTS} == {rule.__name__ for rule in RULES}


def test_unbuilt_chapters_are_told_how_to_be_built(tmp_path):
    (tmp_path / "98_new.py").write_text("# %%\n")
    complaints = audit(Chapter(tmp_path / "98_new.py"))
    assert len(complaints) == 1 and "no 98_new.ipynb; minim2f book build 98" in complaints[0]


def test_the_setup_cell_runs_anywhere(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", anatomy.SETUP],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("python 3.") and run.stdout.count("\n") == 1
