"""What usually goes wrong in exercise 12.3, each mistake with its hint."""

from __future__ import annotations

import torch

from minim2f.book.exercises import Wrong


def _rule(
    sure=lambda top, labels, K, t: (top > t) & (labels < K),
    product=lambda top, m: top * m,
    inside=lambda m, top: m >= 0.5,
    wins=lambda weighted, queries: queries[weighted.argmax(0)],
    fails=lambda won, mask, t: won.sum() < t * mask.sum(),
    left=lambda won, mask: (won & mask).any(),
    owned=lambda won, mask: won & mask,
    merges=lambda thing: not thing,
    soften=lambda c: c.softmax(1),
    number_of=lambda made, lost, place, n: made + 1,
    list_lost=False,
    remember_lost=False,
):
    """The panoptic rule with one step replaced.

    The number of a new segment comes from how many were made before it, how many queries lost, the
    place of its query among the sure ones, and the query itself.
    """

    def answer(c, x, things, score_threshold, overlap_threshold):
        m, (top, labels) = x.sigmoid(), soften(c).max(1)
        queries = sure(top, labels, len(things), score_threshold).nonzero()[:, 0].tolist()
        ids, classes, of_class = torch.zeros(x.shape[1:], dtype=torch.int64), [], {}
        if not queries:
            return ids, classes
        winner = wins(product(top[:, None, None], m)[queries], torch.tensor(queries))
        made = lost = 0
        for place, n in enumerate(queries):
            won, mask, label = winner == n, inside(m[n], top[n]), labels[n].item()
            fine = left(won, mask) and not fails(won, mask, overlap_threshold)
            lost += not fine
            classes += [label] * (list_lost and not fine)
            if not fine and not (remember_lost and label not in of_class):
                continue
            if merges(things[label]) and label in of_class:
                number = of_class[label]
            else:
                number = number_of(made, lost, place, n)
                made += 1
                of_class.setdefault(label, number)
                classes.append(label)
            if fine:
                ids[owned(won, mask)] = number
        return ids, classes

    return answer


def _first_sure_else(weighted, queries):
    return queries[weighted.argmax(0)]


def _nobody_else(weighted, queries):
    return queries[weighted.argmax(0)].where(weighted.amax(0) > 0, -1)


def _query_0_else(weighted, queries):
    """As an argmax over all N queries gives it, where the product is 0 everywhere."""
    return queries[weighted.argmax(0)].where(weighted.amax(0) > 0, 0)


def _with_losers(made, lost, place, n):
    return made + lost + 1


def _by_place(made, lost, place, n):
    return place + 1


def _by_query(made, lost, place, n):
    return n + 1


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


def _stuff_judged_together(area_of):
    """The pieces of stuff of a class are joined first; the overlap test is for all of them."""

    def answer(c, x, things, score_threshold, overlap_threshold):
        m = x.sigmoid()
        top, labels = c.softmax(1).max(1)
        queries = ((top > score_threshold) & (labels < len(things))).nonzero()[:, 0]
        ids, classes = torch.zeros(x.shape[1:], dtype=torch.int64), []
        if not len(queries):
            return ids, classes
        winner = queries[(top[queries, None, None] * m[queries]).argmax(0)]
        groups = {}
        for n in queries.tolist():
            label = labels[n].item()
            groups.setdefault((n, label) if things[label] else label, []).append(n)
        for group in groups.values():
            won = torch.stack([winner == n for n in group])
            masks = m[group] >= 0.5
            mine = (won & masks).any(0)
            if mine.any() and won.sum() >= overlap_threshold * area_of(masks):
                classes.append(labels[group[0]].item())
                ids[mine] = len(classes)
        return ids, classes

    return answer


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
        _rule(fails=lambda won, mask, t: (won & mask).sum() < t * mask.sum()),
        "the share counts all pixels that a query won, those outside of its mask too",
    ),
    Wrong(
        _rule(fails=lambda won, mask, t: (won & mask).sum() < t * (won | mask).sum()),
        "that is an IoU: the share is all pixels won, divided by the pixels of the mask",
    ),
    Wrong(
        _rule(fails=lambda won, mask, t: won.sum() <= t * mask.sum()),
        "exactly the overlap threshold is enough",
    ),
    Wrong(
        _rule(fails=lambda won, mask, t: False),
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
        _rule(owned=lambda won, mask: mask),
        "you paint the whole mask: a query keeps only the pixels of it that it won",
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
        _rule(left=lambda won, mask: won.any()),
        "a query may win pixels and none in its mask: test what is left inside the mask",
    ),
    *(
        Wrong(
            _rule(product=lambda top, m: top * m * (m >= 0.5), wins=wins),
            "all sure queries compete for a pixel, those whose mask does not cover it too",
        )
        for wins in (_first_sure_else, _nobody_else, _query_0_else)
    ),
    *(
        Wrong(
            _stuff_judged_together(area_of),
            "each query passes the overlap test by itself, and then what is left of stuff merges",
        )
        for area_of in (torch.sum, lambda masks: masks.any(0).sum())
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
    *(
        Wrong(
            _rule(number_of=number_of, list_lost=list_lost),
            "a query that loses all takes no number: they count the segments made so far",
        )
        for number_of in (_with_losers, _by_place, _by_query)
        for list_lost in (False, True)
    ),
    Wrong(_rule(list_lost=True), "the list has the classes of segments, not of queries that lost"),
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
