"""What usually goes wrong in exercise 9.3, the whole cost, each mistake with its hint."""

from __future__ import annotations

from functools import partial

import torch
from torch.nn.functional import softplus

from minim2f.book.exercises import Wrong
from minim2f.book.exercises.ch09_wrong import unsmooth
from minim2f.training.matching import matching_cost, pairwise_dice


def _bce(x, t):
    return softplus(x).mean(1)[:, None] - x @ t.T / t.shape[1]


def _bce_by_logarithm(x, t):
    s = x.sigmoid()
    return -(s.log() @ t.T + (1 - s).log() @ (1 - t).T) / t.shape[1]


def _bce_clamped(x, t, least):
    s = x.sigmoid().clamp(least, 1 - least)
    return -(s.log() @ t.T + (1 - s).log() @ (1 - t).T) / t.shape[1]


def _bce_lifted(x, t, least):
    s = x.sigmoid()
    return -((s + least).log() @ t.T + (1 - s + least).log() @ (1 - t).T) / t.shape[1]


def _bce_by_exp(x, t):
    return (1 + x.exp()).log().mean(1)[:, None] - x @ t.T / t.shape[1]


def _bce_summed(x, t):
    return _bce(x, t) * t.shape[1]


def _whole(classes=lambda x: -x.softmax(1), bce=_bce, dice=pairwise_dice, weights=(2, 5, 5)):
    def mistake(class_logits, mask_logits, labels, masks):
        each = classes(class_logits)[:, labels], bce(mask_logits, masks), dice(mask_logits, masks)
        return sum(weight * term for weight, term in zip(weights, each))

    return mistake


def _library_cost(class_logits, mask_logits, labels, masks):
    return matching_cost(class_logits, mask_logits, labels, masks)


def _cost_by_loops(class_logits, mask_logits, labels, masks):
    rows = zip(class_logits, list(mask_logits))
    return torch.cat([_whole()(c[None], x[None], labels, masks) for c, x in rows])


_CLAMPED = "a clamp hides the NaN, but it also caps the price of a very sure mask: use softplus"

COSTS = [
    Wrong(_library_cost, "the numbers are right, but somebody else wrote them: now from memory"),
    Wrong(_cost_by_loops, "the numbers are right, but no loops: all queries in one tensor"),
    Wrong(
        _whole(bce=_bce_by_logarithm),
        "right until a query is very sure: 0 · ln 0 is NaN, and softplus knows no such corner",
    ),
    *(
        Wrong(_whole(bce=partial(way, least=least)), _CLAMPED)
        for way in (_bce_clamped, _bce_lifted)
        for least in (1e-5, 1e-6, 1e-7, 1e-8, 1e-10, 1e-12)
    ),
    Wrong(
        _whole(bce=_bce_by_exp),
        "right until a query is very sure: then exp overflows, so take PyTorch's own softplus",
    ),
    Wrong(
        _whole(bce=lambda x, t: _bce(x, -t)),
        "a high logit inside the segment must make the pair cheaper: check the sign of t · x",
    ),
    Wrong(
        _whole(classes=lambda x: -x.sigmoid()),
        "a sigmoid judges each class alone: softmax makes the classes of a query compete",
    ),
    Wrong(
        _whole(classes=lambda x: -x.softmax(0)),
        "the classes of one query compete, not the queries: which axis is that?",
    ),
    Wrong(
        _whole(classes=lambda x: -x[:, :-1].softmax(1)),
        "'no object' takes part in the softmax: a query that doubts must seem dearer",
    ),
    Wrong(
        _whole(classes=lambda x: -x),
        "the class term is a probability, so that it can never pass 2; yours has no bound",
    ),
    Wrong(
        _whole(classes=lambda x: -x.log_softmax(1)),
        "that is the loss: the cost takes the probability itself, without a logarithm",
    ),
    Wrong(
        _whole(classes=lambda x: 1 - x.softmax(1)),
        "1 - p picks the same pairs, but leave the constant away: the cost is -p",
    ),
    Wrong(
        _whole(classes=lambda x: x.softmax(1)),
        "a high probability must make a pair cheaper: check a sign",
    ),
    Wrong(
        _whole(bce=_bce_summed),
        "BCE is a mean over the points: yours grows with their number and drowns the rest",
    ),
    Wrong(
        _whole(bce=lambda x, t: _bce(x.sigmoid(), t)),
        "softplus takes the mask logits as they are: a sigmoid before it is one too many",
    ),
    Wrong(_whole(dice=unsmooth), "the dice term lacks the 1 above and below the line"),
    Wrong(
        _whole(dice=lambda x, t: pairwise_dice(x.sigmoid(), t)),
        "pairwise_dice takes mask logits, and has a sigmoid of its own: yours is one too many",
    ),
    Wrong(_whole(weights=(1, 1, 1)), "the three terms do not count alike: where are the weights?"),
    *(
        Wrong(_whole(weights=weights), "which of the three terms counts 2, and which two count 5?")
        for weights in [(5, 5, 5), (5, 5, 2), (5, 2, 5)]
    ),
    Wrong(_whole(weights=(0, 5, 5)), "there are three terms: yours does not ask for the class"),
    Wrong(_whole(weights=(2, 0, 5)), "there are three terms: yours lacks the BCE"),
    Wrong(_whole(weights=(2, 5, 0)), "there are three terms: yours lacks the dice"),
    Wrong(
        lambda *picture: _whole()(*picture).T,
        "queries down, segments across: (N, G), not (G, N)",
    ),
]
