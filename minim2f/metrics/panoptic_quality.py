"""Panoptic quality (PQ): are the right segments found, and how well do they fit?"""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import ArrayLike

from .categories import category_index, check_same
from .overlap import VOID, overlaps


class PanopticQuality:
    """Panoptic quality, PQ = SQ x RQ, as COCO defines it.

    A predicted and a true segment of one category *match* if their IoU is above 1/2. A pixel
    belongs to one segment only, so no segment can have two such partners, and there is nothing to
    assign.

        PQ = sum of the matches' IoU / (TP + FP/2 + FN/2)
           = sum of the matches' IoU / TP    x    TP / (TP + FP/2 + FN/2)
           = SQ                              x    RQ

    SQ asks "how well do the segments found fit?" (the mean IoU of the matches),
    RQ asks "were the right ones found?" (the F1 score of finding segments).

    What was not labelled is not counted: void pixels do not enlarge a union, crowds neither match
    nor count as missed, and a prediction of which more than half lies in void, or in crowds of its
    own category, is no false positive.

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
        self.index = category_index(categories)
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
        check_same(self.index, other.index)
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
