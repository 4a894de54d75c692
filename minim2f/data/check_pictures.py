"""Every picture of a data set is read once, to find what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator

from .faults import faults_of
from .sample import Dataset, Sample
from .subsets import Subset


def read_all(dataset: Dataset) -> Iterator[tuple[int, Sample | None, list[str]]]:
    """Reads the pictures one by one, and goes on after a fault.

    Yields:
        The picture's index, its sample, or None if it cannot be used, and what is wrong with it.
    """
    for index in range(len(dataset)):
        try:
            yield index, dataset[index], []
        except (OSError, ValueError) as error:
            yield index, None, faults_of(error)


def leave_out_faulty(dataset: Dataset, faults: list[str]) -> Subset:
    """The pictures that can be used. Of instances, single annotations are left out, too.

    Args:
        dataset: as a reader returns it.
        faults: gets what was wrong with those that are left out.
    """
    sound = []
    for index, sample, found in read_all(dataset):
        faults += found
        if sample is not None:
            sound.append(index)
        elif hasattr(dataset, "lenient"):
            dataset.lenient = True
            sound += [index] if _can_be_read(dataset, index) else []
            dataset.lenient = False
    if hasattr(dataset, "lenient"):
        dataset.lenient = True
    return Subset(dataset, sound, "without faults")


def _can_be_read(dataset: Dataset, index: int) -> bool:
    try:
        dataset[index]
    except (OSError, ValueError):
        return False
    return True
