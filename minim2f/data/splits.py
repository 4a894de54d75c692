"""Which parts a data set has, and how a share of one is kept apart from training."""

from __future__ import annotations

import json
import os
import random
import re
from pathlib import Path

from .parts import Part
from .sample import Dataset


def splits_of(path: str | os.PathLike, **_: object) -> list[str]:
    """The names of a data set's splits, [] if it has none."""
    path = Path(path)
    found = {
        match[1]
        for file in sorted((path / "annotations").glob("*.json"))
        if (match := re.fullmatch(r"(?:panoptic|instances)_(\w+?)2017\.json", file.name))
    }
    files = [path] if path.is_file() else [path / "panoptic.json", path / "instances.json"]
    for file in filter(Path.is_file, files):
        images = json.loads(file.read_text("utf-8-sig")).get("images", [])
        found |= {image["split"] for image in images if "split" in image}
    if (path / "images").is_dir() and not found:
        found = {folder.name for folder in (path / "images").iterdir() if folder.is_dir()}
    return sorted(found)


def held_out(dataset: Dataset, share: float = 0.2, seed: int = 0) -> tuple[Part, Part]:
    """Cuts a data set in two: what is learned, and a share that is only measured.

    Args:
        dataset: two pictures or more.
        share: of the second part; at least one picture, and never all.
        seed: decides which pictures; the same seed always chooses the same.
    """
    count = max(1, min(len(dataset) - 1, round(share * len(dataset))))
    held = set(random.Random(seed).sample(range(len(dataset)), count))
    rest = [k for k in range(len(dataset)) if k not in held]
    return Part(dataset, rest, "train"), Part(dataset, sorted(held), "held out")
