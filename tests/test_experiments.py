"""Stored experiments: runs are kept, added, and thrown away when they are of another kind."""

from __future__ import annotations

import json
from importlib import import_module

import pytest

from minim2f.book import experiments


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(experiments, "RESULTS", tmp_path)
    asked: list[tuple[str, int]] = []

    def run(seeds: int, steps: int = 8, fails_at: tuple[str, int] | None = None) -> list[tuple]:
        asked.clear()

        def variant(name: str):
            def measure(seed: int) -> dict:
                if (name, seed) == fails_at:
                    raise KeyboardInterrupt
                asked.append((name, seed))
                return {"pq": 0.5}

            return measure

        options = {"steps": steps, "seeds": seeds}
        settings = {"steps": steps, "seeds": list(range(seeds))}
        experiments.repeat("99_test", options, settings, {n: variant(n) for n in "ab"})
        return list(asked)

    return run


def stored() -> list[tuple]:
    return [(run["variant"], run["seed"]) for run in experiments.read("99_test")["runs"]]


def test_an_interrupted_experiment_goes_on(store):
    with pytest.raises(KeyboardInterrupt):
        store(2, fails_at=("b", 0))
    assert stored() == [("a", 0)]
    assert store(2) == [("b", 0), ("a", 1), ("b", 1)]
    assert store(2) == []


def test_seeds_are_added_or_dropped_and_other_settings_start_anew(store):
    store(1)
    assert store(2) == [("a", 1), ("b", 1)] and len(stored()) == 4
    assert store(1) == []
    assert experiments.read("99_test")["command"].endswith("--steps 8 --seeds 2")
    assert store(1, steps=9) == [("a", 0), ("b", 0)] and len(stored()) == 2


def test_stored_results_say_how_they_came_about():
    for path in experiments.RESULTS.glob("*.json"):
        found = json.loads(path.read_text("utf-8"))
        assert found["command"].startswith(f"minim2f book experiment {path.stem[:2]} ")
        assert {"python", "torch", "minim2f"} <= set(found["versions"])
        seeds = {run["seed"] for run in found["runs"]}
        assert seeds == set(found["settings"]["seeds"])
        assert all(run["seconds"] > 0 for run in found["runs"])


def test_without_options_an_experiment_is_the_stored_one(monkeypatch):
    asked: dict[str, tuple] = {}
    for path in experiments.RESULTS.glob("*.json"):
        module = import_module(f"minim2f.book.experiments.ch{path.stem[:2]}")
        monkeypatch.setattr(module, "repeat", lambda *given: asked.update({given[0]: given[1:3]}))
        experiments.run(path.stem[:2])
        options, settings = asked[path.stem]
        found = experiments.read(path.stem)
        given = " ".join(f"--{option} {value}" for option, value in options.items())
        assert found["command"] == f"minim2f book experiment {path.stem[:2]} {given}"
        assert settings | {"threads": 0} == found["settings"] | {"threads": 0}


def test_an_experiment_that_is_not_there_is_named():
    with pytest.raises(FileNotFoundError, match="minim2f book experiment 99"):
        experiments.read("99_nothing")
    with pytest.raises(ValueError, match="chapter 98 has no stored experiment"):
        experiments.run("98")
