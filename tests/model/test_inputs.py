"""What `Model` refuses of images, labels and settings: the rule, the value, and nothing changed."""

import numpy as np
import pytest

from arraycnn import (
    SGD,
    ArrayAPIStrict,
    Conv2d,
    Dense,
    Flatten,
    InvalidTypeError,
    InvalidValueError,
    Model,
    Rescale,
    Sequential,
    get_backend,
)

PIXELS = np.random.default_rng(1).integers(0, 256, (10, 4, 4, 1), dtype=np.uint8)
NUMBERS = PIXELS / 255.0
LABELS = np.arange(10) % 3


@pytest.fixture(params=["numpy", "device1", "torch", "jax"])
def backend(request):
    if request.param in ("torch", "jax"):
        pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return ArrayAPIStrict("device1") if request.param == "device1" else get_backend(request.param)


@pytest.fixture
def model(backend):
    """Takes pixels, uint8."""
    return Model(Sequential(Rescale(), Conv2d(2, 3), Flatten(), Dense(3)), (4, 4), backend)


@pytest.fixture
def float_model(backend):
    """Takes floating numbers."""
    return Model(Sequential(Conv2d(2, 3), Flatten(), Dense(3)), (4, 4), backend)


def check_refused(model, call, kind, said):
    before = model.parameters
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in said:
        assert part in message, message
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(array, before[name])
    assert (model.epochs_done, model.steps_done) == (0, 0)


def with_one(array, value):
    changed = array.copy()
    changed[3, ...] = value
    return changed


IMAGES = {
    "rank 2": (PIXELS[:, 0, :, 0], InvalidValueError, ["(N, 4, 4, 1)", "(10, 4)"]),
    "rank 5": (PIXELS[None], InvalidValueError, ["(N, 4, 4, 1)", "(1, 10, 4, 4, 1)"]),
    "one image for ten": (PIXELS[0, :, :2], InvalidValueError, ["(N, 4, 4, 1)", "(4, 2, 1)"]),
    "height": (PIXELS[:, :3], InvalidValueError, ["(N, 4, 4, 1)", "(10, 3, 4, 1)"]),
    "width": (PIXELS[:, :, :3, 0], InvalidValueError, ["(N, 4, 4, 1)", "(10, 4, 3)"]),
    "channels": (PIXELS.repeat(3, 3), InvalidValueError, ["(N, 4, 4, 1)", "(10, 4, 4, 3)"]),
    "no images": (PIXELS[:0], InvalidValueError, ["at least one image", "empty"]),
    "a number": (np.uint8(3), InvalidValueError, ["(N, 4, 4, 1)", "()"]),
    "int64": (PIXELS.astype("int64") + 1, InvalidValueError, ["0 to 255", "int", "to 256"]),
    "int8": (PIXELS.astype("int8"), InvalidValueError, ["0 to 255", "int8 from -"]),
    "complex": (PIXELS.astype("complex64"), InvalidTypeError, ["uint8 or floating", "complex64"]),
    "object": (np.full(PIXELS.shape, None), InvalidTypeError, ["objects: NoneType at position 0"]),
    "text": (PIXELS.astype("U3"), InvalidTypeError, ["uint8 or floating", "<U3"]),
    "None": (None, InvalidTypeError, ["arrays", "NoneType"]),
    "ragged list": ([[1, 2], [3]], InvalidValueError, ["images: ", "one array", "different sizes"]),
}


@pytest.mark.parametrize("case", IMAGES)
def test_images_that_do_not_fit_are_refused(case, model):
    images, kind, said = IMAGES[case]
    labels = LABELS[: len(images)] if case == "no images" else LABELS
    for call in (
        lambda: model.fit(images, labels),
        lambda: model.fit(PIXELS, LABELS, validation=(images, labels)),
        lambda: model.evaluate(images, labels),
        lambda: model.predict(images),
    ):
        check_refused(model, call, kind, said)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_images_that_are_not_finite_are_refused(value, float_model):
    model, images = float_model, with_one(NUMBERS, value)
    for call in (
        lambda: model.fit(images, LABELS),
        lambda: model.fit(NUMBERS, LABELS, validation=(images, LABELS)),
        lambda: model.evaluate(images, LABELS),
        lambda: model.predict(images),
    ):
        check_refused(model, call, InvalidValueError, ["images: must be finite", "NaN or inf"])


def test_images_too_large_for_the_dtype_are_refused(float_model):
    images = with_one(NUMBERS, 1e300)  # infinite in float32
    call = lambda: float_model.fit(images, LABELS)  # noqa: E731
    check_refused(float_model, call, InvalidValueError, ["images: must be finite"])


def test_validation_is_refused_before_the_first_epoch_and_not_after_it(float_model):
    said = ["validation: images must be", "uint8", "float32"]
    call = lambda: float_model.fit(NUMBERS, LABELS, validation=(PIXELS, LABELS))  # noqa: E731
    check_refused(float_model, call, InvalidTypeError, said)


def test_pixels_do_not_enter_a_network_without_rescale(float_model):
    said = ["layer 0, Conv2d: input must be float32 or float64", "uint8", "Rescale()"]
    call = lambda: float_model.fit(PIXELS, LABELS)  # noqa: E731
    check_refused(float_model, call, InvalidTypeError, said)


WRONG_LABELS = {
    "too large": (with_one(LABELS, 3), InvalidValueError, ["0 to 2", "got 3 at position 3"]),
    "far too large": (
        with_one(LABELS.astype("uint64"), 2**63),
        InvalidValueError,
        ["0 to 2", f"got {2**63} at position 3"],
    ),
    "negative": (with_one(LABELS, -1), InvalidValueError, ["0 to 2", "got -1 at position 3"]),
    "too few": (LABELS[:9], InvalidValueError, ["as many as images", "9 labels", "10 images"]),
    "too many": (np.tile(LABELS, 2), InvalidValueError, ["as many as images", "20 labels"]),
    "none": (LABELS[:0], InvalidValueError, ["as many as images", "0 labels"]),
    "fractions": (LABELS / 2, InvalidValueError, ["whole numbers", "0.5", "at position 1"]),
    "far too large a float": (
        with_one(LABELS.astype(float), 1e300),
        InvalidValueError,
        ["class numbers", "got 1e+300 (float64) at position 3", "number the classes from 0"],
    ),
    "far below": (
        with_one(LABELS.astype("float32"), -1e30),
        InvalidValueError,
        ["class numbers", "got -1e+30 (float32) at position 3", "number the classes from 0"],
    ),
    "NaN": (
        with_one(LABELS.astype(float), np.nan),
        InvalidValueError,
        ["whole numbers", "nan", "at position 3", "leave out"],
    ),
    "dates": (LABELS.astype("datetime64[D]"), InvalidTypeError, ["integers", "datetime64"]),
    "text": ([str(label) for label in LABELS], InvalidTypeError, ["integers", "got '0'", "int32"]),
    "one-hot": (np.eye(3, dtype=int)[LABELS], InvalidValueError, ["(N,)", "(10, 3)", "argmax"]),
    "a row": (LABELS[None], InvalidValueError, ["(N,)", "(1, 10)", "numpy.ravel"]),
    "a number": (1, InvalidValueError, ["as many as images", "1 labels for 10 images"]),
    "ragged list": ([[1, 2], [3]], InvalidValueError, ["one array", "different sizes"]),
}


@pytest.mark.parametrize("case", WRONG_LABELS)
def test_labels_that_do_not_fit_are_refused(case, model):
    labels, kind, said = WRONG_LABELS[case]
    for call in (
        lambda: model.fit(PIXELS, labels),
        lambda: model.fit(PIXELS, LABELS, validation=(PIXELS, labels)),
        lambda: model.evaluate(PIXELS, labels),
    ):
        check_refused(model, call, kind, ["labels: ", *said])


SETTINGS = [
    ({"epochs": 0}, InvalidValueError, ["epochs: must be at least 1", "got 0"]),
    ({"epochs": -1}, InvalidValueError, ["epochs: must be at least 1", "got -1"]),
    ({"epochs": 2.5}, InvalidTypeError, ["epochs: must be an int", "got 2.5"]),
    ({"epochs": True}, InvalidTypeError, ["epochs: must be an int", "got True"]),
    ({"batch_size": 0}, InvalidValueError, ["batch_size: must be at least 1", "got 0"]),
    ({"batch_size": 2.5}, InvalidTypeError, ["batch_size: must be an int", "got 2.5"]),
    ({"batch_size": True}, InvalidTypeError, ["batch_size: must be an int", "got True"]),
    ({"batch_size": "8"}, InvalidTypeError, ["batch_size: must be an int", "got '8'"]),
    ({"optimizer": SGD}, InvalidTypeError, ["optimizer: must be", "such as SGD(0.05)", "class"]),
    ({"optimizer": "sgd"}, InvalidTypeError, ["optimizer: must be", "such as SGD(0.05)", "'sgd'"]),
    (
        {"optimizer": SGD(lambda step, total: float("nan"))},
        InvalidValueError,
        ["SGD: the schedule must give finite rates of at least 0", "nan", "step 0"],
    ),
    (
        {"optimizer": SGD(lambda step, total: -0.1)},
        InvalidValueError,
        ["SGD: the schedule must give finite rates of at least 0", "-0.1", "step 0"],
    ),
    (
        {"validation": (PIXELS,)},
        InvalidTypeError,
        ["validation: must be (images, labels)", "tuple of length 1"],
    ),
    (
        {"validation": PIXELS},
        InvalidTypeError,
        ["validation: must be (images, labels)", "ndarray of length 10"],
    ),
    ({"validation": 3}, InvalidTypeError, ["validation: must be (images, labels)", "int"]),
]


@pytest.mark.parametrize(("setting", "kind", "said"), SETTINGS)
def test_settings_of_fit_that_make_no_sense_are_refused(setting, kind, said, model):
    check_refused(model, lambda: model.fit(PIXELS, LABELS, **setting), kind, said)


@pytest.mark.parametrize("rate", [np.nan, np.inf, -0.1])
def test_a_learning_rate_must_be_finite_and_not_negative(rate):
    with pytest.raises(InvalidValueError, match=f"SGD: learning_rate must be .*got {rate}"):
        SGD(rate)


def test_integers_of_numpy_are_integers(model):
    history = model.fit(PIXELS, LABELS, epochs=np.int64(2), batch_size=np.uint8(5))
    assert len(history.step_losses) == 4
