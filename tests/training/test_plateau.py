"""A learning rate that falls where validation gets no better, in a training and after a resume."""

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.errors import InvalidValueError
from resume_cases import STEPS, StopAt, check_same, fit, new_model

# No epoch is better than the first by so much: it falls after the second, and after the third.
RULE = cnn.SGD(cnn.Warmup(cnn.Plateau(0.01, patience=1, factor=0.5, min_delta=1e6), 1, start=1.0))
RATES = [0.01, 0.01, 0.005, 0.0025]


class Rates(cnn.Callback):
    """The rate of each step."""

    def __init__(self):
        self.rates = []

    def on_steps(self, progress):
        self.rates += progress.learning_rates.tolist()


def test_the_rate_falls_after_epochs_that_are_no_better():
    model, seen = new_model(cnn.NumPy(fast=False)), Rates()
    history = fit(model, RULE, epochs=4, callbacks=[seen])
    np.testing.assert_allclose([record.learning_rate for record in history], RATES, rtol=1e-12)
    np.testing.assert_allclose(seen.rates, np.repeat(RATES, STEPS), rtol=1e-12)
    # A training whose rate is set by hand comes to the same.
    other = new_model(cnn.NumPy(fast=False))
    fit(other, cnn.SGD(lambda step, total: RATES[step // STEPS]), epochs=4)
    check_same(model, other)


@pytest.mark.parametrize("position", [5, 6, 7, 9])
def test_it_goes_on_with_the_same_rates(position, tmp_path):
    whole, model = (new_model(cnn.NumPy(fast=False)) for _ in range(2))
    fit(whole, RULE, epochs=4)
    calls = [StopAt(position), cnn.Checkpoint(model, tmp_path / "last.npz")]
    fit(model, RULE, epochs=4, callbacks=calls)
    again, training = cnn.Model.load_training(tmp_path / "last.npz", cnn.NumPy(fast=False))
    seen = Rates()
    fit(again, RULE, epochs=4, resume=training, callbacks=[seen])
    np.testing.assert_allclose(seen.rates, np.repeat(RATES, STEPS)[position:], rtol=1e-12)
    check_same(whole, again)


def test_it_needs_what_it_goes_by():
    model = new_model(cnn.NumPy(fast=False))
    with pytest.raises(InvalidValueError, match="Plateau: validation_loss needs validation data"):
        fit(model, RULE, validation=None)
    rule = cnn.SGD(cnn.Plateau(0.1, "train_mean_absolute_error"))
    with pytest.raises(InvalidValueError, match="Plateau: train_mean_absolute_error will not be"):
        fit(model, rule)
    assert model.steps_done == 0
    fit(model, cnn.SGD(cnn.Plateau(0.1, "train_accuracy")), validation=None)
