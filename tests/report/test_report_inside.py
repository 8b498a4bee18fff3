"""Activations, saliency, norms and times: against finite differences and plain NumPy."""

import itertools
import re
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from arraycnn import (
    SGD,
    ArrayAPIStrict,
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    InvalidTypeError,
    InvalidValueError,
    MaxPool2d,
    Model,
    NumPy,
    ReLU,
    Rescale,
    Residual,
    Sequential,
    SoftmaxCrossEntropy,
    get_backend,
)
from arraycnn.model.summary import rows
from arraycnn.report import activations, examine, layer_norms, layer_times, saliency
from arraycnn.report.internals import describe

CLASSES = 3
RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (4, 6, 7, 2), dtype=np.uint8)
LABELS = np.array([0, 2, 1, 1])
BODIES = {
    "convolutions": (
        Conv2d(4, 3),
        ReLU(),
        MaxPool2d(2),
        Dropout(0.5),
        Flatten(),
        Dense(CLASSES),
    ),
    "nested": (Sequential(Conv2d(3, 2, stride=2), ReLU()), Sequential(Flatten(), Dense(CLASSES))),
    "residual": (
        Residual(Sequential(Conv2d(2, 3, padding="same"), BatchNorm2d(), ReLU())),
        Conv2d(4, 2),
        GlobalAvgPool2d(),
        Dense(CLASSES),
    ),
    "linear": (Flatten(), Dense(CLASSES)),
}


def float_model(name, **options):
    """A model on floating images, trained a little so that batch norm has seen some."""
    model = Model(Sequential(*BODIES[name]), (6, 7, 2), dtype="float64", seed=1, **options)
    model.fit(PIXELS / 255.0, LABELS, epochs=2, batch_size=4, optimizer=SGD(0.05))
    return model


def pixel_model(model):
    """The same network behind a Rescale, with the same parameters."""
    network = Sequential(Rescale(), Sequential(*model.network.layers))
    behind = Model(network, (6, 7, 2), dtype="float64")
    behind.assign(
        {f"1.{name}": array for name, array in model.parameters.items()},
        {f"1.{name}": array for name, array in model.state.items()},
    )
    return behind


def score(model, images, classes):
    """The logit of each image's class, from the last activation."""
    return activations(model, images)[-1].output[np.arange(len(images)), classes]


@pytest.mark.parametrize("name", BODIES)
def test_saliency_is_the_slope_of_the_score(name):
    model, images = float_model(name), PIXELS / 255.0
    classes = np.array([2, 0, 1, 1])
    expected, step = np.empty(images.shape), 1e-6
    for place in np.ndindex(images.shape[1:]):
        shift = np.zeros(images.shape[1:])
        shift[place] = step
        up, down = (score(model, images + sign * shift, classes) for sign in (1, -1))
        expected[(slice(None), *place)] = (up - down) / (2 * step)
    actual = saliency(model, images, classes)
    assert actual.dtype == np.float64
    np.testing.assert_allclose(actual, expected, rtol=1e-6, atol=1e-8)


def test_saliency_is_for_a_grey_level_where_images_are_bytes():
    inner = float_model("linear")
    model = pixel_model(inner)
    darker = np.clip(PIXELS, 0, 254)
    classes, actual = np.zeros(4, dtype=int), saliency(model, darker, np.zeros(4, dtype=int))
    for place in [(0, 0, 0), (3, 4, 1), (5, 6, 0)]:  # the network is linear: one level is exact
        brighter = darker.copy()
        brighter[(slice(None), *place)] += 1
        rise = score(model, brighter, classes) - score(model, darker, classes)
        np.testing.assert_allclose(actual[(slice(None), *place)], rise, rtol=1e-9, atol=1e-12)


def test_saliency_is_by_default_that_of_the_predicted_class():
    model, images = float_model("convolutions"), PIXELS / 255.0
    predicted = model.predict(images).argmax(axis=1)
    np.testing.assert_array_equal(saliency(model, images), saliency(model, images, predicted))


def test_saliency_does_not_depend_on_the_other_images():
    model = float_model("residual")
    images = np.random.default_rng(1).random((70, 6, 7, 2))  # more than two batches
    together = saliency(model, images)
    for place in (0, 31, 32, 69):
        alone = saliency(model, images[place : place + 1])
        np.testing.assert_allclose(together[place : place + 1], alone, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", BODIES)
def test_activations_end_in_the_logits_and_have_the_shapes_of_the_summary(name):
    model, images = float_model(name), PIXELS / 255.0
    found = activations(model, images)
    exponentials = np.exp(found[-1].output)
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict(images), expected, rtol=1e-10)
    summary = rows(model.network, model.input_shape)
    assert [layer.path for layer in found] == [row.path for row in summary]
    assert [layer.output.shape for layer in found] == [(4, *row.output_shape) for row in summary]


def test_activations_follow_one_from_the_other():
    model = float_model("convolutions")
    conv, relu, pool, dropout, flat, dense = (
        layer.output for layer in activations(model, PIXELS / 255.0)
    )
    np.testing.assert_array_equal(relu, np.maximum(conv, 0))
    np.testing.assert_array_equal(pool, _pooled(relu))
    np.testing.assert_array_equal(dropout, pool)
    np.testing.assert_array_equal(flat, pool.reshape(4, -1))
    weights = model.parameters
    expected = flat @ weights["5.weight"] + weights["5.bias"]
    np.testing.assert_allclose(dense, expected, rtol=1e-12)


def _pooled(x):
    result = np.empty((len(x), x.shape[1] // 2, x.shape[2] // 2, x.shape[3]))
    for row, column in np.ndindex(result.shape[1:3]):
        window = x[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
        result[:, row, column] = window.max(axis=(1, 2))
    return result


@pytest.mark.parametrize("name", ["convolutions", "residual"])
def test_norms_are_those_of_the_parameters_and_of_the_slope_of_the_loss(name):
    model, images = float_model(name), PIXELS / 255.0
    gradients, step = {}, 1e-6
    for key, array in model.parameters.items():
        slope = np.empty(array.shape)
        for place in np.ndindex(array.shape):
            losses = []
            for sign in (1, -1):
                _parameter(model, key)[place] += sign * step
                losses.append(model.evaluate(images, LABELS).loss)
                _parameter(model, key)[place] -= sign * step
            slope[place] = (losses[0] - losses[1]) / (2 * step)
        gradients[key] = slope
    found = layer_norms(model, images, LABELS)
    for row in found:
        own = [key for key in gradients if key.startswith(f"{row.path}.")]
        parameters = [model.parameters[key] for key in own]
        assert row.parameters == sum(array.size for array in parameters)
        for norm, arrays in (
            (row.parameter_norm, parameters),
            (row.gradient_norm, [gradients[key] for key in own]),
        ):
            whole = np.concatenate([array.ravel() for array in arrays]) if arrays else np.zeros(1)
            assert norm == pytest.approx(np.linalg.norm(whole), rel=1e-5, abs=1e-12)
    assert sum(row.parameters for row in found) == sum(p.size for p in model.parameters.values())


def _parameter(model, key):
    """The model's own array, which a test may change."""
    tree: Any = model.trees[0]
    for name in key.split("."):
        tree = tree[name]
    return tree


def test_times_are_measured_for_every_layer_that_training_runs():
    network = Sequential(Rescale(), *BODIES["convolutions"])
    model = Model(network, (6, 7, 2))
    found = layer_times(model, PIXELS, LABELS, repeats=2)
    assert [row.path for row in found] == [str(number) for number in range(7)]
    assert all(row.forward > 0 for row in found)
    assert [row.backward > 0 for row in found] == [False, *[True] * 6]


def blas_threads():
    """Of NumPy's BLAS; SciPy brings one of its own, which nothing here uses."""
    return {pool["num_threads"] for pool in threadpool_info() if "numpy" in pool["filepath"]}


@pytest.mark.parametrize("look", [layer_times, layer_norms, saliency, activations])
def test_products_are_not_shared_out_among_threads(look):
    seen = set()

    class Watching(ReLU):
        def forward(self, params, state, x, context):
            seen.update(blas_threads())
            return super().forward(params, state, x, context)

    model = Model(Sequential(Watching(), *BODIES["linear"]), (6, 7, 2))
    with threadpool_limits(2, user_api="blas"):
        assert blas_threads() == {2}
        look(model, PIXELS / 255.0, *((LABELS,) if look is not activations else ()))
    assert seen == {1}


def test_what_else_the_machine_does_is_no_time_of_a_layer(monkeypatch):
    lengths = itertools.chain.from_iterable(
        (0.0, seconds) for seconds in itertools.cycle((5, 1, 5))
    )
    monkeypatch.setattr(time, "perf_counter", itertools.accumulate(lengths).__next__)
    model = Model(Sequential(*BODIES["linear"]), (6, 7, 2))
    found = layer_times(model, PIXELS / 255.0, LABELS, repeats=3)
    assert [(row.forward, row.backward) for row in found] == [(1.0, 0.0), (1.0, 1.0)]


@pytest.mark.parametrize("library", ["torch", "jax", "device1"])
def test_every_backend_finds_the_same(library):
    if library != "device1":
        pytest.importorskip(library, reason=f"{library} is not installed")
    backend = ArrayAPIStrict("device1") if library == "device1" else get_backend(library)
    network = Sequential(Rescale(), *BODIES["convolutions"])
    here, there = (Model(network, (6, 7, 2), seed=3, backend=b) for b in ("numpy", backend))
    a, b = (examine(model, PIXELS, LABELS, image=2) for model in (here, there))
    np.testing.assert_allclose(b.probabilities, a.probabilities, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(b.saliency, a.saliency, rtol=1e-3, atol=1e-6)
    np.testing.assert_array_equal(b.confusion, a.confusion)
    for one, other in zip(a.maps, b.maps, strict=True):
        np.testing.assert_allclose(other.output, one.output, rtol=1e-3, atol=1e-5)
    for one, other in zip(a.norms, b.norms, strict=True):
        assert other.gradient_norm == pytest.approx(one.gradient_norm, rel=1e-3)
    assert len(b.times) == len(a.times)


def test_an_examination_counts_what_predict_says():
    model = Model(Sequential(Rescale(), *BODIES["linear"]), (6, 7, 2), class_names=["a", "b", "c"])
    found = examine(model, PIXELS, LABELS, image=3)
    right = int((model.predict(PIXELS).argmax(axis=1) == LABELS).sum())
    metrics = model.evaluate(PIXELS, LABELS)
    assert (found.right, found.total, found.accuracy) == (right, 4, right / 4)
    assert found.loss == pytest.approx(metrics.loss, rel=1e-5)
    assert found.examples.tolist() == [3, 0, 2, 1]
    assert found.class_names == ("a", "b", "c")
    assert len(found.mistakes) == 4 - right
    assert found.filters_layer == "2"
    np.testing.assert_array_equal(found.maps[0].output[0], PIXELS[3] / np.float32(255) - 0.5)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"image": 4}, InvalidValueError, "image: must be in 0..3, the images examined, got 4"),
        ({"image": -1}, InvalidValueError, "image: must be at least 0"),
        ({"image": 1.5}, InvalidTypeError, "image: must be an int"),
        ({"labels": LABELS[:3]}, InvalidValueError, "labels"),
        ({"labels": LABELS + 1}, InvalidValueError, "labels"),
        ({"images": PIXELS[:, :5]}, InvalidValueError, "must be (N, 6, 7, 2)"),
    ],
)
def test_what_cannot_be_examined_is_refused(options, kind, message):
    model = Model(Sequential(Rescale(), *BODIES["linear"]), (6, 7, 2))
    with pytest.raises(kind, match=re.escape(message)):
        examine(model, **{"images": PIXELS, "labels": LABELS, **options})


@dataclass(frozen=True)
class Shift:
    """A layer of a user's own."""

    by: float
    scale: float = 1.0


def test_layers_are_described_in_short():
    assert describe(Conv2d(8, 3)) == "Conv2d(8, 3)"
    assert describe(Conv2d(8, 3, bias=False)) == "Conv2d(8, 3, bias=False)"
    assert describe(Residual(Sequential(ReLU(), Conv2d(2, 3, padding="same")))) == (
        "Residual(Sequential(ReLU(), Conv2d(2, 3, padding='same')))"
    )
    assert describe(Shift(2.0, 3.0)) == "Shift(2.0, scale=3.0)"


@pytest.mark.parametrize(("classes", "given", "k"), [(3, None, None), (3, 2, 2), (12, None, 5)])
def test_the_most_likely_classes_are_measured_where_there_are_many(classes, given, k):
    loss = SoftmaxCrossEntropy(top_k=given)
    network = Sequential(Rescale(), Flatten(), Dense(classes))
    model = Model(network, (6, 7, 2), NumPy(fast=False), loss=loss)
    found = examine(model, PIXELS, LABELS)
    assert (found.top_k and found.top_k[0]) == k
    if k is not None:
        measured = Model(network, (6, 7, 2), loss=SoftmaxCrossEntropy(top_k=k))
        expected = measured.evaluate(PIXELS, LABELS).others[f"top_{k}_accuracy"]
        assert found.top_k[1] == pytest.approx(expected)
