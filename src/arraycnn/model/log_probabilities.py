"""The numbers a network gives before the softmax, and the logarithms of its probabilities."""

from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.layers.layer import Context
from arraycnn.losses import MultiLabelLoss
from arraycnn.model.model import Model
from arraycnn.training.step import infer


def log_probabilities(model: Model, images: Any) -> npt.NDArray[np.float64]:
    """The logarithm of `Model.predict`'s probabilities, (N, classes), finite where these round to 0.

    z - max - log(sum(exp(z - max))), in float64; of several labels an image, each a probability of its
    own, -log(1 + exp(-z)). ``images`` and errors are as of `Model.predict`.
    """
    with model.backend.active():
        x = model.intake.images(images)
        context = Context(ops=model.backend.kernels, mode="infer", dtype=model.dtype)
        found = []
        for _, batch in model.intake.placed(x):
            logits = infer(model.network, *model.trees, batch, context)
            found.append(np.asarray(model.backend.to_numpy(logits), np.float64))
    z = np.concatenate(found)
    if isinstance(model.loss, MultiLabelLoss):
        return -np.logaddexp(0.0, -z)
    z -= z.max(axis=1, keepdims=True)
    return np.asarray(z - np.log(np.exp(z).sum(axis=1, keepdims=True)))
