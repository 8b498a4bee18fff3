"""Sets that do not fit on the device are read batch by batch: nobody ever brings more at once."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.backends.backend import Backend
from test_cuda_graph import HostCUDA, Recorder

COUNT, BATCH, SHAPE = 40, 8, (10, 9, 1)
RNG = np.random.default_rng(7)
BYTES = RNG.integers(0, 256, (COUNT, *SHAPE), dtype=np.uint8)
CLASSES = RNG.integers(0, 5, COUNT).astype(np.int32)
BODY = cnn.Flatten(), cnn.Dense(5)
OF_BYTES, OF_FLOATS = cnn.Sequential(cnn.Rescale(), *BODY), cnn.Sequential(*BODY)


@dataclasses.dataclass(frozen=True)
class Small(HostCUDA):
    """Takes NumPy's arrays alone, as a device does, and no more than ``most`` bytes at once."""

    most: int = 10**9
    records: bool = True
    placed: list = dataclasses.field(default_factory=list)

    name: ClassVar[str] = "small"

    def asarray(self, array):
        assert type(array) is np.ndarray
        assert array.nbytes <= self.most
        self.placed.append(array.nbytes)
        return array

    def fits(self, size):
        return size <= self.most

    def training_plan(self, task, carry):
        return (HostCUDA if self.records else Backend).training_plan(self, task, carry)

    def inference_plan(self, *of_model):
        return (HostCUDA if self.records else Backend).inference_plan(self, *of_model)


def soft(count=COUNT):
    given = np.random.default_rng(3).uniform(size=(count, 5))
    return given / given.sum(axis=1, keepdims=True)


# network, images, labels, loss, whether steps are recorded
SETS = {
    "bytes": (OF_BYTES, BYTES, CLASSES, cnn.SoftmaxCrossEntropy(), True),
    "floats of another size": (
        *(OF_FLOATS, BYTES / 255.0, CLASSES, cnn.SoftmaxCrossEntropy()),
        True,
    ),
    "halves": (
        *(OF_FLOATS, (BYTES / 255.0).astype("float16"), CLASSES, cnn.SoftmaxCrossEntropy()),
        False,
    ),
    "soft labels": (OF_BYTES, BYTES, soft(), cnn.SoftmaxCrossEntropy(), False),
    "numbers": (
        *(OF_BYTES, BYTES, RNG.normal(size=(COUNT, 5)).astype("float32"), cnn.MeanSquaredError()),
        False,
    ),
    "classes of pixels": (
        cnn.Sequential(cnn.Rescale(), cnn.Conv2d(3, 3, padding="same")),
        *(BYTES, RNG.integers(0, 3, (COUNT, 10, 9)), cnn.SoftmaxCrossEntropy(per_pixel=True)),
        False,
    ),
}


def results(name, most):
    """What a training, an evaluation and a prediction give on a device that takes ``most`` bytes."""
    network, images, labels, loss, records = SETS[name]
    backend = Small(Recorder(), most, records)
    model = cnn.Model(network, SHAPE, backend=backend, loss=loss)
    held_out = images[:30], labels[:30]
    history = model.fit(images, labels, batch_size=BATCH, epochs=2, validation=held_out)
    metrics = [model.evaluate(images, labels) for _ in range(2)]
    predictions = [model.predict(images) for _ in range(2)]
    validation = [record.validation_loss for record in history]
    return history.step_losses, validation, metrics, predictions, backend


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    """Of inference, too."""
    monkeypatch.setattr("arraycnn.training.batch_size._MOST_NUMBERS", BATCH * 90)


@pytest.mark.parametrize("name", SETS)
def test_a_set_that_does_not_fit_gives_the_same_and_is_never_brought_at_once(name):
    losses, validation, metrics, predictions, _ = results(name, 10**9)
    most = max(BATCH * 90 * 4, 450 * 4)  # a batch of float32, or the weights
    few, few_validation, few_metrics, few_predictions, backend = results(name, most)
    np.testing.assert_allclose(few, losses, rtol=1e-6)
    np.testing.assert_allclose(few_validation, validation, rtol=1e-6)
    for one, other in zip(few_metrics, metrics, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-6)
        assert one.accuracy == other.accuracy
    for one, other in zip(few_predictions, predictions, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    assert max(backend.placed) <= most


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e300])
def test_what_is_not_finite_is_refused_where_it_does_not_fit_as_where_it_does(bad):
    images = BYTES / 255.0
    images[33, 2, 3, 0] = bad
    for most in (10**9, BATCH * 90 * 4):
        model = cnn.Model(OF_FLOATS, SHAPE, backend=Small(Recorder(), most))
        for call in (
            lambda model=model: model.fit(images, CLASSES),
            lambda model=model: model.evaluate(images, CLASSES),
            lambda model=model: model.predict(images),
        ):
            with pytest.raises(cnn.InvalidValueError, match="images: must be finite, got NaN"):
                call()


def test_what_fits_is_judged_by_the_bytes_that_are_placed():
    """Of float64 images half as many are brought as lie on the host."""
    backend = Small(Recorder(), COUNT * 90 * 4)
    model = cnn.Model(OF_FLOATS, SHAPE, backend=backend)
    model.evaluate(BYTES / 255.0, CLASSES)
    assert COUNT * 90 * 4 in backend.placed


class Tiny(Small):
    def fits(self, size):
        return False


@pytest.mark.parametrize("name", SETS)
def test_a_batch_that_is_more_than_fits_is_brought_all_the_same(name):
    """Nothing smaller can be: whether there is room for it, the device will say."""
    network, images, labels, loss, records = SETS[name]
    found = []
    for kind in (Small, Tiny):
        backend = kind(Recorder(), records=records)
        model = cnn.Model(network, SHAPE, backend=backend, loss=loss)
        history = model.fit(images, labels, batch_size=COUNT, epochs=2, validation=(images, labels))
        measured = model.evaluate(images, labels)
        found.append((history.step_losses, measured.loss, model.predict(images), measured.accuracy))
    assert found[0][-1] == found[1][-1]
    for one, other in zip(*(of[:-1] for of in found), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_what_is_read_is_of_the_networks_dtype():
    model = cnn.Model(OF_FLOATS, SHAPE, backend=Tiny(Recorder()))
    images = BYTES / 255.0
    left = model.intake.images(images)
    assert left.resident is None
    assert left.dtype == "float32"
    for read in (left.read(np.array([7, 3])), left.read_part(slice(7, 2, -4))):
        np.testing.assert_array_equal(read, images[[7, 3]].astype("float32"), strict=True)


def test_each_batch_of_a_prediction_is_brought():
    backend = Tiny(Recorder(), records=False)
    model = cnn.Model(OF_BYTES, SHAPE, backend=backend)
    backend.placed.clear()
    model.predict(BYTES)
    assert sum(backend.placed) == BYTES.nbytes
