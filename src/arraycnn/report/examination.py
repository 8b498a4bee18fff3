"""`examine`: everything a report says about one model, as values."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.data.image_source import ImageSource, as_source, in_memory, rows
from arraycnn.errors import InvalidValueError
from arraycnn.model.label_inputs import are_class_numbers
from arraycnn.model.model import Model
from arraycnn.report import internals as inside
from arraycnn.report import measures
from arraycnn.report.augmented import augmented
from arraycnn.setting_checks import check_count
from arraycnn.training.batch_size import images_at_once
from arraycnn.tree import flatten

BATCH = 64
"""How many images norms and timings are taken from, where they are small."""
_MISTAKES = 18
_EXAMPLES = 12
_TOP, _MANY_CLASSES = 5, 10


@dataclass(frozen=True, eq=False)
class Examination:
    """What `examine` found.

    Attributes
    ----------
    images : array, (N, H, W, C), or ImageSource
    labels : array, (N,)
        What the model was examined on; `picture` gives one image, wherever they are.
    class_names : tuple of str
    probabilities : array, (N, K)
    confusion : array, (K, K), int64
    scores : ClassScores
    calibration : Calibration
    loss : float
        Nats an image.
    top_k : (int, float) or None
        K, and the share of images whose class is among the K most likely: as the model's loss has K,
        else 5 of more than 10 classes; None of fewer.
    mistakes : array, int64
        Positions of the most confident mistakes, the surest first.
    image : int
        Position of the image that ``maps`` are of.
    maps : list of Activation
        Each for that one image.
    examples : array, int64
        Positions of the images that ``saliency`` is of: ``image``, then the first of each class.
    saliency : array, (examples, H, W, C)
    norms : list of LayerNorms
    times : list of LayerTime
        For ``batch`` images.
    batch : int
    filters : array or None
        The weights of the first layer that has filters the eye can read: (KH, KW, C, F), or
        (H * W * C, outputs) of a dense layer on the whole image.
    filters_layer : str
        That layer's path; empty where there is none.
    augmented : array, (draws, examples, H, W, C), or None
        The images of ``examples`` as they come out of the network's augmentation in training.
    """

    images: np.ndarray | ImageSource
    labels: np.ndarray
    class_names: tuple[str, ...]
    probabilities: np.ndarray
    confusion: np.ndarray
    scores: measures.ClassScores
    calibration: measures.Calibration
    loss: float
    top_k: tuple[int, float] | None
    mistakes: np.ndarray
    image: int
    maps: list[inside.Activation]
    examples: np.ndarray
    saliency: np.ndarray
    norms: list[inside.LayerNorms]
    times: list[inside.LayerTime]
    batch: int
    filters: np.ndarray | None
    filters_layer: str
    augmented: np.ndarray | None = None

    def picture(self, place: int) -> np.ndarray:
        """The image at ``place``, (H, W, C)."""
        return rows(self.images, np.array([place]))[0]

    @property
    def total(self) -> int:
        """How many images there were."""
        return len(self.labels)

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

    @property
    def parameters(self) -> int:
        """How many numbers the model has learned."""
        return sum(row.parameters for row in self.norms)


def examine(
    model: Model,
    images: npt.ArrayLike | ImageSource,
    labels: npt.ArrayLike,
    image: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Examination:
    """Measure ``model`` on ``images`` and look inside it.

    Parameters
    ----------
    images : array, (N, H, W, C) or (N, H, W), uint8 or floating, or ImageSource
        As the model takes them, on the host; those of a source or a memory-mapped array are read
        some at a time.
    labels : array, (N,), integers in [0, classes)
    image : int
        The position of the image whose feature maps are wanted.
    progress : callable
        Called with the number of images classified, batch after batch.

    Raises
    ------
    InvalidValueError
        ``image`` is not one of the images, or they do not fit the model.
    """
    pictures: Any = as_source(images)
    if in_memory(pictures):
        pictures = np.asarray(images)
        pictures = pictures[..., np.newaxis] if pictures.ndim == 3 else pictures
    if not are_class_numbers(model.loss, model.output_shape):
        message = (
            "report: must be of a model that tells one class an image, was trained with "
            f"{type(model.loss).__name__}; use Model.evaluate and Model.predict"
        )
        raise InvalidValueError(message)
    true = model.intake.labels(labels, len(pictures))
    check_count("image:", image, minimum=0)
    if image >= len(pictures):
        message = f"image: must be in 0..{len(pictures) - 1}, the images examined, got {image}"
        raise InvalidValueError(message)
    probabilities = model.predict(pictures, progress)
    confusion = measures.confusion_matrix(true, probabilities.argmax(axis=1), model.classes)
    _, first = np.unique(true, return_index=True)
    examples = np.array([image, *(place for place in first if place != image)])[:_EXAMPLES]
    batch = min(images_at_once(model.input_shape, BATCH), len(pictures))
    first_batch = rows(pictures, np.arange(batch))
    filters_layer, filters = _first_filters(model)
    return Examination(
        images=pictures,
        labels=true,
        class_names=model.class_names or tuple(map(str, range(model.classes))),
        probabilities=probabilities,
        confusion=confusion,
        scores=measures.class_scores(confusion),
        calibration=measures.calibration(probabilities, true),
        loss=measures.log_loss(probabilities, true),
        top_k=_top_k(model, probabilities, true),
        mistakes=measures.confident_mistakes(probabilities, true, _MISTAKES),
        image=image,
        maps=inside.activations(model, rows(pictures, np.array([image]))),
        examples=examples,
        saliency=inside.saliency(model, rows(pictures, examples)),
        norms=inside.layer_norms(model, first_batch, true[:batch]),
        times=inside.layer_times(model, first_batch, true[:batch]),
        batch=batch,
        filters=filters,
        filters_layer=filters_layer,
        augmented=augmented(model, rows(pictures, examples)),
    )


def _top_k(model: Model, probabilities: np.ndarray, true: np.ndarray) -> tuple[int, float] | None:
    wanted = getattr(model.loss, "top_k", None) or (_TOP if model.classes > _MANY_CLASSES else None)
    return (
        None if wanted is None else (wanted, measures.top_k_accuracy(probabilities, true, wanted))
    )


def _first_filters(model: Model) -> tuple[str, np.ndarray | None]:
    """(path, weights) of the first layer with weights, where they can be shown as pictures."""
    pixels = int(np.prod(model.input_shape))
    for name, array in flatten(model.parameters).items():
        if name.endswith("weight") and array.ndim > 1:
            shown = array.ndim == 4 or array.shape[0] == pixels
            return (name.rpartition(".")[0], array) if shown else ("", None)
    return "", None
