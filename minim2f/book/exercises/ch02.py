"""Exercises of chapter 2, COCO's format: colours, the target stack, run lengths, own data."""

from __future__ import annotations

import torch
from torch import Tensor

from minim2f.book.exercises import Exercise, ch02_wrong, ch02_wrong_lists, integer

# ---- 2.1 the bytes of a panoptic PNG


def to_bytes(ids: Tensor) -> bytes:
    """The pixels of a panoptic PNG as bytes: red, green and blue of each, row by row.

    Args:
        ids: (H, W) int64, 0 ... 2**24 - 1.
    """
    colors = torch.stack([ids % 256, ids // 256 % 256, ids // 65536], -1)
    return colors.to(torch.uint8).numpy().tobytes()


def _ids(g: torch.Generator) -> tuple[Tensor]:
    height, width = integer(g, 1, 4), integer(g, 1, 4)
    return (torch.randint(0, 2**24, (height, width), generator=g),)


_BYTES_CORNERS = [  # the small ones come first: their bytes can be shown
    (torch.tensor([[70000]]),),
    (torch.tensor([[255, 256]]),),
    (torch.tensor([[65535, 65536]]),),
    (torch.tensor([[0, 2**24 - 1]]),),
    (torch.tensor([[1000, 7], [263, 70000]]),),
]


# ---- 2.2 the target stack


def targets(ids: Tensor, segments: list[dict], categories: list[dict]) -> tuple:
    """What a model is trained on, and the pixels on which metrics do not judge it.

    Args:
        ids: (H, W) int64; 0 is void.
        segments: dicts with id, category_id and iscrowd.
        categories: dicts with an id, in any order.

    Returns:
        The classes of the G segments that are no crowds, as a list; their masks, (G, H, W) bool,
        an empty one where a segment has no pixel; and the pixels that none of them holds,
        (H, W) bool: void, crowds, and ids that nobody lists.
    """
    order = sorted(category["id"] for category in categories)
    kept = [segment for segment in segments if not segment["iscrowd"]]
    labels = [order.index(segment["category_id"]) for segment in kept]
    numbers = torch.tensor([segment["id"] for segment in kept])
    masks = ids == numbers[:, None, None]
    return labels, masks, ~masks.any(0)


def _truth(g: torch.Generator) -> tuple[Tensor, list[dict], list[dict]]:
    categories = [{"id": 3 * k + integer(g, 1, 3), "isthing": k % 2} for k in range(4)]
    categories = [categories[k] for k in torch.randperm(4, generator=g).tolist()]
    count = integer(g, 0, 5)
    numbers = (torch.randperm(300, generator=g)[:count] + 1).tolist()
    places = torch.randint(0, count + 1, (integer(g, 2, 5), integer(g, 6, 9)), generator=g)
    places.view(-1)[:count] = torch.arange(1, count + 1)  # each is drawn somewhere
    return torch.tensor([0, *numbers])[places], _segments(g, numbers, categories), categories


def _segments(g: torch.Generator, numbers: list[int], categories: list[dict]) -> list[dict]:
    return [
        {
            "id": number,
            "category_id": categories[integer(g, 0, len(categories) - 1)]["id"],
            "iscrowd": int(integer(g, 0, 3) == 0),
        }
        for number in numbers
    ]


_TWO = [{"id": 200, "isthing": 0}, {"id": 7, "isthing": 1}]
_TARGET_CORNERS = [
    (
        torch.tensor([[9, 0, 5], [4, 4, 5]]),
        [
            {"id": 9, "category_id": 200, "iscrowd": 0},
            {"id": 5, "category_id": 7, "iscrowd": 1},
            {"id": 4, "category_id": 7, "iscrowd": 0},
        ],
        _TWO,
    ),
    (torch.tensor([[0, 0, 0]]), [], _TWO),
    (torch.tensor([[9, 0], [9, 9]]), [{"id": 9, "category_id": 7, "iscrowd": 1}], _TWO),
    (torch.tensor([[9, 0], [4, 9]]), [{"id": 9, "category_id": 7, "iscrowd": 0}], _TWO),
    (  # one without a pixel
        torch.tensor([[9, 0], [9, 9]]),
        [
            {"id": 5, "category_id": 200, "iscrowd": 0},
            {"id": 9, "category_id": 7, "iscrowd": 0},
        ],
        _TWO,
    ),
]


# ---- 2.3 run lengths


def runs(mask: Tensor) -> list[int]:
    """The run lengths of a mask, as COCO counts them.

    Args:
        mask: (H, W) bool; H and W are at least 1.

    Returns:
        Lengths of runs along the columns, one column after another. The first counts pixels
        outside of the mask, and may be 0.
    """
    line = mask.T.flatten()
    starts = (line[1:] != line[:-1]).nonzero().flatten() + 1
    edges = [0, *starts.tolist(), len(line)]
    counts = [b - a for a, b in zip(edges, edges[1:])]
    return [0] * bool(line[0]) + counts


def _mask(g: torch.Generator) -> tuple[Tensor]:
    shape = integer(g, 1, 5), integer(g, 1, 6)
    return (torch.rand(shape, generator=g) < (0.2, 0.5, 0.8)[integer(g, 0, 2)],)


_RUNS_CORNERS = [
    (torch.tensor([[False, True, True], [False, True, False]]),),
    (torch.zeros(2, 3, dtype=torch.bool),),
    (torch.ones(2, 3, dtype=torch.bool),),
    (torch.tensor([[True, False, True]]),),
    (torch.tensor([[False, True]]),),
]


# ---- 2.4 a checker


def faults(ids: Tensor, segments: list[dict], categories: list[dict]) -> dict[str, list[int]]:
    """Where a PNG, its segments and the categories contradict each other.

    Args:
        ids: (H, W) int64, what the PNG has; 0 is void.
        segments: dicts with id (1 or more) and category_id, as the JSON file lists them; crowds
            among them.
        categories: dicts with an id.

    Returns:
        Ids of segments in ascending order, each once: "undrawn", listed and in no pixel;
        "unlisted", drawn and not listed; "twice", listed more than once; "unknown", listed with a
        category that does not exist.
    """
    listed = [segment["id"] for segment in segments]
    drawn = set(ids.unique().tolist()) - {0}
    known = {category["id"] for category in categories}
    return {
        "undrawn": sorted(set(listed) - drawn),
        "unlisted": sorted(drawn - set(listed)),
        "twice": sorted({number for number in listed if listed.count(number) > 1}),
        "unknown": sorted({s["id"] for s in segments if s["category_id"] not in known}),
    }


def _faulty(g: torch.Generator) -> tuple[Tensor, list[dict], list[dict]]:
    ids, segments, categories = _truth(g)
    for _ in range(integer(g, 0, 2)):  # listed, and not drawn, or drawn by chance
        segments.append({"id": integer(g, 1, 320), "category_id": 4, "iscrowd": 0})
    segments = [s for s in segments if integer(g, 0, 4)]
    segments += [dict(s) for s in segments if integer(g, 0, 3) == 0]
    for segment in segments:
        if integer(g, 0, 3) == 0:
            segment["category_id"] = integer(g, 0, 16)
    return ids, segments, categories


def _listed(*pairs: tuple[int, int], crowd: int = 0) -> list[dict]:
    return [{"id": i, "category_id": c, "iscrowd": crowd} for i, c in pairs]


_FAULT_CORNERS = [
    (torch.tensor([[0, 0]]), [], _TWO),
    (torch.tensor([[1, 0, 300, 20]]), [], _TWO),
    (torch.tensor([[0, 0]]), _listed((1, 7), (300, 7), (20, 200)), _TWO),
    (torch.tensor([[8, 8]]), _listed((8, 7), (8, 7), (8, 200)), _TWO),
    (torch.tensor([[8, 6]]), _listed((8, 1), (6, 0)), _TWO),
    (torch.tensor([[8, 0]]), _listed((8, 99), (6, 99), crowd=1), _TWO),
    (torch.tensor([[8, 6]]), _listed((8, 99), (6, 99), (8, 99)), _TWO),
]


EXERCISES = [
    Exercise("2.1", to_bytes, _ids, ch02_wrong.BYTES, _BYTES_CORNERS),
    Exercise("2.2", targets, _truth, ch02_wrong.TARGETS, _TARGET_CORNERS),
    Exercise("2.3", runs, _mask, ch02_wrong_lists.RUNS, _RUNS_CORNERS),
    Exercise("2.4", faults, _faulty, ch02_wrong_lists.FAULTS, _FAULT_CORNERS),
]
