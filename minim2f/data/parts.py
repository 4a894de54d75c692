"""A part of a data set."""

from __future__ import annotations

from collections.abc import Sequence

from .sample import Dataset, Sample


class Part:
    """Some pictures of a data set, read when asked for.

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
