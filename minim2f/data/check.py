"""What is wrong with a data set: all of it, not only the first fault."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from .coco_instances import empty_mask_faults
from .coco_mini import find_coco_mini
from .faults import faults_of
from .open import coco_files, open_dataset, open_files
from .sample import Dataset


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
    sources = _sources(Path(path), split)
    return [_line(fault) for source in sources for fault in _faults(source, split)]


def _sources(path: Path, split: str | None) -> list[Path]:
    """The annotation files of a folder, or the folder itself if it has none."""
    splits = ("train", "val") if split is None else (split,)
    files = [file for split in splits for file in coco_files(path, split)]
    return list(dict.fromkeys(files)) or [path]


def _faults(source: Path, split: str | None) -> list[str]:
    faults: list[str] = []
    try:
        dataset = open_files(source, split, faults=faults)
    except (OSError, ValueError) as error:  # there is nothing to go on with
        return faults + faults_of(error)
    if not len(dataset) and not faults:
        faults.append(f"{source}: the data set is empty: it has no images")
    for index in range(len(dataset)):
        try:
            sample = dataset[index]
        except (OSError, ValueError) as error:
            faults += faults_of(error)
            continue
        if dataset.task == "instance":
            faults += [f"image {sample.image_id}: {fault}" for fault in empty_mask_faults(sample)]
    return faults


def _line(fault: str) -> str:
    """One line that any terminal can print, whatever a file name holds."""
    text = " ".join(fault.splitlines())
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def grouped(faults: list[str]) -> list[str]:
    """Faults as lines for people."""
    return faults


class Survey(NamedTuple):
    """What a data set holds, as text, and what is odd about it."""

    text: str
    warnings: list[str]

    def __str__(self) -> str:
        return "\n".join([self.text, *(f"warning: {told}" for told in self.warnings)])


def survey(
    dataset: Dataset | str | os.PathLike, num_queries: int | None = None, **options: object
) -> Survey:
    """Reads every picture of a data set, and says what looks odd about the whole.

    Args:
        dataset: any, or what `open_dataset` takes.
        num_queries: of the model that shall learn from it.
        options: of `open_dataset`.
    """
    if isinstance(dataset, (str, os.PathLike)):
        dataset = open_dataset(dataset, None, **options)
    seen, crowded = Counter(), 0
    for sample in dataset:
        seen.update(segment["category_id"] for segment in sample.segments)
        crowded += num_queries is not None and len(sample.labels) > num_queries
    never = [str(c["name"]) for c in dataset.categories if not seen[c["id"]]]
    warnings = [f"{len(never)} classes never occur: {', '.join(never)}"] if never else []
    if crowded:
        warnings.append(f"{crowded} pictures have more segments than {num_queries} queries")
    return Survey(f"{len(dataset)} pictures", warnings)
