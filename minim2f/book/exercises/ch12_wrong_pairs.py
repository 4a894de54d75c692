"""What usually goes wrong in exercise 12.2, each mistake with its hint."""

from __future__ import annotations

import torch

from minim2f.book.exercises import Wrong


def _classes(c):
    return c.softmax(1)[:, :-1]


def _means(x, mask, empty=0.0):
    m = x.sigmoid()
    return torch.where(
        mask.any(2).any(1), (m * mask).sum((1, 2)) / mask.sum((1, 2)).clamp(min=1), empty
    )


def _listed(p, fit, k, things, columns=None):
    probabilities, pairs = p.flatten().sort(descending=True)
    queries, classes = pairs[:k] // p.shape[1], pairs[:k] % p.shape[1]
    if columns is not None:
        queries, classes = columns(pairs[:k])
    kept = things[classes]
    return (probabilities[:k] * fit[queries])[kept], classes[kept], queries[kept]


def _right(c, x, k, things):
    return _listed(_classes(c), _means(x, x > 0), k, things)


def _sorted_again(c, x, k, things):
    scores, classes, queries = _right(c, x, k, things)
    order = scores.sort(descending=True, stable=True).indices
    return scores[order], classes[order], queries[order]


def _things_first(c, x, k, things):
    p = _classes(c) * things
    return _listed(p, _means(x, x > 0), min(k, int(things.sum()) * len(p)), things)


def _by_score(c, x, k, things):
    scores = _classes(c) * _means(x, x > 0)[:, None]
    best, pairs = scores.flatten().sort(descending=True, stable=True)
    classes = pairs[:k] % len(things)
    kept = things[classes]
    return best[:k][kept], classes[kept], (pairs[:k] // len(things))[kept]


def _one_class_each(c, x, k, things):
    top, labels = _classes(c).max(1)
    order = top.argsort(descending=True)[:k]
    order = order[things[labels[order]]]
    return (top * _means(x, x > 0))[order], labels[order], order


def _too_many(c, x, k, things):
    _classes(c).flatten().topk(k)
    return _right(c, x, k, things)


def _nothing_dropped(c, x, k, things):
    return _listed(_classes(c), _means(x, x > 0), k, torch.ones_like(things))


def _no_object_too(c, x, k, things):
    more = torch.cat([things, torch.ones_like(things[:1])])
    return _listed(c.softmax(1), _means(x, x > 0), k, more)


def _without_fit(c, x, k, things):
    return _listed(_classes(c), torch.ones(len(c)), k, things)


def _by_queries(c, x, k, things):
    """Rows and columns of the flat index exchanged."""
    return _listed(_classes(c), _means(x, x > 0), k, things, lambda i: (i % len(c), i // len(c)))


def _no_object_for_a_class(columns):
    """Pairs with "no object" stay among the best, and their class is then looked up: an error."""

    def answer(c, x, k, things):
        width = c.shape[1] if columns == "all" else len(things)
        return _listed(c.softmax(1), _means(x, x > 0), k, things, lambda i: (i // width, i % width))

    return answer


def _empty_dropped(c, x, k, things):
    scores, classes, queries = _right(c, x, k, things)
    kept = (x > 0).any(2).any(1)[queries]
    return scores[kept], classes[kept], queries[kept]


def _fit(function):
    return lambda c, x, k, things: _listed(_classes(c), function(x), k, things)


def _order(permutation):
    return lambda *arguments: tuple(_right(*arguments)[j] for j in permutation)


PAIRS = [
    Wrong(_sorted_again, "right scores, but leave the pairs in the order of class probability"),
    Wrong(_things_first, "top_k counts stuff as well: take the best pairs first, then drop stuff"),
    Wrong(_by_score, "top_k chooses by class probability alone; the mask counts afterwards"),
    Wrong(_one_class_each, "a query may be listed with several classes: all N · K pairs compete"),
    Wrong(_too_many, "there may be fewer than top_k pairs"),
    Wrong(_nothing_dropped, "pairs of stuff are no instances: drop them at the end"),
    Wrong(_no_object_too, "no object makes no instances: leave its column out"),
    Wrong(
        _no_object_for_a_class("all"),
        "no object is among your pairs: leave its column out after the softmax",
    ),
    Wrong(
        _no_object_for_a_class("classes"),
        "you flatten K+1 columns and divide by K: leave no object out after the softmax",
    ),
    Wrong(_empty_dropped, "a pair with an empty mask stays in the list, with the score 0"),
    Wrong(_without_fit, "the score is only half there: how sure is the mask of itself?"),
    Wrong(
        _by_queries,
        "a flat index is query · K + class: what do // K and % K give?",
    ),
    Wrong(
        lambda c, x, k, things: _listed(c[:, :-1].softmax(1), _means(x, x > 0), k, things),
        "with the last column gone before the softmax, idle queries look sure",
    ),
    Wrong(
        lambda c, x, k, things: _listed(c.softmax(0)[:, :-1], _means(x, x > 0), k, things),
        "the classes of one query compete, not the queries: which axis is that?",
    ),
    Wrong(
        lambda c, x, k, things: _listed(c.sigmoid()[:, :-1], _means(x, x > 0), k, things),
        "the K+1 classes of a query compete: one softmax, not a sigmoid for each",
    ),
    Wrong(
        _fit(lambda x: (x.sigmoid() * (x > 0)).amax((1, 2))),
        "that is the largest mask probability: the score takes the mean inside the mask",
    ),
    Wrong(
        _fit(lambda x: x.sigmoid().mean((1, 2))),
        "the mean is over the pixels inside the mask, not over the picture",
    ),
    Wrong(
        _fit(lambda x: _means(x, x >= 0)),
        "a logit of exactly 0 is outside here, not inside",
    ),
    Wrong(
        _fit(lambda x: _means(x, x > 0.5)),
        "0.5 is where a probability turns; these are logits, and turn elsewhere",
    ),
    Wrong(
        _fit(lambda x: (x.sigmoid() * (x > 0)).sum((1, 2))),
        "that is the sum inside the mask: divide by its pixels",
    ),
    Wrong(
        _fit(lambda x: (x.sigmoid() * (x > 0)).sum((1, 2)) / (x > 0).sum((1, 2))),
        "an empty mask divides 0 by 0: its score is 0",
    ),
    Wrong(
        _fit(lambda x: _means(x, x > 0, 1.0)),
        "an empty mask has the score 0",
    ),
    Wrong(
        _fit(lambda x: (x * (x > 0)).sum((1, 2)) / (x > 0).sum((1, 2)).clamp(min=1)),
        "the mean is of mask probabilities: where is the sigmoid?",
    ),
    Wrong(_order([0, 2, 1]), "scores, classes, queries: the last two are exchanged"),
]
