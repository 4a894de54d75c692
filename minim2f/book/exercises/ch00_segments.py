"""Exercise 0.4: numbers for segments."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from minim2f.book.exercises import Exercise, Wrong, integer


def segment_ids(owner: Tensor, labels: Tensor, things: Tensor) -> Tensor:
    """Owners as panoptic ids: numbers from 1, in the order of the queries; 0 is void.

    Args:
        owner: (h, w), the query that owns each pixel, -1 for none.
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


def _overwritten(owner: Tensor, labels: Tensor, things: Tensor, void_first: bool = False) -> Tensor:
    """New numbers written over owners that are still to be read."""
    ids, numbers = owner.clone(), segment_ids(owner, labels, things)
    if void_first:
        ids[ids == -1] = 0
    for q in owner.unique().tolist():
        if q >= 0:
            ids[ids == q] = numbers[owner == q][0]
    return ids.clamp(min=0)


def _pixel_order(owner: Tensor, labels: Tensor, things: Tensor) -> Tensor:
    right, numbers = segment_ids(owner, labels, things), {0: 0}
    for n in right.flatten().tolist():
        numbers.setdefault(n, len(numbers))
    return right.clone().apply_(numbers.__getitem__)


SEGMENTS = Exercise(
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
        Wrong(lambda o, c, t: (segment_ids(o, c, t) - 1).clamp(min=0), "0 is taken: it is void"),
        Wrong(lambda o, c, t: segment_ids(o, c, t) - (o < 0).long(), "void is 0 now, not -1"),
        Wrong(lambda o, c, t: segment_ids(o, c, t) + (o < 0).any(), "void has no number but 0"),
        Wrong(
            lambda o, c, t: segment_ids(o.where(o > o.min(), -1), c, t),
            "the smallest owner is -1 only where there is void",
        ),
        Wrong(
            _overwritten,
            "a new number may equal an owner that you look for later: compare with `owner` itself",
        ),
        Wrong(
            lambda o, c, t: _overwritten(o, c, t, void_first=True),
            "void became 0 first, and then passes for query 0: write into a map of its own",
        ),
        Wrong(
            _pixel_order, "the order is that of the queries, not of the pixels from the top left"
        ),
        Wrong(
            lambda o, c, t: segment_ids(o, c.where(t[c], len(t)), F.pad(t, (0, 1))),
            "sky and sea are two segments: stuff shares a number within a class, not across",
        ),
        Wrong(
            lambda o, c, t: o + 1,
            "those are the owners plus one: nobody shares a number yet, and there are gaps",
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
    corners=[  # a stuff class shared, then a thing; equal numbers; a thing after stuff; void only
        (torch.tensor([[0, 1, 2, -1]]), torch.tensor([0, 0, 1]), torch.tensor([False, True])),
        (torch.tensor([[0, 1], [1, 0]]), torch.tensor([1, 0]), torch.tensor([True, False])),
        (torch.tensor([[2, 0, 1]]), torch.tensor([0, 1, 0]), torch.tensor([True, False])),
        (torch.full((2, 3), -1), torch.tensor([0, 0]), torch.tensor([True])),
    ],
)
