"""Arguments that tell how an answer works: which functions it calls, whether it loops.

A right result does not say whether it was found in the way that an exercise asks for. So one of
the cases of such an exercise is made of tensors that look at the code which uses them.
"""

from __future__ import annotations

import sys
from types import CodeType

from torch import Tensor

_ONE_BY_ONE = (Tensor.__iter__, Tensor.unbind, Tensor.tolist, Tensor.item)


class Forbidden(Exception):
    """An answer takes a way that its exercise rules out."""


class Watchful(Tensor):
    """A tensor that stops an answer which calls what it must not, or takes it apart in a loop.

    Attributes:
        functions: names that the answer's code may not call.
        loops: whether it may take single rows or numbers out of the tensor.
    """

    functions: frozenset[str] = frozenset()
    loops: bool = True

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        """Called by PyTorch for every operation on such a tensor, or on what came of one."""
        running = _answer_code()
        used = {name for code in running for name in (code.co_name, *code.co_names)}
        if found := used & cls.functions:
            raise Forbidden(f"the exercise asks you to do without {min(found)}")
        if running and not cls.loops and _takes_apart(func, args):
            raise Forbidden("the exercise asks for no loops: keep all queries in one tensor")
        return super().__torch_function__(func, types, args, kwargs or {})

    def __deepcopy__(self, memo: dict) -> Watchful:
        return self.detach().clone()


class Counted(Watchful):
    """A tensor that stops an answer which needs many operations: that is a loop over its rows.

    Single rows may be read, `len(rows[0])` among them. The arguments are copied anew before each
    try: from there on, operations on all of them together are counted.

    Attributes:
        most: how many operations are allowed; fewer than the tensor has rows.
    """

    most: int = 200
    calls: int = 0

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        """Called by PyTorch for every operation on such a tensor, or on what came of one."""
        Counted.calls += 1
        if Counted.calls > cls.most:
            Counted.calls = 0
            raise Forbidden("the exercise asks for no loops: keep all rows in one tensor")
        return super().__torch_function__(func, types, args, kwargs)

    def __deepcopy__(self, memo: dict) -> Watchful:
        Counted.calls = 0
        return super().__deepcopy__(memo)


def watchful(*tensors: Tensor, functions: str, loops: bool = True) -> tuple[Tensor, ...]:
    """The same tensors, which forbid some functions ("sum mean"), and loops if wanted."""
    limits = {"functions": frozenset(functions.split()), "loops": loops}
    kind = type("WatchfulTensor", (Watchful,), limits)
    return tuple(tensor.as_subclass(kind) for tensor in tensors)


def counted(
    *tensors: Tensor, functions: str, most: int = 200, kind: type[Counted] = Counted
) -> tuple[Tensor, ...]:
    """The same tensors, which forbid some functions ("sum mean"), and more operations than `most`.

    What leads out of PyTorch, where nothing is counted, is forbidden too. `kind` is a subclass of
    `Counted` that has wishes of its own.
    """
    names = frozenset(f"{functions} tolist item numpy".split())
    kind = type("CountedTensor", (kind,), {"functions": names, "most": most})
    return tuple(tensor.as_subclass(kind) for tensor in tensors)


def _takes_apart(func: object, args: tuple) -> bool:
    if func is not Tensor.__getitem__:
        return func in _ONE_BY_ONE
    index = args[1] if isinstance(args[1], tuple) else (args[1],)
    return any(type(i) is int for i in index)


def _answer_code() -> list[CodeType]:
    """The code that led here from the checker, while an answer is tried; at other times none."""
    frame, found = sys._getframe(2), []
    while frame and frame.f_code.co_name != "_answer":
        found.append(frame.f_code)
        frame = frame.f_back
    return found if frame else []
