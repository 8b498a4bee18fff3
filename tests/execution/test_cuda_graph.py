"""The CUDA graph plan, run on the CPU: a recording is a list of launches, played again.

As on a device, a recording holds addresses and numbers as they were. What is computed by anything
but a kernel of ours is not in it, so a network that comes out right uses nothing else.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn import networks
from arraycnn.backends.backend import Backend
from arraycnn.data import load_dataset
from arraycnn.data.image_source import MappedImages
from arraycnn.execution import (
    EagerInference,
    EagerTraining,
    Task,
    recorded,
)
from arraycnn.execution.device import DevicePlans
from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.optimizers import learning_rates
from arraycnn.training.step import Carry
from arraycnn.tree import flatten, map_leaves
from host_cuda import HostLauncher


class Recorder(HostLauncher):
    """Records launches, without running them, and runs the list again."""

    def __init__(self):
        super().__init__()
        self.launches = None
        self.kernels_seen = set()

    def start(self, file, kernel, grid, block, args, shared):
        self.kernels_seen.add((file, kernel))
        if self.launches is not None:
            self.launches.append((file, kernel, grid, block, args, shared))
        else:
            super().start(file, kernel, grid, block, args, shared)

    def asarray(self, array):
        return np.array(array)

    def to_numpy(self, array):
        return np.array(array)

    def sender(self, shape, dtype):
        return Sender()

    def call(self, function):
        if self.launches is None:
            function()
        else:
            self.launches.append(function)

    def capture(self, work):
        self.launches = []
        try:
            work()
        finally:
            launches, self.launches = self.launches, None
        self.recorded = len(launches)

        def replay():
            for launch in launches:
                if callable(launch):
                    launch()
                else:
                    HostLauncher.start(self, *launch)

        return replay


class Sender:
    def send(self, rows, target):
        target[: len(rows)] = rows


@dataclass(frozen=True)
class HostCUDA(Backend):
    """NumPy arrays, our CUDA kernels, the CUDA graph plan."""

    launcher: HostLauncher

    name: ClassVar[str] = "host-cuda"
    device_name: ClassVar[str] = "CPU, by way of CUDA C++"
    version: ClassVar[str] = "0"

    @property
    def kernels(self):
        return cuda_kernels(self.launcher)

    def asarray(self, array):
        return np.asarray(array)

    def to_numpy(self, array):
        return np.asarray(array)

    def training_plan(self, task, carry):
        return self._plans().training_plan(self, task, carry)

    def inference_plan(self, *of_model):
        return self._plans().inference_plan(self, *of_model)

    def _plans(self):
        return DevicePlans(self.launcher, "fp32", self.name)


NETWORKS = {
    "scratch": networks.scratch(5),
    "scratch with ReLU": cnn.Sequential(
        cnn.Rescale(), cnn.Conv2d(4, 3), cnn.ReLU(), cnn.MaxPool2d(2), cnn.Flatten(), cnn.Dense(5)
    ),
    "basic": cnn.Sequential(
        cnn.Rescale(),
        *(cnn.Conv2d(4, 3), cnn.ReLU(), cnn.Conv2d(6, 3), cnn.ReLU()),
        *(cnn.MaxPool2d(2), cnn.Dropout(0.25), cnn.Flatten()),
        *(cnn.Dense(12), cnn.ReLU(), cnn.Dropout(0.5), cnn.Dense(5)),
    ),
    "average": cnn.Sequential(
        cnn.Rescale(), cnn.Conv2d(3, 3, bias=False), cnn.AvgPool2d(2), cnn.Flatten(), cnn.Dense(5)
    ),
    "residual": cnn.Sequential(
        cnn.Rescale(),
        cnn.Conv2d(4, 3, bias=False),  # BatchNorm takes a bias away: only noise would move it
        cnn.BatchNorm2d(),
        cnn.Residual(cnn.Sequential(cnn.Conv2d(4, 3, padding="same"), cnn.ReLU())),
        cnn.GlobalAvgPool2d(),
        cnn.Dense(5),
    ),
    "scaled": cnn.Sequential(
        cnn.Rescale(0.1307, (0.3081,)), cnn.Conv2d(4, 3), cnn.Flatten(), cnn.Dense(5)
    ),
    "one layer": cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(5)),
}
OPTIMIZERS = [
    cnn.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.001),
    cnn.AdamW(0.01),
]


def images_and_labels(count=40):
    rng = np.random.default_rng(7)
    images = rng.integers(0, 256, (count, 10, 9, 1), dtype=np.uint8)
    return images, rng.integers(0, 5, count).astype(np.int32)


def task_and_carry(network, optimizer, images, labels, dtype="float64"):
    rng = np.random.default_rng(3)
    params, state, _ = network.init(rng, images.shape[1:])
    carry = Carry(params, state, optimizer.init(params))
    carry = Carry(*(map_leaves(lambda leaf: leaf.astype(dtype), tree) for tree in carry))
    return Task(network, optimizer, images, labels, 11, dtype), carry


def plans(network, optimizer, launcher, images=None):
    """The plan under test, and the eager one on NumPy with the generic kernels."""
    host, labels = images_and_labels()
    task, carry = task_and_carry(network, optimizer, host, labels)
    placement = cnn.ArrayAPIStrict()
    strict = Task(
        network, optimizer, placement.asarray(host), placement.asarray(labels), 11, "float64"
    )
    place = lambda tree: map_leaves(placement.asarray, tree)  # noqa: E731
    expected = EagerTraining(placement, strict, Carry(*map(place, carry)))
    if images is not None:
        task = Task(network, optimizer, images, labels, 11, "float64")
    return HostCUDA(launcher).training_plan(task, carry), expected


def batches_of(sizes, count=40):
    rng = np.random.default_rng(5)
    return [rng.permutation(count)[:size].astype(np.int32) for size in sizes]


def assert_same(plan, expected, tolerance=1e-10):
    for actual_tree, expected_tree in zip(plan.snapshot(), expected.snapshot(), strict=True):
        actual, wanted = flatten(actual_tree), flatten(expected_tree)
        assert list(actual) == list(wanted)
        for name, array in actual.items():
            np.testing.assert_allclose(
                array, np.asarray(wanted[name]), rtol=tolerance, atol=tolerance, err_msg=name
            )


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["SGD", "AdamW"])
@pytest.mark.parametrize("name", NETWORKS)
def test_replayed_steps_are_those_of_the_eager_plan(name, optimizer):
    plan, expected = plans(NETWORKS[name], optimizer, Recorder())
    batches = batches_of([8] * 50 + [3])
    rates = learning_rates(optimizer, 0, 51, 51)
    losses, hits = plan.run(4, batches, rates)
    expected_losses, expected_hits = expected.run(4, batches, rates)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-10)
    np.testing.assert_array_equal(hits, expected_hits)
    assert_same(plan, expected)


@pytest.mark.parametrize("name", ["scratch", "basic", "residual"])
def test_float32_runs_repeat_to_the_last_bit_however_they_are_cut(name, monkeypatch):
    network, optimizer = NETWORKS[name], OPTIMIZERS[0]
    images, labels = images_and_labels()
    batches, rates = batches_of([8] * 20 + [3, 3, 8]), np.full(23, 0.05)
    results = []
    for chunks, capacity in [([23], 1024), ([1, 17, 5], 1024), ([23], 6)]:
        monkeypatch.setattr(recorded, "_CAPACITY", capacity)
        task, carry = task_and_carry(network, optimizer, images, labels, "float32")
        plan = HostCUDA(Recorder()).training_plan(task, carry)
        done, losses = 0, []
        for count in chunks:
            part = slice(done, done + count)
            losses.append(plan.run(done, batches[part], rates[part])[0])
            done += count
        results.append((np.concatenate(losses), flatten(plan.snapshot().params)))
    for losses, params in results[1:]:
        np.testing.assert_array_equal(losses, results[0][0])
        for path, array in params.items():
            np.testing.assert_array_equal(array, results[0][1][path])


def test_a_snapshot_stays_as_it_was_and_brings_the_plan_back():
    plan, _ = plans(NETWORKS["basic"], OPTIMIZERS[1], Recorder())
    rates = np.full(6, 0.01)
    plan.run(0, batches_of([8] * 6), rates)
    before = plan.snapshot()
    copies = [np.array(array) for tree in before for array in flatten(tree).values()]
    first = plan.run(6, batches_of([8] * 6), rates)[0]
    now = [array for tree in before for array in flatten(tree).values()]
    for array, copy in zip(now, copies, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert not np.array_equal(first, plan.run(12, batches_of([8] * 6), rates)[0])
    plan.restore(before)
    np.testing.assert_array_equal(plan.run(6, batches_of([8] * 6), rates)[0], first)


def test_the_callers_parameters_are_left_alone():
    optimizer, network = OPTIMIZERS[0], NETWORKS["scratch"]
    task, carry = task_and_carry(network, optimizer, *images_and_labels())
    copy = {name: np.array(array) for name, array in flatten(carry.params).items()}
    plan = HostCUDA(Recorder()).training_plan(task, carry)
    plan.run(0, batches_of([8] * 3), np.full(3, 0.1))
    for name, array in flatten(carry.params).items():
        np.testing.assert_array_equal(array, copy[name])


@pytest.mark.parametrize("steps_sent", [16, 17, 3, 1, 0.5])
def test_a_set_on_the_host_is_sent_part_by_part(monkeypatch, steps_sent):
    """As many steps as are allowed, or those of the longer graph; or one, where that is more."""
    most = int(8 * 90 * steps_sent)
    monkeypatch.setattr(recorded, "SENT_BYTES", most)
    images, _ = images_and_labels()
    launcher = Recorder()
    sizes = []
    launcher.sender = lambda shape, dtype: sizes.append(int(np.prod(shape))) or Sender()
    # One with dropout, whose bits go by an image's place in the set, not among those sent.
    network = NETWORKS["basic" if steps_sent == 3 else "scratch"]
    plan, expected = plans(network, OPTIMIZERS[0], launcher, MappedImages(images))
    batches, rates = batches_of([8] * 37 + [5]), np.full(38, 0.05)
    losses, hits = plan.run(0, batches, rates)
    expected_losses, expected_hits = expected.run(0, batches, rates)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-10)
    np.testing.assert_array_equal(hits, expected_hits)
    assert_same(plan, expected)
    assert 0.5 * most < sizes[0] <= max(most, 8 * 90)


class Counting(Recorder):
    copies = 0

    def contiguous(self, array):
        self.copies += not array.flags.c_contiguous
        return super().contiguous(array)


def test_a_set_in_another_order_of_axes_is_copied_once_and_not_each_step():
    images, _ = images_and_labels()
    plan, expected = plans(
        NETWORKS["scratch"], OPTIMIZERS[0], Counting(), np.asfortranarray(images)
    )
    batches, rates = batches_of([8] * 18 + [5]), np.full(19, 0.05)
    np.testing.assert_allclose(
        plan.run(0, batches, rates)[0], expected.run(0, batches, rates)[0], rtol=1e-10
    )
    assert plan._launcher.copies == 1


class Interrupted(Recorder):
    """Interrupts behind the launch at which ``left`` comes to an end."""

    left = 10**9

    def start(self, *launch):
        super().start(*launch)
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("recording", [False, True], ids=["rehearsing", "recording"])
@pytest.mark.parametrize("launch", ["first", "last"])
def test_an_interrupt_before_there_is_a_recording_leaves_whole_steps(launch, recording):
    """The last launch writes parameters: they are put back."""
    launcher = Interrupted()
    plan, _ = plans(NETWORKS["scratch"], OPTIMIZERS[0], launcher)
    plan.run(0, batches_of([8]), np.full(1, 0.1))
    count = launcher.recorded
    plan.close()
    before = [np.array(array) for array in flatten(plan.snapshot().params).values()]
    launcher.left = count * recording + (count if launch == "last" else 1)
    with pytest.raises(KeyboardInterrupt):
        plan.run(1, batches_of([8]), np.full(1, 0.1))
    assert launcher.left == 0
    assert not plan.finished().torn
    for one, array in zip(before, flatten(plan.snapshot().params).values(), strict=True):
        np.testing.assert_array_equal(array, one)


@pytest.mark.parametrize("name", NETWORKS)
def test_inference_is_that_of_the_eager_plan(name):
    network = NETWORKS[name]
    images, labels = images_and_labels()
    params, state, _ = network.init(np.random.default_rng(0), images.shape[1:])
    placement = cnn.ArrayAPIStrict()
    place = lambda tree: map_leaves(placement.asarray, tree)  # noqa: E731
    expected = EagerInference(placement, network, place(params), place(state), "float64")
    plan = HostCUDA(Recorder()).inference_plan(network, params, state, "float64")
    for count in (40, 7, 40, 7, 40):  # a size is recorded when it comes again
        np.testing.assert_allclose(
            plan.predict(images[-count:]),
            expected.predict(placement.asarray(images[-count:])),
            rtol=1e-12,
            atol=1e-12,
        )
        loss, correct = plan.evaluate(images[:count], labels[:count])
        expected_loss, expected_correct = expected.evaluate(
            placement.asarray(images[:count]), placement.asarray(labels[:count])
        )
        assert loss == pytest.approx(expected_loss, rel=1e-12)
        assert correct == expected_correct


def test_images_of_another_dtype_are_not_written_into_those_of_a_recording():
    images, _ = images_and_labels()
    network = NETWORKS["scratch"]
    params, state, _ = network.init(np.random.default_rng(0), images.shape[1:])
    plan = HostCUDA(Recorder()).inference_plan(network, params, state, "float64")
    for _ in range(2):
        plan.predict(images)
    for _ in range(2):
        with pytest.raises(cnn.InvalidTypeError, match=r"Rescale: .*uint8"):
            plan.predict(images / 255.0)


def test_a_model_learns_the_digits_on_the_cuda_kernels():
    digits = load_dataset("digits")
    model = cnn.Model(networks.scratch(), (8, 8, 1), backend=HostCUDA(Recorder()))
    model.fit(digits.train_images, digits.train_labels, epochs=3, optimizer=cnn.SGD(0.1, 0.9))
    other = cnn.Model(networks.scratch(), (8, 8, 1), backend=cnn.NumPy(fast=False))
    other.fit(digits.train_images, digits.train_labels, epochs=3, optimizer=cnn.SGD(0.1, 0.9))
    accuracy = model.evaluate(digits.test_images, digits.test_labels).accuracy
    assert accuracy > 0.9
    for name, array in model.parameters.items():
        np.testing.assert_allclose(array, other.parameters[name], rtol=0.01, atol=0.002)


@pytest.mark.parametrize(("name", "kernels"), [("scratch", 5), ("basic", 16)])
def test_a_step_is_so_many_kernels(name, kernels):
    """One too many costs a microsecond a step on a device: notice when it comes."""
    launcher = Recorder()
    plan, _ = plans(NETWORKS[name], OPTIMIZERS[0], launcher)
    plan.run(0, batches_of([8]), np.full(1, 0.1))
    assert launcher.recorded == kernels
