"""Exercises of chapter 10: the class loss, a batch in parts, points where masks are unsure."""

from __future__ import annotations

import torch
from torch import Tensor

from minim2f.book.exercises import Exercise, ch10_wrong, integer
from minim2f.book.exercises.forbidden import Counted, Forbidden, counted


class _Loss(Counted):
    """Also stops a loss that keeps no gradient."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if not torch.is_grad_enabled():
            raise Forbidden("a loss has to pass gradients back: write it without no_grad")
        return super().__torch_function__(func, types, args, kwargs)


# ---- 10.1 the class loss


def class_loss(class_logits: Tensor, classes: Tensor, eos_coef: float) -> Tensor:
    """The weighted mean of the queries' cross entropies.

    Args:
        class_logits: (N, K+1), the last column is "no object".
        classes: (N,) int64, what each query should say; K for "no object".
        eos_coef: weight of "no object"; all other classes weigh 1.

    Returns:
        One number, shape ().
    """
    num_queries, columns = class_logits.shape
    weights = class_logits.new_ones(columns)
    weights[columns - 1] = eos_coef
    paid = -class_logits.log_softmax(1)[torch.arange(num_queries), classes]
    return (weights[classes] * paid).sum() / weights[classes].sum()


def _queries(g: torch.Generator) -> tuple[Tensor, Tensor, float]:
    num_queries, num_classes = integer(g, 1, 8), integer(g, 1, 5)
    class_logits = 2 * torch.randn(num_queries, num_classes + 1, generator=g)
    classes = torch.randint(num_classes + 1, (num_queries,), generator=g)
    return class_logits, classes, integer(g, 1, 9) / 10


def _class_corners() -> list[tuple]:
    logits = torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 1.0], [3.0, 0.0, 0.0]])
    classes = torch.tensor([1, 2, 0])
    ready_made = "cross_entropy CrossEntropyLoss nll_loss NLLLoss slow_class_loss"
    g = torch.Generator().manual_seed(3)
    many = torch.randn(300, 6, generator=g), torch.randint(6, (300,), generator=g)
    watched = counted(*many, functions=f"{ready_made} detach data", kind=_Loss)
    sure = 800 * torch.tensor([[1, -1, 0], [-1, 1, 1]], dtype=torch.float64)
    idle = torch.full((3,), 2)
    return [
        (*watched, 0.1),
        (logits, classes, 0.1),
        (sure, torch.tensor([1, 2]), 0.5),
        (logits, idle, 0.1),
    ]


# ---- 10.2 a batch in parts


def part_losses(sums: Tensor, counts: Tensor) -> Tensor:
    """The loss of each part of a batch; their mean is the loss of the undivided batch.

    Args:
        sums: (parts,), the summed losses of each part's pairs.
        counts: (parts,) int64, how many segments each part has.

    Returns:
        (parts,); zeros where the batch has no segment.
    """
    divisor = counts.sum().clamp(min=1) / len(counts)
    return sums / divisor


def _parts(g: torch.Generator) -> tuple[Tensor, Tensor]:
    counts = torch.randint(12, (integer(g, 2, 5),), generator=g)
    return counts * torch.rand(len(counts), generator=g), counts


_PART_CORNERS = [
    (torch.tensor([0.9, 0.9]), torch.tensor([1, 9])),
    (torch.tensor([0.0, 0.5, 0.0]), torch.tensor([0, 1, 0])),
    (torch.zeros(3), torch.zeros(3, dtype=torch.int64)),
    (torch.tensor([1.5]), torch.tensor([4])),
]


# ---- 10.3 points where masks are unsure


def choose_points(candidates: Tensor, logits: Tensor, fresh: Tensor, num_points: int) -> Tensor:
    """Candidates where a mask is least sure, and some fresh points, for each pair.

    Args:
        candidates: (pairs, drawn, 2), places.
        logits: (pairs, drawn), the pair's mask there.
        fresh: (pairs, ready, 2), other places.
        num_points: P.

    Returns:
        (pairs, P, 2): the int(0.75 P) least sure candidates, least sure first, then fresh points.
    """
    count = int(0.75 * num_points)
    order = logits.abs().argsort(1)[:, :count]
    rows = torch.arange(len(order))[:, None]
    return torch.cat([candidates[rows, order], fresh[:, : num_points - count]], 1)


def _drawn(g: torch.Generator) -> tuple[Tensor, Tensor, Tensor, int]:
    pairs, num_points = integer(g, 1, 4), integer(g, 1, 9)
    drawn = 3 * num_points
    candidates = torch.rand(pairs, drawn, 2, generator=g)
    logits = 3 * torch.randn(pairs, drawn, generator=g)
    return candidates, logits, torch.rand(pairs, num_points, 2, generator=g), num_points


def _watched_points() -> tuple:
    g = torch.Generator().manual_seed(5)
    candidates, fresh = torch.rand(300, 24, 2, generator=g), torch.rand(300, 8, 2, generator=g)
    logits = torch.randn(300, 24, generator=g)
    return *counted(candidates, logits, fresh, functions="uncertain"), 8


EXERCISES = [
    Exercise("10.1", class_loss, _queries, ch10_wrong.CLASS, _class_corners()),
    Exercise("10.2", part_losses, _parts, ch10_wrong.PARTS, _PART_CORNERS),
    Exercise("10.3", choose_points, _drawn, ch10_wrong.POINTS, [_watched_points()]),
]
