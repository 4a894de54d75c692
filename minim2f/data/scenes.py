"""The embedded data set: storybook landscapes drawn from a seed, in exact COCO panoptic form."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from . import landscape
from .drawing import render, rgb
from .landscape import Blocked, Page, Place, ridge
from .sample import Sample
from .things import PAINTS, SIZES, TRIMS

# COCO's own ids and names. The colours are ours: 21 and more apart (CIELAB) in print and for the
# three kinds of colour blindness, and no two of them equally light.
CATEGORIES: list[dict] = [
    {"id": i, "name": name, "isthing": int(i < 100), "supercategory": group, "color": colour}
    for i, name, group, colour in [
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

CLASS = {"car ahead": "car", "flock": "bird"}  # where a thing is called otherwise
AIRBORNE = ("flock", "bird", "kite")
NAMELESS = ("tree", "pine", "cottage", "fence", "lighthouse")  # no class of ours: void
MOST = 9  # segments of a scene, a flock aside


class Actor(NamedTuple):
    """A thing and where it stands; `looks` are options of `Page.put`."""

    name: str
    x: float
    y: float
    looks: dict[str, Any]


def open_air(
    page: Page, horizon: float, shore: float, land: np.ndarray, blocked: Blocked
) -> dict[str, Place]:
    """The places beside the road."""

    def ground(reach: float = 1.0):
        x = page.between(0.12, 0.88)
        top = float(np.interp(x, *land.T))
        y = top + 0.03 + reach * page.between(0, 0.94 - top)
        return None if blocked(x, y) else (x, y, {"turn": page.between(-0.25, 0.25)})

    def far():
        spot = ground(reach=0.4)
        return spot and (*spot[:2], {})

    def air():
        looks = {"turn": page.between(-0.3, 0.3), "flip": page.chance(0.5)}
        return page.between(0.12, 0.88), page.between(0.17, 0.3), looks

    def water():
        y = horizon + (shore - horizon) * page.between(0.3, 0.8)
        return page.between(0.12, 0.88), y, {"flip": page.chance(0.5)}

    places = {"kite": air, "bird": air, "umbrella": ground, "sports ball": ground, "nameless": far}
    return places | ({"boat": water} if shore > horizon + 0.1 else {})


def seat(page: Page, cast: list[Actor], name: str, place: Place) -> None:
    """Gives a thing a place beside its like or away from the others, or drops it if all is full."""
    twin = next((other for other in cast if other.name == name), None)
    if twin and page.chance(0.4):
        side = page.between(0.6, 0.8) * (1 if twin.x < 0.5 else -1)
        cast.append(twin._replace(y=twin.y + 0.01, looks=twin.looks | {"side": side}))
        return
    for _ in range(20):
        spot = place()
        if spot and all(_apart(name, spot, other) for other in cast):
            cast.append(Actor(name, *spot))
            return


def _apart(name: str, spot: tuple, other: Actor) -> bool:
    widths = abs(spot[0] - other.x) / (SIZES[name] + SIZES[other.name])
    return widths + abs(spot[1] - other.y) > 0.4


def choose(page: Page, places: dict[str, Place]) -> list[Actor]:
    """Fills the scene from a bag in which everything that has a place lies twice, a car 4 times."""
    cast: list[Actor] = []
    far = places.pop("nameless")
    if page.chance(0.45):
        seat(page, cast, page.pick(NAMELESS), far)
    if page.chance(0.1):
        seat(page, cast, "flock", places["bird"])
    bag = [name for name in places for _ in range(4 if name.startswith("car") else 2)]
    count = min(page.pick((3, 4, 4, 5)), MOST - len(page.segments))
    for k in np.argsort(page.dice.random(len(bag)))[:count]:
        seat(page, cast, bag[k], places[bag[k]])
    return cast


def enter(page: Page, horizon: float, actor: Actor) -> None:
    """Puts a thing on the page, the larger the nearer."""
    name, x, y, looks = actor
    crowd = int(name == "flock")
    segment = 0 if name in NAMELESS else page.segment(CLASS.get(name, name), crowd)
    near = 0.6 if name in AIRBORNE else max(y - horizon, 0) / (1 - horizon)
    scale = SIZES[name] * (0.75 + 0.45 * near) * page.between(0.92, 1.08)
    main, trim = rgb(page.pick(PAINTS)), rgb(page.pick(TRIMS))
    if name == "tree":
        main = page.palette["leaf"]
    if crowd:
        main = rgb("e8ecff" if page.mood == "night" else "3a3f55")
    looks = {"scale": scale, "main": main, "trim": trim} | looks
    page.put(segment, name, np.array([x, y]), **looks)


def compose(seed: int) -> Page:
    """The segments and strokes of a scene, the same at every size.

    Stuff comes first, from far to near, and then the things: those in the sky before those on
    the ground, the far ones before the near ones.
    """
    page = Page(seed)
    horizon = page.between(0.4, 0.5)
    wet = page.chance(0.65)
    beach = wet and page.chance(0.6)
    course = page.pick(("across", "across", "winding", "winding", "none"))
    sun = landscape.paint_sky(page, horizon)
    if page.chance(0.55):
        landscape.paint_mountains(page, horizon)
    shore = horizon + (page.between(0.16, 0.24) if wet else 0.03)
    land = ridge(page, shore, 0.012 if beach else 0.022, page.between(-0.05, 0.05))
    if wet:
        landscape.paint_sea(page, horizon, shore, sun)
    if beach:
        landscape.paint_sand(page, land)
        if course == "none":  # a dune in a corner
            landscape.paint_grass(page, [ridge(page, 0.93, 0.02, page.pick((-0.35, 0.35)))])
    else:
        hills = [land, ridge(page, horizon + 0.13, 0.03, page.between(-0.1, 0.1))]
        hills = hills[:1] if wet else hills
        landscape.paint_grass(page, hills)
        land = hills[-1]
    places, blocked = {}, lambda x, y: False
    if course == "across":
        places, blocked = landscape.road_across(page)
    elif course == "winding" and not beach:
        places, blocked = landscape.road_winding(page, land)
    places |= open_air(page, horizon, shore, land, blocked)
    for actor in sorted(choose(page, places), key=lambda a: (a.name not in AIRBORNE, a.y)):
        enter(page, horizon, actor)
    return page


# ---- the data set

SHOWN = {1: 0.0035, 0: 0.01}  # the least share of a 96 x 96 picture for a thing (1), for stuff (0)


def draw(seed: int, height: int = 96, width: int = 96) -> Sample:
    """Draws one scene.

    Its composition follows the picture's form; things keep theirs, so that balls stay round. What
    would show too little of itself at 96 x 96 is left out at every size.

    Args:
        seed: of the dice, 0 or more; also the `image_id`.
        height: of the picture in pixels, 32 or more.
        width: likewise.

    Returns:
        the sample. Ids are COCO's: R + 256 G + 65536 B of the category's colour, for all but the
        first segment of a category of a colour close to it.

    Raises:
        ValueError: the seed is negative, or the picture too small.
    """
    if seed < 0:
        raise ValueError(f"a scene's seed is a whole number from 0 on, not {seed}")
    if min(height, width) < 32:
        raise ValueError(f"a scene of {height} x {width} pixels is too small; 32 x 32 is the least")
    page = compose(seed)
    ids = _ids(page)
    light = page.between(0.92, 1.06)
    image, labels = render(page.strokes, 96, 96)
    share = np.bincount(labels.ravel(), minlength=len(ids)) / labels.size
    least = [0.0] + [SHOWN[BY_NAME[name]["isthing"]] for name, _ in page.segments]
    seen = [s for s in page.strokes if share[s.segment] >= least[s.segment]]
    if len(seen) < len(page.strokes) or (height, width) != (96, 96):
        image, labels = render(seen, height, width)
    image = image * light + page.dice.integers(-4, 5, (height, width), dtype=np.int8)
    return Sample.from_panoptic(
        torch.from_numpy(np.clip(np.rint(image), 0, 255).astype(np.uint8)),
        torch.from_numpy(ids[labels]),
        _segments_info(page, ids, labels),
        CATEGORIES,
        image_id=seed,
        file_name=f"scene_{seed:010d}.png",
    )


def _ids(page: Page) -> np.ndarray:
    """The panoptic id of each segment, that of void (0) first."""
    ids = [0]
    for name, _ in page.segments:
        colour = BY_NAME[name]["color"]
        while (number := int(np.dot(colour, (1, 256, 65536)))) in ids:
            jitter = page.dice.integers(-20, 21, 3)
            colour = np.clip(BY_NAME[name]["color"] + jitter, 0, 255)
        ids.append(number)
    return np.array(ids, np.int64)


def _segments_info(page: Page, ids: np.ndarray, labels: np.ndarray) -> list[dict]:
    infos = []
    for k, (name, crowd) in enumerate(page.segments, 1):
        mask = labels == k
        ys, xs = np.flatnonzero(mask.any(1)).tolist(), np.flatnonzero(mask.any(0)).tolist()
        if ys:
            info = {"id": int(ids[k]), "category_id": BY_NAME[name]["id"], "iscrowd": crowd}
            bbox = [xs[0], ys[0], xs[-1] - xs[0] + 1, ys[-1] - ys[0] + 1]
            infos.append(info | {"area": int(mask.sum()), "bbox": bbox})
    return infos


FIRST = {"train": 0, "val": 10**9}  # seeds
LENGTH = {"train": 4096, "val": 256}


class Scenes:
    """Storybook landscapes, drawn when asked for: `ds[i]` is always the same scene.

    The training scenes have the seeds 0, 1, ... and the validation scenes 10^9, 10^9 + 1, ...;
    no length reaches from the ones to the others. `list(ds)` keeps them in memory.

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
        if split not in FIRST:
            raise ValueError(f'scenes have the splits "train" and "val", not {split!r}')
        self.length = LENGTH[split] if length is None else length
        if not 1 <= self.length <= FIRST["val"]:
            raise ValueError(f"length is 1 ... {FIRST['val']}, not {length}")
        self.size = (size, size) if isinstance(size, int) else tuple(size)
        if len(self.size) != 2 or min(self.size) < 32:
            raise ValueError(f"size is (height, width), each 32 pixels or more, not {size}")
        self.first = FIRST[split]

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
