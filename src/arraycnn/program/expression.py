"""Expressions: what a loop computes at each point of its space, as a list of instructions.

Views are gone: a value read through them is a load whose strides say where its number lies for each
point of the space. Everything that is computed once is one instruction.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.program.access import Access, dense, through
from arraycnn.program.nodes import COMPARISONS, Node

_LOGICAL = frozenset(["logical_and", "logical_or", "logical_xor", "logical_not"])
_OF_ONE = frozenset(["isnan", "isinf", "isfinite"])
_BOOL = np.dtype(bool)


class NotAffineError(Exception):
    """A reshape that no strides express, or a take: what it reads must lie in memory."""

    def __init__(self, view: Node) -> None:
        super().__init__(view)
        self.view = view


@dataclass(frozen=True)
class Instruction:
    """One value of an expression.

    Attributes
    ----------
    op : str
        "load" (of ``buffer`` at ``access``), "gather" (the same, plus ``axis`` (stride, size) times
        the value of inputs[0]), "coordinate" (the number that ``access`` gives as an offset),
        "number" (``value``), or a pointwise operation of earlier instructions.
    dtype : numpy.dtype
    inputs : tuple of int
        Numbers of earlier instructions, all of the dtype that the operation computes in.
    """

    op: str
    dtype: np.dtype
    inputs: tuple[int, ...] = ()
    buffer: Node | None = None
    access: Access | None = None
    value: Any = None
    axis: tuple[int, int] | None = None


class Expression:
    """Instructions for values over one space, none of them twice.

    Parameters
    ----------
    buffers : collection of Node
        What lies in memory.
    """

    def __init__(self, buffers: Collection[Node]) -> None:
        self._buffers = buffers
        self._known: dict[Any, int] = {}
        self.instructions: list[Instruction] = []

    def add(self, node: Node, compute: bool = False) -> int:
        """The number of the instruction for ``node`` at each point of its own shape.

        With ``compute`` the node is computed even if it is a buffer: the loop is to fill it.
        Raises NotAffineError.
        """
        return self._compute(node, ()) if compute else self._value(node, ())

    def _note(self, instruction: Instruction) -> int:
        key: Any = instruction
        value = instruction.value
        if value is not None:  # 0, 0.0, -0.0 and False are equal, and not the same
            key = (instruction, type(value).__name__, repr(value))
        if key not in self._known:
            self._known[key] = len(self.instructions)
            self.instructions.append(instruction)
        return self._known[key]

    def _value(self, node: Node, views: tuple[Node, ...]) -> int:
        if node in self._buffers:
            access = self._access(node.shape, views)
            return self._note(Instruction("load", node.dtype, buffer=node, access=access))
        return self._compute(node, views)

    def _access(self, shape: tuple[int, ...], views: tuple[Node, ...]) -> Access:
        access = through(dense(shape), views)
        if isinstance(access, Node):
            raise NotAffineError(access)
        return access

    def _compute(self, node: Node, views: tuple[Node, ...]) -> int:
        if node.kind == "view":
            return self._value(node.inputs[0], (node, *views))
        access = self._access(node.shape, views)
        key = (node, access)
        if key not in self._known:
            if node.op == "full":
                made = self._number(node.attrs[0], node.dtype)
            elif node.op == "arange":
                made = self._coordinate(node, access)
            elif node.op == "take":
                made = self._gather(node, views)
            else:
                made = self._apply(node, views)
            self._known[key] = made
        return self._known[key]

    def _number(self, value: Any, dtype: np.dtype) -> int:
        value = {"b": bool, "f": float}.get(dtype.kind, int)(value)
        return self._note(Instruction("number", dtype, value=value))

    def _coordinate(self, node: Node, access: Access) -> int:
        start, _, step = node.attrs
        strides = tuple(stride * step for stride in access.strides)
        affine = Access(access.shape, strides, start + step * access.offset)
        return self._note(Instruction("coordinate", node.dtype, access=affine))

    def _gather(self, node: Node, views: tuple[Node, ...]) -> int:
        source, indices, (axis,) = node.inputs[0], node.inputs[1], node.attrs
        inner: list[Node] = []
        while source not in self._buffers:
            if source.kind != "view":  # numbers at places that are computed are read from memory
                raise NotAffineError(node)
            inner.insert(0, source)
            source = source.inputs[0]
        whole = through(dense(source.shape), inner)
        if isinstance(whole, Node):
            raise NotAffineError(whole)
        count = len(indices.shape)
        strides = (*whole.strides[:axis], *(0,) * count, *whole.strides[axis + 1 :])
        access = through(Access(node.shape, strides, whole.offset), views)
        if isinstance(access, Node):
            raise NotAffineError(access)
        behind = len(node.shape) - axis - count
        aligned = (*indices.shape, *(1,) * behind)
        spread = (
            Node("reshape", (), (), aligned, indices.dtype),
            Node("broadcast", (), (), node.shape, indices.dtype),
        )
        index = self.converted(self._value(indices, (*spread, *views)), np.dtype(np.int64))
        extent = whole.strides[axis], whole.shape[axis]
        return self._note(Instruction("gather", node.dtype, (index,), source, access, axis=extent))

    def _apply(self, node: Node, views: tuple[Node, ...]) -> int:
        dtype = computing_dtype(node)
        inputs = []
        for place, value in enumerate(node.inputs):
            wanted = _BOOL if node.op == "where" and place == 0 else dtype
            if not isinstance(value, Node):
                inputs.append(self._number(value, wanted))
                continue
            spread = () if value.shape == node.shape else (_broadcast(value, node),)
            number = self._value(value, (*spread, *views))
            inputs.append(self.converted(number, wanted))
        if node.op == "astype":
            return inputs[0]
        return self._note(Instruction(node.op, node.dtype, tuple(inputs)))

    def converted(self, number: int, dtype: np.dtype) -> int:
        """The number of an instruction for the same value in ``dtype``."""
        if self.instructions[number].dtype == dtype:
            return number
        return self._note(Instruction("astype", dtype, (number,)))


def _broadcast(value: Node, node: Node) -> Node:
    return Node("broadcast", (), (), node.shape, value.dtype)


def computing_dtype(node: Node) -> np.dtype:
    """The dtype that the operands of a pointwise node are converted to (NumPy's promotion)."""
    if node.op in _LOGICAL:
        return _BOOL
    if node.op in COMPARISONS:
        kinds = [v.dtype if isinstance(v, Node) else v for v in node.inputs]
        return kinds[0] if node.op in _OF_ONE else np.result_type(*kinds)
    return node.dtype
