"""`minim2f train`: from a command line to a run, its data, its model and its recipe."""

from __future__ import annotations

import argparse
import dataclasses
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch

from .checkpoints import load
from .data import Dataset, open_dataset
from .data.augment import drop_empty, resize
from .data.sample import SampleList
from .model.config import PRESETS, Config, preset
from .model.mask2former import Mask2Former
from .prediction import input_size
from .training import distributed
from .training.loop import train
from .training.recipe import SEMANTIC, TINY, TrainConfig
from .training.run_folder import MODEL, arguments_of

TASKS = ("panoptic", "instance", "semantic")


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Every choice of a training run; every number of its recipe by its own name."""
    add = sub.add_argument
    add("--preset", choices=PRESETS, default="tiny")
    add("--init", help="start from this model instead of random weights (then 1500 steps)")
    add("--imagenet", action="store_true", help="start the backbone from torchvision's weights")
    add(
        "--data",
        default="scenes",
        help="scenes, coco-mini, or your own: COCO panoptic or instance "
        "files, or a folder of images/ and labels/",
    )
    add("--task", choices=TASKS, help="what to learn; unless given, all that the data allow")
    add("--length", type=int, help="how many scenes (3000), or the first of other pictures")
    add(
        "--eval",
        metavar="DATA",
        help="evaluate on these, or with 'train' on the training pictures; scenes and coco-mini "
        "have their own",
    )
    add("--queries", type=int, help="the preset's unless given")
    add("--short-side", type=int, help="size at which the model sees pictures; the preset's")
    add("--device", default="cpu", help="cpu, cuda or mps; several processes through torchrun")
    add("--half", action="store_true", help="store the model as float16")
    add("--details", action="store_true", help="show the first loss for each prediction")
    add("--resume", metavar="RUN", help="go on with this run, with all its own arguments")
    add("-o", "--out", default="out/run", help="folder for log, checkpoint, pictures and model")
    numbers = sub.add_argument_group(
        "recipe", "The published one (TrainConfig), or for tiny its own (TINY), unless given:"
    )
    for field in dataclasses.fields(TrainConfig):
        flag, kind = "--" + field.name.replace("_", "-"), type(field.default)
        if kind is bool:
            numbers.add_argument(flag, action=argparse.BooleanOptionalAction, default=None)
        else:
            numbers.add_argument(flag, type=kind, metavar=kind.__name__)


def run_train(args: argparse.Namespace) -> None:
    """Trains a model from random weights, or from `--init`; `--resume` goes on with a run."""
    resume = args.resume
    if resume:
        args = argparse.Namespace(**arguments_of(resume) | {"out": resume})
    if Path(args.out).suffix:
        raise ValueError(f"-o {args.out}: this is to be a folder, which gets {MODEL}")
    with distributed.joined(args.device) as device:
        plan = plan_of(args)
        train(
            plan.model.to(device),
            plan.dataset,
            plan.recipe,
            folder=args.out,
            resume=bool(resume),
            unseen=plan.unseen,
            details=args.details,
            note={"command": args.command, "arguments": vars(args) | {"run": None}},
            half=args.half,
        )
        if distributed.rank() == 0:
            file = Path(args.out, MODEL)
            print(f"wrote {file}; `minim2f plot {args.out}` draws how it went")


class Plan(NamedTuple):
    """What a run is, before its first step.

    Attributes:
        dataset: the pictures to learn from.
        unseen: the pictures to evaluate on, if any.
        model: with random weights, or with another model's.
        recipe: all numbers.
    """

    dataset: Dataset
    unseen: Dataset | None
    model: Mask2Former
    recipe: TrainConfig


def plan_of(args: argparse.Namespace) -> Plan:
    """Opens the data and makes the model that the command line asks for.

    Args:
        args: what `add_arguments` adds.

    Raises:
        FileNotFoundError, ValueError: data or model are not there, or do not fit each other.
    """
    dataset = open_data(args.data, "train", args.length, args.task, scenes=3000)
    unseen = _unseen(args, dataset)
    torch.manual_seed(args.seed or 0)
    model = _model(args, dataset)
    recipe = _recipe(args, model.config, dataset)
    if recipe.jitter == "none":
        dataset = _as_seen(dataset, model.config)
    return Plan(dataset, unseen, model, recipe)


def open_data(name: str, split: str, length: int | None, task: str | None, scenes: int) -> Dataset:
    """Opens a data set, or the first pictures of it.

    Args:
        name, split, task: as in `open_dataset`.
        length: how many pictures; None takes all.
        scenes: how many scenes are drawn if `length` is None.
    """
    options = {"length": length or scenes} if name == "scenes" else {}
    dataset = open_dataset(name, split, task=task, **options)
    if length is None or len(dataset) <= length:
        return dataset
    return SampleList(islice(dataset, length), dataset.categories, dataset.task)


def _unseen(args: argparse.Namespace, dataset: Dataset) -> Dataset | None:
    """What a run is evaluated on."""
    if args.eval == "train":
        return dataset
    name = args.eval or (args.data if args.data in ("scenes", "coco-mini") else None)
    return open_data(name, "val", None, args.task, scenes=100) if name else None


def _model(args: argparse.Namespace, dataset: Dataset) -> Mask2Former:
    """A model for the data set's categories: with random weights, or with another model's."""
    categories = tuple(dataset.categories)
    if args.init:
        model = load(args.init, categories=categories, num_queries=args.queries)
    else:
        changes = {"num_queries": args.queries} if args.queries else {}
        classes = {"num_classes": len(categories), "categories": categories}
        weights = "imagenet" if args.imagenet else None
        model = Mask2Former(preset(args.preset, **classes, **changes), weights)
    if args.short_side:
        sides = {"short_side": args.short_side, "long_side": 2 * args.short_side}
        model.config = dataclasses.replace(model.config, **sides)
    return model


def _recipe(args: argparse.Namespace, config: Config, dataset: Dataset) -> TrainConfig:
    """The published recipe of the task, or tiny's for tiny; the command line has the last word."""
    if config.backbone == PRESETS["tiny"].backbone:
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


def _as_seen(dataset: Dataset, config: Config) -> SampleList:
    """All pictures in memory, at the size at which the model sees them."""
    small = (drop_empty(resize(s, *input_size(*s.image.shape[1:], config))) for s in dataset)
    return SampleList(small, dataset.categories, dataset.task)
