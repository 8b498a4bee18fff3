"""The recordable part of the array-API standard: what a layer, loss or optimizer may call.

Names, parameters and meaning are the standard's (2024.12); dtypes follow NumPy's promotion. Left
out is what needs a value (``nonzero``, ``unique``), what draws or sorts, and linear algebra beyond
`matmul` of two axes: a call of those raises AttributeError, which names what to write, or this page.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from arraycnn.program.nodes import POINTWISE, Frozen
from arraycnn.program.trace import Traced, pointwise, recorder, refuse

_ABSTRACT = np.zeros((), np.int8)
_FLOATING = frozenset(["sqrt", "exp", "expm1", "log", "log1p", "tanh"])
INSTEAD = {
    "copysign": "xp.where(y < 0, -xp.abs(x), xp.abs(x))",
    "cosh": "0.5 * (xp.exp(x) + xp.exp(-x))",
    "count_nonzero": "xp.sum(xp.astype(x != 0, xp.int64))",
    "diff": "x[..., 1:] - x[..., :-1]",
    "hypot": "xp.sqrt(x * x + y * y)",
    "log10": "xp.log(x) / 2.302585092994046",
    "log2": "xp.log(x) / 0.6931471805599453",
    "logaddexp": "xp.maximum(x, y) + xp.log1p(xp.exp(-xp.abs(x - y)))",
    "signbit": "x < 0",
    "sinh": "0.5 * (xp.exp(x) - xp.exp(-x))",
    "vecdot": "xp.sum(x * y, axis=-1)",
}
"""What can be traced and is the same, for functions of the standard that cannot."""

_DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float32", "float64"),
)


class Namespace:
    """`array_namespace(x)` of a traced array."""

    __name__ = "arraycnn.program.namespace"
    __array_api_version__ = "2024.12"

    e, pi, inf, nan, newaxis = math.e, math.pi, math.inf, math.nan, None

    def __getattr__(self, name: str) -> Any:
        if name in POINTWISE:
            return lambda *values: _pointwise(name, values)
        if name in _DTYPES:
            return np.dtype(name)
        if name in INSTEAD:
            message = f"xp.{name} cannot be traced; write {INSTEAD[name]}"
        else:
            message = (
                f"xp.{name} cannot be traced; compute with the functions of "
                "arraycnn.program.namespace"
            )
        raise AttributeError(message)

    # Dtypes and creation

    def isdtype(self, dtype: Any, kind: Any) -> bool:
        return np.isdtype(dtype, kind)

    def finfo(self, dtype: Any) -> Any:
        return np.finfo(dtype)

    def iinfo(self, dtype: Any) -> Any:
        return np.iinfo(dtype)

    def result_type(self, *values: Any) -> np.dtype:
        kinds = [value.dtype if isinstance(value, Traced) else value for value in values]
        return np.result_type(*kinds)

    def astype(self, x: Traced, dtype: Any, *, copy: bool = True, device: Any = None) -> Traced:
        return pointwise("astype", x, dtype=np.dtype(dtype))

    def asarray(self, x: Any, *, dtype: Any = None, device: Any = None, copy: Any = None) -> Traced:
        """A traced array, or a table of constants, which becomes part of the program."""
        if isinstance(x, Traced):
            if dtype is not None and np.dtype(dtype) != x.dtype:
                return self.astype(x, dtype)
            return Traced(x.node) if copy else x
        table = np.asarray(x, dtype=dtype)
        if table.dtype.name not in _DTYPES:
            refuse(f"xp.asarray must be given numbers, got {table.dtype}", "convert them before")
        return recorder().note("constant", (), (Frozen(table),), table.shape, table.dtype)

    def full(self, shape: Any, fill_value: Any, *, dtype: Any = None, device: Any = None) -> Traced:
        shape = shape if isinstance(shape, tuple) else (shape,)
        if isinstance(fill_value, Traced):
            return self.broadcast_to(self.asarray(fill_value, dtype=dtype), shape)
        dtype = np.result_type(fill_value) if dtype is None else np.dtype(dtype)
        return recorder().note("full", (), (fill_value,), shape, dtype)

    def zeros(self, shape: Any, *, dtype: Any = None, device: Any = None) -> Traced:
        return self.full(shape, 0, dtype=np.float64 if dtype is None else dtype)

    def ones(self, shape: Any, *, dtype: Any = None, device: Any = None) -> Traced:
        return self.full(shape, 1, dtype=np.float64 if dtype is None else dtype)

    empty = zeros

    def full_like(
        self, x: Traced, fill_value: Any, *, dtype: Any = None, device: Any = None
    ) -> Traced:
        return self.full(x.shape, fill_value, dtype=x.dtype if dtype is None else dtype)

    def zeros_like(self, x: Traced, *, dtype: Any = None, device: Any = None) -> Traced:
        return self.full_like(x, 0, dtype=dtype)

    def ones_like(self, x: Traced, *, dtype: Any = None, device: Any = None) -> Traced:
        return self.full_like(x, 1, dtype=dtype)

    empty_like = zeros_like

    def arange(
        self, start: int, /, stop: int | None = None, step: int = 1, *, dtype: Any = None,
        device: Any = None,
    ) -> Traced:  # fmt: skip
        if stop is None:
            start, stop = 0, start
        if not all(isinstance(value, int) for value in (start, stop, step)):
            refuse("xp.arange must be given ints", "multiply the result by the step")
        count = len(range(start, stop, step))
        dtype = np.dtype(np.int64 if dtype is None else dtype)
        return recorder().note("arange", (), (start, stop, step), (count,), dtype)

    # Number by number, beside the operations that `POINTWISE` names

    def reciprocal(self, x: Any) -> Traced:
        return 1.0 / x

    def positive(self, x: Traced) -> Traced:
        return +x

    def clip(self, x: Traced, /, min: Any = None, max: Any = None) -> Traced:
        x = +x if min is None else pointwise("maximum", x, min)
        return x if max is None else pointwise("minimum", x, max)

    # Reductions

    def sum(
        self, x: Traced, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False
    ) -> Traced:
        return _reduce("sum", x, axis, keepdims, _total(x.dtype) if dtype is None else dtype)

    def prod(
        self, x: Traced, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False
    ) -> Traced:
        return _reduce("prod", x, axis, keepdims, _total(x.dtype) if dtype is None else dtype)

    def max(self, x: Traced, /, *, axis: Any = None, keepdims: bool = False) -> Traced:
        return _reduce("max", x, axis, keepdims, x.dtype)

    def min(self, x: Traced, /, *, axis: Any = None, keepdims: bool = False) -> Traced:
        return _reduce("min", x, axis, keepdims, x.dtype)

    def any(self, x: Traced, /, *, axis: Any = None, keepdims: bool = False) -> Traced:
        return _reduce("any", self.astype(x, "bool"), axis, keepdims, np.bool_)

    def all(self, x: Traced, /, *, axis: Any = None, keepdims: bool = False) -> Traced:
        return _reduce("all", self.astype(x, "bool"), axis, keepdims, np.bool_)

    def argmax(self, x: Traced, /, *, axis: Any = None, keepdims: bool = False) -> Traced:
        return self._place(x, "argmax", axis, keepdims)

    def argmin(self, x: Traced, /, *, axis: Any = None, keepdims: bool = False) -> Traced:
        return self._place(x, "argmin", axis, keepdims)

    def _place(self, x: Traced, op: str, axis: int | None, keepdims: bool) -> Traced:
        if axis is not None:
            return _reduce(op, x, axis, keepdims, np.int64)
        place = _reduce(op, self.reshape(x, (-1,)), 0, False, np.int64)
        return self.reshape(place, (1,) * x.ndim) if keepdims else place

    def mean(self, x: Traced, /, *, axis: Any = None, keepdims: bool = False) -> Traced:
        total = self.sum(x, axis=axis, keepdims=keepdims)
        return pointwise("divide", total, float(_count(x, axis)))

    def var(
        self, x: Traced, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False
    ) -> Traced:
        centred = pointwise("subtract", x, self.mean(x, axis=axis, keepdims=True))
        squares = pointwise("multiply", centred, centred)
        total = self.sum(squares, axis=axis, keepdims=keepdims)
        return pointwise("divide", total, float(max(_count(x, axis) - correction, 0.0)))

    def std(
        self, x: Traced, /, *, axis: Any = None, correction: float = 0.0, keepdims: bool = False
    ) -> Traced:
        variance = self.var(x, axis=axis, correction=correction, keepdims=keepdims)
        return pointwise("sqrt", variance)

    # Shapes

    def reshape(self, x: Traced, /, shape: Sequence[int], *, copy: bool | None = None) -> Traced:
        shape = np.broadcast_to(_ABSTRACT, x.shape).reshape(tuple(shape)).shape
        return recorder().note("reshape", (x.node,), (), shape, x.dtype)

    def broadcast_to(self, x: Traced, /, shape: Sequence[int]) -> Traced:
        shape = np.broadcast_to(np.broadcast_to(_ABSTRACT, x.shape), tuple(shape)).shape
        return recorder().note("broadcast", (x.node,), (), shape, x.dtype)

    def broadcast_arrays(self, *arrays: Traced) -> list[Traced]:
        shape = np.broadcast_shapes(*(x.shape for x in arrays))
        return [self.broadcast_to(x, shape) for x in arrays]

    def expand_dims(self, x: Traced, /, *, axis: int = 0) -> Traced:
        return self.reshape(x, np.expand_dims(np.broadcast_to(_ABSTRACT, x.shape), axis).shape)

    def squeeze(self, x: Traced, /, axis: Any) -> Traced:
        return self.reshape(x, np.squeeze(np.broadcast_to(_ABSTRACT, x.shape), axis).shape)

    def permute_dims(self, x: Traced, /, axes: Sequence[int]) -> Traced:
        axes = tuple(axis % x.ndim for axis in axes)
        if sorted(axes) != list(range(x.ndim)):
            refuse(
                f"xp.permute_dims needs each axis of {x.shape} once, got {axes}", "name them all"
            )
        return x.permuted(axes)

    def matrix_transpose(self, x: Traced, /) -> Traced:
        return x.permuted((*range(x.ndim - 2), x.ndim - 1, x.ndim - 2))

    def moveaxis(self, x: Traced, source: Any, destination: Any, /) -> Traced:
        order = np.moveaxis(np.empty(tuple(range(2, x.ndim + 2)), np.int8), source, destination)
        return x.permuted(tuple(size - 2 for size in order.shape))

    def flip(self, x: Traced, /, *, axis: Any = None) -> Traced:
        flipped = _axes(axis, x.ndim)
        return x[tuple(slice(None, None, -1 if d in flipped else 1) for d in range(x.ndim))]

    def roll(self, x: Traced, /, shift: Any, *, axis: Any = None) -> Traced:
        if axis is None:
            return self.reshape(self.roll(self.reshape(x, (-1,)), shift, axis=0), x.shape)
        axes = axis if isinstance(axis, tuple) else (axis,)
        shifts = shift if isinstance(shift, tuple) else (shift,) * len(axes)
        for along, by in zip(axes, shifts, strict=True):
            (d,) = _axes(along, x.ndim)
            cut = -operator.index(by) % max(1, x.shape[d])
            before = (slice(None),) * d
            x = self.concat([x[(*before, slice(cut, None))], x[(*before, slice(cut))]], axis=d)
        return x

    def concat(self, arrays: Sequence[Traced], /, *, axis: int | None = 0) -> Traced:
        if axis is None:
            arrays, axis = [self.reshape(x, (-1,)) for x in arrays], 0
        shape = np.concatenate(
            [np.broadcast_to(_ABSTRACT, x.shape) for x in arrays], axis=axis
        ).shape
        dtype = np.result_type(*(x.dtype for x in arrays))
        nodes = tuple(self.asarray(x, dtype=dtype).node for x in arrays)
        return recorder().note("concat", nodes, (axis % len(shape),), shape, dtype)

    def stack(self, arrays: Sequence[Traced], /, *, axis: int = 0) -> Traced:
        return self.concat(
            [self.expand_dims(x, axis=axis) for x in arrays], axis=axis % (arrays[0].ndim + 1)
        )

    def take(self, x: Traced, indices: Traced, /, *, axis: int | None = None) -> Traced:
        if axis is None:
            if x.ndim != 1:
                refuse(f"xp.take of shape {x.shape} needs an axis", "write axis=0")
            axis = 0
        axis %= x.ndim
        shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
        return recorder().note("take", (x.node, indices.node), (axis,), shape, x.dtype)

    def matmul(self, a: Traced, b: Traced, /) -> Traced:
        if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[0]:
            refuse(
                f"xp.matmul needs shapes (n, k) and (k, m), got {a.shape} and {b.shape}",
                "reshape to two axes",
            )
        dtype = np.result_type(a.dtype, b.dtype)
        nodes = (self.asarray(a, dtype=dtype).node, self.asarray(b, dtype=dtype).node)
        return recorder().note("matmul", nodes, (), (a.shape[0], b.shape[1]), dtype)


def _pointwise(op: str, values: tuple) -> Traced:
    if op in _FLOATING and values[0].dtype.kind != "f":
        refuse(f"xp.{op} must be given floating numbers, got {values[0].dtype}", "use xp.astype")
    return pointwise(op, *values)


def _reduce(op: str, x: Traced, axis: Any, keepdims: bool, dtype: Any) -> Traced:
    axes = _axes(axis, x.ndim)
    if keepdims:
        shape = tuple(1 if d in axes else size for d, size in enumerate(x.shape))
    else:
        shape = tuple(size for d, size in enumerate(x.shape) if d not in axes)
    return recorder().note(op, (x.node,), (axes, bool(keepdims)), shape, dtype)


def _axes(axis: Any, ndim: int) -> tuple[int, ...]:
    axes = range(ndim) if axis is None else axis if isinstance(axis, tuple) else (axis,)
    if any(not -ndim <= a < ndim for a in axes):
        refuse(f"an axis must be one of {ndim}, got {axis!r}", "count axes from 0")
    return tuple(sorted(a % ndim for a in axes))


def _count(x: Traced, axis: Any) -> int:
    if x.dtype.kind != "f":
        refuse(f"a mean must be of floating numbers, got {x.dtype}", "use xp.astype")
    return math.prod(x.shape[a] for a in _axes(axis, x.ndim))


def _total(dtype: np.dtype) -> np.dtype:
    """In which dtype numbers are added up, as NumPy does."""
    return np.dtype({"b": np.int64, "i": np.int64, "u": np.uint64}.get(dtype.kind, dtype))


NAMESPACE = Traced.namespace = Namespace()
