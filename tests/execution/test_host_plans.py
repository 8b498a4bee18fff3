"""The plans for NumPy: the same bits on any number of threads, and the numbers of the eager plan."""

import os
import subprocess
import sys
import threading
import time
import tracemalloc
from dataclasses import dataclass

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn import networks
from arraycnn.data import load_dataset
from arraycnn.execution import blas
from arraycnn.execution.blas import single_threaded_blas
from arraycnn.execution.thread_pool import ThreadPool
from arraycnn.tree import flatten
from optional import installed, needs

NETWORKS = {
    "scratch": networks.scratch(),
    "basic": networks.basic(),
    "batch norm": cnn.Sequential(
        cnn.Rescale(),
        cnn.Conv2d(8, 3, padding="same"),
        cnn.ReLU(),
        # No bias: before batch norm its gradient is 0 but for rounding, and Adam scales that up.
        cnn.Residual(
            cnn.Sequential(cnn.Conv2d(8, 3, padding="same", bias=False), cnn.BatchNorm2d())
        ),
        cnn.Dropout(0.2),
        cnn.Conv2d(16, 3, stride=2),
        cnn.ReLU(),
        cnn.GlobalAvgPool2d(),
        cnn.Dense(10),
    ),
    "fused": cnn.Sequential(
        cnn.Rescale(),
        cnn.Conv2d(4, 3),
        cnn.ReLU(),
        cnn.MaxPool2d(2),
        cnn.Dropout(0.1),
        cnn.Conv2d(40, 2, padding="same"),
        cnn.ReLU(),
        cnn.MaxPool2d(3, stride=1),
        cnn.Flatten(),
        cnn.Dense(10),
    ),
    "no biases": cnn.Sequential(
        cnn.Rescale(),
        cnn.Conv2d(16, 3, bias=False),
        cnn.ReLU(),
        cnn.Conv2d(16, 3, bias=False),
        cnn.MaxPool2d(2),
        cnn.Flatten(),
        cnn.Dense(12, bias=False),
        cnn.ReLU(),
        cnn.Dense(10, bias=False),
    ),
    "few outputs": cnn.Sequential(
        cnn.Rescale(),
        cnn.Conv2d(12, 3, padding="same"),
        cnn.ReLU(),
        cnn.MaxPool2d(2),
        cnn.Conv2d(20, 3, padding="same"),
        cnn.ReLU(),
        cnn.MaxPool2d(2),
        cnn.Conv2d(17, 2),
        cnn.ReLU(),
        cnn.Flatten(),
        cnn.Dense(10),
    ),
    "all trunk": cnn.Sequential(cnn.Rescale(), cnn.Conv2d(10, 3), cnn.GlobalAvgPool2d()),
    "all head": cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(10)),
}
HAS_LLVM = installed("llvmlite")
kernels = pytest.mark.parametrize(
    "fast",
    [
        False,
        pytest.param(
            True, marks=pytest.mark.skipif(not HAS_LLVM, reason="llvmlite is not installed")
        ),
    ],
    ids=["numpy", "compiled"],
)
each_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def trained(digits, network, backend, batch_size, dtype="float32", images=90):
    model = cnn.Model(network, (8, 8, 1), backend=backend, seed=3, dtype=dtype)
    history = model.fit(
        digits.train_images[:images],
        digits.train_labels[:images],
        epochs=2,
        batch_size=batch_size,
        optimizer=cnn.AdamW(0.01),
    )
    return history.step_losses, model.parameters, model.predict(digits.test_images[:50])


@pytest.fixture(scope="module")
def eager(digits):
    """`trained` by array-api-strict in float64, once for all that is compared with it."""
    kept = {}

    def of(network, batch_size, images=90):
        key = repr(network), batch_size, images
        if key not in kept:
            kept[key] = trained(digits, network, "array-api-strict", batch_size, "float64", images)
        return kept[key]

    return of


@kernels
@each_network
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_the_number_of_threads_never_shows(digits, network, batch_size, fast):
    images = 10 if batch_size == 1 else 90
    runs = [
        trained(digits, network, cnn.NumPy(threads, fast), batch_size, images=images)
        for threads in (1, 2, 3, 16)
    ]
    losses, parameters, probabilities = runs[0]
    for other_losses, other_parameters, other_probabilities in runs[1:]:
        np.testing.assert_array_equal(losses, other_losses)
        np.testing.assert_array_equal(probabilities, other_probabilities)
        for name, values in parameters.items():
            np.testing.assert_array_equal(values, other_parameters[name])


@kernels
@each_network
@pytest.mark.parametrize("batch_size", [1, 64])
def test_it_computes_what_the_eager_plan_computes(digits, eager, network, batch_size, fast):
    """Through array-api-strict: other kernels, another plan, the same numbers in float64."""
    images = 10 if batch_size == 1 else 90
    losses, parameters, probabilities = trained(
        digits, network, cnn.NumPy(fast=fast), batch_size, "float64", images
    )
    other = eager(network, batch_size, images)
    np.testing.assert_allclose(losses, other[0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(probabilities, other[2], rtol=0, atol=1e-10)
    for name, values in parameters.items():
        np.testing.assert_allclose(values, other[1][name], rtol=0, atol=1e-9)


SCALED = {
    "mean and std": cnn.Sequential(cnn.Rescale(0.1307, 0.3081), *networks.scratch().layers[1:]),
    "by channel": cnn.Sequential(cnn.Rescale((0.2,), (0.4,)), *networks.scratch().layers[1:]),
    "a layer alone": cnn.Sequential(cnn.Rescale(0.0, 0.5), cnn.Flatten(), cnn.Dense(10)),
}


@kernels
@pytest.mark.parametrize("network", SCALED.values(), ids=SCALED)
def test_what_rescales_by_a_mean_of_its_own_is_not_taken_for_the_plain_one(
    digits, eager, network, fast
):
    """The kernel that gathers and rescales knows x / 255 - 0.5 only."""
    found = trained(digits, network, cnn.NumPy(fast=fast), 32, "float64")
    other = eager(network, 32)
    plain = trained(
        digits,
        cnn.Sequential(cnn.Rescale(), *network.layers[1:]),
        cnn.NumPy(fast=fast),
        *(32, "float64"),
    )
    np.testing.assert_allclose(found[0], other[0], rtol=0, atol=1e-10)
    np.testing.assert_allclose(found[2], other[2], rtol=0, atol=1e-10)
    assert np.abs(found[0] - plain[0]).max() > 1e-3


@pytest.mark.skipif(not HAS_LLVM, reason="llvmlite is not installed")
@each_network
@pytest.mark.parametrize(("threads", "batch_size"), [(1, 7), (3, 32)])
def test_recorded_steps_write_no_byte_beyond_their_memory(digits, network, threads, batch_size):
    """Of a batch, a short last one and inference: all arrays and scratch lie between guards."""
    from guards import guarded_launches

    expected = trained(digits, network, cnn.NumPy(threads, True), batch_size, images=45)
    with guarded_launches() as runs:
        found = trained(digits, network, cnn.NumPy(threads, True), batch_size, images=45)
    np.testing.assert_array_equal(found[0], expected[0])
    np.testing.assert_array_equal(found[2], expected[2])
    if network not in (NETWORKS["batch norm"], NETWORKS["all trunk"]):  # which are not recorded
        assert max(runs) > 10


LYING = {
    "in Fortran's order": np.asfortranarray,
    "as a stack of pictures in Fortran's order": lambda a: np.stack(list(np.asfortranarray(a))),
    "backwards": lambda a: np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
    "every other pixel": lambda a: np.repeat(a, 2, axis=2)[:, :, ::2],
    "channels first": lambda a: np.ascontiguousarray(a.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1),
    "one image many times": lambda a: np.broadcast_to(a[:1], a.shape),
}


@kernels
@pytest.mark.parametrize("lying", LYING.values(), ids=LYING)
@pytest.mark.parametrize("kind", ["uint8", "float32"])
@pytest.mark.parametrize("first", [True, False], ids=["new", "known"])
def test_how_images_lie_in_memory_does_not_matter(lying, kind, first, fast):
    rng = np.random.default_rng(3)
    images = rng.integers(0, 256, (9, 6, 5, 2)).astype(kind)
    labels = np.arange(9, dtype=np.int32) % 3
    rescale = [cnn.Rescale()] if kind == "uint8" else []
    network = cnn.Sequential(*rescale, cnn.Conv2d(4, 2), cnn.ReLU(), cnn.Flatten(), cnn.Dense(3))
    shown = lying(images)
    plain = np.array(shown, order="C")

    def model():
        made = cnn.Model(network, (6, 5, 2), cnn.NumPy(fast=fast))
        if not first:
            made.predict(plain[::-1].copy())
        return made

    np.testing.assert_array_equal(model().predict(shown), model().predict(plain))
    assert model().evaluate(shown, labels) == model().evaluate(plain, labels)
    ones = [model(), model()]
    for one, given in zip(ones, (shown, plain), strict=True):
        one.fit(given, labels, batch_size=4, epochs=1)
    for name, array in ones[0].parameters.items():
        np.testing.assert_array_equal(array, ones[1].parameters[name], err_msg=name)


@pytest.mark.parametrize(
    ("before", "fast"),
    # Compiled, the gradient behind a convolution is 289 loops: half a minute of LLVM's.
    [([cnn.Conv2d(2, 3)], False), ([], False), pytest.param([], True, marks=needs("llvmlite"))],
    ids=["fused-numpy", "alone-numpy", "alone-compiled"],
)
def test_a_pool_of_more_pixels_than_a_byte_counts(before, fast):
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (6, 20, 19, 1), dtype=np.uint8), np.arange(6) % 3
    network = cnn.Sequential(
        cnn.Rescale(), *before, cnn.MaxPool2d(17, stride=1), cnn.Flatten(), cnn.Dense(3)
    )
    losses = [
        cnn.Model(network, (20, 19, 1), backend=backend, dtype="float64")
        .fit(images, labels, epochs=1, batch_size=3, optimizer=cnn.SGD(0.1))
        .step_losses
        for backend in (cnn.NumPy(fast=fast), "array-api-strict")
    ]
    np.testing.assert_allclose(*losses, rtol=0, atol=1e-10)


@kernels
def test_bytes_may_be_flattened_before_they_are_rescaled(digits, eager, fast):
    network = cnn.Sequential(cnn.Flatten(), cnn.Rescale(), cnn.Dense(10))
    losses, _, found = trained(digits, network, cnn.NumPy(fast=fast), 64, "float64")
    other_losses, _, expected = eager(network, 64)
    np.testing.assert_allclose(losses, other_losses, rtol=0, atol=1e-10)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-10)


@kernels
def test_a_division_by_zero_is_an_error_with_a_name(fast):
    """Adam with epsilon 0: where a gradient has always been 0, its step is 0 / 0."""
    network = cnn.Sequential(cnn.Flatten(), cnn.Dense(3, bias=False))
    model = cnn.Model(network, (4, 4, 1), backend=cnn.NumPy(fast=fast))
    with pytest.raises(cnn.NonFiniteError):
        model.fit(np.zeros((6, 4, 4, 1)), np.arange(6) % 3, optimizer=cnn.Adam(epsilon=0.0))


@kernels
def test_several_threads_may_ask_one_model(digits, fast):
    model = cnn.Model(networks.scratch(), (8, 8, 1), backend=cnn.NumPy(fast=fast), seed=3)
    parts = [digits.train_images[start : start + 40] for start in range(0, 400, 40)]
    expected = [model.predict(part) for part in parts]
    found = [[] for _ in parts]

    def ask(number):
        for _ in range(20):
            found[number].append(model.predict(parts[number]))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(len(parts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for answers, right in zip(found, expected, strict=True):
        assert len(answers) == 20
        for answer in answers:
            np.testing.assert_array_equal(answer, right)


@kernels
@pytest.mark.parametrize(
    "optimizer", [cnn.SGD(0.1, momentum=0.9), cnn.Adam(0.01)], ids=["sgd", "adam"]
)
def test_networks_without_parameters_train(fast, optimizer):
    images, labels = np.zeros((10, 4, 4, 1), np.uint8), np.arange(10) % 4
    network = cnn.Sequential(cnn.Rescale(), cnn.MaxPool2d(2), cnn.Flatten())
    model = cnn.Model(network, (4, 4, 1), backend=cnn.NumPy(fast=fast))
    history = model.fit(images, labels, batch_size=4, optimizer=optimizer)
    np.testing.assert_allclose(history.step_losses, np.log(4), rtol=1e-6)


@pytest.mark.parametrize("optimizer", [cnn.SGD(0.1), cnn.Adam(0.01)], ids=["sgd", "adam"])
def test_an_interrupt_between_two_calls_leaves_the_parameters_of_whole_steps(
    digits, optimizer, monkeypatch
):
    """Injected: Python looks for a signal after each call."""
    images, labels = digits.train_images[:24], digits.train_labels[:24]

    def fit(calls_before=10**9):
        model = cnn.Model(networks.scratch(), (8, 8, 1), backend=cnn.NumPy(1, False), seed=3)
        left = [calls_before]

        def make(calls):
            for function, arguments, options in calls:
                if left[0] == 0:
                    raise KeyboardInterrupt
                left[0] -= 1
                function(*arguments, **options)

        monkeypatch.setattr("arraycnn.ops.numpy.launcher._make", make)
        wholes = [model.parameters]

        class Kept(cnn.Callback):
            save_every = 1

            def on_save(self, state):
                wholes.append(flatten(state.carry.params))

        chosen = {"batch_size": 4, "optimizer": optimizer, "callbacks": [Kept()]}
        interrupted = False
        try:
            model.fit(images, labels, **chosen)
        except KeyboardInterrupt:
            interrupted = True
        return interrupted, model.parameters, wholes

    _, _, wholes = fit()
    assert len(wholes) >= 6
    interrupts = 0
    for calls in range(1, 400, 7):
        interrupted, found, _ = fit(calls_before=calls)
        interrupts += interrupted
        same = [all(np.array_equal(whole[name], found[name]) for name in found) for whole in wholes]
        assert any(same), calls
    assert interrupts >= 30


class Short(cnn.data.ImageSource):
    """A source that gives a row too few in a batch."""

    shape, dtype = (12, 4, 4, 1), np.dtype("uint8")

    def read(self, indices):
        return np.zeros((5 if len(indices) == 6 else len(indices), 4, 4, 1), np.uint8)


@kernels
def test_a_source_that_gives_too_few_rows_is_refused(fast):
    network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(3))
    model = cnn.Model(network, (4, 4, 1), backend=cnn.NumPy(fast=fast))
    with pytest.raises(cnn.InvalidValueError, match=r"images.read: must give .* \(6, 4, 4, 1\)"):
        model.fit(Short(), np.arange(12) % 3, batch_size=6)


def test_recordings_share_their_memory():
    """Of a short last batch, and of inference in many sizes."""
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (600, 28, 28), dtype=np.uint8), np.arange(600) % 10
    model = cnn.Model(networks.basic(), (28, 28), backend=cnn.NumPy(fast=False))
    tracemalloc.start()
    try:
        model.fit(images[:256], labels[:256], batch_size=256)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        model.fit(images[:456], labels[:456], batch_size=256)
        assert tracemalloc.get_traced_memory()[1] < 1.2 * held
        before = tracemalloc.get_traced_memory()[0]
        for size in (600, 500, 400, 300, 200, 100):
            for _ in range(2):  # recorded, and run from the recording
                model.predict(images[:size])
        assert tracemalloc.get_traced_memory()[0] - before < 0.5 * held
    finally:
        tracemalloc.stop()


def test_compiling_is_announced_and_loading_is_not(monkeypatch, caplog, tmp_path):
    pytest.importorskip("llvmlite", reason="llvmlite is not installed")
    from arraycnn.execution import compiled
    from arraycnn.ops.compiled.kernels.links import chain
    from arraycnn.ops.compiled.linking import load
    from arraycnn.ops.compiled.objects import ObjectFiles

    monkeypatch.setattr(compiled, "_NOTICED_SECONDS", 0.0)
    load(chain, "float32", 36, ObjectFiles(tmp_path))
    with compiled._announced():
        load(chain, "float32", 36, ObjectFiles(tmp_path))
        time.sleep(0.1)  # as on a busy machine, which takes its time to read the cache
    assert caplog.messages == []
    with compiled._announced():
        load(chain, "float32", 36, ObjectFiles(None))
        end = time.monotonic() + 60
        while not caplog.messages and time.monotonic() < end:  # said by a thread, which may be late
            time.sleep(0.01)
    (message,) = caplog.messages
    assert message.startswith("numpy: compiling kernels for this machine, once")


@dataclass(frozen=True)
class Tripled(cnn.Conv2d):
    """A convolution that does not compute what its base class does."""

    def forward(self, params, state, x, context):
        y, state, residuals = super().forward(params, state, x, context)
        return 3 * y, state, residuals


class Reversed(cnn.Sequential):
    def forward(self, params, state, x, context):
        y, state, residuals = super().forward(params, state, x, context)
        return y[:, ::-1], state, residuals


@dataclass(frozen=True, slots=True)
class Slotted:
    """A user's layer without a __dict__."""

    factor: float = 2.0

    def init(self, rng, input_shape):
        return {}, {}, input_shape

    def forward(self, params, state, x, context):
        return self.factor * x, state, ()

    def backward(self, params, residuals, dy, context, need_dx):
        return (self.factor * dy if need_dx else None), {}


@pytest.mark.parametrize(
    "network",
    [
        cnn.Sequential(cnn.Rescale(), Tripled(4, 3), cnn.ReLU(), cnn.Flatten(), cnn.Dense(10)),
        Reversed(cnn.Rescale(), cnn.Flatten(), cnn.Dense(10)),
        cnn.Sequential(cnn.Rescale(), cnn.Flatten(), Slotted(), cnn.Dense(10)),
    ],
    ids=["convolution", "sequential", "slots"],
)
def test_a_users_own_layers_compute_what_they_say(digits, network):
    images = digits.test_images[:40]
    expected = cnn.Model(network, (8, 8, 1), backend=cnn.ArrayAPIStrict()).predict(images)
    actual = cnn.Model(network, (8, 8, 1)).predict(images)
    np.testing.assert_allclose(actual, expected, rtol=1e-4)


def test_blas_has_its_threads_back_after_concurrent_use():
    # NumPy's BLAS: another library may have brought one of its own since.
    controller = blas._controller().select(user_api="blas")

    def threads():
        return {library["num_threads"] for library in controller.info()}

    with controller.limit(limits=2):
        entered, leave = threading.Barrier(2), threading.Event()

        def hold():
            with single_threaded_blas():
                entered.wait(10)
                leave.wait(10)

        holder = threading.Thread(target=hold)
        holder.start()
        entered.wait(10)
        with single_threaded_blas():
            assert threads() == {1}
        assert threads() == {1}  # the other thread is still inside
        leave.set()
        holder.join()
        assert threads() == {2}


@pytest.mark.parametrize("threads", [0, -1, 1.5, True, "2"])
def test_a_wrong_number_of_threads_is_refused(threads):
    with pytest.raises(cnn.ArraycnnError, match="NumPy: threads must be"):
        cnn.NumPy(threads=threads)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_pool_works_on_every_piece_raises_errors_and_goes_on(threads):
    pool, done = ThreadPool(threads), []

    def fail(number):
        if number == 7:
            raise ValueError("piece 7")

    for _ in range(20):
        done.clear()
        pool.run(done.append, 40)
        assert sorted(done) == list(range(40))
        with pytest.raises(ValueError, match="piece 7"):
            pool.run(fail, 40)
    pool.run(fail, 0)


FORK = """
import os, sys, threading

import numpy as np

import arraycnn as cnn
from arraycnn import networks

images = np.random.default_rng(0).integers(0, 256, (200, 8, 8, 1), dtype=np.uint8)
labels = np.arange(200) % 10
model = cnn.Model(networks.scratch(), (8, 8, 1), backend=cnn.NumPy(2), seed=0)
before = [model.predict(images) for _ in range(3)]  # its plan has been made, and recorded
busy = threading.Thread(target=lambda: [model.predict(images) for _ in range(3000)], daemon=True)
busy.start()  # so that the fork finds a recording at work
child = os.fork()
if child == 0:
    same = np.array_equal(model.predict(images), before[0])
    model.fit(images, labels, batch_size=100)
    os._exit(0 if same else 1)
os._exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


FORK_BLAS = """
import os, signal, sys, threading

from threadpoolctl import threadpool_info

from arraycnn.execution.blas import single_threaded_blas

def threads():
    return [found["num_threads"] for found in threadpool_info() if found["user_api"] == "blas"]

def enter_and_leave():
    while True:
        with single_threaded_blas():
            pass

with single_threaded_blas():
    pass
before = threads()
threading.Thread(target=enter_and_leave, daemon=True).start()
for _ in range(50):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        with single_threaded_blas():
            inside = threads()
        os._exit(0 if set(inside) == {1} and threads() == before else 1)
    if os.waitpid(child, 0)[1]:
        os._exit(1)
os._exit(0)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_between_two_calls_of_blas_leaves_no_lock_behind():
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "2"}
    subprocess.run([sys.executable, "-c", FORK_BLAS], check=True, timeout=120, env=environment)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_has_threads_of_its_own():
    subprocess.run([sys.executable, "-c", FORK], check=True, timeout=120)
