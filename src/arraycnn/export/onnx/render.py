"""A program as an ONNX graph, node by node.

For each kind of node there is one function, in the files beside this one: it is given the `Renderer`
and the node, and returns the name of its output and how that lies (`Layout`). The renderer hands out
what has been rendered, in the layout that is asked for, and arrays that are known while exporting.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

import numpy as np

from arraycnn.errors import InvalidTypeError
from arraycnn.export.onnx.batch import OfBatch
from arraycnn.export.onnx.graph import IMAGES, Graph
from arraycnn.export.onnx.layouts import NATURAL, Layout, alike, layouts, order, stored
from arraycnn.export.onnx.naming import owner_of, path_of
from arraycnn.program.interpret import interpret
from arraycnn.program.nodes import Node, Program

Rendered: TypeAlias = tuple[str, Layout]
Rule: TypeAlias = "Callable[[Renderer, Node], Rendered]"
_VIEWS = ("reshape", "permute", "broadcast", "slice")
_FOLDED = ("pointwise", "reduce", "view", "make", "take", "concat", "update")


class Renderer:
    """What has been rendered of a program so far.

    Parameters
    ----------
    graph : Graph
    program : Program
        Of a batch of any size (`of_any_batch`).
    values : mapping of str to array
        The program's inputs, but for the images: they become a part of the graph.
    rules : mapping of str to function
        By the names of operations or of their kinds.
    result : str
        What the output is called; its nodes are named so, too.
    """

    def __init__(
        self,
        graph: Graph,
        program: Program,
        values: Mapping[str, np.ndarray],
        rules: Mapping[str, Rule],
        result: str,
    ) -> None:
        self.graph = graph
        self._rules = rules
        self._result = result
        self._arrays = _known(program, values)
        self._wishes = layouts(program, self._arrays)
        self._rendered: dict[Node, Rendered] = {}

    def render(self, program: Program, output: str) -> str:
        """Render what ``output`` is made of; its name in the graph."""
        for node in program.nodes:
            if node.op == "input":
                self._rendered[node] = IMAGES, NATURAL
            elif node.op != "full" and node not in self._arrays:
                self._render(node)
        return self.value(program.outputs[output], NATURAL)

    def _render(self, node: Node) -> None:
        rule = self._rules.get(node.op) or self._rules.get(node.kind)
        if rule is None:
            self.no_operation(node, f"{node.op} of {node.dtype}")
        self._rendered[node] = rule(self, node)

    # What a rule asks for

    def path(self, node: Node) -> str:
        """The path of the layer that a node belongs to."""
        return path_of(node) or self._result

    def no_operation(self, node: Node, what: str) -> NoReturn:
        message = (
            f"export onnx: {owner_of(node)}: {what} has no operation in ONNX's opset 17; "
            "write the layer with others, of float32 where that serves"
        )
        raise InvalidTypeError(message)

    def wish(self, node: Node) -> Layout:
        """How ``node`` had best lie."""
        return self._wishes.get(node, NATURAL)

    def layout(self, node: Node) -> Layout:
        """How ``node`` lies."""
        return self._rendered[node][1] if node in self._rendered else NATURAL

    def array(self, node: Any) -> np.ndarray | None:
        """The numbers of ``node`` where they are known while exporting."""
        return self._arrays.get(node) if isinstance(node, Node) else None

    def label(self, node: Node) -> str:
        """What an array is called: as the parameter that it is, or is a view of."""
        of = node
        while of.op in _VIEWS:
            of = of.inputs[0]
        if of.op == "input":
            return of.attrs[0].partition(".")[2]
        return f"{self.path(node)}/{node.op}"

    def constant(self, node: Node, array: np.ndarray) -> str:
        """Add ``array``, made of the numbers of ``node``."""
        return self.graph.constant(self.label(node), array)

    def value(self, node: Node, layout: Layout = NATURAL) -> str:
        """The name of ``node`` in its own dtype, lying as ``layout``."""
        array = self.array(node)
        if array is not None:
            return self.constant(node, laid_out(array, layout))
        if node not in self._rendered:  # made where it is read, if at all
            self._render(node)
        name, lies = self._rendered[node]
        return self._turned(name, node, lies, layout)

    def _turned(self, name: str, node: Node, old: Layout, new: Layout) -> str:
        shape, path, graph = node.shape, self.path(node), self.graph
        if alike(shape, old, new):
            return name
        if old.split:
            inner = (shape[0], *old.split)
            name = graph.reshape(name, stored(inner, Layout(old.tail)), path)
            name = graph.transpose(name, _inverse(order(len(inner), Layout(old.tail))), path)
            name, old = graph.reshape(name, shape, path), NATURAL
        if new.split:
            inner = (shape[0], *new.split)
            name = graph.reshape(self._turned(name, node, old, NATURAL), inner, path)
            name = graph.transpose(name, order(len(inner), Layout(new.tail)), path)
            return graph.reshape(name, shape, path)
        back = _inverse(order(len(shape), old))
        axes = tuple(back[axis] for axis in order(len(shape), new))
        return graph.transpose(name, axes, path)

    def operand(self, value: Any, node: Node, layout: Layout, dtype: Any) -> str:
        """What ``node``, which lies as ``layout``, is computed of, in ``dtype``, to be broadcast."""
        path = self.path(node)
        if not isinstance(value, Node):
            return self.graph.scalar(value, dtype)
        if value.op == "full":
            number = value.attrs[0]
            if not isinstance(number, OfBatch):
                number = np.array(number).astype(value.dtype)
            return self.graph.scalar(number, dtype)
        rank, array = len(node.shape), self.array(value)
        if array is not None:
            array = array.astype(dtype)
            is_one = array.shape == (1,) * array.ndim
            if not is_one and (layout.split or order(rank, layout) != order(rank, NATURAL)):
                array = laid_out(array.reshape((1,) * (rank - array.ndim) + array.shape), layout)
            return self.constant(value, array)
        missing = rank - len(value.shape)
        if layout.split and value.shape != node.shape:
            layout = NATURAL  # one number of each image, or one for all
        if missing and order(rank, layout) != order(rank, NATURAL):
            wide = self.graph.reshape(self.value(value), (1,) * missing + value.shape, path)
            name = self.graph.transpose(wide, order(rank, layout), path)
        else:
            name = self.value(value, NATURAL if missing else layout)
        return name if value.dtype == dtype else self.graph.cast(name, dtype, path)


def laid_out(array: np.ndarray, layout: Layout) -> np.ndarray:
    """The numbers of ``array`` in the order in which they lie."""
    if layout.split:
        if array.shape[-1] == 1:
            return array
        image = array.reshape(array.shape[0], *layout.split)
        return image.transpose(order(image.ndim, Layout(layout.tail))).reshape(array.shape)
    return array.transpose(order(array.ndim, layout))


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axes.index(axis) for axis in range(len(axes)))


def _known(program: Program, values: Mapping[str, np.ndarray]) -> dict[Node, np.ndarray]:
    """The numbers of all nodes that do not hang on the images, nor on how many they are."""
    known: set[Node] = set()
    for node in program.nodes:
        if node.op == "input":
            is_known = node.attrs[0] in values
        else:
            is_known = all(
                value in known if isinstance(value, Node) else not isinstance(value, OfBatch)
                for value in node.inputs
            )
            is_known &= node.kind in _FOLDED and min(node.shape, default=0) >= 0
        if is_known:
            known.add(node)
    nodes = [node for node in program.nodes if node in known]
    part = Program(tuple(nodes), {}, {str(place): node for place, node in enumerate(nodes)})
    arrays = interpret(part, values)
    return {node: np.asarray(arrays[str(place)]) for place, node in enumerate(nodes)}
