"""The mould of a chapter: its parts in order, its first cell, its budgets."""

from __future__ import annotations

# The second-level headings of every chapter; the order never changes, so readers learn it once.
PARTS = [
    "You will be able to",
    "Where we are",
    "Predict",
    "The idea in small numbers",
    "The equation",
    "Slow and obvious",
    "Fast and short",
    "Shapes",
    "Look",
    "Checkpoint",
    "Experiment",
    "Break it",
    "Exercises",
    "Paper, official code, ours",
    "In the library",
    "Recap",
    "Further reading",
]

# The first cell of every chapter: title and promise, times, and where the matter is to be found.
CARD = """\
# 9 · Title

One sentence that promises something.

*read 15 min · run 25 s CPU · exercises 30 min*

**Needs** chapters 1 and 8 · **Library** `minim2f/...` · **Paper** section 3.2"""

# The first code cell of every chapter, tagged "setup".
SETUP = """\
import matplotlib.pyplot as plt
import torch

import minim2f
from minim2f import shapes
from minim2f.book import check, figure, library_table, same, setup, shape_table, strip, table

setup(seed=0)"""

# What the code of a part must call; an assert statement counts as a call of "assert".
CALLS = {
    "Where we are": {"strip"},
    "The idea in small numbers": {"assert", "same"},
    "Fast and short": {"assert", "same"},
    "Shapes": {"shape_table"},
    "Look": {"figure"},
    "Checkpoint": {"same"},
    "Break it": {"assert", "same"},
    "In the library": {"library_table"},
}

WORDS = (900, 1800)  # of prose: no code, no formulas, nothing folded
GOALS = (3, 5)
CHECKS = 5  # at least: same(), check() and assert together
CODE_LINES_MEDIAN = 8
CODE_LINES = 25
NOTEBOOK_BYTES = 300_000
SECONDS = 60
RUN_SLACK = 2  # how much longer or shorter a chapter may run than its card says
LINKS = 5  # in "Further reading", to other places than this book
