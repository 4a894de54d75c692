"""Exercises of chapter 13: PQ from counts, mean IoU with void, AP of a ranked list, PQ of maps."""

from __future__ import annotations

import torch
from torch import Tensor

from minim2f.book.exercises import (
    Exercise,
    ch13_wrong,
    ch13_wrong_maps,
    ch13_wrong_ranked,
    integer,
)
from minim2f.book.exercises.forbidden import watchful

# ---- 13.1 from counts to PQ


def pq_of_counts(counts: Tensor) -> Tensor:
    """Panoptic quality of a data set.

    Args:
        counts: (pictures, K, 4) float64, one picture or more: TP, FP, FN and the sum of the
            matches' IoU of each class.

    Returns:
        One number, shape (): the mean of PQ over the classes that occur; 0 if none does.
    """
    tp, fp, fn, iou = counts.sum(0).T
    divisor = tp + fp / 2 + fn / 2
    occurs = divisor > 0
    return (iou[occurs] / divisor[occurs]).sum() / occurs.sum().clamp(min=1)


def _counts(g: torch.Generator) -> tuple[Tensor]:
    shape = integer(g, 1, 4), integer(g, 1, 5)
    counts = torch.randint(4, (*shape, 4), generator=g).double()
    fit = 0.51 + 0.49 * torch.rand(shape, generator=g, dtype=torch.float64)
    counts[..., 3] = counts[..., 0] * fit
    return (counts * (torch.rand(1, shape[1], 1, generator=g) < 0.7),)


_COUNT_CORNERS = [
    (torch.tensor([[[1.0, 1, 1, 2 / 3], [1, 0, 0, 2 / 3], [1, 0, 0, 1]]]).double(),),
    (torch.tensor([[[1.0, 0, 0, 0.9]], [[1, 0, 8, 0.6]]]).double(),),  # one class, two pictures
    (torch.tensor([[[2.0, 1, 0, 1.5], [0, 0, 0, 0], [0, 2, 0, 0], [0, 0, 1, 0]]]).double(),),
    (torch.zeros(2, 3, 4).double(),),
    (torch.tensor([[[0.0, 1, 0, 0], [1, 0, 0, 0.8]]]).double(),),  # half a count only
]

# ---- 13.2 mean IoU with void


def mean_iou(confusion: Tensor) -> Tensor:
    """Mean IoU of the classes that occur.

    Args:
        confusion: (K+1, K+1) int64, pixels by true class (row) and predicted class (column); the
            last row is void in the truth, the last column pixels that got no class.

    Returns:
        One number, shape (): the mean over the classes in either map, void left out; 0 if none is.
    """
    known = confusion[:-1]
    both = known.diagonal()
    either = known.sum(1) + known[:, :-1].sum(0) - both
    occurs = either > 0
    return (both[occurs] / either[occurs]).sum() / occurs.sum().clamp(min=1)


def _confusion(g: torch.Generator) -> tuple[Tensor]:
    classes = integer(g, 1, 5)
    confusion = torch.randint(9, (classes + 1, classes + 1), generator=g)
    confusion += torch.diag(torch.randint(20, (classes + 1,), generator=g))
    if integer(g, 0, 1):  # a class that neither map has
        absent = integer(g, 0, classes - 1)
        confusion[absent], confusion[:, absent] = 0, 0
    return (confusion,)


_CONFUSION_CORNERS = [
    (torch.tensor([[6, 2, 0], [2, 8, 0], [0, 6, 0]]),),
    (torch.tensor([[4, 0, 4], [0, 5, 0], [3, 3, 9]]),),
    (torch.tensor([[5, 0, 3, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 2, 0, 1]]),),
    (torch.tensor([[0, 0], [7, 2]]),),
    (torch.tensor([[1, 0, 0], [0, 0, 1], [0, 0, 0]]),),  # a class of a single pixel
]

# ---- 13.3 AP of a ranked list


def average_precision(scores: Tensor, right: Tensor, num_true: int) -> float:
    """COCO's average precision of one class at one IoU threshold.

    Args:
        scores: (found,), of the detections of all pictures, in any order, no two alike; there
            may be none.
        right: (found,) bool, whether each detection was matched with a true instance.
        num_true: how many true instances there are, 1 or more.

    Returns:
        The mean, over the recalls 0, 0.01 ... 1, of the best precision at that or a higher recall.
    """
    hits = right[scores.argsort(descending=True)].cumsum(0)
    precision = hits / torch.arange(1, len(hits) + 1)
    total = 0.0
    for percent in range(101):
        reached = precision[100 * hits >= percent * num_true]
        total += reached.max().item() if len(reached) else 0.0
    return total / 101


def _ranked(g: torch.Generator) -> tuple[Tensor, Tensor, int]:
    # Rounded, 7/10 does not reach 0.7 in COCO's own code, in whole numbers it does: both are right
    # answers. With these numbers, recalls that are hundredths are exact in binary.
    num_true = [1, 2, 3, 4, 7, 9, 11, 13][integer(g, 0, 7)]
    detections = integer(g, 0, 12)
    right = torch.rand(detections, generator=g) < 0.6
    right &= right.cumsum(0) <= num_true
    return torch.rand(detections, generator=g), right, num_true


def _list(scores: list[float], right: list[int], num_true: int) -> tuple[Tensor, Tensor, int]:
    return torch.tensor(scores), torch.tensor(right, dtype=torch.bool), num_true


_RANKED_CORNERS = [
    _list([0.9, 0.8, 0.7, 0.6, 0.5], [1, 0, 1, 1, 0], 4),
    _list([0.5, 0.9, 0.7, 0.6, 0.8], [0, 1, 1, 1, 0], 4),
    _list([0.3, 0.6], [1, 0], 1),
    _list([0.3, 0.6, 0.2], [1, 1, 0], 2),
    _list([0.6], [0], 2),
    _list([], [], 3),
    _list([0.9, 0.8, 0.7], [0, 1, 1], 2),
]

# ---- 13.4 the counts of two id maps


def count_matches(
    pred_ids: Tensor,
    pred_classes: Tensor,
    true_ids: Tensor,
    true_classes: Tensor,
    num_classes: int,
) -> Tensor:
    """What PQ counts in one picture without crowds.

    Args:
        pred_ids: (H, W) int64, 0 for no segment, else 1 ... found.
        pred_classes: (found,) int64; the class of id i is pred_classes[i - 1]; found may be 0.
        true_ids: (H, W) int64, 0 for void, else 1 ... G.
        true_classes: (G,) int64, likewise; G may be 0.
        num_classes: K.

    Returns:
        (K, 4) float32: TP, FP, FN and the sum of the matches' IoU, class by class.
    """
    counts = torch.zeros(num_classes, 4)
    void, missed = true_ids == 0, set(range(len(true_classes)))
    for p, kind in enumerate(pred_classes.tolist()):
        guess = pred_ids == p + 1
        wrong = 2 * (guess & void).sum() <= guess.sum()
        for g in (true_classes == kind).nonzero().flatten().tolist():
            truth = true_ids == g + 1
            both, either = (guess & truth).sum(), (guess & ~void | truth).sum()
            if 2 * both > either:
                counts[kind, 0] += 1
                counts[kind, 3] += both / either
                missed.remove(g)
                wrong = False
        counts[kind, 1] += wrong
    for g in missed:
        counts[true_classes[g], 2] += 1
    return counts


def _maps(g: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor, int]:
    height, width, num_classes = integer(g, 1, 3), integer(g, 2, 8), integer(g, 1, 3)
    true_ids = torch.randint(4, (height, 1), generator=g).expand(-1, width).clone()
    true_ids[:, width // 2 :] = torch.randint(4, (height, 1), generator=g)
    noise = torch.randint(4, (height, width), generator=g)
    pred_ids = torch.where(torch.rand(height, width, generator=g) < 0.3, noise, true_ids)
    pred_ids, true_ids = _numbered(pred_ids), _numbered(true_ids)
    kinds = torch.randint(num_classes, (8,), generator=g)
    guessed = torch.where(torch.rand(8, generator=g) < 0.2, kinds.roll(1), kinds)
    return pred_ids, guessed[: pred_ids.max()], true_ids, kinds[: true_ids.max()], num_classes


def _numbered(ids: Tensor) -> Tensor:
    """The same map with ids 1, 2 ... for those that it holds; 0 stays 0."""
    there = torch.cat([torch.zeros(1, dtype=torch.int64), ids.flatten()]).unique()
    return torch.searchsorted(there, ids)


def _strip(pred: str, pred_classes: list, true: str, true_classes: list) -> tuple:
    """Maps of one row, a digit a pixel, and three classes."""
    pred_ids, true_ids = (torch.tensor([[int(digit) for digit in row]]) for row in (pred, true))
    pred_kinds, true_kinds = (
        torch.tensor(kinds, dtype=torch.int64) for kinds in (pred_classes, true_classes)
    )
    return pred_ids, pred_kinds, true_ids, true_kinds, 3


def _watched_maps() -> tuple:
    pred_ids, pred_kinds, true_ids, true_kinds, number = _strip("1122", [0, 1], "1222", [0, 1])
    maps = watchful(pred_ids, true_ids, functions="PanopticQuality overlaps")
    return maps[0], pred_kinds, maps[1], true_kinds, number


_MAP_CORNERS = [
    _watched_maps(),
    _strip("111222", [0, 0], "111222", [0, 1]),  # a right place with a wrong class
    _strip("1122", [1, 2], "1111", [1]),  # exactly one half
    _strip("1122", [1, 1], "1111", [1]),  # exactly one half, twice
    _strip("1111", [1], "1122", [1, 1]),
    _strip("111111", [0], "111002", [0, 1]),  # 3 of 6 with void, 3 of 4 without it
    _strip("1111", [2], "0001", [1]),  # three quarters in void
    _strip("1111", [2], "0011", [1]),  # exactly half in void
    _strip("11111", [0], "00011", [0]),  # mostly in void, and yet a match
    _strip("1110", [0], "1111", [0]),  # pixels that got no segment do count
    _strip("0000", [], "1122", [0, 1]),
    _strip("1122", [0, 1], "0000", []),  # void only: all is excused
    _strip("0000", [], "0000", []),
    _strip("1100", [0], "1111", [0]),  # half found, half left open
    _strip("11222233", [1, 1, 1], "11112222", [1, 1]),
]

EXERCISES = [
    Exercise("13.1", pq_of_counts, _counts, ch13_wrong.COUNTS, _COUNT_CORNERS),
    Exercise("13.2", mean_iou, _confusion, ch13_wrong.MEAN_IOU, _CONFUSION_CORNERS),
    Exercise("13.3", average_precision, _ranked, ch13_wrong_ranked.RANKED, _RANKED_CORNERS),
    Exercise("13.4", count_matches, _maps, ch13_wrong_maps.MAPS, _MAP_CORNERS),
]
