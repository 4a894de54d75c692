"""Chapter 3: how much of what a cell can see does it use? Measured before and after training."""

from __future__ import annotations

import copy
import dataclasses

import torch
from torch import Tensor, nn

from minim2f import Mask2Former, preset
from minim2f.book.experiments import of_tiny, repeat
from minim2f.data import open_dataset
from minim2f.training.loop import train
from minim2f.training.recipe import TINY

LEVELS = (2, 3, 4, 5)
SHARE = 0.9


def experiment(steps: int = 300, seeds: int = 3, unseen: int = 12) -> None:
    """Measures what the cells of the tiny model's backbone see, trains it, and measures again.

    Before the training its norms find their statistics, so that nothing but weights changes.

    Args:
        steps: of each training run.
        seeds: how many, from 0 on.
        unseen: on how many mosaics of nine unseen scenes is measured.
    """
    settings = of_tiny(steps, seeds, unseen_mosaics=unseen, share=SHARE)
    options = {"steps": steps, "seeds": seeds, "unseen": unseen}
    repeat("03_backbone", options, settings, {"tiny": lambda seed: _learn(seed, steps, unseen)})


def mosaic(scenes: list[Tensor]) -> Tensor:
    """Nine pictures (3, H, W) as one, (3, 3H, 3W), row by row."""
    return torch.cat([torch.cat(scenes[i : i + 3], 2) for i in (0, 3, 6)], 1)


def influence(backbone: nn.Module, images: Tensor, level: int) -> Tensor:
    """How strongly each pixel acts on the middle cell of a level: the mean over pictures.

    Args:
        backbone: images to {"res2": ..., "res5": ...}.
        images: (B, 3, H, W), normalised.
        level: 2 to 5.

    Returns:
        (H, W), sums to 1: the squared gradient of the cell along a random direction, summed over
        the colours.
    """
    images = images.clone().requires_grad_()
    cells = backbone(images)[f"res{level}"]
    middle = cells[:, :, cells.shape[2] // 2, cells.shape[3] // 2]
    (gradient,) = torch.autograd.grad(middle, images, torch.randn_like(middle))
    heat = gradient.square().sum(1)
    return (heat / heat.sum((1, 2), keepdim=True)).mean(0)


def side(heat: Tensor, centre: int, share: float = SHARE) -> int:
    """The side of the square around pixel (centre, centre) that holds this share of (H, W) heat."""
    away = (torch.arange(len(heat)) - centre).abs()
    away = torch.maximum(away[:, None], away).flatten()
    held = torch.zeros(int(away.max()) + 1).index_add(0, away, heat.flatten()).cumsum(0)
    return 2 * int((held < share).sum()) + 1


def displacement(heat: Tensor, centre: int) -> float:
    """How far right and below of a pixel the middle of (H, W) heat lies, the mean of both axes."""
    places = torch.arange(len(heat)) - float(centre)
    return ((heat.sum(0) @ places + heat.sum(1) @ places) / 2).item()


@torch.no_grad()
def settle(backbone: nn.Module, images: Tensor) -> nn.Module:
    """Lets norms find their statistics in 40 batches of 8 images; the weights stay as they are."""
    backbone.train()
    for _ in range(40):
        backbone(images[torch.randperm(len(images))[:8]])
    return backbone.eval()


def _learn(seed: int, steps: int, unseen: int) -> dict:
    scenes = open_dataset("scenes", "train")
    torch.manual_seed(seed)
    model = Mask2Former(preset("tiny", categories=scenes.categories))
    images = model.batch([scenes[i].image for i in range(64)])
    before = _measure(model, settle(copy.deepcopy(model.backbone), images), unseen)
    train(model, scenes, dataclasses.replace(TINY, steps=steps, seed=seed), progress=False)
    return {"before": before, "after": _measure(model, model.backbone, unseen)}


def _measure(model: Mask2Former, backbone: nn.Module, unseen: int) -> dict:
    """For each level, side and displacement of the square that holds most of the influence."""
    scenes = open_dataset("scenes", "val", length=9 * unseen)
    tiles = [sample.image for sample in scenes]
    images = model.batch([mosaic(tiles[9 * k : 9 * k + 9]) for k in range(unseen)])
    torch.manual_seed(0)  # the same directions before and after
    found = {"side": [], "displacement": []}
    for level in LEVELS:
        heat = influence(backbone, images, level)
        centre = images.shape[3] // 2**level // 2 * 2**level
        found["side"].append(side(heat, centre))
        found["displacement"].append(round(displacement(heat, centre) / 2**level, 3))
    return found
