"""Storage: which values of a program lie in memory as what its products round their operands to.

Those that a convolution or a dense layer reads, which would round them anyway, and that only live
inside a step: activations, and gradients of activations. Each is rounded once, by who makes it, and
all who read it read the rounded number: residual sums, statistics, a pool and the gradient of a bias,
too. So is what a max-pool picks such numbers from. Of a weight there is a rounded copy beside it, made
anew in each step. Parameters and their gradients, sums, statistics, losses, and what leaves the step
stay float32.
"""

from __future__ import annotations

import numpy as np

from arraycnn.ops.conv2d.cuda_direct import suits
from arraycnn.program.nodes import Node, Program, memory_dtype, replaced
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.dead import without_dead

_FLOAT32 = np.dtype("float32")

_BYTES = 16
"""What one copy takes: lines of no whole copies would be copied number by number."""

_MULTIPLIED = {
    **dict.fromkeys(("matmul", "dense", "dense_relu", "conv2d", "conv2d_relu"), (0, 1)),
    **dict.fromkeys(("dense_backward", "conv2d_backward"), (0, 1, 2)),
    **dict.fromkeys(("dense_relu_backward", "conv2d_relu_backward"), (0, 1, 2, 3)),
    "conv2d_max_pool2d": (0, 1),
    "conv2d_max_pool2d_backward": (0, 1, 2, 4),
}
"""Which inputs of a head are multiplied, or are its gate."""

_PICKED = dict.fromkeys(("max_pool2d", "max_pool2d_backward", "at_winners"), (0,))
"""Which inputs of a head that computes nothing it takes its numbers from."""

_ALIKE = {
    **dict.fromkeys(("dense_relu_backward", "conv2d_relu_backward"), (2, 3)),
    "conv2d_max_pool2d_backward": (2, 4),
}
"""A gradient and its gate, which must lie in memory alike."""

_WEIGHT = 1
"""Where a head has it among its inputs."""


def with_rounded(program: Program, rounded: np.dtype) -> Program:
    """The same program, where those values are ``rounded``, one of `nodes.ROUNDED`."""
    pack = _BYTES // memory_dtype(rounded).itemsize
    chosen = _chosen(program, pack)
    weights = _weights(program, chosen, pack)
    if not chosen:
        return program
    stored: dict[Node, Node] = {}
    instead: dict[Node, Node] = {}
    nodes: list[Node] = []

    def add(node: Node) -> Node:
        nodes.append(node)
        return node

    def cast(node: Node, dtype: np.dtype) -> Node:
        return add(Node("astype", (node,), (), node.shape, dtype, node.where))

    for old, new in replaced(program, instead):
        if old.is_alone:
            inputs = list(new.inputs)
            for place in (*_multiplied(old), *_PICKED.get(old.op, ())):
                inputs[place] = stored.get(old.inputs[place], inputs[place])
            dtype = rounded if old in chosen else old.dtype
            if any(a is not b for a, b in zip(inputs, new.inputs, strict=True)) or old in chosen:
                new = Node(old.op, tuple(inputs), old.attrs, old.shape, dtype, old.where)
        elif old in chosen and old.kind == "part":
            new = Node(old.op, new.inputs, old.attrs, old.shape, rounded, old.where)
        add(new)
        if new is not old:
            instead[old] = new
        if old in chosen:
            stored[old] = new if new.dtype == rounded else cast(new, rounded)
            instead[old] = cast(stored[old], _FLOAT32)
        elif old in weights:
            stored[old] = cast(new, rounded)
        elif old.op == "reshape" and old.inputs[0] in stored:
            source = stored[old.inputs[0]]
            stored[old] = add(Node("reshape", (source,), (), old.shape, rounded, old.where))
    outputs = {name: instead.get(node, node) for name, node in program.outputs.items()}
    return without_dead(Program(tuple(nodes), program.inputs, outputs))


def _multiplied(head: Node) -> tuple[int, ...]:
    """Which of its inputs a head would round; none where it multiplies by other kernels."""
    if head.op.startswith("conv2d_max_pool2d"):
        x, weight = head.inputs[:2]
        window, pool = head.attrs[0], head.attrs[2]
        if suits(x.shape, weight.shape, window, pool):
            return ()
    return _MULTIPLIED.get(head.op, ())


def _chosen(program: Program, pack: int) -> set[Node]:
    """The values that lie in memory rounded, but for weights."""
    chosen: set[Node] = set()
    refused = {base(node) for node in program.outputs.values()}
    for node in program.nodes:
        multiplied, picked = _multiplied(node), _PICKED.get(node.op, ())
        for place, operand in enumerate(node.inputs):
            if not isinstance(operand, Node) or not (node.is_alone or node.op == "take"):
                continue  # loops convert what they read
            if place in multiplied and _in_packs(operand, pack):
                chosen.add(base(operand))
            elif place not in picked or not _in_packs(operand, pack):
                refused.add(base(operand))
    chosen = {node for node in chosen - refused if _may_be(node, pack)}
    chosen = _with_picked(program, chosen, refused, pack)
    while True:
        wrong = {
            one
            for node in program.nodes
            if node.op in _ALIKE and _multiplied(node)
            for one, other in _both_ways([base(node.inputs[place]) for place in _ALIKE[node.op]])
            if one in chosen and other not in chosen
        }
        if not wrong:
            return chosen
        chosen -= wrong


def _both_ways(pair: list[Node]) -> tuple[tuple[Node, Node], tuple[Node, Node]]:
    one, other = pair
    return (one, other), (other, one)


def _with_picked(program: Program, chosen: set[Node], refused: set[Node], pack: int) -> set[Node]:
    """Besides, of what a pool picks the numbers of what is chosen."""
    found = set(chosen)
    for node in reversed(program.nodes):
        head = node.inputs[0] if node.kind == "part" and node.attrs == (0,) else node
        if node not in found or head.op not in _PICKED:
            continue
        source = base(head.inputs[0])
        if source not in refused and _may_be(source, pack) and head.op != "max_pool2d_backward":
            found.add(source)
    return found


def _may_be(node: Node, pack: int) -> bool:
    """Whether who makes ``node`` can round it."""
    if node.dtype != _FLOAT32 or not _in_packs(node, pack):
        return False
    if node.kind == "part":
        head, number = node.inputs[0], node.attrs[0]
        return number == 0 and bool(_multiplied(head) or head.op in _PICKED)
    if node.kind == "head":
        return bool(_multiplied(node) or node.op in _PICKED)
    return node.kind in ("pointwise", "view")


def _in_packs(node: Node, pack: int) -> bool:
    return bool(node.shape) and node.shape[-1] % pack == 0


def _weights(program: Program, chosen: set[Node], pack: int) -> set[Node]:
    """The inputs that are multiplied with something that is chosen."""
    found: set[Node] = set()
    inputs = set(program.inputs.values())
    for node in program.nodes:
        places = _multiplied(node)
        if _WEIGHT not in places or node.inputs[_WEIGHT] not in inputs:
            continue
        weight, other = node.inputs[_WEIGHT], node.inputs[0]
        if node.op.endswith("_backward"):  # it is multiplied with the gradient, for that of x
            other = node.inputs[places[-1]] if node.attrs[-1] else weight
        if base(other) in chosen and weight.dtype == _FLOAT32 and _in_packs(weight, pack):
            found.add(weight)
    return found
