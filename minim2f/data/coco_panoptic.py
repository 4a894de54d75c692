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
from .coco_fields import (
    CATEGORY,
    FLAG,
    LIST,
    SEGMENT,
    TEXT,
    WHOLE,
    in_fives,
    rows_of_known_category,
    sound_rows,
    unique_rows,
)
from .coco_json import find_folder, find_images, read_picture, read_tables
from .faults import raise_faults, read_or_collect
from .forms import PANOPTIC_PNGS, folders_of
from .images import read_png
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
        image_folder: holds the images that the JSON file names; None looks for it, see
            `minim2f.data.forms`.
        panoptic_folder: holds the PNGs that the JSON file names; likewise.
        split: keep only the images whose "split" is this, in a file whose images have that field.
        faults: gets what is wrong with the JSON file, and rows at fault are left out; without a
            list, that is raised.

    Raises:
        FileNotFoundError: there is no such JSON file, or its folders were not found.
        ValueError: the file is not COCO panoptic JSON, has nothing of this split, or has faults.
    """

    task = "panoptic"

    def __init__(
        self,
        json_path: str | os.PathLike,
        image_folder: str | os.PathLike | None = None,
        panoptic_folder: str | os.PathLike | None = None,
        split: str | None = None,
        faults: list[str] | None = None,
    ):
        path = Path(json_path)
        found = [] if faults is None else faults
        images, annotations, self.categories = read_tables(path, PANOPTIC, split, found)
        annotation_of = {annotation["image_id"]: annotation for annotation in annotations}
        self._rows = [(i, annotation_of[i["id"]]) for i in images if i["id"] in annotation_of]
        for few in in_fives([i["id"] for i in images if i["id"] not in annotation_of]):
            fault = f"{path}: images {few} have no annotation that could be read"
            found.append(f"{fault}; add one, or remove them from images")
        if faults is None:
            raise_faults(found)
        self.image_folder = find_images(path, images, image_folder)
        self.panoptic_folder = panoptic_folder or _find_pngs(path, annotations)

    def __len__(self) -> int:
        return len(self._rows)

    def image_path(self, index: int) -> Path:
        """The file of one picture."""
        return Path(self.image_folder, self._rows[index][0]["file_name"])

    def __getitem__(self, index: int) -> Sample:
        """Reads one picture with its truth.

        Raises:
            FileNotFoundError: the image or its PNG is missing.
            ValueError: they do not fit each other or the JSON file; the message names the file and
                the ids of every fault.
        """
        row, annotation = self._rows[index]
        name, png = row["file_name"], Path(self.panoptic_folder, annotation["file_name"])
        faults: list[str] = []
        ids = read_or_collect(_read_ids, png, faults)
        size = row.get("height"), row.get("width")
        if None in size and ids is not None:
            size = tuple(ids.shape)
        image = read_picture(self.image_path(index), row, size, faults)
        if image is not None and ids is not None and ids.shape != image.shape[1:]:
            sizes = f"{tuple(ids.shape)} (H, W), its image {name} is {tuple(image.shape[1:])}"
            faults.append(f"{png} is {sizes}; the PNG must be as large as the image")
        place = f"{png}: segments_info in the JSON file"
        segments = sound_rows(annotation["segments_info"], place, SEGMENT, faults)
        segments = unique_rows(segments, "id", f"{png}: segment ids in the JSON file", faults)
        if ids is not None:
            faults += _id_faults(png, ids, segments)
        rows_of_known_category(segments, self.categories, f"{png}: segment", faults)
        raise_faults(faults, place=f"image {row['id']}: ")
        segments = [  # copies, without a mask of their own: the PNG is the truth
            {key: segment[key] for key in segment if key != "segmentation"} for segment in segments
        ]
        return Sample.from_panoptic(image, ids, segments, self.categories, row["id"], name)


def _read_ids(path: Path) -> Tensor:
    hint = "a panoptic PNG is 8-bit RGB: id = R + 256 G + 65536 B"
    return torch.from_numpy(rgb_to_id(read_png(path, ("8-bit RGB",), hint)))


def _id_faults(png: Path, ids: Tensor, segments: list[dict]) -> list[str]:
    """A fault for ids that only the JSON file has, and one for those that only the PNG has."""
    faults: list[str] = []
    stated, drawn = {segment["id"] for segment in segments}, set(ids.unique().tolist()) - {0}
    if undrawn := sorted(stated - drawn):
        fault = f"the JSON file has segments {_first_twenty(undrawn)}, the PNG has no such id"
        faults.append(f"{png}: {fault}; remove them there, or draw them (0 is void)")
    if unstated := sorted(drawn - stated):
        fault = f"the PNG has ids {_first_twenty(unstated)}, the JSON file has no such id"
        faults.append(f"{png}: {fault}; add them to its segments_info, or paint them 0, void")
    return faults


def _first_twenty(ids: list[int]) -> str:
    return f"{ids[:20]}" + (f" and {len(ids) - 20} more" if len(ids) > 20 else "")


def _find_pngs(json_path: Path, annotations: list[dict]) -> Path:
    return find_folder(json_path, "PNGs", folders_of(json_path, PANOPTIC_PNGS), annotations)


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
    document = {
        "images": list(images.values()),
        "annotations": annotations,
        "categories": dataset.categories,
    }
    return write(folder / "panoptic.json", json.dumps(document))


def _write_png(path: Path, pixels: np.ndarray) -> None:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="PNG")
    write(path, file.getvalue())
