"""What usually goes wrong in 14.3 and 14.4, numbers of seeds and fair pairs, with hints."""

from __future__ import annotations

from itertools import combinations, product

import torch

from minim2f.book.exercises import Wrong

# ---- 14.3 the number of seeds


def _pairs(tables):
    return torch.arange(2, len(tables) + 2)


def _first(pairs, enough, never=0):
    return int(pairs[enough][0]) if enough.any() else never


def _that_is(enough, never=0):
    """A mistake in what is enough, given R, effect, sd and both tables."""

    def needed(effect, sd, sure, often):
        pairs = _pairs(sure)
        return _first(pairs, enough(pairs, effect, sd, sure, often), never)

    return needed


def _right(pairs, effect, sd, sure, often):
    return (sure + often) * sd / pairs.sqrt() <= abs(effect)


def _half_the_time(pairs, effect, sd, sure, often):
    return sure * sd / pairs.sqrt() <= abs(effect)


def _often_alone(pairs, effect, sd, sure, often):
    return often * sd / pairs.sqrt() <= abs(effect)


def _multiplied(pairs, effect, sd, sure, often):
    return sure * often * sd / pairs.sqrt() <= abs(effect)


def _taken_away(pairs, effect, sd, sure, often):
    return (sure - often) * sd / pairs.sqrt() <= abs(effect)


def _no_root(pairs, effect, sd, sure, often):
    return (sure + often) * sd / pairs <= abs(effect)


def _degrees(pairs, effect, sd, sure, often):
    return (sure + often) * sd / (pairs - 1).sqrt() <= abs(effect)


def _places(pairs, effect, sd, sure, often):
    return (sure + often) * sd / (pairs - 2).sqrt() <= abs(effect)


def _single(pairs, effect, sd, sure, often):
    return (sure + often) * sd <= abs(effect)


def _strictly(pairs, effect, sd, sure, often):
    return (sure + often) * sd / pairs.sqrt() < abs(effect)


def _signed(pairs, effect, sd, sure, often):
    return (sure + often) * sd / pairs.sqrt() <= effect


def _whole_width(pairs, effect, sd, sure, often):
    return (2 * sure + often) * sd / pairs.sqrt() <= abs(effect)


def _shifted(by):
    def needed(effect, sd, sure, often):
        found = _that_is(_right)(effect, sd, sure, often)
        return found and found + by

    return needed


def _from_zero(effect, sd, sure, often):
    enough = _right(_pairs(sure), effect, sd, sure, often)
    return int(enough.nonzero()[0, 0]) if enough.any() else 0


def _argmax(effect, sd, sure, often):
    return int(_right(_pairs(sure), effect, sd, sure, often).int().argmax()) + 2


def _no_answer(effect, sd, sure, often):
    pairs = _pairs(sure)
    return int(pairs[_right(pairs, effect, sd, sure, often)][0])


def _as_if_many(effect, sd, sure, often):
    found = int(-(-((((sure[-1] + often[-1]) * sd / effect) ** 2).item()) // 1))
    return max(found, 2) if found <= len(sure) + 1 else 0


def _longest(effect, sd, sure, often):
    return _first(_pairs(sure), _right(_pairs(sure), effect, sd, sure, often), len(sure) + 1)


def _largest(effect, sd, sure, often):
    pairs = _pairs(sure)
    enough = _right(pairs, effect, sd, sure, often)
    return int(pairs[enough][-1]) if enough.any() else 0


def _too_few(effect, sd, sure, often):
    pairs = _pairs(sure)
    short = ~_right(pairs, effect, sd, sure, often)
    return int(pairs[short][-1]) if short.any() else 0


SEEDS = [
    Wrong(_that_is(_half_the_time), "the mean wobbles too: that is enough only half of the time"),
    Wrong(_that_is(_often_alone), "half the interval is missing: add both tables"),
    Wrong(_that_is(_multiplied), "the two distances follow each other: add them"),
    Wrong(_that_is(_taken_away), "the effect must lie beyond half the interval: add the tables"),
    Wrong(_that_is(_no_root), "a standard error is sd divided by the root of R, not by R"),
    Wrong(_that_is(_degrees), "the tables know about R - 1: the root is that of R pairs"),
    Wrong(_that_is(_places), "the first place of the tables is R = 2"),
    Wrong(_that_is(_single), "that is for a single pair: the mean of R wobbles less"),
    Wrong(_that_is(_strictly), "an effect that is just large enough is enough"),
    Wrong(_that_is(_signed), "an effect may be negative: its size counts"),
    Wrong(_that_is(_whole_width), "from its middle to an end, an interval has half its width"),
    Wrong(_shifted(-1), "that is R - 1, the degrees of freedom: R is wanted"),
    Wrong(_shifted(1), "one pair too many: the first place of the tables is R = 2"),
    Wrong(_from_zero, "that is a place in the tables: the first one is R = 2"),
    Wrong(_argmax, "argmax of nothing but False is 0: if no R is enough, the answer is 0"),
    Wrong(_no_answer, "there may be no R that is enough: then the answer is 0"),
    Wrong(_that_is(_right, -1), "if no R of the tables is enough, the answer is 0"),
    Wrong(_longest, "if no R of the tables is enough, the answer is 0"),
    Wrong(_as_if_many, "few pairs have larger quantiles: try R = 2, 3, ... with their own"),
    Wrong(_largest, "the smallest R that is enough is wanted"),
    Wrong(_too_few, "that R is not enough yet: take the next"),
]

# ---- 14.4 fair comparisons


def _chosen(fair, full=True):
    """All pairs that some rule calls fair, given the settings that differ and the one asked."""

    def pairs(runs, defaults, asked):
        known = [{**defaults, **run} for run in runs] if full else runs
        places = combinations(range(len(known)), 2)
        return [(i, j) for i, j in places if fair(_differing(known[i], known[j]), asked)]

    return pairs


def _differing(one, other):
    return {name for name in one.keys() | other.keys() if one.get(name) != other.get(name)}


def _only(differing, asked):
    return differing == {asked}


def _among_others(differing, asked):
    return asked in differing


def _any_single(differing, asked):
    return len(differing) == 1


def _but_seed(differing, asked):
    return differing - {"seed"} == {asked} if asked != "seed" else differing == {asked}


def _seed_alone(differing, asked):
    return differing - {"seed"} == {asked}


def _at_most(differing, asked):
    return differing <= {asked}


def _others_equal(differing, asked):
    return asked not in differing


def _one_more(differing, asked):
    return asked in differing and len(differing) <= 2


def _both_ways(runs, defaults, asked):
    full = [{**defaults, **run} for run in runs]
    places = product(range(len(full)), repeat=2)
    return [(i, j) for i, j in places if _differing(full[i], full[j]) == {asked}]


def _turned(runs, defaults, asked):
    return [(j, i) for i, j in _chosen(_only)(runs, defaults, asked)]


def _from_one(runs, defaults, asked):
    return [(i + 1, j + 1) for i, j in _chosen(_only)(runs, defaults, asked)]


def _neighbours(runs, defaults, asked):
    return [(i, j) for i, j in _chosen(_only)(runs, defaults, asked) if j == i + 1]


def _with_the_first(runs, defaults, asked):
    return [(i, j) for i, j in _chosen(_only)(runs, defaults, asked) if i == 0]


def _defaults_win(runs, defaults, asked):
    return []


def _how_many(runs, defaults, asked):
    return len(_chosen(_only)(runs, defaults, asked))


def _runs_themselves(runs, defaults, asked):
    return [(runs[i], runs[j]) for i, j in _chosen(_only)(runs, defaults, asked)]


FAIR = [
    Wrong(_chosen(_only, full=False), "a setting that a run does not name has its default"),
    Wrong(_chosen(_among_others), "something else differs too: such a pair answers no question"),
    Wrong(_chosen(_one_more), "something else differs too: such a pair answers no question"),
    Wrong(_chosen(_any_single), "one thing differs, but not always the one that is asked about"),
    Wrong(_chosen(_but_seed), "runs of different seeds differ in start and pictures: no pair"),
    Wrong(_chosen(_seed_alone), "runs of different seeds differ in start and pictures: no pair"),
    Wrong(_chosen(_at_most), "two runs with equal settings compare nothing"),
    Wrong(_chosen(_others_equal), "the setting that is asked about has to differ"),
    Wrong(_both_ways, "each pair once: i < j"),
    Wrong(_turned, "i < j: the run that comes first stands first"),
    Wrong(_from_one, "count the runs from 0"),
    Wrong(_neighbours, "the two runs of a pair need not be neighbours"),
    Wrong(_with_the_first, "any two runs may be a pair, not only those with run 0"),
    Wrong(_defaults_win, "no pair at all? what a run names goes before the default"),
    Wrong(_how_many, "name the pairs: a list of (i, j)"),
    Wrong(_runs_themselves, "name the pairs by their places in the list"),
]
