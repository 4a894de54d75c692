"""COCO's JSON files: what panoptic and instance files share, and the image folder beside them."""

from __future__ import annotations

import json
import os
import reprlib
from functools import partial
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from .coco_fields import IMAGE, WHOLE, Fields, sound_rows, tidy, unique_rows
from .faults import read_or_collect
from .forms import PICTURES, choose_split, folders_of, refuse_unsplit, split_in_name
from .images import read_labelled_image

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
    document, tables = tidy(read_json(path)), {}
    _refuse_without_masks(document, path)
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
    if not document["categories"]:
        faults.append(f"{path} has no categories: there is nothing to tell apart")
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
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}); was its download interrupted?") from error
    if not isinstance(document, dict) or set(KEYS) - set(document):
        if isinstance(document, dict) and "images" in document and "annotations" not in document:
            raise ValueError(f"{path} has images and no annotations: a list of pictures, no truth")
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


def _refuse_without_masks(document: dict, path: Path) -> None:
    """Raises if annotations hold no masks at all, and says what they hold instead."""
    rows = [row for row in document["annotations"] if isinstance(row, dict)]
    if document["images"] and not rows:
        raise ValueError(f"{path} has {len(document['images'])} images and no annotation: no truth")
    if not rows or any(row.get("segmentation") or "segments_info" in row for row in rows):
        return
    for key, name in (("caption", "captions"), ("keypoints", "keypoints"), ("bbox", "boxes")):
        if all(key in row for row in rows):
            raise ValueError(
                f"{path} has {name} only, no masks: segmentation needs polygons or RLE in the "
                "'segmentation' of each annotation"
            )


def _of_split(images: list[dict], split: str | None, path: Path) -> list[dict]:
    names = sorted({image["split"] for image in images if "split" in image})
    if not names:
        refuse_unsplit(split, path)
        return images
    if split is None:
        return images
    name = choose_split(split, names, path)
    return [image for image in images if image.get("split") == name]


def read_picture(
    path: Path, row: dict, labels_size: tuple[int | None, int | None], faults: list[str]
) -> Tensor | None:
    """The picture of a row of "images", (3, H, W) uint8; None, and a fault, if it cannot be read.

    It is a fault, too, if the row states another width or height. `labels_size` decides how the
    picture lies, see `read_labelled_image`.
    """
    image = read_or_collect(partial(read_labelled_image, labels_size=labels_size), path, faults)
    if image is None:
        return None
    height, width = image.shape[1:]
    stated = row.get("width", width), row.get("height", height)
    if stated != (width, height):
        faults.append(
            f"the JSON file says that {row['file_name']} is {stated[0]} wide and {stated[1]} high, "
            f"the file is {width} x {height}; was it resized or turned afterwards?"
        )
    return image


def find_images(
    json_path: Path, images: list[dict], chosen: str | os.PathLike | None = None
) -> Path:
    """The image folder of a JSON file: the one chosen, or the first of `PICTURES` that fits.

    Raises:
        FileNotFoundError: there is none.
    """
    if chosen is None:
        return find_folder(json_path, "images", folders_of(json_path, PICTURES), images)
    if not Path(chosen).is_dir():
        raise FileNotFoundError(f"{chosen}: there is no such folder of images")
    below = Path(chosen, split_in_name(json_path) or "")
    return _fullest([Path(chosen), below], images) or Path(chosen)


def find_folder(json_path: Path, what: str, folders: list[Path], rows: list[dict]) -> Path:
    """The folder that has most files of the first rows.

    Where none has any, it is the first that lies beside the JSON file, or is called like its split.

    Raises:
        FileNotFoundError: it is none of them.
    """
    if folder := _fullest(folders, rows):
        return folder
    for folder in folders:
        near = folder.parent == json_path.parent or folder.name == split_in_name(json_path)
        if near and folder.is_dir() and folder != json_path.parent:
            return folder
    wanted = ", ".join(map(str, folders))
    advice = "; --images FOLDER (images=... in Python) names another" if what == "images" else ""
    raise FileNotFoundError(
        f"{json_path}: its {what} are missing, looked for them in {wanted}{advice}"
    )


def _fullest(folders: list[Path], rows: list[dict]) -> Path | None:
    counts = [sum(os.path.isfile(folder / r["file_name"]) for r in rows[:20]) for folder in folders]
    return folders[counts.index(max(counts))] if any(counts) else None
