"""What a training says that it will measure is what its records have."""

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.errors import InvalidValueError
from arraycnn.training.watched import measured_names

RNG = np.random.default_rng(0)
IMAGES, CLASSES = RNG.integers(0, 256, (8, 8, 8), np.uint8), np.arange(8) % 4
LOSSES = [
    (cnn.SoftmaxCrossEntropy(), CLASSES, 4),
    (cnn.SoftmaxCrossEntropy(top_k=2), CLASSES, 4),
    (cnn.BinaryCrossEntropy(), np.eye(4)[CLASSES], 4),
    (cnn.MeanSquaredError(), RNG.normal(size=8), 1),
]


@pytest.mark.parametrize("validates", [True, False])
@pytest.mark.parametrize(("loss", "labels", "outputs"), LOSSES, ids=lambda value: str(value)[:30])
def test_names_are_those_of_the_records(loss, labels, outputs, validates):
    network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(outputs))
    model = cnn.Model(network, (8, 8), cnn.NumPy(fast=False), loss=loss)
    held_out = (IMAGES, labels) if validates else None
    names = measured_names(loss, validates)
    watching = [cnn.EarlyStopping(9, name) for name in names]
    (record,) = model.fit(*(IMAGES, labels), batch_size=8, validation=held_out, callbacks=watching)
    assert sorted(names) == sorted(record.measured())


class RootError(cnn.MeanSquaredError):
    """As docs/EXTENDING.md has it: what is measured, without its names."""

    def metrics(self, sums, count):
        return {**super().metrics(sums, count), "root_error": float(sums[0] / count) ** 0.5}


def fitted(model, **settings):
    values = RNG.normal(size=8)
    return model.fit(IMAGES, values, batch_size=8, validation=(IMAGES, values), **settings)


def test_what_a_loss_measures_without_telling_before_may_be_gone_by():
    network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(1))
    model = cnn.Model(network, (8, 8), cnn.NumPy(fast=False), loss=RootError())
    (record,) = fitted(model, callbacks=[cnn.EarlyStopping(5, "validation_root_error")])
    assert record.value("validation_root_error") > 0.0
    with pytest.raises(InvalidValueError, match="validation_other_error was not measured in epoch"):
        fitted(model, callbacks=[cnn.EarlyStopping(5, "validation_other_error")])
    steps = model.steps_done
    with pytest.raises(InvalidValueError, match="validation_root_error needs validation data"):
        model.fit(
            *(IMAGES, RNG.normal(size=8)), callbacks=[cnn.EarlyStopping(5, "validation_root_error")]
        )
    assert model.steps_done == steps  # before the first one of these


@pytest.mark.parametrize("loss", [loss for loss, _, _ in LOSSES], ids=lambda value: str(value)[:30])
def test_losses_of_the_package_tell_before_the_first_step(loss):
    network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(4))
    model = cnn.Model(network, (8, 8), cnn.NumPy(fast=False), loss=loss)
    labels = next(labels for one, labels, _ in LOSSES if one == loss)
    labels = RNG.normal(size=(8, 4)) if isinstance(loss, cnn.MeanSquaredError) else labels
    stop = cnn.EarlyStopping(5, "validation_other_error")
    with pytest.raises(InvalidValueError, match="validation_other_error will not be measured"):
        model.fit(IMAGES, labels, batch_size=8, validation=(IMAGES, labels), callbacks=[stop])
    assert model.steps_done == 0


def test_of_a_training_that_is_complete_nothing_is_missing():
    """As a run that is resumed once more, whatever stops it now."""
    network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(4))
    model, states = cnn.Model(network, (8, 8), cnn.NumPy(fast=False)), []

    class Keep(cnn.Callback):
        def on_save(self, state):
            states.append(state)

    model.fit(IMAGES, CLASSES, epochs=2, callbacks=[Keep()])
    stop = cnn.EarlyStopping(3)
    assert len(model.fit(IMAGES, CLASSES, epochs=2, resume=states[-1], callbacks=[stop])) == 2
    settings = {"epochs": 3, "resume": states[-1], "override": True}
    with pytest.raises(InvalidValueError, match="validation_loss needs validation data"):
        model.fit(IMAGES, CLASSES, callbacks=[stop], **settings)
    assert model.steps_done == 2


def test_what_an_epoch_has_not_measured_after_all_is_told():
    """As a loss of a user's own, whose ``metrics`` lack one of its ``measures``."""

    class Forgetful(cnn.MeanSquaredError):
        @property
        def measures(self):
            return (*super().measures, "rank_error")

    network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(1))
    model = cnn.Model(network, (8, 8), cnn.NumPy(fast=False), loss=Forgetful())
    values, stop = RNG.normal(size=8), cnn.EarlyStopping(1, "validation_rank_error")
    with pytest.raises(
        InvalidValueError, match="validation_rank_error was not measured in epoch 1"
    ):
        model.fit(IMAGES, values, batch_size=8, validation=(IMAGES, values), callbacks=[stop])
    assert model.steps_done == 1
