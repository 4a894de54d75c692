"""COCO's instance format: a JSON file with an outline or a mask of each thing, which may overlap.

A mask is written in one of three ways: polygons; run lengths, "RLE", down the columns, of what is
outside and inside by turns; or RLE compressed to text (COCO's format page, and its `maskApi`).
"""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as rle
from torch import Tensor

from .coco_json import (
    CATEGORY,
    FLAG,
    NUMBER,
    SEGMENT,
    SHAPE,
    WHOLE,
    Report,
    at,
    attempt,
    find_images,
    known,
    read_tables,
    same_size,
    stop,
)
from .images import read_image
from .sample import Sample

INSTANCE = {
    "annotations": SEGMENT | {"image_id": WHOLE, "segmentation": SHAPE},
    "categories": CATEGORY | {"isthing?": FLAG},
}


class CocoInstances:
    """A COCO instance data set: a sequence of `Sample`, each read from disk when it is asked for.

    A sample's `segments` has an entry for each annotation, crowds included, as the JSON file has
    it; its `id` is a running number 1, 2, ... within the picture, "annotation_id" that of the file,
    and "segmentation" compressed RLE. `labels` and `masks` leave out crowds, and masks without a
    pixel, as COCO has some. `ids` shows the smaller ones above the larger ones.

    Attributes:
        categories: the category dicts of the JSON file, sorted by id; things, if it says nothing.

    Args:
        json_path: the annotation file, for instance `instances_val2017.json`.
        image_folder: holds the images that the JSON file names; None looks for it, see `open_coco`.
        split: keep only the images whose "split" is this, in a file whose images have that field.
        report: told of everything that is wrong with the JSON file; rows at fault are left out.

    Raises:
        FileNotFoundError: there is no such JSON file, or its images were not found.
        ValueError: the file is not COCO instance JSON, repeats an id, or has nothing of this split.
    """

    task = "instance"

    def __init__(
        self,
        json_path: str | os.PathLike,
        image_folder: str | os.PathLike | None = None,
        split: str | None = None,
        report: Report = stop,
    ):
        path = Path(json_path)
        self._images, annotations, categories = read_tables(path, INSTANCE, split, report)
        self.categories = [{"isthing": 1} | category for category in categories]
        self.image_folder = image_folder or find_images(path, self._images)
        self._annotations = defaultdict(list)
        for annotation in annotations:
            self._annotations[annotation["image_id"]].append(annotation)

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, index: int) -> Sample:
        """Reads one picture with its truth; without an annotation it has no segments.

        Raises:
            FileNotFoundError: the image is missing.
            ValueError: the image is of another size than the JSON file says, or an annotation
                cannot be used; the message names the file and the annotation's id.
        """
        return self.read(index, stop)

    def read(self, index: int, report: Report) -> Sample | None:
        """Reads one picture, and tells `report` of every fault; None if it cannot be had."""
        row = self._images[index]
        report = at(f"image {row['id']}", report)
        image = attempt(report, read_image, Path(self.image_folder, row["file_name"]))
        size = row.get("height"), row.get("width")
        if image is not None:
            same_size(row, image, report)
            size = tuple(image.shape[1:])
        what = f"{row['file_name']}: annotation"
        annotations, sound = self._annotations.get(row["id"], []), []
        for annotation in known(annotations, self.categories, what, report):
            if fault := _fault(annotation["segmentation"], size):
                report(ValueError(f"{what} {annotation['id']}: {fault}"))
            else:
                sound.append(annotation)
        return None if image is None else self._sample(row, image, sound)

    def _sample(self, row: dict, image: Tensor, annotations: list[dict]) -> Sample:
        height, width = image.shape[1:]
        segments = [_segment(a, k, height, width) for k, a in enumerate(annotations, start=1)]
        index = {category["id"]: k for k, category in enumerate(self.categories)}
        labels = torch.tensor([index[s["category_id"]] for s in segments], dtype=torch.int64)
        ids = torch.zeros((height, width), dtype=torch.int64)
        sample = Sample(image, labels, ids, ids, segments, row["id"], row["file_name"])
        masks = sample.segment_masks().numpy()
        areas = masks.sum(axis=(1, 2))
        for k in np.argsort(-areas, kind="stable"):
            ids.numpy()[masks[k]] = k + 1
        trained = [k for k, s in enumerate(segments) if areas[k] and not s["iscrowd"]]
        sample.labels, sample.masks = labels[trained], torch.from_numpy(masks[trained])
        return sample


def _segment(annotation: dict, number: int, height: int, width: int) -> dict:
    """The annotation with what its mask alone can say, should it not say it itself."""
    code = annotation["segmentation"]
    if isinstance(code, list):
        code = rle.merge(rle.frPyObjects(code, height, width))
    elif isinstance(code["counts"], list):
        code = rle.frPyObjects(code, height, width)
    if isinstance(code["counts"], bytes):
        code["counts"] = code["counts"].decode("ascii")
    measured = {"iscrowd": 0, "area": int(rle.area(code)), "bbox": rle.toBbox(code).tolist()}
    own = {"id": number, "annotation_id": annotation["id"], "segmentation": code}
    return measured | annotation | own


def _fault(segmentation: list | dict, size: tuple[int | None, int | None]) -> str | None:
    """Why pycocotools cannot, or would not safely, decode this; `size` may be unknown."""
    if isinstance(segmentation, list):
        return _polygon_fault(segmentation, size)
    stated, counts = segmentation.get("size"), segmentation.get("counts")
    runs = _decompress(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(WHOLE.fits(run) and run >= 0 for run in runs):
        return "its RLE needs 'counts', text of COCO's compression or a list of run lengths"
    if not (isinstance(stated, list) and len(stated) == 2 and all(map(WHOLE.fits, stated))):
        return "its RLE needs 'size', [height, width]"
    if None not in size and tuple(stated) != size:
        return f"its RLE is of size {stated} [height, width], the image {list(size)}"
    if sum(runs) != stated[0] * stated[1]:
        return f"its RLE has {sum(runs)} pixels, its size {stated} needs {stated[0] * stated[1]}"
    return None


def _polygon_fault(polygons: list, size: tuple[int | None, int | None]) -> str | None:
    if not polygons:
        return "its segmentation is empty; give it a polygon, or remove it"
    for polygon in polygons:
        if not (isinstance(polygon, list) and all(map(NUMBER.fits, polygon))):
            return "a polygon is a flat list of numbers, [x1, y1, x2, y2, ...]"
        if len(polygon) < 6 or len(polygon) % 2:
            return f"a polygon of {len(polygon) / 2:g} points; it needs 3 or more, [x1, y1, ...]"
        if None not in size and np.abs(polygon).max() > 2 * max(size):
            far = max(polygon, key=abs)
            return f"a polygon has the coordinate {far:g}, far outside the picture {list(size)}"
    return None


def _decompress(text: str) -> list[int] | None:
    """The runs of compressed RLE, or None if it is broken.

    `rleFrString` of COCO's maskApi.c: five bits a character, the sixth says that more follow, and
    from the fourth run on the difference to the last but one is written. It trusts its input, and
    so does the decoder, which leaves what too few runs do not reach as it was in memory.
    """
    runs, value, bits = [], 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or bits > 30:
            return None
        value |= (code & 31) << bits
        bits += 5
        if not code & 32:
            negative = bool(code & 16)
            value -= negative << bits
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = bits = 0
    return runs if bits == 0 else None
