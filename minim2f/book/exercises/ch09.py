"""Exercises of chapter 9, matching: targets from pairs, dice, the whole cost, an exact search."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from minim2f.book.exercises import Exercise, Wrong, integer
from minim2f.training.matching import assign, pairwise_dice

# ---- 9.1 what each query is to learn


def query_classes(
    queries: Tensor, segments: Tensor, labels: Tensor, num_queries: int, num_classes: int
) -> Tensor:
    """The class that each query is taught after matching.

    Args:
        queries, segments: (M,) int64, pairs as `assign` returns them: queries ascend.
        labels: (G,) int64, the class of each segment.
        num_queries: N.
        num_classes: K.

    Returns:
        (N,) int64; K, "no object", for queries that answer for nothing.
    """
    classes = torch.full((num_queries,), num_classes)
    classes[queries] = labels[segments]
    return classes


def _pairs(g: torch.Generator) -> tuple[Tensor, Tensor, Tensor, int, int]:
    num_queries, num_classes = integer(g, 1, 8), integer(g, 1, 5)
    labels = torch.randint(num_classes, (integer(g, 0, 6),), generator=g)
    cost = torch.randn(num_queries, len(labels), generator=g)
    return *assign(cost), labels, num_queries, num_classes


def _taught(queries, labels, num_queries, background):
    classes = torch.full((num_queries,), background)
    classes[queries] = labels
    return classes


_WRONG_CLASSES = [
    Wrong(
        lambda q, s, labels, n, k: _taught(q, labels[s], n, 0),
        "class 0 is a real class: what are queries to say that answer for nothing?",
    ),
    Wrong(
        lambda q, s, labels, n, k: _taught(q, labels[s], n, -100),
        "ignored queries learn nothing, and go on claiming segments: give them a class too",
    ),
    Wrong(
        lambda q, s, labels, n, k: _taught(q, labels[s], n, k - 1),
        "K - 1 is the last real class: 'no object' has a column of its own behind it",
    ),
    Wrong(
        lambda q, s, labels, n, k: _taught(q, labels[: len(q)], n, k),
        "the pairs are sorted by query: which segment belongs to the first of them?",
    ),
    Wrong(
        lambda q, s, labels, n, k: _taught(q, labels, n, k),  # fails where G > N
        "not the labels in the order of the file: each pair names its segment, so ask that one",
    ),
    Wrong(
        lambda q, s, labels, n, k: _taught(s, labels[q], n, k),
        "queries number the rows of the result, segments number the labels",
    ),
]


# ---- 9.2 dice of all pairs


def my_dice(mask_logits: Tensor, masks: Tensor) -> Tensor:
    """The dice cost of every query with every segment, (N, P), (G, P) -> (N, G)."""
    s = mask_logits.sigmoid()
    overlap = s @ masks.T
    sizes = s.sum(1)[:, None] + masks.sum(1)
    return 1 - (2 * overlap + 1) / (sizes + 1)


def _logits_and_masks(g: torch.Generator) -> tuple[Tensor, Tensor]:
    points = integer(g, 1, 8)
    mask_logits = 2 * torch.randn(integer(g, 1, 6), points, generator=g)
    drawn = torch.rand(integer(g, 0, 4), points, generator=g)
    return mask_logits, (2 * drawn - 0.5).clamp(0, 1)  # inside, outside, and some points at the rim


def _dice(s, masks, twice=2, one=1):
    return 1 - (twice * s @ masks.T + one) / (s.sum(1)[:, None] + masks.sum(1) + one)


def _unsmooth(mask_logits, masks):
    return _dice(mask_logits.sigmoid(), masks, one=0)


_WRONG_DICE = [
    Wrong(_dice, "forgot the sigmoid: a dice cost lies in 0 ... 1, and logits do not"),
    Wrong(
        lambda x, t: _dice((x > 0).float(), t),
        "the cost takes probabilities, not a mask cut at 1/2: an unsure query should pay",
    ),
    Wrong(_unsmooth, "add 1 above and below the line: what do you get when both masks are empty?"),
    Wrong(
        lambda x, t: _dice(x.sigmoid(), t, twice=1),
        "a perfect mask must cost 0: it counts once above the line, but twice below",
    ),
    Wrong(  # P beside the sums is 1 beside the means
        lambda x, t: _dice(x.sigmoid(), t, one=t.shape[1]),
        "sums, not means: beside a mean, the added 1 is far too heavy",
    ),
    Wrong(
        lambda x, t: 1 - my_dice(x, t),
        "this is how well they agree; a cost is small when they do",
    ),
    Wrong(lambda x, t: my_dice(x, t).T, "queries down, segments across: (N, G), not (G, N)"),
]


# ---- 9.3 the whole cost


def whole_cost(class_logits: Tensor, mask_logits: Tensor, labels: Tensor, masks: Tensor) -> Tensor:
    """The matching cost of every query with every segment.

    Args:
        class_logits: (N, K+1), the last column is "no object".
        mask_logits: (N, P).
        labels: (G,) int64.
        masks: (G, P), in [0, 1].

    Returns:
        (N, G): 2 (-p) + 5 BCE + 5 dice.
    """
    class_cost = -class_logits.softmax(1)[:, labels]
    bce = F.softplus(mask_logits).mean(1)[:, None] - mask_logits @ masks.T / masks.shape[1]
    return 2 * class_cost + 5 * bce + 5 * pairwise_dice(mask_logits, masks)


def _picture(g: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    mask_logits, masks = _logits_and_masks(g)
    num_classes = integer(g, 1, 5)
    class_logits = 2 * torch.randn(len(mask_logits), num_classes + 1, generator=g)
    return class_logits, mask_logits, torch.randint(num_classes, (len(masks),), generator=g), masks


def _bce(mask_logits, masks):
    return F.softplus(mask_logits).mean(1)[:, None] - mask_logits @ masks.T / masks.shape[1]


def _bce_summed(mask_logits, masks):
    return _bce(mask_logits, masks) * masks.shape[1]


def _whole(classes=lambda x: -x.softmax(1), bce=_bce, dice=my_dice, weights=(2, 5, 5)):
    def mistake(class_logits, mask_logits, labels, masks):
        each = classes(class_logits)[:, labels], bce(mask_logits, masks), dice(mask_logits, masks)
        return sum(weight * term for weight, term in zip(weights, each))

    return mistake


_WRONG_COSTS = [
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
    Wrong(_whole(dice=_unsmooth), "the dice term lacks the 1 above and below the line"),
    Wrong(_whole(weights=(1, 1, 1)), "the three terms do not count alike: where are the weights?"),
    Wrong(
        _whole(weights=(5, 5, 2)),
        "the weights are in another order: which term counts 2, and which two count 5?",
    ),
]


# ---- 9.4 the cheapest total, without all permutations


def cheapest_total(cost: Tensor) -> float:
    """The total of the cheapest assignment, exactly.

    Args:
        cost: (N, G) with G <= N.

    Returns:
        The sum of the G chosen costs; 0 without segments.
    """
    best = {frozenset(): 0.0}  # the segments that are served → the cheapest way to serve them
    for row in cost.tolist():
        for served, total in list(best.items()):
            for g, price in enumerate(row):
                if g not in served:
                    more = served | {g}
                    best[more] = min(best.get(more, math.inf), total + price)
    return best[frozenset(range(cost.shape[1]))]


def _costs(g: torch.Generator) -> tuple[Tensor]:
    queries = integer(g, 1, 6)
    segments = integer(g, 0, min(queries, 4))
    return (torch.randn(queries, segments, generator=g, dtype=torch.float64),)


def _greedy(in_order):
    def mistake(cost):
        cost, total = cost.clone(), 0.0
        for turn in range(cost.shape[1]):
            g = turn if in_order else cost.amin(0).argmin()
            n = cost[:, g].argmin()
            total += cost[n, g].item()
            cost[n], cost[:, g] = math.inf, math.inf
        return total

    return mistake


def _search(ways=lambda best: list(best.items()), keep=min):
    def mistake(cost):
        best = {frozenset(): 0.0}
        for row in cost.tolist():
            for served, total in ways(best):
                for g, price in enumerate(row):
                    if g not in served:
                        more = served | {g}
                        best[more] = keep(best.get(more, math.inf), total + price)
        return best[frozenset(range(cost.shape[1]))]

    return mistake


_WRONG_TOTALS = [
    Wrong(
        lambda cost: cost.amin(0).sum().item(),
        "too cheap to be true: here one query may answer for several segments",
    ),
    Wrong(
        _greedy(in_order=True),
        "you serve one segment after the other and never look back: that is greedy",
    ),
    Wrong(
        _greedy(in_order=False),
        "the cheapest cell first is greedy too: it may force a very dear one later",
    ),
    Wrong(
        _search(lambda best: ((served, best[served]) for served in list(best))),
        "within one row, start from the totals before it: your query can serve twice",
    ),
    Wrong(_search(dict.items), "a dictionary cannot grow while you loop over it: loop over a copy"),
    Wrong(
        _search(keep=lambda old, new: new),
        "several ways serve the same segments: keep the cheapest of them",
    ),
]


EXERCISES = [
    Exercise("9.1", query_classes, _pairs, _WRONG_CLASSES),
    Exercise("9.2", my_dice, _logits_and_masks, _WRONG_DICE),
    Exercise("9.3", whole_cost, _picture, _WRONG_COSTS),
    Exercise("9.4", cheapest_total, _costs, _WRONG_TOTALS),
]
