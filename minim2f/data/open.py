"""Opens a data set by its name or path; all of them give the same `Sample`."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

from .check_pictures import leave_out_faulty
from .coco_instances import CocoInstances
from .coco_json import read_json
from .coco_mini import find_coco_mini
from .coco_panoptic import CocoPanoptic
from .faults import grouped, raise_faults
from .label_maps import LabelMaps
from .map_files import MapFiles
from .map_options import MapOptions
from .sample import Dataset
from .scenes import Scenes
from .sources import find_sources, select
from .split_lists import list_files
from .subsets import Concat
from .tasks import as_task


def open_dataset(
    name: str | os.PathLike,
    split: str | None = None,
    *,
    task: str | None = None,
    images: str | os.PathLike | None = None,
    labels: str | os.PathLike | None = None,
    ignore: int | None = None,
    zero_is_void: bool = False,
    binary: bool = False,
    skip_faulty: bool = False,
    **options: object,
) -> Dataset:
    """Opens a data set; all of them give the same `Sample`.

    Args:
        name: "scenes" (drawn on the fly, needs no file), "coco-mini" (fetched before by
            `minim2f data fetch`), or a path: of COCO panoptic or instance data, a folder or a JSON
            file, or of a folder with pictures and label maps. `minim2f.data.forms` has a table of
            the forms that are known.
        split: "train", "val", or whatever the data call it (see `minim2f.data.splits.splits_of`).
            None takes every picture of files, and "train" of scenes and coco-mini.
        task: what the truth is for, "panoptic", "instance" or "semantic" (see
            `minim2f.data.tasks.as_task`); None leaves it as rich as it is.
        images: the folder of the pictures, where it is not found; as from here or from the data.
        labels: the annotation file, or the folder of label maps, where there are several; likewise.
        ignore: for label maps: this number is void, too, beside 255.
        zero_is_void: for label maps: 0 is void, and classes are counted from 1 on, as in ADE20K.
        binary: for label maps: 0 is the background, everything else the object, as in masks of 0
            and 255.
        skip_faulty: leave out what is faulty, and say so in a warning: rows of a JSON file, single
            annotations of instance data, whole pictures of other data. Every picture is read once
            for that.
        options: for scenes only: `length` and `size`, see `Scenes`.

    Raises:
        FileNotFoundError: coco-mini was not fetched yet, or there is nothing at the path.
        ValueError: the data set is faulty, there is no such split, it cannot be told what is meant,
            or the truth does not allow the task.
    """
    if name == "scenes":
        return as_task(Scenes(split or "train", **options), task)
    if options:
        raise ValueError(f"only scenes takes {', '.join(options)}; {name} has the size that it has")
    if name == "coco-mini":
        name, split = _coco_mini(), split or "train"
    choice = MapOptions(images, labels, ignore, zero_is_void, binary)
    return as_task(open_files(Path(name), split, task, None, choice, skip_faulty), task)


def _coco_mini() -> Path:
    folder = find_coco_mini()
    if folder is None:
        raise FileNotFoundError(
            "coco-mini is not on this machine yet: `minim2f data fetch` gets it (10 MB), "
            "`minim2f data fetch --mirror DIR` from a folder; 'scenes' needs no files"
        )
    return folder


def open_files(
    path: str | os.PathLike,
    split: str | None = None,
    task: str | None = None,
    faults: list[str] | None = None,
    options: MapOptions = MapOptions(),
    skip_faulty: bool = False,
) -> Dataset:
    """Opens somebody's own files: COCO data, or label maps where there is no COCO JSON file.

    Args:
        path: a folder or a JSON file.
        split: None takes every picture.
        task: where there are panoptic and instance files, "instance" prefers the latter.
        faults: gets what is wrong with the JSON files or the folder, and rows at fault are left
            out; without a list, that is raised.
        options, skip_faulty: as in `open_dataset`.

    Raises:
        FileNotFoundError, ValueError: as `open_dataset`.
    """
    options = options.within(Path(path))
    sources = select(find_sources(path, options), split, task, path)
    found: list[str] | None = [] if skip_faulty else faults
    datasets = [source.open(split, options, found) for source in sources]
    if skip_faulty:
        datasets = [leave_out_faulty(dataset, found) for dataset in datasets]
    if len(datasets) > 1:
        datasets = [Concat(datasets, path)]
    if skip_faulty and found:
        if not len(datasets[0]):
            raise_faults(found)
        warnings.warn(f"{path}: left out\n" + "\n".join(grouped(found)), stacklevel=3)
    return datasets[0]


def open_coco(
    path: str | os.PathLike,
    split: str | None = None,
    task: str | None = None,
    faults: list[str] | None = None,
) -> CocoPanoptic | CocoInstances | Concat:
    """Opens COCO data, panoptic or instance; as `open_files`, and label maps are refused.

    Raises:
        FileNotFoundError: there are no COCO data, or a part is missing.
        ValueError: the JSON file cannot be used, see `CocoPanoptic` and `CocoInstances`.
    """
    dataset = open_files(path, split, task, faults)
    if isinstance(dataset, LabelMaps):
        raise FileNotFoundError(f"{path}: label maps, and no COCO data")
    return dataset


def find_splits(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    labels: str | os.PathLike | None = None,
) -> list[str]:
    """The names of the splits of a data set; see `minim2f.data.splits.splits_of`."""
    if path == "scenes":
        return ["train", "val"]
    path = _coco_mini() if path == "coco-mini" else path
    options = MapOptions(images, labels).within(Path(path))
    sources = select(find_sources(path, options), None, None, path)
    if sources[0].kind == "maps":
        return LabelMaps.splits(sources[0].path, options)
    if sources[0].split:
        return [source.split for source in sources]
    rows = [row for row in read_json(sources[0].path)["images"] if isinstance(row, dict)]
    return sorted({row["split"] for row in rows if isinstance(row.get("split"), str)})


def oddities_of_splits(
    path: str | os.PathLike,
    images: str | os.PathLike | None = None,
    labels: str | os.PathLike | None = None,
) -> list[str]:
    """Sentences on lists of splits that are not read, and on pictures in several or in none.

    Args:
        path, images, labels: as in `open_dataset`.
    """
    if path in ("scenes", "coco-mini"):
        return []
    options = MapOptions(images, labels).within(Path(path))
    (source, *_) = find_sources(path, options)
    if source.kind == "maps" and (files := MapFiles.find(Path(path), options)).lists:
        return files.oddities()
    names = ", ".join(file.name for file in list_files(Path(path)).values())
    reason = "folders" if source.kind == "maps" else "JSON files"
    return [f"{names}: not read, the splits are those of the {reason}"] if names else []
