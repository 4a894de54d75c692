"""What is wrong with a data set: all of it, not only the first fault."""

from __future__ import annotations

import os
from pathlib import Path

from .coco_json import Report
from .coco_mini import find_coco_mini
from .coco_panoptic import coco_files, open_coco
from .label_maps import LabelMaps
from .sample import Dataset


def check(path: str | os.PathLike, split: str | None = None) -> list[str]:
    """Examines a data set as its reader does, but does not stop at a fault.

    Every annotation file and every picture is read, so this takes as long as an epoch of reading.

    Args:
        path: "coco-mini", or what `open_dataset` takes: a folder or a JSON file. A folder's
            panoptic and instance files are both examined.
        split: "train" or "val"; None examines every split.

    Returns:
        A line for each fault, with the file, the ids, and what to do; [] if there is none.
    """
    path = (find_coco_mini() or path) if path == "coco-mini" else path
    faults: list[Exception] = []
    for source in _sources(Path(path), split):
        before = len(faults)
        try:
            dataset = _open(source, split, faults.append)
            if not len(dataset) and len(faults) == before:
                faults.append(ValueError(f"{source}: the data set is empty: it has no images"))
            _examine(dataset, faults.append)
        except (OSError, ValueError) as fault:  # one that leaves nothing to go on with
            faults.append(fault)
    return [_line(fault) for fault in faults]


def _sources(path: Path, split: str | None) -> list[Path]:
    splits = ("train", "val") if split is None else (split,)
    files = [file for split in splits for file in coco_files(path, split)]
    return list(dict.fromkeys(files)) or [path]


def _open(source: Path, split: str | None, report: Report) -> Dataset:
    if source.is_dir() and (source / "images").is_dir() and (source / "labels").is_dir():
        return LabelMaps(source, split, report)
    return open_coco(source, split, report=report)


def _examine(dataset: Dataset, report: Report) -> None:
    for index in range(len(dataset)):
        sample = dataset.read(index, report)
        if sample is None or dataset.task != "instance":
            continue
        for segment, mask in zip(sample.segments, sample.segment_masks().numpy(), strict=True):
            if not mask.any():
                place = f"image {sample.image_id}: {sample.file_name}"
                fault = f"the mask of annotation {segment['annotation_id']} has no pixel"
                report(ValueError(f"{place}: {fault}; remove the annotation"))


def _line(fault: Exception) -> str:
    """One line that any terminal can print, whatever a file name holds."""
    text = " ".join(str(fault).splitlines())
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
