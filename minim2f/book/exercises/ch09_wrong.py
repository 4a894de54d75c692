"""What usually goes wrong in the exercises of chapter 9, each mistake with its hint."""

from __future__ import annotations

import itertools
import math

import torch
from torch.nn.functional import softplus

from minim2f.book.exercises import Wrong
from minim2f.training.matching import matching_cost, pairwise_dice

# ---- 9.1 what each query is to learn


def _taught(queries, labels, num_queries, background):
    classes = torch.full((num_queries,), background)
    classes[queries] = labels
    return classes


CLASSES = [
    Wrong(
        lambda q, s, labels, n, k: _taught(q, labels[s], n, 0),
        "class 0 is a real class: what are queries to say that answer for nothing?",
    ),
    Wrong(
        lambda q, s, labels, n, k: _taught(q, labels[s], n, -100),
        "ignored queries learn nothing, and go on claiming segments: give them a class too",
    ),
    Wrong(
        lambda q, s, labels, n, k: _taught(q, labels[s], n, -1),
        "-1 is no class, and the cross entropy will refuse it: 'no object' has a number too",
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
        lambda q, s, labels, n, k: _taught(q, s, n, k),
        "that is the number of the query's segment: what is the segment's class?",
    ),
    Wrong(
        lambda q, s, labels, n, k: _taught(s, labels[q], n, k),
        "queries number the rows of the result, segments number the labels",
    ),
    Wrong(
        lambda q, s, labels, n, k: _taught(q, labels[s], n, k).float(),
        "the classes are right, but whole numbers are wanted: int64, not floats",
    ),
]


# ---- 9.2 dice of all pairs


def _dice(s, masks, twice=2, above=1, below=1):
    return 1 - (twice * s @ masks.T + above) / (s.sum(1)[:, None] + masks.sum(1) + below)


def _unsmooth(mask_logits, masks):
    return _dice(mask_logits.sigmoid(), masks, above=0, below=0)


def _iou(mask_logits, masks, one):
    s = mask_logits.sigmoid()
    overlap, sizes = s @ masks.T, s.sum(1)[:, None] + masks.sum(1)
    return 1 - (overlap + one) / (sizes - overlap + one)


def _squared(mask_logits, masks):
    s = mask_logits.sigmoid()
    sizes = (s * s).sum(1)[:, None] + (masks * masks).sum(1)
    return 1 - (2 * s @ masks.T + 1) / (sizes + 1)


def _dice_by_loops(mask_logits, masks):
    return torch.cat([_dice(x[None].sigmoid(), masks) for x in list(mask_logits)])


_ROUND_IOU = "that is intersection over union: dice is twice the overlap over the sum of the sizes"

DICE = [
    Wrong(pairwise_dice, "the library's line gives the right numbers, but you are to write it"),
    Wrong(_dice_by_loops, "the numbers are right, but no loops: all pairs at once, in one product"),
    Wrong(_dice, "forgot the sigmoid: a dice cost lies in 0 ... 1, and logits do not"),
    Wrong(
        lambda x, t: _dice((x > 0).to(t), t),
        "the cost takes probabilities, not a mask cut at 1/2: an unsure query should pay",
    ),
    Wrong(_unsmooth, "add 1 above and below the line: what do you get when both masks are empty?"),
    Wrong(
        lambda x, t: _dice(x.sigmoid(), t, above=0),
        "the 1 below the line needs another above it: two empty masks agree, and must cost 0",
    ),
    Wrong(
        lambda x, t: _dice(x.sigmoid(), t, below=0),
        "the 1 above the line needs another below it: a perfect mask must cost 0, and not less",
    ),
    Wrong(
        lambda x, t: _dice(x.sigmoid(), t, twice=1),
        "a perfect mask must cost 0: it counts once above the line, but twice below",
    ),
    Wrong(  # P beside the sums is 1 beside the means
        lambda x, t: _dice(x.sigmoid(), t, above=t.shape[1], below=t.shape[1]),
        "sums, not means: beside a mean, the added 1 is far too heavy",
    ),
    Wrong(
        lambda x, t: 1 - _dice(x.sigmoid(), t),
        "this is how well they agree; a cost is small when they do",
    ),
    Wrong(
        lambda x, t: _dice(x.sigmoid(), t) - 1,
        "minus the agreement ranks alike, but is below 0: what do you subtract it from?",
    ),
    Wrong(lambda x, t: -_dice(x.sigmoid(), t), "a cost grows with the mistake: check a sign"),
    Wrong(lambda x, t: _iou(x, t, one=1), _ROUND_IOU),
    Wrong(lambda x, t: _iou(x, t, one=0), _ROUND_IOU),
    Wrong(_squared, "sizes are plain sums here; with squares it is another dice, of V-Net"),
    Wrong(
        lambda x, t: _dice(x.sigmoid(), t).T,
        "queries down, segments across: (N, G), not (G, N)",
    ),
]


# ---- 9.3 the whole cost


def _bce(x, t):
    return softplus(x).mean(1)[:, None] - x @ t.T / t.shape[1]


def _bce_by_logarithm(x, t):
    s = x.sigmoid()
    return -(s.log() @ t.T + (1 - s).log() @ (1 - t).T) / t.shape[1]


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


COSTS = [
    Wrong(_library_cost, "the numbers are right, but somebody else wrote them: now from memory"),
    Wrong(_cost_by_loops, "the numbers are right, but no loops: all queries in one tensor"),
    Wrong(
        _whole(bce=_bce_by_logarithm),
        "right until a query is very sure: 0 · ln 0 is NaN, and softplus knows no such corner",
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
    Wrong(_whole(dice=_unsmooth), "the dice term lacks the 1 above and below the line"),
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


# ---- 9.4 the cheapest total, without all permutations


def _scipy(cost):
    from scipy.optimize import linear_sum_assignment  # half a second, for this alone

    return cost[linear_sum_assignment(cost)].sum().item()


def _permutations(cost):
    ways = itertools.permutations(range(cost.shape[0]), cost.shape[1])
    return min(sum(cost[n, g].item() for g, n in enumerate(way)) for way in ways)


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


def _search(ways=lambda best: list(best.items()), keep=min, idle=True):
    def mistake(cost):
        best = {frozenset(): 0.0}
        for row in cost.tolist():
            before, best = best, best if idle else {}
            for served, total in ways(before):
                for g, price in enumerate(row):
                    if g not in served:
                        more = served | {g}
                        best[more] = keep(best.get(more, math.inf), total + price)
        return best[frozenset(range(cost.shape[1]))]

    return mistake


_MUST_SERVE = "each of your queries must serve: where there are more than segments, some may idle"

TOTALS = [
    Wrong(_scipy, "right, but SciPy found it: this time you are the one who searches"),
    Wrong(_permutations, "right, but you try every permutation: remember sets of segments instead"),
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
    Wrong(_search(idle=False), _MUST_SERVE),
    Wrong(lambda cost: _search()(cost[: cost.shape[1]]), _MUST_SERVE),
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
