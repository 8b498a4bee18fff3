"""Weights of images: as many copies of an image, and PyTorch's autograd, give the same training."""

import numpy as np
import pytest

from arraycnn import (
    SGD,
    AdamW,
    BatchNorm2d,
    Conv2d,
    Dense,
    Flatten,
    InvalidTypeError,
    InvalidValueError,
    MaxPool2d,
    Model,
    NumPy,
    ReLU,
    Rescale,
    Sequential,
    get_backend,
)
from arraycnn.data import ImageSource

RNG = np.random.default_rng(4)
PIXELS = RNG.integers(0, 256, (14, 7, 6, 1), dtype=np.uint8)
LABELS = np.arange(14) % 3
TIMES = np.array([1, 3, 0, 2, 1, 5, 1, 0, 4, 1, 2, 1, 1, 3])
NETWORK = Sequential(Rescale(), Conv2d(4, 3), ReLU(), MaxPool2d(2), Flatten(), Dense(3))


@pytest.fixture(params=["plain", "compiled", "torch", "jax", "array-api-strict"])
def backend(request):
    needed = {"compiled": "llvmlite", "torch": "torch", "jax": "jax"}.get(request.param)
    if needed is not None:
        library = pytest.importorskip(needed, reason=f"{needed} is not installed")
    if request.param in ("plain", "compiled"):
        yield NumPy(fast=request.param == "compiled")
        return
    if request.param != "jax":
        yield get_backend(request.param)
        return
    before = library.config.jax_enable_x64
    library.config.update("jax_enable_x64", True)
    yield get_backend("jax")
    library.config.update("jax_enable_x64", before)


def trained(images, labels, backend="numpy", optimizer=None, epochs=3, **settings):
    model = Model(NETWORK, (7, 6), backend, dtype="float64")
    history = model.fit(
        images, labels, epochs=epochs, batch_size=1000, optimizer=optimizer or SGD(0.1), **settings
    )
    return model.parameters, history


def same(one, other, tolerance=1e-10):
    for name, array in one.items():
        np.testing.assert_allclose(array, other[name], rtol=tolerance, atol=tolerance)


def test_whole_numbers_are_as_many_copies(backend):
    chosen = np.repeat(np.arange(14), TIMES)
    for optimizer in (SGD(0.1, momentum=0.9), AdamW(0.01)):
        copies = trained(PIXELS[chosen], LABELS[chosen], backend, optimizer)
        weighted = trained(PIXELS, LABELS, backend, optimizer, sample_weight=TIMES)
        same(copies[0], weighted[0])
        losses = [history.step_losses for _, history in (copies, weighted)]
        np.testing.assert_allclose(*losses, rtol=1e-10)


def test_weights_count_relative_to_their_mean(backend):
    plain = trained(PIXELS, LABELS, backend)[0]
    same(plain, trained(PIXELS, LABELS, backend, sample_weight=np.full(14, 0.3))[0], 1e-10)
    some = RNG.uniform(0.1, 2.0, 14)
    one = trained(PIXELS, LABELS, backend, sample_weight=some)[0]
    same(one, trained(PIXELS, LABELS, backend, sample_weight=some * 1e300)[0])
    assert np.abs(one["1.weight"] - plain["1.weight"]).max() > 1e-4


def test_steps_of_batches_are_those_of_pytorchs_autograd(torch, backend):
    weights = RNG.uniform(0.0, 3.0, 14)
    model = Model(NETWORK, (7, 6), backend, seed=3, dtype="float64")
    start = {name: torch.tensor(array) for name, array in model.parameters.items()}
    leaves = {name: array.requires_grad_() for name, array in start.items()}
    losses = []
    order = np.random.default_rng([3, 0]).permutation(14)
    for batch in np.split(order, [5, 10]):
        x = torch.tensor(PIXELS[batch].transpose(0, 3, 1, 2) / 255.0 - 0.5)
        filters = leaves["1.weight"].permute(3, 2, 0, 1)
        y = torch.nn.functional.conv2d(x, filters, leaves["1.bias"]).relu()
        y = torch.nn.functional.max_pool2d(y, 2).permute(0, 2, 3, 1).reshape(len(batch), -1)
        logits = y @ leaves["5.weight"] + leaves["5.bias"]
        each = torch.nn.functional.cross_entropy(
            logits, torch.tensor(LABELS[batch]), reduction="none"
        )
        loss = (each * torch.tensor(weights[batch] / weights.mean())).mean()
        losses.append(float(loss.detach()))
        gradients = torch.autograd.grad(loss, list(leaves.values()))
        with torch.no_grad():
            for leaf, gradient in zip(leaves.values(), gradients, strict=True):
                leaf -= 0.1 * gradient
    history = model.fit(
        PIXELS, LABELS, batch_size=5, optimizer=SGD(0.1), sample_weight=weights.tolist()
    )
    np.testing.assert_allclose(history.step_losses, losses, rtol=1e-9)
    same(model.parameters, {name: leaf.detach().numpy() for name, leaf in leaves.items()}, 1e-9)


def test_images_in_a_source_and_layers_that_mix_images_have_weights_too():
    class Listed(ImageSource):
        shape, dtype = PIXELS.shape, PIXELS.dtype

        def read(self, indices):
            return PIXELS[indices]

    one = trained(PIXELS, LABELS, sample_weight=TIMES)[0]
    same(one, trained(Listed(), LABELS, sample_weight=TIMES[:, None])[0])
    model = Model(Sequential(Rescale(), BatchNorm2d(), Flatten(), Dense(3)), (7, 6))
    assert np.isfinite(model.fit(PIXELS, LABELS, sample_weight=TIMES)[-1].train_loss)


def test_a_training_with_weights_resumes_exactly(tmp_path):
    whole = Model(NETWORK, (7, 6))
    whole.fit(PIXELS, LABELS, epochs=4, batch_size=4, sample_weight=TIMES)
    from arraycnn import Checkpoint

    part = Model(NETWORK, (7, 6))
    keep = Checkpoint(part, tmp_path / "a.npz")
    part.fit(PIXELS, LABELS, epochs=4, batch_size=4, sample_weight=TIMES, callbacks=[keep, _Two()])
    loaded, training = Model.load_training(tmp_path / "a.npz")
    assert training.epochs_done == 2
    loaded.fit(PIXELS, LABELS, epochs=4, batch_size=4, sample_weight=TIMES, resume=training)
    for name, array in whole.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], array)


def _Two():
    from arraycnn import Callback

    class Two(Callback):
        def on_epoch(self, record):
            return record.epoch == 2

    return Two()


def test_a_step_with_weights_is_one_program_on_numpy(caplog):
    model = Model(NETWORK, (7, 6))
    model.fit(PIXELS, LABELS, batch_size=14, sample_weight=TIMES)
    assert not [r.message for r in caplog.records if "layer by layer" in r.message]
    assert not [r.message for r in caplog.records if "kernel by kernel" in r.message]


@pytest.mark.parametrize(
    ("weights", "kind", "said"),
    [
        (TIMES[:13], InvalidValueError, "one number for each of 14 images, got shape (13,)"),
        (np.ones((14, 2)), InvalidValueError, "got shape (14, 2)"),
        (1.0, InvalidValueError, "got shape ()"),
        (TIMES - 1.0, InvalidValueError, "at least 0, got -1.0 at position 2"),
        (np.where(TIMES == 5, np.nan, 1), InvalidValueError, "got nan at position 5"),
        (np.where(TIMES == 5, np.inf, 1), InvalidValueError, "got inf at position 5"),
        (np.zeros(14), InvalidValueError, "are all 0"),
        (["heavy"] * 14, InvalidTypeError, "must be numbers, got <U5"),
        (np.ma.masked_less(TIMES, 1), InvalidValueError, "must have a value everywhere"),
    ],
)
def test_what_are_no_weights(weights, kind, said):
    model = Model(NETWORK, (7, 6))
    before = model.parameters
    with pytest.raises(kind) as caught:
        model.fit(PIXELS, LABELS, sample_weight=weights)
    assert str(caught.value).startswith("sample_weight: ")
    assert said in str(caught.value)
    same(model.parameters, before, 0)
    with pytest.raises(InvalidValueError, match="None for an iterable of batches"):
        model.fit([(PIXELS, LABELS)], sample_weight=TIMES)
