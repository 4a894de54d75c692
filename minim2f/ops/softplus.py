"""ln(1 + e^x) for the matching cost, where it is asked of every query at every point.

PyTorch's takes most of its time for a logarithm that is exact near 1. Here the logarithm is that of
a number in [0.5, 1], and a cost needs no better: all of a matching takes half of the time.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from . import in_reference


def softplus(x: Tensor) -> Tensor:
    """`ln(1 + e^x) = max(x, 0) - ln sigmoid(|x|)`, any shape, to the absolute precision of 1."""
    if in_reference():
        return F.softplus(x)
    return x.clamp(min=0) - x.abs().sigmoid().log()
