"""What was made of a program, kept for the next program that is the same.

Each fit traces its network anew; the same network gives the same program, whose schedule and
launches need not be made again.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from arraycnn.ops.window import Window
from arraycnn.program.collectives import SumCall
from arraycnn.program.nodes import Frozen, Node, Program
from arraycnn.program.passes.epilogues import with_epilogues
from arraycnn.program.passes.schedule import Schedule, scheduled
from arraycnn.program.passes.simplify import simplified

_KEPT = 32
"""Programs: those of a training are two or three."""
_LARGEST_BYTES = 2**20
"""A program whose constants are larger is not kept."""


def schedule_of(program: Program, carried: tuple[str, ...] = ()) -> Schedule:
    """``program`` simplified and scheduled; the outputs ``carried`` take the place of their inputs.

    The same object for a program that is the same.
    """
    key = key_of(program)
    if key is None:
        return scheduled(_rewritten(program), {name: name for name in carried})
    return _schedule(_Known((key, carried), program, carried))


@lru_cache(_KEPT)
def rendered_of(render: Callable[[Schedule], Any], schedule: Schedule) -> Any:
    """What ``render`` makes, which knows nothing of who asks: the same object for the same schedule."""
    return render(schedule)


def _rewritten(program: Program) -> Program:
    rewritten = with_epilogues(simplified(program))
    rewritten.check()  # what a pass gets wrong must not become wrong numbers
    return rewritten


@dataclass(frozen=True)
class _Known:
    key: Hashable
    program: Program = field(compare=False)
    carried: tuple[str, ...] = field(compare=False)


@lru_cache(_KEPT)
def _schedule(known: _Known) -> Schedule:
    return scheduled(_rewritten(known.program), {name: name for name in known.carried})


def key_of(program: Program) -> Hashable | None:
    """What two programs have in common only if they are the same; None where there is no such thing."""
    numbers = {node: number for number, node in enumerate(program.nodes)}
    constants = [node.attrs[0].array.nbytes for node in program.nodes if node.op == "constant"]
    if sum(constants) > _LARGEST_BYTES:
        return None
    try:
        lines = tuple(_line(node, numbers) for node in program.nodes)
    except _OwnObjectError:
        return None
    ends = [
        tuple((name, numbers[node]) for name, node in part.items())
        for part in (program.inputs, program.outputs)
    ]
    return lines, *ends


class _OwnObjectError(Exception):
    """A node holds an object of which nobody knows whether another is the same."""


def _line(node: Node, numbers: dict[Node, int]) -> Hashable:
    inputs = tuple(
        numbers[value] if isinstance(value, Node) else _plain(value) for value in node.inputs
    )
    attrs = tuple(map(_plain, node.attrs))
    return node.op, node.dtype.str, node.shape, inputs, attrs, node.where


def _plain(value: Any) -> Hashable:
    """``value`` so that 1, 1.0 and True differ, and 0.0 from -0.0."""
    if isinstance(value, tuple):
        return tuple(map(_plain, value))
    if isinstance(value, slice):
        return "slice", _plain((value.start, value.stop, value.step))
    if value is None or value is ... or isinstance(value, Frozen | Window | SumCall):
        return value
    if type(value) in (bool, int, float, str):
        return type(value).__name__, repr(value)
    raise _OwnObjectError
