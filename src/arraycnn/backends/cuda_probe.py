"""Whether CuPy and a CUDA device can be used here, and what is missing where they cannot."""

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from types import ModuleType

from arraycnn.backends.imports import import_library, one_line
from arraycnn.errors import BackendUnavailableError

_INSTALL = 'pip install "arraycnn[cuda13]" (driver 580 or newer) or "arraycnn[cuda12]"'


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
    cupy = import_cupy()
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
def import_cupy() -> ModuleType:
    """CuPy, once it was found to be there and whole; a failure is not remembered.

    Which wheels are installed takes 0.3 ms to find out: too long for each call of a backend.
    """
    wheels = installed_wheels()
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


def installed_wheels() -> list[str]:
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
            "or use the backend numpy"
        )
        raise BackendUnavailableError(message)
    if driver // 1000 < needed // 1000:
        older = ', or pip install "arraycnn[cuda12]" in place of it' if driver >= 12000 else ""
        message = (
            f"backend cupy: the driver is too old, it supports CUDA {dotted(driver)} "
            f"and CuPy needs {dotted(needed)}; update the driver{older}"
        )
        raise BackendUnavailableError(message)
    try:
        count = runtime.getDeviceCount()
    except Exception as error:
        raise _unavailable("no CUDA device answered", error) from error
    if count == 0:
        message = (
            "backend cupy: CUDA shows no device; check that nvidia-smi lists one, "
            "or use the backend numpy"
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
        remedy = "check the driver with nvidia-smi, or use the backend numpy"
    return BackendUnavailableError(
        f"backend cupy: {step}: {type(error).__name__}: {reason}; {remedy}"
    )


def dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"
