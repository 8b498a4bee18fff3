"""Whatever was done on a device, its memory is back: counted by the driver, to the byte."""

import gc
import re
from dataclasses import dataclass

import numpy as np
import pytest

from arraycnn import CuPy, Dense, Flatten, Model, Sequential
from arraycnn.errors import OutOfMemoryError
from arraycnn.networks import NETWORKS
from arraycnn.ops.cuda.cupy import cupy_launcher
from optional import Late

pytestmark = pytest.mark.usefixtures("driver")
cupy = Late("cupy")

TIMES = 20
RNG = np.random.default_rng(0)
IMAGES = RNG.random((20, 8, 8, 1), np.float32)
LABELS = RNG.integers(0, 10, len(IMAGES))


@pytest.fixture
def allocated(driver):
    """What is allocated, but for memory that CuPy keeps for the next array."""
    gc.collect()
    for device in (0, 1):  # recordings of models that other tests have dropped
        cupy_launcher(device).reclaim()

    def ask():
        gc.collect()
        cupy.get_default_memory_pool().free_all_blocks()
        cupy.get_default_pinned_memory_pool().free_all_blocks()
        found = dict(driver.state().live)
        del found["events"]  # CuPy makes one for each copy, and drops them later
        return found

    return ask


def leaked(before, after):
    """What grew each time, a block of memory or another thing.

    Less than that is how CuPy shares its memory out, which a chunk of steps more or less can change.
    """
    smallest = {name: 512 if "bytes" in name else 1 for name in after}
    grown = {name: after[name] - before[name] for name in after}
    return {name: size for name, size in grown.items() if size >= TIMES * smallest[name]}


def new_model(**options):
    return Model(
        NETWORKS["scratch"](), (8, 8), backend=CuPy(**options), seed=3, class_names=CLASSES
    )


CLASSES = tuple(str(number) for number in range(10))


def test_fits_leave_no_memory(allocated):
    model = new_model()
    model.fit(IMAGES, LABELS, batch_size=4)
    before = allocated()
    for _ in range(TIMES):
        model.fit(IMAGES, LABELS, epochs=2, batch_size=4)
    assert not leaked(before, allocated())


def test_models_that_are_gone_leave_no_memory(allocated):
    def train():
        model = new_model()
        model.fit(IMAGES, LABELS, batch_size=7)
        model.predict(IMAGES)
        model.evaluate(IMAGES, LABELS)
        model.evaluate(IMAGES, LABELS)

    train()
    before = allocated()
    for _ in range(TIMES):
        train()
    assert not leaked(before, allocated())


def test_fits_on_a_second_device_leave_no_memory(allocated):
    model = new_model(device=1)
    model.fit(IMAGES, LABELS, batch_size=4)

    def both():
        with cupy.cuda.Device(1):
            cupy.get_default_memory_pool().free_all_blocks()
        return allocated()

    before = both()
    for _ in range(TIMES):
        model.fit(IMAGES, LABELS, batch_size=4)
    assert not leaked(before, both())


def test_predictions_leave_no_memory(allocated):
    model = new_model()

    def predict():
        for count in range(1, 7):  # more sizes than are kept recorded
            for _ in range(3):
                model.predict(IMAGES[:count])

    predict()
    before = allocated()
    for _ in range(TIMES):
        predict()
    assert not leaked(before, allocated())


@dataclass(frozen=True)
class Product(Flatten):
    """A layer that cannot be recorded: its product is the namespace's, which is cuBLAS."""

    def forward(self, params, state, x, context):
        y, state, shape = super().forward(params, state, x, context)
        return cupy.matmul(y, cupy.eye(y.shape[1], dtype=y.dtype)), state, shape


def test_recordings_that_fail_leave_no_memory(allocated):
    model = Model(Sequential(Product(), Dense(10)), (8, 8), backend=CuPy(), class_names=CLASSES)

    def fail():
        with pytest.raises(Exception, match="stream capture"):
            model.fit(IMAGES, LABELS, batch_size=4)

    fail()
    before = allocated()
    for _ in range(TIMES):
        fail()
    assert not leaked(before, allocated())


def test_out_of_memory_names_a_batch_that_fits_however_often_it_was(driver, allocated):
    images = np.zeros((400, 28, 28, 1), np.uint8)
    labels = np.arange(len(images)) % 10
    model = Model(NETWORKS["scratch"](), (28, 28), backend=CuPy(), class_names=CLASSES)

    def most():
        with pytest.raises(OutOfMemoryError) as error:
            model.fit(images, labels, batch_size=len(images))
        found = re.search(r"batch size (?:of )?(?:at most )?(\d+)", str(error.value))
        assert found, str(error.value)
        return int(found[1])

    with driver.capacity(driver.state().live["bytes0"] + 6 * 2**20):
        # What an error's traceback holds is collected in between, or CuPy does when it needs it.
        found = [(most(), allocated()) for _ in range(6)]
        assert found == found[:1] * 6
        model.fit(images, labels, batch_size=found[0][0])
