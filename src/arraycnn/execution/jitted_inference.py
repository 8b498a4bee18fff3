"""The plan of inference on JAX: a pass forward as one function, compiled by XLA for few sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from arraycnn.execution.at_work import Path
from arraycnn.execution.eager import QUIET, EagerInference, on_host
from arraycnn.execution.jitted_parts import parted
from arraycnn.execution.xla import (
    MOST_FUNCTIONS,
    cause_in,
    causes_of,
    kept,
    reading_errors,
    say_called,
    say_eager,
)
from arraycnn.layers.layer import Context, Layer, Shape, Tree
from arraycnn.losses import Loss
from arraycnn.ops import GENERIC, Array
from arraycnn.program.padding import takes_more_images
from arraycnn.program.screening import screened_inference
from arraycnn.program.steps import Form, inference_program
from arraycnn.training.batch_loss import measures_of_batch
from arraycnn.training.step import CROSS_ENTROPY, infer


class JittedInference(EagerInference):
    """An `InferencePlan` that runs each pass as one compiled function.

    A batch is padded to a power of two where what is added changes nothing of the rest: so there are
    as many functions as powers of two, and not as sizes.
    """

    def __init__(
        self,
        placement: Any,
        network: Layer,
        params: Tree,
        state: Tree,
        dtype: str,
        loss: Loss = CROSS_ENTROPY,
    ) -> None:
        super().__init__(placement, network, params, state, dtype, loss)
        self._whole, self._dtype = network, dtype
        self._device = str(getattr(placement, "device_name", ""))
        self._pads: dict[tuple, bool | None] = {}
        """By an image's shape and dtype; None where a pass is not one function."""
        self._called: dict[Path, str] = {}
        self._compiled: dict[tuple, Callable[..., Any]] = {}

    def predict(self, images: Array) -> np.ndarray:
        found = self._outputs(images)
        return super().predict(images) if found is None else found[1]

    @QUIET
    def evaluate(self, images: Array, labels: Array) -> tuple[float, Any]:
        found = self._outputs(images)
        if found is None:
            return super().evaluate(images, labels)
        # On the host, where rows that were added are left out and nothing is compiled for the rest.
        host = Context(GENERIC, "infer", self._dtype)
        given = np.asarray(found[0]), np.asarray(self._placement.to_numpy(labels))
        return on_host(np.asarray, *measures_of_batch(self._loss, *given, host))

    def _outputs(self, images: Array) -> tuple[np.ndarray, np.ndarray] | None:
        """Logits and probabilities; None where the pass is not one compiled function."""
        if 0 in images.shape:
            return None
        kind = tuple(images.shape[1:]), str(images.dtype)
        if kind not in self._pads:
            self._pads[kind] = self._judged(*kind)
        pads = self._pads[kind]
        if pads is None:
            return None
        count = images.shape[0]
        size = 1 << (count - 1).bit_length() if pads else count
        batch = np.asarray(self._placement.to_numpy(images))
        if size > count:
            batch = np.concatenate([batch, np.broadcast_to(batch[-1:], (size - count, *kind[0]))])
        try:
            found = self._function(batch)(self._params, self._state, batch)
        except reading_errors() as error:
            self._pads[kind] = None
            path, cause = cause_in(error)
            self._call({path: cause}) if path else say_eager("inference", cause)
            return None
        logits, probabilities = (self._placement.to_numpy(array)[:count] for array in found)
        return logits, probabilities

    def _judged(self, image: Shape, dtype: str) -> bool | None:
        trees, uint8 = (self._whole, self._params, self._state), dtype == "uint8"
        found = screened_inference(*trees, image, uint8, self._dtype)
        if found.cause is not None:
            say_eager("inference", found.cause)
            return None
        if causes := causes_of(found.network):
            self._call(causes)
            return None
        return takes_more_images(*trees, image, uint8)

    def _call(self, causes: dict[Path, str]) -> None:
        """Leave the layers at these paths as they are written, and compile those between them."""
        for cause in causes.values():
            say_called("inference", cause)
        self._called |= causes
        self._network = parted(self._whole, self._called)

    def _function(self, batch: np.ndarray) -> Callable[..., Any]:
        kind = batch.shape, batch.dtype.name
        if kind not in self._compiled:
            if len(self._compiled) >= MOST_FUNCTIONS:
                del self._compiled[next(iter(self._compiled))]
            self._compiled[kind] = self._made(batch)
        return self._compiled[kind]

    def _made(self, batch: np.ndarray) -> Callable[..., Any]:
        network, trees, context = self._whole, (self._params, self._state), self._context
        form, loss = Form(batch.shape, batch.dtype), self._loss
        program = inference_program(network, *trees, form, self._dtype, loss)

        def run(params: Tree, state: Tree, images: Array) -> tuple[Array, Array]:
            logits = infer(network, params, state, images, context)
            return logits, loss.predictions(context.ops, logits)

        return kept(run, program, "infer", self._device, self._dtype)
