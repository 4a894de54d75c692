"""A function with one small mistake in it, of every kind that a tired programmer makes."""

from __future__ import annotations

import ast
import copy
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator

SWAPPED_OPERATORS = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.Pow: ast.Mult,
}
ORDERED = (ast.Sub, ast.Div, ast.Pow, ast.MatMult)  # a - b is not b - a
SWAPPED_COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
SWAPPED_NAMES = {
    "max": "min",
    "amax": "amin",
    "maximum": "minimum",
    "any": "all",
    "sum": "mean",
    "softmax": "log_softmax",
    "sigmoid": "tanh",
    "repeat_interleave": "repeat",
}
SWAPPED_NAMES |= {new: old for old, new in SWAPPED_NAMES.items()}
SYMMETRIC = {"max", "min", "maximum", "minimum"}
SWAPPED_TEXTS = {"bilinear": "nearest-exact", "sum": "mean"}


def mutants(function: Callable) -> Iterator[tuple[str, Callable]]:
    """Each mutant with its description: the statement before and after.

    The last ones return the right result and change an argument in place.
    """
    tree = ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]
    seen = {ast.unparse(tree)}
    for place, node in enumerate(ast.walk(tree)):
        if _is_signature(tree, node):
            continue
        for change in _changes(node):
            other = copy.deepcopy(tree)
            change(list(ast.walk(other))[place])
            if (text := ast.unparse(other)) not in seen:
                seen.add(text)
                yield _difference(ast.unparse(tree), text), _compiled(other, function)
    for place, parameter in enumerate(inspect.signature(function).parameters.values()):
        if str(parameter.annotation).endswith("Tensor"):
            yield f"{parameter.name} is changed in place", _spoiling(function, place)


def _is_signature(tree: ast.FunctionDef, node: ast.AST) -> bool:
    """Names, types and the docstring of the function itself stay."""
    doc = [tree.body[0]] if ast.get_docstring(tree) else []
    kept = [tree.args, *filter(None, [tree.returns]), *doc]
    return any(node is inner for outer in kept for inner in ast.walk(outer))


def _changes(node: ast.AST) -> Iterator[Callable[[ast.AST], None]]:
    """What can go wrong at a node, as functions that do it to a copy of the node."""

    def put(field: str, value: object) -> Callable[[ast.AST], None]:
        return lambda twin: setattr(twin, field, value)

    if isinstance(node, ast.Constant):
        yield from (put("value", value) for value in _other_values(node.value))
    elif isinstance(node, ast.Compare):
        for swapped in SWAPPED_COMPARISONS.get(type(node.ops[0]), ()):
            yield put("ops", [swapped(), *node.ops[1:]])
    elif isinstance(node, ast.BinOp):
        if type(node.op) in SWAPPED_OPERATORS:
            yield put("op", SWAPPED_OPERATORS[type(node.op)]())
        if isinstance(node.op, ORDERED):
            yield lambda twin: twin.__dict__.update(left=twin.right, right=twin.left)
    elif isinstance(node, ast.UnaryOp):
        yield put("op", ast.UAdd() if isinstance(node.op, ast.USub) else ast.USub())
    elif isinstance(node, ast.BoolOp):
        yield put("op", ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, (ast.If, ast.IfExp)):
        yield put("test", ast.Constant(True))
        yield put("test", ast.Constant(False))
    elif isinstance(node, ast.Attribute) and node.attr in SWAPPED_NAMES:
        yield put("attr", SWAPPED_NAMES[node.attr])
    elif isinstance(node, ast.Name) and node.id in SWAPPED_NAMES:
        yield put("id", SWAPPED_NAMES[node.id])
    elif isinstance(node, ast.Call):
        yield from _call_changes(node)


def _other_values(value: object) -> list:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, (int, float)):
        return [value + 1, value - 1]
    return [SWAPPED_TEXTS[value]] if value in SWAPPED_TEXTS else []


def _call_changes(node: ast.Call) -> Iterator[Callable[[ast.AST], None]]:
    """Arguments in another order, one option forgotten, one step left out of a chain."""
    symmetric = ast.unparse(node.func).rpartition(".")[2] in SYMMETRIC
    for k in range(0 if symmetric else len(node.args) - 1):
        yield lambda twin, k=k: twin.args.insert(k, twin.args.pop(k + 1))
    for k in range(len(node.keywords)):
        yield lambda twin, k=k: twin.keywords.pop(k)
    if isinstance(node.func, ast.Attribute) and not isinstance(node.func.value, ast.Name):
        yield lambda twin: _left_out(twin)


def _left_out(call: ast.Call) -> None:
    """x.f().g() becomes x.f(): the call is replaced by what it was called on."""
    inner = call.func.value
    call.func, call.args, call.keywords = ast.Name("_same", ast.Load()), [inner], []


def _difference(before: str, after: str) -> str:
    pairs = zip(before.splitlines(), after.splitlines())
    changed = [f"{a.strip()} → {b.strip()}" for a, b in pairs if a != b]
    # Python 3.10 writes (a, b) = ... where later ones write a, b = ...
    return re.sub(r"\((\w+(?:, \w+)*)\) = ", r"\1 = ", "; ".join(changed))


def _compiled(tree: ast.FunctionDef, function: Callable) -> Callable:
    module = ast.fix_missing_locations(ast.Module([tree], type_ignores=[]))
    names = dict(function.__globals__) | {"_same": lambda x: x}
    exec(compile(module, f"<mutant of {function.__name__}>", "exec"), names)
    return names[function.__name__]


def _spoiling(function: Callable, place: int) -> Callable:
    def mutant(*args: object) -> object:
        result = copy.deepcopy(function(*args))
        args[place].zero_()
        return result

    return mutant
