"""Exercises of chapter 7, masked attention: softmax, mask, hand-over to PyTorch, measurement."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from minim2f.book.exercises import Exercise, Wrong, integer


def _bools(g: torch.Generator, *shape: int) -> Tensor:
    """Random masks; now and then a row is empty."""
    allowed = torch.rand(*shape, generator=g) < 0.6
    return allowed & (torch.rand(*shape[:-1], 1, generator=g) < 0.8)


def _rescued(allowed: Tensor) -> Tensor:
    return allowed | ~allowed.any(-1, keepdim=True)


def _weights(scores: Tensor, allowed: Tensor) -> Tensor:
    return scores.masked_fill(~allowed, -torch.inf).softmax(-1)


# ---- 7.1 a softmax with a mask


def my_masked_softmax(scores: Tensor, allowed: Tensor) -> Tensor:
    """Attention weights inside the mask; a query with an empty mask sees everything.

    Args:
        scores: (N, S).
        allowed: (N, S) bool, True where a query may look.

    Returns:
        (N, S), rows that sum to 1.
    """
    allowed = allowed | ~allowed.any(-1, keepdim=True)
    return scores.masked_fill(~allowed, -torch.inf).softmax(-1)


def _scores(g: torch.Generator) -> tuple[Tensor, Tensor]:
    shape = integer(g, 1, 5), integer(g, 2, 8)
    return 2 * torch.randn(shape, generator=g), _bools(g, *shape)


def _turned(scores: Tensor, allowed: Tensor) -> Tensor:
    return _weights(scores, ~_rescued(allowed))


def _turned_no_rescue(scores: Tensor, allowed: Tensor) -> Tensor:
    return _weights(scores, ~allowed)


def _over_queries(scores: Tensor, allowed: Tensor) -> Tensor:
    return scores.masked_fill(~_rescued(allowed), -torch.inf).softmax(0)


def _zero_after(scores: Tensor, allowed: Tensor) -> Tensor:
    return scores.softmax(-1) * _rescued(allowed)


def _zero_before(scores: Tensor, allowed: Tensor) -> Tensor:
    return (scores * _rescued(allowed)).softmax(-1)


def _zero_times_infinity(scores: Tensor, allowed: Tensor) -> Tensor:
    return (scores + (~_rescued(allowed)).float() * -torch.inf).softmax(-1)


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


def _small(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0].flatten(1)


def _half_on_logits(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits, size) >= 0.5)


def _threshold_first(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small((mask_logits >= 0).float(), size) >= 0.5)


def _sigmoid_first(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits.sigmoid(), size) >= 0.5)


def _nearest(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(F.interpolate(mask_logits[None], size=size)[0].flatten(1) >= 0)


def _blocked(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return ~my_next_mask(mask_logits, size)


def _outside(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits, size) < 0)


def _no_rescue(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _small(mask_logits, size) >= 0


def _rescue_all(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    allowed = _small(mask_logits, size) >= 0
    return allowed | ~allowed.any(-1).all()


# ---- 7.3 the same mask for nn.MultiheadAttention


def my_for_pytorch(allowed: Tensor, heads: int) -> Tensor:
    """The `attn_mask` that makes nn.MultiheadAttention look where `allowed` is True.

    Args:
        allowed: (B, N, S) bool, True where a query may look.
        heads: number of attention heads.

    Returns:
        (B heads, N, S) bool, True where a query must not look.
    """
    return ~allowed.repeat_interleave(heads, dim=0)


def _batch(g: torch.Generator) -> tuple[Tensor, int]:
    return _bools(g, integer(g, 1, 4), integer(g, 1, 5), integer(g, 2, 8)), integer(g, 1, 4)


def _not_turned(allowed: Tensor, heads: int) -> Tensor:
    return allowed.repeat_interleave(heads, dim=0)


def _heads_outside(allowed: Tensor, heads: int) -> Tensor:
    return ~allowed.repeat(heads, 1, 1)


def _four_axes(allowed: Tensor, heads: int) -> Tensor:
    return ~allowed[:, None].expand(-1, heads, -1, -1)


# ---- 7.4 how much of the attention falls on the object


def my_share(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    """How much of each query's attention falls on its object, mean over the heads.

    Args:
        q: (heads, N, d).
        k: (heads, S, d).
        allowed: (N, S) bool, True where a query may look; no row is empty.
        inside: (N, S) in [0, 1], how much of each pixel belongs to the query's object.

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
    return q, k, _rescued(_bools(g, n, s)), inside


def _scaled(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(1, 2) / q.shape[-1] ** 0.5


def _no_scale(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_weights(q @ k.transpose(1, 2), allowed) * inside).sum(-1).mean(0)


def _no_mask(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_scaled(q, k).softmax(-1) * inside).sum(-1).mean(0)


def _mask_turned(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_weights(_scaled(q, k), ~allowed) * inside).sum(-1).mean(0)


def _one_softmax(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_weights(_scaled(q, k).mean(0), allowed) * inside).sum(-1)


def _queries_compete(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    weights = _scaled(q, k).masked_fill(~allowed, -torch.inf).softmax(1)
    return (weights * inside).sum(-1).mean(0)


def _mean_over_pixels(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_weights(_scaled(q, k), allowed) * inside).mean(-1).mean(0)


EXERCISES = [
    Exercise(
        "7.1",
        my_masked_softmax,
        _scores,
        wrong=[
            Wrong(_weights, "what is the softmax of a row that is -inf everywhere?"),
            Wrong(_turned, "your queries look at all but their masks: what does True mean here?"),
            Wrong(_turned_no_rescue, "True means that a query may look; then think of empty masks"),
            Wrong(_over_queries, "the pixels of one query compete, not the queries: which axis?"),
            Wrong(_zero_after, "your rows no longer sum to 1: block before the softmax, not after"),
            Wrong(_zero_before, "e^0 is 1: which score gets no weight at all?"),
            Wrong(_zero_times_infinity, "0 times infinity is NaN: fill -inf in, do not multiply"),
        ],
    ),
    Exercise(
        "7.2",
        my_next_mask,
        _logits,
        wrong=[
            Wrong(_half_on_logits, "these are logits: which logit has the probability 0.5?"),
            Wrong(_no_rescue, "some masks are empty at this size: what may their queries see?"),
            Wrong(_rescue_all, "one empty mask opens all others: judge each query by itself"),
            Wrong(_threshold_first, "a threshold is not linear: what should come before it?"),
            Wrong(_sigmoid_first, "a sigmoid is not linear: what should come before it?"),
            Wrong(_nearest, "your resize reads one corner of a cell: which mode reads its middle?"),
            Wrong(_blocked, "True means that a query may look; yours is the other way round"),
            Wrong(_outside, "on which side of the threshold is the inside of a mask?"),
        ],
        corners=[(torch.tensor([[[0.0, 0.0, -1.0, -1.0]] * 4]), (2, 2))],  # a logit of 0 is inside
    ),
    Exercise(
        "7.3",
        my_for_pytorch,
        _batch,
        wrong=[
            Wrong(_not_turned, "what does True mean to nn.MultiheadAttention?"),
            Wrong(_heads_outside, "picture 1 got masks of picture 0: in which order do rows go?"),
            Wrong(_four_axes, "three axes are wanted: pictures and heads share the first one"),
        ],
    ),
    Exercise(
        "7.4",
        my_share,
        _one_picture,
        wrong=[
            Wrong(_no_scale, "your softmax is too sharp: what are the scores divided by?"),
            Wrong(_no_mask, "what a query may not see must weigh nothing before you count"),
            Wrong(_mask_turned, "you count where a query may not look: what does True mean here?"),
            Wrong(_one_softmax, "each head has a softmax of its own; average afterwards"),
            Wrong(_queries_compete, "the pixels compete, not the queries: which axis is that?"),
            Wrong(_mean_over_pixels, "weights sum to 1 over the pixels: where do you need a mean?"),
        ],
    ),
]
