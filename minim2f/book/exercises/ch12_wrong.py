"""What usually goes wrong in exercises 12.1 and 12.2, each mistake with its hint."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from minim2f.book.exercises import Wrong

# ---- 12.1 a map of classes as large as the picture


def _enlarged(x, padded, inner, size, mode="bilinear", corners=None):
    x = F.interpolate(x[None], padded, mode=mode, align_corners=corners)
    x = x[..., : inner[0], : inner[1]]
    return F.interpolate(x, size, mode=mode, align_corners=corners)[0]


def _votes(p, m):
    return torch.einsum("nk,nhw->khw", p, m)


def _classes(c):
    return c.softmax(1)[:, :-1]


def _small_map_enlarged(c, x, padded, inner, size):
    labels = _votes(_classes(c), x.sigmoid()).argmax(0)
    return _enlarged(labels[None].float(), padded, inner, size, "nearest")[0].long()


def _best_query(c, x, *sizes):
    p, labels = _classes(c).max(1)
    return labels[(p[:, None, None] * _enlarged(x, *sizes).sigmoid()).argmax(0)]


def _cut_before(c, x, padded, inner, size):
    rows, columns = (-(-n * cells // whole) for n, cells, whole in zip(inner, x.shape[1:], padded))
    small = x[:, :rows, :columns]
    return _votes(_classes(c), _enlarged(small, inner, inner, size).sigmoid()).argmax(0)


def _cut_after(c, x, padded, inner, size):
    x = F.interpolate(_enlarged(x, padded, padded, padded)[None], size, mode="bilinear")[0]
    return _votes(_classes(c), x.sigmoid()).argmax(0)


def _not_resized(c, x, padded, inner, size):
    return _votes(_classes(c), _enlarged(x, padded, inner, inner).sigmoid()).argmax(0)


def _centred(c, x, padded, inner, size):
    top, left = ((whole - n) // 2 for whole, n in zip(padded, inner))
    x = F.interpolate(x[None], padded, mode="bilinear")[..., top:, left:]
    x = F.interpolate(x[..., : inner[0], : inner[1]], size, mode="bilinear")[0]
    return _votes(_classes(c), x.sigmoid()).argmax(0)


MAPS = [
    Wrong(
        lambda c, x, *s: _votes(_classes(c), _enlarged(x.sigmoid(), *s)).argmax(0),
        "you enlarge probabilities or votes: enlarge the logits, then take the sigmoid, then vote",
    ),
    Wrong(
        _small_map_enlarged,
        "the picture has steps of whole cells: enlarge logits, not classes, and bilinearly",
    ),
    Wrong(_cut_after, "the padding is still there: cut before you resize to the picture"),
    Wrong(_cut_before, "cut after the first enlargement: a cell may lie half in the padding"),
    Wrong(_not_resized, "one step is missing: from the part without padding to the picture"),
    Wrong(_centred, "the padding is on the right and below: the picture begins at row 0, column 0"),
    Wrong(
        lambda c, x, *s: _votes(_classes(c), _enlarged(x, *s, "bilinear", True).sigmoid()).argmax(
            0
        ),
        "without align_corners: cells have an area, and their outer edges coincide",
    ),
    Wrong(
        lambda c, x, *s: _votes(c.softmax(1), _enlarged(x, *s).sigmoid()).argmax(0),
        "no object is no class and has no vote: leave its column out",
    ),
    Wrong(
        lambda c, x, *s: _votes(c[:, :-1].softmax(1), _enlarged(x, *s).sigmoid()).argmax(0),
        "with the last column gone before the softmax, idle queries vote with full weight",
    ),
    Wrong(
        lambda c, x, *s: _votes(c.softmax(0)[:, :-1], _enlarged(x, *s).sigmoid()).argmax(0),
        "the classes of one query compete, not the queries: which axis is that?",
    ),
    Wrong(
        lambda c, x, *s: _votes(c[:, :-1], _enlarged(x, *s).sigmoid()).argmax(0),
        "your p are still logits: they need a softmax",
    ),
    Wrong(
        lambda c, x, *s: _votes(_classes(c), _enlarged(x, *s)).argmax(0),
        "a vote is a product of two probabilities: are the masks any yet?",
    ),
    Wrong(
        lambda c, x, *s: _votes(_classes(c), (_enlarged(x, *s) > 0).float()).argmax(0),
        "a doubtful pixel gives a part of a vote: the masks are not to be cut at 0",
    ),
    Wrong(_best_query, "all queries vote for all classes: add the votes up"),
    Wrong(
        lambda c, x, *s: _votes(_classes(c), _enlarged(x, *s).sigmoid()).argmax(0) + 1,
        "classes count from 0, and there is no void here",
    ),
    Wrong(
        lambda c, x, *s: _votes(_classes(c), _enlarged(x, *s).sigmoid()),
        "those are the votes of all classes: which class has the most?",
    ),
]

# ---- 12.2 the best pairs of a query and a class


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
