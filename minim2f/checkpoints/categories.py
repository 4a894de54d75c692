"""The classes of the data sets that published checkpoints were trained on.

categories.json has them in the order of the class head: names, which of them are things, and their
ids. Its "source" says what each list was compared with. A file for instances knows the things
alone. A file for semantic maps has the numbers of its maps for ids, which are the class indices.
"""

from __future__ import annotations

import json
from pathlib import Path

DATA_SETS = json.loads(Path(__file__).with_name("categories.json").read_text("utf-8"))
TASKS = ("panoptic", "instance", "semantic")
Categories = tuple[dict, ...]


def _list(data_set: str, task: str) -> Categories:
    known = DATA_SETS[data_set]
    return tuple(
        {
            "id": k if task == "semantic" else known["ids"][k],
            "name": name,
            "isthing": int(k in known["things"]),
        }
        for k, name in enumerate(known["names"])
        if task != "instance" or k in known["things"]
    )


CATEGORIES = {f"{name}/{task}": _list(name, task) for name in DATA_SETS for task in TASKS}

# What a file may be of which only the classes are known. The same classes are there for several
# tasks: then class indices as ids promise least.
COMMON = ("coco/panoptic", "ade20k/semantic", "cityscapes/semantic", "mapillary_vistas/semantic")
OF_THINGS = ("coco/instance", "ade20k/instance", "cityscapes/instance")


def by_number(count: int) -> Categories:
    """The classes of a file that says no more than how many it has; () if nothing can be guessed.

    133, 150, 19 and 65 are the data sets of published checkpoints, and 80 is COCO's instances. The
    100 and 8 of ADE20K's and Cityscapes' are left out: too many others have as many classes.
    """
    guesses = (CATEGORIES[kind] for kind in (*COMMON, "coco/instance"))
    return next((guess for guess in guesses if len(guess) == count), ())


def by_names(names: list[str]) -> Categories:
    """The classes with these names: of a known data set if most names are its, else all things.

    Args:
        names: in the order of the class head. They stay as they are. Of synonyms ("road, route"),
            the first is looked at.
    """
    first = [name.split(",")[0].strip().lower() for name in names]

    def same(known: Categories) -> int:
        return sum(c["name"].lower() == name for c, name in zip(known, first))

    lists = (CATEGORIES[kind] for kind in (*COMMON, *OF_THINGS))
    found = next((k for k in lists if len(k) == len(names) and same(k) > len(names) / 2), None)
    if found is None:
        found = tuple({"id": k, "isthing": 1} for k in range(len(names)))
    return tuple(category | {"name": name} for category, name in zip(found, names))
