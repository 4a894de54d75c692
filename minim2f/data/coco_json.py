"""COCO's JSON files: what panoptic and instance files share, and the image folder beside them."""

from __future__ import annotations

import json
import os
import reprlib
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from .coco_fields import IMAGE, WHOLE, Fields, sound_rows, unique_rows

KEYS = ("images", "annotations", "categories")


class Tables(NamedTuple):
    """The sound rows of a JSON file, with ids that occur once; categories sorted by id."""

    images: list[dict]
    annotations: list[dict]
    categories: list[dict]


def read_tables(
    path: Path, needs: dict[str, Fields], split: str | None, faults: list[str]
) -> Tables:
    """Reads a JSON file; rows at fault are left out.

    Args:
        path: the file.
        needs: the fields of "annotations", the one that must be unique first, and of "categories".
        split: keep the images whose "split" is this, if they have that field.
        faults: gets what is wrong with the rows.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not JSON, no COCO file of this kind, or has nothing of this split.
    """
    document, tables = read_json(path), {}
    if "segments_info" in needs["annotations"] and looks_like_instances(document["annotations"]):
        raise ValueError(
            f"{path} has annotations without segments_info: it looks like COCO instance JSON; call "
            "it instances.json"
        )
    for key, fields in ({"images": IMAGE} | needs).items():
        rows = sound_rows(document[key], f"{path}: {key}", fields, faults)
        field = next(iter(fields))
        tables[key] = unique_rows(rows, field, f"{path}: {field} in {key}", faults)
        if key == "annotations":
            faults += _orphan_faults(rows, field, document["images"], path)
    categories = sorted(tables["categories"], key=lambda category: category["id"])
    return Tables(_of_split(tables["images"], split, path), tables["annotations"], categories)


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
    if not isinstance(document, dict) or set(KEYS) - set(document):
        raise ValueError(f"{path} lacks images, annotations or categories: it is not a COCO file")
    for key in KEYS:
        if not isinstance(document[key], list):
            raise ValueError(f"{path}: {key!r} is {reprlib.repr(document[key])}, not a list")
    return document


def looks_like_instances(annotations: list) -> bool:
    """True for the annotations of COCO instance JSON: they have no segments_info."""
    keys = set().union(*(row for row in annotations if isinstance(row, dict)))
    return "segmentation" in keys and "segments_info" not in keys


def _orphan_faults(rows: list[dict], field: str, images: list, path: Path) -> list[str]:
    """A fault for each annotation of an image that the JSON file does not have."""
    stated = [image.get("id") for image in images if isinstance(image, dict)]
    stated = {id for id in stated if WHOLE.fits(id)}
    return [
        f"{path}: the annotation of {field} {row[field]} belongs to image {row['image_id']}, "
        "which is not in images; add it there, or correct the id"
        for row in rows
        if row["image_id"] not in stated
    ]


def _of_split(images: list[dict], split: str | None, path: Path) -> list[dict]:
    splits = {image["split"] for image in images if "split" in image}
    if split is None or not splits:
        return images
    if split not in splits:
        raise ValueError(f"{path} has no split {split!r}, only {sorted(splits)}")
    return [image for image in images if image.get("split") == split]


def size_faults(row: dict, image: Tensor) -> list[str]:
    """A fault if the JSON file states another width or height than the image (3, H, W) has."""
    height, width = image.shape[1:]
    stated = row.get("width", width), row.get("height", height)
    if stated == (width, height):
        return []
    return [
        f"the JSON file says that {row['file_name']} is {stated[0]} wide and {stated[1]} high, "
        f"the file is {width} x {height}; was it resized or turned afterwards?"
    ]


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

    Raises:
        FileNotFoundError: it is none of them.
    """
    for folder in folders:
        if any(os.path.isfile(folder / row["file_name"]) for row in rows[:20]):
            return folder
    for folder in folders[:-1]:
        if folder.is_dir():
            return folder
    wanted = ", ".join(map(str, folders))
    raise FileNotFoundError(f"{json_path}: its {what} are missing, looked for them in {wanted}")
