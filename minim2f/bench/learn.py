"""What a student waits for: minutes of training until a tiny model finds its way in new scenes."""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from ..data import Dataset, open_dataset
from ..data.sample import SampleList
from ..files import whole
from ..model.config import Config, preset
from ..model.mask2former import Mask2Former
from ..plots import INK, figure, save
from ..training.evaluation import evaluate
from ..training.loop import train
from ..training.recipe import TINY, TrainConfig
from .report import DARK, LIGHT

GOALS = (0.50, 0.70, 0.80, 0.85)  # PQ on unseen scenes
EVALUATIONS = 20  # of a run
SCENES = 3000  # to learn from


class Way(NamedTuple):
    """A model and the recipe that it is trained by, from random weights."""

    config: Config
    recipe: TrainConfig


# The version before, as it was when this was first measured; its fast parts are today's.
BEFORE = Way(
    Config(
        "resnet10",
        frozen_norm=False,
        pixel_decoder="fpn",
        num_classes=13,
        channels=64,
        num_queries=16,
        num_layers=3,
        ffn_channels=256,
        num_points=512,
        short_side=96,
        long_side=192,
    ),
    TrainConfig(
        steps=1500,
        batch_size=8,
        learning_rate=8e-4,
        backbone_multiplier=1.0,
        clip_norm=1.0,
        warmup=50,
        schedule="poly",
        jitter="none",
    ),
)
MINUTE = dataclasses.replace(TINY, steps=1000)  # what two cores of a server do in a minute or so
WAYS = {"before": BEFORE, "now": Way(preset("tiny"), MINUTE)}


def learn(
    folder: str | os.PathLike,
    seeds: Sequence[int] = (0, 1, 2),
    unseen: int = 200,
) -> dict:
    """Trains both ways with several seeds in turn, and writes learn.json, learn.md and learn.png.

    Args:
        folder: for the three files.
        seeds: of weights and order; each way runs once with each.
        unseen: scenes on which each run is measured twenty times; that time does not count.

    Returns:
        What learn.json holds: for each way its runs, a list of (minutes, steps, PQ).

    Raises:
        OSError: the folder cannot be written.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    scenes = open_dataset("scenes", "train", length=SCENES)
    drawn = SampleList(scenes, scenes.categories)
    new = open_dataset("scenes", "val", length=unseen)
    runs: dict[str, list] = {name: [] for name in WAYS}
    results = {"threads": torch.get_num_threads(), "torch": torch.__version__, "unseen": unseen}
    for seed in seeds:
        for name, (config, recipe) in WAYS.items():
            recipe = dataclasses.replace(recipe, seed=seed)
            runs[name].append(curve(config, recipe, drawn, new))
            print(f"{name}, seed {seed}: PQ {runs[name][-1][-1][2]:.3f}")
        results["runs"] = runs
        _store(results, folder)  # what took minutes is not lost if the rest fails
    picture(results, folder / "learn.png")
    return results


def curve(
    config: Config, recipe: TrainConfig, scenes: Dataset, unseen: Dataset
) -> list[tuple[float, int, float]]:
    """One run as (minutes of training, steps, PQ on unseen scenes), twenty times on the way."""
    torch.manual_seed(recipe.seed)
    model = Mask2Former(dataclasses.replace(config, categories=tuple(scenes.categories)))
    every = max(1, recipe.steps // EVALUATIONS)
    found: list[tuple[float, int, float]] = []
    spent, since = 0.0, time.perf_counter()

    def look(step: int) -> None:
        nonlocal spent, since
        if step % every and step != recipe.steps:
            return
        spent += time.perf_counter() - since
        model.eval()  # the next step sets it back
        found.append((spent / 60, step, evaluate(model, unseen)["All"]["pq"]))
        since = time.perf_counter()

    train(model, scenes, recipe, after_step=look)
    return found


def minutes_to(curve: Sequence[Sequence[float]], goal: float) -> float | None:
    """When a run first reached a PQ, on the line between two measurements; None if never.

    Args:
        curve: (minutes, steps, PQ), in order.
        goal: the PQ.
    """
    before = (0.0, 0, 0.0)
    for now in curve:
        if now[2] >= goal:
            share = (goal - before[2]) / (now[2] - before[2])
            return before[0] + share * (now[0] - before[0])
        before = now
    return None


def table(results: dict) -> str:
    """Mean minutes to each PQ and their standard deviation over the seeds, as Markdown."""
    lines = [
        "# Minutes to learn the scenes",
        "",
        f"{results['threads']} threads, torch {results['torch']}; PQ on {results['unseen']} unseen "
        "scenes, from random weights; minutes of training, mean and standard deviation of the "
        "seeds; measuring is not counted.",
        "",
        "| | " + " | ".join(f"PQ {goal:.2f}" for goal in GOALS) + " | at the end | minutes |",
        "|" + " --- |" * (len(GOALS) + 3),
    ]
    for name, curves in results["runs"].items():
        cells = [_spread([minutes_to(run, goal) for run in curves], 2) for goal in GOALS]
        cells += [_spread([run[-1][2] for run in curves], 3)]
        cells += [_spread([run[-1][0] for run in curves], 2)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _spread(values: Sequence[float | None], digits: int) -> str:
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return f"reached by {len(known)} of {len(values)}"
    spread = statistics.stdev(known) if len(known) > 1 else 0.0
    return f"{statistics.mean(known):.{digits}f} ± {spread:.{digits}f}"


def _store(results: dict, folder: Path) -> None:
    for ending, text in {"json": json.dumps(results) + "\n", "md": table(results)}.items():
        with whole(folder / f"learn.{ending}") as partial:
            partial.write_text(text, "utf-8")


def picture(results: dict, path: str | Path) -> Path:
    """PQ over minutes of training, a line for each seed, both ways in one picture."""
    fig, axes = figure(1, 1, size=5.2, aspect=0.6)
    ax = axes[0, 0]
    looks = zip(results["runs"].items(), ((LIGHT, "--"), (DARK, "-")))
    for (name, curves), (color, line) in looks:
        for number, run in enumerate(curves):
            minutes, _, quality = zip(*run)
            label = name if number == 0 else None
            ax.plot(minutes, quality, color=color, linestyle=line, linewidth=1.8, label=label)
    for goal in GOALS:
        ax.axhline(goal, color=INK, linewidth=0.5, alpha=0.4)
    ax.set_xlabel("minutes of training")
    ax.set_ylabel(f"PQ on {results['unseen']} unseen scenes")
    ax.set_xlim(left=0)
    ax.set_ylim(0, 1)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(frameon=False, loc="lower right")
    return save(fig, path)
