"""Remedies for losses, and for the labels that they take."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

import arraycnn as cnn
import outside
from remedies import making
from remedies.following import Here, follows

_IMAGES, _CLASSES = making.some()
_VALUES = np.random.default_rng(1).normal(size=(12, 3))
_SOFT = np.random.default_rng(2).dirichlet(np.ones(3), 12)


def _fit(loss: cnn.Loss, labels, **settings) -> cnn.Model:
    dtype = settings.pop("dtype", "float32")
    model = cnn.Model(making.small(), (8, 8), dtype=dtype, loss=loss)
    model.fit(_IMAGES, labels, **settings)
    return model


def _refused_then(file: str, words: str, wrong: Callable, right: Callable) -> None:
    """A case of two functions: the first is refused, the second, which does as told, is not."""

    @follows(file, words)
    def case(here: Here) -> None:
        with here.refused():
            wrong()
        right()


for _words, _loss, _wrong, _right in (
    ("convert them before", cnn.Huber(), _VALUES.astype(str), _VALUES.astype(str).astype(float)),
    ("divide each row by its sum", cnn.SoftmaxCrossEntropy(), _SOFT / 2, _SOFT),
    ("take both from the same set", cnn.Huber(), _VALUES[:9], _VALUES),
    (
        *("reshape them, or have other outputs or another loss", cnn.Huber()),
        *(_VALUES.T.reshape(6, 6).repeat(2, axis=0), _VALUES.reshape(12, 3, 1)),
    ),
):
    _refused_then(
        *("model/label_inputs.py", _words),
        lambda loss=_loss, labels=_wrong: _fit(loss, labels),
        lambda loss=_loss, labels=_right: _fit(loss, labels),
    )
_refused_then(
    *("data/label_rules.py", "give 1 where an image has the label, 0 where not"),
    lambda: _fit(cnn.BinaryCrossEntropy(), _VALUES),
    lambda: _fit(cnn.BinaryCrossEntropy(), (_VALUES > 0).astype(int)),
)
_refused_then(
    *("model/label_inputs.py", "divide them, or take dtype='float64'"),
    lambda: _fit(cnn.Huber(), _VALUES * 1e39),
    lambda: (_fit(cnn.Huber(), _VALUES), _fit(cnn.Huber(), _VALUES * 1e39, dtype="float64")),
)


@dataclass(frozen=True)
class _Whole(cnn.RegressionLoss):
    """A user's loss, of the batch, or with ``each`` of single images."""

    each: bool = False

    def loss_and_gradient(self, xp, outputs, labels):
        error = outputs - labels
        total = xp.sum(error * error, axis=1) / 3.0
        return total if self.each else xp.sum(total), 2.0 * error / 3.0


_refused_then(
    *("training/batch_loss.py", "take the mean over each image's numbers alone"),
    lambda: _fit(_Whole(), _VALUES),
    lambda: _fit(_Whole(each=True), _VALUES),
)


@dataclass(frozen=True)
class _Told(cnn.RegressionLoss):
    """A user's loss that measures how many numbers are close: of each image, or not so."""

    how: str = "right"

    def loss_and_gradient(self, xp, outputs, labels):
        return cnn.MeanSquaredError().loss_and_gradient(xp, outputs, labels)

    def measured(self, xp, outputs, labels):
        close = xp.abs(outputs - labels) < 0.5
        if self.how == "flags":
            return close[:, 0]
        close = xp.astype(close, outputs.dtype)
        return close if self.how == "numbers" else xp.mean(close, axis=1)


@follows(
    "losses/loss.py",
    "take the mean over each image's numbers alone, and xp.astype(..., outputs.dtype) of what is "
    "true or false",
)
def a_measure_of_another_form(here: Here) -> None:
    for how in ("flags", "numbers"):
        with here.refused():
            _fit(_Told(how), _VALUES)
    _fit(_Told(), _VALUES)


@follows("losses/config.py", "hand its class over, as losses=[{}]")
def a_loss_that_is_not_known(here: Here) -> None:
    path = here.path / "a.npz"
    _fit(outside.LogCosh(), _VALUES).save(path)
    with here.refused():
        cnn.Model.load(path)
    assert cnn.Model.load(path, losses=[outside.LogCosh]).loss == outside.LogCosh()


@follows("losses/config.py", "rename the class")
def a_loss_of_a_name_that_is_taken(here: Here) -> None:
    twin = dataclass(frozen=True)(type("Huber", (cnn.Huber,), {}))
    path = here.path / "a.npz"
    with here.refused():
        _fit(twin(), _VALUES).save(path)
    named = dataclass(frozen=True)(type("MyHuber", (cnn.Huber,), {}))
    _fit(named(), _VALUES).save(path)
    cnn.Model.load(path, losses=[named])


@follows("training/history.py", "watch one of these")
def a_measure_that_the_loss_has_not(here: Here) -> None:
    with here.refused():
        _fit(cnn.Huber(), _VALUES, callbacks=[cnn.EarlyStopping(1, "train_accuracy")])
    watch = cnn.EarlyStopping(1, "train_mean_absolute_error")
    assert "train_mean_absolute_error" in str(here.seen)
    _fit(cnn.Huber(), _VALUES, callbacks=[watch])


@follows("model/inputs.py", "leave them out")
def names_of_the_classes_of_values(here: Here) -> None:
    model = _fit(cnn.Huber(), _VALUES)
    with here.refused():
        model.evaluate(_IMAGES, _VALUES, class_names=["a", "b", "c"])
    model.evaluate(_IMAGES, _VALUES)


@follows("model/inputs.py", "give any other to a Model")
def an_estimator_of_values(here: Here) -> None:
    pytest.importorskip("sklearn", reason="sklearn is not installed")
    with here.refused():
        cnn.CNNClassifier(making.small(), loss=cnn.Huber()).fit(_IMAGES, _CLASSES)
    _fit(cnn.Huber(), _VALUES)


@follows(
    "model/moving_pixels.py",
    "take what keeps pixels where they are, such as RandomBrightness or Cutout",
)
def a_flip_beside_labels_that_are_images(here: Here) -> None:
    def fit(layer: cnn.Layer) -> None:
        network = cnn.Sequential(layer, cnn.Rescale(), cnn.Conv2d(1, 3, padding="same"))
        model = cnn.Model(network, (8, 8), loss=cnn.MeanSquaredError())
        model.fit(_IMAGES, _IMAGES / 255.0)

    with here.refused():
        fit(cnn.HorizontalFlip())
    fit(cnn.RandomBrightness())
    fit(cnn.Cutout(2))
