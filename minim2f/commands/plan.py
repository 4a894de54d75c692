"""What a run will do, decided and said before its first step."""

from __future__ import annotations

import argparse
import dataclasses
import textwrap
from typing import NamedTuple

import torch

from ..checkpoints import load
from ..data import Dataset
from ..data.augment import drop_empty, resize
from ..data.check import survey
from ..data.sample import SampleList
from ..data.subsets import Subset
from ..model.config import PRESETS, Config, preset
from ..model.mask2former import Mask2Former
from ..prediction import input_size
from ..training.class_names import aligned
from ..training.recipe import SEMANTIC, TINY, TrainConfig
from .pictures import SEED, Pictures, pictures_of_run

LOOKED_AT = 100  # pictures at most, spread over the data, before a run begins
KEPT = 2e9  # bytes of prepared pictures that are kept in memory
SPARE = 1.25  # queries for each segment of the fullest picture
MOST_QUERIES = 100  # unless --queries says more: matching and attention grow with them


class Plan(NamedTuple):
    """What a run is, before its first step.

    Attributes:
        pictures: to learn from, and to measure on.
        dataset: those to learn from, perhaps prepared in memory.
        model: with random weights, or with another model's.
        recipe: all numbers.
        words: what the run will do, in lines for people.
    """

    pictures: Pictures
    dataset: Dataset
    model: Mask2Former
    recipe: TrainConfig
    words: str


class Look(NamedTuple):
    """What some pictures of a data set are like.

    Attributes:
        sizes: (height, width) of each, in pixels, by the shorter side.
        segments: of each, those that a query is to find.
        of: how many pictures the data set has.
    """

    sizes: list[tuple[int, int]]
    segments: list[int]
    of: int


def plan_of(args: argparse.Namespace, config: Config | None = None) -> Plan:
    """Opens the data and makes the model that the command line asks for.

    Args:
        args: what `minim2f.commands.train.add_arguments` adds.
        config: of the model of a run that goes on: its weights come later, from its checkpoint.

    Raises:
        FileNotFoundError, ValueError: data or model are not there, or do not fit each other.
    """
    pictures = pictures_of_run(args)
    look = look_at(pictures.learned)
    torch.manual_seed(args.seed or 0)
    model = Mask2Former(config) if config else _model(args, pictures.learned, look)
    recipe = _recipe(args, model.config, pictures.learned)
    told = ""
    if pictures.measured:
        look_at(pictures.measured.dataset)
        told = aligned(model.config, pictures.measured.dataset).words
    words = _words(pictures, look, model.config, recipe, told)
    dataset = _as_seen(pictures.learned, model.config, recipe, look)
    return Plan(pictures, dataset, model, recipe, words)


def look_at(dataset: Dataset) -> Look:
    """Reads some pictures from all over a data set, so that faults show at once.

    Raises:
        OSError, ValueError: one of them cannot be read.
    """
    sizes, segments = [], []
    for sample in _some(dataset):
        sizes.append(tuple(sample.image.shape[1:]))
        segments.append(len(sample.labels))
    return Look(sorted(sizes, key=min), segments, len(dataset))


def _some(dataset: Dataset) -> Subset:
    step = -(-len(dataset) // LOOKED_AT) or 1
    return Subset(dataset, range(0, len(dataset), step), "a look")


def _model(args: argparse.Namespace, dataset: Dataset, look: Look) -> Mask2Former:
    """A model for the data set's categories: with random weights, or with another model's."""
    categories = tuple(dataset.categories)
    if args.init:
        own = load(args.init).config
        queries = args.queries or _queries(args, own, look)
        torch.manual_seed(args.seed or 0)
        model = load(args.init, categories=categories, num_queries=queries)
    else:
        own = PRESETS[args.preset]
        queries = args.queries or _queries(args, own, look)
        classes = {"num_classes": len(categories), "categories": categories}
        weights = "imagenet" if args.imagenet else None
        model = Mask2Former(preset(args.preset, **classes, num_queries=queries), weights)
    if side := args.short_side or _short_side(args, own, look):
        model.config = dataclasses.replace(model.config, short_side=side, long_side=2 * side)
    return model


def _for_scenes(args: argparse.Namespace, config: Config) -> bool:
    """Whether a model is as small as scenes allow, or scenes are what it is to learn."""
    return args.data != "scenes" and config.short_side <= PRESETS["tiny"].short_side


def _queries(args: argparse.Namespace, config: Config, look: Look) -> int:
    """The model's own number, or more where a model for scenes has too few for other pictures."""
    most = max(look.segments, default=0)
    if not _for_scenes(args, config) or most <= config.num_queries:
        return config.num_queries
    return max(config.num_queries, min(MOST_QUERIES, round(SPARE * most)))


def _short_side(args: argparse.Namespace, config: Config, look: Look) -> int | None:
    """The size at which a model for scenes sees other pictures: half of their own, 240 to 320."""
    if not (_for_scenes(args, config) and look.sizes):
        return None
    own = min(look.sizes[len(look.sizes) // 2])
    return max(PRESETS["tiny"].short_side, min(own, max(240, min(320, own // 2))))


def _recipe(args: argparse.Namespace, config: Config, dataset: Dataset) -> TrainConfig:
    """The published recipe of the task, or tiny's for tiny; the command line has the last word."""
    if args.recipe:
        recipe = TrainConfig(**args.recipe)
    elif config.backbone.startswith("resnet10"):
        recipe = TINY
    else:
        recipe = SEMANTIC if dataset.task == "semantic" else TrainConfig()
        if args.init:
            recipe = dataclasses.replace(recipe, steps=TINY.steps)
        if args.device.startswith("cuda"):
            recipe = dataclasses.replace(recipe, precision="float16")
    names = [field.name for field in dataclasses.fields(TrainConfig)]
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return dataclasses.replace(recipe, **given)


def _as_seen(dataset: Dataset, config: Config, recipe: TrainConfig, look: Look) -> Dataset:
    """All pictures in memory, at the size at which the model sees them, if there is room."""
    if recipe.jitter != "none" or not look.sizes:
        return dataset
    height, width = input_size(*look.sizes[len(look.sizes) // 2], config)
    each = height * width * (3 + 8 + sum(look.segments) / len(look.segments))  # image, ids, masks
    if each * len(dataset) > KEPT:
        return dataset
    small = (drop_empty(resize(s, *input_size(*s.image.shape[1:], config))) for s in dataset)
    return SampleList(small, dataset.categories, dataset.task)


def _words(pictures: Pictures, look: Look, config: Config, recipe: TrainConfig, told: str) -> str:
    """What the run will do, a line for each question that somebody may have."""
    learned, measured, source = pictures
    split = f"split {source.split} of " if source.split else ""
    lines = {"pictures": f"{len(learned)} of {split}{source.data} to learn from"}
    if source.hold_out:
        lines["held out"] = (
            f"{source.hold_out:.0%} of the pictures, chosen with seed {SEED}: not learned from, "
            "only measured (--hold-out SHARE changes that; so does a split of the data)"
        )
    names = ", ".join(str(c.get("name", c["id"])) for c in config.categories)
    lines["classes"] = f"{config.num_classes} ({learned.task}): {textwrap.shorten(names, 70)}"
    lines["size"] = _size(look, config, recipe)
    most = (
        f"; the fullest of {len(look.sizes)} pictures has {max(look.segments, default=0)} segments"
    )
    lines["queries"] = f"{config.num_queries}{most}"
    epochs = recipe.steps * recipe.batch_size / max(len(learned), 1)
    lines["steps"] = f"{recipe.steps:,} with {recipe.batch_size} pictures each: {epochs:.3g} epochs"
    lines["evaluation"] = "none: there are no pictures for it"
    if measured:
        every = recipe.evaluate_every
        often = f"every {every:,} steps and at the end" if every < recipe.steps else "at the end"
        lines["evaluation"] = f"on {measured.words}; {often}"
    warnings = [told] if told else []
    if source.data != "scenes" and len(learned) <= LOOKED_AT:
        warnings += survey(learned, config.num_queries).warnings
    lines = [f"{name:<11}{text}" for name, text in lines.items()]
    return "\n".join(lines + [f"{'warning':<11}{text}" for text in warnings])


def _size(look: Look, config: Config, recipe: TrainConfig) -> str:
    if not look.sizes:
        return "there is no picture"
    own = [f"{height} x {width}" for height, width in (look.sizes[0], look.sizes[-1])]
    own = own[0] if own[0] == own[1] else " to ".join(own)
    seen = "{} x {}".format(*input_size(*look.sizes[len(look.sizes) // 2], config))
    if recipe.jitter != "none":
        seen = f"squares of {recipe.crop} pixels, later {seen}"
    told = "height x width; --short-side changes that"
    return f"seen at {seen}, while their own is {own} ({told})"
