"""What usually goes wrong in exercises 9.1 and 9.2, each mistake with its hint."""

from __future__ import annotations

import torch
from torch import Tensor

from minim2f.book.exercises import Wrong
from minim2f.training.matching import pairwise_dice

# ---- 9.1 what each query is to learn


def _taught(queries, labels, num_queries, background):
    classes = torch.full((num_queries,), background)
    classes[queries] = labels
    return classes


def _by_position(labels, num_queries, background):
    first = torch.arange(min(num_queries, len(labels)))
    return _taught(first, labels[first], num_queries, background)


CLASSES = [
    Wrong(
        lambda q, s, labels, n, k: _taught(q, labels[s], n, 0),
        "class 0 is a real class: what are queries to say that answer for nothing?",
    ),
    Wrong(
        lambda q, s, labels, n, k: _taught(q, labels[s], n, -100),
        "ignored queries learn nothing, and go on claiming segments: give them a class too",
    ),
    Wrong(
        lambda q, s, labels, n, k: _taught(q, labels[s], n, -1),
        "-1 is no class, and the cross entropy will refuse it: 'no object' has a number too",
    ),
    Wrong(
        lambda q, s, labels, n, k: _taught(q, labels[s], n, k - 1),
        "K - 1 is the last real class: 'no object' has a column of its own behind it",
    ),
    Wrong(
        lambda q, s, labels, n, k: _taught(q, labels[: len(q)], n, k),
        "the pairs are sorted by query: which segment belongs to the first of them?",
    ),
    Wrong(
        lambda q, s, labels, n, k: _taught(q, labels, n, k),  # fails where G > N
        "not the labels in the order of the file: each pair names its segment, so ask that one",
    ),
    Wrong(
        lambda q, s, labels, n, k: _by_position(labels, n, k),
        "that is by position: query 0 need not answer for segment 0, the pairs say who does",
    ),
    Wrong(
        lambda q, s, labels, n, k: _taught(q, s, n, k),
        "that is the number of the query's segment: what is the segment's class?",
    ),
    Wrong(
        lambda q, s, labels, n, k: _taught(s, labels[q], n, k),
        "queries number the rows of the result, segments number the labels",
    ),
    Wrong(
        lambda q, s, labels, n, k: _taught(q, labels[s], n, k).float(),
        "the classes are right, but whole numbers are wanted: int64, not floats",
    ),
]


# ---- 9.2 dice of all pairs


def _dice(s, masks, twice=2, above=1, below=1):
    return 1 - (twice * s @ masks.T + above) / (s.sum(1)[:, None] + masks.sum(1) + below)


def unsmooth(mask_logits: Tensor, masks: Tensor) -> Tensor:
    """Dice without the 1 above and below the line, (N, P), (G, P) -> (N, G)."""
    return _dice(mask_logits.sigmoid(), masks, above=0, below=0)


def _iou(mask_logits, masks, one):
    s = mask_logits.sigmoid()
    overlap, sizes = s @ masks.T, s.sum(1)[:, None] + masks.sum(1)
    return 1 - (overlap + one) / (sizes - overlap + one)


def _squared(mask_logits, masks, power):
    s = mask_logits.sigmoid()
    sizes = (s * s).sum(1)[:, None] + (masks**power).sum(1)
    return 1 - (2 * s @ masks.T + 1) / (sizes + 1)


def _dice_by_loops(mask_logits, masks):
    return torch.cat([_dice(x[None].sigmoid(), masks) for x in list(mask_logits)])


_SQUARES = "sizes are plain sums here; with squares it is another dice, of V-Net"
_ROUND_IOU = "that is intersection over union: dice is twice the overlap over the sum of the sizes"

DICE = [
    Wrong(pairwise_dice, "the library's line gives the right numbers, but you are to write it"),
    Wrong(_dice_by_loops, "the numbers are right, but no loops: all pairs at once, in one product"),
    Wrong(_dice, "forgot the sigmoid: a dice cost lies in 0 ... 1, and logits do not"),
    Wrong(
        lambda x, t: _dice((x > 0).to(t), t),
        "the cost takes probabilities, not a mask cut at 1/2: an unsure query should pay",
    ),
    Wrong(
        lambda x, t: _dice(x.sigmoid(), (t > 0.5).to(t)),
        "take the truth as it is: a point at the rim may be 0.3 inside, so do not cut it at 1/2",
    ),
    Wrong(unsmooth, "add 1 above and below the line: what do you get when both masks are empty?"),
    Wrong(
        lambda x, t: _dice(x.sigmoid(), t, above=0),
        "the 1 below the line needs another above it: two empty masks agree, and must cost 0",
    ),
    Wrong(
        lambda x, t: _dice(x.sigmoid(), t, below=0),
        "the 1 above the line needs another below it: a perfect mask must cost 0, and not less",
    ),
    Wrong(
        lambda x, t: _dice(x.sigmoid(), t, twice=1),
        "a perfect mask must cost 0: it counts once above the line, but twice below",
    ),
    Wrong(  # P beside the sums is 1 beside the means
        lambda x, t: _dice(x.sigmoid(), t, above=t.shape[1], below=t.shape[1]),
        "sums, not means: beside a mean, the added 1 is far too heavy",
    ),
    Wrong(
        lambda x, t: 1 - _dice(x.sigmoid(), t),
        "this is how well they agree; a cost is small when they do",
    ),
    Wrong(
        lambda x, t: _dice(x.sigmoid(), t) - 1,
        "minus the agreement ranks alike, but is below 0: what do you subtract it from?",
    ),
    Wrong(lambda x, t: -_dice(x.sigmoid(), t), "a cost grows with the mistake: check a sign"),
    Wrong(lambda x, t: _iou(x, t, one=1), _ROUND_IOU),
    Wrong(lambda x, t: _iou(x, t, one=0), _ROUND_IOU),
    Wrong(lambda x, t: _squared(x, t, power=2), _SQUARES),
    Wrong(lambda x, t: _squared(x, t, power=1), _SQUARES),
    Wrong(
        lambda x, t: _dice(x.sigmoid(), t).T,
        "queries down, segments across: (N, G), not (G, N)",
    ),
]
