"""Operations of the generic record as a program has them: traced alone, rendered, and run."""

from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np

from arraycnn.ops import GENERIC, Kernels
from arraycnn.program.heads import HEADS
from arraycnn.program.memo import schedule_of
from arraycnn.program.trace import Traced, trace


def with_rendered(kernels: Kernels, launcher: Any, render: Callable[..., Any]) -> Kernels:
    """``kernels``, those that are generic rendered, which is how a step runs them."""
    own = {field.name: getattr(kernels, field.name) for field in fields(kernels)}
    generic = [n for n, kernel in own.items() if kernel and kernel is getattr(GENERIC, n)]
    return replace(kernels, **{name: Rendered(name, launcher, kernels, render) for name in generic})


class Rendered:
    def __init__(
        self, name: str, launcher: Any, kernels: Kernels, render: Callable[..., Any]
    ) -> None:
        self._name = name
        self._how = launcher, kernels, render

    def __repr__(self) -> str:
        return f"{self._name}, rendered"

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        return _run(*self._how, self._name, *arguments, **settings)


def _run(
    launcher: Any,
    kernels: Kernels,
    render: Callable[..., Any],
    name: str,
    *arguments: Any,
    **settings: Any,
) -> Any:
    function: Callable[..., Any] = getattr(GENERIC, name)
    given = {
        path: np.asarray(a) for path, a in _leaves((arguments, settings), np.ndarray | np.generic)
    }
    if not given:
        return function(*arguments, **settings)  # no step is made of nothing
    form: list[Any] = []

    def step(note: Any) -> dict[str, Traced]:
        def placed(value: Any, path: str) -> Any:
            if isinstance(value, np.ndarray | np.generic):
                return note.input(path, value.shape, value.dtype)
            return HEADS if isinstance(value, Kernels) else value

        inputs, named = _mapped(placed, (arguments, settings))
        form.append(function(*inputs, **named))
        return dict(_leaves(form[0], Traced))

    program = trace(step)
    in_order = {
        path: np.ascontiguousarray(array).reshape(array.shape) for path, array in given.items()
    }
    try:
        outputs, _ = render(schedule_of(program))(launcher, kernels, in_order)
    except Exception as error:
        # Compiled loops over nothing are refused: such a step runs as it is written.
        nothing = any(array.size == 0 for array in given.values())
        if not nothing or type(error).__name__ != "UnsupportedError":  # whose module needs llvmlite
            raise
        return function(*arguments, **settings)
    return _mapped(lambda value, path: outputs.get(path, value), form[0])


def _leaves(value: Any, kind: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, kind):
        yield path, value
    elif isinstance(value, list | tuple):
        for place, part in enumerate(value):
            yield from _leaves(part, kind, f"{path}.{place}")
    elif isinstance(value, dict):
        for name, part in value.items():
            yield from _leaves(part, kind, f"{path}.{name}")


def _mapped(change: Callable[[Any, str], Any], value: Any, path: str = "") -> Any:
    if isinstance(value, list | tuple):
        parts = [_mapped(change, part, f"{path}.{place}") for place, part in enumerate(value)]
        return type(value)(parts) if type(value) in (list, tuple) else type(value)(*parts)
    if isinstance(value, dict):
        return {name: _mapped(change, part, f"{path}.{name}") for name, part in value.items()}
    return change(value, path)
