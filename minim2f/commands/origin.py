"""What a saved model learned from and for, by the log of its run or by its own classes."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from ..model.config import Config
from ..training.run_folder import LOG, last_start
from .pictures import NAMED, TASKS, TRAIN, Source, absolute, splits_in

LEARNED = "learned.txt"  # in a run's folder: the pictures that it learned from


def source_of(model: str) -> Source | None:
    """What a model learned from, by the log in its folder; None if there is no log that says so.

    Args:
        model: a run's folder, or a file in it.
    """
    folder = _folder(model)
    if not Path(model).exists() or not (folder / LOG).is_file():
        return None
    try:
        start = last_start(folder)
    except FileNotFoundError:  # of a run without a command line
        return None
    if "source" in start:
        return Source(**{name: start["source"][name] for name in Source._fields})
    old = start["arguments"]  # of a run before anything was held out
    data = absolute(old["data"])
    exists = data in NAMED or Path(data).exists()
    split = next((name for name in TRAIN if exists and name in splits_in(data)), None)
    return Source(data, split, old.get("length"), old.get("task"))


def learned_by(model: str) -> frozenset[str]:
    """The pictures that a model learned from, as `minim2f.commands.pictures.marks_of` has them.

    Args:
        model: as in `source_of`; none are known without the list in its folder.
    """
    try:
        return frozenset((_folder(model) / LEARNED).read_text("utf-8").splitlines())
    except (OSError, ValueError):
        return frozenset()


def task_of(model: str, config: Config) -> str:
    """What a model was trained for: by its run's log, its published name, or its classes.

    Args:
        model: as the command line names it.
        config: the model's. One without class names says nothing, and counts as panoptic.
    """
    source = source_of(model)
    if source and source.task:
        return source.task
    words = [] if Path(model).exists() else re.split("[-_]", model)
    if named := [task for task in TASKS if task in words]:
        return named[0]
    kinds = {bool(category.get("isthing", 1)) for category in config.categories}
    if kinds == {False}:
        return "semantic"
    return "instance" if kinds == {True} else "panoptic"


def numbered_as_learned(config: Config, source: Source | None) -> Config:
    """A model's classes with the numbers of the label maps that it learned from.

    Classes count from 0. In maps whose 0 is void, the first class has the number 1.
    """
    if source is None or not source.forms.get("zero_is_void"):
        return config
    categories = tuple(category | {"id": category["id"] + 1} for category in config.classes)
    return dataclasses.replace(config, categories=categories)


def require_data(data: str, run: str) -> None:
    """Asks for the data that a run learned from, where they are no longer where they were.

    Raises:
        FileNotFoundError: the message says how to name their new place.
    """
    if data not in NAMED and not Path(data).exists():
        raise FileNotFoundError(
            f"{data}, from which {run} learned, is not there any more: say where these "
            "data are now with --data PLACE"
        )


def _folder(model: str) -> Path:
    return Path(model) if Path(model).is_dir() else Path(model).parent
