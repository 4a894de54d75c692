"""The benchmark's honesty: equal outputs first, pairs in turn, a table of what was measured."""

from __future__ import annotations

import json

import pytest
import torch

from minim2f.bench import contest, learn, measure, report
from minim2f.training.recipe import TrainConfig

CPU = torch.device("cpu")


def test_both_sides_run_in_turn_and_the_first_round_does_not_count():
    calls = []
    work = {side: lambda side=side: calls.append(side) for side in contest.SIDES}
    row = measure.summary(measure.paired(work, 4, CPU))
    assert calls[:2] == ["theirs", "ours"]
    rest = [calls[i : i + 2] for i in range(2, 10, 2)]
    assert rest == [["ours", "theirs"], ["theirs", "ours"]] * 2
    assert row["range"][0] <= row["ratio"] <= row["range"][1]


def test_models_that_compute_something_else_are_not_compared():
    pytest.importorskip("transformers")
    theirs = contest.make_theirs("r50", num_queries=4)
    ours = contest.make_ours("r50", theirs, num_queries=4)
    assert contest.check_equal("r50", {"theirs": theirs, "ours": ours}, CPU) < 1e-4
    with torch.no_grad():
        ours.decoder.class_head.bias += 0.1
    with pytest.raises(ValueError, match="outputs differ by"):
        contest.check_equal("r50", {"theirs": theirs, "ours": ours}, CPU)


def test_the_truth_has_as_many_objects_as_asked_for():
    truth = contest.discs(2, 64, 5)
    assert [t.masks.shape for t in truth] == [(5, 64, 64)] * 2
    assert all(0 <= t.labels.min() and t.labels.max() < contest.CLASSES for t in truth)
    assert all(t.masks.flatten(1).any(1).all() for t in truth)


def test_table_and_picture_show_what_was_measured(tmp_path):
    row = {"theirs": 2.0, "ours": 1.0, "ratio": 2.0, "range": [1.9, 2.1]}
    variant = {"theirs": 1.25, "ours": 1.0, "ratio": 1.25, "range": [1.2, 1.3]}
    results = {
        "machine": "a machine",
        "threads": 2,
        "torch": "2",
        "transformers": "5",
        "rounds": 3,
        "equal": {"r50": 1e-6},
        "time": {"r50 forward 512": row},
        "memory": {"r50 forward": {"theirs": 400.0, "ours": 200.0, "ratio": 0.5}},
        "stages": {"r50": {side: {"backbone": 0.25} for side in contest.SIDES}},
        "growth": {"objects": {1: row}},
        "variants": {"r50, bfloat16": {**variant, "difference": 0.01}},
    }
    text = report.table(results)
    for told in ("a machine", "**2.00**", "1.90 to 2.10", "**0.50**", "0.250 s", "1.25", "1.0e-02"):
        assert told in text
    assert report.picture(results, tmp_path / "bench.png").stat().st_size > 5000


# ---- time to learn ---------------------------------------------------------------------------


def test_the_time_to_a_quality_lies_on_the_line_between_two_measurements():
    run = [(1.0, 10, 0.4), (2.0, 20, 0.6), (3.0, 30, 0.5), (4.0, 40, 0.9)]
    assert learn.minutes_to(run, 0.2) == pytest.approx(0.5)  # on the line from nothing
    assert learn.minutes_to(run, 0.55) == pytest.approx(1.75)
    assert learn.minutes_to(run, 0.8) == pytest.approx(3.75)  # first reached after the dip
    assert learn.minutes_to(run, 0.95) is None


def test_both_ways_are_trained_in_turn_and_stored(tmp_path, monkeypatch):
    recipe = TrainConfig(steps=2, batch_size=2, jitter="none")
    small = {name: learn.Way(way.config, recipe) for name, way in learn.WAYS.items()}
    monkeypatch.setattr(learn, "WAYS", small)
    monkeypatch.setattr(learn, "SCENES", 4)
    results = learn.learn(tmp_path, seeds=(0, 1), unseen=2)
    assert {name: len(runs) for name, runs in results["runs"].items()} == {"before": 2, "now": 2}
    for runs in results["runs"].values():
        for run in runs:
            assert [steps for _, steps, _ in run] == [1, 2]
            assert 0 < run[0][0] < run[1][0] and 0 <= run[1][2] <= 1
    table = (tmp_path / "learn.md").read_text()
    assert "| before | reached by 0 of 2 |" in table and "2 unseen scenes" in table
    assert json.loads((tmp_path / "learn.json").read_text())["runs"].keys() == small.keys()
    assert (tmp_path / "learn.png").stat().st_size > 5000
