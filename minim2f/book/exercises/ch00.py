"""Exercises of chapter 0: who speaks, a semantic map with void, boxes; 0.4 in `ch00_segments`.

Most mistakes are one expression, and stand beside the hint that they earn.
"""

from __future__ import annotations

import torch
from torch import Tensor

from minim2f.book.exercises import Exercise, Wrong, integer
from minim2f.book.exercises.ch00_segments import SEGMENTS

# ---- 0.1 who speaks


def speaking(class_logits: Tensor, threshold: float) -> Tensor:
    """Which queries name a class and are surer of it than `threshold`, (N, K+1) -> (N,) bool."""
    scores, labels = class_logits.softmax(-1).max(-1)
    return (scores > threshold) & (labels < class_logits.shape[1] - 1)


def _class_logits(g: torch.Generator) -> tuple[Tensor, float]:
    size = integer(g, 1, 7), integer(g, 1, 5) + 1
    return 2 * torch.randn(size, generator=g), integer(g, 1, 9) / 10


def _told(p: Tensor, threshold: float) -> Tensor:
    scores, labels = p.max(-1)
    return (scores > threshold) & (labels < p.shape[1] - 1)


# ---- 0.2 a semantic map with void


def semantic_or_void(class_logits: Tensor, mask_logits: Tensor, threshold: float) -> Tensor:
    """The class with the most votes, -1 where these are fewer than `threshold`, (h, w).

    Args:
        class_logits: (N, K+1).
        mask_logits: (N, h, w).
        threshold: in votes; a pixel whose best class has exactly so many keeps it.
    """
    p = class_logits.softmax(-1)[:, :-1]
    votes, labels = torch.einsum("nk,nhw->khw", p, mask_logits.sigmoid()).max(0)
    return labels.masked_fill(votes < threshold, -1)


def _both_logits(g: torch.Generator) -> tuple[Tensor, Tensor, float]:
    queries, classes = integer(g, 2, 6), integer(g, 2, 4)
    class_logits = 2 * torch.randn(queries, classes + 1, generator=g)
    size = queries, integer(g, 1, 5), integer(g, 1, 5)
    return class_logits, 2 * torch.randn(size, generator=g), integer(g, 2, 8) / 8


def _voted(p: Tensor, m: Tensor, threshold: float) -> Tensor:
    votes, labels = torch.einsum("nk,nhw->khw", p, m).max(0)
    return labels.masked_fill(votes < threshold, -1)


def _votes(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    p = class_logits.softmax(-1)[:, :-1]
    return torch.einsum("nk,nhw->khw", p, mask_logits.sigmoid())


def _shares(votes: Tensor) -> Tensor:
    return votes.amax(0) / votes.sum(0)


def _voted_by(votes: Tensor, measure: Tensor, threshold: float) -> Tensor:
    return votes.argmax(0).masked_fill(measure < threshold, -1)


def _best_query_decides(class_logits: Tensor, mask_logits: Tensor, threshold: float) -> Tensor:
    each = class_logits.softmax(-1)[:, :-1, None, None] * mask_logits.sigmoid()[:, None]
    votes, labels = each.amax(0).max(0)
    return labels.masked_fill(votes < threshold, -1)


# ---- 0.3 a fourth reading: boxes


def boxes(mask_logits: Tensor) -> Tensor:
    """The box [x, y, width, height] of each mask, zeros for an empty one, (N, h, w) -> (N, 4)."""
    found = torch.zeros(len(mask_logits), 4, dtype=torch.int64)
    for q, mask in enumerate(mask_logits > 0):
        if mask.any():
            ys, xs = mask.nonzero(as_tuple=True)
            x, y = xs.min(), ys.min()
            found[q] = torch.stack([x, y, xs.max() - x + 1, ys.max() - y + 1])
    return found


def _mask_logits(g: torch.Generator) -> tuple[Tensor]:
    size = integer(g, 1, 5), integer(g, 1, 6), integer(g, 1, 6)
    return (torch.randn(size, generator=g) - 0.8,)  # some masks come out empty


def _corners(mask_logits: Tensor, last: int = 0) -> Tensor:
    found = boxes(mask_logits)
    found[:, 2:] += (found[:, :2] - 1 + last) * (found[:, 2:] > 0)
    return found


def _first_and_last(mask_logits: Tensor) -> Tensor:
    """Sizes from the first and the last pixel, though the widest row lies between them."""
    found = boxes(mask_logits)
    for q, mask in enumerate(mask_logits > 0):
        if mask.any():
            (top, left), (bottom, right) = mask.nonzero()[[0, -1]].tolist()
            found[q] = torch.tensor([left, top, right - left + 1, bottom - top + 1])
    return found


def _empty_forgotten(mask_logits: Tensor, first: str = "min") -> Tensor:
    for mask in mask_logits > 0:
        ys, xs = mask.nonzero(as_tuple=True)
        getattr(xs, first)()  # the smallest of nothing raises an error, the largest another one
    return boxes(mask_logits)


EXERCISES = [
    Exercise(
        "0.1",
        speaking,
        _class_logits,
        wrong=[
            Wrong(
                lambda c, t: c.softmax(-1).amax(-1) > t,
                "a query that is sure of the last column has found nothing",
            ),
            Wrong(
                lambda c, t: c.softmax(-1)[:, :-1].amax(-1) > t,
                'one of these queries likes a class well enough, and "no object" better still',
            ),
            Wrong(
                lambda c, t: c[:, :-1].softmax(-1).amax(-1) > t,
                "with the last column gone before the softmax, every query has to name something",
            ),
            Wrong(
                lambda c, t: _told(c.softmax(0), t),
                "the classes of one query compete, not the queries: which axis is that?",
            ),
            Wrong(
                lambda c, t: (c.softmax(0).amax(-1) > t) & (c.argmax(-1) < c.shape[1] - 1),
                "over which axis does your softmax add up to 1? The classes of a query compete",
            ),
            Wrong(
                lambda c, t: c.softmax(0)[:, :-1].amax(-1) > t,
                "a softmax over axis 0 lets the queries compete, and no object is a column too",
            ),
            Wrong(_told, "the threshold is a probability, and these are still logits"),
            Wrong(lambda c, t: c.argmax(-1) < c.shape[1] - 1, "how sure of it must a query be?"),
            Wrong(lambda c, t: speaking(c, t - 1e-6), "as sure as the threshold is not surer"),
        ],
        corners=[(torch.tensor([[0.0, 0.0, -99.0]]), 0.5)],  # exactly as sure as the threshold
    ),
    Exercise(
        "0.2",
        semantic_or_void,
        _both_logits,
        wrong=[
            Wrong(
                lambda c, m, t: semantic_or_void(c, m, 0.0),
                "a pixel that hardly anybody votes for is void: where is the threshold?",
            ),
            Wrong(
                lambda c, m, t: semantic_or_void(c, m, t).clamp(min=0),
                "0 is the first class: void needs a number that no class has",
            ),
            Wrong(
                lambda c, m, t: semantic_or_void(c, m, t) + 1, "classes count from 0, void is -1"
            ),
            Wrong(lambda c, m, t: semantic_or_void(c, m, t + 1e-6), "as many votes are not fewer"),
            Wrong(
                lambda c, m, t: _voted(c.softmax(-1), m.sigmoid(), t),
                "no object is no class and has no vote: leave its column out",
            ),
            Wrong(
                lambda c, m, t: _voted(c[:, :-1].softmax(-1), m.sigmoid(), t),
                "with the last column gone before the softmax, idle queries vote with full weight",
            ),
            Wrong(
                lambda c, m, t: _voted(c.softmax(0)[:, :-1], m.sigmoid(), t),
                "the classes of one query compete, not the queries: which axis is that?",
            ),
            Wrong(
                lambda c, m, t: _voted(c.softmax(-1)[:, :-1], m, t),
                "a vote is a product of two probabilities: are the masks any yet?",
            ),
            Wrong(
                lambda c, m, t: _voted(c.softmax(-1)[:, :-1], (m > 0).float(), t),
                "a doubtful pixel gives a part of a vote: the masks are not to be cut",
            ),
            Wrong(lambda c, m, t: _voted(c[:, :-1], m.sigmoid(), t), "your p are still logits"),
            Wrong(
                lambda c, m, t: _voted_by(_votes(c, m), _votes(c, m).sum(0), t),
                "the votes of all classes together reach the threshold: those of the best one must",
            ),
            Wrong(
                lambda c, m, t: _voted_by(_votes(c, m), _shares(_votes(c, m)), t),
                "the threshold is a number of votes, and yours is a share of them",
            ),
            Wrong(_best_query_decides, "all queries vote: add them up, do not take the best one"),
        ],
        corners=[(torch.zeros(1, 2), torch.zeros(1, 1, 2), 0.25)],  # as many as the threshold
    ),
    Exercise(
        "0.3",
        boxes,
        _mask_logits,
        wrong=[
            Wrong(_corners, "the last two numbers are a width and a height, not a corner"),
            Wrong(lambda m: _corners(m, 1), "width and height are wanted, not where the box ends"),
            Wrong(
                lambda m: boxes(m) - (boxes(m) > 0) * torch.tensor([0, 0, 1, 1]),
                "a mask of one pixel is one pixel wide: count both ends",
            ),
            Wrong(lambda m: boxes(m)[:, [1, 0, 3, 2]], "x comes first: which axis is that?"),
            Wrong(lambda m: boxes(m)[:, [0, 1, 3, 2]], "of the two sizes the width comes first"),
            Wrong(lambda m: boxes(m)[:, [1, 0, 2, 3]], "the sizes are right, but x comes before y"),
            Wrong(
                lambda m: boxes(m) - (boxes(m)[:, 2:3] == 0).long(), "empty is four zeros, not -1"
            ),
            Wrong(lambda m: boxes(m + 1e-30), "a logit of exactly 0 is outside, not inside"),
            Wrong(
                lambda m: boxes(m - 0.5),
                "0.5 is where a probability turns; these are logits, and turn elsewhere",
            ),
            Wrong(
                _first_and_last,
                "the first and the last pixel need not be the leftmost and the rightmost",
            ),
            Wrong(_empty_forgotten, "a mask may be empty, and nothing has no smallest element"),
            Wrong(lambda m: _empty_forgotten(m, "max"), "an empty mask has no largest element"),
        ],
        corners=[(torch.tensor([[[0.0, 1.0], [0.0, -1.0]]]),)],  # a logit of 0 is outside
    ),
    SEGMENTS,
]
