"""`Examined`: what every examination of a model has, whatever it was trained for."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.data.image_source import ImageSource, rows
from arraycnn.losses import SoftmaxCrossEntropy
from arraycnn.model.model import Model
from arraycnn.report import internals
from arraycnn.report.augmented import augmented
from arraycnn.training.batch_size import images_at_once
from arraycnn.tree import flatten

BATCH = 64
"""How many images norms and timings are taken from, where they are small."""
_EXAMPLES = 12


@dataclass(frozen=True, eq=False, kw_only=True)
class Examined:
    """What `examine` found of any model.

    Attributes
    ----------
    images : array, (N, H, W, C), or ImageSource
    labels : array, (N, ...)
        What the model was examined on; `picture` gives one image, wherever they are.
    class_names : tuple of str
        Of the classes, labels or numbers that the network gives.
    loss : float
        The mean of the loss that the model was trained with, as `Model.evaluate` tells it.
    loss_name : str
        Which that is, in words.
    others : dict
        What else it measures, by name.
    image : int
        Position of the image that ``maps`` are of.
    maps : list of Activation
        Each for that one image.
    examples : array, int64
        Positions of the images that ``saliency`` is of: ``image``, then the first of each class, or
        the first ones.
    saliency : array, (examples, H, W, C), or None
        None where the network gives images.
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
    loss: float
    loss_name: str
    others: dict[str, float]
    image: int
    maps: list[internals.Activation]
    examples: np.ndarray
    saliency: np.ndarray | None
    norms: list[internals.LayerNorms]
    times: list[internals.LayerTime]
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
    def parameters(self) -> int:
        """How many numbers the model has learned."""
        return sum(row.parameters for row in self.norms)

    def shown(self, place: int) -> str:
        """What the image at ``place`` is, in a few words."""
        return f"no. {place}"

    def told(self, place: int) -> str:
        """What the image at ``place`` is, and what the model says of it."""
        return self.shown(place)


def common(model: Model, pictures: Any, labels: np.ndarray, image: int) -> dict[str, Any]:
    """The attributes of `Examined` but for the loss and what it measures."""
    first = np.arange(min(_EXAMPLES, len(pictures)))
    if labels.ndim == 1:
        _, first = np.unique(labels, return_index=True)
    examples = np.array([image, *(place for place in first if place != image)])[:_EXAMPLES]
    batch = min(images_at_once(model.input_shape, BATCH), len(pictures))
    some = rows(pictures, np.arange(batch)), labels[:batch]
    filters_layer, filters = _first_filters(model)
    looked_at = rows(pictures, examples)
    return {
        "images": pictures,
        "labels": labels,
        "class_names": model.class_names or tuple(map(str, range(model.classes))),
        "loss_name": loss_name(model),
        "image": image,
        "maps": internals.activations(model, rows(pictures, np.array([image]))),
        "examples": examples,
        "saliency": internals.saliency(model, looked_at) if _is_row(model) else None,
        "norms": internals.layer_norms(model, *some),
        "times": internals.layer_times(model, *some),
        "batch": batch,
        "filters": filters,
        "filters_layer": filters_layer,
        "augmented": augmented(model, looked_at),
    }


def loss_name(model: Model) -> str:
    """Which loss is told: of cross-entropy what is not as usual in it, else its class."""
    loss = model.loss
    if not isinstance(loss, SoftmaxCrossEntropy):
        return f"test loss, {type(loss).__name__}"
    parts = [
        *(["class weights"] if loss.class_weight is not None else []),
        *(["label smoothing"] if loss.label_smoothing else []),
    ]
    return f"test loss, with {' and '.join(parts)}" if parts else "test loss, nats"


def _is_row(model: Model) -> bool:
    return len(model.output_shape) == 1


def _first_filters(model: Model) -> tuple[str, np.ndarray | None]:
    """(path, weights) of the first layer with weights, where they can be shown as pictures."""
    pixels = int(np.prod(model.input_shape))
    for name, array in flatten(model.parameters).items():
        if name.endswith("weight") and array.ndim > 1:
            shown = array.ndim == 4 or array.shape[0] == pixels
            return (name.rpartition(".")[0], array) if shown else ("", None)
    return "", None
