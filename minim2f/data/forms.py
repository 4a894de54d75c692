"""The forms in which people keep their data: where annotations, pictures and label maps lie.

Each table is read from top to bottom; a row is all that a new form needs. `{split}` stands for one
part of a name, which becomes the name of the split. Capitals do not matter.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

# COCO's JSON files, within the folder of a data set. The first word of the file's name says of what
# kind it is, panoptic or instances; of the others, that is seen in what they hold.
ANNOTATIONS = (
    "panoptic.json",  # as `minim2f.data.coco_panoptic.write_coco` writes it
    "instances.json",
    "annotations/panoptic_{split}.json",  # COCO 2014 and 2017, CVAT (split "default"), Ultralytics
    "annotations/instances_{split}.json",
    "panoptic_{split}.json",  # panopticapi's sample
    "instances_{split}.json",
    "{split}/_annotations.coco.json",  # Roboflow
    "_annotations.coco.json",
    "{split}/labels.json",  # FiftyOne
    "labels.json",
    "{split}/annotations.json",
    "annotations.json",  # labelme
    "annotations/{split}.json",  # Ultralytics
    "{split}.json",
)

# The pictures of a JSON file, within its own folder or the one above.
PICTURES = (
    "images",
    "{split}",  # COCO
    "images/{split}",  # Ultralytics, CVAT
    "data",  # FiftyOne
    "JPEGImages",  # labelme
    "input_images",  # panopticapi's sample
    "",  # Roboflow; also where file names have a folder in them
)

# The PNGs of a panoptic JSON file, likewise; `{stem}` is its name without .json.
PANOPTIC_PNGS = ("panoptic", "{stem}", "panoptic/{split}", "panoptic_{split}", "")

# Pictures and label maps, within the folder of a data set.
LABEL_MAPS = (
    ("images", "labels"),
    ("images", "masks"),
    ("images", "annotations"),  # ADE20K
    ("{split}/images", "{split}/labels"),
    ("{split}/images", "{split}/masks"),
    ("{split}/images", "{split}/annotations"),
    ("{split}", "{split}_labels"),
    ("{split}", "{split}_masks"),
    ("{split}", "{split}annot"),  # CamVid
    ("leftImg8bit", "gtFine"),  # Cityscapes
    ("img_dir", "ann_dir"),  # MMSegmentation
    ("JPEGImages", "SegmentationClass"),  # Pascal VOC, labelme
)

# Lists of the pictures of a split, beside label maps whose folders have no splits; `{split}` is one
# of the names below.
SPLIT_LISTS = (
    "{split}.txt",
    "splits/{split}.txt",
    "ImageSets/Segmentation/{split}.txt",  # Pascal VOC
)

# What may follow a picture's name, and that of its label map. Of the endings in one row the first
# that there is counts; endings of two rows cannot be told apart.
PICTURE_ENDINGS = ("_leftImg8bit", "")
MAP_ENDINGS = (
    ("",),
    ("_gtFine_labelTrainIds", "_gtFine_labelIds"),
    ("_mask",),
    ("_label", "_labels", "_labelIds"),
    ("_seg",),
    ("_P",),
)

# Names of one split; a year may follow ("train2017"), unless two years are there.
SPLIT_WORDS = (("train", "training"), ("val", "valid", "validation"), ("test", "testing"))


class Found(NamedTuple):
    """A path that fits a row of a table, and the split that its name says."""

    path: Path
    split: str | None


def as_written(folder: Path, name: str) -> Path:
    """A path in a folder, each part of it as the disk writes it: `Images` for `images`.

    Args:
        folder: where to look.
        name: parts with / between them; what is there in exactly this form comes first.
    """
    for part in name.split("/"):
        if not os.path.exists(folder / part):
            others = (other for other in _listed(folder) if other.lower() == part.lower())
            part = next(others, part)
        folder = folder / part
    return folder


def find(folder: Path, pattern: str) -> list[Found]:
    """What fits a pattern in a folder, in order; hidden files and folders do not.

    Args:
        folder: where to look.
        pattern: a row of a table; without a suffix it means folders.
    """
    before, split, after = pattern.partition("{split}")
    if not split:
        path = as_written(folder, pattern)
        return [Found(path, None)] if os.path.exists(path) else []
    *above, start = before.split("/")
    end, *below = after.split("/")
    place = as_written(folder, "/".join(above)) if above else folder
    shape = re.compile(f"{re.escape(start)}([^.].*){re.escape(end)}", re.IGNORECASE)
    found = []
    for name in _listed(place, only_folders=bool(below) or "." not in end):
        if match := shape.fullmatch(name):
            path = as_written(place / name, "/".join(below)) if below else place / name
            found += [Found(path, match[1])] if os.path.exists(path) else []
    return found


def _listed(folder: Path, only_folders: bool = False) -> list[str]:
    """The names in a folder, in order; none where it is no folder, or closed to us."""
    try:
        with os.scandir(folder) as entries:
            return sorted(e.name for e in entries if not only_folders or e.is_dir())
    except OSError:
        return []


def annotation_files(folder: Path) -> list[list[Found]]:
    """The JSON files of a folder: a list for each row of `ANNOTATIONS` that fits.

    A file is in one list only, and rows without a kind in their names count only where no other
    fits.
    """
    rows: list[list[Found]] = []
    seen: set[Path] = set()
    for pattern in ANNOTATIONS:
        if rows and kind_of(Path(pattern)) is None and kind_of(rows[0][0].path) is not None:
            break
        found = [f for f in find(folder, pattern) if f.path.is_file() and f.path not in seen]
        seen |= {f.path for f in found}
        if found:
            rows.append(found)
    return rows


def kind_of(path: Path) -> str | None:
    """ "panoptic" or "instances" if the name of a JSON file says it."""
    return next((k for k in ("panoptic", "instances") if path.name.startswith(k)), None)


def split_in_name(path: Path) -> str | None:
    """The word of a JSON file's path that its folders may share: `val` of `instances_val.json`."""
    if path.stem in ("_annotations.coco", "labels", "annotations"):
        return path.parent.name
    if kind_of(path):
        return path.stem.partition("_")[2] or None
    return path.stem


def folders_of(json_path: Path, table: tuple[str, ...]) -> list[Path]:
    """Where a JSON file's pictures or PNGs may lie, the likeliest first."""
    split = split_in_name(json_path)
    rows = [row for row in table if split or "{split}" not in row]
    names = [row.format(split=split, stem=json_path.stem) for row in rows]
    bases = (json_path.parent, json_path.parent.parent)
    return list(dict.fromkeys(as_written(base, name) for base in bases for name in names))


def is_part_of_a_form(name: str) -> bool:
    """True for the usual names of folders within a data set: `images`, `masks`, `train`, ..."""
    rows = [*ANNOTATIONS, *PICTURES, *PANOPTIC_PNGS, *(cell for row in LABEL_MAPS for cell in row)]
    return is_split_word(name) or name.lower() in {
        p.lower() for row in rows for p in row.split("/")
    }


def is_split_word(name: str) -> bool:
    """True for the usual names of splits, with a year or without."""
    return any(_bare(name) in words for words in SPLIT_WORDS)


def is_for_training(name: str) -> bool:
    """True for the usual names of the split that is learned from."""
    return _bare(name) in SPLIT_WORDS[0]


def _bare(name: str) -> str:
    return re.sub(r"[_-]?\d{4}$", "", name.lower())


def choose_split(wanted: str, names: list[str], place: object) -> str:
    """The name, among those there are, that a split is called by.

    Args:
        wanted: the name itself, or one for the same ("val" for "valid" and "val2017").
        names: of the splits that there are.
        place: for messages: the file or folder.

    Raises:
        ValueError: there is none, or there are several.
    """
    if wanted in names:
        return wanted
    same = next((words for words in SPLIT_WORDS if _bare(wanted) in words), (_bare(wanted),))
    year = re.search(r"\d{4}$", wanted)
    fits = [] if year else [name for name in names if _bare(name) in same]
    if len(fits) > 1:
        raise ValueError(f"{place}: split {wanted!r} may be any of {fits}; name one of them")
    if not fits:
        raise ValueError(f"{place} has no split {wanted!r}, only {sorted(names)}")
    return fits[0]


def refuse_unsplit(wanted: str | None, place: object) -> None:
    """Data without splits are all there is, to train and to validate; another name is a mistake.

    Raises:
        ValueError: the name is neither of these.
    """
    if wanted is not None and not any(_bare(wanted) in words for words in SPLIT_WORDS[:2]):
        raise ValueError(f"{place} has no splits, so no split {wanted!r}; leave it out")


def walk(folder: Path) -> list[Path]:
    """All files below a folder, in order, through links to folders too, each folder once."""
    files, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        if (real := os.path.realpath(place)) in seen:
            folders.clear()
            continue
        seen.add(real)
        files += [Path(place, name) for name in names if not name.startswith(".")]
    return sorted(files)
