"""How wrong a prediction is: cross entropy on classes, BCE and dice on masks, after each layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model.config import Config
from ..model.mask2former import Prediction
from . import points as P
from .matching import Target, match


def class_loss(class_logits: Tensor, classes: Tensor, eos_coef: float = 0.1) -> Tensor:
    """Cross entropy over all queries, with "no object" counted less.

    Args:
        class_logits: (..., K+1).
        classes: (...) int64; K for queries that answer for nothing.
        eos_coef: weight of class K; all others weigh 1.

    Returns:
        The weighted mean: divided by the sum of weights, not by the number of queries.
    """
    weight = class_logits.new_ones(class_logits.shape[-1])
    weight[-1] = eos_coef
    return F.cross_entropy(class_logits.flatten(0, -2), classes.flatten(), weight)


def mask_loss(mask_logits: Tensor, masks: Tensor, num_masks: float) -> Tensor:
    """Binary cross entropy: mean over the points, sum over the pairs, divided by `num_masks`.

    Args:
        mask_logits: x, (M, P), of M matched queries.
        masks: t in [0, 1], (M, P), of their segments.
        num_masks: number of segments in the batch, at least 1.
    """
    bce = F.binary_cross_entropy_with_logits(mask_logits, masks, reduction="none")
    return bce.mean(1).sum() / num_masks


def dice_loss(mask_logits: Tensor, masks: Tensor, num_masks: float) -> Tensor:
    """1 - (2 sum s t + 1) / (sum s + sum t + 1), s = sigmoid(x); sum over pairs / `num_masks`.

    Args: as `mask_loss`. The added ones keep empty masks finite.
    """
    s = mask_logits.sigmoid()
    dice = 1 - (2 * (s * masks).sum(1) + 1) / (s.sum(1) + masks.sum(1) + 1)
    return dice.sum() / num_masks


class Criterion:
    """All loss terms of a prediction and its auxiliaries (paper 3.3; official `SetCriterion`).

    Args:
        config: weights, number of points, deep supervision.
    """

    def __init__(self, config: Config) -> None:
        self.config = config

    def __call__(
        self,
        prediction: Prediction,
        targets: Sequence[Target],
        generator: torch.Generator | None = None,
        num_masks: float | None = None,
    ) -> dict[str, Tensor]:
        """Matches each of the 3L + 1 predictions anew and scores it.

        Args:
            prediction: of a batch of B pictures.
            targets: B of them, masks padded to the batch's height and width. Pixels that belong to
                no mask, padding and void among them, count as "outside" for every mask.
            generator: of the random points.
            num_masks: what mask losses are divided by; the number of segments (at least 1) unless
                given (several processes average theirs).

        Returns:
            Weighted terms `loss_ce`, `loss_mask`, `loss_dice` of the last prediction, the same with
            suffix `_0` ... for the auxiliaries. Their sum is the loss.
        """
        if len(targets) != len(prediction.class_logits):
            raise ValueError(
                f"{len(targets)} targets for a batch of {len(prediction.class_logits)} pictures"
            )
        if num_masks is None:
            num_masks = max(1, sum(len(target.labels) for target in targets))
        terms = self._terms(prediction, targets, num_masks, generator)
        if self.config.deep_supervision:
            for layer, auxiliary in enumerate(prediction.auxiliary):
                extra = self._terms(auxiliary, targets, num_masks, generator)
                terms |= {f"{name}_{layer}": value for name, value in extra.items()}
        return terms

    def _terms(
        self,
        prediction: Prediction,
        targets: Sequence[Target],
        num_masks: float,
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        config = self.config
        pairs = match(prediction, targets, config, generator)
        classes = torch.full_like(
            prediction.class_logits[..., 0], config.num_classes, dtype=torch.long
        )
        for b, (queries, segments) in enumerate(pairs):
            classes[b, queries.to(classes.device)] = targets[b].labels[segments]
        logits, masks = self._matched_points(prediction, targets, pairs, generator)
        ce = class_loss(prediction.class_logits, classes, config.eos_coef)
        return {
            "loss_ce": config.class_weight * ce,
            "loss_mask": config.mask_weight * mask_loss(logits, masks, num_masks),
            "loss_dice": config.dice_weight * dice_loss(logits, masks, num_masks),
        }

    def _matched_points(
        self,
        prediction: Prediction,
        targets: Sequence[Target],
        pairs: list[tuple[Tensor, Tensor]],
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """Mask logits and true masks of the matched pairs at the points, both (M, P)."""
        # only the matched masks are ever drawn
        drawn = torch.cat(
            [
                torch.einsum("nc,chw->nhw", prediction.mask_embeddings[b, queries], features)
                for b, ((queries, _), features) in enumerate(zip(pairs, prediction.pixel_features))
            ]
        )
        if self.config.num_points is None:
            points = P.pixel_centres(*drawn.shape[-2:], drawn.device).expand(len(drawn), -1, -1)
        else:
            points = P.uncertain(drawn, self.config.num_points, generator=generator)
        truth = torch.cat([t.masks[segments] for t, (_, segments) in zip(targets, pairs)])
        with torch.no_grad():
            masks = P.sample(truth[:, None].to(drawn.dtype), points)[:, 0]
        return P.sample(drawn[:, None], points)[:, 0], masks
