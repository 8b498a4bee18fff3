"""Gradients at the winners: what multiplies a max-pool's gradient is computed for the winners alone.

Backward, a pool puts each number of dy where its window's winner is, and an activation f before it
multiplies all places with f': of a 2x2 pool, three in four of these are zero. Here dy is multiplied
first, with f' of the winners, and put there afterwards, which the backward of a convolution does
where it reads: neither dy nor f' ever has the size of what was pooled.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from arraycnn.ops import Window
from arraycnn.program.nodes import AND, POINTWISE, Node, Program, replaced
from arraycnn.program.passes.dead import without_dead

_MOST = 4
"""Numbers of a window: of each, the whole array is read once more."""

_TILE = Window((2, 2), (2, 2))
"""The pool that all kernels of convolutions do on the way, Winograd's too."""


def with_gradients_at_winners(program: Program) -> Program:
    """The same program with products at winners, and convolutions that place them."""
    return _with_placing(_with_products(program))


def _with_products(program: Program) -> Program:
    users, outputs = program.users(), set(program.outputs.values())
    found: dict[Node, _Winners] = {}
    last_of: dict[Node, tuple[_Winners, Node]] = {}
    seen: set[Node] = set()
    for node in program.nodes:
        seen.add(node)
        if node.op == "part" and node.inputs[0].op == "max_pool2d" and node.attrs == (1,):
            found[node] = _Winners(node, set(seen))
    for node in program.nodes:
        winners = found.get(node.inputs[1]) if node.op == "max_pool2d_backward" else None
        if winners is None or not _is_small(node):
            continue
        last, gains = node, False
        while (product := _product(last, users, outputs)) is not None:
            factor = next(one for one in product.inputs if one is not last)
            if not winners.has(factor):
                break
            gains = gains or winners.is_whole(factor)
            last = product
        if gains:
            last_of[last] = winners, node
    instead: dict[Node, Node] = {}
    nodes: list[Node] = []
    for old, new in replaced(program, instead):
        if old in last_of:
            winners, spread = last_of[old]
            new = winners.placed(old, spread, lambda node: instead.get(node, node), nodes.append)
        if new is not old:
            instead[old] = new
        nodes.append(new)
        if old in found:
            found[old].take(new, lambda node: instead.get(node, node), nodes.append)
    return _of(program, nodes, instead)


def _is_small(spread: Node) -> bool:
    """Whether the windows of a pool are few numbers each, of which none is in two."""
    window = spread.attrs[1]
    return window.kernel_size == window.stride and math.prod(window.stride) <= _MOST


def _product(node: Node, users: dict[Node, list[Node]], outputs: set[Node]) -> Node | None:
    """What alone reads ``node``, if it is a product, or a quotient, of it and something else."""
    if node in outputs or len(users[node]) != 1:
        return None
    (user,) = users[node]
    if user.op not in ("multiply", "divide") or (user.shape, user.dtype) != (
        node.shape,
        node.dtype,
    ):
        return None
    one, other = user.inputs
    if one is other:
        return None
    return user if one is node or user.op == "multiply" else None


class _Winners:
    """The winners of a pool, and what the values of a program are there."""

    def __init__(self, winners: Node, before: set[Node]) -> None:
        self._winners, self._pooled, self._before = winners, winners.inputs[0].inputs[0], before
        # What was pooled is, at the winners, what the pool gives: that very node, since a second one
        # of the same memory would not keep a loop from writing there.
        pool = winners.inputs[0]
        largest = (one for one in before if one.inputs[:1] == (pool,) and one.attrs == (0,))
        self._largest = next(largest, None)
        self._has: dict[Node, bool] = {}
        self._there: dict[Node, Node] = {}

    def is_whole(self, value: Any) -> bool:
        """Whether ``value`` has a number for each that was pooled."""
        return isinstance(value, Node) and value.shape == self._pooled.shape

    def has(self, value: Any) -> bool:
        """Whether it can be said what ``value`` is at the winners."""
        if not isinstance(value, Node):
            return True
        if value is self._pooled:
            return self._largest is not None
        if not self.is_whole(value):  # the same for all pixels
            return all(extent == 1 for extent in value.shape[-3:-1])
        if value not in self._has:
            self._has[value] = self._is_taken(value) or (
                value.op in POINTWISE and all(map(self.has, value.inputs))
            )
        return self._has[value]

    def _is_taken(self, value: Node) -> bool:
        """Whether it lies in memory when the pool is done, and is read while it is near."""
        kept = value.kind in ("head", "input", "part") and value in self._before
        return kept and np.dtype(value.dtype).kind == "f"  # what kernels are written for

    def take(
        self, winners: Node, now: Callable[[Node], Node], note: Callable[[Node], None]
    ) -> None:
        """Note what of the values asked for lies in memory, at the winners, right behind the pool.

        ``now`` says what stands for a node of the program.
        """
        for value, has in self._has.items():
            if has and self._is_taken(value):
                attrs = (winners.inputs[0].attrs[0],)
                inputs, shape = (now(value), winners), winners.shape
                node = Node("at_winners", inputs, attrs, shape, value.dtype, winners.where)
                self._there[value] = node
                note(node)

    def placed(
        self, last: Node, spread: Node, now: Callable[[Node], Node], note: Callable[[Node], None]
    ) -> Node:
        """``last``, a multiple of ``spread``, from its numbers at the winners, which are noted."""
        dy, winners = map(now, spread.inputs)
        there: dict[Any, Any] = {**self._there, spread: dy}
        if self._largest is not None:
            there[self._pooled] = now(self._largest)

        def at_winners(value: Any) -> Any:
            if not isinstance(value, Node):
                return value
            if value not in there:
                if value.shape != spread.shape:
                    there[value] = now(value)
                    return there[value]
                inputs = tuple(map(at_winners, value.inputs))
                there[value] = Node(
                    *(value.op, inputs, value.attrs, dy.shape, value.dtype, value.where)
                )
                note(there[value])
            return there[value]

        inputs = at_winners(last), winners
        where = AND.join(dict.fromkeys((last.where, spread.where)))
        return Node(spread.op, inputs, spread.attrs, spread.shape, spread.dtype, where)


def _with_placing(program: Program) -> Program:
    """Backwards of convolutions that place the gradient of a pool, where they alone read it."""
    users, outputs = program.users(), set(program.outputs.values())
    instead: dict[Node, Node] = {}
    nodes = []
    for old, new in replaced(program, instead):
        spread = old.inputs[2] if old.op == "conv2d_backward" else None
        if spread is not None and spread.op == "max_pool2d_backward":
            alone = users[spread] == [old] and spread not in outputs
            if alone and spread.attrs[1:] == (_TILE, "first"):
                dy, winners = (instead.get(one, one) for one in spread.inputs)
                # Without a ReLU the output is not read: dy stands there.
                inputs = (*new.inputs[:2], dy, winners, dy)
                window, need_dx = old.attrs
                where = AND.join(dict.fromkeys((spread.where, old.where)))
                new = Node(
                    *("conv2d_max_pool2d_backward", inputs, (window, False, _TILE, need_dx)),
                    *(old.shape, old.dtype, where),
                )
        if new is not old:
            instead[old] = new
        nodes.append(new)
    return _of(program, nodes, instead)


def _of(program: Program, nodes: list[Node], instead: dict[Node, Node]) -> Program:
    outputs = {name: instead.get(node, node) for name, node in program.outputs.items()}
    return without_dead(Program(tuple(nodes), program.inputs, outputs))
