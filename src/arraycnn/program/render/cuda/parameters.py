"""The parameters of what is written in C++: what it takes, and what a launch gives it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from arraycnn.ops import Array
from arraycnn.ops.cuda.launcher import Launcher
from arraycnn.program.nodes import Node
from arraycnn.program.render.cuda.pointwise import c_type


@dataclass(frozen=True, eq=False)
class Parts:
    """What the blocks of a loop leave of a reduction: memory for ``bytes``, 0 where they leave none."""

    bytes: int


COUNTER = "counter"
"""An int32 that is 0 before each launch."""

Value: TypeAlias = "Node | Parts | int | np.floating[Any] | str"
"""A buffer's node, parts, a number, or `COUNTER`."""


class Parameters:
    """Collects them while a text is written; equal texts have equal names.

    Parameters
    ----------
    written : set of Node
        The buffers that lie where the kernel writes.
    place : function, optional
        In which other's memory a buffer lies: those of one memory are one parameter.
    """

    def __init__(self, written: Set[Node], place: Callable[[Node], Node] | None = None) -> None:
        self._written = written
        self._place = place or (lambda node: node)
        self._names: dict[Any, str] = {}
        self.declarations: list[str] = []
        self.values: list[Value] = []

    def buffer(self, node: Node) -> str:
        kind = c_type(node.dtype)
        # Only what nobody writes may be read past the caches that blocks share.
        how = f"{kind}*" if node in self._written else f"const {kind}* __restrict__"
        return self.add(how, node, (self._place(node), kind))

    def whole(self, value: int) -> str:
        return self.add("long long", value)

    def real(self, value: float, dtype: np.dtype) -> str:
        """A number of the program: not part of the text, so that another one needs no other code."""
        return self.add(c_type(dtype), dtype.type(value), (dtype, float(value).hex()))

    def parts(self, state: str, parts: Parts) -> str:
        """Where partial results lie, seen as the C++ type ``state``."""
        return f"reinterpret_cast<{state}*>({self.add('float*', parts)})"

    def counter(self) -> str:
        return self.add("int*", COUNTER)

    def add(self, kind: str, value: Value, key: Any = None) -> str:
        """The name of the parameter for ``value``; whole numbers, whatever they are, have each their
        own, since others may differ for another batch."""
        if key is None and not isinstance(value, int | np.floating):
            key = value
        if key is not None and key in self._names:
            return self._names[key]
        name = f"p{len(self.values)}"
        self.declarations.append(f"{kind} {name}")
        self.values.append(value)
        if key is not None:
            self._names[key] = name
        return name


class _Takes(Protocol):
    """A text that takes buffers which must begin at a multiple of so many bytes."""

    @property
    def aligned(self) -> tuple[tuple[Node, int], ...]: ...


_Text = TypeVar("_Text", bound=_Takes)


def fitting(
    text_of: Callable[[bool], _Text], launcher: Launcher, held: Mapping[Node, Array]
) -> _Text:
    """The text that moves several numbers at once, where all lies as that takes it; else the other."""
    text = text_of(True)
    astray = [1 for node, size in text.aligned if launcher.address(held[node]) % size]
    return text_of(False) if astray else text


def arguments(
    values: Iterable[Value],
    launcher: Launcher,
    held: Mapping[Node, Array],
    counter: Callable[[], Array],
) -> tuple[Any, ...]:
    """What a launch gives for ``values``."""
    args: list[Any] = []
    for value in values:
        if isinstance(value, Node):
            args.append(held[value])
        elif isinstance(value, Parts):
            args.append(launcher.empty((value.bytes // 4,), "float32") if value.bytes else None)
        elif isinstance(value, str):
            args.append(counter())
        else:
            args.append(value)
    return tuple(args)
