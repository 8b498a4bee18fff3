"""Remedies about weights of images, and about parts of a set for the estimator."""

import numpy as np
import pytest

import arraycnn as cnn
from remedies import making
from remedies.following import Here, follows

_IMAGES, _LABELS = making.some()


def _refused_then_right(words: str, wrong: object, right: object) -> None:
    @follows("model/inputs.py", words)
    def case(here: Here) -> None:
        with here.refused():
            making.model().fit(_IMAGES, _LABELS, sample_weight=wrong)
        making.model().fit(_IMAGES, _LABELS, sample_weight=right)


_refused_then_right("give floats", ["2"] * 12, [2.0] * 12)
_refused_then_right("leave sample_weight out to count all alike", np.zeros(12), None)
_refused_then_right(
    "give an image that is not to count the weight 0",
    np.where(np.arange(12) == 3, np.nan, 1.0),
    np.where(np.arange(12) == 3, 0.0, 1.0),
)


@follows("model/inputs.py", "pass images and labels as arrays or an ImageSource")
def weights_for_batches(here: Here) -> None:
    with here.refused():
        making.model().fit([(_IMAGES, _LABELS)], sample_weight=np.ones(12))
    making.model().fit(_IMAGES, _LABELS, sample_weight=np.ones(12))


def _classifier() -> "cnn.CNNClassifier":
    pytest.importorskip("sklearn", reason="sklearn is not installed")
    return cnn.CNNClassifier(making.small, epochs=1)


@follows("estimator/classifier.py", "pass classes=numpy.unique(all labels)")
def a_first_part_without_classes(here: Here) -> None:
    with here.refused():
        _classifier().partial_fit(_IMAGES, _LABELS)
    _classifier().partial_fit(_IMAGES, _LABELS, classes=np.unique(_LABELS))


@follows("estimator/classifier.py", "give all classes in the first call of partial_fit")
def a_part_of_another_class(here: Here) -> None:
    with here.refused():
        _classifier().partial_fit(_IMAGES, _LABELS, classes=[0, 1])
    _classifier().partial_fit(_IMAGES, _LABELS, classes=[0, 1, 2])


@follows("estimator/classifier.py", "leave classes out, or call fit to begin anew")
def a_later_part_with_other_classes(here: Here) -> None:
    begun = _classifier().partial_fit(_IMAGES, _LABELS, classes=[0, 1, 2])
    with here.refused():
        begun.partial_fit(_IMAGES, _LABELS, classes=[0, 1])
    begun.partial_fit(_IMAGES, _LABELS)
    begun.fit(_IMAGES, _LABELS)


@follows("estimator/base.py", "scale them in the same way")
def an_estimator_shown_pixels_after_numbers(here: Here) -> None:
    pytest.importorskip("sklearn", reason="sklearn is not installed")
    fitted = cnn.CNNClassifier("scratch", epochs=1).fit(_IMAGES / 255 - 0.5, _LABELS)
    with here.refused():
        fitted.predict(_IMAGES)
    fitted.predict(_IMAGES / 255 - 0.5)
