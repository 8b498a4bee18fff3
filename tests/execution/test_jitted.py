"""Steps compiled by XLA: when, how often, and what of a user's Python they must not freeze."""

from dataclasses import dataclass, field
from itertools import count

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.data import ImageSource
from arraycnn.ops.arrays import array_namespace, is_jax_array
from optional import needs

pytestmark = needs("jax")

IMAGES = np.random.default_rng(1).normal(size=(10, 3, 3, 1)).astype(np.float32)
LABELS = np.arange(10) % 3


@dataclass(frozen=True)
class Own:
    """A layer of a user's: what comes in, times what `factor` says."""

    def init(self, rng, input_shape):
        return {}, {}, input_shape

    def forward(self, params, state, x, context):
        return x * self.factor(x), state, ()

    def backward(self, params, residuals, dy, context, need_dx):
        return dy, {}

    def factor(self, x):
        return 2.0


class ReadsValue(Own):
    def factor(self, x):
        return float(array_namespace(x).sum(x)) + 1.0


class BranchesOnJAX(Own):
    """Seen only where JAX traces it."""

    def factor(self, x):
        return 3.0 if is_jax_array(x) and array_namespace(x).sum(x) > 1e9 else 1.0


class ReadsLargeBatches(Own):
    """Unseen on the few images of a trial."""

    def factor(self, x):
        return float(array_namespace(x).sum(x)) + 1.0 if x.shape[0] > 3 else 1.0


@dataclass(frozen=True)
class Counts(Own):
    calls: count = field(default_factory=count)

    def factor(self, x):
        return 1.0 / (1.0 + next(self.calls))


class DrawsItsOwn(Own):
    def factor(self, x):
        return np.random.uniform(0.5, 1.5)  # noqa: NPY002


EAGER = cnn.ArrayAPIStrict()
SCALE = 1.0


class OfAGlobal(Own):
    def factor(self, x):
        return SCALE


def model(layer=None, backend="jax", **options):
    own = [] if layer is None else [layer]
    network = cnn.Sequential(cnn.Flatten(), cnn.Dense(5), *own, cnn.ReLU(), cnn.Dense(3))
    return cnn.Model(network, (3, 3), backend=backend, seed=3, **options)


def trained(made, images=IMAGES, **options):
    made.fit(images, LABELS, batch_size=4, optimizer=cnn.SGD(0.1, 0.9), **options)
    return made


def same(one, other, **tolerance):
    assert list(one.parameters) == list(other.parameters)
    for name, array in other.parameters.items():
        np.testing.assert_allclose(one.parameters[name], array, err_msg=name, **tolerance)


@pytest.fixture
def said(caplog):
    from arraycnn.execution import traceable

    traceable.say.cache_clear()
    return lambda: [record.getMessage() for record in caplog.records]


@pytest.fixture
def functions(monkeypatch):
    """The compiled functions that are kept."""
    from collections import OrderedDict

    from arraycnn.execution import xla

    kept = OrderedDict()
    monkeypatch.setattr(xla, "_functions", kept)
    return kept


@pytest.mark.parametrize("layer", [ReadsValue(), BranchesOnJAX(), ReadsLargeBatches()])
def test_a_layer_that_reads_a_value_runs_as_it_is_written_and_is_named(layer, said):
    found, eager = trained(model(layer)), trained(model(layer, EAGER))
    same(found, eager, rtol=1e-4, atol=1e-5)
    assert found.evaluate(IMAGES, LABELS).loss == pytest.approx(
        eager.evaluate(IMAGES, LABELS).loss, rel=1e-4
    )
    lines = [line for line in said() if line.startswith("jax: ")]
    for line, what in zip(lines, ("training", "inference"), strict=True):
        assert line.startswith(
            f"jax: {what} calls a layer as it is written, the rest is one program: layer 2, "
        )
        assert type(layer).__name__ in line


@pytest.mark.parametrize("layer", [Counts, DrawsItsOwn])
def test_what_changes_from_call_to_call_is_not_frozen(layer, said):
    made = model(layer())
    losses = [made.fit(IMAGES, LABELS, batch_size=10, optimizer=cnn.SGD(0.0)) for _ in range(3)]
    assert len({history.step_losses[0] for history in losses}) == 3
    assert f"layer 2 {layer.__name__}" in said()[0]
    assert "does something else each time" in said()[0]


def test_equal_networks_are_compiled_once_for_each_size_of_batch(functions):
    trained(model())
    assert len(functions) == 2  # batches of 4 and a last one of 2
    before = list(functions.values())
    assert all(one._cache_size() == 1 for one in before)
    for images in (IMAGES, IMAGES + 1.0, np.concatenate([IMAGES[:6]] * 2)[:10]):
        trained(model(), images, epochs=2)
    assert list(functions.values()) == before
    assert all(one._cache_size() == 1 for one in before)
    made = model()
    made.predict(IMAGES)
    assert len(functions) == 3
    made.predict(IMAGES + 1.0)
    made.evaluate(IMAGES, LABELS)
    trained(made).predict(IMAGES)
    assert len(functions) == 3


def test_functions_are_kept_for_each_device(functions, monkeypatch):
    from arraycnn.backends.jax import JAX

    trained(model()).predict(IMAGES)
    before = len(functions)
    monkeypatch.setattr(JAX, "device_name", "another device")
    trained(model()).predict(IMAGES)
    assert len(functions) == 2 * before


def test_few_sizes_are_compiled_for_batches_to_predict(functions):
    network = cnn.Sequential(
        *(cnn.Conv2d(3, 2), cnn.BatchNorm2d(), cnn.ReLU(), cnn.Flatten(), cnn.Dense(3))
    )
    found, eager = (cnn.Model(network, (3, 3), backend=b, seed=3) for b in ("jax", EAGER))
    for made in (found, eager):  # so that the running averages are others than 0 and 1
        made.fit(IMAGES, LABELS, batch_size=5, optimizer=cnn.SGD(0.1))
    functions.clear()
    for size in (*range(1, 11), 7, 3):
        part, of = IMAGES[:size], LABELS[:size]
        np.testing.assert_allclose(found.predict(part), eager.predict(part), rtol=1e-4)
        one, other = found.evaluate(part, of), eager.evaluate(part, of)
        assert one.loss == pytest.approx(other.loss, rel=1e-4)
        assert one.accuracy == other.accuracy
    assert len(functions) == 5  # 1, 2, 4, 8 and 16 images
    assert all(one._cache_size() == 1 for one in functions.values())


class LessMean(Own):
    """A layer whose images are not computed one by one."""

    def forward(self, params, state, x, context):
        return x - array_namespace(x).mean(x, axis=0, keepdims=True), state, ()


def test_a_batch_is_not_padded_where_its_images_count_for_each_other(functions):
    found, eager = model(LessMean()), model(LessMean(), EAGER)
    for size in (3, 5):
        part = IMAGES[:size]
        np.testing.assert_allclose(found.predict(part), eager.predict(part), rtol=1e-4)
    assert len(functions) == 2


class Notes(Own):
    """Changes nothing, and notes that its Python was run."""

    def __init__(self, calls):
        self.calls = calls

    def factor(self, x):
        self.calls.append(type(x))
        return 1.0

    def __deepcopy__(self, memo):
        return self


def around_the_reader(reader):
    """Networks with ``reader`` first, twice between others, and within a residual of a residual."""
    calls = []
    notes = Notes(calls)
    start, end = (cnn.Flatten(), cnn.Dense(5), notes), (cnn.ReLU(), cnn.Dense(3))
    body = cnn.Sequential(notes, cnn.Residual(cnn.Sequential(cnn.Dense(5), reader, cnn.Dense(5))))
    return calls, {
        "first": cnn.Sequential(reader, *start, cnn.Dropout(0.2), *end),
        "inside": cnn.Sequential(*start, cnn.Residual(body), *end),
        "two": cnn.Sequential(*start, reader, cnn.Dense(4), cnn.Sequential(reader), *end),
    }


@pytest.mark.parametrize("place", around_the_reader(ReadsValue())[1])
def test_the_layer_that_reads_a_value_is_alone_in_running_as_written(place, said):
    calls, networks = around_the_reader(ReadsValue())
    network, epochs = networks[place], 6
    options = {"epochs": epochs, "batch_size": 5, "optimizer": cnn.Adam(0.01)}
    found, eager = (cnn.Model(network, (3, 3), backend=b, seed=3) for b in ("jax", EAGER))
    eager.fit(IMAGES, LABELS, **options)
    calls.clear()
    history = found.fit(IMAGES, LABELS, **options)
    assert len(history.step_losses) == 2 * epochs
    seen = len(calls)
    found.fit(IMAGES, LABELS, **options)
    more = len(calls)
    found.predict(IMAGES)
    assert seen == more - seen  # as often for each training, however many steps it has
    assert any("Tracer" in kind.__name__ for kind in calls)
    assert not any(kind.__name__ == "ArrayImpl" for kind in calls)
    assert any("the rest is one program: layer " in line for line in said())
    again = cnn.Model(network, (3, 3), backend="jax", seed=3)
    again.fit(IMAGES, LABELS, **options)
    same(again, eager, rtol=2e-3, atol=1e-4)
    assert list(again.parameters) == list(eager.parameters)


def test_what_a_layer_reads_from_outside_is_read_anew_by_each_training(functions, monkeypatch):
    first = trained(model(OfAGlobal()))
    monkeypatch.setitem(globals(), "SCALE", 0.25)
    second = trained(model(OfAGlobal()))
    same(second, trained(model(OfAGlobal(), EAGER)), rtol=1e-4, atol=1e-5)
    assert np.abs(second.parameters["1.bias"] - first.parameters["1.bias"]).max() > 1e-4


def test_no_more_functions_are_kept_than_is_said(functions, monkeypatch):
    from arraycnn.execution import xla

    monkeypatch.setattr(xla, "MOST_FUNCTIONS", 2)
    made = model()
    expected = made.predict(IMAGES)
    for size in (1, 2, 3, 10, 1):
        np.testing.assert_allclose(made.predict(IMAGES[:size]), expected[:size], rtol=1e-5)
        assert len(functions) <= 2


def test_names_keep_their_order():
    layers = [cnn.ReLU() for _ in range(9)]
    network = cnn.Sequential(cnn.Flatten(), cnn.Dense(5), *layers, cnn.Dense(3))
    made = cnn.Model(network, (3, 3), backend="jax")
    names = list(made.parameters)
    assert names == ["1.weight", "1.bias", "11.weight", "11.bias"]
    assert list(trained(made).parameters) == names


class OneBuffer(ImageSource):
    """A source that reads every batch into the same memory."""

    def __init__(self):
        self.shape, self.dtype = IMAGES.shape, IMAGES.dtype
        self.buffer = np.empty((10, 3, 3, 1), np.float32)

    def read(self, indices):
        part = self.buffer[: len(indices)]
        part[...] = IMAGES[indices]
        return part


def test_a_source_may_use_its_memory_again():
    same(trained(model(), OneBuffer(), epochs=5), trained(model(), epochs=5), rtol=0)


def test_weights_of_images_count(functions):
    weights = np.where(LABELS == 0, 3.0, 0.5)
    found = trained(model(), sample_weight=weights)
    same(found, trained(model(backend=EAGER), sample_weight=weights), rtol=1e-4, atol=1e-6)
    unweighted = trained(model())
    assert np.abs(found.parameters["1.bias"] - unweighted.parameters["1.bias"]).max() > 1e-4
