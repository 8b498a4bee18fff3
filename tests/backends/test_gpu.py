"""What only a CUDA device can show: ``pytest -m gpu``.

The same kernels and the same launch code run on the CPU in tests/test_cuda_*.py; here they run on a
device, by CuPy, and with them what has a stand-in there: the compiler, tensor cores, asynchronous
copies, memory, graphs.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from arraycnn import SGD, CuPy, Model
from arraycnn.backends.cuda_probe import probe
from arraycnn.errors import BackendUnavailableError, InvalidTypeError
from arraycnn.execution import recorded
from arraycnn.layers import Context, Randomness
from arraycnn.ops import GENERIC
from arraycnn.ops.cuda.cupy import CuPyLauncher, cupy_kernels, cupy_launcher
from arraycnn.tree import map_leaves
from cases import CASES
from cuda_primitives import CHECKS
from kernel_cases import KERNEL_CASES, TOLERANCES, check_case
from sanitizer_parts import PARTS, SECONDS, selection
from test_across_backends import BATCH, IMAGES, LABELS, NETWORK, trained
from test_layers import check_trees, run_numpy

pytestmark = pytest.mark.gpu

PRECISIONS = ("fp32", "tf32", "bf16")
NO_POOL = "ARRAYCNN_TEST_WITHOUT_POOL"
"""Set, each array is an allocation of its own, so that compute-sanitizer sees where it ends."""


@pytest.fixture(scope="module", autouse=True)
def cupy():
    """CuPy, where a device answers."""
    try:
        probe(0)
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    import cupy

    if os.environ.get(NO_POOL):
        cupy.cuda.set_allocator(None)
    return cupy


@pytest.fixture
def launcher():
    return cupy_launcher(0)


def place_strided(launcher):
    """On the device, not in C order in memory."""

    def place(array):
        if array.ndim == 1:
            return launcher.asarray(np.repeat(array, 2))[::2]
        axes = tuple(range(array.ndim))[::-1]
        return launcher.asarray(np.array(array.transpose(axes), order="C")).transpose(axes)

    return place


# -- kernels -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "precision"), TOLERANCES)
@pytest.mark.parametrize("case", KERNEL_CASES, ids=str)
def test_kernels_equal_the_generic_ones(case, dtype, precision, launcher):
    ops = cupy_kernels(0, precision)
    for place in (launcher.asarray, place_strided(launcher)):
        check_case(case, ops, place, launcher.to_numpy, dtype, precision)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("case", KERNEL_CASES, ids=str)
def test_kernels_repeat_to_the_last_bit(case, precision, launcher):
    ops = cupy_kernels(0, precision)
    runs = [case.run(ops, launcher.asarray, "float32") for _ in range(3)]
    for again in runs[1:]:
        for first, second in zip(runs[0], again, strict=True):
            if first is not None:
                np.testing.assert_array_equal(
                    launcher.to_numpy(first), launcher.to_numpy(second), strict=True
                )


@pytest.mark.parametrize("name", CHECKS)
def test_functions_of_the_device_header_do_what_the_manual_says(name):
    CHECKS[name](cupy_launcher(0))


# -- layers ------------------------------------------------------------------------------------------


def run_on_device(case, ops, dtype, place):
    """(y, state, dx, gradients), and the gradients without dx, of a layer on the device."""
    arrays = case.arrays()

    def placed(array):
        return place(array.astype(dtype) if array.dtype.kind == "f" else array)

    params, state = (map_leaves(placed, tree) for tree in (arrays.params, arrays.state))
    random = Randomness(*(placed(a) for a in (arrays.seed, arrays.step, arrays.indices)))
    context = Context(ops, case.mode, dtype, random)
    y, new_state, residuals = case.layer.forward(params, state, placed(arrays.x), context)
    dy = placed(arrays.dy)
    dx, gradients = case.layer.backward(params, residuals, dy, context, need_dx=True)
    none, same = case.layer.backward(params, residuals, dy, context, need_dx=False)
    assert none is None
    return y, new_state, dx, gradients, same


@pytest.mark.parametrize("record", ["array API", "kernels"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_layers_equal_numpy(case, dtype, record, launcher, cupy):
    ops = GENERIC if record == "array API" else cupy_kernels(0, "fp32")
    tolerance = 1e-10 if dtype == "float64" else 3e-5
    y, state, dx, gradients, _, same = run_numpy(case)

    def check(actual, expected):
        expected = np.asarray(expected)
        assert isinstance(actual, cupy.ndarray)
        assert actual.dtype == (dtype if expected.dtype.kind == "f" else expected.dtype)
        np.testing.assert_allclose(
            launcher.to_numpy(actual),
            expected,
            rtol=0,
            atol=tolerance * max(1.0, float(np.abs(expected).max(initial=0.0))),
        )

    for place in (launcher.asarray, place_strided(launcher)):
        actual = run_on_device(case, ops, dtype, place)
        check(actual[0], y)
        check(actual[2], dx)
        for tree, wanted in ((actual[1], state), (actual[3], gradients), (actual[4], same)):
            check_trees(check, tree, wanted)


# -- training ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def on_numpy():
    return {name: trained(name, "numpy") for name in NETWORK}


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("name", NETWORK)
def test_fifty_steps_in_float64_are_those_of_numpy(name, graph, on_numpy):
    trained(name, CuPy(graph=graph)).check_close(on_numpy[name], tolerance=1e-10)


@pytest.mark.parametrize("name", NETWORK)
def test_a_step_is_recorded_and_replayed(name, monkeypatch):
    """A recording fails where a step waits for the device: so it never does."""
    recorded, replayed = [], []

    def capture(self, work):
        replay = CAPTURE(self, work)
        recorded.append(name)
        return lambda: (replayed.append(name), replay())[1]

    CAPTURE = CuPyLauncher.capture
    monkeypatch.setattr(CuPyLauncher, "capture", capture)
    model = Model(NETWORK[name], (12, 12), backend=CuPy(graph=True))
    model.fit(IMAGES, LABELS, epochs=8, batch_size=BATCH)  # 5 steps each
    assert 1 <= len(recorded) <= 2  # the longer graph and the single step
    assert 40 >= len(replayed) >= 40 // 16


@pytest.mark.parametrize("graph", [False, True], ids=["eager", "graph"])
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NETWORK)
def test_two_trainings_are_equal_to_the_last_bit(name, precision, graph):
    results = []
    for _ in range(2):
        backend = CuPy(precision=precision, graph=graph)
        model = Model(NETWORK[name], (12, 12), backend=backend, seed=3)
        history = model.fit(IMAGES, LABELS, epochs=4, batch_size=7, optimizer=SGD(0.05, 0.9))
        results.append((history.step_losses, model.parameters, model.predict(IMAGES)))
    (losses, parameters, probabilities), (again, others, repeated) = results
    np.testing.assert_array_equal(losses, again)
    np.testing.assert_array_equal(probabilities, repeated)
    for path, array in parameters.items():
        np.testing.assert_array_equal(array, others[path])


# Of a step, how much rounded operands may change: they make another number the largest of a pool, or
# let ReLU pass another, so it is far more than their own rounding.
CHANGES = {"fp32": (0.0, 1e-5), "tf32": (1e-4, 0.1), "bf16": (1e-3, 0.3)}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ["basic", "residual"])
def test_rounded_products_change_a_step_a_little(name, precision):
    steps = []
    for backend in ("numpy", CuPy(precision=precision)):
        model = Model(NETWORK[name], (12, 12), backend=backend, seed=3)
        before = model.parameters
        model.fit(IMAGES, LABELS, batch_size=len(IMAGES), optimizer=SGD(0.5))
        steps.append({path: array - before[path] for path, array in model.parameters.items()})
    changes = [
        np.linalg.norm(steps[1][path] - step) / np.linalg.norm(step)
        for path, step in steps[0].items()
    ]
    least, most = CHANGES[precision]
    assert least <= max(changes) <= most


def test_a_set_on_the_host_is_sent_part_by_part(monkeypatch):
    monkeypatch.setattr(recorded, "SENT_BYTES", 16 * BATCH * IMAGES[0].nbytes)
    results = []
    for share in (1.0, 0.0):
        monkeypatch.setattr("arraycnn.backends.cupy._RESIDENT_SHARE", share)
        model = Model(NETWORK["lenet5"], (12, 12), backend=CuPy(), seed=3)
        history = model.fit(IMAGES, LABELS, epochs=9, batch_size=BATCH)
        results.append((history.step_losses, model.evaluate(IMAGES, LABELS)))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1]


def test_replayed_predictions_are_those_of_the_first_time():
    model = Model(NETWORK["lenet5"], (12, 12), backend=CuPy(graph=True))
    for images in (IMAGES, IMAGES[:1], IMAGES[:7]):
        first = model.predict(images)
        for _ in range(3):
            np.testing.assert_array_equal(model.predict(images), first)
    other = Model(NETWORK["lenet5"], (12, 12), backend=CuPy(graph=False))
    np.testing.assert_allclose(other.predict(IMAGES), model.predict(IMAGES), rtol=1e-5)


def test_other_work_between_chunks_leaves_a_recording_alone(cupy):
    """A recording holds addresses: nobody else may be given that memory."""
    losses = []
    for disturbed in (False, True):
        model = Model(NETWORK["lenet5"], (12, 12), backend=CuPy(), seed=3)
        for _ in range(4):
            history = model.fit(IMAGES, LABELS, epochs=2, batch_size=BATCH)
            if disturbed:
                taken = [cupy.full(size, np.nan, "float32") for size in (10, 1000, 100_000)]
                del taken
                model.predict(IMAGES)
        losses.append(history.step_losses)
    np.testing.assert_array_equal(*losses)


def test_arrays_of_the_host_are_refused_by_kernels(launcher):
    with pytest.raises(InvalidTypeError, match="must lie on the backend's device"):
        cupy_kernels(0, "fp32").matmul(np.ones((2, 2)), launcher.asarray(np.ones((2, 2))))


def test_images_on_the_device_are_taken_as_they_are(launcher, cupy):
    model = Model(NETWORK["scratch"], (12, 12), backend=CuPy(), seed=3)
    expected = model.predict(IMAGES)
    np.testing.assert_array_equal(model.predict(launcher.asarray(IMAGES)), expected)


# -- the sanitizer -----------------------------------------------------------------------------------


def sanitizer():
    """The program, or a skip that says why there is none that works."""
    beside = shutil.which("nvcc")
    folders = [*([str(Path(beside).parent)] if beside else []), "/usr/local/cuda/bin"]
    program = shutil.which("compute-sanitizer") or shutil.which(
        "compute-sanitizer", path=os.pathsep.join(folders)
    )
    if program is None:
        pytest.skip("compute-sanitizer is not installed (it comes with the CUDA toolkit)")
    trial = "import cupy; cupy.cuda.set_allocator(None); print(int((cupy.ones(3) + 1).sum()))"
    done = run_sanitized(program, "memcheck", "-c", trial)
    if done.returncode or "6" not in done.stdout.splitlines():
        said = (done.stdout + done.stderr).strip().splitlines()
        pytest.skip(f"compute-sanitizer does not work here: {said[-1] if said else 'no output'}")
    return program


def run_sanitized(program, tool, *arguments):
    return subprocess.run(
        [program, "--tool", tool, "--error-exitcode", "99", sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent.parent,
        env={**os.environ, NO_POOL: "1"},
        timeout=SECONDS,
    )


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("tool", ["memcheck", "racecheck", "synccheck"])
def test_sanitizers_find_nothing(tool, part):
    """A part at a time, since all of them take a tool more than ten minutes."""
    program = sanitizer()
    done = run_sanitized(
        *(program, tool, "-m", "pytest", "-q", "-x", "-m", "gpu", "-p", "no:cacheprovider"),
        *(__file__, "-k", selection(part)),
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_every_path_of_parameters_moves_on_the_device():
    """Else equal results would prove little."""
    model = Model(NETWORK["residual"], (12, 12), backend=CuPy(), seed=3)
    before = model.parameters
    model.fit(IMAGES, LABELS, epochs=2, batch_size=BATCH)
    after = model.parameters
    for path, array in before.items():
        assert not np.array_equal(array, after[path]), path
