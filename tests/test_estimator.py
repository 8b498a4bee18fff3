"""`CNNClassifier` in scikit-learn's own tools and under its own checks, on real digits."""

import pickle
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import pytest

import arraycnn
from arraycnn import (
    SGD,
    ArraycnnError,
    Conv2d,
    Dense,
    Flatten,
    InvalidValueError,
    MaxPool2d,
    Model,
    NonFiniteError,
    NumPy,
    ReLU,
    Rescale,
    Sequential,
)
from arraycnn.networks import NETWORKS
from optional import Late, needs

pytestmark = needs("sklearn")
CNNClassifier = Late("arraycnn", "CNNClassifier")
CNNRegressor = Late("arraycnn", "CNNRegressor")
clone, is_classifier = Late("sklearn.base", "clone"), Late("sklearn.base", "is_classifier")
load_digits = Late("sklearn.datasets", "load_digits")
GridSearchCV = Late("sklearn.model_selection", "GridSearchCV")
cross_val_score = Late("sklearn.model_selection", "cross_val_score")
make_pipeline = Late("sklearn.pipeline", "make_pipeline")
MinMaxScaler = Late("sklearn.preprocessing", "MinMaxScaler")

OF_DECISIONS = "check_classifiers_multilabel_output_format_decision_function"
"""A check of a method that no estimator here has: it would skip itself."""

EXPECTED_FAILURES: dict[str, str] = {}
"""Checks of scikit-learn that fail, and why. None does; a new one needs its reason here."""


@dataclass(frozen=True)
class RowNetwork:
    """For images of one row of any length, which is what scikit-learn's checks are of.

    A plain function would do; its repr is in the tests' names, and must not hold an address.
    """

    def __call__(self, classes):
        convolution = Conv2d(8, (1, 3), padding="same")
        return Sequential(convolution, ReLU(), Flatten(), Dense(16), ReLU(), Dense(classes))


def small_network(classes):
    return Sequential(Conv2d(8, 3), ReLU(), MaxPool2d(2), Flatten(), Dense(classes))


def pytest_generate_tests(metafunc):
    """scikit-learn says which checks there are: they are known only where it is installed."""
    if "check" not in metafunc.fixturenames:
        return
    if find_spec("sklearn") is None:
        metafunc.parametrize(("estimator", "check"), [(None, None)], ids=["each"])
        return
    from sklearn.utils.estimator_checks import parametrize_with_checks

    # In float64: two checks compare to 1e-7 what the same image gives among others, and a float32
    # product of BLAS may round a row by its place in the batch.
    settings = {"epochs": 20, "learning_rate": 0.02, "dtype": "float64"}
    estimator = CNNClassifier(RowNetwork(), image_shape=(1, -1), **settings)
    regressor = CNNRegressor(RowNetwork(), image_shape=(1, -1), **settings)
    checks = parametrize_with_checks(
        [estimator, regressor], expected_failed_checks=lambda _: EXPECTED_FAILURES
    )
    names, pairs = checks.args
    there = [pair for pair in pairs if OF_DECISIONS not in str(pair[1])]
    metafunc.parametrize(names, there, **checks.kwargs)


def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    """1,797 real digits: flat rows of numbers 0 to 1, and their classes as words."""
    x, y = load_digits(return_X_y=True)
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    return x / 16.0, np.array(words)[y]


@pytest.fixture
def quick():
    return CNNClassifier(small_network, epochs=3, learning_rate=0.02)


def test_the_default_learns_digits_and_words(digits):
    x, y = digits
    classifier = CNNClassifier("lenet5", image_shape=None, epochs=1)
    with pytest.raises(InvalidValueError, match="smaller window"):  # 8 x 8 is too small for it
        classifier.fit(x[:100], y[:100])
    classifier = CNNClassifier().fit(x[:1400], y[:1400])
    assert classifier.score(x[1400:], y[1400:]) > 0.93
    np.testing.assert_array_equal(classifier.classes_, np.unique(y))
    assert (classifier.n_features_in_, classifier.image_shape_) == (64, (8, 8, 1))
    assert classifier.model_.class_names == tuple(classifier.classes_)
    assert [record.epoch for record in classifier.history_] == list(range(1, 11))
    probabilities = classifier.predict_proba(x[1400:])
    assert probabilities.shape == (397, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)
    found = classifier.predict(x[1400:])
    assert found.dtype == y.dtype
    np.testing.assert_array_equal(found, classifier.classes_[probabilities.argmax(axis=1)])
    assert classifier.score(x[1400:], y[1400:]) == (found == y[1400:]).mean()


def test_it_is_the_model_of_the_same_settings(digits):
    x, y = digits
    classes, labels = np.unique(y, return_inverse=True)
    classifier = CNNClassifier(
        small_network, epochs=2, batch_size=64, optimizer=SGD(0.05), random_state=7
    ).fit(x, y)
    model = Model(small_network(len(classes)), (8, 8), seed=7)
    model.fit(x.reshape(-1, 8, 8), labels, epochs=2, batch_size=64, optimizer=SGD(0.05))
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(classifier.model_.parameters[name], array)
    np.testing.assert_array_equal(
        classifier.predict_proba(x[:50]), model.predict(x[:50].reshape(-1, 8, 8))
    )


@pytest.mark.parametrize("rate", [None, 0.02])
def test_the_rate_rises_and_falls_as_one_cycle_says(rate, digits):
    """Without an optimizer: the peak at 30 % of the steps, and the last a 250,000th of it."""
    x, y = digits
    classifier = CNNClassifier(small_network, epochs=10, batch_size=20, learning_rate=rate)
    classifier.fit(x[:40], y[:40])
    rates = [record.learning_rate for record in classifier.history_]
    assert len(rates) == 10
    peak = rate or 0.003
    assert rates[-1] == pytest.approx(peak / 25 / 1e4, rel=1e-6)
    assert rates[2] == pytest.approx(peak, rel=1e-6)  # after 6 of 20 steps
    assert rates == sorted(rates[:3]) + sorted(rates[3:], reverse=True)


def test_pipeline_and_cross_validation(digits, quick):
    x, y = digits
    scores = cross_val_score(make_pipeline(MinMaxScaler(), quick), x * 16.0, y, cv=3)
    assert scores.shape == (3,)
    assert scores.min() > 0.85


def test_grid_search_over_networks_and_rates(digits, quick):
    x, y = digits
    grid = {"cnn__network": ["scratch", small_network], "cnn__learning_rate": [1e-7, 0.02]}
    pipeline = make_pipeline(MinMaxScaler(), quick)
    pipeline.steps[1] = ("cnn", quick)
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise", n_jobs=1).fit(x, y)
    assert search.best_params_["cnn__learning_rate"] == 0.02
    assert search.best_score_ > 0.85
    rows = zip(search.cv_results_["params"], search.cv_results_["mean_test_score"], strict=True)
    assert all(score < 0.5 for params, score in rows if params["cnn__learning_rate"] == 1e-7)
    assert search.score(x, y) > 0.9


def test_several_processes_find_the_same(digits, quick):
    x, y = digits[0][:300], digits[1][:300]
    quick.set_params(backend=NumPy(threads=1, fast=False), epochs=1)
    alone = cross_val_score(quick, x, y, cv=2)
    np.testing.assert_array_equal(cross_val_score(quick, x, y, cv=2, n_jobs=2), alone)


def test_clone_has_the_parameters_and_no_model(digits, quick):
    from sklearn.exceptions import NotFittedError

    x, y = digits[0][:200], digits[1][:200]
    quick.set_params(optimizer=SGD(0.1, momentum=0.9), learning_rate=None, image_shape=(8, 8))
    fitted = quick.fit(x, y)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        copy.predict(x)
    np.testing.assert_array_equal(copy.fit(x, y).predict_proba(x), fitted.predict_proba(x))
    assert is_classifier(copy)


@pytest.mark.parametrize("backend", ["numpy", "torch", "jax", "array-api-strict"])
def test_pickle_keeps_the_predictions(backend, digits, quick):
    if backend in ("torch", "jax"):
        pytest.importorskip(backend, reason=f"{backend} is not installed")
    x, y = digits[0][:60], digits[1][:60]
    quick.set_params(backend=backend, epochs=1, network=Sequential(Flatten(), Dense(10)))
    fitted = quick.fit(x, y)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(x), fitted.predict_proba(x))


def test_images_may_have_any_of_three_forms(digits, quick):
    x, y = digits
    forms = [x, x.reshape(-1, 8, 8), x.reshape(-1, 8, 8, 1)]
    probabilities = [clone(quick).fit(form, y).predict_proba(x[:20]) for form in forms]
    for other in probabilities[1:]:
        np.testing.assert_array_equal(other, probabilities[0])
    fitted = quick.fit(x, y)
    for form in forms[1:]:
        np.testing.assert_array_equal(fitted.predict_proba(form[:20]), probabilities[0])


def test_image_shape_lays_a_row_open(digits):
    x, y = digits[0][:100], digits[1][:100]
    for given, expected in {
        (4, 16): (4, 16, 1),
        (4, 8, 2): (4, 8, 2),
        (-1, 4, 2): (8, 4, 2),
        (4, -1): (4, 16, 1),
    }.items():
        fitted = CNNClassifier(small_network, image_shape=given, epochs=1).fit(x, y)
        assert fitted.image_shape_ == fitted.model_.input_shape == expected
        np.testing.assert_array_equal(
            fitted.predict_proba(x.reshape(-1, *expected)), fitted.predict_proba(x)
        )


def test_pixels_are_rescaled_and_numbers_are_not(digits):
    x, y = digits[0][:200], digits[1][:200]
    pixels = (x * 255.0).astype("uint8")
    rescaled = CNNClassifier("scratch", epochs=2).fit(pixels, y)
    assert rescaled.model_.network == NETWORKS["scratch"]()
    plain = CNNClassifier("scratch", epochs=2).fit(pixels / np.float32(255.0) - 0.5, y)
    assert plain.model_.network == Sequential(*NETWORKS["scratch"]().layers[1:])
    np.testing.assert_allclose(
        plain.predict_proba(pixels[:9] / np.float32(255.0) - 0.5),
        rescaled.predict_proba(pixels[:9]),
        atol=1e-5,
    )
    np.testing.assert_array_equal(
        rescaled.predict_proba(x), rescaled.predict_proba(np.rint(x * 255.0).astype("uint8"))
    )


def test_random_state_decides(digits, quick):
    x, y = digits[0][:100], digits[1][:100]
    weights = lambda: quick.fit(x, y).model_.parameters["0.weight"]  # noqa: E731
    np.testing.assert_array_equal(weights(), weights())
    quick.set_params(random_state=np.random.RandomState(3))
    first = weights()
    assert (first != weights()).any()
    quick.set_params(random_state=np.random.RandomState(3))
    np.testing.assert_array_equal(weights(), first)
    quick.set_params(random_state=None)
    assert (weights() != weights()).any()


def test_data_frames_keep_their_names(quick):
    pytest.importorskip("pandas", reason="pandas is not installed")
    x, y = load_digits(return_X_y=True, as_frame=True)
    fitted = quick.fit(x / 16.0, y)
    np.testing.assert_array_equal(fitted.feature_names_in_, x.columns)
    assert fitted.score(x / 16.0, y) > 0.85
    with pytest.raises(ValueError, match="feature names"):
        fitted.predict(x.rename(columns={"pixel_0_0": "other"}))


REFUSED = {
    "no square": ({}, (10, 60), "60 numbers an image are no square"),
    "another shape": ({"image_shape": (8, 7)}, (10, 64), r"got \(8, 7\) for 64 numbers"),
    "two left open": ({"image_shape": (-1, -1)}, (10, 64), "image_shape must be that"),
    "nothing left": ({"image_shape": (-1, 5)}, (10, 64), "image_shape must be that"),
    "negative": ({"image_shape": (-8, -8)}, (10, 64), "image_shape must be that"),
    "not that of X": ({"image_shape": (4, 16)}, (10, 8, 8), r"for images of \(8, 8, 1\)"),
    "empty images": ({}, (10, 0, 8), "0 feature"),
    "five axes": ({}, (10, 2, 2, 2, 2), "dim"),
    "name": ({"network": "resnet"}, (10, 64), "network must be scratch, basic, lenet5.*'resnet'"),
    "no network": ({"network": 3}, (10, 64), "network must be a name, a network or a function"),
    "class": ({"network": Dense}, (10, 64), "network must end|must have|axes"),
    "outputs": ({"network": small_network(7)}, (10, 64), "got 7 outputs for 2 classes"),
    "both rates": (
        {"optimizer": SGD(0.1), "learning_rate": 0.1},
        (10, 64),
        "learning_rate must be None where optimizer is given",
    ),
    "epochs": ({"epochs": 0}, (10, 64), "epochs: must be at least 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_is_refused(case):
    from sklearn.exceptions import NotFittedError

    settings, shape, said = REFUSED[case]
    x = np.random.default_rng(0).random(shape)
    classifier = CNNClassifier(**({"network": small_network} | settings))
    with pytest.raises((ArraycnnError, ValueError), match=said):
        classifier.fit(x, np.arange(10) % 2)
    with pytest.raises(NotFittedError):
        classifier.predict(x)


def test_a_fit_that_fails_leaves_the_last_one(digits, quick):
    x, y = digits[0][:100], digits[1][:100]
    before = quick.fit(x, y).predict_proba(x)
    with pytest.raises(NonFiniteError):
        quick.set_params(learning_rate=None, optimizer=SGD(1e30)).fit(x, np.arange(100) % 2)
    np.testing.assert_array_equal(quick.predict_proba(x), before)
    assert len(quick.classes_) == 10


def test_images_of_another_shape_are_refused_in_predict(digits, quick):
    x, y = digits[0][:100], digits[1][:100]
    quick.fit(x, y)
    with pytest.raises(InvalidValueError, match=r"images must be \(8, 8, 1\).*got \(4, 16, 1\)"):
        quick.predict(x.reshape(-1, 4, 16))
    with pytest.raises(ValueError, match="60 features, but CNNClassifier is expecting 64"):
        quick.predict(x[:, :60])


def test_a_network_object_is_taken_as_it_is(digits):
    x, y = digits[0][:100], digits[1][:100]
    network = Sequential(Rescale(), Flatten(), Dense(10))
    fitted = CNNClassifier(network, epochs=1).fit((x * 255).astype("uint8"), y)
    assert fitted.model_.network is network


def test_the_name_is_there_without_being_imported():
    for name in ("CNNClassifier", "CNNRegressor"):
        assert name in dir(arraycnn)
        assert name not in arraycnn.__all__
    with pytest.raises(AttributeError, match="has no attribute 'CNNTransformer'"):
        _ = arraycnn.CNNTransformer


def test_without_scikit_learn_the_error_says_what_to_install():
    program = (
        "import sys; sys.modules['sklearn'] = None; import arraycnn; from arraycnn import *\n"
        "try: arraycnn.CNNClassifier\n"
        "except arraycnn.MissingPackageError as error: print(error)"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert 'pip install "arraycnn[sklearn]"' in result.stdout
