"""What usually goes wrong in the exercises of chapter 1, each mistake with its hint."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from minim2f.book.exercises import Wrong

# ---- 1.1 pairs from a label map


def pairs(right: Callable) -> list[Wrong]:
    """Mistakes of exercise 1.1, made from its solution."""
    return [
        Wrong(lambda x, void: right(x, -1), "void is no class, and gives no pair"),
        Wrong(_all_classes, "a class that is not in the picture gives no pair"),
        Wrong(lambda x, void: right(x, 0), "void is the number that is given, not always 0"),
        Wrong(lambda x, void: right(x, 255), "void is the number that is given, not always 255"),
        Wrong(
            lambda x, void: (torch.arange(len(right(x, void)[0])), right(x, void)[1]),
            "a label is a class, not a place in the list of pairs",
        ),
        Wrong(
            lambda x, void: (right(x, void)[0], right(x, void)[1].permute(1, 2, 0)),
            "the pairs come first: a mask is masks[g]",
        ),
        Wrong(
            lambda x, void: (right(x, void)[0], right(x, void)[1].long()),
            "masks are True and False, not numbers",
        ),
        Wrong(lambda x, void: right(x, void)[::-1], "first the labels, then the masks"),
        Wrong(lambda x, void: tuple(part.flip(0) for part in right(x, void)), "classes ascend"),
        Wrong(_in_pieces(right), "a map of classes knows no pieces: all of the sky is one pair"),
    ]


def _all_classes(label_map: Tensor, void: int) -> tuple[Tensor, Tensor]:
    labels = torch.arange(int(label_map.max()) + 1)
    labels = labels[labels != void]
    return labels, label_map == labels[:, None, None]


def _in_pieces(right: Callable) -> Callable:
    def wrong(label_map: Tensor, void: int) -> tuple[Tensor, Tensor]:
        labels, masks, found = *right(label_map, void), []
        for label, mask in zip(labels, masks):
            names = _names(mask)
            found += [(label, (names == name) & mask) for name in names[mask].unique()]
        if not found:
            return labels, masks
        return tuple(torch.stack(part) for part in zip(*found))

    return wrong


# ---- 1.2 a map from pairs that overlap


def overlaps(right: Callable) -> list[Wrong]:
    """Mistakes of exercise 1.2, made from its solution."""
    return [
        Wrong(lambda m, s: _painted(m, torch.arange(len(m))), "the surer wins, not the later"),
        Wrong(
            lambda m, s: _painted(m, torch.arange(len(m)).flip(0)),
            "the surer wins, not the earlier",
        ),
        Wrong(
            lambda m, s: _painted(m, s.argsort(descending=True, stable=True)),
            "who is painted last stays on top, and that is the least sure one here",
        ),
        Wrong(
            lambda m, s: _painted(m, s.argsort(stable=True)),
            "of two that are equally sure, the first in the list wins",
        ),
        Wrong(
            lambda m, s: (m * torch.arange(1, len(m) + 1)[:, None, None]).sum(0),
            "where masks overlap, your numbers add up, and name somebody else",
        ),
        Wrong(lambda m, s: right(m, s) - 1, "0 is nobody: the first mask has number 1"),
        Wrong(
            lambda m, s: (m * s[:, None, None]).argmax(0) + 1,
            "among nothing but zeros one is still the largest: who owns a pixel in no mask?",
        ),
        Wrong(
            lambda m, s: right(m & (s > 0)[:, None, None], s),
            "a mask with a score of 0 claims its pixels too, if nobody else does",
        ),
        Wrong(
            _zeros_tie,
            "a score of 0 inside a mask looks like the 0 outside of all others: whose pixel is it?",
        ),
        Wrong(_by_rank(right), "a number is a mask's place in the list, not its rank by score"),
    ]


def _zeros_tie(masks: Tensor, scores: Tensor) -> Tensor:
    claims = masks * scores[:, None, None]
    return torch.where(masks.any(0), claims.argmax(0) + 1, 0)


def _painted(masks: Tensor, order: Tensor) -> Tensor:
    ids = torch.zeros(masks.shape[1:], dtype=torch.int64)
    for n in order.tolist():
        ids[masks[n]] = n + 1
    return ids


def _by_rank(right: Callable) -> Callable:
    def wrong(masks: Tensor, scores: Tensor) -> Tensor:
        order = scores.argsort(descending=True, stable=True)
        return right(masks[order], scores[order])

    return wrong


# ---- 1.3 the three tasks at once


def tasks(right: Callable) -> list[Wrong]:
    """Mistakes of exercise 1.3, made from its solution."""

    def semantic(change: Callable) -> Callable:
        return lambda k, m, t: (change(right(k, m, t)[0]), *right(k, m, t)[1:])

    def instance(change: Callable) -> Callable:
        return lambda k, m, t: (right(k, m, t)[0], change(k, m, t), right(k, m, t)[2])

    def panoptic(change: Callable) -> Callable:
        return lambda k, m, t: (*right(k, m, t)[:2], change(k, m, t))

    return [
        Wrong(
            panoptic(lambda k, m, t: right(k, m, t | True)[2]),
            "panoptic: a sky in two pairs is one segment",
        ),
        Wrong(
            panoptic(lambda k, m, t: right(k, m, t & False)[2]),
            "panoptic: two cars are two segments",
        ),
        *(Wrong(panoptic(change), hint) for change, hint in _NUMBERINGS),
        Wrong(panoptic(_with_gaps), "panoptic: count the numbers given away, not the pairs"),
        Wrong(
            panoptic(lambda k, m, t: right(k[t[k]], m[t[k]], t)[2]), "panoptic: stuff belongs to it"
        ),
        Wrong(panoptic(lambda k, m, t: right(k, m, t)[2] - 1), "panoptic: 0 is void"),
        Wrong(semantic(lambda s: s.clamp(min=0)), "semantic: 0 is a class, and void is -1"),
        Wrong(semantic(lambda s: s + 1), "semantic: classes count from 0, and void is -1"),
        Wrong(instance(lambda k, m, t: m), "instance: stuff is not counted"),
        Wrong(instance(lambda k, m, t: m[~t[k]]), "instance: things are wanted, not stuff"),
        Wrong(instance(_by_class), "instance: each thing has a mask of its own"),
    ]


def _with_gaps(labels: Tensor, masks: Tensor, things: Tensor) -> Tensor:
    ids, first = torch.zeros(masks.shape[1:], dtype=torch.int64), {}
    for g, (label, mask) in enumerate(zip(labels.tolist(), masks)):
        ids[mask] = g + 1 if things[label] else first.setdefault(label, g + 1)
    return ids


def _numbered(masks: Tensor, keys: list) -> Tensor:
    ids, order = torch.zeros(masks.shape[1:], dtype=torch.int64), list(dict.fromkeys(keys))
    for key, mask in zip(keys, masks):
        ids[mask] = order.index(key) + 1
    return ids


def _keys(labels: Tensor, things: Tensor) -> list[tuple]:
    named = enumerate(labels.tolist())
    return [("pair", g) if things[label] else ("class", label) for g, label in named]


def _things_first(labels: Tensor, masks: Tensor, things: Tensor) -> Tensor:
    order = (~things[labels]).int().argsort(stable=True)
    return _numbered(masks[order], _keys(labels[order], things))


def _mixed_keys(labels: Tensor, masks: Tensor, things: Tensor) -> Tensor:
    return _numbered(masks, [number for _, number in _keys(labels, things)])


def _last_number(labels: Tensor, masks: Tensor, things: Tensor) -> Tensor:
    ids, keys = torch.zeros(masks.shape[1:], dtype=torch.int64), _keys(labels, things)
    last = {key: g + 1 for g, key in enumerate(keys)}
    for key, mask in zip(keys, masks):
        ids[mask] = last[key]
    return ids


def _number_anew(labels: Tensor, masks: Tensor, things: Tensor) -> Tensor:
    ids, numbers = torch.zeros(masks.shape[1:], dtype=torch.int64), {}
    for key, mask in zip(_keys(labels, things), masks):
        numbers[key] = len(numbers) + 1
        ids[mask] = numbers[key]
    return ids


_NUMBERINGS = [
    (_things_first, "panoptic: numbers follow the order of the list, things and stuff mixed"),
    (_mixed_keys, "panoptic: pair 1 and class 1 are not the same: tell their keys apart"),
    (
        _last_number,
        "panoptic: pairs of one stuff class share the number of the first, not the last",
    ),
    (_number_anew, "panoptic: has the stuff class a number already? Then it is to keep it"),
]


def _by_class(labels: Tensor, masks: Tensor, things: Tensor) -> Tensor:
    present = labels[things[labels]].unique().tolist()
    found = [masks[labels == k].any(0) for k in present]
    return torch.stack(found) if found else masks[:0]


# ---- 1.4 pieces

UP, LEFT = (-1, 0), (0, -1)
EIGHT = (UP, LEFT, (-1, -1), (-1, 1))


def _names(mask: Tensor, steps: tuple = (UP, LEFT), wrap: bool = False) -> Tensor:
    """Every pixel with a number that it shares with those of its piece."""
    names, (height, width) = torch.arange(mask.numel()).view_as(mask), mask.shape
    for y, x in mask.nonzero().tolist():
        for v, u in ((y + down, x + right) for down, right in steps):
            if (wrap or (v >= 0 and 0 <= u < width)) and mask[v % height, u % width]:
                names[names == names[y, x]] = names[v % height, u % width].item()
    return names


def _number(mask: Tensor, **options: object) -> int:
    return len(_names(mask, **options)[mask].unique())


def _never_merged(mask: Tensor) -> int:
    starts = mask.clone()
    starts[1:] &= ~mask[:-1]
    starts[:, 1:] &= ~mask[:, :-1]
    return int(starts.sum())


def _euler(mask: Tensor) -> int:
    """Pieces minus holes, from counts of pixels, of pairs side by side, and of full squares."""
    across, down = mask[:, 1:] & mask[:, :-1], mask[1:] & mask[:-1]
    squares = across[1:] & across[:-1]
    return int(mask.sum() - across.sum() - down.sum() + squares.sum())


def _few_rounds(mask: Tensor) -> int:
    names = torch.arange(1, mask.numel() + 1).view_as(mask) * mask
    for _ in range(sum(mask.shape)):
        wide = torch.nn.functional.pad(names, (1, 1, 1, 1))
        around = wide[:-2, 1:-1], wide[2:, 1:-1], wide[1:-1, :-2], wide[1:-1, 2:]
        names = torch.stack([names, *around]).amax(0) * mask
    return len(names[mask].unique())


PIECES = [
    Wrong(_euler, "a ring is one piece: your sum takes away one for each hole"),
    Wrong(_few_rounds, "a piece may wind about: go on until no name changes any more"),
    Wrong(lambda m: max(_number(m), 1), "an empty mask has no piece"),
    Wrong(lambda m: _number(m, steps=EIGHT), "pixels that share a corner only do not touch"),
    Wrong(
        lambda m: _number(m, wrap=True),
        "an index of -1 is the far side, but the picture ends at its border",
    ),
    Wrong(_never_merged, "follow a U: its arms begin as two pieces, and turn out to be one"),
    Wrong(lambda m: _number(m, steps=(LEFT,)), "a pixel touches the one above it, too"),
    Wrong(lambda m: _number(m, steps=(UP,)), "a pixel touches the one beside it, too"),
    Wrong(lambda m: _number(m) + bool((~m).any()), "what lies outside the mask is no piece"),
    Wrong(lambda m: _number(m) + _number(~m), "pieces of True are wanted, not those of False"),
    Wrong(lambda m: int(m.sum()), "that is the number of pixels"),
    Wrong(lambda m: int(m.any()), "a mask may have several pieces"),
]
