"""The same numbers, faster.

Each file holds an operation twice, a slow way that says what is computed and a fast way, and the
reason why the fast one pays. A reader needs only the slow one:

    with minim2f.ops.reference():
        model(images)                  # every operation the slow way

Tests run both ways against each other, gradients included, and both against Transformers'
Mask2Former with equal weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_slow = False
# PyTorch 2.6 cannot tell `torch.export` from `torch.compile`: there both take the slow ways.
_written = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)


@contextmanager
def reference() -> Iterator[None]:
    """Within it, every operation of this package runs the slow way, in all threads."""
    global _slow
    before, _slow = _slow, True
    try:
        yield
    finally:
        _slow = before


def exporting() -> bool:
    """Whether PyTorch writes the model down as a graph, by tracing or by `torch.export`."""
    return torch.jit.is_tracing() or _written()


def in_reference() -> bool:
    """Whether the slow way is wanted; whoever writes down a graph can follow no other."""
    return _slow or exporting()
