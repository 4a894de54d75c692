"""Exercises of chapter 10: a safe softmax."""

from __future__ import annotations

import torch
from torch import Tensor

from minim2f.book.exercises import Exercise, Wrong, integer

# ---- 10.1 a safe softmax


def softmax(scores: Tensor) -> Tensor:
    """Each row of scores as probabilities, (N, K) -> (N, K)."""
    powers = (scores - scores.amax(1, keepdim=True)).exp()
    return powers / powers.sum(1, keepdim=True)


def _scores(g: torch.Generator) -> tuple[Tensor]:
    return (torch.randn(integer(g, 1, 4), integer(g, 1, 5), generator=g),)


def _over_rows(scores: Tensor) -> Tensor:
    return scores.softmax(0)


def _one_sum(scores: Tensor) -> Tensor:
    return scores.exp() / scores.exp().sum(1)  # fails to broadcast, or divides by other rows' sums


def _overflow(scores: Tensor) -> Tensor:
    return scores.exp() / scores.exp().sum(1, keepdim=True)


EXERCISES = [
    Exercise(
        "10.1",
        softmax,
        _scores,
        wrong=[
            Wrong(_over_rows, "the classes of one row compete, not the rows: which axis is that?"),
            Wrong(_one_sum, "keep the summed axis, so that each row is divided by its own sum"),
            Wrong(_overflow, "e to a large score is infinite: what may be taken away before?"),
        ],
        corners=[(torch.tensor([[1000.0, 0.0], [0.0, 2.0]]),)],  # large, and rows unlike columns
    )
]
