"""Label maps: beside each image a PNG whose numbers are classes, as semantic data is kept."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from .faults import MissingFile, raise_faults, read_or_collect
from .images import read_image, read_png
from .sample import Sample, bounding_box

VOID = 255  # the number of a pixel that nobody labelled
IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
KINDS = ("8-bit grey", "8-bit palette", "4-bit palette", "2-bit palette", "1-bit palette")
HINT = "a label map is 8-bit grey, or a palette PNG: 0, 1, ... are classes and 255 is void"


class LabelMaps:
    """A folder of images and one of label maps: a sequence of `Sample`, read when asked for.

    An image `images/NAME.jpg` (or another suffix) has its classes in `labels/NAME.png`. Both
    folders may have folders in them: `images/train`, `images/val`, `labels/train`, `labels/val`.

    Attributes:
        categories: a dict (id, name, isthing 0) for each class; `id` is its number in the maps, and
            its class index. Names are the lines of `classes.txt` in the folder. Without that file
            all maps are read once to find the largest class, and classes are called by number.

    Args:
        folder: holds `images`, `labels` and perhaps `classes.txt`.
        split: the folder within `images` to take, if there are any; None takes all images.
        faults: gets what is wrong with the folder, and images at fault are left out; without a
            list, that is raised.

    Raises:
        FileNotFoundError: there is no `images`, an image has no label map, or a map no image.
        ValueError: two images have the same name, there is no such split, or there are several
            faults.
    """

    task = "semantic"

    def __init__(
        self,
        folder: str | os.PathLike,
        split: str | None = None,
        faults: list[str] | None = None,
    ):
        self.folder = Path(folder)
        below = _subfolder(self.folder / "images", split)
        images = _files(self.folder / "images", below, IMAGES)
        labels = _files(self.folder / "labels", below, {".png"})
        found = [] if faults is None else faults
        found += self._pair_faults(images, labels)
        names = self._names(found)
        if faults is None:
            raise_faults(found)
        self._pairs = [(images[name][0], labels[name][0]) for name in images if name in labels]
        self.categories = [{"id": k, "name": name, "isthing": 0} for k, name in enumerate(names)]

    def _pair_faults(
        self, images: dict[Path, list[Path]], labels: dict[Path, list[Path]]
    ) -> list[str]:
        """A fault for each image and each label map that stands alone, or is not alone."""
        faults: list[str] = []
        for name in sorted(images.keys() - labels.keys()):
            wanted = self.folder / "labels" / f"{name}.png"
            faults.append(MissingFile(f"{images[name][0]}: its label map is missing, {wanted}"))
        for name in sorted(labels.keys() - images.keys()):
            faults.append(MissingFile(f"{labels[name][0]}: this label map has no image {name}"))
        for paths in images.values():
            if len(paths) > 1:
                faults.append(f"{paths[1]}: {paths[0].name} has the same name; rename one")
        return faults

    def _names(self, faults: list[str]) -> list[str]:
        listed = self.folder / "classes.txt"
        if not listed.is_file():
            maps = _files(self.folder / "labels", Path(), {".png"})
            largest = max((_largest(paths[0]) for paths in maps.values()), default=-1)
            return [f"class {k}" for k in range(largest + 1)]
        names = read_or_collect(_read_lines, listed, faults) or []
        for number, name in enumerate(names, start=1):
            if not name:
                faults.append(f"{listed}: line {number} is empty; one class name a line")
        if len(names) > VOID:
            faults.append(f"{listed} has {len(names)} classes; a map holds {VOID} at most")
        return names

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        """Reads one picture; it has a segment for each class in it, whose id is the class + 1.

        Raises:
            ValueError: image and label map do not fit each other, or a number in the map is no
                class; the message names the file.
        """
        image_path, label_path = self._pairs[index]
        faults: list[str] = []
        image = read_or_collect(read_image, image_path, faults)
        classes = read_or_collect(_read_map, label_path, faults)
        if classes is not None:
            faults += self._class_faults(label_path, classes)
        if image is not None and classes is not None and classes.shape != image.shape[1:]:
            faults.append(
                f"{label_path} is {classes.shape} (H, W), its image {image_path.name} is "
                f"{tuple(image.shape[1:])}; the label map must be as large as the image"
            )
        raise_faults(faults)
        ids = np.where(classes < len(self.categories), classes.astype(np.int64) + 1, 0)
        segments = [_segment(ids, id) for id in np.unique(ids[ids > 0]).tolist()]
        name = image_path.relative_to(self.folder / "images").as_posix()
        ids = torch.from_numpy(ids)
        return Sample.from_panoptic(image, ids, segments, self.categories, index + 1, name)

    def _class_faults(self, path: Path, classes: np.ndarray) -> list[str]:
        count = len(self.categories)
        wrong = [k for k in np.unique(classes).tolist() if count <= k < VOID]
        if not wrong:
            return []
        return [
            f"{path} has the numbers {wrong}, but the {count} classes of classes.txt are "
            f"0 ... {count - 1}; add their names to it, or paint them {VOID}, void"
        ]


def _segment(ids: np.ndarray, id: int) -> dict:
    mask = ids == id
    facts = {"id": id, "category_id": id - 1, "iscrowd": 0}
    return facts | {"area": int(mask.sum()), "bbox": bounding_box(mask)}


def _subfolder(images: Path, split: str | None) -> Path:
    """The split's folder, from `images`; the whole of `images` if it has no folders in it."""
    if not images.is_dir():
        raise FileNotFoundError(f"{images}: there is no such folder, and the images belong there")
    splits = sorted(path.name for path in images.iterdir() if path.is_dir())
    if split is None or not splits:
        return Path()
    if split not in splits:
        raise ValueError(f"{images} has no split {split!r}, only {splits}")
    return Path(split)


def _files(folder: Path, below: Path, suffixes: set[str]) -> dict[Path, list[Path]]:
    """The files of a folder, in order, by their path from `folder` without the suffix."""
    files: dict[Path, list[Path]] = {}
    for path in sorted((folder / below).rglob("*")):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            files.setdefault(path.relative_to(folder).with_suffix(""), []).append(path)
    return files


def _read_lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8-sig")  # with the mark that Windows editors put first
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    return [line.strip() for line in text.rstrip().splitlines()]


def _read_map(path: Path) -> np.ndarray:
    return read_png(path, KINDS, HINT)


def _largest(path: Path) -> int:
    """The largest class of a map; -1 if it cannot be read: reading it as a sample says why."""
    try:
        classes = _read_map(path)
    except (OSError, ValueError):
        return -1
    return int(classes[classes != VOID].max(initial=0))
