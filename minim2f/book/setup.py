"""The first cell of every chapter: the same numbers, and the same looks, on every machine."""

from __future__ import annotations

import platform
import random

import matplotlib
import numpy as np
import torch

import minim2f

# The eight colours of Okabe and Ito, which colour-blind readers can tell apart.
COLORS = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442"]

LOOKS = {
    "figure.dpi": 100,
    "savefig.dpi": 100,
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": matplotlib.cycler(color=COLORS),
    "image.interpolation": "nearest",
    "image.cmap": "cividis",
    "legend.frameon": False,
}


def setup(seed: int = 0) -> None:
    """Puts a chapter on known ground: CPU, float32, at most two threads, fixed seeds, one look.

    Prints one line with the versions, as major.minor, so that stored outputs differ no
    more than they must.

    Args:
        seed: for torch, NumPy and `random`.
    """
    torch.set_default_device("cpu")
    torch.set_default_dtype(torch.float32)
    torch.set_num_threads(min(2, torch.get_num_threads()))
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    matplotlib.rcParams.update(LOOKS)
    versions = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "minim2f": minim2f.__version__,
    }
    line = " · ".join(f"{name} {_short(version)}" for name, version in versions.items())
    print(f"{line} · CPU, float32, seed {seed}")


def _short(version: str) -> str:
    return ".".join(version.split(".")[:2])
