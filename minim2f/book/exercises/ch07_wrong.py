"""What usually goes wrong in 7.1 and 7.4, the attention: each mistake as code, with its hint."""

from __future__ import annotations

import torch
from torch import Tensor

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


def _turned_then_rescued(scores: Tensor, allowed: Tensor) -> Tensor:
    return _weights(scores, _rescued(~allowed))


def _one_closes_all(scores: Tensor, allowed: Tensor) -> Tensor:
    return _weights(scores, allowed | ~allowed.any())


def _twice(scores: Tensor, allowed: Tensor) -> Tensor:
    return _weights(scores, _rescued(allowed)).softmax(-1)


def _by_hand(scores: Tensor, allowed: Tensor) -> Tensor:
    powers = scores.exp() * _rescued(allowed)
    return powers / powers.sum(-1, keepdim=True)


def _by_hand_no_rescue(scores: Tensor, allowed: Tensor) -> Tensor:
    powers = scores.exp() * allowed
    return powers / powers.sum(-1, keepdim=True)


def _not_low_enough(scores: Tensor, allowed: Tensor) -> Tensor:
    return scores.masked_fill(~_rescued(allowed), -100).softmax(-1)


def _not_low_enough_no_rescue(scores: Tensor, allowed: Tensor) -> Tensor:
    return scores.masked_fill(~allowed, -100).softmax(-1)


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
    Wrong(_not_masked, "blocked cells still have weight: which score makes it exactly 0?"),
    Wrong(_turned, "your queries look at all but their masks: what does True mean here?"),
    Wrong(_turned_no_rescue, "True means that a query may look; then think of empty masks"),
    Wrong(_turned_then_rescued, "your queries look at all but their masks: what does True mean?"),
    Wrong(_one_closes_all, "your rescue asks whether anybody sees anything: ask each query"),
    Wrong(_twice, "the weights go through a second softmax: once is enough"),
    Wrong(_by_hand, "e^300 is more than a float holds: softmax first takes off the row's maximum"),
    Wrong(_by_hand_no_rescue, "e^300 is more than a float holds; and 0/0 for an empty mask?"),
    Wrong(_not_low_enough, "-100 is not low enough: allowed scores may be lower still"),
    Wrong(_not_low_enough_no_rescue, "-100 is not low enough; then think of empty masks"),
    Wrong(_over_queries, "the cells of one query compete, not the queries: which axis?"),
    Wrong(_zero_after, "your rows no longer sum to 1: block before the softmax, not after"),
    Wrong(_zero_after_no_rescue, "your rows do not sum to 1: block before the softmax"),
    Wrong(_zero_before, "e^0 is 1: which score gets no weight at all?"),
    Wrong(_zero_before_no_rescue, "e^0 is 1: which score gets no weight? And empty masks?"),
    Wrong(_zero_times_infinity, "0 times infinity is NaN: fill -inf in, do not multiply"),
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


def _whole_if_touched(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_weights(_scaled(q, k), allowed) * (inside > 0)).sum(-1).mean(0)


def _sum_over_heads(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_weights(_scaled(q, k), allowed) * inside).sum(-1).sum(0)


def _best_head(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_weights(_scaled(q, k), allowed) * inside).sum(-1).amax(0)


def _by_the_area(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_weights(_scaled(q, k), allowed) * inside).sum(-1).mean(0) / inside.mean(-1)


def _by_the_cells(q: Tensor, k: Tensor, allowed: Tensor, inside: Tensor) -> Tensor:
    return (_weights(_scaled(q, k), allowed) * inside).sum(-1).mean(0) / inside.sum(-1)


SHARE = [
    Wrong(_whole_if_touched, "a cell can belong in part: then its weight counts in part"),
    Wrong(_sum_over_heads, "a share is at most 1: the mean over the heads is wanted, not the sum"),
    Wrong(_best_head, "the mean over the heads is wanted, not the best of them"),
    Wrong(_by_the_area, "you divide by the object's area: the share itself is wanted"),
    Wrong(_by_the_cells, "you divide by the object's area: the share itself is wanted"),
    Wrong(_no_scale, "your softmax is too sharp: what are the scores divided by?"),
    Wrong(_no_mask, "what a query may not see must weigh nothing before you count"),
    Wrong(_blocked_afterwards, "block before the softmax: your weights do not sum to 1"),
    Wrong(_blocked_with_zero, "e^0 is 1: a score of 0 does not block"),
    Wrong(_scaled_by_all_channels, "d is the width of one head, not of all together"),
    Wrong(_scaled_without_root, "the scores are divided by the root of d, not by d"),
    Wrong(_whole_pixels, "a cell can belong in part: then its weight counts in part"),
    Wrong(_heads_apart, "one number for each query is wanted: what of the heads?"),
    Wrong(_mask_turned, "you count where a query may not look: what does True mean here?"),
    Wrong(_one_softmax, "each head has a softmax of its own; average afterwards"),
    Wrong(_queries_compete, "the cells compete, not the queries: which axis is that?"),
    Wrong(_mean_over_pixels, "weights sum to 1 over the cells: where do you need a mean?"),
]
