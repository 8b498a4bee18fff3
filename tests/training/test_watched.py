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
