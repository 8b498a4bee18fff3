"""A program for batches of any size: traced at several sizes, and compared.

What a size hangs on is not written down by a tracing, only the number that comes of it. A size that is
the same for all batches is a constant; one that is always the same multiple of theirs is that multiple;
anything else has no place in a graph whose batch is open.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

from arraycnn.errors import InvalidValueError
from arraycnn.export.onnx.naming import owner_of
from arraycnn.export.onnx.slices import spelled_out
from arraycnn.program.nodes import Node, Program
from arraycnn.program.passes.dead import without_dead

BATCHES = (1, 3, 7)
"""One image is a case of its own in much code: it has to be among them."""


@dataclass(frozen=True)
class OfBatch:
    """A number in an expression: so many times the number of images."""

    times: float


def of_any_batch(traced: Callable[[int], Program]) -> Program:
    """The program that ``traced(batch_size)`` gives, whatever the size.

    In its shapes a size below 0 is that many times the batch: (-1, 32, 32, 3) are images, (-4, 8)
    four rows of each. A number that grows with the batch is an `OfBatch`.

    Raises
    ------
    InvalidValueError
        A layer does something else for another number of images; names it.
    """
    programs = [without_dead(traced(size)) for size in BATCHES]
    first, longest = programs[0], max(programs, key=lambda program: len(program.nodes))
    places = [{node: n for n, node in enumerate(program.nodes)} for program in programs]
    made: list[Node] = []
    for alike in zip(*(program.nodes for program in programs), strict=False):
        node = alike[0]
        if not _all_equal([(n.op, n.dtype, len(n.inputs), len(n.shape)) for n in alike]):
            _refuse(node)
        operands: list[Any] = []
        for values in zip(*(n.inputs for n in alike), strict=True):
            origins = [of.get(value) for of, value in zip(places, values, strict=True)]
            if not _all_equal(origins):
                _refuse(node)
            operands.append(_number(node, values) if origins[0] is None else made[origins[0]])
        attrs = _attrs(list(alike))
        shape = tuple(_size(node, sizes) for sizes in zip(*(n.shape for n in alike), strict=True))
        made.append(Node(node.op, tuple(operands), attrs, shape, node.dtype, node.where))
    if len(longest.nodes) > len(made):
        _refuse(longest.nodes[len(made)])
    inputs, outputs = (
        {name: made[places[0][node]] for name, node in ends.items()}
        for ends in (first.inputs, first.outputs)
    )
    return Program(tuple(made), inputs, outputs)


def _all_equal(values: list[Any]) -> bool:
    return all(value == values[0] for value in values[1:])


def _size(node: Node, sizes: tuple[int, ...]) -> int:
    if _all_equal(list(sizes)):
        return sizes[0]
    times = sizes[0]
    if sizes != tuple(times * batch for batch in BATCHES):
        _refuse(node)
    return -times


def _number(node: Node, numbers: tuple[Any, ...]) -> Any:
    if not _all_equal([type(number) for number in numbers]):
        _refuse(node)
    if _all_equal([repr(number) for number in numbers]):  # NaN is NaN here, and -0.0 is not 0.0
        return numbers[0]
    if numbers != tuple(numbers[0] * batch for batch in BATCHES):
        _refuse(node)
    return OfBatch(numbers[0])


def _attrs(nodes: list[Node]) -> tuple[Any, ...]:
    """What ``nodes``, one of each program, have as attributes, if that is the same."""
    attrs = [node.attrs for node in nodes]
    if nodes[0].op == "full":
        return (_number(nodes[0], tuple(number for (number,) in attrs)),)
    if not _all_equal(attrs) and nodes[0].op in ("slice", "update"):
        attrs = [_whole_slices(node) for node in nodes]
    if not _all_equal(attrs):
        _refuse(nodes[0])
    return attrs[0]


def _whole_slices(node: Node) -> tuple[Any, ...]:
    """The index of ``node``, where a slice of all of an axis says so in one way."""
    shape, parts = node.inputs[0].shape, []
    sizes = iter(shape)
    for part in spelled_out(node.attrs, len(shape)):
        size = 0 if part is None else next(sizes)
        is_whole = isinstance(part, slice) and part.indices(size) == (0, size, 1)
        parts.append(slice(None) if is_whole else part)
    return tuple(parts)


def _refuse(node: Node) -> NoReturn:
    message = (
        f"export onnx: {owner_of(node)}: must do the same for any number of images, as the "
        "graph takes any; leave the size of the batch out of its numbers and its slices"
    )
    raise InvalidValueError(message)
