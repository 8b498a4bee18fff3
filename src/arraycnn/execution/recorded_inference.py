"""Inference, recorded for the sizes of batch that come again."""

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from arraycnn.execution.eager import QUIET, on_host
from arraycnn.execution.recordable import Launcher, Render, Rendered, rendered
from arraycnn.layers.layer import Context, Layer, Tree
from arraycnn.losses import Loss
from arraycnn.ops import Array, Kernels
from arraycnn.program.compose import inference_schedule
from arraycnn.program.render.opaque_calls import rehearsing
from arraycnn.program.steps import named
from arraycnn.training.batch_loss import measures_of_batch
from arraycnn.training.step import CROSS_ENTROPY, Carry, infer

_MOST_RECORDINGS = 4
"""Batch sizes for which the inference is kept recorded."""

_MOST_PROGRAMS = 8
"""Batch sizes for which the program is kept rendered."""


class RecordedInference:
    """An `InferencePlan` of any network that can be traced: its program, recorded for a batch size.

    A size is run launch by launch when it first comes, and recorded when it comes again.
    """

    def __init__(
        self,
        launcher: Launcher,
        kernels: Kernels,
        network: Layer,
        params: Tree,
        state: Tree,
        dtype: str,
        *,
        render: Render,
        loss: Loss = CROSS_ENTROPY,
    ) -> None:
        self._launcher, self._render, self._loss = launcher, render, loss
        self._network, self._params, self._state = network, params, state
        self._rendered: dict[tuple, Rendered] = {}
        self._context = Context(kernels, "infer", dtype)
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()  # a recording has one place for what goes in and comes out
        self._seen: set[tuple] = set()  # shapes and dtypes
        self._recorded: dict[tuple, tuple[Array, Callable[[], None], list[Array]]] = {}

    @property
    def _alone(self) -> threading.Lock:
        if os.getpid() != self._process:  # forked, perhaps while a thread was at work
            self._begin()
        return self._lock

    def predict(self, images: Array) -> np.ndarray:
        with self._alone:
            return self._launcher.to_numpy(self._outputs(images)[1])

    def rehearse(self, images: Array) -> None:
        """Run ``images`` for the sake of the kernels."""
        with rehearsing():
            self.predict(images)

    @QUIET
    def evaluate(self, images: Array, labels: Array) -> tuple[float, Any]:
        with self._alone:
            outputs = self._outputs(images)[0]
            found = measures_of_batch(self._loss, outputs, labels, self._context)
            return on_host(self._launcher.to_numpy, *found)

    def _outputs(self, images: Array) -> list[Array]:
        """Logits and probabilities of ``images``, valid until the next call; what else they need."""
        if 0 in images.shape:
            logits = infer(self._network, self._params, self._state, images, self._context)
            return [logits, self._loss.predictions(self._context.ops, logits)]
        if not self._launcher.owns(images):
            images = self._launcher.asarray(images)
        images = self._launcher.contiguous(images)  # as kernels read them
        kind = tuple(images.shape), str(images.dtype)
        if kind not in self._seen:
            first: list[Array] = []

            def forward() -> None:
                first[:] = self._forward(images)

            self._launcher.rehearse(forward)
            self._seen.add(kind)
            return first
        if kind not in self._recorded:
            if len(self._recorded) == _MOST_RECORDINGS:
                self._drop_oldest()
            static = self._launcher.empty(images.shape, images.dtype)
            static[...] = images
            recorded: list[Array] = []

            def work() -> None:
                recorded[:] = self._forward(static)

            self._recorded[kind] = static, self._launcher.capture(work), recorded
        static, replay, outputs = self._recorded[kind]
        static[...] = images
        replay()
        return outputs

    def close(self) -> None:
        with self._alone:
            while self._recorded:
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        _, replay, outputs = self._recorded.pop(next(iter(self._recorded)))
        outputs.clear()  # which lie in the memory that is given back
        self._launcher.release(replay)

    def _forward(self, images: Array) -> list[Any]:
        kind, trees = (images.shape, str(images.dtype)), (self._params, self._state)
        if kind not in self._rendered:
            if len(self._rendered) == _MOST_PROGRAMS:
                del self._rendered[next(iter(self._rendered))]
            dtype = self._context.dtype
            schedule = inference_schedule(self._network, *trees, images, dtype, self._loss)
            self._rendered[kind] = rendered(self._render, schedule)
        arrays = {"images": images, **named(Carry(*trees, {}))}
        outputs, kept = self._rendered[kind](self._launcher, self._context.ops, arrays)
        return [outputs["logits"], outputs["probabilities"], kept]
