"""JAX arrays: whole steps compiled by XLA, their gradients by this library (no autodiff)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from arraycnn.backends.backend import Backend, adopt
from arraycnn.backends.imports import import_library, one_line
from arraycnn.errors import BackendUnavailableError, InvalidTypeError
from arraycnn.execution import InferencePlan, Task, TrainingPlan
from arraycnn.layers.layer import Layer, Tree
from arraycnn.losses import Loss
from arraycnn.ops import Array, Kernels
from arraycnn.training.step import CROSS_ENTROPY, Carry


@dataclass(frozen=True)
class JAX(Backend):
    """Arrays of JAX on its first CPU device. float64 needs ``jax_enable_x64``.

    A step is traced, and compiled for each size of batch: a second or so before the first. A layer
    of a user's own that reads a value, or does something beside arrays, is found before, and runs
    operation by operation between parts that are compiled, as one logged line says. Batches to predict
    are padded to powers of two, so that few sizes are compiled.
    """

    name: ClassVar[str] = "jax"

    @property
    def kernels(self) -> Kernels:
        from arraycnn.ops.jax_kernels import jax_kernels

        self._library()
        return jax_kernels()

    @property
    def device_name(self) -> str:
        return str(self._device())

    @property
    def version(self) -> str:
        return self._library().__version__

    def check(self) -> None:
        try:
            self._device()
        except RuntimeError as error:
            if isinstance(error, BackendUnavailableError):
                raise
            message = (
                f"backend jax: JAX does not offer the CPU ({one_line(error)}); "
                "unset JAX_PLATFORMS, or add cpu to it"
            )
            raise BackendUnavailableError(message) from error

    def check_dtype(self, dtype: str) -> None:
        super().check_dtype(dtype)
        if dtype == "float64" and not self._library().config.jax_enable_x64:
            message = (
                "backend jax: float64 is switched off in JAX, which would compute in float32; "
                'call jax.config.update("jax_enable_x64", True) or set JAX_ENABLE_X64=1'
            )
            raise InvalidTypeError(message)

    def asarray(self, array: Any) -> Array:
        jax = self._library()
        if isinstance(array, jax.Array) and array.devices() == {self._device()}:
            return array
        if isinstance(array, np.ndarray):
            return jax.device_put(array, self._device())
        return adopt(self, array, jax.numpy.from_dlpack)

    def to_numpy(self, array: Array) -> np.ndarray:
        return np.asarray(array)

    def training_plan(self, task: Task, carry: Carry) -> TrainingPlan:
        from arraycnn.execution.jitted import training_plan

        return training_plan(self, task, carry)

    def inference_plan(
        self,
        network: Layer,
        params: Tree,
        state: Tree,
        dtype: str,
        loss: Loss = CROSS_ENTROPY,
    ) -> InferencePlan:
        from arraycnn.execution.jitted_inference import JittedInference

        return JittedInference(self, network, params, state, dtype, loss)

    def _device(self) -> Any:
        return self._library().devices("cpu")[0]

    def _library(self) -> Any:
        return import_library("jax", self.name, 'pip install "arraycnn[jax]"')
