"""The exercises of the book: `ch09.py` holds a list EXERCISES for chapter 9, `chE.py` for E."""

from __future__ import annotations

import copy
import pkgutil
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

import torch

RANDOM_CASES = 20


@dataclass(frozen=True)
class Wrong:
    """A mistake that students make, as code, and the hint that it must earn them.

    Attributes:
        function: the exercise solved with that one mistake.
        hint: one sentence that points to the mistake, and does not give the solution away.
    """

    function: Callable
    hint: str


@dataclass(frozen=True)
class Exercise:
    """One exercise: what is right, on which inputs, and what usually goes wrong.

    Attributes:
        id: chapter and number, "9.2".
        reference: the solution; the build folds this code into the chapter, under the stub, which
            has the same name.
        inputs: makes a fresh tuple of arguments from a generator; sizes are random too, so that
            edge cases (no target, one query, height unlike width) come up.
        wrong: typical mistakes. Where an answer fits two of them, the first one's hint is given.
        corners: arguments that an answer must get right beside the random ones: what chance
            seldom makes, such as a tie or a value exactly at a threshold.
    """

    id: str
    reference: Callable
    inputs: Callable[[torch.Generator], tuple]
    wrong: Sequence[Wrong] = ()
    corners: Sequence[tuple] = ()

    def cases(self) -> list[tuple]:
        """All arguments that an answer is tried on, fresh ones at each call."""
        seeds = [torch.Generator().manual_seed(seed) for seed in range(RANDOM_CASES)]
        return [*copy.deepcopy(tuple(self.corners)), *map(self.inputs, seeds)]


def integer(generator: torch.Generator, low: int, high: int) -> int:
    """A random whole number, low and high included: the sizes that inputs are made with."""
    return int(torch.randint(low, high + 1, (), generator=generator))


def chapters() -> list[str]:
    """The numbers of the chapters that have exercises, as on their cards: "9", "E"."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    found = [name[2:] for name in names if re.fullmatch(r"ch(\d\d|[A-Z])", name)]
    return [name.lstrip("0") or "0" for name in found]


def module(number: str) -> ModuleType:
    """The module of one chapter's exercises."""
    return import_module(f"{__name__}.ch{number.zfill(2) if number.isdigit() else number}")


def of_chapter(number: str) -> list[Exercise]:
    """All exercises of one chapter, in order."""
    return list(module(number).EXERCISES)


def find(exercise_id: str) -> Exercise:
    """The exercise "9.2".

    Raises:
        KeyError: there is none of that id; the message lists those there are.
    """
    chapter = exercise_id.partition(".")[0]
    known = [chapter] if chapter in chapters() else chapters()
    there = {exercise.id: exercise for number in known for exercise in of_chapter(number)}
    if exercise_id not in there:
        raise KeyError(f"no exercise {exercise_id!r}; there are {', '.join(there) or 'none yet'}")
    return there[exercise_id]
