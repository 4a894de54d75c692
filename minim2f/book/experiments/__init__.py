"""Experiments that take minutes: run once, stored, and read by the chapters.

    minim2f book experiment 07               some 10 minutes on one core
    minim2f book experiment 07 --steps 8     the form alone, to see that it works

`ch07.py` has the function `experiment` of chapter 7; its keywords are the command's options. It
writes notebooks/results/NN_name.json: the command, the versions, the settings, and a dict for every
run. The file grows run by run: an interrupted experiment goes on where it stopped, more seeds are
added to those there are, and one with other settings starts anew, in place of the stored one.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from importlib import import_module

import torch

import minim2f
from minim2f import files
from minim2f.book.chapter import NOTEBOOKS, in_name
from minim2f.training.recipe import TINY

RESULTS = NOTEBOOKS / "results"


def run(number: str, **options: int) -> None:
    """Runs the experiment of one chapter.

    Args:
        number: of the chapter, "07".
        options: steps, seeds, unseen; by default, those of the stored result.

    Raises:
        ValueError: the chapter has none.
    """
    try:
        module = import_module(f"{__name__}.ch{in_name(number)}")
    except ModuleNotFoundError as error:
        raise ValueError(f"chapter {number} has no stored experiment") from error
    module.experiment(**options)


def read(name: str) -> dict:
    """The stored result of an experiment.

    Args:
        name: "07_masked_attention".

    Raises:
        FileNotFoundError: it was not run yet; the message says how to.
    """
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(
            f"no stored result {name}; run minim2f book experiment {name.partition('_')[0]}"
        )
    return json.loads(path.read_text("utf-8"))


def repeat(
    name: str,
    options: dict[str, int],
    settings: dict,
    variants: dict[str, Callable[[int], dict]],
) -> None:
    """Runs every variant with every seed, and stores after each run; stored ones are kept.

    Args:
        name: of the result file.
        options: of the command that repeats this; "seeds" says how many, from 0 on.
        settings: whatever else a reader must know.
        variants: functions of the seed that return what was measured.
    """
    given = " ".join(f"--{option} {value}" for option, value in options.items())
    header = {
        "command": f"minim2f book experiment {name.partition('_')[0]} {given}",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "minim2f": minim2f.__version__,
        },
        "settings": settings,
    }
    try:
        stored = read(name)
    except FileNotFoundError:
        stored = {}
    runs = stored.get("runs", []) if _but_seeds(stored) == _but_seeds(header) else []
    runs = [run for run in runs if run["seed"] < options["seeds"]]
    done = {(run["variant"], run["seed"]) for run in runs}
    for seed in range(options["seeds"]):
        for variant, function in variants.items():
            if (variant, seed) not in done:
                begin = time.perf_counter()
                measured = function(seed)
                seconds = round(time.perf_counter() - begin)
                runs.append({"variant": variant, "seed": seed, "seconds": seconds} | measured)
                _store(name, header, runs)
                print(f"{variant}, seed {seed}: {seconds} s", flush=True)


def of_tiny(steps: int, seeds: int, **more: object) -> dict:
    """The settings of runs that train the tiny model by its own recipe.

    Args:
        steps: of each run.
        seeds: how many, from 0 on.
        more: what else a reader must know.
    """
    recipe = {"batch_size": TINY.batch_size, "learning_rate": TINY.learning_rate}
    runs = {"steps": steps, "seeds": list(range(seeds)), "threads": torch.get_num_threads()}
    return {"preset": "tiny"} | recipe | runs | more


def _but_seeds(header: dict) -> dict:
    """What two results must share for their runs to stand side by side: all but their number."""
    settings = {k: v for k, v in header.get("settings", {}).items() if k != "seeds"}
    return {"versions": header.get("versions"), "settings": settings}


def _store(name: str, header: dict, runs: list[dict]) -> None:
    """Writes a result, a run a line."""
    lines = [f'"{key}": {json.dumps(value)}' for key, value in header.items()]
    lines.append('"runs": [\n  ' + ",\n  ".join(json.dumps(run) for run in runs) + "\n ]")
    files.write(RESULTS / f"{name}.json", "{\n " + ",\n ".join(lines) + "\n}\n")
