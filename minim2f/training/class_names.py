"""The classes of a model and those of a data set are the same if their names are."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

from ..data.sample import Dataset
from ..model.config import Config

UNNAMED = "the model has no class names: its classes are taken in the order of the data's"


class Aligned(NamedTuple):
    """The classes of a model and those of a data set, in the same numbers.

    Attributes:
        config: the model's; classes that the data set has, too, are numbered and are things as
            there, so that results read with it are comparable with the truth.
        categories: the data set's, and after them those that only the model has.
        words: a sentence on classes that only one of both has; "" if there are none.
    """

    config: Config
    categories: list[dict]
    words: str


def aligned(config: Config, dataset: Dataset) -> Aligned:
    """Numbers a model's classes as a data set does, found by their names.

    Args:
        config: of the model. Without class names, its classes count as the data set's, in order.
        dataset: to measure the model on.

    Raises:
        ValueError: they have no class in common, or a model without names as many classes.
    """
    ours, theirs = list(config.categories), list(dataset.categories)
    if not ours:
        partners, words = _by_order(config, theirs), UNNAMED
    elif [_name(c) for c in ours] == [_name(c) for c in theirs]:
        partners, words = theirs, ""
    else:
        partners = _by_name(ours, theirs)
        words = _told(ours, theirs, partners, getattr(dataset, "task", "panoptic") == "instance")
    taken = {category["id"] for category in theirs}
    free = count(1 + max(category["id"] for category in (*config.classes, *theirs)))
    classes = []
    for mine, partner in zip(config.classes, partners):
        own = mine["id"] if mine["id"] not in taken else next(free)
        classes.append(mine | (partner or {"id": own}))
    of_id = {category["id"]: category for category in classes}
    categories = [of_id.pop(category["id"], category) for category in theirs]
    config = dataclasses.replace(config, categories=tuple(classes))
    return Aligned(config, categories + list(of_id.values()), words)


def _by_order(config: Config, theirs: list[dict]) -> list[dict]:
    if len(theirs) != config.num_classes:
        raise ValueError(
            f"the model has {config.num_classes} classes without names, these pictures have "
            f"{len(theirs)}: {_list(theirs)}; nobody can say which is which"
        )
    return theirs


def _by_name(ours: list[dict], theirs: list[dict]) -> list[dict | None]:
    """For each of the model's classes the data set's, if it has one; none is taken twice."""
    named = {_name(category): category for category in reversed(theirs)}
    partners = [named.pop(_name(category), None) for category in ours]
    if not any(partners):
        raise ValueError(
            f"the model knows other classes than these pictures have: {_list(ours)} there, "
            f"{_list(theirs)} here; measure it on pictures with its own classes"
        )
    return partners


def _told(
    ours: list[dict], theirs: list[dict], partners: list[dict | None], things_only: bool
) -> str:
    """A sentence on classes that only one of both has."""
    unknown = [category for category in theirs if category not in partners]
    alone = [category for category, partner in zip(ours, partners) if not partner]
    extra = [c for c in alone if c.get("isthing", 1) or not things_only]
    told = []
    if unknown:
        told.append(f"the model does not know {_list(unknown)}, which count as missed")
    if extra:
        told.append(f"these pictures have no {_list(extra)}, which the model may find")
    return "; ".join(told)


def _name(category: dict) -> str:
    return str(category.get("name", category["id"])).strip().casefold()


def _list(categories: Sequence[dict]) -> str:
    names = ", ".join(str(c.get("name", c["id"])) for c in categories)
    return textwrap.shorten(names, 120, placeholder=" ...")
