"""Remedies of the classifier for scikit-learn."""

import numpy as np
import pytest

import arraycnn as cnn
from remedies import making
from remedies.following import Here, follows


@follows("estimator/base.py", "give a function of their number as network")
def an_estimators_network_of_other_classes(here: Here) -> None:
    pytest.importorskip("sklearn", reason="sklearn is not installed")
    images, labels = making.some()
    network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(5))
    with here.refused():
        cnn.CNNClassifier(network, epochs=1).fit(images, labels)
    cnn.CNNClassifier(making.small, epochs=1).fit(images, labels)


def _classifier(**given) -> "cnn.CNNClassifier":
    pytest.importorskip("sklearn", reason="sklearn is not installed")
    return cnn.CNNClassifier(making.small, epochs=1, **given)


@follows("estimator/base.py", "resize or reshape them")
def an_estimator_shown_another_size(here: Here) -> None:
    images, labels = making.some()
    fitted = _classifier().fit(images, labels)
    with here.refused():
        fitted.predict(images.reshape(-1, 16, 4, 1))
    fitted.predict(images.reshape(-1, 16, 4, 1).reshape(-1, 8, 8, 1))


@follows("estimator/base.py", "give the optimizer its own, as SGD(0.1)")
def an_estimator_with_two_learning_rates(here: Here) -> None:
    images, labels = making.some()
    with here.refused():
        _classifier(learning_rate=0.1, optimizer=cnn.SGD(0.2)).fit(images, labels)
    _classifier(optimizer=cnn.SGD(0.1)).fit(images, labels)


@follows("estimator/base.py", "correct it, or leave it out for X of (N, H, W, C)")
def an_estimators_wrong_image_shape(here: Here) -> None:
    images, labels = making.some()
    with here.refused():
        _classifier(image_shape=(9, 9)).fit(images, labels)
    _classifier(image_shape=(8, 8)).fit(images, labels)
    _classifier().fit(images, labels)


@follows("estimator/base.py", "give image_shape=(H, W, C), or X as (N, H, W, C)")
def rows_that_are_no_square(here: Here) -> None:
    images, labels = making.some()
    rows = images.reshape(len(images), -1)[:, :60]
    with here.refused():
        _classifier().fit(rows, labels)
    _classifier(image_shape=(6, 10, 1)).fit(rows, labels)
    _classifier().fit(rows.reshape(-1, 6, 10, 1), labels)


@follows("estimator/classifier.py", "leave it out, or give y as (N,)")
def a_loss_of_classes_for_several_labels(here: Here) -> None:
    images, labels = making.some()
    several = np.eye(int(labels.max()) + 1, dtype=np.int64)[labels]
    with here.refused():
        _classifier(loss=cnn.SoftmaxCrossEntropy()).fit(images, several)
    _classifier().fit(images, several)
    _classifier(loss=cnn.SoftmaxCrossEntropy()).fit(images, labels)


@follows("estimator/regressor.py", "CNNClassifier has those of classes and labels")
def a_loss_of_classes_for_numbers(here: Here) -> None:
    pytest.importorskip("sklearn", reason="sklearn is not installed")
    images, labels = making.some()
    with here.refused():
        cnn.CNNRegressor(making.small, epochs=1, loss=cnn.SoftmaxCrossEntropy()).fit(images, labels)
    _classifier(loss=cnn.SoftmaxCrossEntropy()).fit(images, labels)
