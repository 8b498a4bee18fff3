"""The array libraries that every test of the core runs on."""

import os
from importlib import metadata

# One thread: on a busy machine, threads of BLAS wait for each other far longer than they compute.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# XLA compiles every operation for every shape, in half the time without its optimisations;
# tests/backends/test_across_backends.py has a training with them.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
# And in half of that by the code for loops that XLA had before; a flag that it does not know would
# end the process.
if any(one.version.startswith("0.10.") for one in metadata.distributions(name="jaxlib")):
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
# Or scikit-learn skips a check of estimators; SciPy looks once, when it is imported.
os.environ.setdefault("SCIPY_ARRAY_API", "1")

import io
import logging
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import (
    AbstractContextManager,
    ExitStack,
    contextmanager,
    nullcontext,
    redirect_stdout,
)
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import hypothesis
import numpy as np
import pytest

from arraycnn import Adam, Model
from arraycnn.cli import main
from arraycnn.data import load_dataset
from arraycnn.networks import NETWORKS

pytest_plugins = ["passes"]


def pytest_addoption(parser: pytest.Parser) -> None:
    said = "run on tests/host_driver in place of a CUDA device, with streams of this kind"
    parser.addoption("--host-driver", choices=("eager", "lazy"), help=said)


def pytest_configure(config: pytest.Config) -> None:
    streams = config.getoption("--host-driver")
    if streams:
        import host_driver

        host_driver.install(streams)


hypothesis.settings.register_profile("arraycnn", deadline=None, derandomize=True)
# Where a fault was planted, one example that fails is enough: it need not be made smaller.
hypothesis.settings.register_profile(
    "planted",
    deadline=None,
    derandomize=True,
    phases=(hypothesis.Phase.explicit, hypothesis.Phase.generate),
    report_multiple_bugs=False,
)
hypothesis.settings.load_profile("arraycnn")
# It draws constants, too, of what this project's modules have that are imported so far: which these
# are hangs on the tests that this process was given before.
providers = sys.modules.get("hypothesis.internal.conjecture.providers")
if hasattr(providers, "_get_local_constants"):
    providers._get_local_constants = lambda: providers._local_constants  # none

READING = (
    *("__float__", "__int__", "__bool__", "__index__", "__complex__"),
    *("__iter__", "__array__", "__buffer__", "__dlpack__", "item", "tolist", "numpy"),
)
"""What reads the values of an array, where a library has it."""


def _unchanged(function: Callable) -> Callable:
    return function


@dataclass(frozen=True)
class Library:
    """One array library, on one device, in one floating dtype.

    Attributes
    ----------
    place : callable
        NumPy array to an array of the library, dtype kept.
    to_numpy : callable
        The way back.
    dtype : str
        The floating dtype the tests use.
    tolerance : float
        How far results may lie from NumPy's in float64, relative and absolute.
    has_values : bool
        False where arrays have a shape and a dtype only.
    step : callable
        A context manager inside which reading a value raises, where the library allows that.
    compiled : callable
        What runs a whole function of arrays; `jax.jit`, where reading a value raises, too.
    """

    name: str
    namespace: ModuleType
    place: Callable[[np.ndarray], Any]
    to_numpy: Callable[[Any], np.ndarray]
    dtype: str = "float64"
    tolerance: float = 1e-10
    has_values: bool = True
    step: Callable[[], AbstractContextManager] = nullcontext
    compiled: Callable[[Callable], Callable] = _unchanged

    def asarray(self, array: Any) -> Any:
        """``array`` in this library; floating numbers take the library's floating dtype."""
        array = np.array(array)
        return self.place(array.astype(self.dtype) if array.dtype.kind == "f" else array)

    def strided(self, array: np.ndarray) -> Any:
        """As `asarray`, but with its axes in the opposite order in memory."""
        axes = tuple(range(array.ndim))[::-1]
        return self.namespace.permute_dims(self.asarray(array.transpose(axes).copy()), axes)

    def run(self, function: Callable, *arguments: Any) -> Any:
        """``function(*arguments)`` where reading a value is an error."""
        with self.step():
            return self.compiled(function)(*arguments)

    def check_close(self, actual: Any, expected: np.ndarray) -> None:
        """Compare shape, dtype and, where there are any, values."""
        expected = np.asarray(expected)
        assert tuple(actual.shape) == expected.shape
        kind = self.dtype if expected.dtype.kind == "f" else expected.dtype.name
        assert actual.dtype == getattr(self.namespace, kind)
        if self.has_values:
            np.testing.assert_allclose(
                self.to_numpy(actual), expected, rtol=self.tolerance, atol=self.tolerance
            )

    def check_equal(self, actual: Any, expected: np.ndarray) -> None:
        """Compare shape and, where there are any, values, bit by bit."""
        assert tuple(actual.shape) == expected.shape
        if self.has_values:
            np.testing.assert_array_equal(self.to_numpy(actual), expected)


def import_optional(name: str) -> ModuleType:
    return pytest.importorskip(name, reason=f"{name} is not installed")


@contextmanager
def reading_forbidden(array_class: type) -> Iterator[None]:
    """Let everything raise that reads a value of an ``array_class``."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a value was read inside the step")

    with pytest.MonkeyPatch.context() as patch:
        for name in READING:
            if hasattr(array_class, name):
                patch.setattr(array_class, name, refuse)
        yield


@contextmanager
def jax_in_float64() -> Iterator[ModuleType]:
    jax = import_optional("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    try:
        yield jax
    finally:
        jax.config.update("jax_enable_x64", before)


def _read_only(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def _numpy(stack: ExitStack, name: str) -> Library:
    import array_api_compat.numpy as namespace

    place = _read_only if name == "numpy-read-only" else np.asarray
    return Library(name, namespace, place, np.asarray)


def _strict(stack: ExitStack, name: str) -> Library:
    import array_api_strict as namespace

    if name == "strict-strictest":
        flags = namespace.ArrayAPIStrictFlags(
            boolean_indexing=False, data_dependent_shapes=False, enabled_extensions=()
        )
        stack.enter_context(flags)
    on_device1 = name == "strict-device1"
    device = namespace.Device("device1" if on_device1 else "CPU_DEVICE")
    host = namespace.Device("CPU_DEVICE")
    return Library(
        name,
        namespace,
        place=lambda array: namespace.asarray(array, device=device),
        to_numpy=lambda array: np.from_dlpack(namespace.asarray(array, device=host)),
        dtype="float32" if on_device1 else "float64",
        tolerance=2e-5 if on_device1 else 1e-10,
        step=lambda: reading_forbidden(type(namespace.empty(0))),
    )


def _torch(stack: ExitStack, name: str) -> Library:
    torch = import_optional("torch")
    import array_api_compat.torch as namespace

    device = "meta" if name == "torch-meta" else "cpu"
    return Library(
        name,
        namespace,
        place=lambda array: torch.asarray(array, device=device),
        to_numpy=lambda array: array.numpy(),
        has_values=device != "meta",
        step=lambda: reading_forbidden(torch.Tensor),
    )


def _jax(stack: ExitStack, name: str) -> Library:
    jax = stack.enter_context(jax_in_float64())
    return Library(name, jax.numpy, jax.numpy.asarray, np.asarray, compiled=jax.jit)


LIBRARIES = {
    "numpy": _numpy,
    "numpy-read-only": _numpy,
    "strict-cpu": _strict,
    "strict-device1": _strict,
    "strict-strictest": _strict,
    "torch-cpu": _torch,
    "torch-meta": _torch,
    "jax": _jax,
}


@pytest.fixture(params=LIBRARIES)
def xp(request: pytest.FixtureRequest) -> Iterator[Library]:
    """Each array library in turn."""
    with ExitStack() as stack:
        yield LIBRARIES[request.param](stack, request.param)


@pytest.fixture(autouse=True)
def _rules_of_cuda(request: pytest.FixtureRequest) -> Iterator[None]:
    """Under ``--host-driver``: no rule of CUDA is broken, whatever became of the error."""
    if not request.config.getoption("--host-driver"):
        yield
        return
    import host_driver

    host_driver.clear_faults()
    yield
    assert host_driver.state().faults == ()


@pytest.fixture(scope="session")  # or fixtures of a module would be made before it skips
def driver(request: pytest.FixtureRequest) -> ModuleType:
    """tests/host_driver, where this process has it in place of a device."""
    if not request.config.getoption("--host-driver"):
        pytest.skip("runs in a process of its own: pytest --host-driver=eager")
    import host_driver

    return host_driver


@pytest.fixture(scope="session")
def device_compiler() -> None:
    """NVRTC and nvdisasm, of the extra cuda-test: they compile for a device, without one."""
    nvrtc = import_optional("cupy_backends.cuda.libs.nvrtc")
    try:
        nvrtc.getVersion()
        metadata.distribution("nvidia-cuda-nvdisasm")
    except (RuntimeError, metadata.PackageNotFoundError) as error:
        pytest.skip(f"the extra cuda-test is not installed: {error}")


@pytest.fixture
def torch() -> ModuleType:
    """PyTorch, as an independent reference."""
    return import_optional("torch")


@pytest.fixture
def jax() -> Iterator[ModuleType]:
    """JAX in float64, as an independent reference."""
    with jax_in_float64() as module:
        yield module


@pytest.fixture(scope="session")
def trained_on_mnist() -> tuple[np.ndarray, np.ndarray, dict[str, Model]]:
    """256 real test images, their labels, and each small network trained on 1,000 real images."""
    folder = Path(__file__).parent.parent.parent / "shared" / "data" / "mnist"
    if not folder.is_dir():
        pytest.skip("the real MNIST files are not beside the project")
    data = load_dataset("mnist", folder).limited(1000)
    models = {}
    for name in ("scratch", "basic", "lenet5"):
        model = Model(NETWORKS[name](), (28, 28), class_names=data.class_names)
        optimizer = Adam(0.003)
        model.fit(
            data.train_images, data.train_labels, epochs=2, batch_size=32, optimizer=optimizer
        )
        models[name] = model
    return data.test_images[:256], data.test_labels[:256], models


def run_arraycnn(*arguments: Any, cwd: Path) -> subprocess.CompletedProcess:
    """The command line through its real entry point."""
    return subprocess.run(
        [Path(sys.executable).parent / "arraycnn", *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )


@pytest.fixture(scope="session")
def report_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs on the digits, a report on the first, and a report on both."""
    folder = tmp_path_factory.mktemp("runs")
    train = ("train", "--backend", "numpy", "--limit", "300", "--augment", "none")
    for name, arguments in {
        "train-basic": (*train, "--epochs", "2", "--log-steps", "--out", "basic"),
        "train-scratch": (*train, "--epochs", "3", "--network", "scratch", "--out", "scratch"),
        "report-basic": ("report", "basic", "--backend", "numpy", "--image", "5"),
        "report-both": ("report", "basic", "scratch", "--backend", "numpy", "--json"),
    }.items():
        said = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(said), signals_kept():
            patch.chdir(folder)
            patch.setattr(sys, "argv", ["arraycnn", *arguments])
            with pytest.raises(SystemExit) as ended:
                main()
        assert not ended.value.code, name
        (folder / f"{name}.txt").write_text(said.getvalue())
    return folder


@contextmanager
def signals_kept() -> Iterator[None]:
    """Afterwards signals do what they did before, whatever a command made of them."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Ended:
    """What a command left, as `subprocess.CompletedProcess` has it."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def command(monkeypatch, capfd):
    """Runs the command in this process and in the folder ``cwd``: an `Ended`.

    As its entry point does, but for what an interpreter costs to start: some two seconds.
    """

    def run(*arguments, cwd, logs=True):
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["arraycnn", *map(str, arguments)])
        capfd.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            if logs:  # on stderr, as where pytest does not listen to them already
                patch.setattr(logging.root, "handlers", [])
            with pytest.raises(SystemExit) as ended:
                main()
        return Ended(ended.value.code or 0, *capfd.readouterr())

    with signals_kept():
        yield run


@pytest.fixture
def cli(tmp_path, monkeypatch, command):
    """As `command`, in the folder ``tmp_path``: (exit code, stdout, lines on stderr, none logged)."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        done = command(*arguments, cwd=Path.cwd(), logs=False)
        return done.returncode, done.stdout, done.stderr.splitlines()

    return run
