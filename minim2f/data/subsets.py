"""A part of a data set, and several data sets as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from .sample import Dataset, Sample


class Subset:
    """Some pictures of a data set: a data set of the same kind.

    Attributes:
        categories, task: the data set's.
        name: what this part is called.
        indices: of its pictures within the data set.

    Args:
        dataset: any.
        indices: of the pictures that belong to this part, in order.
        name: for people.
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int], name: str) -> None:
        self.dataset, self.indices, self.name = dataset, list(indices), name
        self.categories, self.task = dataset.categories, getattr(dataset, "task", "panoptic")

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:
        """One picture; raises IndexError past the end."""
        return self.dataset[self.indices[index]]

    def image_path(self, index: int) -> Path | None:
        """The file of one picture, if the data set knows it."""
        return image_path(self.dataset, self.indices[index])


class Concat:
    """Data sets with the same categories, one after the other.

    Attributes:
        categories, task: of all of them.

    Args:
        datasets: one or more.
        place: for messages.

    Raises:
        ValueError: they have different categories, or are of different tasks.
    """

    def __init__(self, datasets: Sequence[Dataset], place: object) -> None:
        self.datasets = list(datasets)
        self.categories, self.task = datasets[0].categories, datasets[0].task
        for other in datasets[1:]:
            if refusal := _difference(datasets[0], other):
                raise ValueError(f"{place}: its splits {refusal}; open one of them by its name")
        self._ends = list(accumulate(len(dataset) for dataset in datasets))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        """One picture; raises IndexError past the end."""
        dataset, own = self._find(index)
        return dataset[own]

    def image_path(self, index: int) -> Path | None:
        """The file of one picture, if its data set knows it."""
        return image_path(*self._find(index))

    def _find(self, index: int) -> tuple[Dataset, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"picture {index} of a data set of {len(self)}")
        index %= len(self)
        which = bisect_right(self._ends, index)
        return self.datasets[which], index - self._ends[which] + len(self.datasets[which])


def image_path(dataset: Dataset, index: int) -> Path | None:
    """The file of one picture, where the data set has files."""
    find = getattr(dataset, "image_path", None)
    return None if find is None else find(index)


def _difference(one: Dataset, other: Dataset) -> str | None:
    """How two data sets differ that are to be one; None if they do not."""
    if one.task != other.task:
        return f"are of two kinds, {one.task} and {other.task}"
    names, others = ({c["id"]: c["name"] for c in d.categories} for d in (one, other))
    if names != others:
        odd = sorted(str(name) for _, name in set(names.items()) ^ set(others.items()))
        return f"have different categories (not the same: {', '.join(odd[:8])})"
    return None
