"""Where parameters stand after an interrupt or an error: where `steps_done` says, with no step lost."""

import ctypes
import importlib.util
import itertools
import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import arraycnn as cnn
import interrupts
from arraycnn.execution import blas
from arraycnn.execution.recorded import RecordedTraining
from arraycnn.execution.thread_pool import ThreadPool
from arraycnn.model.standing import Standing
from arraycnn.training.batches import Batches
from interrupts import BATCH, HELD_OUT, IMAGES, LABELS, Told, Way, arrays, check_at, growing_chunks


@pytest.fixture
def way(request):
    package = interrupts.WAYS[request.param][2]
    if package and importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    return request.param


def each(*names):
    return pytest.mark.parametrize("way", names, indirect=True)


FEW = [
    "compiled, one thread",
    "compiled, eager",
    "compiled, calls",
    "NumPy, eager",
    "NumPy, calls",
    "array-api-strict",
]
every_way = each(*interrupts.WAYS)

# --- at any moment (`python tests/interrupts.py` tries more of them) --------------------------------


@each("compiled", "NumPy", "torch", "JAX")
def test_an_interrupt_at_any_line_leaves_a_state_of_whole_steps_and_a_resume_its_end(way):
    interrupts.injected(way, "array", 10 if way in ("compiled", "NumPy") else 4, seed=1)


@each("compiled", "NumPy", "torch", "JAX")
def test_a_signal_at_any_time_leaves_a_state_of_whole_steps_and_a_resume_its_end(way):
    interrupts.signalled(way, "array", 10 if way in ("compiled", "NumPy") else 6, seed=2)


@each("compiled", "NumPy", "torch")
def test_two_signals_that_follow_quickly_do_so_too(way):
    interrupts.signalled(way, "array", 4, seed=3, twice=True)


@each(*FEW)
def test_so_does_every_other_plan(way):
    interrupts.injected(way, "array", 4, seed=4)
    interrupts.signalled(way, "array", 3, seed=5)


@each("compiled", "NumPy", "NumPy, eager")
@pytest.mark.parametrize("images", ["source", "iterable"])
def test_so_does_every_kind_of_set(way, images):
    interrupts.injected(way, images, 4, seed=6)
    interrupts.signalled(way, images, 4, seed=7, twice=True)


def test_so_does_a_forked_child():
    command = [sys.executable, str(Path(interrupts.__file__)), "--forked"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_signal_is_raised_within_what_is_interrupted_and_nowhere_else():
    """At each line after it one comes: were it raised there, it would end the tests by chance."""
    came, caught = 0, []

    def come(frame, event, argument):
        nonlocal came
        if frame.f_code is interrupts.interrupted.__code__:
            came += 1
            signal.raise_signal(signal.SIGINT)
        return come

    def work():
        try:
            while True:
                pass
        except KeyboardInterrupt as error:
            caught.append(error)
            sys._getframe(2).f_trace = come
            sys.settrace(come)
            raise

    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    traced = sys.gettrace()
    try:
        interrupts.interrupted(work, 0.0)
    finally:
        sys.settrace(traced)
        signal.signal(signal.SIGINT, before)
    assert len(caught) == 1
    assert came > 3


@each("compiled", "NumPy")
def test_a_thread_that_trains_is_interrupted_as_a_signal_does_it(way):
    way = Way(way, repeats=50)
    model, told, states, ended = way.model(), Told(), [], []

    def train():
        way.fit(model, told)  # to which there is no other end
        ended.append("as if nothing had come")

    thread = threading.Thread(target=train)
    thread.start()
    while model.steps_done < 20:  # who looks from another thread finds what belongs together
        states.append(model.standing)
    with interrupts.again_where_dropped():
        while thread.is_alive():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident), ctypes.py_object(KeyboardInterrupt)
            )
            thread.join(0.0)
    assert not ended
    way.check(model, told)
    truth = way.states(max(standing.steps_done for standing in states), every=1)
    for steps, standing in {standing.steps_done: standing for standing in states}.items():
        if steps:
            interrupts.same(arrays(standing.params), arrays(truth.states[steps].carry.params))


# --- no step that was done is thrown away -----------------------------------------------------------


class Failing(interrupts.Listed):
    """A source whose storage is gone after so many batches."""

    left = 10**9

    def read(self, indices):
        if self.left == 0:
            raise OSError("the disk is gone")
        self.left -= 1
        return super().read(indices)


class Arm(cnn.Callback):
    def __init__(self, act):
        self.on_begin = lambda state: act()


@every_way
@pytest.mark.parametrize("steps", [0, 1, 4, 17])
def test_a_source_that_fails_within_a_chunk_leaves_the_steps_before(way, steps):
    way, source = Way(way, "source", epochs=4), Failing(IMAGES)
    model, told, way.set = way.model(), Told(), (source, LABELS)
    with growing_chunks(), pytest.raises(OSError, match="the disk is gone"):
        way.fit(model, told, Arm(lambda: setattr(source, "left", steps)))
    assert model.steps_done == steps
    source.left = 10**9
    way.check(model, told)


@every_way
@pytest.mark.parametrize("steps", [1, 4, 9])
def test_an_iterable_that_fails_within_a_chunk_leaves_the_steps_before(way, steps):
    way, left = Way(way, "iterable", epochs=4), 10**9

    def batches():
        nonlocal left
        for start in itertools.cycle(range(0, 20, BATCH)):
            if left == 0:
                raise OSError("the disk is gone")
            left -= 1
            yield IMAGES[start : start + BATCH], LABELS[start : start + BATCH]

    def arm():
        nonlocal left
        left = steps

    model, told, way.set = way.model(), Told(), (Batches(batches, 20), None)
    with growing_chunks(), pytest.raises(OSError, match="the disk is gone"):
        way.fit(model, told, Arm(arm))
    assert model.steps_done == steps
    left, way.last, way.kind = 10**9, 80, (*way.kind, "20 images")
    way.check(model, told)


class Spoilt(cnn.SGD):
    """An optimizer whose update fails once, after ``left`` others."""

    left, error = 0, None

    def update(self, *arguments):
        Spoilt.left -= 1
        if Spoilt.left == -1:
            raise Spoilt.error
        return super().update(*arguments)


@each("torch", "array-api-strict")
@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt, ZeroDivisionError, SystemExit])
def test_an_error_of_a_step_leaves_the_steps_before(way, error):
    Spoilt.left, Spoilt.error = 7, error
    way = Way(way, epochs=4)
    model = way.model()
    settings = {"epochs": 4, "batch_size": BATCH}
    raised = cnn.OutOfMemoryError if error is MemoryError else error
    with growing_chunks(), pytest.raises(raised):
        model.fit(IMAGES, LABELS, optimizer=Spoilt(0.1), **settings)
    assert model.steps_done == model.unfinished.steps_done == 7
    model.fit(IMAGES, LABELS, optimizer=Spoilt(0.1), resume=model.unfinished, **settings)
    whole = way.model()
    whole.fit(IMAGES, LABELS, optimizer=Spoilt(0.1), **settings)
    interrupts.same(model.parameters, whole.parameters)


@each("JAX")
@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_an_error_of_a_compiled_step_leaves_the_steps_before(way, error, monkeypatch):
    from arraycnn.execution.jitted import JittedTraining

    way, step, left = Way(way, epochs=4), JittedTraining._step, 7

    def failing(*arguments):
        nonlocal left
        left -= 1
        if left == -1:
            raise error
        return step(*arguments)

    monkeypatch.setattr(JittedTraining, "_step", failing)
    model, told = way.model(), Told()
    raised = cnn.OutOfMemoryError if error is MemoryError else error
    with growing_chunks(), pytest.raises(raised):
        way.fit(model, told)
    assert model.steps_done == model.unfinished.steps_done == 7
    way.check(model, told)


@pytest.mark.parametrize("name", ["NumPy", "NumPy, eager"])
def test_plain_numpy_keeps_the_steps_before_the_one_that_was_torn(name, monkeypatch):
    way, left = Way(name, epochs=1), 10**9
    way.backend, way.set = cnn.NumPy(1, fast=False), (IMAGES[:20], LABELS[:20])
    way.last = 5

    def make(calls):
        nonlocal left
        for function, arguments, options in calls:
            left -= 1
            if left == -1:
                raise KeyboardInterrupt
            function(*arguments, **options)

    monkeypatch.setattr("arraycnn.ops.numpy.launcher._make", make)
    way.fit(way.model(), Told())
    calls = (10**9 - left) // 5
    assert calls > 20
    with growing_chunks():
        for whole, part in itertools.product(range(5), (0, 1, calls // 2, calls - 1)):
            left, model, told = whole * calls + part, way.model(), Told()
            with pytest.raises(KeyboardInterrupt):
                way.fit(model, told)
            assert model.steps_done == whole
            way.check(model, told)


@each("compiled", "compiled, one thread", "compiled, calls")
@pytest.mark.parametrize(("replays", "steps"), [(1, 1), (3, 3), (6, 21), (7, 37), (9, 69)])
def test_compiled_steps_count_that_were_done_when_the_interrupt_came(
    way, replays, steps, monkeypatch
):
    """Chunks of 1, 4, 16 and 64 steps; recordings of 16 steps and of one."""
    way, left, replay = Way(way, repeats=50), 10**9, RecordedTraining._replay

    def interrupted(plan, graph):
        def then_interrupt():
            nonlocal left
            graph()
            left -= 1
            if left == 0:
                raise KeyboardInterrupt

        replay(plan, then_interrupt)

    def arm():
        nonlocal left
        left = replays

    monkeypatch.setattr(RecordedTraining, "_replay", interrupted)
    model, told = way.model(), Told()
    with growing_chunks(), pytest.raises(KeyboardInterrupt):
        way.fit(model, told, Arm(arm))
    assert model.steps_done == steps
    left = 10**9
    way.check(model, told)


@pytest.mark.parametrize("signals", [1, 2, 5])
def test_the_pool_leaves_nobody_at_work_however_often_it_is_interrupted(signals):
    pool, done = ThreadPool(2), []
    begun, joined, release = threading.Event(), threading.Event(), threading.Event()

    def piece(number):
        if threading.current_thread() is threading.main_thread():
            begun.wait()
            joined.set()
        else:
            begun.set()
            release.wait()
            done.append(number)

    def send():
        joined.wait()  # else, on a busy machine, one thread might do both pieces
        for _ in range(signals):
            time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        release.set()

    # A shell's background job inherits that SIGINT is ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            pool.run(piece, 2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(done) == 1
    sender.join()
    pool.run(done.append, 5)
    assert len(done) == 6


# --- what callbacks are told ------------------------------------------------------------------------


def logs_in(folder):
    return [cnn.StepLog(folder / "steps"), cnn.JSONLog(folder / "epochs")]


def logged(folder):
    """(the log of steps, the losses of epochs)."""
    epochs = (folder / "epochs").read_text().splitlines()
    return (folder / "steps").read_bytes(), [json.loads(line)["train_loss"] for line in epochs]


@pytest.fixture(scope="module")
def whole_logs(tmp_path_factory):
    """By the name of a way, `logged` of a training that nothing interrupts."""
    kept = {}

    def logs(name):
        if name not in kept:
            way, folder = Way(name, epochs=5), tmp_path_factory.mktemp("whole")
            with growing_chunks():
                way.fit(way.model(), *logs_in(folder))
            kept[name] = logged(folder)
        return kept[name]

    return logs


@each("compiled", "NumPy, eager")
@pytest.mark.parametrize("hook", ["on_steps", "on_epoch", "on_save"])
@pytest.mark.parametrize("at", [1, 2, 3, 4])
@pytest.mark.parametrize("first", [True, False])
def test_a_log_of_steps_has_each_of_them_once(way, hook, at, first, tmp_path, whole_logs):
    """Whatever failed, before the logs or after them, a file was saved, and another model went on."""

    class Fails(cnn.Callback):
        left, save_every = at, 5

    def fail(self, *_):
        Fails.left -= 1
        if Fails.left == 0:
            raise OSError("no space")

    setattr(Fails, hook, fail)
    expected = whole_logs(way)
    way, callbacks = Way(way, epochs=5), logs_in(tmp_path)
    with growing_chunks():
        model = way.model()
        with pytest.raises(OSError, match="no space"):
            way.fit(model, *([Fails(), *callbacks] if first else [*callbacks, Fails()]))
        model.save(tmp_path / "last.npz", model.unfinished)
        model, training = cnn.Model.load_training(tmp_path / "last.npz", way.backend)
        assert training.untold == model_untold(training)
        model.standing = Standing(*model.trees, model.epochs_done, model.steps_done, training)
        way.fit(model, *callbacks)
    assert logged(tmp_path) == expected


def model_untold(training):
    """Numbers, and no more of them than steps."""
    assert all(type(loss) is float and type(correct) is int for loss, correct in training.untold)
    return training.untold[-training.step :] if training.step else ()


def test_on_steps_finds_the_model_with_the_parameters_of_these_steps():
    way = Way("NumPy", epochs=2)
    model, truth = way.model(), way.states(way.last, every=1)

    class Look(Told):
        def on_steps(self, progress):
            super().on_steps(progress)
            assert model.steps_done == len(self.losses)
            check_at(model, truth, self)

    with growing_chunks():
        way.fit(model, look := Look())
    assert look.losses == truth.losses


def test_on_begin_finds_a_model_with_the_parameters_that_a_resume_begins_with():
    way, seen = Way("NumPy", epochs=2), []
    training, other = way.states(4).states[4], way.model()

    class Look(cnn.Callback):
        def on_begin(self, state):
            seen.append((other.steps_done, other.unfinished, other.parameters))
            return True

    settings = {"epochs": 2, "batch_size": BATCH, "optimizer": cnn.AdamW(0.01)}
    other.fit(*way.set, resume=training, callbacks=[Look()], **settings)
    ((steps, unfinished, parameters),) = seen
    assert (steps, unfinished.position) == (4, 4)
    interrupts.same(parameters, arrays(training.carry.params))


def test_a_loss_of_nan_is_told_up_to_the_last_finite_one():
    """Chunks of 1, 4 and 16 steps."""

    class Explodes:
        def __call__(self, step, total):
            return 3e38 if step == 12 else 0.01

    way, told = Way("NumPy", repeats=50), Told()
    model, settings = way.model(), {"batch_size": BATCH, "callbacks": [told]}
    with growing_chunks(), pytest.raises(cnn.NonFiniteError):
        model.fit(*way.set, optimizer=cnn.SGD(Explodes()), **settings)
    assert len(told.losses) == model.steps_done == 12


def test_an_epoch_counts_once_its_callbacks_know_of_it():
    way = Way("NumPy", epochs=2)
    model, seen = way.model(), []

    class Fail(cnn.Callback):
        def on_epoch(self, record):
            seen.append((model.epochs_done, model.unfinished.records[-1]))
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        way.fit(model, Fail())
    assert [(epochs, record.epoch) for epochs, record in seen] == [(1, 1)]
    assert (model.epochs_done, model.steps_done) == (0, 6)
    assert (model.unfinished.step, model.unfinished.records) == (6, ())


# --- what models of before have ---------------------------------------------------------------------


def test_a_model_pickled_before_it_had_a_standing_is_read():
    way = Way("NumPy", epochs=1)
    model = way.model()
    way.fit(model, Told())
    before = model.__getstate__()
    standing = before.pop("standing")
    before |= {"_params": standing.params, "_state": standing.state, "unfinished": None}
    before |= {"epochs_done": standing.epochs_done, "steps_done": standing.steps_done}
    old = cnn.Model.__new__(cnn.Model)
    old.__setstate__(before)
    for found in (old, pickle.loads(pickle.dumps(old)), pickle.loads(pickle.dumps(model))):
        assert (found.epochs_done, found.steps_done, found.unfinished) == (1, 6, None)
        interrupts.same(found.parameters, model.parameters)
        np.testing.assert_array_equal(found.predict(HELD_OUT[0]), model.predict(HELD_OUT[0]))


def test_an_interrupt_at_any_line_of_the_limit_of_blas_leaves_no_lock_and_no_limit():
    """The next to come does not wait for it, and the last to leave gives BLAS its threads back."""
    controller = blas._controller().select(user_api="blas")
    with controller.limit(limits=3):
        before = [found["num_threads"] for found in controller.info()]

        def visit(at):
            lines = 0

            def count(frame, event, argument):
                nonlocal lines
                if frame.f_code.co_filename != blas.__file__:
                    return None
                if event == "line":
                    lines += 1
                    if lines == at:
                        raise KeyboardInterrupt
                return count

            sys.settrace(count)
            try:
                with suppress(KeyboardInterrupt), blas.single_threaded_blas():
                    pass
            finally:
                sys.settrace(None)
            return lines

        visit(0)
        for at in range(1, visit(0) + 1):
            visit(at)
            with blas.single_threaded_blas():
                assert {found["num_threads"] for found in controller.info()} == {1}
            assert [found["num_threads"] for found in controller.info()] == before, at
