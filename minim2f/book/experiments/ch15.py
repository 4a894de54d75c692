"""Chapter 15: a data set of one's own, learned from the tiny model and from random weights."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO

import numpy as np
import torch

from minim2f import Mask2Former, load, preset
from minim2f.book.exercises.ch15 import carry_over
from minim2f.book.experiments import of_tiny, repeat
from minim2f.data import Dataset, Sample
from minim2f.data.map_numbers import VOID
from minim2f.data.sample import SampleList
from minim2f.data.scenes import CATEGORIES, draw
from minim2f.training.evaluation import evaluate
from minim2f.training.loop import train
from minim2f.training.recipe import TINY

# The classes of the data set, and of which classes of the scenes each consists; the rest is void.
OWN = {
    "sky": ["sky-other-merged"],
    "sea": ["sea"],
    "land": ["sand", "road", "mountain-merged", "grass-merged"],
    "vehicle": ["car", "boat"],
    "kite": ["kite"],
}
FIRST = 10_000  # the first scene of the data set; the tiny model learned from those before 9000
LEARNED = 40  # pictures that a run learns from
MARKS = (5, 10, 20, 40, 80, 160)  # steps after which a model is measured


def label_map(scene: Sample, names: list[str]) -> np.ndarray:
    """The class of one's own for every pixel of a scene, (H, W) uint8; 255 is void.

    Args:
        scene: with a segment for everything in it.
        names: of the classes that its labels count.
    """
    number = {old: k for k, olds in enumerate(OWN.values()) for old in olds}
    classes = np.full(scene.ids.shape, VOID, np.uint8)
    for label, mask in zip(scene.labels, scene.masks):
        classes[mask.numpy()] = number.get(names[label], VOID)
    return classes


def experiment(steps: int = 160, seeds: int = 5, unseen: int = 40) -> None:
    """Trains from random weights, from the tiny model, and with rows of its class head kept.

    Args:
        steps: of each training run.
        seeds: how many, from 0 on; each also draws its own pictures.
        unseen: on how many unseen pictures mIoU is measured.
    """
    settings = of_tiny(steps, seeds, learned_pictures=LEARNED, unseen_pictures=unseen, warmup=10)

    def learn(start: str) -> Callable[[int], dict]:
        return lambda seed: _learn(start, seed, steps, unseen)

    options = {"steps": steps, "seeds": seeds, "unseen": unseen}
    variants = {start: learn(start) for start in ("random", "tiny", "quiet", "carried")}
    repeat("15_own_data", options, settings, variants)


def _learn(start: str, seed: int, steps: int, unseen_pictures: int) -> dict:
    """One run, and its mIoU on unseen pictures on the way."""
    first = FIRST + (LEARNED + unseen_pictures) * seed
    learned, unseen = own_set(first, LEARNED), own_set(first + LEARNED, unseen_pictures)
    model = model_for(learned.categories, start, seed)
    scores = {}

    def measure(done: int) -> None:
        if done in MARKS or done == steps:
            scores[str(done)] = round(evaluate(model, unseen)["miou"], 4)

    recipe = dataclasses.replace(TINY, steps=steps, warmup=10, seed=seed)
    train(model, learned, recipe, progress=False, after_step=measure)
    return {"miou": scores}


def own_set(first: int, pictures: int) -> Dataset:
    """Pictures with the classes of one's own, as the folder of the chapter would give them."""
    names = [category["name"] for category in CATEGORIES]
    own = [{"id": k, "name": name, "isthing": 0} for k, name in enumerate(OWN)]
    samples = []
    for seed in range(first, first + pictures):
        scene = draw(seed)
        classes = torch.from_numpy(label_map(scene, names)).long()
        ids = (classes + 1) * (classes != VOID)
        found = ids.unique()[ids.unique() > 0].tolist()
        segments = [{"id": i, "category_id": i - 1, "iscrowd": 0} for i in found]
        samples.append(Sample.from_panoptic(scene.image, ids, segments, own, seed, str(seed)))
    return SampleList(samples, own, "semantic")


def model_for(categories: list[dict], start: str, seed: int) -> Mask2Former:
    """A tiny model for some classes.

    Args:
        categories: the classes.
        start: "random" weights; "tiny", the trained model with a new class head; "quiet", the
            same, but "no object" is kept; "carried", the classes that both know are kept as well.
        seed: of all that is random.
    """
    torch.manual_seed(seed)
    if start == "random":
        own = {"num_classes": len(categories), "categories": tuple(categories)}
        return Mask2Former(preset("tiny", **own))
    with redirect_stdout(StringIO()):  # which says each time that the head is new
        model = load("tiny", categories=categories)
    if start in ("quiet", "carried"):
        trained, head = load("tiny").decoder.class_head, model.decoder.class_head
        old = [c["name"] if start == "carried" else "" for c in CATEGORIES]
        new = [c["name"] for c in categories]
        rows = carry_over(trained.weight, trained.bias, old, new, head.weight, head.bias)
        with torch.no_grad():
            head.weight.copy_(rows[0])
            head.bias.copy_(rows[1])
    return model
