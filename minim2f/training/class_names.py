"""The classes of a model and those of a data set are the same if their names are."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence

from ..data.sample import Dataset, Sample
from ..model.config import Config


class Renumbered:
    """A data set whose category ids, and class indices, are another list's.

    Args:
        dataset: any.
        categories: the list that class indices shall count in.
        index: for each category of the data set, its position in that list.
    """

    def __init__(self, dataset: Dataset, categories: Sequence[dict], index: Sequence[int]) -> None:
        self._dataset, self.categories = dataset, list(categories)
        self.task = getattr(dataset, "task", "panoptic")
        self._index = list(index)
        self._ids = {c["id"]: categories[k]["id"] for c, k in zip(dataset.categories, index)}

    def __len__(self) -> int:
        return len(self._dataset)

    def __getitem__(self, index: int) -> Sample:
        """The picture, with other numbers for the same classes.

        Raises:
            IndexError: past the end, which ends `for sample in dataset`.
        """
        sample = self._dataset[index]
        ids = self._ids
        segments = [s | {"category_id": ids[s["category_id"]]} for s in sample.segments]
        labels = sample.labels.new_tensor([self._index[k] for k in sample.labels.tolist()])
        return dataclasses.replace(sample, segments=segments, labels=labels)


def in_classes_of(config: Config, dataset: Dataset) -> tuple[Dataset, str]:
    """A data set in the numbers of a model's classes, found by their names.

    Args:
        config: of the model. Without class names, its classes count as the data set's, in order.
        dataset: to measure the model on.

    Returns:
        The data set, with the model's categories first and then those that the model does not
        know; and a sentence on classes that only one of both has, "" if there are none.

    Raises:
        ValueError: they have no class in common, or a model without names as many classes.
    """
    theirs, ours = list(dataset.categories), list(config.categories)
    if not ours:
        return _by_order(config, dataset)
    if [(c["id"], c.get("name")) for c in ours] == [(c["id"], c.get("name")) for c in theirs]:
        return dataset, ""
    place = {_name(category): k for k, category in reversed(list(enumerate(ours)))}
    unknown = [c for c in theirs if _name(c) not in place]
    if len(unknown) == len(theirs):
        raise ValueError(
            f"the model knows other classes than these pictures have: {_list(ours)} there, "
            f"{_list(theirs)} here; measure it on pictures with its own classes"
        )
    free = 1 + max(c["id"] for c in ours)
    place |= {_name(c): len(ours) + k for k, c in enumerate(unknown)}
    merged = ours + [c | {"id": free + k} for k, c in enumerate(unknown)]
    for category in theirs:  # what counts as a thing is the truth's choice
        if "isthing" in category:
            k = place[_name(category)]
            merged[k] = merged[k] | {"isthing": category["isthing"]}
    index = [place[_name(category)] for category in theirs]
    return Renumbered(dataset, merged, index), _told(ours, theirs, unknown, dataset)


def _by_order(config: Config, dataset: Dataset) -> tuple[Dataset, str]:
    theirs = dataset.categories
    if len(theirs) != config.num_classes:
        raise ValueError(
            f"the model has {config.num_classes} classes without names, these pictures have "
            f"{len(theirs)}: {_list(theirs)}; nobody can say which is which"
        )
    numbered = [category | {"id": k} for k, category in enumerate(theirs)]
    told = "the model has no class names: its classes are taken in the order of the data's"
    return Renumbered(dataset, numbered, range(len(theirs))), told


def _told(ours: list[dict], theirs: list[dict], unknown: list[dict], dataset: Dataset) -> str:
    """A sentence on classes that only one of both has."""
    known = {_name(category) for category in theirs}
    instance = getattr(dataset, "task", "panoptic") == "instance"
    extra = [c for c in ours if _name(c) not in known and (c.get("isthing", 1) or not instance)]
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
