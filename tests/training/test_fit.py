"""Training, step by step, against softmax regression written out in plain NumPy."""

import logging
from dataclasses import dataclass, fields

import numpy as np
import pytest

from arraycnn import (
    SGD,
    ArrayAPIStrict,
    ArraycnnError,
    BatchNorm2d,
    Callback,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    Model,
    NonFiniteError,
    ReLU,
    Sequential,
    get_backend,
)
from arraycnn.training import loop as fitting

SEED, CLASSES, BATCH, STEPS = 5, 3, 4, 3  # 10 images: batches of 4, 4 and 2
LINEAR = Sequential(Flatten(), Dense(CLASSES))
DEEP = Sequential(
    Conv2d(3, 2), BatchNorm2d(), ReLU(), Dropout(0.25), Flatten(), Dropout(0.5), Dense(CLASSES)
)
IMAGES = np.random.default_rng(1).normal(size=(10, 3, 3, 1))
LABELS = np.random.default_rng(2).integers(0, CLASSES, 10)
HELD_OUT = (np.random.default_rng(3).normal(size=(6, 3, 3, 1)), np.arange(6) % CLASSES)


@pytest.fixture(params=["numpy", "device1", "torch", "jax"])
def backend(request):
    if request.param in ("torch", "jax"):
        pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return ArrayAPIStrict("device1") if request.param == "device1" else get_backend(request.param)


@pytest.fixture(params=[1, 2, 4096])
def chunk(request, monkeypatch):
    """The most steps between two looks at the losses."""
    limit_chunks(monkeypatch, request.param)
    return request.param


def limit_chunks(monkeypatch, steps):
    monkeypatch.setattr(fitting, "_REPORT_SECONDS", 1e9)
    monkeypatch.setattr(fitting, "_MOST_STEPS", steps)


@dataclass(frozen=True)
class Step:
    """One step of the replay: the parameters it began with, and what they gave."""

    weight: np.ndarray
    bias: np.ndarray
    losses: np.ndarray
    hits: np.ndarray


def replay(model, rates, images=IMAGES, labels=LABELS, batch_size=BATCH) -> list[Step]:
    """Softmax regression from the model's parameters, one `Step` for each rate."""
    weight, bias = model.parameters["1.weight"], model.parameters["1.bias"]
    x, steps, epoch = images.reshape(len(images), -1), [], 0
    while len(steps) <= len(rates):
        order = np.random.default_rng([model.seed, epoch]).permutation(len(x))
        for start in range(0, len(x), batch_size):
            batch = order[start : start + batch_size]
            logits = x[batch] @ weight + bias
            exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
            probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
            is_label = np.eye(CLASSES)[labels[batch]]
            losses = -np.log((probabilities * is_label).sum(axis=1))
            steps.append(Step(weight, bias, losses, logits.argmax(axis=1) == labels[batch]))
            if len(steps) > len(rates):
                break
            gradient = (probabilities - is_label) / len(batch)
            weight = weight - rates[len(steps) - 1] * (x[batch].T @ gradient)
            bias = bias - rates[len(steps) - 1] * gradient.sum(axis=0)
        epoch += 1
    return steps  # and one more, for the parameters after the last update


def check_parameters(model, step: Step, tolerance=1e-12):
    for name, expected in (("1.weight", step.weight), ("1.bias", step.bias)):
        np.testing.assert_allclose(model.parameters[name], expected, rtol=tolerance, atol=tolerance)


def same_parameters(a, b):
    return all((a.parameters[name] == b.parameters[name]).all() for name in a.parameters)


def linear_model(**settings) -> Model:
    return Model(LINEAR, (3, 3), **{"seed": SEED, "dtype": "float64", **settings})


def trained(network=DEEP, seed=SEED, epochs=3, optimizer=None, **settings):
    model = Model(network, (3, 3), seed=seed)
    history = model.fit(
        IMAGES, LABELS, epochs=epochs, batch_size=BATCH, optimizer=optimizer, **settings
    )
    return model, history


class Notes(Callback):
    """Keeps everything it is told."""

    def __init__(self):
        self.progress, self.records = [], []

    def on_steps(self, progress):
        self.progress.append(progress)

    def on_epoch(self, record):
        self.records.append(record)


def falling(step, total):
    return 0.3 * (1.0 - step / total)


def test_history_and_parameters_are_those_of_plain_softmax_regression(backend):
    model = linear_model(backend=backend, dtype="float32")
    rates = [falling(step, 9) for step in range(9)]
    steps = replay(model, rates)
    history = model.fit(
        IMAGES,
        LABELS,
        epochs=3,
        batch_size=BATCH,
        optimizer=SGD(falling),
        validation=HELD_OUT,
    )
    check_parameters(model, steps[9], tolerance=1e-5)
    np.testing.assert_allclose(
        history.step_losses, [step.losses.mean() for step in steps[:9]], rtol=1e-5
    )
    assert len(history) == 3
    assert [record.epoch for record in history] == [1, 2, 3]
    for number, record in enumerate(history):
        epoch = steps[3 * number : 3 * number + 3]
        losses = np.concatenate([step.losses for step in epoch])
        assert losses.size == 10  # the short batch counts by its images, not as a whole batch
        assert record.train_loss == pytest.approx(losses.mean(), rel=1e-5)
        assert record.train_accuracy == np.concatenate([step.hits for step in epoch]).mean()
        assert record.learning_rate == rates[3 * number + 2]
        assert record.images_per_second == pytest.approx(10 / record.seconds)
    measured = model.evaluate(*HELD_OUT)
    assert history[-1].validation_loss == measured.loss
    assert history[-1].validation_accuracy == measured.accuracy
    assert history[0].validation_loss != measured.loss


def test_without_validation_there_are_no_measures_of_it():
    (record,) = trained(epochs=1)[1]
    assert (record.validation_loss, record.validation_accuracy) == (None, None)


def test_float64_follows_the_replay_to_rounding():
    model = linear_model()
    steps = replay(model, [0.05] * 15)  # the default optimizer is SGD(0.05)
    history = model.fit(IMAGES, LABELS, epochs=5, batch_size=BATCH)
    check_parameters(model, steps[15])
    np.testing.assert_allclose(
        history.step_losses, [step.losses.mean() for step in steps[:15]], rtol=1e-12
    )


def test_a_second_fit_goes_on_where_the_first_stopped():
    model = linear_model()
    steps = replay(model, [0.05] * 9)  # whose epochs 0, 1 and 2 have orders of their own
    first = model.fit(IMAGES, LABELS, batch_size=BATCH)
    second = model.fit(IMAGES, LABELS, epochs=2, batch_size=BATCH)
    assert [record.epoch for record in (*first, *second)] == [1, 2, 3]
    check_parameters(model, steps[9])
    assert (model.epochs_done, model.steps_done) == (3, 9)


def test_a_second_fit_draws_other_random_bits_than_the_first():
    whole, _ = trained(epochs=2, optimizer=SGD(0.1))
    parts, _ = trained(epochs=1, optimizer=SGD(0.1))
    parts.fit(IMAGES, LABELS, batch_size=BATCH, optimizer=SGD(0.1))
    assert same_parameters(whole, parts)  # as one fit of both epochs draws, dropout included


def test_the_seed_decides_every_bit(backend):
    def run(seed):
        model = Model(DEEP, (3, 3), backend=backend, seed=seed)
        model.fit(IMAGES, LABELS, epochs=2, batch_size=BATCH, optimizer=SGD(0.1, momentum=0.9))
        return model

    first = run(SEED)
    assert same_parameters(first, run(SEED))
    assert not same_parameters(first, run(SEED + 1))


def test_chunks_change_nothing(monkeypatch):
    notes = {}
    models = {}
    for steps in (1, 2, 4096):
        limit_chunks(monkeypatch, steps)
        notes[steps] = Notes()
        models[steps], history = trained(
            epochs=6,
            optimizer=SGD(falling, momentum=0.9),
            validation=HELD_OUT,
            callbacks=[notes[steps]],
        )
        np.testing.assert_array_equal(
            np.concatenate([progress.losses for progress in notes[steps].progress]),
            history.step_losses,
        )
    chunks = {steps: len(told.progress) for steps, told in notes.items()}
    assert chunks[1] == 18 > chunks[2] > chunks[4096]
    timed = {"seconds", "images_per_second"}
    compared = [field.name for field in fields(notes[1].records[0]) if field.name not in timed]
    for steps in (2, 4096):
        assert same_parameters(models[1], models[steps])
        for one, other in zip(notes[1].records, notes[steps].records, strict=True):
            assert [getattr(one, name) for name in compared] == [
                getattr(other, name) for name in compared
            ]


def test_a_batch_larger_than_the_set_is_clipped_with_a_notice(caplog):
    models = [linear_model(), linear_model()]
    with caplog.at_level(logging.INFO, logger="arraycnn"):
        models[0].fit(IMAGES, LABELS, epochs=2, batch_size=10)
        assert caplog.records == []
        history = models[1].fit(IMAGES, LABELS, epochs=2, batch_size=11)
    (record,) = caplog.records
    assert record.getMessage() == "fit: batch_size 11 clipped to the 10 images"
    assert len(history.step_losses) == 2
    assert same_parameters(*models)


def test_progress_adds_up(chunk):
    notes = Notes()
    _, history = trained(epochs=2, callbacks=[notes])
    assert notes.records == list(history)
    for epoch in (1, 2):
        told = [progress for progress in notes.progress if progress.epoch == epoch]
        assert sum(len(progress.losses) for progress in told) == STEPS
        assert [progress.step for progress in told] == list(
            np.cumsum([len(progress.losses) for progress in told])
        )
        assert {(progress.epochs, progress.steps) for progress in told} == {(2, STEPS)}
        last = told[-1]
        assert (last.step, last.images) == (STEPS, 10)
        assert last.seconds == history[epoch - 1].seconds
        accuracies = np.concatenate([progress.accuracies for progress in told])
        hits = accuracies @ np.array([4, 4, 2])
        assert hits / 10 == pytest.approx(history[epoch - 1].train_accuracy)
        rates = np.concatenate([progress.learning_rates for progress in told])
        np.testing.assert_array_equal(rates, [0.05] * STEPS)


def test_a_callback_that_returns_true_ends_the_training_and_all_are_told():
    class StopAfterTwo(Callback):
        def on_epoch(self, record):
            return record.epoch == 2

    notes = Notes()
    model = linear_model()
    steps = replay(model, [0.05] * 6)
    history = model.fit(
        IMAGES, LABELS, epochs=9, batch_size=BATCH, callbacks=[StopAfterTwo(), notes]
    )
    assert len(history) == len(notes.records) == model.epochs_done == 2
    assert len(history.step_losses) == 2 * STEPS
    check_parameters(model, steps[6])


def test_on_epoch_finds_the_model_with_its_parameters():
    model, seen = linear_model(), []

    class Measure(Callback):
        def on_epoch(self, record):
            seen.append((model.evaluate(*HELD_OUT).loss, model.epochs_done))

    history = model.fit(
        IMAGES, LABELS, epochs=2, batch_size=BATCH, validation=HELD_OUT, callbacks=[Measure()]
    )
    assert seen == [(record.validation_loss, record.epoch) for record in history]


class Stop(Exception):
    pass


@dataclass(frozen=True)
class RaisesAt(Callback):
    """Raises after ``step`` steps of the first epoch; 0 is after the epoch."""

    step: int
    error: type[BaseException] = Stop

    def on_steps(self, progress):
        if progress.step == self.step:
            raise self.error

    def on_epoch(self, record):
        if self.step == 0:
            raise self.error


@pytest.mark.parametrize(("step", "done"), [(1, 1), (2, 2), (3, 3), (0, 3)])
@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt])
def test_an_exception_in_a_callback_leaves_what_was_trained(step, done, error, monkeypatch):
    limit_chunks(monkeypatch, 1)
    model = linear_model()
    steps = replay(model, [0.05] * 9)
    with pytest.raises(error):
        model.fit(IMAGES, LABELS, epochs=2, batch_size=BATCH, callbacks=[RaisesAt(step, error)])
    check_parameters(model, steps[done])
    model.fit(IMAGES, LABELS, batch_size=BATCH)


@dataclass(frozen=True)
class InterruptedSGD(SGD):
    """An optimizer in whose update number ``at``, from 0, someone presses Ctrl-C."""

    at: int = 0
    updates: tuple[list, ...] = ([],)

    def update(self, *arguments):
        self.updates[0].append(None)
        if len(self.updates[0]) > self.at:
            raise KeyboardInterrupt
        return super().update(*arguments)


@pytest.mark.parametrize("at", [0, 1, 4, 5])
def test_an_interrupt_within_a_step_leaves_the_parameters_of_whole_steps(at, chunk):
    # Where a step is not traced: its program calls nothing of the optimizer's.
    model = linear_model(backend=ArrayAPIStrict())
    steps = replay(model, [0.05] * at)
    with pytest.raises(KeyboardInterrupt):
        model.fit(
            IMAGES,
            LABELS,
            epochs=3,
            batch_size=BATCH,
            optimizer=InterruptedSGD(0.05, at=at, updates=([],)),
        )
    check_parameters(model, steps[at])


# --- a loss that is no longer finite -------------------------------------------------------------

LARGE = 100.0 * IMAGES


@dataclass(frozen=True)
class ExplodesAt:
    """A learning rate that is harmless but at one step, counted from 0."""

    step: int
    rate: float

    def __call__(self, step, total):
        return self.rate if step == self.step else 1e-4


def fit_to_explosion(model, rate_at, images=LARGE, **settings) -> NonFiniteError:
    with pytest.raises(NonFiniteError) as caught:
        model.fit(images, LABELS, epochs=3, batch_size=BATCH, optimizer=SGD(rate_at), **settings)
    error = caught.value
    assert isinstance(error, ArraycnnError)
    assert isinstance(error, ArithmeticError)
    assert f"epoch {error.epoch}, step {error.step}" in str(error)
    return error


# 1e306 times the gradient is finite, but the next logits are not: the next loss shows it.
@pytest.mark.parametrize("at", [0, 1, 2, 3, 4, 5, 6])
def test_parameters_of_the_last_finite_loss_are_kept(at, chunk):
    model = linear_model()
    steps = replay(model, [1e-4] * at, LARGE)
    error = fit_to_explosion(model, ExplodesAt(at, 1e306))
    assert (error.epoch, error.step) == ((at + 1) // STEPS + 1, (at + 1) % STEPS + 1)
    assert "learning rate below 1e+306" in str(error)  # the rate of the update that spoilt them
    assert np.isfinite(steps[at].losses).all()
    check_parameters(model, steps[at])


@pytest.mark.parametrize(
    ("rate", "validation"),
    [(1.7e308, None), (1.7e308, HELD_OUT), (1e306, (100.0 * HELD_OUT[0], HELD_OUT[1]))],
    ids=["parameters", "parameters and validation", "validation"],
)
@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_the_last_update_of_an_epoch_is_looked_at_too(epoch, rate, validation, chunk):
    at = epoch * STEPS - 1
    model = linear_model()
    steps = replay(model, [1e-4] * at, LARGE)
    error = fit_to_explosion(model, ExplodesAt(at, rate), validation=validation)
    assert (error.epoch, error.step) == (epoch, STEPS)
    assert "learning rate" in str(error)
    check_parameters(model, steps[at])


def test_a_first_loss_that_is_not_finite_leaves_the_first_parameters(chunk):
    model = linear_model()
    before = model.parameters
    towards_class_0 = np.sign(before["1.weight"][:, 0]).reshape(1, 3, 3, 1)
    images = np.repeat(1e308 * towards_class_0, 10, axis=0)  # finite, as their logits are not
    error = fit_to_explosion(model, ExplodesAt(0, 1.0), images=images)
    assert (error.epoch, error.step) == (1, 1)
    assert "smaller numbers" in str(error)  # no learning rate has been applied yet
    np.testing.assert_array_equal(model.parameters["1.weight"], before["1.weight"])


def test_explosions_are_found_on_every_backend(backend):
    model = linear_model(backend=backend, dtype="float32")
    steps = replay(model, [1e-4] * 4, LARGE)
    error = fit_to_explosion(model, ExplodesAt(4, 1e36))
    assert (error.epoch, error.step) == (2, 3)
    check_parameters(model, steps[4], tolerance=1e-4)


def test_after_an_explosion_training_goes_on_and_the_epoch_counts_as_not_done():
    model = linear_model()
    fit_to_explosion(model, ExplodesAt(4, 1e306))
    assert model.epochs_done == 1
    (record,) = model.fit(LARGE, LABELS, batch_size=BATCH, optimizer=SGD(1e-4))
    assert record.epoch == 2
    assert np.isfinite(record.train_loss)


@pytest.mark.parametrize("at", [0, 3, 7, 8])
def test_the_way_back_is_the_same_for_every_chunk(at, monkeypatch):
    """With dropout, batch norm and momentum, in a second fit: all that a step reads comes back."""
    kept = {}
    for steps in (1, 2, 4096):
        limit_chunks(monkeypatch, steps)
        model, _ = trained(epochs=1)
        with pytest.raises(NonFiniteError) as caught:
            model.fit(
                IMAGES,
                LABELS,
                epochs=4,
                batch_size=BATCH,
                optimizer=SGD(ExplodesAt(at, 3e38), momentum=0.9),
            )
        kept[steps] = (caught.value.epoch, caught.value.step, model, model.evaluate(*HELD_OUT))
    for steps in (2, 4096):
        assert kept[1][:2] == kept[steps][:2]
        assert same_parameters(kept[1][2], kept[steps][2])
        assert kept[1][3] == kept[steps][3]  # evaluation reads the state of batch norm
    assert np.isfinite(kept[1][3].loss)
