"""The smallest chapter that the rules let pass, and its exercises: what the tools are tested on."""

from minim2f.book.anatomy import SETUP

FILLER = "\n".join(["# " + " ".join(["plain"] * 15)] * 60)  # 900 words, for the budget

SCRIPT = f'''# %% [markdown]
# # 99 · Softmax
#
# After this chapter you can turn any scores into probabilities.
#
# *read 2 min · run 10 s CPU · exercises 5 min*
#
# **Needs** nothing · **Library** `minim2f/shapes.py` · **Paper** section 3.2

# %% [markdown]
# ## You will be able to
#
# - compute a softmax by hand (The idea in small numbers)
# - implement it so that large scores
#   do no harm (99.1)
# - recognise an overflow (Break it)

# %% [markdown]
# ## Where we are

# %% tags=["setup"]
{SETUP}

# %%
from minim2f.book import exercises

exercises.__path__.append(".")  # the real chapters' exercises are found without this
strip("heads")

# %% [markdown]
# ## Predict
#
# Which of two equal scores wins?
#
# <details><summary>Answer</summary>
#
# Neither.
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers

# %% tags=["demo"]
scores = torch.tensor([0.0, 0.0])
assert scores.softmax(0).tolist() == [0.5, 0.5]

# %% [markdown]
# ## The equation
#
# $$p_i = e^{{s_i}} / \\sum_j e^{{s_j}}$$
#
# | letter | code | shape | meaning |
# | --- | --- | --- | --- |
# | $s$ | `scores` | (N,) | one score a class |

# %% [markdown]
# ## Slow and obvious

# %%
def slow(scores):
    powers = [s.exp() for s in scores]
    return torch.stack([p / sum(powers) for p in powers])


# %% [markdown]
# ## Fast and short

# %%
def fast(scores):
    powers = shapes.check("scores", scores, "N").exp()
    return powers / powers.sum()


same(slow, fast, torch.randn(5))

# %% [markdown]
# ## Shapes

# %%
with shapes.watch() as rows:
    fast(scores)
shape_table(rows, meanings={{"scores": "how much a class is liked"}})

# %% [markdown]
# ## Look
#
# ### A bar for each class

# %% tags=["demo"]
fig, ax = plt.subplots(figsize=(3, 2))
ax.bar(["dog", "cat"], scores.softmax(0))
figure(fig, "two bars of the same height, one a class", caption="Equal scores, equal bars.")

# %% [markdown]
# ## Checkpoint

# %%
same(fast, torch.nn.Softmax(0), torch.randn(7))

# %% [markdown]
# ## Experiment
#
{FILLER}

# %% [markdown]
# ## Break it

# %%
assert fast(torch.tensor([1000.0, 0.0])).isnan().any()

# %% [markdown]
# ## Exercises
#
# ### 99.1 ★ A safe softmax

# %%
def softmax(scores):
    """(N, K) -> (N, K)"""
    ...


check("99.1", softmax)

# %% [markdown]
# <details><summary>Hint 1</summary>
#
# Take away the largest score first.
#
# </details>
#
# <details><summary>Hint 2</summary>
#
# Each row has its own largest score.
#
# </details>

# %% [markdown] tags=["solution"]
# <details><summary>Solution</summary>
#
# ```python
# def softmax(scores):
#     powers = (scores - scores.amax(1, keepdim=True)).exp()
#     return powers / powers.sum(1, keepdim=True)
# ```
#
# </details>

# %% [markdown]
# ## Paper, official code, ours
#
# | paper | official code | ours |
# | --- | --- | --- |
# | softmax | softmax | softmax |

# %% [markdown]
# ## In the library

# %%
library_table({{"the check in fast": "minim2f.shapes.check"}})

# %% [markdown]
# ## Recap
#
# - Equal scores give equal probabilities.
# - Take away the largest score before the exponential.
# - An overflow shows as NaN.

# %% [markdown]
# ## Further reading
#
# [The script of this chapter](99_softmax.py), to see how it is made.
'''

EXERCISES = '''\
"""Exercises of chapter 99."""

from __future__ import annotations

import torch
from torch import Tensor

from minim2f.book.exercises import Exercise, Wrong, integer


def softmax(scores: Tensor) -> Tensor:
    """Each row of scores as probabilities, (N, K) -> (N, K)."""
    # name, docstring, types and comments may differ from the solution in the chapter
    powers = (scores - scores.amax(1, keepdim=True)).exp()
    return powers / powers.sum(1, keepdim=True)


def _inputs(g: torch.Generator) -> tuple[Tensor]:
    return (torch.randn(integer(g, 1, 4), integer(g, 1, 5), generator=g),)


def _over_rows(scores: Tensor) -> Tensor:
    return scores.softmax(0)


def _one_sum(scores: Tensor) -> Tensor:
    return scores.exp() / scores.exp().sum(1)  # fails to broadcast, or divides by other rows' sums


EXERCISES = [
    Exercise(
        "99.1",
        softmax,
        _inputs,
        wrong=[
            Wrong(_over_rows, "the classes of one row compete, not the rows: which axis is that?"),
            Wrong(_one_sum, "keep the summed axis, so that each row is divided by its own sum"),
        ],
    )
]
'''
