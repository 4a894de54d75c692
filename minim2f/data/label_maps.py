"""Label maps: for each image a PNG whose numbers are classes, as semantic data is kept."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import numpy as np
import torch

from .class_list import read_class_names
from .faults import MissingFile, raise_faults, read_or_collect
from .forms import as_written
from .images import read_labelled_image
from .map_files import MapFiles
from .map_numbers import VOID, read_classes
from .map_options import MapOptions
from .sample import Sample, bounding_box

NAMES = ("classes.txt", "class_names.txt", "codes.txt")
BINARY = ["background", "object"]
SHOWN = 8  # numbers of no class in a message


class LabelMaps:
    """A folder of images and one of label maps: a sequence of `Sample`, read when asked for.

    An image `images/NAME.jpg` (or another suffix) has its classes in `labels/NAME.png`, or as
    `minim2f.data.forms.LABEL_MAPS` has it. Both folders may have folders in them: `images/train`,
    `images/val`, `labels/train`, `labels/val`.

    Attributes:
        categories: a dict (id, name, isthing 0) for each class; `id` is its class index, which is
            its number in the maps, or one less where 0 is void. Names are the lines of
            `classes.txt` in the folder (see `class_list`). Without that file all maps are read
            once to find the largest class, and classes are called by number.

    Args:
        folder: holds images, label maps and perhaps `classes.txt`.
        split: the folder within the images', or the list, to take, if there are any; None takes all
            images.
        faults: gets what is wrong with the folder, and images at fault are left out; without a
            list, that is raised.
        options: other folders, and which numbers are void.

    Raises:
        FileNotFoundError: there are no images, an image has no label map, or a map no image.
        ValueError: two images have the same name, there is no such split, or there are several
            faults.
    """

    task = "semantic"

    def __init__(
        self,
        folder: str | os.PathLike,
        split: str | None = None,
        faults: list[str] | None = None,
        *,
        options: MapOptions = MapOptions(),
    ):
        self.folder, self._options = Path(folder), options
        files = MapFiles.find(self.folder, options)
        found = [] if faults is None else faults
        images, labels = files.of_split(split, found)
        found += _pair_faults(files, images, labels)
        names = self._names(files, found)
        if faults is None:
            raise_faults(found)
        paired = [key for key in images if key in labels]
        self._pairs = [(images[key][0], labels[key][0], files.name_of(key)) for key in paired]
        self.categories = [{"id": k, "name": name, "isthing": 0} for k, name in enumerate(names)]

    @staticmethod
    def splits(folder: str | os.PathLike, options: MapOptions = MapOptions()) -> list[str]:
        """The names of the folders of images, or of the lists that name images."""
        return MapFiles.find(Path(folder), options).splits()

    def _names(self, files: MapFiles, faults: list[str]) -> list[str]:
        listed = [path for name in NAMES if (path := as_written(self.folder, name)).is_file()]
        read = partial(read_class_names, zero_is_void=self._options.zero_is_void)
        names = read_or_collect(read, listed[0], faults) if listed else None
        if self._options.binary:
            names = BINARY if names is None else names
            if len(names) != len(BINARY):
                faults.append(
                    f"{listed[0]} has {len(names)} names; --binary has two classes, 0 the "
                    "background and 1 the object: a line for each"
                )
        if names is None:
            paths = [path for paths in files.labels.values() for path in paths]
            largest = max((self._largest(path) for path in paths), default=-1)
            first = int(self._options.zero_is_void)
            return [f"class {k + first}" for k in range(largest + 1)]
        if len(names) > VOID:
            faults.append(f"{listed[0]} has {len(names)} classes; a map holds {VOID} at most")
        return names

    def __len__(self) -> int:
        return len(self._pairs)

    def image_path(self, index: int) -> Path:
        """The file of one picture."""
        return self._pairs[index][0]

    def __getitem__(self, index: int) -> Sample:
        """Reads one picture; it has a segment for each class in it, whose id is the class + 1.

        Raises:
            ValueError: image and label map do not fit each other, or a number in the map is no
                class; the message names the file.
        """
        image_path, label_path, name = self._pairs[index]
        faults: list[str] = []
        map_faults: list[str] = []
        read = partial(read_classes, options=self._options)
        classes = read_or_collect(read, label_path, map_faults)
        size = (None, None) if classes is None else classes.shape
        image = read_or_collect(partial(read_labelled_image, labels_size=size), image_path, faults)
        faults += map_faults
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
        ids = torch.from_numpy(ids)
        return Sample.from_panoptic(image, ids, segments, self.categories, index + 1, name)

    def _largest(self, path: Path) -> int:
        """The largest class of a map; -1 if it cannot be read: reading it as a sample says why."""
        try:
            classes = read_classes(path, self._options)
        except (OSError, ValueError):
            return -1
        return int(classes[classes != VOID].max(initial=0))

    def _class_faults(self, path: Path, classes: np.ndarray) -> list[str]:
        count, first = len(self.categories), int(self._options.zero_is_void)
        wrong = [k + first for k in np.unique(classes).tolist() if count <= k < VOID]
        if not wrong:
            return []
        advice = f"add their names to it, or paint them {VOID}, void"
        if wrong == [count] and not first:
            advice += "; if 0 means that a pixel has no label, and 1 is the first class, say "
            advice += "--zero-is-void (zero_is_void=True in Python)"
        if count == 2 and not first:
            advice += "; if everything but 0 is one object, say --binary (binary=True in Python)"
        shown = f"{wrong[:SHOWN]}" + (f" and {len(wrong) - SHOWN} more" * (len(wrong) > SHOWN))
        return [
            f"{path} has the numbers {shown}, but the {count} classes of classes.txt are "
            f"{first} ... {count - 1 + first}; {advice}"
        ]


def _pair_faults(
    files: MapFiles, images: dict[Path, list[Path]], labels: dict[Path, list[Path]]
) -> list[str]:
    """A fault for each image and each label map that stands alone, or is not alone."""
    faults: list[str] = []
    for key in sorted(images.keys() - labels.keys()):
        wanted = files.map_of(key)
        if other := files.other_map_of(key):
            faults.append(_no_png(other))
            continue
        faults.append(MissingFile(f"{images[key][0]}: its label map is missing, {wanted}"))
    for key in sorted(labels.keys() - images.keys()):
        faults.append(MissingFile(f"{labels[key][0]}: this label map has no image {key}"))
    for paths in images.values():
        if len(paths) > 1:
            faults.append(f"{paths[1]}: {paths[0].name} has the same name; rename one")
    return faults


def _no_png(path: Path) -> str:
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return (
            f"{path}: this label map is a JPEG, and JPEG changes numbers; save it as PNG from "
            "where it was drawn"
        )
    return f"{path}: this label map is no PNG; convert it to one, with the same numbers"


def _segment(ids: np.ndarray, id: int) -> dict:
    mask = ids == id
    facts = {"id": id, "category_id": id - 1, "iscrowd": 0}
    return facts | {"area": int(mask.sum()), "bbox": bounding_box(mask)}
