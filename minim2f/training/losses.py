"""How wrong a prediction is: cross entropy on classes, BCE and dice on masks, after each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..model.config import Config
from ..model.mask2former import Prediction
from ..model.position import pixel_centres
from ..ops.sampling import matched_masks, sample
from ..shapes import check, scope
from .matching import Target, match
from .points import uncertain

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
        mask_logits: x, (pairs, P), of matched queries.
        masks: t in [0, 1], (pairs, P), of their segments.
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
        own_masks, own_weights = divisors(targets, self.config)
        num_masks = max(1.0, own_masks) if num_masks is None else num_masks
        weight_sum = own_weights if weight_sum is None else weight_sum
        dtype = torch.promote_types(prediction.pixel_features.dtype, torch.float32)
        targets = [t._replace(masks=t.masks.to(dtype)) for t in targets]  # once for all layers
        layers = [prediction, *(prediction.auxiliary if self.config.deep_supervision else [])]
        pairs, points = [], []
        for layer in layers:  # random numbers in the order in which the official code draws them
            pairs.append(match(layer, targets, self.config, generator))
            points.append(self._points(layer, pairs[-1], generator))
        embeddings = [layer.mask_embeddings for layer in layers]
        masks = matched_masks(embeddings, prediction.pixel_features, pairs)
        truth = torch.cat([target.masks for target in targets])
        terms = {}
        for number, layer in enumerate(layers):
            segments = _numbered_in_batch(pairs[number], targets)
            found = {
                "loss_ce": self._classes(layer, targets, pairs[number], weight_sum),
                **self._masks(masks[number], points[number], truth, segments, num_masks),
            }
            suffix = f"_{number - 1}" if number else ""
            terms |= {name + suffix: value for name, value in found.items()}
        return terms

    def _classes(
        self, prediction: Prediction, targets: Sequence[Target], pairs: Pairs, weight_sum: float
    ) -> Tensor:
        """Matched queries should name the class of their segment, all others "no object"."""
        logits = prediction.class_logits
        classes = torch.full_like(logits[..., 0], self.config.num_classes, dtype=torch.long)
        for b, (queries, segments) in enumerate(pairs):
            classes[b, queries.to(classes.device)] = targets[b].labels[segments]
        check("true classes", classes, "B N", B=len(targets), N=self.config.num_queries)
        ce = class_loss(logits, classes, self.config.eos_coef, weight_sum)
        return self.config.class_weight * ce

    def _points(
        self, prediction: Prediction, pairs: Pairs, generator: torch.Generator | None
    ) -> Tensor:
        """Where matched masks are compared with the true ones, (pairs, P, 2)."""
        embeddings, features = prediction.mask_embeddings, prediction.pixel_features
        with torch.no_grad():
            drawn = matched_masks([embeddings], features, [pairs])[0]
        if self.config.num_points is None:
            return pixel_centres(*drawn.shape[1:], drawn).expand(len(drawn), -1, -1)
        return uncertain(drawn, self.config.num_points, generator=generator)

    def _masks(
        self, drawn: Tensor, points: Tensor, truth: Tensor, segments: Tensor, num_masks: float
    ) -> dict[str, Tensor]:
        """Masks of matched queries (pairs, h, w) and their segments of the truth, at points."""
        # the truth is large and stays where it is; the points are put into its order
        at = points.new_zeros(len(truth), *points.shape[1:]).index_copy(0, segments, points)
        height, width = drawn.shape[1:]
        with scope():
            check("matched masks", drawn, "pairs h w", pairs=len(points), h=height, w=width)
            check("loss points", points, "pairs P 2", P=points.shape[1])
            masks = sample(truth[:, None], at)[segments, 0]
            logits = sample(drawn[:, None], points)[:, 0]
            check("masks at points", masks, "pairs P")
            check("logits at points", logits, "pairs P")
        return {
            "loss_mask": self.config.mask_weight * mask_loss(logits, masks, num_masks),
            "loss_dice": self.config.dice_weight * dice_loss(logits, masks, num_masks),
        }


def _numbered_in_batch(pairs: Pairs, targets: Sequence[Target]) -> Tensor:
    """The matched segments, numbered through all pictures of the batch, (pairs,)."""
    first, numbers = 0, []
    for (_, segments), target in zip(pairs, targets):
        numbers.append(first + segments)
        first += len(target.labels)
    return torch.cat(numbers).to(targets[0].labels.device)
