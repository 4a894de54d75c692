"""What usually goes wrong in exercises 13.1 and 13.2, each mistake with its hint."""

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


def _divided_once_more(counts):
    """Takes the last column for the sum of IoU and for what SQ has to be divided by."""
    _, sq, _, occurs = _qualities(counts.sum(0))
    divisor = counts.sum(0)[:, :3] @ torch.tensor([1, 0.5, 0.5], dtype=counts.dtype)
    return _mean(sq / torch.where(occurs, divisor, 1), occurs)


def _not_divided(counts):
    """Takes the sum of IoU for their mean."""
    _, _, rq, occurs = _qualities(counts.sum(0))
    return _mean(counts.sum(0)[:, 3] * rq, occurs)


def _nan_per_picture(*means):
    """PQ of each picture and class, NaN where a class does not occur; means, NaN left out."""

    def averaged(counts):
        tp, fp, fn, iou = counts.movedim(-1, 0)
        quality = iou / (tp + fp / 2 + fn / 2)
        for mean in means:
            quality = mean(quality)
        return quality

    return averaged


def _over(*axis):
    return lambda quality: quality.nanmean(*axis)


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
    *(
        Wrong(_nan_per_picture(*means, *zero), _POOL)
        for means in ([_over(1), _over(0)], [_over(1), torch.mean], [_over()], [_over(0), _over()])
        for zero in ([], [torch.nan_to_num])
    ),
    Wrong(_divided_once_more, "the sum of IoU was divided twice: once by TP + FP/2 + FN/2 is PQ"),
    Wrong(_not_divided, "the last column is a sum: SQ x RQ needs the mean IoU, divided by TP"),
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


def _everything_counts(confusion):
    both = confusion.diagonal()[:-1]
    either = confusion[:-1].sum(1) + confusion[:, :-1].sum(0) - both
    return (both / either.clamp(min=1)).mean()


def _over_all_classes(confusion):
    known = confusion[:-1]
    either = known.sum(1) + known[:, :-1].sum(0) - known.diagonal()
    return (known.diagonal() / either.clamp(min=1)).mean()


def _over_true_classes(confusion):
    known = confusion[:-1]
    either = known.sum(1) + known[:, :-1].sum(0) - known.diagonal()
    return _mean(known.diagonal() / either.clamp(min=1), known.sum(1) > 0)


def _over_classes_with_overlap(confusion):
    known = confusion[:-1]
    both = known.diagonal()
    either = known.sum(1) + known[:, :-1].sum(0) - both
    return _mean(both / either.clamp(min=1), both > 0)


def _occurs_in_void(confusion):
    """Also counts classes that are predicted in void only."""
    known = confusion[:-1]
    both = known.diagonal()
    either = known.sum(1) + known[:, :-1].sum(0) - both
    occurs = confusion[:-1].sum(1) + confusion[:, :-1].sum(0) > 0
    return _mean(both / either.clamp(min=1), occurs)


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
    Wrong(_everything_counts, f"void pixels enlarge no union: drop that row. And {_ABSENT}"),
    Wrong(_over_all_classes, _ABSENT),
    Wrong(_over_true_classes, "a class that is only invented is in the mean, with IoU 0"),
    Wrong(
        _over_classes_with_overlap,
        "a class of one map only counts, too, with IoU 0: leave out those that neither map has",
    ),
    Wrong(_occurs_in_void, "a class that is predicted in void pixels only does not occur"),
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
