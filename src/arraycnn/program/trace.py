"""Tracing: a pure function is called once on arrays that know no numbers, and is written down.

The arrays, `Traced`, know shape and dtype; `arraycnn.program.namespace` is their namespace. What
reads a value, changes an array in place or is not in the recordable part of the standard raises
`TracingError`, which names the layer and a remedy.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, NoReturn

import numpy as np

from arraycnn.errors import InvalidTypeError, one_line
from arraycnn.program.nodes import COMPARISONS, Node, Program, within

_ABSTRACT = np.zeros((), np.int8)


class TracingError(InvalidTypeError):
    """Something in a step cannot be traced; the message names the layer, the cause and a remedy."""


class Recorder:
    """Collects the nodes of one tracing, in the order in which they are asked for."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.inputs: dict[str, Node] = {}
        self.last_call: Node | None = None
        """What the last opaque call leaves for the next, which so comes after it."""
        self.where = ""
        """The layer at work, and what it is doing: "3, forward"."""
        self.micro_batch = 0
        """Which part of a batch is at work, from 1; 0 where batches are not in parts."""
        self.owner = "the step"
        """The same for messages: "layer 3, Swish"."""

    def note(
        self, op: str, inputs: tuple, attrs: tuple, shape: tuple[int, ...], dtype: Any
    ) -> Traced:
        shape = tuple(map(int, shape))
        where = within(self.micro_batch, self.where) if self.micro_batch else self.where
        node = Node(op, inputs, attrs, shape, np.dtype(dtype), where)
        self.nodes.append(node)
        return Traced(node)

    def input(self, name: str, shape: tuple[int, ...], dtype: Any) -> Traced:
        traced = self.note("input", (), (name,), shape, dtype)
        self.inputs[name] = traced.node
        return traced

    @contextmanager
    def at(self, where: str, owner: str) -> Iterator[None]:
        """Within the block, what is noted belongs to ``where``, and what is raised to ``owner``."""
        before = self.where, self.owner
        self.where, self.owner = where, owner
        try:
            yield
        except TracingError:
            raise
        except Exception as error:
            raise TracingError(said_of(owner, one_line(error))) from error
        finally:
            self.where, self.owner = before


_active = threading.local()


def recorder() -> Recorder:
    """The recorder of the tracing under way in this thread."""
    current = getattr(_active, "recorder", None)
    if current is None:
        message = "program: traced arrays must stay in the function that is traced; return them"
        raise TracingError(message)
    return current


def said_of(owner: str, words: str) -> str:
    """``words`` behind whom they are of, "layer 3, Swish", whose name they may begin with: once."""
    return f"{owner}: {words.removeprefix(owner.rpartition(', ')[2] + ': ')}"


def refuse(cause: str, remedy: str) -> NoReturn:
    """Raise TracingError for what the layer at work has just tried."""
    current = getattr(_active, "recorder", None)
    owner = "the step" if current is None else current.owner
    raise TracingError(said_of(owner, f"{cause}; {remedy}"))


def trace(function: Callable[[Recorder], dict[str, Traced]]) -> Program:
    """The program of ``function``, which makes its inputs with `Recorder.input`.

    Raises TracingError for whatever ``function`` does that cannot be traced, its own errors too.
    """
    recorder, before = Recorder(), getattr(_active, "recorder", None)
    _active.recorder = recorder
    try:
        outputs = function(recorder)
        for name, value in outputs.items():
            if not isinstance(value, Traced):
                refuse(
                    f"result {name!r} must be an array, got {type(value).__name__}",
                    "compute it from the arrays that were given",
                )
        return Program(
            tuple(recorder.nodes),
            recorder.inputs,
            {name: value.node for name, value in outputs.items()},
        )
    except TracingError:
        raise
    except Exception as error:
        message = f"{recorder.owner}: {one_line(error)}"
        raise TracingError(message) from error
    finally:
        _active.recorder = before


def _reads_a_value(self: Traced, *_: Any, **__: Any) -> NoReturn:
    refuse(
        "must not read the value of an array (float(x), bool(x), if x:, iteration, numpy.asarray(x))",
        "compute with whole arrays, for example with xp.where",
    )


def _in_place(op: str) -> Callable[[Traced, Any], Traced]:
    def apply(self: Traced, other: Any) -> Traced:
        # x[i] += y comes as x[i] = (a slice) + y: what changes is x, and `__setitem__` notes it.
        if self.node.op == "slice":
            return pointwise(op, self, other)
        refuse(
            "must not change an array in place (x += y)",
            "write x = x + y, which leaves the array of the caller alone",
        )

    return apply


class Traced:
    """An array of known shape and dtype, and unknown numbers.

    ``x[i] = y`` makes ``x`` another value; what has been computed from the old one stays.
    """

    __slots__ = ("node",)
    namespace: ClassVar[Any] = None  # set where it is defined

    def __init__(self, node: Node) -> None:
        self.node = node

    def __repr__(self) -> str:
        return f"Traced(shape={self.shape}, dtype={self.dtype})"

    def __array_namespace__(self, api_version: str | None = None) -> Any:
        return self.namespace

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **_: Any) -> NoReturn:
        """Also what NumPy's arrays and numbers do with operators comes here."""
        for value in inputs:
            if not isinstance(value, Traced):
                _number(ufunc.__name__, value)
        refuse(
            f"must not give an array to NumPy's own functions (numpy.{ufunc.__name__})",
            "compute with those of xp = array_namespace(x)",
        )

    def __getattr__(self, name: str) -> NoReturn:
        """Most often a method that NumPy's arrays have, and those of the standard do not."""
        instead = f"xp.{name}(x)" if hasattr(self.namespace, name) else "a function of xp"
        message = f"arrays of the standard have no attribute {name!r}; write {instead}"
        raise AttributeError(message)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.node.shape

    @property
    def ndim(self) -> int:
        return len(self.node.shape)

    @property
    def size(self) -> int:
        return self.node.size

    @property
    def dtype(self) -> np.dtype:
        return self.node.dtype

    @property
    def device(self) -> str:
        return "traced"

    @property
    def T(self) -> Traced:  # the standard's name
        if self.ndim != 2:
            refuse(f"x.T needs two axes, got shape {self.shape}", "use xp.permute_dims")
        return self.permuted((1, 0))

    mT = T

    def permuted(self, axes: tuple[int, ...]) -> Traced:
        """The axes in another order."""
        shape = tuple(self.shape[axis] for axis in axes)
        return recorder().note("permute", (self.node,), axes, shape, self.dtype)

    def __getitem__(self, index: Any) -> Traced:
        index = _index(index)
        shape = np.broadcast_to(_ABSTRACT, self.shape)[index].shape
        return recorder().note("slice", (self.node,), index, shape, self.dtype)

    def __setitem__(self, index: Any, value: Any) -> None:
        index = _index(index)
        given = value.node if isinstance(value, Traced) else _number("x[i] = y", value)
        target = np.broadcast_to(_ABSTRACT, self.shape)[index].shape
        np.broadcast_to(np.broadcast_to(_ABSTRACT, getattr(given, "shape", ())), target)
        inputs = (self.node, given)
        self.node = recorder().note("update", inputs, index, self.shape, self.dtype).node

    def __neg__(self) -> Traced:
        return pointwise("negative", self)

    def __pos__(self) -> Traced:
        return Traced(self.node)

    def __abs__(self) -> Traced:
        return pointwise("abs", self)

    def __invert__(self) -> Traced:
        return pointwise("logical_not" if self.dtype == np.bool_ else "bitwise_invert", self)

    def __matmul__(self, other: Any) -> Traced:
        return self.namespace.matmul(self, other)

    __hash__ = object.__hash__
    __bool__ = __float__ = __int__ = __index__ = __complex__ = _reads_a_value
    __array__ = __iter__ = __len__ = __dlpack__ = item = tolist = _reads_a_value


def pointwise(op: str, *values: Any, dtype: Any = None) -> Traced:
    """Note a pointwise operation on arrays and Python numbers, at least one of them an array."""
    given: list[Any] = []
    kinds: list[Any] = []
    shapes: list[tuple[int, ...]] = []
    for value in values:
        if isinstance(value, Traced):
            given.append(value.node)
            kinds.append(value.dtype)
            shapes.append(value.shape)
        else:
            given.append(_number(op, value))
            kinds.append(value)
    if dtype is None:
        selected = kinds[1:] if op == "where" else kinds
        dtype = np.bool_ if op in COMPARISONS else np.result_type(*selected)
        if op == "divide" and np.dtype(dtype).kind in "iub":
            dtype = np.float64
        if op in ("remainder", "floor_divide") and np.dtype(dtype).kind == "b":
            refuse(f"{op} must be given numbers, got bool", "use xp.astype")
    return recorder().note(op, tuple(given), (), np.broadcast_shapes(*shapes), dtype)


def _number(op: str, value: Any) -> bool | int | float:
    if isinstance(value, np.generic | np.ndarray) or not isinstance(value, bool | int | float):
        refuse(
            f"{op} must be given arrays of the step and Python numbers, got {type(value).__name__}",
            "use float(number), or xp.asarray(table, dtype=x.dtype) for an array of constants",
        )
    return value


def _index(index: Any) -> tuple:
    """An index as a tuple of slices, ints, None and ...; TracingError for all else."""
    parts = index if isinstance(index, tuple) else (index,)
    for part in parts:
        if (
            part is None
            or part is Ellipsis
            or (isinstance(part, int) and not isinstance(part, bool))
        ):
            continue
        if isinstance(part, slice):
            if any(isinstance(end, Traced) for end in (part.start, part.stop, part.step)):
                _reads_a_value(part)  # type: ignore[arg-type]
            continue
        refuse(
            "an array must be indexed by slices and ints, not by another array or a mask",
            "use xp.take for rows, xp.where for a mask",
        )
    return tuple(
        slice(*(None if end is None else operator.index(end) for end in (p.start, p.stop, p.step)))
        if isinstance(p, slice)
        else p
        for p in parts
    )


_OPERATORS = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "truediv": "divide",
    "floordiv": "floor_divide",
    "mod": "remainder",
    "pow": "pow",
    "xor": "bitwise_xor",
    "and": "bitwise_and",
    "or": "bitwise_or",
    "lshift": "bitwise_left_shift",
    "rshift": "bitwise_right_shift",
}
_COMPARING = {
    "eq": "equal",
    "ne": "not_equal",
    "lt": "less",
    "le": "less_equal",
    "gt": "greater",
    "ge": "greater_equal",
}


def _operator(op: str, reflected: bool) -> Callable[[Traced, Any], Traced]:
    def apply(self: Traced, other: Any) -> Traced:
        return pointwise(op, other, self) if reflected else pointwise(op, self, other)

    return apply


for _name, _op in {**_OPERATORS, **_COMPARING}.items():
    setattr(Traced, f"__{_name}__", _operator(_op, reflected=False))
for _name, _op in _OPERATORS.items():
    setattr(Traced, f"__r{_name}__", _operator(_op, reflected=True))
    setattr(Traced, f"__i{_name}__", _in_place(_op))
