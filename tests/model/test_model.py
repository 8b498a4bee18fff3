"""A model: how it is made, what it refuses, and what evaluate and predict compute."""

import re

import numpy as np
import pytest

from arraycnn import (
    SGD,
    ArrayAPIStrict,
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    InvalidTypeError,
    InvalidValueError,
    MaxPool2d,
    Model,
    NumPy,
    ReLU,
    Rescale,
    Residual,
    Sequential,
    Softmax,
    get_backend,
)

LINEAR = Sequential(Flatten(), Dense(3))
SMALL = Sequential(Rescale(), Conv2d(4, 3), ReLU(), MaxPool2d(2), Flatten(), Dense(3))
COUNT = 300  # more than two batches of inference, the last one short
IMAGES = np.random.default_rng(1).integers(0, 256, (COUNT, 8, 8, 1), dtype=np.uint8)
LABELS = np.random.default_rng(2).integers(0, 3, COUNT)


@pytest.fixture(params=["numpy", "device1", "torch", "jax"])
def backend(request):
    if request.param in ("torch", "jax"):
        pytest.importorskip(request.param, reason=f"{request.param} is not installed")
    return ArrayAPIStrict("device1") if request.param == "device1" else get_backend(request.param)


def softmax(logits):
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


# --- making one -----------------------------------------------------------------------------------

REFUSED = {
    "too small for a layer": (
        {
            "network": Sequential(Rescale(), Conv2d(4, 5), Flatten(), Dense(3)),
            "input_shape": (4, 4),
        },
        InvalidValueError,
        ["layer 1, Conv2d: ", "5", "4"],
    ),
    "too small for a layer inside": (
        {"network": Sequential(ReLU(), Sequential(ReLU(), MaxPool2d(9)), Flatten(), Dense(3))},
        InvalidValueError,
        ["layer 1, layer 1, MaxPool2d: "],
    ),
    "dense layer on images": (
        {"network": Sequential(Rescale(), Dense(3))},
        InvalidValueError,
        ["layer 1, Dense: input must have 2 axes", "(N, 8, 8, 1)", "Flatten()"],
    ),
    "residual of two shapes": (
        {"network": Sequential(Residual(Conv2d(2, 3)), Flatten(), Dense(3))},
        InvalidValueError,
        ["layer 0, Residual: ", "(6, 6, 2)", "(8, 8, 1)"],
    ),
    "images for an output": (
        {"network": Sequential(Rescale(), Conv2d(4, 3))},
        InvalidValueError,
        ["Model: ", "one number a class", "Conv2d", "(N, 6, 6, 4)", "Dense(classes)"],
    ),
    "probabilities for an output": (
        {"network": Sequential(Flatten(), Dense(3), Softmax())},
        InvalidValueError,
        ["Model: ", "logits", "Softmax", "leave it out"],
    ),
    "probabilities within": (
        {"network": Sequential(Flatten(), Sequential(Dense(3), Sequential(Softmax())))},
        InvalidValueError,
        ["Model: ", "logits", "Softmax"],
    ),
    **{
        f"input_shape {shape!r}": (
            {"input_shape": shape},
            InvalidValueError,
            ["Model: input_shape must be (H, W, C)", f"got {shape!r}"],
        )
        for shape in [(8,), (8, 8, 1, 1), (), (0, 8, 1), (8, -8, 1), (8.0, 8), (8, True), 8, "8x8"]
    },
    **{
        f"seed {seed!r}": (
            {"seed": seed},
            InvalidTypeError,
            ["Model: seed must be an int", f"got {seed!r}"],
        )
        for seed in [1.0, "1", None, True]
    },
    **{
        f"seed {seed}": (
            {"seed": seed},
            InvalidValueError,
            ["Model: seed must be at least 0 and below 2^64", f"got {seed}"],
        )
        for seed in [-1, 2**64]
    },
    **{
        f"class_names {names!r}": (
            {"class_names": names},
            InvalidValueError,
            ["Model: class_names must be 3 texts", f"got {names!r}"],
        )
        for names in [["a", "b"], list("abcd"), [1, 2, 3], (), "abc", 3]
    },
    "unknown backend": ({"backend": "cuda"}, InvalidValueError, ["backend: ", "cupy", "'cuda'"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_makes_no_model_is_refused_with_the_reason(case):
    settings, kind, said = REFUSED[case]
    with pytest.raises(kind) as caught:
        Model(**{"network": LINEAR, "input_shape": (8, 8, 1), **settings})
    places = [str(caught.value).find(part) for part in said]
    assert -1 not in places, str(caught.value)
    assert places[0] == 0
    assert "\n" not in str(caught.value)


def test_what_a_model_shows_of_itself():
    model = Model(LINEAR, [8, 8], seed=2**64 - 1, dtype="float64", class_names=list("abc"))
    assert model.input_shape == (8, 8, 1)
    assert (model.classes, model.class_names) == (3, ("a", "b", "c"))
    assert (model.epochs_done, model.steps_done) == (0, 0)
    assert repr(model) == (
        f"Model({LINEAR!r}, input_shape=(8, 8, 1), backend={NumPy()!r}, "
        f"seed={2**64 - 1}, dtype='float64')"
    )


def test_parameters_are_named_by_path_and_are_copies(backend):
    inner = Sequential(Conv2d(2, 3, padding="same"), BatchNorm2d())
    model = Model(
        Sequential(Residual(inner, Conv2d(2, 1)), Flatten(), Dense(3, bias=False)), (4, 4), backend
    )
    parameters = model.parameters
    assert {name: array.shape for name, array in parameters.items()} == {
        "0.body.0.weight": (3, 3, 1, 2),
        "0.body.0.bias": (2,),
        "0.body.1.weight": (2,),
        "0.body.1.bias": (2,),
        "0.shortcut.weight": (1, 1, 1, 2),
        "0.shortcut.bias": (2,),
        "2.weight": (32, 3),
    }
    assert {array.dtype for array in parameters.values()} == {np.dtype("float32")}
    parameters["2.weight"][:] = 7.0
    assert np.abs(model.parameters["2.weight"]).max() < 1.0


def test_first_parameters_depend_on_the_seed_and_not_on_the_backend(backend):
    first = Model(SMALL, (8, 8), seed=4).parameters
    here = Model(SMALL, (8, 8), backend=backend, seed=4).parameters
    other = Model(SMALL, (8, 8), backend=backend, seed=5).parameters
    for name, array in first.items():
        np.testing.assert_array_equal(here[name], array)
    assert (other["1.weight"] != first["1.weight"]).all()


def test_summary_is_a_table_of_layers_shapes_and_parameters():
    lines = Model(Sequential(Rescale(), Sequential(Conv2d(8, 3)), Flatten(), Dense(10)), (28, 28))
    cells = [re.split(" {2,}", line.strip()) for line in lines.summary().splitlines()]
    assert cells == [
        ["layer", "output", "parameters"],
        ["input", "(N, 28, 28, 1)"],
        ["0", "Rescale()", "(N, 28, 28, 1)", "0"],
        ["1.0", repr(Conv2d(8, 3)), "(N, 26, 26, 8)", "80"],
        ["2", "Flatten()", "(N, 5408)", "0"],
        ["3", repr(Dense(10)), "(N, 10)", "54,090"],
        ["total", "54,170"],
    ]


# --- evaluate and predict -------------------------------------------------------------------------


def test_predict_and_evaluate_are_those_of_a_linear_model(backend):
    model = Model(LINEAR, (8, 8), backend=backend)
    images = np.random.default_rng(3).normal(size=(COUNT, 8, 8, 1)).astype(np.float32)
    weight, bias = model.parameters["1.weight"], model.parameters["1.bias"]
    expected = softmax(images.reshape(COUNT, 64).astype(np.float64) @ weight + bias)

    probabilities = model.predict(images)
    assert type(probabilities) is np.ndarray
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)

    metrics = model.evaluate(images, LABELS)
    losses = -np.log(expected[np.arange(COUNT), LABELS])
    assert type(metrics.loss) is type(metrics.accuracy) is float
    assert metrics.loss == pytest.approx(losses.mean(), rel=1e-5)
    assert metrics.accuracy == (expected.argmax(axis=1) == LABELS).mean()


def test_progress_is_told_after_each_batch():
    model, counted = Model(SMALL, (8, 8)), []
    model.predict(IMAGES, counted.append)
    assert counted == [128, 256, 300]
    counted.clear()
    model.evaluate(IMAGES[:128], LABELS[:128], counted.append)
    assert counted == [128]


def test_dropout_and_batch_norm_infer_without_the_batch():
    network = Sequential(Rescale(), Dropout(0.5), BatchNorm2d(), Flatten(), Dense(3))
    model = Model(network, (8, 8))
    model.fit(IMAGES, LABELS, epochs=2, optimizer=SGD(0.01))
    together = model.predict(IMAGES[:20])
    alone = np.concatenate([model.predict(image[None]) for image in IMAGES[:20]])
    np.testing.assert_allclose(together, alone, rtol=1e-4)


def test_images_of_one_channel_may_leave_it_out(backend):
    model = Model(SMALL, (8, 8), backend=backend)
    with_axis, without = IMAGES[:20], IMAGES[:20, :, :, 0]
    np.testing.assert_array_equal(model.predict(without), model.predict(with_axis))
    assert model.evaluate(without, LABELS[:20]) == model.evaluate(with_axis, LABELS[:20])
    other = Model(SMALL, (8, 8), backend=backend)
    histories = [
        one.fit(images, LABELS[:20], validation=(images, LABELS[:20]))
        for one, images in ((model, with_axis), (other, without))
    ]
    np.testing.assert_array_equal(*(history.step_losses for history in histories))


def test_images_of_several_channels_may_not():
    model = Model(Sequential(Flatten(), Dense(3)), (8, 8, 3))
    with pytest.raises(InvalidValueError, match=r"\(N, 8, 8, 3\).*got shape \(20, 8, 8\)"):
        model.predict(np.zeros((20, 8, 8)))


# --- what images and labels may be ----------------------------------------------------------------


def trained_on(images, labels, backend, network=SMALL):
    model = Model(network, (8, 8), backend=backend)
    model.fit(images, labels, batch_size=8, validation=(images, labels))
    return model


def check_same(model, expected):
    for name, array in expected.parameters.items():
        np.testing.assert_array_equal(model.parameters[name], array)


def test_read_only_images_and_labels_work(backend):
    images, labels = IMAGES[:20].copy(), LABELS[:20].copy()
    images.flags.writeable = labels.flags.writeable = False
    check_same(trained_on(images, labels, backend), trained_on(IMAGES[:20], LABELS[:20], backend))
    assert not images.flags.writeable


def test_images_are_left_as_they_were(backend):
    images, labels = IMAGES[:20].copy(), LABELS[:20].copy()
    trained_on(images, labels, backend)
    np.testing.assert_array_equal(images, IMAGES[:20])
    np.testing.assert_array_equal(labels, LABELS[:20])


@pytest.mark.parametrize(
    "view",
    [
        lambda array: np.repeat(array, 2, axis=0)[::2],
        lambda array: array[::-1].copy()[::-1],
        lambda array: np.asfortranarray(array),
    ],
    ids=["every second", "reversed", "columns first"],
)
def test_views_of_arrays_work(view, backend):
    model = trained_on(view(IMAGES[:20]), view(LABELS[:20]), backend)
    check_same(model, trained_on(IMAGES[:20], LABELS[:20], backend))


def test_lists_work(backend):
    images = (IMAGES[:8] / 256.0).astype(np.float32)  # exact in every floating dtype
    labels = [int(label) for label in LABELS[:8]]
    model = trained_on(images.tolist(), labels, backend, network=LINEAR)
    check_same(model, trained_on(images, LABELS[:8], backend, network=LINEAR))


@pytest.mark.parametrize("dtype", ["float16", "float64", ">f4", "longdouble"])
def test_floating_images_are_taken_in_the_dtype_of_the_model(dtype, backend):
    images = (IMAGES[:20] / 256.0).astype(np.float32)  # exact in every floating dtype
    model = trained_on(images.astype(dtype), LABELS[:20], backend, network=LINEAR)
    check_same(model, trained_on(images, LABELS[:20], backend, network=LINEAR))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "uint64", ">i4"])
def test_labels_of_every_integer_dtype_work(dtype, backend):
    model = trained_on(IMAGES[:20], LABELS[:20].astype(dtype), backend)
    check_same(model, trained_on(IMAGES[:20], LABELS[:20], backend))


def of_torch(array):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    return torch.asarray(array)


def of_jax(array):
    jax = pytest.importorskip("jax", reason="jax is not installed")
    return jax.numpy.asarray(array.astype("int32") if array.dtype == np.int64 else array)


def of_strict(array, device="CPU_DEVICE"):
    import array_api_strict

    return array_api_strict.asarray(array, device=array_api_strict.Device(device))


@pytest.mark.parametrize("convert", [of_torch, of_jax, of_strict])
@pytest.mark.parametrize("name", ["numpy", "torch", "jax", "array-api-strict"])
def test_arrays_of_every_library_on_the_host_come_in(convert, name):
    if name in ("torch", "jax"):
        pytest.importorskip(name, reason=f"{name} is not installed")
    model = trained_on(convert(IMAGES[:20]), convert(LABELS[:20]), name)
    check_same(model, trained_on(IMAGES[:20], LABELS[:20], name))


def test_images_and_labels_of_a_device_stay_there():
    device = ArrayAPIStrict("device1")
    images, labels = of_strict(IMAGES[:20], "device1"), of_strict(LABELS[:20], "device1")
    check_same(trained_on(images, labels, device), trained_on(IMAGES[:20], LABELS[:20], device))


@pytest.mark.parametrize("which", ["images", "labels"])
def test_images_and_labels_of_another_device_are_refused(which, backend):
    given = {"images": IMAGES[:20], "labels": LABELS[:20]}
    given[which] = of_strict(given[which], "device2")
    model = Model(SMALL, (8, 8), backend=backend)
    with pytest.raises(InvalidTypeError, match="copy it to the host as a NumPy array first"):
        model.fit(**given)


@pytest.mark.parametrize("which", ["images", "labels"])
def test_tensors_without_values_are_refused(which, backend):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    given = {"images": IMAGES[:20], "labels": LABELS[:20]}
    given[which] = torch.asarray(given[which], device="meta")
    model = Model(SMALL, (8, 8), backend=backend)
    with pytest.raises(InvalidTypeError, match="copy it to the host as a NumPy array first"):
        model.evaluate(**given)


def test_a_model_on_numpy_uses_the_images_in_place():
    placed = NumPy().asarray(IMAGES)
    assert placed is IMAGES
