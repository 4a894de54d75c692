"""Panoptic truth holds that of the other two tasks; here a data set is seen as one of these."""

from __future__ import annotations

from pathlib import Path

import torch

from .sample import Dataset, Sample, bounding_box
from .subsets import image_path

ALLOWS = {
    "panoptic": ("panoptic", "instance", "semantic"),
    "instance": ("instance",),
    "semantic": ("semantic",),
}


def as_task(dataset: Dataset, task: str | None) -> Dataset:
    """A view of the data set with the truth of one task.

    Args:
        dataset: any; one without a `task` counts as panoptic.
        task: "panoptic", the data set itself, as with None;
            "instance": things alone, crowds among their segments; class indices count things only;
            "semantic": all that a picture has of a class, crowds too, is one segment; categories
            keep their "isthing".

    Raises:
        ValueError: the truth does not allow this task.
    """
    own = getattr(dataset, "task", "panoptic")
    if task is None or task == own:
        return dataset
    if task not in ALLOWS[own]:
        raise ValueError(
            f"this is {own} data, good for {' or '.join(ALLOWS[own])}, not for {task!r}"
        )
    return TaskView(dataset, task)


class TaskView:
    """A panoptic data set, seen as instance or as semantic data; see `as_task`.

    Attributes:
        categories: of things only for "instance"; all for "semantic".
        task: "instance" or "semantic".

    Args:
        dataset: of panoptic samples.
        task: "instance" or "semantic".
    """

    def __init__(self, dataset: Dataset, task: str):
        self._dataset, self.task = dataset, task
        self.categories = dataset.categories
        if task == "instance":
            self.categories = [c for c in dataset.categories if _is_thing(c)]

    def __len__(self) -> int:
        return len(self._dataset)

    def image_path(self, index: int) -> Path | None:
        """The file of one picture, if the data set knows it."""
        return image_path(self._dataset, index)

    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        """The picture with the truth of this task, or a list of them for a slice.

        Raises:
            IndexError: past the end, which ends `for sample in view`.
        """
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"picture {index} of a data set of {len(self)}")
        sample = self._dataset[index]
        if self.task == "semantic":
            ids, segments = _one_segment_per_class(sample, self.categories)
        else:
            ids, segments = _things(sample, self.categories)
        return Sample.from_panoptic(
            sample.image, ids, segments, self.categories, sample.image_id, sample.file_name
        )


def _is_thing(category: dict) -> bool:
    return bool(category.get("isthing", 1))


def _things(sample: Sample, things: list[dict]) -> tuple[torch.Tensor, list[dict]]:
    wanted = {category["id"] for category in things}
    segments = [segment for segment in sample.segments if segment["category_id"] in wanted]
    kept = torch.isin(sample.ids, torch.tensor([s["id"] for s in segments], dtype=torch.int64))
    return sample.ids.where(kept, 0), segments


def _one_segment_per_class(
    sample: Sample, categories: list[dict]
) -> tuple[torch.Tensor, list[dict]]:
    ids, segments = torch.zeros_like(sample.ids), []
    for category in categories:
        own = [s["id"] for s in sample.segments if s["category_id"] == category["id"]]
        mask = torch.isin(sample.ids, torch.tensor(own, dtype=torch.int64))
        if not mask.any():
            continue
        number = len(segments) + 1
        ids[mask] = number
        facts = {"id": number, "category_id": category["id"], "iscrowd": 0}
        box = bounding_box(mask.numpy())
        segments.append(facts | {"area": int(mask.sum()), "bbox": box})
    return ids, segments
