"""Mean intersection over union (mIoU): does every pixel have the right class?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .categories import category_index, check_same
from .overlap import overlaps


class MeanIoU:
    """Mean intersection over union of the classes; which instance a pixel is of does not matter.

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
        self.index = category_index(categories)
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
        check_same(self.index, other.index)
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
