"""The solutions of chapter 10 against PyTorch and the library, and other right ways to them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn import functional as F

from minim2f.book import exercises
from minim2f.book.exercise import verdict
from minim2f.training import points


def solve(exercise_id: str, *arguments: object) -> torch.Tensor:
    return exercises.find(exercise_id).reference(*arguments)


def gathered_class_loss(class_logits, classes, eos_coef):
    weights = torch.where(classes == class_logits.shape[1] - 1, eos_coef, 1.0)
    p = class_logits.log_softmax(-1).gather(1, classes[:, None])[:, 0]
    return -(weights * p).sum() / weights.sum()


def one_hot_class_loss(class_logits, classes, eos_coef):
    weights = torch.ones(class_logits.shape[1], dtype=class_logits.dtype)
    weights[-1] = eos_coef
    share = F.one_hot(classes, class_logits.shape[1]) * weights
    logs = class_logits - class_logits.logsumexp(1, keepdim=True)
    return -(share * logs).sum() / share.sum()


def parts_by_hand(sums, counts):
    whole = max(int(counts.sum()), 1)
    return torch.stack([part * len(counts) / whole for part in sums])


def points_by_topk(candidates, logits, fresh, num_points):
    count = int(0.75 * num_points)
    nearest = (-logits.abs()).topk(count, 1).indices
    near = candidates.gather(1, nearest[..., None].expand(-1, -1, 2))
    return torch.cat([near, fresh[:, : num_points - count]], 1)


def points_by_gather(candidates, logits, fresh, num_points):
    drawn, count = len(candidates[0]), int(0.75 * num_points)
    order = logits.abs().argsort(dim=-1)[:, : min(count, drawn)]
    near = torch.gather(candidates, 1, order.unsqueeze(-1).expand(-1, -1, candidates.shape[-1]))
    return torch.cat((near, fresh[:, : num_points - count]), dim=1)


@torch.no_grad()
def points_without_gradient(candidates, logits, fresh, num_points):
    return points_by_topk(candidates.detach(), logits.detach(), fresh, num_points)


def class_loss_of_single_rows(class_logits, classes, eos_coef):
    weights = torch.ones(len(class_logits[0]), dtype=class_logits.dtype)
    weights[-1] = eos_coef
    paid = torch.logsumexp(class_logits, 1) - class_logits[range(len(classes)), classes]
    return weights[classes] @ paid / weights[classes].sum()


@torch.no_grad()
def class_loss_without_gradient(class_logits, classes, eos_coef):
    return gathered_class_loss(class_logits, classes, eos_coef)


def class_loss_without_gradient_inside(class_logits, classes, eos_coef):
    with torch.no_grad():
        return one_hot_class_loss(class_logits, classes, eos_coef)


def class_loss_detached(class_logits, classes, eos_coef):
    return gathered_class_loss(class_logits.detach(), classes, eos_coef)


def class_loss_of_data(class_logits, classes, eos_coef):
    return gathered_class_loss(class_logits.data, classes, eos_coef)


def class_loss_by_a_loop(class_logits, classes, eos_coef):
    paid, weights = 0.0, 0.0
    for logits, k in zip(class_logits, classes):
        weight = eos_coef if k == len(logits) - 1 else 1.0
        paid = paid - weight * logits.log_softmax(0)[k]
        weights += weight
    return paid / weights


def class_loss_by_numbers(class_logits, classes, eos_coef):
    paid, weights = 0.0, 0.0
    for n in range(len(classes)):
        weight = eos_coef if classes[n] == class_logits.shape[1] - 1 else 1.0
        paid = paid - weight * class_logits[n].log_softmax(0)[classes[n]]
        weights += weight
    return paid / weights


def points_pair_by_pair(candidates, logits, fresh, num_points):
    count, chosen = int(0.75 * num_points), torch.zeros(len(logits), num_points, 2)
    for pair in range(len(logits)):
        order = logits[pair].abs().argsort()[:count]
        chosen[pair, :count] = candidates[pair][order]
        chosen[pair, count:] = fresh[pair][: num_points - count]
    return chosen


@pytest.mark.parametrize(
    ("exercise_id", "answer", "hint"),
    [
        ("10.1", class_loss_without_gradient, "a loss has to pass gradients back"),
        ("10.1", class_loss_without_gradient_inside, "a loss has to pass gradients back"),
        ("10.1", class_loss_detached, "the exercise asks you to do without detach"),
        ("10.1", class_loss_of_data, "the exercise asks you to do without data"),
        ("10.1", class_loss_by_a_loop, "the exercise asks for no loops"),
        ("10.1", class_loss_by_numbers, "the exercise asks for no loops"),
        ("10.3", points_pair_by_pair, "the points are right, but no loops"),
    ],
)
def test_right_numbers_found_in_a_way_that_does_not_serve_are_refused(
    exercise_id: str, answer: Callable, hint: str
) -> None:
    assert verdict(exercises.find(exercise_id), answer).startswith(f"✘ {exercise_id} {hint}")


@pytest.mark.parametrize(
    ("exercise_id", "answer"),
    [
        ("10.1", gathered_class_loss),
        ("10.1", one_hot_class_loss),
        ("10.1", class_loss_of_single_rows),
        ("10.2", parts_by_hand),
        ("10.3", points_by_topk),
        ("10.3", points_by_gather),
        ("10.3", points_without_gradient),
    ],
)
def test_other_right_ways_are_accepted(exercise_id: str, answer: Callable) -> None:
    assert verdict(exercises.find(exercise_id), answer).startswith("✔")


def test_the_class_loss_equals_pytorchs() -> None:
    torch.manual_seed(0)
    logits, classes = torch.randn(30, 5, dtype=torch.float64), torch.randint(5, (30,))
    weights = torch.tensor([1, 1, 1, 1, 0.1], dtype=torch.float64)
    theirs = F.cross_entropy(logits, classes, weights)
    torch.testing.assert_close(solve("10.1", logits, classes, 0.1), theirs)


def test_the_mean_of_the_parts_is_the_loss_of_the_batch() -> None:
    sums, counts = torch.tensor([0.9, 0.9, 0.0]), torch.tensor([1, 9, 0])
    torch.testing.assert_close(solve("10.2", sums, counts).mean(), torch.tensor(0.18))


def test_the_chosen_points_are_those_of_the_library() -> None:
    torch.manual_seed(0)
    maps = torch.randn(3, 8, 8)
    theirs = points.uncertain(maps, 20, generator=torch.Generator().manual_seed(1))
    again = torch.Generator().manual_seed(1)
    candidates = points.uniform(3, 60, maps.device, again)
    fresh = points.uniform(3, 5, maps.device, again)
    logits = points.sample(maps[:, None], candidates)[:, 0]
    mine = solve("10.3", candidates, logits, fresh, 20)
    for a, b in zip(mine, theirs):  # the library does not sort those that it chose
        torch.testing.assert_close(a[a[:, 0].argsort()], b[b[:, 0].argsort()])
