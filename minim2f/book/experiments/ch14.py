"""Chapter 14: the paper's claims one by one. Each variant takes one of them back, and no more."""

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

SCALES = preset("tiny").scales
CHANGES: dict[str, dict] = {
    "full": {},
    "open": {"masked_attention": False},
    "self-attention first": {"self_attention_first": True},
    "zero queries": {"learned_content": False},
    "dropout": {"dropout": 0.1},  # DETR's and MaskFormer's
    "1/32 only": {"scales": (32,)},
    "last loss only": {"deep_supervision": False},
    "all pixels": {"num_points": None},
}


def experiment(steps: int = 160, seeds: int = 5, unseen: int = 60) -> None:
    """Trains the tiny model as it is, and with each of the changes: PQ halfway and at the end.

    Args:
        steps: of each training run.
        seeds: how many, from 0 on.
        unseen: on how many unseen scenes PQ is measured.
    """
    settings = of_tiny(steps, seeds, unseen_scenes=unseen)

    def learn(variant: str) -> Callable[[int], dict]:
        return lambda seed: _learn(variant, seed, steps, unseen)

    options = {"steps": steps, "seeds": seeds, "unseen": unseen}
    repeat("14_ablations", options, settings, {variant: learn(variant) for variant in CHANGES})


def build(variant: str, seed: int, categories: tuple[dict, ...]) -> Mask2Former:
    """A variant's model before its training; what it shares with "full" starts as it does there.

    The seed alone does not see to that: a model with one table fewer draws other numbers for all
    that comes after it. So the weights are copied from the full model.

    Args:
        variant: one of `CHANGES`.
        seed: of the full model's weights.
        categories: of the data set.
    """
    torch.manual_seed(seed)
    full = Mask2Former(preset("tiny", categories=categories)).state_dict()
    model = Mask2Former(preset("tiny", categories=categories, **CHANGES[variant]))
    rows = [SCALES.index(scale) for scale in model.config.scales]
    full["decoder.level_embed.weight"] = full["decoder.level_embed.weight"][rows]
    model.load_state_dict({name: full[name] for name in model.state_dict()})
    return model


def _learn(variant: str, seed: int, steps: int, unseen_scenes: int) -> dict:
    """One training run: PQ on unseen scenes, halfway and at its end."""
    scenes = open_dataset("scenes", "train")
    unseen = open_dataset("scenes", "val", length=unseen_scenes)
    model = build(variant, seed, scenes.categories)
    curve = {}

    def look(step: int) -> None:
        if step in (steps // 2, steps):
            curve[step] = round(evaluate(model, unseen)["All"]["pq"], 4)

    recipe = dataclasses.replace(TINY, steps=steps, seed=seed)
    train(model, scenes, recipe, progress=False, after_step=look)
    return {"steps": list(curve), "pq": list(curve.values())}
