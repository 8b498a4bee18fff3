"""Single layers where numbers are at an edge: ties, NaN, huge ones; and initial values."""

import numpy as np
import pytest

import cases
from arraycnn.errors import CheckpointError, InvalidValueError
from arraycnn.layers import (
    ELU,
    LAYERS,
    Add,
    BatchNorm,
    BatchNorm2d,
    Concatenate,
    Context,
    Conv2d,
    Dense,
    Flatten,
    GELUTanh,
    Hardswish,
    Identity,
    LayerNorm,
    LeakyReLU,
    MaxPool2d,
    ReLU,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from arraycnn.layers.config import check_parameter_count, network_from_config, network_to_config
from arraycnn.layers.initial_values import INITIAL
from arraycnn.ops import GENERIC
from cases import Case
from layer_runs import forward_and_backward, torch_forward

INFER = Context(GENERIC, "infer", "float64")


# Max-pool: ties and NaN


IMAGES_WITH_TIES = {
    "constant": np.full((2, 5, 6, 2), 3.0),
    "two-values": np.random.default_rng(0).integers(0, 2, (2, 5, 6, 2)).astype(float),
    "negative-integers": -np.random.default_rng(1).integers(0, 4, (2, 5, 6, 2)).astype(float),
}


@pytest.mark.parametrize("image", IMAGES_WITH_TIES)
@pytest.mark.parametrize("stride", [None, 1, (1, 3)], ids=str)
@pytest.mark.parametrize("ties", ["first", "all"])
def test_max_pool_ties(image, stride, ties, xp):
    x = IMAGES_WITH_TIES[image]
    layer = MaxPool2d(2, stride, ties)
    step = (2, 2) if stride is None else cases.both(stride)
    y = cases.pool_by_loops(x, (2, 2), step, np.max)
    dy = 1.0 + np.arange(y.size).reshape(y.shape)
    actual_y, _, actual_dx, *_ = xp.run(
        forward_and_backward(Case(layer, x.shape[1:]), xp.dtype),
        *({}, {}, xp.asarray(x), xp.asarray(dy)),
        *(xp.asarray(np.zeros(count, dtype=np.int32)) for count in (2, 1, 2)),
    )
    xp.check_equal(actual_y, y)
    xp.check_equal(actual_dx, cases.max_pool_gradient_by_loops(x, dy, (2, 2), step, ties))


@pytest.mark.parametrize("image", IMAGES_WITH_TIES)
def test_max_pool_ties_as_torch(image, torch):
    x = IMAGES_WITH_TIES[image]
    tensor = torch.tensor(x, requires_grad=True)
    y = torch_forward(torch, MaxPool2d(3, 2), {}, {}, tensor, "train")
    dy = torch.arange(1.0, 1.0 + y.numel(), dtype=torch.float64).reshape(y.shape)
    y.backward(dy)
    _, _, residuals = MaxPool2d(3, 2).forward({}, {}, x, INFER)
    dx, _ = MaxPool2d(3, 2).backward({}, residuals, dy.numpy(), INFER, need_dx=True)
    np.testing.assert_array_equal(dx, tensor.grad.numpy())


@pytest.mark.parametrize("ties", ["first", "all"])
def test_max_pool_passes_nan_on(ties, xp):
    x = np.arange(32.0).reshape(2, 4, 4, 1)
    expected = cases.pool_by_loops(x, (2, 2), (2, 2), np.max)
    for place, window in (((0, 0, 1, 0), (0, 0, 0, 0)), ((1, 3, 3, 0), (1, 1, 1, 0))):
        x[place] = expected[window] = np.nan
    y = xp.run(lambda x: MaxPool2d(2, ties=ties).forward({}, {}, x, INFER)[0], xp.asarray(x))
    xp.check_equal(y, expected)


# Numbers at the edge


def test_relu_has_no_gradient_at_zero(xp):
    x = xp.asarray(np.array([[-1.0, -0.0, 0.0, 2.0]]))
    dy = xp.asarray(np.ones((1, 4)))
    run = forward_and_backward(Case(ReLU(), (4,)), xp.dtype)
    y, _, dx, *_ = xp.run(run, {}, {}, x, dy, *[xp.asarray(np.zeros(1, dtype=np.int32))] * 3)
    xp.check_equal(y, np.array([[0.0, 0.0, 0.0, 2.0]]))
    xp.check_equal(dx, np.array([[0.0, 0.0, 0.0, 1.0]]))


@pytest.mark.parametrize(
    ("layer", "values", "slopes"),
    [
        (SiLU(), (0.0, 0.0, 0.0, 800.0, 1e6), (0.0, 0.0, 0.5, 1.0, 1.0)),
        (GELUTanh(), (0.0, 0.0, 0.0, 800.0, 1e6), (0.0, 0.0, 0.5, 1.0, 1.0)),
        (LeakyReLU(), (-1e4, -8.0, 0.0, 800.0, 1e6), (0.01, 0.01, 0.01, 1.0, 1.0)),
        (Hardswish(), (0.0, 0.0, 0.0, 800.0, 1e6), (0.0, 0.0, 0.5, 1.0, 1.0)),
        (ELU(0.3), (-0.3, -0.3, 0.0, 800.0, 1e6), (0.0, 0.0, 0.3, 1.0, 1.0)),
        (Sigmoid(), (0.0, 0.0, 0.5, 1.0, 1.0), (0.0, 0.0, 0.25, 0.0, 0.0)),
        (Tanh(), (-1.0, -1.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 0.0, 0.0)),
    ],
)
def test_activations_of_huge_numbers(layer, values, slopes):
    x = np.array([[-1e6, -800.0, 0.0, 800.0, 1e6]], np.float32)
    with np.errstate(over="raise", invalid="raise"):
        y, _, residuals = layer.forward({}, {}, x, INFER)
        dx, _ = layer.backward({}, residuals, np.ones_like(x), INFER, need_dx=True)
    np.testing.assert_allclose(y, [values], rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(dx, [slopes], rtol=1e-6, atol=1e-30)


def test_softmax_of_huge_logits(xp):
    x = xp.asarray(np.array([[1e4, 0.0, -1e4], [-1e4, -1e4, -1e4], [1e4, 1e4, 0.0]]))
    y = xp.run(lambda x: Softmax().forward({}, {}, x, INFER)[0], x)
    xp.check_close(y, np.array([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0]]))


def test_batch_norm_of_one_number():
    # Its unbiased variance is 0 / 0; the state must stay finite.
    params, state, _ = BatchNorm2d().init(np.random.default_rng(0), (1, 1, 1))
    context = Context(GENERIC, "train", "float64")
    y, state, _ = BatchNorm2d().forward(params, state, np.full((1, 1, 1, 1), 5.0), context)
    assert y == 0.0
    np.testing.assert_allclose([state["mean"][0], state["variance"][0]], [0.5, 0.9], rtol=1e-15)


def drawn(initial, layer=None, shape=(9, 9, 10)):
    layer = Conv2d(20, 3, initial=initial) if layer is None else layer
    return layer.init(np.random.default_rng(0), shape)[0]["weight"]


@pytest.mark.parametrize(
    ("initial", "variance"),
    [
        ("glorot_uniform", 2 / (90 + 180)),
        ("glorot_normal", 2 / (90 + 180)),
        ("he_uniform", 2 / 90),
        ("he_normal", 2 / 90),
        ("zeros", 0.0),
    ],
)
def test_initial_values_have_the_published_variance(initial, variance):
    weight = drawn(initial)
    assert weight.shape == (3, 3, 10, 20)
    assert abs(weight.mean()) <= 4 * (variance / weight.size) ** 0.5
    np.testing.assert_allclose(weight.var(), variance, rtol=0.1)
    largest = (3 * variance) ** 0.5  # of a uniform distribution
    assert ("uniform" in initial) == (0.99 * largest < np.abs(weight).max() < largest)
    groups = drawn(initial, Conv2d(20, 3, groups=5, initial=initial))
    np.testing.assert_allclose(groups.var(), 5 * variance, rtol=0.2)  # each sums a fifth
    dense = drawn(initial, Dense(180, initial=initial), (90,))
    np.testing.assert_allclose(dense.var(), variance, rtol=0.1)


@pytest.mark.parametrize("initial", INITIAL)
def test_initial_values_are_counted_before_they_are_drawn(initial):
    network = Sequential(Flatten(), Dense(10, initial=initial))
    check_parameter_count(network, (5, 2, 1), 100)
    with pytest.raises(CheckpointError, match="more parameters than the file's arrays, 99"):
        check_parameter_count(network, (5, 2, 1), 99)


@pytest.mark.parametrize(("inputs", "outputs"), [(12, 5), (5, 12)])
def test_orthogonal_initial_values(inputs, outputs):
    weight = drawn("", Dense(outputs, initial="orthogonal"), (inputs,))
    short = weight if inputs < outputs else weight.T
    np.testing.assert_allclose(short @ short.T, np.eye(5), atol=1e-12)
    filters = drawn("orthogonal").reshape(90, 20)
    np.testing.assert_allclose(filters.T @ filters, np.eye(20), atol=1e-12)
    # All rotations are equally likely: no sign is fixed.
    corners = {
        np.sign(
            Dense(2, initial="orthogonal").init(np.random.default_rng(n), (2,))[0]["weight"][0, 0]
        )
        for n in range(9)
    }
    assert corners == {-1.0, 1.0}


def test_glorot_uniform_fills_its_interval():
    params, _, _ = Conv2d(20, 3).init(np.random.default_rng(0), (9, 9, 10))
    limit = (6.0 / (9 * 10 + 9 * 20)) ** 0.5
    assert 0.99 * limit < np.abs(params["weight"]).max() < limit
    assert abs(params["weight"].mean()) < 0.05 * limit
    assert not params["bias"].any()


def test_global_max_pool_gives_the_gradient_to_the_first(xp):
    layer, x = LAYERS["GlobalMaxPool2d"](), np.zeros((1, 2, 2, 1))
    run = forward_and_backward(Case(layer, (2, 2, 1)), xp.dtype)
    arrays = {}, {}, xp.asarray(x), xp.asarray(np.full((1, 1), 5.0))
    _, _, dx, *_ = xp.run(run, *arrays, *[xp.asarray(np.zeros(1, dtype=np.int32))] * 3)
    xp.check_equal(dx, np.array([[[[5.0], [0.0]], [[0.0], [0.0]]]]))


def test_layer_norm_of_another_width():
    params, _, _ = LayerNorm().init(np.random.default_rng(0), (4,))
    with pytest.raises(InvalidValueError, match=r"the last axis must be 4, got shape \(2, 5\)"):
        LayerNorm().forward(params, {}, np.zeros((2, 5)), INFER)


def test_batch_norm_goes_on_under_its_former_name():
    assert BatchNorm2d is BatchNorm
    old = {"class": "BatchNorm2d", "momentum": 0.2, "epsilon": 1e-3}
    assert network_from_config(old) == BatchNorm(0.2, 1e-3)
    assert network_to_config(BatchNorm(0.2, 1e-3)) == {**old, "class": "BatchNorm"}


@pytest.mark.parametrize(
    "network",
    [
        Concatenate(Identity(), Add(Dense(3), Sequential(ReLU(), Dense(3)))),
        Residual(Concatenate(Dense(2), Dense(3)), Dense(5)),
    ],
)
def test_branches_are_written_in_short_and_read_again(network):
    assert network_from_config(network_to_config(network)) == network
    assert eval(repr(network)) == network
    assert network.with_layers([part for _, part in network.named_layers()]) == network
