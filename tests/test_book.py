"""The tools of the book: comparisons, exercises, figures, and the builder with its rules."""

from __future__ import annotations

import copy
import math
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import example_chapter
import matplotlib.pyplot as plt
import nbformat
import numpy as np
import pytest
import torch
from nbformat import NotebookNode

from minim2f import shapes
from minim2f.book import (
    anatomy,
    check,
    exercises,
    figure,
    same,
    setup,
    shape_table,
    show,
    strip,
    table,
)
from minim2f.book.audit import RULES, audit
from minim2f.book.build import build, main, write
from minim2f.book.chapter import Chapter, same_code, words
from minim2f.book.compare import gap


@pytest.fixture(scope="session")
def chapter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chapter]:
    """The example chapter, built once."""
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "99_softmax.py").write_text(example_chapter.SCRIPT, encoding="utf-8")
    (folder / "ch99.py").write_text(example_chapter.EXERCISES, encoding="utf-8")
    exercises.__path__.append(str(folder))
    build(Chapter(folder / "99_softmax.py"))
    yield Chapter(folder / "99_softmax.py")
    exercises.__path__.remove(str(folder))


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list:
    """What was displayed: (object, keyword arguments) each."""
    seen: list = []
    monkeypatch.setattr(show, "display", lambda thing, **options: seen.append((thing, options)))
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


# --- check ---------------------------------------------------------------------------------------


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
        (lambda s: s.softmax(1)[0], "✘ 99.1 result has shape ", "(for inputs of shape ("),
        (lambda s: s.softmax(1) + 1, "✘ 99.1 result at (", ", expected "),
        (_raises(ValueError("boom")), "✘ 99.1 ValueError: boom", ""),
    ],
)
def test_check_has_three_answers(chapter, capsys, answer, begins, holds):
    check("99.1", answer)
    printed = capsys.readouterr().out
    assert printed.startswith(begins) and holds in printed and printed.count("\n") == 1


def test_check_leaves_inputs_and_random_state_alone(chapter, capsys):
    def careless(scores):
        result = scores.softmax(1) + 0 * torch.rand(1) + 0 * np.random.rand() + 0 * random.random()
        scores.zero_()
        return result

    states = [torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()]
    check("99.1", careless)
    assert capsys.readouterr().out.startswith("✔")
    assert torch.equal(states[0], torch.get_rng_state())
    assert (states[1] == np.random.get_state()[1]).all() and states[2] == random.getstate()


def test_check_of_an_unknown_exercise_lists_those_there_are(chapter):
    for unknown in ("99.7", "777.1", "nine"):
        with pytest.raises(KeyError, match=f"no exercise '{unknown}'; there are .*99.1"):
            check(unknown, lambda: None)


# --- figures and tables --------------------------------------------------------------------------


def test_figure_keeps_its_alt_text_and_is_closed(shown):
    fig, ax = plt.subplots()
    figure(fig, alt="a diagonal line from left to right", caption="Nothing bends.")
    (data, options), (caption, _) = shown
    assert data["image/png"].startswith(b"\x89PNG")
    assert options["metadata"] == {"image/png": {"alt": "a diagonal line from left to right"}}
    assert caption.data == "*Nothing bends.*" and fig.number not in plt.get_fignums()


def test_figure_wants_alt_text_and_a_modest_size(shown):
    with pytest.raises(ValueError, match="describe in a sentence"):
        figure(plt.figure(), alt="  a figure  ")
    fig, ax = plt.subplots(figsize=(12, 9))
    ax.imshow(np.random.rand(900, 1200, 3))
    with pytest.raises(ValueError, match="100 kB is the limit"):
        figure(fig, alt="noise in all colours, on a large canvas")
    assert shown == []


def test_strip_lights_stages_and_describes_them(shown):
    strip("heads", "matching")
    data, options = shown[0]
    assert options["metadata"]["image/png"]["alt"].endswith("heads, matching.")
    strip()
    assert shown[1][0]["image/png"] != data["image/png"]
    with pytest.raises(ValueError, match="no stage head; there are image, backbone"):
        strip("head")


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


def test_tables_are_rectangular_and_library_symbols_exist(shown):
    with pytest.raises(ValueError, match="a row of 1 cells under a header of 2"):
        table(["a", "b"], [["only one"]])
    show.library_table({"my check": "minim2f.shapes.check"})
    assert "| `my check` | `minim2f.shapes.check` | `minim2f/shapes.py` | " in shown[0][0].data
    with pytest.raises(AttributeError):
        show.library_table({"my check": "minim2f.shapes.chek"})


# --- the builder and the rules -------------------------------------------------------------------


def test_words_and_code_are_compared_as_readers_see_them():
    text = "Two words $x$ `y` [and link](http://a.b)\n\n```\nno\n```\n<details>no</details>"
    assert words(text) == 4
    one = 'def f(x: int) -> int:\n    """Doc."""\n    return x+1  # why'
    assert same_code(one, "def g(x):\n    return x + 1")
    assert not same_code(one, "def f(x):\n    return x + 2")


def test_a_good_chapter_has_no_complaints_but_its_run_time(chapter):
    complaints = audit(_copy(chapter, _nothing, chapter.script.parent))
    assert complaints == []


def test_building_twice_gives_the_same_cells_and_no_leftovers(chapter):
    before = chapter.built.cells
    again = Chapter(chapter.script)
    build(again)
    assert again.built.cells == before
    assert again.notebook.read_bytes().endswith(b"\n}\n")
    files = {path.name for path in chapter.script.parent.iterdir()} - {"__pycache__"}
    assert files == {"99_softmax.py", "99_softmax.ipynb", "ch99.py"}


def test_a_failing_cell_leaves_the_notebook_as_it_was(tmp_path, capsys):
    script = "# %%\nprint('before')\n\n# %%\nassert 1 == 2, 'one is not two'\n"
    (tmp_path / "98_fails.py").write_text(script)
    (tmp_path / "98_fails.ipynb").write_text("old")
    assert main(["--folder", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert "98_fails.py: not built" in error and "one is not two" in error
    assert (tmp_path / "98_fails.ipynb").read_text() == "old"


def test_editions_for_students_and_lecturers(chapter, tmp_path):
    student, lecture = tmp_path / "student", tmp_path / "lecture"
    options = ["--folder", chapter.script.parent, "--student", student, "--lecture", lecture]
    assert main(["99", *map(str, options)]) == 0
    text = (student / "99_softmax.ipynb").read_text(encoding="utf-8")
    assert "<summary>Solution" not in text and "<summary>Hint 2" in text
    cells = nbformat.read(lecture / "99_softmax.ipynb", as_version=4).cells
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


def test_an_unknown_number_is_named(chapter):
    with pytest.raises(FileNotFoundError, match=r"no chapter \[42\].*99_softmax.py"):
        main(["42", "--folder", str(chapter.script.parent)])


def _nothing(notebook: NotebookNode) -> None: ...


def _copy(chapter: Chapter, spoil, folder: Path) -> Chapter:
    """The chapter in another folder, its notebook changed, its run time as on its card."""
    notebook = copy.deepcopy(chapter.built)
    notebook.metadata["minim2f"] = {"seconds": 10}
    spoil(notebook)
    other = Chapter(folder / chapter.script.name)
    other.script.write_text(example_chapter.SCRIPT, encoding="utf-8")
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


FAULTS = [
    ("pairing", _replace("Neither.", "Both."), "differ from cell 5 on"),
    ("pairing", _untag, "differ from cell 3 on"),
    ("hygiene", _first_code(execution_count=7), "not run in order"),
    ("hygiene", _first_code(outputs=[]), "[1] shows nothing"),
    ("hygiene", _first_code(metadata={"tags": ["setup"], "execution": {}}), "[1] stores when"),
    ("hygiene", _output(name="stderr"), "[1] writes to stderr"),
    ("hygiene", _output(text="saved /srv/you/x.json"), "an absolute path: '/srv/you/x.json'"),
    ("hygiene", _output(text="C:\\Users\\you"), "an absolute path"),
    ("hygiene", _output(text="<object at 0x7f00aa11bb22>"), "a memory address"),
    ("hygiene", _output(text="run 2030-01-01 12:30"), "a moment"),
    ("figures", _no_alt, "[2] shows a picture without alt text"),
    ("budgets", _replace("plain plain", "plain"), "words of prose"),
    ("budgets", _replace("same(slow", "\n".join(["x = 1"] * 30) + "\nsame(slow"), "has 34 lines"),
    ("budgets", _replace("same(", "print("), "checks (same, check, assert)"),
    ("demo", _replace("scores = torch.tensor([0.0, 0.0])\n", ""), "need ['scores']"),
    ("card", _replace("**Needs** ", ""), "no card"),
    ("card", _replace("# 99 ·", "# 98 ·"), "the card says chapter 98"),
    ("card", _replace("`minim2f/shapes.py`", "`minim2f/shape.py`"), "minim2f/shape.py"),
    ("card", _slow, "ran 55 s, the card says 10 s"),
    ("parts", _replace("## Look", "## Looks"), "missing ['Look'], unknown ['Looks']"),
    ("parts", _replace("setup(seed=0)", "setup(seed=1)"), "the first code cell"),
    ("parts", _replace("shape_table(rows", "print(rows"), '"Shapes" calls none of shape_table'),
    ("parts", _replace("<details><summary>Answer", "<summary>Answer"), "no folded answer"),
    ("parts", _replace("| --- | --- | --- |\n| softmax", "softmax"), "has no table"),
    ("goals", _replace("- recognise an overflow (Break it)", ""), "2 goals"),
    ("goals", _replace("(99.1)", "(99.5)"), "does not end with"),
    ("goals", _replace("- An overflow shows as NaN.", ""), "2 lines of recap for 3 goals"),
    ("equation", _replace("| `scores` |", "| `score_of` |"), "`score_of`, which is not in the"),
    ("exercises", _replace("### 99.1 ★ ", "### 99.1 "), "should read ### 99.1"),
    ("exercises", _replace("Hint 2", "Hint"), "Hint 1, Hint 2, Solution"),
    ("exercises", _replace('check("99.1"', 'check("99.2"'), 'no check("99.1"'),
    ("exercises", _untag, 'tagged "solution"'),
    ("solutions", _replace("amax(1, keepdim=True)).exp", "max()).exp"), "not the code of"),
    ("solutions", _replace("### 99.1", "### 99.4"), "are folded for ['99.4']"),
    ("voice", _replace("Neither.\n", "Neither.\n\n</details>\n\nWow!\n"), "Wow!"),
    ("voice", _replace("99_softmax.py", "97_gone.ipynb"), "97_gone.ipynb leads nowhere"),
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
    assert len(complaints) == 1 and "no 98_new.ipynb; build it" in complaints[0]


def test_the_setup_cell_runs_anywhere(tmp_path):
    root = Path(show.__file__).parents[2]
    run = subprocess.run(
        [sys.executable, "-c", anatomy.SETUP],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(root), "MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("python 3.") and run.stdout.count("\n") == 1
