"""What a program is made of: nodes in order, each a value of known shape and dtype.

A step is traced into a `Program` (`arraycnn.program.trace`), rewritten by passes, and run by the
reference interpreter or by what a renderer makes of it. Nothing here holds numbers but constants.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.ops.rounded import BFLOAT16_BITS, TENSOR_FLOAT32_BITS

Scalar: TypeAlias = bool | int | float
"""A Python number in an expression: it takes the dtype of the array beside it."""

COMPARISONS = frozenset(
    {"equal", "not_equal", "less", "less_equal", "greater", "greater_equal"}
    | {"logical_and", "logical_or", "logical_xor", "logical_not", "isnan", "isinf", "isfinite"}
)
"""Pointwise operations whose result is bool, whatever they are given."""

POINTWISE = COMPARISONS | {
    *("add", "subtract", "multiply", "divide", "pow", "maximum", "minimum"),
    *("negative", "abs", "sign", "square", "sqrt", "exp", "expm1", "log", "log1p", "tanh"),
    *("floor", "ceil", "round", "trunc", "remainder", "floor_divide", "where", "astype"),
    *("bitwise_and", "bitwise_or", "bitwise_xor", "bitwise_invert"),
    *("bitwise_left_shift", "bitwise_right_shift"),
}

_KINDS = {
    "pointwise": POINTWISE,
    "reduce": {"sum", "prod", "max", "min", "any", "all", "argmax", "argmin"},
    "view": {"reshape", "permute", "slice", "broadcast"},
    "make": {"arange", "full", "constant"},
    "input": {"input"},
    "take": {"take"},
    "concat": {"concat"},
    "update": {"update"},
    "part": {"part"},
    "head": {
        *("matmul", "dense", "dense_backward", "conv2d", "conv2d_backward"),
        *("max_pool2d", "max_pool2d_backward", "at_winners"),
        *("dense_relu", "dense_relu_backward", "conv2d_relu", "conv2d_relu_backward"),
        *("conv2d_max_pool2d", "conv2d_max_pool2d_backward"),
        # Noted for exporters alone: other formats have these as one operation.
        *("avg_pool2d", "batch_norm", "col2im", "grouped_conv2d", "softmax"),
    },
    "foreign": {"activation", "conv_transpose2d", "mean", "normal", "resize"},
    "opaque": {"opaque"},
}
_KIND_OF = {op: kind for kind, ops in _KINDS.items() for op in ops}


BFLOAT16 = np.dtype([("bits", BFLOAT16_BITS)])
"""Of values that lie in memory as bfloat16, and do nothing else: what computes with one converts it to
float32 before (`passes/storage.py`)."""

TENSOR_FLOAT32 = np.dtype([("bits", TENSOR_FLOAT32_BITS)])
"""The same of TensorFloat32, which is float32 with 10 bits after the point."""

ROUNDED = BFLOAT16, TENSOR_FLOAT32


def memory_dtype(dtype: np.dtype) -> np.dtype:
    """The dtype of arrays in which a value of ``dtype`` lies."""
    return dtype["bits"] if dtype in ROUNDED else dtype


AND = "; "
"""Between the layers that asked for a node."""


@dataclass(frozen=True, eq=False)
class Node:
    """One value of a program; two nodes are the same only if they are one object.

    Attributes
    ----------
    op : str
        What makes it; `kind` says of which sort that is:

        - *pointwise*: number by number, inputs broadcast as in the standard; an input may be a
          Python number.
        - *reduce*: ``attrs`` are (axes, keepdims).
        - *view*: no number changes: "reshape", "permute" (attrs: axes), "slice" (attrs: slices,
          ints, None and ... as in the standard), "broadcast".
        - *make*: "arange" (attrs: start, stop, step), "full" (attrs: the number), "constant"
          (attrs: a `Frozen` array).
        - *input*: attrs are its name.
        - *take*: rows of the first input along attrs[0], at the indices in the second.
        - *concat*: the inputs one after the other along attrs[0].
        - *update*: the first input with the second written at the index attrs.
        - *head*: an operation with a kernel of its own; attrs as that kernel takes them. One with
          several results has the shape and dtype of the first; *part* picks one, attrs[0].
        - *foreign*: what an exporter has found to be one operation of another format.
        - *opaque*: a call of Python code, attrs[0], a `Call` (`arraycnn.program.opaque`); several
          results, like such a head. It is never left out, and all are
          made in the order of their tracing: each takes a result of the one before.
    inputs : tuple of Node or Python number
    attrs : tuple
    shape : tuple of int
    dtype : numpy.dtype
    where : str
        The layer, and the part of the step, that asked for it: "3, forward"; several with `AND`
        between them.
    """

    op: str
    inputs: tuple[Any, ...]
    attrs: tuple[Any, ...]
    shape: tuple[int, ...]
    dtype: np.dtype
    where: str = ""

    def __repr__(self) -> str:  # without inputs, and theirs, and so on
        return f"Node({self.op} {self.dtype} {self.shape})"

    @property
    def kind(self) -> str:
        return _KIND_OF[self.op]

    @property
    def is_alone(self) -> bool:
        """Whether it is a step of its own, which reads and leaves arrays in memory."""
        return self.kind in ("head", "opaque")

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    @property
    def operands(self) -> tuple[Node, ...]:
        """The inputs that are nodes."""
        return tuple(value for value in self.inputs if isinstance(value, Node))


class Frozen:
    """An array that a program holds; equal to another of the same dtype, shape and bytes."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = np.array(array, order="C")
        self.array.flags.writeable = False

    def _key(self) -> tuple[str, tuple[int, ...], bytes]:
        return str(self.array.dtype), self.array.shape, self.array.tobytes()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frozen) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"array of {self.array.dtype} {self.array.shape}"


@dataclass(frozen=True)
class Program:
    """A step as nodes: each comes after what it is made of.

    Attributes
    ----------
    nodes : tuple of Node
    inputs : dict of str to Node
    outputs : dict of str to Node
    """

    nodes: tuple[Node, ...]
    inputs: dict[str, Node]
    outputs: dict[str, Node]

    def users(self) -> dict[Node, list[Node]]:
        """Which nodes read each node, in order."""
        users: dict[Node, list[Node]] = {node: [] for node in self.nodes}
        for node in self.nodes:
            for operand in dict.fromkeys(node.operands):
                users[operand].append(node)
        return users

    def check(self) -> None:
        """Raise InvalidValueError unless every node comes after what it is made of.

        And unless each part of a head is one node: memory is planned node by node.
        """
        seen: set[Node] = set()
        parts: set[tuple[Any, Any]] = set()
        for number, node in enumerate(self.nodes):
            missing = [operand for operand in node.operands if operand not in seen]
            if missing:
                message = (
                    f"program: node {number}, {node.op}, reads a node that does not precede it"
                )
                raise InvalidValueError(message)
            part = (node.inputs[0], node.attrs) if node.op == "part" else None
            if part in parts:
                message = f"program: node {number} is a part of a head that another one is already"
                raise InvalidValueError(message)
            if part is not None:
                parts.add(part)
            seen.add(node)
        lost = [name for name, node in {**self.inputs, **self.outputs}.items() if node not in seen]
        if lost:
            message = f"program: inputs and outputs must be nodes of it, got others for {lost}"
            raise InvalidValueError(message)


def replaced(program: Program, instead: dict[Node, Node]) -> Iterator[tuple[Node, Node]]:
    """(old, new) for each node, in order, whose inputs are those in ``instead`` where they are there.

    ``instead`` may grow between two nodes; a node that needs no change is handed out as it is.
    """
    for node in program.nodes:
        inputs = tuple(
            instead.get(value, value) if isinstance(value, Node) else value for value in node.inputs
        )
        if all(new is old for new, old in zip(inputs, node.inputs, strict=True)):
            yield node, node
        else:
            yield (
                node,
                Node(node.op, inputs, node.attrs, node.shape, node.dtype, node.where),
            )


def within(micro_batch: int, where: str) -> str:
    """``where``, in a part of a batch, counted from 1."""
    return f"part {micro_batch}: {where}"


def micro_batch_of(node: Node) -> str:
    """In which part of a batch ``node`` was noted, as `within` writes it; empty for none."""
    return node.where.partition(": ")[0] if node.where.startswith("part ") else ""
