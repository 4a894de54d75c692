"""How many pixels each true segment shares with each predicted one: the basis of PQ and mIoU."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import ArrayLike

from .categories import check_known

VOID = 0  # the id of a pixel that belongs to no segment
PIXELS = 2**20  # that are counted at once: 8 MB as int64


def overlaps(
    pred_ids: ArrayLike,
    pred_segments: list[dict],
    true_ids: ArrayLike,
    true_segments: list[dict],
    index: dict[int, int],
) -> dict[tuple[int, int], int]:
    """Counts the pixels that each pair (true id, predicted id) shares, where it shares any.

    The two ids of a pixel are packed into one number, so sorting some rows counts all their pairs.

    Returns:
        {(true id, predicted id): pixels}, in the order of the ids.

    Raises:
        ValueError: see `PanopticQuality.update`; `index` holds the category ids that are known.
    """
    pred_ids, true_ids = _id_map(pred_ids, "predicted"), _id_map(true_ids, "true")
    if pred_ids.shape != true_ids.shape:
        raise ValueError(
            f"the predicted ids are {pred_ids.shape} and the true ids {true_ids.shape}, but one "
            "picture has one size: segment it at the size of the truth"
        )
    base = int(pred_ids.max()) + 1
    shared: Counter[int] = Counter()
    for first in range(0, len(true_ids), step := max(1, PIXELS // true_ids.shape[1])):
        rows = slice(first, first + step)
        packed = true_ids[rows].astype(np.int64) * base + pred_ids[rows].astype(np.int64)
        numbers, pixels = np.unique(packed, return_counts=True)
        shared.update(dict(zip(numbers.tolist(), pixels.tolist())))
    pairs = {divmod(packed, base): shared[packed] for packed in sorted(shared)}
    _check_segments({p for _, p in pairs}, pred_segments, index, "predicted")
    _check_segments({t for t, _ in pairs}, true_segments, index, "true")
    return pairs


def _id_map(ids: ArrayLike, whose: str) -> np.ndarray:
    ids = np.asarray(ids)
    if ids.ndim != 2 or ids.dtype.kind not in "iu" or not ids.size:
        raise ValueError(
            f"the {whose} ids must be (H, W) integers, got {ids.shape} of {ids.dtype}; a COCO "
            "panoptic PNG holds them as colours, id = R + 256 G + 65536 B"
        )
    if ids.min() < 0 or ids.max() >= 2**31:
        raise ValueError(
            f"the {whose} ids must lie in 0 ... 2**31 - 1, got {ids.min()} ... {ids.max()}; "
            "void is 0"
        )
    return ids


def _check_segments(present: set[int], segments: list[dict], index: dict, whose: str) -> None:
    ids = [segment["id"] for segment in segments]
    if VOID in ids:
        raise ValueError(f"a {whose} segment has id 0, which means void: number segments from 1")
    if twice := [i for i, n in Counter(ids).items() if n > 1]:
        raise ValueError(f"{whose} segments share the ids {twice}: give each segment its own")
    if unlisted := sorted(present - {VOID} - set(ids)):
        raise ValueError(f"the {whose} map holds ids {unlisted}, but its segments do not list them")
    if empty := sorted(set(ids) - present):
        raise ValueError(f"the {whose} segments {empty} have no pixel in the map: leave them out")
    check_known(segments, index, whose)
