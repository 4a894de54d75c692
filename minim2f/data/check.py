"""What is wrong with a data set: all of it, not only the first fault."""

from __future__ import annotations

import os
from pathlib import Path

from .check_pictures import read_all
from .coco_instances import empty_mask_faults
from .coco_mini import find_coco_mini
from .faults import faults_of, grouped
from .map_options import MapOptions
from .sample import Dataset
from .sources import Source, find_sources, same_split, select
from .subsets import Concat
from .survey import Survey, survey

__all__ = ["Survey", "find_faults", "grouped", "survey"]


def find_faults(
    path: str | os.PathLike,
    split: str | None = None,
    *,
    images: str | os.PathLike | None = None,
    labels: str | os.PathLike | None = None,
    ignore: int | None = None,
    zero_is_void: bool = False,
    binary: bool = False,
) -> list[str]:
    """Opens a data set as `open_dataset` does, reads every picture, and goes on after a fault.

    Every annotation file and every picture is read, so this takes as long as an epoch of reading.

    Args:
        path: "coco-mini", or what `open_dataset` takes: a folder or a JSON file. A folder's
            panoptic and instance files are both examined.
        split: None examines every split.
        images, labels, ignore, zero_is_void, binary: as in `open_dataset`.

    Returns:
        A line for each fault, with the file, the ids, and what to do; [] if there is none. For
        people, `grouped` makes one line of many faults of one cause.
    """
    path = Path((find_coco_mini() or path) if path == "coco-mini" else path)
    try:
        options = MapOptions(images, labels, ignore, zero_is_void, binary).within(path)
        sources = find_sources(path, options)
        select(sources, split, None, path)
    except (OSError, ValueError) as error:  # there is nothing to go on with
        return [_line(fault) for fault in faults_of(error)]
    faults: list[str] = []
    for kind in dict.fromkeys(source.kind for source in sources):
        datasets = []
        for source in sources:
            if source.kind == kind and _belongs(source, split):
                datasets += _examine(source, split, options, faults)
        faults += _differences(datasets, path)
    return [_line(fault) for fault in faults]


def _belongs(source: Source, split: str | None) -> bool:
    return split is None or source.split is None or same_split(split, source.split)


def _examine(
    source: Source, split: str | None, options: MapOptions, faults: list[str]
) -> list[Dataset]:
    """The data set of one source, or none if it cannot be opened."""
    before = len(faults)
    try:
        dataset = source.open(split, options, faults)
    except (OSError, ValueError) as error:
        faults += faults_of(error)
        return []
    if not len(dataset) and len(faults) == before:
        faults.append(f"{source.path}: the data set is empty: it has no images")
    for _, sample, found in read_all(dataset):
        faults += found
        if sample is not None and dataset.task == "instance":
            faults += [f"image {sample.image_id}: {fault}" for fault in empty_mask_faults(sample)]
    return [dataset]


def _differences(datasets: list[Dataset], path: Path) -> list[str]:
    try:
        if len(datasets) > 1:
            Concat(datasets, path)
    except ValueError as error:
        return [str(error)]
    return []


def _line(fault: str) -> str:
    """One line that any terminal can print, whatever a file name holds."""
    text = " ".join(fault.splitlines())
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
