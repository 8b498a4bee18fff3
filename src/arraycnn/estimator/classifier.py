"""`CNNClassifier`: a `Model` with the interface of scikit-learn's classifiers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, column_or_1d

from arraycnn.backends import Backend
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.estimator.base import ImageEstimator
from arraycnn.estimator.rows import dense
from arraycnn.layers import Layer
from arraycnn.losses import BinaryCrossEntropy, Loss, MultiLabelLoss
from arraycnn.losses.loss import THRESHOLD
from arraycnn.model.class_names import listed
from arraycnn.model.inputs import check_classification
from arraycnn.model.log_probabilities import log_probabilities
from arraycnn.optimizers import Optimizer
from arraycnn.optimizers.schedules import Constant


class CNNClassifier(ClassifierMixin, ImageEstimator):
    """A convolutional network as a scikit-learn classifier.

    It stands in a Pipeline, in cross_val_score and in GridSearchCV, and can be cloned and pickled.
    Classes may be of any kind that scikit-learn takes: numbers, text. An image may have several labels,
    too: y is then (N, K), 1 where it has one and 0 where not, and a fit to such y has K labels.

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
        What the images of each class count: by class, or so that all classes count alike. Of
        several labels a list of K dicts with the keys 0 and 1: the product is the image's weight.
    loss : ClassificationLoss, MultiLabelLoss or None
        None is `SoftmaxCrossEntropy`, and `BinaryCrossEntropy` where images have several labels.

    Attributes
    ----------
    classes_ : array, (K,)
        The labels seen in fit, sorted. Where images have several, a list of K arrays [0, 1], as of
        scikit-learn's classifiers with several outputs.
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
        class_weight: str | dict[Any, float] | None = None,
        loss: Loss | None = None,
    ) -> None:
        super().__init__(
            *(network, image_shape, epochs, batch_size, learning_rate, optimizer),
            *(backend, dtype, random_state, loss),
        )
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CNNClassifier:
        """Train anew on images X and their classes y.

        Parameters
        ----------
        X : array, (N, H * W * C), (N, H, W) or (N, H, W, C)
            Whole numbers 0 to 255 are taken as uint8; other integers as floating numbers.
        y : array, (N,), or (N, K) of several labels an image
        sample_weight : array, (N,), at least 0, or None
            What each image counts, relative to their mean; see `Model.fit`.

        Raises
        ------
        ValueError
            X or y cannot be used, as scikit-learn says it, or a parameter breaks a rule
            (InvalidValueError).
        """
        rows, y, shape = self._checked_classes(X, y, reset=True)
        weights = self._image_weights(sample_weight, rows, y)
        classes = _labels(y)
        names = tuple(map(str, classes)) if y.ndim == 1 else None
        self._trained(
            *(rows, shape, _numbered(y, classes), len(classes), self._loss(y), weights, names)
        )
        self._know(classes, y)
        return self

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> CNNClassifier:
        """Train one epoch more on images X and their classes y, as a part of a larger set.

        The learning rate does not change over the calls, and the optimizer begins afresh with each.
        ``class_weight="balanced"`` makes the classes of each part count alike, not those of the set.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`
        classes : array, (K,)
            All classes there will be; needed in the first call, and the same in later ones. Of
            several labels an image, y shows how many there are.

        Raises
        ------
        ValueError
            As `fit`; or ``classes`` is missing or another than before, or y has others.
        """
        optimizer = self._optimizer(Constant)
        first = not hasattr(self, "model_")
        y = dense(y)
        several = type_of_target(y) == "multilabel-indicator"
        known = self._classes(_labels(np.asarray(y)) if several else classes, first)
        rows, y, shape = self._checked_classes(X, y, reset=first)
        unknown = [] if several else np.setdiff1d(y, known).tolist()
        if unknown:
            message = (
                f"CNNClassifier: y must be of the classes {known.tolist()}, got "
                f"{unknown[0]!r}; give all classes in the first call of partial_fit"
            )
            raise InvalidValueError(message)
        weights = self._image_weights(sample_weight, rows, y)
        if first:
            model, highest = self._new_model(rows, shape, len(known), self._loss(y)), math.inf
            model.class_names = None if several else tuple(map(str, known))
        else:
            model, highest = self.model_, getattr(self, "_highest", math.inf)
        history = model.fit(
            self._as_in_fit(rows, shape, model, highest),
            _numbered(y, known),
            batch_size=self.batch_size,
            optimizer=optimizer,
            sample_weight=weights,
        )
        self._keep(model, history, rows)
        self._know(known, y)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Probabilities of the classes in the order of ``classes_``: (N, K).

        X is as in `fit`, with as many numbers an image. Of several labels an image each is a
        probability of its own.
        """
        images = self._shown(X)
        return self.model_.predict(images)

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logarithms of these probabilities, (N, K), finite where a probability rounds to 0."""
        images = self._shown(X)
        return log_probabilities(self.model_, images)

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each image, (N,), of the kind that y had.

        Of several labels an image (N, K), 1 where a label's probability is above 0.5, else 0.
        """
        probabilities = self.predict_proba(X)
        if self._has_several:
            return (probabilities > THRESHOLD).astype(np.int64)
        return self.classes_[probabilities.argmax(axis=1)]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The share of images classified correctly, weighted by ``sample_weight``, (N,).

        Of several labels an image, of those all of whose labels are told, as scikit-learn counts.

        Raises InvalidValueError where y has none of the classes that fit saw: text instead of
        numbers, say, of which none could be right.
        """
        check_is_fitted(self, "model_")
        y = dense(y)
        shown = np.unique(np.asarray(y))
        seen = {0, 1} if self._has_several else set(self.classes_.tolist())
        if len(shown) and not set(shown.tolist()) & seen:
            message = (
                f"CNNClassifier: y must have classes that fit saw, {listed(map(str, self.classes_))}, "
                f"got {listed(map(str, shown))}; give them as fit had them"
            )
            raise InvalidValueError(message)
        return float(super().score(X, y, sample_weight))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    @property
    def _has_several(self) -> bool:
        """Whether images of the trained model have several labels."""
        return isinstance(self.model_.loss, MultiLabelLoss)

    def _checked_classes(self, X: Any, y: Any, reset: bool) -> tuple[np.ndarray, np.ndarray, Any]:
        """(rows, classes of the images or labels in columns, shape that X itself shows)."""
        rows, y, shape = self._checked(X, y, reset)
        if type_of_target(y) != "multilabel-indicator":
            y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        return rows, y, shape

    def _loss(self, y: np.ndarray) -> Loss:
        """The loss for y, which must be of its kind."""
        if y.ndim == 1:
            return check_classification("CNNClassifier", self.loss)
        if self.loss is None:
            return BinaryCrossEntropy()
        if not isinstance(self.loss, MultiLabelLoss):
            message = (
                "CNNClassifier: loss must be a MultiLabelLoss such as BinaryCrossEntropy() for y with "
                f"several labels an image, got {self.loss!r}; leave it out, or give y as (N,)"
            )
            raise InvalidTypeError(message)
        return self.loss

    def _image_weights(
        self, sample_weight: Any, rows: np.ndarray, y: np.ndarray
    ) -> np.ndarray | None:
        if sample_weight is None and self.class_weight is None:
            return None
        weights = self._weights(sample_weight, rows)
        if self.class_weight is None:
            return weights
        return weights * compute_sample_weight(self.class_weight, y)

    def _know(self, classes: np.ndarray, y: np.ndarray) -> None:
        self.classes_: Any = classes if y.ndim == 1 else [np.array([0, 1])] * len(classes)

    def _classes(self, classes: Any, first: bool) -> np.ndarray:
        """All classes, sorted, for `partial_fit`."""
        if classes is None and first:
            message = (
                "CNNClassifier: classes must be given in the first call of partial_fit, got None; "
                "pass classes=numpy.unique(all labels)"
            )
            raise InvalidValueError(message)
        before: Any = None
        if not first:
            before = np.arange(len(self.classes_)) if self._has_several else self.classes_
        if classes is None:
            return before
        known = np.unique(np.asarray(classes))
        if not first and not np.array_equal(known, before):
            message = (
                f"CNNClassifier: classes must be those of the first call, {before.tolist()}, "
                f"got {known.tolist()}; leave classes out, or call fit to begin anew"
            )
            raise InvalidValueError(message)
        return known


def _labels(y: np.ndarray) -> np.ndarray:
    """The classes that y has, or the numbers of its columns of labels."""
    return np.unique(y) if y.ndim == 1 else np.arange(y.shape[1])


def _numbered(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """The number of each image's class, (N,), or its labels, (N, K), as a loss takes them."""
    return np.searchsorted(classes, y) if y.ndim == 1 else np.asarray(y, np.float32)
