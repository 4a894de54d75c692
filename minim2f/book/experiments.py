"""Experiments that take minutes: run once, stored, and read by the chapters.

    python -m minim2f.book.experiments 07               about 20 minutes on two cores
    python -m minim2f.book.experiments 07 --steps 8     the form alone, to see that it works

An experiment writes notebooks/results/NN_name.json: the command, the versions, the settings, and a
dict for every run. The file grows run by run: an interrupted experiment goes on where it stopped,
one with other settings starts anew, in place of the stored one.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

import minim2f
from minim2f import Config, Mask2Former, preset, shapes
from minim2f.book.chapter import NOTEBOOKS
from minim2f.data import Sample, open_dataset
from minim2f.training.batches import collate
from minim2f.training.evaluation import evaluate
from minim2f.training.loop import train
from minim2f.training.matching import match
from minim2f.training.recipe import TINY

RESULTS = NOTEBOOKS / "results"


# ---- what all experiments share


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
            f"no stored result {name}; run python -m minim2f.book.experiments {name[:2]}"
        )
    return json.loads(path.read_text("utf-8"))


def spread(values: list[float]) -> tuple[float, float]:
    """Mean and sample standard deviation of some runs; the latter is NaN for a single run."""
    numbers = torch.tensor(values, dtype=torch.float64)
    return numbers.mean().item(), numbers.std().item()


def _store(name: str, header: dict, runs: list[dict]) -> None:
    """Writes a result, whole or not at all, a run a line."""
    RESULTS.mkdir(exist_ok=True)
    lines = [f'"{key}": {json.dumps(value)}' for key, value in header.items()]
    lines.append('"runs": [\n  ' + ",\n  ".join(json.dumps(run) for run in runs) + "\n ]")
    temporary = RESULTS / f".{name}.json.tmp"
    temporary.write_text("{\n " + ",\n ".join(lines) + "\n}\n", "utf-8")
    os.replace(temporary, RESULTS / f"{name}.json")


def _repeat(name: str, settings: dict, variants: dict[str, Callable[[int], dict]]) -> None:
    """Runs every variant with every seed, and stores after each run; stored ones are kept.

    Args:
        name: of the result file.
        settings: "seeds", and whatever else a reader must know to repeat the experiment.
        variants: functions of the seed that return what was measured.
    """
    options = "--steps {steps} --seeds {seeds} --unseen {unseen_scenes}".format(
        **settings | {"seeds": len(settings["seeds"])}
    )
    header = {
        "command": f"python -m minim2f.book.experiments {name[:2]} {options}",
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
    runs = stored.pop("runs", []) if stored else []
    runs = runs if stored == header else []
    done = {(run["variant"], run["seed"]) for run in runs}
    for seed in settings["seeds"]:
        for variant, function in variants.items():
            if (variant, seed) not in done:
                begin = time.perf_counter()
                measured = function(seed)
                seconds = round(time.perf_counter() - begin)
                runs.append({"variant": variant, "seed": seed, "seconds": seconds} | measured)
                _store(name, header, runs)
                print(f"{variant}, seed {seed}: {seconds} s", flush=True)


# ---- chapter 7: masked attention, on and off


def masked_attention(options: argparse.Namespace) -> None:
    """Trains the tiny model with masks and without: PQ on the way, where it looks at the end."""
    settings = {
        "preset": "tiny",
        "steps": options.steps or 400,
        "batch_size": TINY.batch_size,
        "seeds": list(range(options.seeds or 3)),
        "unseen_scenes": options.unseen or 60,
        "threads": torch.get_num_threads(),
    }

    def learn(masked: bool) -> Callable[[int], dict]:
        return lambda seed: _learn(masked, seed, settings["steps"], settings["unseen_scenes"])

    _repeat("07_masked_attention", settings, {"masked": learn(True), "open": learn(False)})


def _learn(masked: bool, seed: int, steps: int, unseen_scenes: int) -> dict:
    """One training run: a curve of PQ on unseen scenes, and the attention shares at its end."""
    scenes = open_dataset("scenes", "train")
    unseen = open_dataset("scenes", "val", length=unseen_scenes)
    config = preset("tiny", categories=scenes.categories, masked_attention=masked)
    torch.manual_seed(seed)  # the same for both variants: they start from the same weights
    model = Mask2Former(config)
    moments = {steps * part // 8 for part in range(1, 9)}
    curve = {}

    def look(step: int) -> None:
        if step in moments:
            curve[step] = round(evaluate(model, unseen)["All"]["pq"], 4)

    recipe = dataclasses.replace(TINY, steps=steps, seed=seed)
    train(model, scenes, recipe, progress=False, after_step=look)
    share = attention_share(model, list(unseen), masked)
    share = [round(layer, 4) for layer in share]
    return {"steps": list(curve), "pq": list(curve.values()), "attention_share": share}


def attention_share(model: Mask2Former, samples: list[Sample], masked: bool) -> list[float]:
    """How much of a query's attention falls on the segment that it answers for.

    Args:
        model: any model; `match` says which query answers for which segment.
        samples: pictures with at least one segment among them.
        masked: False computes the weights from the same Q and K as if nothing were blocked.

    Returns:
        One share in [0, 1] a layer: the mean over heads and over all matched pairs.
    """
    shares: list[list[Tensor]] = [[] for _ in range(model.config.num_layers)]
    for sample in samples:
        images, targets = collate(model, [sample])
        with torch.no_grad(), shapes.watch() as rows:
            prediction = model(images)
        points = torch.Generator(images.device).manual_seed(0)
        queries, segments = match(prediction, targets, model.config, points)[0]
        masks = targets[0].masks[segments].float()
        for layer in range(1, model.config.num_layers + 1):
            inside = _covered(masks, model.config.scales[(layer - 1) % len(model.config.scales)])
            weights = _weights(rows, layer, model.config, masked)[:, queries]
            shares[layer - 1].append((weights * inside).sum(-1).mean(0))
    return [torch.cat(layer).mean().item() for layer in shares]


def _weights(rows: shapes.Walkthrough, layer: int, config: Config, masked: bool) -> Tensor:
    """The attention weights (heads, N, S) of one layer, from the recorded Q, K and M."""
    names = (f"Q_{layer}", f"K_{layer}")
    q, k = (rows[n].tensor[0].unflatten(1, (config.num_heads, -1)).transpose(0, 1) for n in names)
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    if masked:
        scores = scores.masked_fill(~rows[f"M_{layer - 1}"].tensor, -torch.inf)
    return scores.softmax(-1)


def _covered(masks: Tensor, scale: int) -> Tensor:
    """The share of each cell of a pyramid level that lies in a mask, (G, H, W) -> (G, S)."""
    return F.avg_pool2d(masks, scale).flatten(1)


# ---- the command line

EXPERIMENTS = {"07": masked_attention}


def main(arguments: list[str] | None = None) -> int:
    """Runs the experiments of one chapter."""
    parser = argparse.ArgumentParser("python -m minim2f.book.experiments", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("chapter", choices=EXPERIMENTS, help="whose experiment to run")
    parser.add_argument("--steps", type=int, help="training steps of each run")
    parser.add_argument("--seeds", type=int, help="how many seeds, from 0 on")
    parser.add_argument("--unseen", type=int, help="how many unseen scenes to measure on")
    options = parser.parse_args(arguments)
    EXPERIMENTS[options.chapter](options)
    return 0


if __name__ == "__main__":
    sys.exit(main())
