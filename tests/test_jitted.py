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

    from arraycnn.execution import jitted

    kept = OrderedDict()
    monkeypatch.setattr(jitted, "_functions", kept)
    return kept


@pytest.mark.parametrize("layer", [ReadsValue(), BranchesOnJAX(), ReadsLargeBatches()])
def test_a_layer_that_reads_a_value_runs_as_before_and_is_named(layer, said):
    found, eager = trained(model(layer)), trained(model(layer, EAGER))
    same(found, eager, rtol=1e-4, atol=1e-5)
    assert found.evaluate(IMAGES, LABELS).loss == pytest.approx(
        eager.evaluate(IMAGES, LABELS).loss, rel=1e-4
    )
    lines = [line for line in said() if line.startswith("jax: ")]
    for line, what in zip(lines, ("training", "inference"), strict=True):
        assert line.startswith(f"jax: {what} runs layer by layer, not compiled: layer 2, ")
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
    assert len(functions) == 4
    made.predict(IMAGES + 1.0)
    trained(made).predict(IMAGES)
    assert len(functions) == 4


def test_what_a_layer_reads_from_outside_is_read_anew_by_each_training(functions, monkeypatch):
    first = trained(model(OfAGlobal()))
    monkeypatch.setitem(globals(), "SCALE", 0.25)
    second = trained(model(OfAGlobal()))
    same(second, trained(model(OfAGlobal(), EAGER)), rtol=1e-4, atol=1e-5)
    assert np.abs(second.parameters["1.bias"] - first.parameters["1.bias"]).max() > 1e-4


def test_no_more_functions_are_kept_than_is_said(functions, monkeypatch):
    from arraycnn.execution import jitted

    monkeypatch.setattr(jitted, "MOST_FUNCTIONS", 2)
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
