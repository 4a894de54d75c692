"""The solutions of chapter 13 against the library and pycocotools, and other right ways to them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from minim2f.book import exercises
from minim2f.book.exercise import verdict
from minim2f.metrics import AveragePrecision, MeanIoU, PanopticQuality


def solve(exercise_id: str, *arguments: object) -> object:
    return exercises.find(exercise_id).reference(*arguments)


def categories(number: int) -> list[dict]:
    return [{"id": k + 1, "isthing": 1} for k in range(number)]


def listed(classes: torch.Tensor) -> list[dict]:
    """The segments 1, 2 ... of these classes, as the library wants them."""
    return [{"id": i, "category_id": k + 1} for i, k in enumerate(classes.tolist(), start=1)]


def pq_class_by_class(counts):
    qualities = []
    for tp, fp, fn, iou in counts.sum(0).tolist():
        if tp + fp + fn:
            qualities.append(iou / (tp + 0.5 * fp + 0.5 * fn))
    return sum(qualities) / len(qualities) if qualities else 0.0


def pq_with_nan(counts):
    pooled = counts.sum(0)
    quality = pooled[:, 3] / (pooled[:, 0] + 0.5 * pooled[:, 1] + 0.5 * pooled[:, 2])
    return quality.nanmean().nan_to_num()


def miou_in_numpy(confusion):
    table = confusion.numpy()[:-1].astype(float)
    values = []
    for k in range(len(table)):
        union = table[k].sum() + table[:, k].sum() - table[k, k]
        if union:
            values.append(table[k, k] / union)
    return float(np.mean(values)) if values else 0.0


def ap_by_envelope(scores, right, num_true):
    """As pycocotools: the envelope from the end, then a search for each recall."""
    order = np.argsort(-scores.numpy())
    hits = np.cumsum(right.numpy()[order])
    if not len(hits):
        return 0.0
    precision = hits / (np.arange(len(hits)) + 1)
    for i in range(len(precision) - 1, 0, -1):
        precision[i - 1] = max(precision[i - 1], precision[i])
    places = np.searchsorted(hits / num_true, np.linspace(0, 1, 101), side="left")
    return float(np.mean([precision[i] if i < len(precision) else 0 for i in places]))


def ap_in_torch(scores, right, num_true):
    if not len(scores):
        return torch.tensor(0.0)
    hits = right[scores.argsort(descending=True)].float().cumsum(0)
    precision = hits / torch.arange(1, len(hits) + 1)
    envelope = precision.flip(0).cummax(0).values.flip(0)
    recalls = torch.linspace(0, 1, 101)
    places = torch.searchsorted(hits / num_true, recalls)
    return torch.cat([envelope, torch.zeros(1)])[places].mean()


def ap_with_rounded_recalls(scores, right, num_true):
    """Compares floats, as COCO does, and not whole numbers as the solution."""
    hits = right[scores.argsort(descending=True)].cumsum(0)
    precision = hits / torch.arange(1, len(hits) + 1)
    reached = [precision[hits.double() / num_true >= t * 0.01] for t in range(101)]
    return sum(float(x.max()) if len(x) else 0.0 for x in reached) / 101


def counts_from_a_table(pred_ids, pred_classes, true_ids, true_classes, num_classes):
    """All overlaps at once."""
    columns = len(pred_classes) + 1
    packed = (true_ids * columns + pred_ids).flatten()
    table = packed.bincount(minlength=columns * (len(true_classes) + 1)).view(-1, columns)
    both = table[1:, 1:]
    either = table[1:].sum(1, keepdim=True) + both.sum(0) - both
    match = (2 * both > either) & (true_classes[:, None] == pred_classes)
    excused = 2 * table[0, 1:] > table[:, 1:].sum(0)
    counts = torch.zeros(4, num_classes, dtype=torch.float64)
    counts[0] = pred_classes[match.any(0)].bincount(minlength=num_classes)
    counts[1] = pred_classes[~match.any(0) & ~excused].bincount(minlength=num_classes)
    counts[2] = true_classes[~match.any(1)].bincount(minlength=num_classes)
    counts[3].index_add_(0, pred_classes, (both / either * match).sum(0).double())
    return counts.T


def counts_by_the_library(pred_ids, pred_classes, true_ids, true_classes, num_classes):
    quality = PanopticQuality(categories(num_classes))
    quality.update(pred_ids, listed(pred_classes), true_ids, listed(true_classes))
    return quality.counts


@pytest.mark.parametrize(
    ("exercise_id", "answer"),
    [
        ("13.1", pq_class_by_class),
        ("13.1", pq_with_nan),
        ("13.2", miou_in_numpy),
        ("13.3", ap_by_envelope),
        ("13.3", ap_in_torch),
        ("13.3", ap_with_rounded_recalls),
        ("13.4", counts_from_a_table),
    ],
)
def test_other_right_ways_are_accepted(exercise_id: str, answer: Callable) -> None:
    said = verdict(exercises.find(exercise_id), answer)
    assert said.startswith("✔"), said


def test_no_case_depends_on_how_a_recall_is_rounded() -> None:
    rounded = np.linspace(0, 1, 101)
    for scores, right, num_true in exercises.find("13.3").cases():
        for hits in range(len(scores) + 1):
            exactly = [100 * hits >= percent * num_true for percent in range(101)]
            assert (hits / num_true >= rounded).tolist() == exactly


def test_coco_rounds_a_recall_of_seven_tenths_down() -> None:
    """As hint 2 and the table of differences say; in whole numbers 7/10 does reach 0.7."""
    masks = np.eye(10, dtype=bool)[:, None]
    metric = AveragePrecision(categories(1))
    found = [{"category_id": 1, "score": 1 - n / 10} for n in range(7)]
    metric.update(masks[:7], found, masks, [{"category_id": 1}] * 10)
    assert metric.compute()["ap50"] == pytest.approx(70 / 101)
    scores, right = 1 - torch.arange(7) / 10, torch.ones(7, dtype=torch.bool)
    assert solve("13.3", scores, right, 10) == pytest.approx(71 / 101)


def exactly_half(pred_ids, pred_classes, true_ids, true_classes, num_classes):
    """A whole table at once, with at least where more than belongs."""
    counts = torch.zeros(num_classes, 4)
    void = true_ids == 0
    missed = torch.ones(len(true_classes), dtype=torch.bool)
    for p, kind in enumerate(pred_classes):
        guess = pred_ids == p + 1
        truths = torch.stack([true_ids == g + 1 for g in range(len(missed))] or [void & ~void])
        both = (truths & guess).sum((1, 2))[: len(missed)]
        iou = both / (truths | guess & ~void).sum((1, 2))[: len(missed)]
        match = (iou >= 0.5) & (true_classes == kind)
        missed &= ~match
        alone = not match.any() and (guess & void).sum() / guess.sum() <= 0.5
        counts[kind] += torch.tensor([match.any(), alone, 0, iou[match].sum()])
    for kind in true_classes[missed]:
        counts[kind, 2] += 1
    return counts


def test_at_least_half_gets_words() -> None:
    said = verdict(exercises.find("13.4"), exactly_half)
    assert said.startswith("✘ 13.4 an IoU of exactly 1/2 is no match"), said


def test_the_library_is_no_answer() -> None:
    said = verdict(exercises.find("13.4"), counts_by_the_library)
    assert said.startswith("✘ 13.4 the exercise asks you to do without PanopticQuality"), said


def test_the_counts_are_those_of_the_library() -> None:
    asked = exercises.find("13.4")
    for seed in range(30):
        inputs = asked.inputs(torch.Generator().manual_seed(seed))
        mine = asked.reference(*inputs).double().numpy()
        np.testing.assert_allclose(mine, counts_by_the_library(*inputs), atol=1e-6)


def test_pq_of_counts_equals_the_library() -> None:
    torch.manual_seed(0)
    counts = torch.randint(3, (5, 4, 4)).double()
    counts[:, 2] = 0
    quality = PanopticQuality(categories(4))
    quality.counts += counts.sum(0).numpy()
    assert solve("13.1", counts).item() == pytest.approx(quality.compute()["All"]["pq"])


def test_mean_iou_equals_the_library() -> None:
    torch.manual_seed(0)
    confusion = torch.randint(20, (5, 5))
    metric = MeanIoU(categories(4))
    metric.confusion += confusion[:-1].numpy()
    assert solve("13.2", confusion).item() == pytest.approx(metric.compute()["miou"])


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_equals_pycocotools(seed: int) -> None:
    """Detections that are right are true instances, pixel by pixel; the others meet none."""
    g = torch.Generator().manual_seed(seed)
    num_true, detections = 7, 10
    right = torch.rand(detections, generator=g) < 0.6
    right &= right.cumsum(0) <= num_true
    scores = torch.rand(detections, generator=g)
    masks = np.eye(num_true + detections, dtype=bool)[:, None]  # each of one pixel of its own
    free, places = iter(range(num_true)), []
    for n, hit in enumerate(right.tolist()):
        places.append(next(free) if hit else num_true + n)
    metric = AveragePrecision(categories(1))
    found = [{"category_id": 1, "score": score} for score in scores.tolist()]
    metric.update(masks[places], found, masks[:num_true], [{"category_id": 1}] * num_true)
    theirs = metric.compute()["ap50"]
    assert solve("13.3", scores, right, num_true) == pytest.approx(theirs, abs=1e-6)
