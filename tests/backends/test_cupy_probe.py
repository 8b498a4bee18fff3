"""What the CuPy backend says on machines where something is missing, by means of a stand-in."""

import importlib
import logging
import sys
from contextlib import nullcontext
from importlib import metadata
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from arraycnn import (
    BackendUnavailableError,
    CuPy,
    InvalidTypeError,
    NumPy,
    available_backends,
    get_backend,
)
from arraycnn.backends.cuda_probe import import_cupy, probe


class CUDARuntimeError(RuntimeError):
    """As CuPy's: of no class that can be known without CuPy."""


class OutOfMemoryError(MemoryError):
    pass


class DynamicLibNotFoundError(RuntimeError):
    pass


class Array:
    """Just enough of an array for the probe."""

    def __init__(self, values):
        self.values = values

    def __add__(self, other):
        return Array(self.values + other.values)


class RawKernel:
    """Does what the probe's kernel does."""

    def __init__(self, code, name):
        assert f"void {name}(const float* a, const float* b, float* product)" in code

    def __call__(self, grid, block, arguments):
        a, b, product = arguments
        assert grid[0] * block[0] == product.values.size
        product.values[...] = a.values @ b.values


def standing_in() -> ModuleType:
    """A CuPy that works: CUDA 13.2, a driver for it, two devices."""
    cupy = ModuleType("cupy")
    cupy.__version__ = "14.2.0"
    cupy.ndarray = Array
    cupy.ones = lambda shape, dtype: Array(np.ones(shape, dtype))
    cupy.zeros = lambda shape, dtype: Array(np.zeros(shape, dtype))
    cupy.matmul = raising(ImportError("libcublas.so.13: cannot open shared object file"))
    cupy.asnumpy = lambda array: array.values
    cupy.RawKernel = RawKernel
    cupy.cuda = SimpleNamespace(
        Device=lambda device: nullcontext(),
        runtime=SimpleNamespace(
            driverGetVersion=lambda: 13020,
            runtimeGetVersion=lambda: 13020,
            getDeviceCount=lambda: 2,
            getDeviceProperties=lambda device: {
                "name": f"Test GPU {device}".encode(),
                "totalGlobalMem": 8 * 2**30,
                "major": 9,
                "minor": 0,
            },
        ),
    )
    return cupy


def raising(error):
    def function(*_, **__):
        raise error

    return function


@pytest.fixture(autouse=True)
def cupy(monkeypatch):
    """The stand-in, installed by one wheel."""
    module = standing_in()
    monkeypatch.setitem(sys.modules, "cupy", module)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    install(monkeypatch, "cupy-cuda13x")
    forget()
    yield module
    forget()


def forget():
    for function in (probe, import_cupy):
        function.cache_clear()


def install(monkeypatch, *wheels):
    def version(name):
        if name in wheels:
            return "14.2.0"
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)


def absent(monkeypatch, cupy, tmp_path):
    monkeypatch.setitem(sys.modules, "cupy", None)
    install(monkeypatch)


def broken_import(monkeypatch, cupy, tmp_path):
    text = "raise ImportError('=====\\nFailed to import CuPy.\\n\\nOriginal error: libfoo\\n=====')"
    (tmp_path / "cupy.py").write_text(text)
    monkeypatch.delitem(sys.modules, "cupy")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()


def empty_folder(monkeypatch, cupy, tmp_path):
    """What is left where one of two wheels was uninstalled: an import that brings nothing."""
    monkeypatch.setitem(sys.modules, "cupy", ModuleType("cupy"))


def two_wheels(monkeypatch, cupy, tmp_path):
    install(monkeypatch, "cupy-cuda12x", "cupy-cuda13x")


def hidden_by(value):
    def arrange(monkeypatch, cupy, tmp_path):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)

    return arrange


def runtime_gives(name, value):
    def arrange(monkeypatch, cupy, tmp_path):
        given = raising(value) if isinstance(value, Exception) else (lambda *_: value)
        setattr(cupy.cuda.runtime, name, given)

    return arrange


def cupy_raises(name, error):
    def arrange(monkeypatch, cupy, tmp_path):
        setattr(cupy, name, raising(error))

    return arrange


def device_raises(error):
    def arrange(monkeypatch, cupy, tmp_path):
        cupy.cuda.Device = raising(error)

    return arrange


def no_compiler(monkeypatch, cupy, tmp_path):
    error = DynamicLibNotFoundError('Failure finding "libnvrtc.so":\n  No such file: libnvrtc.so*')
    monkeypatch.setattr(Array, "__add__", raising(error))


def wrong_product(monkeypatch, cupy, tmp_path):
    monkeypatch.setattr(
        RawKernel, "__call__", lambda self, grid, block, arrays: arrays[2].values.fill(31.0)
    )


NO_DEVICE = CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
OUT_OF_MEMORY = OutOfMemoryError("Out of memory allocating 1,024 bytes")

# how it fails, and what the message must say: the cause, then the remedy
FAILURES = {
    "not installed": (absent, ["cupy is not installed", 'pip install "arraycnn[cuda13]"']),
    "import raises": (
        broken_import,
        ["cannot be imported", "Original error: libfoo", 'pip install "arraycnn[cuda13]"'],
    ),
    "import brings nothing": (empty_folder, ["cupy", "broken", "no attribute 'cuda'", "reinstall"]),
    "two wheels": (
        two_wheels,
        ["cupy-cuda12x and cupy-cuda13x", "pip uninstall -y cupy-cuda12x cupy-cuda13x"],
    ),
    "hidden by nothing": (hidden_by(""), ["CUDA_VISIBLE_DEVICES", "''", "unset it"]),
    "hidden by -1": (hidden_by("-1"), ["CUDA_VISIBLE_DEVICES", "'-1'", "unset it"]),
    "no driver": (
        runtime_gives("driverGetVersion", 0),
        ["no NVIDIA driver is installed", "install one"],
    ),
    "driver too old": (
        runtime_gives("driverGetVersion", 12020),
        ["CUDA 12.2", "CuPy needs 13.2", "update the driver", 'pip install "arraycnn[cuda12]"'],
    ),
    "driver of CUDA 11": (
        runtime_gives("driverGetVersion", 11080),
        ["CUDA 11.8", "CuPy needs 13.2", "update the driver"],
    ),
    "driver does not answer": (
        runtime_gives("driverGetVersion", CUDARuntimeError("cudaErrorUnknown: unknown error")),
        ["driver could not be asked", "cudaErrorUnknown", "nvidia-smi"],
    ),
    "counting raises": (
        runtime_gives("getDeviceCount", NO_DEVICE),
        ["no CUDA device answered", "cudaErrorNoDevice", "nvidia-smi"],
    ),
    "no devices": (runtime_gives("getDeviceCount", 0), ["CUDA shows no device", "nvidia-smi"]),
    "device cannot be opened": (
        device_raises(CUDARuntimeError("cudaErrorDevicesUnavailable: busy or unavailable")),
        ["could not be opened", "cudaErrorDevicesUnavailable", "nvidia-smi"],
    ),
    "no compiler": (
        no_compiler,
        ["elementwise kernel", "NVRTC", "libnvrtc.so", 'pip install "arraycnn[cuda13]"'],
    ),
    "raw kernel fails": (
        cupy_raises("RawKernel", DynamicLibNotFoundError("Failure finding libnvrtc-builtins.so")),
        ["raw kernel", "libnvrtc-builtins.so", 'pip install "arraycnn[cuda13]"'],
    ),
    "wrong product": (wrong_product, ["computes wrongly", "31", "32", "nvidia-smi"]),
    "out of memory": (
        cupy_raises("ones", OUT_OF_MEMORY),
        ["out of memory", "1,024 bytes", "end other programs", "nvidia-smi"],
    ),
    "context out of memory": (
        device_raises(CUDARuntimeError("cudaErrorMemoryAllocation: out of memory")),
        ["out of memory", "end other programs", "nvidia-smi"],
    ),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_failure_is_told_with_cause_and_remedy_and_auto_goes_on(
    failure, monkeypatch, cupy, tmp_path, caplog
):
    arrange, said = FAILURES[failure]
    arrange(monkeypatch, cupy, tmp_path)

    messages = []
    for make in (CuPy, lambda: get_backend("cupy")):
        with pytest.raises(BackendUnavailableError) as caught:
            make()
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    message = messages[0]
    assert message.startswith("backend cupy: ")
    assert "\n" not in message
    places = [message.find(part) for part in said]
    assert -1 not in places, message
    assert places[0] < places[-1], "the remedy comes last"

    reason = message.removeprefix("backend cupy: ")
    with caplog.at_level(logging.INFO, logger="arraycnn"):
        assert get_backend("auto") == NumPy()
    assert [record.getMessage() for record in caplog.records] == [
        f"backend auto: using NumPy, because {reason}"
    ]
    (entry,) = [entry for entry in available_backends() if entry.name == "cupy"]
    assert (entry.usable, entry.detail) == (False, reason)


def test_where_cupy_works_auto_chooses_it_and_has_nothing_to_say(caplog):
    with caplog.at_level(logging.INFO, logger="arraycnn"):
        assert get_backend("auto") == CuPy() == get_backend("cupy")
    assert caplog.records == []
    assert CuPy(1).device_name == "Test GPU 1"
    assert CuPy().version == "14.2.0"
    (entry,) = [entry for entry in available_backends() if entry.name == "cupy"]
    assert entry.usable
    assert entry.detail == (
        "14.2.0, Test GPU 0, 8.0 GiB, compute capability 9.0, driver for CUDA 13.2, CUDA 13.2"
    )


def test_the_probe_tells_what_it_learned():
    found = probe(1)
    assert found.name == "Test GPU 1"
    assert found.memory == 8 * 2**30
    assert found.compute_capability == "9.0"
    assert (found.driver_version, found.runtime_version) == (13020, 13020)


def test_a_newer_driver_than_cupy_needs_is_fine(cupy):
    cupy.cuda.runtime.driverGetVersion = lambda: 14010
    assert get_backend("auto") == CuPy()


def test_some_visible_devices_are_fine(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert get_backend("auto") == CuPy()


@pytest.mark.parametrize("device", [2, -1])
def test_a_device_beyond_those_shown_is_refused(device):
    with pytest.raises(BackendUnavailableError) as caught:
        CuPy(device)
    message = str(caught.value)
    assert message.startswith("backend cupy: device must be 0 to 1")
    assert f"got {device}" in message
    assert "nvidia-smi" in message


@pytest.mark.parametrize("device", ["0", 0.0, True, None])
def test_a_device_must_be_an_int(device):
    with pytest.raises(InvalidTypeError, match="backend cupy: device must be an int") as caught:
        CuPy(device)
    assert repr(device) in str(caught.value)


def test_what_is_installed_is_asked_once(monkeypatch):
    """Each question reads files, and a prediction asked four times."""
    backend = CuPy()
    monkeypatch.setattr(metadata, "version", raising(AssertionError("asked again")))
    images = Array(np.ones((2, 3)))
    assert backend.to_numpy(images) is images.values
    with backend.active():
        assert backend.version == "14.2.0"
    assert CuPy(1).device_name == "Test GPU 1"


def test_a_failed_import_is_not_remembered(monkeypatch):
    install(monkeypatch, "cupy-cuda12x", "cupy-cuda13x")
    for _ in range(2):
        with pytest.raises(BackendUnavailableError, match="only one CuPy wheel"):
            CuPy()
    install(monkeypatch, "cupy-cuda12x")
    assert CuPy().version == "14.2.0"


def test_a_failure_is_not_remembered(cupy):
    works = cupy.cuda.runtime.getDeviceCount
    cupy.cuda.runtime.getDeviceCount = lambda: 0
    assert get_backend("auto") == NumPy()
    cupy.cuda.runtime.getDeviceCount = works
    assert get_backend("auto") == CuPy()
