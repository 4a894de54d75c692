# %% [markdown]
# # 12 · Inference three ways
#
# One sentence that promises something: after this chapter you can turn any scores into probabilities.
#
# *read 15 min · run 10 s CPU · exercises 10 min*
#
# **Needs** nothing · **Library** [`minim2f/shapes.py`](../minim2f/shapes.py) · **Paper** section 3.2

# %% [markdown]
# ## You will be able to
#
# - compute a softmax by hand (The idea in small numbers)
# - implement it so that large scores
#   do no harm (12.1)
# - recognise an overflow (Break it)

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
where_we_are("heads")

# %% [markdown]
# Whatever the chapter needs from earlier ones comes back here, in five lines.

# %% [markdown]
# ## Predict
#
# One guess before any code. Which of two equal scores wins?
#
# <details><summary>Answer</summary>
#
# Neither.
#
# </details>

# %% [markdown] tags=["demo"]
# ## The idea in small numbers
#
# Numbers small enough for hand work. A cell that is shown in class is tagged `demo`.

# %% tags=["demo"]
scores = torch.tensor([0.0, 0.0])
assert scores.softmax(0).tolist() == [0.5, 0.5]

# %% [markdown]
# ## The equation
#
# $$p_i = e^{s_i} / \sum_j e^{s_j}$$
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

# %% tags=["hide-input"]
shape_table(rows, meanings={"scores": "how much a class is liked"})

# %% [markdown]
# ## Look
#
# ### A bar for each class
#
# A cell that only draws or tabulates is tagged `hide-input`, and folded.

# %% tags=["demo", "hide-input"]
fig, ax = plt.subplots(figsize=(3, 2))
ax.bar(["dog", "cat"], scores.softmax(0))
show(
    fig,
    "two bars of the same height, one a class",
    "Equal scores, equal bars. Different heights would be a bug.",
)

# %% [markdown]
# ## Checkpoint
#
# The library, and one witness from outside.

# %%
same(fast, torch.nn.Softmax(0), torch.randn(7))

# %% [markdown]
# ## Experiment
#
# *Hypothesis.* One thing changes, several seeds, the spread, a verdict.

# %% [markdown]
# ## Break it

# %%
assert fast(torch.tensor([1000.0, 0.0])).isnan().any()

# %% [markdown]
# **How to notice it in your own training.** A loss that is NaN.

# %% [markdown]
# ## Exercises
#
# ### 12.1 ★ A safe softmax
#
# Write a softmax over the classes of each row. It must bear any scores.

# %%
def softmax(scores):
    """(N, K) -> (N, K)"""
    ...


exercise("12.1", softmax)

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

# %% [markdown]
# ## Paper, official code, ours
#
# | | paper | official code | ours |
# | --- | --- | --- | --- |
# | scores | softmax | softmax | softmax |

# %% [markdown]
# ## In the library

# %% tags=["hide-input"]
library_table({"the check in fast": "minim2f.shapes.check"})

# %% [markdown]
# ## Recap
#
# - Equal scores give equal probabilities.
# - Take away the largest score before the exponential.
# - An overflow shows as NaN.

# %% [markdown]
# ## Further reading
#
# - [The script of this chapter](12_inference_three_ways.py), to see how it is made.
