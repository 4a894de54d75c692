"""Which query answers for which segment: the cheapest one-to-one assignment (paper 3.3; DETR)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn import functional as F

from ..model.config import Config
from ..model.mask2former import Prediction
from ..shapes import check, scope
from . import points as P


class NotFinite(ValueError):
    """A number that training rests on is NaN or infinite."""


class Target(NamedTuple):
    """The truth of one picture: labels (G,) int64 and masks (G, H, W), padded as the batch is."""

    labels: Tensor
    masks: Tensor


def pairwise_bce(mask_logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross entropy of every query with every segment, mean over the points.

    Args:
        mask_logits: x, (N, P).
        masks: t in [0, 1], (G, P).

    Returns:
        (N, G): mean over p of t softplus(-x) + (1 - t) softplus(x).
    """
    # softplus(-x) = softplus(x) - x, so one product carries both terms
    inside = (masks @ mask_logits.T).T  # this way round it is fast for either order in memory
    return (F.softplus(mask_logits).sum(1)[:, None] - inside) / mask_logits.shape[1]


def pairwise_dice(mask_logits: Tensor, masks: Tensor) -> Tensor:
    """One minus the smoothed dice overlap of every query with every segment.

    Args:
        mask_logits: x, (N, P).
        masks: t in [0, 1], (G, P).

    Returns:
        (N, G): 1 - (2 sum s t + 1) / (sum s + sum t + 1) with s = sigmoid(x); in [0, 1].
    """
    s = mask_logits.sigmoid()
    return 1 - (2 * (masks @ s.T).T + 1) / (s.sum(1)[:, None] + masks.sum(1) + 1)


def matching_cost(
    class_logits: Tensor,
    mask_logits: Tensor,
    labels: Tensor,
    masks: Tensor,
    config: Config = Config(),
) -> Tensor:
    """What it costs to let query n answer for segment g.

    Args:
        class_logits: (N, K+1).
        mask_logits: (N, P), mask logits at P points.
        labels: (G,) int64 class indices.
        masks: (G, P), the true masks at the same points, in [0, 1].
        config: for the three weights (2, 5, 5).

    Returns:
        (N, G) float32 (float64 for float64 logits): 2 (-p(class)) + 5 BCE + 5 dice.

    Raises:
        ValueError: a label outside of 0 ... K-1.
    """
    num_classes = class_logits.shape[-1] - 1
    if len(labels) and not (0 <= labels.min() and labels.max() < num_classes):
        raise ValueError(
            f"class indices {labels.tolist()} must lie in 0 ... {num_classes - 1}: "
            f"the model has {num_classes} classes, and the last column is 'no object'"
        )
    dtype = torch.promote_types(mask_logits.dtype, torch.float32)
    class_logits, mask_logits, masks = (t.to(dtype) for t in (class_logits, mask_logits, masks))
    with scope():
        check("class logits", class_logits, "N K+1")
        check("mask logits", mask_logits, "N P")
        check("labels", labels, "G")
        check("masks", masks, "G P")
    with torch.autocast(mask_logits.device.type, enabled=False):
        return (
            config.class_weight * -class_logits.softmax(-1)[:, labels]
            + config.mask_weight * pairwise_bce(mask_logits, masks)
            + config.dice_weight * pairwise_dice(mask_logits, masks)
        )


def assign(cost: Tensor) -> tuple[Tensor, Tensor]:
    """The cheapest one-to-one assignment (Hungarian algorithm, SciPy's).

    Args:
        cost: (N, G).

    Returns:
        Query indices and segment indices, both (min(N, G),) int64, on the CPU; queries ascend.

    Raises:
        NotFinite: a cost that is NaN or infinite; a ValueError.
    """
    if not cost.isfinite().all():
        n, g = (~cost.isfinite()).nonzero()[0].tolist()
        raise NotFinite(
            f"the cost of query {n} for segment {g} is {cost[n, g].item()}: the model's logits are "
            "not finite any more; lower the learning rate, or look for the first step that broke"
        )
    queries, segments = linear_sum_assignment(cost.cpu().numpy())
    return torch.as_tensor(queries), torch.as_tensor(segments)


@torch.no_grad()
def match(
    prediction: Prediction,
    targets: Sequence[Target],
    config: Config,
    generator: torch.Generator | None = None,
) -> list[tuple[Tensor, Tensor]]:
    """Assigns queries to segments, picture by picture.

    The points are drawn once a picture and shared by all its queries and segments.

    Args:
        prediction: of a batch of B pictures.
        targets: B of them.
        config: weights and `num_points`.
        generator: of the random points.

    Returns:
        B pairs (query indices, segment indices), see `assign`. A picture without segments gives an
        empty pair; of more segments than queries the cheapest N are matched.
    """
    pairs = []
    for b, target in enumerate(targets):
        features = prediction.pixel_features[b : b + 1]
        points = loss_points(features, config, generator)
        logits = mask_logits_at(prediction.mask_embeddings[b], features, points)
        masks = P.sample(target.masks[None].to(logits.dtype), points)[0]
        cost = matching_cost(prediction.class_logits[b], logits, target.labels, masks, config)
        pairs.append(assign(cost))
    return pairs


@torch.no_grad()
def mask_logits_at(mask_embeddings: Tensor, features: Tensor, points: Tensor) -> Tensor:
    """Mask logits of every query at some points.

    Sampling is linear and so is the product E' F, so either may come first: whichever leaves the
    other less to do. Large maps are sampled and then multiplied, small ones the other way round.
    The slow twin samples `Prediction.mask_logits`. No gradient passes.

    Args:
        mask_embeddings: E', (N, C).
        features: F_pixel, (1, C, h, w).
        points: (1, P, 2).

    Returns:
        (N, P).
    """
    if points.shape[1] < features.shape[2] * features.shape[3]:
        return mask_embeddings @ P.sample_wide(features, points)[0].T
    masks = features.permute(0, 2, 3, 1) @ mask_embeddings.T  # as `sample_wide` wants them
    return P.sample_wide(masks.permute(0, 3, 1, 2), points)[0].T


def loss_points(maps: Tensor, config: Config, generator: torch.Generator | None) -> Tensor:
    """(1, P, 2): `config.num_points` uniform points, or every pixel of `maps` if that is None."""
    if config.num_points is None:
        return P.pixel_centres(*maps.shape[-2:], maps.device)
    return P.uniform(1, config.num_points, maps.device, generator)
