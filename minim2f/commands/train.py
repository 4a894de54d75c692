"""`minim2f train`: from a command line to a run, or to the rest of one."""

from __future__ import annotations

import argparse
import dataclasses
import shutil
from pathlib import Path

from ..files import write
from ..model.config import PRESETS, Config
from ..training import distributed
from ..training.loop import train
from ..training.recipe import CHOICES, TrainConfig
from ..training.run_folder import CHECKPOINT, LOG, MODEL, last_start, refuse_existing_run
from .arguments import count, described, index, not_negative, positive, share
from .origin import LEARNED, require_data
from .pictures import (
    FORMS,
    PLACES,
    SHARE,
    TASKS,
    absolute,
    add_form_arguments,
    marks_of,
)
from .plan import Plan, plan_of

# What is meant by an option that is not given; None leaves it to the data or the model.
DEFAULTS = {"preset": "tiny", "data": "scenes", "device": "cpu", "out": "out/run"}
# What a number of the recipe may be, where it is not any count, or any number from 0 on.
KINDS = {"warmup": index, "seed": index, "workers": index}
KINDS |= {"learning_rate": positive, "clip_norm": positive, "flip": share}
RECIPE = tuple(field.name for field in dataclasses.fields(TrainConfig))
OPTIONS = (
    *("preset", "init", "imagenet", "data", "split", "task", "length", "hold_out", "eval"),
    *("eval_split", "queries", "short_side", "device", "half", "details", "out", *FORMS, *RECIPE),
)
# What may be another when a run goes on: where things are, how long, what is looked at.
FREE = {"data", "images", "labels", "device", "half", "details", "out", "eval", "eval_split"}
FREE |= {"steps", "precision", "workers", "save_every", "evaluate_every"}


def add_arguments(sub: argparse.ArgumentParser) -> None:
    """Every choice of a training run; every number of its recipe by its own name.

    No option has a default here: a run that goes on must know which ones were given.
    """
    add = sub.add_argument
    yes = {"action": "store_true", "default": None}
    add("--preset", choices=PRESETS, help="size of a new model (tiny)")
    add("--init", help="start from this model instead of random weights (then 1500 steps)")
    add("--imagenet", **yes, help="start the backbone from torchvision's weights")
    add("--task", choices=TASKS, help="what to learn; unless given, all that the data allow")
    add("--queries", type=count, help="the model's, or as many as the fullest picture needs")
    add("--short-side", type=count, help="pixels of the shorter side, as the model sees pictures")
    add("--device", help="cpu (unless given), cuda or mps; several processes through torchrun")
    add("--half", **yes, help="store the model as float16")
    add("--details", **yes, help="show the first loss for each prediction")
    add(
        "--resume",
        metavar="RUN",
        help="go on with this run from its last checkpoint, with all its own arguments; a kill "
        "costs the steps since then (--save-every), Ctrl-C none",
    )
    add("-o", "--out", help="folder for log, checkpoint, pictures and model (out/run)")
    _add_picture_arguments(sub)
    add_form_arguments(sub)
    numbers = sub.add_argument_group(
        "recipe", "The published one (TrainConfig), or for tiny its own (TINY), unless given:"
    )
    told = described(TrainConfig)
    for field in dataclasses.fields(TrainConfig):
        name, kind = field.name, type(field.default)
        options = {"default": None, "help": told.get(name)}
        if kind is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif name in CHOICES:
            options["choices"] = CHOICES[name]
        else:
            options["type"] = KINDS.get(name, count if kind is int else not_negative)
            options["metavar"] = "N" if kind is int else "X"
        numbers.add_argument("--" + name.replace("_", "-"), **options)


def _add_picture_arguments(sub: argparse.ArgumentParser) -> None:
    add = sub.add_argument_group(
        "pictures", "What is learned from, and what is measured on:"
    ).add_argument
    add(
        "--data",
        help="scenes (unless given), coco-mini, or your own: COCO panoptic or instance files, or "
        "a folder of images/ and labels/",
    )
    add("--split", metavar="NAME", help="learn from this split (train), or from 'all'")
    add("--length", type=count, help="how many scenes (3000), or the first of other pictures")
    add(
        "--eval",
        metavar="DATA",
        help="measure on these; 'train': on the training pictures; 'none': on nothing. Unless "
        "given: on the data's own validation split, or on pictures that are held out",
    )
    add("--eval-split", metavar="NAME", help="measure on this split (val)")
    add(
        "--hold-out",
        type=float,
        metavar="SHARE",
        help=f"share of pictures without splits that is kept for measuring ({SHARE}); 0 learns "
        "from all",
    )


def run_train(args: argparse.Namespace) -> None:
    """Trains a model from random weights, or from `--init`; `--resume` goes on with a run."""
    given = {name: value for name in OPTIONS if (value := getattr(args, name)) is not None}
    given |= {name: absolute(given[name]) for name in ("data", "eval", *PLACES) if name in given}
    folder = Path(given.get("out", args.resume or DEFAULTS["out"]))
    if folder.suffix[1:].isalpha() and not folder.is_dir():
        raise ValueError(f"-o {folder}: this is to be a folder, which gets {MODEL}")
    start = None
    if args.resume:
        start = last_start(args.resume)
        chosen = _arguments_to_go_on(args.resume, start, given)
        require_data(chosen["data"], args.resume)
    else:
        refuse_existing_run(folder)
        chosen = _nothing_given() | DEFAULTS | given
    chosen |= {"out": str(absolute(str(folder))), "init": absolute(chosen["init"])}
    with distributed.joined(chosen["device"]) as device:
        if args.resume and distributed.rank() == 0:
            _take_along(Path(args.resume), folder)
        distributed.gather(None)  # nobody looks into the folder before all of it is there
        plan = plan_of(argparse.Namespace(**chosen), _config_to_go_on(folder, start))
        if start:
            _refuse_other_data(args.resume, start, plan)
            plan = plan._replace(words=plan.words + _other_length(start, plan.recipe))
        marks = marks_of(plan.pictures.learned)
        _begin(args.command, plan, chosen, device, bool(args.resume))
        if distributed.rank() == 0:
            file = folder / MODEL
            write(folder / LEARNED, "".join(f"{mark}\n" for mark in marks))
            print(f"wrote {file}; `minim2f plot {folder}` draws how it went")


def _begin(command: str, plan: Plan, chosen: dict, device, resume: bool) -> None:
    """Says what the run will do, and does it."""
    if distributed.rank() == 0:
        print(plan.words)
    learned, measured, source = plan.pictures
    counts = {"learned": len(learned), "measured": len(measured.dataset) if measured else 0}
    kept = {name: value for name, value in chosen.items() if name != "recipe"}
    kept["hold_out"] = source.hold_out
    train(
        plan.model.to(device),
        plan.dataset,
        plan.recipe,
        folder=chosen["out"],
        resume=resume,
        unseen=measured.dataset if measured else None,
        unseen_words=measured.words if measured else "",
        details=bool(chosen["details"]),
        note={"command": command, "arguments": kept, "source": source._asdict() | counts},
        half=bool(chosen["half"]),
    )


def _nothing_given() -> dict:
    return dict.fromkeys(OPTIONS) | {"recipe": None}


def _arguments_to_go_on(run: str, start: dict, given: dict) -> dict:
    """A run's own arguments, with those that were given now and may change.

    Raises:
        ValueError: an argument was given that must stay as it was; all of them are named.
    """
    old = _nothing_given() | DEFAULTS | {"hold_out": 0.0} | start["arguments"]
    old["recipe"] = start["recipe"]
    was = {name: start["recipe"].get(name, old[name]) for name in OPTIONS}
    fixed = [name for name in given if name not in FREE and given[name] != was[name]]
    if fixed:
        told = ", ".join(_difference(name, given[name], was[name]) for name in fixed)
        free = ", ".join(sorted(map(_flag, FREE)))
        raise ValueError(
            f"{run} cannot go on with {told}: that would be another run, which needs a folder of "
            f"its own. What may change is {free}"
        )
    return {name: old[name] for name in (*OPTIONS, "recipe")} | given


def _difference(name: str, now: object, was: object) -> str:
    return f"{_flag(name)} {now} (it has {'none' if was is None else was})"


def _flag(name: str) -> str:
    return "-o" if name == "out" else "--" + name.replace("_", "-")


def _take_along(run: Path, folder: Path) -> None:
    """Copies a run to the folder in which it goes on, if that is another one.

    Raises:
        FileExistsError: that folder holds a run already.
    """
    if run.resolve() == folder.resolve():
        return
    if (folder / LOG).exists():
        raise FileExistsError(f"{folder} holds a run already: name another folder for {run}")
    shutil.copytree(run, folder, dirs_exist_ok=True)


def _config_to_go_on(folder: Path, start: dict | None) -> Config | None:
    """The model of a run with a checkpoint; it needs no --init any more, which may be gone."""
    if start and "config" in start and (folder / CHECKPOINT).exists():
        return Config(**start["config"])
    return None


def _other_length(start: dict, recipe: TrainConfig) -> str:
    """A line to print where a run goes on to another number of steps."""
    was = start["recipe"]["steps"]
    if was == recipe.steps:
        return ""
    now = f"the learning rate is from here on that of {recipe.steps:,} steps, not {was:,}"
    return f"\n{'resumed':<11}{now}"


def _refuse_other_data(run: str, start: dict, plan: Plan) -> None:
    """Refuses to go on with other pictures than a run began with.

    Raises:
        ValueError: there are other classes, or more or fewer pictures.
    """
    names = [str(c.get("name", c["id"])) for c in plan.pictures.learned.categories]
    if names != start["categories"]:
        raise ValueError(
            f"{plan.pictures.source.data} is not the data of {run}: it has the classes {names}, "
            f"the run {start['categories']}"
        )
    count, was = len(plan.pictures.learned), start.get("source", {}).get("learned")
    if was is not None and count != was:
        raise ValueError(
            f"{plan.pictures.source.data} is not the data of {run} as they were: the run learned "
            f"from {was} pictures, and there are {count}; a new run (-o) may start from its model "
            f"(--init {run})"
        )
