"""Who owns a recording gives it back: on a device, its memory comes back in no other way."""

import gc
import weakref

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn import profiling
from arraycnn.execution import Task, recorded_inference
from arraycnn.training.step import Carry
from arraycnn.tree import map_leaves
from test_cuda_graph import (
    NETWORKS,
    OPTIMIZERS,
    HostCUDA,
    Recorder,
    batches_of,
    images_and_labels,
    task_and_carry,
)

IMAGES, LABELS = images_and_labels()


class Replay:
    def __init__(self, work, launcher):
        self.work, self.launcher = work, launcher

    def __call__(self):
        assert self in self.launcher.open, "a recording is started that was released"
        self.work()


class Keeping(Recorder):
    """Knows the recordings that were not released."""

    def __init__(self):
        super().__init__()
        self.open, self.made = [], 0

    def capture(self, work):
        replay = Replay(super().capture(work), self)
        self.open.append(replay)
        self.made += 1
        return replay

    def release(self, recording):
        self.open.remove(recording)


@pytest.fixture
def launcher():
    return Keeping()


def model_on(launcher):
    return cnn.Model(NETWORKS["scratch"], (10, 9), backend=HostCUDA(launcher))


def new_plan(launcher):
    task, carry = task_and_carry(NETWORKS["scratch"], OPTIMIZERS[0], IMAGES, LABELS)
    return HostCUDA(launcher).training_plan(task, carry)


class Stop(cnn.Callback):
    def __init__(self, error):
        self.error = error

    def on_steps(self, progress):
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_a_training_leaves_no_recording_however_it_ends(launcher, error):
    model_on(launcher).fit(IMAGES, LABELS, batch_size=16)
    assert launcher.made == 2  # of the last batch, too
    assert launcher.open == []
    with pytest.raises(error):
        model_on(launcher).fit(IMAGES, LABELS, batch_size=16, callbacks=[Stop(error)])
    assert launcher.made == 3
    assert launcher.open == []


def test_a_training_on_batches_as_they_come_leaves_none(launcher):
    model_on(launcher).fit([(IMAGES[:20], LABELS[:20]), (IMAGES[20:], LABELS[20:])])
    assert launcher.made > 0
    assert launcher.open == []


def test_a_training_that_diverges_leaves_none(launcher):
    with pytest.raises(cnn.NonFiniteError):
        model_on(launcher).fit(IMAGES, LABELS, epochs=40, optimizer=cnn.SGD(1e30))
    assert launcher.made > 0
    assert launcher.open == []


def test_a_profile_leaves_none(launcher):
    for mode in ("train", "infer"):
        profiling.profile(model_on(launcher), 8, mode=mode, seconds=0.01, with_torch=False)
    assert launcher.made > 0
    assert launcher.open == []


def test_a_plan_that_was_closed_records_anew(launcher):
    plan, other = new_plan(launcher), new_plan(Keeping())
    batches, rates = batches_of([8] * 5), np.full(5, 0.1)
    for run in range(2):
        losses = plan.run(5 * run, batches, rates)[0]
        np.testing.assert_array_equal(losses, other.run(5 * run, batches, rates)[0])
        plan.close()
        plan.close()
        assert launcher.open == []
    assert launcher.made == 2
    np.testing.assert_array_equal(
        plan.snapshot().params["1"]["weight"], other.snapshot().params["1"]["weight"]
    )


def test_a_plan_that_nobody_holds_goes_without_the_collector(launcher):
    gc.disable()
    try:
        plan = new_plan(launcher)
        plan.run(0, batches_of([8]), np.full(1, 0.1))
        plan.close()
        gone = weakref.ref(plan)
        del plan
        assert gone() is None
    finally:
        gc.enable()


def inference(launcher):
    params, state, _ = NETWORKS["scratch"].init(np.random.default_rng(0), IMAGES.shape[1:])
    return HostCUDA(launcher).inference_plan(NETWORKS["scratch"], params, state, "float64")


def test_of_inference_so_many_recordings_are_kept_and_the_oldest_is_released(launcher, monkeypatch):
    monkeypatch.setattr(recorded_inference, "_MOST_RECORDINGS", 2)
    plan, expected = inference(launcher), {}
    for size in (3, 4, 5):
        expected[size] = plan.predict(IMAGES[:size])
    for size in (3, 4, 5, 3):
        before = list(launcher.open)
        np.testing.assert_array_equal(plan.predict(IMAGES[:size]), expected[size])
        assert launcher.open[:-1] == before[-1:]
    plan.close()
    assert launcher.open == []
    np.testing.assert_array_equal(plan.predict(IMAGES[:4]), expected[4])


def test_what_lies_in_the_memory_of_a_recording_is_dropped_before_it_is_released():
    """Or it would keep that memory."""
    made = []

    class Watching(Keeping):
        def empty(self, shape, dtype):
            array = super().empty(shape, dtype)
            if self.is_capturing:
                made.append(weakref.ref(array))
            return array

        def capture(self, work):
            self.is_capturing = True
            work()
            self.is_capturing = False
            return super().capture(lambda: None)

        def release(self, recording):
            super().release(recording)
            released.append([array() for array in made])

        is_capturing = False

    released, launcher = [], Watching()
    plan = inference(launcher)
    for _ in range(2):
        plan.predict(IMAGES[:3])
    assert any(array() is not None for array in made)
    plan.close()
    assert released == [[None] * len(made)]


def test_a_model_keeps_the_recordings_of_its_newest_parameters_alone(launcher):
    model = model_on(launcher)
    for _ in range(3):
        for _ in range(2):
            model.predict(IMAGES)
        assert len(launcher.open) == 1
        model.fit(IMAGES, LABELS, validation=(IMAGES[:9], LABELS[:9]), epochs=2)
        assert len(launcher.open) <= 1


@pytest.mark.parametrize("name", ["numpy", "array-api-strict", "torch", "jax"])
@pytest.mark.parametrize("graph", ["scratch", "residual"])
def test_every_plan_can_be_closed_and_used_again(name, graph):
    if name in ("torch", "jax"):
        pytest.importorskip(name)
    backend = cnn.NumPy(fast=False) if name == "numpy" else cnn.get_backend(name)
    network = NETWORKS["scratch"]
    if graph == "residual":
        network = cnn.Sequential(
            cnn.Rescale(), cnn.Residual(cnn.ReLU()), cnn.Flatten(), cnn.Dense(5)
        )
    task, carry = task_and_carry(network, OPTIMIZERS[0], IMAGES, LABELS, "float32")
    place = backend.asarray
    carry = Carry(*(map_leaves(place, tree) for tree in carry))
    task = Task(network, OPTIMIZERS[0], place(IMAGES), place(LABELS), 11, "float32")
    results = []
    for closes in (False, True):
        training = backend.training_plan(task, carry)
        passes = backend.inference_plan(network, carry.params, carry.state, "float32")
        found = []
        for number in range(2):
            found.append(training.run(number, batches_of([8]), np.full(1, 0.1))[0])
            found.append(passes.predict(place(IMAGES)))
            if closes:
                training.close()
                passes.close()
        results.append(found)
    for one, other in zip(*results, strict=True):
        np.testing.assert_array_equal(one, other)
