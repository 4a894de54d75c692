"""The parts of somebody's files: annotation files or label maps, found by the tables of forms."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from .coco_instances import CocoInstances
from .coco_json import KEYS, looks_like_instances, read_json
from .coco_panoptic import CocoPanoptic
from .forms import (
    Found,
    annotation_files,
    choose_split,
    is_part_of_a_form,
    is_split_word,
    kind_of,
)
from .label_maps import LabelMaps
from .map_files import has_label_maps
from .map_options import MapOptions
from .sample import Dataset

FORM = (
    "images/ with label maps of the same names (PNG) in labels/, or with COCO's panoptic.json or "
    "instances.json"
)
READERS = {"panoptic": CocoPanoptic, "instances": CocoInstances}


@dataclass(frozen=True)
class Source:
    """One annotation file, or all label maps of a folder.

    Attributes:
        kind: "panoptic", "instances" or "maps".
        path: the JSON file, or the folder.
        split: which its name says; None for all there is, or where the file itself has splits.
    """

    kind: str
    path: Path
    split: str | None = None

    def open(
        self, split: str | None, options: MapOptions, faults: list[str] | None = None
    ) -> Dataset:
        """Reads the annotation file, or finds the pictures.

        Args:
            split: that was asked for; of no account where the source is one split.
            options: of the caller, see `minim2f.data.open.open_dataset`.
            faults: gets what is wrong, and rows at fault are left out; without a list, that is
                raised.
        """
        if self.kind == "maps":
            return LabelMaps(self.path, split, faults, options=options)
        options.refuse_for_coco(self.path)
        split = None if self.split else split
        return READERS[self.kind](self.path, options.images, split=split, faults=faults)


def find_sources(path: str | os.PathLike, options: MapOptions) -> list[Source]:
    """Everything in a folder that holds truth; a JSON file is its own list.

    Args:
        path: a folder, or a JSON file.
        options: of the caller; `labels` names the JSON file, or the folder of label maps.

    Raises:
        FileNotFoundError: nothing was found.
        ValueError: several things were found, and nothing says which one is meant.
    """
    path = Path(path)
    if not path.exists():
        what = "annotation file" if path.suffix == ".json" else "folder"
        raise FileNotFoundError(
            f"{path}: there is no such {what}; if it was moved or renamed, say where it is now (of "
            f"a run: --data NEWPLACE). Expected is {FORM}"
        )
    chosen = path if options.labels is None else Path(options.labels)
    if chosen.suffix == ".json":
        return [Source(_kind(chosen), chosen)]
    if options.labels is None and (sources := _annotations(path)):
        return sources
    if has_label_maps(path, options):
        return [Source("maps", path)]
    if unfit := _unfit(path):
        raise ValueError("\n".join(unfit))
    if options.images is not None and options.labels is None:
        raise FileNotFoundError(
            f"{path}: found neither label maps nor an annotation file for the pictures of "
            f"{options.images}; say where they are with --labels PATH (labels=... in Python)"
        )
    raise FileNotFoundError(_no_form(path))


def select(
    sources: list[Source], split: str | None, task: str | None, place: object
) -> list[Source]:
    """Those that a caller means: of one kind, all of them or those of one split.

    Args:
        sources: what `find_sources` found.
        split: None takes all.
        task: where there are panoptic and instance files, "instance" prefers the latter.
        place: for messages.

    Raises:
        FileNotFoundError: there is no such split; the message says which there are.
        ValueError: the split's name fits several.
    """
    order = ("instances", "panoptic", "maps") if task == "instance" else ("panoptic", "instances")
    missing: list[str] = []
    for kind in dict.fromkeys([*order, "maps"]):
        of_kind = [source for source in sources if source.kind == kind]
        names = [source.split for source in of_kind if source.split]
        if not of_kind:
            continue
        if split is None or not names:
            return of_kind
        if any(same_split(split, name) for name in names):
            name = choose_split(split, names, place)
            return [source for source in of_kind if source.split == name]
        before, _, after = of_kind[0].path.as_posix().rpartition(names[0])
        wanted = before + _like(split, names[0]) + after
        missing.append(f"{place} has no split {split!r}, only {names}: there is no {wanted}")
    raise FileNotFoundError("; ".join(missing))


def same_split(wanted: str, name: str) -> bool:
    """True if a split's name is the one wanted, or stands for the same."""
    try:
        return choose_split(wanted, [name], "") == name
    except ValueError:
        return False


def _like(split: str, name: str) -> str:
    """ "train" as "train2017", where the others are called like "val2017"."""
    year = name[-4:] if name[-4:].isdigit() and not split[-4:].isdigit() else ""
    return split + year


def _annotations(folder: Path) -> list[Source]:
    """The sources that are JSON files: of each kind that names say, those of the first row."""
    rows = annotation_files(folder)
    sources: dict[str, list[Source]] = {}
    if rows and kind_of(rows[0][0].path):
        for row in rows:
            sources.setdefault(kind_of(row[0].path), _as_sources(row))
        return [source for of_kind in sources.values() for source in of_kind]
    rows = [kept for row in rows if (kept := [f for f in row if _is_coco(f.path, row)])]
    candidates = [found for row in rows for found in row]
    if len(rows) > 1 or any(f.split and not is_split_word(f.split) for f in candidates[1:]):
        names = ", ".join(str(found.path.relative_to(folder)) for found in candidates)
        raise ValueError(
            f"{folder} has several annotation files, and nothing says which one is meant: {names}; "
            "give the path of one of them instead of the folder"
        )
    return _as_sources(candidates)


def _as_sources(row: list[Found]) -> list[Source]:
    """The files of one row; a single one whose name says no split is all there is."""
    alone = len(row) == 1 and not (row[0].split and is_split_word(row[0].split))
    return [Source(_kind(f.path), f.path, None if alone else f.split) for f in row]


def _is_coco(path: Path, row: list[Found]) -> bool:
    """False for a JSON file that happens to lie there; a broken one counts if it is alone."""
    try:
        read_json(path)
    except ValueError as error:
        return len(row) == 1 and "is not JSON" in str(error)
    return True


def _unfit(folder: Path) -> list[str]:
    """Why the JSON files that lie in a folder are no annotation files."""
    reasons = []
    for found in (found for row in annotation_files(folder) for found in row):
        try:
            read_json(found.path)
        except ValueError as error:
            reasons.append(str(error))
    return reasons


def _no_form(path: Path) -> str:
    """What to do with a path at which no form was recognised."""
    if path.is_file():
        return f"{path} is no annotation file (.json): give the folder of the data instead"
    for parent in path.absolute().parents[:2]:
        names = path.absolute().relative_to(parent).parts
        if all(map(is_part_of_a_form, names)) and _has_data(parent):
            return f"{path} is a part of a data set; give its parent, {parent}"
    folders = [child.name for child in sorted(path.iterdir()) if child.is_dir()]
    holds = f"its folders are {', '.join(folders[:8])}" if folders else "it has no folders"
    return (
        f"{path}: its layout is not known; {holds}. Expected is {FORM} (all forms: "
        "minim2f/data/forms.py). Folders of other names are given with --images FOLDER --labels "
        "FOLDER (images=..., labels=... in Python)"
    )


def _has_data(folder: Path) -> bool:
    try:
        return bool(find_sources(folder, MapOptions()))
    except (OSError, ValueError):
        return False


def _kind(path: Path) -> str:
    """By the file's name, as COCO's files are large; of any other name, by what is in it."""
    if kind := kind_of(path):
        return kind
    return "instances" if looks_like_instances(read_json(path)[KEYS[1]]) else "panoptic"
