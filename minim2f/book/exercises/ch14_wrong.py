"""What usually goes wrong in 14.1 and 14.2, intervals and turned signs: mistakes with hints."""

from __future__ import annotations

from itertools import product

import torch

from minim2f.book.exercises import Wrong

# ---- 14.1 the interval of paired differences


def _ends(mean, half):
    return torch.stack([mean - half, mean, mean + half], 1)


def _unpaired(changed, full, quantile):
    error = ((changed.var(1) + full.var()) / len(full)).sqrt()
    return _ends(changed.mean(1) - full.mean(), quantile * error)


def _spread_of_changed(changed, full, quantile):
    mean = (changed - full).mean(1)
    return _ends(mean, quantile * changed.std(1) / len(full) ** 0.5)


def _difference_of_spreads(changed, full, quantile):
    half = quantile * (changed.std(1) - full.std()) / len(full) ** 0.5
    return _ends((changed - full).mean(1), half)


def _sorted(changed, full, quantile):
    d = changed.sort(1).values - full.sort().values
    return _ends(d.mean(1), quantile * d.std(1) / len(full) ** 0.5)


def _as(half, sign=1):
    """A mistake in half the interval, given differences (variants, R), R and the quantile."""

    def intervals(changed, full, quantile):
        d = sign * (changed - full)
        return _ends(d.mean(1), half(d, d.shape[1], quantile))

    return intervals


def _of_r(d, r, q):
    return q * d.std(1, correction=0) / r**0.5


def _no_root(d, r, q):
    return q * d.std(1) / r


def _no_division(d, r, q):
    return q * d.std(1)


def _by_variants(d, r, q):
    return q * d.std(1) / len(d) ** 0.5


def _too_narrow_root(d, r, q):
    return q * d.std(1) / (r - 1) ** 0.5


def _variance(d, r, q):
    return q * d.var(1) / r**0.5


def _normal(d, r, q):
    return 1.96 * d.std(1) / r**0.5


def _no_quantile(d, r, q):
    return d.std(1) / r**0.5


def _halved(d, r, q):
    return q * d.std(1) / r**0.5 / 2


def _pooled(d, r, q):
    return (q * d.std() / r**0.5).expand(len(d))


def _right(d, r, q):
    return q * d.std(1) / r**0.5


def _mean_first(changed, full, quantile):
    low, mean, high = _as(_right)(changed, full, quantile).unbind(1)
    return torch.stack([mean, low, high], 1)


def _high_first(changed, full, quantile):
    return _as(_right)(changed, full, quantile).flip(1)


def _transposed(changed, full, quantile):
    return _as(_right)(changed, full, quantile).T


def _ends_only(changed, full, quantile):
    return _as(_right)(changed, full, quantile)[:, ::2]


def _half_widths(changed, full, quantile):
    d = changed - full
    half = _right(d, d.shape[1], quantile)
    return torch.stack([half, d.mean(1), half], 1)


INTERVALS = [
    Wrong(_unpaired, "that is the interval of two separate groups: subtract seed by seed first"),
    Wrong(_spread_of_changed, "the spread of the differences is wanted, not that of the variant"),
    Wrong(_difference_of_spreads, "subtract scores, seed by seed, not standard deviations"),
    Wrong(_sorted, "sorting breaks the pairs: column i of both is the same seed"),
    Wrong(_as(_of_r), "divide by R - 1 in the standard deviation: the mean was estimated too"),
    Wrong(_as(_no_root), "a mean of R wobbles by the root of R less, not by R less"),
    Wrong(_as(_no_division), "that is the spread of single seeds: their mean wobbles less"),
    Wrong(_as(_by_variants), "count the seeds, not the variants"),
    Wrong(_as(_too_narrow_root), "R - 1 belongs into the standard deviation; here R seeds count"),
    Wrong(_as(_variance), "that is the variance: its root is wanted"),
    Wrong(_as(_normal), "1.96 is for very many seeds: multiply with the quantile that is given"),
    Wrong(_as(_no_quantile), "that is one standard error: the quantile is missing"),
    Wrong(_as(_halved), "the quantile gives half of the interval already: on each side, all of it"),
    Wrong(_as(_pooled), "each variant has a spread of its own"),
    Wrong(_as(_right, -1), "the sign is the wrong way round: variant minus full model"),
    Wrong(_mean_first, "low end, mean, high end, in this order"),
    Wrong(_high_first, "low end, mean, high end, in this order"),
    Wrong(_transposed, "a row a variant is wanted, (variants, 3)"),
    Wrong(_ends_only, "the mean is missing: low end, mean, high end"),
    Wrong(_half_widths, "the ends are wanted: take half the width from the mean, and add it"),
]

# ---- 14.2 turned signs


def _sums(differences):
    signs = torch.tensor(list(product((1, -1), repeat=len(differences))))
    return (signs * differences).sum(1)


def _share(found):
    return found.double().mean().item()


def _strictly(differences):
    return _share(_sums(differences).abs() > differences.sum().abs())


def _one_sided(differences):
    return _share(_sums(differences) >= differences.sum())


def _lower_side(differences):
    return _share(_sums(differences) <= differences.sum())


def _without_abs_of_found(differences):
    return _share(_sums(differences).abs() >= differences.sum())


def _without_abs_of_sums(differences):
    return _share(_sums(differences) >= differences.sum().abs())


def _at_most(differences):
    return _share(_sums(differences).abs() <= differences.sum().abs())


def _nearer(differences):
    return 1 - _strictly(differences)


def _one_minus(differences):
    return 1 - _share(_sums(differences).abs() >= differences.sum().abs())


def _equal_only(differences):
    return _share(_sums(differences).abs() == differences.sum().abs())


def _count(differences):
    return (_sums(differences).abs() >= differences.sum().abs()).sum().item()


def _without_itself(differences):
    far = (_sums(differences).abs() >= differences.sum().abs()).sum().item()
    return (far - 1) / (2 ** len(differences) - 1)


def _plus_one(differences):
    far = (_sums(differences).abs() >= differences.sum().abs()).sum().item()
    return (far + 1) / (2 ** len(differences) + 1)


def _all_alike(differences):
    return 2.0 ** (1 - len(differences))


def _sign_test(differences):
    signs = differences.sign()
    return _share(_sums(signs).abs() >= signs.sum().abs())


def _sum_of_sizes(differences):
    return _share(_sums(differences).abs() >= differences.abs().sum())


def _one_turned(differences):
    sums = torch.stack([differences.sum() - 2 * d for d in differences])
    return _share(sums.abs() >= differences.sum().abs())


def _doubled(differences):
    return 2 * _one_sided(differences)


SIGNS = [
    Wrong(_strictly, "at least as far counts: what was found is one of the 2^R choices itself"),
    Wrong(_one_sided, "far on the other side counts as well: compare absolute values"),
    Wrong(_lower_side, "far on the other side counts as well: compare absolute values"),
    Wrong(_without_abs_of_found, "the sum that was found may be negative: take its size"),
    Wrong(_without_abs_of_sums, "the turned sums may be negative: take their sizes"),
    Wrong(_at_most, "you count the sums that are nearer to 0: those further away are wanted"),
    Wrong(_nearer, "you count the sums that are nearer to 0: those further away are wanted"),
    Wrong(_one_minus, "you count the sums that are nearer to 0: those further away are wanted"),
    Wrong(_equal_only, "further away counts too, not only equally far"),
    Wrong(_count, "a share is wanted: divide by the number of choices"),
    Wrong(_without_itself, "what was found is one of the 2^R choices: count it above and below"),
    Wrong(_plus_one, "all choices are tried here, the found one among them: nothing is added"),
    Wrong(_all_alike, "that is right only where all differences have one sign"),
    Wrong(_sign_test, "you use signs alone; here a large difference weighs more than a small one"),
    Wrong(_sum_of_sizes, "compare with the sum that was found, not with the sum of sizes"),
    Wrong(_one_turned, "any set of signs may be turned at once, not one alone"),
    Wrong(_doubled, "doubling one side counts twice: compare absolute values"),
]
