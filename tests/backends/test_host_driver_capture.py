"""What is captured, and what is asked of CUDA around it: counted by the driver, not timed.

Of memory, what is shown is this. While a step or an inference is recorded, CuPy may allocate, as CUDA
allows in captures of the relaxed mode, which ours are: once, where Python runs the step, and from a
pool that is the recording's alone, so that nobody else is handed what its kernels use. No allocation
becomes a node of the graph, and to replay it, however often, allocates nothing.
"""

import gc
import sys
from collections import Counter

import numpy as np
import pytest

from arraycnn import SGD, CuPy, Model
from arraycnn.execution import RecordedTraining
from arraycnn.networks import NETWORKS
from arraycnn.ops.cuda.cupy import CuPyLauncher
from captured_kernels import not_ours
from optional import Late

pytestmark = pytest.mark.usefixtures("driver")

cupy = Late("cupy")

RNG = np.random.default_rng(0)
IMAGES = RNG.random((20, 12, 12, 1), np.float32)
LABELS = np.arange(20) % 10
CLASSES = tuple(str(number) for number in range(10))

FREE = {"cudaGetDevice", "cudaSetDevice", "cudaPointerGetAttributes", "cudaStreamIsCapturing"}
FREE |= {"cudaEventQuery", "cudaMemGetInfo"}
"""Calls that only read or note a number of the process: CuPy makes many."""
IN_A_CAPTURE = {"cuLaunchKernel", "cudaMalloc", "cudaStreamEndCapture", "capture-relaxed", *FREE}
"""What may be called: `test_what_a_recording_allocates_lies_in_its_own_pool` is of the allocations."""


def check_captured(after, before):
    """Of `after` the last graph, and all that was captured since ``before``."""
    assert after.nodes
    assert not not_ours(after.nodes)
    assert set(after.in_capture_since(before)) <= IN_A_CAPTURE


def new_model(name="scratch", **options):
    return Model(NETWORKS[name](), (12, 12), backend=CuPy(**options), seed=3, class_names=CLASSES)


@pytest.mark.parametrize("name", ["scratch", "lenet5"])
def test_a_captured_step_is_kernels_alone(name, driver):
    model, before = new_model(name), driver.state()
    model.fit(IMAGES, LABELS, batch_size=5, optimizer=SGD(0.05, 0.9))
    check_captured(driver.state(), before)


def test_a_captured_inference_is_kernels_alone(driver):
    model = new_model("lenet5")
    model.predict(IMAGES)
    before = driver.state()
    model.predict(IMAGES)
    after = driver.state()
    assert after.calls_since(before)["cudaGraphInstantiate"] == 1
    check_captured(after, before)


def test_a_kernel_of_cupys_is_told_from_ours(driver):
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        x = cupy.ones(5)
        for is_captured in (False, True):  # kernels are loaded the first time
            if is_captured:
                stream.begin_capture()
            y = (x + 1.0).copy()
            y.sum()
        stream.end_capture()
    nodes = driver.state().nodes
    assert [node.split("__")[0] for node in nodes] == [
        f"kernel cupy_{op}" for op in ("add", "copy", "sum")
    ]
    ours = "kernel conv2d<Mma<1>>", "kernel fused_" + "a1" * 8
    assert not_ours((*ours, "copy", *ours, *nodes, "set")) == ["copy", *nodes, "set"]


@pytest.mark.parametrize("work", ["fit", "predict"])
def test_what_a_recording_allocates_lies_in_its_own_pool(work, driver, monkeypatch):
    """Its bytes are those by which the device's memory grew: CuPy's common pool gave none."""
    capture, grown, pools = CuPyLauncher.capture, [], []

    def noted(launcher, step):
        def measured():
            before = driver.state().live["bytes0"]
            step()
            grown.append(driver.state().live["bytes0"] - before)

        recording = capture(launcher, measured)
        pools.append(recording.pool)
        assert recording.pool.total_bytes() == grown[-1]
        return recording

    monkeypatch.setattr(CuPyLauncher, "capture", noted)
    model, before = new_model(), driver.state()
    if work == "fit":
        model.fit(IMAGES, LABELS, batch_size=7)  # the last batch is another
    else:
        for count in (4, 6):
            for _ in range(3):
                model.predict(IMAGES[:count])
    calls = driver.state().calls_since(before)
    assert calls["capture-relaxed"] == calls["cudaStreamBeginCapture"] == len(pools) > 1
    assert all(grown)
    assert len(set(map(id, pools))) == len(pools)


def costly(calls):
    """Calls by name, without those that are free."""
    return {name: times for name, times in calls.items() if name not in FREE}


def test_steps_that_are_replayed_allocate_nothing(driver):
    """Five times as many steps take no more memory, modules or graphs."""
    counts = []
    for epochs in (8, 8, 40):  # the first fit loads what all need
        model = new_model()
        gc.collect()
        cupy.get_default_memory_pool().free_all_blocks()  # or what fits lies there by chance
        before = driver.state()
        model.fit(IMAGES, LABELS, epochs=epochs, batch_size=4)
        counts.append(driver.state().calls_since(before))
    few, many = counts[1:]
    assert many["cudaMalloc"] <= few["cudaMalloc"]
    assert many["cuModuleLoadData"] == few["cuModuleLoadData"] == 0
    assert many["cudaGraphInstantiate"] == few["cudaGraphInstantiate"]


# -- budgets -----------------------------------------------------------------------------------------


@pytest.fixture
def hold(record_property):
    """Holds a count to its bound; the run on the CUDA of the host prints both."""

    def check(what, count, most):
        record_property("count", f"{what}: {count} (at most {most})")
        assert count <= most

    return check


def counted(driver, work):
    """(costly calls into CUDA, calls of Python functions) that ``work`` makes."""
    calls = 0

    def note(frame, event, argument):
        nonlocal calls
        calls += event == "call"

    gc.collect()
    gc.disable()  # or what others have left is torn down within
    before, profiled = driver.state(), sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(profiled)
        gc.enable()
    return costly(driver.state().calls_since(before)), calls


def test_budget_of_a_prediction(driver, hold):
    model = new_model()
    for _ in range(3):
        model.predict(IMAGES)
    cuda, python = counted(driver, lambda: model.predict(IMAGES))
    assert cuda["cudaGraphLaunch"] == 1
    assert cuda["cudaStreamSynchronize"] == 1
    assert "cudaMalloc" not in cuda
    hold("calls into CUDA of a prediction", sum(cuda.values()), 11)
    hold("calls of Python functions of a prediction", python, 180)


def fit(epochs):
    """One batch size, and all steps of an epoch but the first in one chunk, however long they take."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("arraycnn.training.loop._next_chunk", lambda steps, seconds: 1024)
        new_model().fit(IMAGES, LABELS, epochs=epochs, batch_size=4)


def test_budget_of_a_fit(driver, hold):
    """What is traced, sent, recorded and fetched once: of calls of Python, tracing makes half."""
    fit(1)
    cuda, python = counted(driver, lambda: fit(1))
    assert cuda["cudaGraphInstantiate"] == 1
    hold("calls into CUDA of a fit", sum(cuda.values()), 225)
    hold("calls of Python functions of a fit", python, 7370)


def test_budget_of_an_epoch(driver, hold):
    fit(1)
    few, many = (counted(driver, lambda epochs=epochs: fit(epochs)) for epochs in (2, 3))
    cuda = Counter(many[0]) - Counter(few[0])
    assert cuda["cudaGraphLaunch"] == 5
    assert cuda["cudaStreamSynchronize"] <= 5
    assert "cudaMalloc" not in cuda
    hold("calls into CUDA of an epoch of 5 steps", sum(cuda.values()), 52)
    hold("calls of Python functions of an epoch of 5 steps", many[1] - few[1], 340)


def test_budget_of_steps(driver, monkeypatch, hold):
    """Of a chunk of steps, whatever is not a graph's start does not grow with the steps."""
    run, runs = RecordedTraining.run, []

    def counted_run(*args):
        results = []
        runs.append(counted(driver, lambda: results.append(run(*args))))
        return results[0]

    sizes = iter((16, 16, 32, 64, 64))  # after a chunk of one step
    monkeypatch.setattr("arraycnn.training.loop._next_chunk", lambda steps, seconds: next(sizes))
    monkeypatch.setattr(RecordedTraining, "run", counted_run)
    images = RNG.integers(0, 256, (70, 12, 12, 1), np.uint8)
    new_model().fit(images, np.arange(70) % 10, batch_size=1)
    sixteen, thirty_two = runs[2], runs[3]
    assert Counter(thirty_two[0]) - Counter(sixteen[0]) == {"cudaGraphLaunch": 1}
    assert sixteen[0]["cudaStreamSynchronize"] == 2  # for losses and measures
    assert "cudaMalloc" not in sixteen[0]
    hold("calls into CUDA of 16 steps", sum(sixteen[0].values()), 36)
    hold("calls of Python functions of 16 steps", sixteen[1], 60)
    hold("calls of Python functions of 16 more", thirty_two[1] - sixteen[1], 4)
