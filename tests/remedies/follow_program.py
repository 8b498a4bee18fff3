"""Remedies for what a step that is traced must not do."""

from collections.abc import Callable
from typing import Any

import numpy as np

import arraycnn as cnn
from arraycnn.ops import array_namespace
from arraycnn.program.interpret import interpret
from arraycnn.program.opaque import Opaque, Output
from arraycnn.program.steps import inference_program, training_program
from arraycnn.program.trace import trace
from arraycnn.training.step import Carry
from remedies.following import Here, follows

_X = np.arange(24.0).reshape(2, 3, 4)

Step = Callable[[Any, Any], Any]


def _traced(function: Callable[[Any], Any]) -> None:
    def run(note: Any) -> dict[str, Any]:
        results = function(note.input("x", _X.shape, _X.dtype))
        results = results if isinstance(results, tuple) else (results,)
        return {str(number): result for number, result in enumerate(results)}

    trace(run)


def _step(file: str, words: str, wrong: Step, *right: Step) -> None:
    """A case: tracing the first function is refused, and that of the others, as told, is not."""

    @follows(f"program/{file}.py", words)
    def case(here: Here) -> None:
        with here.refused():
            _traced(lambda x: wrong(array_namespace(x), x))
        for step in right:
            _traced(lambda x, step=step: step(array_namespace(x), x))


def _in_place(xp: Any, x: Any) -> Any:
    x += 1.0
    return x


_step(
    "trace",
    "compute with whole arrays, for example with xp.where",
    lambda xp, x: x if xp.sum(x) > 0 else -x,
    lambda xp, x: xp.where(xp.sum(x) > 0, x, -x),
)
_step(
    "trace",
    "write x = x + y, which leaves the array of the caller alone",
    _in_place,
    lambda xp, x: x + 1.0,
)
_step(
    "trace",
    "use float(number), or xp.asarray(table, dtype=x.dtype) for an array of constants",
    lambda xp, x: x * np.float32(2),
    lambda xp, x: x * float(np.float32(2)),
    lambda xp, x: x * xp.asarray(np.ones(4), dtype=x.dtype),
)
_step(
    "trace",
    "use xp.take for rows, xp.where for a mask",
    lambda xp, x: x[x > 1],
    lambda xp, x: xp.where(x > 1, x, 0.0),
    lambda xp, x: xp.take(x, xp.arange(2), axis=0),
)
_step(
    "trace",
    "use xp.permute_dims",
    lambda xp, x: x.T,
    lambda xp, x: xp.permute_dims(x, (2, 1, 0)),
)
_step(
    "trace",
    "compute it from the arrays that were given",
    lambda xp, x: 1.5,
    lambda xp, x: x * 0.0 + 1.5,
)
_step(
    "namespace",
    "use xp.astype",
    lambda xp, x: xp.exp(xp.arange(3)),
    lambda xp, x: xp.exp(xp.astype(xp.arange(3), x.dtype)),
)
_step(
    "trace",
    "use xp.astype",
    lambda xp, x: (x > 0) % (x > 1),
    lambda xp, x: xp.astype(x > 0, xp.int32) % (1 + xp.astype(x > 1, xp.int32)),
)
_step("trace", "write {}", lambda xp, x: x.mean(axis=0), lambda xp, x: xp.mean(x, axis=0))
_step(
    "namespace",
    "write {}",
    lambda xp, x: xp.hypot(x, x + 1.0),
    lambda xp, x: xp.sqrt(x * x + (x + 1.0) * (x + 1.0)),
)
_step(
    "namespace",
    "count axes from 0",
    lambda xp, x: xp.sum(x, axis=3),
    lambda xp, x: xp.sum(x, axis=2),
)
_step(
    "namespace",
    "convert them before",
    lambda xp, x: xp.asarray(["1", "2"]),
    lambda xp, x: xp.asarray([float(text) for text in ("1", "2")]),
)
_step(
    "namespace",
    "multiply the result by the step",
    lambda xp, x: xp.arange(0, 2, 0.5),
    lambda xp, x: xp.astype(xp.arange(4), x.dtype) * 0.5,
)
_step(
    "namespace",
    "name them all",
    lambda xp, x: xp.permute_dims(x, (1, 0)),
    lambda xp, x: xp.permute_dims(x, (1, 0, 2)),
)
_step(
    "namespace",
    "reshape to two axes",
    lambda xp, x: xp.matmul(x, xp.ones((4, 5))),
    lambda xp, x: xp.matmul(xp.reshape(x, (6, 4)), xp.ones((4, 5))),
)
_step(
    "namespace",
    "write axis=0",
    lambda xp, x: xp.take(x, xp.arange(2)),
    lambda xp, x: xp.take(x, xp.arange(2), axis=0),
)


@follows("program/namespace.py", "compute with the functions of arraycnn.program.namespace")
def a_function_that_is_not_traced(here: Here) -> None:
    with here.refused():
        _traced(lambda x: array_namespace(x).sort(x))
    from arraycnn.program.namespace import NAMESPACE

    for name in ("exp", "maximum", "where", "sum"):
        assert callable(getattr(NAMESPACE, name))
    _traced(lambda x: array_namespace(x).exp(x))


@follows("program/trace.py", "return them")
def a_traced_array_that_left_its_function(here: Here) -> None:
    kept: list[Any] = []
    _traced(lambda x: kept.append(x) or x)
    with here.refused():
        kept[0] + 1.0
    _traced(lambda x: (x, x + 1.0))


_step(
    "trace",
    "compute with those of xp = array_namespace(x)",
    lambda xp, x: np.exp(x),
    lambda xp, x: xp.exp(x),
)


class _Counting:
    """A layer whose state has the shape that its ``shape`` says."""

    shape: tuple[int, ...] = ()

    def init(self, rng: Any, input_shape: tuple) -> tuple:
        return {}, {"count": np.array(0.0)}, input_shape

    def forward(self, params: dict, state: dict, x: Any, context: Any) -> tuple:
        count = array_namespace(x).reshape(state["count"] + 1.0, self.shape)
        return x, {"count": count}, ()

    def backward(self, params: dict, _: Any, dy: Any, *others: Any) -> tuple:
        return dy, {}


@follows(
    "program/steps.py",
    "return an array for each that init has made, and a gradient for each parameter, in its shape",
)
def state_of_another_shape(here: Here) -> None:
    layer = _Counting()
    carry = Carry({}, {"count": np.array(0.0)}, {})
    step = layer, cnn.SGD(0.1), carry, np.ones((2, 3)), 2, "float64"
    layer.shape = (1,)
    with here.refused():
        training_program(*step)
    layer.shape = ()
    training_program(*step)


class _Exponential:
    """A layer that cannot be traced, and returns what its ``dtype`` says."""

    dtype = "float64"

    def init(self, rng: Any, input_shape: tuple) -> tuple:
        return {}, {}, input_shape

    def forward(self, params: dict, state: dict, x: Any, context: Any) -> tuple:
        return np.exp(x).astype(self.dtype), state, ()

    def backward(self, *_: Any) -> Any:
        raise NotImplementedError


@follows("program/opaque.py", "return arrays of the same shape and dtype each time")
def results_of_an_opaque_call(here: Here) -> None:
    layer, x = _Exponential(), np.ones((2, 3))
    network = Opaque(layer, "layer 0, _Exponential: calls NumPy", Output((3,), None))
    program = inference_program(network, {}, {}, x, "float64")
    layer.dtype = "float32"
    with here.refused():
        interpret(program, {"images": x})
    layer.dtype = "float64"
    interpret(program, {"images": x})
