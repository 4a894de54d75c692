"""What usually goes wrong with the bytes and targets of chapter 2, each mistake with its hint."""

from __future__ import annotations

import torch

from minim2f.book.exercises import Wrong

# ---- 2.1 the bytes of a panoptic PNG


def _colors(ids, base=256):
    return torch.stack([ids % base, ids // base % base, ids // base**2], -1)


def _as_bytes(colors):
    return colors.to(torch.uint8).numpy().tobytes()


BYTES = [
    Wrong(
        lambda ids: _as_bytes(_colors(ids).flip(-1)),
        "the bytes come in the order red, green, blue: red holds the smallest part of the id",
    ),
    Wrong(
        lambda ids: _as_bytes(_colors(ids, base=255)),
        "a byte holds 256 values, 0 to 255: divide by 256",
    ),
    Wrong(
        lambda ids: _as_bytes(_colors(ids).permute(2, 0, 1).contiguous()),
        "those are three planes, all red bytes first: each pixel's three bytes stand together",
    ),
    Wrong(
        lambda ids: _as_bytes(_colors(ids).transpose(0, 1).contiguous()),
        "you go column by column: a PNG is written row by row",
    ),
    Wrong(
        lambda ids: _colors(ids).numpy().tobytes(),
        "each of your numbers takes eight bytes, as int64 does: make them uint8 first",
    ),
    Wrong(
        lambda ids: _colors(ids).int().numpy().tobytes(),
        "each of your numbers takes four bytes, as int32 does: make them uint8 first",
    ),
    Wrong(
        lambda ids: ids.to(torch.int32).numpy().tobytes(),
        "the fourth byte of each number is too much: a pixel has three",
    ),
    Wrong(
        lambda ids: _colors(ids).to(torch.uint8),
        "the colours are right; now hand back their bytes: .numpy().tobytes()",
    ),
    Wrong(
        lambda ids: _as_bytes(ids[..., None].expand(-1, -1, 3)),
        "one byte cannot hold an id of 256 or more: part it into three",
    ),
]


# ---- 2.2 the target stack


def _stack(
    keep=lambda s: not s["iscrowd"],
    label=lambda s, ids: sorted(ids).index(s["category_id"]),
    ignored=lambda ids, segments, masks: ~masks.any(0),
    order=lambda kept: kept,
):
    """The exercise with one of its steps replaced."""

    def mistake(ids, segments, categories):
        kept = order([s for s in segments if keep(s)])
        labels = [label(s, [c["id"] for c in categories]) for s in kept]
        masks = ids == torch.tensor([s["id"] for s in kept])[:, None, None]
        return labels, masks, ignored(ids, segments, masks)

    return mistake


def _crowds(ids, segments):
    crowds = torch.tensor([s["id"] for s in segments if s["iscrowd"]], dtype=torch.int64)
    return torch.isin(ids, crowds)


def _void_as_class_0(ids, segments, categories):
    labels, masks, ignored = _stack()(ids, segments, categories)
    return [0, *(k + 1 for k in labels)], torch.cat([(ids == 0)[None], masks]), ignored


def _void_as_a_segment(ids, segments, categories):
    labels, masks, ignored = _stack()(ids, segments, categories)
    return labels, torch.cat([masks, (ids == 0)[None]]), ignored


def _all_of_a_class(ids, segments, categories):
    labels, masks, ignored = _stack()(ids, segments, categories)
    kinds = sorted(set(labels))
    own = [masks[[k == kind for k in labels]].any(0) for kind in kinds]
    return kinds, torch.stack(own) if own else masks, ignored


def _stack_of_nothing(ids, segments, categories):
    labels, masks, ignored = _stack()(ids, segments, categories)
    return labels, torch.stack(list(masks)), ignored


def _pixels_first(ids, segments, categories):
    labels, masks, ignored = _stack()(ids, segments, categories)
    return labels, masks.permute(1, 2, 0), ignored


def _without_ignored(ids, segments, categories):
    return _stack()(ids, segments, categories)[:2]


def _things_only(ids, segments, categories):
    things = {c["id"] for c in categories if c["isthing"]}
    segments = [s for s in segments if s["category_id"] in things]
    return _stack()(ids, segments, categories)


def _by_class(ids, segments, categories):
    return _stack()(ids, sorted(segments, key=lambda s: s["category_id"]), categories)


def _with_a_pixel_only(ids, segments, categories):
    drawn = ids.unique().tolist()
    return _stack()(ids, [s for s in segments if s["id"] in drawn], categories)


TARGETS = [
    Wrong(
        _stack(keep=lambda s: True, ignored=lambda ids, s, m: (ids == 0) | _crowds(ids, s)),
        "a crowd is many objects in one mask: the model is not trained on it",
    ),
    Wrong(
        _stack(keep=lambda s: True),
        "the crowds are among your masks, and missing among the pixels to ignore",
    ),
    Wrong(_stack(keep=lambda s: s["iscrowd"]), "you keep the crowds and drop the others"),
    Wrong(
        _stack(label=lambda s, ids: s["category_id"]),
        "a class is a place in the list of categories, 0, 1, ...: COCO's ids have gaps",
    ),
    Wrong(
        _stack(label=lambda s, ids: ids.index(s["category_id"])),
        "the categories may come in any order: sort them by id, then take the place",
    ),
    Wrong(
        _stack(label=lambda s, ids: sorted(ids).index(s["category_id"]) + 1),
        "classes are counted from 0",
    ),
    Wrong(
        _stack(order=lambda kept: sorted(kept, key=lambda s: s["id"])),
        "keep the order of the segments: the JSON file's, not that of the ids",
    ),
    Wrong(
        _by_class,
        "keep the order of the segments: the JSON file's, not that of the classes",
    ),
    Wrong(_things_only, "stuff is a target too: only crowds are left out"),
    Wrong(
        _with_a_pixel_only,
        "a listed segment without a pixel is missing: it keeps its label and an empty mask",
    ),
    Wrong(_void_as_class_0, "void is no class: it has no mask and no label"),
    Wrong(_void_as_a_segment, "void is no segment: it has no mask, and is ignored"),
    Wrong(_all_of_a_class, "one mask for each segment, not for each class: two cars are two masks"),
    Wrong(
        _stack(ignored=lambda ids, segments, masks: ids == 0),
        "pixels of a crowd are ignored too, not only void",
    ),
    Wrong(
        _stack(ignored=lambda ids, segments, masks: _crowds(ids, segments)),
        "void pixels are ignored too, not only those of crowds",
    ),
    Wrong(
        _stack(ignored=lambda ids, segments, masks: (ids == 0) | _crowds(ids, segments)),
        "an id that nobody lists is in no mask, so its pixels are ignored like void",
    ),
    Wrong(
        _stack(ignored=lambda ids, segments, masks: torch.zeros_like(ids, dtype=torch.bool)),
        "you ignore nothing: void and crowds are to be True in the third answer",
    ),
    Wrong(
        _stack(ignored=lambda ids, segments, masks: masks.any(0)),
        "the third answer is upside down: True is for void and crowds",
    ),
    Wrong(_stack_of_nothing, "there may be no segment, and stack needs one: compare all at once"),
    Wrong(_pixels_first, "segments first: (G, H, W), so that masks[0] is a mask"),
    Wrong(_without_ignored, "the pixels to ignore are missing: three things are asked for"),
]
