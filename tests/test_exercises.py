"""Every exercise answers an untouched stub, the solution and each known mistake as it should."""

from __future__ import annotations

import pytest
import torch

from minim2f.book import check, exercises
from minim2f.book.chapter import chapters
from minim2f.book.compare import gap
from minim2f.book.exercises import Exercise, Wrong

THERE = [exercise for number in exercises.chapters() for exercise in exercises.of_chapter(number)]
EXERCISES = [pytest.param(exercise, id=exercise.id) for exercise in THERE]
MISTAKES = [
    pytest.param(exercise, wrong, id=f"{exercise.id}-{wrong.function.__name__}")
    for exercise in THERE
    for wrong in exercise.wrong
]
SOLUTIONS = [
    pytest.param(chapter.number, exercise_id, code, id=exercise_id)
    for chapter in chapters()
    if chapter.notebook.exists()
    for exercise_id, code in chapter.solutions.items()
]


@pytest.mark.parametrize("exercise", EXERCISES)
def test_an_untouched_stub_is_not_tried(exercise: Exercise, capsys) -> None:
    check(exercise.id, lambda *args: ...)
    assert capsys.readouterr().out.startswith(f"○ {exercise.id} not tried")


@pytest.mark.parametrize("exercise", EXERCISES)
def test_the_reference_is_right(exercise: Exercise, capsys) -> None:
    check(exercise.id, exercise.reference)
    assert capsys.readouterr().out == f"✔ {exercise.id} (max difference 0)\n"


@pytest.mark.parametrize(("number", "exercise_id", "code"), SOLUTIONS)
def test_the_folded_solution_is_right(number: str, exercise_id: str, code: str, capsys) -> None:
    defined: dict = {}
    exec(code, vars(exercises.module(number)).copy(), defined)
    check(exercise_id, list(defined.values())[-1])
    assert capsys.readouterr().out.startswith(f"✔ {exercise_id} ")


@pytest.mark.parametrize(("exercise", "wrong"), MISTAKES)
def test_each_known_mistake_earns_its_hint(exercise: Exercise, wrong: Wrong, capsys) -> None:
    check(exercise.id, wrong.function)
    assert capsys.readouterr().out == f"✘ {exercise.id} {wrong.hint}\n"


@pytest.mark.parametrize("exercise", EXERCISES)
def test_fifty_random_inputs_are_answered_and_differ(exercise: Exercise) -> None:
    seeds = [torch.Generator().manual_seed(seed) for seed in range(50)]
    inputs = [exercise.inputs(seed) for seed in seeds]
    assert any(gap(inputs[0], other).size > 0 for other in inputs[1:])
    for arguments in inputs:
        assert exercise.reference(*arguments) is not None
