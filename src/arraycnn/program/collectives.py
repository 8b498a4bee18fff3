"""Sums over all ranks, in a program: calls between its parts, begun as soon as their numbers are there.

What is summed at the end of a step, the gradients above all, is cut into buckets. Each is begun where
the last of its numbers is made, and goes on beside the rest of the backward pass: its end, before the
update, waits for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from arraycnn.distributed.parts import Part
from arraycnn.distributed.shares import Share
from arraycnn.distributed.sums import Sums
from arraycnn.ops import Array, Kernels, array_namespace
from arraycnn.ops.whole_batch import WholeBatch
from arraycnn.program.nodes import Node, Program
from arraycnn.program.trace import Traced, recorder

BUCKET = 2**23
"""Bytes of a bucket, or one array where that has more. Smaller ones begin sooner, and wait longer
in all: by `bench/scaling_model.py`, of 1 MiB they cost VGG-11 on 1,024 GPUs two thirds of its rate."""

TOKEN = np.dtype(np.uint8)


@dataclass(frozen=True)
class SumCall:
    """A call of a program: a sum, its beginning or its end.

    Two that are equal do the same, so programs that have them can be the same, too.

    Attributes
    ----------
    sums : Sums
        By identity.
    part : Part
    kind : "total", "begin" or "end"
    number : int
        Of a beginning and its end.
    shapes : tuple of shapes
        Of what is summed.
    """

    sums: Sums
    part: Part
    kind: str
    number: int
    shapes: tuple[tuple[int, ...], ...]

    @property
    def name(self) -> str:
        many = f"{len(self.shapes)} arrays" if len(self.shapes) > 1 else "an array"
        words = {"total": "sum over ranks", "begin": "begin of a sum over ranks"}
        return f"{words.get(self.kind, 'end of a sum over ranks')}, {many}"

    def __repr__(self) -> str:
        return f"{self.kind} {self.number} {self.part} {self.shapes}"

    def __call__(self, inputs: Sequence[Any], ops: Kernels) -> list[Array]:
        given = [*inputs[: len(self.shapes)]] if self.kind != "end" else []
        found: list[Array] = []
        if self.kind == "total":
            found = self.sums.total(given, self.part)
        elif self.kind == "begin":
            self.sums.begin(self.number, given, self.part)
        else:
            found = self.sums.end(self.number)
        return [*found, array_namespace(inputs[0]).zeros(1, dtype=TOKEN)]


class TracedTotals:
    """`WholeBatch.totals` of traced arrays: notes calls. Of others it makes the sums."""

    def __init__(self, share: Share, part: Part) -> None:
        self._share, self._part = share, part
        self._buckets = 0

    def __call__(self, arrays: Sequence[Array]) -> list[Array]:
        if self._share.sums is None:
            return list(arrays)
        if not all(isinstance(array, Traced) for array in arrays):
            return self._share.sums.total(arrays, self._part)
        if sum(array.node.nbytes for array in arrays) < BUCKET:
            return self._noted("total", arrays, arrays)
        places = {node: place for place, node in enumerate(recorder().nodes)}
        ready = sorted(range(len(arrays)), key=lambda number: places[arrays[number].node])
        buckets = _buckets(ready, arrays)
        begun = []
        for bucket in buckets:
            self._buckets += 1
            given = [arrays[number] for number in bucket]
            self._noted("begin", given, [])
            begun.append((self._buckets, bucket, given))
        totals: list[Any] = [None] * len(arrays)
        for number, bucket, given in begun:
            found = self._noted("end", [], given, number)
            for place, total in zip(bucket, found, strict=True):
                totals[place] = total
        return totals

    def _noted(
        self, kind: str, given: Sequence[Traced], found: Sequence[Traced], number: int = 0
    ) -> list[Array]:
        assert self._share.sums is not None
        note, forms = recorder(), [(like.shape, like.dtype) for like in found]
        shapes = tuple(like.shape for like in (given or found))
        call = SumCall(self._share.sums, self._part, kind, number or self._buckets, shapes)
        inputs = [array.node for array in given] + ([note.last_call] if note.last_call else [])
        forms = [*forms, ((1,), TOKEN)]
        node = note.note("opaque", tuple(inputs), (call,), *forms[0]).node
        parts = [note.note("part", (node,), (n,), *form) for n, form in enumerate(forms)]
        note.last_call = parts.pop().node
        return parts


def traced_whole(share: Share, part: Part) -> WholeBatch:
    """What a step on traced arrays is told of the batch that ``part`` is of."""
    return share.whole(part, partial(TracedTotals, share))


def begun_early(program: Program) -> Program:
    """The same program with each sum begun where the last of its numbers is made.

    Calls still come one after the other, in an order that hangs on the step alone: it is the same on
    every rank, whatever the size of its part.
    """
    if not any(_kind(node) == "begin" for node in program.nodes):
        return program
    tokens = {_token(node, program) for node in program.nodes if node.kind == "opaque"}
    places = {node: float(place) for place, node in enumerate(program.nodes)}
    for node in program.nodes:
        if _kind(node) == "begin":
            places[node] = max(places[o] for o in node.operands if o not in tokens) + 0.5
        elif node.op == "part" and _kind(node.inputs[0]) == "begin":
            places[node] = places[node.inputs[0]]
    instead: dict[Node, Node] = {}
    last: Node | None = None
    nodes = []
    for old in sorted(program.nodes, key=places.__getitem__):  # stable
        inputs = [instead.get(v, v) if isinstance(v, Node) else v for v in old.inputs]
        if old.kind == "opaque":
            inputs = [
                instead.get(v, v) if isinstance(v, Node) else v
                for v in old.inputs
                if v not in tokens
            ]
            inputs += [] if last is None else [last]
        new = Node(old.op, tuple(inputs), old.attrs, old.shape, old.dtype, old.where)
        if old in tokens:
            last = new
        instead[old] = new
        nodes.append(new)
    renamed = (
        {name: instead[node] for name, node in ends.items()}
        for ends in (program.inputs, program.outputs)
    )
    return Program(tuple(nodes), *renamed)


def _kind(node: Node) -> str | None:
    call = node.attrs[0] if node.kind == "opaque" else None
    return call.kind if isinstance(call, SumCall) else None


def _token(call: Node, program: Program) -> Node:
    """What a call leaves for the next: its last part."""
    parts = [n for n in program.nodes if n.op == "part" and n.inputs[0] is call]
    return max(parts, key=lambda part: part.attrs[0])


def _buckets(ready: Sequence[int], arrays: Sequence[Traced]) -> list[list[int]]:
    """Positions of ``arrays``, in the order in which they are ready, by buckets."""
    buckets: list[list[int]] = []
    filled = 0
    for number in ready:
        size = arrays[number].node.nbytes
        if not buckets or filled + size > BUCKET:
            buckets.append([])
            filled = 0
        buckets[-1].append(number)
        filled += size
    return buckets
