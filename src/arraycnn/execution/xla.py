"""What JAX's plans share: the compiled functions that a process keeps, and what XLA cannot compile."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from typing import Any

from arraycnn.errors import one_line
from arraycnn.execution.at_work import Path, layer_at_work
from arraycnn.execution.traceable import say
from arraycnn.layers.layer import Layer
from arraycnn.program.memo import key_of
from arraycnn.program.nodes import Program
from arraycnn.program.opaque import Opaque
from arraycnn.program.steps import rebuilt
from arraycnn.program.trace import TracingError, said_of

MOST_FUNCTIONS = 32
"""Compiled steps and passes that a process keeps, each for one program, device and size of batch."""

_functions: OrderedDict[tuple, Callable[..., Any]] = OrderedDict()


def kept(function: Callable[..., Any], program: Program, *more: Any) -> Callable[..., Any]:
    """``function`` compiled, or one that was before, of the same program and ``more``."""
    import jax

    known = key_of(program)
    if known is None:
        return jax.jit(function)
    key = known, *more
    found = _functions.pop(key) if key in _functions else jax.jit(function)
    _functions[key] = found  # as the newest
    while len(_functions) > MOST_FUNCTIONS:
        _functions.popitem(last=False)
    return found


def causes_of(screened: Layer) -> dict[Path, str]:
    """The paths of the opaque layers of a network that was screened, and why each is one."""
    found: dict[Path, str] = {}

    def look(path: Path, layer: Layer) -> Layer:
        if isinstance(layer, Opaque):
            found[path] = layer.cause
        return layer

    rebuilt(screened, look)
    return found


@cache
def reading_errors() -> tuple[type[Exception], ...]:
    """What is raised where a value is read that a traced step does not have yet."""
    import jax

    return TracingError, jax.errors.JAXTypeError, jax.errors.JAXIndexError


def cause_in(error: Exception) -> tuple[Path | None, str]:
    """The path of the layer at work, if one was; and its name, and what JAX says."""
    path, owner = layer_at_work(error)
    if isinstance(error, TracingError):
        return path, one_line(error)
    words = one_line(error).partition(". ")[0]
    return path, words if owner is None else said_of(owner, words)


def say_called(what: str, cause: str) -> None:
    say(f"{what} calls a layer as it is written, the rest is one program: {cause}", "jax")


def say_eager(what: str, cause: str) -> None:
    say(f"{what} runs layer by layer, not compiled: {cause}", "jax")
