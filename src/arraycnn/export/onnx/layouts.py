"""In which order the axes of each value lie in the graph.

A program has images channels last, (N, H, W, C); ONNX's convolutions and pools have them channels
first. So values around these are laid out that way, as far as it can be handed on: through what is
computed number by number, reductions, concatenations, slices and reshapes. Only where that ends do
the numbers move: mostly once, at the images. What is chosen here decides how fast the graph is, never
what it computes: who renders a node turns what comes otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import NamedTuple

from arraycnn.export.onnx.slices import cut_shape
from arraycnn.program.nodes import Node, Program

Shape = tuple[int, ...]


class Layout(NamedTuple):
    """How a value lies in the graph.

    Attributes
    ----------
    tail : int
        How many of its last axes stand before all others but the first: one, for images channels
        first. A group norm's (N, H, W, groups, channels) has two.
    split : Shape
        Of rows, (N, K), the axes of the image that K is made of: (H, W, C). Its numbers lie in the
        order that these have with ``tail``.
    """

    tail: int = 0
    split: Shape = ()


NATURAL = Layout()
CHANNELS_FIRST = Layout(1)
_WINDOWS = {
    *("conv2d", "grouped_conv2d", "conv_transpose2d"),
    *("max_pool2d", "avg_pool2d", "batch_norm", "resize"),
}
"""Operations whose image is channels first, in and out."""
_ENDS = {"softmax", "activation"}
_SAME = {"softmax", "activation", "normal", "part"}


def order(rank: int, layout: Layout) -> Shape:
    """The axes of a value in the order in which they lie."""
    first = rank - layout.tail
    if first < 1:
        return tuple(range(rank))
    return (0, *range(first, rank), *range(1, first))


def stored(shape: Shape, layout: Layout) -> Shape:
    """The shape of a value as it lies."""
    return shape if layout.split else tuple(shape[axis] for axis in order(len(shape), layout))


def alike(shape: Shape, one: Layout, other: Layout) -> bool:
    """Whether two layouts are the same for values of ``shape``."""
    rank = len(shape)
    return one.split == other.split and (
        one == other or (not one.split and order(rank, one) == order(rank, other))
    )


def after_reshape(shape: Shape, layout: Layout, target: Shape) -> Layout | None:
    """How ``target`` lies once what lies as ``layout`` is reshaped in place; None if it is mixed up."""
    if layout.split:
        shape = (shape[0], *layout.split)
    if layout.tail == 0:
        return NATURAL
    if not target or target[0] != shape[0] or min(*shape[1:], *target[1:], 1) < 0:
        return None
    first = len(shape) - layout.tail
    share, rest = math.prod(shape[first:]), math.prod(shape[1:first])
    for tail in range(1, len(target)):
        if math.prod(target[-tail:]) == share:
            return Layout(tail)
    if 1 in (share, rest):
        return NATURAL
    return Layout(layout.tail, shape[1:]) if len(target) == 2 else None


def layouts(program: Program, constants: Collection[Node]) -> dict[Node, Layout]:
    """The layout that each node had best have; those that are missing lie as they are written."""
    found: dict[Node, Layout] = {}
    users = program.users()
    fixed = {*program.inputs.values(), *constants}
    # What is made of one value may as well be made of that in the order in which it is wanted.
    ends = [node for node in program.outputs.values() if len(node.operands) == 1]
    fixed |= {node for node in ends if node.op in _ENDS or node.kind == "pointwise"}
    waiting: list[Node] = []

    def settle(node: Node, layout: Layout | None) -> None:
        if layout is not None and node not in fixed and node not in found:
            found[node] = layout
            waiting.append(node)

    for node in program.nodes:
        if node.op in _WINDOWS:
            settle(node, CHANNELS_FIRST)
            settle(node.inputs[0], CHANNELS_FIRST)
    while waiting:
        node = waiting.pop(0)
        for user in users[node]:
            settle(user, _handed_on(node, user, found[node]))
        for operand in node.operands:
            settle(operand, _handed_back(operand, node, found[node]))
    return found


def _handed_on(operand: Node, node: Node, layout: Layout) -> Layout | None:
    """The layout of ``node`` if ``operand`` has ``layout`` and nothing moves."""
    rank = len(operand.shape)
    if node.op in _SAME:
        return layout
    if node.kind == "pointwise":
        return layout if operand.shape == node.shape else _of_same_rank(operand, node, layout)
    if node.op == "mean" or node.kind == "reduce":
        return after_reduction(node, rank, layout)
    if node.op == "reshape":
        return after_reshape(operand.shape, layout, node.shape)
    if node.op == "slice":
        return after_slice(operand, node, layout)
    if node.op in ("broadcast", "concat", "update"):
        return _of_same_rank(operand, node, layout)
    if node.op == "take" and operand is node.inputs[0]:
        return _of_same_rank(operand, node, layout)
    return None


def _handed_back(operand: Node, node: Node, layout: Layout) -> Layout | None:
    """The layout of ``operand`` if ``node`` has ``layout`` and nothing moves."""
    if node.op in _SAME or (node.kind == "pointwise" and operand.shape == node.shape):
        return layout
    if node.op == "reshape":
        return after_reshape(node.shape, layout, operand.shape)
    if node.op == "take" and operand is not node.inputs[0]:
        return None
    if node.kind in ("pointwise", "reduce") or node.op in (
        *("mean", "slice", "broadcast", "concat", "update", "take"),
    ):
        return _of_same_rank(operand, node, layout)
    return None


def _of_same_rank(one: Node, other: Node, layout: Layout) -> Layout | None:
    return layout if len(one.shape) == len(other.shape) and not layout.split else None


def after_reduction(node: Node, rank: int, layout: Layout) -> Layout | None:
    """How a reduction of a value of ``rank`` axes lies; None where it has to be turned before it."""
    axes, keepdims = node.attrs
    if layout.split:
        is_of_all = axes == (1,) and node.op not in ("argmax", "argmin")
        return NATURAL if is_of_all else None
    if keepdims:
        return layout
    if 0 in axes and layout.tail:
        return None
    return Layout(layout.tail - sum(axis >= rank - layout.tail for axis in axes))


def after_slice(operand: Node, node: Node, layout: Layout) -> Layout | None:
    """How a slice lies: cut first, then without the axes that ints take away and None adds."""
    if layout.split:
        return None
    cut = cut_shape(node)
    return layout if cut == node.shape else after_reshape(cut, layout, node.shape)
