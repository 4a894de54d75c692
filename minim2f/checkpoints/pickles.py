"""Weights out of pickle files (.pkl, .pth) without running what is in them.

A pickle is a small program: it may call any function that it can name. Reading it safely means to
let it name only the few that rebuild an array of numbers, and to stop at any other. Even those few
are ours and not numpy's, so that no malicious argument reaches numpy's internals.
"""

from __future__ import annotations

import pickle
import re
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


class _Refused(Exception):
    """The file names something that arrays of numbers do not need."""


class _DType:
    """numpy.dtype, for bool, integers and floats of 1 ... 8 bytes."""

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch("[biuf][1248]", code):
            raise _Refused(f"numpy.dtype({code!r})")
        self.numpy = np.dtype(code)

    def __setstate__(self, state: tuple) -> None:
        self.numpy = self.numpy.newbyteorder(state[1])


class _Array:
    """numpy.ndarray: made empty first, then given its shape, type and bytes."""

    def __init__(self, *_: object) -> None:
        self.numpy = np.empty(0)

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self.numpy = np.frombuffer(data, dtype.numpy).reshape(shape, order="FC"[not fortran])


def _from_bytes(data: bytes, dtype: _DType, shape: tuple = (), order: str = "C") -> _Array:
    array = _Array()
    array.__setstate__((1, shape, dtype, order == "F", data))
    return array


def _latin1(text: str, encoding: str) -> bytes:
    return text.encode("latin1")  # how pickles of protocol 2 write bytes


ADMITTED = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _latin1,
    ("numpy", "dtype"): _DType,
    ("numpy", "ndarray"): "ndarray",  # it is only ever an argument
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy.core.multiarray", "scalar"): lambda dtype, data: _from_bytes(data, dtype),
    ("numpy.core.numeric", "_frombuffer"): _from_bytes,
}


class _Unpickler(pickle._Unpickler):  # the one in C lets 20 bytes claim all of the memory
    def find_class(self, module: str, name: str) -> object:
        known = module.replace("numpy._core.", "numpy.core."), name  # numpy 2 moved them
        if known not in ADMITTED:
            raise _Refused(f"{module}.{name}")
        return ADMITTED[known]


def read_pickle(path: Path) -> dict[str, Tensor]:
    """The weights in a detectron2 .pkl: a dict "model" of names and numpy arrays.

    Raises:
        ValueError: the pickle is damaged, holds something else, or tries to call anything but what
            rebuilds arrays of numbers; that is never called.
    """
    with open(path, "rb") as file:
        try:
            content = _Unpickler(file).load()
        except _Refused as refused:
            raise ValueError(_refusal(path, str(refused))) from None
        except Exception as error:  # a damaged or malicious pickle may raise anything at all
            raise ValueError(_damage(path, error)) from error
    return _weights(content, path)


def read_torch(path: Path) -> dict[str, Tensor]:
    """The weights in a .pth that detectron2 or `torch.save` wrote, read with `weights_only`.

    Raises:
        ValueError: the file is damaged, holds something else, or tries to call a function that
            torch does not admit.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # as above
        if named := re.search(r"GLOBAL (\S+)", str(error)):
            raise ValueError(_refusal(path, named[1])) from None
        raise ValueError(_damage(path, error)) from error
    return _weights(content, path)


def _refusal(path: Path, called: str) -> str:
    return (
        f"{path} tries to call {called}. Weights need no such thing, so it was not called, and the "
        "file is refused"
    )


def _damage(path: Path, error: Exception) -> str:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return f"{path} is not a whole {path.suffix} file ({reason}); fetch it again"


def _weights(content: object, path: Path) -> dict[str, Tensor]:
    weights = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not weights:
        raise ValueError(f"{path} holds no dictionary of weights, as an official checkpoint does")
    tensors = {}
    for name, value in weights.items():
        if isinstance(value, _Array):
            value = torch.from_numpy(value.numpy.astype(value.numpy.dtype.newbyteorder("=")))
        if not isinstance(name, str) or not _plain(value):
            raise ValueError(
                f"{path}: {name!r} is a {type(value).__name__}; only plain tensors with names were "
                "expected"
            )
        tensors[name] = value.detach()
    return tensors


def _plain(value: object) -> bool:
    if not isinstance(value, Tensor):
        return False
    return value.layout is torch.strided and value.device.type == "cpu" and not value.is_quantized
