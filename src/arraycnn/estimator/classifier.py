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
    from sklearn.utils.class_weight import compute_sample_weight
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data
except ImportError as missing:
    from arraycnn.errors import MissingPackageError

    _reason = f'CNNClassifier: scikit-learn 1.6 or later is needed, got "{missing}"'
    raise MissingPackageError(f'{_reason}; pip install "arraycnn[sklearn]"') from missing

from arraycnn.backends import Backend
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.estimator.rows import dtypes_of, flat, pixels_or_numbers, shape_of
from arraycnn.layers import Layer, Rescale, Sequential
from arraycnn.losses import ClassificationLoss
from arraycnn.model.class_names import listed
from arraycnn.model.inputs import check_classification
from arraycnn.model.log_probabilities import log_probabilities
from arraycnn.model.model import Model
from arraycnn.networks import NETWORKS
from arraycnn.optimizers import AdamW, Optimizer
from arraycnn.optimizers.schedules import Constant, OneCycle

_LEARNING_RATE = 0.003
# Whole numbers so many times as high as those of fit were not scaled as these.
_FAR = 10


class CNNClassifier(ClassifierMixin, BaseEstimator):
    """A convolutional network as a scikit-learn classifier.

    It stands in a Pipeline, in cross_val_score and in GridSearchCV, and can be cloned and pickled.
    Classes may be of any kind that scikit-learn takes: numbers, text.

    Parameters
    ----------
    network : str, Layer, or callable
        A name such as "basic", "lenet5" or "scratch"; a network that ends with one output a class;
        or a function from the number of classes to such a network. Networks called by name begin
        with `Rescale` for pixels, which are whole numbers 0 to 255 of any integer dtype, or such
        floating ones that go beyond 127; and without it for all else: other numbers go in as they
        are, so scale them to about -1 to 1 before.
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
    class_weight : dict, "balanced" or None
        What the images of each class count: by class, or so that all classes count alike.
    loss : ClassificationLoss or None
        None is `SoftmaxCrossEntropy`.

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

    loss: ClassificationLoss | None = None  # which a pickle of an earlier version lacks

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
        class_weight: str | dict[Any, float] | None = None,
        loss: ClassificationLoss | None = None,
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
        self.class_weight = class_weight
        self.loss = loss

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CNNClassifier:
        """Train anew on images X and their classes y.

        Parameters
        ----------
        X : array, (N, H * W * C), (N, H, W) or (N, H, W, C)
            Whole numbers 0 to 255 are taken as uint8; other integers as floating numbers.
        y : array, (N,)
        sample_weight : array, (N,), at least 0, or None
            What each image counts, relative to their mean; see `Model.fit`.

        Raises
        ------
        ValueError
            X or y cannot be used, as scikit-learn says it, or a parameter breaks a rule
            (InvalidValueError).
        """
        optimizer = self._optimizer()
        rows, y, shape = self._checked(X, y, reset=True)
        weights = self._weights(sample_weight, rows, y)
        classes, labels = np.unique(y, return_inverse=True)
        model = self._new_model(pixels_or_numbers(rows, self.dtype), shape, classes)
        images = self._as_in_fit(rows, shape, model, math.inf)
        history = model.fit(
            images,
            labels,
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimizer=optimizer,
            sample_weight=weights,
        )
        self._keep(model, classes, history, rows)
        return self

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> CNNClassifier:
        """Train one epoch more on images X and their classes y, as a part of a larger set.

        The learning rate does not change over the calls, and the optimizer begins afresh with each.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`
        classes : array, (K,)
            All classes there will be; needed in the first call, and the same in later ones.

        Raises
        ------
        ValueError
            As `fit`; or ``classes`` is missing or another than before, or y has others.
        """
        optimizer = self._optimizer(Constant)
        first = not hasattr(self, "model_")
        known = self._classes(classes, first)
        rows, y, shape = self._checked(X, y, reset=first)
        unknown = np.setdiff1d(y, known)
        if unknown.size:
            message = (
                f"CNNClassifier: y must be of the classes {known.tolist()}, got "
                f"{unknown.tolist()[0]!r}; give all classes in the first call of partial_fit"
            )
            raise InvalidValueError(message)
        weights = self._weights(sample_weight, rows, y)
        if first:
            model, highest = (
                self._new_model(pixels_or_numbers(rows, self.dtype), shape, known),
                math.inf,
            )
        else:
            model, highest = self.model_, getattr(self, "_highest", math.inf)
        history = model.fit(
            self._as_in_fit(rows, shape, model, highest),
            np.searchsorted(known, y),
            batch_size=self.batch_size,
            optimizer=optimizer,
            sample_weight=weights,
        )
        self._keep(model, known, history, rows)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes in the order of ``classes_``: (N, K).

        X is as in `fit`, with as many numbers an image.
        """
        images = self._shown(X)
        return self.model_.predict(images)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of these probabilities, (N, K), finite where a probability rounds to 0."""
        images = self._shown(X)
        return log_probabilities(self.model_, images)

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

    def _checked(self, X: Any, y: Any, reset: bool) -> tuple[np.ndarray, np.ndarray, Any]:
        """(rows, classes of the images, shape that X itself shows)."""
        shape = shape_of(X)
        rows, y = validate_data(self, flat(X), y, dtype=dtypes_of(self.dtype), reset=reset)
        check_classification_targets(y)
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
                f"CNNClassifier: images must be {model.input_shape}, as in fit, got {shape}; "
                "resize or reshape them"
            )
            raise InvalidValueError(message)
        whole = rows.dtype.kind in "iu"
        if model.intake.form.takes_bytes:
            rows = pixels_or_numbers(rows, self.dtype)
        elif whole and rows.max(initial=0) > _FAR * max(highest, 1):
            message = (
                f"CNNClassifier: images must be scaled as in fit, where they went up to "
                f"{highest:g}, got whole numbers up to {rows.max()}; scale them in the same way"
            )
            raise InvalidValueError(message)
        elif whole and (rows.dtype != np.uint8 or highest < math.inf):
            rows = rows.astype(self.dtype)
        return rows.reshape(-1, *model.input_shape)

    def _weights(self, sample_weight: Any, rows: np.ndarray, y: np.ndarray) -> np.ndarray | None:
        if sample_weight is None and self.class_weight is None:
            return None
        weights = _check_sample_weight(sample_weight, rows, dtype=np.float64)
        return weights * compute_sample_weight(self.class_weight, y)

    def _classes(self, classes: Any, first: bool) -> np.ndarray:
        """All classes, sorted, for `partial_fit`."""
        if classes is None and first:
            message = (
                "CNNClassifier: classes must be given in the first call of partial_fit, got None; "
                "pass classes=numpy.unique(all labels)"
            )
            raise InvalidValueError(message)
        if classes is None:
            return self.classes_
        known = np.unique(np.asarray(classes))
        if not first and not np.array_equal(known, self.classes_):
            message = (
                f"CNNClassifier: classes must be those of the first call, {self.classes_.tolist()}, "
                f"got {known.tolist()}; leave classes out, or call fit to begin anew"
            )
            raise InvalidValueError(message)
        return known

    def _new_model(self, rows: np.ndarray, shape: Any, classes: np.ndarray) -> Model:
        image_shape = self._image_shape(shape)
        model = Model(
            self._network(rows.dtype, len(classes)),
            image_shape,
            backend=self.backend,
            seed=self._seed(),
            dtype=self.dtype,
            loss=check_classification("CNNClassifier", self.loss),
        )
        if model.classes != len(classes):
            message = (
                f"CNNClassifier: the network must have one output for each class, got "
                f"{model.classes} outputs for {len(classes)} classes; "
                "give a function of the number of classes as network"
            )
            raise InvalidValueError(message)
        model.class_names = tuple(map(str, classes))
        return model

    def _keep(self, model: Model, classes: np.ndarray, history: Any, rows: np.ndarray) -> None:
        self.classes_, self.image_shape_ = classes, model.input_shape
        self.model_, self.history_ = model, history
        self._highest = float(np.abs(rows.astype(np.float64)).max(initial=0))

    def _optimizer(self, schedule: Callable[[float], Any] = OneCycle) -> Optimizer:
        if self.optimizer is None:
            rate = _LEARNING_RATE if self.learning_rate is None else self.learning_rate
            return AdamW(schedule(rate))
        if self.learning_rate is not None:
            message = (
                "CNNClassifier: learning_rate must be None where optimizer is given, "
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
