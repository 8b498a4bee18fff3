"""What waits for what: with lazy streams, whatever is not waited for is seen as it was before."""

import gc
import threading
import weakref

import numpy as np
import pytest

from arraycnn import SGD, CuPy, Model
from arraycnn.execution import recorded
from arraycnn.networks import NETWORKS
from arraycnn.ops.cuda.cupy import cupy_launcher
from optional import Late
from test_across_backends import NETWORK

pytestmark = pytest.mark.usefixtures("driver")
cupy = Late("cupy")

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (75, 12, 12, 1), np.uint8)
LABELS = RNG.integers(0, 10, len(IMAGES))
CLASSES = tuple(str(number) for number in range(10))


def new_model(**options):
    backend = CuPy(**options)
    return Model(NETWORKS["scratch"](), (12, 12), backend=backend, seed=3, class_names=CLASSES)


def trained(epochs=2, **options):
    """Losses and parameters of a training: batches of two, the last of each epoch of one."""
    model = new_model(**options)
    history = model.fit(IMAGES, LABELS, epochs=epochs, batch_size=2, optimizer=SGD(0.05, 0.9))
    return history.step_losses, *model.parameters.values()


def check_close(actual, expected):
    """But for the rounding of fused kernels."""
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def expected(driver):
    """Of steps that run kernel by kernel."""
    return trained(graph=False)


@pytest.fixture
def _long_chunks(monkeypatch):
    monkeypatch.setattr("arraycnn.training.loop._next_chunk", lambda steps, seconds: 1024)


@pytest.mark.usefixtures("_long_chunks")
def test_recorded_steps_are_those_run_kernel_by_kernel(expected):
    check_close(trained(), expected)


def test_a_replay_carries_the_state_of_layers():
    found = []
    for graph in (False, True):
        model = Model(NETWORK["residual"], (12, 12), backend=CuPy(graph=graph), seed=3)
        model.fit(IMAGES, LABELS % 3, epochs=2, batch_size=25)
        found.append((model.predict(IMAGES),))
    check_close(*found)


@pytest.mark.usefixtures("_long_chunks")
def test_a_set_that_is_sent_gives_the_same(expected, monkeypatch):
    monkeypatch.setattr("arraycnn.backends.cupy._RESIDENT_SHARE", 0.0)
    monkeypatch.setattr(recorded, "SENT_BYTES", 1)  # sixteen steps at a time
    check_close(trained(), expected)


@pytest.mark.usefixtures("_long_chunks")
def test_a_stream_of_the_users_gives_the_same(expected):
    with cupy.cuda.Stream(non_blocking=True) as stream:
        found = trained()
        model = new_model()
        predictions = [model.predict(IMAGES) for _ in range(4)]
        stream.synchronize()
    check_close(found, expected)
    check_close(predictions, [new_model(graph=False).predict(IMAGES)] * 4)


def test_a_replayed_prediction_is_of_the_images_it_was_given():
    model, plain = new_model(), new_model(graph=False)
    parts = [IMAGES[start : start + 5] for start in range(0, 30, 5)]
    for part in parts:
        found = model.predict(part)
        check_close(found, plain.predict(part))
        np.testing.assert_array_equal(found, new_model().predict(part))  # launched, not replayed


def test_no_one_else_is_given_the_memory_of_a_recording():
    model = new_model()
    expected = [model.predict(IMAGES) for _ in range(3)][-1]
    cupy.get_default_memory_pool().free_all_blocks()
    taken = [cupy.full(size, np.nan, "float32") for size in (10, 1000, 100_000)]
    np.testing.assert_array_equal(model.predict(IMAGES), expected)
    del taken


def test_evaluations_between_steps_are_of_the_parameters_so_far():
    found = []
    for graph in (False, True):
        model = new_model(graph=graph)
        history = model.fit(
            IMAGES, LABELS, epochs=4, batch_size=25, validation=(IMAGES[:30], LABELS[:30])
        )
        found.append([record.validation_loss for record in history])
    check_close(*found)


# -- the sender --------------------------------------------------------------------------------------


def test_parts_that_are_sent_arrive_in_turn():
    """Each is seen as it was when it was sent, by what was started after it."""
    launcher = cupy_launcher(0)
    parts = [np.full((4, 3), number, np.float32) for number in range(1, 7)]
    sender, target = launcher.sender((4, 3), "float32"), launcher.empty((4, 3), "float32")
    seen = []
    for part in parts:
        rows = part.copy()
        sender.send(rows, target)
        rows[...] = -1.0  # the caller's again
        seen.append(target * 2.0)
    for found, part in zip(seen, parts, strict=True):
        np.testing.assert_array_equal(launcher.to_numpy(found), part * 2.0)


def test_kernels_that_may_run_at_a_time_share_no_counters(driver):
    """Of two streams, of two threads' default streams, which have one handle, and of a recording."""
    launcher, streams = cupy_launcher(0), [cupy.cuda.Stream(non_blocking=True) for _ in range(2)]
    found, gone = [], []

    def note():
        for stream in (*streams, cupy.cuda.Stream.ptds):
            with stream:
                addresses = {launcher.counter().data.ptr for _ in range(3)}
                assert not launcher.to_numpy(launcher.counter()).any()
            found.extend(addresses)

    def note_in_a_thread():
        note()
        gone.append(weakref.ref(launcher.counter()))

    note()
    thread = threading.Thread(target=note_in_a_thread)
    thread.start()
    thread.join()
    recording = launcher.capture(lambda: found.append(launcher.counter().data.ptr))
    assert len(set(found)) == len(found) == 7
    launcher.release(recording)
    gc.collect()
    assert gone[0]() is None  # with its thread


def test_a_short_part_leaves_the_rest():
    launcher = cupy_launcher(0)
    sender, target = launcher.sender((4, 3), "float32"), launcher.empty((4, 3), "float32")
    sender.send(np.ones((4, 3), np.float32), target)
    sender.send(np.full((1, 3), 5.0, np.float32), target)
    assert launcher.to_numpy(target)[:, 0].tolist() == [5.0, 1.0, 1.0, 1.0]


def test_a_new_sender_waits_for_what_used_its_memory_before():
    """Three parts, since only the third makes the first be copied before it is waited for."""
    launcher = cupy_launcher(0)
    cupy.get_default_memory_pool().free_all_blocks()
    before = [launcher.asarray(np.ones((64, 64), np.float32)) for _ in range(2)]
    cupy.cuda.Stream.null.synchronize()
    doubled = [array * 2.0 for array in before]
    addresses = {array.data.ptr for array in before}
    del before
    sender = launcher.sender((64, 64), "float32")
    assert {array.data.ptr for array in sender._device} == addresses
    target = launcher.empty((64, 64), "float32")
    for number in range(3):
        sender.send(np.full((64, 64), number, np.float32), target)
    for array in doubled:
        assert (launcher.to_numpy(array) == 2.0).all()
