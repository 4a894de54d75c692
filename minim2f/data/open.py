"""Opens a data set by its name or path; all of them give the same `Sample`."""

from __future__ import annotations

import os
from pathlib import Path

from .coco_instances import CocoInstances
from .coco_json import looks_like_instances, read_json
from .coco_mini import find_coco_mini
from .coco_panoptic import CocoPanoptic
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
            file (see `open_coco`), or of a folder with `images/` and `labels/` (see
            `minim2f.data.label_maps.LabelMaps`).
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
    return as_task(open_files(Path(name), split, task), task)


def open_files(
    path: Path,
    split: str | None = None,
    task: str | None = None,
    faults: list[str] | None = None,
) -> Dataset:
    """Opens somebody's own files: COCO data, or label maps where there is no COCO JSON file.

    Args:
        path: as for `open_coco`, or a folder with `images/` and `labels/`.
        split, task, faults: as for `open_coco`.

    Raises:
        FileNotFoundError, ValueError: as `open_coco` and `minim2f.data.label_maps.LabelMaps`.
    """
    has_maps = (path / "images").is_dir() and (path / "labels").is_dir()
    if has_maps and not coco_files(path, split, task):
        return LabelMaps(path, split, faults)
    return open_coco(path, split, task, faults)


def open_coco(
    path: str | os.PathLike,
    split: str | None = None,
    task: str | None = None,
    faults: list[str] | None = None,
) -> CocoPanoptic | CocoInstances:
    """Finds the parts of a COCO data set, panoptic or instance, and opens it.

    Args:
        path: one of
            - a folder with `panoptic.json`, `images/` and `panoptic/`, as
              `minim2f.data.coco_panoptic.write_coco` makes it, or with `instances.json` and
              `images/`;
            - COCO's own folder: `annotations/panoptic_val2017.json`, its PNGs in
              `annotations/panoptic_val2017/`, and `val2017/` (likewise `train2017`), or
              `annotations/instances_val2017.json` and `val2017/`;
            - the JSON file of any of them; the images may lie beside it, too.
        split: "train" or "val": chooses the JSON file in COCO's own folder, and the images whose
            "split" field says so elsewhere; None takes every image.
        task: where there are panoptic and instance files, "instance" prefers the latter.
        faults: gets what is wrong with the JSON file, and rows at fault are left out; without a
            list, that is raised.

    Raises:
        FileNotFoundError: a part is missing; the message says what was looked for.
        ValueError: the JSON file cannot be used, see `CocoPanoptic` and `CocoInstances`.
    """
    files = coco_files(path, split, task)
    if not files:
        names = " nor ".join(_names(split, task))
        raise FileNotFoundError(f"{path}: no COCO data here: neither {names} (split {split!r})")
    reader = CocoInstances if _holds_instances(files[0]) else CocoPanoptic
    return reader(files[0], split=split, faults=faults)


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
    return [
        name for kind in kinds for name in (f"{kind}.json", f"annotations/{kind}_{split}2017.json")
    ]


def _holds_instances(path: Path) -> bool:
    """By its name, as COCO's files are large; of any other name, by what is in it."""
    if path.name.startswith(("panoptic", "instances")):
        return path.name.startswith("instances")
    return looks_like_instances(read_json(path)["annotations"])
