"""From images to the loss, once, with every named tensor on the way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..model.mask2former import Mask2Former, Prediction
from ..shapes import Walkthrough, check, scope, watch
from .losses import Criterion
from .matching import Target


def walkthrough(
    model: Mask2Former, images: Tensor, targets: Sequence[Target] | None = None
) -> Walkthrough:
    """Runs a model once and returns every named tensor on the way.

    Args:
        model: any model.
        images: (B, 3, H, W), as `Mask2Former.batch` makes them.
        targets: the truth of each picture, labels (G,) and masks (G, H, W). With it the walk goes
            on through matching and losses: of the last prediction alone, since they are the same
            for every other, and with random points from torch's global seed.

    Returns:
        Rows with `name`, `symbols`, `shape`; `str()` of it is the table for these images.
    """
    with torch.no_grad(), watch() as rows, scope():
        prediction = model(images)
        # intermediate masks are never needed at full size; here they are made only to be shown
        for layer, auxiliary in enumerate(prediction.auxiliary):
            check(f"M'_{layer}", auxiliary.mask_logits, "B N H/4 W/4")
        check("mask_logits", prediction.mask_logits, "B N H/4 W/4")
        if targets is not None:
            last = Prediction(
                prediction.class_logits, prediction.mask_embeddings, prediction.pixel_features
            )
            terms = Criterion(model.config)(last, targets)
            check("losses", torch.stack(list(terms.values())), "3")
    return rows
