"""Training and inference of any network on compiled kernels, and as the eager plans have them."""

import logging
import pickle
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import arraycnn as cnn
import program_cases
import random_networks
from arraycnn.callbacks import Callback
from arraycnn.execution import traceable
from arraycnn.ops import array_namespace
from arraycnn.tree import flatten
from optional import Late, needs
from program_cases import Lion, Mixer, Swish, block

pytestmark = needs("llvmlite")
execution = Late("arraycnn.execution")

SHAPE = (8, 7, 3)
NETWORKS = {
    "resnet": cnn.Sequential(
        cnn.Rescale(),
        cnn.Conv2d(6, 3, padding=(1, 1), bias=False),
        cnn.BatchNorm2d(),
        cnn.ReLU(),
        *block(6),
        *block(9, 2),
        cnn.GlobalAvgPool2d(),
        cnn.Dense(5),
    ),
    "average pool": cnn.Sequential(
        cnn.Rescale(), cnn.Conv2d(4, 3), cnn.ReLU(), cnn.AvgPool2d(2), cnn.Flatten(), cnn.Dense(5)
    ),
    "user's": cnn.Sequential(
        cnn.Rescale(),
        cnn.Conv2d(4, 3),
        Swish(),
        Mixer(),
        cnn.Dropout(0.3),
        cnn.Flatten(),
        cnn.Dense(5),
    ),
    "nested": cnn.Sequential(
        cnn.Sequential(cnn.Rescale(), cnn.Sequential(cnn.Conv2d(4, 3)), cnn.MaxPool2d(2)),
        cnn.ReLU(),
        cnn.Flatten(),
        cnn.Sequential(cnn.Dense(6), cnn.Dropout(0.2), cnn.ReLU()),
        cnn.Dense(5),
    ),
    "late rescale": cnn.Sequential(
        cnn.Flatten(), cnn.Rescale(), cnn.Dense(7), cnn.Softmax(), cnn.Dense(5)
    ),
}
OPTIMIZERS = {
    "momentum": cnn.SGD(0.05, momentum=0.9),
    "Adam": cnn.Adam(0.005),
    "AdamW": cnn.AdamW(0.005),
    "Lion": Lion(),
}
each_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)


def data(count=50, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *SHAPE), dtype=np.uint8), rng.integers(0, 5, count)


def model_of(network, threads=2, fast=True, dtype="float64", seed=3):
    return cnn.Model(network, SHAPE, cnn.NumPy(threads=threads, fast=fast), seed=seed, dtype=dtype)


def arrays_of(model):
    return {**model.parameters, **{f"state.{name}": a for name, a in model.state.items()}}


def check_close(first, second, tolerance=1e-10):
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_allclose(
            array, second[name], rtol=tolerance, atol=tolerance, err_msg=name
        )


def check_equal(first, second):
    assert first.keys() == second.keys()
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


@pytest.fixture
def plans(monkeypatch):
    """The traced plans that are made."""
    made = []
    for name in ("RecordedTraining", "RecordedInference"):
        kind = getattr(execution, name)

        def counted(*arguments, kind=kind, **options):
            made.append(kind.__name__)
            return kind(*arguments, **options)

        monkeypatch.setattr(f"arraycnn.execution.host.{name}", counted)
    return made


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@each_network
def test_a_training_is_that_of_the_eager_plan(network, optimizer, plans, caplog):
    images, labels = data()
    results = []
    backends = cnn.NumPy(2, fast=True), cnn.NumPy(2, fast=False), cnn.ArrayAPIStrict()
    for backend in backends:
        model = cnn.Model(network, SHAPE, backend, seed=3, dtype="float64")
        history = model.fit(images, labels, epochs=2, batch_size=16, optimizer=optimizer)
        results.append((arrays_of(model), np.array(history.step_losses)))
        results[-1][0]["probabilities"] = model.predict(images)
        results[-1][0]["loss"] = np.array(model.evaluate(images, labels).loss)
    *traced_ones, eager = results
    for result in traced_ones:
        check_close(result[0], eager[0], 1e-8 if isinstance(optimizer, Lion) else 1e-10)
        np.testing.assert_allclose(result[1], eager[1], rtol=1e-10)
    assert set(plans) == {"RecordedTraining", "RecordedInference"}
    assert "layer by layer" not in caplog.text


@each_network
def test_the_number_of_threads_shows_in_no_bit(network):
    images, labels = data()
    results = []
    for threads in (1, 2, 3, 16):
        model = model_of(network, threads=threads, dtype="float32")
        model.fit(images, labels, epochs=1, batch_size=20, optimizer=cnn.Adam(0.01))
        results.append({**arrays_of(model), "predicted": model.predict(images)})
    for result in results[1:]:
        check_equal(result, results[0])


class StopAfter(Callback):
    """Interrupts a training after some steps."""

    save_every = 1

    def __init__(self, steps):
        self.left = steps

    def on_save(self, state):
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", ["resnet", "user's"])
def test_a_training_that_is_interrupted_goes_on_to_the_last_bit(name, tmp_path):
    images, labels = data()
    wanted = {"epochs": 3, "batch_size": 16, "optimizer": cnn.Adam(0.01)}
    whole, model = model_of(NETWORKS[name]), model_of(NETWORKS[name])
    whole.fit(images, labels, **wanted)
    path = tmp_path / "last.npz"
    with pytest.raises(KeyboardInterrupt):
        model.fit(
            images, labels, callbacks=[cnn.Checkpoint(model, path, 1), StopAfter(6)], **wanted
        )
    backend = cnn.NumPy(threads=3, fast=True)
    for again, state in (
        (model, model.unfinished),
        cnn.Model.load_training(path, backend, layers=[Swish, Mixer]),
    ):
        again.fit(images, labels, resume=state, **wanted)
        check_equal(arrays_of(again), arrays_of(whole))


def test_images_may_be_anything_that_fit_takes(tmp_path):
    images, labels = data()
    np.save(tmp_path / "images.npy", images)
    given = {
        "array": images,
        "memory map": np.load(tmp_path / "images.npy", mmap_mode="r"),
        "other order": np.asfortranarray(images),
    }
    results = []
    for x in given.values():
        model = model_of(NETWORKS["resnet"])
        model.fit(x, labels, epochs=1, batch_size=16)
        results.append(arrays_of(model))
    for result in results[1:]:
        check_equal(result, results[0])


def test_batches_of_every_size_and_none():
    images, labels = data()
    for name in ("resnet", "user's"):
        model, eager = model_of(NETWORKS[name]), model_of(NETWORKS[name], fast=False)
        for size in (1, 2, 7, 50, 7):
            for each in (model, eager):
                each.fit(images[:size], labels[:size], epochs=1, batch_size=size)
            check_close(arrays_of(model), arrays_of(eager), 1e-7)
            np.testing.assert_allclose(
                model.predict(images[:size]), eager.predict(images[:size]), rtol=1e-6, atol=1e-9
            )


@dataclass(frozen=True)
class Counting:
    """A user's layer that counts its calls: x times their number."""

    calls: list = field(default_factory=list, repr=False)

    def init(self, rng, input_shape):
        return {}, {}, input_shape

    def forward(self, params, state, x, context):
        self.calls.append(1)
        return x * float(len(self.calls)), state, ()

    def backward(self, params, residuals, dy, context, need_dx):
        return dy, {}


@dataclass(frozen=True)
class Drawing(Counting):
    def forward(self, params, state, x, context):
        return x * float(np.random.default_rng().normal()), state, ()


@dataclass(frozen=True)
class OnNumPyOnly(Counting):
    """A user's layer that treats NumPy's arrays in another way."""

    def forward(self, params, state, x, context):
        return (x * 2.0 if isinstance(x, np.ndarray) else x), state, ()


@dataclass(frozen=True)
class Reading(Counting):
    def forward(self, params, state, x, context):
        return (x if float(array_namespace(x).sum(x)) > 0 else -x), state, ()


@dataclass(frozen=True)
class Table(Counting):
    """A user's layer whose constants change."""

    def forward(self, params, state, x, context):
        self.calls.append(1)
        return x + array_namespace(x).asarray(np.full(3, len(self.calls), x.dtype)), state, ()


@dataclass(frozen=True)
class OddPower(Counting):
    def forward(self, params, state, x, context):
        return array_namespace(x).abs(x) ** array_namespace(x).abs(x), state, ()


@pytest.mark.parametrize(
    ("layer", "cause"),
    [
        (Counting, "layer 1 Counting, forward: does something else each time"),
        (Drawing, "layer 1 Drawing, forward: does something else each time"),
        (Table, "layer 1 Table, forward: does something else each time"),
        (OnNumPyOnly, "layer 1, OnNumPyOnly: its output is not what the layers compute on NumPy"),
        (Reading, "layer 1, Reading: must not read the value"),
        (OddPower, "layer 1, OddPower: a power of float"),
    ],
)
def test_what_is_more_than_its_program_is_called_as_it_is_and_named(layer, cause, caplog, plans):
    traceable.say.cache_clear()
    images, labels = data(20)
    network = cnn.Sequential(cnn.Rescale(), layer(), cnn.Flatten(), cnn.Dense(5))
    model = model_of(network)
    with caplog.at_level(logging.WARNING, "arraycnn"):
        model.fit(images, labels, epochs=1, batch_size=10)
        model.predict(images)
    assert "not compiled" not in caplog.text
    lines = [line for line in caplog.messages if "as it is written" in line]
    assert len(lines) == 2
    assert all(cause in line and "\n" not in line for line in lines)
    assert lines[0].startswith(
        "numpy: training calls a layer as it is written, the rest is one program: "
    )
    assert np.isfinite(model.evaluate(images, labels).loss)
    assert "RecordedTraining" in plans
    assert "RecordedInference" in plans


@dataclass(frozen=True)
class Wavering(Lion):
    """A user's optimizer that counts its updates."""

    calls: list = field(default_factory=list)

    def update(self, ops, params, gradients, state, learning_rate):
        self.calls.append(1)
        rate = learning_rate * float(len(self.calls))
        return super().update(ops, params, gradients, state, rate)


def test_an_optimizer_that_is_more_than_its_program_leaves_all_eager_and_is_named(caplog, plans):
    traceable.say.cache_clear()
    images, labels = data(20)
    model, optimizer = model_of(NETWORKS["user's"]), Wavering()
    with caplog.at_level(logging.WARNING, "arraycnn"):
        model.fit(images, labels, epochs=1, batch_size=10, optimizer=optimizer)
    (line,) = [line for line in caplog.messages if "not compiled" in line]
    assert line.startswith(
        "numpy: training runs layer by layer, not compiled: layer loss and update"
    )
    assert len(optimizer.calls) == 2  # the steps alone
    assert "RecordedTraining" not in plans


def test_a_model_with_traced_plans_can_be_copied():
    images, labels = data(20)
    model = model_of(NETWORKS["resnet"])
    model.fit(images, labels, epochs=1)
    expected = model.predict(images)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(images), expected)


@given(random_networks.networks())
@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
def test_random_networks(case):
    random_networks.check(case, random_networks.on_kernels)


def test_flatten_of_a_tree_is_what_programs_are_named_by():
    step = program_cases.trial(*program_cases.NETWORKS["resnet"], program_cases.OPTIMIZERS["Adam"])
    names = {f"params.{name}" for name in flatten(step.carry.params)}
    assert names <= set(step.values())
