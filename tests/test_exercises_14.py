"""The solutions of chapter 14 against SciPy, other right ways to them, and its variants."""

from __future__ import annotations

from itertools import combinations
from math import comb

import pytest
import torch
from scipy import stats

from minim2f import shapes
from minim2f.book import exercises, experiments
from minim2f.book.exercise import verdict
from minim2f.book.experiments.ch14 import CHANGES, build
from minim2f.data import open_dataset
from minim2f.training.batches import collate
from minim2f.training.losses import Criterion


def solve(exercise_id: str, *arguments: object) -> object:
    return exercises.find(exercise_id).reference(*arguments)


def intervals_by_sums(changed, full, quantile):
    d = changed - full.unsqueeze(0)
    count = d.shape[-1]
    mean = d.sum(-1) / count
    variance = (d - mean[:, None]).square().sum(-1) / (count - 1)
    half = quantile * torch.sqrt(variance / count)
    return torch.column_stack((mean - half, mean, mean + half))


def intervals_in_a_loop(changed, full, quantile):
    found = []
    for line in changed:
        d = line - full
        half = quantile * d.std() / len(d) ** 0.5
        found.append(torch.stack([d.mean() - half, d.mean(), d.mean() + half]))
    return torch.stack(found)


def intervals_by_scipy(changed, full, quantile):
    ends = stats.ttest_rel(changed, full[None], axis=1).confidence_interval(0.95)
    low, high = torch.tensor(ends.low), torch.tensor(ends.high)
    return torch.stack([low, (low + high) / 2, high], 1)


def signs_by_bits(differences):
    numbers, found = differences.tolist(), abs(int(differences.sum()))
    far = 0
    for choice in range(2 ** len(numbers)):
        total = sum(-d if choice >> place & 1 else d for place, d in enumerate(numbers))
        far += abs(total) >= found
    return far / 2 ** len(numbers)


def signs_by_doubling(differences):
    sums = torch.zeros(1)
    for d in differences:
        sums = torch.cat([sums + d, sums - d])
    return (sums.abs() >= differences.sum().abs()).double().mean()


def seeds_in_a_loop(effect, sd, sure, often):
    for place, (t, u) in enumerate(zip(sure.tolist(), often.tolist())):
        if (t + u) * sd / (place + 2) ** 0.5 <= abs(effect):
            return place + 2
    return 0


def pairs_by_counting(runs, defaults, asked):
    def value(run, name):
        return run.get(name, defaults[name])

    found = []
    for i in range(len(runs)):
        for j in range(i + 1, len(runs)):
            names = [n for n in defaults if value(runs[i], n) != value(runs[j], n)]
            if len(names) == 1 and names[0] == asked:
                found.append([i, j])
    return found


@pytest.mark.parametrize(
    ("exercise_id", "answer", "starts"),
    [
        ("14.1", intervals_by_sums, "✔"),
        ("14.1", intervals_in_a_loop, "✘ 14.1 the exercise asks for no loops"),
        ("14.1", intervals_by_scipy, "✘ 14.1 the exercise asks you to do without"),
        ("14.2", signs_by_bits, "✔"),
        ("14.2", signs_by_doubling, "✔"),
        ("14.3", seeds_in_a_loop, "✔"),
        ("14.4", pairs_by_counting, "✔"),
    ],
)
def test_other_answers_to_chapter_14(exercise_id, answer, starts) -> None:
    said = verdict(exercises.find(exercise_id), answer)
    assert said.startswith(starts), said


def sampled_signs(differences):
    signs = 1 - 2 * torch.randint(2, (2000, len(differences)))
    return float(((signs * differences).sum(1).abs() >= differences.sum().abs()).double().mean())


def two_sided_sign_test(differences):
    """Counts the differences above 0, as the textbook's sign test does."""
    count, up = len(differences), int((differences > 0).sum())
    tail = sum(comb(count, k) for k in range(max(up, count - up), count + 1))
    return min(1.0, 2 * tail / 2**count)


def seeds_for_a_large_effect(effect, sd, sure, often):
    return 5


def pairs_of_one_seed_only(runs, defaults, asked):
    right = solve("14.4", runs, defaults, asked)
    return [(i, j) for i, j in right if {**defaults, **runs[i]}["seed"] == 0]


@pytest.mark.parametrize(
    ("exercise_id", "answer"),
    [
        ("14.2", sampled_signs),
        ("14.2", two_sided_sign_test),
        ("14.3", seeds_for_a_large_effect),
        ("14.4", pairs_of_one_seed_only),
    ],
)
def test_almost_right_answers_are_refused(exercise_id, answer) -> None:
    assert verdict(exercises.find(exercise_id), answer).startswith("✘")


def test_intervals_and_turned_signs_are_those_of_scipy() -> None:
    g = torch.Generator().manual_seed(0)
    full = torch.rand(6, generator=g, dtype=torch.float64)
    changed = torch.rand(4, 6, generator=g, dtype=torch.float64)
    mine = solve("14.1", changed, full, stats.t.ppf(0.975, 5))
    torch.testing.assert_close(mine, intervals_by_scipy(changed, full, None))
    d = torch.randint(-20, 40, (6,), generator=g)
    test = stats.permutation_test(
        (d.numpy(),),
        lambda x, axis: abs(x.mean(axis)),
        permutation_type="samples",
        alternative="greater",
        n_resamples=1000,
    )
    assert solve("14.2", d) == pytest.approx(test.pvalue)


def test_the_number_of_seeds_gives_the_power_that_it_promises() -> None:
    pairs = torch.arange(2, 60)
    sure, often = (torch.tensor(stats.t.ppf(level, pairs - 1)) for level in (0.975, 0.8))
    seeds = solve("14.3", 1.0, 1.5, sure, often)
    made = 1.5 * torch.randn(20_000, seeds, generator=torch.Generator().manual_seed(0)) + 1
    low, _, high = solve("14.1", made, torch.zeros(seeds), float(sure[seeds - 2])).unbind(1)
    assert 0.78 < ((low > 0) | (high < 0)).double().mean() < 0.85


def _seen(variant: str) -> tuple[dict, dict, int]:
    """What a variant's model records for one scene, its loss terms, its number of weights."""
    scenes = open_dataset("scenes", "val", length=1)
    model = build(variant, 3, scenes.categories).train()
    images, targets = collate(model, [scenes[0]])
    torch.manual_seed(1)
    with torch.no_grad(), shapes.watch() as rows:
        terms = Criterion(model.config)(model(images), targets, torch.Generator().manual_seed(1))
    return {row.name: row.tensor for row in rows}, terms, sum(p.numel() for p in model.parameters())


def test_each_variant_changes_what_it_says_and_nothing_else() -> None:
    full, terms, weights = _seen("full")
    after = {name: _seen(name) for name in CHANGES if name != "full"}
    for name, (seen, own_terms, own_weights) in after.items():
        assert seen["F_pixel"].equal(full["F_pixel"]), name  # all the same up to the queries
        assert ("M_0" in seen) == (name != "open")
        first = [key for key in seen if key in ("A_1", "S_1")][0]
        assert first == ("S_1" if name == "self-attention first" else "A_1")
        assert (seen["X_0"] == 0).all() == (name == "zero queries")
        pixels = [seen[f"K_{layer}"].shape[1] for layer in (1, 2, 3)]
        assert pixels == ([9, 9, 9] if name == "1/32 only" else [9, 36, 144])
        assert len(own_terms) == (3 if name == "last loss only" else 12)
        assert seen["loss points"].shape[1] == (576 if name == "all pixels" else 512)
        fewer = {"zero queries": 16 * 64, "1/32 only": 2 * 64}.get(name, 0)
        assert weights - own_weights == fewer
        same_answer = seen["class_logits"].equal(full["class_logits"])
        assert same_answer == (name in ("last loss only", "all pixels"))  # these differ in training
    assert after["last loss only"][1]["loss_ce"] == terms["loss_ce"]


def test_what_variants_share_starts_alike() -> None:
    categories = open_dataset("scenes", "val", length=1).categories
    models = {name: build(name, 1, categories).state_dict() for name in CHANGES}
    for name, own in models.items():
        for key, value in own.items():
            rows = slice(1) if (name, key) == ("1/32 only", "decoder.level_embed.weight") else ...
            assert value.equal(models["full"][key][rows]), (name, key)
    other = build("full", 2, categories).state_dict()
    assert not other["decoder.query_position.weight"].equal(
        models["full"]["decoder.query_position.weight"]
    )


def test_the_stored_runs_are_every_variant_with_five_seeds() -> None:
    runs = experiments.read("14_ablations")["runs"]
    assert {(run["variant"], run["seed"]) for run in runs} == {
        (name, seed) for name in CHANGES for seed in range(5)
    }
    assert len(runs) == 5 * len(CHANGES)
    for one, other in combinations(runs, 2):
        assert one["pq"] != other["pq"], "no two runs are one"
