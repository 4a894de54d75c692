"""What usually goes wrong in exercise 13.3, each mistake with its hint."""

from __future__ import annotations

import torch

from minim2f.book.exercises import Wrong


def _hits(scores, right, descending=True):
    return right[scores.argsort(descending=descending)].cumsum(0)


def _precision(hits):
    return hits / torch.arange(1, len(hits) + 1)


def _area(hits, precision, num_true, percents=range(101), reach=torch.ge):
    """The mean of the best precisions at some recalls."""
    best = [precision[reach(100 * hits, t * num_true)] for t in percents]
    return sum(x.max().item() if len(x) else 0.0 for x in best) / len(best)


def _unsorted(scores, right, num_true):
    hits = right.cumsum(0)
    return _area(hits, _precision(hits), num_true)


def _worst_first(scores, right, num_true):
    hits = _hits(scores, right, descending=False)
    return _area(hits, _precision(hits), num_true)


def _raw(scores, right, num_true):
    """The precision where a recall is first reached, without the envelope."""
    hits, total = _hits(scores, right), 0.0
    for percent in range(101):
        reached = _precision(hits)[100 * hits >= percent * num_true]
        total += reached[0].item() if len(reached) else 0.0
    return total / 101


def _raw_and_unsorted(scores, right, num_true):
    return _raw(-torch.arange(len(scores)), right, num_true)


def _trapezoid(scores, right, num_true):
    hits = _hits(scores, right)
    return torch.trapezoid(_precision(hits), hits / num_true).item() if len(hits) else 0.0


def _mean_at_the_right_ones(scores, right, num_true):
    order = scores.argsort(descending=True)
    return (_precision(_hits(scores, right)) * right[order]).sum().item() / num_true


def _mean_of_the_right_ones(scores, right, num_true):
    order = scores.argsort(descending=True)
    precision = _precision(_hits(scores, right))[right[order]]
    return precision.mean().item() if len(precision) else 0.0


def _all_points(scores, right, num_true):
    hits = _hits(scores, right)
    return _area(
        hits, _precision(hits), num_true, [100 * n / num_true for n in range(1, num_true + 1)]
    )


def _eleven(scores, right, num_true):
    hits = _hits(scores, right)
    return _area(hits, _precision(hits), num_true, range(0, 101, 10))


def _hundred(first):
    def points(scores, right, num_true):
        hits = _hits(scores, right)
        return _area(hits, _precision(hits), num_true, range(first, first + 100))

    return points


def _above(scores, right, num_true):
    hits = _hits(scores, right)
    return _area(hits, _precision(hits), num_true, reach=torch.gt)


def _of_those_found(scores, right, num_true):
    hits = _hits(scores, right)
    return _area(hits, _precision(hits), max(int(right.sum()), 1))


def _best_so_far(scores, right, num_true):
    hits, total = _hits(scores, right), 0.0
    best = _precision(hits).cummax(0).values if len(hits) else hits
    for percent in range(101):
        reached = best[100 * hits >= percent * num_true]
        total += reached[0].item() if len(reached) else 0.0
    return total / 101


def _needs_a_detection(scores, right, num_true):
    if not len(scores):
        return torch.zeros(0).max().item()
    hits = _hits(scores, right)
    return _area(hits, _precision(hits), num_true)


def _never_reached(largest):
    """Takes the largest of no precision at all."""

    def fails(scores, right, num_true):
        hits = _hits(scores, right)
        precision = _precision(hits)
        return sum(largest(precision[100 * hits >= t * num_true]) for t in range(101)) / 101

    return fails


def _searched(scores, right, num_true):
    """Looks beyond the end of the envelope, where the recall is never reached."""
    hits = _hits(scores, right)
    envelope = _precision(hits).flip(0).cummax(0).values.flip(0)
    return envelope[torch.searchsorted(hits / num_true, torch.linspace(0, 1, 101))].mean().item()


def _only_reached(scores, right, num_true):
    hits = _hits(scores, right)
    best = [_precision(hits)[100 * hits >= t * num_true] for t in range(101)]
    best = [x.max().item() for x in best if len(x)]
    return sum(best) / max(len(best), 1)


def _a_sum(scores, right, num_true):
    hits = _hits(scores, right)
    return 101 * _area(hits, _precision(hits), num_true)


RANKED = [
    Wrong(_unsorted, "the list is not sorted: the surest detection comes first"),
    Wrong(_worst_first, "that starts with the least sure detection: sort the other way"),
    Wrong(_raw, "the envelope is missing: at each recall, the best precision from there on"),
    Wrong(_raw_and_unsorted, "two steps are missing: sort by score, then take the envelope"),
    Wrong(_trapezoid, "that is the area under the raw curve: read its envelope at 101 recalls"),
    Wrong(_best_so_far, "the envelope looks ahead: best at this or a higher recall, not so far"),
    Wrong(_mean_at_the_right_ones, "that has no envelope, and reads at the right ones, not at 101"),
    Wrong(_mean_of_the_right_ones, "the recall needs num_true: what was missed has precision 0"),
    Wrong(_all_points, "that is the exact area; COCO reads the envelope at 101 recalls"),
    Wrong(_eleven, "eleven recalls were PASCAL's old rule; COCO reads 101"),
    Wrong(_hundred(0), "0, 0.01 ... 1 are 101 recalls: 1 is one of them"),
    Wrong(_hundred(1), "0, 0.01 ... 1 are 101 recalls: 0 is one of them"),
    Wrong(_above, "a recall that is reached exactly is reached: >=, not >"),
    Wrong(_of_those_found, "the recall divides by all true instances, the missed ones too"),
    Wrong(_only_reached, "recalls that are never reached count, too, with precision 0"),
    *(
        Wrong(
            function,
            "no precision is there to choose from at recalls that are never reached: count 0",
        )
        for function in (
            _never_reached(torch.max),
            _never_reached(lambda reached: max(reached.tolist())),
            _never_reached(lambda reached: reached.numpy().max()),
            _searched,
        )
    ),
    Wrong(_a_sum, "the mean of the 101 precisions is wanted, not their sum"),
    Wrong(_needs_a_detection, "the list may be empty: then nothing is found, and AP is 0"),
]
