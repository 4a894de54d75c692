"""Points: where masks are compared, so that nobody needs all pixels (paper 3.3; PointRend)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def sample(maps: Tensor, points: Tensor) -> Tensor:
    """Reads maps at points, bilinearly; what lies outside of a map is zero.

    Args:
        maps: (B, C, H, W).
        points: (B, P, 2), x and y in [0, 1]; (0, 0) is the outer corner of the first pixel.

    Returns:
        (B, C, P), float32 for maps of less precision: half a float cannot tell pixels apart.
    """
    maps = maps.to(torch.promote_types(maps.dtype, torch.float32))
    grid = 2 * points[:, :, None].to(maps.dtype) - 1
    return F.grid_sample(maps, grid, align_corners=False).squeeze(3)


def sample_wide(maps: Tensor, points: Tensor) -> Tensor:
    """`sample`, its slow twin, for maps of many channels; no gradient passes.

    A bilinear read is a weighted sum of four pixels. Where pixels are rows of a table, with their
    channels side by side, `embedding_bag` adds four rows at once, and grid_sample one number at a
    time.

    Args:
        maps: (B, C, H, W), best with C last in memory.
        points: (B, P, 2), as in `sample`.

    Returns:
        (B, P, C): the channels last.
    """
    maps = maps.detach().to(torch.promote_types(maps.dtype, torch.float32))
    batch, channels, height, width = maps.shape
    if channels * points.shape[1] < 100_000:  # finding the pixels would take longer than reading
        return sample(maps, points).mT
    x, y = (points.to(maps.dtype) * points.new_tensor([width, height]) - 0.5).unbind(-1)
    left, top = x.floor(), y.floor()
    column = torch.stack([left, left + 1, left, left + 1])  # (4, B, P)
    row = torch.stack([top, top, top + 1, top + 1])
    share = (1 - (x - column).abs()) * (1 - (y - row).abs())
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    first = torch.arange(batch, device=maps.device)[:, None] * (height * width)
    pixel = first + row.long() * width + column.long()
    rows, shares = (t.where(inside, 0).flatten(1).mT.contiguous() for t in (pixel, share))
    table = maps.permute(0, 2, 3, 1).reshape(-1, channels).contiguous()  # channels side by side
    read = F.embedding_bag(rows, table, per_sample_weights=shares, mode="sum")
    return read.view(batch, points.shape[1], channels)


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
        mask_logits: (M, h, w), one mask at a time; no gradient passes.
        num_points: P.
        oversample: how many times P points are drawn to choose from.
        importance: share of P that is chosen by smallest |logit|; the rest is drawn afresh.
        generator: of random numbers.

    Returns:
        (M, P, 2).
    """
    count, device = len(mask_logits), mask_logits.device
    chosen = int(importance * num_points)
    with torch.no_grad():
        points = uniform(count, int(oversample * num_points), device, generator)
        uncertainty = -sample(mask_logits[:, None], points)[:, 0].abs()
        nearest = uncertainty.topk(chosen, dim=1, sorted=False).indices
        points = points.gather(1, nearest[..., None].expand(-1, -1, 2))
        return torch.cat([points, uniform(count, num_points - chosen, device, generator)], dim=1)


def pixel_centres(height: int, width: int, device: torch.device) -> Tensor:
    """The centres of all pixels, (1, height * width, 2): the "points" of a loss on whole masks."""
    y = (torch.arange(height, device=device) + 0.5) / height
    x = (torch.arange(width, device=device) + 0.5) / width
    return torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).reshape(1, -1, 2)
