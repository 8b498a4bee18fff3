"""Every layer: loops, finite differences, PyTorch, JAX's autodiff, and each array library."""

import dataclasses
import re

import numpy as np
import pytest

import cases
from arraycnn.errors import ArraycnnError, CheckpointError, InvalidTypeError, InvalidValueError
from arraycnn.layers import (
    ELU,
    LAYERS,
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm,
    BatchNorm2d,
    Concatenate,
    Context,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Dropout,
    Dropout2d,
    Flatten,
    GELUTanh,
    GlobalAvgPool2d,
    GroupNorm,
    Hardswish,
    Identity,
    LayerNorm,
    LeakyReLU,
    MaxPool2d,
    ReLU,
    Rescale,
    Reshape,
    Residual,
    Sequential,
    Sigmoid,
    SiLU,
    Softmax,
    StochasticDepth,
    Tanh,
    Upsample2d,
    ZeroPad2d,
    ZeroPadChannels,
)
from arraycnn.layers.augmentation import Augmentation
from arraycnn.layers.config import check_parameter_count, network_from_config, network_to_config
from arraycnn.layers.initial_values import INITIAL
from arraycnn.ops import GENERIC
from arraycnn.tree import flatten, map_leaves
from cases import CASES, Case

FLOATING_CASES = [case for case in CASES if not case.pixels]
LEARNING_CASES = [case for case in CASES if not isinstance(case.layer, Rescale)]
INFER = Context(GENERIC, "infer", "float64")


def forward_and_backward(case: Case, dtype: str):
    """The whole protocol as one function of arrays."""

    def run(params, state, x, dy, seed, step, indices):
        context = case.context(dtype, seed, step, indices)
        y, new_state, residuals = case.layer.forward(params, state, x, context)
        dx, gradients = case.layer.backward(params, residuals, dy, context, need_dx=True)
        none, same = case.layer.backward(params, residuals, dy, context, need_dx=False)
        return y, new_state, dx, gradients, none, same

    return run


def run_numpy(case: Case):
    """`forward_and_backward` on NumPy in float64."""
    return forward_and_backward(case, "float64")(*vars(case.arrays()).values())


def check_trees(check, actual: dict, expected: dict) -> None:
    actual, expected = flatten(actual), flatten(expected)
    assert set(actual) == set(expected)
    for name in expected:
        check(actual[name], expected[name])


@pytest.mark.parametrize("case", CASES, ids=str)
def test_forward_equals_plain_loops(case):
    arrays = case.arrays()
    y, state, *_ = run_numpy(case)
    expected, expected_state = cases.forward_by_loops(
        case.layer, arrays.params, arrays.state, arrays.x, case.mode
    )
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    check_trees(np.testing.assert_allclose, state, expected_state)


@pytest.mark.parametrize("case", LEARNING_CASES, ids=str)
def test_backward_equals_finite_differences(case):
    arrays = case.arrays()
    _, _, dx, gradients, *_ = run_numpy(case)
    context = case.context("float64", arrays.seed, arrays.step, arrays.indices)

    def loss():
        y, _, _ = case.layer.forward(arrays.params, arrays.state, arrays.x, context)
        return float(np.sum(y * arrays.dy))

    pairs = [(array, flatten(gradients)[name]) for name, array in flatten(arrays.params).items()]
    if not case.pixels:
        pairs.append((arrays.x, dx))
    for array, gradient in pairs:
        numerical = central_differences(loss, array)
        np.testing.assert_allclose(gradient, numerical, rtol=1e-7, atol=1e-7)


def central_differences(loss, array, width=1e-5):
    """The gradient of ``loss()`` with respect to ``array``, which it reads."""
    result = np.zeros_like(array)
    for place in np.ndindex(array.shape):
        value = array[place]
        array[place] = value + width
        above = loss()
        array[place] = value - width
        below = loss()
        array[place] = value
        result[place] = (above - below) / (2.0 * width)
    return result


def test_backward_of_rescale():
    # The input is whole numbers, so there are no differences to take.
    dy = np.array([[255.0, 0.0, -51.0]])
    dx, gradients = Rescale().backward({}, (), dy, INFER, need_dx=True)
    np.testing.assert_allclose(dx, [[1.0, 0.0, -0.2]], rtol=1e-15)
    assert gradients == {}
    image = np.array([[[[255.0, -51.0]]]])
    dx, _ = Rescale(0.3, (0.5, 4.0)).backward({}, (), image, INFER, need_dx=True)
    np.testing.assert_allclose(dx, [[[[2.0, -0.05]]]], rtol=1e-15)


@pytest.mark.parametrize(
    ("settings", "shape", "said"),
    [
        ({"std": 0.0}, (3, 3, 1), "std must be finite and above 0, got 0.0"),
        ({"std": (0.5, -1.0)}, (3, 3, 2), "std must be finite and above 0, got -1.0"),
        ({"mean": float("nan")}, (3, 3, 1), "mean must be finite, got nan"),
        ({"std": float("inf")}, (3, 3, 1), "std must be finite and above 0, got inf"),
        ({"mean": "0.5"}, (3, 3, 1), "mean must be a number, got '0.5'"),
        ({"mean": ()}, (3, 3, 1), r"mean must be a number, got \(\)"),
        (
            {"mean": (0.1, 0.2)},
            (3, 3, 3),
            "mean must be one .* images, got 2",
        ),
        (
            {"std": (0.1, 0.2)},
            (2,),
            "std must be one .* images, got 2",
        ),
    ],
)
def test_what_rescale_refuses(settings, shape, said):
    with pytest.raises(ArraycnnError, match=f"Rescale: {said}"):
        Rescale(**settings).init(np.random.default_rng(0), shape)


def test_rescale_is_written_in_short():
    assert repr(Rescale()) == repr(Rescale(0.5, 1.0)) == "Rescale()"
    assert repr(Rescale((0.1, 0.2))) == "Rescale(mean=(0.1, 0.2), std=1.0)"
    assert Rescale([0.1, 0.2]) == Rescale((0.1, 0.2))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_library_equals_numpy(case, xp):
    expected = run_numpy(case)
    arrays = vars(case.arrays())
    run = forward_and_backward(case, xp.dtype)
    compiled = xp.compiled(run)
    for place in (xp.asarray, xp.strided):
        placed = {
            name: map_leaves(place, value) if isinstance(value, dict) else place(value)
            for name, value in arrays.items()
        }
        with xp.step():
            y, state, dx, gradients, none, same = compiled(*placed.values())
        assert none is None
        assert tuple(y.shape[1:]) == case.layer.init(np.random.default_rng(0), case.input_shape)[2]
        xp.check_close(y, expected[0])
        xp.check_close(dx, expected[2])
        for actual, wanted in ((state, expected[1]), (gradients, expected[3]), (same, expected[3])):
            check_trees(xp.check_close, actual, wanted)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_have_the_keys_and_shapes_of_the_parameters(case):
    params, state = case.arrays().params, case.arrays().state
    _, new_state, _, *gradients = run_numpy(case)
    shapes = map_leaves(np.shape, params)
    assert map_leaves(np.shape, gradients[0]) == shapes
    assert map_leaves(np.shape, gradients[2]) == shapes
    assert map_leaves(np.shape, new_state) == map_leaves(np.shape, state)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_nothing_given_is_changed(case):
    arrays = case.arrays()
    forward_and_backward(case, "float64")(*vars(arrays).values())
    for name, before in vars(case.arrays()).items():
        after = getattr(arrays, name)
        check_trees(np.testing.assert_array_equal, {name: after}, {name: before})


def torch_forward(torch, layer, params, state, x, mode):
    """``layer`` of PyTorch on channels-last tensors; ``state`` is changed in place."""
    functional = torch.nn.functional

    def channels_first(function, *arguments, **settings):
        return function(x.permute(0, 3, 1, 2), *arguments, **settings).permute(0, 2, 3, 1)

    def sides(kernel_size, stride, dilation=(1, 1)):
        extent = tuple(
            (k - 1) * d + 1 for k, d in zip(cases.both(kernel_size), dilation, strict=True)
        )
        both = extent, cases.both(stride)
        top, bottom, left, right = cases.padding_of(layer, *both, x.shape[1], x.shape[2])
        return 0, 0, left, right, top, bottom

    match layer:
        case Sequential():
            for position, part in enumerate(layer.layers):
                name = str(position)
                x = torch_forward(torch, part, params[name], state[name], x, mode)
            return x
        case Residual():
            y = torch_forward(torch, layer.body, params["body"], state["body"], x, mode)
            if layer.shortcut is None:
                return x + y
            around = params["shortcut"], state["shortcut"]
            return y + torch_forward(torch, layer.shortcut, *around, x, mode)
        case Concatenate() | Add():
            outputs = [
                torch_forward(torch, part, params[str(n)], state[str(n)], x, mode)
                for n, part in enumerate(layer.layers)
            ]
            return sum(outputs) if type(layer) is Add else torch.cat(outputs, -1)
        case Conv2d():
            dilation = cases.both(layer.dilation)
            x = functional.pad(x, sides(layer.kernel_size, layer.stride, dilation))
            weight = params["weight"].permute(3, 2, 0, 1)
            settings = layer.stride, 0, dilation, layer.groups
            return channels_first(functional.conv2d, weight, params.get("bias"), *settings)
        case MaxPool2d() | AvgPool2d():
            is_max = type(layer) is MaxPool2d
            around = sides(layer.kernel_size, layer.stride or layer.kernel_size)
            x = functional.pad(x, around, value=-np.inf if is_max else 0.0)
            pool = functional.max_pool2d if is_max else functional.avg_pool2d
            return channels_first(pool, layer.kernel_size, layer.stride)
        case GlobalAvgPool2d():
            return functional.adaptive_avg_pool2d(x.permute(0, 3, 1, 2), 1).flatten(1)
        case BatchNorm2d():
            of_rows = lambda function, *given, **settings: function(x, *given, **settings)  # noqa: E731
            return (of_rows if x.ndim == 2 else channels_first)(
                functional.batch_norm,
                *(state["mean"], state["variance"], params["weight"], params["bias"]),
                training=mode == "train",
                momentum=layer.momentum,
                eps=layer.epsilon,
            )
        case Flatten():
            return torch.flatten(x, 1)
        case Dense():
            return functional.linear(x, params["weight"].T, params.get("bias"))
        case ReLU():
            return torch.relu(x)
        case Softmax():
            return torch.softmax(x, -1)
        case Dropout():
            return functional.dropout(x, layer.rate, training=mode == "train")
    return twin_forward(torch, layer, params | state, x, mode)


def twin_forward(torch, layer, arrays, x, mode):
    """The module that ``layer`` names, with ``arrays``, on channels-last images or on rows."""
    twin = layer.torch_module(tuple(x.shape[1:]))
    names = {"torch": torch, "nn": torch.nn}
    exec(twin.source, names)
    module = eval(twin.expression, names).to(x.dtype).train(mode == "train")
    assert set(module.state_dict()) == {twin.names.get(name, name) for name in arrays}
    given = {
        twin.names.get(name, name): array.permute(twin.axes.get(name, tuple(range(array.ndim))))
        for name, array in arrays.items()
    }
    y = torch.func.functional_call(module, given, (x.permute(0, 3, 1, 2) if x.ndim == 4 else x,))
    return y.permute(0, 2, 3, 1) if y.ndim == 4 else y


def draws_random_bits(case: Case) -> bool:
    drawing = re.search("Dropout|StochasticDepth", repr(case.layer))
    draws = drawing is not None or isinstance(case.layer, Augmentation)
    return case.mode == "train" and draws and case.layer != Dropout(0.0)


@pytest.mark.parametrize(
    "case", [case for case in FLOATING_CASES if not draws_random_bits(case)], ids=str
)
def test_equals_torch_forward_and_autograd(case, torch):
    arrays = case.arrays()
    y, state, dx, gradients, *_ = run_numpy(case)

    def learned(array):
        return torch.tensor(array, requires_grad=True)

    x, params = learned(arrays.x), map_leaves(learned, arrays.params)
    torch_state = map_leaves(torch.tensor, arrays.state)
    torch_y = torch_forward(torch, case.layer, params, torch_state, x, case.mode)
    torch_y.backward(torch.tensor(arrays.dy))

    def check(actual, tensor):
        np.testing.assert_allclose(actual, tensor.detach().numpy(), rtol=1e-10, atol=1e-12)

    check(y, torch_y)
    check(dx, x.grad)
    check_trees(check, state, torch_state)
    check_trees(check, gradients, map_leaves(lambda tensor: tensor.grad, params))


@pytest.mark.parametrize("case", FLOATING_CASES, ids=str)
def test_backward_equals_jax_autodiff_of_forward(case, jax):
    arrays = map_leaves(jax.numpy.asarray, vars(case.arrays()))
    context = case.context("float64", arrays["seed"], arrays["step"], arrays["indices"])

    def pull_back(params, x, state, dy):
        def forward(params, x):
            return case.layer.forward(params, state, x, context)[0]

        return jax.vjp(forward, params, x)[1](dy)

    expected_gradients, expected_dx = jax.jit(pull_back)(
        arrays["params"], arrays["x"], arrays["state"], arrays["dy"]
    )
    _, _, dx, gradients, *_ = run_numpy(case)
    np.testing.assert_allclose(dx, expected_dx, rtol=1e-10, atol=1e-10)
    check_trees(
        lambda actual, wanted: np.testing.assert_allclose(actual, wanted, rtol=1e-10, atol=1e-10),
        gradients,
        expected_gradients,
    )


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


# Parts of the protocol


@pytest.mark.parametrize("layer", LAYERS.values())
def test_layers_are_frozen_records(layer):
    assert dataclasses.is_dataclass(layer)
    assert layer.__dataclass_params__.frozen


def test_equal_layers_are_equal_keys():
    first, second = (Sequential(Conv2d(2, (3, 3)), Residual(ReLU())) for _ in range(2))
    assert len({first, second}) == 1
    assert first != Sequential(Conv2d(2, (3, 3)), Residual(ReLU(), ReLU()))


@dataclasses.dataclass(frozen=True)
class Counting:
    """Adds its one parameter, and refuses to compute dx."""

    def init(self, rng, input_shape):
        return {"bias": np.zeros(())}, {}, input_shape

    def forward(self, params, state, x, context):
        return x + params["bias"], state, ()

    def backward(self, params, residuals, dy, context, need_dx):
        assert not need_dx, "nobody needs this dx"
        return None, {"bias": dy.sum()}


def test_sequential_asks_the_first_learning_layer_for_no_dx():
    network = Sequential(ReLU(), Sequential(Flatten(), Counting()), ReLU(), Dense(2))
    params, state, _ = network.init(np.random.default_rng(0), (2, 2, 1))
    y, _, residuals = network.forward(params, state, np.ones((3, 2, 2, 1)), INFER)
    dx, gradients = network.backward(params, residuals, y, INFER, need_dx=False)
    assert dx is None
    assert gradients["1"]["1"]["bias"].shape == ()


# Messages


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Conv2d(0, 3), ValueError, "Conv2d: filters must be at least 1, got 0"),
        (lambda: Conv2d(2.0, 3), TypeError, "Conv2d: filters must be an int"),
        (lambda: Conv2d(True, 3), TypeError, "Conv2d: filters must be an int"),
        (lambda: Conv2d((2, 3), 3), TypeError, "Conv2d: filters must be an int, got (2, 3)"),
        (lambda: Conv2d(2, 2.5), TypeError, "Conv2d: kernel_size must be an int or a pair of ints"),
        (lambda: Conv2d(2, (3, 3, 3)), TypeError, "got (3, 3, 3)"),
        (lambda: Conv2d(2, [3, 3]), TypeError, "got [3, 3]"),
        (lambda: Conv2d(2, 3, stride=0), ValueError, "Conv2d: stride must be at least 1, got 0"),
        (lambda: Conv2d(2, 3, padding="full"), ValueError, 'padding must be "valid", "same" or'),
        (lambda: Conv2d(2, 3, padding=1), TypeError, 'padding must be "valid", "same" or'),
        (lambda: Conv2d(2, 3, padding=(-1, 0)), ValueError, "padding must be at least 0"),
        (
            lambda: Conv2d(2, 3, dilation=0),
            ValueError,
            "Conv2d: dilation must be at least 1, got 0",
        ),
        (
            lambda: Conv2d(2, 3, dilation="2"),
            TypeError,
            "Conv2d: dilation must be an int or a pair",
        ),
        (lambda: Conv2d(2, 3, groups=0), ValueError, "Conv2d: groups must be at least 1, got 0"),
        (lambda: Conv2d(4, 3, groups=3), ValueError, "groups must divide the filters, got 3 for 4"),
        (lambda: Conv2d(2, 3, initial="he"), ValueError, "Conv2d: initial must be one of glorot_"),
        (
            lambda: Dense(2, initial=None),
            ValueError,
            "Dense: initial must be one of glorot_uniform",
        ),
        (lambda: ConvTranspose2d(0, 3), ValueError, "ConvTranspose2d: filters must be at least 1"),
        (
            lambda: ConvTranspose2d(2, 3, 0),
            ValueError,
            "ConvTranspose2d: stride must be at least 1",
        ),
        (lambda: ConvTranspose2d(2, 3, padding=1), TypeError, "ConvTranspose2d: padding must be"),
        (
            lambda: ConvTranspose2d(2, 3, (3, 2), output_padding=2),
            ValueError,
            "ConvTranspose2d: output_padding must be less than the stride, got 2",
        ),
        (
            lambda: ConvTranspose2d(2, 3, 2, "same", 1),
            ValueError,
            'ConvTranspose2d: output_padding must be 0 with "same", got 1',
        ),
        (lambda: MaxPool2d(0), ValueError, "MaxPool2d: kernel_size must be at least 1, got 0"),
        (lambda: MaxPool2d(2, (1, 0)), ValueError, "MaxPool2d: stride must be at least 1"),
        (lambda: MaxPool2d(2, ties="last"), ValueError, 'ties must be "first" or "all", got'),
        (lambda: MaxPool2d(2, padding="full"), ValueError, 'MaxPool2d: padding must be "valid"'),
        (lambda: MaxPool2d(2, padding=1), TypeError, 'MaxPool2d: padding must be "valid"'),
        (
            lambda: MaxPool2d((3, 2), padding=(1, 2)),
            ValueError,
            "MaxPool2d: padding must be less than the window, got (1, 2) for a window of (3, 2)",
        ),
        (lambda: AvgPool2d(2, padding=(2, 0)), ValueError, "AvgPool2d: padding must be less than"),
        (lambda: AvgPool2d("2"), TypeError, "AvgPool2d: kernel_size must be an int"),
        (lambda: AvgPool2d(2, -1), ValueError, "AvgPool2d: stride must be at least 1, got -1"),
        (lambda: Dense(0), ValueError, "Dense: outputs must be at least 1, got 0"),
        (lambda: Dense(1.5), TypeError, "Dense: outputs must be an int"),
        (lambda: Dense((2, 3)), TypeError, "Dense: outputs must be an int, got (2, 3)"),
        (lambda: Dropout(1.0), ValueError, "must be in [0, 1), got 1.0"),
        (lambda: Dropout(-0.1), ValueError, "must be in [0, 1), got -0.1"),
        (lambda: Dropout(float("nan")), ValueError, "must be in [0, 1), got nan"),
        (lambda: Dropout("0.5"), TypeError, "Dropout: rate must be a number"),
        (lambda: Dropout(True), TypeError, "Dropout: rate must be a number"),
        (lambda: Dropout2d(1.0), ValueError, "Dropout2d: rate, the probability of dropping, must"),
        (lambda: StochasticDepth("1"), TypeError, "StochasticDepth: rate must be a number"),
        (lambda: BatchNorm2d(momentum=0.0), ValueError, "momentum must be in (0, 1], got 0.0"),
        (lambda: BatchNorm2d(momentum=1.5), ValueError, "momentum must be in (0, 1], got 1.5"),
        (lambda: BatchNorm2d(momentum=float("nan")), ValueError, "momentum must be in (0, 1]"),
        (lambda: BatchNorm2d(momentum="0.1"), TypeError, "momentum must be a number"),
        (lambda: BatchNorm2d(epsilon=0.0), ValueError, "epsilon must be above 0"),
        (lambda: BatchNorm2d(epsilon=float("inf")), ValueError, "epsilon must be above 0"),
        (lambda: BatchNorm2d(epsilon=None), TypeError, "epsilon must be a number"),
        (lambda: LeakyReLU("0.1"), TypeError, "LeakyReLU: slope must be a number, got '0.1'"),
        (lambda: LeakyReLU(float("inf")), ValueError, "LeakyReLU: slope must be finite, got inf"),
        (lambda: ELU("1"), TypeError, "ELU: alpha must be a number, got '1'"),
        (lambda: ELU(float("nan")), ValueError, "ELU: alpha must be finite, got nan"),
        (lambda: GroupNorm(0), ValueError, "GroupNorm: groups must be at least 1, got 0"),
        (lambda: GroupNorm(2.0), TypeError, "GroupNorm: groups must be an int, got 2.0"),
        (lambda: GroupNorm(2, 0.0), ValueError, "GroupNorm: epsilon must be above 0"),
        (lambda: GroupNorm(2, "1"), TypeError, "GroupNorm: epsilon must be a number"),
        (lambda: LayerNorm(-1.0), ValueError, "LayerNorm: epsilon must be above 0"),
        (lambda: LayerNorm("1"), TypeError, "LayerNorm: epsilon must be a number"),
        (lambda: ZeroPad2d(-1), ValueError, "ZeroPad2d: padding must be at least 0, got -1"),
        (lambda: ZeroPad2d((0, 1, 0, -1)), ValueError, "ZeroPad2d: padding must be at least 0"),
        (lambda: ZeroPad2d((1, 2, 3)), TypeError, "ZeroPad2d: padding must be an int, (pad_h,"),
        (lambda: ZeroPad2d(1.5), TypeError, "ZeroPad2d: padding must be an int"),
        (lambda: ZeroPad2d(()), TypeError, "ZeroPad2d: padding must be an int"),
        (lambda: ZeroPadChannels(1, -1), ValueError, "ZeroPadChannels: after must be at least 0"),
        (lambda: ZeroPadChannels(1.0, 1), TypeError, "ZeroPadChannels: before must be an int"),
        (lambda: AdaptiveAvgPool2d(0), ValueError, "AdaptiveAvgPool2d: output_size must be at le"),
        (lambda: Upsample2d(0), ValueError, "Upsample2d: scale must be at least 1, got 0"),
        (lambda: Upsample2d(1.5), TypeError, "Upsample2d: scale must be an int or a pair"),
        (lambda: Upsample2d(2, "cubic"), ValueError, 'must be "nearest" or "bilinear", got'),
        (lambda: Reshape(4), TypeError, "Reshape: shape must be a tuple of ints, without N, got 4"),
        (lambda: Reshape(()), TypeError, "Reshape: shape must be a tuple of ints"),
        (lambda: Reshape((2, 0)), ValueError, "must be of sizes of at least 1, one of them -1"),
        (lambda: Reshape((-1, 2, -1)), ValueError, "one of them -1 at most, got (-1, 2, -1)"),
        (lambda: Concatenate(), ValueError, "Concatenate: needs at least one branch, got none"),
        (lambda: Add(ReLU), TypeError, "Add: branch 0 must be a layer object"),
        (lambda: Sequential(), ValueError, "Sequential: needs at least one layer"),
        (lambda: Sequential(Flatten(), ReLU), TypeError, "layer 1 must be a layer object"),
        (lambda: Sequential(ReLU), TypeError, "write for example ReLU(), with parentheses"),
        (lambda: Sequential([ReLU()]), TypeError, "layer 0 must be a layer object, got [ReLU()]"),
        (lambda: Residual(ReLU), TypeError, "Residual: body must be a layer object"),
        (lambda: Residual(ReLU(), ReLU), TypeError, "Residual: shortcut must be a layer object"),
    ],
)
def test_bad_settings(make, error, message):
    kind = InvalidTypeError if error is TypeError else InvalidValueError
    with pytest.raises(kind, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("layer", "input_shape", "message"),
    [
        (Conv2d(2, 3), (28, 28), "Conv2d: input must have 4 axes (N, H, W, C), got (N, 28, 28)"),
        (Conv2d(2, 5), (4, 9, 1), "the 5x5 window must fit into the image, got 4x9 pixels"),
        (Conv2d(2, 5, padding=(1, 0)), (2, 9, 1), "got 2x9 pixels (padded 4x9)"),
        (MaxPool2d(2), (10,), "MaxPool2d: input must have 4 axes"),
        (MaxPool2d(3), (2, 2, 1), "the 3x3 window must fit into the image, got 2x2 pixels"),
        (AvgPool2d(2), (1, 5, 1), "AvgPool2d: the 2x2 window must fit into the image"),
        (GlobalAvgPool2d(), (5,), "GlobalAvgPool2d: input must have 4 axes"),
        (BatchNorm(), (5, 2), "BatchNorm: input must be images, (N, H, W, C), or rows"),
        (
            Conv2d(2, 3, dilation=3),
            (6, 9, 1),
            "Conv2d: the 7x7 window must fit into the image, got 6x9 pixels",
        ),
        (Conv2d(4, 3, groups=2), (5, 5, 3), "Conv2d: groups must divide the channels, got 2 for 3"),
        (ConvTranspose2d(2, 3), (6,), "ConvTranspose2d: input must have 4 axes"),
        (
            ConvTranspose2d(2, 3, padding=(2, 0)),
            (2, 2, 1),
            "ConvTranspose2d: padding must leave something of the output, got (2, 0) for 2x2 pixels",
        ),
        (LayerNorm(), (), "LayerNorm: input must have a last axis, got (N)"),
        (Dropout2d(0.1), (6,), "Dropout2d: input must have 4 axes"),
        (ZeroPad2d(1), (6,), "ZeroPad2d: input must have 4 axes"),
        (Upsample2d(2), (6,), "Upsample2d: input must have 4 axes"),
        (Reshape((4, 2)), (3, 3), "the 9 numbers of an image (N, 3, 3) must fill (N, 4, 2)"),
        (Reshape((4, -1)), (3, 3), "the 9 numbers of an image (N, 3, 3) must fill (N, 4, -1)"),
        (
            Concatenate(Identity(), Conv2d(2, 3)),
            (5, 5, 1),
            "equal but for the last axis, got (N, 5, 5, 1), (N, 3, 3, 2)",
        ),
        (
            Add(Identity(), Conv2d(2, 1)),
            (5, 5, 1),
            "Add: the branches must give one shape, got (N, 5, 5, 1), (N, 5, 5, 2)",
        ),
        (GroupNorm(2), (6,), "GroupNorm: input must have 4 axes"),
        (
            GroupNorm(3),
            (5, 5, 4),
            "GroupNorm: groups must divide the channels, got 3 for 4 channels",
        ),
        (Dense(3), (4, 4, 1), "Dense: input must have 2 axes (N, inputs), got (N, 4, 4, 1)"),
        (Residual(Conv2d(2, 3)), (5, 5, 2), "got (3, 3, 2) and (5, 5, 2)"),
        (Sequential(ReLU(), Dense(3)), (4, 4, 1), "layer 1, Dense: input must have 2 axes"),
        (
            Sequential(ReLU(), Sequential(ReLU(), MaxPool2d(3))),
            (2, 2, 1),
            "layer 1, layer 1, MaxPool2d: the 3x3 window",
        ),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit(layer, input_shape, message):
    with pytest.raises(InvalidValueError, match=re.escape(message)):
        layer.init(np.random.default_rng(0), input_shape)


@pytest.mark.parametrize(
    ("layer", "made_for", "x", "error", "message"),
    [
        (Conv2d(2, 3), (5, 5, 1), np.zeros((2, 5, 5)), ValueError, "got shape (2, 5, 5)"),
        (Conv2d(2, 3), (5, 5, 3), np.zeros((2, 5, 5, 1)), ValueError, "must have 3 channels"),
        (Conv2d(2, 3), (5, 5, 1), np.zeros((2, 2, 5, 1)), ValueError, "the 3x3 window must fit"),
        (Conv2d(2, 3), (5, 5, 1), np.zeros((2, 5, 5, 1), np.uint8), TypeError, "Rescale()"),
        (Conv2d(2, 3), (5, 5, 1), np.zeros((2, 5, 5, 1), int), TypeError, "got int64"),
        (Rescale(), (5, 5, 1), np.zeros((2, 5, 5, 1)), TypeError, "must be uint8 (0 to 255)"),
        (MaxPool2d(2), (5, 5, 1), np.zeros((2, 5, 5)), ValueError, "MaxPool2d: input must have"),
        (MaxPool2d(2), (5, 5, 1), np.zeros((2, 5, 5, 1), int), TypeError, "MaxPool2d: input must"),
        (AvgPool2d(2), (5, 5, 1), np.zeros((2, 5)), ValueError, "AvgPool2d: input must have"),
        (GlobalAvgPool2d(), (5, 5, 1), np.zeros((2, 5)), ValueError, "GlobalAvgPool2d: input"),
        (BatchNorm2d(), (5, 5, 3), np.zeros((2, 5, 5, 1)), ValueError, "must have 3 channels"),
        (GroupNorm(2), (5, 5, 2), np.zeros((2, 5, 5, 4)), ValueError, "must have 2 channels"),
        (Dense(2), (5,), np.zeros((2, 6)), ValueError, "Dense: input must be (N, 5), got"),
        (Dense(2), (5,), np.zeros((2, 5, 1)), ValueError, "Dense: input must be (N, 5), got"),
        (Dense(2), (5,), np.zeros((2, 5), int), TypeError, "Dense: input must be float32 or"),
        (ReLU(), (5,), np.zeros((2, 5), int), TypeError, "ReLU: input must be float32 or"),
        (Softmax(), (5,), np.zeros((2, 5), int), TypeError, "Softmax: input must be float32 or"),
        (Dropout(0.5), (5,), np.zeros((2, 5), int), TypeError, "Dropout: input must be float32"),
        (
            Sequential(ReLU(), ReLU(), Flatten(), Dense(2)),
            (2, 2, 1),
            np.zeros((2, 3, 2, 1)),
            ValueError,
            "layer 3, Dense: input must be (N, 4), got shape (2, 6)",
        ),
        (Sequential(Conv2d(2, 3)), (5, 5, 1), np.zeros((1, 5, 5, 1), int), TypeError, "layer 0, "),
    ],
)
def test_inputs_that_do_not_fit(layer, made_for, x, error, message):
    params, state, _ = layer.init(np.random.default_rng(0), made_for)
    kind = InvalidTypeError if error is TypeError else InvalidValueError
    with pytest.raises(kind, match=re.escape(message)):
        layer.forward(params, state, x, INFER)


def test_dropout_without_randomness():
    with pytest.raises(InvalidValueError, match="pass Randomness"):
        Dropout(0.5).forward({}, {}, np.zeros((2, 3)), Context(GENERIC, "train", "float64"))
