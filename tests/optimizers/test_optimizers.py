"""SGD, Adam, AdamW and Lion against their formulas, against PyTorch, and on every array library."""

import math
import re

import numpy as np
import pytest

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops import GENERIC
from arraycnn.optimizers import SGD, Adam, AdamW, Lion, learning_rates
from arraycnn.optimizers.schedules import Cosine, StepDecay
from arraycnn.tree import flatten, map_leaves

STEPS = 25

OPTIMIZERS = [
    SGD(0.1),
    SGD(0.1, weight_decay=0.02),
    SGD(0.05, momentum=0.9),
    SGD(0.05, momentum=0.9, weight_decay=0.02),
    SGD(0.05, momentum=0.8, nesterov=True),
    SGD(0.05, momentum=0.8, nesterov=True, weight_decay=0.02),
    Adam(0.01),
    Adam(0.01, betas=(0.7, 0.95), epsilon=1e-3),
    Adam(0.01, betas=(0.0, 0.0)),
    Adam(0.01, weight_decay=0.1),
    AdamW(0.01),
    AdamW(0.01, weight_decay=0.3),
    Lion(0.01),
    Lion(0.01, betas=(0.6, 0.8), weight_decay=0.3),
]
NOT_IN_TORCH = (Lion,)


def starting_params() -> dict:
    rng = np.random.default_rng(0)
    return {
        "0": {"weight": rng.normal(size=(3, 4)), "bias": rng.normal(size=(4,))},
        "1": {},
        "2": {"body": {"weight": rng.normal(size=(4, 3))}},
    }


def gradients_at(step: int) -> dict:
    rng = np.random.default_rng(1000 + step)
    return map_leaves(lambda leaf: rng.normal(size=leaf.shape), starting_params())


def rate_at(optimizer, step: int) -> float:
    """The learning rate, changing as under a schedule."""
    return optimizer.learning_rate * (1.0 + 0.5 * np.sin(step))


def run_numpy(optimizer) -> tuple[dict, dict]:
    params = starting_params()
    state = optimizer.init(params)
    for step in range(STEPS):
        rate = np.array(rate_at(optimizer, step))
        params, state = optimizer.update(GENERIC, params, gradients_at(step), state, rate)
    return params, state


def sgd_by_formula(optimizer, p, gradients, rates):
    """PyTorch's documentation of SGD, one number at a time."""
    velocity = None
    for g, rate in zip(gradients, rates, strict=True):
        g = g + optimizer.weight_decay * p
        velocity = g if velocity is None else optimizer.momentum * velocity + g
        p = p - rate * (g + optimizer.momentum * velocity if optimizer.nesterov else velocity)
    return p


def adam_by_formula(optimizer, p, gradients, rates):
    """Kingma and Ba, 2015, algorithm 1, and Loshchilov and Hutter, 2019, algorithm 2."""
    beta1, beta2 = optimizer.betas
    m = v = 0.0
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), start=1):
        decay = optimizer.weight_decay * p
        if type(optimizer) is AdamW:
            p = p - rate * decay
        else:
            g = g + decay
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        p = p - rate * (m / (1 - beta1**t)) / ((v / (1 - beta2**t)) ** 0.5 + optimizer.epsilon)
    return p


def lion_by_formula(optimizer, p, gradients, rates):
    """Chen et al., 2023, program 1."""
    beta1, beta2 = optimizer.betas
    m = 0.0
    for g, rate in zip(gradients, rates, strict=True):
        direction = math.copysign(1.0, beta1 * m + (1 - beta1) * g)
        p = p - rate * (direction + optimizer.weight_decay * p)
        m = beta2 * m + (1 - beta2) * g
    return p


FORMULAS = {SGD: sgd_by_formula, Lion: lion_by_formula}


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_update_equals_the_formula(optimizer):
    by_formula = FORMULAS.get(type(optimizer), adam_by_formula)
    params, _ = run_numpy(optimizer)
    steps = [flatten(gradients_at(step)) for step in range(STEPS)]
    rates = [rate_at(optimizer, step) for step in range(STEPS)]
    for name, start in flatten(starting_params()).items():
        for place in np.ndindex(start.shape):
            gradients = [float(gradients[name][place]) for gradients in steps]
            expected = by_formula(optimizer, float(start[place]), gradients, rates)
            np.testing.assert_allclose(flatten(params)[name][place], expected, rtol=1e-11)


@pytest.mark.parametrize(
    "optimizer", [o for o in OPTIMIZERS if not isinstance(o, NOT_IN_TORCH)], ids=str
)
def test_update_equals_torch(optimizer, torch):
    tensors = {
        name: torch.tensor(array, requires_grad=True)
        for name, array in flatten(starting_params()).items()
    }
    if type(optimizer) is SGD:
        settings = {"momentum": optimizer.momentum, "nesterov": optimizer.nesterov}
    else:
        settings = {"betas": optimizer.betas, "eps": optimizer.epsilon}
    theirs = getattr(torch.optim, type(optimizer).__name__)(
        tensors.values(), weight_decay=optimizer.weight_decay, **settings
    )
    for step in range(STEPS):
        theirs.param_groups[0]["lr"] = rate_at(optimizer, step)
        for name, gradient in flatten(gradients_at(step)).items():
            tensors[name].grad = torch.tensor(gradient)
        theirs.step()
    params, _ = run_numpy(optimizer)
    for name, array in flatten(params).items():
        np.testing.assert_allclose(array, tensors[name].detach().numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_every_library_equals_numpy(optimizer, xp):
    def update(params, gradients, state, rate):
        return optimizer.update(GENERIC, params, gradients, state, rate)

    params = starting_params()
    state = map_leaves(xp.asarray, optimizer.init(params))
    params = map_leaves(xp.asarray, params)
    update = xp.compiled(update)
    for step in range(STEPS):
        gradients = map_leaves(xp.asarray, gradients_at(step))
        rate = xp.asarray(np.array(rate_at(optimizer, step)))
        with xp.step():
            params, state = update(params, gradients, state, rate)
    for actual, expected in zip((params, state), run_numpy(optimizer), strict=True):
        assert set(flatten(actual)) == set(flatten(expected))
        for name, array in flatten(expected).items():
            xp.check_close(flatten(actual)[name], array)


@pytest.mark.parametrize("optimizer", [SGD(0.1, momentum=0.9), Adam(0.1), Lion(0.1)], ids=str)
def test_arrays_are_paired_by_name_not_by_order(optimizer):
    # A compiled step, or a file, may hand a dict back with its keys in another order.
    def turned(tree):
        return {
            name: turned(value) if isinstance(value, dict) else value
            for name, value in reversed(tree.items())
        }

    params, state, gradients = starting_params(), optimizer.init(starting_params()), gradients_at(0)
    rate = np.array(0.1)
    expected = optimizer.update(GENERIC, params, gradients, state, rate)
    actual = optimizer.update(GENERIC, params, turned(gradients), turned(state), rate)
    np.testing.assert_equal(actual, expected)
    np.testing.assert_equal(
        optimizer.update(GENERIC, turned(params), gradients, state, rate), expected
    )


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)
def test_nothing_given_is_changed(optimizer):
    params, gradients = starting_params(), gradients_at(0)
    state = optimizer.init(params)
    optimizer.update(GENERIC, params, gradients, state, np.array(0.1))
    np.testing.assert_equal(
        (params, gradients, state),
        (starting_params(), gradients_at(0), optimizer.init(starting_params())),
    )


def test_adam_stays_finite_where_a_gradient_is_zero():
    params = {"weight": np.ones(3)}
    zero = {"weight": np.zeros(3)}
    moved, _ = Adam(0.1).update(GENERIC, params, zero, Adam(0.1).init(params), np.array(0.1))
    np.testing.assert_array_equal(moved["weight"], np.ones(3))


# Learning rates as a table


def test_learning_rates_of_a_number():
    np.testing.assert_array_equal(learning_rates(SGD(0.5), 3, 4, 100), [0.5] * 4)


def test_learning_rates_of_a_schedule():
    rates = learning_rates(Adam(StepDecay(1.0, every=2, factor=0.5)), 1, 5, 6)
    np.testing.assert_array_equal(rates, [1.0, 0.5, 0.5, 0.25, 0.25])
    np.testing.assert_allclose(learning_rates(SGD(Cosine(0.2)), 0, 4, 4)[::2], [0.2, 0.1])


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.1])
def test_learning_rates_names_the_bad_step(bad):
    def schedule(step, total_steps):
        return bad if step >= 12 else 0.1

    message = f"AdamW: the schedule must give finite rates of at least 0, got {bad}"
    with pytest.raises(InvalidValueError, match=f"{re.escape(message)} at step 12"):
        learning_rates(AdamW(schedule), 10, 5, 20)


# Messages


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: SGD(float("nan")), ValueError, "SGD: learning_rate must be finite and at least 0"),
        (lambda: SGD(float("inf")), ValueError, "got inf"),
        (
            lambda: SGD(-0.1),
            ValueError,
            "SGD: learning_rate must be finite and at least 0, got -0.1",
        ),
        (
            lambda: SGD(True),
            TypeError,
            "SGD: learning_rate must be a number or a schedule, got True",
        ),
        (lambda: SGD("0.1"), TypeError, "SGD: learning_rate must be a number or a schedule"),
        (lambda: SGD(0.1, momentum=1.0), ValueError, "SGD: momentum must be below 1, got 1.0"),
        (
            lambda: SGD(0.1, momentum=-0.1),
            ValueError,
            "SGD: momentum must be finite and at least 0",
        ),
        (lambda: SGD(0.1, momentum=True), TypeError, "SGD: momentum must be a number, got True"),
        (lambda: SGD(0.1, momentum=float("nan")), ValueError, "SGD: momentum must be finite"),
        (lambda: SGD(0.1, nesterov=True), ValueError, "SGD: nesterov needs momentum above 0"),
        (lambda: SGD(0.1, 0.9, nesterov="no"), TypeError, "SGD: nesterov must be a bool, got 'no'"),
        (lambda: SGD(0.1, weight_decay=-1.0), ValueError, "SGD: weight_decay must be finite and"),
        (lambda: SGD(0.1, weight_decay=False), TypeError, "SGD: weight_decay must be a number"),
        (lambda: Adam(-1.0), ValueError, "Adam: learning_rate must be finite and at least 0"),
        (lambda: Adam(betas=(0.9, 1.0)), ValueError, "Adam: betas must be below 1, got 1.0"),
        (lambda: Adam(betas=(-0.1, 0.9)), ValueError, "Adam: betas must be finite and at least 0"),
        (
            lambda: Adam(betas=(0.9,)),
            TypeError,
            "Adam: betas must be a pair of numbers, got (0.9,)",
        ),
        (lambda: Adam(betas=0.9), TypeError, "Adam: betas must be a pair of numbers, got 0.9"),
        (lambda: Adam(betas=[0.9, 0.99]), TypeError, "Adam: betas must be a pair of numbers"),
        (lambda: Adam(epsilon=float("nan")), ValueError, "Adam: epsilon must be finite"),
        (lambda: Lion(-1.0), ValueError, "Lion: learning_rate must be finite and at least 0"),
        (lambda: Lion(betas=(0.9, 1.0)), ValueError, "Lion: betas must be below 1, got 1.0"),
        (lambda: Lion(betas=0.9), TypeError, "Lion: betas must be a pair of numbers, got 0.9"),
        (lambda: Lion(weight_decay=-0.1), ValueError, "Lion: weight_decay must be finite and"),
        (lambda: AdamW(float("nan")), ValueError, "AdamW: learning_rate must be finite"),
        (lambda: AdamW(weight_decay=-0.1), ValueError, "AdamW: weight_decay must be finite and"),
    ],
)
def test_bad_settings(make, error, message):
    kind = InvalidTypeError if error is TypeError else InvalidValueError
    with pytest.raises(kind, match=re.escape(message)):
        make()
