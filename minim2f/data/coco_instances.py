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
from torch import Tensor

from .coco_fields import CATEGORY, FLAG, SEGMENT, SHAPE, WHOLE, rows_of_known_category
from .coco_json import find_images, read_picture, read_tables
from .coco_masks import compress, decode, measure, refusal
from .faults import raise_faults
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
        lenient: leave out annotations at fault, instead of refusing their picture.

    Args:
        json_path: the annotation file, for instance `instances_val2017.json`.
        image_folder: holds the images that the JSON file names; None looks for it, see
            `minim2f.data.forms`.
        split: keep only the images whose "split" is this, in a file whose images have that field.
        faults: gets what is wrong with the JSON file, and rows at fault are left out; without a
            list, that is raised.

    Raises:
        FileNotFoundError: there is no such JSON file, or its images were not found.
        ValueError: the file is not COCO instance JSON, has nothing of this split, or has faults.
    """

    task = "instance"

    def __init__(
        self,
        json_path: str | os.PathLike,
        image_folder: str | os.PathLike | None = None,
        split: str | None = None,
        faults: list[str] | None = None,
    ):
        path = Path(json_path)
        found = [] if faults is None else faults
        self.lenient = False
        self._images, annotations, categories = read_tables(path, INSTANCE, split, found)
        if faults is None:
            raise_faults(found)
        self.categories = [{"isthing": 1} | category for category in categories]
        self.image_folder = find_images(path, self._images, image_folder)
        self._annotations = defaultdict(list)
        for annotation in annotations:
            self._annotations[annotation["image_id"]].append(annotation)

    def __len__(self) -> int:
        return len(self._images)

    def image_path(self, index: int) -> Path:
        """The file of one picture."""
        return Path(self.image_folder, self._images[index]["file_name"])

    def __getitem__(self, index: int) -> Sample:
        """Reads one picture with its truth; without an annotation it has no segments.

        Raises:
            FileNotFoundError: the image is missing.
            ValueError: the image is of another size than the JSON file says, or an annotation
                cannot be used; the message names the file and the annotation's id of every fault.
        """
        row, faults = self._images[index], []
        size = row.get("height"), row.get("width")
        image = read_picture(self.image_path(index), row, size, faults)
        if image is not None:
            size = tuple(image.shape[1:])
        unsound = [] if self.lenient else faults
        annotations = self._sound_annotations(row, size, unsound)
        sample = None if image is None else self._sample(row, image, annotations)
        if faults and sample is not None and not self.lenient:
            faults += empty_mask_faults(sample)  # alone they do no harm, and are not raised
        raise_faults(faults, place=f"image {row['id']}: ")
        return sample

    def _sound_annotations(
        self, row: dict, size: tuple[int | None, int | None], faults: list[str]
    ) -> list[dict]:
        what = f"{row['file_name']}: annotation"
        annotations = self._annotations.get(row["id"], [])
        sound = []
        for annotation in rows_of_known_category(annotations, self.categories, what, faults):
            if reason := refusal(annotation["segmentation"], size):
                faults.append(f"{what} {annotation['id']}: {reason}")
            else:
                sound.append(annotation)
        return sound

    def _sample(self, row: dict, image: Tensor, annotations: list[dict]) -> Sample:
        height, width = image.shape[1:]
        segments = [_segment(a, k, height, width) for k, a in enumerate(annotations, start=1)]
        masks = np.empty((len(segments), height, width), bool)
        for mask, segment in zip(masks, segments):
            mask[:] = decode(segment["segmentation"])
        areas = masks.sum(axis=(1, 2))
        ids = np.zeros((height, width), np.int64)
        for k in np.argsort(-areas, kind="stable"):  # the smaller ones above the larger ones
            ids[masks[k]] = segments[k]["id"]
        trained = [k for k, s in enumerate(segments) if areas[k] and not s["iscrowd"]]
        if len(trained) < len(segments):
            masks = masks[trained]
        index = {category["id"]: k for k, category in enumerate(self.categories)}
        labels = [index[segments[k]["category_id"]] for k in trained]
        return Sample(
            image=image,
            labels=torch.tensor(labels, dtype=torch.int64),
            masks=torch.from_numpy(masks),
            ids=torch.from_numpy(ids),
            segments=segments,
            image_id=row["id"],
            file_name=row["file_name"],
        )


def _segment(annotation: dict, number: int, height: int, width: int) -> dict:
    """The annotation as an entry of `Sample.segments`, measured where it states no area or box."""
    code = compress(annotation["segmentation"], height, width)
    own = {"id": number, "annotation_id": annotation["id"], "segmentation": code}
    return {"iscrowd": 0} | measure(code) | annotation | own


def empty_mask_faults(sample: Sample) -> list[str]:
    """A fault for each annotation whose mask has no pixel."""
    masks = sample.segment_masks().numpy()
    return [
        f"{sample.file_name}: the mask of annotation {segment['annotation_id']} has no pixel; "
        "remove the annotation"
        for segment, mask in zip(sample.segments, masks, strict=True)
        if not mask.any()
    ]
