"""What a scene holds, and where: stuff from far to near, then things."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from . import stuff
from .drawing import rgb
from .roads import Blocked, Place, Spot, road_across, road_winding
from .scene import Scene
from .stuff import ridge
from .things import PAINTS, SIZES, TRIMS

CLASS = {"car ahead": "car", "flock": "bird"}  # of drawings that are not called like their class
AIRBORNE = ("flock", "bird", "kite")
UNLABELLED = ("tree", "pine", "cottage", "fence", "lighthouse")  # of no class: void
MOST = 9  # segments of a scene, a flock aside


class Thing(NamedTuple):
    """A thing that has its place in the scene."""

    name: str  # of `DRAWINGS`
    x: float
    y: float
    looks: dict[str, Any]  # options of `Scene.draw_thing`


def compose(seed: int) -> Scene:
    """The segments and strokes of a scene, the same at every size.

    Stuff comes first, from far to near, and then the things: those in the sky before those on
    the ground, the far ones before the near ones.
    """
    scene = Scene(seed)
    horizon = scene.between(0.4, 0.5)
    wet = scene.chance(0.65)
    beach = wet and scene.chance(0.6)
    road = scene.pick(("across", "across", "winding", "winding", "none"))
    sun = stuff.paint_sky(scene, horizon)
    if scene.chance(0.55):
        stuff.paint_mountains(scene, horizon)
    shore = horizon + (scene.between(0.16, 0.24) if wet else 0.03)
    land = ridge(scene, shore, 0.012 if beach else 0.022, scene.between(-0.05, 0.05))
    if wet:
        stuff.paint_sea(scene, horizon, shore, sun)
    if beach:
        stuff.paint_sand(scene, land)
        if road == "none":  # a dune in a corner
            stuff.paint_grass(scene, [ridge(scene, 0.93, 0.02, scene.pick((-0.35, 0.35)))])
    else:
        hills = [land, ridge(scene, horizon + 0.13, 0.03, scene.between(-0.1, 0.1))]
        hills = hills[:1] if wet else hills
        stuff.paint_grass(scene, hills)
        land = hills[-1]
    places, blocked = {}, lambda x, y: False
    if road == "across":
        places, blocked = road_across(scene)
    elif road == "winding" and not beach:
        places, blocked = road_winding(scene, land)
    places |= places_off_the_road(scene, horizon, shore, land, blocked)
    things = choose_things(scene, places, distant_place(scene, land, blocked))
    for thing in sorted(things, key=lambda thing: (thing.name not in AIRBORNE, thing.y)):
        add_thing(scene, horizon, thing)
    return scene


def ground_place(scene: Scene, land: np.ndarray, blocked: Blocked, reach: float) -> Place:
    """A place on the land, below its upper edge, (V, 2).

    Args:
        scene: gives the random numbers.
        land: the upper edge of the land, (V, 2).
        blocked: where nothing can stand.
        reach: how far towards us, 1 for the lower border.
    """

    def ground() -> Spot | None:
        x = scene.between(0.12, 0.88)
        top = float(np.interp(x, *land.T))
        y = top + 0.03 + reach * scene.between(0, 0.94 - top)
        return None if blocked(x, y) else Spot(x, y, {"turn": scene.between(-0.25, 0.25)})

    return ground


def distant_place(scene: Scene, land: np.ndarray, blocked: Blocked) -> Place:
    """A place on the far part of the land, for what stands upright."""
    ground = ground_place(scene, land, blocked, reach=0.4)

    def distant() -> Spot | None:
        spot = ground()
        return spot and spot._replace(looks={})

    return distant


def places_off_the_road(
    scene: Scene, horizon: float, shore: float, land: np.ndarray, blocked: Blocked
) -> dict[str, Place]:
    """The places in the air, on the water and on the land, by the name of what may be there."""

    def air() -> Spot:
        looks = {"turn": scene.between(-0.3, 0.3), "flip": scene.chance(0.5)}
        return Spot(scene.between(0.12, 0.88), scene.between(0.17, 0.3), looks)

    def water() -> Spot:
        y = horizon + (shore - horizon) * scene.between(0.3, 0.8)
        return Spot(scene.between(0.12, 0.88), y, {"flip": scene.chance(0.5)})

    ground = ground_place(scene, land, blocked, reach=1.0)
    places: dict[str, Place] = {"kite": air, "bird": air, "umbrella": ground, "sports ball": ground}
    if shore > horizon + 0.1:
        places["boat"] = water
    return places


def choose_things(scene: Scene, places: dict[str, Place], distant: Place) -> list[Thing]:
    """Fills the scene.

    Perhaps there is something without a label, perhaps a flock of birds. The others are drawn from
    a bag that holds everything that has a place twice, a car four times.
    """
    things: list[Thing] = []
    if scene.chance(0.45):
        place_thing(scene, things, scene.pick(UNLABELLED), distant)
    if scene.chance(0.1):
        place_thing(scene, things, "flock", places["bird"])
    bag = [name for name in places for _ in range(4 if name.startswith("car") else 2)]
    count = min(scene.pick((3, 4, 4, 5)), MOST - len(scene.segments))
    for k in np.argsort(scene.rng.random(len(bag)))[:count]:
        place_thing(scene, things, bag[k], places[bag[k]])
    return things


def place_thing(scene: Scene, things: list[Thing], name: str, place: Place) -> None:
    """Appends a thing to the list, beside another of its name or away from all others.

    Where twenty tries find no free spot, nothing is appended.
    """
    like = next((other for other in things if other.name == name), None)
    if like and scene.chance(0.4):
        side = scene.between(0.6, 0.8) * (1 if like.x < 0.5 else -1)
        things.append(like._replace(y=like.y + 0.01, looks=like.looks | {"side": side}))
        return
    for _ in range(20):
        spot = place()
        if spot and all(_apart(name, spot, other) for other in things):
            things.append(Thing(name, *spot))
            return


def _apart(name: str, spot: Spot, other: Thing) -> bool:
    widths = abs(spot.x - other.x) / (SIZES[name] + SIZES[other.name])
    return widths + abs(spot.y - other.y) > 0.4


def add_thing(scene: Scene, horizon: float, thing: Thing) -> None:
    """Adds the segment and the strokes of a thing, which is the larger the nearer it is."""
    name, x, y, looks = thing
    crowd = int(name == "flock")
    segment = 0 if name in UNLABELLED else scene.add_segment(CLASS.get(name, name), crowd)
    near = 0.6 if name in AIRBORNE else max(y - horizon, 0) / (1 - horizon)
    scale = SIZES[name] * (0.75 + 0.45 * near) * scene.between(0.92, 1.08)
    main, trim = rgb(scene.pick(PAINTS)), rgb(scene.pick(TRIMS))
    if name == "tree":
        main = scene.palette["leaf"]
    if crowd:
        main = rgb("e8ecff" if scene.mood == "night" else "3a3f55")
    options = {"scale": scale, "main": main, "trim": trim} | looks
    scene.draw_thing(segment, name, np.array([x, y]), **options)
