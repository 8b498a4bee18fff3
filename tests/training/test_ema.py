"""A training with averaged weights: which of its weights are evaluated, saved, and gone on from."""

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.optimizers.evaluated import EVALUATED
from arraycnn.tree import flatten
from resume_cases import HELD_OUT, IMAGES, LABELS, StopAt, check_same, fit, new_model, without_times

DECAY = 0.4  # the warm-up ends behind the fifth of nine updates
RULE = cnn.EMA(cnn.AdamW(cnn.OneCycle(0.01)), DECAY)


class Seen(cnn.Callback):
    """What is trained after each step, and what the model is after each epoch."""

    save_every = 1

    def __init__(self, model):
        self.model, self.trained, self.epochs = model, {}, []

    def on_save(self, state):
        self.trained[state.position] = {
            name: np.array(self.model.backend.to_numpy(array))
            for name, array in flatten(state.carry.params).items()
        }

    def on_epoch(self, record):
        self.epochs.append((self.model.parameters, self.model.predict(HELD_OUT[0])))


@pytest.fixture(scope="module")
def averaged():
    """A model trained with averages, one without, and what was seen of the first."""
    backend = cnn.NumPy(fast=False)
    model, plain = (new_model(backend, dtype="float64") for _ in range(2))
    seen, first = Seen(model), model.parameters
    history = fit(model, RULE, callbacks=[seen])
    losses = [record.train_loss for record in fit(plain, RULE.optimizer)]
    assert losses == [record.train_loss for record in history]
    return model, plain, seen, history, first


def averages(first, trained):
    """After each of ``trained``, by the formula, number by number."""
    average = {name: array.copy() for name, array in first.items()}
    for t, params in enumerate(trained, start=1):
        decay = min(DECAY, (1 + t) / (10 + t))
        for name, array in params.items():
            average[name] = decay * average[name] + (1 - decay) * array
        yield {name: array.copy() for name, array in average.items()}


def test_the_model_is_the_average_of_what_was_trained(averaged):
    model, _plain, seen, _history, first = averaged
    wanted = list(averages(first, [seen.trained[n] for n in range(1, 10)]))
    for epoch, (parameters, _) in enumerate(seen.epochs, start=1):
        for name, array in parameters.items():
            np.testing.assert_allclose(array, wanted[3 * epoch - 1][name], rtol=1e-12, atol=1e-14)
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(array, seen.epochs[-1][0][name])
        assert (array != seen.trained[9][name]).any(), name


def test_what_is_trained_does_not_know_of_the_average(averaged):
    model, plain, seen, _history, _first = averaged
    for name, array in plain.parameters.items():
        np.testing.assert_array_equal(seen.trained[9][name], array)
    for name, array in plain.state.items():  # of the batch norm: as training has left it
        np.testing.assert_array_equal(model.state[name], array)


def test_validation_prediction_and_evaluation_are_of_the_average(averaged):
    model, plain, seen, history, _first = averaged
    other = new_model(model.backend, dtype="float64")
    other.assign(seen.epochs[-1][0], plain.state)
    np.testing.assert_array_equal(model.predict(HELD_OUT[0]), other.predict(HELD_OUT[0]))
    assert history[-1].validation_loss == other.evaluate(*HELD_OUT).loss
    assert model.evaluate(*HELD_OUT) == other.evaluate(*HELD_OUT)
    assert history[-1].validation_loss != plain.evaluate(*HELD_OUT).loss


def test_files_hold_the_average_and_what_goes_on(tmp_path):
    model = new_model(cnn.NumPy(fast=False))
    save, best = (cls(model, tmp_path / name) for cls, name in (
        (cnn.Checkpoint, "last.npz"), (cnn.BestCheckpoint, "best.npz")))  # fmt: skip
    stop = StopAt(6)
    fit(model, RULE, callbacks=[stop, save, best])
    loaded, training = cnn.Model.load_training(tmp_path / "last.npz", model.backend)
    check_same(model, loaded)
    check_same(model, cnn.Model.load(tmp_path / "last.npz", model.backend))
    trained = flatten(stop.states[-1].carry.params)
    for name, array in flatten(training.carry.params).items():
        np.testing.assert_array_equal(array, trained[name])
        assert (array != model.parameters[name]).any(), name
    assert set(training.carry.optimizer_state) == {"optimizer", EVALUATED, "updates"}
    with np.load(tmp_path / "last.npz") as file:
        np.testing.assert_array_equal(file["params/0.weight"], model.parameters["0.weight"])
        np.testing.assert_array_equal(file["trained/0.weight"], trained["0.weight"])
        assert not any(EVALUATED in name for name in file)
    losses = [record.validation_loss for record in training.records]
    found = cnn.Model.load(tmp_path / "best.npz", model.backend).evaluate(*HELD_OUT)
    assert found.loss == min(losses)


@pytest.mark.parametrize(
    ("name", "position"),
    [*(("plain numpy", n) for n in (0, 2, 7)), ("device1", 5), ("torch", 2), ("jax", 7)],
)
def test_each_backend_goes_on_from_what_is_trained(name, position, request, tmp_path):
    if name in ("torch", "jax"):
        request.getfixturevalue(name)
    known = {"device1": cnn.ArrayAPIStrict("device1"), "plain numpy": cnn.NumPy(fast=False)}
    backend = known.get(name, name)
    whole, model, path = new_model(backend), new_model(backend), tmp_path / "last.npz"
    history = fit(whole, RULE)
    fit(model, RULE, callbacks=[StopAt(position), cnn.Checkpoint(model, path)])
    again, training = cnn.Model.load_training(path, backend)
    assert without_times(fit(again, RULE, resume=training)) == without_times(history)
    check_same(whole, again)
    fit(model, RULE, resume=model.unfinished)  # in one process
    check_same(whole, model)


def test_what_is_frozen_has_no_average_and_stays_as_it_is():
    groups = cnn.ParameterGroups(cnn.AdamW(0.01), cnn.Group("[03]", frozen=True))
    model = new_model(cnn.NumPy(fast=False))
    before, stop = model.parameters, StopAt(5)
    fit(model, cnn.EMA(groups, 0.9), callbacks=[stop])
    kept = flatten(stop.states[-1].carry.optimizer_state[EVALUATED])
    frozen = {name for name in before if name.startswith(("0.", "3."))}
    assert frozen
    assert set(kept) == set(before) - frozen
    for name, array in model.parameters.items():
        assert (array == before[name]).all() == (name in frozen), name


def test_a_new_training_begins_with_the_average():
    model = new_model(cnn.NumPy(fast=False))
    fit(model, RULE, epochs=1)
    expected, seen = model.parameters, Seen(model)
    model.fit(IMAGES, LABELS, optimizer=cnn.EMA(cnn.SGD(0.0), 0.9), callbacks=[seen])
    for name, array in expected.items():
        np.testing.assert_array_equal(seen.trained[1][name], array)


def test_a_user_s_optimizer_may_say_what_is_evaluated():
    class Slower:
        """Steps of SGD, evaluated half way."""

        learning_rate = 0.1

        def __repr__(self):
            return "Slower()"

        def init(self, params):
            return {EVALUATED: {"7": params["7"]}}

        def update(self, ops, params, gradients, state, rate):
            after, _ = cnn.SGD(0.1).update(ops, params, gradients, {}, rate)
            seven = {n: 0.5 * (a + params["7"][n]) for n, a in after["7"].items()}
            return after, {EVALUATED: {"7": seven}}

    model = new_model(cnn.NumPy(fast=False), dtype="float64")
    seen = Seen(model)
    fit(model, Slower(), callbacks=[seen])
    for name, array in model.parameters.items():
        last, before = seen.trained[9][name], seen.trained[8][name]
        expected = 0.5 * (last + before) if name.startswith("7.") else last
        np.testing.assert_allclose(array, expected, rtol=1e-12)
