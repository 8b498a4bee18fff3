"""CuPy on a CUDA device. Never falls back: what is missing is an error with cause and remedy."""

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from arraycnn.backends.backend import Backend, adopt
from arraycnn.backends.cuda_probe import dotted, import_cupy, installed_wheels, probe
from arraycnn.errors import (
    ArraycnnError,
    BackendUnavailableError,
    InvalidTypeError,
    InvalidValueError,
    MissingPackageError,
    one_line,
)
from arraycnn.execution import InferencePlan, Task, TrainingPlan
from arraycnn.execution.at_work import layer_at_work
from arraycnn.execution.device import DevicePlans
from arraycnn.layers.layer import Layer, Tree
from arraycnn.losses import Loss
from arraycnn.ops import Array, Kernels
from arraycnn.ops.cuda.cupy import cupy_kernels, cupy_launcher
from arraycnn.ops.cuda.launcher import NotRecordedError
from arraycnn.ops.cuda.record import PRECISIONS
from arraycnn.training.step import CROSS_ENTROPY, Carry

_RESIDENT_SHARE = 0.5
"""The share of the device's free memory that a data set may take to be kept there."""

_LIBRARY = re.compile(r"(?:Failure finding|failed to load)\W+(\w+)")
"""What CuPy says where a library of CUDA's that it calls is not there."""

_LOST = (
    *("cudaErrorNoDevice", "cudaErrorDevicesUnavailable", "cudaErrorECCUncorrectable"),
    *("cudaErrorLaunchFailure", "cudaErrorHardwareStackError", "cudaErrorUnknown"),
    *("CUDA_ERROR_NO_DEVICE", "CUDA_ERROR_DEVICE_UNAVAILABLE", "CUDA_ERROR_ECC_UNCORRECTABLE"),
    *("CUDA_ERROR_LAUNCH_FAILED", "CUDA_ERROR_HARDWARE_STACK_ERROR", "CUDA_ERROR_UNKNOWN"),
)
"""What CUDA says once a device has failed; from then on it says it of every call."""


@dataclass(frozen=True)
class CuPy(Backend):
    """CuPy arrays on one CUDA device.

    Parameters
    ----------
    device : int
        Number of the device among those that CUDA shows.
    precision : "fp32", "tf32" or "bf16"
        What the matrix products of float32 networks multiply with, on tensor cores for the latter
        two: 10 bits after the point, or 7. Parameters and sums stay float32. float64 networks
        are not touched by it. What a convolution or a dense layer reads lies in memory rounded
        within a step, too, where lines are of whole 16 bytes: once, to nearest, as the products
        would do; NaN and infinities are kept. With "bf16" that is bfloat16, ties to even, where
        the last axis is a multiple of 8; with "tf32" it is TensorFloat32, ties away from zero, where
        it is a multiple of 4. What else reads such a value, a residual sum, statistics, a pool or
        the gradient of a bias, reads the rounded number. The output of a dense layer with at most
        16 columns, of at most 264 images and 1,024 inputs, is summed in float32 instead: those of
        a larger batch may differ by what rounding does.
    graph : bool
        Whether training steps are recorded as a CUDA graph and replayed, or run one kernel after
        the other.

    Raises
    ------
    BackendUnavailableError
        On making one, where the device cannot really run kernels.
    """

    device: int = 0
    precision: str = "fp32"
    graph: bool = True

    name: ClassVar[str] = "cupy"
    usable_memory: ClassVar[float] = 0.8  # in pools of large blocks

    def __post_init__(self) -> None:
        if isinstance(self.device, bool) or not isinstance(self.device, int):
            message = f"backend cupy: device must be an int, got {self.device!r}"
            raise InvalidTypeError(message)
        if self.precision not in PRECISIONS:
            message = (
                f"backend cupy: precision must be one of {', '.join(PRECISIONS)}, "
                f"got {self.precision!r}"
            )
            raise InvalidValueError(message)
        if not isinstance(self.graph, bool):
            message = f"backend cupy: graph must be True or False, got {self.graph!r}"
            raise InvalidTypeError(message)
        found = probe(self.device)
        if self.precision != "fp32" and float(found.compute_capability) < 8.0:
            message = (
                f"backend cupy: precision {self.precision} needs a device of compute capability "
                f"8.0 or higher, {found.name} has {found.compute_capability}; use fp32"
            )
            raise BackendUnavailableError(message)

    @property
    def kernels(self) -> Kernels:
        return cupy_kernels(self.device, self.precision)

    @property
    def device_name(self) -> str:
        return probe(self.device).name

    @property
    def version(self) -> str:
        return self._library().__version__

    @property
    def description(self) -> str:
        found = probe(self.device)
        return (
            f"{found.cupy_version}, {found.name}, {found.memory / 2**30:.1f} GiB, "
            f"compute capability {found.compute_capability}, "
            f"driver for CUDA {dotted(found.driver_version)}, CUDA {dotted(found.runtime_version)}"
        )

    def asarray(self, array: Any) -> Array:
        cupy = self._library()
        with self.active():
            if isinstance(array, cupy.ndarray):
                if array.device.id == self.device:
                    return array
                array.device.synchronize()  # no stream here waits for one of another device
                return array.copy()
            if isinstance(array, np.ndarray):
                return cupy.asarray(array)
            return adopt(self, array, cupy.from_dlpack)

    def active(self) -> AbstractContextManager[Any]:
        return self._library().cuda.Device(self.device)

    def fits(self, size: int) -> bool:
        cupy_launcher(self.device).reclaim()
        free, _ = self._library().cuda.Device(self.device).mem_info
        return size <= _RESIDENT_SHARE * free

    def free_memory(self) -> int | None:
        cupy = self._library()
        cupy_launcher(self.device).reclaim()
        with cupy.cuda.Device(self.device) as device:
            return int(device.mem_info[0]) + int(cupy.get_default_memory_pool().free_bytes())

    def is_lost(self, error: Exception) -> bool:
        return any(name in str(error) for name in _LOST)

    def in_words(self, error: Exception) -> ArraycnnError | None:
        if isinstance(error, NotRecordedError):
            message = (
                "backend cupy: the network cannot be recorded as a CUDA graph, got "
                f"{one_line(error)}; use CuPy(graph=False), as train --no-graph does"
            )
            return InvalidValueError(message)
        who = f"backend cupy: {layer_at_work(error)[1] or 'the network'}"
        library = _LIBRARY.search(str(error))
        if library is None:
            return None
        wheel = (*installed_wheels(), "cupy-cuda13x")[0]
        message = (
            f"{who} must call what is installed, got a call of CUDA's {library[1]}, which is not; "
            f'pip install "{wheel}[ctk]" brings it, and context.ops.matmul multiplies without it'
        )
        return MissingPackageError(message)

    def to_numpy(self, array: Array) -> np.ndarray:
        return self._library().asnumpy(array)

    def training_plan(self, task: Task, carry: Carry) -> TrainingPlan:
        if not self.graph:
            return super().training_plan(task, carry)
        return self._plans().training_plan(self, task, carry)

    def inference_plan(
        self,
        network: Layer,
        params: Tree,
        state: Tree,
        dtype: str,
        loss: Loss = CROSS_ENTROPY,
    ) -> InferencePlan:
        if not self.graph:
            return super().inference_plan(network, params, state, dtype, loss)
        return self._plans().inference_plan(self, network, params, state, dtype, loss)

    def _plans(self) -> DevicePlans:
        return DevicePlans(cupy_launcher(self.device), self.precision, self.name)

    def _library(self) -> Any:
        return import_cupy()
