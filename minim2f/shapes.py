"""Named shape assertions, and the record of a run that they leave.

One call does three jobs: it asserts a shape, it names a tensor, and, when somebody watches, it
records both:

    p5 = check("P5", p5, "B C H/32 W/32")

A symbol binds to the first size that it meets and must keep it until the enclosing `scope` ends;
`H/32` and `K+1` are arithmetic on symbols. Outside of any scope a call stands alone.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import CodeType

import torch
from torch import Tensor

_sizes: ContextVar[dict[str, float] | None] = ContextVar("sizes", default=None)
_rows: ContextVar[Walkthrough | None] = ContextVar("rows", default=None)
_ARITHMETIC = (ast.Expression, ast.BinOp, ast.Name, ast.Load, ast.Constant)
_ARITHMETIC += (ast.Add, ast.Sub, ast.Mult, ast.Div)


class ShapeError(ValueError):
    """A tensor is not shaped as its name promises."""


@dataclass(frozen=True)
class Row:
    """One recorded tensor: its name, its shape in symbols and in numbers, and the tensor itself."""

    name: str
    symbols: str
    shape: tuple[int, ...]
    tensor: Tensor


class Walkthrough(list):
    """The rows of one run, in the order in which data flowed; printed, they are a table."""

    def __getitem__(self, key):
        """Rows by position, or by name: `rows["P5"]`."""
        if not isinstance(key, str):
            return super().__getitem__(key)
        for row in reversed(self):
            if row.name == key:
                return row
        raise KeyError(f"no tensor named {key!r} was recorded; there are {[r.name for r in self]}")

    def __str__(self) -> str:
        lines = [("tensor", "symbols", "shape")]
        lines += [(r.name, f"({', '.join(r.symbols.split())})", str(r.shape)) for r in self]
        widths = [max(len(line[column]) for line in lines) for column in (0, 1)]
        return "\n".join(f"{a:{widths[0]}}  {b:{widths[1]}}  {c}" for a, b, c in lines)


def check(name: str, tensor: Tensor, symbols: str, **sizes: int) -> Tensor:
    """Asserts that a tensor has the shape its name promises, and hands it back.

    Args:
        name: what the tensor is called in the walkthrough.
        tensor: the tensor.
        symbols: one term per dimension, separated by spaces: a number, a symbol, or arithmetic
            with + - * / on both, such as "B C H/32 W/32" or "B N K+1".
        sizes: symbols that are known beforehand.

    Returns:
        The same tensor.

    Raises:
        ShapeError: wrong rank, wrong size, a size that does not divide (H/32 for H = 100), or a
            term that holds more than one unknown symbol.
    """
    if torch.compiler.is_compiling():
        return tensor
    known = {} if (scope := _sizes.get()) is None else scope
    known.update(sizes)
    terms = symbols.split()
    if len(terms) != tensor.dim():
        problem = f"{len(terms)} dimensions expected, {tensor.dim()} found"
        _fail(name, tensor, symbols, known, problem)
    for term, size in zip(terms, tensor.shape):
        if known.get(term) != size:  # a term that was met before costs one look-up
            problem = _bind(term, size, known)
            if problem:
                _fail(name, tensor, symbols, known, problem)
    rows = _rows.get()
    if rows is not None:  # what leaves one module enters the next: it is one row
        if not any(r.name == name and r.tensor.data_ptr() == tensor.data_ptr() for r in rows):
            rows.append(Row(name, symbols, tuple(tensor.shape), tensor.detach()))
    return tensor


def _bind(term: str, size: int, known: dict[str, float]) -> str | None:
    """Makes `term` equal `size`, solving for an unknown symbol if it has one; or tells why not."""
    code, names = _parse(term)
    unknown = [n for n in names if n not in known]
    if len(unknown) > 1:
        return f"{term} holds the unknown symbols {' and '.join(unknown)}"
    if unknown:  # terms are linear in each symbol, so two values give the line
        zero, one = (eval(code, {}, known | {unknown[0]: at}) for at in (0, 1))
        known[unknown[0]] = solved = (size - zero) / (one - zero)
        if solved != int(solved) or solved < 0:
            del known[unknown[0]]
            return f"{term} cannot be {size} for any whole {unknown[0]}"
        known[unknown[0]] = int(solved)
    value = eval(code, {}, known)
    if value != int(value):
        return f"{term} is {value:g}: not a whole number"
    if value != size:
        return f"{term} is {value:g}, found {size}"
    known[term] = size
    return None


@functools.lru_cache(maxsize=None)
def _parse(term: str) -> tuple[CodeType, tuple[str, ...]]:
    """A term as code and its symbols; only names, whole numbers and + - * / are let through."""
    try:
        tree = ast.parse(term, mode="eval")
    except SyntaxError:
        tree = None
    if tree is None or not all(isinstance(node, _ARITHMETIC) for node in ast.walk(tree)):
        raise ShapeError(f"{term!r} is not a shape term; write a number, a symbol, or e.g. H/32")
    names = sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)})
    return compile(tree, "<shape>", "eval"), tuple(names)


def _fail(name: str, tensor: Tensor, symbols: str, known: dict, problem: str) -> None:
    values = ", ".join(f"{k} = {v:g}" for k, v in known.items() if k.isidentifier())
    numbers = ", ".join(f"{known.get(term, term)}" for term in symbols.split())
    raise ShapeError(
        f"{name} should be ({', '.join(symbols.split())}) = ({numbers}), but is "
        f"{tuple(tensor.shape)}: {problem}" + (f" (known: {values})" if values else "")
    )


@contextmanager
def scope(**sizes: int) -> Iterator[None]:
    """Within it, symbols keep their sizes between checks; an inner scope joins the outer one."""
    outer = _sizes.get()
    if outer is not None:
        outer.update(sizes)
        yield
        return
    token = _sizes.set(dict(sizes))
    try:
        yield
    finally:
        _sizes.reset(token)


def scoped(forward: Callable) -> Callable:
    """Decorator: a module's forward runs in a `scope` of its own, or in the one around it."""

    @functools.wraps(forward)
    def wrapper(*args, **kwargs):
        if torch.compiler.is_compiling():
            return forward(*args, **kwargs)
        with scope():
            return forward(*args, **kwargs)

    return wrapper


@contextmanager
def watch() -> Iterator[Walkthrough]:
    """Records all checks inside: `with watch() as rows: model(images)`; `rows["Q_1"].tensor`."""
    rows = Walkthrough()
    token = _rows.set(rows)
    try:
        yield rows
    finally:
        _rows.reset(token)
