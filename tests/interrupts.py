"""Interrupts at any moment of a training: what the model holds is what its steps have made.

    python tests/interrupts.py                  20 moments of each kind and backend
    python tests/interrupts.py --moments 1000   more of them
    python tests/interrupts.py --forked         in a child that was forked after a first training

Injected: `KeyboardInterrupt` is raised at a random line of this library, which is where Python may
raise it for a signal. Signals: real SIGINTs, one or two, from another thread, at a random time.
After each, the model is compared with one that was stopped at just so many steps, and after both
have gone on for some steps, with that again: parameters, layer state, optimizer state, sums, and
the losses that a callback was told of.
"""

import argparse
import importlib.util
import itertools
import os
import random
import signal
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import arraycnn as cnn
from arraycnn.training import loop as fitting
from arraycnn.tree import flatten

SOURCE = str(Path(cnn.__file__).parent)
RNG = np.random.default_rng(7)
IMAGES, LABELS = RNG.integers(0, 256, (22, 5, 5, 1), np.uint8), RNG.integers(0, 3, 22)
HELD_OUT = (RNG.integers(0, 256, (5, 5, 5, 1), np.uint8), np.arange(5) % 3)
BATCH = 4  # and a last one of 2: an epoch has 6 steps
OF_KERNELS = cnn.Sequential(
    cnn.Rescale(),
    cnn.Conv2d(3, 2),
    cnn.ReLU(),
    cnn.MaxPool2d(2),
    cnn.Flatten(),
    cnn.Dropout(0.3),
    cnn.Dense(3),
)
WITH_STATE = cnn.Sequential(cnn.Rescale(), cnn.BatchNorm2d(), cnn.Flatten(), cnn.Dense(3))


@dataclass(frozen=True)
class Untraceable:
    """A user's layer that calls NumPy itself: a compiled step is cut in two by it."""

    def init(self, rng, input_shape):
        return {"scale": np.ones(input_shape[-1])}, {"calls": np.array(0.0)}, input_shape

    def forward(self, params, state, x, context):
        calls = state["calls"] + (context.mode == "train")
        return np.tanh(x * params["scale"]), {"calls": np.asarray(calls, x.dtype)}, x

    def backward(self, params, x, dy, context, need_dx):
        dy = dy * (1.0 - np.tanh(x * params["scale"]) ** 2)
        axes = tuple(range(x.ndim - 1))
        return dy * params["scale"], {"scale": np.sum(dy * x, axis=axes)}


WITH_CALLS = cnn.Sequential(cnn.Rescale(), Untraceable(), cnn.Flatten(), cnn.Dense(3))
WAYS = {
    "compiled": (lambda: cnn.NumPy(2, fast=True), OF_KERNELS, "llvmlite"),
    "compiled, one thread": (lambda: cnn.NumPy(1, fast=True), OF_KERNELS, "llvmlite"),
    "compiled, eager": (lambda: cnn.NumPy(2, fast=True), WITH_STATE, "llvmlite"),
    "compiled, calls": (lambda: cnn.NumPy(2, fast=True), WITH_CALLS, "llvmlite"),
    "NumPy": (lambda: cnn.NumPy(2, fast=False), OF_KERNELS, None),
    "NumPy, eager": (lambda: cnn.NumPy(2, fast=False), WITH_STATE, None),
    "NumPy, calls": (lambda: cnn.NumPy(2, fast=False), WITH_CALLS, None),
    "torch": (lambda: cnn.get_backend("torch"), WITH_STATE, "torch"),
    "JAX": (lambda: cnn.get_backend("jax"), WITH_STATE, "jax"),
    "array-api-strict": (cnn.ArrayAPIStrict, WITH_STATE, None),
}
SETS = ("array", "source", "iterable")


class Listed(cnn.data.ImageSource):
    def __init__(self, images):
        self.images, self.shape, self.dtype = images, images.shape, images.dtype

    def read(self, indices):
        return self.images[indices]


class Told(cnn.Callback):
    """Notes the loss of every step as a log does, and ends the training after ``last`` steps."""

    def __init__(self):
        self.last, self.losses, self.states = None, [], {}

    def on_begin(self, state):
        del self.losses[state.position - len(state.untold) :]
        return state.position == self.last

    def on_steps(self, progress):
        self.losses += progress.losses.tolist()
        return len(self.losses) == self.last

    def on_save(self, state):
        self.states[state.position] = state


_TRUTHS: dict[tuple, "Told"] = {}
"""By `Way.kind`, what a training that nothing interrupted has handed out."""


class Way:
    """One backend, network and kind of set, and the trainings that are compared.

    Attributes
    ----------
    kind : tuple
        Ways of one kind train to the same bits.
    """

    def __init__(self, name, images="array", epochs=10**6, repeats=1):
        self.kind = name, images, epochs, repeats
        self.backend, self.network = WAYS[name][0](), WAYS[name][1]
        x, y = np.tile(IMAGES, (repeats, 1, 1, 1)), np.tile(LABELS, repeats)
        self.set = {
            "array": (x, y),
            "source": (Listed(x), y),
            "iterable": ([(x[:9], y[:9]), (x[9:], y[9:])], None),
        }[images]
        self.epochs = epochs
        self.last = epochs * (2 if images == "iterable" else -(-len(x) // BATCH))

    def model(self):
        return cnn.Model(self.network, (5, 5, 1), backend=self.backend, seed=11)

    def fit(self, model, *callbacks):
        settings = {"epochs": self.epochs, "batch_size": BATCH, "optimizer": cnn.AdamW(0.01)}
        settings |= {"validation": HELD_OUT, "resume": model.unfinished, "callbacks": callbacks}
        model.fit(*self.set, **settings)

    def run_to(self, last, model, told, every=None):
        """Train ``model`` until it has done ``last`` steps."""
        told.save_every, told.last = every or last, last
        self.fit(model, told)

    def states(self, last, every=None):
        """What a training that nothing interrupts hands out, and the losses of its steps."""
        told = Told()
        if last:
            self.run_to(last, self.model(), told, every)
        return told

    def truth(self, last):
        """`states` with each step, to ``last`` or beyond: of each kind trained once, or longer."""
        known = _TRUTHS.get(self.kind, Told())
        if len(known.losses) < last:
            known = self.states(min(max(last, 2 * len(known.losses)), self.last), every=1)
            _TRUTHS[self.kind] = known
        return known

    def check(self, model, told, truth=None):
        """``model`` and ``told``, interrupted, are at a state of one that was not, and go on so."""
        steps = model.steps_done
        last = min(steps + 5, self.last)  # beyond an epoch's end, or nearly
        truth = truth or self.truth(last)
        check_at(model, truth, told)
        if model.unfinished is not None and not model.unfinished.complete:
            self.run_to(last, model, told)
            assert model.steps_done == last
            check_at(model, truth, told)
            assert told.losses == truth.losses[:last]


def check_at(model, truth, told):
    """``model`` is where an uninterrupted training was after as many steps."""
    steps, found = model.steps_done, model.unfinished
    if found is not None:
        assert found.steps_done == steps
        same(arrays(found.carry.params), model.parameters)
        same(arrays(found.carry.state), model.state)
        assert (
            told.losses[: found.position - len(found.untold)]
            == (truth.losses[: found.position - len(found.untold)])
        )
        untold = [loss for loss, _ in found.untold]
        assert untold == truth.losses[steps - len(untold) : steps]
    if steps == 0:
        fresh = cnn.Model(model.network, (5, 5, 1), backend=model.backend, seed=11)
        same(model.parameters, fresh.parameters)
        same(model.state, fresh.state)
        return
    expected = truth.states[steps]
    same(model.parameters, arrays(expected.carry.params))
    same(model.state, arrays(expected.carry.state))
    if found is not None:
        same(arrays(found.carry.optimizer_state), arrays(expected.carry.optimizer_state))
        if found.step == expected.step:  # else an epoch's end is still to be told
            assert found.to_plain() | {"untold": []} == expected.to_plain() | {"untold": []}


def arrays(tree):
    return {name: np.asarray(leaf) for name, leaf in flatten(tree).items()}


def same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


# --- injected -------------------------------------------------------------------------------------


def traced(work, at=None):
    """Run ``work``; raise KeyboardInterrupt at line ``at`` of this library's. How many it ran."""
    count = 0

    def line(frame, event, argument):
        nonlocal count
        if event == "line":
            count += 1
            if count == at:
                raise KeyboardInterrupt
        return line

    def call(frame, event, argument):
        return line if frame.f_code.co_filename.startswith(SOURCE) else None

    before = sys.gettrace()
    sys.settrace(call)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


@contextmanager
def growing_chunks():
    """Chunks of 1, 4, 16, ... steps, however long they take."""
    before, fitting._REPORT_SECONDS = fitting._REPORT_SECONDS, 1e9
    try:
        yield
    finally:
        fitting._REPORT_SECONDS = before


@contextmanager
def again_where_dropped():
    """Within the block an interrupt that nobody gets is not reported: none comes, or another.

    Python drops what is raised within a finalizer or a callback of its garbage collector, whoever
    these belong to; and a thread that is interrupted may end by that, or meet another as it ends.
    pytest makes a failure of both.
    """
    dropped, uncaught = sys.unraisablehook, threading.excepthook

    def but_interrupts(report):
        return lambda one: None if one.exc_type is KeyboardInterrupt else report(one)

    sys.unraisablehook, threading.excepthook = map(but_interrupts, (dropped, uncaught))
    try:
        yield
    finally:
        sys.unraisablehook, threading.excepthook = dropped, uncaught


def injected(name, images, moments, seed):
    """Interrupt a short training at random lines, a file being saved every third step."""
    way, moment = Way(name, images, epochs=3), random.Random(seed)
    with growing_chunks(), tempfile.TemporaryDirectory() as folder:
        path, truth = Path(folder) / "last.npz", way.states(way.last, every=1)

        def train(at=None):
            path.unlink(missing_ok=True)
            model, told = way.model(), Told()
            save = cnn.Checkpoint(model, path, 3)
            with again_where_dropped(), suppress(KeyboardInterrupt):
                return model, told, traced(lambda: way.fit(model, told, save), at)
            return model, told, None

        lines = train()[2]
        for _ in range(moments):
            at = moment.randint(1, lines)
            model, told, _ = train(at)
            try:
                saved = path.exists() and cnn.Model.load(path, way.backend, layers=[Untraceable])
                way.check(model, told, truth)
                if saved:
                    check_at(saved, truth, told)
            except BaseException as error:
                error.add_note(f"interrupted at line {at} of {lines}")
                raise


# --- real signals ---------------------------------------------------------------------------------


def interrupted(work, *delays):
    """Run ``work``, to which SIGINT comes after so many seconds, one after the other, and then again.

    What is raised is raised within ``work``: a signal that comes as it ends would else be raised where
    the last one is caught, or in the test.
    """
    begun, left = threading.Event(), threading.Event()

    def run():
        begun.set()
        work()

    def interrupt(number, frame):
        while frame is not None and frame.f_code is not run.__code__:
            frame = frame.f_back
        if frame is not None:
            raise KeyboardInterrupt

    def send():
        begun.wait()
        # Again, where it was dropped.
        for delay in itertools.chain(delays, itertools.repeat(0.5)):
            if left.wait(delay):
                return
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.signal(signal.SIGINT, interrupt)
    sender = threading.Thread(target=send)
    sender.start()
    try:
        with again_where_dropped(), suppress(KeyboardInterrupt):
            run()
    finally:
        left.set()
        sender.join()
        time.sleep(0)  # what has been sent is handled here
        signal.signal(signal.SIGINT, before)


def signalled(name, images, moments, seed, twice=False):
    """Interrupt a training that would never end, by a signal or by two that follow quickly."""
    way, moment = Way(name, images, repeats=50), random.Random(seed)
    steps = 5 if WAYS[name][2] in ("torch", "jax") else 20
    way.states(steps)  # which compiles and loads
    began = time.perf_counter()
    way.states(steps)
    span = time.perf_counter() - began
    for _ in range(moments):
        delays = [moment.uniform(0.0, span), *([moment.uniform(0.0, 0.004)] if twice else ())]
        model, told = way.model(), Told()
        interrupted(lambda: way.fit(model, told), *delays)  # noqa: B023 (it is called here)
        way.check(model, told)


def forked():
    """Interrupt trainings in a child, whose threads of before are gone."""
    for name in ("compiled", "NumPy"):
        if WAYS[name][2] and importlib.util.find_spec(WAYS[name][2]) is None:
            continue
        Way(name).states(3)
        child = os.fork()
        if child == 0:
            try:
                signalled(name, "array", 2, 1)
                signalled(name, "array", 2, 2, twice=True)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0, name


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--forked", action="store_true")
    options = parser.parse_args()
    if options.forked:
        forked()
        return
    for (name, (_, _, package)), images in itertools.product(WAYS.items(), SETS):
        if package and importlib.util.find_spec(package) is None:
            print(f"{name}: {package} is not installed")
            continue
        began = time.perf_counter()
        injected(name, images, options.moments, options.seed)
        signalled(name, images, options.moments, options.seed)
        signalled(name, images, options.moments, options.seed, twice=True)
        seconds = time.perf_counter() - began
        print(f"{name}, {images}: 3 times {options.moments} moments, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
