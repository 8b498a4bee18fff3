"""One step of training and one of inference, as pure functions of arrays.

Nothing here knows a device, a library or a loop; a plan in `arraycnn.execution` runs these
eagerly, and may as well compile or record them.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

from arraycnn.layers.layer import Context, Layer, Tree
from arraycnn.ops import Array, array_namespace
from arraycnn.ops.arrays import device
from arraycnn.optimizers import Optimizer


class Carry(NamedTuple):
    """What one training step hands to the next: trees of arrays."""

    params: Tree
    state: Tree
    optimizer_state: Tree


class WithLoss(ABC):
    """A network that is computed together with its loss: what a plan makes of a user's network."""

    @abstractmethod
    def loss_and_gradients(
        self, params: Tree, state: Tree, images: Array, labels: Array, context: Context
    ) -> tuple[Array, Array, Tree, Tree]:
        """As the function of this name returns them."""


def loss_and_gradients(
    network: Layer,
    params: Tree,
    state: Tree,
    images: Array,
    labels: Array,
    context: Context,
    weights: Array | None = None,
) -> tuple[Array, Array, Tree, Tree]:
    """Forward, loss and backward.

    Parameters
    ----------
    images : array, (N, H, W, C)
    labels : array, (N,), int32
    weights : array, (N,), floating, or None
        What the loss of each image is multiplied by.

    Returns
    -------
    loss_sum : array, (), nats, summed over the images
    correct : array, (), int32
    gradients : tree with the keys of params
    state : tree
    """
    if isinstance(network, WithLoss) and weights is None:
        return network.loss_and_gradients(params, state, images, labels, context)
    return by_logits(network, params, state, images, labels, context, weights)


def by_logits(
    network: Layer,
    params: Tree,
    state: Tree,
    images: Array,
    labels: Array,
    context: Context,
    weights: Array | None = None,
) -> tuple[Array, Array, Tree, Tree]:
    """`loss_and_gradients` layer by layer, the loss after the last."""
    logits, state, residuals = network.forward(params, state, images, context)
    loss_sum, dlogits, correct = context.ops.softmax_cross_entropy(logits, labels, images.shape[0])
    if weights is not None:
        loss_sum, dlogits = _weighted(logits, labels, weights), dlogits * weights[:, None]
    _, gradients = network.backward(params, residuals, dlogits, context, need_dx=False)
    return loss_sum, correct, gradients, state


def train_step(
    network: Layer,
    optimizer: Optimizer,
    carry: Carry,
    images: Array,
    labels: Array,
    learning_rate: Array,
    context: Context,
    weights: Array | None = None,
) -> tuple[Carry, Array, Array]:
    """One update: (new carry, mean loss (), number of correct images ())."""
    carry, loss_sum, correct = summed_step(
        network, optimizer, carry, images, labels, learning_rate, context, weights
    )
    return carry, loss_sum / float(images.shape[0]), correct


def summed_step(
    network: Layer,
    optimizer: Optimizer,
    carry: Carry,
    images: Array,
    labels: Array,
    learning_rate: Array,
    context: Context,
    weights: Array | None = None,
) -> tuple[Carry, Array, Array]:
    """One update: (new carry, sum of the losses (), number of correct images ()).

    All of it but the mean is in the context's kernels and the network's layers: of kernels that are
    recorded, and change parameters in place, a recording of it is the step.
    """
    loss_sum, correct, gradients, state = loss_and_gradients(
        network, carry.params, carry.state, images, labels, context, weights
    )
    params, optimizer_state = optimizer.update(
        context.ops, carry.params, gradients, carry.optimizer_state, learning_rate
    )
    return Carry(params, state, optimizer_state), loss_sum, correct


def _weighted(logits: Array, labels: Array, weights: Array) -> Array:
    """The sum of the images' losses, each times its weight: (), nats."""
    xp = array_namespace(logits, labels)
    shifted = logits - xp.max(logits, axis=1, keepdims=True)
    total = xp.log(xp.sum(xp.exp(shifted), axis=1))
    classes = xp.arange(logits.shape[1], dtype=labels.dtype, device=device(labels))
    at_label = xp.sum(xp.where(labels[:, None] == classes[None, :], shifted, 0.0), axis=1)
    return xp.sum(weights * (total - at_label))


def infer(network: Layer, params: Tree, state: Tree, images: Array, context: Context) -> Array:
    """The network's output for ``images``: logits, (N, K)."""
    logits, _, _ = network.forward(params, state, images, context)
    return logits


def evaluate_batch(
    network: Layer, params: Tree, state: Tree, images: Array, labels: Array, context: Context
) -> tuple[Array, Array]:
    """(sum of the losses in nats (), number of correct images ())."""
    logits = infer(network, params, state, images, context)
    loss_sum, _, correct = context.ops.softmax_cross_entropy(logits, labels, images.shape[0])
    return loss_sum, correct
