"""The calls of one loop: what is the same for all chunks first, then chunk after chunk."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from arraycnn.ops.dense.numpy_products import Product
from arraycnn.ops.numpy.launcher import NUMBER, Launcher
from arraycnn.ops.numpy.tasks import singles
from arraycnn.program.nodes import Node
from arraycnn.program.passes.loops import Root
from arraycnn.program.render.numpy.chunk import Chunk
from arraycnn.program.render.numpy.grid import chunks
from arraycnn.program.render.numpy.lines import Line, Walked, coordinates, target_access, view
from arraycnn.program.render.numpy.piece import Piece
from arraycnn.program.render.numpy.pointwise import constant, reduction
from arraycnn.program.render.numpy.registers import Lasting, Registers


class Loop:
    """A loop, ready to be called for arrays of its buffers."""

    def __init__(self, walk: Walked) -> None:
        self._walk = walk
        cut, moving = walk.cut, any(any(line.moves) for line in walk.lines)
        self._is_first = [
            not any(m and (c or not any(cut)) for m, c in zip(line.moves, cut, strict=True))
            and (any(cut) or moving)
            for line in walk.lines
        ]
        """Which lines are the same for all chunks; where there is one, those of a single number."""
        self._keys = _keys(walk)
        self._fixed: dict[int, np.ndarray] = {}
        for number, line in enumerate(walk.lines):
            if line.op == "number":
                self._fixed[number] = constant(line.of.value, line.dtype)
            elif line.op == "coordinate":
                self._fixed[number] = coordinates(line, walk.grid)

    def call(
        self,
        launcher: Launcher,
        held: Mapping[Node, np.ndarray],
        known: dict[Hashable, np.ndarray],
        late: Mapping[Node, Product] = {},
    ) -> None:
        """Make all calls, or record them.

        ``known`` has single numbers that loops before have left, and the next may take. ``late`` has
        the buffers that are products, which are not in memory: each piece makes its rows.
        """
        walk, lasting = self._walk, Lasting(launcher)
        values = dict(self._fixed)
        flat: dict[int, np.ndarray] = {}
        products: dict[int, Product] = {}
        for number, line in enumerate(walk.lines):
            if line.of.buffer in late:
                products[number] = late[line.of.buffer]  # type: ignore[index]
            elif line.of.buffer is not None and line.op != "repeat":
                array = flat[number] = held[line.of.buffer]
                if line.op == "load":
                    assert line.of.access is not None
                    values[number] = view(array, line.of.access, walk.grid)
            elif line.op == "astype" and _comes_converted(walk, line, flat):
                values[number] = values[line.inputs[0]]
        targets = [self._target(root, held, lasting) for root in walk.roots]
        loads = {number: flat[number].ctypes.data for number in flat}
        written = {
            place: held[root.target].ctypes.data
            for place, root in enumerate(walk.roots)
            if root.op == "write"
        }
        chunk = Chunk(launcher, walk, self._is_first, values, flat, targets, loads, written)
        if any(self._is_first):
            whole = Piece.of(walk, (slice(1),) * len(walk.pieces))
            keys = self._keys
            found = {number: known[key] for number, key in keys.items() if key in known}
            launcher.alone(lambda: chunk.begin(whole, lasting, found))
            for number, array in found.items():
                if number in keys and keys[number] not in known:
                    known[keys[number]] = array
                    lasting.leave(array)
        if products:
            chunk.take_late(products)
        counts, work = [len(parts) for parts in walk.pieces], NUMBER * _size(walk) * len(walk.lines)
        places = chunks(counts, walk.together, launcher.lanes(math.prod(counts), work))

        def task(number: int, place: int, part: slice) -> None:
            for one in places[part]:
                chunk.make(Piece.of(walk, one), Registers(launcher))

        launcher.share(singles(len(places), len(places)), task, work)
        for root, target in zip(walk.roots, targets, strict=True):
            if root.op != "write":
                self._finish(launcher, root, target, held[root.target])
        lasting.end()

    @property
    def targets(self) -> list[Node]:
        return [root.target for root in self._walk.roots]

    def _target(self, root: Root, held: Mapping[Node, np.ndarray], lasting: Lasting) -> np.ndarray:
        """Where chunks write: over the whole grid, with as many numbers along reduced axes as there
        are pieces of them."""
        walk, array = self._walk, held[root.target]
        if root.op == "write":
            return view(array, target_access(root), walk.grid)
        shape = self._partial_shape()
        if self._is_partial():
            return lasting.take(shape, root.target.dtype)
        return array.reshape(shape)

    def _partial_shape(self) -> tuple[int, ...]:
        walk = self._walk
        shape = [
            len(parts) if reduced else size
            for size, reduced, parts in zip(
                walk.grid.sizes, walk.grid.reduced, walk.pieces, strict=True
            )
        ]
        return tuple(shape)

    def _is_partial(self) -> bool:
        grid = self._walk.grid
        mixed = grid.repeat > 1 and grid.reduced[-2] and not grid.reduced[-1]
        return mixed or any(
            reduced and len(parts) > 1
            for reduced, parts in zip(grid.reduced, self._walk.pieces, strict=True)
        )

    def _finish(
        self, launcher: Launcher, root: Root, partial: np.ndarray, target: np.ndarray
    ) -> None:
        """Add up, in order, what the chunks have left."""
        if not self._is_partial():
            return
        grid, parts = self._walk.grid, partial
        reduced = [axis for axis, is_reduced in enumerate(grid.reduced) if is_reduced]
        if grid.repeat > 1 and grid.reduced[-2] and not grid.reduced[-1]:
            parts = partial.reshape(*partial.shape[:-1], grid.repeat, -1)
            reduced.append(parts.ndim - 2)
        kept = [size for axis, size in enumerate(parts.shape) if axis not in reduced]
        launcher.call(
            reduction(root.op).reduce, parts, axis=tuple(reduced), out=target.reshape(kept)
        )


def _size(walk: Walked) -> int:
    return math.prod(walk.grid.sizes)


def _keys(walk: Walked) -> dict[int, Hashable]:
    """What lines of single numbers have in common, of whichever loops, if they are the same."""
    keys: dict[int, Hashable] = {}
    for number, line in enumerate(walk.lines):
        if any(line.moves) or not all(value in keys for value in line.inputs):
            continue
        of, inputs = line.of, tuple(keys[value] for value in line.inputs)
        if line.op == "load":
            assert of.access is not None
            keys[number] = line.op, of.buffer, of.access.offset
        elif line.op == "number":
            keys[number] = line.op, line.dtype, repr(of.value)
        elif line.op not in ("coordinate", "gather", "repeat"):
            keys[number] = line.op, line.dtype, inputs
    return keys


def _comes_converted(walk: Walked, line: Line, flat: Mapping[int, np.ndarray]) -> bool:
    """Whether a line converts an input of the program that comes in the dtype that is asked for."""
    (value,) = line.inputs
    buffer = walk.lines[value].of.buffer
    is_input = walk.lines[value].op == "load" and buffer is not None and buffer.kind == "input"
    return is_input and flat[value].dtype == line.dtype


class Nothing:
    """A loop over no numbers: its sums are 0."""

    def __init__(self, roots: Sequence[Root]) -> None:
        self._roots = roots

    def call(
        self, launcher: Launcher, held: Mapping[Node, np.ndarray], _: dict[Hashable, np.ndarray]
    ) -> None:
        for root in self._roots:
            if root.op != "write":
                none = np.zeros(root.space, root.target.dtype)
                total = reduction(root.op).reduce(none, axis=root.axes)
                launcher.call(np.copyto, held[root.target], np.reshape(total, root.target.shape))
