"""What usually goes wrong in exercise 9.4, the cheapest total, each mistake with its hint."""

from __future__ import annotations

import itertools
import math

import torch

from minim2f.book.exercises import Wrong


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


def _lucky_orders(cost):
    totals = []
    for _ in range(100):
        order = torch.randperm(cost.shape[1])
        totals.append(_greedy(in_order=True)(cost[:, order]))
    return min(totals)


def _local_search(cost):
    """Exchanges of two queries, idle ones included, until none pays."""
    queries = list(range(cost.shape[0]))
    better = True

    def price(way):
        return sum(row[g] for g, row in enumerate(cost[way[: cost.shape[1]]].tolist()))

    while better:
        better = False
        for a, b in itertools.combinations(range(len(queries)), 2):
            other = queries.copy()
            other[a], other[b] = other[b], other[a]
            if price(other) < price(queries) - 1e-9:
                queries, better = other, True
    return price(queries)


def _search(ways=lambda best: list(best.items()), keep=min, idle=True, answer=dict.__getitem__):
    def mistake(cost):
        best = {frozenset(): 0.0}
        for row in cost.tolist():
            before, best = best, best if idle else {}
            for served, total in ways(before):
                for g, price in enumerate(row):
                    if g not in served:
                        more = served | {g}
                        best[more] = keep(best.get(more, math.inf), total + price)
        return answer(best, frozenset(range(cost.shape[1])))

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
    Wrong(
        _lucky_orders,
        "lucky orders are not a proof: with eight segments, one order in 40,320 finds the best",
    ),
    Wrong(
        _local_search,
        "no exchange of two pays any more, yet a longer chain of exchanges may",
    ),
    Wrong(
        _search(answer=lambda best, everything: min(best.values())),
        "you stopped before all segments were served: which set holds all of them?",
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
