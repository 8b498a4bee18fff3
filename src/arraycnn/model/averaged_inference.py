"""Test-time augmentation: the mean of what a network says of an image and of augmented copies of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from arraycnn.backends import Backend
from arraycnn.errors import InvalidValueError
from arraycnn.execution import InferencePlan
from arraycnn.layers import Layer, Sequential
from arraycnn.layers.layer import Context, Randomness
from arraycnn.losses import Loss
from arraycnn.losses.loss import ClassificationLoss, MultiLabelLoss
from arraycnn.model.moving_pixels import check_nothing_moves
from arraycnn.ops import GENERIC, Array
from arraycnn.ops.random_bits import seed_words
from arraycnn.setting_checks import check_count
from arraycnn.training.batch_loss import measures_of_batch

Path = tuple[str, ...]


def averaged(
    plan: InferencePlan, network: Layer, backend: Backend, loss: Loss, seed: int, copies: int
) -> InferencePlan:
    """``plan``, of a network, with ``copies`` of each image beside it; 0 for the image alone."""
    if check_count("augment:", copies, minimum=0) == 0:
        return plan
    return AveragedInference(plan, network, backend, loss, seed, copies)


class AveragedInference:
    """An `InferencePlan` that runs another one on each image and on copies of it.

    The copies are made by the augmentation that the network begins with, but for what mixes images, by
    the bits of ``seed``, of the copy's number as the step and of the image's position among all that
    this plan is given. So the same images have the same predictions again.

    Raises
    ------
    InvalidValueError
        The network does not begin with augmentation.
    """

    def __init__(
        self,
        plan: InferencePlan,
        network: Layer,
        backend: Backend,
        loss: Loss,
        seed: int,
        copies: int,
    ) -> None:
        self._plan, self._backend, self._loss, self._seed = plan, backend, loss, seed
        self._copies = copies
        self._layers, _ = beginning(network)
        self._done = 0
        if not self._layers:
            message = (
                "augment: needs a network that begins with augmentation, which makes the copies; "
                "put for example RandomShift(1) before Rescale"
            )
            raise InvalidValueError(message)

    def predict(self, images: Array) -> np.ndarray:
        first = self._plan.predict(images)
        layers = ((".".join(path), layer) for path, layer in self._layers)
        check_nothing_moves("augment", "outputs", layers, first.shape)
        total = first.astype(np.float64)
        for copy in range(self._copies):
            total += self._plan.predict(self._copied(images, copy))
        self._done += images.shape[0]
        return (total / (self._copies + 1)).astype(first.dtype)

    def evaluate(self, images: Array, labels: Array) -> tuple[float, Any]:
        outputs = outputs_of(self._loss, self.predict(images).astype(np.float64))
        wanted = self._backend.to_numpy(labels)
        context = Context(GENERIC, "infer", "float64")
        loss_sum, measured = measures_of_batch(self._loss, outputs, wanted, context)
        return float(loss_sum), int(measured) if np.ndim(measured) == 0 else measured

    def close(self) -> None:
        self._plan.close()

    def _copied(self, images: Array, copy: int) -> Array:
        given, count = self._backend.asarray, images.shape[0]
        randomness = Randomness(
            given(seed_words(self._seed)),
            given(np.array([copy], np.int32)),
            given(np.arange(self._done, self._done + count, dtype=np.int32)),
        )
        for path, layer in self._layers:
            context = Context(self._backend.kernels, "train", "float32", randomness, path)
            images, _, _ = layer.forward({}, {}, images, context)
        return images


def beginning(network: Layer, path: Path = ()) -> tuple[list[tuple[Path, Layer]], bool]:
    """(augmentation that ``network`` begins with, and where; whether there is nothing else)."""
    if not isinstance(network, Sequential):
        is_such = getattr(network, "training_only", False)
        mixes = getattr(network, "mixes_labels", False)
        return ([(path, network)] if is_such and not mixes else []), is_such
    found: list[tuple[Path, Layer]] = []
    for name, layer in network.named_layers():
        inner, is_all = beginning(layer, (*path, name))
        found += inner
        if not is_all:
            return found, False
    return found, True


def outputs_of(loss: Loss, predictions: np.ndarray) -> np.ndarray:
    """Outputs of which ``predictions`` are the predictions; float32's least numbers for 0."""
    least = float(np.finfo(np.float32).tiny)
    if isinstance(loss, ClassificationLoss):
        return np.log(np.maximum(predictions, least))
    if isinstance(loss, MultiLabelLoss):
        most = 1.0 - float(np.finfo(np.float64).eps)
        kept = np.clip(predictions, least, most)
        return np.log(kept) - np.log1p(-kept)
    return predictions
