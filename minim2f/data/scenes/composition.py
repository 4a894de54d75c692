"""What a scene holds, and where: stuff from far to near, then a cast of things."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import stuff
from .drawing import rgb
from .page import Page
from .stuff import Blocked, Place, ridge
from .things import PAINTS, SIZES, TRIMS

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
    sun = stuff.paint_sky(page, horizon)
    if page.chance(0.55):
        stuff.paint_mountains(page, horizon)
    shore = horizon + (page.between(0.16, 0.24) if wet else 0.03)
    land = ridge(page, shore, 0.012 if beach else 0.022, page.between(-0.05, 0.05))
    if wet:
        stuff.paint_sea(page, horizon, shore, sun)
    if beach:
        stuff.paint_sand(page, land)
        if course == "none":  # a dune in a corner
            stuff.paint_grass(page, [ridge(page, 0.93, 0.02, page.pick((-0.35, 0.35)))])
    else:
        hills = [land, ridge(page, horizon + 0.13, 0.03, page.between(-0.1, 0.1))]
        hills = hills[:1] if wet else hills
        stuff.paint_grass(page, hills)
        land = hills[-1]
    places, blocked = {}, lambda x, y: False
    if course == "across":
        places, blocked = stuff.road_across(page)
    elif course == "winding" and not beach:
        places, blocked = stuff.road_winding(page, land)
    places |= open_air(page, horizon, shore, land, blocked)
    for actor in sorted(choose(page, places), key=lambda a: (a.name not in AIRBORNE, a.y)):
        enter(page, horizon, actor)
    return page
