"""Plans on kernels compiled by numba: recorded where every part of a step is such a kernel."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np

from arraycnn.data.image_source import ImageSource, MappedImages
from arraycnn.execution.eager import EagerInference, EagerTraining
from arraycnn.execution.plan import InferencePlan, Placement, Task, TrainingPlan
from arraycnn.execution.recorded import RecordedInference, RecordedTraining
from arraycnn.execution.streaming import Streaming
from arraycnn.execution.thread_pool import thread_pool
from arraycnn.fusion import Chain, ConvPool2d, ConvReLU2d, DenseReLU, fuse_network
from arraycnn.layers import Conv2d, Dense, Dropout, Flatten, MaxPool2d, Rescale
from arraycnn.layers.layer import Layer, Tree
from arraycnn.ops.compiled import compiled_kernels, steps
from arraycnn.ops.compiled.convolution import fits_byte
from arraycnn.ops.compiled.launcher import Launcher
from arraycnn.optimizers import SGD, Adam, AdamW
from arraycnn.training import Carry
from arraycnn.tree import map_leaves

_RECORDABLE = (
    *(Conv2d, ConvReLU2d, ConvPool2d, Dense, DenseReLU, Dropout, Flatten, MaxPool2d, Rescale),
)


_NOTICED_SECONDS = 1.0


class Compiled:
    """Compiled kernels on a number of threads, and the plans that use them."""

    def __init__(self, threads: int) -> None:
        self._pool = thread_pool(threads)
        self.kernels = compiled_kernels(Launcher(self._pool))

    def training_plan(self, placement: Placement, task: Task, carry: Carry) -> TrainingPlan:
        if type(task.optimizer) in (SGD, Adam, AdamW) and self._recordable(task.network):
            in_order = Carry(*(map_leaves(_in_order, tree) for tree in carry))
            if isinstance(task.images, np.ndarray) and not task.images.flags.c_contiguous:
                task = replace(
                    task, images=MappedImages(task.images)
                )  # put in order batch by batch
            self._rehearse(task, in_order)
            return self._recorded(task, in_order)
        if isinstance(task.images, ImageSource):
            return EagerTraining(Streaming(placement, task.dtype), task, carry)
        return EagerTraining(placement, task, carry)

    def inference_plan(
        self, placement: Placement, network: Layer, params: Tree, state: Tree, dtype: str
    ) -> InferencePlan:
        if not self._recordable(network):
            return EagerInference(placement, network, params, state, dtype)
        launcher = Launcher(self._pool)
        params = map_leaves(_in_order, params)
        kernels = compiled_kernels(launcher)
        return RecordedInference(launcher, kernels, network, params, state, dtype)

    def _recorded(self, task: Task, carry: Carry) -> RecordedTraining:
        launcher = Launcher(self._pool)
        return RecordedTraining(
            launcher, steps, compiled_kernels(launcher, in_place=True), task, carry
        )

    def _rehearse(self, task: Task, carry: Carry) -> None:
        """Run a step on two blank images, so that its kernels are compiled before any is timed."""
        blank = np.zeros((2, *task.images.shape[1:]), task.images.dtype)
        if blank.dtype.kind == "f":
            blank = blank.astype(task.dtype)
        trial = replace(task, images=blank, labels=np.zeros(2, np.int32))
        with _announced():
            self._recorded(trial, carry).run(0, [np.arange(2, dtype=np.int32)], np.zeros(1))

    def _recordable(self, network: Layer) -> bool:
        """Whether nothing in a step of ``network`` is NumPy's own, which no recording holds."""
        fused: Any = fuse_network(network, self.kernels)
        if not isinstance(fused, Chain):
            return False
        layers = [layer for _, layer in fused.layers]
        # Bytes are gathered and rescaled by one kernel: no other takes them.
        late = any(type(layer) is Rescale for layer in layers[1:])
        return not late and all(map(_is_compiled, layers))


def _is_compiled(layer: Layer) -> bool:
    """Whether all that a fused layer does is in compiled kernels."""
    pool = layer.pool if type(layer) is ConvPool2d else layer
    if type(pool) is MaxPool2d and (pool.ties != "first" or not fits_byte(pool.kernel_size)):
        return False
    return type(layer) in _RECORDABLE


def _in_order(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, order="C")  # ascontiguousarray would give a number an axis


@contextmanager
def _announced() -> Iterator[None]:
    """Say why the user waits, where that is long enough to be noticed."""
    log = logging.getLogger("arraycnn").warning
    message = "numpy: compiling kernels for this machine, once; later runs take them from the cache"
    timer = threading.Timer(_NOTICED_SECONDS, log, [message])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
