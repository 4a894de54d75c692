"""`check("9.2", my_function)`: not tried, not yet, or right, and a hint for a known mistake."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from minim2f.book.compare import Gap, brief, gap
from minim2f.book.exercises import Exercise, find

SEEDS = range(20)  # random inputs that an answer must get right
TOLERANCE = 1e-5


def check(exercise_id: str, function: Callable) -> None:
    """Prints what became of an exercise. A wrong or missing answer never stops the run.

    One line: `○ 9.2 not tried`, `✘ 9.2` with a hint or the first difference, or
    `✔ 9.2 (max difference 6e-8)`. The random state outside stays as it was.

    Args:
        exercise_id: chapter and number, "9.2".
        function: the reader's answer; a stub returns None or `...`, or raises NotImplementedError.

    Raises:
        KeyError: there is no exercise of that id.
    """
    exercise = find(exercise_id)
    with _random_state_kept():
        print(_verdict(exercise, function))


def _verdict(exercise: Exercise, function: Callable) -> str:
    answers = [_answer(function, exercise, seed) for seed in SEEDS]
    if answers[0] is None or answers[0] is ... or isinstance(answers[0], NotImplementedError):
        return f"○ {exercise.id} not tried (nothing is returned yet)"
    truth = [_answer(exercise.reference, exercise, seed) for seed in SEEDS]
    gaps = [_gap(mine, theirs) for mine, theirs in zip(answers, truth)]
    if all(g.size <= TOLERANCE for g in gaps):
        return f"✔ {exercise.id} (max difference {brief(max(g.size for g in gaps))})"
    for wrong in exercise.wrong:
        mistakes = (_answer(wrong.function, exercise, seed) for seed in SEEDS)
        if all(_gap(a, m, nan_equal=True).size <= TOLERANCE for a, m in zip(answers, mistakes)):
            return f"✘ {exercise.id} {wrong.hint}"
    seed = next(s for s, g in zip(SEEDS, gaps) if not g.size <= TOLERANCE)
    given = ", ".join(_describe(x) for x in _inputs(exercise, seed))
    return f"✘ {exercise.id} {gaps[seed].where} (for inputs {given})"


def _inputs(exercise: Exercise, seed: int) -> tuple:
    return exercise.inputs(torch.Generator().manual_seed(seed))


def _answer(function: Callable, exercise: Exercise, seed: int) -> Any:
    """What a function makes of fresh inputs: a value, or the exception that it raised."""
    inputs = _inputs(exercise, seed)
    torch.manual_seed(seed)
    try:
        return function(*inputs)
    except Exception as error:
        return error


def _gap(mine: Any, theirs: Any, nan_equal: bool = False) -> Gap:
    """Like `gap`, for answers that may be exceptions: equal when kind and text are."""
    if isinstance(mine, Exception):
        text = f"{type(mine).__name__}: {mine}"
        equal = type(mine) is type(theirs) and str(mine) == str(theirs)
        return Gap(0.0 if equal else torch.inf, text)
    return gap(mine, theirs, nan_equal=nan_equal)


def _describe(x: Any) -> str:
    shape = getattr(x, "shape", None)
    return f"{x!r}"[:40] if shape is None else f"of shape {tuple(shape)}"


@contextmanager
def _random_state_kept() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
