"""`make demo`: a small Mask2Former is trained from random weights, and segments new pictures."""

from __future__ import annotations

import dataclasses
import os
import time
from itertools import islice
from pathlib import Path

import torch

from . import plots
from .data import Dataset, open_dataset
from .data.augment import drop_empty, resize
from .data.coco_mini import FetchError, fetch_coco_mini
from .data.sample import SampleList
from .model.config import preset
from .model.mask2former import Mask2Former
from .training.evaluation import comparison, evaluate
from .training.loop import train
from .training.recipe import TINY, TrainConfig

PICTURES = 4  # of each kind in the final picture
SHOWN = 288  # pixels of a scene there; the model looks at it in its own size, and draws in this one
UNSEEN = 200  # scenes that the result is measured on


def demo(out: Path = Path("out"), steps: int = TINY.steps, real_steps: int = 500) -> float:
    """Trains on scenes and scores on unseen ones; learns real pictures by heart; draws demo.png.

    Args:
        out: folder for demo.png.
        steps: optimiser steps on scenes.
        real_steps: optimiser steps on coco-mini pictures.

    Returns:
        PQ on unseen scenes.
    """
    scenes = open_dataset("scenes", "train", length=3000)
    unseen = open_dataset("scenes", "val", length=UNSEEN)
    print(f"drawing {len(scenes)} training scenes")
    drawn = SampleList(scenes, scenes.categories)
    begin = time.perf_counter()
    model = learn(drawn, dataclasses.replace(TINY, steps=steps))
    print(f"trained {steps} steps in {time.perf_counter() - begin:.0f} s, from random weights")
    scores = evaluate(model, unseen, progress=True)
    large = open_dataset("scenes", "val", length=PICTURES, size=SHOWN)
    rows = [comparison(model, sample) for sample in large]
    categories = {c["id"]: c for c in unseen.categories}
    real = real_pictures(PICTURES)
    if real:
        print(f"now another one learns {len(real)} real pictures by heart, too few to generalise")
        begin = time.perf_counter()
        small = SampleList([drop_empty(resize(s, 128, 160)) for s in real], real.categories)
        recipe = dataclasses.replace(TINY, steps=real_steps, batch_size=len(small))
        model = learn(small, recipe)
        seconds = time.perf_counter() - begin
        fit = evaluate(model, real)
        print(f"PQ {fit['All']['pq']:.2f} on these {len(real)} training pictures, {seconds:.0f} s")
        rows += [comparison(model, sample) for sample in real]
        categories = {c["id"]: c for c in real.categories} | categories
    path = plots.save(plots.compare(rows, list(categories.values())), out / "demo.png")
    print(f"wrote {path}")
    print(f"PQ {scores['All']['pq']:.2f} on {len(unseen)} unseen scenes")
    return scores["All"]["pq"]


def learn(dataset: Dataset, recipe: TrainConfig) -> Mask2Former:
    """A tiny model for this data set, trained from random weights."""
    torch.manual_seed(recipe.seed)
    categories, short_side = dataset.categories, min(dataset[0].image.shape[1:])
    config = preset(
        "tiny", num_classes=len(categories), categories=categories, short_side=short_side
    )
    model = Mask2Former(config)
    train(model, dataset, recipe)
    return model


def real_pictures(count: int) -> SampleList | None:
    """A few coco-mini training pictures; None if there are none, and a message."""
    try:
        folder = fetch_coco_mini(mirror=os.environ.get("MINIM2F_MIRROR"), progress=False)
    except FetchError as error:
        print(f"no real pictures this time: {error}")
        return None
    photos = open_dataset(folder, "train")
    clear = (sample for sample in photos if 3 <= len(sample.labels) <= 10)
    return SampleList(list(islice(clear, count)), photos.categories)
