"""Chapter 8: a loss on every prediction against a loss on the last one alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from minim2f import Mask2Former, preset
from minim2f.book.experiments import of_tiny, repeat
from minim2f.data import open_dataset
from minim2f.training.evaluation import evaluate
from minim2f.training.loop import train
from minim2f.training.recipe import TINY


def experiment(steps: int = 750, seeds: int = 3, unseen: int = 40) -> None:
    """Trains the tiny model with deep supervision and without: PQ of every prediction.

    Args:
        steps: of each training run.
        seeds: how many, from 0 on.
        unseen: on how many unseen scenes PQ is measured.
    """
    settings = of_tiny(steps, seeds, unseen_scenes=unseen)

    def learn(deep: bool) -> Callable[[int], dict]:
        return lambda seed: _learn(deep, seed, steps, unseen)

    options = {"steps": steps, "seeds": seeds, "unseen": unseen}
    variants = {"all": learn(True), "last": learn(False)}
    repeat("08_heads_and_deep_supervision", options, settings, variants)


@contextmanager
def until(model: Mask2Former, layer: int) -> Iterator[None]:
    """Within it, the model answers with prediction `layer`; 0 is that of the raw queries."""

    def cut(decoder: torch.nn.Module, inputs: tuple, pairs: list) -> list:
        return pairs[: layer + 1]

    hook = model.decoder.register_forward_hook(cut)
    try:
        yield
    finally:
        hook.remove()


def _learn(deep: bool, seed: int, steps: int, unseen_scenes: int) -> dict:
    """One training run; at its end PQ of all predictions, from the raw queries onwards."""
    scenes = open_dataset("scenes", "train")
    unseen = open_dataset("scenes", "val", length=unseen_scenes)
    torch.manual_seed(seed)  # the same for both variants: they start from the same weights
    model = Mask2Former(preset("tiny", categories=scenes.categories, deep_supervision=deep))
    train(model, scenes, dataclasses.replace(TINY, steps=steps, seed=seed), progress=False)
    scores = []
    for layer in range(model.config.num_layers + 1):
        with until(model, layer):
            scores.append(round(evaluate(model, unseen)["All"]["pq"], 4))
    return {"pq": scores}
