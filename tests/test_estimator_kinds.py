"""Estimators of several labels an image, and of numbers: each is the `Model` of the same settings."""

import pickle

import numpy as np
import pytest

from arraycnn import (
    SGD,
    BinaryCrossEntropy,
    Dense,
    Flatten,
    Huber,
    InvalidTypeError,
    InvalidValueError,
    MeanSquaredError,
    Model,
    NumPy,
    Rescale,
    Sequential,
    SoftmaxCrossEntropy,
)
from optional import Late, needs

pytestmark = needs("sklearn")
CNNClassifier = Late("arraycnn", "CNNClassifier")
CNNRegressor = Late("arraycnn", "CNNRegressor")
TransformedTargetRegressor = Late("sklearn.compose", "TransformedTargetRegressor")
StandardScaler = Late("sklearn.preprocessing", "StandardScaler")
GridSearchCV = Late("sklearn.model_selection", "GridSearchCV")
get_scorer = Late("sklearn.metrics", "get_scorer")
roc_auc_score = Late("sklearn.metrics", "roc_auc_score")
csr_matrix = Late("scipy.sparse", "csr_matrix")
compute_sample_weight = Late("sklearn.utils.class_weight", "compute_sample_weight")
RNG = np.random.default_rng(7)
PIXELS = RNG.integers(0, 256, (40, 6, 6), dtype=np.uint8)
HAS = (PIXELS[:, :2, :3].mean(axis=1) > 127).astype(np.int64)  # three labels an image
BRIGHTNESS = PIXELS.mean(axis=(1, 2)) / 255.0 - 0.5
TIMES = RNG.integers(0, 4, 40)
SETTINGS = {"epochs": 4, "batch_size": 1000, "optimizer": SGD(0.2), "dtype": "float64"}


def linear(outputs):
    return Sequential(Rescale(), Flatten(), Dense(outputs))


def classifier(**settings):
    return CNNClassifier(linear, backend=NumPy(fast=False), **(SETTINGS | settings))


def regressor(**settings):
    return CNNRegressor(linear, backend=NumPy(fast=False), **(SETTINGS | settings))


def by_hand(labels, loss, weights=None):
    model = Model(linear(labels.shape[1]), (6, 6), dtype="float64", loss=loss)
    labels, how = labels.astype(np.float64), {"epochs": 4, "batch_size": 40}
    model.fit(PIXELS, labels, optimizer=SGD(0.2), sample_weight=weights, **how)
    return model.predict(PIXELS)


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-12)


def test_several_labels_an_image():
    fitted = classifier().fit(PIXELS, HAS)
    probabilities = by_hand(HAS, BinaryCrossEntropy())
    close(fitted.predict_proba(PIXELS), probabilities)
    close(np.exp(fitted.predict_log_proba(PIXELS)), probabilities)
    told = fitted.predict(PIXELS)
    np.testing.assert_array_equal(told, probabilities > 0.5)
    assert 0 < told.mean() < 1
    assert fitted.score(PIXELS, HAS) == (told == HAS).all(axis=1).mean()
    assert [of.tolist() for of in fitted.classes_] == [[0, 1]] * 3
    assert fitted.model_.class_names is None
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict(PIXELS), told)


def test_parts_of_a_set_with_several_labels():
    parts = classifier()
    for part in (slice(0, 15), slice(15, 40)):
        parts.partial_fit(PIXELS[part], HAS[part])
    assert parts.model_.epochs_done == 2
    one_call = classifier(epochs=1).fit(PIXELS, HAS)
    close(
        classifier().partial_fit(PIXELS, HAS).predict_proba(PIXELS), one_call.predict_proba(PIXELS)
    )
    with pytest.raises(InvalidValueError, match=r"classes must be those of the first call, \[0, 1"):
        parts.partial_fit(PIXELS, HAS[:, :2])


def test_weights_of_images_with_several_labels_and_with_numbers():
    weighted = classifier().fit(PIXELS, HAS, sample_weight=TIMES).predict_proba(PIXELS)
    close(weighted, by_hand(HAS, BinaryCrossEntropy(), TIMES))
    balanced = classifier(class_weight="balanced").fit(PIXELS, HAS).predict_proba(PIXELS)
    close(balanced, by_hand(HAS, BinaryCrossEntropy(), compute_sample_weight("balanced", HAS)))
    numbers = regressor().fit(PIXELS, BRIGHTNESS, sample_weight=TIMES).predict(PIXELS)
    close(numbers, by_hand(BRIGHTNESS[:, None], MeanSquaredError(), TIMES)[:, 0])


@pytest.mark.parametrize("loss", [None, Huber(0.1)])
def test_numbers(loss):
    several = np.stack([BRIGHTNESS, PIXELS[:, 0, 0] / 255.0], axis=1)
    known = MeanSquaredError() if loss is None else loss
    one, both, column = (
        regressor(loss=loss).fit(PIXELS, y) for y in (BRIGHTNESS, several, BRIGHTNESS[:, None])
    )
    close(one.predict(PIXELS), by_hand(BRIGHTNESS[:, None], known)[:, 0])
    close(both.predict(PIXELS), by_hand(several, known))
    close(column.predict(PIXELS), one.predict(PIXELS)[:, None])
    error = ((one.predict(PIXELS) - BRIGHTNESS) ** 2).sum()
    spread = ((BRIGHTNESS - BRIGHTNESS.mean()) ** 2).sum()
    assert one.score(PIXELS, BRIGHTNESS) == pytest.approx(1 - error / spread)
    assert pickle.loads(pickle.dumps(one)).predict(PIXELS).shape == (40,)


def test_a_regressor_stands_in_scikit_learns_tools():
    scaled = TransformedTargetRegressor(regressor(epochs=30), transformer=StandardScaler())
    search = GridSearchCV(scaled, {"regressor__batch_size": [10, 40]}, cv=2)
    numbers = 1000.0 + 50.0 * PIXELS[:, 2, 2]
    search.fit(PIXELS, numbers)
    assert search.best_params_ == {"regressor__batch_size": 10}
    assert np.abs(search.predict(PIXELS) - numbers).mean() < 0.2 * numbers.std()


def test_two_labels_in_scikit_learns_scores():
    """Where classes were 0 and 1 for the columns, scikit-learn would take a single class of two."""
    two, fitted = HAS[:, :2], classifier().fit(PIXELS, HAS[:, :2])
    expected = roc_auc_score(two, fitted.predict_proba(PIXELS))
    assert get_scorer("roc_auc")(fitted, PIXELS, two) == pytest.approx(expected)


def test_labels_may_be_sparse():
    dense, sparse = classifier().fit(PIXELS, HAS), classifier().fit(PIXELS, csr_matrix(HAS))
    close(sparse.predict_proba(PIXELS), dense.predict_proba(PIXELS))
    assert sparse.score(PIXELS, csr_matrix(HAS)) == dense.score(PIXELS, HAS)
    part = classifier().partial_fit(PIXELS, csr_matrix(HAS))
    close(part.predict_proba(PIXELS), classifier(epochs=1).fit(PIXELS, HAS).predict_proba(PIXELS))
    column = csr_matrix(BRIGHTNESS[:, None])
    one, other = (regressor().fit(PIXELS, y).predict(PIXELS) for y in (column, BRIGHTNESS))
    close(one[:, 0], other)


def test_numbers_that_are_none_are_refused():
    with pytest.raises(InvalidValueError, match="must fit into float32"):
        regressor(dtype="float32").fit(PIXELS, np.full(40, 1e39))
    with pytest.raises((InvalidTypeError, InvalidValueError), match="must be numbers"):
        regressor().fit(PIXELS, ["0", "1"] * 20)


def test_losses_of_another_kind_are_refused():
    with pytest.raises(InvalidTypeError, match="CNNRegressor: loss must be a RegressionLoss"):
        regressor(loss=BinaryCrossEntropy()).fit(PIXELS, BRIGHTNESS)
    with pytest.raises(InvalidTypeError, match="CNNClassifier: loss must be a MultiLabelLoss"):
        classifier(loss=SoftmaxCrossEntropy()).fit(PIXELS, HAS)
    ten = Sequential(Flatten(), Dense(10))
    with pytest.raises(InvalidValueError, match="got 10 outputs for 1 numbers of an image"):
        CNNRegressor(ten).fit(PIXELS, BRIGHTNESS)
