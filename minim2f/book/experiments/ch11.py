"""Chapter 11: what each number of the tiny model's recipe is worth."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch

from minim2f import Mask2Former, preset
from minim2f.book.experiments import of_tiny, repeat
from minim2f.data import open_dataset
from minim2f.training.evaluation import evaluate
from minim2f.training.loop import train
from minim2f.training.recipe import TINY

CHANGES = {
    "TINY": {},
    "clipped at 0.01": {"clip_norm": 0.01},
    "not clipped": {"clip_norm": float("inf")},
    "backbone at a tenth": {"backbone_multiplier": 0.1},
}


def experiment(steps: int = 120, seeds: int = 5, unseen: int = 40) -> None:
    """Trains the tiny model with one number of its recipe changed at a time.

    Args:
        steps: of each training run.
        seeds: how many, from 0 on.
        unseen: on how many unseen scenes PQ is measured.
    """
    settings = of_tiny(steps, seeds, unseen_scenes=unseen)

    def learn(changes: dict) -> Callable[[int], dict]:
        return lambda seed: _learn(changes, seed, steps, unseen)

    variants = {name: learn(changes) for name, changes in CHANGES.items()}
    options = {"steps": steps, "seeds": seeds, "unseen": unseen}
    repeat("11_training", options, settings, variants)


def _learn(changes: dict, seed: int, steps: int, unseen_scenes: int) -> dict:
    """One training run: PQ on unseen scenes, and the middle and the largest gradient's length."""
    scenes = open_dataset("scenes", "train")
    unseen = open_dataset("scenes", "val", length=unseen_scenes)
    torch.manual_seed(seed)  # the same for all variants: they start from the same weights
    model = Mask2Former(preset("tiny", categories=scenes.categories))
    recipe = dataclasses.replace(TINY, steps=steps, seed=seed, **changes)
    history = train(model, scenes, recipe, progress=False)
    lengths = torch.tensor([values["norm"] for values in history])
    return {
        "pq": round(evaluate(model, unseen)["All"]["pq"], 4),
        "norm": round(lengths.median().item(), 3),
        "largest": round(lengths.max().item(), 3),
    }
