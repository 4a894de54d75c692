"""Which query answers for which segment: the cheapest one-to-one assignment (paper 3.3; DETR)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ..model.config import Config
from ..model.mask2former import Prediction
from ..model.position import pixel_centres
from ..ops.sampling import mask_logits_at, sample
from ..ops.softplus import softplus
from ..shapes import check, scope
from .points import uniform


class NotFinite(ValueError):
    """A number that training rests on is NaN or infinite."""


class Target(NamedTuple):
    """The truth of one picture: G segments, their masks as large as the batch's pictures."""

    labels: Tensor  # (G,) int64, class indices
    masks: Tensor  # (G, H, W) bool, or numbers in [0, 1]


def pairwise_bce(mask_logits: Tensor, masks: Tensor) -> Tensor:
    """Binary cross entropy of every query with every segment, mean over the points.

    Args:
        mask_logits: x, (..., N, P).
        masks: t in [0, 1], (..., G, P).

    Returns:
        (..., N, G): mean over p of t softplus(-x) + (1 - t) softplus(x).
    """
    # softplus(-x) = softplus(x) - x, so one product carries both terms
    inside = (masks @ mask_logits.mT).mT  # this way round it is fast for either order in memory
    return (softplus(mask_logits).sum(-1, keepdim=True) - inside) / mask_logits.shape[-1]


def pairwise_dice(mask_logits: Tensor, masks: Tensor) -> Tensor:
    """One minus the smoothed dice overlap of every query with every segment.

    Args:
        mask_logits: x, (..., N, P).
        masks: t in [0, 1], (..., G, P).

    Returns:
        (..., N, G): 1 - (2 sum s t + 1) / (sum s + sum t + 1) with s = sigmoid(x); in [0, 1].
    """
    s = mask_logits.sigmoid()
    sums = s.sum(-1, keepdim=True) + masks.sum(-1)[..., None, :]
    return 1 - (2 * (masks @ s.mT).mT + 1) / (sums + 1)


def matching_cost(
    class_logits: Tensor,
    mask_logits: Tensor,
    labels: Tensor,
    masks: Tensor,
    config: Config = Config(),
) -> Tensor:
    """What it costs to let query n answer for segment g, in one picture.

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
    cost = _costs(class_logits, mask_logits, labels, masks, config)
    return _checked(cost, class_logits, mask_logits, labels, masks)


def _costs(
    class_logits: Tensor, mask_logits: Tensor, labels: Tensor, masks: Tensor, config: Config
) -> Tensor:
    """`matching_cost` of a picture, or with (B, ...) everywhere of each picture of a batch."""
    num_classes = class_logits.shape[-1] - 1
    if labels.numel() and not (0 <= labels.min() and labels.max() < num_classes):
        raise ValueError(
            f"class indices {labels.tolist()} must lie in 0 ... {num_classes - 1}: "
            f"the model has {num_classes} classes, and the last column is 'no object'"
        )
    dtype = torch.promote_types(mask_logits.dtype, torch.float32)
    class_logits, mask_logits, masks = (t.to(dtype) for t in (class_logits, mask_logits, masks))
    with torch.autocast(mask_logits.device.type, enabled=False):
        true_classes = labels[..., None, :].expand(*class_logits.shape[:-1], -1)
        cost = config.class_weight * -class_logits.softmax(-1).gather(-1, true_classes)
        cost = cost + config.mask_weight * pairwise_bce(mask_logits, masks)
        return cost + config.dice_weight * pairwise_dice(mask_logits, masks)


def _checked(
    cost: Tensor, class_logits: Tensor, mask_logits: Tensor, labels: Tensor, masks: Tensor
) -> Tensor:
    """The cost of one picture, with the shapes of all that it is made of."""
    with scope():
        check("class logits to match", class_logits, "N K+1")
        check("mask logits to match", mask_logits, "N P")
        check("labels", labels, "G", G=len(labels))
        check("masks to match", masks, "G P")
        return check("cost", cost, "N G")


def assign(cost: Tensor) -> tuple[Tensor, Tensor]:
    """The cheapest one-to-one assignment (Hungarian algorithm, SciPy's).

    Args:
        cost: (N, G).

    Returns:
        Query indices and segment indices, both (min(N, G),) int64, on the CPU; queries ascend.

    Raises:
        NotFinite: a cost that is NaN or infinite; a ValueError.
    """
    from scipy.optimize import linear_sum_assignment  # half a second, for training alone

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
    features, classes = prediction.pixel_features, prediction.class_logits
    points = _points(features, config, generator)
    logits = mask_logits_at(prediction.mask_embeddings, features, points)
    masks = [sample(t.masks[None].to(logits.dtype), p[None])[0] for t, p in zip(targets, points)]
    labels = [target.labels for target in targets]
    # all pictures at once, those with fewer segments filled up with empty ones
    filled = (pad_sequence(rows, batch_first=True) for rows in (labels, masks))
    costs = _costs(classes, logits, *filled, config).cpu()
    pairs = []
    for b, cost in enumerate(costs):
        made_of = (classes[b], logits[b], labels[b], masks[b])
        pairs.append(assign(_checked(cost[:, : len(labels[b])], *made_of)))
    return pairs


def _points(maps: Tensor, config: Config, generator: torch.Generator | None) -> Tensor:
    """(B, P, 2): `config.num_points` uniform points, or every pixel of `maps` if that is None."""
    if config.num_points is None:
        return pixel_centres(*maps.shape[-2:], maps).expand(len(maps), -1, -1)
    return uniform(len(maps), config.num_points, maps.device, generator)
