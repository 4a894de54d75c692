"""What usually goes wrong in exercise 12.3, each mistake with its hint."""

from __future__ import annotations

import torch

from minim2f.book.exercises import Wrong


def _rule(
    sure=lambda top, labels, K, t: (top > t) & (labels < K),
    product=lambda top, m: top * m,
    inside=lambda m, top: m >= 0.5,
    share=lambda won, mask: won.sum(),
    fails=lambda share, area, t: share < t * area,
    left=lambda won, mask: (won & mask).any(),
    owned=lambda won, mask: won & mask,
    merges=lambda thing: not thing,
    soften=lambda c: c.softmax(1),
    count_lost=False,
    remember_lost=False,
):
    """The panoptic rule with one step replaced."""

    def answer(c, x, things, score_threshold, overlap_threshold):
        m = x.sigmoid()
        top, labels = soften(c).max(1)
        queries = sure(top, labels, len(things), score_threshold).nonzero()[:, 0].tolist()
        ids, classes = torch.zeros(x.shape[1:], dtype=torch.int64), []
        if not queries:
            return ids, classes
        weighted = torch.stack([product(top[n], m[n]) for n in queries])
        winner = torch.tensor(queries)[weighted.argmax(0)]
        of_class, number = {}, 0
        for n in queries:
            won, mask, label = winner == n, inside(m[n], top[n]), labels[n].item()
            fine = left(won, mask) and not fails(share(won, mask), mask.sum(), overlap_threshold)
            number += count_lost and not fine
            if not fine and not (remember_lost and label not in of_class):
                continue
            if merges(things[label]) and label in of_class:
                ids[owned(won, mask)] = of_class[label]
                continue
            number += 1
            of_class.setdefault(label, number)
            classes.append(label)
            if fine:
                ids[owned(won, mask)] = number
        return ids, classes

    return answer


def _void_is_minus_one(*arguments):
    ids, classes = _rule()(*arguments)
    return ids - 1, classes


def _needs_a_sure_query(c, x, things, score_threshold, overlap_threshold):
    top, labels = c.softmax(1).max(1)
    sure = (top > score_threshold) & (labels < len(things))
    (top[sure][:, None, None] * x[sure].sigmoid()).argmax(0)  # of nothing: an error
    return _rule()(c, x, things, score_threshold, overlap_threshold)


def _all_compete(c, x, things, score_threshold, overlap_threshold):
    """Queries that are unsure, or say no object, win pixels too."""
    top, labels = c.softmax(1).max(1)
    winner = (top[:, None, None] * x.sigmoid()).argmax(0)
    ids, classes, of_class = torch.zeros_like(winner), [], {}
    for n in ((top > score_threshold) & (labels < len(things))).nonzero()[:, 0].tolist():
        won, mask, label = winner == n, x[n] >= 0, labels[n].item()
        if not (won & mask).any() or won.sum() < overlap_threshold * mask.sum():
            continue
        if things[label] or label not in of_class:
            classes.append(label)
            of_class[label] = len(classes)
        ids[won & mask] = len(classes) if things[label] else of_class[label]
    return ids, classes


def _surest_class(top, labels, K, t):
    return top > t


def _without_no_object(c):
    return c.softmax(1)[:, :-1]


def _classes_by_pixels(*arguments):
    ids, classes = _rule()(*arguments)
    order = [n for n in ids.flatten().unique_consecutive().tolist() if n]
    order = list(dict.fromkeys(order))
    new = torch.zeros_like(ids)
    for number, n in enumerate(order, 1):
        new[ids == n] = number
    return new, [classes[n - 1] for n in order]


def _surest_first(c, x, *rest):
    """Queries in the order of their scores."""
    order = c.softmax(1).amax(1).argsort(descending=True, stable=True)
    return _rule()(c[order], x[order], *rest)


RULES = [
    Wrong(
        _rule(share=lambda won, mask: (won & mask).sum()),
        "the share counts all pixels that a query won, those outside of its mask too",
    ),
    Wrong(
        _rule(fails=lambda share, area, t: share <= t * area),
        "exactly the overlap threshold is enough",
    ),
    Wrong(
        _rule(fails=lambda share, area, t: False),
        "every query keeps what it won: where is the overlap threshold?",
    ),
    Wrong(
        _rule(
            sure=lambda top, labels, K, t: (top >= t) & (labels < K),
        ),
        "as sure as the threshold is not surer",
    ),
    Wrong(
        _rule(sure=lambda top, labels, K, t: labels < K),
        "how sure of its class must a query be?",
    ),
    Wrong(_rule(sure=_surest_class), "a query that is sure of no object makes no segment"),
    Wrong(
        _rule(soften=_without_no_object),
        "with no object left out, its best class looks like its answer: compare all K+1",
    ),
    Wrong(
        _rule(soften=lambda c: c[:, :-1].softmax(1)),
        "with the last column gone before the softmax, idle queries look sure",
    ),
    Wrong(
        _rule(soften=lambda c: c.softmax(0)),
        "the classes of one query compete, not the queries: which axis is that?",
    ),
    Wrong(_rule(soften=lambda c: c), "the threshold is a probability, and these are still logits"),
    Wrong(_all_compete, "only queries that are sure of a class compete for the pixels"),
    Wrong(
        _rule(product=lambda top, m: m),
        "the winner has the largest product of class and mask probability, not the largest mask",
    ),
    Wrong(
        _rule(owned=lambda won, mask: won),
        "a pixel that its winner does not have in its mask is void",
    ),
    Wrong(
        _rule(inside=lambda m, top: m > 0.5),
        "a mask probability of exactly one half is inside here",
    ),
    Wrong(
        _rule(inside=lambda m, top: top * m >= 0.5),
        "a mask is where m itself reaches one half; the class has no part in that",
    ),
    Wrong(
        _rule(left=lambda won, mask: True),
        "a query with nothing left inside its mask makes no segment",
    ),
    Wrong(
        _rule(left=lambda won, mask: mask.any()),
        "a query with nothing left inside its mask makes no segment",
    ),
    Wrong(
        _rule(merges=lambda thing: False),
        "two pieces of sky are one segment: stuff of a class shares a number",
    ),
    Wrong(
        _rule(merges=lambda thing: True),
        "two dogs are two segments: only stuff shares a number",
    ),
    Wrong(
        _rule(merges=bool),
        "the wrong way round: things are counted, stuff is merged",
    ),
    Wrong(_rule(count_lost=True), "a query that loses all takes no number"),
    Wrong(
        _rule(remember_lost=True),
        "stuff that was dropped is no segment that others could join",
    ),
    Wrong(_void_is_minus_one, "0 is void, and segments count from 1"),
    Wrong(_needs_a_sure_query, "where no query is sure, all is void: nothing has no largest"),
    Wrong(_surest_first, "segments are numbered in the order of the queries, not of their scores"),
    Wrong(lambda *arguments: _rule()(*arguments)[0], "return the classes of the segments as well"),
    Wrong(_classes_by_pixels, "segments are numbered in the order of the queries, not the pixels"),
]
