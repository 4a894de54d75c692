"""Exercises of chapter 7, masked attention: softmax, mask, hand-over to PyTorch, measurement."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from minim2f.book.exercises import Exercise, integer
from minim2f.book.exercises import ch07_wrong as wrong
from minim2f.book.exercises import ch07_wrong_masks as wrong_masks


def _bools(g: torch.Generator, *shape: int) -> Tensor:
    """Random masks; now and then a row is empty."""
    allowed = torch.rand(*shape, generator=g) < 0.6
    return allowed & (torch.rand(*shape[:-1], 1, generator=g) < 0.8)


# ---- 7.1 a softmax with a mask


def my_masked_softmax(scores: Tensor, allowed: Tensor) -> Tensor:
    """Attention weights inside the mask; a query with an empty mask sees everything.

    Args:
        scores: (N, hw).
        allowed: (N, hw) bool, True where a query may look.

    Returns:
        (N, hw), rows that sum to 1.
    """
    allowed = allowed | ~allowed.any(-1, keepdim=True)
    return scores.masked_fill(~allowed, -torch.inf).softmax(-1)


def _scores(g: torch.Generator) -> tuple[Tensor, Tensor]:
    shape = integer(g, 1, 5), integer(g, 2, 8)
    return 2 * torch.randn(shape, generator=g), _bools(g, *shape)


# too large for e^score, and too low for a stand-in for -inf
EXTREME = torch.tensor([[300.0, 299.0, 0.0], [-300.0, -301.0, 0.0], [300.0, 299.0, 298.0]])


# ---- 7.2 the mask of the next layer


def my_next_mask(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Where each query may look in a layer of another size.

    Args:
        mask_logits: (N, H, W), the prediction before that layer.
        size: (h, w) of the layer.

    Returns:
        (N, h w) bool, True where it may look.
    """
    small = F.interpolate(mask_logits[None], size=size, mode="bilinear", align_corners=False)
    allowed = small[0].flatten(1) >= 0
    return allowed | ~allowed.any(-1, keepdim=True)


def _logits(g: torch.Generator) -> tuple[Tensor, tuple[int, int]]:
    n, h, w, step = integer(g, 1, 5), integer(g, 1, 3), integer(g, 2, 4), 2 ** integer(g, 1, 3)
    # a little below zero, so that some masks are lost on the way
    return 3 * torch.randn(n, h * step, w * step, generator=g) - 1, (h, w)


# ---- 7.3 the same mask for nn.MultiheadAttention


def my_for_pytorch(allowed: Tensor, heads: int) -> Tensor:
    """The `attn_mask` that makes nn.MultiheadAttention look where `allowed` is True.

    Args:
        allowed: (B, N, hw) bool, True where a query may look.
        heads: number of attention heads.

    Returns:
        (B heads, N, hw) bool, True where a query must not look.
    """
    return ~allowed.repeat_interleave(heads, dim=0)


def _batch(g: torch.Generator) -> tuple[Tensor, int]:
    return _bools(g, integer(g, 1, 4), integer(g, 1, 5), integer(g, 2, 8)), integer(g, 1, 4)


# ---- 7.4 how much of the attention falls on the object


def my_share(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    """How much of each query's attention falls on its object, mean over the heads.

    Args:
        q: (heads, N, d).
        k: (heads, hw, d).
        allowed: (N, hw) bool, True where a query may look; no row is empty.
        inside: (N, hw) in [0, 1], how much of each cell belongs to the query's object.

    Returns:
        (N,) in [0, 1].
    """
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    weights = scores.masked_fill(~allowed, -torch.inf).softmax(-1)
    return (weights * inside).sum(-1).mean(0)


def _one_picture(g: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    heads, n, s, d = integer(g, 1, 3), integer(g, 1, 5), integer(g, 2, 8), integer(g, 1, 5)
    q = 2 * torch.randn(heads, n, d, generator=g)
    k = 2 * torch.randn(heads, s, d, generator=g)
    inside = (2 * torch.rand(n, s, generator=g) - 0.5).clamp(0, 1)
    allowed = _bools(g, n, s)
    return q, k, allowed | ~allowed.any(-1, keepdim=True), inside


EXERCISES = [
    Exercise(
        "7.1",
        my_masked_softmax,
        _scores,
        wrong=wrong.MASKED_SOFTMAX,
        corners=[(EXTREME, torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 0]]).bool())],
    ),
    Exercise(
        "7.2",
        my_next_mask,
        _logits,
        wrong=wrong_masks.NEXT_MASK,
        corners=[(torch.tensor([[[0.0, 0.0, -1.0, -1.0]] * 4]), (2, 2))],  # a logit of 0 is inside
    ),
    Exercise("7.3", my_for_pytorch, _batch, wrong=wrong_masks.FOR_PYTORCH),
    Exercise("7.4", my_share, _one_picture, wrong=wrong.SHARE),
]
