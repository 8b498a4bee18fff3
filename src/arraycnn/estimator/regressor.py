"""`CNNRegressor`: a `Model` with the interface of scikit-learn's regressors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.base import RegressorMixin

from arraycnn.backends import Backend
from arraycnn.errors import InvalidTypeError
from arraycnn.estimator.base import ImageEstimator
from arraycnn.layers import Layer
from arraycnn.losses import Loss, MeanSquaredError, RegressionLoss
from arraycnn.optimizers import Optimizer


class CNNRegressor(RegressorMixin, ImageEstimator):
    """A convolutional network as a scikit-learn regressor: one number an image, or several.

    It stands in a Pipeline, in cross_val_score and in GridSearchCV, and can be cloned and pickled. y is
    learned as it is: scale it to about -1 to 1, as scikit-learn's TransformedTargetRegressor does.

    Parameters
    ----------
    network : str, Layer, or callable
        As of `CNNClassifier`, with one output for each number of an image; or a function from how many
        there are to such a network.
    image_shape, epochs, batch_size, learning_rate, optimizer, backend, dtype, random_state
        As of `CNNClassifier`.
    loss : RegressionLoss or None
        None is `MeanSquaredError`.

    Attributes
    ----------
    n_features_in_, feature_names_in_, image_shape_, model_, history_
        As of `CNNClassifier`.
    """

    _outputs = "numbers of an image"

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
        loss: Loss | None = None,
    ) -> None:
        super().__init__(
            *(network, image_shape, epochs, batch_size, learning_rate, optimizer),
            *(backend, dtype, random_state, loss),
        )

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> CNNRegressor:
        """Train anew on images X and their numbers y.

        Parameters
        ----------
        X : array, as `CNNClassifier.fit` takes it
        y : array, (N,) or (N, K), finite
        sample_weight : array, (N,), at least 0, or None
            What each image counts, relative to their mean; see `Model.fit`.

        Raises
        ------
        ValueError
            X or y cannot be used, as scikit-learn says it, or a parameter breaks a rule
            (InvalidValueError).
        """
        loss = MeanSquaredError() if self.loss is None else self.loss
        if not isinstance(loss, RegressionLoss):
            message = (
                "CNNRegressor: loss must be a RegressionLoss such as Huber(), "
                f"got {loss!r}; CNNClassifier has those of classes and labels"
            )
            raise InvalidTypeError(message)
        rows, y, shape = self._checked(X, y, reset=True, y_numeric=True)
        numbers = y.reshape(len(y), -1)
        weights = None if sample_weight is None else self._weights(sample_weight, rows)
        self._trained(rows, shape, numbers, numbers.shape[1], loss, weights)
        self._has_one = y.ndim == 1
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The numbers of each image, (N,) or (N, K) as y was in fit. X is as there."""
        images = self._shown(X)
        found = self.model_.predict(images)
        return found[:, 0] if self._has_one else found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
