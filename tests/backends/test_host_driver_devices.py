"""Everything of a backend happens on its device, whichever is the current one."""

import numpy as np
import pytest

from arraycnn import CuPy, Model
from arraycnn.networks import NETWORKS
from arraycnn.ops.cuda.cupy import cupy_kernels, cupy_launcher
from optional import Late

pytestmark = pytest.mark.usefixtures("driver")
cupy = Late("cupy")

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (20, 12, 12, 1), np.uint8)
LABELS = np.arange(20) % 10


def new_model(**options):
    return Model(NETWORKS["lenet5"](), (12, 12), backend=CuPy(**options), seed=3)


def device_of(array):
    return array.device.id


@pytest.fixture
def other():
    """The launcher of the device that is not the current one."""
    assert cupy.cuda.Device().id == 0
    yield cupy_launcher(1)
    assert cupy.cuda.Device().id == 0


def test_arrays_are_made_on_the_device(other):
    x = RNG.normal(size=(5, 7))
    assert device_of(other.empty((3,), "float32")) == 1
    assert device_of(other.asarray(x)) == 1
    lying = other.contiguous(other.asarray(x).T)
    assert device_of(lying) == 1
    assert device_of(other.counter()) == 1
    np.testing.assert_array_equal(other.to_numpy(lying), x.T)
    assert other.owns(lying)
    assert not other.owns(cupy_launcher(0).asarray(x))


def test_backends_bring_arrays_to_their_device():
    x = RNG.normal(size=(5, 7)).astype(np.float32)
    on_first, on_second = CuPy().asarray(x), CuPy(device=1).asarray(x)
    assert [device_of(on_first), device_of(on_second)] == [0, 1]
    assert CuPy(device=1).asarray(on_second) is on_second
    moved = CuPy(device=1).asarray(on_first)
    assert device_of(moved) == 1
    np.testing.assert_array_equal(CuPy(device=1).to_numpy(moved), x)


def test_an_array_is_copied_when_what_makes_it_is_done():
    """Whatever the streams are that are current on the two devices."""
    x = cupy.asarray(np.full(1000, 3.0))
    cupy.cuda.Stream.null.synchronize()
    stream = cupy.cuda.Stream(non_blocking=True)  # kept: one that is dropped does its work
    with stream:
        doubled = x * 2.0
    with cupy.cuda.Device(1), cupy.cuda.Stream(non_blocking=True):
        moved = CuPy(device=1).asarray(doubled)
        assert (moved.get() == 6.0).all()


def test_kernels_run_and_are_recorded_on_the_device(other, driver):
    a, b = RNG.normal(size=(9, 5)), RNG.normal(size=(5, 7))
    matmul = cupy_kernels(1, "fp32").matmul
    on_device = other.asarray(a), other.asarray(b)
    product = matmul(*on_device)
    np.testing.assert_allclose(other.to_numpy(product), a @ b, atol=1e-12)
    results = []
    replay = other.capture(lambda: results.append(matmul(*on_device)))
    assert "matmul" in " ".join(driver.state().nodes)
    replay()
    assert device_of(results[0]) == 1
    np.testing.assert_allclose(other.to_numpy(results[0]), a @ b, atol=1e-12)


def test_rows_are_sent_to_the_device(other):
    rows = RNG.normal(size=(4, 3))
    sender = other.sender((4, 3), "float64")
    target = other.empty((4, 3), "float64")
    with cupy.cuda.Device(1):
        sender.send(rows, target)
    np.testing.assert_array_equal(other.to_numpy(target), rows)


def test_a_training_leaves_the_first_device_alone(driver):
    results = []
    for device in (0, 1):
        model, before = new_model(device=device), driver.state()
        history = model.fit(IMAGES, LABELS, epochs=3, batch_size=4)
        results.append((history.step_losses, model.predict(IMAGES), model.predict(IMAGES)))
    after = driver.state()
    assert after.live["bytes0"] <= before.live["bytes0"]
    assert after.live["bytes1"] > before.live["bytes1"]
    assert "copy-of-another-device" not in after.calls_since(before)
    for first, second in zip(*results, strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("graph", [False, True])
def test_images_of_another_device_are_brought(graph, dtype):
    images = IMAGES if dtype == "uint8" else (IMAGES / 255.0).astype(dtype)
    found = []
    for given in (images, cupy.asarray(images)):
        model = new_model(device=1, graph=graph)
        history = model.fit(given, LABELS, batch_size=4)
        found.append((history.step_losses, *(model.predict(given) for _ in range(3))))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_memory_is_asked_of_the_device(driver):
    """Which one has room is not what the other has."""
    size = 2**20
    with cupy.cuda.Device(1):
        cupy.get_default_memory_pool().free_all_blocks()
    cupy.get_default_memory_pool().free_all_blocks()
    most = max(driver.state().live["bytes0"], driver.state().live["bytes1"])
    with driver.capacity(most + 8 * size):
        with cupy.cuda.Device(1):
            taken = cupy.cuda.MemoryPool().malloc(7 * size)
        free = [CuPy(device=device).free_memory() for device in (0, 1)]
        fits = [CuPy(device=device).fits(2 * size) for device in (0, 1)]
        del taken
    assert free[0] - free[1] >= 6 * size
    assert fits == [True, False]


def test_without_a_graph_none_is_recorded(driver):
    model, before = new_model(graph=False), driver.state()
    model.fit(IMAGES, LABELS, batch_size=4)
    for _ in range(3):
        model.predict(IMAGES)
    assert "cudaStreamBeginCapture" not in driver.state().calls_since(before)
