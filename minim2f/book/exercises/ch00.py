"""Exercises of chapter 0: who speaks, boxes as a fourth reading, and numbers for segments."""

from __future__ import annotations

import torch
from torch import Tensor

from minim2f.book.exercises import Exercise, Wrong, integer

# ---- 0.1 who speaks


def speaking(class_logits: Tensor, threshold: float) -> Tensor:
    """Which queries name a class and are surer of it than `threshold`, (N, K+1) -> (N,) bool."""
    scores, labels = class_logits.softmax(-1).max(-1)
    return (scores > threshold) & (labels < class_logits.shape[1] - 1)


def _class_logits(g: torch.Generator) -> tuple[Tensor, float]:
    size = integer(g, 1, 7), integer(g, 1, 5) + 1
    return 2 * torch.randn(size, generator=g), integer(g, 1, 9) / 10


def _nothing_counts(class_logits: Tensor, threshold: float) -> Tensor:
    return class_logits.softmax(-1).amax(-1) > threshold


def _nothing_ignored(class_logits: Tensor, threshold: float) -> Tensor:
    return class_logits.softmax(-1)[:, :-1].amax(-1) > threshold


def _nothing_cut_off(class_logits: Tensor, threshold: float) -> Tensor:
    return class_logits[:, :-1].softmax(-1).amax(-1) > threshold


def _queries_compete(class_logits: Tensor, threshold: float) -> Tensor:
    scores, labels = class_logits.softmax(0).max(-1)
    return (scores > threshold) & (labels < class_logits.shape[1] - 1)


def _logits_compared(class_logits: Tensor, threshold: float) -> Tensor:
    scores, labels = class_logits.max(-1)
    return (scores > threshold) & (labels < class_logits.shape[1] - 1)


# ---- 0.2 a fourth reading: boxes


def boxes(mask_logits: Tensor) -> Tensor:
    """The box [x, y, width, height] of each mask, zeros for an empty one, (N, H, W) -> (N, 4)."""
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


def _corners(mask_logits: Tensor) -> Tensor:
    found = boxes(mask_logits)
    full = found[:, 2] > 0
    found[full, 2:] += found[full, :2] - 1
    return found


def _last_pixel_lost(mask_logits: Tensor) -> Tensor:
    found = boxes(mask_logits)
    found[found[:, 2] > 0, 2:] -= 1
    return found


def _rows_first(mask_logits: Tensor) -> Tensor:
    return boxes(mask_logits)[:, [1, 0, 3, 2]]


def _probability_threshold(mask_logits: Tensor) -> Tensor:
    return boxes(mask_logits - 0.5)


def _empty_forgotten(mask_logits: Tensor) -> Tensor:
    found = torch.zeros(len(mask_logits), 4, dtype=torch.int64)
    for q, mask in enumerate(mask_logits > 0):
        ys, xs = mask.nonzero(as_tuple=True)
        x, y = xs.min(), ys.min()  # the smallest of nothing raises an error
        found[q] = torch.stack([x, y, xs.max() - x + 1, ys.max() - y + 1])
    return found


# ---- 0.3 numbers for segments


def segment_ids(owner: Tensor, labels: Tensor, things: Tensor) -> Tensor:
    """Owners as panoptic ids: numbers from 1, in the order of the queries; 0 is void.

    Args:
        owner: (H, W), the query that owns each pixel, -1 for none.
        labels: (N,), the class of each query.
        things: (K,) bool; queries of one class that is no thing share a number.
    """
    ids = torch.zeros_like(owner)
    numbers = {}
    for q in owner.unique().tolist():
        if q >= 0:
            label = labels[q].item()
            key = ("query", q) if things[label] else ("class", label)
            ids[owner == q] = numbers.setdefault(key, len(numbers) + 1)
    return ids


def _owners(g: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    queries, classes = integer(g, 1, 6), integer(g, 1, 3)
    owner = torch.randint(-1, queries, (integer(g, 1, 5), integer(g, 1, 5)), generator=g)
    labels = torch.randint(0, classes, (queries,), generator=g)
    return owner, labels, torch.rand(classes, generator=g) < 0.5


def _things_merged(owner: Tensor, labels: Tensor, things: Tensor) -> Tensor:
    return segment_ids(owner, labels, torch.zeros_like(things))


def _nothing_merged(owner: Tensor, labels: Tensor, things: Tensor) -> Tensor:
    return segment_ids(owner, labels, torch.ones_like(things))


def _from_zero(owner: Tensor, labels: Tensor, things: Tensor) -> Tensor:
    return (segment_ids(owner, labels, things) - 1).clamp(min=0)


def _void_numbered(owner: Tensor, labels: Tensor, things: Tensor) -> Tensor:
    ids = segment_ids(owner, labels, things)
    return ids + 1 if (owner < 0).any() else ids


def _with_gaps(owner: Tensor, labels: Tensor, things: Tensor) -> Tensor:
    ids = segment_ids(owner, labels, things)
    for number in ids.unique().tolist():
        if number:
            ids[ids == number] = -(owner[ids == number].min() + 1)
    return -ids


EXERCISES = [
    Exercise(
        "0.1",
        speaking,
        _class_logits,
        wrong=[
            Wrong(_nothing_counts, "a query that is sure of the last column has found nothing"),
            Wrong(
                _nothing_ignored,
                'one of these queries likes a class well enough, and "no object" better still',
            ),
            Wrong(
                _nothing_cut_off,
                "with the last column gone before the softmax, every query has to name something",
            ),
            Wrong(
                _queries_compete,
                "the classes of one query compete, not the queries: which axis is that?",
            ),
            Wrong(_logits_compared, "the threshold is a probability, and these are still logits"),
        ],
        corners=[(torch.tensor([[0.0, 0.0, -99.0]]), 0.5)],  # exactly as sure as the threshold
    ),
    Exercise(
        "0.2",
        boxes,
        _mask_logits,
        wrong=[
            Wrong(_corners, "the last two numbers are a width and a height, not a corner"),
            Wrong(_last_pixel_lost, "a mask of one pixel is one pixel wide: count both ends"),
            Wrong(_rows_first, "x comes first: which axis of the mask does it run along?"),
            Wrong(
                _probability_threshold,
                "0.5 is where a probability turns; these are logits, and turn elsewhere",
            ),
            Wrong(_empty_forgotten, "a mask may be empty, and nothing has no smallest element"),
        ],
        corners=[(torch.tensor([[[0.0, 1.0], [0.0, -1.0]]]),)],  # a logit of 0 is outside
    ),
    Exercise(
        "0.3",
        segment_ids,
        _owners,
        wrong=[
            Wrong(_things_merged, "two cars are two segments: which classes may share a number?"),
            Wrong(_nothing_merged, "a sky in two pieces is one sky, whichever queries own them"),
            Wrong(_from_zero, "0 is taken: it means void"),
            Wrong(_void_numbered, "pixels that nobody owns are no segment, and keep the 0"),
            Wrong(_with_gaps, "count segments, not queries: no number may be left out"),
        ],
        corners=[  # stuff shared, then a thing; a query and a class of the same number
            (torch.tensor([[0, 1, 2, -1]]), torch.tensor([0, 0, 1]), torch.tensor([False, True])),
            (torch.tensor([[0, 1], [1, 0]]), torch.tensor([1, 0]), torch.tensor([True, False])),
        ],
    ),
]
