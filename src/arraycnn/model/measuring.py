"""`Measures`: what a `Model` computes forward, over batches: measures and predictions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from operator import is_not
from typing import Any, TypeAlias

import numpy as np

from arraycnn.backends import Backend
from arraycnn.backends.backend import on_its_device
from arraycnn.data.image_source import ImageSource
from arraycnn.data.polarity import Background
from arraycnn.distributed.settings import Distributed, check_distributed
from arraycnn.distributed.turns import EVERY, Turn
from arraycnn.execution import InferencePlan
from arraycnn.layers.layer import Layer, Shape
from arraycnn.losses import Loss
from arraycnn.model.averaged_inference import averaged
from arraycnn.model.distribution_shift import PixelStatistics, tell_strange
from arraycnn.model.image_inputs import ImageForm, SaidOnce, takes_bytes
from arraycnn.model.inputs import Intake
from arraycnn.model.standing import Stands
from arraycnn.ops import Array
from arraycnn.training.batches import of_turn
from arraycnn.training.evaluation import mean_metrics
from arraycnn.training.history import Metrics
from arraycnn.training.machine_failures import failures_in_words
from arraycnn.tree import Tree

Progress: TypeAlias = Callable[[int], None] | None


class Measures(Stands):
    """The part of a `Model` that runs its network forward."""

    network: Layer
    backend: Backend
    dtype: str
    loss: Loss
    seed: int
    input_shape: tuple[int, int, int]
    output_shape: Shape
    classes: int
    class_names: tuple[str, ...] | None
    background: Background | None
    pixels: PixelStatistics | None
    _say: SaidOnce
    _inference: tuple[tuple[Backend, Tree, Tree], InferencePlan] | None

    @property
    def intake(self) -> Intake:
        """What brings images and labels into the form that this model takes."""
        form = ImageForm(self.input_shape, self.dtype, takes_bytes(self.network))
        known = self.classes, self.class_names, self._say, self.loss, self.output_shape
        return Intake(form, self.backend, *known)

    @on_its_device
    def evaluate(
        self,
        images: Any,
        labels: Any = None,
        progress: Progress = None,
        class_names: Sequence[str] | None = None,
        augment: int = 0,
        distributed: Distributed | None = None,
    ) -> Metrics:
        """Mean loss in nats and accuracy on ``images`` and ``labels``, as `fit` takes them.

        Of another loss than `SoftmaxCrossEntropy`, the mean of it and what its kind measures.
        Without ``labels``, on an iterable of (images, labels), iterated once. ``progress`` is called
        with the number of images done, batch after batch. Where the data number their classes in
        another way, ``class_names`` has the names in their order: classes are matched with those of
        the model by name, and DataError is raised for one that it lacks. ``augment`` and
        ``distributed`` are `predict`'s.
        """
        turn = turn_of(distributed, augment)
        with failures_in_words(self.backend):
            intake = self.intake.numbered_by(class_names)
            if labels is None:
                own = of_turn(images, intake.batches(), turn)
                return self._sums(own, augment, turn)
            pair = intake.pair(images, labels)
            if not turn.communicator.rank:  # who speaks for all
                tell_strange("evaluate", self, self._say, *pair)
            return self._measure(pair, progress, augment, turn)

    @on_its_device
    def predict(
        self,
        images: Any,
        progress: Progress = None,
        augment: int = 0,
        distributed: Distributed | None = None,
    ) -> np.ndarray:
        """Probabilities of the classes: NumPy, (N, classes), each row adding up to 1.

        Of a `MultiLabelLoss` probabilities of single labels, of a `RegressionLoss` the outputs.
        ``progress`` is called with the number of images done, batch after batch. With ``augment``, the
        mean over each image and so many copies (`arraycnn.model.averaged_inference`). With
        ``distributed``, as `fit` takes it, ranks share the work, and each returns all; copies are not
        shared.
        """
        turn = turn_of(distributed, augment)
        with failures_in_words(self.backend):
            x = self.intake.images(images)
            if not turn.communicator.rank:
                tell_strange("predict", self, self._say, x)
            plan, placed = self._inference_plan(augment), self.intake.placed(x, progress, turn)
            own = [(where.start, plan.predict(batch)) for where, batch in placed]
            return np.concatenate(turn.together(own))

    def _inference_plan(self, augment: int = 0) -> InferencePlan:
        """Kept as long as the parameters are the same: a plan may record its first calls."""
        made_for = (self.backend, *self.trees)
        known = self._inference
        if known is None or any(map(is_not, known[0], made_for)):
            if known is not None:
                known[1].close()
            how = self.dtype, self.loss
            plan = self.backend.inference_plan(self.network, *made_for[1:], *how)
            known = self._inference = made_for, plan
        return averaged(known[1], self.network, self.backend, self.loss, self.seed, augment)

    def _measure(
        self,
        held_out: tuple[ImageSource, ImageSource],
        progress: Progress = None,
        augment: int = 0,
        turn: Turn = EVERY,
    ) -> Metrics:
        x, y = held_out
        placed, labels = self.intake.placed(x, progress, turn), self.intake.placed_labels
        numbered = ((where.start, images, labels(y, where)) for where, images in placed)
        return self._sums(numbered, augment, turn)

    def _sums(
        self, batches: Iterable[tuple[int, Array, Array]], augment: int = 0, turn: Turn = EVERY
    ) -> Metrics:
        plan = self._inference_plan(augment)
        return mean_metrics(plan, batches, self.backend.asarray, self.loss, turn)


def turn_of(distributed: Distributed | None, augment: int = 0) -> Turn:
    """What this rank does of batches; all of them where copies hang on how many came before."""
    found = check_distributed(distributed)
    return EVERY if found is None or augment else Turn(found.communicator)
