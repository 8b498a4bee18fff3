"""Schedules against PyTorch's schedulers, at their ends, and for the shortest trainings."""

import math
import re

import pytest

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.optimizers import SGD
from arraycnn.optimizers.schedules import (
    Constant,
    Cosine,
    Exponential,
    OneCycle,
    StepDecay,
    Warmup,
    check_length,
    known_after,
)
from arraycnn.training.history import EpochRecord
from arraycnn.training.plateau import Plateau

ONE_CYCLES = [
    OneCycle(0.3),
    OneCycle(0.1, warmup=0.5, initial_divisor=10.0, final_divisor=100.0),
    OneCycle(1.0, warmup=0.05),
    OneCycle(1.0, warmup=0.95, initial_divisor=1.0, final_divisor=1.0),
]
SCHEDULES = [Constant(0.3), StepDecay(0.3, every=2), Cosine(0.3), Cosine(0.3, 0.1), *ONE_CYCLES]


def rates(schedule, total_steps: int) -> list[float]:
    return [schedule(step, total_steps) for step in range(total_steps)]


def torch_rates(torch, name: str, total_steps: int, learning_rate: float, settings: dict):
    """The rates that a scheduler of PyTorch gives to the steps of a training."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=learning_rate)
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **settings)
    result = []
    for step in range(total_steps):
        result.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step + 1 < total_steps:
            scheduler.step()
    return result


@pytest.mark.parametrize("total_steps", [2, 3, 7, 100])
@pytest.mark.parametrize("schedule", ONE_CYCLES, ids=str)
def test_one_cycle_equals_torch(schedule, total_steps, torch):
    if schedule.warmup * total_steps == 1.0:
        total_steps += 1  # PyTorch divides by zero there; ours has a test of its own
    settings = {
        "max_lr": schedule.learning_rate,
        "total_steps": total_steps,
        "pct_start": schedule.warmup,
        "anneal_strategy": "cos",
        "cycle_momentum": False,
        "div_factor": schedule.initial_divisor,
        "final_div_factor": schedule.final_divisor,
    }
    expected = torch_rates(torch, "OneCycleLR", total_steps, schedule.learning_rate, settings)
    assert rates(schedule, total_steps) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("total_steps", [1, 2, 3, 50])
@pytest.mark.parametrize("schedule", [Cosine(0.3), Cosine(0.3, final=0.05)], ids=str)
def test_cosine_equals_torch(schedule, total_steps, torch):
    settings = {"T_max": total_steps, "eta_min": schedule.final}
    expected = torch_rates(torch, "CosineAnnealingLR", total_steps, 0.3, settings)
    assert rates(schedule, total_steps) == pytest.approx(expected, rel=1e-12)


def test_step_decay_equals_torch(torch):
    expected = torch_rates(torch, "StepLR", 20, 0.3, {"step_size": 4, "gamma": 0.6})
    assert rates(StepDecay(0.3, every=4, factor=0.6), 20) == pytest.approx(expected, rel=1e-12)


def test_exponential_equals_torch(torch):
    expected = torch_rates(torch, "ExponentialLR", 20, 0.3, {"gamma": 0.6 ** (1 / 4)})
    assert rates(Exponential(0.3, every=4, factor=0.6), 20) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("inner", "name", "settings"),
    [
        (0.3, "ConstantLR", {"factor": 1.0}),
        (StepDecay(0.3, every=3, factor=0.5), "StepLR", {"step_size": 3, "gamma": 0.5}),
        (Cosine(0.3), "CosineAnnealingLR", {"T_max": 12}),
    ],
    ids=str,
)
def test_warmup_is_torchs_linear_rate_chained_with_the_schedule(inner, name, settings, torch):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    kinds = torch.optim.lr_scheduler
    linear = kinds.LinearLR(optimizer, start_factor=0.1, total_iters=5)
    chained = kinds.ChainedScheduler([linear, getattr(kinds, name)(optimizer, **settings)])
    expected = []
    for _ in range(12):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        chained.step()
    assert rates(Warmup(inner, 5, start=0.1), 12) == pytest.approx(expected, rel=1e-12)


def records(values, metric):
    return [
        EpochRecord(**{**BLANK, "epoch": n, metric: value})
        for n, value in enumerate(values, start=1)
    ]


BLANK = {
    "epoch": 1, "train_loss": 1.0, "train_accuracy": 0.5, "validation_loss": 1.0,
    "validation_accuracy": 0.5, "seconds": 1.0, "images_per_second": 1.0, "learning_rate": 0.1,
}  # fmt: skip
VALUES = [0.9, 0.8, 0.8, 0.79, 0.8, 0.81, 0.6, 0.61, 0.62, 0.63, 0.64, 0.65, 0.6, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("metric", ["validation_loss", "train_accuracy"])
@pytest.mark.parametrize(("patience", "min_delta"), [(1, 0.0), (2, 0.0), (3, 0.015)])
def test_plateau_equals_torch(patience, min_delta, metric, torch):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        *(optimizer, "min" if metric.endswith("loss") else "max"), factor=0.3, eps=0.0,
        patience=patience - 1, threshold=min_delta, threshold_mode="abs", min_lr=0.004,
    )  # fmt: skip
    ours, done = Plateau(0.3, metric, patience, 0.3, min_delta, 0.004), records(VALUES, metric)
    for epoch, value in enumerate(VALUES):
        known = known_after(Warmup(ours, 1, start=1.0), done[:epoch], 7)
        expected = optimizer.param_groups[0]["lr"]
        for step in (7 * epoch, 7 * epoch + 6):
            assert known(step, 1000) == pytest.approx(expected, rel=1e-12)
        later = known_after(ours, done, 7)  # what is known later changes no step before
        assert later(7 * epoch + 6, 1000) == known(7 * epoch + 6, 1000)
        theirs.step(value)
    assert expected < 0.02


def test_plateau_needs_what_it_goes_by():
    blank = {**BLANK, "validation_loss": None, "validation_accuracy": None}
    with pytest.raises(InvalidValueError, match="Plateau: validation_loss needs validation data"):
        known_after(Plateau(0.1), [EpochRecord(**blank)], 5)


@pytest.mark.parametrize(
    ("schedule", "total_steps", "expected"),
    [
        (Constant(0.3), 3, [0.3, 0.3, 0.3]),
        (StepDecay(1.0, every=2, factor=0.1), 5, [1.0, 1.0, 0.1, 0.1, 0.01]),
        (StepDecay(1.0, every=1, factor=0.0), 3, [1.0, 0.0, 0.0]),
        (Exponential(1.0, every=2, factor=0.0), 3, [1.0, 0.0, 0.0]),
        (Exponential(1e-6, every=1, factor=10.0), 3, [1e-6, 1e-5, 1e-4]),  # a test of a range
        (StepDecay(1.0, every=1, factor=2), 3, [1.0, 2.0, 4.0]),
        (Cosine(1.0), 2, [1.0, 0.5]),
        (Cosine(1.0, final=0.5), 3, [1.0, 0.875, 0.625]),
        # Up in steps 0 to 2, down in steps 2 to 5; half-way the cosine is at the mean.
        (OneCycle(1.0, 0.5, 5.0, 2.0), 6, [0.2, 0.6, 1.0, 0.775, 0.325, 0.1]),
        # The warm-up is over at step 0: the rate begins at its highest.
        (OneCycle(1.0, 0.25, 5.0, 2.0), 4, [1.0, 0.775, 0.325, 0.1]),
        (OneCycle(1.0, 0.5, 5.0, 2.0), 2, [1.0, 0.1]),
    ],
    ids=str,
)
def test_rates_by_hand(schedule, total_steps, expected):
    assert rates(schedule, total_steps) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("total_steps", range(1, 41))
@pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
def test_rates_of_every_length_are_finite_and_within_bounds(schedule, total_steps):
    for rate in rates(schedule, total_steps):
        assert math.isfinite(rate)
        assert 0.0 <= rate <= schedule.learning_rate * (1.0 + 1e-12)


@pytest.mark.parametrize("factor", [1e-300, 0.5, 1.0 - 1e-12, 1.0])
@pytest.mark.parametrize("kind", [StepDecay, Exponential])
def test_rates_that_fall_for_ever_stay_finite(kind, factor):
    schedule = kind(0.3, every=1, factor=factor)
    found = [schedule(step, 10**9) for step in (0, 1, 400, 10**6, 10**9)]
    assert found == sorted(found, reverse=True)
    assert 0.0 <= found[-1] <= found[0] == 0.3


def test_a_warm_up_must_end_within_the_training():
    inside, beyond = Warmup(Warmup(0.3, 9), 3), Warmup(Warmup(0.3, 10), 3)
    assert rates(Warmup(0.3, 9), 10)[-1] == 0.3 > rates(Warmup(0.3, 10), 10)[-1]
    check_length(inside, 10)
    with pytest.raises(InvalidValueError, match=r"Warmup: steps must be fewer .* 10, got 10"):
        check_length(beyond, 10)


@pytest.mark.parametrize("schedule", ONE_CYCLES, ids=str)
def test_one_cycle_ends_at_its_lowest(schedule):
    lowest = schedule.learning_rate / schedule.initial_divisor / schedule.final_divisor
    for total_steps in (2, 3, 10, 1000):
        assert rates(schedule, total_steps)[-1] == pytest.approx(lowest, rel=1e-9)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Constant(float("nan")), ValueError, "Constant: learning_rate must be finite"),
        (lambda: Constant(-1.0), ValueError, "Constant: learning_rate must be finite and at least"),
        (lambda: Constant(True), TypeError, "Constant: learning_rate must be a number, got True"),
        (lambda: Constant(None), TypeError, "Constant: learning_rate must be a number, got None"),
        (lambda: StepDecay(float("inf"), 2), ValueError, "StepDecay: learning_rate must be finite"),
        (lambda: StepDecay(0.1, 0), ValueError, "StepDecay: every must be finite and at least 1"),
        (lambda: StepDecay(0.1, 2, -0.5), ValueError, "StepDecay: factor must be finite and at"),
        (lambda: Exponential(0.1, 2, math.inf), ValueError, "Exponential: factor must be finite"),
        (
            lambda: StepDecay(10**400, 2),
            ValueError,
            "StepDecay: learning_rate must be a number that",
        ),
        (lambda: Constant(10**5000), ValueError, "that a float holds, got one of 16610 bits"),
        (
            lambda: Warmup(Cosine, 2),
            TypeError,
            "Warmup: schedule must be a number or a schedule",
        ),
        (lambda: Warmup("0.1", 2), TypeError, "Warmup: schedule must be a number or a schedule"),
        (lambda: Warmup(-0.1, 2), ValueError, "Warmup: schedule must be finite and at least 0"),
        (
            lambda: SGD(OneCycle),
            TypeError,
            "SGD: learning_rate must be a number or a schedule, got <c",
        ),
        (lambda: StepDecay(0.1, "2"), TypeError, "StepDecay: every must be a number, got '2'"),
        (lambda: Cosine(float("nan")), ValueError, "Cosine: learning_rate must be finite"),
        (lambda: Cosine(0.1, -0.1), ValueError, "Cosine: final must be finite and at least 0"),
        (lambda: OneCycle(-0.1), ValueError, "OneCycle: learning_rate must be finite"),
        (lambda: OneCycle(0.1, warmup=0.0), ValueError, "OneCycle: warmup must be between 0 and 1"),
        (lambda: OneCycle(0.1, warmup=1.0), ValueError, "OneCycle: warmup must be between 0 and 1"),
        (lambda: OneCycle(0.1, warmup=float("nan")), ValueError, "OneCycle: warmup must be"),
        (lambda: OneCycle(0.1, warmup="0.3"), TypeError, "OneCycle: warmup must be a number"),
        (lambda: OneCycle(0.1, initial_divisor=0.0), ValueError, "OneCycle: initial_divisor must"),
        (lambda: OneCycle(0.1, final_divisor=0.5), ValueError, "OneCycle: final_divisor must be"),
    ],
)
def test_bad_settings(make, error, message):
    kind = InvalidTypeError if error is TypeError else InvalidValueError
    with pytest.raises(kind, match=re.escape(message)):
        make()
