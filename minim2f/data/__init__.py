"""What goes in: pictures with their truth, from the embedded scenes, coco-mini, or your files."""

from __future__ import annotations

import os

from .coco import open_coco
from .fetch import find_coco_mini
from .sample import Dataset, Sample
from .scenes import Scenes

__all__ = ["Dataset", "Sample", "Scenes", "open_dataset"]


def open_dataset(name: str | os.PathLike, split: str = "train", **options: object) -> Dataset:
    """Opens a data set; all of them give the same `Sample`.

    Args:
        name: "scenes" (drawn on the fly, needs no file), "coco-mini" (fetched before by
            `minim2f data fetch`), or the path of COCO panoptic data: a folder or a JSON file.
        split: "train" or "val".
        options: for scenes only: `length` and `size`, see `Scenes`.

    Raises:
        FileNotFoundError: coco-mini was not fetched yet, or there is nothing at the path.
    """
    if name == "scenes":
        return Scenes(split, **options)
    if options:
        raise ValueError(f"only scenes takes {', '.join(options)}; {name} has the size that it has")
    if name == "coco-mini":
        name = find_coco_mini()
        if name is None:
            raise FileNotFoundError(
                "coco-mini is not on this machine yet: `minim2f data fetch` gets it (10 MB), "
                "`minim2f data fetch --mirror DIR` from a folder; 'scenes' needs no files"
            )
    return open_coco(name, split)
