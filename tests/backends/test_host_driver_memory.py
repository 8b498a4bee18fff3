"""Whatever was done on a device, its memory is back: counted by the driver, to the byte."""

import gc
import re

import numpy as np
import pytest

from arraycnn import (
    Adam,
    BatchNorm2d,
    Conv2d,
    CuPy,
    Dense,
    Flatten,
    MaxPool2d,
    Model,
    ReLU,
    Rescale,
    Sequential,
)
from arraycnn.errors import OutOfMemoryError
from arraycnn.execution import Task
from arraycnn.networks import NETWORKS
from arraycnn.ops.cuda.cupy import CuPyLauncher, cupy_launcher
from arraycnn.training.step import Carry
from arraycnn.tree import map_leaves
from optional import Late

pytestmark = pytest.mark.usefixtures("driver")
cupy = Late("cupy")

TIMES = 20
RNG = np.random.default_rng(0)
IMAGES = RNG.random((20, 8, 8, 1), np.float32)
LABELS = RNG.integers(0, 10, len(IMAGES))
CLASSES = tuple(str(number) for number in range(10))


@pytest.fixture
def allocated(driver):
    """What is allocated, but for memory that CuPy keeps for the next array."""

    def ask():
        gc.collect()
        kept = {}
        for number in range(driver.DEVICES):
            cupy_launcher(number).reclaim()
            with cupy.cuda.Device(number):
                pool = cupy.get_default_memory_pool()
                pool.free_all_blocks()
                kept[f"bytes{number}"] = pool.free_bytes()  # in pieces of blocks that are in use
        cupy.get_default_pinned_memory_pool().free_all_blocks()
        found = driver.state().live
        del found["events"]  # CuPy makes one for each copy, and drops them later
        return {what: count - kept.get(what, 0) for what, count in found.items()}

    return ask


@pytest.fixture
def check_all_is_back(allocated, record_property):
    """Work that was done is done again: nothing more is allocated after twenty times."""

    def check(work):
        for _ in range(2):
            work()
        before = allocated()
        for _ in range(TIMES):
            work()
        after = allocated()
        left = sum(after[what] - before[what] for what in after if what.startswith("bytes"))
        record_property("bytes left", left)
        assert after == before

    return check


def new_model(**options):
    return Model(
        NETWORKS["scratch"](), (8, 8), backend=CuPy(**options), seed=3, class_names=CLASSES
    )


@pytest.mark.parametrize("device", [0, 1])
def test_fits_leave_no_memory(device, check_all_is_back):
    model = new_model(device=device)
    check_all_is_back(lambda: model.fit(IMAGES, LABELS, epochs=2, batch_size=4))


def test_models_that_are_gone_leave_no_memory(check_all_is_back):
    def train():
        model = new_model()
        model.fit(IMAGES, LABELS, batch_size=7)
        for _ in range(2):
            model.predict(IMAGES)
            model.evaluate(IMAGES, LABELS)

    check_all_is_back(train)


def test_predictions_leave_no_memory(driver, check_all_is_back):
    model, graphs = new_model(), driver.state().live["graphs"]

    def predict():
        for count in range(1, 7):
            for _ in range(3):
                model.predict(IMAGES[:count])

    check_all_is_back(predict)
    assert driver.state().live["graphs"] <= graphs + 4  # of six sizes, the last are kept


def test_recordings_that_fail_leave_no_memory(check_all_is_back, monkeypatch):
    """What starts a kernel calls cuBLAS, too, which cannot be recorded."""
    start, ones = CuPyLauncher.start, cupy.ones((2, 2))

    def failing(launcher, *launch):
        if cupy.cuda.get_current_stream().is_capturing():
            cupy.matmul(ones, ones)
        start(launcher, *launch)

    monkeypatch.setattr(CuPyLauncher, "start", failing)
    model = Model(Sequential(Flatten(), Dense(10)), (8, 8), backend=CuPy(), class_names=CLASSES)

    def fail():
        with pytest.raises(Exception, match="stream capture"):
            model.fit(IMAGES, LABELS, batch_size=4)

    check_all_is_back(fail)


def test_recordings_take_what_is_said_before_they_are_made(allocated):
    """Of a batch, of sixteen steps and of one, and of a shorter one: CuPy's pools, to a quarter."""
    network = Sequential(
        *(Rescale(), Conv2d(8, 3), BatchNorm2d(), ReLU(), MaxPool2d(2), Conv2d(16, 3), ReLU()),
        *(Flatten(), Dense(100), ReLU(), Dense(10)),
    )
    optimizer, (params, state, _) = Adam(), network.init(np.random.default_rng(0), (16, 16, 1))
    single = lambda leaf: cupy.asarray(leaf, "float32")  # noqa: E731
    carry = Carry(*(map_leaves(single, tree) for tree in (params, state, optimizer.init(params))))
    images, labels = cupy.zeros((48, 16, 16, 1), "uint8"), cupy.zeros(48, "int32")
    plan = CuPy().training_plan(Task(network, optimizer, images, labels, 0, "float32"), carry)
    before = allocated()["bytes0"]
    batches = [np.arange(count, dtype=np.int32) for count in (*[48] * 17, 47)]
    plan.run(0, batches, np.full(len(batches), 0.01))
    taken = allocated()["bytes0"] - before
    assert plan.memory().of(48) == pytest.approx(taken, rel=0.25)


@pytest.fixture
def _quick_collections():
    """Of what is there now nothing is looked at: CuPy collects whenever it runs out of memory."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("_quick_collections")
def test_out_of_memory_names_a_batch_that_fits_however_often_it_was(
    driver, allocated, check_all_is_back
):
    images = np.zeros((500, 28, 28, 1), np.uint8)
    labels = np.arange(len(images)) % 10
    model = Model(NETWORKS["scratch"](), (28, 28), backend=CuPy(), class_names=CLASSES)
    found = []

    def most():
        with pytest.raises(OutOfMemoryError) as error:
            model.fit(images, labels, batch_size=len(images))
        named = re.search(r"a batch size of (\d+) would fit", str(error.value))
        assert named, str(error.value)
        return int(named[1])

    def retry():
        found.append((most(), allocated()))

    allocated()
    with driver.capacity(driver.state().live["bytes0"] + 6 * 2**20):
        most()
        allocated()  # what an error's traceback holds is collected, here or when CuPy needs it
        check_all_is_back(retry)
        assert len(found) > TIMES
        assert found == [found[0]] * len(found)
        fitting = found[0][0]
        model.fit(images, labels, batch_size=fitting)
        with pytest.raises(OutOfMemoryError):  # what is named is not needlessly few
            model.fit(images, labels, batch_size=5 * fitting // 2)
