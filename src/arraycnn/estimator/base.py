"""What a classifier and a regressor for scikit-learn have in common: network, images, training."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from arraycnn.backends import Backend
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.estimator.rows import dense, dtypes_of, flat, pixels_or_numbers, shape_of
from arraycnn.layers import Layer, Rescale, Sequential
from arraycnn.losses import Loss
from arraycnn.model.model import Model
from arraycnn.networks import NETWORKS
from arraycnn.optimizers import AdamW, Optimizer
from arraycnn.optimizers.schedules import OneCycle

_LEARNING_RATE = 0.003
# Whole numbers so many times as high as those of fit were not scaled as these.
_FAR = 10


class ImageEstimator(BaseEstimator):
    """The part of `CNNClassifier` and `CNNRegressor` that is of images and of the network."""

    _outputs = "classes"
    """What there is an output of the network for each of."""

    loss: Loss | None = None  # which a pickle of an earlier version lacks

    def __init__(
        self,
        network: str | Layer | Callable[[int], Layer],
        image_shape: Sequence[int] | None,
        epochs: int,
        batch_size: int,
        learning_rate: float | None,
        optimizer: Optimizer | None,
        backend: str | Backend,
        dtype: str,
        random_state: int | np.random.RandomState | None,
        loss: Loss | None,
    ) -> None:
        self.network = network
        self.image_shape = image_shape
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.backend = backend
        self.dtype = dtype
        self.random_state = random_state
        self.loss = loss

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.non_deterministic = not isinstance(self.random_state, numbers.Integral)
        return tags

    @property
    def _owner(self) -> str:
        return type(self).__name__

    def _trained(
        self,
        rows: np.ndarray,
        shape: tuple[int, ...] | None,
        labels: np.ndarray,
        outputs: int,
        loss: Loss,
        weights: np.ndarray | None,
        class_names: tuple[str, ...] | None = None,
    ) -> None:
        """Train a new model for so many ``outputs``, and keep it where that has worked."""
        optimizer = self._optimizer()
        model = self._new_model(rows, shape, outputs, loss)
        if class_names is not None:
            model.class_names = class_names
        history = model.fit(
            self._as_in_fit(rows, shape, model, math.inf),
            labels,
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=optimizer,
            sample_weight=weights,
        )
        self._keep(model, history, rows)

    def _checked(
        self, X: Any, y: Any, reset: bool, **how: Any
    ) -> tuple[np.ndarray, np.ndarray, tuple[int, ...] | None]:
        """(rows, y, shape that X itself shows); ``how`` y is checked, as `validate_data` has it."""
        shape = shape_of(X)
        rows, y = validate_data(
            self,
            flat(X),
            dense(y),
            dtype=dtypes_of(self.dtype),
            reset=reset,
            multi_output=True,
            **how,
        )
        return rows, y, shape

    def _shown(self, X: Any) -> np.ndarray:
        """X as images for the model, scaled as those of fit were."""
        check_is_fitted(self, "model_")
        shape = shape_of(X)
        rows = validate_data(self, flat(X), dtype=dtypes_of(self.dtype), reset=False)
        highest = getattr(self, "_highest", math.inf)  # a pickle of an earlier version has none
        return self._as_in_fit(rows, shape, self.model_, highest)

    def _as_in_fit(
        self, rows: np.ndarray, shape: tuple[int, ...] | None, model: Model, highest: float
    ) -> np.ndarray:
        """``rows`` as images for ``model``, whose numbers in fit went up to ``highest``."""
        if shape is not None and shape != model.input_shape:
            message = (
                f"{self._owner}: images must be {model.input_shape}, as in fit, got {shape}; "
                "resize or reshape them"
            )
            raise InvalidValueError(message)
        whole = rows.dtype.kind in "iu"
        if model.intake.form.takes_bytes:
            rows = pixels_or_numbers(rows, self.dtype)
        elif whole and rows.max(initial=0) > _FAR * max(highest, 1):
            message = (
                f"{self._owner}: images must be scaled as in fit, where they went up to "
                f"{highest:g}, got whole numbers up to {rows.max()}; scale them in the same way"
            )
            raise InvalidValueError(message)
        elif whole and (rows.dtype != np.uint8 or highest < math.inf):
            rows = rows.astype(self.dtype)
        return rows.reshape(-1, *model.input_shape)

    def _weights(self, sample_weight: Any, rows: np.ndarray) -> np.ndarray:
        return np.asarray(_check_sample_weight(sample_weight, rows, dtype=np.float64))

    def _new_model(
        self, rows: np.ndarray, shape: tuple[int, ...] | None, outputs: int, loss: Loss
    ) -> Model:
        image_shape = self._image_shape(shape)
        model = Model(
            self._network(pixels_or_numbers(rows, self.dtype).dtype, outputs),
            image_shape,
            backend=self.backend,
            seed=self._seed(),
            dtype=self.dtype,
            loss=loss,
        )
        if model.classes != outputs:
            message = (
                f"{self._owner}: the network must have as many outputs as there are {self._outputs}, "
                f"got {model.classes} outputs for {outputs} {self._outputs}; "
                "give a function of their number as network"
            )
            raise InvalidValueError(message)
        return model

    def _keep(self, model: Model, history: Any, rows: np.ndarray) -> None:
        self.image_shape_, self.model_, self.history_ = model.input_shape, model, history
        self._highest = float(np.abs(rows.astype(np.float64)).max(initial=0))

    def _optimizer(self, schedule: Callable[[float], Any] = OneCycle) -> Optimizer:
        if self.optimizer is None:
            rate = _LEARNING_RATE if self.learning_rate is None else self.learning_rate
            return AdamW(schedule(rate))
        if self.learning_rate is not None:
            message = (
                f"{self._owner}: learning_rate must be None where optimizer is given, "
                f"got {self.learning_rate!r}; give the optimizer its own, as SGD(0.1)"
            )
            raise InvalidValueError(message)
        return self.optimizer

    def _seed(self) -> int:
        if isinstance(self.random_state, numbers.Integral):
            return int(self.random_state)
        return int(check_random_state(self.random_state).randint(2**31))

    def _image_shape(self, shape: tuple[int, ...] | None) -> tuple[int, int, int]:
        """(H, W, C) of one image; ``shape`` is what X itself shows."""
        numbers_in = self.n_features_in_
        given = shape if self.image_shape is None else tuple(self.image_shape)
        if given is None:
            side = math.isqrt(numbers_in)
            given = (side, side)
            if side * side != numbers_in:
                message = (
                    f"{self._owner}: {numbers_in} numbers an image are no square; "
                    "give image_shape=(H, W, C), or X as (N, H, W, C)"
                )
                raise InvalidValueError(message)
        given = (*given, 1) if len(given) == 2 else given
        if given.count(-1) == 1:
            known = -math.prod(given)
            left = numbers_in // known if known > 0 else 0
            given = tuple(left if size == -1 else size for size in given)
        fits = len(given) == 3 and math.prod(given) == numbers_in and min(given) > 0
        if not fits or (shape is not None and shape != given):
            found = f"{numbers_in} numbers an image" if shape is None else f"images of {shape}"
            message = (
                f"{self._owner}: image_shape must be that of the images, got {self.image_shape!r} "
                f"for {found}; correct it, or leave it out for X of (N, H, W, C)"
            )
            raise InvalidValueError(message)
        return given[0], given[1], given[2]

    def _network(self, dtype: np.dtype, outputs: int) -> Layer:
        if isinstance(self.network, str):
            if self.network not in NETWORKS:
                message = (
                    f"{self._owner}: network must be {', '.join(NETWORKS)}, a network or a "
                    f"function, got {self.network!r}"
                )
                raise InvalidValueError(message)
            network = NETWORKS[self.network](outputs)
            if dtype == np.uint8:
                return network
            return Sequential(*(part for part in network.layers if not isinstance(part, Rescale)))
        if not isinstance(self.network, type) and hasattr(self.network, "forward"):
            return self.network  # type: ignore[return-value]
        if callable(self.network):
            return self.network(outputs)
        message = (
            f"{self._owner}: network must be a name, a network or a function of the number of "
            f"{self._outputs}, got {self.network!r}"
        )
        raise InvalidTypeError(message)
