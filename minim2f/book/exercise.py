"""`exercise("9.2", my_function)`: not tried, not yet, or right, and a hint for a known mistake."""

from __future__ import annotations

import copy
import inspect
import random
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from minim2f.book.exercises import Exercise, find
from minim2f.book.exercises.forbidden import Forbidden
from minim2f.book.same import Gap, brief, gap

TOLERANCE = 1e-5


def exercise(exercise_id: str, function: Callable) -> None:
    """Prints what became of an exercise. A wrong or missing answer never stops the run.

    One line: `○ 9.2 not tried`, `✘ 9.2` with a hint or the first difference, or
    `✔ 9.2 (max difference 6e-8)`. The random state outside stays as it was.

    Args:
        exercise_id: chapter and number, "9.2".
        function: the reader's answer; a stub returns None or `...`, or raises NotImplementedError.

    Raises:
        KeyError: there is no exercise of that id.
    """
    asked = find(exercise_id)
    with _random_state_kept():
        print(verdict(asked, function))


def verdict(asked: Exercise, function: Callable) -> str:
    """The line that `exercise` prints, for an exercise of any origin."""
    names = inspect.signature(asked.reference).parameters
    answers, changed = [], None
    for number, inputs in enumerate(asked.cases()):
        before = copy.deepcopy(inputs)
        answers.append(_answer(function, number, inputs))
        trios = zip(names, inputs, before)
        changed = next((n for n, x, y in trios if gap(x, y, nan_equal=True).size), changed)
    if all(x is None or x is ... or repr(x) == "NotImplementedError()" for x in answers):
        return f"○ {asked.id} not tried (nothing is returned yet)"
    gaps = list(_gaps(answers, asked, asked.reference))
    wrong = [case for case, g in enumerate(gaps) if not g.size <= TOLERANCE]
    if not wrong and not changed:
        return f"✔ {asked.id} (max difference {brief(max(g.size for g in gaps))})"
    for mistake in asked.wrong if wrong else ():
        same = _gaps(answers, asked, mistake.function, nan_equal=True)
        if all(g.size <= TOLERANCE for g in same):
            return f"✘ {asked.id} {mistake.hint}"
    if changed:
        return f"✘ {asked.id} your function changes its input {changed}: work on a copy of it"
    given = ", ".join(map(_described, names, asked.cases()[wrong[0]]))
    return f"✘ {asked.id} {gaps[wrong[0]].where} (for {given})"


def _answer(function: Callable, number: int, inputs: tuple) -> Any:
    """What a function makes of one case: a value, or the exception that it raised."""
    torch.default_generator.manual_seed(number)  # many times faster than torch.manual_seed
    try:
        return function(*inputs)
    except Exception as error:
        return error


def _gaps(
    answers: list, asked: Exercise, function: Callable, nan_equal: bool = False
) -> Iterator[Gap]:
    """How far the answers are from those of another function, case by case."""
    for number, (mine, inputs) in enumerate(zip(answers, asked.cases())):
        yield _gap(mine, _answer(function, number, inputs), nan_equal)


def _gap(mine: Any, theirs: Any, nan_equal: bool) -> Gap:
    """Like `gap`, for answers that may be exceptions: equal when kind and text are."""
    if isinstance(mine, Exception):
        kind = "" if isinstance(mine, Forbidden) else f"{type(mine).__name__}: "
        equal = type(mine) is type(theirs) and _lasting(mine) == _lasting(theirs)
        return Gap(0.0 if equal else torch.inf, f"{kind}{mine}")
    if isinstance(theirs, Tensor) and not theirs.is_floating_point():
        if not isinstance(mine, Tensor) or mine.is_floating_point():
            kind = f"{mine.dtype}" if isinstance(mine, Tensor) else f"a {type(mine).__name__}"
            return Gap(torch.inf, f"result should be a tensor of {theirs.dtype}, it is {kind}")
    return gap(mine, theirs, nan_equal=nan_equal)


def _lasting(error: Exception) -> str:
    """An error's text without the index that failed: of several, it is that of the first thread."""
    return re.sub(r"\bindex -?\d+", "index", str(error))


def _described(name: str, x: Any) -> str:
    if hasattr(x, "shape"):
        return f"{name} of shape {tuple(x.shape)}"
    text = f"{name} = {x!r}"
    return text if len(text) <= 40 and "<" not in text else f"{name}, a {type(x).__name__}"


@contextmanager
def _random_state_kept() -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
