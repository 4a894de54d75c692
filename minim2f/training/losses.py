"""How wrong a prediction is: cross entropy on classes, BCE and dice on masks, after each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model.config import Config
from ..model.mask2former import Prediction
from . import points as P
from .matching import Target, match

Pairs = list[tuple[Tensor, Tensor]]  # of a batch, see `match`


def class_loss(
    class_logits: Tensor,
    classes: Tensor,
    eos_coef: float = 0.1,
    weight_sum: float | None = None,
) -> Tensor:
    """Cross entropy over all queries, with "no object" counted less.

    Args:
        class_logits: (..., K+1).
        classes: (...) int64; K for queries that answer for nothing.
        eos_coef: weight of class K; all others weigh 1.
        weight_sum: what the sum is divided by; the sum of these queries' weights unless given.

    Returns:
        The weighted mean: divided by the sum of weights, not by the number of queries.
    """
    weight = class_logits.new_ones(class_logits.shape[-1])
    weight[-1] = eos_coef
    logits, classes = class_logits.flatten(0, -2), classes.flatten()
    if weight_sum is None:
        return F.cross_entropy(logits, classes, weight)
    return F.cross_entropy(logits, classes, weight, reduction="sum") / weight_sum


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


def divisors(targets: Sequence[Target], config: Config) -> tuple[float, float]:
    """What the losses of a batch are divided by.

    Returns:
        The number of segments, `num_masks`; and the sum of the queries' weights in the class loss,
        which is known before the matching: as many queries answer as there are segments for them.
    """
    segments = [len(target.labels) for target in targets]
    matched = sum(min(config.num_queries, count) for count in segments)
    unmatched = len(segments) * config.num_queries - matched
    weight_sum = matched + config.eos_coef * unmatched
    return float(sum(segments)), weight_sum or 1.0  # of nothing, the mean is 0


def expected_loss(config: Config) -> float:
    """What the loss is near before anything was learnt: every class as likely, masks at random.

    Each prediction then has a cross entropy of ln(K + 1), a BCE near 0.7 and a dice loss near 0.95.
    """
    one = config.class_weight * math.log(config.num_classes + 1)
    one += config.mask_weight * 0.7 + config.dice_weight * 0.95
    return one * (config.num_layers + 1 if config.deep_supervision else 1)


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
        weight_sum: float | None = None,
    ) -> dict[str, Tensor]:
        """Matches each of the 3L + 1 predictions anew and scores it.

        Args:
            prediction: of a batch of B pictures.
            targets: B of them, masks padded to the batch's height and width. Pixels that belong to
                no mask, padding and void among them, count as "outside" for every mask.
            generator: of the random points.
            num_masks: what mask losses are divided by; the number of segments (at least 1) unless
                given.
            weight_sum: what class losses are divided by, see `class_loss`. Who splits a batch, in
                processes or in time, gives the mean `divisors` of all parts: then the parts' mean
                loss is that of the whole batch.

        Returns:
            Weighted terms `loss_ce`, `loss_mask`, `loss_dice` of the last prediction, the same with
            suffix `_0` ... for the auxiliaries. Their sum is the loss.
        """
        if len(targets) != len(prediction.class_logits):
            raise ValueError(
                f"{len(targets)} targets for a batch of {len(prediction.class_logits)} pictures"
            )
        own = divisors(targets, self.config)
        by = (
            max(1.0, own[0]) if num_masks is None else num_masks,
            own[1] if weight_sum is None else weight_sum,
        )
        layers = [prediction]
        if self.config.deep_supervision:
            layers += prediction.auxiliary
        pairs, points = [], []
        for layer in layers:  # the random points in the order in which the official code draws them
            pairs.append(match(layer, targets, self.config, generator))
            with torch.no_grad():
                points.append(self._points(draw_matched([layer], pairs[-1:])[0], generator))
        terms = {}
        for i, drawn in enumerate(draw_matched(layers, pairs)):
            found = self._terms(layers[i], drawn, targets, pairs[i], points[i], by)
            terms |= {name + (f"_{i - 1}" if i else ""): value for name, value in found.items()}
        return terms

    def _points(self, drawn: Tensor, generator: torch.Generator | None) -> Tensor:
        """Where the M drawn masks (M, h, w) are compared with the true ones, (M, P, 2)."""
        if self.config.num_points is None:
            return P.pixel_centres(*drawn.shape[-2:], drawn.device).expand(len(drawn), -1, -1)
        return P.uncertain(drawn, self.config.num_points, generator=generator)

    def _terms(
        self,
        prediction: Prediction,
        drawn: Tensor,
        targets: Sequence[Target],
        pairs: Pairs,
        points: Tensor,
        by: tuple[float, float],
    ) -> dict[str, Tensor]:
        config, (num_masks, weight_sum) = self.config, by
        classes = torch.full_like(
            prediction.class_logits[..., 0], config.num_classes, dtype=torch.long
        )
        for b, (queries, segments) in enumerate(pairs):
            classes[b, queries.to(classes.device)] = targets[b].labels[segments]
        truth = torch.cat([t.masks[segments] for t, (_, segments) in zip(targets, pairs)])
        with torch.no_grad():
            masks = P.sample(truth[:, None].to(drawn.dtype), points)[:, 0]
        logits = P.sample(drawn[:, None], points)[:, 0]
        ce = class_loss(prediction.class_logits, classes, config.eos_coef, weight_sum)
        return {
            "loss_ce": config.class_weight * ce,
            "loss_mask": config.mask_weight * mask_loss(logits, masks, num_masks),
            "loss_dice": config.dice_weight * dice_loss(logits, masks, num_masks),
        }


def draw_matched(layers: Sequence[Prediction], pairs: Sequence[Pairs]) -> Tensor:
    """The matched masks of each prediction, and no others.

    All share F_pixel, so one product a picture draws the masks of all predictions: then F_pixel's
    gradient, the largest of all, is also written once instead of ten times. The slow twin draws
    all masks of each, `Prediction.mask_logits`, and takes the matched.

    Args:
        layers: L predictions of a batch.
        pairs: the matching of each, see `match`.

    Returns:
        (L, M, h, w), M matched pairs in the order of pictures and pairs.
    """
    pictures = layers[0].pixel_features.permute(0, 2, 3, 1).unbind()
    drawn = []
    for b, features in enumerate(pictures):
        count = len(pairs[0][b][0])  # of every layer
        matched = [layer.mask_embeddings[b, own[b][0]] for layer, own in zip(layers, pairs)]
        masks = features @ torch.cat(matched).T  # (h, w, L count)
        drawn.append(masks.permute(2, 0, 1).unflatten(0, (len(layers), count)))
    return torch.cat(drawn, dim=1)
