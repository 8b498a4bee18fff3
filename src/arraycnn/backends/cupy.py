"""CuPy on a CUDA device. Never falls back: what is missing is an error with cause and remedy."""

import os
import re
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from arraycnn.backends.backend import Backend, adopt
from arraycnn.backends.imports import import_library, one_line
from arraycnn.errors import (
    ArraycnnError,
    BackendUnavailableError,
    InvalidTypeError,
    InvalidValueError,
    MissingPackageError,
)
from arraycnn.execution import (
    InferencePlan,
    RecordedInference,
    RecordedTraining,
    Task,
    TrainingPlan,
)
from arraycnn.execution.at_work import layer_at_work
from arraycnn.layers.layer import Layer, Tree
from arraycnn.losses import Loss
from arraycnn.ops import Array, Kernels
from arraycnn.ops.cuda import steps
from arraycnn.ops.cuda.cupy import cupy_kernels, cupy_launcher
from arraycnn.ops.cuda.launcher import NotRecordedError
from arraycnn.ops.cuda.record import PRECISIONS
from arraycnn.training.step import CROSS_ENTROPY, Carry, predicts_by_kernel

_INSTALL = 'pip install "arraycnn[cuda13]" (driver 580 or newer) or "arraycnn[cuda12]"'

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
        are not touched by it.
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
            f"driver for CUDA {_dotted(found.driver_version)}, CUDA {_dotted(found.runtime_version)}"
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
        who = f"backend cupy: {layer_at_work(error)[1] or 'the network'}"
        if isinstance(error, NotRecordedError):
            message = (
                f"{who} must start kernels and nothing else to be recorded as a CUDA graph, got "
                f"{one_line(error)}; use CuPy(graph=False), as train --no-graph does, or "
                "context.ops.matmul for products"
            )
            return InvalidValueError(message)
        library = _LIBRARY.search(str(error))
        if library is None:
            return None
        wheel = (*_installed_wheels(), "cupy-cuda13x")[0]
        message = (
            f"{who} must call what is installed, got a call of CUDA's {library[1]}, which is not; "
            f'pip install "{wheel}[ctk]" brings it, and context.ops.matmul multiplies without it'
        )
        return MissingPackageError(message)

    def to_numpy(self, array: Array) -> np.ndarray:
        return self._library().asnumpy(array)

    def training_plan(self, task: Task, carry: Carry) -> TrainingPlan:
        if not self.graph or not task.is_plain:
            return super().training_plan(task, carry)
        kernels = cupy_kernels(self.device, self.precision, in_place=True)
        return RecordedTraining(cupy_launcher(self.device), steps, kernels, task, carry)

    def inference_plan(
        self,
        network: Layer,
        params: Tree,
        state: Tree,
        dtype: str,
        loss: Loss = CROSS_ENTROPY,
    ) -> InferencePlan:
        if not self.graph or not predicts_by_kernel(loss):
            return super().inference_plan(network, params, state, dtype, loss)
        launcher = cupy_launcher(self.device)
        return RecordedInference(launcher, self.kernels, network, params, state, dtype, loss)

    def _library(self) -> Any:
        return _import_cupy()


@dataclass(frozen=True)
class CudaDevice:
    """What the probe learned. Memory in bytes; versions as CUDA writes them, 13020 being 13.2."""

    name: str
    memory: int
    compute_capability: str
    driver_version: int
    runtime_version: int
    cupy_version: str


@cache
def probe(device: int) -> CudaDevice:
    """Run an elementwise kernel of CuPy's and a product of our own on ``device``.

    Importing CuPy and counting devices proves nothing: compiler and headers are looked for only when
    first used. cuBLAS is not looked for: nothing here needs it. Raises BackendUnavailableError with
    the cause and the remedy.
    """
    cupy = _import_cupy()
    runtime = cupy.cuda.runtime
    _check_driver(cupy, device)
    step = "the device could not be opened"
    try:
        with cupy.cuda.Device(device):
            properties = runtime.getDeviceProperties(device)
            step = "an elementwise kernel failed (NVRTC or the CUDA headers are missing or broken)"
            ones = cupy.ones((16, 16), dtype="float32")
            doubled = ones + ones
            step = "a raw kernel failed (NVRTC is missing or broken)"
            result = cupy.zeros((16, 16), dtype="float32")
            cupy.RawKernel(_PRODUCT, "arraycnn_probe")((1,), (256,), (ones, doubled, result))
            product = cupy.asnumpy(result)
    except Exception as error:
        raise _unavailable(step, error) from error
    if not (product == 16.0 * 2.0).all():
        message = (
            f"backend cupy: device {device} computes wrongly (a product of the probe gave "
            f"{product.flat[0]}, not 32); check the driver and the device with nvidia-smi"
        )
        raise BackendUnavailableError(message)
    name = properties["name"]
    return CudaDevice(
        name=name.decode() if isinstance(name, bytes) else str(name),
        memory=int(properties["totalGlobalMem"]),
        compute_capability=f"{properties['major']}.{properties['minor']}",
        driver_version=runtime.driverGetVersion(),
        runtime_version=runtime.runtimeGetVersion(),
        cupy_version=cupy.__version__,
    )


_PRODUCT = r"""
extern "C" __global__ void arraycnn_probe(const float* a, const float* b, float* product) {
    int row = threadIdx.x / 16, column = threadIdx.x % 16, k = 0;
    float sum = 0.0f;
    while (k < 16) {
        sum += a[row * 16 + k] * b[k * 16 + column];
        ++k;
    }
    product[threadIdx.x] = sum;
}
"""


@cache
def _import_cupy() -> ModuleType:
    """CuPy, once it was found to be there and whole; a failure is not remembered.

    Which wheels are installed takes 0.3 ms to find out: too long for each call of a backend.
    """
    wheels = _installed_wheels()
    if len(wheels) > 1:
        message = (
            f"backend cupy: only one CuPy wheel may be installed, found {' and '.join(wheels)}; "
            f"pip uninstall -y {' '.join(wheels)}, then {_INSTALL}"
        )
        raise BackendUnavailableError(message)
    cupy = import_library("cupy", "cupy", _INSTALL)
    if not hasattr(cupy, "cuda"):  # an empty folder is left where one of two wheels was removed
        message = (
            "backend cupy: cupy is broken, the module has no attribute 'cuda'; "
            f"reinstall it: pip uninstall -y {' '.join(wheels) or 'cupy'}, then {_INSTALL}"
        )
        raise BackendUnavailableError(message)
    return cupy


def _installed_wheels() -> list[str]:
    found = []
    for wheel in ("cupy-cuda12x", "cupy-cuda13x"):
        with suppress(metadata.PackageNotFoundError):
            metadata.version(wheel)
            found.append(wheel)
    return found


def _check_driver(cupy: ModuleType, device: int) -> None:
    """Raise unless there is a driver, new enough, that shows ``device``."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "unset").strip() in ("", "-1"):
        message = (
            "backend cupy: CUDA_VISIBLE_DEVICES hides every device, got "
            f"{os.environ['CUDA_VISIBLE_DEVICES']!r}; unset it or name a device, for example 0"
        )
        raise BackendUnavailableError(message)
    runtime = cupy.cuda.runtime
    try:
        driver, needed = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    except Exception as error:
        raise _unavailable("the CUDA driver could not be asked", error) from error
    if driver == 0:
        message = (
            "backend cupy: no NVIDIA driver is installed; install one (nvidia-smi shows it), "
            'or use backend="numpy"'
        )
        raise BackendUnavailableError(message)
    if driver // 1000 < needed // 1000:
        older = ', or pip install "arraycnn[cuda12]" in place of it' if driver >= 12000 else ""
        message = (
            f"backend cupy: the driver is too old, it supports CUDA {_dotted(driver)} "
            f"and CuPy needs {_dotted(needed)}; update the driver{older}"
        )
        raise BackendUnavailableError(message)
    try:
        count = runtime.getDeviceCount()
    except Exception as error:
        raise _unavailable("no CUDA device answered", error) from error
    if count == 0:
        message = (
            "backend cupy: CUDA shows no device; check that nvidia-smi lists one, "
            'or use backend="numpy"'
        )
        raise BackendUnavailableError(message)
    if not 0 <= device < count:
        numbers = f"0 to {count - 1}" if count > 1 else "0"
        message = (
            f"backend cupy: device must be {numbers}, the devices CUDA shows, "
            f"got {device}; nvidia-smi lists them"
        )
        raise BackendUnavailableError(message)


def _unavailable(step: str, error: Exception) -> BackendUnavailableError:
    reason = one_line(error)
    if "OutOfMemory" in type(error).__name__ or "out of memory" in reason.lower():
        step, remedy = "the device is out of memory", "end other programs on it (nvidia-smi)"
    elif "NVRTC" in step:
        remedy = f"install CUDA's compiler with CuPy: {_INSTALL}"
    else:
        remedy = 'check the driver with nvidia-smi, or use backend="numpy"'
    return BackendUnavailableError(
        f"backend cupy: {step}: {type(error).__name__}: {reason}; {remedy}"
    )


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
