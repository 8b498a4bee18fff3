"""Plans on kernels compiled by numba."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache, partial

import numpy as np

from arraycnn.errors import one_line
from arraycnn.execution.host import HostPlans, in_order
from arraycnn.execution.plan import InferencePlan, Placement, Task, TrainingPlan
from arraycnn.execution.recorded import UNROLLED, RecordedTraining
from arraycnn.execution.traced import TracedInference, TracedTraining
from arraycnn.layers import MaxPool2d
from arraycnn.layers.layer import Layer, Tree
from arraycnn.ops.compiled import compiled_kernels, steps
from arraycnn.ops.compiled.caching import is_kept
from arraycnn.ops.compiled.compiling import at_first_compilation
from arraycnn.ops.compiled.convolution import fits_byte
from arraycnn.ops.compiled.launcher import Launcher
from arraycnn.ops.compiled.launches import run
from arraycnn.program.effects import cause_against_inference, cause_against_training
from arraycnn.program.render.layout import UnsupportedError
from arraycnn.program.render.machine import kernel_cache
from arraycnn.program.trace import TracingError
from arraycnn.training import Carry

_NOTICED_SECONDS = 1.0


class Compiled(HostPlans):
    """`HostPlans` that compile their kernels before any is timed."""

    def __init__(self, threads: int) -> None:
        super().__init__(threads, Launcher, compiled_kernels, steps, UNROLLED)

    def recorded(
        self, task: Task, carry: Carry, plan: type[RecordedTraining] = RecordedTraining
    ) -> TrainingPlan:
        self._rehearse(task, carry, plan)
        return super().recorded(task, carry, plan)

    def unrecordable(self, placement: Placement, task: Task, carry: Carry) -> TrainingPlan:
        """A plan of the traced step, where that is all that the network does."""
        if task.weights is not None:
            return super().unrecordable(placement, task, carry)
        pixels = str(task.images.dtype)
        shape = tuple(task.images.shape[1:])
        trees = (task.network, task.optimizer, carry)
        cause = cause_against_training(*trees, shape, pixels == "uint8")
        if cause is None:
            try:
                return self.recorded(*in_order(task, carry), TracedTraining)
            except (TracingError, UnsupportedError) as error:
                cause = one_line(error)
        _say(f"training runs layer by layer, not compiled: {cause}")
        return super().unrecordable(placement, task, carry)

    def unrecordable_inference(
        self, placement: Placement, network: Layer, params: Tree, state: Tree, dtype: str
    ) -> InferencePlan:
        """A plan of the traced pass, where that is all that the network does."""
        eager = super().unrecordable_inference(placement, network, params, state, dtype)
        make = partial(self.recorded_inference, network, params, state, dtype, TracedInference)
        return _InferenceOnceSeen(network, params, state, make, eager)

    def can_pool(self, pool: MaxPool2d) -> bool:
        return pool.ties == "first" and fits_byte(pool.kernel_size)

    def _rehearse(self, task: Task, carry: Carry, kind: type[RecordedTraining]) -> None:
        """Run a step on two blank images, so that its kernels are compiled before any is timed."""
        blank = np.zeros((2, *task.images.shape[1:]), task.images.dtype)
        if blank.dtype.kind == "f":
            blank = blank.astype(task.dtype)
        trial = replace(task, images=blank, labels=np.zeros(2, np.int32))
        with _announced():
            plan = super().recorded(trial, carry, kind)
            plan.run(0, [np.arange(2, dtype=np.int32)], np.zeros(1))


class _InferenceOnceSeen:
    """An `InferencePlan` that is chosen when the shape of an image is known: by the first call."""

    def __init__(
        self,
        network: Layer,
        params: Tree,
        state: Tree,
        make: Callable[[], InferencePlan],
        eager: InferencePlan,
    ) -> None:
        self._network, self._trees = network, (params, state)
        self._make, self._eager = make, eager
        self._plans: dict[tuple, InferencePlan] = {}

    def predict(self, images: np.ndarray) -> np.ndarray:
        return self._plan(images).predict(images)

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, int]:
        return self._plan(images).evaluate(images, labels)

    def _plan(self, images: np.ndarray) -> InferencePlan:
        kind = images.shape[1:], images.dtype.name
        if kind not in self._plans:
            self._plans[kind] = self._chosen(images)
        return self._plans[kind]

    def _chosen(self, images: np.ndarray) -> InferencePlan:
        shape, uint8 = images.shape[1:], images.dtype == np.uint8
        cause = cause_against_inference(self._network, *self._trees, shape, uint8)
        if cause is None:
            try:
                plan = self._make()
                with _announced():
                    plan.predict(images[:1])
                return plan
            except (TracingError, UnsupportedError) as error:
                cause = one_line(error)
        _say(f"inference runs layer by layer, not compiled: {cause}")
        return self._eager


@cache
def _say(message: str) -> None:
    """Once a process for each network and cause."""
    logging.getLogger("arraycnn").warning("numpy: %s", message)


@contextmanager
def _announced() -> Iterator[None]:
    """Say why the user waits, where kernels are compiled for long enough to be noticed."""
    log = logging.getLogger("arraycnn").warning
    message = "numpy: compiling kernels for this machine"
    if is_kept(run):
        message += ", once; later runs take them from the cache"
    timer = threading.Timer(_NOTICED_SECONDS, log, [message])
    timer.daemon = True

    def begin() -> None:
        with suppress(RuntimeError):  # it runs already
            timer.start()

    try:
        with at_first_compilation(begin), kernel_cache().telling(begin):
            yield
    finally:
        timer.cancel()
