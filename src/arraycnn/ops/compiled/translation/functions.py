"""What a kernel's function may call."""

from __future__ import annotations

import ast
import inspect
import textwrap
import tokenize
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, get_type_hints

from arraycnn.ops.compiled.launch_struct import LaunchStruct


class Function:
    """A function in the language of kernels; Python never runs it.

    Attributes
    ----------
    is_linked : bool
        For a long function that many call: it is compiled by itself, and called. It gives nothing.
        Any other function's code is put where it is called.
    pointers : tuple of str
        Those parameters of a linked function that are pointers to the kind of number that the kernel
        computes with; all others are integers.
    fixed : tuple of str
        Those for each of whose values, where a call gives a constant, it is compiled anew.
    """

    def __init__(
        self,
        function: Any,
        is_linked: bool = False,
        pointers: tuple[str, ...] = (),
        fixed: tuple[str, ...] = (),
    ) -> None:
        self.function, self.is_linked, self.pointers, self.fixed = (
            *(function, is_linked, pointers, fixed),
        )
        self.__name__, self.__module__, self.__doc__ = (
            *(function.__name__, function.__module__, function.__doc__),
        )
        self._lines = _lines_of(function.__code__.co_filename)

    @property
    def full_name(self) -> str:
        return f"{self.__module__}.{self.__name__}"

    @property
    def parameters(self) -> list[str]:
        return list(inspect.signature(self.function).parameters)

    @cached_property
    def launch_struct(self) -> type[LaunchStruct] | None:
        """What a kernel's launches hand to it: its parameter ``launch`` is annotated with it."""
        found: type[LaunchStruct] | None = get_type_hints(self.function).get("launch")
        return found

    @cached_property
    def tree(self) -> ast.FunctionDef:
        first = self.function.__code__.co_firstlineno - 1
        lines = inspect.getblock(self._lines[first:])
        (tree,) = ast.parse(textwrap.dedent("".join(lines))).body
        assert isinstance(tree, ast.FunctionDef)
        return tree

    @property
    def outside(self) -> dict[str, Any]:
        """The names of its module."""
        return self.function.__globals__

    def at(self, node: ast.AST) -> str:
        """Where ``node`` stands, for a message."""
        line = self.function.__code__.co_firstlineno + getattr(node, "lineno", 1) - 1
        return f"{self.full_name}, line {line}"


@cache
def _lines_of(file: str) -> list[str]:
    """A module's source as it is imported: at its first compilation, it may have been updated."""
    with tokenize.open(file) as source:
        return source.readlines()


@dataclass(frozen=True)
class Variant:
    """A function, and the values of those of its parameters that its code knows."""

    function: Function
    known: tuple[tuple[str, int], ...] = ()

    @property
    def name(self) -> str:
        """What it is called by those who are linked with it."""
        known = [f"{parameter}={value}" for parameter, value in self.known]
        return " ".join([self.function.full_name, *known])


class Instruction:
    """Something that a kernel's function may call, and that Python writes the code of.

    ``write`` is a function of (code, values): an `Arithmetic`, and what it is called with.
    """

    def __init__(self, write: Callable[..., Any]) -> None:
        self.write = write
        self.__name__, self.__doc__ = write.__name__, write.__doc__


def compiled(function: Any) -> Any:
    """A function in the language of kernels."""
    return Function(function)


def linked(pointers: tuple[str, ...] = (), fixed: tuple[str, ...] = ()) -> Any:
    """The same, compiled once for all that call it; see `Function`."""
    return lambda function: Function(function, True, pointers, fixed)


def instruction(write: Callable[..., Any]) -> Any:
    return Instruction(write)
