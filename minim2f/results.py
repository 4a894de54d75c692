"""Results as data: what `segment` found, in the forms that other tools read.

    with Predictions("out", "panoptic", model.config.classes) as out:
        for path in paths:
            out.add(segment(model, path), path.name)

panoptic  panoptic.json and panoptic/NAME.png, COCO's panoptic format, as panopticapi reads it
instance  instances_results.json, COCO's list of detections, for pycocotools' `loadRes`
semantic  labels.json and labels/NAME.png, whose numbers are category ids
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from .data.coco_panoptic import id_to_rgb
from .data.sample import bounding_box
from .files import write, writing
from .inference import Result

FILES = {
    "panoptic": "panoptic.json",
    "instance": "instances_results.json",
    "semantic": "labels.json",
}


def coco_segments(result: Result) -> list[dict]:
    """COCO's `segments_info`: dicts (id, category_id, score, iscrowd, area, bbox).

    Segments of which `result.ids` shows nothing, as instances may hide each other, are left out.
    """
    infos = []
    for segment in result.segments:
        mask = result.ids == segment["id"]
        if mask.any():
            facts = {key: segment[key] for key in ("id", "category_id", "score")}
            drawn = {"iscrowd": 0, "area": int(mask.sum()), "bbox": bounding_box(mask)}
            infos.append(facts | drawn)
    return infos


def coco_detections(result: Result, image_id: int) -> list[dict]:
    """COCO's detections: a dict (image_id, category_id, segmentation, score) for each thing.

    A segmentation is compressed RLE with text as counts, so that JSON can hold it. There is no
    bbox: pycocotools would take the area of the box for that of the mask, and so sort the things
    wrongly into small, medium and large ones. `loadRes` adds boxes by itself.
    """
    from pycocotools import mask as rle

    found = []
    for segment, mask in zip(result.segments, result.masks):
        if segment["isthing"]:
            code = rle.encode(np.asfortranarray(mask, np.uint8))
            entry = {"image_id": image_id, "category_id": segment["category_id"]}
            entry["segmentation"] = code | {"counts": code["counts"].decode("ascii")}
            found.append(entry | {"score": float(segment["score"])})
    return found


def void_label(categories: Sequence[dict]) -> int:
    """The number of a pixel without a class: 255, or 65535 if a category id is as large as that.

    Raises:
        ValueError: a category id does not fit into a label map.
    """
    ids = [category["id"] for category in categories]
    if min(ids, default=0) < 0 or max(ids, default=0) >= 65535:
        raise ValueError(
            f"category ids run from {min(ids)} to {max(ids)}, a label map holds 0 ... 65534: "
            "number the categories anew, or write panoptic results"
        )
    return 255 if max(ids, default=0) < 255 else 65535


def label_map(result: Result, categories: Sequence[dict]) -> np.ndarray:
    """The category id of every pixel (H, W): uint8 with 255 for void, or uint16 with 65535.

    Raises:
        ValueError: see `void_label`.
    """
    void = void_label(categories)
    labels = np.full(result.ids.shape, void, np.uint8 if void == 255 else np.uint16)
    for segment in result.segments:
        labels[result.ids == segment["id"]] = segment["category_id"]
    return labels


class Predictions:
    """A folder of results, written picture by picture; its JSON file comes last, and whole.

    Use it in a `with` block; if that ends in an error there is no JSON file, so whatever has one is
    complete. Files of the same names are replaced.

    Attributes:
        path: the JSON file.

    Args:
        folder: created if need be.
        task: "panoptic", "instance" or "semantic": which form is written.
        categories: COCO dicts; `model.config.classes` are a model's.

    Raises:
        ValueError: an unknown task, or categories that do not fit into a label map.
    """

    def __init__(self, folder: str | os.PathLike, task: str, categories: Sequence[dict]) -> None:
        if task not in FILES:
            raise ValueError(f"task is {task!r}; there are 'panoptic', 'instance' and 'semantic'")
        if task == "semantic":
            void_label(categories)
        self.path = Path(folder) / FILES[task]
        self._task, self._categories = task, list(categories)
        self._images: dict[int, dict] = {}
        self._entries: list[dict] = []
        self._names: dict[str, str] = {}

    def add(
        self,
        result: Result,
        file_name: str,
        image_id: int | None = None,
        png_name: str | None = None,
    ) -> None:
        """Writes one picture's result.

        Args:
            result: of the task that this folder is for.
            file_name: of the picture, from the folder of pictures.
            image_id: the data set's number of the picture; without one, pictures count from 1.
            png_name: of its PNG; the picture's own name unless given, with another ending.

        Raises:
            ValueError: the id or the name came before, or the name leads out of the folder.
        """
        name = PurePosixPath(file_name.replace("\\", "/"))
        png = png_name or name.with_suffix(".png").as_posix()
        image_id = len(self._images) + 1 if image_id is None else image_id
        if any(path.is_absolute() or ".." in path.parts for path in (name, PurePosixPath(png))):
            raise ValueError(f"{file_name} leads out of the folder of predictions: give a name")
        if image_id in self._images:
            raise ValueError(f"two pictures have image_id {image_id}; it must be unique")
        if png in self._names:
            raise ValueError(
                f"{file_name} and {self._names[png]} would both be {png}: rename one of them"
            )
        height, width = result.ids.shape
        if self._task == "panoptic":
            infos = coco_segments(result)
            self._entries.append({"image_id": image_id, "file_name": png, "segments_info": infos})
            _write_png(self.path.parent / "panoptic" / png, id_to_rgb(result.ids))
        elif self._task == "instance":
            self._entries += coco_detections(result, image_id)
        else:
            self._entries.append({"image_id": image_id, "file_name": png})
            _write_png(self.path.parent / "labels" / png, label_map(result, self._categories))
        self._names[png] = file_name
        image = {"id": image_id, "file_name": name.as_posix(), "height": height, "width": width}
        self._images[image_id] = image

    def close(self) -> Path:
        """Writes the JSON file, and returns its path; the end of a `with` block does it."""
        if self._task == "instance":
            return write(self.path, json.dumps(self._entries))
        document: dict = {"images": list(self._images.values()), "annotations": self._entries}
        document["categories"] = self._categories
        if self._task == "semantic":
            document["void"] = void_label(self._categories)
        return write(self.path, json.dumps(document))

    def __enter__(self) -> Predictions:
        with writing(self.path):
            self.path.unlink(missing_ok=True)  # an older one would vouch for the new pictures
        return self

    def __exit__(self, kind: type | None, error: object, traceback: object) -> None:
        if kind is None:
            self.close()


def _write_png(path: Path, pixels: np.ndarray) -> None:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format="PNG")
    write(path, file.getvalue())
