"""`examine`: everything a report says about one model, as values."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.data.image_source import ImageSource, as_source, in_memory
from arraycnn.errors import InvalidValueError
from arraycnn.losses import SoftmaxCrossEntropy
from arraycnn.model.label_inputs import are_class_numbers
from arraycnn.model.model import Model
from arraycnn.report import measures
from arraycnn.report.examined import Examined, common
from arraycnn.report.other_examinations import examine_others
from arraycnn.setting_checks import check_count

_MISTAKES = 18
_TOP, _MANY_CLASSES = 5, 10


@dataclass(frozen=True, eq=False, kw_only=True)
class Examination(Examined):
    """What `examine` found of a model that tells one class an image.

    Attributes
    ----------
    probabilities : array, (N, K)
    confusion : array, (K, K), int64
    scores : ClassScores
    calibration : Calibration
    top_k : (int, float) or None
        K, and the share of images whose class is among the K most likely: as the model's loss has K,
        else 5 of more than 10 classes; None of fewer.
    mistakes : array, int64
        Positions of the most confident mistakes, the surest first.
    """

    probabilities: np.ndarray
    confusion: np.ndarray
    scores: measures.ClassScores
    calibration: measures.Calibration
    top_k: tuple[int, float] | None
    mistakes: np.ndarray

    @property
    def right(self) -> int:
        """How many of them were classified correctly."""
        return int(np.trace(self.confusion))

    @property
    def accuracy(self) -> float:
        return self.right / self.total

    @property
    def f1(self) -> float:
        """The mean over the classes of their F1, without those that are neither there nor told."""
        return float(np.nanmean(self.scores.f1))

    @property
    def predictions(self) -> np.ndarray:
        """(N,), int64."""
        return self.probabilities.argmax(axis=1)

    def shown(self, place: int) -> str:
        return self.class_names[self.labels[place]]

    def told(self, place: int) -> str:
        row = self.probabilities[place]
        return f"{self.shown(place)}, taken for {self.class_names[row.argmax()]}"


def examine(
    model: Model,
    images: npt.ArrayLike | ImageSource,
    labels: npt.ArrayLike,
    image: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Examined:
    """Measure ``model`` on ``images`` and look inside it.

    Parameters
    ----------
    images : array, (N, H, W, C) or (N, H, W), uint8 or floating, or ImageSource
        As the model takes them, on the host; those of a source or a memory-mapped array are read
        some at a time.
    labels : array, (N,), integers in [0, classes), or what else the model's loss takes
    image : int
        The position of the image whose feature maps are wanted.
    progress : callable
        Called with the number of images classified, batch after batch.

    Returns
    -------
    Examination
        Of a model that tells one class an image; of others a `LabelExamination`, `NumberExamination`
        or `ImageExamination`.

    Raises
    ------
    InvalidValueError
        ``image`` is not one of the images, or they do not fit the model.
    """
    pictures: Any = as_source(images)
    if in_memory(pictures):
        pictures = np.asarray(images)
        pictures = pictures[..., np.newaxis] if pictures.ndim == 3 else pictures
    true = model.intake.labels(labels, len(pictures))
    check_count("image:", image, minimum=0)
    if image >= len(pictures):
        message = f"image: must be in 0..{len(pictures) - 1}, the images examined, got {image}"
        raise InvalidValueError(message)
    if not are_class_numbers(model.loss, model.output_shape):
        return examine_others(model, pictures, true, image, progress)
    probabilities = model.predict(pictures, progress)
    confusion = measures.confusion_matrix(true, probabilities.argmax(axis=1), model.classes)
    return Examination(
        **common(model, pictures, true, image),
        loss=_loss(model, pictures, probabilities, true),
        others={},
        probabilities=probabilities,
        confusion=confusion,
        scores=measures.class_scores(confusion),
        calibration=measures.calibration(probabilities, true),
        top_k=_top_k(model, probabilities, true),
        mistakes=measures.confident_mistakes(probabilities, true, _MISTAKES),
    )


def _loss(model: Model, pictures: Any, probabilities: np.ndarray, true: np.ndarray) -> float:
    """The mean of the model's loss: of plain cross-entropy it is known from the probabilities."""
    if model.loss == SoftmaxCrossEntropy(top_k=getattr(model.loss, "top_k", None)):
        return measures.log_loss(probabilities, true)
    return model.evaluate(pictures, true).loss


def _top_k(model: Model, probabilities: np.ndarray, true: np.ndarray) -> tuple[int, float] | None:
    wanted = getattr(model.loss, "top_k", None) or (_TOP if model.classes > _MANY_CLASSES else None)
    return (
        None if wanted is None else (wanted, measures.top_k_accuracy(probabilities, true, wanted))
    )
