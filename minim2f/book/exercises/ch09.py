"""Exercises of chapter 9, matching: targets from pairs, dice, the whole cost, an exact search."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus

from minim2f.book.exercises import (
    Exercise,
    ch09_wrong,
    ch09_wrong_costs,
    ch09_wrong_totals,
    integer,
)
from minim2f.book.exercises.forbidden import watchful
from minim2f.training.matching import assign, pairwise_dice

# ---- 9.1 what each query is to learn


def query_classes(
    queries: Tensor, segments: Tensor, labels: Tensor, num_queries: int, num_classes: int
) -> Tensor:
    """The class that each query is taught after matching.

    Args:
        queries, segments: (min(N, G),) int64 each, pairs as `assign` returns them: queries ascend.
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


# ---- 9.2 dice of all pairs


def my_dice(mask_logits: Tensor, masks: Tensor) -> Tensor:
    """The dice cost of every query with every segment, (N, P), (G, P) -> (N, G)."""
    m = mask_logits.sigmoid()
    overlap = m @ masks.T
    sizes = m.sum(1)[:, None] + masks.sum(1)
    return 1 - (2 * overlap + 1) / (sizes + 1)


def _logits_and_masks(g: torch.Generator) -> tuple[Tensor, Tensor]:
    points = integer(g, 1, 8)
    mask_logits = 2 * torch.randn(integer(g, 1, 6), points, generator=g)
    drawn = torch.rand(integer(g, 0, 4), points, generator=g)
    return mask_logits, (2 * drawn - 0.5).clamp(0, 1)  # inside, outside, and some points at the rim


# Queries that are very sure: in float64 too, the sigmoid of -800 is 0. Some masks are empty.
_SURE = 800 * torch.tensor([[1, 1, -1, -1], [-1, -1, -1, -1], [-1, 1, -1, 1]], dtype=torch.float64)
_EMPTY_TOO = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.float64)


def _watched_masks(functions: str) -> tuple[Tensor, ...]:
    seeded = torch.Generator().manual_seed(7)
    drawn = torch.randn(4, 6, generator=seeded), (torch.rand(3, 6, generator=seeded) > 0.5).float()
    return watchful(*drawn, functions=functions, loops=False)


_DICE_CORNERS = [_watched_masks("pairwise_dice slow_cost fast_cost"), (_SURE, _EMPTY_TOO)]


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
    bce = softplus(mask_logits).mean(1)[:, None] - mask_logits @ masks.T / masks.shape[1]
    return 2 * class_cost + 5 * bce + 5 * pairwise_dice(mask_logits, masks)


def _picture(g: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    mask_logits, masks = _logits_and_masks(g)
    num_classes = integer(g, 1, 5)
    class_logits = 2 * torch.randn(len(mask_logits), num_classes + 1, generator=g)
    return class_logits, mask_logits, torch.randint(num_classes, (len(masks),), generator=g), masks


def _cost_corners() -> list[tuple[Tensor, ...]]:
    x, t = _watched_masks("slow_cost fast_cost matching_cost fast_bce pairwise_bce")
    classes = torch.linspace(-1, 2, 12).reshape(4, 3)
    sure = classes[:3].double(), _SURE, torch.tensor([1, 0]), _EMPTY_TOO
    return [(classes, x, torch.tensor([1, 0, 1]), t), sure]


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


_READY_MADE = "linear_sum_assignment min_weight_full_bipartite_matching permutations slow_assign"
_PRICES = torch.tensor([[1.0, 2.0], [1.5, 9.0], [8.0, 7.0]], dtype=torch.float64)


def _chain() -> Tensor:
    """Eight segments whose favourites are one query further on; for the last, there is none.

    The best total is 16, each segment g with query g. Whoever follows the favourites pays 106.
    """
    cost = torch.full((8, 8), 99.0, dtype=torch.float64)
    g = torch.arange(8)
    cost[g, g] = 2
    cost[g[1:], g[:-1]] = 1
    return cost


# Rolled, the favourites lie on the diagonal, where a search by exchanges would start.
_TOTAL_CORNERS = [
    watchful(_PRICES, functions=f"{_READY_MADE} assign choose"),
    (_chain(),),
    (_chain().roll(-1, 0),),
]


EXERCISES = [
    Exercise("9.1", query_classes, _pairs, ch09_wrong.CLASSES),
    Exercise("9.2", my_dice, _logits_and_masks, ch09_wrong.DICE, _DICE_CORNERS),
    Exercise("9.3", whole_cost, _picture, ch09_wrong_costs.COSTS, _cost_corners()),
    Exercise("9.4", cheapest_total, _costs, ch09_wrong_totals.TOTALS, _TOTAL_CORNERS),
]
