"""`Model`: a network with its parameters on a backend. The only mutable class a user meets."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from arraycnn.backends import Backend, get_backend
from arraycnn.backends.backend import on_its_device
from arraycnn.callbacks.callback import Callback
from arraycnn.data.image_source import ArraySource
from arraycnn.data.polarity import Background
from arraycnn.distributed.settings import Distributed
from arraycnn.distributed.turns import Turn
from arraycnn.errors import InvalidValueError
from arraycnn.execution import InferencePlan, Task, TrainingPlan
from arraycnn.layers import Layer
from arraycnn.losses import Loss
from arraycnn.model.accumulating import check_parts, parts_of, tell_of_parts
from arraycnn.model.distribution_shift import PixelStatistics, look_of, tell_strange
from arraycnn.model.image_inputs import SaidOnce
from arraycnn.model.inputs import (
    check_callbacks,
    check_class_names,
    check_input_shape,
    check_loss,
    check_optimizer,
    check_output,
    check_seed,
)
from arraycnn.model.measuring import Measures
from arraycnn.model.moving_pixels import check_nothing_moves
from arraycnn.model.pixel_kinds import check_pixel_kinds
from arraycnn.model.placing import placed_tree
from arraycnn.model.standing import Standing, standing_at, with_standing
from arraycnn.model.summary import Described
from arraycnn.optimizers import SGD, Optimizer, check_schedule
from arraycnn.setting_checks import check_count
from arraycnn.storage.model_file import read_model, read_training, write_model
from arraycnn.training.batch_order import BatchOrder
from arraycnn.training.batch_stream import BatchStream, StreamedTraining
from arraycnn.training.history import History
from arraycnn.training.loop import Fitting
from arraycnn.training.machine_failures import GuardedTraining, failures_in_words
from arraycnn.training.state import TrainingState, describe_loss, describe_optimizer, resumed
from arraycnn.training.step import CROSS_ENTROPY, Carry
from arraycnn.training.team import Team
from arraycnn.training.watched import check_watched
from arraycnn.tree import Tree, flatten, with_leaves

_INITIAL = 2**32 - 1
_log = logging.getLogger("arraycnn")


class Model(Measures, Described):
    """A network, its parameters and the backend they live on.

    Parameters
    ----------
    network : Layer
        Usually a `Sequential` that ends with one output (logit) for each class, or as ``loss`` needs.
    input_shape : (H, W, C), or (H, W) for one channel
        The size of one image in pixels, and its channels.
    backend : str or Backend
        "numpy", "cupy", "torch", "jax", "array-api-strict", "auto", or a value such as ``NumPy()``.
    seed : int
        Decides the first parameters, the order of the images and every random bit.
    dtype : "float32" or "float64"
    class_names : sequence of str or None
        Kept with the model for those who read its predictions; ``background``, "dark" or "light"
        where nearly all images of the first `fit` have it, for those who show it pictures.
    loss : Loss
        What training makes small, and so what labels are, what is measured, what `predict` returns.

    Attributes
    ----------
    standing : Standing
        Parameters, how many steps have made them, and what is unfinished, as one value.

    Raises
    ------
    InvalidValueError
        The network does not fit the input shape (the message names the layer), or does not end
        as the loss needs it: with one logit a class.
    BackendUnavailableError
        The backend cannot run here.
    """

    def __init__(
        self,
        network: Layer,
        input_shape: Sequence[int],
        backend: str | Backend = "numpy",
        seed: int = 0,
        dtype: str = "float32",
        class_names: Sequence[str] | None = None,
        loss: Loss = CROSS_ENTROPY,
    ) -> None:
        self.network, self.loss = network, check_loss(loss)
        self.input_shape = check_input_shape(input_shape)
        self.backend = get_backend(backend)
        self.seed = check_seed(seed)
        self.backend.check_dtype(dtype)
        self.dtype = dtype
        # A stream of its own: epoch n is shuffled by [seed, n], and [seed, 0] is the same as seed.
        rng = np.random.default_rng([seed, _INITIAL])
        params, state, output_shape = network.init(rng, self.input_shape)
        self.output_shape = tuple(output_shape)
        self.classes = check_output(network, self.output_shape, loss)
        self.class_names = check_class_names(class_names, self.classes)
        self.background: Background | None = None
        self.pixels: PixelStatistics | None = None
        self.standing = Standing(self._place(params), self._place(state))
        self._say = SaidOnce()
        self._inference: tuple[tuple[Backend, Tree, Tree], InferencePlan] | None = None

    def __repr__(self) -> str:
        return (
            f"Model({self.network!r}, input_shape={self.input_shape}, "
            f"backend={self.backend!r}, seed={self.seed}, dtype={self.dtype!r}"
            f"{'' if self.loss == CROSS_ENTROPY else f', loss={self.loss!r}'})"
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_inference": None}  # plans may hold threads

    def __setstate__(self, kept: dict[str, Any]) -> None:
        # Here stands, too, what a pickle of an earlier version lacks.
        kept = {"pixels": None, "loss": CROSS_ENTROPY, "output_shape": (kept["classes"],), **kept}
        self.__dict__.update({"_say": SaidOnce(), **with_standing(kept)})

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """Copies of the parameters on the host, by path: {"1.weight": (KH, KW, C, F), ...}."""
        return self._copies(self.standing.params)

    @property
    def state(self) -> dict[str, np.ndarray]:
        """Copies of the layers' state on the host, by path: {"2.mean": (C,), ...}."""
        return self._copies(self.standing.state)

    def assign(self, parameters: dict[str, Any], state: dict[str, Any]) -> None:
        """Take over NumPy arrays by path, copied, as `parameters` and `state` give them.

        Raises InvalidValueError, with nothing changed, where names or shapes are others.
        """
        trees = []
        for tree, given in zip(self.trees, (parameters, state), strict=True):
            expected = {name: tuple(leaf.shape) for name, leaf in flatten(tree).items()}
            got = {name: np.shape(array) for name, array in given.items()}
            if got != expected:
                message = f"Model.assign: arrays must be {expected}, got {got}"
                raise InvalidValueError(message)
            trees.append(self._place(with_leaves(tree, [given[name] for name in expected])))
        self.standing = replace(self.standing, params=trees[0], state=trees[1])

    @on_its_device
    def fit(
        self,
        images: Any,
        labels: Any = None,
        *,
        epochs: int = 1,
        batch_size: int = 64,
        optimizer: Optimizer | None = None,
        sample_weight: Any = None,
        accumulate: int = 1,
        validation: tuple[Any, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        resume: TrainingState | None = None,
        override: bool = False,
        distributed: Distributed | None = None,
    ) -> History:
        """Train on ``images`` and ``labels``; call it again to train on.

        Ended by an interrupt or an error, the model keeps what whole steps have made of it, and
        ``fit(..., resume=model.unfinished)`` goes on from there. A call without ``resume`` begins
        with a new epoch, and the optimizer afresh.

        Parameters
        ----------
        images : array, (N, H, W, C) or (N, H, W), uint8 or floating
            uint8 where the network begins with `Rescale`. An `ImageSource` or a memory-mapped array
            stays on the host and is read batch by batch. Without ``labels``, an iterable of
            (images, labels), which is iterated afresh for each epoch and decides the size of the
            batches and their order.
        labels : array, (N,), integers in [0, classes)
            Or probabilities, (N, classes), floating; numbers in the shape of the outputs, 0 to 1 for
            several labels an image, any for regression. Axes of length 1 at the end may be left out.
        epochs, batch_size : int
            The last batch of an epoch may be smaller; a batch larger than the set is clipped.
        optimizer : Optimizer or None
            Its state begins afresh, or where ``resume`` says; None is ``SGD(0.05)``.
        sample_weight : array, (N,), numbers of at least 0, or None
            What the loss of each image counts, relative to their mean: whole numbers do what as
            many copies of the image do. Training losses are weighted, accuracies are not.
        accumulate : int
            Compute the gradients of each batch in so many parts, one after the other, which takes less
            memory: the result is that of the whole batch, but for rounding, and but for layers that
            mix the images of a batch (`BatchNorm`, `Mixup`, `CutMix`), which a line names.
        validation : (images, labels) or None
            Measured after each epoch.
        callbacks : sequence of Callback
        resume : TrainingState or None
            Go on from there, within an epoch or between two, with the same images and settings as
            before. The end is then that of a training never stopped, to the last bit on NumPy.
            ``epochs`` counts from the beginning, not from there.
        override : bool
            Resume with other ``epochs``, ``batch_size``, ``optimizer`` or ``accumulate``, or another
            number of images. An epoch to be cut into other batches begins again.
        distributed : Distributed or None
            ``MPI()`` for the ranks that an mpiexec has begun, each of which calls `fit` in the same
            way: they share the work of every batch. Rank 0's callbacks and ``resume`` count.

        Returns
        -------
        History
            A sequence of `EpochRecord`, and the loss of every step as ``step_losses``.

        Raises
        ------
        NonFiniteError
            A loss became NaN or infinite. The model keeps the parameters of the last finite loss.
        OutOfMemoryError
            A step does not fit into memory; the message says which batch size would.
        DeviceLostError
            The device stopped answering. Parameters on it are lost: go on from a `Checkpoint`.
        InvalidValueError
            Settings differ from those of ``resume``, or between ranks; the message names them. Or the
            training is too short for its `Warmup` or `Lookahead`, its schedule gives no rates, a
            `Plateau` or `EarlyStopping` goes by what is not measured, or a layer has a fill that is no
            pixel, or a strength that leaves images as they are.
        InvalidTypeError
            A `Rescale` has another one before it.
        """
        team = Team(distributed)
        optimizer = check_optimizer(SGD(0.05) if optimizer is None else optimizer)
        epochs, batch_size = check_count("epochs:", epochs), check_count("batch_size:", batch_size)
        callbacks = check_callbacks(callbacks)
        for callback in callbacks:
            if callback.save_every is not None:
                check_count("save_every:", callback.save_every)
        stream = BatchStream(images, self.intake.batches()) if labels is None else None
        if stream is None:
            x, y = self.intake.pair(images, labels)
        else:
            x, y, batch_size = stream.images, stream.labels, stream.batch_size
        check_nothing_moves("fit", "labels", parts_of(self.network), y.shape)
        held_out = self.intake.validation(validation, x)
        course = BatchOrder(
            images=x.shape[0],
            batch_size=min(batch_size, x.shape[0]),
            first_epoch=self.epochs_done,
            first_step=self.steps_done,
            epochs=epochs,
            seed=self.seed,
        )
        if batch_size > x.shape[0] and not team.communicator.rank:
            _log.warning("fit: batch_size %d clipped to the %d images", batch_size, x.shape[0])
        if resume is None:
            check_pixel_kinds(self.network)
        check_schedule(optimizer, course.all_steps, resume is not None)
        settings = describe_optimizer(optimizer)
        params, layer_state = self.trees
        begun = params if resume is None else resume.carry.params  # whatever this model stands at
        carry = Carry(params, layer_state, self._place(optimizer.init(begun)))
        form = (
            describe_loss(self.loss),
            check_parts(accumulate, course.batch_size, distributed),
        )
        state = TrainingState(course, settings, (), 0, 0.0, 0, carry, (), *form)
        if resume is not None:
            state = resumed(resume, course, settings, carry, override, *form)
        if not state.complete:  # else no epoch is left in which something could be missing
            watching = (*callbacks, optimizer.learning_rate)
            check_watched(watching, self.loss, validates=held_out is not None)
        tell_of_parts(self.network, optimizer, params, accumulate, course.batch_size)
        weights = self.intake.weights(sample_weight, x.shape[0] if stream is None else None)
        same = {"network": self.network, "loss": self.loss, "seed": self.seed, "dtype": self.dtype}
        same |= {"optimizer": settings, "epochs": epochs, "batch_size": batch_size}
        same["accumulate"] = accumulate
        counted = None if weights is None else ArraySource(weights, self.backend.to_numpy)
        held_x, held_y = held_out or (None, None)
        data = {"images": x, "labels": y, "sample_weight": counted}
        data |= {"validation images": held_x, "validation labels": held_y}
        team.check(same | {"backend": self.backend.name}, **data)
        if stream is None:
            if not team.communicator.rank:  # who reads some of the images, and speaks, for all
                tell_strange("fit", self, self._say, x, y)
            self.background, self.pixels = team.of_first(partial(look_of, self, x))
        state, callbacks = team.state(state, self.backend, self._place), team.callbacks(callbacks)
        how = self.seed, self.dtype, weights, self.loss
        task = Task(self.network, optimizer, x, y, *how, accumulate=accumulate)
        plan: TrainingPlan = GuardedTraining(
            team.plan(self.backend, task, state.carry, course.batch_size), self.backend
        )
        if stream is not None:
            team.divide(stream, accumulate)
            plan = StreamedTraining(plan, stream, state.course)
        told = self.loss.measure, self.backend.is_finite, self._follow
        fitting = Fitting(plan, optimizer, state, callbacks, *told, team.agreed)
        with closing(plan), failures_in_words(self.backend), closing(fitting):
            try:
                turn = Turn(team.communicator)
                fitting.run(lambda: held_out and self._measure(held_out, turn=turn))
            finally:
                self._follow(fitting.state)
        if fitting.state.complete:
            self.standing = replace(self.standing, unfinished=None)
        return fitting.history

    def save(self, path: str | Path, training: TrainingState | None = None) -> None:
        """Write network, parameters and state to one .npz file, atomically.

        With ``training``, those of that state, and all that `load_training` needs to go on from it.

        Raises
        ------
        InvalidTypeError
            A user-defined layer is not a dataclass of plain settings.
        CheckpointError
            The file cannot be written; the one before it, if any, is whole.
        """
        write_model(self, path, training)

    @classmethod
    def load(
        cls,
        path: str | Path,
        backend: str | Backend = "numpy",
        layers: Iterable[type] = (),
        losses: Iterable[type] = (),
    ) -> Model:
        """The model of a file that `save` wrote, on any backend.

        Parameters
        ----------
        layers, losses : iterable of type
            The classes of user-defined layers in the network, and of a user-defined loss.

        Raises
        ------
        CheckpointError
            The file is missing, damaged, or its arrays are not those of its network.
        """
        return read_model(cls, path, backend, layers, losses)[0]

    @classmethod
    def load_training(
        cls,
        path: str | Path,
        backend: str | Backend = "numpy",
        layers: Iterable[type] = (),
        losses: Iterable[type] = (),
    ) -> tuple[Model, TrainingState]:
        """The model of a file that `save` or `Checkpoint` wrote, and the training to go on with.

        Parameters and errors are those of `load`; a file that holds no training is one of them.
        """
        return read_training(cls, path, backend, layers, losses)

    def _place(self, tree: Tree) -> Tree:
        return placed_tree(tree, self.dtype, self.backend)

    def _copies(self, tree: Tree) -> dict[str, np.ndarray]:
        return {name: np.array(self.backend.to_numpy(leaf)) for name, leaf in flatten(tree).items()}

    def _follow(self, training: TrainingState) -> None:
        self.standing = standing_at(training)
