"""What usually goes wrong in the exercises of chapter 2, each mistake with its hint."""

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
        _stack(ignored=lambda ids, segments, masks: masks.any(0)),
        "the third answer is upside down: True is for void and crowds",
    ),
    Wrong(_stack_of_nothing, "there may be no segment, and stack needs one: compare all at once"),
    Wrong(_pixels_first, "segments first: (G, H, W), so that masks[0] is a mask"),
    Wrong(_without_ignored, "the pixels to ignore are missing: three things are asked for"),
]


# ---- 2.3 run lengths


def _edges(line):
    starts = (line[1:] != line[:-1]).nonzero().flatten() + 1
    return [0, *starts.tolist(), len(line)]


def _counts(line):
    edges = _edges(line)
    return [b - a for a, b in zip(edges, edges[1:])]


def _rle(line):
    return [0] * bool(line[0]) + _counts(line)


def _ones_as_pairs(mask):
    line = mask.T.flatten()
    edges = _edges(line)
    pairs = [[a + 1, b - a] for a, b in zip(edges, edges[1:]) if line[a]]
    return [number for pair in pairs for number in pair]


def _ones_only(mask):
    line = mask.T.flatten()
    edges = _edges(line)
    return [b - a for a, b in zip(edges, edges[1:]) if line[a]]


def _as_tuples(mask):
    line = mask.T.flatten()
    edges = _edges(line)
    return [(int(line[a]), b - a) for a, b in zip(edges, edges[1:])]


def _column_by_column(mask):
    return [count for column in mask.T for count in _rle(column)]


RUNS = [
    Wrong(
        lambda mask: _rle(mask.flatten()),
        "you go row by row: COCO goes down the first column, then down the second",
    ),
    Wrong(
        lambda mask: _counts(mask.T.flatten()),
        "the first number counts pixels outside: if the first pixel is inside, it is 0",
    ),
    Wrong(
        lambda mask: _rle(~mask.T.flatten()),
        "inside and outside are exchanged: the first number counts pixels outside",
    ),
    Wrong(
        lambda mask: [0, *_counts(mask.T.flatten())],
        "a 0 comes first only if the first pixel is inside",
    ),
    Wrong(
        _ones_as_pairs,
        "those are pairs of start and length, as Kaggle writes them: COCO writes lengths alone",
    ),
    Wrong(_ones_only, "runs outside of the mask are counted too, by turns with those inside"),
    Wrong(_as_tuples, "lengths alone: which is inside is told by the turn"),
    Wrong(_column_by_column, "a run goes on from the foot of a column to the head of the next"),
    Wrong(
        lambda mask: _rle(mask.T.flatten())[:-1],
        "the last run is missing: all numbers add up to H * W",
    ),
    Wrong(
        lambda mask: _edges(mask.T.flatten())[1:-1],
        "those are the places where runs begin: take the differences",
    ),
]


# ---- 2.4 a checker


def _report(change):
    """The exercise with a change of its report, a function of it and the inputs."""

    def mistake(ids, segments, categories):
        listed = [s["id"] for s in segments]
        drawn = set(ids.unique().tolist()) - {0}
        known = {c["id"] for c in categories}
        report = {
            "undrawn": sorted(set(listed) - drawn),
            "unlisted": sorted(drawn - set(listed)),
            "twice": sorted({n for n in listed if listed.count(n) > 1}),
            "unknown": sorted({s["id"] for s in segments if s["category_id"] not in known}),
        }
        return report | change(report, ids, segments, known)

    return mistake


def _void_unlisted(report, ids, segments, known):
    return {"unlisted": [0] * bool((ids == 0).any()) + report["unlisted"]}


def _categories_unknown(report, ids, segments, known):
    return {"unknown": sorted({s["category_id"] for s in segments} - known)}


def _past_the_end(report, ids, segments, known):
    return {"unknown": sorted({s["id"] for s in segments if s["category_id"] >= len(known)})}


def _each_time(report, ids, segments, known):
    listed = sorted(s["id"] for s in segments)
    return {"twice": [n for n in listed if listed.count(n) > 1]}


def _exactly_twice(report, ids, segments, known):
    listed = [s["id"] for s in segments]
    return {"twice": [n for n in report["twice"] if listed.count(n) == 2]}


FAULTS = [
    Wrong(
        _report(lambda r, *_: {"undrawn": r["unlisted"], "unlisted": r["undrawn"]}),
        "undrawn and unlisted are exchanged: the JSON file lists, the PNG draws",
    ),
    Wrong(_report(_void_unlisted), "0 is void: nobody lists it, and that is no fault"),
    Wrong(_report(_categories_unknown), "you report the categories: the ids of segments are asked"),
    Wrong(
        _report(_past_the_end),
        "category ids have gaps: a large one is no fault, one that no category has is",
    ),
    Wrong(_report(_each_time), "an id that is listed more than once is reported once"),
    Wrong(_report(_exactly_twice), "three times is more than once, too"),
    Wrong(
        _report(lambda r, *_: {key: set(value) for key, value in r.items()}),
        "the ids are right, but as sets: hand back sorted lists",
    ),
]
