"""The rates of a training: a bad one is refused before any work, and so is a training too short."""

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.optimizers import check_schedule, learning_rates

STEPS = 4  # of an epoch


class Stop(cnn.Callback):
    save_every = 2

    def on_steps(self, progress):
        return True


def new_model():
    return cnn.Model(cnn.Sequential(cnn.Flatten(), cnn.Dense(2)), (3, 3))


def fit(model, rate, **settings):
    images, labels = np.random.default_rng(0).normal(size=(8, 3, 3, 1)), np.arange(8) % 2
    model.fit(images, labels, batch_size=8 // STEPS, optimizer=cnn.SGD(rate), **settings)


@pytest.mark.parametrize("given", [None, "high", [0.1, 0.2], 1j, 10**400])
def test_a_rate_that_is_no_number_names_its_step(given):
    message = r"SGD: the schedule must give a number for each step, got .* at step 3"
    rule = cnn.SGD(lambda step, total: given if step == 3 else 0.1)
    with pytest.raises(InvalidTypeError, match=message):
        learning_rates(rule, 0, 5, 5)


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (lambda step, total: 0.1 - 0.04 * step, "finite rates of at least 0, got -0.0.* at step 3"),
        (lambda step, total: (1, 1, 1, None)[step], "a number for each step, got None at step 3"),
        (lambda step, total: (1, 1, 1, -1)[step], "at least 0, got -1.0 at step 3"),
        (cnn.Warmup(lambda step, total: 2 - step, 2), "at least 0, got -1.0 at step 3"),
        (cnn.Exponential(0.1, 1, factor=1e200), "finite rates of at least 0, got inf at step 3"),
        (cnn.Warmup(cnn.StepDecay(0.1, 1, 10**200), 2), "at least 0, got inf at step 3"),
        (cnn.Warmup(0.1, 4), "Warmup: steps must be fewer than those of the training, 4, got 4"),
        (cnn.Warmup(cnn.Plateau(0.1, "train_loss"), 5), "those of the training, 4, got 5"),
        (cnn.Warmup(cnn.Warmup(0.1, 5), 2), "those of the training, 4, got 5"),
    ],
)
def test_rates_that_a_training_cannot_have_are_refused_before_its_first_step(rate, said):
    model = new_model()
    with pytest.raises((InvalidValueError, InvalidTypeError), match=said):
        fit(model, rate)
    assert model.steps_done == 0
    assert model.unfinished is None


def test_a_number_of_a_users_optimizer_is_looked_at_before_the_first_step():
    class Plain(cnn.SGD):
        def __post_init__(self):
            """Looks at nothing."""

    for rate, said in ((-0.1, "must be finite and at least 0"), ("high", "a number or a schedule")):
        with pytest.raises((InvalidValueError, InvalidTypeError), match=f"Plain: .*{said}"):
            check_schedule(Plain(rate), 5)


class Told:
    """A schedule of a user's own that tells of the steps that are known by their records alone."""

    def __call__(self, step, total_steps):
        raise AssertionError

    def after_epochs(self, records, steps):
        rates = [0.1] * steps * (len(records) + 1)
        return lambda step, total_steps: rates[step]


@pytest.mark.parametrize(
    "rate", [Told(), cnn.Warmup(Told(), 2), cnn.Warmup(cnn.Warmup(Told(), 2), 1)]
)
def test_rates_that_wait_for_records_are_not_asked_for_before(rate):
    model = new_model()
    fit(model, rate, epochs=2)
    assert model.steps_done == 2 * STEPS


def test_a_training_goes_on_at_rates_that_rise_longer_than_it_takes():
    """As one of an earlier version, or with fewer epochs than were meant."""
    model, rate = new_model(), cnn.Warmup(0.1, 5)
    fit(model, rate, epochs=2, callbacks=[Stop()])
    assert 0 < model.steps_done < STEPS
    fit(model, rate, epochs=1, resume=model.unfinished, override=True)
    assert model.steps_done == STEPS
    check_schedule(cnn.SGD(rate), 6)
    with pytest.raises(InvalidValueError, match="those of the training, 5, got 5"):
        check_schedule(cnn.SGD(rate), 5)
    check_schedule(cnn.SGD(rate), 5, is_resumed=True)
    with pytest.raises(InvalidValueError, match="got inf at step 4"):
        check_schedule(cnn.SGD(cnn.Exponential(0.1, 1, 1e200)), 5, is_resumed=True)
    with pytest.raises(InvalidValueError, match="Lookahead: steps must be at most the updates"):
        check_schedule(cnn.Lookahead(cnn.SGD(0.1), 6), 5, is_resumed=True)
