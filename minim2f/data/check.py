"""What is wrong with a data set: all of it, not only the first fault."""

from __future__ import annotations

import os
from pathlib import Path

from .coco_instances import empty_mask_faults
from .coco_mini import find_coco_mini
from .faults import sentences_of
from .open import coco_files, open_files


def find_faults(path: str | os.PathLike, split: str | None = None) -> list[str]:
    """Opens a data set and reads every picture, and goes on after a fault.

    Every annotation file and every picture is read, so this takes as long as an epoch of reading.

    Args:
        path: "coco-mini", or what `open_dataset` takes: a folder or a JSON file. A folder's
            panoptic and instance files are both examined.
        split: "train" or "val"; None examines every split.

    Returns:
        A line for each fault, with the file, the ids, and what to do; [] if there is none.
    """
    path = (find_coco_mini() or path) if path == "coco-mini" else path
    faults = [fault for source in _sources(Path(path), split) for fault in _faults(source, split)]
    return [_line(sentence) for fault in faults for sentence in sentences_of(fault)]


def _sources(path: Path, split: str | None) -> list[Path]:
    """The annotation files of a folder, or the folder itself if it has none."""
    splits = ("train", "val") if split is None else (split,)
    files = [file for split in splits for file in coco_files(path, split)]
    return list(dict.fromkeys(files)) or [path]


def _faults(source: Path, split: str | None) -> list[Exception]:
    faults: list[Exception] = []
    try:
        dataset = open_files(source, split, faults=faults)
    except (OSError, ValueError) as fault:  # there is nothing to go on with
        return [*faults, fault]
    if not len(dataset) and not faults:
        faults.append(ValueError(f"{source}: the data set is empty: it has no images"))
    for index in range(len(dataset)):
        try:
            sample = dataset[index]
        except (OSError, ValueError) as fault:
            faults.append(fault)
            continue
        if dataset.task == "instance":
            place = f"image {sample.image_id}: "
            faults += [ValueError(f"{place}{fault}") for fault in empty_mask_faults(sample)]
    return faults


def _line(sentence: str) -> str:
    """One line that any terminal can print, whatever a file name holds."""
    text = " ".join(sentence.splitlines())
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
