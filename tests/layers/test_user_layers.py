"""A layer that a user wrote: in training, in the summary, and in files."""

import math
from dataclasses import dataclass, field

import numpy as np
import pytest

from arraycnn import (
    SGD,
    ArrayAPIStrict,
    CheckpointError,
    Conv2d,
    Dense,
    Flatten,
    InvalidTypeError,
    Model,
    ReLU,
    Sequential,
    get_backend,
)
from arraycnn.layers import Context
from arraycnn.layers.layer import Layer
from arraycnn.ops import GENERIC
from arraycnn.ops.arrays import array_namespace
from arraycnn.training.step import Batch, loss_and_gradients


@dataclass(frozen=True)
class Swish:
    """x * sigmoid(scale * x), the scale being one learned number, (), for all of the image."""

    start: float = 1.0

    def init(self, rng, input_shape):
        return {"scale": np.array(self.start)}, {}, input_shape

    def forward(self, params, state, x, context):
        gate = 1.0 / (1.0 + array_namespace(x).exp(-params["scale"] * x))
        return x * gate, state, (x, gate)

    def backward(self, params, residuals, dy, context, need_dx):
        x, gate = residuals
        slope = x * gate * (1.0 - gate)
        gradients = {"scale": array_namespace(x).sum(dy * x * slope)}
        return (dy * (gate + params["scale"] * slope) if need_dx else None), gradients


@dataclass(frozen=True)
class Twice:
    """A layer after itself, in a field that is called as the files call layers."""

    layer: Layer
    depth: int = field(default=2, init=False)

    def init(self, rng, input_shape):
        return self.layer.init(rng, input_shape)

    def forward(self, params, state, x, context):
        y, state, first = self.layer.forward(params, state, x, context)
        y, state, second = self.layer.forward(params, state, y, context)
        return y, state, (first, second)

    def backward(self, params, residuals, dy, context, need_dx):
        first, second = residuals
        dx, above = self.layer.backward(params, second, dy, context, True)
        dx, below = self.layer.backward(params, first, dx, context, need_dx)
        return dx, {name: above[name] + below[name] for name in above}


NETWORK = Sequential(Conv2d(2, 2), Swish(0.5), Flatten(), Twice(Swish()), Dense(3))
IMAGES = np.random.default_rng(1).normal(size=(12, 4, 4, 1))
LABELS = np.arange(12) % 3


@pytest.fixture(params=["numpy", "device1", "torch", "jax"])
def backend(request):
    if request.param in ("torch", "jax"):
        pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return ArrayAPIStrict("device1") if request.param == "device1" else get_backend(request.param)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.npz"


def trained(backend="numpy", dtype="float32"):
    model = Model(NETWORK, (4, 4), backend, dtype=dtype)
    history = model.fit(IMAGES, LABELS, epochs=30, batch_size=4, optimizer=SGD(0.3))
    return model, history


def test_its_gradients_are_the_differences_of_the_loss():
    rng = np.random.default_rng(3)
    params, state, _ = NETWORK.init(rng, (4, 4, 1))
    context = Context(GENERIC, "train", "float64")
    batch = Batch(IMAGES, LABELS.astype(np.int32))

    def loss():
        return loss_and_gradients(NETWORK, params, state, batch, context)[0] / 12

    gradients = loss_and_gradients(NETWORK, params, state, batch, context)[2]
    for name in ("1", "3"):
        at, scale = 1e-6, params[name]["scale"]
        losses = []
        for change in (at, -at):
            params[name]["scale"] = scale + change
            losses.append(loss())
        params[name]["scale"] = scale
        difference = (losses[0] - losses[1]) / (2 * at)
        assert gradients[name]["scale"] == pytest.approx(difference, rel=1e-6)
        assert abs(difference) > 1e-4


def test_it_learns_on_every_backend(backend):
    model, history = trained(backend)
    assert history[-1].train_loss < 0.5 * history[0].train_loss
    assert model.parameters["1.scale"].shape == ()
    assert abs(model.parameters["1.scale"] - 0.5) > 1e-3
    np.testing.assert_allclose(
        model.parameters["1.scale"], trained()[0].parameters["1.scale"], rtol=1e-3
    )


def test_the_summary_shows_it():
    lines = Model(NETWORK, (4, 4)).summary().splitlines()
    assert lines[3].split() == ["1", "Swish(start=0.5)", "(N,", "3,", "3,", "2)", "1"]


def test_it_comes_back_from_a_file(backend, path):
    model, _ = trained(backend)
    model.save(path)
    loaded = Model.load(path, backend, layers=[Swish, Twice])
    assert loaded.network == NETWORK
    for name, array in model.parameters.items():
        assert loaded.parameters[name].shape == array.shape
        np.testing.assert_array_equal(loaded.parameters[name], array)
    np.testing.assert_array_equal(loaded.predict(IMAGES), model.predict(IMAGES))


def test_a_file_with_an_unknown_layer_says_what_to_hand_over(path):
    Model(NETWORK, (4, 4)).save(path)
    with pytest.raises(CheckpointError, match=r"unknown layer 'Swish'.*layers=\[Swish\]"):
        Model.load(path)
    with pytest.raises(CheckpointError, match=r"unknown layer 'Twice'.*layers=\[Twice\]"):
        Model.load(path, layers=[Swish])


def test_a_class_that_takes_other_settings_is_refused(path):
    @dataclass(frozen=True)
    class Changed(Swish):
        start: float = 1.0

        def __post_init__(self):
            if self.start < 1.0:
                raise ValueError("start must be at least 1")

    Changed.__name__ = "Swish"
    Model(Sequential(Swish(0.5), Flatten(), Dense(3)), (4, 4)).save(path)
    with pytest.raises(CheckpointError, match=r"Swish cannot be built .*start must be at least 1"):
        Model.load(path, layers=[Changed])


@dataclass(frozen=True)
class WithAny(ReLU):
    setting: object = None


class NoDataclass:
    init, forward, backward = ReLU.init, ReLU.forward, ReLU.backward


def renamed(name):
    cls = dataclass(frozen=True)(type(name, (Swish,), {}))
    return cls()


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (NoDataclass(), ["NoDataclass: a layer must be a frozen dataclass to be saved"]),
        (WithAny(np.float32(1.0)), ["WithAny.setting: must be a number", "float32"]),
        (WithAny([1, 2]), ["WithAny.setting: must be a number, text, tuple or layer", "[1, 2]"]),
        (WithAny({"a": 1}), ["WithAny.setting: must be a number", "{'a': 1}"]),
        (WithAny(Swish), ["WithAny.setting: must be a number", "Swish"]),
        (WithAny((1, math.nan)), ["WithAny.setting: must be finite", "nan"]),
        (WithAny(math.inf), ["WithAny.setting: must be finite", "inf"]),
        (renamed("ReLU"), ["ReLU: ", "name of a layer of arraycnn", "rename"]),
        (renamed("Sequential"), ["Sequential: ", "name of a layer of arraycnn", "rename"]),
    ],
)
def test_what_a_file_cannot_hold_is_refused_before_it_is_written(layer, said, path):
    model = Model(Sequential(layer, Flatten(), Dense(3)), (4, 4))
    with pytest.raises(InvalidTypeError) as caught:
        model.save(path)
    for part in said:
        assert part in str(caught.value)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize(
    "setting", [None, True, 3, 0.1, "text", (), (1, (2.5, "a")), Swish(2.0), (Swish(), ReLU())]
)
def test_settings_of_every_kind_come_back_as_they_were(setting, path):
    network = Sequential(WithAny(setting), Flatten(), Dense(3))
    Model(network, (4, 4)).save(path)
    assert Model.load(path, layers=[WithAny, Swish]).network == network
