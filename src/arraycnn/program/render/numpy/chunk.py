"""The calls of a chunk: its lines in order, each into a register or to where a root is written."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np

from arraycnn.ops.dense.numpy_products import Product
from arraycnn.ops.numpy.launcher import Launcher
from arraycnn.program.render.numpy.gathers import gather
from arraycnn.program.render.numpy.lines import Line, Walked
from arraycnn.program.render.numpy.piece import Piece, apart
from arraycnn.program.render.numpy.pointwise import Memory, apply, reduction

_WIDE = frozenset(["maximum", "minimum"])
"""NumPy has vector code for two arrays, and none for an array and a number."""


class Chunk:
    """Makes the calls of pieces of a loop.

    Parameters
    ----------
    is_first : list of bool
        Which lines are made once, by `begin`.
    values : dict of int to array
        Of loads, over the whole grid, of numbers and of coordinates.
    flat : dict of int to array
        The buffers of loads and gathers.
    targets : list of array
        Where each root goes, over the whole grid.
    read, written : dict of int to int
        Addresses of what lines read and roots write: one may be the other.
    """

    def __init__(
        self,
        launcher: Launcher,
        walk: Walked,
        is_first: list[bool],
        values: dict[int, np.ndarray],
        flat: dict[int, np.ndarray],
        targets: list[np.ndarray],
        read: dict[int, int],
        written: dict[int, int],
    ) -> None:
        self._launcher, self._walk, self._is_first = launcher, walk, is_first
        self._values, self._flat, self._targets = values, flat, targets
        self._late: dict[int, Product] = {}
        self._uses: Counter[int] = Counter()
        last: dict[int, int] = {}
        for number, line in enumerate(walk.lines):
            for value in line.inputs:
                self._uses[value] += not is_first[number]
                last[value] = number
        end = len(walk.lines)
        self._direct: dict[int, int] = {}
        """Lines that are computed where a root is written."""
        self._early: list[int] = []
        """Loads that are read before they are written over."""
        for root, value in zip(walk.roots, walk.results, strict=True):
            self._uses[value] += 1
            if root.op != "write":
                last[value] = end
        for place, address in written.items():
            value = walk.results[place]
            line = walk.lines[value]
            if value in read and line.op == "load":
                others = [one for other, one in written.items() if other != place]
                if read[value] in others:
                    self._early.append(value)
                continue
            over = [last.get(number, -1) for number, one in read.items() if one == address]
            computed = line.op not in ("load", "number", "coordinate", "repeat")
            whole = not is_first[value] and all(
                moving or size == 1
                for moving, size in zip(line.moves, walk.grid.sizes, strict=True)
            )
            if computed and whole and value not in self._direct and max(over, default=-1) <= value:
                self._direct[value] = place

    def begin(self, piece: Piece, memory: Memory, known: dict[int, np.ndarray]) -> None:
        """Make the calls for what is the same for all chunks.

        ``known`` has what others have left of that, by the numbers of lines; the rest joins it.
        """
        for number, line in enumerate(self._walk.lines):
            if self._is_first[number] and number not in self._values:
                shape = piece.shape_of(line.moves)
                if number not in known:
                    inputs = {value: self._cut(value, piece) for value in line.inputs}
                    known[number] = memory.take(shape, line.dtype)
                    self._make(number, line, inputs, known[number], piece, memory)
                self._values[number] = known[number].reshape(shape)  # others have other axes

    def take_late(self, products: dict[int, Product]) -> None:
        """Loads that are products; where one is only multiplied by a number, one of its factors is:
        that has fewer numbers."""
        for number, product in products.items():
            users = [user for user, line in enumerate(self._walk.lines) if number in line.inputs]
            factors = [
                self._values[value].reshape(())
                for value in self._walk.lines[users[0]].inputs
                if value in self._values and self._values[value].size == 1
            ]
            is_scaled = len(users) == 1 and self._walk.lines[users[0]].op == "multiply" and factors
            if is_scaled and users[0] not in self._direct:
                self._uses[number] = 0
                self._late[users[0]] = product.times(self._launcher, factors[0])
            else:
                self._late[number] = product

    def make(self, piece: Piece, memory: Any) -> None:
        """Make the calls for a piece."""
        walk, left = self._walk, Counter(self._uses)
        own: dict[int, np.ndarray] = {}
        registers: set[int] = set()

        def value_of(number: int) -> np.ndarray:
            if number not in own:
                own[number] = self._cut(number, piece)
            return own[number]

        def used(number: int) -> None:
            left[number] -= 1
            if left[number] == 0 and number in registers:
                registers.discard(number)
                memory.give(own[number])

        for number in self._early:
            copy = memory.take(value_of(number).shape, value_of(number).dtype)
            self._launcher.call(np.copyto, copy, own[number])
            own[number] = copy
            registers.add(number)
        for number, line in enumerate(walk.lines):
            if number in self._values or number in own or left[number] == 0:
                continue
            if number in self._late:
                own[number] = self._block(self._late[number], piece, memory)
                registers.add(number)
                continue
            inputs = {value: value_of(value) for value in line.inputs}
            shape = piece.shape_of(line.moves)
            if number in self._direct:
                out = piece.cut(self._targets[self._direct[number]])
            else:
                out = self._register(line, shape, inputs, left, registers, memory)
                registers.add(number)
            own[number] = out
            self._make(number, line, inputs, out, piece, memory)
            for value in line.inputs:
                if own.get(value) is out:  # its register is this one's now
                    left[value] -= 1
                    registers.discard(value)
                else:
                    used(value)
        self._leave(piece, value_of, used)

    def _block(self, product: Product, piece: Piece, memory: Memory) -> np.ndarray:
        """The rows of a product that are a piece."""
        columns = product.b.shape[1]
        (part,) = piece.parts
        out = memory.take(piece.shape, product.b.dtype)
        rows = slice(part.start // columns, part.stop // columns)
        product.write(self._launcher, rows, out.reshape(-1, columns))
        return out

    def _register(
        self, line: Line, shape: tuple[int, ...], inputs: dict[int, np.ndarray],
        left: Counter[int], registers: set[int], memory: Memory,
    ) -> np.ndarray:  # fmt: skip
        """Where a line goes: where an input lies that nobody else needs, if it may.

        NumPy takes three times as long to write a single number where it is read.
        """
        may = line.op not in ("where", "gather", "repeat") and math.prod(shape) > 1
        for value, array in inputs.items():
            unused = value in registers and left[value] == line.inputs.count(value)
            if may and unused and array.shape == shape and array.dtype == line.dtype:
                return array
        return memory.take(shape, line.dtype)

    def _leave(self, piece: Piece, value_of: Any, used: Any) -> None:
        """Reduce, then write what has not been written."""
        walk, call = self._walk, self._launcher.call
        ends = list(enumerate(zip(walk.roots, walk.results, strict=True)))
        for place, (root, number) in ends:
            if root.op == "write":
                continue
            whole = np.broadcast_to(value_of(number), piece.shape)
            for one, inside, axis, count in piece.runs(walk):
                target = one.cut_target(self._targets[place], walk.grid.reduced)
                self._reduce(root.op, whole[inside], target, axis, count)
            used(number)
        for place, (root, number) in ends:
            if root.op != "write" or self._direct.get(number) == place:
                continue
            target, value = piece.cut(self._targets[place]), value_of(number)
            if not _is_same(target, value):
                call(np.copyto, target, value)
            used(number)

    def _reduce(
        self, op: str, value: np.ndarray, target: np.ndarray, axis: int, count: int
    ) -> None:
        """Write the reductions of ``count`` pieces along an axis, each added up as by itself."""
        call, reduced = self._launcher.call, self._walk.grid.reduced
        axes = [axis for axis, gone in enumerate(reduced) if gone]
        if not axes:
            call(np.copyto, target, value if "arg" not in op else np.int64(0))
            return
        if count > 1:  # an axis for the pieces, before the one that they are cut from
            value, target = (apart(array, axis, count) for array in (value, target))
            axes = [one + (one >= axis) for one in axes]
        if "arg" in op:
            call(getattr(value, op), axes[0], np.squeeze(target, axes[0]))
        else:
            call(reduction(op).reduce, value, tuple(axes), None, target, True)

    def _cut(self, number: int, piece: Piece) -> np.ndarray:
        value = self._values[number]
        return piece.cut(value) if value.ndim else value

    def _make(
        self, number: int, line: Line, inputs: dict[int, np.ndarray], out: np.ndarray,
        piece: Piece, memory: Memory,
    ) -> None:  # fmt: skip
        call = self._launcher.call
        if line.op == "repeat":
            (row,) = inputs.values()
            *outer, _, _ = out.shape
            call(np.copyto, out.reshape(*outer, 1, -1, row.shape[-1]), row[..., None, :])
            return
        if line.op == "gather":
            gather(
                call,
                memory,
                line,
                self._flat[number],
                inputs[line.inputs[0]],
                out,
                piece.parts,
                self._walk.grid,
            )
            return
        last = self._walk.lines[line.inputs[-1]].of
        given = [self._wide(value, line, inputs[value], out) for value in line.inputs]
        number_ = last.value if last.op == "number" else None
        apply(call, memory, line.op, given, number_, out)

    def _wide(self, number: int, line: Line, value: np.ndarray, out: np.ndarray) -> np.ndarray:
        """A number as a row of them, where that is faster."""
        if line.op not in _WIDE or self._walk.lines[number].op != "number" or out.ndim == 0:
            return value
        return self._launcher.row(value.item(), out.shape[-1], value.dtype)


def _is_same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays are the same numbers in memory."""
    return (
        one.ctypes.data == other.ctypes.data
        and one.shape == other.shape
        and one.strides == other.strides
        and one.dtype == other.dtype
    )
