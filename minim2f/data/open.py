"""Opens a data set by its name or path; all of them give the same `Sample`."""

from __future__ import annotations

import os
from pathlib import Path

from .coco_mini import find_coco_mini
from .coco_panoptic import coco_files, open_coco
from .label_maps import LabelMaps
from .sample import Dataset
from .scenes import Scenes
from .tasks import as_task


def open_dataset(
    name: str | os.PathLike, split: str = "train", *, task: str | None = None, **options: object
) -> Dataset:
    """Opens a data set; all of them give the same `Sample`.

    Args:
        name: "scenes" (drawn on the fly, needs no file), "coco-mini" (fetched before by
            `minim2f data fetch`), or a path: of COCO panoptic or instance data, a folder or a JSON
            file (see `minim2f.data.coco_panoptic.open_coco`), or of a folder with `images/` and
            `labels/` (see `minim2f.data.label_maps.LabelMaps`).
        split: "train" or "val".
        task: what the truth is for, "panoptic", "instance" or "semantic" (see
            `minim2f.data.tasks.as_task`); None leaves it as rich as it is.
        options: for scenes only: `length` and `size`, see `Scenes`.

    Raises:
        FileNotFoundError: coco-mini was not fetched yet, or there is nothing at the path.
        ValueError: the data set is faulty, or its truth does not allow the task.
    """
    if name == "scenes":
        return as_task(Scenes(split, **options), task)
    if options:
        raise ValueError(f"only scenes takes {', '.join(options)}; {name} has the size that it has")
    if name == "coco-mini":
        name = find_coco_mini()
        if name is None:
            raise FileNotFoundError(
                "coco-mini is not on this machine yet: `minim2f data fetch` gets it (10 MB), "
                "`minim2f data fetch --mirror DIR` from a folder; 'scenes' needs no files"
            )
    return as_task(_open_files(Path(name), split, task), task)


def _open_files(path: Path, split: str, task: str | None) -> Dataset:
    has_maps = (path / "images").is_dir() and (path / "labels").is_dir()
    if has_maps and not coco_files(path, split, task):
        return LabelMaps(path, split)
    return open_coco(path, split, task)
