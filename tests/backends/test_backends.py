"""Choosing a backend, what it takes in, and what it says where it cannot be used."""

import logging
import os
import platform
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from arraycnn import (
    JAX,
    ArrayAPIStrict,
    BackendUnavailableError,
    InvalidTypeError,
    InvalidValueError,
    Model,
    NumPy,
    Sequential,
    Torch,
    available_backends,
    get_backend,
)
from arraycnn.backends.cuda_probe import import_cupy
from arraycnn.backends.numpy import LLVMLITE
from arraycnn.layers import Dense, Flatten

OPTIONAL = {
    "torch": ("torch", 'pip install "arraycnn[torch]"'),
    "jax": ("jax", 'pip install "arraycnn[jax]"'),
    "array-api-strict": ("array_api_strict", 'pip install "array-api-strict"'),
}
NETWORK = Sequential(Flatten(), Dense(3))


@pytest.fixture(autouse=True)
def _cupy_is_looked_for():
    """In each test: once it was found it is not looked for again, and here it is taken away."""
    import_cupy.cache_clear()
    yield
    import_cupy.cache_clear()


@pytest.fixture(params=["numpy", "device1", "torch", "jax"])
def backend(request):
    if request.param in ("torch", "jax"):
        pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return ArrayAPIStrict("device1") if request.param == "device1" else get_backend(request.param)


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch is not installed")


@pytest.fixture
def jax():
    return pytest.importorskip("jax", reason="jax is not installed")


@pytest.fixture
def strict():
    """Place a NumPy array on a simulated device of array-api-strict."""
    import array_api_strict

    def place(array, device):
        return array_api_strict.asarray(array, device=array_api_strict.Device(device))

    return place


@pytest.fixture
def broken(monkeypatch, tmp_path):
    """Put a module whose import runs ``code`` before the real one."""

    def install(module, code):
        (tmp_path / f"{module}.py").write_text(code)
        monkeypatch.setitem(sys.modules, module, None)  # so that it is gone afterwards, too
        monkeypatch.delitem(sys.modules, module)
        monkeypatch.syspath_prepend(tmp_path)

    return install


def raised_by(function, *arguments, kind):
    with pytest.raises(kind) as caught:
        function(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_name_stands_for_the_default_of_its_backend():
    assert get_backend("numpy") == NumPy()
    assert get_backend("array-api-strict") == ArrayAPIStrict("CPU_DEVICE")
    strict = ArrayAPIStrict("device2")
    assert get_backend(strict) is strict


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        ("numpyy", InvalidValueError, ["auto", "numpy", "cupy", "torch", "jax", "'numpyy'"]),
        ("", InvalidValueError, ["''"]),
        (None, InvalidTypeError, ["a name or a backend", "None"]),
        (NumPy, InvalidTypeError, ["NumPy()", "class"]),
    ],
)
def test_what_is_no_backend_is_refused(value, kind, said):
    message = raised_by(get_backend, value, kind=kind)
    assert message.startswith("backend: ")
    for part in said:
        assert part in message


CORES = len(os.sched_getaffinity(0))
KERNELS = "compiled" if find_spec("llvmlite") else "NumPy"


def test_numpy_says_how_it_computes():
    words = NumPy(threads=3, fast=False).device_name
    assert words == f"CPU ({platform.machine()}), 3 threads, NumPy kernels"


def test_numpy_fast_needs_llvmlite(monkeypatch):
    monkeypatch.setitem(sys.modules, "llvmlite", None)
    with pytest.raises(
        BackendUnavailableError, match=r"llvmlite is not installed.*arraycnn\[fast\]"
    ):
        get_backend(NumPy(fast=True))
    kernel = get_backend(NumPy(fast=False)).kernels.conv2d
    assert kernel.func.__module__ == "arraycnn.ops.conv2d.numpy"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("raise OSError('libllvmlite.so: cannot\\n open it')", "libllvmlite.so: cannot open it"),
        ("", "module 'llvmlite' has no attribute '__version__'"),
        (
            "__version__ = '0.43.0'",
            "its version is 0.43.0, and compiled kernels need 0.44 or newer",
        ),
        ("__version__ = '0.9.2'", "its version is 0.9.2, and compiled kernels need 0.44 or newer"),
        *((f"__version__ = '{new}'", "a part is missing") for new in ("0.44.0", "0.100.1", "1.0")),
        ("__version__ = '0+unknown'", "a part is missing"),
    ],
)
def test_llvmlite_that_does_not_work_is_an_error_with_a_way_out(code, said, broken, monkeypatch):
    """Where it is installed, NumPy's own kernels are not taken in silence."""

    def incomplete(threads):
        raise ImportError("a part is missing")

    monkeypatch.setattr("arraycnn.backends.numpy._compiled", incomplete)
    broken("llvmlite", code)
    assert raised_by(get_backend, "numpy", kind=BackendUnavailableError) == (
        f"backend numpy: llvmlite is installed and does not work ({said}); update it (numba, where it "
        "is installed, too), uninstall it, or take NumPy(fast=False), as train --no-fast does"
    )
    assert get_backend(NumPy(fast=False)).fast is False


def test_the_extra_asks_for_what_the_backend_needs():
    project = tomllib.loads((Path(__file__).parent.parent.parent / "pyproject.toml").read_text())[
        "project"
    ]
    assert project["optional-dependencies"]["fast"] == [f"llvmlite>={LLVMLITE}"]


def test_version_and_device_in_words(backend):
    module = {"array-api-strict": "array_api_strict"}.get(backend.name, backend.name)
    assert backend.version == sys.modules[module].__version__
    expected = {
        "numpy": f"CPU ({platform.machine()}), {CORES} threads, {KERNELS} kernels",
        "array-api-strict": "simulated device1",
        "torch": "torch cpu",
        "jax": "cpu:0",
    }
    assert backend.device_name.lower() == expected[backend.name].lower()


def test_available_backends_lists_each_one_usable_or_why_not(monkeypatch):
    for module in ("cupy", "torch", "jax"):
        monkeypatch.setitem(sys.modules, module, None)
    found = {entry.name: entry for entry in available_backends()}
    assert list(found) == ["numpy", "cupy", "torch", "jax", "array-api-strict"]
    assert [name for name, entry in found.items() if entry.usable] == ["numpy", "array-api-strict"]
    assert found["numpy"].detail == f"{np.__version__}, {NumPy().device_name}"
    assert found["torch"].detail == 'torch is not installed; pip install "arraycnn[torch]"'
    assert found["cupy"].detail.startswith("cupy is not installed; pip install")


@pytest.mark.parametrize("name", OPTIONAL)
def test_an_absent_library_is_named_with_its_remedy(name, monkeypatch):
    module, remedy = OPTIONAL[name]
    monkeypatch.setitem(sys.modules, module, None)
    message = raised_by(get_backend, name, kind=BackendUnavailableError)
    assert message == f"backend {name}: {module} is not installed; {remedy}"
    value = {"torch": Torch(), "jax": JAX(), "array-api-strict": ArrayAPIStrict()}[name]
    assert raised_by(get_backend, value, kind=BackendUnavailableError) == message
    assert (
        raised_by(Model, NETWORK, (2, 2), value, kind=BackendUnavailableError) == message
    )  # and not in the middle of the work


@pytest.mark.parametrize("name", OPTIONAL)
@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import arraycnn_has_no_such_part", "lacks arraycnn_has_no_such_part"),
        ("raise ImportError('first line\\n\\n  second line')", "first line second line"),
        ("raise OSError('libcudart.so.12: cannot open shared object file')", "libcudart.so.12"),
        ("raise RuntimeError('made for another version')", "made for another version"),
    ],
)
def test_a_library_that_cannot_be_imported_is_named_with_cause_and_remedy(name, code, said, broken):
    module, remedy = OPTIONAL[name]
    broken(module, code)
    message = raised_by(get_backend, name, kind=BackendUnavailableError)
    assert message.startswith(f"backend {name}: {module} ")
    assert said in message
    assert message.endswith(remedy)
    (entry,) = [entry for entry in available_backends() if entry.name == name]
    assert not entry.usable
    assert said in entry.detail


def test_auto_without_cuda_is_numpy_and_says_why_in_one_line(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with caplog.at_level(logging.INFO, logger="arraycnn"):
        assert get_backend("auto") == NumPy()
    (record,) = caplog.records
    assert record.getMessage().startswith(
        "backend auto: using NumPy, because cupy is not installed; pip install"
    )
    assert "\n" not in record.getMessage()


@pytest.mark.parametrize("dtype", ["float16", "int8", "", None, np.float32, np.dtype("float32")])
def test_a_dtype_must_be_one_of_two_names(dtype, backend):
    message = raised_by(Model, NETWORK, (2, 2), backend, 0, dtype, kind=InvalidTypeError)
    assert f"backend {backend.name}: dtype must be one of float32, float64" in message
    assert repr(dtype) in message


def test_jax_does_not_compute_in_float32_what_was_asked_in_float64(jax):
    before = jax.config.jax_enable_x64
    try:
        jax.config.update("jax_enable_x64", False)
        message = raised_by(Model, NETWORK, (2, 2), "jax", 0, "float64", kind=InvalidTypeError)
        assert "float64 is switched off" in message
        assert 'jax.config.update("jax_enable_x64", True)' in message
        jax.config.update("jax_enable_x64", True)
        model = Model(NETWORK, (2, 2), "jax", dtype="float64")
        assert model.parameters["1.weight"].dtype == np.float64
        assert model.predict(np.zeros((1, 2, 2))).dtype == np.float64
    finally:
        jax.config.update("jax_enable_x64", before)


def test_a_device_without_float64_refuses_it():
    device = ArrayAPIStrict("no_float64")
    message = raised_by(Model, NETWORK, (2, 2), device, 0, "float64", kind=InvalidTypeError)
    assert "no_float64" in message
    assert "float32" in message
    Model(NETWORK, (2, 2), device).predict(np.zeros((1, 2, 2), np.float32))


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", 99])
def test_a_device_torch_does_not_have_is_refused_at_once(device, torch):
    message = raised_by(get_backend, Torch(device), kind=BackendUnavailableError)
    assert message.startswith(f"backend torch: device {device!r} cannot be used")
    assert 'Torch(device="cpu")' in message


def test_a_device_array_api_strict_does_not_have_is_refused_at_once():
    message = raised_by(get_backend, ArrayAPIStrict("cuda"), kind=BackendUnavailableError)
    assert message.startswith("backend array-api-strict: device 'cuda' cannot be used")
    assert "CPU_DEVICE" in message


def test_jax_without_its_cpu_is_refused_at_once(jax, monkeypatch):
    def devices(kind):
        raise RuntimeError(f"Unknown backend: '{kind}' requested,\nbut no platforms are present")

    monkeypatch.setattr(jax, "devices", devices)
    message = raised_by(get_backend, "jax", kind=BackendUnavailableError)
    assert "Unknown backend: 'cpu' requested, but" in message
    assert "JAX_PLATFORMS" in message


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
def test_numpy_arrays_come_back_as_they_went_in(dtype, backend):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    view = array[::-1, :, ::2]  # negative strides, gaps
    frozen = array.copy()
    frozen.flags.writeable = False
    for given in (array, view, frozen, array.T, array[:0], array[0, 0, 0:1]):
        returned = backend.to_numpy(backend.asarray(given))
        assert returned.dtype == array.dtype
        np.testing.assert_array_equal(returned, given)
    assert not frozen.flags.writeable


def test_the_backends_own_arrays_are_taken_as_they_are(backend):
    own = backend.asarray(np.arange(3.0, dtype=np.float32))
    again = backend.asarray(own)
    assert type(again) is type(own)
    np.testing.assert_array_equal(backend.to_numpy(again), [0, 1, 2])


def test_arrays_of_torch_come_into_numpy_without_a_copy(torch):
    tensor = torch.arange(6, dtype=torch.float32).reshape(2, 3)
    assert NumPy().asarray(tensor).ctypes.data == tensor.data_ptr()


def test_arrays_of_jax_come_into_numpy_without_a_copy(jax):
    array = jax.numpy.arange(6, dtype="float32").reshape(2, 3)
    assert NumPy().asarray(array).ctypes.data == array.unsafe_buffer_pointer()


def test_arrays_of_torch_and_jax_come_into_each_other(torch, jax):
    array = jax.numpy.arange(6, dtype="float32").reshape(2, 3)
    tensor = Torch().asarray(array)
    assert tensor.data_ptr() == array.unsafe_buffer_pointer()
    assert JAX().asarray(tensor).unsafe_buffer_pointer() == tensor.data_ptr()


def test_a_tensor_that_records_gradients_is_taken_without_its_record(torch):
    tensor = torch.ones(3, requires_grad=True)
    placed = Torch().asarray(tensor)
    assert not placed.requires_grad
    assert placed.data_ptr() == tensor.data_ptr()


def refused(backend, array):
    message = raised_by(backend.asarray, array, kind=InvalidTypeError)
    assert f"backend {backend.name}: arrays must be NumPy's or lie on" in message
    assert "copy it to the host as a NumPy array first" in message
    return message


@pytest.mark.parametrize("value", [None, 1.5, "images", object(), [1, 2]])
def test_what_is_no_array_is_refused(value, backend):
    assert type(value).__name__ in refused(backend, value)


def test_arrays_on_another_device_are_not_copied_in_silence(backend, strict):
    array = np.ones(3, np.float32)
    assert "array_api_strict.Array" in refused(backend, strict(array, "device2"))
    if backend != ArrayAPIStrict("device1"):
        refused(backend, strict(array, "device1"))


def test_host_arrays_of_others_do_not_enter_a_simulated_device(strict, torch):
    refused(ArrayAPIStrict("device1"), strict(np.ones(3), "CPU_DEVICE"))
    refused(ArrayAPIStrict("device1"), torch.ones(3))
    ArrayAPIStrict("CPU_DEVICE").asarray(torch.ones(3))


def test_tensors_without_values_are_refused_by_backends_with_values(backend, torch):
    assert "torch.Tensor" in refused(backend, torch.ones(3, device="meta"))


def test_arrays_of_the_host_do_not_enter_another_torch_device(strict, torch):
    refused(Torch("meta"), torch.ones(3))
    refused(Torch("meta"), strict(np.ones(3), "CPU_DEVICE"))
    assert Torch("meta").asarray(np.ones(3)).device.type == "meta"
