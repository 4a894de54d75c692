"""Exercises of chapter 9, matching: targets from pairs, dice, the whole cost, an exact search."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from minim2f.book.exercises import Exercise, Wrong, integer
from minim2f.training.matching import assign

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


def _filled_with(value: int) -> Tensor:
    def mistake(queries, segments, labels, num_queries, num_classes):
        classes = torch.full((num_queries,), value)
        classes[queries] = labels[segments]
        return classes

    return mistake


def _last_real_class(queries, segments, labels, num_queries, num_classes):
    classes = torch.full((num_queries,), num_classes - 1)
    classes[queries] = labels[segments]
    return classes


def _labels_in_file_order(queries, segments, labels, num_queries, num_classes):
    classes = torch.full((num_queries,), num_classes)
    classes[queries] = labels[: len(queries)]
    return classes


def _all_labels(queries, segments, labels, num_queries, num_classes):
    classes = torch.full((num_queries,), num_classes)
    classes[queries] = labels  # fails where there are more segments than queries
    return classes


def _swapped(queries, segments, labels, num_queries, num_classes):
    classes = torch.full((num_queries,), num_classes)
    classes[segments] = labels[queries]
    return classes


# ---- 9.2 dice of all pairs


def pairwise_dice(mask_logits: Tensor, masks: Tensor) -> Tensor:
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


def _without_sigmoid(mask_logits, masks):
    sizes = mask_logits.sum(1)[:, None] + masks.sum(1)
    return 1 - (2 * mask_logits @ masks.T + 1) / (sizes + 1)


def _thresholded(mask_logits, masks):
    s = (mask_logits > 0).float()
    return 1 - (2 * s @ masks.T + 1) / (s.sum(1)[:, None] + masks.sum(1) + 1)


def _without_one(mask_logits, masks):
    s = mask_logits.sigmoid()
    return 1 - 2 * s @ masks.T / (s.sum(1)[:, None] + masks.sum(1))


def _without_two(mask_logits, masks):
    s = mask_logits.sigmoid()
    return 1 - (s @ masks.T + 1) / (s.sum(1)[:, None] + masks.sum(1) + 1)


def _means(mask_logits, masks):
    s = mask_logits.sigmoid()
    overlap = s @ masks.T / masks.shape[1]
    return 1 - (2 * overlap + 1) / (s.mean(1)[:, None] + masks.mean(1) + 1)


def _overlap(mask_logits, masks):
    s = mask_logits.sigmoid()
    return (2 * s @ masks.T + 1) / (s.sum(1)[:, None] + masks.sum(1) + 1)


def _transposed(mask_logits, masks):
    return pairwise_dice(mask_logits, masks).T


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


def _masks_alone(mask_logits, masks):
    return 5 * _bce(mask_logits, masks) + 5 * pairwise_dice(mask_logits, masks)


def _softmax_over_queries(class_logits, mask_logits, labels, masks):
    return -2 * class_logits.softmax(0)[:, labels] + _masks_alone(mask_logits, masks)


def _softmax_without_no_object(class_logits, mask_logits, labels, masks):
    return -2 * class_logits[:, :-1].softmax(1)[:, labels] + _masks_alone(mask_logits, masks)


def _class_logits_as_they_are(class_logits, mask_logits, labels, masks):
    return -2 * class_logits[:, labels] + _masks_alone(mask_logits, masks)


def _cross_entropy(class_logits, mask_logits, labels, masks):
    return -2 * class_logits.log_softmax(1)[:, labels] + _masks_alone(mask_logits, masks)


def _one_minus_p(class_logits, mask_logits, labels, masks):
    return 2 * (1 - class_logits.softmax(1)[:, labels]) + _masks_alone(mask_logits, masks)


def _plus_p(class_logits, mask_logits, labels, masks):
    return 2 * class_logits.softmax(1)[:, labels] + _masks_alone(mask_logits, masks)


def _bce_summed(class_logits, mask_logits, labels, masks):
    class_cost = -class_logits.softmax(1)[:, labels]
    bce = F.softplus(mask_logits).sum(1)[:, None] - mask_logits @ masks.T
    return 2 * class_cost + 5 * bce + 5 * pairwise_dice(mask_logits, masks)


def _unsmoothed(class_logits, mask_logits, labels, masks):
    class_cost = -class_logits.softmax(1)[:, labels]
    return 2 * class_cost + 5 * _bce(mask_logits, masks) + 5 * _without_one(mask_logits, masks)


def _unweighted(class_logits, mask_logits, labels, masks):
    class_cost = -class_logits.softmax(1)[:, labels]
    return class_cost + _bce(mask_logits, masks) + pairwise_dice(mask_logits, masks)


def _weights_in_another_order(class_logits, mask_logits, labels, masks):
    class_cost = -class_logits.softmax(1)[:, labels]
    dice = pairwise_dice(mask_logits, masks)
    return 5 * class_cost + 5 * _bce(mask_logits, masks) + 2 * dice


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


def _each_segment_its_cheapest(cost):
    return cost.amin(0).sum().item()


def _greedy_by_segment(cost):
    cost, total = cost.clone(), 0.0
    for g in range(cost.shape[1]):
        n = cost[:, g].argmin()
        total += cost[n, g].item()
        cost[n] = math.inf
    return total


def _cheapest_cell_first(cost):
    cost, total = cost.clone(), 0.0
    for _ in range(cost.shape[1]):
        n, g = divmod(cost.argmin().item(), cost.shape[1])
        total += cost[n, g].item()
        cost[n], cost[:, g] = math.inf, math.inf
    return total


def _live_totals(cost):
    best = {frozenset(): 0.0}
    for row in cost.tolist():
        for served in list(best):
            for g, price in enumerate(row):
                if g not in served:
                    more = served | {g}
                    best[more] = min(best.get(more, math.inf), best[served] + price)
    return best[frozenset(range(cost.shape[1]))]


def _growing_while_looping(cost):
    best = {frozenset(): 0.0}
    for row in cost.tolist():
        for served, total in best.items():
            for g, price in enumerate(row):
                if g not in served:
                    more = served | {g}
                    best[more] = min(best.get(more, math.inf), total + price)
    return best[frozenset(range(cost.shape[1]))]


def _first_found(cost):
    best = {frozenset(): 0.0}
    for row in cost.tolist():
        for served, total in list(best.items()):
            for g, price in enumerate(row):
                if g not in served:
                    best[served | {g}] = total + price
    return best[frozenset(range(cost.shape[1]))]


EXERCISES = [
    Exercise(
        "9.1",
        query_classes,
        _pairs,
        wrong=[
            Wrong(
                _filled_with(0),
                "class 0 is a real class: what are queries to say that answer for nothing?",
            ),
            Wrong(
                _filled_with(-100),
                "ignored queries learn nothing, and go on claiming segments: give them a class too",
            ),
            Wrong(
                _last_real_class,
                "K - 1 is the last real class: 'no object' has a column of its own behind it",
            ),
            Wrong(
                _labels_in_file_order,
                "the pairs are sorted by query: which segment belongs to the first of them?",
            ),
            Wrong(
                _all_labels,
                "not the labels in the order of the file: each pair names its segment, so ask that one",
            ),
            Wrong(_swapped, "queries number the rows of the result, segments number the labels"),
        ],
    ),
    Exercise(
        "9.2",
        pairwise_dice,
        _logits_and_masks,
        wrong=[
            Wrong(
                _without_sigmoid,
                "forgot the sigmoid: a dice cost lies in 0 ... 1, and logits do not",
            ),
            Wrong(
                _thresholded,
                "the cost takes probabilities, not a mask cut at 1/2: an unsure query should pay",
            ),
            Wrong(
                _without_one,
                "add 1 above and below the line: what do you get when both masks are empty?",
            ),
            Wrong(
                _without_two,
                "a perfect mask must cost 0: it counts once above the line, but twice below",
            ),
            Wrong(_means, "sums, not means: beside a mean, the added 1 is far too heavy"),
            Wrong(_overlap, "this is how well they agree; a cost is small when they do"),
            Wrong(_transposed, "queries down, segments across: (N, G), not (G, N)"),
        ],
    ),
    Exercise(
        "9.3",
        whole_cost,
        _picture,
        wrong=[
            Wrong(
                _softmax_over_queries,
                "the classes of one query compete, not the queries: which axis is that?",
            ),
            Wrong(
                _softmax_without_no_object,
                "'no object' takes part in the softmax: a query that doubts must seem dearer",
            ),
            Wrong(
                _class_logits_as_they_are,
                "the class term is a probability, so that it can never pass 2; yours has no bound",
            ),
            Wrong(
                _cross_entropy,
                "that is the loss: the cost takes the probability itself, without a logarithm",
            ),
            Wrong(
                _one_minus_p,
                "1 - p picks the same pairs, but leave the constant away: the cost is -p",
            ),
            Wrong(_plus_p, "a high probability must make a pair cheaper: check a sign"),
            Wrong(
                _bce_summed,
                "BCE is a mean over the points: yours grows with their number and drowns the rest",
            ),
            Wrong(_unsmoothed, "the dice term lacks the 1 above and below the line"),
            Wrong(_unweighted, "the three terms do not count alike: where are the weights?"),
            Wrong(
                _weights_in_another_order,
                "the weights are in another order: which term counts 2, and which two count 5?",
            ),
        ],
    ),
    Exercise(
        "9.4",
        cheapest_total,
        _costs,
        wrong=[
            Wrong(
                _each_segment_its_cheapest,
                "too cheap to be true: here one query may answer for several segments",
            ),
            Wrong(
                _greedy_by_segment,
                "you serve one segment after the other and never look back: that is greedy",
            ),
            Wrong(
                _cheapest_cell_first,
                "the cheapest cell first is greedy too: it may force a very dear one later",
            ),
            Wrong(
                _live_totals,
                "within one row, start from the totals before it: your query can serve twice",
            ),
            Wrong(
                _growing_while_looping,
                "a dictionary cannot grow while you loop over it: loop over a copy",
            ),
            Wrong(_first_found, "several ways serve the same segments: keep the cheapest of them"),
        ],
    ),
]
