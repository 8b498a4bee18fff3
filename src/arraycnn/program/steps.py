"""The steps of a network as programs: training and inference, traced through the very functions
that the eager plan calls (`arraycnn.training.step`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.layers import Sequential
from arraycnn.layers.branches import is_of_branches
from arraycnn.layers.layer import Context, Layer, Randomness, Shape, Tree
from arraycnn.losses import Loss
from arraycnn.ops import Array, Kernels, array_namespace
from arraycnn.ops.whole_batch import WholeBatch
from arraycnn.optimizers import Optimizer
from arraycnn.program.collectives import begun_early
from arraycnn.program.heads import HEADS
from arraycnn.program.nodes import Program
from arraycnn.program.opaque import Opaque, name_of
from arraycnn.program.trace import Recorder, Traced, recorder, refuse, trace
from arraycnn.training.step import (
    CLASSIFICATION,
    CROSS_ENTROPY,
    Batch,
    Carry,
    Objective,
    infer,
    train_step,
)
from arraycnn.tree import flatten

TREES = ("params", "state", "optimizer")
"""The names of a carry's trees in the names of inputs and outputs: "params.1.weight"."""


@dataclass(frozen=True)
class Form:
    """Shape and dtype of an array that is yet to come."""

    shape: tuple[int, ...]
    dtype: Any


def training_program(
    network: Layer,
    optimizer: Optimizer,
    carry: Carry,
    images: Any,
    batch_size: int,
    dtype: str,
    gather: bool = False,
    objective: Objective = CLASSIFICATION,
    whole: int = 0,
    noted: int = 0,
    tables: int = 0,
    whole_batch: WholeBatch | None = None,
) -> Program:
    """One training step.

    Parameters
    ----------
    carry : Carry
        Arrays, or `Form`s, of what the step begins with.
    images : array or Form
        One batch, (batch_size, H, W, C); with ``gather``, a set of which the step takes ``rows``.
    objective : Objective
    whole : int
        Where above 0, weights, and labels that are no class numbers, come as those of a whole set of
        so many images, of which the step takes ``indices``.
    noted : int
        How many steps' measures, of a loss without a kernel, are kept: the step writes its own.
    tables : int
        Where above 0, what differs from step to step comes as tables of so many steps, of which the
        step takes its own at the input ``cursor``, and where it leaves its results; ``whole`` is then
        given, and ``noted`` is not.
    whole_batch : WholeBatch or None
        The batch that this step's images are a part of.

    Returns
    -------
    Program
        Inputs: ``images``; ``rows`` with ``gather``, (N,) int32; ``labels``, ``indices``, (N,)
        int32; ``rate`` (); ``seed`` (2,) and ``step`` (1,), int32; and the carry, as `named` has it;
        ``weights``, (N,), where weighted.
        Outputs: ``loss``, the mean, (); ``correct``, () int32, or what else is measured; the new
        carry. With ``noted`` there is an input ``cursor``, (1,) int32, and an input and output
        ``measures``, (noted,), where ``correct`` is written at the cursor. With ``tables``, K, the
        inputs ``rows``, ``indices``, ``step`` and ``rate`` have an axis more, of K, in front, labels
        are the whole set's, and the outputs are the carry, ``cursor`` moved on by one, and
        ``losses`` and ``measures``, (K,), as the inputs are but at the cursor.
    """

    def step(note: Recorder) -> dict[str, Traced]:
        x = note.input("images", images.shape, images.dtype)
        cursor = note.input("cursor", (1,), np.int32) if tables or noted else None

        def of_step(name: str, shape: Shape, kind: Any) -> Traced:
            if not tables:
                return note.input(name, shape, kind)
            table = (tables,) if shape == (1,) else (tables, *shape)
            row = HEADS.gather(note.input(name, table, kind), cursor)
            return array_namespace(row).reshape(row, shape)

        if gather:
            x = HEADS.gather(x, of_step("rows", (batch_size,), np.int32))
        random = Randomness(
            note.input("seed", (2,), np.int32),
            of_step("step", (1,), np.int32),
            of_step("indices", (batch_size,), np.int32),
        )

        def of_batch(name: str, shape: Shape, kind: Any) -> Traced:
            given = note.input(name, (whole or batch_size, *shape), kind)
            return HEADS.gather(given, random.indices) if whole else given

        if objective.are_numbers and not tables:
            labels = note.input("labels", (batch_size,), np.int32)
        else:
            kind = dtype if objective.floating else np.int32
            labels = of_batch("labels", objective.label_shape, kind)
        weights = of_batch("weights", (), dtype) if objective.weighted else None
        rate = of_step("rate", (), dtype)
        before = Carry(*(inputs_of(note, name, t) for name, t in zip(TREES, carry, strict=True)))
        with note.at("loss and update", f"the loss, or {type(optimizer).__name__}"):
            after, loss, correct = train_step(
                *(in_parts(located(network), objective), optimizer, before),
                *(Batch(x, labels, weights), rate),
                Context(HEADS, "train", dtype, random, whole=whole_batch),
                *(objective.loss, objective.accumulate),
            )
        _check_same_places(named(before), named(after))
        outputs = {"loss": loss, "correct": correct, **named(after)}
        if cursor is not None:
            known = dtype if noted or not objective.has_kernel else np.int32
            measures = note.input("measures", (noted or tables,), known)
            outputs["measures"] = _at(cursor, measures, correct)
        if tables and cursor is not None:
            losses = note.input("losses", (tables,), dtype)
            moved = {"losses": _at(cursor, losses, loss), "cursor": cursor + 1}  # type: ignore[operator]
            outputs = {**named(after), "measures": outputs["measures"], **moved}
        return outputs

    program = trace(step)
    return program if whole_batch is None else begun_early(program)


def _at(cursor: Traced, table: Traced, value: Traced) -> Traced:
    """``table`` with ``value`` at the cursor."""
    xp = array_namespace(table)
    return xp.where(xp.arange(table.shape[0], dtype=np.int32) == cursor, value, table)


def _check_same_places(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Refuse a step that leaves nothing, or something of another shape, for the next one's input."""
    for name, array in before.items():
        shape = getattr(after.get(name), "shape", None)
        if shape != array.shape:
            refuse(
                f"{name} has shape {array.shape} before and {shape} after a step",
                "return an array for each that init has made, and a gradient for each parameter, in "
                "its shape",
            )


def inference_program(
    network: Layer,
    params: Tree,
    state: Tree,
    images: Any,
    dtype: str,
    loss: Loss = CROSS_ENTROPY,
    ops: Kernels = HEADS,
) -> Program:
    """A pass forward: outputs ``logits`` and ``probabilities``, (N, K), from ``images``, (N, ...).

    Or what else the network puts out, and what is predicted of it where the loss is another. ``ops``
    says what is traced as a head.
    """

    def step(note: Recorder) -> dict[str, Traced]:
        batch = note.input("images", images.shape, images.dtype)
        trees = (inputs_of(note, "params", params), inputs_of(note, "state", state))
        with note.at("outputs", "the network"):
            logits = infer(located(network), *trees, batch, Context(ops, "infer", dtype))
            return {"logits": logits, "probabilities": loss.predictions(ops, logits)}

    return trace(step)


def named(carry: Carry) -> dict[str, Any]:
    """The arrays of a carry by name: "params.1.weight", "state.2.mean", "optimizer.velocity..."."""
    return {
        f"{name}.{path}": leaf
        for name, tree in zip(TREES, carry, strict=True)
        for path, leaf in flatten(tree).items()
    }


def inputs_of(note: Recorder, prefix: str, tree: Tree) -> Tree:
    return {
        key: inputs_of(note, f"{prefix}.{key}", value)
        if isinstance(value, dict)
        else note.input(f"{prefix}.{key}", value.shape, np.dtype(str(value.dtype)))
        for key, value in tree.items()
    }


def rebuilt(
    network: Layer, change: Callable[[tuple[str, ...], Layer], Layer], path: tuple[str, ...] = ()
) -> Layer:
    """``network`` with ``change(path, layer)`` for each layer that is not made of others.

    What a user's own layer is made of is a part of it.
    """
    if type(network) is Sequential:
        layers = network.named_layers()
        return Sequential(*(rebuilt(layer, change, (*path, name)) for name, layer in layers))
    if is_of_branches(network):
        layers = network.named_layers()
        return network.with_layers([rebuilt(one, change, (*path, name)) for name, one in layers])
    return change(path, network)


def parts(network: Layer) -> list[Layer]:
    """The layers of ``network`` that are not made of others, in order."""
    found: list[Layer] = []

    def look(_: tuple[str, ...], layer: Layer) -> Layer:
        found.append(layer)
        return layer

    rebuilt(network, look)
    return found


def opaque_layers(network: Layer) -> list[Opaque]:
    return [layer for layer in parts(network) if isinstance(layer, Opaque)]


def located(layer: Layer) -> Layer:
    """``layer`` with every part of it telling the recorder when it is at work."""
    if type(layer) is Sequential:
        return Sequential(*map(located, layer.layers))
    if is_of_branches(layer):
        return _Located(layer.with_layers([located(part) for _, part in layer.named_layers()]))
    return _Located(layer)


def in_parts(network: Layer, objective: Objective) -> Layer:
    """``network``, which tells the recorder, where batches are in parts, that a next one begins."""
    return _InParts(network) if objective.accumulate > 1 else network


@dataclass(frozen=True)
class _Around:
    """Another layer, as it is; what stands around it changes nothing of what it computes."""

    layer: Layer

    def init(self, rng: np.random.Generator, input_shape: Shape) -> tuple[Tree, Tree, Shape]:
        return self.layer.init(rng, input_shape)

    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        return self.layer.forward(params, state, x, context)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        return self.layer.backward(params, residuals, dy, context, need_dx)


class _InParts(_Around):
    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        recorder().micro_batch += 1
        return self.layer.forward(params, state, x, context)


class _Located(_Around):
    def forward(
        self, params: Tree, state: Tree, x: Array, context: Context
    ) -> tuple[Array, Tree, Any]:
        with self._at(context, "forward"):
            return self.layer.forward(params, state, x, context)

    def backward(
        self, params: Tree, residuals: Any, dy: Array, context: Context, need_dx: bool
    ) -> tuple[Array | None, Tree]:
        with self._at(context, "backward"):
            return self.layer.backward(params, residuals, dy, context, need_dx)

    @contextmanager
    def _at(self, context: Context, direction: str) -> Iterator[None]:
        path, name = ".".join(context.path), name_of(self.layer)
        owner = f"layer {path}, {name}" if path else name
        with recorder().at(f"{path or '0'} {name}, {direction}", owner):
            yield
