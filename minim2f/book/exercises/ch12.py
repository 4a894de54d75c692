"""Exercises of chapter 12: a map of classes, a list of instances, the panoptic rule."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from minim2f.book.exercises import (
    Exercise,
    ch12_wrong,
    ch12_wrong_pairs,
    ch12_wrong_panoptic,
    integer,
)
from minim2f.book.exercises.forbidden import counted

# ---- 12.1 a map of classes as large as the picture


def class_map(
    class_logits: Tensor,
    mask_logits: Tensor,
    padded: tuple[int, int],
    inner: tuple[int, int],
    size: tuple[int, int],
) -> Tensor:
    """The class of every pixel of a picture.

    Args:
        class_logits: (N, K+1), the last column is "no object".
        mask_logits: (N, h, w), which cover the padded input.
        padded: height and width of the padded input.
        inner: height and width of its upper left part, which is the picture.
        size: height and width that the picture had when it was given.

    Returns:
        (H, W) int64, H and W as in `size`.
    """
    x = F.interpolate(mask_logits[None], padded, mode="bilinear")
    x = F.interpolate(x[..., : inner[0], : inner[1]], size, mode="bilinear").squeeze(0)
    p = class_logits.softmax(1)[:, :-1]
    return torch.einsum("nk,nhw->khw", p, x.sigmoid()).argmax(0)


def _padded_picture(g: torch.Generator) -> tuple:
    queries, classes = integer(g, 1, 6), integer(g, 1, 4)
    h, w = integer(g, 2, 4), integer(g, 2, 4)
    inner = integer(g, 3 * h, 4 * h), integer(g, 3 * w, 4 * w)
    size = integer(g, 2, 12), integer(g, 2, 12)
    class_logits = 2 * torch.randn(queries, classes + 1, generator=g)
    mask_logits = 4 * torch.randn(queries, h, w, generator=g)
    return class_logits, mask_logits, (4 * h, 4 * w), inner, size


def _padded_corners() -> list[tuple]:
    g = torch.Generator().manual_seed(12)
    class_logits = 3 * torch.randn(8, 5, generator=g)
    mask_logits = 5 * torch.randn(8, 6, 8, generator=g)
    wide = class_logits, mask_logits, (24, 32), (17, 25), (20, 31)
    return [wide, (*wide[:2], (24, 32), (24, 32), (24, 32))]


# ---- 12.2 the best pairs of a query and a class


def best_pairs(
    class_logits: Tensor, mask_logits: Tensor, top_k: int, things: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The pairs of a query and a class that become instances, surest of their class first.

    Args:
        class_logits: (N, K+1), the last column is "no object".
        mask_logits: (N, h, w).
        top_k: how many pairs are kept, by class probability, before stuff is dropped.
        things: (K,) bool.

    Returns:
        Of each thing among them, (M,): its score, class probability times the mean mask
        probability where the logit is positive, 0 where it is so nowhere; its class; its query.
    """
    p = class_logits.softmax(1)[:, :-1]
    probabilities, pairs = p.flatten().sort(descending=True)
    queries, classes = pairs[:top_k] // len(things), pairs[:top_k] % len(things)
    masks = mask_logits > 0
    sums = (mask_logits.sigmoid() * masks).sum((1, 2))
    scores = probabilities[:top_k] * (sums / masks.sum((1, 2)).clamp(min=1))[queries]
    kept = things[classes]
    return scores[kept], classes[kept], queries[kept]


def _guesses(g: torch.Generator) -> tuple[Tensor, Tensor, int, Tensor]:
    queries, classes = integer(g, 1, 6), integer(g, 2, 5)
    class_logits = 2 * torch.randn(queries, classes + 1, generator=g)
    mask_logits = 2 * torch.randn(queries, integer(g, 1, 4), integer(g, 1, 4), generator=g)
    things = torch.rand(classes, generator=g) < 0.6
    return class_logits, mask_logits, integer(g, 1, queries * classes + 3), things


def _pair_corners() -> list[tuple]:
    g = torch.Generator().manual_seed(3)
    things = torch.tensor([True, False, True])
    large = 2 * torch.randn(300, 4, generator=g), torch.randn(300, 3, 3, generator=g)
    named = "instances slow_instances _best_pairs as_result segment"
    sure = torch.tensor([[3.0, 2.0, 0.5, 1.0], [0.2, 4.0, 1.0, 0.0], [2.2, 0.0, 1.5, 5.0]])
    maps = torch.tensor([[[0.0, 4.0, 0.3]], [[0.1, -1.0, 9.0]], [[-1.0, 0.0, -2.0]]])
    return [
        (*counted(*large, functions=named), 40, things),
        (sure, maps, 3, things),
        (sure, maps, 100, things),
        (sure, maps, 4, ~things),
    ]


# ---- 12.3 the panoptic rule


def panoptic_rule(
    class_logits: Tensor,
    mask_logits: Tensor,
    things: Tensor,
    score_threshold: float,
    overlap_threshold: float,
) -> tuple[Tensor, list[int]]:
    """A map of segments, and the class of each.

    Args:
        class_logits: (N, K+1), the last column is "no object".
        mask_logits: (N, h, w).
        things: (K,) bool; all queries of another class share one segment.
        score_threshold: a query must be surer than this of its class.
        overlap_threshold: the pixels that it wins, inside its mask or not, must be at least this
            share of those in its mask.

    Returns:
        ids (h, w) int64, 0 for void, segments from 1 in the order of their first query; the
        classes of segments 1, 2, and so on.
    """
    m = mask_logits.sigmoid()
    top, labels = class_logits.softmax(1).max(1)
    sure = (top > score_threshold) & (labels < len(things))
    winner = ((top * sure)[:, None, None] * m).argmax(0)
    ids, classes = torch.zeros_like(winner), []
    for n, label in enumerate(labels.tolist()):
        won, mask = winner == n, m[n] >= 0.5
        lost = not (won & mask).any() or won.sum() < overlap_threshold * mask.sum()
        if lost or not sure[n]:
            continue
        if things[label] or label not in classes:
            classes.append(label)
            ids[won & mask] = len(classes)
        else:
            ids[won & mask] = classes.index(label) + 1
    return ids, classes


def _contested(g: torch.Generator) -> tuple[Tensor, Tensor, Tensor, float, float]:
    queries, classes = integer(g, 1, 7), integer(g, 1, 3)
    class_logits = 3 * torch.randn(queries, classes + 1, generator=g)
    mask_logits = 2 * torch.randn(queries, integer(g, 1, 5), integer(g, 1, 5), generator=g)
    things = torch.rand(classes, generator=g) < 0.5
    return class_logits, mask_logits, things, integer(g, 3, 8) / 10, integer(g, 0, 4) / 4


def _log(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows).log()


def _logit(rows: list[list[float]]) -> Tensor:
    return torch.tensor(rows).logit()[:, None]


_HAND = [[0.05, 0.9, 0.05], [0.95, 0.02, 0.03], [0.85, 0.05, 0.1], [0.06, 0.84, 0.1]]
_ROWS = [
    [0.9, 0.9, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1],
    [0.1, 0.1, 0.9, 0.9, 0.9, 0.1, 0.1, 0.1],
    [0.1, 0.1, 0.1, 0.8, 0.8, 0.8, 0.1, 0.1],
    [0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.9, 0.9],
]
_DOGS = torch.tensor([True, False])


def _rule_corners() -> list[tuple]:
    hand = _log(_HAND), _logit(_ROWS), _DOGS
    # sure exactly as far as the threshold; a logit of exactly 0; half of a mask won
    even = torch.tensor([[0.0, 0.0, -200.0], [9.0, 0.0, 0.0], [0.0, 9.0, 0.0]])
    zero = torch.tensor([[[9.0, 9, 9, 9]], [[0.0, -9, -9, -9]], [[-9.0, 3, 3, -9]]])
    # the first sky loses; a thing that beats the second one at half of its pixels
    three = _log([[0.1, 0.85, 0.05], [0.98, 0.01, 0.01], [0.01, 0.97, 0.02], [0.04, 0.9, 0.06]])
    lost = _logit(
        [
            [0.8, 0.8, 0.8, 0.2, 0.2],
            [0.9, 0.9, 0.1, 0.1, 0.1],
            [0.1, 0.1, 0.1, 0.9, 0.1],
            [0.1, 0.1, 0.6, 0.6, 0.7],
        ]
    )
    # nobody reaches one half; a query that wins everything and has no mask
    low = _logit([[0.4, 0.45, 0.3], [0.3, 0.2, 0.1]])
    outside = _logit([[0.49, 0.49, 0.49], [0.05, 0.05, 0.55]])
    two = _log([[0.97, 0.02, 0.01], [0.3, 0.65, 0.05]])
    return [
        (*hand, 0.8, 0.8),
        (*hand, 0.8, 0.3),
        (*hand, 0.86, 0.8),
        (*hand, 0.99, 0.8),
        (even, zero, _DOGS, 0.5, 0.5),
        (three, lost, _DOGS, 0.8, 0.5),
        (three, lost, _DOGS, 0.8, 0.0),
        (three, lost, ~_DOGS, 0.8, 0.5),
        (two, low, _DOGS, 0.6, 0.0),
        (two, outside, _DOGS, 0.6, 0.0),
    ]


EXERCISES = [
    Exercise("12.1", class_map, _padded_picture, ch12_wrong.MAPS, _padded_corners()),
    Exercise("12.2", best_pairs, _guesses, ch12_wrong_pairs.PAIRS, _pair_corners()),
    Exercise("12.3", panoptic_rule, _contested, ch12_wrong_panoptic.RULES, _rule_corners()),
]
