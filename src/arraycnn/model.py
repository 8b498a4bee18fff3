"""`Model`: a network with its parameters on a backend. The only mutable class a user meets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arraycnn.backends import Backend, get_backend
from arraycnn.callbacks.callback import Callback
from arraycnn.checkpoint import read_checkpoint, take_tree, write_checkpoint
from arraycnn.course import Course
from arraycnn.errors import CheckpointError, NonFiniteError
from arraycnn.execution import Task
from arraycnn.fitting import Fitting
from arraycnn.history import History, Metrics
from arraycnn.inputs import (
    check_class_names,
    check_input_shape,
    check_labels,
    check_optimizer,
    check_output,
    check_same_dtype,
    check_seed,
    check_validation,
    place_images,
)
from arraycnn.layers import Layer
from arraycnn.model_file import model_from_header, model_header, training_from_header
from arraycnn.ops import Array
from arraycnn.optimizers import SGD, Optimizer, learning_rates
from arraycnn.settings import check_count
from arraycnn.summary import table
from arraycnn.training import Carry
from arraycnn.training_state import TrainingState, describe_optimizer, resumed
from arraycnn.tree import Tree, flatten, map_leaves, unflatten

_INFERENCE_BATCH = 128
_INITIAL = 2**32 - 1
_OPTIMIZER = "optimizer"
_log = logging.getLogger("arraycnn")


class Model:
    """A network, its parameters and the backend they live on.

    Parameters
    ----------
    network : Layer
        Usually a `Sequential` that ends with one output (logit) for each class.
    input_shape : (H, W, C), or (H, W) for one channel
        The size of one image in pixels, and its channels.
    backend : str or Backend
        "numpy", "cupy", "torch", "jax", "array-api-strict", "auto", or a value such as ``NumPy()``.
    seed : int
        Decides the first parameters, the order of the images and every random bit.
    dtype : "float32" or "float64"
    class_names : sequence of str or None
        Kept with the model for those who read its predictions.

    Attributes
    ----------
    epochs_done, steps_done : int
        Whole epochs, and steps, over the life of the model.
    unfinished : TrainingState or None
        Where the last `fit` stood if an error, an interrupt or a callback ended it:
        ``fit(..., resume=model.unfinished)`` goes on.

    Raises
    ------
    InvalidValueError
        The network does not fit the input shape (the message names the layer), or does not end
        with one logit a class.
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
    ) -> None:
        self.network = network
        self.input_shape = check_input_shape(input_shape)
        self.backend = get_backend(backend)
        self.seed = check_seed(seed)
        self.backend.check_dtype(dtype)
        self.dtype = dtype
        # A stream of its own: epoch n is shuffled by [seed, n], and [seed, 0] is the same as seed.
        rng = np.random.default_rng([seed, _INITIAL])
        params, state, output_shape = network.init(rng, self.input_shape)
        self.classes = check_output(network, output_shape)
        self.class_names = check_class_names(class_names, self.classes)
        self.epochs_done = 0
        self.steps_done = 0
        self.unfinished: TrainingState | None = None
        self._params, self._state = self._place(params), self._place(state)

    def __repr__(self) -> str:
        return (
            f"Model({self.network!r}, input_shape={self.input_shape}, "
            f"backend={self.backend!r}, seed={self.seed}, dtype={self.dtype!r})"
        )

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """Copies of the parameters on the host, by path: {"1.weight": (KH, KW, C, F), ...}."""
        return {
            name: np.array(self.backend.to_numpy(p)) for name, p in flatten(self._params).items()
        }

    def fit(
        self,
        images: Any,
        labels: Any,
        *,
        epochs: int = 1,
        batch_size: int = 64,
        optimizer: Optimizer | None = None,
        validation: tuple[Any, Any] | None = None,
        callbacks: Sequence[Callback] = (),
        resume: TrainingState | None = None,
        override: bool = False,
    ) -> History:
        """Train on ``images`` and ``labels``; call it again to train on.

        Ended by an interrupt or an error, the model keeps what whole steps have made of it, and
        ``unfinished`` says where it stood. A call without ``resume`` begins with a new epoch, and
        the optimizer afresh.

        Parameters
        ----------
        images : array, (N, H, W, C) or (N, H, W), uint8 or floating
            uint8 where the network begins with `Rescale`.
        labels : array, (N,), integers in [0, classes)
        epochs, batch_size : int
            The last batch of an epoch may be smaller; a batch larger than the set is clipped.
        optimizer : Optimizer or None
            Its state begins afresh, or where ``resume`` says; None is ``SGD(0.05)``.
        validation : (images, labels) or None
            Measured after each epoch.
        callbacks : sequence of Callback
        resume : TrainingState or None
            Go on from there, within an epoch or between two, with the same images and settings as
            before. The end is then that of a training never stopped, to the last bit on NumPy.
            ``epochs`` counts from the beginning, not from there.
        override : bool
            Resume with other ``epochs``, ``batch_size``, ``optimizer`` or another number of images.
            An epoch to be cut into other batches begins again.

        Returns
        -------
        History
            A sequence of `EpochRecord`, and the loss of every step as ``step_losses``.

        Raises
        ------
        NonFiniteError
            A loss became NaN or infinite. The model keeps the parameters of the last finite loss.
        InvalidValueError
            Settings differ from those of ``resume``; the message names them.
        """
        optimizer = check_optimizer(SGD(0.05) if optimizer is None else optimizer)
        epochs, batch_size = check_count("epochs:", epochs), check_count("batch_size:", batch_size)
        for callback in callbacks:
            if callback.save_every is not None:
                check_count("save_every:", callback.save_every)
        x, y = self._place_set(images, labels)
        held_out = None
        if validation is not None:
            held_out = self._place_set(*check_validation(validation))
            check_same_dtype(x, held_out[0])
        course = Course(
            images=x.shape[0],
            batch_size=min(batch_size, x.shape[0]),
            first_epoch=self.epochs_done,
            first_step=self.steps_done,
            epochs=epochs,
            seed=self.seed,
        )
        if batch_size > x.shape[0]:
            _log.warning("fit: batch_size %d clipped to the %d images", batch_size, x.shape[0])
        learning_rates(optimizer, 0, 1, course.all_steps)  # a bad schedule fails before any work
        settings = describe_optimizer(optimizer)
        carry = Carry(self._params, self._state, self._place(optimizer.init(self._params)))
        state = TrainingState(course, settings, (), 0, 0.0, 0, carry)
        if resume is not None:
            state = resumed(resume, course, settings, carry, override)
        plan = self.backend.training_plan(
            Task(self.network, optimizer, x, y, self.seed, self.dtype), state.carry
        )
        fitting = Fitting(plan, optimizer, state, callbacks, self._is_finite)
        try:
            self._follow(fitting, plan.snapshot())
            fitting.begin()
            while fitting.run_epoch():
                self._follow(fitting, plan.snapshot())
                self.epochs_done += 1
                metrics = self._measure(held_out) if held_out is not None else None
                fitting.end_epoch(metrics)
        except NonFiniteError:
            self._follow(fitting, plan.snapshot())
            fitting.save()
            raise
        finally:
            self._follow(fitting, plan.snapshot())
            for callback in callbacks:
                callback.on_end()
        if fitting.state.complete:
            self.unfinished = None
        return fitting.history

    def evaluate(
        self, images: Any, labels: Any, progress: Callable[[int], None] | None = None
    ) -> Metrics:
        """Mean loss in nats and accuracy on ``images`` and ``labels``, as `fit` takes them.

        ``progress`` is called with the number of images done, batch after batch.
        """
        return self._measure(self._place_set(images, labels), progress)

    def predict(self, images: Any, progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Probabilities of the classes: NumPy, (N, classes), each row adding up to 1.

        ``progress`` is called with the number of images done, batch after batch.
        """
        x = self._place_images(images)
        plan = self._inference_plan()
        return np.concatenate([plan.predict(x[part, ...]) for part in _parts(x.shape[0], progress)])

    def summary(self) -> str:
        """The layers with their output shapes and numbers of parameters, as text."""
        return table(self.network, self.input_shape)

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
        carry = Carry(self._params, self._state, {}) if training is None else training.carry
        arrays = {
            f"{kind}/{name}": np.asarray(self.backend.to_numpy(array), order="C")
            for kind, tree in zip(("params", "state", _OPTIMIZER), carry, strict=True)
            for name, array in sorted(flatten(tree).items())
        }
        write_checkpoint(path, model_header(self, training), arrays)

    @classmethod
    def load(
        cls, path: str | Path, backend: str | Backend = "numpy", layers: Iterable[type] = ()
    ) -> Model:
        """The model of a file that `save` wrote, on any backend.

        Parameters
        ----------
        layers : iterable of type
            The classes of user-defined layers in the network.

        Raises
        ------
        CheckpointError
            The file is missing, damaged, or its arrays are not those of its network.
        """
        return cls._read(path, backend, layers)[0]

    @classmethod
    def load_training(
        cls, path: str | Path, backend: str | Backend = "numpy", layers: Iterable[type] = ()
    ) -> tuple[Model, TrainingState]:
        """The model of a file that `save` or `Checkpoint` wrote, and the training to go on with.

        Parameters and errors are those of `load`; a file that holds no training is one of them.
        """
        model, header, arrays = cls._read(path, backend, layers)
        for name, array in arrays.items():
            if array.dtype != model.dtype:
                message = (
                    f"model file {path}: {_OPTIMIZER}/{name} must be {model.dtype}, "
                    f"got {array.dtype}"
                )
                raise CheckpointError(message)
        optimizer_state = unflatten({n: model.backend.asarray(a) for n, a in arrays.items()})
        carry = Carry(model._params, model._state, optimizer_state)
        return model, training_from_header(path, header, model, carry)

    @classmethod
    def _read(
        cls, path: str | Path, backend: str | Backend, layers: Iterable[type]
    ) -> tuple[Model, dict[str, Any], dict[str, np.ndarray]]:
        """(model, header, the optimizer's arrays) of a file."""
        chosen = get_backend(backend)
        header, arrays = read_checkpoint(path)
        model = model_from_header(cls, path, header, layers)
        chosen.check_dtype(model.dtype)
        model.backend = chosen
        for kind, name in (("params", "_params"), ("state", "_state")):
            tree = take_tree(path, kind, getattr(model, name), arrays, model.dtype)
            setattr(model, name, map_leaves(chosen.asarray, tree))
        kind = f"{_OPTIMIZER}/" if "training" in header else "none/"
        if surplus := [name for name in arrays if not name.startswith(kind)]:
            names = ", ".join(surplus)
            message = f"model file {path}: has arrays its network does not have: {names}"
            raise CheckpointError(message)
        return model, header, {name.removeprefix(kind): a for name, a in arrays.items()}

    def _place(self, tree: Tree) -> Tree:
        return map_leaves(lambda leaf: self.backend.asarray(leaf.astype(self.dtype)), tree)

    def _place_images(self, images: Any) -> Array:
        return place_images(images, self.input_shape, self.backend, self.dtype)

    def _place_set(self, images: Any, labels: Any) -> tuple[Array, Array]:
        x = self._place_images(images)
        y = check_labels(labels, x.shape[0], self.classes, self.backend)
        return x, self.backend.asarray(y)

    def _inference_plan(self) -> Any:
        return self.backend.inference_plan(self.network, self._params, self._state, self.dtype)

    def _measure(
        self, held_out: tuple[Array, Array], progress: Callable[[int], None] | None = None
    ) -> Metrics:
        x, y = held_out
        plan = self._inference_plan()
        sums = [plan.evaluate(x[part, ...], y[part]) for part in _parts(x.shape[0], progress)]
        losses, hits = zip(*sums, strict=True)
        return Metrics(sum(losses) / x.shape[0], sum(hits) / x.shape[0])

    def _follow(self, fitting: Fitting, carry: Carry) -> None:
        """Take over where ``fitting`` stands, with the parameters of ``carry``."""
        self._params, self._state, _ = carry
        self.epochs_done = fitting.state.epochs_done
        self.steps_done = fitting.state.steps_done
        self.unfinished = fitting.state

    def _is_finite(self, params: Tree) -> bool:
        return all(np.isfinite(self.backend.to_numpy(p)).all() for p in flatten(params).values())


def _parts(count: int, progress: Callable[[int], None] | None) -> Iterator[slice]:
    for start in range(0, count, _INFERENCE_BATCH):
        stop = min(start + _INFERENCE_BATCH, count)
        yield slice(start, stop)
        if progress is not None:
            progress(stop)
