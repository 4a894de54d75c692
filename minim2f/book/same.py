"""Two results side by side: are they the same, and if not, how far apart and where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Gap:
    """How far two results are apart.

    Attributes:
        size: the largest absolute difference; infinity for another shape, kind or structure.
        where: a sentence about the worst place, empty when nothing differs.
    """

    size: float
    where: str = ""


def same(mine: Any, theirs: Any, *args: Any, tolerance: float = 1e-5) -> None:
    """Prints `✔ equal, max difference 3e-7`, or stops the run and says where the two differ.

    Args:
        mine, theirs: tensors, arrays, numbers, or tuples, lists and dicts of them; or two functions
            of `args`, which then start from the same random state.
        args: what functions are called with.
        tolerance: the largest absolute difference that still counts as equal.

    Raises:
        AssertionError: another shape, structure or value; the message names the worst element.
    """
    state = torch.get_rng_state()
    mine = mine(*args) if callable(mine) else mine
    if callable(theirs):
        torch.set_rng_state(state)
        theirs = theirs(*args)
    apart = gap(mine, theirs)
    if not apart.size <= tolerance:
        raise AssertionError(f"✘ not equal (tolerance {brief(tolerance)}): {apart.where}")
    print(f"✔ equal, max difference {brief(apart.size)}")


def gap(mine: Any, theirs: Any, name: str = "result", nan_equal: bool = False) -> Gap:
    """The largest difference between two results, however nested.

    Args:
        mine: the result under test.
        theirs: what it should be.
        name: what to call it in the sentence.
        nan_equal: whether NaN at the same place counts as equal; else NaN equals nothing.
    """
    if any(isinstance(x, (Tensor, np.ndarray, Number)) for x in (mine, theirs)):
        return _array_gap(mine, theirs, name, nan_equal)
    if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
        if mine.keys() != theirs.keys():
            return Gap(torch.inf, f"{name} has the keys {list(mine)}, expected {list(theirs)}")
        pairs = [(mine[key], theirs[key], f"{name}[{key!r}]") for key in theirs]
    elif isinstance(mine, (list, tuple)) and isinstance(theirs, (list, tuple)):
        if len(mine) != len(theirs):
            return Gap(torch.inf, f"{name} has {len(mine)} items, expected {len(theirs)}")
        pairs = [(a, b, f"{name}[{i}]") for i, (a, b) in enumerate(zip(mine, theirs))]
    elif type(mine) is type(theirs) and mine == theirs:
        return Gap(0.0)
    else:
        return Gap(torch.inf, f"{name} is {_kind(mine)}, expected {_kind(theirs)}")
    gaps = [gap(a, b, inner, nan_equal) for a, b, inner in pairs]
    return max(gaps, key=lambda g: g.size, default=Gap(0.0))


def brief(number: float) -> str:
    """3e-7 rather than 3.0000e-07."""
    return f"{number:.0e}".replace("e-0", "e-").replace("e+0", "e+") if number else "0"


def _array_gap(mine: Any, theirs: Any, name: str, nan_equal: bool) -> Gap:
    a, b = _tensor(mine), _tensor(theirs)
    if a is None or b is None:
        return Gap(torch.inf, f"{name} is {_kind(mine)}, expected {_kind(theirs)}")
    if a.shape != b.shape:
        return Gap(torch.inf, f"{name} has shape {tuple(a.shape)}, expected {tuple(b.shape)}")
    if (a.dtype == torch.bool) != (b.dtype == torch.bool):
        return Gap(torch.inf, f"{name} has dtype {a.dtype}, expected {b.dtype}")
    if not a.numel():
        return Gap(0.0)
    apart = (a.double() - b.double()).abs().nan_to_num(torch.inf, posinf=torch.inf)
    equal = (a == b) | (a.isnan() & b.isnan() if nan_equal else False)
    apart = apart.masked_fill(equal, 0)  # infinities too: a blocked score is -inf on both sides
    index = tuple(int(i) for i in torch.unravel_index(apart.argmax(), apart.shape))
    size = apart[index].item()
    place = f"{name} at {index}" if index else name
    return Gap(size, f"{place} is {_value(a[index])}, expected {_value(b[index])}" if size else "")


def _tensor(x: Any) -> Tensor | None:
    """Anything numeric as a tensor on the CPU, None for what is not numeric."""
    try:
        return torch.as_tensor(x).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        return None


def _value(x: Tensor) -> str:
    return f"{x.item():.6g}" if x.is_floating_point() else str(x.item())


def _kind(x: Any) -> str:
    """A short description of a result: its shape if it has one."""
    if isinstance(x, (Tensor, np.ndarray)):
        return f"an array of shape {tuple(x.shape)}"
    if isinstance(x, (list, tuple, dict)):
        return f"a {type(x).__name__} of {len(x)}"
    text = repr(x)
    return text if len(text) <= 40 else f"a {type(x).__name__}"
