# %% [markdown]
# # 14 · Ablations
#
# Take back one of the paper's claims at a time, train again with five seeds, and say how sure you are of what changed.
#
# *read 65 min · run 15 s CPU · exercises 45 min*
#
# **Needs** chapters 6, 7, 8, 10 and 13 · **Library** [`minim2f/model/config.py`](../minim2f/model/config.py), [`minim2f/training/loop.py`](../minim2f/training/loop.py) · **Paper** tables 4 and 5

# %% [markdown]
# ## You will be able to
#
# - compute the interval of a paired difference by hand (The idea in small numbers)
# - write it for many variants at once (14.1)
# - test a difference by turning signs (14.2)
# - say how many seeds an effect needs (14.3)
# - tell which runs may be compared (14.4)
# - judge seven claims, and say what the experiment could have missed (Experiment)
# - recognise comparisons that mislead (Break it)

# %% [markdown]
# ## Where we are

# %% tags=["setup"]
import matplotlib.pyplot as plt
import torch

import minim2f
from minim2f import shapes
from minim2f.book import exercise, same, setup, show, where_we_are
from minim2f.book import library_table, shape_table, table

setup(seed=0)

# %% tags=["hide-input"]
where_we_are("queries", "masked attention", "heads", "losses")

# %% [markdown]
# An **ablation** takes one part of a model away, trains it again, and asks how much worse it got. Each row takes back one claim; `full` none.
#
# | variant | the paper says | taken back |
# | --- | --- | --- |
# | `open` | queries look inside their own masks (chapter 7) | they look everywhere |
# | `self-attention first` | queries look, then talk to each other (chapter 6) | they talk first |
# | `zero queries` | raw queries $X_0$ are learned (chapter 6) | $X_0$ = 0 |
# | `dropout` | the decoder needs no dropout | a tenth of its numbers is zeroed at random |
# | `1/32 only` | layers visit 1/32, 1/16, 1/8 in turn (chapter 6) | all visit 1/32 |
# | `last loss only` | every prediction has a loss (chapter 8) | only the last has |
# | `all pixels` | a few sampled points compare masks better (chapter 10) | whole masks are compared |
#
# `last loss only` is chapter 8's question; the other rows are the paper's. The score is **PQ** (chapter 13) on the same 60 unseen scenes: 0 is worst, 1 is best, a
# hundredth is a **PQ point**. All random numbers of a run follow from its **seed**: first weights, order of pictures, sampled points.

# %% [markdown]
# ## Predict
#
# The full model and a variant were each trained five times. Are you sure that the variant is better?
#
# | | seed 0 | 1 | 2 | 3 | 4 |
# | --- | --- | --- | --- | --- | --- |
# | full | 60 | 66 | 63 | 69 | 62 |
# | variant | 62 | 69 | 65 | 71 | 65 |
#
# <details><summary>Answer</summary>
#
# Look at the rows, and you are not: 62 to 71 and 60 to 69 overlap. Look at the columns, and you are: with each
# seed the variant is 2 or 3 points better.
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# Subtract within each column: the **paired differences** are 2, 3, 2, 2, 3. Their mean is 12 / 5 = 2.4 PQ points.
#
# How far could chance have moved this mean? The differences are −0.4, 0.6, −0.4, −0.4 and 0.6 away from it. The squares sum to 1.2, and
# 1.2 / (5 − 1) = 0.3 is the variance. (Five numbers are closer to their own mean than to the true one; the 5 − 1 makes up for that.)
# Its root, 0.55, is the **standard deviation**: how far one difference usually is from the mean. A mean of five wobbles less, by the root of 5:
# 0.55 / 2.24 = 0.245 is the **standard error**.
#
# The **95 % confidence interval** reaches 2.776 standard errors to each side: 2.4 ± 0.68, from 1.72 to 3.08. Of 100 people who repeat the
# experiment with other seeds, about 95 get an interval that holds the true difference. This one does not hold 0: the variant is better.

# %% tags=["demo"]
full = torch.tensor([60.0, 66, 63, 69, 62])
variant = torch.tensor([62.0, 69, 65, 71, 65])
gain = variant - full
error = gain.std() / 5**0.5  # torch's std divides by 5 − 1
ends = torch.stack([gain.mean() - 2.776 * error, gain.mean() + 2.776 * error])
same(ends, torch.tensor([1.72, 3.08]), tolerance=0.01)

# %% [markdown] tags=["demo"]
# Why 2.776? With very many seeds it would be 1.96, but five differences tell their standard deviation only roughly. **Student's t** says
# how much further to reach. Its 97.5 % **quantile**, `stats.t.ppf(0.975, 4)`, leaves out 2.5 % on each side. The 4, seeds − 1, counts **degrees of freedom**:
# five deviations from their own mean sum to 0, so only four are free.
#
# Without pairs, both rows' variances add up, 12.5 and 12.8: the standard error is $\sqrt{12.5/5 + 12.8/5}$ = 2.25, and 2.4 ± 5.2 holds 0. (With 4 + 4
# degrees of freedom, the quantile is 2.306.) Other numbers of seeds:

# %% tags=["demo"]
from scipy import stats

for seeds in (2, 3, 5, 10, 100):
    quantile = stats.t.ppf(0.975, seeds - 1)
    print(f"{seeds:3} seeds: {quantile:5.2f} standard errors, {quantile / seeds**0.5:.2f} standard deviations")

torch.manual_seed(0)
tried = 1 + torch.randn(100_000, 5)  # many experiments with five seeds; the true mean is 1
off = (tried.mean(1) - 1).abs() / (tried.std(1) / 5**0.5)
held = {reach: (off <= reach).float().mean() for reach in (1.96, 2.776)}
print(f"intervals that hold the truth: {held[1.96]:.0%} with 1.96, {held[2.776]:.0%} with 2.776")
assert held[1.96] < 0.9 and abs(held[2.776] - 0.95) < 0.01

# %% [markdown]
# From two seeds to five, the quantile shrinks to less than a quarter. Beyond, mainly the root helps: ten seeds reach 0.72 standard
# deviations, five 1.24. Five is what we could pay for.
#
# ## The equation
#
# $$\mathrm{difference} = \mathrm{changed} - \mathrm{full} \qquad\qquad \mathrm{mean} = \frac{1}{\mathrm{seeds}}\sum_{\mathrm{seeds}} \mathrm{difference}$$
#
# $$\mathrm{sd}^2 = \frac{1}{\mathrm{seeds}-1}\sum_{\mathrm{seeds}} (\mathrm{difference}-\mathrm{mean})^2 \qquad\qquad \mathrm{mean} \pm \mathrm{quantile}\cdot\frac{\mathrm{sd}}{\sqrt{\mathrm{seeds}}}$$
#
# | word | code | shape | meaning |
# | --- | --- | --- | --- |
# | $\mathrm{seeds}$ | `seeds` | number | how many pairs of runs |
# | $\mathrm{full}$ | `full` | (seeds,) | scores of the full model, one a seed |
# | $\mathrm{changed}$ | `changed` | (variants, seeds) | the variants' scores |
# | $\mathrm{difference}$ | `differences` | (variants, seeds) | variant minus full |
# | $\mathrm{mean}$ | `differences.mean` | (variants,) | their mean |
# | $\mathrm{sd}$ | `differences.std` | (variants,) | their standard deviation |
# | $\mathrm{quantile}$ | `stats.t.ppf` | number | Student's, 2.776 for five seeds |

# %% [markdown]
# ## Slow and obvious

# %%
def slow_interval(changed, full):
    """One variant: (seeds,), (seeds,) -> low end, mean, high end"""
    seeds, differences = len(full), []
    for a, b in zip(changed, full):
        differences.append(a - b)
    mean = sum(differences) / seeds
    variance = sum((one - mean) ** 2 for one in differences) / (seeds - 1)
    reach = stats.t.ppf(0.975, seeds - 1) * (variance / seeds) ** 0.5
    return torch.stack([mean - reach, mean, mean + reach])

# %% [markdown]
# ## Fast and short
#
# SciPy's name: *related t-test*. (14.1 is yours, without SciPy.)

# %% tags=["demo"]
def fast_intervals(changed, full):
    """(variants, seeds), (seeds,) -> (variants, 3)"""
    with shapes.scope():  # within it, a word keeps its size
        shapes.check("full", full, "seeds")
        differences = shapes.check("differences", changed - full, "variants seeds")
        ends = stats.ttest_rel(changed, full[None], axis=1).confidence_interval(0.95)
        columns = [torch.tensor(ends.low), differences.mean(1), torch.tensor(ends.high)]
        return shapes.check("intervals", torch.stack(columns, 1), "variants 3")

# %% [markdown]
# ## Shapes
#
# Eight models were trained with five seeds each; their scores are stored.

# %% tags=["demo"]
from minim2f.book import experiments

stored = experiments.read("14_ablations")
names = list(dict.fromkeys(run["variant"] for run in stored["runs"]))  # in the order of the table


def scores(moment):
    """PQ points after half of the steps (0) or at the end (1); full first, (variants + 1, seeds)."""
    of = {name: [run["pq"] for run in stored["runs"] if run["variant"] == name] for name in names}
    return 100 * torch.tensor(list(of.values()), dtype=torch.float64)[..., moment]


halfway, end = scores(0), scores(1)
with shapes.watch() as rows:  # records what is checked
    found = fast_intervals(end[1:], end[0])

# %% tags=["hide-input"]
meanings = {
    "full": "PQ points of the full model with one seed",
    "differences": "how much better a variant was with one seed",
    "intervals": "low end, mean and high end of a variant's difference",
}
shape_table(rows, meanings=meanings)
minutes = sum(run["seconds"] for run in stored["runs"]) / 60
print(stored["command"])
print(f"{len(stored['runs'])} runs, {minutes:.0f} minutes on one busy core")

# %% [markdown]
# **Does each variant change what it says, and nothing else?** `build` makes the models as the experiment did; each sees
# one picture.

# %%
from minim2f.book.experiments.ch14 import CHANGES, build
from minim2f.training.batches import collate
from minim2f.training.losses import Criterion

scenes = minim2f.data.open_dataset("scenes", split="val", length=60)
models = {name: build(name, 0, scenes.categories).train() for name in CHANGES}
images, targets = collate(models["full"], [scenes[9]])


def facts(model):
    """What a model records on its way, and the terms of its loss."""
    torch.manual_seed(1)
    with torch.no_grad(), shapes.watch() as rows:
        prediction = model(images)
        terms = Criterion(model.config)(prediction, targets, torch.Generator().manual_seed(1))
    return {row.name: row.tensor for row in rows}, terms

# %% tags=["hide-input"]
lines, start = [], models["full"].state_dict()
for model in models.values():
    own = model.state_dict()
    assert all(own[key].equal(start[key]) for key in own if own[key].shape == start[key].shape)
for name, model in models.items():
    seen, terms = facts(model)
    own = model.state_dict()
    keys = ", ".join(str(seen[f"K_{layer}"].shape[1]) for layer in (1, 2, 3))
    raw = "equal" if seen["X_0"].std(1).amax() == 0 else "learned"
    differ = sum(a.numel() for a in start.values()) - sum(a.numel() for a in own.values())
    first = "talk" if [k for k in seen if k[:2] in ("A_", "S_")][0] == "S_1" else "look"
    masks = "yes" if "M_0" in seen else "no"
    lines.append([name, keys, masks, first, raw, len(terms), seen["loss points"].shape[1], differ])
header = ["variant", "pixels seen by layers 1, 2, 3", "attention masks", "first step", "raw queries", "loss terms", "sampled points", "weights fewer"]
table(header, lines)

# %% [markdown]
# Each row differs from `full` where it should; dropout shows in no shape. Fewer weights: the 16 × 64 numbers of $X_0$, or two of three level
# embeddings of 64. Loss terms: three for each of four predictions, before the first layer and after each. At 1/4, a scene of 96 × 96 pixels
# has 576 cells. The cell asserts that all shared weights start equal.

# %% [markdown] tags=["demo"]
# ## Look
#
# Each line joins two runs with one seed.

# %% tags=["demo", "hide-input"]
def crossings(left, right):
    """How many of the pairs of lines cross from one column to the other."""
    order = (left[:, None] - left) * (right[:, None] - right)
    return int((order < 0).sum()) // 2


fig, axes = plt.subplots(1, len(names) - 1, figsize=(9, 3.1), sharey=True, layout="constrained")
looks = zip(["o-", "s--", "^-.", "D:", "v-"], ["#000000", "#0072B2", "#A34700", "#555555", "#007A5A"])
for seed, (look, color) in enumerate(looks):
    for ax, scored in zip(axes, end[1:, seed]):
        ax.plot([0, 1], [end[0, seed], scored], look, color=color, linewidth=1.2, markersize=5, label=f"seed {seed}")
for ax, name, line in zip(axes, names[1:], end[1:]):
    ax.set(xlim=(-0.25, 1.25), xticks=[0, 1], xticklabels=["full", "variant"])
    ax.set_title(name.replace(" first", "\nfirst") + f"\n{crossings(end[0], line)} of 10 cross", fontsize=9)
axes[0].set_ylabel("PQ points")
fig.legend(*axes[0].get_legend_handles_labels(), ncols=5, fontsize=9, loc="outside upper center")
show(
    fig,
    "Seven panels, one a variant: five lines, one a seed, from the PQ of full to the PQ of the variant. They cross each other often.",
    "Lines that ran in parallel would mean that a seed is easy or hard for both alike, as in the table of Predict. "
    "Here 6 of the 10 pairs of lines cross from full to open, and 4 to 7 in the other panels; pure chance would make 5 cross on average.",
)

# %% tags=["demo"]
differences = end[1:] - end[0]
paired = differences.std(1)
unpaired = (end[1:].var(1) + end[0].var()).sqrt()  # variances of independent runs add up
assert 0.8 < paired.median() / unpaired.median() < 1.3
print("standard deviation of a difference, median of the seven variants:")
print(f"{paired.median():.1f} PQ points in pairs, {unpaired.median():.1f} if not")

# %% [markdown] tags=["demo"]
# *Predict* was too kind: these pairs spread no less than unpaired runs, and pairs need more reach, 2.776 instead of 2.306. We had planned them,
# so we keep them: who chooses a test after seeing the numbers chooses the luckier.

# %% [markdown]
# ## Checkpoint
#
# Slow and fast agree, and the fast one is SciPy.

# %%
same(torch.stack([slow_interval(line, end[0]) for line in end[1:]]), found)

# %% [markdown]
# A second witness needs no formula. If a variant did nothing, full and variant could exchange names in any pair, which turns the sign
# of its difference. Of all $2^5 = 32$ choices of signs, what share gives a mean at least as far from 0 as ours? This is a **p-value**; if it is
# small, chance alone seldom does such a thing. SciPy tries all 32, as you will in 14.2:

# %% tags=["demo"]
def turned(one):
    """(seeds,) -> the share of sign choices with a mean as far from 0"""
    ways = {
        "permutation_type": "samples",  # turns the signs of single differences
        "alternative": "greater",  # counts means that are as far from 0, or further
    }
    return stats.permutation_test((one.numpy(),), lambda x, axis: abs(x.mean(axis)), **ways).pvalue


chances = [turned(one) for one in differences]
assert min(chances) == 2 / 32  # as low as five pairs can go

# %% [markdown]
# With five pairs, this test never goes below 2/32 = 6 %; six could reach 3 %. The interval can be bolder because it assumes more: differences that follow a
# bell curve. We had planned the interval; the last column below follows it.

# %% [markdown] tags=["demo"]
# ## Experiment
#
# *Hypotheses:* each variant loses PQ: six times after the paper, once after chapter 8. (The paper's models saw 368,750 times 16 photographs; ours 160 times 8 drawn scenes.)

# %% tags=["demo"]
paper = {
    "open": 47.1,
    "self-attention first": 51.6,
    "zero queries": 51.2,
    "dropout": 51.3,
    "1/32 only": 50.2,
    "last loss only": None,  # not in the paper
    "all pixels": 50.3,
}  # PQ on COCO; the full model has 51.9
claimed = [None if pq is None else pq - 51.9 for pq in paper.values()]

# %% tags=["demo", "hide-input"]
verdicts, lines = [], []
for name, line, (low, mean, high), ours, chance in zip(names[1:], differences, found, claimed, chances):
    verdicts.append("lower" if high < 0 else "higher" if low > 0 else "not decided")
    theirs = "–" if ours is None else f"{ours:+.1f}"
    worse = f"{int((line < 0).sum())} of {len(line)}"
    lines.append([name, theirs, f"{mean:+.1f}", f"{low:+.1f} to {high:+.1f}", worse, f"{chance:.2f}", verdicts[-1]])
assert [verdict for verdict in verdicts if verdict != "not decided"] == ["lower", "higher"]
table(["variant", "paper", "ours", "95 % interval", "seeds that lose", "p, turned signs", "here"], lines)

# %% tags=["demo", "hide-input"]
fig, ax = plt.subplots(figsize=(8, 3.9), layout="constrained")
for y, (line, (low, mean, high), ours) in enumerate(zip(differences, found, claimed)):
    ax.plot([low, high], [y, y], color="0.2", linewidth=2, solid_capstyle="butt")
    ax.plot(line, [y + 0.2 + 0.06 * seed for seed in range(5)], "|", color="0.3", markersize=6, markeredgewidth=1.4, label="ours, one seed" if not y else None)
    ax.plot(mean, y, "o", color="0", markersize=8, label="ours, mean and 95 % interval" if not y else None)
    if ours is not None:
        ax.plot(ours, y - 0.25, "D", color="C1", markeredgecolor="0", label="paper, on COCO" if not y else None)
ax.axvline(0, color="0.6", linewidth=1)
ax.set_yticks(range(len(names) - 1), names[1:])
ax.invert_yaxis()
ax.set_xlabel("PQ points, variant − full")
ax.legend(loc="upper center", ncols=3, fontsize=9, frameon=False, bbox_to_anchor=(0.5, 1.14))
show(
    fig,
    "A forest plot: for each of seven variants the mean and the 95 percent interval; below it five ticks, one a seed; above it a "
    "diamond for the paper's difference on COCO, where there is one.",
    "A bar that crosses the thin line decides nothing; that of all pixels ends 0.04 points below 0. "
    "The bar is about the mean, not about single runs: ticks may well lie outside.",
)

# %% [markdown] tags=["demo"]
# Two rows are decided. With `zero queries` every seed loses, 5 to 20 PQ points: the paper's direction, at many times its size.
# (A likely reason: with $X_0 = 0$ all queries start with the same mask, and only learned positions tell them apart.) With `last loss only` every seed
# *gains*, 4 to 12. `all pixels` just misses a decision, against the paper: its low end is −0.04. The other
# four intervals hold 0, and the paper's number too. (All rows share the five runs of `full`: had these been unlucky, all would lean to the right.)

# %% [markdown]
# ### How large an effect could we have seen?
#
# An effect is seen if the mean that we find lies more than 2.776 standard errors from 0. But means wobble around the true effect: if it lay
# exactly there, half of the experiments would miss it. To be seen four times out of five, it must lie further out, by about 0.94 standard
# errors, Student's 80 % quantile. The share of experiments that see it is their **power**.

# %% tags=["hide-input"]
sure, often = stats.t.ppf(0.975, 4), stats.t.ppf(0.8, 4)
x = torch.linspace(-6, 9, 601)
fig, ax = plt.subplots(figsize=(7.6, 2.9), layout="constrained")
for centre, color, look, label in ((0, "0.35", "--", "without an effect"), (sure + often, "C0", "-", "with an effect of 3.72")):
    bell = torch.tensor(stats.t.pdf(x - centre, 4))
    ax.plot(x, bell, look, color=color, label=label)
    beyond = x.abs() > sure if not centre else x > sure
    ax.fill_between(x, bell, where=beyond, color=color, alpha=0.25 if centre else 0.9, linewidth=0)
for edge in (-sure, sure):
    ax.axvline(edge, color="0", linewidth=1, linestyle=":")
ax.annotate("", (sure + often, 0.4), (sure, 0.4), arrowprops={"arrowstyle": "<->"})
ax.text(sure + often + 0.15, 0.39, "0.94", fontsize=9)
ax.annotate("", (sure, 0.4), (0, 0.4), arrowprops={"arrowstyle": "<->"})
ax.text(sure / 2, 0.415, "2.776", fontsize=9, ha="center")
ax.text(-4.4, 0.05, "2.5 %", fontsize=9, ha="center")
ax.text(sure + 1.1, 0.13, "80 %\nseen", ha="center")
ax.annotate("20 %\nmissed", (2.4, 0.07), (1.9, 0.23), fontsize=9, ha="center", arrowprops={"arrowstyle": "-"})
ax.set(xlabel="mean that five seeds find, in standard errors", yticks=[], ylim=(0, 0.46), xlim=(-6, 9))
ax.legend(loc="upper right", fontsize=9)
show(
    fig,
    "Two bell curves: one around 0, with 2.5 percent of it beyond minus and plus 2.776; one around 3.72, with 80 percent of it to the right of 2.776.",
    "Without an effect, 2.5 % of the means lie beyond each dotted line: these are false alarms. With an effect of 2.776 + 0.94 standard errors, "
    "20 % of the means fall short of the right line, and 80 % are seen. False alarms come on two sides, 2.5 % each, so the first step is the 97.5 % quantile; "
    "a mean falls short on one side only, so the second is the 80 % quantile.",
)

# %%
def seen_mostly(seeds, sd):
    """The effect that this many pairs see four times out of five."""
    reach = stats.t.ppf(0.975, seeds - 1) + stats.t.ppf(0.8, seeds - 1)
    return reach * sd / seeds**0.5


def power(effect, seeds, sd, times=20_000):
    """Witness: make up experiments, and count the intervals without 0."""
    made = effect + sd * torch.randn(times, seeds)
    error = made.std(1) / seeds**0.5
    return (made.mean(1).abs() > stats.t.ppf(0.975, seeds - 1) * error).float().mean().item()


sd = paired.median().item()
tried_seeds = [2, 3, 4, 5, 7, 10, 20, 50, 100, 200, 500]
smallest = [seen_mostly(seeds, sd) for seeds in tried_seeds]
checks = {seeds: power(seen_mostly(seeds, sd), seeds, sd) for seeds in (5, 10, 50)}
print(f"sd of {sd:.1f} PQ points; with 5 seeds, {seen_mostly(5, sd):.1f} are seen four times out of five")
print("made up, with 5, 10 and 50 seeds:", ", ".join(f"{share:.0%}" for share in checks.values()))
assert all(0.77 < share < 0.86 for share in checks.values())

# %% tags=["hide-input"]
fig, ax = plt.subplots(figsize=(6.4, 3.3), layout="constrained")
ax.loglog(tried_seeds, smallest, "o-", color="0", markersize=4)
ax.axvline(5, color="0.6", linewidth=1, linestyle=":")
effects = (("open", 4.8, "-"), ("1/32 only", 1.7, "--"), ("self-attention first (meets the curve beyond the picture)", 0.3, "-."))
for name, size, look in effects:
    ax.axhline(size, color="C5", linestyle=look)
    ax.text(520, size * 1.12, name, fontsize=9, ha="right")
ax.set_xticks([2, 5, 10, 50, 100, 500], [2, 5, 10, 50, 100, 500])
ax.set_yticks([0.3, 1, 3, 10, 30], [0.3, 1, 3, 10, 30])
ax.minorticks_off()
ax.set(xlabel="seeds", ylabel="smallest effect, PQ points")
show(
    fig,
    "A falling curve, the smallest effect that is seen four times out of five against the number of seeds, both on "
    "logarithmic scales, with three horizontal lines for effects that the paper found on COCO: 4.8, 1.7 and 0.3 points.",
    "The horizontal lines are effects of the paper, on COCO. Where the curve crosses one, so many seeds would see that effect, if this task had it. "
    "The dotted line marks our five.",
)

# %% [markdown]
# With our spread, five seeds mostly see effects of 9 PQ points. The paper's 4.8 would need about a dozen seeds, 1.7 some
# eighty, 0.3 thousands (14.3). So "not decided" means a small experiment, not a missing effect.
#
# And we looked seven times. Each interval misses the truth once in 20 times; of seven independent ones, at least one does in
# 1 − 0.95⁷ = 30 % of cases. The **Bonferroni correction**: share the 5 % among the rows.

# %%
strict = stats.t.ppf(1 - 0.025 / len(differences), 4)  # 0.025 on each side, a seventh of it a row
reached = differences.mean(1) / (paired / 5**0.5)
print(f"{strict:.2f} standard errors instead of {stats.t.ppf(0.975, 4):.2f}")
for name, far in zip(names[1:], reached):
    if far.abs() > 2.776:
        print(f"{name}: {far:+.2f} standard errors from 0")
assert reached.abs().max() < strict

# %% [markdown]
# By this measure five seeds decide nothing here: a surprising row deserves new seeds before a theory.
#
# ### What the number of steps does
#
# The same runs, scored halfway:

# %%
early = fast_intervals(halfway[1:], halfway[0])
lines = []
for name, (low, mean, high), (_, later, _) in zip(names[1:], early, found):
    lines.append([name, f"{mean:+.1f}", f"{low:+.1f} to {high:+.1f}", f"{later:+.1f}"])
steps = stored["runs"][0]["steps"]
table(["variant", f"after {steps[0]} steps", "95 % interval", f"after {steps[1]} steps"], lines)
print(f"full: {halfway[0].mean():.0f} PQ points after {steps[0]} steps, {end[0].mean():.0f} after {steps[1]}")

# %% [markdown]
# `self-attention first` and `1/32 only` change sign on the way, and `last loss only` was not decided. In longer runs
# ([chapter 8](08_heads_and_deep_supervision.ipynb)), that last row was ahead with every seed after 250 steps; after 750, at some 80 PQ points, the lead was gone. Our
# runs stop below 50. They measure how fast a variant starts to learn; the paper's numbers say where it ends.
#
# ### On photographs
#
# What of this holds on COCO, with the shorter side of a photograph scaled to 800?

# %%
def task_facts(dataset, short_side):
    """Of a data set: segments a picture, cells at 1/32, share of small segments, pixels of a mask."""
    segments, small, cells = [], [], []
    for i in range(len(dataset)):
        masks = dataset[i].masks
        scale = short_side / min(masks.shape[1:])
        segments.append(len(masks))
        small.append(masks.flatten(1).sum(1) * scale**2 < 32**2)
        cells.append(masks[0].numel() * scale**2 / 32**2)
    cells = torch.tensor(cells).median().item()
    return segments, torch.cat(small).float().mean().item(), cells


tasks = {"drawn scenes": (scenes, 96, 512)}
try:
    tasks["photographs of COCO"] = (minim2f.data.open_dataset("coco-mini"), 800, 12_544)
except FileNotFoundError:
    print("`minim2f data fetch` (10 MB) adds a row of photographs to this table")

# %% tags=["hide-input"]
lines = []
for name, (dataset, side, points) in tasks.items():
    segments, small, cells = task_facts(dataset, side)
    average = sum(segments) / len(segments)
    share = points / (64 * cells)
    lines.append([f"{len(dataset)} {name}", f"{average:.0f}, {max(segments)}", f"{cells:.0f}", f"{small:.0%}", f"{64 * cells:,.0f}", f"{points:,} ({share:.0%})"])
    assert (share > 0.8) == (name == "drawn scenes")
header = ["pictures", "segments: mean, most", "cells at 1/32, median", "segments below one cell", "pixels of a mask at 1/4", "sampled points P"]
table(header, lines)

# %% [markdown]
# - **What transfers:** the method, and what was counted: which switch changes which tensor.
# - **What does not:** the size of an effect. At 1/32 a scene has 9 cells, and more than half of its segments are smaller than one. That leaves little choice of
#   where to look, which is what `open`, `1/32 only` and `self-attention first` are about. A photograph has 833 cells, and one segment in five is smaller. `dropout` and `last loss only` are about long training, which ours is not.
# - **What this task cannot decide** is the paper's claim that sampled points gain 1.6 PQ points and save memory, 6 instead of 18 GB: 512 save
#   nothing against 576 pixels. More seeds would decide our row, not that claim. Why is `all pixels` ahead? A likely reason, not tested: sampled
#   points repeat some pixels and miss others, and most in the losses lie where predictions are unsure.

# %% [markdown] tags=["demo"]
# ## Break it
#
# ### The same seed is not the same start
#
# Somebody writes `torch.manual_seed(0)` before each model. Predict: how many weight matrices of `zero queries` start as in `full`?

# %% tags=["demo"]
from minim2f import Mask2Former, preset


def naive(**changes):
    torch.manual_seed(0)
    return Mask2Former(preset("tiny", **changes)).state_dict()


one, other = naive(), naive(learned_content=False)
drawn = [key for key in other if one[key].dim() > 1]  # leaves out biases and norms
alike = [key for key in drawn if one[key].equal(other[key])]
print(f"{len(alike)} of {len(drawn)} weight matrices start alike")
decoder = [key for key in drawn if key.startswith("decoder.")]
print(f"of the transformer decoder's: {len(set(alike) & set(decoder))} of {len(decoder)}")
assert set(alike) == set(drawn) - set(decoder)

# %% [markdown] tags=["demo"]
# None in the decoder. Without $X_0$ one weight matrix fewer is drawn, so all later ones get other numbers. The comparison is
# **confounded**: queries and start both changed. So `build` copies the full model's weights.
#
# **How to notice it.** Compare the weights before the first step, as *Shapes* did.
#
# ### The best of five
#
# Somebody compares the best of five runs of a variant with the mean of `full`. Let `full` itself be the variant:

# %% tags=["demo"]
best, usual = end[0].max(), end[0].mean()
print(f"best of five {best:.2f}, mean {usual:.2f}: a gain of {best - usual:.2f} PQ points from nothing")
expected = torch.randn(20_000, 5).amax(1).mean()
print(f"on average: {expected:.2f} standard deviations; that of full is {end[0].std():.2f}, so {expected * end[0].std():.1f} PQ points")
assert 1 < expected < 1.3 and best > usual

# %% [markdown] tags=["demo"]
# **How to notice it.** Ask how many runs there were, and which is shown. (On ADE20K, the authors show the median of three: [issue 5](https://github.com/facebookresearch/Mask2Former/issues/5).)
#
# ### Everything at once
#
# On COCO, MaskFormer has 46.5 PQ and Mask2Former 51.9. Is the new architecture worth 5.4 PQ points? The paper also trained
# MaskFormer with the new settings:

# %%
road = {"MaskFormer": 46.5, "its training settings": 48.2, "its transformer decoder": 50.7, "its pixel decoder": 51.9}
gains = [round(b - a, 1) for a, b in zip(list(road.values()), list(road.values())[1:])]
table(["Mask2Former adds", "PQ", "gain"], [[k, v, g] for (k, v), g in zip(road.items(), ["", *gains])])
assert round(sum(gains), 1) == 5.4

# %% [markdown]
# A third came with settings, such as loss weights and weight decay. (Added in another order, each may gain more or less.)
#
# **How to notice it.** List the settings of both sides, as in 14.4.

# %% [markdown]
# ## Exercises
#
# ### 14.1 ★ Intervals of paired differences
#
# Write the intervals of all variants at once, without SciPy and loops, with the `quantile` given. There may be one variant, or two seeds.

# %%
def paired_intervals(changed, full, quantile):
    """(variants, seeds), (seeds,), number -> (variants, 3): low end, mean, high end of changed - full"""
    ...


exercise("14.1", paired_intervals)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# First the differences, (variants, seeds): `full` broadcasts over the variants. All that follows is made from them, along axis 1.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `std` divides by seeds − 1 already. Half of an interval is the quantile times the standard deviation over the root of the seeds; `torch.stack(…, 1)` makes columns.
#
# </details>

# %% [markdown]
# ### 14.2 ★★ Turned signs
#
# The differences are whole numbers, ten-thousandths of PQ; some may be 0. Give each either sign, in all $2^{\mathrm{seeds}}$ ways (1 to 9 seeds).
# Return the share of ways whose sum is at least as far from 0, on either side, as their own. Our runs give the table's p:
#
# ```python
# print([round(sign_flip_p((100 * one).round().long()), 2) for one in differences])
# ```

# %%
def sign_flip_p(differences):
    """(seeds,) int64 -> a number above 0, at most 1"""
    ...


exercise("14.2", sign_flip_p)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# `itertools.product((1, -1), repeat=seeds)` gives all ways. With two differences, 3 and 1, the sums are 4, 2, −2 and −4: two of four are
# as far from 0 as 4.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# As a tensor, the ways are $(2^{\mathrm{seeds}}, \mathrm{seeds})$; times the differences, summed over each row, they are all the sums. Compare absolute values.
#
# </details>

# %% [markdown]
# ### 14.3 ★★ How many seeds?
#
# Return the smallest number of seeds for which $(\mathrm{sure} + \mathrm{often})\cdot\mathrm{sd}/\sqrt{\mathrm{seeds}}$ is not larger than the size of the effect, which may be
# negative; sd may be 0. The tables `sure` (97.5 %) and `often` (80 %) hold Student's quantiles for 2, 3, … seeds. If no number is enough, return 0. The
# paper's effects give [13, 85, 2644]:
#
# ```python
# many = torch.arange(2, 3000)
# tables = [torch.tensor(stats.t.ppf(level, many - 1)) for level in (0.975, 0.8)]
# print([seeds_needed(effect, sd, *tables) for effect in (-4.8, -1.7, -0.3)])
# ```

# %%
def seeds_needed(effect, sd, sure, often):
    """number, number, two tables (places,) -> a whole number"""
    ...


exercise("14.3", seeds_needed)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Make the numbers of pairs a tensor first: 2, 3, …, as many as the tables have places. Then one line says for each whether it is
# enough.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# `pairs[enough]` holds those that are; its first is the smallest, if there is any: ask `enough.any()`.
#
# </details>

# %% [markdown]
# ### 14.4 ★★ Which runs may be compared?
#
# `runs` is a list of settings, as dicts; it may be empty. A run names only what it changed; `defaults` holds every setting's default, the seed's
# too. Return all pairs $(i, j)$, $i < j$, ascending (by $i$ first), of runs that differ in `asked` and in no other setting.

# %%
def fair_pairs(runs, defaults, asked):
    """list of dicts, dict, text -> list of (i, j)"""
    ...


exercise("14.4", fair_pairs)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Fill every run up with the defaults first: in `{**defaults, **run}`, the later one wins where both name a setting.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# For each pair, list the names of all settings that differ. The list has to be `[asked]`. `itertools.combinations` gives the pairs in order.
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | | paper | official code | ours |
# | --- | --- | --- | --- |
# | runs on COCO | one number a row | – | five seeds, paired |
# | spread of a run | – | ±0.2 AP (chapter 13) "seems reasonable" ([issue 46](https://github.com/facebookresearch/Mask2Former/issues/46)) | several PQ points |
# | zero queries | fixed, 0 | in MaskFormer's decoder | 0; positions stay learned |
# | with dropout | – | 0.1 in MaskFormer's decoder | 0.1 |
# | all pixels | whole masks | – | all cells at 1/4 |
# | last loss only | – | `DEEP_SUPERVISION` | `deep_supervision=False` |
#
# Here the raw queries' prediction has a loss (chapter 8), in `zero queries` too. We left out the paper's learned queries without this loss, 51.2 PQ.

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
library_table(
    {
        "the switches": "minim2f.model.config.Config",
        "build": "minim2f.book.experiments.ch14.build",
        "one run": "minim2f.training.loop.train",
        "its score": "minim2f.training.evaluation.evaluate",
        "stored run by run": "minim2f.book.experiments.repeat",
    }
)

# %% [markdown]
# ## Recap
#
# - An ablation changes one thing; all else stays, the first weights too.
# - A difference needs its interval: mean ± quantile · sd/√seeds.
# - "Not decided": say which effect the experiment could have seen.
# - In 160 steps learned queries helped, losses on all layers held back; strictly, both need new seeds.
# - Short runs measure how fast a model learns, not where it ends.

# %% [markdown]
# ## Further reading
#
# - [Masked-attention Mask Transformer](https://arxiv.org/abs/2112.01527), tables 4 and 5.
# - [How many random seeds?](https://arxiv.org/abs/1806.08295).
# - [Accounting for variance in machine learning benchmarks](https://arxiv.org/abs/2103.03098).
