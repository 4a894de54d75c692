"""Exercises of chapter 0: who speaks, a semantic map with void, boxes, numbers for segments.

Most mistakes are one expression, and stand beside the hint that they earn.
"""

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


def _told(p: Tensor, threshold: float) -> Tensor:
    scores, labels = p.max(-1)
    return (scores > threshold) & (labels < p.shape[1] - 1)


# ---- 0.2 a semantic map with void


def semantic_or_void(class_logits: Tensor, mask_logits: Tensor, threshold: float) -> Tensor:
    """The class with the most votes, -1 where these are fewer than `threshold`, (H, W).

    Args:
        class_logits: (N, K+1).
        mask_logits: (N, H, W).
        threshold: in votes; a pixel whose best class has exactly so many keeps it.
    """
    p = class_logits.softmax(-1)[:, :-1]
    votes, labels = torch.einsum("nk,nhw->khw", p, mask_logits.sigmoid()).max(0)
    return labels.masked_fill(votes < threshold, -1)


def _both_logits(g: torch.Generator) -> tuple[Tensor, Tensor, float]:
    queries, classes = integer(g, 2, 6), integer(g, 2, 4)
    class_logits = 2 * torch.randn(queries, classes + 1, generator=g)
    size = queries, integer(g, 1, 5), integer(g, 1, 5)
    return class_logits, 2 * torch.randn(size, generator=g), integer(g, 2, 8) / 8


def _voted(p: Tensor, m: Tensor, threshold: float) -> Tensor:
    votes, labels = torch.einsum("nk,nhw->khw", p, m).max(0)
    return labels.masked_fill(votes < threshold, -1)


def _best_query_decides(class_logits: Tensor, mask_logits: Tensor, threshold: float) -> Tensor:
    each = class_logits.softmax(-1)[:, :-1, None, None] * mask_logits.sigmoid()[:, None]
    votes, labels = each.amax(0).max(0)
    return labels.masked_fill(votes < threshold, -1)


# ---- 0.3 a fourth reading: boxes


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


def _corners(mask_logits: Tensor, last: int = 0) -> Tensor:
    found = boxes(mask_logits)
    found[:, 2:] += (found[:, :2] - 1 + last) * (found[:, 2:] > 0)
    return found


def _empty_forgotten(mask_logits: Tensor, first: str = "min") -> Tensor:
    for mask in mask_logits > 0:
        ys, xs = mask.nonzero(as_tuple=True)
        getattr(xs, first)()  # the smallest of nothing raises an error, the largest another one
    return boxes(mask_logits)


# ---- 0.4 numbers for segments


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
    queries, classes = integer(g, 1, 7), integer(g, 1, 4)
    owner = torch.randint(-1, queries, (integer(g, 1, 5), integer(g, 1, 5)), generator=g)
    labels = torch.randint(0, classes, (queries,), generator=g)
    return owner, labels, torch.rand(classes, generator=g) < 0.5


def _idle_counted(owner: Tensor, labels: Tensor, things: Tensor) -> Tensor:
    everybody = torch.cat([owner.flatten(), torch.arange(len(labels))])
    return segment_ids(everybody, labels, things)[: owner.numel()].view_as(owner)


def _void_looked_up(owner: Tensor, labels: Tensor, things: Tensor) -> Tensor:
    queries = range(-1, len(labels))  # labels[-1] is the class of the last query
    return _numbered(owner, {q: q if things[labels[q]] else -2 - labels[q].item() for q in queries})


def _keys_collide(owner: Tensor, labels: Tensor, things: Tensor) -> Tensor:
    return _numbered(owner, {q: q if things[k] else k for q, k in enumerate(labels.tolist())})


def _numbered(owner: Tensor, keys: dict[int, int]) -> Tensor:
    ids, numbers = torch.zeros_like(owner), {}
    for q in owner.unique().tolist():
        if q in keys:
            ids[owner == q] = numbers.setdefault(keys[q], len(numbers) + 1)
    return ids


def _things_first(owner: Tensor, labels: Tensor, things: Tensor) -> Tensor:
    right, ids = segment_ids(owner, labels, things), torch.zeros_like(owner)
    thing = {n: bool(things[labels[owner[right == n]]].all()) for n in right.unique().tolist() if n}
    for number, n in enumerate(sorted(thing, key=lambda n: not thing[n]), 1):
        ids[right == n] = number
    return ids


def _with_gaps(owner: Tensor, labels: Tensor, things: Tensor, by_place: bool = False) -> Tensor:
    places = owner[owner >= 0].unique() if by_place else torch.arange(len(labels))
    right, ids = segment_ids(owner, labels, things), torch.zeros_like(owner)
    for n in right.unique().tolist():
        if n:
            ids[right == n] = torch.searchsorted(places, owner[right == n].min()) + 1
    return ids


EXERCISES = [
    Exercise(
        "0.1",
        speaking,
        _class_logits,
        wrong=[
            Wrong(
                lambda c, t: c.softmax(-1).amax(-1) > t,
                "a query that is sure of the last column has found nothing",
            ),
            Wrong(
                lambda c, t: c.softmax(-1)[:, :-1].amax(-1) > t,
                'one of these queries likes a class well enough, and "no object" better still',
            ),
            Wrong(
                lambda c, t: c[:, :-1].softmax(-1).amax(-1) > t,
                "with the last column gone before the softmax, every query has to name something",
            ),
            Wrong(
                lambda c, t: _told(c.softmax(0), t),
                "the classes of one query compete, not the queries: which axis is that?",
            ),
            Wrong(_told, "the threshold is a probability, and these are still logits"),
            Wrong(lambda c, t: c.argmax(-1) < c.shape[1] - 1, "how sure of it must a query be?"),
            Wrong(lambda c, t: speaking(c, t - 1e-6), "as sure as the threshold is not surer"),
        ],
        corners=[(torch.tensor([[0.0, 0.0, -99.0]]), 0.5)],  # exactly as sure as the threshold
    ),
    Exercise(
        "0.2",
        semantic_or_void,
        _both_logits,
        wrong=[
            Wrong(
                lambda c, m, t: semantic_or_void(c, m, 0.0),
                "a pixel that hardly anybody votes for is void: where is the threshold?",
            ),
            Wrong(
                lambda c, m, t: semantic_or_void(c, m, t).clamp(min=0),
                "0 is the first class: void needs a number that no class has",
            ),
            Wrong(
                lambda c, m, t: semantic_or_void(c, m, t) + 1, "classes count from 0, void is -1"
            ),
            Wrong(lambda c, m, t: semantic_or_void(c, m, t + 1e-6), "as many votes are not fewer"),
            Wrong(
                lambda c, m, t: _voted(c.softmax(-1), m.sigmoid(), t),
                "no object is no class and has no vote: leave its column out",
            ),
            Wrong(
                lambda c, m, t: _voted(c[:, :-1].softmax(-1), m.sigmoid(), t),
                "with the last column gone before the softmax, idle queries vote with full weight",
            ),
            Wrong(
                lambda c, m, t: _voted(c.softmax(0)[:, :-1], m.sigmoid(), t),
                "the classes of one query compete, not the queries: which axis is that?",
            ),
            Wrong(
                lambda c, m, t: _voted(c.softmax(-1)[:, :-1], m, t),
                "a vote is a product of two probabilities: are the masks any yet?",
            ),
            Wrong(
                lambda c, m, t: _voted(c.softmax(-1)[:, :-1], (m > 0).float(), t),
                "a doubtful pixel gives a part of a vote: the masks are not to be cut",
            ),
            Wrong(lambda c, m, t: _voted(c[:, :-1], m.sigmoid(), t), "your p are still logits"),
            Wrong(_best_query_decides, "all queries vote: add them up, do not take the best one"),
        ],
        corners=[(torch.zeros(1, 2), torch.zeros(1, 1, 2), 0.25)],  # as many as the threshold
    ),
    Exercise(
        "0.3",
        boxes,
        _mask_logits,
        wrong=[
            Wrong(_corners, "the last two numbers are a width and a height, not a corner"),
            Wrong(lambda m: _corners(m, 1), "width and height are wanted, not where the box ends"),
            Wrong(
                lambda m: boxes(m) - (boxes(m) > 0) * torch.tensor([0, 0, 1, 1]),
                "a mask of one pixel is one pixel wide: count both ends",
            ),
            Wrong(lambda m: boxes(m)[:, [1, 0, 3, 2]], "x comes first: which axis is that?"),
            Wrong(lambda m: boxes(m)[:, [0, 1, 3, 2]], "of the two sizes the width comes first"),
            Wrong(lambda m: boxes(m)[:, [1, 0, 2, 3]], "the sizes are right, but x comes before y"),
            Wrong(
                lambda m: boxes(m) - (boxes(m)[:, 2:3] == 0).long(), "empty is four zeros, not -1"
            ),
            Wrong(lambda m: boxes(m + 1e-30), "a logit of exactly 0 is outside, not inside"),
            Wrong(
                lambda m: boxes(m - 0.5),
                "0.5 is where a probability turns; these are logits, and turn elsewhere",
            ),
            Wrong(_empty_forgotten, "a mask may be empty, and nothing has no smallest element"),
            Wrong(lambda m: _empty_forgotten(m, "max"), "an empty mask has no largest element"),
        ],
        corners=[(torch.tensor([[[0.0, 1.0], [0.0, -1.0]]]),)],  # a logit of 0 is outside
    ),
    Exercise(
        "0.4",
        segment_ids,
        _owners,
        wrong=[
            Wrong(
                lambda o, c, t: segment_ids(o, c, torch.zeros_like(t)),
                "two cars are two segments: which classes may share a number?",
            ),
            Wrong(
                lambda o, c, t: segment_ids(o, c, torch.ones_like(t)),
                "a sky in two pieces is one sky, whichever queries own them",
            ),
            Wrong(
                lambda o, c, t: (segment_ids(o, c, t) - 1).clamp(min=0), "0 is taken: it is void"
            ),
            Wrong(lambda o, c, t: segment_ids(o, c, t) - (o < 0).long(), "void is 0 now, not -1"),
            Wrong(lambda o, c, t: segment_ids(o, c, t) + (o < 0).any(), "void has no number but 0"),
            Wrong(
                lambda o, c, t: segment_ids(o.where(o > o.min(), -1), c, t),
                "the smallest owner is -1 only where there is void",
            ),
            Wrong(_void_looked_up, "-1 is nobody: labels[-1] is the class of the last query"),
            Wrong(_idle_counted, "a query that owns no pixel is no segment, and takes no number"),
            Wrong(_keys_collide, "query 1 and class 1 are not the same: keep their keys apart"),
            Wrong(_things_first, "numbers go in the order of the queries, things and stuff mixed"),
            Wrong(_with_gaps, "count segments, not queries: no number may be left out"),
            Wrong(
                lambda o, c, t: _with_gaps(o, c, t, by_place=True),
                "count the numbers given away, not the owners: a shared one leaves a gap",
            ),
        ],
        corners=[  # a stuff class shared, then a thing; equal numbers; a thing after stuff
            (torch.tensor([[0, 1, 2, -1]]), torch.tensor([0, 0, 1]), torch.tensor([False, True])),
            (torch.tensor([[0, 1], [1, 0]]), torch.tensor([1, 0]), torch.tensor([True, False])),
            (torch.tensor([[2, 0, 1]]), torch.tensor([0, 1, 0]), torch.tensor([True, False])),
        ],
    ),
]
