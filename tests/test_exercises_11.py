"""The solutions of chapter 11 against PyTorch and the library, and other right ways to them."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable

import pytest
import torch

from minim2f import Mask2Former, preset
from minim2f.book import exercises
from minim2f.book.exercise import verdict
from minim2f.data import open_dataset
from minim2f.training import find_nan
from minim2f.training.batches import Microbatch, Places, collate
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


def rate_by_cases(done, steps, warmup):
    factor = 1.0 if done / steps < 0.889 else 0.1 if done / steps < 0.963 else 0.01
    return factor * (done + 1) / (warmup + 1) if done < warmup else factor


def rate_of_products(done, steps, warmup):
    factor = 1.0
    for drop in (0.889, 0.963):
        if done >= drop * steps:
            factor /= 10
    return torch.tensor(factor * min((done + 1) / (warmup + 1), 1))


def pictures_one_by_one(orders, done, batch_size, rank, count):
    found = []
    for k in range(rank, batch_size, count):
        epoch, place = divmod(done * batch_size + k, len(orders[0]))
        found.append(int(orders[epoch][place]))
    return torch.tensor(found)


def pictures_of_the_whole_run(orders, done, batch_size, rank, count):
    return orders.reshape(-1)[done * batch_size : (done + 1) * batch_size][rank::count]


def pictures_by_two_indices(orders, done, batch_size, rank, count):
    places = done * batch_size + rank + count * torch.arange(batch_size // count)
    return orders[places // orders.shape[1], places % orders.shape[1]]


def broken_by_leaves(model, images):
    named = [(name, m) for name, m in model.named_modules() if not list(m.children())]
    calls = []
    hooks = [
        m.register_forward_hook(lambda m, i, output, name=name: calls.append((name, output)))
        for name, m in named
    ]
    model(images)
    for hook in hooks:
        hook.remove()
    return next((name for name, output in calls if (output - output != 0).any()), "")


def broken_in_a_copy(model, images):
    model = copy.deepcopy(model)

    def look(module, inputs, output):
        if not output.isfinite().all():
            raise FloatingPointError(names[module])

    names = {module: name for name, module in model.named_modules()}
    for module in names:
        module.register_forward_hook(look)
    try:
        model(images)
    except FloatingPointError as error:
        return str(error)
    return ""


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
        ("11.5", broken_by_leaves),
        ("11.5", broken_in_a_copy),
    ],
)
def test_other_right_ways_are_accepted(exercise_id: str, answer: Callable) -> None:
    assert verdict(exercises.find(exercise_id), answer).startswith("✔")


def hooks_left_behind(model, images):
    found = []
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda m, i, out, name=name: None if out.isfinite().all() else found.append(name)
        )
    model(images)
    return found[0] if found else ""


def length_without_root(gradients, longest):
    total = torch.zeros(())
    for gradient in gradients:
        total = total + (0 if gradient is None else (gradient**2).sum())
    factor = min(1.0, longest / total.sqrt().clamp(min=1e-12).item())
    return total.item(), [None if g is None else g * factor for g in gradients]


def warmup_returns_early(done, steps, warmup):
    if done < warmup:
        return (done + 1) / (warmup + 1)
    return 0.01 if done / steps >= 0.963 else 0.1 if done / steps >= 0.889 else 1.0


def whole_steps(done, steps, warmup):
    drops = (done >= int(0.889 * steps)) + (done >= int(0.963 * steps))
    return min(1, (done + 1) / (warmup + 1)) / 10**drops


def places(orders, done, batch_size, rank, count):
    return torch.arange(done * batch_size + rank, (done + 1) * batch_size, count)


def epochs_cut_short(orders, done, batch_size, rank, count):
    steps = len(orders[0]) // batch_size
    start = done % steps * batch_size if steps else 0
    return orders[done // steps][start : start + batch_size][rank::count]


@pytest.mark.parametrize(
    ("exercise_id", "answer", "said"),
    [
        ("11.2", length_without_root, "you return the length squared"),
        ("11.3", warmup_returns_early, "a drop may come during the warm-up"),
        ("11.3", whole_steps, "do not round"),
        ("11.4", places, "those are places in the run"),
        ("11.4", epochs_cut_short, "no picture is left out"),
        ("11.5", hooks_left_behind, "your function changes its input model"),
    ],
)
def test_answers_of_a_reader_are_refused_in_words(exercise_id, answer, said) -> None:
    assert verdict(exercises.find(exercise_id), answer).startswith(f"✘ {exercise_id} {said}")


def test_the_first_broken_layer_is_the_one_that_the_library_names() -> None:
    scenes = open_dataset("scenes", length=2)
    torch.manual_seed(0)
    model = Mask2Former(preset("tiny", categories=scenes.categories)).eval()
    torch.nn.init.constant_(model.backbone.stem[1].weight, 3e38)  # finite; what it makes is not
    images, targets = collate(model, [scenes[0], scenes[1]])
    part = Microbatch(["one", "two"], images, targets, 0)

    def losses() -> dict[str, torch.Tensor]:
        model(images)
        return {"loss": torch.tensor(math.nan)}

    name = solve("11.5", model.backbone.stem, images)
    assert name
    assert f"the output of backbone.stem.{name} (" in find_nan.first_broken(model, part, losses)


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
