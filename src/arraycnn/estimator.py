"""`CNNClassifier`: a `Model` with the interface of scikit-learn, whose base classes it needs.

`arraycnn` imports this module only when somebody asks for ``arraycnn.CNNClassifier``.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as missing:
    from arraycnn.errors import MissingPackageError

    _reason = f'CNNClassifier: scikit-learn 1.6 or later is needed, got "{missing}"'
    raise MissingPackageError(f'{_reason}; pip install "arraycnn[sklearn]"') from missing

from arraycnn.backends import Backend
from arraycnn.class_names import listed
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers import Layer, Rescale, Sequential
from arraycnn.model import Model
from arraycnn.networks import NETWORKS
from arraycnn.optimizers import AdamW, Optimizer
from arraycnn.schedules import OneCycle

_LEARNING_RATE = 0.003


class CNNClassifier(ClassifierMixin, BaseEstimator):
    """A convolutional network as a scikit-learn classifier.

    It stands in a Pipeline, in cross_val_score and in GridSearchCV, and can be cloned and pickled.
    Classes may be of any kind that scikit-learn takes: numbers, text.

    Parameters
    ----------
    network : str, Layer, or callable
        A name such as "basic", "lenet5" or "scratch"; a network that ends with one output a class;
        or a function from the number of classes to such a network. Networks called by name begin
        with `Rescale` for uint8 images, and without it for any other dtype: such numbers go in as
        they are, so scale them to about -1 to 1 before.
    image_shape : (H, W), (H, W, C) or None
        What one row of a flat X is; one -1 stands for what is left, as in NumPy's reshape. None
        takes the shape from X where it has more than two axes, and else a square of one channel.
    epochs, batch_size : int
    learning_rate : float or None
        The highest rate of AdamW on a one-cycle schedule, as on the command line; None is 0.003.
    optimizer : Optimizer or None
        Instead of that AdamW; learning_rate must then be None.
    backend : str or Backend
    dtype : "float32" or "float64"
    random_state : int, numpy.random.RandomState or None
        The seed. An int gives the same model at every fit; None does not.

    Attributes
    ----------
    classes_ : array, (K,)
        The labels seen in fit, sorted.
    n_features_in_ : int
        Numbers in one image, H * W * C.
    feature_names_in_ : array, (n_features_in_,)
        Only where X had names, as a DataFrame has.
    image_shape_ : (H, W, C)
    model_ : Model
        The trained model; ``model_.save`` and `arraycnn.export` take it from here.
    history_ : History
    """

    def __init__(
        self,
        network: str | Layer | Callable[[int], Layer] = "basic",
        *,
        image_shape: Sequence[int] | None = None,
        epochs: int = 10,
        batch_size: int = 32,
        learning_rate: float | None = None,
        optimizer: Optimizer | None = None,
        backend: str | Backend = "numpy",
        dtype: str = "float32",
        random_state: int | np.random.RandomState | None = 0,
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

    def fit(self, X: Any, y: Any) -> CNNClassifier:
        """Train anew on images X and their classes y.

        Parameters
        ----------
        X : array, (N, H * W * C), (N, H, W) or (N, H, W, C)
            uint8 or numbers; integers other than uint8 are taken as floating numbers.
        y : array, (N,)

        Raises
        ------
        ValueError
            X or y cannot be used, as scikit-learn says it, or a parameter breaks a rule
            (InvalidValueError).
        """
        optimizer = self._optimizer()
        shape = _shape_of(X)
        rows, y = validate_data(self, _flat(X), y, dtype=self._dtypes())
        check_classification_targets(y)
        classes, labels = np.unique(y, return_inverse=True)
        image_shape = self._image_shape(shape)
        model = Model(
            self._network(rows.dtype, len(classes)),
            image_shape,
            backend=self.backend,
            seed=self._seed(),
            dtype=self.dtype,
        )
        if model.classes != len(classes):
            message = (
                f"CNNClassifier: the network must have one output for each class, got "
                f"{model.classes} outputs for {len(classes)} classes; "
                "give a function of the number of classes as network"
            )
            raise InvalidValueError(message)
        model.class_names = tuple(map(str, classes))
        history = model.fit(
            rows.reshape(-1, *image_shape),
            labels,
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=optimizer,
        )
        self.classes_, self.image_shape_ = classes, image_shape
        self.model_, self.history_ = model, history
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes in the order of ``classes_``: (N, K).

        X is as in `fit`, with as many numbers an image.
        """
        check_is_fitted(self, "model_")
        shape = _shape_of(X)
        rows = validate_data(self, _flat(X), dtype=self._dtypes(), reset=False)
        if shape is not None and shape != self.image_shape_:
            message = (
                f"CNNClassifier: images must be {self.image_shape_}, as in fit, got {shape}; "
                "resize or reshape them"
            )
            raise InvalidValueError(message)
        return self.model_.predict(rows.reshape(-1, *self.image_shape_))

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each image: (N,), of the kind that y had."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of images classified correctly, weighted by ``sample_weight``, (N,).

        Raises InvalidValueError where y has none of the classes that fit saw: text instead of
        numbers, say, of which none could be right.
        """
        check_is_fitted(self, "model_")
        shown = np.unique(np.asarray(y))
        common = set(shown.tolist()) & set(self.classes_.tolist())
        if len(shown) and not common:
            message = (
                f"CNNClassifier: y must have classes that fit saw, {listed(map(str, self.classes_))}, "
                f"got {listed(map(str, shown))}; give them as fit had them"
            )
            raise InvalidValueError(message)
        return float(super().score(X, y, sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.non_deterministic = not isinstance(self.random_state, numbers.Integral)
        return tags

    def _optimizer(self) -> Optimizer:
        if self.optimizer is None:
            rate = _LEARNING_RATE if self.learning_rate is None else self.learning_rate
            return AdamW(OneCycle(rate))
        if self.learning_rate is not None:
            message = (
                "CNNClassifier: learning_rate must be None where optimizer is given, "
                f"got {self.learning_rate!r}; give the optimizer its own, as SGD(0.1)"
            )
            raise InvalidValueError(message)
        return self.optimizer

    def _dtypes(self) -> list[Any]:
        # What is none of these is made the first of them.
        return [
            self.dtype if self.dtype == "float64" else np.float32,
            np.float32,
            np.float64,
            np.uint8,
        ]

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
                    f"CNNClassifier: {numbers_in} numbers an image are no square; "
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
                f"CNNClassifier: image_shape must be that of the images, got {self.image_shape!r} "
                f"for {found}; correct it, or leave it out for X of (N, H, W, C)"
            )
            raise InvalidValueError(message)
        return given[0], given[1], given[2]

    def _network(self, dtype: np.dtype, classes: int) -> Layer:
        if isinstance(self.network, str):
            if self.network not in NETWORKS:
                message = (
                    f"CNNClassifier: network must be {', '.join(NETWORKS)}, a network or a "
                    f"function, got {self.network!r}"
                )
                raise InvalidValueError(message)
            network = NETWORKS[self.network](classes)
            if dtype == np.uint8:
                return network
            return Sequential(*(part for part in network.layers if not isinstance(part, Rescale)))
        if not isinstance(self.network, type) and hasattr(self.network, "forward"):
            return self.network  # type: ignore[return-value]
        if callable(self.network):
            return self.network(classes)
        message = (
            "CNNClassifier: network must be a name, a network or a function of the number of "
            f"classes, got {self.network!r}"
        )
        raise InvalidTypeError(message)


def _shape_of(images: Any) -> tuple[int, ...] | None:
    """(H, W, C) of what has more than two axes, else None."""
    shape = tuple(getattr(images, "shape", ()))
    if len(shape) not in (3, 4):
        return None
    return tuple(map(int, shape[1:] if len(shape) == 4 else (*shape[1:], 1)))


def _flat(images: Any) -> Any:
    """``images`` with one row an image; what has two axes already is left as it is."""
    return images if _shape_of(images) is None else np.asarray(images).reshape(len(images), -1)
