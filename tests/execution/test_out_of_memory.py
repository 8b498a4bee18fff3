"""Memory that does not suffice: what is said of it, and that what is said is true."""

import pickle
import re
import subprocess
import sys
import tracemalloc
import weakref
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn import OutOfMemoryError, networks
from arraycnn.backends import host_memory
from arraycnn.execution import EagerTraining, StepMemory, Task
from arraycnn.training.machine_failures import GuardedTraining
from arraycnn.training.step import Carry
from arraycnn.tree import map_leaves
from optional import installed
from test_cuda_graph import NETWORKS, HostCUDA, Recorder

FAST = [
    False,
    pytest.param(
        True,
        marks=pytest.mark.skipif(not installed("llvmlite"), reason="llvmlite is not installed"),
    ),
]
linux = pytest.mark.skipif(sys.platform != "linux", reason="the limit is Linux's")

# --- for real -------------------------------------------------------------------------------------

# The command in a process that may take 400 MB more than it has once all is compiled and loaded.
LIMITED = """
import os, resource, sys
import numpy as np
from arraycnn import Adam, Model, networks
from arraycnn.cli import main
images, labels = np.zeros((32, 28, 28), np.uint8), np.zeros(32, np.int32)
model = Model(networks.lenet5(10), (28, 28), backend="numpy")
model.fit(images, labels, batch_size=32, optimizer=Adam(0.001))
model.evaluate(images, labels)
taken = int(open("/proc/self/statm").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
resource.setrlimit(resource.RLIMIT_AS, (taken + 4 * 10**8,) * 2)
main()
"""


def limited(folder, *arguments):
    command = [sys.executable, "-c", LIMITED, "train", "--backend", "numpy", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@linux
def test_a_batch_that_does_not_fit_names_one_that_does(tmp_path):
    """For real: the system gives the process no more than 400 MB."""
    images = np.random.default_rng(0).integers(0, 256, (20000, 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "images.npz", images=images, labels=np.arange(20000) % 10)
    settings = ("--dataset", "images.npz", "--network", "lenet5", "--epochs", "1", "--out", "run")
    failed = limited(tmp_path, *settings, "--validation", "0", "--batch-size", "20000")
    assert failed.returncode == 2, failed.stderr
    assert "Traceback" not in failed.stderr
    figures = re.search(
        r"training: out of memory with batches of 16000 images: such a step takes about (\d+) MB "
        r"beside the data, and (\d+) MB were free; a batch size of (\d+) would fit",
        failed.stderr,
    )
    assert figures, failed.stderr
    taken, free, fitting = map(int, figures.groups())
    assert taken > free
    more = str(4 * fitting)  # what is named is not needlessly few
    failed_again = limited(tmp_path, "--resume", "run", "--override", "--batch-size", more)
    assert failed_again.returncode == 2, failed_again.stderr
    assert "training: out of memory with batches of" in failed_again.stderr
    resume = ("--resume", "run", "--batch-size", str(fitting), "--override")
    assert f"arraycnn train {' '.join(resume)} goes on from the last save" in failed.stderr
    done = limited(tmp_path, *resume)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("library", ["numpy", "torch", "jax.numpy"])
def test_each_library_is_understood(library):
    """For real: none has a thousand terabytes."""
    xp = pytest.importorskip(library)

    class Greedy(cnn.ReLU):
        def forward(self, params, state, x, context):
            return xp.zeros(10**15), state, {}

    backend = {"numpy": "numpy", "torch": "torch", "jax.numpy": "jax"}[library]
    network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), Greedy(), cnn.Dense(2))
    model = cnn.Model(network, (4, 4), backend=backend)
    images, labels = np.zeros((8, 4, 4), np.uint8), np.zeros(8, np.int32)
    with pytest.raises(OutOfMemoryError, match="out of memory with batches of 8 images"):
        model.fit(images, labels, batch_size=8)
    with pytest.raises(OutOfMemoryError, match=f"backend {backend}: out of memory"):
        model.predict(images)


# --- what is computed -----------------------------------------------------------------------------


def task_of(network, shape, count, optimizer):
    def single(tree):
        return map_leaves(lambda leaf: leaf.astype("float32"), tree)

    params, state, _ = network.init(np.random.default_rng(0), shape)
    carry = Carry(*map(single, (params, state, optimizer.init(params))))
    images, labels = np.zeros((count, *shape), np.uint8), np.zeros(count, np.int32)
    return Task(network, optimizer, images, labels, 0, "float32"), carry


def peak(plan, *counts):
    """Bytes of the first steps on so many images."""
    batches = [np.arange(count, dtype=np.int32) for count in counts]
    tracemalloc.start()
    try:
        plan.run(0, batches, np.full(len(counts), 0.01))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


OPTIMIZERS = {"sgd": cnn.SGD(0.01), "adam": cnn.Adam(0.01)}


@pytest.mark.parametrize(("optimizer", "count"), [("sgd", 1024), ("adam", 512)])
@pytest.mark.parametrize("name", ["scratch", "lenet5"])
@pytest.mark.parametrize("fast", FAST)
def test_recorded_steps_take_what_is_said(fast, name, optimizer, count):
    """Those of a whole batch and of a short last one."""
    network, optimizer = networks.NETWORKS[name](10), OPTIMIZERS[optimizer]
    task, carry = task_of(network, (28, 28, 1), 1024, optimizer)
    plan = cnn.NumPy(2, fast=fast).training_plan(task, carry)
    assert plan.memory().of(count) == pytest.approx(peak(plan, count, count - 100), rel=0.2)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_of_the_eager_plan_takes_no_more_than_is_said(optimizer):
    network = cnn.Residual(cnn.Sequential(cnn.Conv2d(4, 3, padding="same"), cnn.ReLU()))
    network = cnn.Sequential(cnn.Rescale(), cnn.Conv2d(4, 3), network, cnn.Flatten(), cnn.Dense(5))
    task, carry = task_of(network, (10, 9, 1), 256, OPTIMIZERS[optimizer])
    plan = EagerTraining(cnn.NumPy(1, fast=False), task, carry)
    peak(plan, 256)  # a first call leaves things behind that stay
    taken, said = peak(plan, 256), plan.memory().of(256)
    assert taken <= said < 4 * taken  # NumPy's kernels cut their columns, the generic do not


def test_how_many_images_fit():
    memory = StepMemory(fixed=100, per_image=30)
    assert memory.of(3) == 190
    assert [memory.most_images(free) for free in (0, 99, 129, 130, 189, 190)] == [0, 0, 0, 1, 2, 3]


def test_the_tightest_limit_counts(tmp_path, monkeypatch):
    """Injected: files as Linux writes them."""
    monkeypatch.setattr(host_memory, "_PROC", tmp_path)
    monkeypatch.setattr(host_memory, "_CGROUP", tmp_path)
    monkeypatch.setattr(host_memory, "_address_space", lambda: None)
    assert host_memory.free_host_memory() is None
    (tmp_path / "meminfo").write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    assert host_memory.free_host_memory() == 5000 * 1024
    (tmp_path / "memory.current").write_text("1000000\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert host_memory.free_host_memory() == 5000 * 1024
    (tmp_path / "memory.max").write_text("3000000\n")
    assert host_memory.free_host_memory() == 2000000
    monkeypatch.setattr(host_memory, "_address_space", lambda: 1500000)
    assert host_memory.free_host_memory() == 1500000


# --- what is said ---------------------------------------------------------------------------------


class NoRoom:
    """A plan whose every step runs out of memory; ``per_image`` None where it cannot be measured."""

    snapshot = restore = finished = close = None

    def __init__(self, per_image):
        self.per_image = per_image

    def run(self, first_step, batches, learning_rates):
        raise MemoryError

    def memory(self):
        return StepMemory(10**9, 10**6 * self.per_image)


@pytest.mark.parametrize(
    ("free", "per_image", "batch_size", "said"),
    [
        (3 * 10**9, 2, 250, "takes about 3.0 GB beside the data, and 3.0 GB were free; a batch"),
        (10**10, 2, 500, "a batch size of 500 would fit"),  # it did not: half of it, then
        (10**9, 2, None, "1.0 GB were free; not even one image fits: free memory"),
        (None, 2, None, "takes about 3.0 GB; use a smaller batch size"),
        (10**9, None, None, "of 1000 images; use a smaller batch size"),
    ],
)
def test_what_is_said_of_it(free, per_image, batch_size, said):
    """Injected."""
    backend = SimpleNamespace(free_memory=lambda: free, usable_memory=0.5)
    plan = GuardedTraining(NoRoom(per_image), backend)
    with pytest.raises(OutOfMemoryError, match=re.escape(said)) as caught:
        plan.run(0, [np.arange(1000), np.arange(7)], np.zeros(2))
    assert caught.value.batch_size == batch_size
    copy = pickle.loads(pickle.dumps(caught.value))
    assert (str(copy), copy.batch_size) == (str(caught.value), batch_size)


def test_other_errors_of_a_step_stay_what_they_are():
    plan = NoRoom(1)
    plan.run = lambda *_: (_ for _ in ()).throw(ZeroDivisionError("mine"))
    with pytest.raises(ZeroDivisionError, match="mine"):
        GuardedTraining(plan, cnn.NumPy()).run(0, [np.arange(3)], np.zeros(1))


# --- on a device ----------------------------------------------------------------------------------


class DeviceMemoryError(MemoryError):
    """As CuPy's OutOfMemoryError."""


class SmallDevice(Recorder):
    """Has ``room`` bytes for arrays, which count until nobody holds them."""

    def __init__(self, room):
        super().__init__()
        self.free = room

    def empty(self, shape, dtype):
        array = np.empty(shape, dtype)
        if array.nbytes > self.free:
            raise DeviceMemoryError(f"Out of memory allocating {array.nbytes:,} bytes")
        self.take(array.nbytes)
        weakref.finalize(array, self.take, -array.nbytes)
        return array

    def take(self, size):
        self.free -= size


@dataclass(frozen=True)
class SmallCUDA(HostCUDA):
    def free_memory(self):
        return self.launcher.free


def test_a_device_too_small_for_a_batch_names_one_that_fits():
    """Injected at the launcher, which hands out no more than 4 MB."""
    images = np.random.default_rng(0).integers(0, 256, (600, 10, 9, 1), dtype=np.uint8)
    labels = np.arange(600) % 5
    room = 4_000_000
    model = cnn.Model(NETWORKS["basic"], (10, 9), backend=SmallCUDA(SmallDevice(room)))
    with pytest.raises(OutOfMemoryError, match="and 4 MB were free; a batch size of") as caught:
        model.fit(images, labels, batch_size=600)
    fitting = caught.value.batch_size
    assert 60 < fitting < 600
    model = cnn.Model(NETWORKS["basic"], (10, 9), backend=SmallCUDA(SmallDevice(room)))
    model.fit(images, labels, batch_size=fitting)


def poison(monkeypatch):
    """New memory is all signalling NaN and -1, as it may be where others have been before."""
    fresh = np.empty

    def full(*arguments, **options):
        array = fresh(*arguments, **options)
        if array.dtype.kind in "iuf":
            words = {"f4": 0xFFA00000, "f8": 0xFFF4000000000000}
            word = words.get(array.dtype.str[1:], 2 ** (8 * array.itemsize) - 1)
            np.copyto(array, np.array([word], f"u{array.itemsize}").view(array.dtype))
        return array

    monkeypatch.setattr(np, "empty", full)


@pytest.mark.parametrize("loss", [cnn.SoftmaxCrossEntropy(), cnn.MeanSquaredError()])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETWORKS)
def test_what_lies_in_memory_says_nothing_of_how_much_a_step_takes(
    name, dtype, loss, monkeypatch, recwarn
):
    """Nothing is computed there: garbage read as losses warned, or no batch size was named at all."""
    task, carry = task_of(NETWORKS[name], (10, 9, 1), 64, cnn.Adam(0.01))
    if isinstance(loss, cnn.MeanSquaredError):
        task = replace(task, labels=np.zeros((64, 5), dtype))
    carry = Carry(*(map_leaves(lambda leaf: leaf.astype(dtype), tree) for tree in carry))
    task = replace(task, loss=loss, dtype=dtype)

    def measured():
        return HostCUDA(Recorder()).training_plan(task, carry).memory()

    before = measured()
    with monkeypatch.context() as patched:
        poison(patched)
        assert measured() == before
    assert not recwarn.list


class Normed(cnn.Dense):
    """A user's: its weight divided by its norm, which is none where the weight is zero."""

    def forward(self, params, state, x, context):
        weight = params["weight"]
        norm = (weight * weight).sum() ** 0.5
        return super().forward({**params, "weight": weight / norm}, state, x, context)


def test_a_layer_that_divides_by_its_weights_is_measured_without_a_warning():
    network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), Normed(5))
    task, carry = task_of(network, (4, 4, 1), 16, cnn.SGD(0.01))
    assert EagerTraining(cnn.NumPy(1, fast=False), task, carry).memory().per_image > 0
