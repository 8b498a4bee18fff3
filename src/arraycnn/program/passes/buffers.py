"""Buffers: which values of a program lie in memory; all others are computed where they are read.

In memory lie inputs and constants, what a head or an opaque call reads and makes, the results of
reductions, the outputs, and what would be dearer to compute again than to read.
"""

from __future__ import annotations

from collections.abc import Iterator

from arraycnn.program.access import dense, through
from arraycnn.program.nodes import Node, Program, micro_batch_of

_ALWAYS = frozenset(["input", "reduce", "part", "concat", "update"])

BIG = 2**14
"""Numbers from which on it counts that a value is written and read."""

DEAR = {"exp": 8, "expm1": 8, "log": 8, "log1p": 8, "tanh": 12, "pow": 8, "divide": 3, "sqrt": 3}
DEAR |= {"remainder": 8, "floor_divide": 8}
"""Operations that take as long as several others."""

_MOST_OPERATIONS = 24
"""A big value read more than once is computed again each time if it takes at most so many."""

_MOST_READ = 2
"""... and reads at most so many big buffers."""

_LONGEST = 400
"""Operations in one expression, so that code of a loop stays small."""


def base(node: Node) -> Node:
    """The buffer that a dense view is: reshaping does not move C order."""
    while node.op == "reshape":
        node = node.inputs[0]
    return node


def buffers(program: Program) -> set[Node]:
    """The nodes whose values lie in memory, each in C order."""
    users, chosen = program.users(), set[Node]()
    for node in program.nodes:
        single = node.kind == "head" and node.op not in MANY_RESULTS
        if single or node.kind in _ALWAYS or node.op == "constant":
            chosen.add(node)
    for node in program.nodes:
        if node.is_alone:
            chosen |= {base(operand) for operand in node.operands}
        if node.op == "take":
            chosen.add(_source(node.inputs[0], chosen))
    chosen |= {base(node) for node in program.outputs.values()}
    _choose_shared(program, users, chosen)
    for node in program.nodes:  # sums over parts of a batch, of which else all parts would wait
        part = micro_batch_of(node)
        may_wait = part and node.kind == "pointwise" and node.size > 1
        if may_wait and any(micro_batch_of(user) != part for user in _readers(node, users)):
            chosen.add(node)
    _settle(program, chosen)
    return chosen


MANY_RESULTS = frozenset(
    {"dense_backward", "dense_relu_backward", "conv2d_backward", "conv2d_relu_backward"}
    | {"max_pool2d", "conv2d_max_pool2d", "conv2d_max_pool2d_backward", "opaque"}
)


def _source(node: Node, chosen: set[Node]) -> Node:
    while node.kind == "view" and node not in chosen:
        node = node.inputs[0]
    return node


def _choose_shared(program: Program, users: dict[Node, list[Node]], chosen: set[Node]) -> None:
    """Choose the values that are read more than once and dear, and cut what is too long."""
    operations: dict[Node, int] = {}
    reads: dict[Node, set[Node]] = {}
    for node in program.nodes:
        inner = [operand for operand in dict.fromkeys(node.operands) if operand not in chosen]
        operations[node] = sum(operations.get(operand, 0) for operand in inner)
        if node.kind == "pointwise":
            operations[node] += DEAR.get(node.op, 1)
        held = [operand for operand in node.operands if operand in chosen]
        reads[node] = set(held).union(*(reads.get(operand, ()) for operand in inner))
        if node.op == "slice" and reads[node]:
            reads[node] = {node}  # other numbers of a buffer are read besides
        if node in chosen or node.kind not in ("pointwise", "take"):
            continue
        big_reads = [read for read in reads[node] if read.size >= BIG]
        dear = operations[node] > _MOST_OPERATIONS or len(big_reads) > _MOST_READ
        shared = len(list(_readers(node, users))) > 1
        if (
            (dear and shared and node.size >= BIG)
            or operations[node] > _LONGEST
            or (shared and node.size < BIG and node.size > 1 and operations[node] > 1)
        ):
            chosen.add(node)


def _readers(node: Node, users: dict[Node, list[Node]]) -> Iterator[Node]:
    """Who reads a value, itself or through views."""
    for user in users[node]:
        if user.kind == "view":
            yield from _readers(user, users)
        else:
            yield user


def _settle(program: Program, chosen: set[Node]) -> None:
    """Choose what is read through a reshape that no strides express."""
    for node in reversed(program.nodes):
        if node.op != "reshape":
            continue
        views, source = [node], node.inputs[0]
        while source.kind == "view" and source not in chosen:
            views.insert(0, source)
            source = source.inputs[0]
        if isinstance(through(dense(source.shape), views), Node):
            chosen.add(base(node.inputs[0]))
