"""COCO's panoptic format: a JSON file, a folder of images and a folder of PNGs, read and written.

A panoptic PNG stores one number for each pixel, the id of its segment, in three bytes:
id = R + 256 G + 65536 B (COCO's format page; Kirillov et al., "Panoptic Segmentation"); 0 is void.
The JSON file says of each id which category it is.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..files import write
from .coco_instances import CocoInstances
from .coco_json import (
    CATEGORY,
    FLAG,
    LIST,
    SEGMENT,
    TEXT,
    WHOLE,
    Report,
    at,
    attempt,
    find_folder,
    find_images,
    known,
    looks_like_instances,
    read_json,
    read_tables,
    same_size,
    sound_rows,
    stop,
    unique,
)
from .images import read_image, read_png
from .sample import Dataset, Sample

PANOPTIC = {
    "annotations": {"image_id": WHOLE, "file_name": TEXT, "segments_info": LIST},
    "categories": CATEGORY | {"isthing": FLAG},
}


def rgb_to_id(png: np.ndarray) -> np.ndarray:
    """Decodes the colours of a panoptic PNG: id = R + 256 G + 65536 B.

    Args:
        png: (H, W, 3) uint8.

    Returns:
        (H, W) int64 ids, 0 ... 2**24 - 1.

    Raises:
        ValueError: the array has another shape or type.
    """
    if png.ndim != 3 or png.shape[2] != 3 or png.dtype != np.uint8:
        raise ValueError(f"panoptic colours are (H, W, 3) uint8, not {png.shape} {png.dtype}")
    return png.astype(np.int64) @ np.array([1, 256, 65536])


def id_to_rgb(ids: np.ndarray) -> np.ndarray:
    """Encodes ids as the colours of a panoptic PNG; undoes `rgb_to_id`.

    Args:
        ids: (H, W) integers, 0 ... 2**24 - 1.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: the ids are no integers, or one does not fit into three bytes.
    """
    if not np.issubdtype(ids.dtype, np.integer):
        raise ValueError(f"ids are integers, not {ids.dtype}")
    if ids.min(initial=0) < 0 or ids.max(initial=0) >= 2**24:
        raise ValueError(f"ids run from 0 to {2**24 - 1}, these from {ids.min()} to {ids.max()}")
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)


class CocoPanoptic:
    """A COCO panoptic data set: a sequence of `Sample`, each read from disk when it is asked for.

    Attributes:
        categories: the category dicts of the JSON file, sorted by id. COCO's ids have gaps
            (1 ... 200 for 133 categories); a class index is a position in this list.

    Args:
        json_path: the annotation file, for instance `panoptic_val2017.json`.
        image_folder: holds the images that the JSON file names; None looks for it, see `open_coco`.
        panoptic_folder: holds the PNGs that the JSON file names; likewise.
        split: keep only the images whose "split" is this, in a file whose images have that field.
        report: told of everything that is wrong with the JSON file; rows at fault are left out.

    Raises:
        FileNotFoundError: there is no such JSON file, or its folders were not found.
        ValueError: the file is not COCO panoptic JSON, repeats an id, or has nothing of this split.
    """

    task = "panoptic"

    def __init__(
        self,
        json_path: str | os.PathLike,
        image_folder: str | os.PathLike | None = None,
        panoptic_folder: str | os.PathLike | None = None,
        split: str | None = None,
        report: Report = stop,
    ):
        path = Path(json_path)
        images, annotations, self.categories = read_tables(path, PANOPTIC, split, report)
        annotation_of = {a["image_id"]: a for a in annotations}
        self._rows = [(i, annotation_of[i["id"]]) for i in images if i["id"] in annotation_of]
        bare = [image["id"] for image in images if image["id"] not in annotation_of]
        for k in range(0, len(bare), 5):
            fault = f"images {bare[k : k + 5]} have no annotation that could be read"
            report(ValueError(f"{path}: {fault}; add one, or remove them from images"))
        self.image_folder = image_folder or find_images(path, images)
        self.panoptic_folder = panoptic_folder or _find_pngs(path, annotations)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        """Reads one picture with its truth.

        Raises:
            FileNotFoundError: the image or its PNG is missing.
            ValueError: they do not fit each other or the JSON file; the message names the file and
                the ids.
        """
        return self.read(index, stop)

    def read(self, index: int, report: Report) -> Sample | None:
        """Reads one picture, and tells `report` of every fault; None if it cannot be had."""
        row, annotation = self._rows[index]
        name, png = row["file_name"], Path(self.panoptic_folder, annotation["file_name"])
        report = at(f"image {row['id']}", report)
        image = attempt(report, read_image, Path(self.image_folder, name))
        ids = attempt(report, _read_ids, png)
        if image is not None:
            same_size(row, image, report)
        fits = image is not None and ids is not None and ids.shape == image.shape[1:]
        if image is not None and ids is not None and not fits:
            report(
                ValueError(
                    f"{png} is {tuple(ids.shape)} (H, W), its image {name} is "
                    f"{tuple(image.shape[1:])}; the PNG must be as large as the image"
                )
            )
        place = f"{png}: segments_info in the JSON file"
        segments = sound_rows(annotation["segments_info"], place, SEGMENT, report)
        segments = unique(segments, "id", f"{png}: segment ids in the JSON file", report)
        if ids is not None:
            _compare_ids(png, ids, segments, report)
        segments = known(segments, self.categories, f"{png}: segment", report)
        if not fits:
            return None
        segments = [  # copies, without a mask of their own: the PNG is the truth
            {key: segment[key] for key in segment if key != "segmentation"} for segment in segments
        ]
        return Sample.from_panoptic(image, ids, segments, self.categories, row["id"], name)


def _read_ids(path: Path) -> Tensor:
    hint = "a panoptic PNG is 8-bit RGB: id = R + 256 G + 65536 B"
    return torch.from_numpy(rgb_to_id(read_png(path, ("8-bit RGB",), hint)))


def _compare_ids(png: Path, ids: Tensor, segments: list[dict], report: Report) -> None:
    stated, drawn = {segment["id"] for segment in segments}, set(ids.unique().tolist()) - {0}
    if undrawn := sorted(stated - drawn):
        fault = f"the JSON file has segments {_some(undrawn)}, the PNG has no such id"
        report(ValueError(f"{png}: {fault}; remove them there, or draw them (0 is void)"))
    if unstated := sorted(drawn - stated):
        fault = f"the PNG has ids {_some(unstated)}, the JSON file has no such id"
        report(ValueError(f"{png}: {fault}; add them to its segments_info, or paint them 0, void"))


def _some(ids: list[int]) -> str:
    return f"{ids[:20]}" + (f" and {len(ids) - 20} more" if len(ids) > 20 else "")


def _find_pngs(json_path: Path, annotations: list[dict]) -> Path:
    folders = [json_path.parent / "panoptic", json_path.with_suffix(""), json_path.parent]
    return find_folder(json_path, "PNGs", folders, annotations)


def open_coco(
    path: str | os.PathLike,
    split: str | None = None,
    task: str | None = None,
    report: Report = stop,
) -> CocoPanoptic | CocoInstances:
    """Finds the parts of a COCO data set, panoptic or instance, and opens it.

    Args:
        path: one of
            - a folder with `panoptic.json`, `images/` and `panoptic/`, as `write_coco` makes it, or
              with `instances.json` and `images/`;
            - COCO's own folder: `annotations/panoptic_val2017.json`, its PNGs in
              `annotations/panoptic_val2017/`, and `val2017/` (likewise `train2017`), or
              `annotations/instances_val2017.json` and `val2017/`;
            - the JSON file of any of them; the images may lie beside it, too.
        split: "train" or "val": chooses the JSON file in COCO's own folder, and the images whose
            "split" field says so elsewhere; None takes every image.
        task: where there are panoptic and instance files, "instance" prefers the latter.
        report: told of everything that is wrong with the JSON file, see `CocoPanoptic`.

    Raises:
        FileNotFoundError: a part is missing; the message says what was looked for.
        ValueError: the JSON file cannot be used, see `CocoPanoptic` and `CocoInstances`.
    """
    files = coco_files(path, split, task)
    if not files:
        names = " nor ".join(_names(split, task))
        raise FileNotFoundError(f"{path}: no COCO data here: neither {names} (split {split!r})")
    if _holds_instances(files[0]):
        return CocoInstances(files[0], split=split, report=report)
    return CocoPanoptic(files[0], split=split, report=report)


def coco_files(
    path: str | os.PathLike, split: str | None = None, task: str | None = None
) -> list[Path]:
    """The COCO annotation files of a folder, the best first; a JSON file is its own list."""
    path = Path(path)
    if path.suffix == ".json":
        return [path]
    return [path / name for name in _names(split, task) if (path / name).is_file()]


def _names(split: str | None, task: str | None) -> list[str]:
    kinds = ("instances", "panoptic") if task == "instance" else ("panoptic", "instances")
    return [name for k in kinds for name in (f"{k}.json", f"annotations/{k}_{split}2017.json")]


def _holds_instances(path: Path) -> bool:
    """By its name, as COCO's files are large; of any other name, by what is in it."""
    if path.name.startswith(("panoptic", "instances")):
        return path.name.startswith("instances")
    return looks_like_instances(read_json(path)["annotations"])


def write_coco(dataset: Dataset, folder: str | os.PathLike) -> Path:
    """Writes any data set as `panoptic.json`, `images/*.png` and `panoptic/*.png`.

    Reading it back gives the same pixels, ids and segments. Class indices follow the sorted
    category ids then, as everywhere in COCO.

    Args:
        dataset: samples with distinct `image_id`, and its categories.
        folder: created if need be; files of the same names are replaced.

    Returns:
        The path of the JSON file, which is written last.

    Raises:
        ValueError: two samples have the same `image_id`, or an id is not below 2**24.
    """
    folder = Path(folder)
    images, annotations = {}, []
    for sample in (dataset[i] for i in range(len(dataset))):
        id, name = sample.image_id, f"{sample.image_id:012d}.png"
        if id in images:
            raise ValueError(f"two samples have image_id {id}; it must be unique")
        _write_png(folder / "images" / name, sample.image.permute(1, 2, 0).numpy())
        _write_png(folder / "panoptic" / name, id_to_rgb(sample.ids.numpy()))
        height, width = sample.ids.shape
        images[id] = {"id": id, "file_name": name, "width": width, "height": height}
        annotations.append({"image_id": id, "file_name": name, "segments_info": sample.segments})
    document = {"images": list(images.values()), "annotations": annotations}
    document["categories"] = dataset.categories
    return write(folder / "panoptic.json", json.dumps(document))


def _write_png(path: Path, pixels: np.ndarray) -> None:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="PNG")
    write(path, file.getvalue())
