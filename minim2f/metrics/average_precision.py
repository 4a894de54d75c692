"""Average precision (AP): do the scores put the right instances before the wrong ones?"""

from __future__ import annotations

import io
import math
from contextlib import redirect_stdout
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .categories import category_index, check_known, check_same

if TYPE_CHECKING:  # pycocotools brings matplotlib: imported by those who measure, not by all
    from pycocotools.coco import COCO

# The first six of the twelve numbers that pycocotools gives; the others are recalls.
NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")


class AveragePrecision:
    """COCO's mask AP, computed by COCO's own pycocotools.

    The detections of a category, from all pictures, are sorted by score. From the best on, each
    is matched with the unmatched true instance of its picture that it overlaps most, if their IoU
    reaches the threshold; one without a match is a false positive. After each detection,

        precision = right so far / detections so far,    recall = right so far / true instances

    and AP is the mean of the precisions at the recalls 0, 0.01 ... 1, where the precision at a
    recall is the best one at this or any higher recall. COCO's AP is the mean over the IoU
    thresholds 0.5, 0.55 ... 0.95 and the categories.

    Unlike segments in PQ, masks may overlap, and a wrong detection lowers only the precisions after
    it: with the lowest score of all it costs nothing. A crowd never counts as missed, and
    detections that lie in one are neither right nor wrong. Stuff has no instances, so its segments
    are left out on both sides.

    Source: Lin et al. 2014, "Microsoft COCO: Common Objects in Context", and COCO's detection
    evaluation (IoU type "segm").

    Args:
        categories: COCO category dicts (id, isthing); those without isthing are things.

    Attributes:
        things: {category id: whether it is a thing}.
        pictures: for each picture so far COCO's dicts: the image (height, width), the detections
            and the true instances, their masks as compressed run lengths. All of it can be pickled.

    Raises:
        ValueError: no things among the categories, or two with one id.
    """

    def __init__(self, categories: list[dict]) -> None:
        index = category_index(categories)
        self.things = {i: bool(categories[k].get("isthing", 1)) for i, k in index.items()}
        if not any(self.things.values()):
            raise ValueError(
                "AP counts instances, and none of these categories is a thing (isthing 1): measure "
                "stuff with PanopticQuality or MeanIoU"
            )
        self.pictures: list[tuple[dict, list[dict], list[dict]]] = []

    def update(
        self,
        pred_masks: ArrayLike,
        pred_segments: list[dict],
        true_masks: ArrayLike,
        true_segments: list[dict],
    ) -> None:
        """Adds one picture.

        Args:
            pred_masks: (M, H, W) bool, array or CPU tensor; they may overlap.
            pred_segments: a dict (category_id, score) for each predicted mask. As in COCO, the 100
                best of each category count.
            true_masks: (G, H, W) bool, crowds included.
            true_segments: a dict (category_id, iscrowd if it is 1, and area if it is not the
                number of the mask's pixels) for each true mask.

        Raises:
            ValueError: these are no masks of one size, masks and dicts do not agree, a score is
                missing, or a category is unknown.
        """
        pred = _checked(pred_masks, pred_segments, self.things, "predicted")
        true = _checked(true_masks, true_segments, self.things, "true")
        if pred.shape[1:] != true.shape[1:]:
            raise ValueError(
                f"the predicted masks are {pred.shape[1:]} and the true masks {true.shape[1:]}, "
                "but one picture has one size: segment it at the size of the truth"
            )
        if not all(math.isfinite(segment.get("score", math.nan)) for segment in pred_segments):
            raise ValueError(
                "each predicted segment needs a finite 'score': AP asks how well the scores put "
                f"right before wrong; got {[segment.get('score') for segment in pred_segments]}"
            )
        height, width = true.shape[1:]
        detections = [
            entry | {"score": float(segment["score"])}
            for segment, entry in self._encode(pred, pred_segments)
        ]
        truths = [
            entry | {key: segment[key] for key in ("iscrowd", "area") if key in segment}
            for segment, entry in self._encode(true, true_segments)
        ]
        self.pictures.append(({"height": height, "width": width}, detections, truths))

    def merge(self, other: AveragePrecision) -> None:
        """Adds the pictures of another process; `other` must have the same categories.

        The order of the pictures decides only between equal scores, the earlier first.
        """
        check_same(self.things, other.things)
        self.pictures += other.pictures

    def compute(self) -> dict[str, float | dict[int, float]]:
        """Computes the metric over all pictures so far.

        Returns:
            {"ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large", "per_class": {category id:
            AP}}, fractions in [0, 1]; 50 and 75 are IoU thresholds in percent, small is an area up
            to 32**2 pixels and large one from 96**2 on. Means are over the things that occur in
            the truth; where nothing occurs, it is 0.0 (pycocotools gives -1).
        """
        from pycocotools.cocoeval import COCOeval

        images, detections, truths = zip(*self.pictures) if self.pictures else ((), (), ())
        with redirect_stdout(io.StringIO()):
            judge = COCOeval(self._coco(images, truths), self._coco(images, detections), "segm")
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
        # (thresholds, recalls, categories), for all areas and 100 detections
        precision = judge.eval["precision"][..., 0, -1]
        ap = dict(zip(judge.params.catIds, precision.mean(axis=(0, 1)).clip(min=0).tolist()))
        per_class = {category: ap[category] for category, thing in self.things.items() if thing}
        overall = judge.stats[: len(NAMES)].clip(min=0).tolist()
        return dict(zip(NAMES, overall)) | {"per_class": per_class}

    def _encode(self, masks: np.ndarray, segments: list[dict]) -> list[tuple[dict, dict]]:
        """The things among the segments, each with its COCO annotation."""
        from pycocotools import mask as rle

        pairs = []
        for mask, segment in zip(masks, segments):
            if self.things[segment["category_id"]]:
                code = rle.encode(np.asfortranarray(mask, np.uint8))  # one copy at a time
                entry = {"category_id": segment["category_id"], "segmentation": code, "iscrowd": 0}
                pairs.append((segment, entry | {"area": int(rle.area(code))}))
        return pairs

    def _coco(self, images: tuple[dict, ...], entries: tuple[list[dict], ...]) -> COCO:
        """A COCO data set in memory, of new dicts: pycocotools writes its notes into them."""
        from pycocotools.coco import COCO

        coco = COCO()
        pairs = [(i, entry) for i, of_picture in enumerate(entries) for entry in of_picture]
        coco.dataset = {
            "images": [image | {"id": i} for i, image in enumerate(images)],
            "categories": [{"id": category} for category, thing in self.things.items() if thing],
            "annotations": [  # numbered from 1: an id of 0 would mean "no partner"
                entry | {"id": number, "image_id": i}
                for number, (i, entry) in enumerate(pairs, start=1)
            ],
        }
        coco.createIndex()
        return coco


def _checked(masks: ArrayLike, segments: list[dict], known: dict, whose: str) -> np.ndarray:
    masks = np.asarray(masks)
    if masks.ndim != 3 or masks.dtype != bool or 0 in masks.shape[1:]:
        raise ValueError(
            f"the {whose} masks must be (number, H, W) booleans, got {masks.shape} of "
            f"{masks.dtype}; logits become masks by `logits > 0`, and no masks at all are (0, H, W)"
        )
    if len(masks) != len(segments):
        raise ValueError(
            f"there are {len(masks)} {whose} masks and {len(segments)} {whose} segments: give one "
            "dict for each mask, in the same order"
        )
    check_known(segments, known, whose)
    return masks
