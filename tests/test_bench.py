"""The benchmark's honesty: equal outputs first, pairs in turn, a table of what was measured."""

from __future__ import annotations

import pytest
import torch

from minim2f.bench import contest, measure, report

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
