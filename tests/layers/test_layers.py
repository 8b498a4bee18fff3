"""Every layer: loops, finite differences, PyTorch, JAX's autodiff, and each array library."""

import re

import numpy as np
import pytest

import cases
from arraycnn.errors import ArraycnnError
from arraycnn.layers import (
    Context,
    Dropout,
    Rescale,
)
from arraycnn.layers.augmentation import Augmentation
from arraycnn.ops import GENERIC
from arraycnn.tree import flatten, map_leaves
from cases import CASES, Case
from layer_runs import forward_and_backward, torch_forward

FLOATING_CASES = [case for case in CASES if not case.pixels]
LEARNING_CASES = [case for case in CASES if not isinstance(case.layer, Rescale)]
INFER = Context(GENERIC, "infer", "float64")


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
