"""What usually goes wrong with the lists of chapter 2, run lengths and faults, with its hints."""

from __future__ import annotations

from minim2f.book.exercises import Wrong

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


def _one_too_early(mask):
    line = mask.T.flatten()
    places = (line[1:] != line[:-1]).nonzero().flatten().tolist()
    edges = [0, *places, len(line)]
    return [0] * bool(line[0]) + [b - a for a, b in zip(edges, edges[1:])]


def _one_too_early_without_0(mask):
    counts = _one_too_early(mask)
    return counts[1:] if mask[0, 0] else counts


def _each_pixel_a_run(mask):
    line = mask.T.flatten()
    return [0] * bool(line[0]) + [1] * len(line)


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
        lambda mask: [0, *_rle(mask.T.flatten())],
        "a 0 comes first only if the first pixel is inside, and then once",
    ),
    Wrong(
        _one_too_early,
        "your runs begin one pixel too early: line[1:] != line[:-1] has at place k whether pixel "
        "k + 1 differs",
    ),
    Wrong(
        _one_too_early_without_0,
        "your runs begin one pixel too early: line[1:] != line[:-1] has at place k whether pixel "
        "k + 1 differs; and 0 comes first if the first pixel is inside",
    ),
    Wrong(
        _each_pixel_a_run,
        "you count each pixel as a run: a run is as long as its pixels stay the same",
    ),
    Wrong(
        lambda mask: [1] * mask.numel(),
        "you count each pixel as a run: a run goes on as long as its pixels stay the same",
    ),
    Wrong(
        _ones_as_pairs,
        "those are pairs of start and length, as Kaggle writes them: COCO writes lengths alone",
    ),
    Wrong(_ones_only, "runs outside of the mask are counted too, by turns with those inside"),
    Wrong(_as_tuples, "lengths alone: which is inside is told by the turn"),
    Wrong(
        lambda mask: [0] + [1] * mask.numel(),
        "you count each pixel as a run of 1: a run goes on as long as its pixels stay the same",
    ),
    Wrong(
        lambda mask: mask.T.flatten().int().tolist(),
        "those are the pixels themselves: count how many alike follow each other",
    ),
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


def _descending(report, ids, segments, known):
    return {key: numbers[::-1] for key, numbers in report.items()}


def _undrawn_as_listed(report, ids, segments, known):
    return {"undrawn": [s["id"] for s in segments if s["id"] in report["undrawn"]]}


def _undrawn_once_as_listed(report, ids, segments, known):
    listed = dict.fromkeys(segment["id"] for segment in segments)
    return {"undrawn": [number for number in listed if number in report["undrawn"]]}


def _unknown_each_time(report, ids, segments, known):
    return {"unknown": sorted(s["id"] for s in segments if s["category_id"] not in known)}


def _unknown_as_listed(report, ids, segments, known):
    return {"unknown": [s["id"] for s in segments if s["category_id"] not in known]}


def _without_crowds(ids, segments, categories):
    segments = [s for s in segments if not s["iscrowd"]]
    return _report(lambda *_: {})(ids, segments, categories)


def _set_of_tensors(report, ids, segments, known):
    """A tensor in a set equals nothing else, so subtracting takes nothing away."""
    drawn = ids.unique().tolist()
    return {"undrawn": sorted({s["id"] for s in segments}), "unlisted": drawn}


def _set_of_tensors_without_0(report, ids, segments, known):
    changed = _set_of_tensors(report, ids, segments, known)
    return changed | {"unlisted": [number for number in changed["unlisted"] if number]}


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
    Wrong(_report(_descending), "the ids are right; now in ascending order"),
    Wrong(_report(_undrawn_as_listed), '"undrawn", too, is sorted, and holds each id once'),
    Wrong(_report(_undrawn_once_as_listed), '"undrawn" comes in the order of the list: sort it'),
    Wrong(_report(_unknown_each_time), "an id of an unknown category is reported once"),
    Wrong(_report(_unknown_as_listed), '"unknown", too, is sorted, and holds each id once'),
    Wrong(_without_crowds, "crowds are listed and drawn like other segments: check them too"),
    Wrong(
        _report(_set_of_tensors),
        "nothing was subtracted: a set compares tensors by identity; .tolist() gives numbers",
    ),
    Wrong(
        _report(_set_of_tensors_without_0),
        "nothing was subtracted: a set compares tensors by identity, numbers by value",
    ),
]
