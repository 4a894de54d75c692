"""Exercises of chapter 14: an interval, turned signs, the number of seeds, fair comparisons."""

from __future__ import annotations

from itertools import combinations, product

import torch
from torch import Tensor

from minim2f.book.exercises import Exercise, ch14_wrong, ch14_wrong_pairs, integer
from minim2f.book.exercises.forbidden import counted

# ---- 14.1 the interval of paired differences


def paired_intervals(changed: Tensor, full: Tensor, quantile: float) -> Tensor:
    """Mean difference of each variant, between the ends of its interval.

    Args:
        changed: (variants, R), scores of variants with R seeds.
        full: (R,), scores of the full model with the same seeds.
        quantile: of Student's t for R - 1 degrees of freedom.

    Returns:
        (variants, 3): low end, mean and high end of changed - full.
    """
    d = changed - full
    mean = d.mean(1)
    half = quantile * d.std(1) / len(full) ** 0.5
    return torch.stack([mean - half, mean, mean + half], 1)


def _scores(g: torch.Generator) -> tuple[Tensor, Tensor, float]:
    variants, seeds = integer(g, 1, 6), integer(g, 2, 9)
    full = 0.6 + 0.05 * torch.randn(seeds, generator=g)
    changed = full + 0.03 * torch.randn(variants, seeds, generator=g)
    return changed, full, integer(g, 15, 45) / 10


def _score_corners() -> list[tuple]:
    full = torch.tensor([0.60, 0.66, 0.63, 0.69, 0.62])
    better = torch.tensor([0.62, 0.69, 0.65, 0.71, 0.65])
    g = torch.Generator().manual_seed(2)
    ready = "ttest_rel ttest_1samp confidence_interval"
    many = torch.rand(300, 5, generator=g), torch.rand(5, generator=g)
    watched = counted(*many, functions=f"{ready} fast_intervals slow_interval")
    return [
        (*watched, 2.776),
        (better[None], full, 2.776),
        (torch.stack([full, full + 0.1, better.flip(0)]), full, 2.0),
        (torch.tensor([[0.5, 0.7], [0.1, 0.2]]), torch.tensor([0.4, 0.4]), 12.7),
    ]


# ---- 14.2 turned signs


def sign_flip_p(differences: Tensor) -> float:
    """How often turned signs give a sum at least as far from 0 as the one that was found.

    Args:
        differences: (R,) int64, of R pairs, in thousandths of PQ.

    Returns:
        The share of all 2^R choices of signs, in (0, 1].
    """
    signs = torch.tensor(list(product((1, -1), repeat=len(differences))))
    sums = (signs * differences).sum(1)
    far = sums.abs() >= differences.sum().abs()
    return float(far.double().mean())


def _differences(g: torch.Generator) -> tuple[Tensor]:
    seeds, shift = integer(g, 1, 9), integer(g, -20, 20)
    return (torch.randint(-25, 26, (seeds,), generator=g) + shift,)


_SIGN_CORNERS = [
    (torch.tensor([20, 30, 20, 20, 30]),),
    (torch.tensor([-30, 10, -20, -25, -5]),),
    (torch.tensor([1, 2, 3]),),
    (torch.tensor([-4, 1, 1, 1, 1]),),
    (torch.tensor([0, 0, 5]),),
    (torch.tensor([7]),),
]


# ---- 14.3 the number of seeds


def seeds_needed(effect: float, sd: float, sure: Tensor, often: Tensor) -> int:
    """The smallest number of pairs with which an effect is mostly seen.

    Args:
        effect: the mean difference that is expected, of either sign.
        sd: standard deviation of the differences.
        sure: (D,), for R = 2, 3, ... pairs: how many standard errors half an interval is.
        often: (D,), for the same R: how many more standard errors the effect must have.

    Returns:
        R; or 0 if no R of the tables is enough.
    """
    pairs = torch.arange(2, len(sure) + 2)
    enough = (sure + often) * sd / pairs.sqrt() <= abs(effect)
    return int(pairs[enough][0]) if enough.any() else 0


def _effects(g: torch.Generator) -> tuple[float, float, Tensor, Tensor]:
    top = integer(g, 1, 40)
    pairs = torch.arange(2, top + 2)
    sure = 2 + integer(g, 1, 100) / 10 / (pairs - 1) ** 2
    often = 0.8 + integer(g, 1, 50) / 100 / (pairs - 1)
    effect = integer(g, 1, 60) / 1000 * (1 - 2 * integer(g, 0, 1))
    return effect, integer(g, 5, 50) / 1000, sure, often


_SURE = torch.tensor([12.75, 4.25, 3.25, 2.75, 2.5, 2.5])  # of R = 2 ... 7; coarse, but exact
_OFTEN = torch.tensor([1.25, 1.0, 1.0, 1.0, 1.0, 1.0])
_EFFECT_CORNERS = [
    (0.5, 0.25, _SURE, _OFTEN),
    (-0.5, 0.25, _SURE, _OFTEN),
    (0.25, 0.25, _SURE, _OFTEN),
    (17.0, 8.0, _SURE, _OFTEN),  # just enough
    (0.5, 0.0, _SURE, _OFTEN),
    (-8.5, 4.0, _SURE[:4], _OFTEN[:4]),
    (0.01, 0.25, _SURE, _OFTEN),  # never
]


# ---- 14.4 fair comparisons


def fair_pairs(runs: list[dict], defaults: dict, asked: str) -> list[tuple[int, int]]:
    """All pairs of runs that differ in the setting that is asked about, and in nothing else.

    Args:
        runs: the settings of each run; one that is not named has its default.
        defaults: every setting, the seed among them, with its default.
        asked: the name of a setting.

    Returns:
        (i, j) with i < j, in ascending order.
    """
    full = [{**defaults, **run} for run in runs]
    pairs = []
    for (i, one), (j, other) in combinations(enumerate(full), 2):
        if [name for name in defaults if one[name] != other[name]] == [asked]:
            pairs.append((i, j))
    return pairs


_DEFAULTS = {"seed": 0, "masked": True, "dropout": 0.0, "steps": 250}
_VALUES = {"seed": [0, 1], "masked": [True, False], "dropout": [0.0, 0.1], "steps": [250, 750]}


def _settings(g: torch.Generator) -> tuple[list[dict], dict, str]:
    runs = []
    for _ in range(integer(g, 1, 8)):
        named = [name for name in _DEFAULTS if integer(g, 0, 1)]
        runs.append({name: _VALUES[name][integer(g, 0, 1)] for name in named})
    return runs, dict(_DEFAULTS), list(_DEFAULTS)[integer(g, 0, 3)]


_RUNS = [
    {},
    {"masked": False},
    {"masked": False, "dropout": 0.1},
    {"dropout": 0.1},
    {"masked": False, "seed": 1},
    {"seed": 1, "masked": True, "steps": 250},
    {"dropout": 0.2, "seed": 0},
    {"masked": True},
]
_PAIR_CORNERS = [(_RUNS, _DEFAULTS, asked) for asked in _DEFAULTS] + [([], _DEFAULTS, "seed")]

EXERCISES = [
    Exercise("14.1", paired_intervals, _scores, ch14_wrong.INTERVALS, _score_corners()),
    Exercise("14.2", sign_flip_p, _differences, ch14_wrong.SIGNS, _SIGN_CORNERS),
    Exercise("14.3", seeds_needed, _effects, ch14_wrong_pairs.SEEDS, _EFFECT_CORNERS),
    Exercise("14.4", fair_pairs, _settings, ch14_wrong_pairs.FAIR, _PAIR_CORNERS),
]
