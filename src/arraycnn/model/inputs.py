"""Checks of what a user hands to `Model`, made once, on the host, before any work begins."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from arraycnn.backends.backend import Backend
from arraycnn.backends.numpy import NumPy
from arraycnn.data.array_rules import BrokenRule, plain_array
from arraycnn.data.image_source import ImageSource
from arraycnn.data.label_rules import class_numbers, in_range
from arraycnn.distributed.turns import EVERY, Turn
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers import Layer, Sequential, Sigmoid, Softmax
from arraycnn.layers.layer import with_n
from arraycnn.losses import ClassificationLoss, Loss, MultiLabelLoss
from arraycnn.model.class_names import match_classes
from arraycnn.model.image_inputs import ImageForm, ImageTaker, refused
from arraycnn.model.label_inputs import are_class_numbers, is_soft, other_labels, soft_labels
from arraycnn.model.placing import placed
from arraycnn.ops import Array
from arraycnn.training.batch_size import batches
from arraycnn.training.step import CROSS_ENTROPY


@dataclass(frozen=True)
class Intake:
    """Brings what a user hands to a model into the form that it takes.

    ``names`` are those of the classes, ``shown`` those that number the labels where these are
    numbered in another way; what has to be assumed goes to ``say``. ``loss`` and what the network
    gives decide which labels are taken.
    """

    form: ImageForm
    backend: Backend
    classes: int
    names: Sequence[str] | None
    say: Callable[[str], None]
    loss: Loss
    output_shape: tuple[int, ...]
    shown: Sequence[str] | None = None

    def numbered_by(self, names: Any) -> "Intake":
        """The same for labels that are numbered by ``names``, the data's own; None changes nothing.

        Raises InvalidTypeError where these are no names, InvalidValueError where no label is a number
        of a class.
        """
        if names is None:
            return self
        shown = [] if isinstance(names, str) or not isinstance(names, Iterable) else list(names)
        if not shown or not all(isinstance(name, str) for name in shown):
            message = (
                f"class_names: must be texts, one for each class of the labels, got {names!r}; "
                'write class_names=["cat", "dog"]'
            )
            raise InvalidTypeError(message)
        if not are_class_numbers(self.loss, self.output_shape):
            message = (
                "class_names: are of labels that are one class number an image, which those of "
                f"{type(self.loss).__name__} are not, got {names!r}; leave them out"
            )
            raise InvalidValueError(message)
        return replace(self, shown=tuple(map(str, shown)))

    def images(self, images: Any) -> ImageSource:
        """``images`` on the backend as (N, H, W, C), uint8 or ``form.dtype``.

        They may be anything that `data.array_rules`, `shape_rules` and `pixel_rules` take. An
        `ImageSource`, a memory-mapped array, and one that does not fit on the device are checked
        and stay where they are, to be read.

        Raises
        ------
        InvalidTypeError
            Not an array, or not of numbers.
        InvalidValueError
            No images, another size than the network's, values that are no pixels, NaN or infinity.
        """
        with refused("images"):
            return ImageTaker(self.form, self.say).place(images, self.backend)

    def array(self, images: Any) -> Array:
        """As `images`, all of them as one array on the backend, read where they have to be."""
        with refused("images"):
            return ImageTaker(self.form, self.say).array(images, self.backend)

    def placed(
        self,
        images: ImageSource,
        progress: Callable[[int], None] | None = None,
        turn: Turn = EVERY,
    ) -> Iterator[tuple[slice, Array]]:
        """Each batch of what `images` gave, on the backend: (where, images). Others as `batches`."""
        is_read = images.resident is None
        for where, batch in batches(images, self.form.shape, progress, turn):
            yield where, self.array(batch) if is_read else batch

    def placed_labels(self, labels: ImageSource, where: slice) -> Array:
        """Those of a batch, on the backend."""
        if labels.resident is None:
            return self.backend.asarray(labels.read_part(where))
        return labels.resident[where, ...]

    def labels(self, labels: Any, count: int, soft: bool = False) -> np.ndarray:
        """``labels``, on the host or on the backend's device, as the loss takes them, on the host.

        Class numbers, (count,) int32, may be anything that `data.label_rules` takes; what else
        labels may be, `label_inputs` says. ``soft`` ones are probabilities even where each is 1 or 0.

        Raises
        ------
        InvalidTypeError
            Not whole numbers, nor names of classes.
        InvalidValueError
            Not one for each image, or out of range.
        """
        if hasattr(labels, "__dlpack__") and not isinstance(labels, np.ndarray | np.generic):
            labels = self.backend.to_numpy(self.backend.asarray(labels))
        with refused("labels"):
            if not are_class_numbers(self.loss, self.output_shape):
                kind = self.loss, labels, count, self.output_shape
                return other_labels(*kind, self.form.dtype)
            if is_soft(labels, self.classes, soft):
                return soft_labels(labels, count, self.output_shape, self.form.dtype)
            y = class_numbers(labels, self.shown or self.names)
            if y.shape[0] != count:
                reason = f"must be as many as images, got {y.shape[0]} labels for {count} images"
                raise BrokenRule(reason, "take both from the same set")
            if self.shown is None:
                return in_range(y, self.classes, f"the network has {self.classes} outputs")
            if y.size and not 0 <= int(y.min()) <= int(y.max()) < len(self.shown):
                reason = f"must be 0 to {len(self.shown) - 1}, class_names has {len(self.shown)}"
                reason += f", got {y.min()} to {y.max()}"
                raise BrokenRule(reason, "number them from 0, and give each class a name")
        found = match_classes("labels", self.names, self.classes, self.shown, np.unique(y))
        if found.said:
            self.say(found.said)
        return found.numbers[y]

    def weights(self, weights: Any, count: int | None) -> Array | None:
        """The weight of each of ``count`` images on the backend, mean 1; None where all are alike.

        Raises as `check_sample_weight`, and for batches as they come, whose count is None.
        """
        if weights is None:
            return None
        if count is None:
            message = (
                "sample_weight: must be None for an iterable of batches, got "
                f"{type(weights).__name__}; pass images and labels as arrays or an ImageSource"
            )
            raise InvalidValueError(message)
        if hasattr(weights, "__dlpack__") and not isinstance(weights, np.ndarray | np.generic):
            weights = self.backend.to_numpy(self.backend.asarray(weights))
        checked = check_sample_weight(weights, count)
        if self.backend.name == "cupy":
            self.say("fit: with sample_weight, steps run kernel by kernel, not from a recording")
        return self.backend.asarray(checked.astype(self.form.dtype))

    def pair(self, images: Any, labels: Any) -> tuple[ImageSource, ImageSource]:
        """(images, labels), as `images` gives them: labels that do not fit are left to be read, too."""
        x = self.images(images)
        y = self.labels(labels, x.shape[0])
        return x, placed(y, y.dtype, self.backend)

    def validation(
        self, validation: Any, images: ImageSource
    ) -> tuple[ImageSource, ImageSource] | None:
        """The (images, labels) to measure on, as `pair`, or None; like the training ``images``."""
        if validation is None:
            return None
        held_out = self.pair(*check_validation(validation))
        check_same_dtype(images, held_out[0])
        return held_out

    def batches(self) -> "BatchCheck":
        """What checks the batches of an iterable, one after the other, on the host."""
        return BatchCheck(replace(self, backend=NumPy()))


class BatchCheck:
    """Checks the (images, labels) of an iterable, on the host, as the parts of one set."""

    def __init__(self, intake: Intake) -> None:
        self._intake, self._taker = intake, ImageTaker(intake.form, intake.say)
        self._dtype: Any = None
        self._labels: tuple[Any, tuple[int, ...]] | None = None
        self._soft = False

    def __call__(self, batch: Any) -> tuple[np.ndarray, np.ndarray]:
        """One (images, labels) as arrays; raises as these do, and where ``batch`` is no pair."""
        if not isinstance(batch, tuple | list) or len(batch) != 2:
            message = (
                f"batches: every batch must be (images, labels), got {type(batch).__name__}; "
                "let the iterable give pairs"
            )
            raise InvalidTypeError(message)
        with refused("images"):
            images = self._taker.array(batch[0], NumPy())
            if images.dtype != (self._dtype or images.dtype):
                reason = f"must be {self._dtype} as in the batches before, got {images.dtype}"
                raise BrokenRule(reason, "prepare all in the same way", of_kind=True)
        self._dtype = images.dtype
        labels = self._intake.labels(batch[1], images.shape[0], soft=self._soft)
        if self._labels is not None and (labels.dtype, labels.shape[1:]) != self._labels:
            message = (
                f"labels: must be {self._labels[0]} of shape {with_n(self._labels[1])} as in the "
                f"batches before, got {labels.dtype} of shape {with_n(labels.shape[1:])}; "
                "prepare all in the same way"
            )
            raise InvalidTypeError(message)
        self._labels = labels.dtype, labels.shape[1:]
        self._soft = self._soft or labels.dtype.kind == "f"
        return images, labels


def check_sample_weight(weights: Any, count: int) -> np.ndarray:
    """``weights`` as (count,) float64 whose mean is 1, so that learning rates mean what they did.

    Raises InvalidValueError or InvalidTypeError where they are not one number of at least 0 for each
    image, or all 0.
    """
    with refused("sample_weight"):
        w = plain_array(weights)
        w = w[:, 0] if w.ndim == 2 and w.shape[1] == 1 else w
        if w.dtype.kind not in "biuf":
            raise BrokenRule(f"must be numbers, got {w.dtype}", "give floats", of_kind=True)
        if w.shape != (count,):
            reason = f"must be one number for each of {count} images, got shape {w.shape}"
            raise BrokenRule(reason, "take both from the same set")
        w = w.astype(np.float64)
        wrong = ~(np.isfinite(w) & (w >= 0))
        if wrong.any():
            place = int(wrong.argmax())
            reason = f"must be finite and at least 0, got {w[place]} at position {place}"
            raise BrokenRule(reason, "give an image that is not to count the weight 0")
        if not w.any():
            reason = "must be above 0 for at least one image, are all 0"
            raise BrokenRule(reason, "leave sample_weight out to count all alike")
        w = w / w.max()  # or the sum of large ones would be infinite
        return np.asarray(w / w.mean())


def check_optimizer(optimizer: Any) -> Any:
    """``optimizer``, or InvalidTypeError where it is none."""
    if isinstance(optimizer, type) or not hasattr(optimizer, "update"):
        message = f"optimizer: must be an optimizer such as SGD(0.05), got {optimizer!r}"
        raise InvalidTypeError(message)
    return optimizer


def check_callbacks(callbacks: Any) -> tuple[Any, ...]:
    """``callbacks`` as a tuple, or InvalidTypeError where they are no sequence of callbacks."""
    several = not isinstance(callbacks, str) and isinstance(callbacks, Iterable)
    found = tuple(callbacks) if several else (callbacks,)
    wrong = [one for one in found if isinstance(one, type) or not hasattr(one, "on_begin")]
    if wrong or not several:
        message = (
            f"callbacks: must be a sequence of callbacks, got {(wrong or found)[0]!r}; "
            "write for example [EarlyStopping(5)]"
        )
        raise InvalidTypeError(message)
    return found


def check_validation(validation: Any) -> tuple[Any, Any]:
    """``validation`` as (images, labels)."""
    if not isinstance(validation, tuple | list) or len(validation) != 2:
        length = f" of length {len(validation)}" if hasattr(validation, "__len__") else ""
        message = (
            f"validation: must be (images, labels), got {type(validation).__name__}{length}; "
            "write validation=(images, labels)"
        )
        raise InvalidTypeError(message)
    return validation[0], validation[1]


def check_same_dtype(images: ImageSource, held_out: ImageSource) -> None:
    """Refuse validation images that the network would refuse only after the first epoch."""
    # By name: a source on the host is NumPy's, an array may be another library's.
    if str(images.dtype).rpartition(".")[2] != str(held_out.dtype).rpartition(".")[2]:
        message = (
            f"validation: images must be {images.dtype} as the training images are, "
            f"got {held_out.dtype}; prepare both in the same way"
        )
        raise InvalidTypeError(message)


def check_input_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """``shape`` as (H, W, C); (H, W) is one channel."""
    sizes = tuple(shape) if isinstance(shape, list | tuple) else ()
    if len(sizes) == 2:
        sizes = (*sizes, 1)
    if len(sizes) != 3 or not all(type(size) is int and size >= 1 for size in sizes):
        message = f"Model: input_shape must be (H, W, C), ints of at least 1, got {shape!r}"
        raise InvalidValueError(message)
    return sizes[0], sizes[1], sizes[2]


def check_seed(seed: int) -> int:
    """``seed``, an int of 0 to 2^64 - 1."""
    if isinstance(seed, bool) or not isinstance(seed, int):
        message = f"Model: seed must be an int, got {seed!r}"
        raise InvalidTypeError(message)
    if not 0 <= seed < 2**64:
        message = f"Model: seed must be at least 0 and below 2^64, got {seed}"
        raise InvalidValueError(message)
    return seed


def check_loss(loss: Any) -> Loss:
    """``loss``, or InvalidTypeError where it is none."""
    if not isinstance(loss, Loss):
        message = f"loss: must be a loss such as SoftmaxCrossEntropy(), got {loss!r}"
        raise InvalidTypeError(message)
    return loss


def check_classification(owner: str, loss: Any) -> ClassificationLoss:
    """``loss``, None as cross-entropy, or InvalidTypeError where it is not of one class an image."""
    if loss is None:
        return CROSS_ENTROPY
    if not isinstance(loss, ClassificationLoss):
        message = (
            f"{owner}: loss must be a ClassificationLoss such as SoftmaxCrossEntropy(0.1), "
            f"got {loss!r}; give any other to a Model"
        )
        raise InvalidTypeError(message)
    return loss


def check_output(network: Layer, output_shape: tuple[int, ...], loss: Loss) -> int:
    """How many classes, labels or numbers a network gives, of ``output_shape``, that suits ``loss``."""
    last = network
    while isinstance(last, Sequential):
        last = last.layers[-1]
    name = type(last).__name__
    if isinstance(last, Softmax | Sigmoid) and isinstance(
        loss, ClassificationLoss | MultiLabelLoss
    ):
        end = "softmax" if isinstance(loss, ClassificationLoss) else "sigmoid"
        message = (
            f"Model: the network must end with logits, got {name} as its last layer; leave it out: "
            f"training applies the {end} within the loss, predict returns probabilities"
        )
        raise InvalidValueError(message)
    classes_only = isinstance(loss, ClassificationLoss) and not loss.per_pixel
    if len(output_shape) != 1 and classes_only:
        message = (
            f"Model: the network must give one number a class, (N, classes), got {name} "
            f"with output {with_n(output_shape)}; end with Flatten() and Dense(classes)"
        )
        raise InvalidValueError(message)
    if reason := loss.refusal(output_shape):
        message = f"Model: the loss {type(loss).__name__} does not fit {name}: {reason}"
        raise InvalidValueError(message)
    return output_shape[-1] if output_shape else 1


def check_class_names(names: Sequence[str] | None, classes: int) -> tuple[str, ...] | None:
    """``names`` as a tuple of one text for each class, or None."""
    if names is None:
        return None
    fits = isinstance(names, list | tuple) and len(names) == classes
    if not fits or not all(isinstance(name, str) for name in names):
        message = f"Model: class_names must be {classes} texts, one for each output, got {names!r}"
        raise InvalidValueError(message)
    return tuple(names)
