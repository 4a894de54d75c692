"""A run's log is read as it was meant, whatever stopped the run, and can always be drawn."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from minim2f.training_report import read_log, report


def start(step: int = 0, classes: int = 2, predictions: int = 4) -> dict:
    names = [f"class {k}" for k in range(classes)]
    line = {"kind": "start", "step": step, "recipe": {"clip_norm": 1.0}, "categories": names}
    command = "minim2f train --out $HOME/runs --init $MODEL"
    return line | {"num_predictions": predictions, "expected_loss": 46.1, "command": command}


def step(number: int, loss: float = 12.0, predictions: int = 4, **changes: float) -> dict:
    """A training step whose loss is spread evenly over all terms."""
    suffixes = ["", *(f"_{k}" for k in range(predictions - 1))]
    names = [f"loss_{term}{suffix}" for term in ("ce", "mask", "dice") for suffix in suffixes]
    line = {"kind": "train", "step": number, "loss": loss, "norm": 3.0, "lr": 1e-4, "seconds": 0.1}
    return line | dict.fromkeys(names, loss / len(names)) | changes


def evaluation(number: int, wins: list | None = None, **scores: float | None) -> dict:
    line = {"kind": "eval", "step": number, "scores": scores}
    return line if wins is None else line | {"wins": wins}


def write(run: Path, *lines: dict | str) -> Path:
    """Writes a log; strings are taken as they are."""
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    (run / "log.jsonl").write_text("\n".join(texts) + "\n", encoding="utf-8")
    return run


def steps(run: Path) -> list[int]:
    return [line["step"] for line in read_log(run).train]


def drawn(run: Path, monkeypatch: pytest.MonkeyPatch) -> Figure:
    """The figure that `report` would have saved."""
    kept = []
    monkeypatch.setattr(
        sys.modules[read_log.__module__], "save", lambda fig, path: kept.append(fig)
    )
    report(run)
    return kept[0]


def titles(fig: Figure) -> list[str]:
    insets = [child for ax in fig.axes for child in ax.child_axes]
    return [title for ax in [*fig.axes, *insets] if (title := ax.get_title(loc="left"))]


# ------------------------------------------------------------------------- reading


def test_lines_are_sorted_by_kind(tmp_path) -> None:
    lines = [start(), step(1), step(2), evaluation(2, miou=0.5), step(3)]
    log = read_log(write(tmp_path, *lines))
    assert log.start == lines[0]
    assert log.train == [lines[1], lines[2], lines[4]]
    assert log.evals == [lines[3]]
    assert read_log(str(tmp_path)) == log


def test_of_a_repeated_step_the_later_line_counts(tmp_path) -> None:
    first = [start(), step(1, 40.0), step(2, 30.0), evaluation(2, pq=0.1)]
    second = [start(1), step(2, 20.0), evaluation(2, pq=0.2), step(3, 10.0)]
    log = read_log(write(tmp_path, *first, *second))
    assert [line["loss"] for line in log.train] == [40.0, 20.0, 10.0]
    assert [line["scores"] for line in log.evals] == [{"pq": 0.2}]
    assert log.start["step"] == 1


def test_what_a_resumed_run_has_not_reached_again_is_forgotten(tmp_path) -> None:
    first = [start(), *(step(k) for k in range(1, 8)), evaluation(4, pq=0.1), evaluation(6, pq=0.2)]
    log = read_log(write(tmp_path, *first, start(4), step(5)))
    assert [line["step"] for line in log.train] == [1, 2, 3, 4, 5]
    assert [line["step"] for line in log.evals] == [4]
    assert steps(write(tmp_path, *first, start(0), step(1), step(2))) == [1, 2]


def test_a_line_that_a_kill_cut_short_is_forgiven(tmp_path) -> None:
    half = json.dumps(step(3))[:50]
    assert steps(write(tmp_path, start(), step(1), step(2), half)) == [1, 2]
    assert steps(write(tmp_path, start(), step(1), step(2), half, start(1), step(2))) == [1, 2]


@pytest.mark.parametrize(
    "line",
    [
        '{"kind": "tra',
        "",
        "[1, 2]",
        '"train"',
        '{"step": 3}',
        '{"kind": "other", "step": 3}',
        '{"kind": ["train"], "step": 3}',
        '{"kind": "train", "step": 3}',
        '{"kind": "eval", "step": 3}',
    ],
)
def test_a_damaged_line_is_named(tmp_path, line) -> None:
    with pytest.raises(ValueError, match=r"log\.jsonl, line 3 is no line of a training log"):
        read_log(write(tmp_path, start(), step(1), line, step(3)))


def test_a_missing_or_empty_log_is_refused_in_a_sentence(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no .*log.jsonl; give the folder"):
        report(tmp_path)
    for lines in ([], [start()], [start(), evaluation(0, pq=0.0)], ['{"kind": "sta']):
        with pytest.raises(ValueError, match="holds no training step"):
            report(write(tmp_path, *lines))
    assert [path.name for path in tmp_path.iterdir()] == ["log.jsonl"]


# ------------------------------------------------------------------------- drawing


@pytest.mark.parametrize(
    ("count", "classes", "queries", "predictions"),
    [(1, 1, 1, 1), (2, 2, 16, 4), (300, 13, 16, 4), (50, 133, 100, 10)],
)
def test_small_and_large_runs_are_drawn(tmp_path, count, classes, queries, predictions) -> None:
    lines = [step(k, 40 / k, predictions) for k in range(1, count + 1)]
    wins = [[q, q % classes, q * 50 + 1] for q in range(queries)]
    scores = evaluation(count, wins, pq=0.5, pq_things=0.4, pq_stuff=0.6, miou=0.5, ap=0.1)
    run = write(tmp_path, start(0, classes, predictions), *lines, scores)
    before, opened = (run / "log.jsonl").read_bytes(), plt.get_fignums()
    assert report(run) == run / "report.png"
    with Image.open(run / "report.png") as page:
        assert 1000 < page.width < 4000 and 1000 < page.height < 4000
    assert (run / "log.jsonl").read_bytes() == before and plt.get_fignums() == opened
    assert sorted(path.name for path in run.iterdir()) == ["log.jsonl", "report.png"]


def test_panels_without_anything_to_show_are_left_out(tmp_path, monkeypatch) -> None:
    def pages(*evaluations: dict) -> tuple[bool, bool, int]:
        fig = drawn(write(tmp_path, start(), step(1), *evaluations), monkeypatch)
        text = "\n".join(titles(fig))
        return "Evaluations" in text, "Which query" in text, len(fig.axes)

    assert pages() == (False, False, 3)
    assert pages(evaluation(1, pq=0.5)) == (True, False, 4)
    assert pages(evaluation(1, [[0, 1, 2]], pq=0.5)) == (True, True, 5)
    assert pages(evaluation(1, [[0, 1, 2]])) == (False, True, 4)
    assert pages(evaluation(1, [], pq=None, ap=float("nan"))) == (False, False, 3)


def test_the_map_shows_the_last_evaluation(tmp_path, monkeypatch) -> None:
    old, new = [[0, 0, 7], [1, 1, 8]], [[2, 1, 30], [0, 0, 4]]
    lines = [step(1), evaluation(1, old, pq=0.1), step(2), evaluation(2, new, pq=0.2)]
    ax = drawn(write(tmp_path, start(), *lines), monkeypatch).axes[-1]
    assert "at step 2" in ax.get_title(loc="left")
    found = {(*text.get_position(), text.get_text()) for text in ax.texts}
    assert found == {(1, 2, "30"), (0, 0, "4")}  # class to the right, query downwards
    assert [label.get_text() for label in ax.get_xticklabels()] == ["class 0", "class 1"]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["0", "1", "2"]


def test_bars_are_the_predictions_in_order(tmp_path, monkeypatch) -> None:
    terms = {"loss_ce_0": 8.0, "loss_mask_0": 2.0, "loss_dice_0": 1.0}
    terms |= {"loss_ce_1": 4.0, "loss_mask_1": 1.0, "loss_dice_1": 2.0}
    terms |= {"loss_ce": 1.0, "loss_mask": 0.5, "loss_dice": 0.25}
    line = step(1, predictions=3) | terms
    ax = drawn(write(tmp_path, start(predictions=3), line), monkeypatch).axes[1]
    names = ["raw queries", "after layer 1", "after layer 2"]
    assert [label.get_text() for label in ax.get_yticklabels()] == names
    assert [text.get_text() for text in ax.texts] == ["11", "7", "1.75"]
    first, *_ = ax.containers
    assert [bar.get_width() for bar in first] == [8.0, 4.0, 1.0]
    assert ax.yaxis_inverted()  # the raw queries on top

    alone = step(1, predictions=1)  # without deep supervision
    ax = drawn(write(tmp_path, start(predictions=3), alone), monkeypatch).axes[1]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["after layer 2"]


def test_the_smooth_loss_ends_at_the_mean_of_the_last_steps(tmp_path, monkeypatch) -> None:
    lines = [step(k, 20.0 if k % 2 else 10.0) for k in range(1, 201)]
    ax = drawn(write(tmp_path, start(), *lines), monkeypatch).axes[0]
    assert "mean over 4 steps" in ax.get_title(loc="left")
    raw, smooth, expected = ax.lines
    np.testing.assert_allclose(raw.get_ydata()[:4], [20, 10, 20, 10])
    np.testing.assert_allclose(smooth.get_ydata()[:4], [20, 15, 50 / 3, 15])
    np.testing.assert_allclose(smooth.get_ydata()[4:], 15)
    assert list(expected.get_ydata()) == [46.1, 46.1] and ax.get_yscale() == "log"
    assert {"15", "expected at the start: 46.1"} <= {text.get_text() for text in ax.texts}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("norm", [0.0, float("inf"), float("nan"), 1e-6, 1e9])
def test_odd_norms_and_rates_do_not_spoil_the_page(tmp_path, norm) -> None:
    lines = [step(1, lr=0.0), step(2, norm=norm, lr=0.0), step(3, lr=0.0)]
    with Image.open(report(write(tmp_path, start(), *lines))) as page:
        assert 1000 < page.width < 4000 and 300 < page.height < 1000


@pytest.mark.parametrize("count", [1, 2, 100_000])
def test_steps_have_few_whole_ticks(tmp_path, monkeypatch, count) -> None:
    lines = [step(1), step(count)]
    ax = drawn(write(tmp_path, start(), *lines), monkeypatch).axes[0]
    ticks = [tick for tick in ax.get_xticks() if tick <= count]
    assert 2 <= len(ticks) <= 6 and all(tick == int(tick) for tick in ticks)
    assert ax.xaxis.get_major_formatter()(count, 0) == f"{count:,}"


def test_the_page_says_what_was_measured_on(tmp_path, monkeypatch) -> None:
    lines = [step(1), evaluation(1, pq=0.5) | {"on": "4 held-out pictures"}]
    assert "Evaluations on 4 held-out pictures" in titles(
        drawn(write(tmp_path, start(), *lines), monkeypatch)
    )


def test_an_evaluation_that_failed_leaves_the_others_drawn(tmp_path, monkeypatch) -> None:
    good = [step(1), evaluation(1, [[0, 1, 3]], pq=0.5), step(2)]
    log = write(tmp_path, start(), *good, evaluation(2) | {"fault": "OSError: gone"})
    assert any("at step 1" in title for title in titles(drawn(log, monkeypatch)))
    write(tmp_path, start(), step(1), evaluation(1) | {"fault": "OSError: gone"})
    assert not any("Evaluations" in title for title in titles(drawn(tmp_path, monkeypatch)))
