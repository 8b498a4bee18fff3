"""One step of training and one of inference, as pure functions of arrays.

Nothing here knows a device, a library or a loop; a plan in `arraycnn.execution` runs these
eagerly, and may as well compile or record them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from arraycnn.layers.augmentation.mixing import mixtures_of
from arraycnn.layers.layer import Context, Layer, Tree
from arraycnn.losses import Loss, SoftmaxCrossEntropy
from arraycnn.ops import Array, array_namespace
from arraycnn.ops.whole_batch import MicroBatch, micro_batches
from arraycnn.optimizers import Optimizer, frozen_paths
from arraycnn.training.batch_loss import (
    has_kernel,
    images_of_batch,
    loss_of_batch,
    measures_of_batch,
)
from arraycnn.tree import flatten, map_paths


class Carry(NamedTuple):
    """What one training step hands to the next: trees of arrays."""

    params: Tree
    state: Tree
    optimizer_state: Tree


CROSS_ENTROPY = SoftmaxCrossEntropy()
"""What a network is trained on unless told otherwise."""


@dataclass(frozen=True)
class Objective:
    """A loss, and the form of the labels that it is given.

    Attributes
    ----------
    loss : Loss
    label_shape : tuple of int
        Of one image's label.
    floating : bool
        Whether labels are floating numbers, else int32.
    weighted : bool
        Whether each image has a weight.
    accumulate : int
        In how many parts, one after the other, the gradients of a batch are computed.
    """

    loss: Loss = CROSS_ENTROPY
    label_shape: tuple[int, ...] = ()
    floating: bool = False
    weighted: bool = False
    accumulate: int = 1

    @property
    def are_numbers(self) -> bool:
        """Whether labels are one class number an image."""
        return not self.floating and not self.label_shape

    @property
    def has_kernel(self) -> bool:
        """Whether loss, gradient and what is correct are one kernel's."""
        return not self.weighted and has_kernel(self.loss, self.are_numbers)

    def labels(self, count: int, dtype: str) -> np.ndarray:
        """Labels for a trial of ``count`` images in a step of ``dtype``."""
        shape = (count, *self.label_shape)
        if not self.floating:
            return np.zeros(shape, np.int32)
        return np.random.default_rng(1).uniform(size=shape).astype(dtype)


CLASSIFICATION = Objective()
"""One class number an image, and cross-entropy."""


class Gradients(NamedTuple):
    """What images give to an update.

    Attributes
    ----------
    loss_sum : array, (), nats or the loss's unit, summed over the images
    measured : array, ()
        How many images are correct, int32; of a loss without a kernel what it measures, summed over
        the images, floating.
    gradients : tree with the keys of params
        Of the mean loss; what lies at a path that is frozen means nothing.
    state : tree
        Of the layers.
    """

    loss_sum: Array
    measured: Array
    gradients: Tree
    state: Tree


@dataclass(frozen=True)
class Batch:
    """The images of one step, or a part of them, and what is known of each.

    Attributes
    ----------
    images : array, (N, H, W, C)
    labels : array, (N,), int32, or what else the loss takes
    weights : array, (N,), floating, or None
        What the loss of each image is multiplied by.
    whole : int or None
        How many images the batch has of which these are a part; None is N, or as the context has it.
    """

    images: Array
    labels: Array
    weights: Array | None = None
    whole: int | None = None

    def __len__(self) -> int:
        return int(self.images.shape[0])

    def part(self, where: slice, whole: int) -> "Batch":
        """The images at ``where``, as a part of a batch of ``whole`` images."""
        weights = None if self.weights is None else self.weights[where]
        return Batch(self.images[where, ...], self.labels[where, ...], weights, whole)


def loss_and_gradients(
    network: Layer,
    params: Tree,
    state: Tree,
    batch: Batch,
    context: Context,
    loss: Loss = CROSS_ENTROPY,
) -> Gradients:
    """Forward, loss and backward."""
    outputs, state, residuals = network.forward(params, state, batch.images, context)
    mixtures = mixtures_of(residuals)
    given = outputs, batch.labels, context, batch.weights, mixtures
    loss_sum, dy, measured = loss_of_batch(loss, *given, batch.whole)
    _, gradients = network.backward(params, residuals, dy, context, need_dx=False)
    return Gradients(loss_sum, measured, gradients, state)


def accumulated_gradients(
    parts: int,
    network: Layer,
    params: Tree,
    state: Tree,
    batch: Batch,
    context: Context,
    loss: Loss = CROSS_ENTROPY,
) -> Gradients:
    """`loss_and_gradients` of a batch in so many parts, one after the other: those of the whole.

    Parts differ by one image at the most; of a batch with fewer images than parts each is one. Each
    part meets the layers' state as the one before it has left it. Where others have a part of the
    batch, too, ``context.whole`` says in which parts all of them compute it.
    """
    of_batch = _micro_batches(len(batch), parts, context) if parts > 1 else ()
    if len(of_batch) < 2:
        return loss_and_gradients(network, params, state, batch, context, loss)
    whole = images_of_batch(batch.images, context)
    found: Gradients | None = None
    for one in of_batch:
        given = batch.part(one.rows, whole), _context_of(one, context)
        part = loss_and_gradients(network, params, state, *given, loss)
        state = part.state
        if one.present:
            found = part if found is None else _added(found, part, context.frozen)
    return (part if found is None else found)._replace(state=state)


def _micro_batches(count: int, parts: int, context: Context) -> Sequence[MicroBatch]:
    """In what a step's ``count`` images are computed: of a batch that is shared, as all others do."""
    if context.whole is None:
        return [MicroBatch(where) for where in micro_batches(count, parts)]
    return context.whole.micro_batches


def _context_of(one: MicroBatch, context: Context) -> Context:
    """``context`` for a part of its images: each draws the bits that it draws in the batch."""
    context, random = replace(context, whole=one.whole), context.randomness
    if random is None:
        return context
    return replace(context, randomness=replace(random, indices=random.indices[one.rows]))


def _added(before: Gradients, part: Gradients, frozen: frozenset[str]) -> Gradients:
    more = flatten(part.gradients)
    return Gradients(
        before.loss_sum + part.loss_sum,
        before.measured + part.measured,
        map_paths(lambda path, g: g if path in frozen else g + more[path], before.gradients),
        part.state,
    )


def train_step(
    network: Layer,
    optimizer: Optimizer,
    carry: Carry,
    batch: Batch,
    learning_rate: Array,
    context: Context,
    loss: Loss = CROSS_ENTROPY,
    accumulate: int = 1,
) -> tuple[Carry, Array, Array]:
    """One update: (new carry, mean loss (), number of correct images (), or what is measured)."""
    context = replace(context, frozen=frozen_paths(optimizer, carry.params))
    given = carry.params, carry.state, batch, context, loss
    found = accumulated_gradients(accumulate, network, *given)
    if context.whole is not None:
        found = _totals(context, found)
    params, optimizer_state = optimizer.update(
        context.ops, carry.params, found.gradients, carry.optimizer_state, learning_rate
    )
    mean = found.loss_sum / float(images_of_batch(batch.images, context))
    return Carry(params, found.state, optimizer_state), mean, found.measured


def _totals(context: Context, local: Gradients) -> Gradients:
    """The same of the whole batch; gradients of what is frozen, which nobody reads, stay."""
    assert context.whole is not None
    xp, gradients = array_namespace(local.loss_sum), flatten(local.gradients)
    summed = [path for path in gradients if path not in context.frozen]
    kind = local.loss_sum.dtype
    numbers = [xp.reshape(xp.astype(x, kind), (1,)) for x in (local.loss_sum, local.measured)]
    *totals, loss, found = context.whole.totals([*(gradients[path] for path in summed), *numbers])
    known = dict(zip(summed, totals, strict=True))
    if xp.isdtype(local.measured.dtype, "integral"):  # a count, which the sum has exactly
        found = xp.astype(found, local.measured.dtype)
    tree = map_paths(lambda path, own: known.get(path, own), local.gradients)
    return Gradients(xp.reshape(loss, ()), xp.reshape(found, ()), tree, local.state)


def infer(network: Layer, params: Tree, state: Tree, images: Array, context: Context) -> Array:
    """The network's output for ``images``: logits, (N, K)."""
    logits, _, _ = network.forward(params, state, images, context)
    return logits


def evaluate_batch(
    network: Layer,
    params: Tree,
    state: Tree,
    images: Array,
    labels: Array,
    context: Context,
    loss: Loss = CROSS_ENTROPY,
) -> tuple[Array, Array]:
    """`measures_of_batch` of the network's outputs for ``images``."""
    outputs = infer(network, params, state, images, context)
    return measures_of_batch(loss, outputs, labels, context)
