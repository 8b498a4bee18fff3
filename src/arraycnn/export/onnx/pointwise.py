"""What is computed number by number, in ONNX's operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from arraycnn.export.onnx.layouts import stored
from arraycnn.export.onnx.render import Rendered, Renderer
from arraycnn.program.expression import computing_dtype
from arraycnn.program.nodes import COMPARISONS, Node

_BOOL = np.dtype(bool)
_WIDE = ("float32", "float64", "int32", "int64")
"""What runtimes compute in; other numbers are made int64 for it, and cut off again."""
_SIMPLE = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "maximum": "Max",
    "minimum": "Min",
    "negative": "Neg",
    "abs": "Abs",
    "sign": "Sign",
    "sqrt": "Sqrt",
    "exp": "Exp",
    "log": "Log",
    "tanh": "Tanh",
    "pow": "Pow",
    "floor": "Floor",
    "ceil": "Ceil",
    "round": "Round",
    "equal": "Equal",
    "less": "Less",
    "less_equal": "LessOrEqual",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "where": "Where",
    "isnan": "IsNaN",
    "isinf": "IsInf",
}
_OF_BOOL = {
    "logical_and": "And",
    "logical_or": "Or",
    "logical_xor": "Xor",
    "logical_not": "Not",
    "bitwise_and": "And",
    "bitwise_or": "Or",
    "bitwise_xor": "Xor",
    "bitwise_invert": "Not",
    "add": "Or",
    "multiply": "And",
    "maximum": "Or",
    "minimum": "And",
    "equal": "Equal",
    "where": "Where",
    "not_equal": "Xor",
}
_WHOLE = frozenset(["floor", "ceil", "round", "trunc"])


class _Maker:
    """Adds nodes of one shape and place."""

    def __init__(self, to: Renderer, node: Node, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self._graph, self._path = to.graph, to.path(node)
        self._shape, self._dtype = shape, dtype

    def __call__(self, kind: str, *inputs: str | float, **settings: Any) -> str:
        """A node of ``kind``; numbers have the dtype of the whole."""
        names = [x if isinstance(x, str) else self._graph.scalar(x, self._dtype) for x in inputs]
        return self._graph.add(kind, names, self._path, self._shape, **settings)

    def cast(self, x: str, dtype: Any) -> str:
        return self._graph.cast(x, dtype, self._path)


def pointwise(to: Renderer, node: Node) -> Rendered:
    layout = to.wish(node)
    dtype = computing_dtype(node)
    if node.op == "astype":
        dtype = node.dtype
    wide = dtype
    if dtype != _BOOL and str(dtype) not in _WIDE and node.op != "astype":
        wide = np.dtype(np.int64)
    if dtype == _BOOL and node.op not in _OF_BOOL and node.op != "astype":
        wide = np.dtype(np.int32)  # False is less than True
    inputs = []
    for place, value in enumerate(_whole(node)):
        kind = _BOOL if node.op == "where" and place == 0 else wide
        inputs.append(to.operand(value, node, layout, kind))
    made = _Maker(to, node, stored(node.shape, layout), wide)
    result = inputs[0] if node.op == "astype" else _computed(to, node, wide, made, inputs)
    if wide != dtype and node.op not in COMPARISONS:
        result = made.cast(result, dtype)
    return result, layout


def _whole(node: Node) -> list[Any]:
    """What ``node`` is computed of, without what only repeats numbers that ONNX repeats itself."""
    short = [v.inputs[0] if isinstance(v, Node) and v.op == "broadcast" else v for v in node.inputs]
    for values in (short, list(node.inputs)):
        shapes = [v.shape for v in values if isinstance(v, Node) and v.op != "full"]
        if _broadcast(shapes, len(node.shape)) == node.shape:
            return values
    # All are single numbers: one of them is written out.
    first = node.operands[0]
    whole = Node("broadcast", (first,), (), node.shape, first.dtype, node.where)
    return [whole if value is first else value for value in node.inputs]


def _broadcast(shapes: list[tuple[int, ...]], rank: int) -> tuple[int, ...]:
    wide = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    found = []
    for sizes in zip(*wide, strict=True):
        found.append(next((size for size in sizes if size != 1), 1))
    return tuple(found) if wide else ()


def _computed(to: Renderer, node: Node, dtype: np.dtype, made: _Maker, x: list[str]) -> str:
    """The name of the result, in ``dtype`` or bool."""
    op, is_float = node.op, dtype.kind == "f"
    table = _OF_BOOL if dtype == _BOOL else _SIMPLE
    if op in _WHOLE and not is_float:
        return x[0]
    if op in ("isnan", "isinf", "isfinite") and not is_float:
        x, is_float = [made.cast(x[0], np.float32)], True
    if op in table:
        return made(table[op], *x)
    if op in _MADE_OF and dtype != _BOOL:
        return _MADE_OF[op](made, is_float, *x)
    return to.no_operation(node, f"{op} of {dtype}")


# Operations that take several nodes


def _expm1(made: _Maker, _: bool, x: str) -> str:
    # exp(x) - 1 loses the digits of small numbers; this has them, from -inf to inf.
    return made("Mul", made("Tanh", made("Mul", x, 0.5)), made("Add", made("Exp", x), 1.0))


def _log1p(made: _Maker, _: bool, x: str) -> str:
    # The rounding of 1 + x is made good: Goldberg, "What every computer scientist should know", 1991.
    whole = made("Add", x, 1.0)
    rounded = made("Sub", whole, 1.0)
    log = made("Log", whole)
    share = made("Mul", log, made("Div", x, rounded))
    small = made("Where", made("Equal", rounded, 0.0), x, share)
    return made("Where", made("Equal", rounded, x), log, small)


def _remainder(made: _Maker, is_float: bool, x: str, y: str) -> str:
    """With the sign of ``y``, as Python's."""
    if not is_float:
        return made("Mod", x, y)
    rest = made("Mod", x, y, fmod=1)  # with the sign of x
    turns = made("Xor", made("Less", rest, 0.0), made("Less", y, 0.0))
    is_off = made("And", made("Not", made("Equal", rest, 0.0)), turns)
    return made("Where", is_off, made("Add", rest, y), rest)


def _floor_divide(made: _Maker, is_float: bool, x: str, y: str) -> str:
    whole = made("Div", made("Sub", x, _remainder(made, is_float, x, y)), y)
    return made("Round", whole) if is_float else whole


def _truncated(made: _Maker, _: bool, x: str) -> str:
    return made("Mul", made("Sign", x), made("Floor", made("Abs", x)))


_MADE_OF: dict[str, Callable[..., str]] = {
    "square": lambda made, _, x: made("Mul", x, x),
    "not_equal": lambda made, _, x, y: made("Not", made("Equal", x, y)),
    "isfinite": lambda made, _, x: made("Not", made("Or", made("IsNaN", x), made("IsInf", x))),
    "expm1": _expm1,
    "log1p": _log1p,
    "trunc": _truncated,
    "remainder": _remainder,
    "floor_divide": _floor_divide,
}


def activation(to: Renderer, node: Node) -> Rendered:
    """What ONNX has as one operation (`arraycnn.export.onnx.patterns`)."""
    layout, (kind, settings) = to.wish(node), node.attrs
    x = to.value(node.inputs[0], layout)
    shape = stored(node.shape, layout)
    return to.graph.add(kind, [x], to.path(node), shape, **dict(settings)), layout


POINTWISE_RULES = {"pointwise": pointwise, "activation": activation}
