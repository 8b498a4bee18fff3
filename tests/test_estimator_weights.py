"""`CNNClassifier`: weights of images and classes, parts of a set, logarithms, and integer pixels."""

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
    Model,
    NumPy,
    Rescale,
    Sequential,
    SoftmaxCrossEntropy,
)
from optional import Late, needs

pytestmark = needs("sklearn")
CNNClassifier = Late("arraycnn", "CNNClassifier")
clone = Late("sklearn.base", "clone")
RNG = np.random.default_rng(6)
PIXELS = RNG.integers(0, 256, (30, 6, 6), dtype=np.uint8)
PIXELS[0, 0, :2] = 0, 255
WORDS = np.array(["ant", "bee", "cat"])[np.arange(30) % 3]
TIMES = RNG.integers(0, 4, 30)


def linear(classes):
    return Sequential(Rescale(), Flatten(), Dense(classes))


def classifier(**settings):
    given = {"epochs": 4, "batch_size": 1000, "optimizer": SGD(0.5), "dtype": "float64"}
    return CNNClassifier(linear, backend=NumPy(fast=False), **(given | settings))


def same(one, other, tolerance=1e-9):
    np.testing.assert_allclose(
        one.predict_proba(PIXELS), other.predict_proba(PIXELS), rtol=tolerance, atol=tolerance
    )


def test_whole_weights_are_as_many_copies():
    chosen = np.repeat(np.arange(30), TIMES)
    copies = classifier().fit(PIXELS[chosen], WORDS[chosen])
    weighted = classifier().fit(PIXELS, WORDS, sample_weight=TIMES)
    same(copies, weighted)
    plain = classifier().fit(PIXELS, WORDS)
    assert np.abs(plain.predict_proba(PIXELS) - weighted.predict_proba(PIXELS)).max() > 1e-3
    right = copies.predict(PIXELS) == WORDS
    expected = (right * TIMES).sum() / TIMES.sum()
    assert weighted.score(PIXELS, WORDS, sample_weight=TIMES) == pytest.approx(expected)


def test_class_weights_are_weights_of_the_images_of_a_class():
    few = np.flatnonzero((WORDS != "cat") | (np.arange(30) < 9))
    x, y = PIXELS[few], WORDS[few]
    by_hand = {name: len(y) / (3 * (y == name).sum()) for name in np.unique(y)}
    balanced = classifier(class_weight="balanced").fit(x, y)
    same(balanced, classifier(class_weight=by_hand).fit(x, y))
    same(balanced, classifier().fit(x, y, sample_weight=[by_hand[name] for name in y]))
    both = classifier(class_weight={"bee": 2}).fit(PIXELS, WORDS, sample_weight=TIMES)
    product = TIMES * np.where(WORDS == "bee", 2, 1)
    same(both, classifier().fit(PIXELS, WORDS, sample_weight=product))


def test_a_loss_of_classes_is_that_of_the_model_and_others_are_refused():
    smoothed = classifier(loss=SoftmaxCrossEntropy(0.3))
    assert clone(smoothed).get_params()["loss"] == SoftmaxCrossEntropy(0.3)
    smoothed.fit(PIXELS, WORDS)
    model = Model(linear(3), (6, 6), dtype="float64", loss=SoftmaxCrossEntropy(0.3))
    numbers = np.unique(WORDS, return_inverse=True)[1]
    model.fit(PIXELS, numbers, epochs=4, batch_size=30, optimizer=SGD(0.5))
    np.testing.assert_allclose(smoothed.predict_proba(PIXELS), model.predict(PIXELS), rtol=1e-9)
    assert (
        np.abs(
            smoothed.predict_proba(PIXELS) - classifier().fit(PIXELS, WORDS).predict_proba(PIXELS)
        ).max()
        > 1e-3
    )
    weighted = classifier(loss=SoftmaxCrossEntropy(class_weight=(0.75, 1.5, 0.75)))
    same(weighted.fit(PIXELS, WORDS), classifier(class_weight={"bee": 2}).fit(PIXELS, WORDS))
    for wrong in (Huber(), BinaryCrossEntropy(), "huber", SoftmaxCrossEntropy):
        with pytest.raises(InvalidTypeError, match="CNNClassifier: loss must be a Classification"):
            classifier(loss=wrong).fit(PIXELS, WORDS)


def test_parts_of_a_set_are_epochs_on_each():
    parts = classifier()
    for part in (slice(0, 10), slice(10, 30), slice(0, 10)):
        parts.partial_fit(PIXELS[part], WORDS[part], classes=["cat", "ant", "bee"])
    assert parts.classes_.tolist() == ["ant", "bee", "cat"]
    assert parts.model_.epochs_done == 3
    one_call = classifier(epochs=1).fit(PIXELS, WORDS)
    same(classifier().partial_fit(PIXELS, WORDS, np.unique(WORDS)), one_call)
    weighted = classifier().partial_fit(PIXELS, WORDS, np.unique(WORDS), sample_weight=TIMES)
    same(weighted, classifier(epochs=1).fit(PIXELS, WORDS, sample_weight=TIMES))
    # A part need not hold every class.
    bees = WORDS == "bee"
    before = parts.predict_proba(PIXELS[bees])[:, 1].mean()
    parts.partial_fit(PIXELS[bees], WORDS[bees])
    assert parts.predict_proba(PIXELS[bees])[:, 1].mean() > before


def test_what_partial_fit_refuses():
    with pytest.raises(InvalidValueError, match="classes must be given in the first call"):
        classifier().partial_fit(PIXELS, WORDS)
    with pytest.raises(InvalidValueError, match="got 'cat'; give all classes"):
        classifier().partial_fit(PIXELS, WORDS, classes=["ant", "bee"])
    begun = classifier().partial_fit(PIXELS, WORDS, classes=np.unique(WORDS))
    with pytest.raises(InvalidValueError, match="classes must be those of the first call"):
        begun.partial_fit(PIXELS, WORDS, classes=["ant", "bee"])
    with pytest.raises(ValueError, match="30 features"):
        begun.partial_fit(PIXELS[:, :5], WORDS)


def test_logarithms_of_probabilities_that_round_to_zero_are_finite():
    sure = classifier(dtype="float32").fit(PIXELS, WORDS)
    logarithms = sure.predict_log_proba(PIXELS)
    np.testing.assert_allclose(np.exp(logarithms), sure.predict_proba(PIXELS), rtol=1e-5)
    weights = sure.model_.parameters
    sure.model_.assign({name: array * 1e4 for name, array in weights.items()}, {})
    far = sure.predict_log_proba(PIXELS)
    assert np.isfinite(far).all()
    assert (sure.predict_proba(PIXELS) == 0).any()
    x = PIXELS.reshape(30, -1) / 255.0 - 0.5
    z = x @ (weights["2.weight"] * 1e4).astype(float) + weights["2.bias"].astype(float) * 1e4
    highest = z.max(axis=1, keepdims=True)
    expected = z - highest - np.log(np.exp(z - highest).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(far, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["int64", "uint16", "int32", "float64", ">i4", "float32"])
def test_whole_numbers_to_255_are_pixels_in_every_dtype(kind):
    pixels = CNNClassifier("scratch", epochs=2).fit(PIXELS, WORDS)
    numbers = CNNClassifier("scratch", epochs=2).fit(PIXELS.astype(kind), WORDS)
    assert numbers.model_.network == pixels.model_.network
    for x in (PIXELS, PIXELS.astype(kind), PIXELS.reshape(30, -1).astype(kind).tolist()):
        np.testing.assert_array_equal(numbers.predict_proba(x), pixels.predict_proba(PIXELS))


def test_numbers_that_are_no_pixels_stay_numbers():
    x = PIXELS / 255.0 - 0.5
    scaled = CNNClassifier("scratch", epochs=1).fit(x, WORDS)
    assert not scaled.model_.intake.form.takes_bytes
    with pytest.raises(InvalidValueError, match=r"went up to 0.5, got whole numbers up to 255"):
        scaled.predict(PIXELS)
    with pytest.raises(InvalidValueError, match="scaled as in fit"):
        scaled.predict(PIXELS.astype(np.int64))
    signed = CNNClassifier("scratch", epochs=1).fit(PIXELS.astype(int) - 128, WORDS)
    assert not signed.model_.intake.form.takes_bytes
    assert signed.predict(PIXELS.astype(int) - 128).shape == (30,)


def test_weights_that_are_none():
    for wrong in (TIMES[:9], -TIMES - 1.0, np.full(30, np.nan), np.zeros(30)):
        with pytest.raises(ValueError, match=r"[Ww]eight"):
            classifier().fit(PIXELS, WORDS, sample_weight=wrong)
