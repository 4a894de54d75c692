"""What is in a data set: pictures, classes, sizes; and what looks odd, though it is no fault."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from .images import orientation
from .open import find_splits, oddities_of_splits, open_dataset
from .sample import Dataset, Sample
from .subsets import image_path

VOID_NAME = re.compile(r"(void|unlabel+ed|ignored?|unknown|unassigned|none)\W*$", re.IGNORECASE)


@dataclass
class Survey:
    """A data set in numbers; `str()` of it is for people.

    Attributes:
        task: of the data set.
        categories: likewise.
        pictures: how many there are of each split.
        segments: by category id, how many segments, crowds included.
        pixels: by category id, how many pixels.
        void: share of the pixels that nobody labelled, 0 ... 1.
        per_picture: how many segments each picture has to train on.
        sizes: how many pictures there are of each (height, width).
        turned: how many pictures have an EXIF tag that turns or mirrors them.
        warnings: sentences on what looks odd.
    """

    task: str
    categories: list[dict]
    pictures: dict[str, int] = field(default_factory=dict)
    segments: Counter = field(default_factory=Counter)
    pixels: Counter = field(default_factory=Counter)
    void: float = 0.0
    per_picture: list[int] = field(default_factory=list)
    sizes: Counter = field(default_factory=Counter)
    turned: int = 0
    warnings: list[str] = field(default_factory=list)

    @property
    def never(self) -> list[str]:
        """The names of classes that never occur."""
        return [c["name"] for c in self.categories if not self.segments[c["id"]]]

    @property
    def most(self) -> int:
        """The most segments of a picture."""
        return max(self.per_picture, default=0)

    def __str__(self) -> str:
        total = len(self.per_picture)
        classes = counted(len(self.categories), "class", "classes")
        splits = ", ".join(f"{name} {count}" for name, count in self.pictures.items())
        lines = [f"{counted(total, 'picture')} ({splits}), {classes}, {self.task}"]
        if total:
            mean = sum(self.per_picture) / total
            lines.append(f"segments of a picture: {mean:.1f} on average, {self.most} at most")
            lines.append(f"size (height x width): {_sizes(self.sizes)}")
            lines.append(f"void: {self.void:.1%} of the pixels")
            if self.turned:
                are = "is" if self.turned == 1 else "are"
                lines.append(f"{counted(self.turned, 'picture')} {are} turned by an EXIF tag")
            lines.append(f"{'class':28} {'segments':>9} {'pixels':>12}")
            for c in self.categories:
                numbers = f"{self.segments[c['id']]:9} {self.pixels[c['id']]:12}"
                lines.append(f"{c['name'][:28]:28} {numbers}")
        return "\n".join(lines + [f"warning: {warning}" for warning in self.warnings])


def counted(number: int, word: str, words: str | None = None) -> str:
    """A number and what there are so many of: "1 picture", "2 pictures".

    Args:
        number: how many.
        word, words: for one and for others; an s is added unless the latter is given.
    """
    return f"{number} {word if number == 1 else words or word + 's'}"


def _sizes(sizes: Counter) -> str:
    """The only size; or of those that occur the smallest, the largest and the most frequent."""
    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    small, large = (f"{height} x {width}" for height, width in (ordered[0], ordered[-1]))
    if len(sizes) == 1:
        return small
    (height, width), times = sizes.most_common(1)[0]
    most = f", most often {height} x {width}" if len(sizes) > 2 and times > 1 else ""
    return f"{len(sizes)} sizes, from {small} to {large}{most}"


def survey(
    data: Dataset | str | os.PathLike, num_queries: int | None = None, **options: object
) -> Survey:
    """Reads every picture of a data set that has no faults, and counts.

    Args:
        data: a data set, or what `open_dataset` takes; of a path, every split is counted.
        num_queries: of the model that is to learn; more segments than these are worth a warning.
        options: for a path, those of `open_dataset`.

    Raises:
        FileNotFoundError, ValueError: as `open_dataset` and as reading a picture.
    """
    parts = dict(_parts(data, options))
    first = next(iter(parts.values()))
    found = Survey(first.task, first.categories)
    known = isinstance(data, (str, os.PathLike))
    tally = _Tally(int(bool(options.get("zero_is_void"))) if known else None)
    for name, dataset in parts.items():
        found.pictures[name] = len(dataset)
        for index in range(len(dataset)):
            path = image_path(dataset, index)
            found.turned += path is not None and orientation(path) != 1
            _count(found, tally, dataset[index])
    total = sum(height * width * n for (height, width), n in found.sizes.items())
    found.void = tally.void / total if total else 0.0
    found.warnings = list(_warnings(found, tally, num_queries))
    if known:
        found.warnings += oddities_of_splits(data, **_places(options))
    return found


def _parts(data: Dataset | str | os.PathLike, options: dict) -> Iterator[tuple[str, Dataset]]:
    if not isinstance(data, (str, os.PathLike)):
        yield getattr(data, "name", "all"), data
        return
    for split in find_splits(data, **_places(options)) or [None]:
        yield split or "all", open_dataset(data, split, **options)


def _places(options: dict) -> dict:
    return {key: options[key] for key in ("images", "labels") if key in options}


@dataclass
class _Tally:
    """What is counted for the warnings alone."""

    first: int | None = None  # the number in label maps of the first class, where that is known
    void: int = 0
    with_first: int = 0  # pictures in which the first class occurs
    file_names: Counter = field(default_factory=Counter)


def _count(found: Survey, tally: _Tally, sample: Sample) -> None:
    found.sizes[tuple(sample.ids.shape)] += 1
    found.per_picture.append(len(sample.labels))
    tally.file_names[sample.file_name] += 1
    tally.void += int((sample.ids == 0).sum())
    for segment, mask in zip(sample.segments, sample.segment_masks(), strict=True):
        found.segments[segment["category_id"]] += 1
        found.pixels[segment["category_id"]] += int(torch.count_nonzero(mask))
    first = found.categories[0]["id"] if found.categories else None
    tally.with_first += any(segment["category_id"] == first for segment in sample.segments)


def _warnings(found: Survey, tally: _Tally, num_queries: int | None) -> Iterator[str]:
    if not found.per_picture:
        return
    if not any(found.segments.values()):
        yield "no picture has a segment: everything is void, and there is nothing to learn"
        return
    yield from _about_classes(found)
    if found.task == "semantic":
        yield from _about_numbers(found, tally)
    above = int(np.sum(np.array(found.per_picture) > (num_queries or np.inf)))
    if above:
        yield (
            f"{above} of {len(found.per_picture)} pictures have more segments than the model has "
            f"queries ({num_queries}); the most are {found.most}, and those beyond are never "
            "learned: give it more queries"
        )


def _about_classes(found: Survey) -> Iterator[str]:
    names = Counter(category["name"] for category in found.categories)
    if twice := [name for name, times in names.items() if times > 1]:
        yield f"classes of the same name: {_some(twice)}; the model takes them for different ones"
    groups = {c.get("supercategory") for c in found.categories}
    roots = [name for name in found.never if name in groups and len(found.categories) > 1]
    if roots:
        yield f"{_some(roots)} never occurs and only groups the others (Roboflow's root class)"
    if others := [name for name in found.never if name not in roots]:
        yield f"{len(others)} of {len(found.categories)} classes never occur: {_some(others)}"


def _about_numbers(found: Survey, tally: _Tally) -> Iterator[str]:
    """Label maps whose numbers seem to mean something else than classes 0, 1, ... and 255, void."""
    occurring = [c for c in found.categories if found.segments[c["id"]]]
    if len(occurring) == 1:
        only = f"{occurring[0]['name']!r} is the only class that occurs"
        if tally.void:
            yield (
                f"{only}, the rest is void: with it alone any model is right. In masks of 0 and "
                "255 the object is void, unless --binary (binary=True in Python) makes it a class"
            )
        else:
            yield f"{only}, and it is everywhere: there is nothing to tell apart"
        return
    first = found.categories[0]
    for category in occurring:
        if VOID_NAME.match(category["name"]):
            number = "N" if tally.first is None else category["id"] + tally.first
            yield (
                f"{category['name']!r} is learned as a class; if it means that nobody labelled a "
                f"pixel, its number is to be void: --ignore {number} (ignore={number} in Python)"
            )
    total = sum(found.pixels.values())
    rare = found.pixels[first["id"]] < 0.2 * total
    common = tally.with_first > 0.5 * len(found.per_picture)
    if not tally.void and rare and common and len(occurring) > 2:
        yield (
            f"no pixel is void, and many pictures have a little of number 0, {first['name']!r}: "
            "the labels may be shifted by one. If 0 means 'no label' and 1 is the first class, say "
            "--zero-is-void (zero_is_void=True in Python)"
        )


def _some(names: list[str], shown: int = 8) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(map(repr, names[:shown])) + more
