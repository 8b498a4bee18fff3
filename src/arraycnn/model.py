"""`Model`: a network with its parameters on a backend. The only mutable class a user meets."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arraycnn.backends import Backend, get_backend
from arraycnn.batch_stream import BatchStream, StreamedTraining, check_iterable
from arraycnn.checkpoint import read_checkpoint, write_checkpoint
from arraycnn.data.image_source import ImageSource
from arraycnn.errors import CheckpointError, InvalidValueError, NonFiniteError, one_line
from arraycnn.execution import Task
from arraycnn.fitting import Course, EpochResult, Fitting
from arraycnn.history import Callback, EpochRecord, History, Metrics
from arraycnn.inputs import (
    check_batch,
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
from arraycnn.layers.config import check_parameter_count, network_from_config, network_to_config
from arraycnn.ops import Array
from arraycnn.optimizers import SGD, Optimizer, learning_rates
from arraycnn.polarity import Background, background, check_background
from arraycnn.settings import check_count
from arraycnn.summary import table
from arraycnn.training import Carry
from arraycnn.tree import Tree, flatten, map_leaves, with_leaves

_INFERENCE_BATCH = 128
_INITIAL = 2**32 - 1
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
        Kept with the model for those who read its predictions; ``background``, "dark" or "light"
        where nearly all images of the first `fit` have it, for those who show it pictures.

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
        self.background: Background | None = None
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
        labels: Any = None,
        *,
        epochs: int = 1,
        batch_size: int = 64,
        optimizer: Optimizer | None = None,
        validation: tuple[Any, Any] | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> History:
        """Train on ``images`` and ``labels``; call it again to go on.

        Ended by an interrupt or an error, the model keeps what whole steps have made of it; the
        epoch that was cut short is not counted, and the next call begins with it.

        Parameters
        ----------
        images : array, (N, H, W, C) or (N, H, W), uint8 or floating
            uint8 where the network begins with `Rescale`. An `ImageSource` or a memory-mapped array
            stays on the host and is read batch by batch. Without ``labels``, an iterable of
            (images, labels), which is iterated afresh for each epoch and decides the size of the
            batches and their order.
        labels : array, (N,), integers in [0, classes)
        epochs, batch_size : int
            The last batch of an epoch may be smaller; a batch larger than the set is clipped.
        optimizer : Optimizer or None
            Its state begins afresh; None is ``SGD(0.05)``.
        validation : (images, labels) or None
            Measured after each epoch.
        callbacks : sequence of Callback

        Returns
        -------
        History
            A sequence of `EpochRecord`, and the loss of every step as ``step_losses``.

        Raises
        ------
        NonFiniteError
            A loss became NaN or infinite. The model keeps the parameters of the last finite loss.
        """
        optimizer = check_optimizer(SGD(0.05) if optimizer is None else optimizer)
        epochs, batch_size = check_count("epochs:", epochs), check_count("batch_size:", batch_size)
        stream = BatchStream(images, self._check_batch) if labels is None else None
        if stream is None:
            x, y = self._place_set(images, labels)
            self.background = self.background or background(images)
        else:
            x, y, batch_size = stream.images, stream.labels, stream.batch_size
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
        learning_rates(
            optimizer, 0, 1, epochs * course.steps
        )  # a bad schedule fails before any work
        make_plan = self.backend.training_plan
        if isinstance(x, ImageSource):
            make_plan = self.backend.streaming_plan
        plan = make_plan(
            Task(self.network, optimizer, x, y, self.seed, self.dtype),
            Carry(self._params, self._state, self._place(optimizer.init(self._params))),
        )
        if stream is not None:
            plan = StreamedTraining(plan, stream, course.first_epoch, course.first_step)
        fitting = Fitting(plan, optimizer, course, list(callbacks))
        records: list[EpochRecord] = []
        step_losses: list[np.ndarray] = []
        try:
            for epoch, result in fitting.epochs():
                self._params, self._state, _ = plan.snapshot()
                self.epochs_done, self.steps_done = epoch + 1, self.steps_done + course.steps
                metrics = self._measure(held_out) if held_out is not None else None
                self._check_finite(metrics, epoch, course, fitting)
                records.append(_record(epoch, result, metrics))
                step_losses += result.step_losses
                stops = [callback.on_epoch(records[-1]) for callback in callbacks]
                if any(stops):
                    break
        finally:
            self._params, self._state, _ = plan.snapshot()
        return History(tuple(records), np.concatenate(step_losses))

    def evaluate(
        self, images: Any, labels: Any = None, progress: Callable[[int], None] | None = None
    ) -> Metrics:
        """Mean loss in nats and accuracy on ``images`` and ``labels``, as `fit` takes them.

        Without ``labels``, on an iterable of (images, labels), iterated once.

        ``progress`` is called with the number of images done, batch after batch.
        """
        if labels is None:
            check_iterable(images)
            return self._sums(map(self._check_batch, images))
        return self._measure(self._place_set(images, labels), progress)

    def predict(self, images: Any, progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Probabilities of the classes: NumPy, (N, classes), each row adding up to 1.

        ``progress`` is called with the number of images done, batch after batch.
        """
        x = self._place_images(images)
        plan = self._inference_plan()
        return np.concatenate(
            [plan.predict(self._rows(x, part)) for part in _parts(x.shape[0], progress)]
        )

    def summary(self) -> str:
        """The layers with their output shapes and numbers of parameters, as text."""
        return table(self.network, self.input_shape)

    def save(self, path: str | Path) -> None:
        """Write network, parameters and state to one .npz file, atomically.

        Raises InvalidTypeError where a user-defined layer is not a dataclass of plain settings.
        """
        header = {
            "network": network_to_config(self.network),
            "input_shape": list(self.input_shape),
            "dtype": self.dtype,
            "seed": self.seed,
            "class_names": self.class_names,
            "background": self.background,
            "epochs_done": self.epochs_done,
            "steps_done": self.steps_done,
        }
        arrays = {
            f"{kind}/{name}": np.asarray(self.backend.to_numpy(array), order="C")
            for kind, tree in (("params", self._params), ("state", self._state))
            for name, array in flatten(tree).items()
        }
        write_checkpoint(path, header, arrays)

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
        chosen = get_backend(backend)
        header, arrays = read_checkpoint(path)
        try:
            network = network_from_config(header["network"], layers)
            shape = check_input_shape(header["input_shape"])
            check_parameter_count(network, shape, sum(array.size for array in arrays.values()))
            model = cls(
                network,
                shape,
                seed=header["seed"],
                dtype=header["dtype"],
                class_names=header["class_names"],
            )
            model.background = check_background(header.get("background"))
            model.epochs_done = check_count("epochs_done:", header["epochs_done"], minimum=0)
            model.steps_done = check_count("steps_done:", header["steps_done"], minimum=0)
        except CheckpointError as error:
            message = f"model file {path}: {error}"
            raise CheckpointError(message) from error
        except (KeyError, AttributeError, TypeError, ValueError, OverflowError) as error:
            message = f"model file {path}: its header does not describe a model ({one_line(error)})"
            raise CheckpointError(message) from error
        chosen.check_dtype(model.dtype)
        model.backend = chosen
        model._params = model._replace_arrays(path, "params", model._params, arrays)
        model._state = model._replace_arrays(path, "state", model._state, arrays)
        if arrays:
            surplus = one_line(", ".join(arrays))
            message = f"model file {path}: has arrays its network does not have: {surplus}"
            raise CheckpointError(message)
        return model

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
        parts = _parts(x.shape[0], progress)
        return self._sums((self._rows(x, part), y[part]) for part in parts)

    def _sums(self, batches: Iterable[tuple[Array, Array]]) -> Metrics:
        plan, count, loss_sum, correct = self._inference_plan(), 0, 0.0, 0
        for x, y in batches:
            loss, hits = plan.evaluate(self.backend.asarray(x), self.backend.asarray(y))
            count, loss_sum, correct = count + x.shape[0], loss_sum + loss, correct + hits
        if count == 0:
            message = "evaluate: must have at least one image, got no batch; check the iterable"
            raise InvalidValueError(message)
        return Metrics(loss_sum / count, correct / count)

    def _rows(self, images: Any, part: slice) -> Array:
        """A part of the images on the backend, read where they are on the host."""
        if not isinstance(images, ImageSource):
            return images[part, ...]
        return self._place_images(images.read(np.arange(part.start, part.stop)))

    def _check_batch(self, batch: Any) -> tuple[np.ndarray, np.ndarray]:
        return check_batch(batch, self.input_shape, self.classes, self.dtype)

    def _check_finite(
        self, metrics: Metrics | None, epoch: int, course: Course, fitting: Fitting
    ) -> None:
        """Refuse parameters that the epoch's last update spoilt: no later loss would show it."""
        finite = all(
            np.isfinite(self.backend.to_numpy(p)).all() for p in flatten(self._params).values()
        )
        if finite and (metrics is None or np.isfinite(metrics.loss)):
            return
        fitting.go_back()
        message = (
            "training: parameters and validation loss must be finite, got NaN or infinity after "
            f"epoch {epoch + 1}, step {course.steps}; the model keeps the parameters of the last "
            "finite loss: try a lower learning rate"
        )
        raise NonFiniteError(message, epoch + 1, course.steps)

    def _replace_arrays(
        self, path: str | Path, kind: str, tree: Tree, arrays: dict[str, np.ndarray]
    ) -> Tree:
        values = []
        for name, expected in flatten(tree).items():
            value = arrays.pop(f"{kind}/{name}", None)
            if value is None:
                message = f"model file {path}: lacks the array {kind}/{name}"
                raise CheckpointError(message)
            if value.shape != tuple(expected.shape) or value.dtype != self.dtype:
                message = (
                    f"model file {path}: {kind}/{name} must be {self.dtype} of shape "
                    f"{tuple(expected.shape)}, got {value.dtype} of shape {value.shape}"
                )
                raise CheckpointError(message)
            values.append(self.backend.asarray(value))
        return with_leaves(tree, values)


def _record(epoch: int, result: EpochResult, metrics: Metrics | None) -> EpochRecord:
    return EpochRecord(
        epoch=epoch + 1,
        train_loss=result.loss_sum / result.images,
        train_accuracy=result.correct / result.images,
        validation_loss=metrics.loss if metrics else None,
        validation_accuracy=metrics.accuracy if metrics else None,
        seconds=result.seconds,
        images_per_second=result.images / result.seconds,
        learning_rate=result.learning_rate,
    )


def _parts(count: int, progress: Callable[[int], None] | None) -> Iterator[slice]:
    for start in range(0, count, _INFERENCE_BATCH):
        stop = min(start + _INFERENCE_BATCH, count)
        yield slice(start, stop)
        if progress is not None:
            progress(stop)
