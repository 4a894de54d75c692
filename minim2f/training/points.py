"""Points: where masks are compared, so that nobody needs all pixels (paper 3.3; PointRend)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..ops.sampling import sample
from ..shapes import check


def uniform(
    count: int, points: int, device: torch.device, generator: torch.Generator | None = None
) -> Tensor:
    """Uniformly random points, (count, points, 2) in [0, 1)."""
    return torch.rand(count, points, 2, device=device, generator=generator)


def uncertain(
    mask_logits: Tensor,
    num_points: int,
    oversample: float = 3.0,
    importance: float = 0.75,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Points where a mask is undecided, and some anywhere (PointRend's importance sampling).

    Args:
        mask_logits: (pairs, h, w), one mask at a time; no gradient passes.
        num_points: P.
        oversample: how many times P points are drawn to choose from.
        importance: share of P that is chosen by the smallest `|logit|`; the rest is drawn afresh.
        generator: of random numbers.

    Returns:
        (pairs, P, 2).
    """
    count, device = len(mask_logits), mask_logits.device
    chosen = int(importance * num_points)
    with torch.no_grad():
        points = uniform(count, int(oversample * num_points), device, generator)
        uncertainty = -sample(mask_logits[:, None], points)[:, 0].abs()
        nearest = uncertainty.topk(chosen, dim=1, sorted=False).indices
        points = points.gather(1, nearest[..., None].expand(-1, -1, 2))
        anywhere = uniform(count, num_points - chosen, device, generator)
        points = torch.cat([points, anywhere], dim=1)
    return check("loss points", points, "pairs P 2", pairs=count, P=num_points)
