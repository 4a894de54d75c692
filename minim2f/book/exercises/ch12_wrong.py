"""What usually goes wrong in exercise 12.1, each mistake with its hint."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from minim2f.book.exercises import Wrong


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


def _small_part_once(rounded):
    """Cut at the size of the masks, a part of a cell rounded, then enlarged in one step."""

    def answer(c, x, padded, inner, size):
        rows, columns = map(rounded, zip(inner, x.shape[1:], padded))
        small = F.interpolate(x[None, :, :rows, :columns], size, mode="bilinear")[0]
        return _votes(_classes(c), small.sigmoid()).argmax(0)

    return answer


def _cells_begun(lengths):
    return -(-lengths[0] * lengths[1] // lengths[2])


def _cells_whole(lengths):
    return max(1, lengths[0] * lengths[1] // lengths[2])


def _in_two_steps(cut, between=lambda x: x, antialias=False):
    """The right way, but for how the padding is cut, or for what happens between the steps."""

    def answer(c, x, padded, inner, size):
        x = cut(F.interpolate(x[None], padded, mode="bilinear"), *inner)
        x = F.interpolate(between(x), size, mode="bilinear", antialias=antialias)[0]
        return _votes(_classes(c), x if between is torch.sigmoid else x.sigmoid()).argmax(0)

    return answer


def _upper_left(x, height, width):
    return x[..., :height, :width]


def _lower_right(x, height, width):
    return x[..., -height:, -width:]


def _exchanged(x, height, width):
    return x[..., :width, :height]


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
        _in_two_steps(_upper_left, between=torch.sigmoid),
        "the second step resizes probabilities or votes: both steps resize logits",
    ),
    Wrong(
        _small_map_enlarged,
        "the picture has steps of whole cells: enlarge logits, not classes, and bilinearly",
    ),
    Wrong(_cut_after, "the padding is still there: cut before you resize to the picture"),
    Wrong(_cut_before, "cut after the first enlargement: a cell may lie half in the padding"),
    Wrong(
        _small_part_once(_cells_begun),
        "cut after the first enlargement, to padded: a cell may lie half in the padding",
    ),
    Wrong(
        _small_part_once(_cells_whole),
        "cut after the first enlargement, to padded: a cell may lie half in the padding",
    ),
    Wrong(
        _in_two_steps(_lower_right),
        "you keep the lower right part, but the picture begins at row 0, column 0",
    ),
    Wrong(
        _in_two_steps(_exchanged),
        "height and width of inner are exchanged: rows are cut by its first number",
    ),
    Wrong(
        _in_two_steps(_upper_left, antialias=True),
        "without antialias: it blurs where the picture becomes smaller",
    ),
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
