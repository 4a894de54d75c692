"""Pictures kept in memory, so that an epoch costs no drawing, no decoding and no resizing."""

from __future__ import annotations

from collections.abc import Iterable

from .sample import Sample


class Memory(list):
    """A data set of samples that were made before.

    Args:
        samples: in any number.
        categories: COCO dicts; a class index is a position in this list.
        task: the richest task that the samples' truth allows.
    """

    def __init__(
        self, samples: Iterable[Sample], categories: list[dict], task: str = "panoptic"
    ) -> None:
        super().__init__(samples)
        self.categories, self.task = categories, task
