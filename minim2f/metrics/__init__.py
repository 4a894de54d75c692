"""How good a segmentation is: panoptic quality (PQ), average precision (AP) and mean IoU (mIoU).

One metric for each task: PQ for panoptic, AP for instance, mIoU for semantic segmentation. All are
used alike: `update` with each picture, `merge` with other processes, `compute` at the end.
"""

from __future__ import annotations

from .average_precision import AveragePrecision
from .mean_iou import MeanIoU
from .overlap import VOID, overlaps
from .panoptic_quality import PanopticQuality

__all__ = ["VOID", "AveragePrecision", "MeanIoU", "PanopticQuality", "overlaps"]
