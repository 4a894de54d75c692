"""The loop: pictures in, a better model out, and a number that says how good it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ..data.augment import flip
from ..data.sample import Dataset, Sample
from ..inference import predict, read
from ..metrics import MeanIoU, PanopticQuality
from ..model.mask2former import Mask2Former
from .losses import Criterion
from .recipe import TrainConfig, optimizer


class Truth(NamedTuple):
    """The truth of one picture on the batch's canvas: labels (G,), masks (G, H, W)."""

    labels: Tensor
    masks: Tensor


def collate(model: Mask2Former, samples: list[Sample]) -> tuple[Tensor, list[Truth]]:
    """Samples as one padded batch and its targets, on the model's device.

    Returns:
        Images (B, 3, H, W), normalised and padded, and B targets with masks padded to (H, W).
    """
    device = model.mean.device
    images = model.batch([sample.image.to(device) for sample in samples])
    height, width = images.shape[2:]
    targets = []
    for sample in samples:
        right, below = width - sample.masks.shape[2], height - sample.masks.shape[1]
        masks = F.pad(sample.masks.to(device), (0, right, 0, below))
        targets.append(Truth(sample.labels.to(device), masks))
    return images, targets


def batches(
    dataset: Dataset, recipe: TrainConfig, generator: torch.Generator
) -> Iterator[list[Sample]]:
    """Endless batches: every picture once an epoch, in a new order, some of them flipped."""
    order: list[int] = []
    while True:
        while len(order) < recipe.batch_size:
            order += torch.randperm(len(dataset), generator=generator).tolist()
        chosen, order = order[: recipe.batch_size], order[recipe.batch_size :]
        coins = torch.rand(len(chosen), generator=generator).tolist()
        yield [
            flip(dataset[i]) if coin < recipe.flip else dataset[i] for i, coin in zip(chosen, coins)
        ]


def train(
    model: Mask2Former,
    dataset: Dataset,
    recipe: TrainConfig,
    progress: bool = True,
    after_step: Callable[[int], None] | None = None,
) -> list[dict[str, float]]:
    """Trains a model in place.

    Args:
        model: starts from the weights that it has; ends in eval mode.
        dataset: its categories must be the model's classes.
        recipe: steps, rates, seed.
        progress: show a bar.
        after_step: called with the number of steps done, for example to evaluate.

    Returns:
        One dict per step: every loss term, their sum as "loss", the gradient's length "norm".

    Raises:
        ValueError: an empty data set, other classes than the model's, or a loss that is not
            finite.
    """
    _refuse(model, dataset)
    device = model.mean.device
    order = torch.Generator().manual_seed(recipe.seed)  # on the CPU: the same on every device
    points = torch.Generator(device).manual_seed(recipe.seed)
    criterion, adam = Criterion(model.config), optimizer(model, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(adam, recipe.rate)
    stream = batches(dataset, recipe, order)
    history = []
    bar = tqdm(range(1, recipe.steps + 1), desc="training", disable=not progress)
    for step in bar:
        model.train()
        images, targets = collate(model, next(stream))
        terms = criterion(model(images), targets, points)
        loss = sum(terms.values())
        adam.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        values = {name: value.item() for name, value in terms.items()}
        _refuse_nonsense(step, values | {"norm of the gradient": norm.item()})
        adam.step()
        schedule.step()
        history.append(values | {"loss": loss.item(), "norm": norm.item()})
        shown = ("loss", "loss_ce", "loss_mask", "loss_dice")
        bar.set_postfix({name: f"{history[-1][name]:.2f}" for name in shown})
        if after_step:
            after_step(step)
    model.eval()
    return history


def _refuse(model: Mask2Former, dataset: Dataset) -> None:
    if not len(dataset):
        raise ValueError("the data set is empty: there is nothing to learn from")
    found, wanted = len(dataset.categories), model.config.num_classes
    if found != wanted:
        raise ValueError(
            f"the data set has {found} categories, the model {wanted} classes; "
            f"make the model with preset(..., num_classes={found})"
        )


def _refuse_nonsense(step: int, values: dict[str, float]) -> None:
    for name, value in values.items():
        if not math.isfinite(value):
            raise ValueError(
                f"step {step}: {name} is {value}, so this step was not taken; lower the learning "
                "rate, or look for a picture or a mask that is wrong"
            )


def evaluate(model: Mask2Former, dataset: Dataset, progress: bool = False) -> dict:
    """Segments every picture of a data set and scores the results.

    Returns:
        What `PanopticQuality.compute` returns, and "miou" from `MeanIoU`, all as fractions.
    """
    quality, overlap = PanopticQuality(dataset.categories), MeanIoU(dataset.categories)
    for sample in tqdm(dataset, desc="evaluating", total=len(dataset), disable=not progress):
        truth = (sample.ids, sample.segments)
        logits = predict(model, sample.image)
        panoptic, semantic = (
            read(*logits, model.config, task) for task in ("panoptic", "semantic")
        )
        quality.update(panoptic.ids, panoptic.segments, *truth)
        overlap.update(semantic.ids, semantic.segments, *truth)
    return quality.compute() | {"miou": overlap.compute()["miou"]}
