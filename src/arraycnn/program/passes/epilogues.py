"""Epilogues: a ReLU and a max-pool become part of the convolution or dense layer that they follow.

Its kernels do them while the numbers are in registers: a ReLU costs nothing there, and of what a pool
follows, neither the numbers nor their gradients ever lie in memory. What they join is read off the
program, whoever wrote it: a layer, a residual around it, a user's function.
"""

from __future__ import annotations

from typing import Any

from arraycnn.program.nodes import AND, Node, Program, replaced
from arraycnn.program.passes.dead import without_dead
from arraycnn.program.passes.winners import with_gradients_at_winners

_WITH_RELU = {
    "conv2d": "conv2d_relu",
    "dense": "dense_relu",
    "conv2d_backward": "conv2d_relu_backward",
    "dense_backward": "dense_relu_backward",
}


def with_epilogues(program: Program) -> Program:
    """The same program with fewer, larger heads."""
    return _with_relus(with_gradients_at_winners(_with_pools(program)))


def _with_pools(program: Program) -> Program:
    """Convolutions with the pool that follows them, forward and, where there is one, backward."""
    pools = _Pools(program)
    changes: dict[Node, Node] = {}
    instead: dict[Node, Node] = {}
    nodes = []
    for old, new in replaced(program, instead):
        if old in pools.forward:
            convolution, relu = pools.forward[old]
            inputs = tuple(instead.get(one, one) for one in convolution.inputs)
            attrs = (*convolution.attrs, relu, old.attrs[0])
            new = _head("conv2d_max_pool2d", inputs, attrs, old, convolution, *old.inputs)
            changes[old] = new
        elif old in pools.backward:
            pool, parts, spread, relu = pools.backward[old]
            x, weight = new.inputs[:2]
            inputs = (x, weight, *(instead.get(one, one) for one in (*parts, spread[0].inputs[0])))
            window, need_dx = old.attrs
            attrs = (window, relu, pool.attrs[0], need_dx)
            new = _head("conv2d_max_pool2d_backward", inputs, attrs, old, *spread)
        if new is not old:
            instead[old] = new
        nodes.append(new)
    return _of(program, nodes, instead)


class _Pools:
    """Which pools may be joined.

    Attributes
    ----------
    forward : dict of Node to (Node, bool)
        The pool's head to the convolution, and whether a ReLU is between them.
    backward : dict of Node to tuple
        The convolution's backward to the pool's head, its two parts, the pool's backward and that of
        a ReLU after it, and whether there is one.
    """

    def __init__(self, program: Program) -> None:
        self._users = program.users()
        self._outputs = set(program.outputs.values())
        self.forward: dict[Node, tuple[Node, bool]] = {}
        self.backward: dict[Node, tuple[Node, tuple[Node, Node], tuple[Node, Node], bool]] = {}
        for node in program.nodes:
            if node.op == "max_pool2d" and node.attrs[1] == "first":
                self._look_at(node)

    def _look_at(self, pool: Node) -> None:
        (y,) = pool.inputs
        relu = _is_relu(y)
        convolution = y.inputs[0] if relu else y
        if convolution.op != "conv2d" or (relu and not self._is_only(convolution, y)):
            return
        if y in self._outputs:
            return
        others = [user for user in self._users[y] if user is not pool]
        parts = {part.attrs[0]: part for part in self._users[pool]}
        spread = [
            user
            for part in parts.values()
            for user in self._users[part]
            if user.op == "max_pool2d_backward"
        ]
        if not spread:
            if not others:
                self.forward[pool] = convolution, relu
            return
        backward = self._backward(y, spread, others) if set(parts) == {0, 1} else None
        if backward is not None:
            self.forward[pool] = convolution, relu
            both, between = (parts[0], parts[1]), (spread[0], backward.inputs[2])
            self.backward[backward] = pool, both, between, relu

    def _backward(self, y: Node, spread: list[Node], others: list[Node]) -> Node | None:
        """The convolution's backward, where nothing else reads what is between it and the pool's."""
        if len(spread) != 1:
            return None
        (gradient,) = spread
        if _is_relu(y):
            if len(others) != 1 or not _is_mask(others[0], y):
                return None
            users = self._users[others[0]]
            if len(users) != 1 or not _is_masked(users[0], y):
                return None
            if users[0].inputs[1] is not gradient or not self._is_only(gradient, users[0]):
                return None
            (gradient,) = users
        elif others:
            return None
        users = self._users[gradient]
        if len(users) != 1 or users[0].op != "conv2d_backward" or gradient in self._outputs:
            return None
        return users[0] if users[0].inputs[2] is gradient else None

    def _is_only(self, node: Node, user: Node) -> bool:
        return self._users[node] == [user] and node not in self._outputs


def _with_relus(program: Program) -> Program:
    """Heads with the ReLU that follows them; their backward with its mask."""
    users, outputs = program.users(), set(program.outputs.values())
    instead: dict[Node, Node] = {}
    nodes = []
    for old, new in replaced(program, instead):
        if _is_relu(old) and old.inputs[0].op in ("conv2d", "dense"):
            head = new.inputs[0]
            if users[old.inputs[0]] == [old] and old.inputs[0] not in outputs:
                new = _head(_WITH_RELU[head.op], head.inputs, head.attrs, old, head)
        elif old.op in ("conv2d_backward", "dense_backward"):
            dy = old.inputs[2]
            if users[dy] == [old] and dy not in outputs and _is_masked(dy, None):
                y, gradient = dy.inputs[0].inputs[0], dy.inputs[1]
                inputs = (*new.inputs[:2], instead.get(y, y), instead.get(gradient, gradient))
                new = _head(_WITH_RELU[old.op], inputs, old.attrs, old, dy)
        if new is not old:
            instead[old] = new
        nodes.append(new)
    return _of(program, nodes, instead)


def _is_relu(node: Node) -> bool:
    """Whether it is max(x, 0)."""
    return node.op == "maximum" and isinstance(node.inputs[0], Node) and _is_zero(node.inputs[1])


def _is_mask(node: Node, y: Node | None) -> bool:
    """Whether it is y > 0."""
    if node.op != "greater" or not isinstance(node.inputs[0], Node):
        return False
    return _is_zero(node.inputs[1]) and y in (None, node.inputs[0])


def _is_masked(node: Node, y: Node | None) -> bool:
    """Whether it is another array of the shape of y, where y > 0, and else 0."""
    if node.op != "where" or not _is_zero(node.inputs[2]):
        return False
    mask, gradient = node.inputs[:2]
    if not isinstance(mask, Node) or not isinstance(gradient, Node) or not _is_mask(mask, y):
        return False
    return mask.inputs[0].shape == gradient.shape == node.shape and all(
        one.dtype == node.dtype for one in (mask.inputs[0], gradient)
    )


def _is_zero(value: Any) -> bool:
    return not isinstance(value, Node) and repr(value) in ("0", "0.0")


def _head(
    op: str, inputs: tuple[Any, ...], attrs: tuple[Any, ...], like: Node, *joined: Node
) -> Node:
    """A head that stands for ``like`` and what it has joined."""
    where = dict.fromkeys(one.where for one in (*joined, like) if one.where)
    return Node(op, inputs, attrs, like.shape, like.dtype, AND.join(where))


def _of(program: Program, nodes: list[Node], instead: dict[Node, Node]) -> Program:
    outputs = {name: instead.get(node, node) for name, node in program.outputs.items()}
    return without_dead(Program(tuple(nodes), program.inputs, outputs))
