"""What usually goes wrong in the exercises of chapter 7: each mistake as code, with its hint."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from minim2f.book.exercises import Wrong

# ---- 7.1 a softmax with a mask


def _rescued(allowed: Tensor) -> Tensor:
    return allowed | ~allowed.any(-1, keepdim=True)


def _weights(scores: Tensor, allowed: Tensor) -> Tensor:
    return scores.masked_fill(~allowed, -torch.inf).softmax(-1)


def _even_rescue(scores: Tensor, allowed: Tensor) -> Tensor:
    return scores.masked_fill(~allowed, -1e9).softmax(-1)


def _zeros_for_nan(scores: Tensor, allowed: Tensor) -> Tensor:
    return _weights(scores, allowed).nan_to_num()


def _one_opens_all(scores: Tensor, allowed: Tensor) -> Tensor:
    return _weights(scores, allowed | ~allowed.any(-1).all())


def _not_masked(scores: Tensor, allowed: Tensor) -> Tensor:
    return scores.softmax(-1)


def _turned(scores: Tensor, allowed: Tensor) -> Tensor:
    return _weights(scores, ~_rescued(allowed))


def _turned_no_rescue(scores: Tensor, allowed: Tensor) -> Tensor:
    return _weights(scores, ~allowed)


def _over_queries(scores: Tensor, allowed: Tensor) -> Tensor:
    return scores.masked_fill(~_rescued(allowed), -torch.inf).softmax(0)


def _zero_after(scores: Tensor, allowed: Tensor) -> Tensor:
    return scores.softmax(-1) * _rescued(allowed)


def _zero_after_no_rescue(scores: Tensor, allowed: Tensor) -> Tensor:
    return scores.softmax(-1) * allowed


def _zero_before(scores: Tensor, allowed: Tensor) -> Tensor:
    return (scores * _rescued(allowed)).softmax(-1)


def _zero_before_no_rescue(scores: Tensor, allowed: Tensor) -> Tensor:
    return (scores * allowed).softmax(-1)


def _zero_times_infinity(scores: Tensor, allowed: Tensor) -> Tensor:
    return (scores + (~_rescued(allowed)).float() * -torch.inf).softmax(-1)


MASKED_SOFTMAX = [
    Wrong(_weights, "what is the softmax of a row that is -inf everywhere?"),
    Wrong(_even_rescue, "empty masks get equal weights from you: give them those of no mask"),
    Wrong(_zeros_for_nan, "an empty mask gives you a row of zeros: let its query see all"),
    Wrong(_one_opens_all, "one empty mask opens all others: judge each query by itself"),
    Wrong(_not_masked, "blocked pixels still have weight: which score makes it exactly 0?"),
    Wrong(_turned, "your queries look at all but their masks: what does True mean here?"),
    Wrong(_turned_no_rescue, "True means that a query may look; then think of empty masks"),
    Wrong(_over_queries, "the pixels of one query compete, not the queries: which axis?"),
    Wrong(_zero_after, "your rows no longer sum to 1: block before the softmax, not after"),
    Wrong(_zero_after_no_rescue, "your rows do not sum to 1: block before the softmax"),
    Wrong(_zero_before, "e^0 is 1: which score gets no weight at all?"),
    Wrong(_zero_before_no_rescue, "e^0 is 1: which score gets no weight? And empty masks?"),
    Wrong(_zero_times_infinity, "0 times infinity is NaN: fill -inf in, do not multiply"),
]


# ---- 7.2 the mask of the next layer


def _small(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps[None], size=size, mode="bilinear", align_corners=False)[0].flatten(1)


def _half_on_logits(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits, size) >= 0.5)


def _no_rescue(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _small(mask_logits, size) >= 0


def _rescue_all(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    allowed = _small(mask_logits, size) >= 0
    return allowed | ~allowed.any(-1).all()


def _strictly(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits, size) > 0)


def _rescue_before_flattening(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits, size).unflatten(1, size) >= 0).flatten(1)


def _threshold_first(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small((mask_logits >= 0).float(), size) >= 0.5)


def _sigmoid_first(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits.sigmoid(), size) >= 0.5)


def _nearest(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(F.interpolate(mask_logits[None], size=size)[0].flatten(1) >= 0)


def _area(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(F.interpolate(mask_logits[None], size=size, mode="area")[0].flatten(1) >= 0)


def _aligned(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    options = dict(size=size, mode="bilinear", align_corners=True)
    return _rescued(F.interpolate(mask_logits[None], **options)[0].flatten(1) >= 0)


def _three_axes(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(mask_logits, size=size, mode="bilinear", align_corners=False)


def _width_first(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits, (size[1], size[0])) >= 0)


def _not_in_rows(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits, size) >= 0).unflatten(1, size)


def _blocked(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return ~_rescued(_small(mask_logits, size) >= 0)


def _outside(mask_logits: Tensor, size: tuple[int, int]) -> Tensor:
    return _rescued(_small(mask_logits, size) < 0)


NEXT_MASK = [
    Wrong(_half_on_logits, "these are logits: which logit has the probability 0.5?"),
    Wrong(_no_rescue, "some masks are empty at this size: what may their queries see?"),
    Wrong(_rescue_all, "one empty mask opens all others: judge each query by itself"),
    Wrong(_strictly, "a probability of exactly 0.5 counts as inside"),
    Wrong(_rescue_before_flattening, "you rescue single lines of a mask, not whole masks"),
    Wrong(_threshold_first, "a threshold is not linear: what should come before it?"),
    Wrong(_sigmoid_first, "a sigmoid is not linear: what should come before it?"),
    Wrong(_nearest, "your resize reads one corner of a cell: which mode reads its middle?"),
    Wrong(_area, "you average all of a cell: bilinear reads the four around its centre"),
    Wrong(_aligned, "aligned corners shift what a cell reads: which option says so?"),
    Wrong(_three_axes, "interpolate takes the first two axes for pictures and channels"),
    Wrong(_width_first, "height comes before width in a size"),
    Wrong(_not_in_rows, "all pixels of a query stand in one row: flatten the last two axes"),
    Wrong(_blocked, "True means that a query may look; yours is the other way round"),
    Wrong(_outside, "on which side of the threshold is the inside of a mask?"),
]


# ---- 7.3 the same mask for nn.MultiheadAttention


def _not_turned(allowed: Tensor, heads: int) -> Tensor:
    return allowed.repeat_interleave(heads, dim=0)


def _heads_outside(allowed: Tensor, heads: int) -> Tensor:
    return ~allowed.repeat(heads, 1, 1)


def _heads_outside_not_turned(allowed: Tensor, heads: int) -> Tensor:
    return allowed.repeat(heads, 1, 1)


def _rescued_too(allowed: Tensor, heads: int) -> Tensor:
    return ~_rescued(allowed).repeat_interleave(heads, dim=0)


def _not_copied(allowed: Tensor, heads: int) -> Tensor:
    return ~allowed


def _four_axes(allowed: Tensor, heads: int) -> Tensor:
    return ~allowed[:, None].expand(-1, heads, -1, -1)


FOR_PYTORCH = [
    Wrong(_not_turned, "what does True mean to nn.MultiheadAttention?"),
    Wrong(_heads_outside, "picture 1 got masks of picture 0: in which order do rows go?"),
    Wrong(
        _heads_outside_not_turned,
        "what does True mean there, and in which order do the rows go?",
    ),
    Wrong(_rescued_too, "hand each mask over as it is, also an empty one"),
    Wrong(_not_copied, "each head wants a copy of its own along the first axis"),
    Wrong(_four_axes, "three axes are wanted: pictures and heads share the first one"),
]


# ---- 7.4 how much of the attention falls on the object


def _scaled(q: Tensor, k: Tensor) -> Tensor:
    return q @ k.transpose(1, 2) / q.shape[-1] ** 0.5


def _no_scale(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_weights(q @ k.transpose(1, 2), allowed) * inside).sum(-1).mean(0)


def _no_mask(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_scaled(q, k).softmax(-1) * inside).sum(-1).mean(0)


def _blocked_afterwards(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_scaled(q, k).softmax(-1) * allowed * inside).sum(-1).mean(0)


def _blocked_with_zero(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return ((_scaled(q, k) * allowed).softmax(-1) * inside).sum(-1).mean(0)


def _scaled_by_all_channels(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    scores = q @ k.transpose(1, 2) / (q.shape[0] * q.shape[2]) ** 0.5
    return (_weights(scores, allowed) * inside).sum(-1).mean(0)


def _scaled_without_root(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    scores = q @ k.transpose(1, 2) / q.shape[2]
    return (_weights(scores, allowed) * inside).sum(-1).mean(0)


def _whole_pixels(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_weights(_scaled(q, k), allowed) * (inside >= 0.5)).sum(-1).mean(0)


def _heads_apart(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_weights(_scaled(q, k), allowed) * inside).sum(-1)


def _mask_turned(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_weights(_scaled(q, k), ~allowed) * inside).sum(-1).mean(0)


def _one_softmax(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_weights(_scaled(q, k).mean(0), allowed) * inside).sum(-1)


def _queries_compete(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    weights = _scaled(q, k).masked_fill(~allowed, -torch.inf).softmax(1)
    return (weights * inside).sum(-1).mean(0)


def _mean_over_pixels(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_weights(_scaled(q, k), allowed) * inside).mean(-1).mean(0)


SHARE = [
    Wrong(_no_scale, "your softmax is too sharp: what are the scores divided by?"),
    Wrong(_no_mask, "what a query may not see must weigh nothing before you count"),
    Wrong(_blocked_afterwards, "block before the softmax: your weights do not sum to 1"),
    Wrong(_blocked_with_zero, "e^0 is 1: a score of 0 does not block"),
    Wrong(_scaled_by_all_channels, "d is the width of one head, not of all together"),
    Wrong(_scaled_without_root, "the scores are divided by the root of d, not by d"),
    Wrong(_whole_pixels, "a pixel can belong in part: then its weight counts in part"),
    Wrong(_heads_apart, "one number for each query is wanted: what of the heads?"),
    Wrong(_mask_turned, "you count where a query may not look: what does True mean here?"),
    Wrong(_one_softmax, "each head has a softmax of its own; average afterwards"),
    Wrong(_queries_compete, "the pixels compete, not the queries: which axis is that?"),
    Wrong(_mean_over_pixels, "weights sum to 1 over the pixels: where do you need a mean?"),
]
