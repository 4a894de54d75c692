"""What usually goes wrong in exercises 13.1 to 13.3, each mistake with its hint."""

from __future__ import annotations

import torch

from minim2f.book.exercises import Wrong

# ---- 13.1 from counts to PQ


def _qualities(counts):
    """PQ, SQ, RQ (..., K), each 0 where a class has nothing to divide by."""
    tp, fp, fn, iou = counts.movedim(-1, 0)
    divisor = tp + fp / 2 + fn / 2
    sq = iou / torch.where(tp > 0, tp, 1)
    rq = tp / torch.where(divisor > 0, divisor, 1)
    return sq * rq, sq, rq, divisor > 0


def _mean(values, there):
    return (values * there).sum() / there.sum().clamp(min=1)


def _per_picture(counts):
    pq, _, _, occurs = _qualities(counts)
    return torch.stack([_mean(q, there) for q, there in zip(pq, occurs)]).mean()


def _per_picture_all_classes(counts):
    return _qualities(counts)[0].mean()


def _per_picture_and_class(counts):
    pq, _, _, occurs = _qualities(counts)
    return _mean(pq, occurs)


def _all_classes(counts):
    return _qualities(counts.sum(0))[0].mean()


def _product_of_means(counts):
    _, sq, rq, occurs = _qualities(counts.sum(0))
    return _mean(sq, occurs) * _mean(rq, occurs)


def _one_pot(counts):
    return _qualities(counts.sum((0, 1)))[0]


def _only(which):
    def one(counts):
        qualities = _qualities(counts.sum(0))
        return _mean(qualities[which], qualities[3])

    return one


def _only_found(counts):
    counts = counts.sum(0)
    return _mean(_qualities(counts)[0], counts[:, 0] > 0)


def _only_true(counts):
    counts = counts.sum(0)
    return _mean(_qualities(counts)[0], counts[:, 0] + counts[:, 2] > 0)


def _whole_mistakes(counts):
    tp, fp, fn, iou = counts.sum(0).T
    there = tp + fp + fn > 0
    return _mean(iou / (tp + fp + fn).clamp(min=1), there)


def _undefined(counts):
    tp, fp, fn, iou = counts.sum(0).T
    return (iou / (tp + fp / 2 + fn / 2)).mean()


def _undefined_without_any(counts):
    tp, fp, fn, iou = counts.sum(0).T
    return (iou / (tp + fp / 2 + fn / 2)).nanmean()


def _classes(counts):
    return _qualities(counts.sum(0))[0]


_POOL = "add the counts of all pictures first: a picture with many segments should count more"
_ABSENT = "a class that never occurs is no mistake: leave it out of the mean"

COUNTS = [
    Wrong(_per_picture, _POOL),
    Wrong(_per_picture_and_class, _POOL),
    Wrong(_per_picture_all_classes, f"{_POOL}; and leave out classes that never occur"),
    Wrong(_all_classes, _ABSENT),
    Wrong(_product_of_means, "SQ x RQ is PQ class by class; multiply before you take the mean"),
    Wrong(_one_pot, "that is one PQ of all segments: PQ is a mean over classes, rare ones alike"),
    Wrong(_only(1), "that is SQ, which only looks at segments that were found"),
    Wrong(_only(2), "that is RQ: it does not ask how well the matches fit"),
    Wrong(_only_found, "a class without any match occurs, too, and has PQ 0"),
    Wrong(_only_true, "a class that is only invented (FP alone) is in the mean, with PQ 0"),
    Wrong(_whole_mistakes, "FP and FN count one half each: a misplaced segment makes one of both"),
    Wrong(_undefined, f"0 / 0 is NaN, and one NaN spoils the mean. {_ABSENT.capitalize()}"),
    Wrong(_undefined_without_any, "right, unless no class occurs: then the answer is 0, not NaN"),
    Wrong(_classes, "that is the PQ of each class: one number is wanted, their mean"),
]

# ---- 13.2 mean IoU with void


def _iou(known, either):
    both = known.diagonal()[: len(either)]
    return _mean(both / either.clamp(min=1), either > 0)


def _void_in_the_union(confusion):
    both = confusion.diagonal()[:-1]
    return _iou(confusion, confusion[:-1].sum(1) + confusion[:, :-1].sum(0) - both)


def _void_in_the_union_and_no_unlabelled(confusion):
    known = confusion[:-1, :-1]
    return _iou(known, known.sum(1) + confusion[:, :-1].sum(0) - known.diagonal())


def _unlabelled_excused(confusion):
    known = confusion[:-1, :-1]
    return _iou(known, known.sum(1) + known.sum(0) - known.diagonal())


def _void_as_a_class(confusion):
    return _iou(confusion, confusion.sum(1) + confusion.sum(0) - confusion.diagonal())


def _over_all_classes(confusion):
    known = confusion[:-1]
    either = known.sum(1) + known[:, :-1].sum(0) - known.diagonal()
    return (known.diagonal() / either.clamp(min=1)).mean()


def _over_true_classes(confusion):
    known = confusion[:-1]
    either = known.sum(1) + known[:, :-1].sum(0) - known.diagonal()
    return _mean(known.diagonal() / either.clamp(min=1), known.sum(1) > 0)


def _twice_the_overlap(confusion):
    known = confusion[:-1]
    return _iou(known, known.sum(1) + known[:, :-1].sum(0))


def _of_the_true_pixels(confusion):
    return _iou(confusion[:-1], confusion[:-1].sum(1))


def _of_the_predicted_pixels(confusion):
    return _iou(confusion[:-1], confusion[:-1, :-1].sum(0))


def _pixel_accuracy(confusion):
    known = confusion[:-1]
    return known.diagonal().sum() / known.sum().clamp(min=1)


def _nan(confusion):
    known = confusion[:-1]
    return (known.diagonal() / (known.sum(1) + known[:, :-1].sum(0) - known.diagonal())).mean()


def _nan_without_any(confusion):
    known = confusion[:-1]
    return (known.diagonal() / (known.sum(1) + known[:, :-1].sum(0) - known.diagonal())).nanmean()


def _pooled_iou(confusion):
    known = confusion[:-1]
    either = known.sum(1) + known[:, :-1].sum(0) - known.diagonal()
    return known.diagonal().sum() / either.sum().clamp(min=1)


MEAN_IOU = [
    Wrong(_void_in_the_union, "pixels that are void in the truth enlarge no union: drop that row"),
    Wrong(_unlabelled_excused, "a pixel that got no class is a mistake: the last column counts"),
    Wrong(
        _void_in_the_union_and_no_unlabelled,
        "rows are the truth: void there is excused, a pixel that got no class (column) is not",
    ),
    Wrong(_void_as_a_class, "void is no class: it has no IoU of its own"),
    Wrong(_over_all_classes, _ABSENT),
    Wrong(_over_true_classes, "a class that is only invented is in the mean, with IoU 0"),
    Wrong(_twice_the_overlap, "pixels in both maps are counted twice: take them off once"),
    Wrong(_of_the_true_pixels, "that is each class's recall: invented pixels would cost nothing"),
    Wrong(_of_the_predicted_pixels, "that is each class's precision: missed pixels cost nothing"),
    Wrong(_pixel_accuracy, "that is the pixel accuracy: here each class counts alike"),
    Wrong(
        _pooled_iou, "take the IoU of each class first, then the mean: small classes count alike"
    ),
    Wrong(_nan, f"0 / 0 is NaN, and one NaN spoils the mean. {_ABSENT.capitalize()}"),
    Wrong(_nan_without_any, "right, unless no class occurs: then the answer is 0, not NaN"),
]

# ---- 13.3 AP of a ranked list


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
    Wrong(_a_sum, "the mean of the 101 precisions is wanted, not their sum"),
    Wrong(_needs_a_detection, "the list may be empty: then nothing is found, and AP is 0"),
]
