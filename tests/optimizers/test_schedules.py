"""Schedules against PyTorch's schedulers, at their ends, and for the shortest trainings."""

import math
import re

import pytest

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.optimizers.schedules import Constant, Cosine, OneCycle, StepDecay

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


@pytest.mark.parametrize(
    ("schedule", "total_steps", "expected"),
    [
        (Constant(0.3), 3, [0.3, 0.3, 0.3]),
        (StepDecay(1.0, every=2, factor=0.1), 5, [1.0, 1.0, 0.1, 0.1, 0.01]),
        (StepDecay(1.0, every=1, factor=0.0), 3, [1.0, 0.0, 0.0]),
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
