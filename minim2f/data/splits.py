"""Splits: those that the data have, and a share held out where they have none."""

from __future__ import annotations

import os

import numpy as np

from .open import find_splits
from .sample import Dataset
from .subsets import Subset

__all__ = ["held_out", "splits_of"]


def splits_of(path: str | os.PathLike, **options: object) -> list[str]:
    """The names of the splits that a data set has; [] if it has none.

    Args:
        path: as in `minim2f.data.open_dataset`.
        options: `images` and `labels`, likewise.

    Raises:
        FileNotFoundError, ValueError: there are no data at the path, or they cannot be told apart.
    """
    return find_splits(path, **options)


def held_out(dataset: Dataset, share: float = 0.2, seed: int = 0) -> tuple[Subset, Subset]:
    """Keeps a share of the pictures back, to measure on what the model has not seen.

    Which pictures these are follows from their number and the seed alone: the same for training
    and for evaluation, today and tomorrow, as long as no picture comes or goes.

    Args:
        dataset: any, of two pictures or more.
        share: of the pictures to hold out, between 0 and 1; at least one is, and one stays.
        seed: of the choice.

    Returns:
        The part to train on, named "train", and the part held out, named "held out".

    Raises:
        ValueError: there are fewer than two pictures, or the share is not between 0 and 1.
    """
    count = len(dataset)
    if not 0 < share < 1:
        raise ValueError(f"the share to hold out lies between 0 and 1, not at {share}")
    if count < 2:
        raise ValueError(f"{count} pictures cannot be parted; it takes two or more")
    many = min(max(1, round(share * count)), count - 1)
    order = np.random.default_rng(seed).permutation(count).tolist()
    return (
        Subset(dataset, sorted(order[many:]), "train"),
        Subset(dataset, sorted(order[:many]), "held out"),
    )
