"""Which layers of a network are more than their programs: these become opaque, the rest is compiled.

Each layer is judged by itself, on what it was given in an eager step: what it does in its own forward
and backward pass is traced twice, and compared with what it has just computed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.errors import one_line
from arraycnn.layers import LAYERS
from arraycnn.layers.layer import Context, Layer, Mode, Shape, Tree
from arraycnn.losses import LOSSES
from arraycnn.ops import Array
from arraycnn.optimizers import OPTIMIZERS, Optimizer, frozen_paths, rule_of
from arraycnn.program.effects import (
    cause_against,
    cause_against_inference,
    cause_against_training,
    copied,
    in_dtype,
    random_numbers_kept,
    trial_batch,
    trial_context,
)
from arraycnn.program.heads import HEADS
from arraycnn.program.nodes import Program
from arraycnn.program.opaque import Opaque, Output, form, in_order_of, name_of
from arraycnn.program.steps import inputs_of, located, named, parts, rebuilt
from arraycnn.program.trace import Recorder, TracingError, said_of, trace
from arraycnn.training.step import (
    CLASSIFICATION,
    Batch,
    Carry,
    Objective,
    infer,
    loss_and_gradients,
)
from arraycnn.tree import flatten

Path = tuple[str, ...]
Supported = Callable[[Program], str | None]
"""Why there is no code for a program."""


@dataclass(frozen=True)
class Screened:
    """A network whose layers that cannot be traced are `Opaque`.

    Attributes
    ----------
    network : Layer
    cause : str or None
        Why its step cannot be a program, even so.
    """

    network: Layer
    cause: str | None


def screened_training(
    network: Layer,
    optimizer: Optimizer,
    carry: Carry,
    image: Shape,
    uint8: bool,
    dtype: str,
    unsupported: Supported | None = None,
    objective: Objective = CLASSIFICATION,
) -> Screened:
    """``network``, for training steps on images of the shape ``image``.

    Parameters
    ----------
    carry : Carry
        NumPy arrays.
    unsupported : function, optional
        Judges a layer's program, too.
    """
    is_known = type(rule_of(optimizer)) in OPTIMIZERS
    known = is_known and type(objective.loss) in LOSSES.values()
    trusted = known and is_of_the_library(network)

    def cause(of: Layer, kind: str) -> str | None:
        whole = objective, trusted
        return cause_against_training(of, optimizer, carry, image, uint8, kind, *whole)

    whole = cause, unsupported, objective, frozen_paths(optimizer, carry.params)
    return _screened(network, carry, image, uint8, "train", dtype, *whole)


def screened_inference(
    network: Layer,
    params: Tree,
    state: Tree,
    image: Shape,
    uint8: bool,
    dtype: str,
    unsupported: Supported | None = None,
) -> Screened:
    """The same for a pass forward."""
    trusted = is_of_the_library(network)

    def cause(of: Layer, kind: str) -> str | None:
        return cause_against_inference(of, params, state, image, uint8, kind, trusted)

    carry = Carry(params, state, {})
    return _screened(network, carry, image, uint8, "infer", dtype, cause, unsupported)


def is_of_the_library(network: Layer) -> bool:
    """Whether every layer is one of arraycnn's, which compute and do nothing else.

    The tests compare each with its program; here it need but be traced.
    """
    return all(type(layer) in LAYERS.values() for layer in parts(network))


def _screened(
    network: Layer,
    carry: Carry,
    image: Shape,
    uint8: bool,
    mode: Mode,
    dtype: str,
    cause_against_whole: Callable[[Layer, str], str | None],
    unsupported: Supported | None,
    objective: Objective = CLASSIFICATION,
    frozen: frozenset[str] = frozenset(),
) -> Screened:
    cause = cause_against_whole(network, "float64")
    if cause is None and unsupported is None:
        return Screened(network, None)
    # A layer may know float32 only, as one that calls another library with weights of its own.
    for kind in dict.fromkeys(["float64", dtype]):
        try:
            seen = _seen(network, carry, image, uint8, mode, kind, objective, frozen)
            causes = _causes(seen, mode, kind, unsupported, frozen)
            outputs = _outputs(seen, causes, kind)
            if kind != dtype:
                as_trained = _seen(network, carry, image, uint8, mode, dtype, objective, frozen)
                outputs = _outputs(as_trained, causes, dtype)
        except TracingError as error:
            cause = one_line(error)
            continue
        if not causes:
            break

        opaque = _marked(network, causes, outputs)
        return Screened(opaque, cause_against_whole(opaque, kind))
    return Screened(network, cause)


def _marked(network: Layer, causes: dict[Path, str], outputs: dict[Path, Output]) -> Layer:
    def mark(path: Path, layer: Layer) -> Layer:
        return Opaque(layer, causes[path], outputs[path]) if path in causes else layer

    return rebuilt(network, mark)


class _Seen:
    """A layer at work, and what it was given and returned.

    It works on copies, since one that changes what it is given would spoil what others have seen.
    """

    def __init__(self, layer: Layer, seen: dict[Path, _Seen]) -> None:
        self.layer, self._seen = layer, seen
        self.dx: Any = None
        self.dy: Any = None

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return self.layer.init(rng, input_shape)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        self._seen[context.path] = self
        self.params, self.state, self.x = params, state, x
        self.y, self.new, residuals = self.layer.forward(params, state, np.array(x), context)
        return self.y, self.new, residuals

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        self.dy, self.need_dx = dy, need_dx
        dx, self.gradients = self.layer.backward(params, residuals, np.array(dy), context, need_dx)
        self.dx = dx if need_dx else None
        return dx, self.gradients


@np.errstate(all="ignore")
def _seen(
    network: Layer,
    carry: Carry,
    image: Shape,
    uint8: bool,
    mode: Mode,
    dtype: str,
    objective: Objective,
    frozen: frozenset[str],
) -> dict[Path, _Seen]:
    """What each layer does in an eager step; TracingError where that fails."""
    seen: dict[Path, _Seen] = {}
    spied = rebuilt(network, lambda _, layer: _Seen(copied(layer), seen))
    params, state = in_dtype(carry.params, dtype), in_dtype(carry.state, dtype)
    given = trial_batch(image, uint8, dtype, objective)
    context, loss = trial_context(mode, dtype, given, frozen=frozen), copied(objective.loss)
    try:
        with random_numbers_kept():
            if mode == "infer":
                infer(spied, params, state, given["images"], context)
            else:
                batch = Batch(given["images"], given["labels"])
                loss_and_gradients(spied, params, state, batch, context, loss)
    except Exception as error:  # the plan that runs it will raise it
        raise TracingError(one_line(error)) from error
    return seen


def _causes(
    seen: dict[Path, _Seen],
    mode: Mode,
    dtype: str,
    unsupported: Supported | None,
    frozen: frozenset[str],
) -> dict[Path, str]:
    """Why a layer is more than its program, for those that are."""
    causes = {}
    for path, at in seen.items():
        name = f"layer {'.'.join(path) or '0'}, {name_of(at.layer)}"
        cause = _cause(at, path, mode, dtype, unsupported, frozen)
        if cause is not None:
            causes[path] = cause if cause.startswith("layer ") else said_of(name, cause)
    return causes


def _cause(
    at: _Seen,
    path: Path,
    mode: Mode,
    dtype: str,
    unsupported: Supported | None,
    frozen: frozenset[str],
) -> str | None:
    given = {"x": at.x, **({} if at.dy is None else {"dy": at.dy})}
    batch = trial_batch((), True, dtype)
    given |= {name: batch[name] for name in ("seed", "step", "indices")}
    layer, programs = located(copied(at.layer)), list[Program]()

    def step(note: Recorder) -> dict[str, Any]:
        inputs = {name: note.input(name, a.shape, a.dtype) for name, a in given.items()}
        params, state = inputs_of(note, "params", at.params), inputs_of(note, "state", at.state)
        context = trial_context(mode, dtype, inputs, HEADS, frozen)
        for name in path:
            context = context.inside(name)
        y, new, residuals = layer.forward(params, state, inputs["x"], context)
        outputs = {"its output": y, **_named("its new state", new)}
        if at.dy is not None:
            dx, gradients = layer.backward(params, residuals, inputs["dy"], context, at.need_dx)
            outputs |= _named("its gradient", gradients)
            outputs |= {"its input's gradient": dx} if at.need_dx else {}
        return outputs

    def traced() -> Program:
        programs.append(trace(step))
        return programs[-1]

    def eager() -> dict[str, Any]:
        outputs = {"its output": at.y, **_named("its new state", at.new)}
        if at.dy is not None:
            outputs |= _named("its gradient", at.gradients)
            outputs |= {"its input's gradient": at.dx} if at.need_dx else {}
        return outputs

    values = {**given, **named(Carry(at.params, at.state, {}))}
    cause = cause_against(traced, eager, values, dtype)
    return unsupported(programs[0]) if cause is None and unsupported is not None else cause


def _named(what: str, tree: Tree) -> dict[str, Any]:
    return {f"{what} {name}": leaf for name, leaf in flatten(tree).items()}


def _outputs(seen: dict[Path, _Seen], causes: dict[Path, str], dtype: str) -> dict[Path, Output]:
    """What the forward passes of ``causes``' layers return.

    TracingError for a layer whose results have not the shapes and dtypes that a program relies on.
    """
    outputs = {}
    for path, cause in causes.items():
        at, found = seen[path], form(seen[path].y)
        pairs = [("its new state", at.state, at.new)]
        if at.dy is not None:
            pairs.append(("its gradients", at.params, at.gradients))
        for what, wanted, got in pairs:
            if not _alike(wanted, got):
                raise TracingError(f"{cause} (and {what} are not of the arrays' shapes and dtypes)")
        if at.dx is not None and form(at.dx) != (at.x.shape, np.dtype(dtype)):
            raise TracingError(f"{cause} (and its input's gradient is not {dtype} {at.x.shape})")
        if found is None or found[0][:1] != at.x.shape[:1]:
            raise TracingError(f"{cause} (and its output is no array of as many images)")
        kind = str(found[1])
        if found[1].kind == "f" and kind != dtype:
            raise TracingError(f"{cause} (and its output is {kind} where the step is {dtype})")
        outputs[path] = Output(found[0][1:], None if kind == dtype else kind)
    return outputs


def _alike(wanted: Tree, got: Tree) -> bool:
    """Whether ``got`` has an array for each of ``wanted``, of its shape and dtype."""
    try:
        got = in_order_of(wanted, got)
    except (KeyError, TypeError):
        return False
    return {n: form(a) for n, a in flatten(wanted).items()} == {
        n: form(a) for n, a in flatten(got).items()
    }
