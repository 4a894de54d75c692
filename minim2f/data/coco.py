"""COCO's panoptic format: a JSON file, a folder of images and a folder of PNGs, read and written.

A panoptic PNG stores one number for each pixel, the id of its segment, in three bytes:
id = R + 256 G + 65536 B (COCO's format page; Kirillov et al., "Panoptic Segmentation"); 0 is void.
The JSON file says of each id which category it is.
"""

from __future__ import annotations

import io
import json
import os
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from .images import read_image
from .sample import Dataset, Sample


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
        image_folder: holds the images that the JSON file names.
        panoptic_folder: holds the PNGs that the JSON file names.
        split: keep only the images whose "split" is this, in a file whose images have that field.

    Raises:
        FileNotFoundError: there is no such JSON file.
        ValueError: the file is not COCO panoptic JSON, repeats an id, or has nothing of this split.
    """

    def __init__(
        self,
        json_path: str | os.PathLike,
        image_folder: str | os.PathLike,
        panoptic_folder: str | os.PathLike,
        split: str | None = None,
    ):
        self.image_folder, self.panoptic_folder = Path(image_folder), Path(panoptic_folder)
        document = _read_json(Path(json_path))
        for key, field in (("categories", "id"), ("images", "id"), ("annotations", "image_id")):
            _refuse_repeats(f"{json_path}: {field} in {key}", [x[field] for x in document[key]])
        self.categories = sorted(document["categories"], key=lambda category: category["id"])
        annotations = {a["image_id"]: a for a in document["annotations"]}
        images = _of_split(document["images"], split, json_path)
        bare = [image["id"] for image in images if image["id"] not in annotations]
        if bare:
            raise ValueError(f"{json_path}: images {bare[:5]} have no annotation")
        self._rows = [(image, annotations[image["id"]]) for image in images]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        """Reads one picture with its truth.

        Raises:
            FileNotFoundError: the image or its PNG is missing.
            ValueError: they do not fit each other or the JSON file; the message names the file and
                the ids.
        """
        image_row, annotation = self._rows[index]
        name, png = image_row["file_name"], self.panoptic_folder / annotation["file_name"]
        image, ids = read_image(self.image_folder / name), _read_ids(png)
        if ids.shape != image.shape[1:]:
            raise ValueError(
                f"{png} is {tuple(ids.shape)} (H, W), its image {name} is "
                f"{tuple(image.shape[1:])}; the PNG must be as large as the image"
            )
        segments = [dict(segment) for segment in annotation["segments_info"]]
        _compare_ids(png, ids, segments)
        return Sample.from_panoptic(image, ids, segments, self.categories, image_row["id"], name)


def _read_json(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such annotation file")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}); was its download interrupted?") from error
    if not isinstance(document, dict) or {"images", "annotations", "categories"} - set(document):
        raise ValueError(f"{path} lacks images, annotations or categories: it is not a COCO file")
    if any("segments_info" not in annotation for annotation in document["annotations"]):
        raise ValueError(
            f"{path} has annotations without segments_info: it looks like COCO instance JSON. Only "
            "COCO panoptic JSON is read so far; a later version is to read instance files too"
        )
    return document


def _refuse_repeats(what: str, ids: list[int]) -> None:
    repeated = [id for id, times in Counter(ids).items() if times > 1]
    if repeated:
        raise ValueError(f"{what}: {repeated[:5]} occur more than once, and must be unique")


def _of_split(images: list[dict], split: str | None, json_path: str | os.PathLike) -> list[dict]:
    splits = {image["split"] for image in images if "split" in image}
    if split is None or not splits:
        return images
    if split not in splits:
        raise ValueError(f"{json_path} has no split {split!r}, only {sorted(splits)}")
    return [image for image in images if image.get("split") == split]


def _read_ids(path: Path) -> Tensor:
    if not path.exists():
        raise FileNotFoundError(f"{path}: the JSON file names this panoptic PNG, and it is missing")
    try:
        with Image.open(path) as png:
            mode, pixels = png.mode, np.array(png)
    except Exception as error:  # Pillow reports broken files by half a dozen kinds of error
        raise ValueError(f"{path} cannot be read as a PNG ({error})") from error
    if mode != "RGB":
        raise ValueError(f"{path} is of mode {mode}; a panoptic PNG is RGB: R + 256 G + 65536 B")
    return torch.from_numpy(rgb_to_id(pixels))


def _compare_ids(png: Path, ids: Tensor, segments: list[dict]) -> None:
    stated = [segment["id"] for segment in segments]
    _refuse_repeats(f"{png}: segment ids in the JSON file", stated)
    drawn = set(ids.unique().tolist()) - {0}
    if undrawn := sorted(set(stated) - drawn):
        raise ValueError(f"{png}: the JSON file has segments {undrawn[:5]}, the PNG has no such id")
    if unstated := sorted(drawn - set(stated)):
        raise ValueError(f"{png}: the PNG has ids {unstated[:5]}, the JSON file has no such id")


def open_coco(path: str | os.PathLike, split: str | None = None) -> CocoPanoptic:
    """Finds the three parts of a COCO panoptic data set, and opens it.

    Args:
        path: one of
            - a folder with `panoptic.json`, `images/` and `panoptic/`, as `write_coco` makes it;
            - COCO's own folder: `annotations/panoptic_val2017.json`, its PNGs in
              `annotations/panoptic_val2017/`, and `val2017/` (likewise `train2017`);
            - the JSON file of either.
        split: "train" or "val": chooses the JSON file in COCO's own folder, and the images whose
            "split" field says so elsewhere; None takes every image.

    Raises:
        FileNotFoundError: a part is missing; the message says what was looked for.
        ValueError: the JSON file cannot be used, see `CocoPanoptic`.
    """
    json_path = _find_json(Path(path), split)
    name = json_path.stem.removeprefix("panoptic_")
    layouts = [
        (json_path.parent / "images", json_path.parent / "panoptic"),
        (json_path.parent.parent / name, json_path.with_suffix("")),
    ]
    for images, panoptic in layouts:
        if images.is_dir() and panoptic.is_dir():
            return CocoPanoptic(json_path, images, panoptic, split)
    _read_json(json_path)  # of an instance file, say that first
    wanted = " or ".join(f"{images} with {panoptic}" for images, panoptic in layouts)
    raise FileNotFoundError(f"{json_path}: its images and PNGs are missing, looked for {wanted}")


def _find_json(path: Path, split: str | None) -> Path:
    if path.suffix == ".json":
        return path
    names = ["panoptic.json", f"annotations/panoptic_{split}2017.json"]
    names += ["instances.json", f"annotations/instances_{split}2017.json"]  # found to be refused
    for name in names:
        if (path / name).is_file():
            return path / name
    raise FileNotFoundError(
        f"{path}: no COCO panoptic data here: neither {names[0]} nor {names[1]} (split {split!r})"
    )


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
    _write(folder / "panoptic.json", json.dumps(document).encode())
    return folder / "panoptic.json"


def _write_png(path: Path, pixels: np.ndarray) -> None:
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, format="PNG")
    _write(path, file.getvalue())


def _write(path: Path, data: bytes) -> None:
    """Writes beside the final name first, so that nobody ever sees half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)
