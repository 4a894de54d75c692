"""Masks at some points, and masks of some queries: nothing is drawn that nobody looks at.

A mask logit is a product, E' of its query with F_pixel of its pixel, and a bilinear read is a sum
of four pixels. Both are linear, so either may come first. Where the matcher reads 12,544 points of
F_pixel instead of drawing the 65,536 pixels of every mask (a picture of 1024 x 1024), it takes a
seventh of the time; on smaller maps it draws first, but pixel by pixel: 4.8 instead of 7.8 ms at
96 x 96. Drawing the matched masks alone saves a third of the losses' time with 40 objects in a
picture, and two thirds with 10.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from . import in_reference

Pair = tuple[Tensor, Tensor]  # query indices and segment indices, of one picture


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


def sample_rows(maps: Tensor, points: Tensor) -> Tensor:
    """`sample`, which is its slow way, for maps of many channels; no gradient passes.

    Where pixels are rows of a table, with their channels side by side, `embedding_bag` adds four
    rows at once; `grid_sample` adds one number at a time.

    Args:
        maps: (B, C, H, W), best with C last in memory.
        points: (B, P, 2), as in `sample`.

    Returns:
        (B, C, P), with C last in memory.
    """
    maps = maps.detach().to(torch.promote_types(maps.dtype, torch.float32))
    batch, channels, height, width = maps.shape
    small = channels * points.shape[1] < 100_000  # finding the pixels would take longer
    if in_reference() or small:
        return sample(maps, points)
    x, y = (points.to(maps.dtype) * points.new_tensor([width, height]) - 0.5).unbind(-1)
    left, top = x.floor(), y.floor()
    column = torch.stack([left, left + 1, left, left + 1])  # (4, B, P)
    row = torch.stack([top, top, top + 1, top + 1])
    share = (1 - (x - column).abs()) * (1 - (y - row).abs())
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    first = torch.arange(batch, device=maps.device)[:, None] * (height * width)
    pixel = first + row.long() * width + column.long()
    rows, shares = (t.where(inside, 0).flatten(1).mT.contiguous() for t in (pixel, share))
    table = maps.permute(0, 2, 3, 1).reshape(-1, channels).contiguous()
    read = F.embedding_bag(rows, table, per_sample_weights=shares, mode="sum")
    return read.view(batch, -1, channels).mT


def mask_logits_at_slow(mask_embeddings: Tensor, features: Tensor, points: Tensor) -> Tensor:
    """Draws every mask, then reads it; arguments as in `mask_logits_at`."""
    masks = torch.einsum("bnc,bchw->bnhw", mask_embeddings, features)
    return sample(masks, points)


@torch.no_grad()
def mask_logits_at(mask_embeddings: Tensor, features: Tensor, points: Tensor) -> Tensor:
    """Mask logits of every query at some points of its picture; no gradient passes.

    Args:
        mask_embeddings: E', (B, N, C).
        features: F_pixel, (B, C, h, w).
        points: (B, P, 2).

    Returns:
        (B, N, P).
    """
    if in_reference():
        return mask_logits_at_slow(mask_embeddings, features, points)
    size = features.shape[2:]
    if points.shape[1] < size.numel():
        return mask_embeddings @ sample_rows(features, points)
    masks = features.flatten(2).mT @ mask_embeddings.mT  # (B, h w, N): rows for `sample_rows`
    return sample_rows(masks.mT.unflatten(2, size), points)


def matched_masks(
    mask_embeddings: Sequence[Tensor], features: Tensor, pairs: Sequence[Sequence[Pair]]
) -> Tensor:
    """The mask logits of the matched queries of several predictions, and of no others.

    All predictions share F_pixel, so one product a picture draws the masks of all: then F_pixel's
    gradient, the largest of all, is written once instead of ten times.

    Args:
        mask_embeddings: E' of each of L predictions, (B, N, C).
        features: F_pixel, (B, C, h, w).
        pairs: for each prediction B matchings (query indices, segment indices).

    Returns:
        (L, M, h, w): M matched queries, in the order of pictures and pairs.
    """
    if in_reference():
        return torch.stack([_draw_all(e, features, own) for e, own in zip(mask_embeddings, pairs)])
    drawn = []
    for b, pixels in enumerate(features.permute(0, 2, 3, 1).unbind()):
        matched = [e[b, own[b][0]] for e, own in zip(mask_embeddings, pairs)]
        masks = pixels @ torch.cat(matched).T  # (h, w, all layers' queries): as F_pixel lies
        drawn.append(masks.permute(2, 0, 1).unflatten(0, (len(pairs), len(pairs[0][b][0]))))
    return torch.cat(drawn, dim=1)


def _draw_all(mask_embeddings: Tensor, features: Tensor, pairs: Sequence[Pair]) -> Tensor:
    """Draws every mask of a prediction, then takes the matched ones, (M, h, w)."""
    masks = torch.einsum("bnc,bchw->bnhw", mask_embeddings, features)
    return torch.cat([drawn[queries] for drawn, (queries, _) in zip(masks, pairs)])
