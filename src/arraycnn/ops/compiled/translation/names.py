"""The local names of a kernel's function.

A variable is memory, which each branch and each round of a loop writes in its turn. A view, and what
Python knows, is only named while the code is written: what the name stands for hangs on the order of
the lines, not on which of them run. So it is given in one block, and read there or further inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from arraycnn.ops.compiled.translation.values import NotInTheLanguage


class Variable:
    """A local variable of the function: memory that is written each time it is given a value."""

    def __init__(self, kind: type, dtype: str, cell: Any) -> None:
        self.kind, self.dtype, self.cell = kind, dtype, cell


class Names:
    """What each name stands for: a `Variable`, or a value that is only named."""

    def __init__(self) -> None:
        self._given: dict[str, tuple[Any, tuple[int, ...]]] = {}
        self._blocks = 0
        self._inside: tuple[int, ...] = ()  # the blocks around what is written now

    @contextmanager
    def block(self) -> Iterator[None]:
        """A branch, or the body of a loop."""
        outside, self._blocks = self._inside, self._blocks + 1
        self._inside = (*outside, self._blocks)
        yield
        self._inside = outside

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def variable(self, name: str) -> Variable | None:
        found, _ = self._given.get(name, (None, ()))
        return found if isinstance(found, Variable) else None

    def read(self, name: str) -> Any:
        found, block = self._given[name]
        if not isinstance(found, Variable) and self._inside[: len(block)] != block:
            raise NotInTheLanguage(f"{name} is named in a branch or loop, and read after its end")
        return found

    def give(self, name: str, value: Any) -> None:
        if name in self._given:
            _, block = self._given[name]
            if block != self._inside and self._inside[: len(block)] == block:
                raise NotInTheLanguage(
                    f"{name} is given outside of this branch or loop, and again in it, which only a "
                    "number or a pointer may be, and these of one kind"
                )
        self._given[name] = value, self._inside
