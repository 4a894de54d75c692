"""Chapter 1: who can count what touches? A class per pixel and N queries, trained alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from minim2f import Mask2Former, preset
from minim2f.book.experiments import of_tiny, repeat
from minim2f.data import Dataset, Sample, open_dataset
from minim2f.inference import as_result
from minim2f.metrics import MeanIoU, PanopticQuality
from minim2f.prediction import predict
from minim2f.training.batches import collate, stream
from minim2f.training.loop import train
from minim2f.training.recipe import TINY, TrainConfig, make_optimizer

VOID = -1
LEAST = (1, 16, 32)  # pixels; smaller pieces are no things, which of these is best is measured

Map = tuple[np.ndarray, list[dict]]  # ids (H, W), and a dict (id, category_id) for each


def experiment(steps: int = 3000, seeds: int = 3, unseen: int = 400) -> None:
    """Trains both kinds from the same weights, on the same pictures in the same order.

    Args:
        steps: of each training run.
        seeds: how many, from 0 on.
        unseen: on how many unseen scenes is counted.
    """
    settings = of_tiny(steps, seeds, unseen_scenes=unseen, least_pixels_of_a_piece=list(LEAST))
    learners = {"per pixel": learn_per_pixel, "queries": learn_queries}

    def run(learn: Callable) -> Callable[[int], dict]:
        return lambda seed: _learn(learn, seed, steps, unseen)

    options = {"steps": steps, "seeds": seeds, "unseen": unseen}
    variants = {name: run(learn) for name, learn in learners.items()}
    repeat("01_pixels_to_masks", options, settings, variants)


class Case(NamedTuple):
    """One class of things in one picture.

    Attributes:
        category_id: of the class.
        count: how many of its things are there.
        pieces: how many connected pieces all of them together have.
        touching: whether they touch: then they have fewer pieces together than singly.
    """

    category_id: int
    count: int
    pieces: int
    touching: bool


class PerPixel(nn.Module):
    """Backbone and pixel decoder of a Mask2Former, and a score for each class at each pixel.

    Args:
        model: whose parts are taken, with their weights.
    """

    def __init__(self, model: Mask2Former) -> None:
        super().__init__()
        self.backbone, self.pixel_decoder = model.backbone, model.pixel_decoder
        self.classify = nn.Conv2d(model.config.channels, model.config.num_classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Images (B, 3, H, W) to class logits (B, K, H, W)."""
        pixel_features, _ = self.pixel_decoder(self.backbone(images))
        return F.interpolate(self.classify(pixel_features), scale_factor=4, mode="bilinear")


def learn_queries(model: Mask2Former, scenes: Dataset, recipe: TrainConfig) -> Callable:
    """Mask classification, as the library trains it; returns what reads a picture."""
    train(model, scenes, recipe, progress=False)

    def read(image: Tensor) -> tuple[Map, dict[int, Map]]:
        logits = predict(model, image)
        tasks = ("semantic", "panoptic")
        results = [as_result(*logits, model.config, task) for task in tasks]
        semantic, panoptic = ((result.ids, result.segments) for result in results)
        return semantic, dict.fromkeys(LEAST, panoptic)

    return read


def learn_per_pixel(model: Mask2Former, scenes: Dataset, recipe: TrainConfig) -> Callable:
    """A softmax over the classes at each pixel; returns what reads a picture."""
    net = PerPixel(model)
    optimizer = make_optimizer(net, recipe)
    batches = stream(scenes, recipe, model.config)
    net.train()
    for number in range(recipe.steps):
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * recipe.rate(number)
        samples = next(batches)
        images, _ = collate(model, samples)
        truth = torch.stack([class_map(sample) for sample in samples])
        loss = F.cross_entropy(net(images), truth, ignore_index=VOID)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), recipe.clip_norm)
        optimizer.step()
    net.eval()

    @torch.inference_mode()
    def read(image: Tensor) -> tuple[Map, dict[int, Map]]:
        classes = net(model.batch([image]))[0].argmax(0).numpy()
        stuff = [{"id": k + 1, "category_id": c["id"]} for k, c in enumerate(scenes.categories)]
        semantic = classes + 1, [s for s in stuff if (classes + 1 == s["id"]).any()]
        pieces = {least: in_pieces(classes, scenes.categories, least) for least in LEAST}
        return semantic, pieces

    return read


def class_map(sample: Sample) -> Tensor:
    """The class of each pixel, -1 where there is none, (H, W) int64."""
    classes = torch.full(sample.ids.shape, VOID)
    for label, mask in zip(sample.labels, sample.masks):
        classes[mask] = label
    return classes


def in_pieces(classes: np.ndarray, categories: list[dict], least: int) -> Map:
    """A panoptic map from a class map: each connected piece of a thing's class is a segment.

    Args:
        classes: (H, W) class indices.
        categories: COCO dicts; the pieces of stuff stay together.
        least: pieces of things with fewer pixels become void.
    """
    ids, segments = np.zeros(classes.shape, np.int32), []
    for k in np.unique(classes[classes >= 0]):
        mask, isthing = classes == k, categories[k]["isthing"]
        names, count = ndimage.label(mask) if isthing else (mask.astype(int), 1)
        for piece in range(1, count + 1):
            if not isthing or (names == piece).sum() >= least:
                segments.append({"id": len(segments) + 1, "category_id": categories[k]["id"]})
                ids[names == piece] = len(segments)
    return ids, segments


def cases(sample: Sample, categories: list[dict]) -> Iterator[Case]:
    """The classes of things in a picture; one with a crowd is left out, nobody counted it."""
    crowds = {s["category_id"] for s in sample.segments if s.get("iscrowd")}
    for k in sample.labels.unique().tolist():
        if categories[k]["isthing"] and categories[k]["id"] not in crowds:
            masks = sample.masks[sample.labels == k].numpy()
            singly = sum(ndimage.label(mask)[1] for mask in masks)
            together = ndimage.label(masks.any(0))[1]
            yield Case(categories[k]["id"], len(masks), together, together < singly)


def _learn(learn: Callable, seed: int, steps: int, unseen_scenes: int) -> dict:
    """One training run, and what its model counts."""
    scenes = open_dataset("scenes", "train")
    torch.manual_seed(seed)  # the same for both kinds: they start from the same weights
    model = Mask2Former(preset("tiny", categories=scenes.categories))
    recipe = dataclasses.replace(TINY, steps=steps, seed=seed)
    read = learn(model, scenes, recipe)
    return _measure(read, open_dataset("scenes", "val", length=unseen_scenes))


def _measure(read: Callable, unseen: Dataset) -> dict:
    """mIoU; then for each of LEAST the PQ of things and how many classes were counted rightly."""
    iou = MeanIoU(unseen.categories)
    pq = {least: PanopticQuality(unseen.categories) for least in LEAST}
    right = {least: {"touching": 0, "apart": 0} for least in LEAST}
    there = {"touching": 0, "apart": 0}
    for sample in unseen:
        semantic, maps = read(sample.image)
        truth = (sample.ids.numpy(), sample.segments)
        iou.update(*semantic, *truth)
        for least, found in maps.items():
            pq[least].update(*found, *truth)
        for case in cases(sample, unseen.categories):
            kind = "touching" if case.touching else "apart"
            there[kind] += 1
            for least, (_, segments) in maps.items():
                found = sum(s["category_id"] == case.category_id for s in segments)
                right[least][kind] += found == case.count
    things = [round(pq[least].compute()["Things"]["pq"], 4) for least in LEAST]
    counted = {kind: [right[least][kind] for least in LEAST] for kind in there}
    return {"miou": round(iou.compute()["miou"], 4), "pq_things": things, "there": there} | counted
