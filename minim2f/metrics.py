"""How good a segmentation is: panoptic quality (PQ) and mean intersection over union (mIoU).

Both need one small table per picture: how many pixels each true segment shares with each predicted
one. `overlaps` counts it; the rest is bookkeeping on whole numbers.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import ArrayLike

VOID = 0  # the id of a pixel that belongs to no segment


class PanopticQuality:
    """Panoptic quality, PQ = SQ x RQ, as COCO defines it.

    A predicted and a true segment of one category *match* if their IoU is above 1/2. A pixel
    belongs to one segment only, so no segment can have two such partners: nothing to search for.

        PQ = sum of the matches' IoU / (TP + FP/2 + FN/2)
           = sum of the matches' IoU / TP    x    TP / (TP + FP/2 + FN/2)
           = SQ                              x    RQ

    SQ asks "how well do the segments found fit?" (the mean IoU of the matches),
    RQ asks "were the right ones found?" (the F1 score of finding segments).

    Nobody is blamed for what nobody labelled: void pixels do not enlarge a union, crowds neither
    match nor count as missed, and a prediction of which more than half lies in void, or in crowds
    of its own category, is no false positive.

    Source: Kirillov et al. 2019, "Panoptic Segmentation", section 4, and COCO's panoptic
    evaluation. One corner differs: of several crowds of one category in a picture, COCO's tool
    looks at the last one only, and we at all of them.

    Args:
        categories: COCO category dicts (id, isthing).

    Attributes:
        counts: (K, 4) float64, for each category TP, FP, FN and the sum of the matches' IoU, over
            all pictures so far.
    """

    def __init__(self, categories: list[dict]) -> None:
        self.index = _index(categories)
        if any("isthing" not in category for category in categories):
            raise ValueError("each category needs 'isthing': 1 for things (car), 0 for stuff (sky)")
        self.isthing = np.array([bool(category["isthing"]) for category in categories])
        self.counts = np.zeros((len(categories), 4))

    def update(
        self,
        pred_ids: ArrayLike,
        pred_segments: list[dict],
        true_ids: ArrayLike,
        true_segments: list[dict],
    ) -> None:
        """Adds one picture.

        Args:
            pred_ids: (H, W) integers, array or CPU tensor: each pixel's predicted segment, 0 for
                none.
            pred_segments: a dict (id, category_id) for each predicted segment.
            true_ids: (H, W) integers, each pixel's true segment, 0 for void.
            true_segments: a dict (id, category_id, and iscrowd if it is 1) for each true segment.

        Raises:
            ValueError: these are no id maps of one size, or a map and its list do not agree.
        """
        shared = overlaps(pred_ids, pred_segments, true_ids, true_segments, self.index)
        pred = {segment["id"]: segment["category_id"] for segment in pred_segments}
        true = {segment["id"]: segment["category_id"] for segment in true_segments}
        crowds = {segment["id"] for segment in true_segments if segment.get("iscrowd", 0)}
        pred_area, true_area, excused = Counter(), Counter(), Counter()
        for (t, p), pixels in shared.items():
            true_area[t] += pixels
            pred_area[p] += pixels

        missed, wrong = set(true) - crowds, set(pred)
        for (t, p), pixels in shared.items():
            if p == VOID or (t != VOID and true[t] != pred[p]):
                continue
            if t == VOID or t in crowds:
                excused[p] += pixels
                continue
            union = true_area[t] + pred_area[p] - pixels - shared.get((VOID, p), 0)
            if 2 * pixels > union:
                self.counts[self.index[pred[p]]] += 1, 0, 0, pixels / union
                missed.remove(t)
                wrong.remove(p)
        for p in wrong:
            self.counts[self.index[pred[p]], 1] += 2 * excused[p] <= pred_area[p]
        for t in missed:
            self.counts[self.index[true[t]], 2] += 1

    def merge(self, other: PanopticQuality) -> None:
        """Adds the counts of another process; `other` must have the same categories."""
        _check_same(self.index, other.index)
        self.counts += other.counts

    def compute(self) -> dict[str, dict]:
        """Computes the metric over all pictures so far.

        Returns:
            {"All", "Things", "Stuff": {"pq", "sq", "rq", "n"},
            "per_class": {category id: {"pq", "sq", "rq"}}}, all but n fractions in [0, 1]. A group
            is the mean over its n categories that occur (TP + FP + FN > 0); a group without any,
            and a category that does not occur, have 0.0.
        """
        tp, fp, fn, iou = self.counts.T
        occurs = tp + fp + fn > 0
        sq = iou / np.maximum(tp, 1)
        rq = tp / np.where(occurs, tp + fp / 2 + fn / 2, 1)
        quality = np.stack([sq * rq, sq, rq], axis=1)  # (K, 3)

        def named(row: np.ndarray) -> dict[str, float]:
            return dict(zip(("pq", "sq", "rq"), row.tolist()))

        result = {}
        groups = {"All": True, "Things": self.isthing, "Stuff": ~self.isthing}
        for name, group in groups.items():
            chosen = quality[occurs & group]
            result[name] = named(chosen.sum(axis=0) / max(len(chosen), 1)) | {"n": len(chosen)}
        result["per_class"] = {category: named(quality[k]) for category, k in self.index.items()}
        return result


class MeanIoU:
    """Mean intersection over union of the classes: every pixel has a class, nobody an instance.

        IoU of a class = pixels of the class in both maps / pixels of the class in either map

    Pixels that are void in the truth are left out. Where the truth has a class and the prediction
    none, the prediction is wrong. A crowd is as good as any segment of its category.

    Source: Everingham et al. 2015, "The PASCAL Visual Object Classes Challenge: A Retrospective".

    Args:
        categories: COCO category dicts (id).

    Attributes:
        confusion: (K, K+1) int64, pixels by true class (row) and predicted class (column; the last
            one is "no class"), over all pictures so far.
    """

    def __init__(self, categories: list[dict]) -> None:
        self.index = _index(categories)
        self.confusion = np.zeros((len(categories), len(categories) + 1), np.int64)

    def update(
        self,
        pred_ids: ArrayLike,
        pred_segments: list[dict],
        true_ids: ArrayLike,
        true_segments: list[dict],
    ) -> None:
        """Adds one picture; arguments and errors are those of `PanopticQuality.update`."""
        shared = overlaps(pred_ids, pred_segments, true_ids, true_segments, self.index)
        none = len(self.index)  # the class of void
        pred = {segment["id"]: self.index[segment["category_id"]] for segment in pred_segments}
        true = {segment["id"]: self.index[segment["category_id"]] for segment in true_segments}
        cells = [true.get(t, none) * (none + 1) + pred.get(p, none) for t, p in shared]
        table = np.bincount(cells, weights=list(shared.values()), minlength=(none + 1) ** 2)
        self.confusion += table.reshape(none + 1, none + 1)[:none].astype(np.int64)

    def merge(self, other: MeanIoU) -> None:
        """Adds the counts of another process; `other` must have the same categories."""
        _check_same(self.index, other.index)
        self.confusion += other.confusion

    def compute(self) -> dict[str, float | dict[int, float]]:
        """Computes the metric over all pictures so far.

        Returns:
            {"miou", "pixel_accuracy", "per_class": {category id: IoU}}, fractions in [0, 1]. The
            mean is over the classes that occur in truth or prediction; the others have 0.0.
        """
        both = self.confusion.diagonal()
        either = self.confusion.sum(axis=1) + self.confusion[:, :-1].sum(axis=0) - both
        iou = both / np.maximum(either, 1)
        return {
            "miou": float(iou.sum() / max(np.count_nonzero(either), 1)),
            "pixel_accuracy": float(both.sum() / max(self.confusion.sum(), 1)),
            "per_class": {category: float(iou[k]) for category, k in self.index.items()},
        }


def overlaps(
    pred_ids: ArrayLike,
    pred_segments: list[dict],
    true_ids: ArrayLike,
    true_segments: list[dict],
    index: dict[int, int],
) -> dict[tuple[int, int], int]:
    """Counts the pixels that each pair (true id, predicted id) shares, where it shares any.

    The two ids of a pixel are packed into one number, so one sort of the picture counts all pairs.

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
    packed, pixels = np.unique(true_ids * base + pred_ids, return_counts=True)
    true, pred = (packed // base).tolist(), (packed % base).tolist()
    _check_segments(set(pred), pred_segments, index, "predicted")
    _check_segments(set(true), true_segments, index, "true")
    return dict(zip(zip(true, pred), pixels.tolist()))


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
    return ids.astype(np.int64)


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
    if unknown := sorted({segment["category_id"] for segment in segments} - set(index)):
        raise ValueError(
            f"{whose} segments have category ids {unknown}, unknown to the {len(index)} categories "
            "of this metric; a category id is COCO's id (with gaps), not a class index"
        )


def _index(categories: list[dict]) -> dict[int, int]:
    index = {category["id"]: k for k, category in enumerate(categories)}
    if not categories or len(index) < len(categories):
        raise ValueError(f"needs one or more categories with ids of their own, got {categories}")
    return index


def _check_same(mine: dict[int, int], theirs: dict[int, int]) -> None:
    if mine != theirs:
        raise ValueError("counts can be merged only if both have the same categories in one order")
