"""Examinations of models that tell no class of an image: labels, numbers, images."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.data.image_source import rows
from arraycnn.data.label_kinds import LabelKind
from arraycnn.model.label_inputs import label_kind
from arraycnn.model.model import Model
from arraycnn.report.examined import Examined, common
from arraycnn.report.label_measures import (
    average_precision,
    best_thresholds,
    label_counts,
    scores_of_counts,
)
from arraycnn.report.measures import ClassScores, class_scores, confusion_matrix
from arraycnn.report.number_measures import NumberScores, NumberSums, number_scores, number_sums
from arraycnn.training.batch_size import batches

MOST_SHOWN = 12
"""How many outputs of a network that gives images are kept."""
_LISTED = 3


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelExamination(Examined):
    """Of a model of K labels that an image has or has not.

    Attributes
    ----------
    probabilities : array, (N, K)
    scores : ClassScores
        Of each label, told above 0.5.
    thresholds, best_f1 : array, (K,)
        The threshold at which each label's F1 is highest, on these images, and that F1.
    precision : array, (K,)
        The average precision of each label.
    """

    probabilities: np.ndarray
    scores: ClassScores
    thresholds: np.ndarray
    best_f1: np.ndarray
    precision: np.ndarray

    @property
    def mistakes(self) -> np.ndarray:
        """Positions of the images with labels told wrongly, those that it was surest of first."""
        has = self.labels > 0.5
        surest = np.where(has, 1.0 - self.probabilities, self.probabilities).max(axis=1)
        order = np.argsort(-surest, kind="stable")
        return order[surest[order] >= 0.5]

    def shown(self, place: int) -> str:
        return self._listed(self.labels[place] > 0.5)

    def told(self, place: int) -> str:
        return f"{self.shown(place)} → {self._listed(self.probabilities[place] > 0.5)}"

    def _listed(self, has: np.ndarray) -> str:
        names = [name for name, one in zip(self.class_names, has, strict=True) if one]
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        return f"{', '.join(names[:_LISTED])}{more}" or "none"


@dataclass(frozen=True, eq=False, kw_only=True)
class NumberExamination(Examined):
    """Of a model of K numbers.

    Attributes
    ----------
    outputs : array, (N, K)
    scores : NumberScores
    """

    outputs: np.ndarray
    scores: NumberScores

    @property
    def mistakes(self) -> np.ndarray:
        """Positions of the images, those with the largest error first."""
        return np.argsort(-np.abs(self.outputs - self.labels).max(axis=1), kind="stable")

    def shown(self, place: int) -> str:
        return self._listed(self.labels[place])

    def told(self, place: int) -> str:
        return f"{self.shown(place)} → {self._listed(self.outputs[place])}"

    def _listed(self, numbers: np.ndarray) -> str:
        more = " ..." if len(numbers) > _LISTED else ""
        return ", ".join(f"{number:.4g}" for number in numbers[:_LISTED]) + more


@dataclass(frozen=True, eq=False, kw_only=True)
class ImageExamination(Examined):
    """Of a model that gives images: classes of pixels, labels of pixels, or numbers.

    Attributes
    ----------
    kind : str
        "pixels", "labels" or "numbers".
    scores : ClassScores or NumberScores
        Of each class or channel, over all pixels.
    errors : array, (N,)
        Of each image, the share of its pixels told wrongly, or their mean absolute error.
    mistakes : array, int64
        Positions of the images with the largest errors, the largest first.
    outputs : dict of int to array
        What the network gives, (H, W, K), for the images of ``examples`` and ``mistakes``.
    """

    kind: LabelKind
    scores: ClassScores | NumberScores
    errors: np.ndarray
    mistakes: np.ndarray
    outputs: dict[int, np.ndarray]

    def told(self, place: int) -> str:
        wrong = self.errors[place]
        error = (
            f"mean absolute error {wrong:.4g}" if self.kind == "numbers" else f"{wrong:.1%} wrong"
        )
        return f"no. {place}: {error}"


def examine_others(
    model: Model,
    pictures: Any,
    labels: np.ndarray,
    image: int,
    progress: Callable[[int], None] | None,
) -> Examined:
    """Measure a model that tells no class of an image, and look inside it."""
    measured = model.evaluate(pictures, labels)
    others = {} if measured.accuracy is None else {"accuracy": measured.accuracy}
    known = common(model, pictures, labels, image)
    known |= {"loss": measured.loss, "others": {**others, **measured.others}}
    if len(model.output_shape) > 1:
        return _of_images(model, known, progress)
    predicted = model.predict(pictures, progress)
    if label_kind(model.loss) == "labels":
        thresholds, best_f1 = best_thresholds(labels, predicted)
        return LabelExamination(
            **known,
            probabilities=predicted,
            scores=scores_of_counts(label_counts(labels, predicted)),
            thresholds=thresholds,
            best_f1=best_f1,
            precision=average_precision(labels, predicted),
        )
    outputs = predicted.reshape(labels.shape)
    return NumberExamination(
        **known, outputs=outputs, scores=number_scores(number_sums(labels, outputs))
    )


def _of_images(
    model: Model, known: dict[str, Any], progress: Callable[[int], None] | None
) -> ImageExamination:
    """Batch by batch: what a network gives for all images may be more than fits into memory."""
    kind, labels, pictures = label_kind(model.loss), known["labels"], known["images"]
    counts: Any = 0
    sums: NumberSums | None = None
    errors = np.empty(len(labels))
    for part, held in batches(pictures, model.input_shape, progress):
        true, told = labels[part], model.predict(held)
        axes = tuple(range(1, true.ndim))
        if kind == "numbers":
            sums = number_sums(true, told, sums)
            errors[part] = np.abs(told - true).mean(axis=axes, dtype=np.float64)
        elif kind == "labels":
            counts = counts + label_counts(true, told)
            errors[part] = ((told > 0.5) != (true > 0.5)).mean(axis=axes)
        else:
            taken = told.argmax(axis=-1)
            counts = counts + confusion_matrix(true.ravel(), taken.ravel(), model.classes)
            errors[part] = (taken != true).mean(axis=axes)
    scores: ClassScores | NumberScores
    if sums is not None:
        scores = number_scores(sums)
    else:
        scores = scores_of_counts(counts) if kind == "labels" else class_scores(counts)
    order = np.argsort(-errors, kind="stable")
    mistakes = order[errors[order] > 0][:MOST_SHOWN]
    places = sorted({*known["examples"].tolist(), *mistakes.tolist()})
    from_source = np.concatenate(
        [model.predict(rows(pictures, np.array([place]))) for place in places]
    )
    return ImageExamination(
        **known,
        kind=kind,
        scores=scores,
        errors=errors,
        mistakes=mistakes,
        outputs=dict(zip(places, from_source, strict=True)),
    )
