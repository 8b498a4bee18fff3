"""The same training on any number of ranks; the oracle is `fit` on one process."""

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.program import collectives
from optional import needs
from ranks import IMAGES, LABELS, PLAIN, numbers, on_ranks, trained

DENSE = cnn.Flatten(), cnn.Dense(4), cnn.BatchNorm(), cnn.ReLU(), cnn.Dropout(0.2), cnn.Dense(3)

EVEN = {"images": IMAGES[:40], "labels": LABELS[:40], "epochs": 1}
"""Batches of one size: half as much to trace and compile."""

# 3 steps an epoch, of 20, 20 and 5 images: of the last batch four ranks have blocks for two.
FIFTY = {"epochs": 17}


@pytest.fixture(scope="module")
def alone():
    return trained(None, **FIFTY, validation=(IMAGES, LABELS))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_fifty_steps_on_ranks_are_those_of_one_process(alone, size):
    found = on_ranks(size, **FIFTY, validation=(IMAGES, LABELS))
    model, history = alone
    assert len(history.step_losses) == 51
    for of_rank, its_history in found:
        np.testing.assert_allclose(numbers(of_rank), numbers(model), rtol=0, atol=1e-10)
        losses = its_history.step_losses
        np.testing.assert_allclose(losses, history.step_losses, rtol=0, atol=1e-10)
        for name in ("train_accuracy", "validation_accuracy"):
            assert getattr(its_history[-1], name) == getattr(history[-1], name)
        loss = its_history[-1].validation_loss
        assert loss == pytest.approx(history[-1].validation_loss, abs=1e-10)
        assert np.array_equal(numbers(of_rank), numbers(found[0][0]))  # ranks do not drift apart


def test_partners_do_not_depend_on_ranks():
    layers = {"of": cnn.Sequential(cnn.Mixup(), cnn.CutMix(), cnn.Rescale(), *DENSE), **EVEN}
    one, three = (on_ranks(size, **layers)[0][0] for size in (1, 3))
    assert not np.allclose(numbers(one), numbers(trained(None, **layers)[0]), atol=1e-6)
    np.testing.assert_allclose(numbers(three), numbers(one), rtol=0, atol=1e-10)


def test_frozen_layers_weights_and_adam():
    settings = {
        "optimizer": cnn.ParameterGroups(cnn.Adam(0.01), cnn.Group("1.*", frozen=True)),
        "sample_weight": np.linspace(0.2, 2.0, len(LABELS)),
    }
    one, two = trained(None, **settings)[0], on_ranks(2, **settings)[1][0]
    np.testing.assert_allclose(numbers(two), numbers(one), rtol=0, atol=1e-10)


def _deterministic(size, backend=PLAIN, **more):
    more = {"dtype": "float32", "epochs": 1, "block": 7} | more
    return on_ranks(size, backend=backend, deterministic=True, **more)


def test_deterministic_ranks_give_the_same_bits(caplog):
    one, *others = (_deterministic(size) for size in (1, 2, 3))
    said = [one.getMessage() for one in caplog.records if "deterministic" in one.getMessage()]
    # Numbers: parameters and the loss and count, and of batch norm 3 times two; the first run is a
    # step of three blocks.
    parameters = 3 * 9 + 3 + 6 + 27 * 3 + 3
    count = 4 * 3 * (parameters + 2 + 2 * 3 + 6)
    assert (
        said == [f"distributed: deterministic sums gather {count:,} bytes a step on each rank"] * 3
    )
    for ranks in others:
        for model, history in ranks:
            assert np.array_equal(numbers(model), numbers(one[0][0]))
            assert np.array_equal(history.step_losses, one[0][1].step_losses)


@needs("llvmlite")
def test_so_they_do_with_compiled_kernels():
    layers = {"of": cnn.Sequential(cnn.Rescale(), *DENSE), **EVEN}
    fast = cnn.NumPy(threads=1, fast=True)
    one, three = (_deterministic(size, fast, **layers)[0][0] for size in (1, 3))
    assert np.array_equal(numbers(three), numbers(one))
    plain = trained(None, **layers)[0]
    np.testing.assert_allclose(numbers(three), numbers(plain), rtol=0, atol=1e-4)


PARTS = {"batch_size": 19, "accumulate": 2, "epochs": 1}
"""Parts of 9 and 10 images, of the last batch 3 and 4: in blocks of 3, one of two ranks has none of its
first part."""


@pytest.mark.parametrize("backend", [PLAIN, cnn.ArrayAPIStrict()])
def test_batches_in_parts_are_those_of_one_process(backend):
    more = {**PARTS, "backend": backend}
    one = trained(None, **more)[0]
    for size in (2, 3):
        for found, _ in on_ranks(size, block=3, **more):
            np.testing.assert_allclose(numbers(found), numbers(one), rtol=0, atol=1e-10)


def test_batches_in_parts_are_whole_batches():
    of = cnn.Sequential(
        cnn.Rescale(), cnn.Conv2d(2, 3), cnn.Flatten(), cnn.Dropout(0.2), cnn.Dense(3)
    )
    more = {"of": of, "sample_weight": np.linspace(0.2, 2.0, len(LABELS))}
    whole = trained(None, **more, **PARTS | {"accumulate": 1})[0]
    for found, _ in on_ranks(3, block=2, **more, **PARTS | {"accumulate": 3}):
        np.testing.assert_allclose(numbers(found), numbers(whole), rtol=0, atol=1e-10)


def test_partners_are_of_the_same_part():
    layers = {"of": cnn.Sequential(cnn.Mixup(), cnn.Rescale(), *DENSE), "block": 3, **PARTS}
    layers["backend"] = cnn.ArrayAPIStrict()
    one, three = (on_ranks(size, **layers)[0][0] for size in (1, 3))
    np.testing.assert_allclose(numbers(three), numbers(one), rtol=0, atol=1e-10)


def test_plans_that_run_layer_by_layer():
    backend = cnn.ArrayAPIStrict("device1")
    one = trained(None, backend=backend, epochs=1)[0]
    for deterministic in (False, True):
        more = {"epochs": 1, "deterministic": deterministic, "block": 10}
        found = on_ranks(2, backend=backend, **more)[1][0]
        np.testing.assert_allclose(numbers(found), numbers(one), rtol=0, atol=1e-10)


def test_gradients_in_buckets(alone, monkeypatch):
    monkeypatch.setattr(collectives, "BUCKET", 200)
    found = on_ranks(2, **FIFTY)[0][0]
    np.testing.assert_allclose(numbers(found), numbers(alone[0]), rtol=0, atol=1e-10)
