"""Chapter 7: does a model learn faster with masked attention? Two models a seed, compared."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from minim2f import Config, Mask2Former, preset, shapes
from minim2f.book.experiments import of_tiny, repeat
from minim2f.data import Sample, open_dataset
from minim2f.training.batches import collate
from minim2f.training.evaluation import evaluate
from minim2f.training.loop import train
from minim2f.training.matching import match
from minim2f.training.recipe import TINY


def experiment(steps: int = 400, seeds: int = 3, unseen: int = 60) -> None:
    """Trains the tiny model with masks and without: PQ on the way, where it looks at the end.

    And what its queries know without looking: PQ of the prediction before the first layer.

    Args:
        steps: of each training run.
        seeds: how many, from 0 on.
        unseen: on how many unseen scenes PQ is measured.
    """
    settings = of_tiny(steps, seeds, unseen_scenes=unseen, backbone=preset("tiny").backbone)

    def learn(masked: bool) -> Callable[[int], dict]:
        return lambda seed: _learn(masked, seed, steps, unseen)

    options = {"steps": steps, "seeds": seeds, "unseen": unseen}
    variants = {"masked": learn(True), "open": learn(False)}
    repeat("07_masked_attention", options, settings, variants)


def _learn(masked: bool, seed: int, steps: int, unseen_scenes: int) -> dict:
    """One training run: PQ on unseen scenes; at its end the raw queries' PQ, attention shares."""
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
    with before_looking(model):
        raw = round(evaluate(model, unseen)["All"]["pq"], 4)
    measured = {"steps": list(curve), "pq": list(curve.values()), "raw_pq": raw}
    return measured | {"attention_share": share}


@contextmanager
def before_looking(model: Mask2Former) -> Iterator[None]:
    """Within it, a model predicts what its raw queries do, from before the first layer."""
    hook = model.decoder.register_forward_hook(lambda decoder, inputs, pairs: pairs[:1])
    try:
        yield
    finally:
        hook.remove()


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
