"""The embedded data set: storybook landscapes drawn from a seed, in exact COCO panoptic form."""

from __future__ import annotations

import numpy as np
import torch

from ..sample import Sample, bounding_box
from .composition import compose
from .drawing import render
from .scene import Scene

# COCO's own ids and names. The colours are ours: 21 and more apart (CIELAB) in print and for the
# three kinds of colour blindness, and no two of them equally light.
CATEGORIES: list[dict] = [
    {"id": i, "name": name, "isthing": int(i < 100), "supercategory": group, "color": color}
    for i, name, group, color in [
        (3, "car", "vehicle", [231, 68, 37]),
        (9, "boat", "vehicle", [137, 93, 75]),
        (13, "stop sign", "outdoor", [136, 0, 15]),
        (16, "bird", "animal", [35, 29, 59]),
        (28, "umbrella", "accessory", [251, 133, 163]),
        (37, "sports ball", "sports", [250, 183, 50]),
        (38, "kite", "sports", [144, 80, 226]),
        (149, "road", "ground", [93, 90, 105]),
        (154, "sand", "ground", [245, 226, 152]),
        (155, "sea", "water", [9, 80, 151]),
        (187, "sky-other-merged", "sky", [165, 215, 246]),
        (192, "mountain-merged", "solid", [130, 138, 189]),
        (193, "grass-merged", "plant", [53, 178, 82]),
    ]
]
BY_NAME = {category["name"]: category for category in CATEGORIES}

# A segment that covers a smaller share of the 96 x 96 picture is left out.
LEAST_OF_THING, LEAST_OF_STUFF = 0.0035, 0.01

FIRST_SEED = {"train": 0, "val": 10**9}
LENGTH = {"train": 4096, "val": 256}  # unless another is asked for


def draw(seed: int, height: int = 96, width: int = 96) -> Sample:
    """Draws one scene.

    The composition stretches with the picture; things keep their form, so that balls stay round. A
    segment that would show too little of itself at 96 x 96 is left out at every size.

    Args:
        seed: of the random numbers, 0 or more; also the `image_id`.
        height: of the picture in pixels, 32 or more.
        width: likewise.

    Returns:
        The sample. An id is R + 256 G + 65536 B of a colour, as COCO's are: the first segment of a
        category has the category's colour, the others random ones close to it.

    Raises:
        ValueError: the seed is negative, or the picture too small.
    """
    if seed < 0:
        raise ValueError(f"a scene's seed is a whole number from 0 on, not {seed}")
    if min(height, width) < 32:
        raise ValueError(f"a scene of {height} x {width} pixels is too small; 32 x 32 is the least")
    scene = compose(seed)
    ids = _ids(scene)
    light = scene.between(0.92, 1.06)
    image, labels = render(scene.strokes, 96, 96)
    large_enough = _large_enough(scene, labels)
    strokes = [stroke for stroke in scene.strokes if large_enough[stroke.segment]]
    if len(strokes) < len(scene.strokes) or (height, width) != (96, 96):
        image, labels = render(strokes, height, width)
    noise = scene.rng.integers(-4, 5, (height, width), dtype=np.int8)
    image = np.rint(image * light + noise)
    return Sample.from_panoptic(
        torch.from_numpy(np.clip(image, 0, 255).astype(np.uint8)),
        torch.from_numpy(ids[labels]),
        _segments_info(scene, ids, labels),
        CATEGORIES,
        image_id=seed,
        file_name=f"scene_{seed:010d}.png",
    )


def _ids(scene: Scene) -> np.ndarray:
    """The panoptic id of each segment by its number; that of number 0, void, is 0."""
    ids = [0]
    for name, _ in scene.segments:
        color = BY_NAME[name]["color"]
        while (number := int(np.dot(color, (1, 256, 65536)))) in ids:
            jitter = scene.rng.integers(-20, 21, 3)
            color = np.clip(BY_NAME[name]["color"] + jitter, 0, 255)
        ids.append(number)
    return np.array(ids, np.int64)


def _large_enough(scene: Scene, labels: np.ndarray) -> list[bool]:
    """Whether each segment, by its number, covers enough of the picture; void always does."""
    shares = np.bincount(labels.ravel(), minlength=len(scene.segments) + 1) / labels.size
    large = [True]
    for (name, _), share in zip(scene.segments, shares[1:]):
        least = LEAST_OF_THING if BY_NAME[name]["isthing"] else LEAST_OF_STUFF
        large.append(bool(share >= least))
    return large


def _segments_info(scene: Scene, ids: np.ndarray, labels: np.ndarray) -> list[dict]:
    infos = []
    for k, (name, crowd) in enumerate(scene.segments, 1):
        mask = labels == k
        if not mask.any():
            continue
        infos.append(
            {
                "id": int(ids[k]),
                "category_id": BY_NAME[name]["id"],
                "iscrowd": crowd,
                "area": int(mask.sum()),
                "bbox": bounding_box(mask),
            }
        )
    return infos


class Scenes:
    """Storybook landscapes, drawn when asked for: `ds[i]` is always the same scene.

    The training scenes have the seeds 0, 1, ... and the validation scenes 10^9, 10^9 + 1, ...;
    `length` is too small for the former to reach the latter. `list(ds)` keeps them in memory.

    Args:
        split: "train" or "val".
        length: how many scenes, 1 ... 10^9; by default 4096 to train on and 256 to validate.
        size: (height, width) in pixels, or one number for both; 32 or more.

    Raises:
        ValueError: there is no such split, length or size.
    """

    categories = CATEGORIES
    task = "panoptic"

    def __init__(
        self, split: str = "train", length: int | None = None, size: int | tuple[int, int] = 96
    ):
        if split not in FIRST_SEED:
            raise ValueError(f'scenes have the splits "train" and "val", not {split!r}')
        self.length = LENGTH[split] if length is None else length
        if not 1 <= self.length <= FIRST_SEED["val"]:
            raise ValueError(f"length is 1 ... {FIRST_SEED['val']}, not {length}")
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        if len(self.size) != 2 or min(self.size) < 32:
            raise ValueError(f"size is (height, width), each 32 pixels or more, not {size}")
        self.first = FIRST_SEED[split]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        """Scene `index`; -1 is the last.

        Raises:
            IndexError: past the end, which ends `for sample in ds`.
        """
        if not -self.length <= index < self.length:
            raise IndexError(f"scene {index} of a data set of {self.length}")
        return draw(self.first + index % self.length, *self.size)
