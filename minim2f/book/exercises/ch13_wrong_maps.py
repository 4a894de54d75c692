"""What usually goes wrong in exercise 13.4, each mistake with its hint."""

from __future__ import annotations

import torch

from minim2f.book.exercises import Wrong


def _above(both, either):
    return 2 * both > either


def _union(guess, truth, void):
    return guess & ~void | truth


def _counted(pred_ids, pred_classes, true_ids, true_classes, num_classes, **wrong):
    """The exercise, with one step replaced by another; see the table below."""
    union, enough = wrong.get("union", _union), wrong.get("enough", _above)
    forgiven = wrong.get("forgiven", lambda guess, void: 2 * (guess & void).sum() > guess.sum())
    fit = wrong.get("fit", lambda both, either: both / either)
    worth = wrong.get("worth", lambda first_of_prediction, first_of_truth: 1)
    found, free_only = wrong.get("found", set.discard), "free_only" in wrong
    counts = torch.zeros(num_classes, 4)
    void, missed = true_ids == 0, set(range(len(true_classes)))
    for p, kind in enumerate(pred_classes.tolist()):
        guess, partner = pred_ids == p + 1, None
        for g, of_truth in enumerate(true_classes.tolist()):
            truth = true_ids == g + 1
            both, either = (guess & truth).sum(), union(guess, truth, void).sum()
            of_class = kind == of_truth or "any_class" in wrong
            if of_class and (g in missed or not free_only) and enough(both, either):
                counts[kind, 0] += worth(partner is None, g in missed)
                counts[kind, 3] += fit(both, either)
                partner = g
                if "no_partner_kept" not in wrong:
                    found(missed, g)
                if "first_only" in wrong:
                    break
        if partner is None or "all_wrong" in wrong:
            counts[kind, 1] += not forgiven(guess, void)
    for g in missed:
        counts[true_classes[g], 2] += 1
    return counts


def _variant(**wrong):
    return lambda *inputs: _counted(*inputs, **wrong)


def _at_least_half(both, either):
    return 2 * both >= either


def _removed(error):
    """Takes a true segment out of those that are missed, and fails at its second partner."""

    def found(missed, g):
        if g not in missed:
            raise error(g)
        missed.remove(g)

    return found


_AT_LEAST_HALF = [  # what follows from "at least 1/2", in several ways to keep account of partners
    {},
    {"found": _removed(KeyError)},
    {"found": _removed(lambda g: KeyError(g + 1))},
    {"found": _removed(lambda g: ValueError("list.remove(x): x not in list"))},
    {"first_only": True},
    {"free_only": True},
    {"first_only": True, "free_only": True},
    {"worth": lambda first_of_prediction, first_of_truth: first_of_prediction},
    {"worth": lambda first_of_prediction, first_of_truth: first_of_truth},
]


def _open_as_void(pred_ids, pred_classes, true_ids, true_classes, num_classes):
    """Takes pixels that the prediction leaves open out of the union."""
    closed = torch.where(pred_ids == 0, 0, true_ids)
    return _counted(pred_ids, pred_classes, closed, true_classes, num_classes)


def _maps_exchanged(pred_ids, pred_classes, true_ids, true_classes, num_classes):
    return _counted(true_ids, true_classes, pred_ids, pred_classes, num_classes)


def _excused_first(pred_ids, pred_classes, true_ids, true_classes, num_classes):
    """Takes predictions that lie mostly in void away, before they can match."""
    keep = pred_ids.clone()
    for p in range(1, len(pred_classes) + 1):
        guess = pred_ids == p
        if 2 * (guess & (true_ids == 0)).sum() > guess.sum():
            keep[guess] = 0
    counts = _counted(keep, pred_classes, true_ids, true_classes, num_classes)
    for p in range(1, len(pred_classes) + 1):
        if not (keep == p).any():
            counts[pred_classes[p - 1], 1] -= 1
    return counts


def _order(*columns):
    return lambda *inputs: _counted(*inputs)[:, list(columns)]


def _mean_fit(*inputs):
    counts = _counted(*inputs)
    counts[:, 3] /= counts[:, 0].clamp(min=1)
    return counts


def _whole_union(guess, truth, void):
    return guess | truth


MAPS = [
    *(
        Wrong(
            _variant(enough=_at_least_half, **account),
            "an IoU of exactly 1/2 is no match: then a segment could have two partners",
        )
        for account in _AT_LEAST_HALF
    ),
    Wrong(
        _open_as_void,
        "void is in the truth: pixels that the prediction leaves open do count in the union",
    ),
    Wrong(
        _maps_exchanged,
        "truth and prediction are exchanged: FP is predicted only, and void is in the truth",
    ),
    Wrong(_variant(union=_whole_union), "void pixels have to leave the union"),
    Wrong(
        _variant(union=_whole_union, forgiven=lambda guess, void: False),
        "nothing is done about void: it leaves the union, and excuses what lies mostly in it",
    ),
    Wrong(
        _variant(forgiven=lambda guess, void: False),
        "a wrong prediction of which more than half lies in void is no false positive",
    ),
    Wrong(
        _variant(forgiven=lambda guess, void: 2 * (guess & void).sum() >= guess.sum()),
        "exactly half in void is not excused: more than half is needed",
    ),
    Wrong(
        _variant(forgiven=lambda guess, void: (guess & void).any()),
        "a few pixels in void excuse nothing: more than half of the prediction has to lie there",
    ),
    Wrong(
        _variant(forgiven=lambda guess, void: (guess & ~void).sum() == 0),
        "more than half in void is enough of an excuse, it need not be all",
    ),
    Wrong(_excused_first, "void excuses only what has no partner: look for a match first"),
    Wrong(
        _variant(
            enough=_at_least_half,
            union=_whole_union,
            forgiven=lambda guess, void: False,
        ),
        "void is still in the union and excuses nothing; and exactly 1/2 is no match",
    ),
    Wrong(
        _variant(forgiven=lambda guess, void: False, any_class=True),
        "the classes have to agree; and more than half in void is an excuse",
    ),
    Wrong(
        _variant(any_class=True),
        "the classes have to agree: a car on a true bird is one FP and one FN",
    ),
    Wrong(
        _variant(all_wrong=True),
        "a prediction that has a partner is no false positive",
    ),
    Wrong(
        _variant(no_partner_kept=True),
        "a true segment that was matched is not missed: no FN for it",
    ),
    Wrong(
        _variant(fit=lambda both, either: 2 * both / (both + either)),
        "that sums dice, 2 |both| / (sum of the sizes); PQ sums the IoU",
    ),
    Wrong(_variant(fit=lambda both, either: 1), "the last column sums the IoU of the matches"),
    Wrong(_variant(fit=lambda both, either: both), "divide the shared pixels by the union"),
    Wrong(_mean_fit, "that is SQ in the last column: the sum of the IoU is wanted"),
    Wrong(_order(0, 2, 1, 3), "FP and FN are exchanged: FP is predicted, and not true"),
    Wrong(
        lambda *inputs: _counted(*inputs).sum(0),
        "count for each class on its own: PQ is a mean over classes",
    ),
]
