"""What usually goes wrong in the exercises of chapter 10, each mistake with its hint."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from minim2f.book.exercises import Wrong

# ---- 10.1 the class loss


def _weights(logits, eos_coef, column=-1):
    weights = torch.ones(logits.shape[1], dtype=logits.dtype)
    weights[column] = eos_coef
    return weights


def _paid(logits, classes):
    return -logits.log_softmax(1)[torch.arange(len(classes)), classes]


def _mean_of(paid, weights):
    return (weights * paid).sum() / weights.sum()


def _ready_made(logits, classes, eos_coef):
    return F.cross_entropy(logits, classes, _weights(logits, eos_coef))


def _by_log(logits, classes, eos_coef):
    p = logits.softmax(1)[torch.arange(len(classes)), classes]
    return _mean_of(-p.log(), _weights(logits, eos_coef)[classes])


def _without_softmax(logits, classes, eos_coef):
    paid = -logits[torch.arange(len(classes)), classes]
    return _mean_of(paid, _weights(logits, eos_coef)[classes])


def _probabilities(logits, classes, eos_coef):
    p = logits.softmax(1)[torch.arange(len(classes)), classes]
    return _mean_of(-p, _weights(logits, eos_coef)[classes])


def _over_queries(logits, classes, eos_coef):
    paid = -logits.log_softmax(0)[torch.arange(len(classes)), classes]
    return _mean_of(paid, _weights(logits, eos_coef)[classes])


def _divided_by_matched(logits, classes, eos_coef):
    weights = _weights(logits, eos_coef)[classes]
    return (weights * _paid(logits, classes)).sum() / (weights == 1).sum().clamp(min=1)


def _with_a_clamp(least):
    def clamped(logits, classes, eos_coef):
        p = logits.softmax(1)[torch.arange(len(classes)), classes]
        smallest = torch.finfo(p.dtype).eps if least is None else least
        return _mean_of(-p.clamp(min=smallest).log(), _weights(logits, eos_coef)[classes])

    hint = "the clamp keeps it finite, but too small, and a very sure mistake gets no gradient"
    return Wrong(clamped, f"{hint}: keep the logarithm exact")


def _divided_by_matched_alone(logits, classes, eos_coef):
    weights = _weights(logits, eos_coef)[classes]
    return (weights * _paid(logits, classes)).sum() / (classes < logits.shape[1] - 1).sum()


def _at_least_one(logits, classes, eos_coef):
    weights = _weights(logits, eos_coef)[classes]
    return (weights * _paid(logits, classes)).sum() / weights.sum().clamp(min=1)


CLASS = [
    Wrong(_ready_made, "the right number, but write the cross entropy yourself this time"),
    Wrong(
        lambda x, k, eos: (_weights(x, eos)[k] * _paid(x, k)).mean(),
        "a weighted mean divides by the sum of the weights, not by the number of queries",
    ),
    Wrong(
        lambda x, k, eos: (_weights(x, eos)[k] * _paid(x, k)).sum(),
        "that is the weighted sum: a mean is wanted",
    ),
    Wrong(_divided_by_matched, "divide by all weights, those of 'no object' too"),
    Wrong(_divided_by_matched_alone, "divide by all weights, those of 'no object' too"),
    Wrong(_at_least_one, "the weights may add up to less than 1: divide by their sum as it is"),
    Wrong(
        lambda x, k, eos: _mean_of(_paid(x, k), _weights(x, 0.1)[k]),
        "eos_coef is an argument, and need not be 0.1",
    ),
    *map(_with_a_clamp, (1e-12, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, None)),
    Wrong(lambda x, k, eos: _paid(x, k).mean(), "'no object' should weigh less than the others"),
    Wrong(
        lambda x, k, eos: _mean_of(_paid(x, k), _weights(x, eos, 0)[k]),
        "class 0 is a real class: which column is 'no object'?",
    ),
    Wrong(
        lambda x, k, eos: _mean_of(_paid(x, k), 1 + eos - _weights(x, eos)[k]),
        "the weights are the wrong way round: 'no object' is the light one",
    ),
    Wrong(
        lambda x, k, eos: -_mean_of(_paid(x, k), _weights(x, eos)[k]),
        "a loss grows with the mistake: check a sign",
    ),
    Wrong(_by_log, "right for mild logits; for very sure ones p is 0 and its logarithm infinite"),
    Wrong(_without_softmax, "logits are no logarithms of probabilities yet: they need a softmax"),
    Wrong(_probabilities, "-p is the class term of the matching cost; the loss has a logarithm"),
    Wrong(
        lambda x, k, eos: _weights(x, eos)[k] * _paid(x, k),
        "that is what each query pays: one number is wanted, their weighted mean",
    ),
    Wrong(
        lambda x, k, eos: _paid(x, k).sum(),
        "a weighted mean: weigh what each query pays, then divide by the sum of the weights",
    ),
    Wrong(_over_queries, "the softmax is over the classes of one query, not over the queries"),
]

# ---- 10.2 a batch in parts

_CUT_OFF = "// cuts off what is behind the point: segments per part need not be a whole number"

PARTS = [
    Wrong(
        lambda sums, counts: sums / counts.clamp(min=1),
        "each part by its own segments is a mean of means: a lone segment counts too much",
    ),
    Wrong(
        lambda sums, counts: sums / counts,
        "a part without segments divides 0 by 0; and should each part use its own divisor?",
    ),
    Wrong(
        lambda sums, counts: sums / counts.sum().clamp(min=1),
        "added up that is the whole loss, but the step takes the mean of the parts",
    ),
    Wrong(
        lambda sums, counts: sums / (counts.sum() / len(counts)),
        "right, unless the whole batch has no segment: then you divide by 0",
    ),
    Wrong(
        lambda sums, counts: sums / counts.sum(),
        "added up that is the whole loss, but the step takes the mean of the parts; and 0 / 0?",
    ),
    Wrong(
        lambda sums, counts: sums / counts.clamp(min=1) / len(counts),
        "the step divides by the number of parts; and a part's own count makes it a mean of means",
    ),
    Wrong(
        lambda sums, counts: sums.clone(),
        "sums grow with the number of segments: divide by something that all parts share",
    ),
    Wrong(
        lambda sums, counts: sums / len(counts),
        "divide by segments, not by the number of parts: parts have unlike numbers of them",
    ),
    Wrong(
        lambda sums, counts: sums.sum() / counts.sum().clamp(min=1),
        "that is the undivided loss: what does each part have to return?",
    ),
    Wrong(
        lambda sums, counts: (sums.sum() / counts.sum().clamp(min=1)).expand(len(sums)),
        "the mean is right, but no part knows the sums of the others: use its own",
    ),
    Wrong(
        lambda sums, counts: sums / (counts.sum() / len(counts)).clamp(min=1),
        "with few segments the mean count may be below 1: let the whole batch have at least one",
    ),
    Wrong(
        lambda sums, counts: sums * (counts > 0).sum() / counts.sum().clamp(min=1),
        "the training step takes the mean over all parts, the empty ones too",
    ),
    Wrong(
        lambda sums, counts: sums / (counts.sum() // len(counts)).clamp(min=1),
        _CUT_OFF,
    ),
    Wrong(lambda sums, counts: sums / (counts.sum().clamp(min=1) // len(counts)), _CUT_OFF),
    Wrong(lambda sums, counts: sums / (counts.sum() // len(counts)), _CUT_OFF),
    Wrong(
        lambda sums, counts: sums * counts.sum().clamp(min=1) / len(counts),
        "a mean divides by the number of segments: here the loss grows with it",
    ),
]

# ---- 10.3 points where masks are unsure


def _chosen(candidates, order, fresh, num_points, share=0.75):
    count = int(share * num_points)
    rows = torch.arange(len(order))[:, None]
    near = candidates[rows, order[:, :count]]
    return torch.cat([near, fresh[:, : num_points - count]], 1)


def _points_by_loops(candidates, logits, fresh, num_points):
    count = int(0.75 * num_points)
    rest = fresh[:, : num_points - count]
    near = [c[x.abs().argsort()[:count]] for c, x in zip(list(candidates), list(logits))]
    near = torch.stack(near) if near else candidates[:, :count]
    return torch.cat([near, rest], 1)


def _one_order(candidates, logits, fresh, num_points):
    order = logits.abs().sum(0).argsort().expand(len(logits), -1)
    return _chosen(candidates, order, fresh, num_points)


def _first_pairs_order(candidates, logits, fresh, num_points):
    order = logits.abs().argsort(1)[:1].expand(len(logits), -1)
    return _chosen(candidates, order, fresh, num_points)


def _fresh_first(candidates, logits, fresh, num_points):
    points = _chosen(candidates, logits.abs().argsort(1), fresh, num_points)
    return points.roll(num_points - int(0.75 * num_points), 1)


def _last_fresh(candidates, logits, fresh, num_points):
    return _chosen(candidates, logits.abs().argsort(1), fresh.flip(1), num_points)


def _none_fresh(candidates, logits, fresh, num_points):
    return _chosen(candidates, logits.abs().argsort(1), fresh, num_points, share=1)


def _more_candidates(candidates, logits, fresh, num_points):
    return _chosen(candidates, logits.abs().argsort(1), candidates, num_points)


def _rounded(candidates, logits, fresh, num_points):
    count = round(0.75 * num_points)
    order = logits.abs().argsort(1)
    return _chosen(candidates, order, fresh, num_points, (count + 0.1) / num_points)


POINTS = [
    Wrong(_points_by_loops, "the points are right, but no loops: each pair its own row of indices"),
    Wrong(
        lambda c, x, f, p: _chosen(c, x.argsort(1), f, p),
        "a very negative logit is a sure 'outside': unsure is near 0, on either side",
    ),
    Wrong(
        lambda c, x, f, p: _chosen(c, x.argsort(1, descending=True), f, p),
        "a very positive logit is a sure 'inside': unsure is near 0, on either side",
    ),
    Wrong(
        lambda c, x, f, p: _chosen(c, x.abs().argsort(1, descending=True), f, p),
        "those are the surest places: the smallest |logit| should come first",
    ),
    Wrong(
        lambda c, x, f, p: _chosen(c, torch.arange(x.shape[1]).expand(x.shape), f, p),
        "those are the first candidates, whatever the mask says there: sort them",
    ),
    Wrong(_none_fresh, "a quarter of the points should be fresh, so that no place is forgotten"),
    Wrong(_more_candidates, "the rest comes from the fresh points, not from the candidates"),
    Wrong(
        lambda c, x, f, p: torch.cat([_chosen(c, x.abs().argsort(1), f[:, :0], p), f], 1),
        "those are more than P points: take only as many fresh ones as are missing",
    ),
    Wrong(_last_fresh, "take the fresh points from the front"),
    Wrong(
        lambda c, x, f, p: _chosen(c, x.abs().argsort(1), f[:, int(0.75 * p) - p :], p),
        "take the fresh points from the front",
    ),
    Wrong(
        lambda c, x, f, p: _chosen(c, x.abs().argsort(0), f, p),
        "that sorts the pairs at each candidate: sort the candidates of each pair",
    ),
    Wrong(
        lambda c, x, f, p: _chosen(c, x.abs().argsort(1)[:, : int(0.75 * p)].flip(1), f, p),
        "the right points, but the least sure one should come first",
    ),
    Wrong(_fresh_first, "the unsure points come first, then the fresh ones"),
    Wrong(
        _one_order, "each mask is unsure elsewhere: sort the candidates of each pair on their own"
    ),
    Wrong(_first_pairs_order, "all pairs got the order of the first: each needs its own"),
    Wrong(_rounded, "int() cuts off, round() does not: int(0.75 * 5) is 3"),
]
