"""The kernels of a network are loaded together, before its first step: counted by the driver."""

import threading
from pathlib import Path

import numpy as np
import pytest

from arraycnn import SGD, CuPy, Model
from arraycnn.execution import Task
from arraycnn.execution.device import DevicePlans
from arraycnn.ops.cuda.cupy import CuPyLauncher
from arraycnn.training.step import Carry

pytestmark = pytest.mark.usefixtures("driver")
BENCH = Path(__file__).parent.parent.parent / "bench"
BATCH = 4


class Idle(CuPyLauncher):
    """Its kernels do nothing; `asked` has each with whether a thread was made to load it."""

    def __init__(self):
        super().__init__(0)
        self.asked = []

    def _compile(self, file, kernel):
        self.asked.append((file, kernel, threading.current_thread() is threading.main_thread()))
        idle = lambda grid, block, args, shared_mem: None  # noqa: E731
        idle.shared_size_bytes = 0
        return idle


def asked_for(net, count):
    """What ``count`` steps of a network of the benchmarks, and a prediction, ask the launcher for."""
    from nets import NETS, network

    launcher, spec = Idle(), NETS[net]
    images = launcher.asarray(np.zeros((BATCH, *spec.image_shape), np.uint8))
    labels = launcher.asarray(np.zeros(BATCH, np.int32))
    model = Model(network(net), spec.image_shape, backend=CuPy())
    params, state = model.trees
    optimizer = SGD(0.01)
    task = Task(model.network, optimizer, images, labels, 0, "float32")
    carry = Carry(params, state, optimizer.init(params))
    plans, backend = DevicePlans(launcher, "fp32", "cupy"), model.backend
    plan = plans.training_plan(backend, task, carry)
    plan.run(0, [np.arange(BATCH, dtype=np.int32)] * count, np.zeros(count))
    trained = len(launcher.asked)
    plan.close()
    inference = plans.inference_plan(backend, model.network, params, state, "float32")
    for _ in range(3):
        inference.predict(images)
    inference.close()
    return launcher.asked[:trained], launcher.asked[trained:]


@pytest.mark.parametrize(
    ("net", "steps_run", "most"),
    [("a", 17, 10), ("b", 17, 20), ("resnet20", 1, 41)],  # 17 need both of a plan's recordings
)
def test_each_program_of_a_network_is_compiled_once_and_with_the_others(
    net, steps_run, most, monkeypatch
):
    monkeypatch.syspath_prepend(str(BENCH))
    for asked in asked_for(net, steps_run):
        assert len({(file, kernel) for file, kernel, _ in asked}) == len(asked) <= most
        assert not any(alone for _, _, alone in asked)
    assert asked  # a prediction has kernels that no step has


KERNEL = "__global__ void named_{name}(int* x) {{ atomicAdd(x, {name}); }}"


def test_modules_are_loaded_before_the_first_of_their_kernels_starts(driver):
    launcher = CuPyLauncher(0)
    x, steps_run = launcher.asarray(np.zeros(1, np.int32)), []

    def work():
        steps_run.append(driver.state())
        for name in (7001, 7002, 7003, 7002):
            text = KERNEL.format(name=name)
            launcher.launch_source(text, f"named_{name}", (1,), (32,), (x,))

    launcher.rehearse(work)
    calls = driver.state().calls_since(steps_run[0])
    assert (calls["cuModuleLoadData"], calls["cuLaunchKernel"]) == (3, 4)
    before_running = steps_run[-1].calls_since(steps_run[0])
    assert (before_running["cuModuleLoadData"], before_running["cuLaunchKernel"]) == (3, 0)
    assert launcher.to_numpy(x)[0] == 32 * (7001 + 2 * 7002 + 7003)
    again = driver.state()
    launcher.rehearse(work)
    calls = driver.state().calls_since(again)
    assert (calls["cuModuleLoadData"], calls["cuLaunchKernel"]) == (0, 4)


def test_arrays_are_zeros_where_kernels_are_noted(driver):
    launcher, seen = CuPyLauncher(0), []

    def work():
        launcher.empty((3,), "int32").fill(9)  # whose memory is the next one's
        x = launcher.empty((3,), "int32")
        launcher.launch_source(KERNEL.format(name=7004), "named_7004", (1,), (32,), (x,))
        seen.append(launcher.to_numpy(x).tolist())

    launcher.rehearse(work)
    assert seen[0] == [0, 0, 0]
    assert len(seen) == 2


def test_a_kernel_is_loaded_on_the_device_of_its_launcher(driver):
    launcher = CuPyLauncher(1)
    x = launcher.asarray(np.zeros(1, np.int32))
    text, before = KERNEL.format(name=7005), driver.state()
    launcher.rehearse(lambda: launcher.launch_source(text, "named_7005", (1,), (32,), (x,)))
    assert launcher.to_numpy(x)[0] == 32 * 7005
    assert driver.state().calls_since(before)["cuModuleLoadData"] == 1
