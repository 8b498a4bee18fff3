"""Gradients of a batch in parts: those of the whole batch, for every loss, layer and backend."""

import logging

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops.whole_batch import micro_batches
from resume_cases import StopAt

RNG = np.random.default_rng(2)
IMAGES = RNG.integers(0, 256, (23, 6, 5, 1), dtype=np.uint8)  # batches of 8, 8 and 7
LABELS, WEIGHTS = RNG.integers(0, 4, 23), RNG.uniform(0.1, 3.0, 23)
NUMBERS = RNG.normal(size=(23, 4))
NETWORK = cnn.Sequential(
    *(cnn.RandomShift(1), cnn.Rescale(), cnn.Conv2d(3, 3), cnn.Tanh(), cnn.Dropout(0.3)),
    *(cnn.GroupNorm(1), cnn.Flatten(), cnn.Dropout(0.4), cnn.Dense(4)),
)
PLAIN, EAGER = cnn.NumPy(fast=False), cnn.ArrayAPIStrict()


def trained(parts, backend=EAGER, network=NETWORK, labels=LABELS, loss=None, **settings):
    model = cnn.Model(
        network, (6, 5), backend, 1, "float64", loss=loss or cnn.SoftmaxCrossEntropy()
    )
    chosen = {"epochs": 2, "batch_size": 8, "optimizer": cnn.ClipNorm(cnn.AdamW(0.01), 0.5)}
    history = model.fit(IMAGES, labels, accumulate=parts, **{**chosen, **settings})
    return model, history


def check_close(one, other):
    for name, array in one[0].parameters.items():
        np.testing.assert_allclose(other[0].parameters[name], array, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(other[1].step_losses, one[1].step_losses, rtol=1e-10)
    for ours, theirs in zip(one[1], other[1], strict=True):
        assert ours.train_accuracy == theirs.train_accuracy
        assert ours.others == pytest.approx(theirs.others, rel=1e-10)


CASES = {
    "classes": {},
    "weights": {"sample_weight": WEIGHTS},
    "numbers": {"labels": NUMBERS, "loss": cnn.Huber(0.5)},
    "smoothed": {"loss": cnn.SoftmaxCrossEntropy(0.1), "sample_weight": WEIGHTS},
    "frozen": {"optimizer": cnn.ParameterGroups(cnn.AdamW(0.01), cnn.Group("2", frozen=True))},
}


@pytest.mark.parametrize("case", CASES)
def test_parts_are_the_whole_batch(case):
    whole = trained(1, **CASES[case])
    for parts in (3, 8):  # the last batch in one of one image each
        check_close(whole, trained(parts, **CASES[case]))


@pytest.mark.parametrize("name", ["compiled", "plain", "torch", "jax"])
def test_every_backend_computes_the_same(name, request):
    if name in ("torch", "jax"):
        request.getfixturevalue(name)
    known = {"compiled": cnn.NumPy(threads=2), "plain": PLAIN}
    check_close(trained(1, epochs=1), trained(2, known.get(name, name), epochs=1))


def test_it_says_which_layers_see_a_part(caplog):
    network = cnn.Sequential(
        *(cnn.Rescale(), cnn.Mixup(), cnn.Conv2d(3, 3), cnn.BatchNorm()),
        *(cnn.Residual(cnn.BatchNorm()), cnn.Flatten(), cnn.Dense(4)),
    )
    line = (
        "fit: accumulate=3: 1 Mixup, 3 BatchNorm, 4.body BatchNorm see parts of 3 images of the "
        "batch of 8: what they take from a batch, as mean, variance or partners, is of a part"
    )
    with caplog.at_level(logging.WARNING, "arraycnn"):
        trained(3, network=network, epochs=1)
        assert line in caplog.messages
        caplog.clear()
        groups = cnn.Group("3", frozen=True), cnn.Group("4.body", frozen=True)
        frozen = cnn.ParameterGroups(cnn.SGD(0.1), *groups)
        trained(2, network=cnn.Sequential(*network.layers[:1], cnn.Identity(), *network.layers[2:]),
                optimizer=frozen, epochs=1)  # fmt: skip
        trained(2, epochs=1)
        assert not [said for said in caplog.messages if "accumulate" in said]


def test_batch_norm_in_parts_is_that_of_small_batches():
    """Gradients are means over parts of the gradients of batches that are such a part."""
    network = cnn.Sequential(
        cnn.Rescale(), cnn.Conv2d(2, 3), cnn.BatchNorm(), cnn.Flatten(), cnn.Dense(4)
    )
    rate, images, labels = 0.5, IMAGES[:6], LABELS[:6]
    order = np.random.default_rng([1, 0]).permutation(6)
    model = cnn.Model(network, (6, 5), EAGER, 1, "float64")
    first, mean = model.parameters, dict.fromkeys(model.parameters, 0.0)
    running = model.state
    for part in (order[:3], order[3:]):
        small = cnn.Model(network, (6, 5), EAGER, 1, "float64")
        small.assign(first, running)
        small.fit(images[part], labels[part], batch_size=3, optimizer=cnn.SGD(rate))
        running = small.state
        for name, array in small.parameters.items():
            mean[name] = mean[name] + (first[name] - array) / rate / 2
    model.fit(images, labels, batch_size=6, accumulate=2, optimizer=cnn.SGD(rate))
    for name, array in model.parameters.items():
        np.testing.assert_allclose(array, first[name] - rate * mean[name], rtol=1e-9, atol=1e-11)
    for name, array in model.state.items():
        np.testing.assert_allclose(array, running[name], rtol=1e-10)


def test_it_goes_on_exactly_and_with_as_many_parts_alone(tmp_path):
    whole, _ = trained(3)
    model = cnn.Model(NETWORK, (6, 5), EAGER, 1, "float64")
    settings = {"epochs": 2, "batch_size": 8, "optimizer": cnn.ClipNorm(cnn.AdamW(0.01), 0.5)}
    calls = [StopAt(4), cnn.Checkpoint(model, tmp_path / "last.npz")]
    model.fit(IMAGES, LABELS, accumulate=3, callbacks=calls, **settings)
    again, training = cnn.Model.load_training(tmp_path / "last.npz", EAGER)
    with pytest.raises(InvalidValueError, match="accumulate was 3, got 1"):
        again.fit(IMAGES, LABELS, resume=training, **settings)
    again.fit(IMAGES, LABELS, resume=training, accumulate=3, **settings)
    for name, array in whole.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], array)
    again.fit(IMAGES, LABELS, resume=training, override=True, **settings)
    for name, array in whole.parameters.items():
        np.testing.assert_allclose(again.parameters[name], array, rtol=1e-10)


@pytest.mark.parametrize(
    ("count", "parts", "sizes"),
    [(8, 1, [8]), (8, 3, [2, 3, 3]), (7, 3, [2, 2, 3]), (2, 3, [1, 1]), (1, 4, [1])],
)
def test_parts_differ_by_one_image(count, parts, sizes):
    places = [range(count)[where] for where in micro_batches(count, parts)]
    assert [len(part) for part in places] == sizes
    assert [n for part in places for n in part] == list(range(count))


@pytest.mark.parametrize(
    ("parts", "error", "words"),
    [
        (0, InvalidValueError, "accumulate: must be at least 1, got 0"),
        (2.0, InvalidTypeError, "accumulate: must be an int, got 2.0"),
        (9, InvalidValueError, "accumulate: must be at most the 8 images of a batch, .* got 9"),
    ],
)
def test_wrong_numbers_of_parts(parts, error, words):
    with pytest.raises(error, match=words):
        trained(parts)
