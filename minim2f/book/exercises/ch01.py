"""Exercises of chapter 1: pairs from a map, a map from pairs, three tasks at once, pieces."""

from __future__ import annotations

import torch
from torch import Tensor

from minim2f.book.exercises import Exercise, ch01_wrong, integer
from minim2f.book.exercises.forbidden import watchful

# ---- 1.1 pairs from a label map


def from_label_map(label_map: Tensor, void: int) -> tuple[Tensor, Tensor]:
    """One pair for each class that is there, in ascending order.

    Args:
        label_map: (H, W) int64, the class of each pixel.
        void: the number of pixels that belong to no class.

    Returns:
        Classes (G,) and masks (G, H, W) bool.
    """
    labels = label_map.unique()
    labels = labels[labels != void]
    return labels, label_map == labels[:, None, None]


def _label_map(g: torch.Generator) -> tuple[Tensor, int]:
    size = integer(g, 1, 5), integer(g, 1, 5)
    return torch.randint(0, integer(g, 1, 6), size, generator=g), (0, 2, 255)[integer(g, 0, 2)]


# ---- 1.2 a map from pairs that overlap


def to_ids(masks: Tensor, scores: Tensor) -> Tensor:
    """The number of the surest mask at each pixel: 1 for the first mask, 0 where there is none.

    Args:
        masks: (N, H, W) bool.
        scores: (N,), how sure each is; of equally sure ones the first wins.
    """
    claims = torch.where(masks, scores[:, None, None], -torch.inf)
    best, owner = claims.max(0)
    return torch.where(best > -torch.inf, owner + 1, 0)


def _scored_masks(g: torch.Generator) -> tuple[Tensor, Tensor]:
    size = integer(g, 1, 5), integer(g, 1, 5), integer(g, 1, 5)
    return torch.rand(size, generator=g) < 0.6, torch.rand(size[0], generator=g)


# ---- 1.3 the three tasks at once


def three_tasks(labels: Tensor, masks: Tensor, things: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Semantic map, instance masks and panoptic map of the same pairs.

    Args:
        labels: (G,) int64.
        masks: (G, H, W) bool; none is empty, no two overlap.
        things: (K,) bool, which classes can be counted.

    Returns:
        Classes (H, W), -1 for void; the masks of things; ids (H, W), 0 for void.
    """
    semantic = torch.full(masks.shape[1:], -1)
    panoptic = torch.zeros_like(semantic)
    numbers = {}
    for g, (label, mask) in enumerate(zip(labels.tolist(), masks)):
        semantic[mask] = label
        key = ("pair", g) if things[label] else ("class", label)
        panoptic[mask] = numbers.setdefault(key, len(numbers) + 1)
    return semantic, masks[things[labels]], panoptic


def _pairs(g: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    owner = torch.randint(-1, integer(g, 1, 7), (integer(g, 1, 5), integer(g, 1, 5)), generator=g)
    masks = owner == owner[owner >= 0].unique()[:, None, None]
    classes = integer(g, 1, 4)
    labels = torch.randint(0, classes, (len(masks),), generator=g)
    return labels, masks, torch.rand(classes, generator=g) < 0.5


# ---- 1.4 pieces


def count_pieces(mask: Tensor) -> int:
    """How many connected pieces a mask has, (H, W) bool; neighbours share a side."""
    names = torch.arange(mask.numel()).view_as(mask)
    for y, x in mask.nonzero().tolist():
        for v, u in ((y - 1, x), (y, x - 1)):
            if v >= 0 and u >= 0 and mask[v, u]:
                names[names == names[y, x]] = names[v, u]  # two pieces become one
    return len(names[mask].unique())


def _mask(g: torch.Generator) -> tuple[Tensor]:
    return (torch.rand(integer(g, 1, 7), integer(g, 1, 7), generator=g) < 0.6,)


_VOID = [  # void alone; void in the middle; no void, and classes left out; 0 is a class
    (torch.full((2, 3), 255), 255),
    (torch.tensor([[1, 2, 3], [3, 2, 1]]), 2),
    (torch.tensor([[0, 4, 0], [9, 4, 0]]), 255),
    (torch.tensor([[0, 255], [7, 0]]), 255),
]
_CLAIMS = [  # a tie; the surest in the middle; a score of 0, alone, beside; the surest first
    (torch.ones(2, 1, 2).bool(), torch.tensor([0.5, 0.5])),
    (torch.ones(3, 1, 1).bool(), torch.tensor([0.2, 0.9, 0.4])),
    (torch.tensor([[[True, False]]]), torch.tensor([0.0])),
    (torch.tensor([[[True, False]], [[False, True]]]), torch.tensor([0.9, 0.0])),
    (torch.ones(2, 1, 1).bool(), torch.tensor([0.7, 0.2])),
]
_SLOPE = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 0, 1]]).bool()
_U = torch.tensor([[1, 0, 1, 0, 1], [1, 0, 1, 0, 1], [1, 1, 1, 1, 1]]).bool()
_RING = torch.tensor([[1, 1, 1], [1, 0, 1], [1, 1, 1]]).bool()
_SNAKE = torch.ones(7, 6).bool()  # a long way from end to end
_SNAKE[[1, 5], :-1] = _SNAKE[3, 1:] = False
_CORNERS = torch.tensor([[1, 0, 1], [0, 0, 0], [1, 0, 1]]).bool()
_SHAPES = [
    *((mask,) for mask in (_SLOPE, _U, _CORNERS, _U.T.clone(), _RING, _SNAKE)),
    (torch.zeros(2, 3).bool(),),
    watchful(_U, functions="label connected_components"),
]
_SETS = [  # stuff in two pairs, a thing between or before; two things alike, void; no pair
    (torch.tensor([1, 0, 1, 0]), torch.eye(4).bool().view(4, 2, 2), torch.tensor([True, False])),
    (torch.tensor([0, 1, 0]), torch.eye(4).bool()[:3, None], torch.tensor([False, True])),
    (torch.tensor([1, 1]), torch.eye(3).bool()[:2, None], torch.tensor([False, True])),
    (torch.zeros(0).long(), torch.zeros(0, 2, 2).bool(), torch.tensor([True])),
]

EXERCISES = [
    Exercise("1.1", from_label_map, _label_map, ch01_wrong.pairs(from_label_map), _VOID),
    Exercise("1.2", to_ids, _scored_masks, ch01_wrong.overlaps(to_ids), _CLAIMS),
    Exercise("1.3", three_tasks, _pairs, ch01_wrong.tasks(three_tasks), _SETS),
    Exercise("1.4", count_pieces, _mask, ch01_wrong.PIECES, _SHAPES),
]
