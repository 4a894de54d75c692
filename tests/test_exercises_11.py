"""The solutions of chapter 11 against PyTorch and the library, and other right ways to them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch

from minim2f import Mask2Former, preset
from minim2f.book import exercises
from minim2f.book.exercise import verdict
from minim2f.data import open_dataset
from minim2f.training.batches import Places
from minim2f.training.recipe import TrainConfig, make_optimizer


def solve(exercise_id: str, *arguments: object):
    return exercises.find(exercise_id).reference(*arguments)


def groups_in_a_loop(owners, multiplier):
    rates, decay = torch.ones(len(owners)), torch.ones(len(owners))
    for n, (name, kind) in enumerate(owners):
        if name == "backbone" or name.startswith("backbone."):
            rates[n] = multiplier
        if kind.endswith("Norm") or kind.startswith("BatchNorm") or kind == "Embedding":
            decay[n] = 0
    return rates, decay


def clip_by_pytorch(gradients, longest):
    parameters = [torch.nn.Parameter(torch.zeros(()) if g is None else g) for g in gradients]
    for parameter, gradient in zip(parameters, gradients):
        parameter.grad = None if gradient is None else gradient.clone()
    length = torch.nn.utils.clip_grad_norm_(parameters, longest)
    return length, [parameter.grad for parameter in parameters]


def clip_of_one_vector(gradients, longest):
    there = [g.flatten() for g in gradients if g is not None]
    length = torch.cat(there).norm() if there else torch.zeros(())
    factor = (longest / length.clamp(min=1e-12)).clamp(max=1)
    return length, [None if g is None else factor * g for g in gradients]


def rate_by_cases(step, steps, warmup):
    factor = 1.0 if step / steps < 0.889 else 0.1 if step / steps < 0.963 else 0.01
    return factor * (step + 1) / (warmup + 1) if step < warmup else factor


def rate_of_products(step, steps, warmup):
    factor = 1.0
    for drop in (0.889, 0.963):
        if step >= drop * steps:
            factor /= 10
    return torch.tensor(factor * min((step + 1) / (warmup + 1), 1))


def pictures_one_by_one(orders, step, batch_size, rank, count):
    found = []
    for k in range(rank, batch_size, count):
        epoch, place = divmod(step * batch_size + k, len(orders[0]))
        found.append(int(orders[epoch][place]))
    return torch.tensor(found)


def pictures_of_the_whole_run(orders, step, batch_size, rank, count):
    return orders.reshape(-1)[step * batch_size : (step + 1) * batch_size][rank::count]


def pictures_by_two_indices(orders, step, batch_size, rank, count):
    places = step * batch_size + rank + count * torch.arange(batch_size // count)
    return orders[places // orders.shape[1], places % orders.shape[1]]


@pytest.mark.parametrize(
    ("exercise_id", "answer"),
    [
        ("11.1", groups_in_a_loop),
        ("11.2", clip_of_one_vector),
        ("11.3", rate_by_cases),
        ("11.3", rate_of_products),
        ("11.4", pictures_one_by_one),
        ("11.4", pictures_of_the_whole_run),
        ("11.4", pictures_by_two_indices),
    ],
)
def test_other_right_ways_are_accepted(exercise_id: str, answer: Callable) -> None:
    assert verdict(exercises.find(exercise_id), answer).startswith("✔")


def test_pytorchs_own_clipping_is_refused_and_gives_the_same_numbers() -> None:
    said = verdict(exercises.find("11.2"), clip_by_pytorch)
    assert said.startswith("✘ 11.2 the exercise asks you to do without clip_grad_norm_")
    torch.manual_seed(0)
    gradients = [torch.randn(3), None, torch.randn(2, 3)]
    length, mine = solve("11.2", gradients, 0.5)
    expected, theirs = clip_by_pytorch(gradients, 0.5)
    torch.testing.assert_close(torch.tensor(length), expected)
    torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("name", ["tiny", "swin_t"])
def test_the_groups_are_those_of_the_library(name: str) -> None:
    model = Mask2Former(preset(name))
    recipe = TrainConfig()
    factors = {}
    for group in make_optimizer(model, recipe).param_groups:
        rate, decay = group["lr"] / recipe.learning_rate, group["weight_decay"] / 0.05
        factors |= {id(parameter): (rate, decay) for parameter in group["params"]}
    owners, expected = [], []
    for module_name, module in model.named_modules():
        for parameter_name, parameter in module.named_parameters(recurse=False):
            if "relative_position_bias" not in parameter_name:  # spared by name, for Swin
                owners.append((module_name, type(module).__name__))
                expected.append(factors[id(parameter)])
    answer = torch.stack(solve("11.1", owners, recipe.backbone_multiplier), 1)
    torch.testing.assert_close(answer, torch.tensor(expected))


def test_three_four_five() -> None:
    length, shorter = solve("11.2", [torch.tensor([3.0]), None, torch.tensor([[4.0]])], 1.0)
    assert math.isclose(length, 5)
    torch.testing.assert_close(shorter[0], torch.tensor([0.6]))
    torch.testing.assert_close(shorter[2], torch.tensor([[0.8]]))


def test_the_rate_is_that_of_the_recipe() -> None:
    for warmup in (0, 7, 500):
        recipe = TrainConfig(steps=1000, warmup=warmup)
        for step in range(1000):
            assert math.isclose(solve("11.3", step, 1000, warmup), recipe.rate(step))


@pytest.mark.parametrize("count", [1, 2])
def test_the_pictures_are_those_of_the_library(monkeypatch, count: int) -> None:
    scenes = open_dataset("scenes", length=8)
    recipe = dataclasses.replace(TrainConfig(), steps=6, batch_size=4)
    monkeypatch.setattr("minim2f.training.distributed.count", lambda: 1)
    alone = [index for _, index in Places(scenes, recipe, 0)]
    orders = torch.tensor(alone).view(3, 8)
    for rank in range(count):
        monkeypatch.setattr("minim2f.training.distributed.count", lambda: count)
        monkeypatch.setattr("minim2f.training.distributed.rank", lambda rank=rank: rank)
        own = torch.tensor([index for _, index in Places(scenes, recipe, 0)]).view(6, -1)
        for step in range(6):
            answer = solve("11.4", orders, step, 4, rank, count)
            torch.testing.assert_close(answer, own[step])
