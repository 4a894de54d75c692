"""COCO's JSON files, read with suspicion: the part that panoptic and instance files share.

Whoever reads tells a `Report` of every fault. That of a data set is `stop`, which raises the first
one; `minim2f.data.check` hands in another that collects them all, so every check is written once.
"""

from __future__ import annotations

import json
import os
import reprlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from torch import Tensor

Report = Callable[[Exception], None]
T = TypeVar("T")


def stop(fault: Exception) -> None:
    """The report of who wants no faulty data: raises the first fault."""
    raise fault


def at(place: str, report: Report) -> Report:
    """The same report, with the place put before each fault."""

    def placed(fault: Exception) -> None:
        kind = FileNotFoundError if isinstance(fault, FileNotFoundError) else ValueError
        report(kind(f"{place}: {fault}"))

    return placed


def attempt(report: Report, read: Callable[[Path], T], path: Path) -> T | None:
    """What `read` makes of the file, or None if the report did not stop at its fault."""
    try:
        return read(path)
    except (OSError, ValueError) as fault:
        report(fault)
        return None


class Kind(NamedTuple):
    """What the value of a field must be, in words and as a test."""

    words: str
    fits: Callable[[Any], bool]


WHOLE = Kind("a whole number", lambda value: type(value) is int and abs(value) < 2**63)
NUMBER = Kind("a number", lambda value: type(value) in (int, float) and abs(value) < 2**63)
FLAG = Kind("0 or 1", lambda value: value in (0, 1))
TEXT = Kind("text", lambda value: isinstance(value, str))
LIST = Kind("a list", lambda value: isinstance(value, list))
SHAPE = Kind("a list of polygons, or RLE", lambda value: isinstance(value, (list, dict)))
BOX = Kind(
    "[x, y, width, height]",
    lambda value: isinstance(value, list) and len(value) == 4 and all(map(NUMBER.fits, value)),
)

# The fields of a row; those with "?" may be absent.
Fields = dict[str, Kind]
IMAGE = {"id": WHOLE, "file_name": TEXT, "width?": WHOLE, "height?": WHOLE, "split?": TEXT}
SEGMENT = {"id": WHOLE, "category_id": WHOLE, "iscrowd?": FLAG, "area?": NUMBER, "bbox?": BOX}
CATEGORY = {"id": WHOLE, "name": TEXT}


def sound_rows(rows: list, where: str, fields: Fields, report: Report) -> list[dict]:
    """The rows that have all they need; the others are reported and left out.

    Args:
        rows: what the JSON file has there, anything.
        where: for messages: the file and the key.
        fields: what a row needs.
        report: told of each field that is missing or of another kind.
    """
    sound = []
    for number, row in enumerate(rows):
        place = f"{where}[{number}]"
        if not isinstance(row, dict):
            report(ValueError(f"{place} is {reprlib.repr(row)}; it must be an object, {{...}}"))
            continue
        if WHOLE.fits(row.get("id")):
            place += f" (id {row['id']})"
        faults = [fault for field in fields if (fault := _fault(row, field, fields[field]))]
        for fault in faults:
            report(ValueError(f"{place} {fault}"))
        if not faults:
            sound.append(row)
    return sound


def _fault(row: dict, field: str, kind: Kind) -> str | None:
    name = field.rstrip("?")
    if name not in row:
        return None if name != field else f"has no {name!r}; give it one, {kind.words}"
    if not kind.fits(row[name]):
        return f"has {name!r}: {reprlib.repr(row[name])}; it must be {kind.words}"
    return None


def unique(rows: list[dict], field: str, what: str, report: Report) -> list[dict]:
    """The rows without those whose field repeats an earlier one; these are reported."""
    times = Counter(row[field] for row in rows)
    repeated = [id for id, count in times.items() if count > 1]
    for k in range(0, len(repeated), 5):
        few = repeated[k : k + 5]
        report(ValueError(f"{what}: {few} occur more than once, and must be unique"))
    first: dict[int, dict] = {}
    for row in rows:
        first.setdefault(row[field], row)
    return list(first.values())


def known(rows: list[dict], categories: list[dict], what: str, report: Report) -> list[dict]:
    """The segments or annotations whose category exists; the others are reported."""
    ids = {category["id"] for category in categories}
    for row in rows:
        if row["category_id"] not in ids:
            report(
                ValueError(
                    f"{what} [{row['id']}] has category id [{row['category_id']}], which is not "
                    f"among the {len(ids)} categories; add it to them, or remove it"
                )
            )
    return [row for row in rows if row["category_id"] in ids]


def same_size(row: dict, image: Tensor, report: Report) -> None:
    """Compares the width and height that the JSON file states with those of the image."""
    height, width = image.shape[1:]
    stated = row.get("width", width), row.get("height", height)
    if stated != (width, height):
        report(
            ValueError(
                f"the JSON file says that {row['file_name']} is {stated[0]} wide and {stated[1]} "
                f"high, the file is {width} x {height}; was it resized or turned afterwards?"
            )
        )


def read_json(path: Path) -> dict:
    """The JSON file as a dict with the lists images, annotations and categories.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not JSON, or no COCO file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such annotation file")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}); was its download interrupted?") from error
    if not isinstance(document, dict) or {"images", "annotations", "categories"} - set(document):
        raise ValueError(f"{path} lacks images, annotations or categories: it is not a COCO file")
    for key in ("images", "annotations", "categories"):
        if not isinstance(document[key], list):
            raise ValueError(f"{path}: {key!r} is {reprlib.repr(document[key])}, not a list")
    return document


def looks_like_instances(annotations: list) -> bool:
    """True for the annotations of COCO instance JSON: they have no segments_info."""
    keys = set().union(*(row for row in annotations if isinstance(row, dict)))
    return "segmentation" in keys and "segments_info" not in keys


class Tables(NamedTuple):
    """The sound rows of a JSON file, with ids that occur once."""

    images: list[dict]
    annotations: list[dict]
    categories: list[dict]


def read_tables(path: Path, needs: dict[str, Fields], split: str | None, report: Report) -> Tables:
    """Reads a JSON file; what is wrong with its rows is reported, and they are left out.

    Args:
        path: the file.
        needs: the fields of "annotations", the one that must be unique first, and of "categories".
        split: keep the images whose "split" is this, if they have that field.
        report: told of every faulty row.
    """
    document, tables = read_json(path), {}
    if "segments_info" in needs["annotations"] and looks_like_instances(document["annotations"]):
        raise ValueError(
            f"{path} has annotations without segments_info: it looks like COCO instance JSON; call "
            "it instances.json"
        )
    for key, fields in ({"images": IMAGE} | needs).items():
        rows = sound_rows(document[key], f"{path}: {key}", fields, report)
        field = next(iter(fields))
        tables[key] = unique(rows, field, f"{path}: {field} in {key}", report)
        if key == "annotations":
            _find_orphans(rows, field, document["images"], path, report)
    categories = sorted(tables["categories"], key=lambda category: category["id"])
    return Tables(_of_split(tables["images"], split, path), tables["annotations"], categories)


def _find_orphans(rows: list[dict], field: str, images: list, path: Path, report: Report) -> None:
    stated = [image.get("id") for image in images if isinstance(image, dict)]
    stated = {id for id in stated if WHOLE.fits(id)}
    for row in rows:
        if row["image_id"] not in stated:
            report(
                ValueError(
                    f"{path}: the annotation of {field} {row[field]} belongs to image "
                    f"{row['image_id']}, which is not in images; add it there, or correct the id"
                )
            )


def _of_split(images: list[dict], split: str | None, path: Path) -> list[dict]:
    splits = {image["split"] for image in images if "split" in image}
    if split is None or not splits:
        return images
    if split not in splits:
        raise ValueError(f"{path} has no split {split!r}, only {sorted(splits)}")
    return [image for image in images if image.get("split") == split]


def find_images(json_path: Path, images: list[dict]) -> Path:
    """The image folder of a JSON file: `images/` beside it, COCO's `val2017/`, or its own folder.

    Raises:
        FileNotFoundError: it is none of these.
    """
    split = json_path.stem.rpartition("_")[2]  # of panoptic_val2017.json
    folders = [json_path.parent / "images", json_path.parent.parent / split, json_path.parent]
    return find_folder(json_path, "images", folders, images)


def find_folder(json_path: Path, what: str, folders: list[Path], rows: list[dict]) -> Path:
    """The first folder that has a file of the first rows, or else the first that exists.

    The last folder is the JSON file's own. It always exists, so only a file found there counts.
    """
    for folder in folders:
        if any(os.path.isfile(folder / row["file_name"]) for row in rows[:20]):
            return folder
    for folder in folders[:-1]:
        if folder.is_dir():
            return folder
    wanted = ", ".join(map(str, folders))
    raise FileNotFoundError(f"{json_path}: its {what} are missing, looked for them in {wanted}")
