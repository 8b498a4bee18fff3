"""A rate for every step, a weight decay and a momentum, by hand: on every library and plan.

The network is one dense layer, whose training is a few lines of NumPy; the order of the images is
the documented one. The last batch of each epoch is short, and no two steps have the same rate.
"""

import numpy as np
import pytest

import arraycnn as cnn

IMAGES, BATCH, EPOCHS, CLASSES, SEED = 23, 4, 3, 5, 9
STEPS = EPOCHS * 6  # five whole batches an epoch, and one of three

BACKENDS = ["numpy plain", "numpy compiled", "array-api-strict", "torch", "jax", "cuda on the CPU"]
NEEDED = {"numpy compiled": "llvmlite", "array-api-strict": "array_api_strict"}


def backend(name, request):
    if name == "jax":
        request.getfixturevalue("jax")  # in float64
    if name.startswith("cuda"):
        from test_cuda_graph import HostCUDA, Recorder

        return HostCUDA(Recorder())
    package = NEEDED.get(name, name.split()[0])
    pytest.importorskip(package, reason=f"{package} is not installed")
    return cnn.NumPy(2, name == "numpy compiled") if name.startswith("numpy") else name


def rate(step, total_steps):
    """Falls and rises, and depends on both numbers."""
    assert total_steps == STEPS
    return 0.05 + 0.4 * ((7 * step) % total_steps) / total_steps


OPTIMIZERS = {
    "sgd": cnn.SGD(rate),
    "sgd with decay": cnn.SGD(rate, weight_decay=0.05),
    "momentum": cnn.SGD(rate, momentum=0.8),
    "momentum with decay": cnn.SGD(rate, momentum=0.8, weight_decay=0.05),
    "nesterov with decay": cnn.SGD(rate, momentum=0.8, nesterov=True, weight_decay=0.05),
    "adam": cnn.Adam(rate, betas=(0.8, 0.95), epsilon=1e-3),
    "adam with decay": cnn.Adam(rate, betas=(0.8, 0.95), weight_decay=0.05, epsilon=1e-3),
    "adamw": cnn.AdamW(rate, betas=(0.8, 0.95), weight_decay=0.05, epsilon=1e-3),
}


def by_hand(optimizer, images, labels, weight, bias):
    """(losses and accuracies of the steps, weight, bias) after all steps."""
    rows = images.reshape(len(images), -1) / 255 - 0.5
    values, memory, losses, shares_right = [weight, bias], {}, [], []
    for epoch in range(EPOCHS):
        order = np.random.default_rng([SEED, epoch]).permutation(IMAGES)
        for start in range(0, IMAGES, BATCH):
            chosen = order[start : start + BATCH]
            x, y = rows[chosen], labels[chosen]
            logits = x @ values[0] + values[1]
            shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            losses.append(-np.log(shares[np.arange(len(y)), y]).mean())
            shares_right.append((logits.argmax(axis=1) == y).mean())
            dlogits = (shares - np.eye(CLASSES)[y]) / len(y)
            step = len(losses) - 1
            for place, gradient in enumerate((x.T @ dlogits, dlogits.sum(axis=0))):
                held = memory.setdefault(place, [np.zeros_like(gradient) for _ in range(2)])
                values[place] = _step(optimizer, step, values[place], gradient, held)
    return np.array(losses), np.array(shares_right), *values


def _step(optimizer, step, p, g, held):
    """One step of one tensor, from the optimizer's formula; changes ``held``."""
    now, decay = rate(step, STEPS), optimizer.weight_decay
    if isinstance(optimizer, cnn.SGD):
        held[0] = optimizer.momentum * held[0] + (g + decay * p)
        ahead = g + decay * p + optimizer.momentum * held[0]
        return p - now * (ahead if optimizer.nesterov else held[0])
    if isinstance(optimizer, cnn.AdamW):
        p = p * (1 - now * decay)
    else:
        g = g + decay * p
    (beta1, beta2), count = optimizer.betas, step + 1
    held[0] = beta1 * held[0] + (1 - beta1) * g
    held[1] = beta2 * held[1] + (1 - beta2) * g * g
    scale = np.sqrt(held[1] / (1 - beta2**count)) + optimizer.epsilon
    return p - now * held[0] / (1 - beta1**count) / scale


class Told(cnn.Callback):
    """Keeps what callbacks are told of the steps."""

    def __init__(self):
        self.accuracies, self.rates = [], []

    def on_steps(self, progress):
        self.accuracies.append(progress.accuracies)
        self.rates.append(progress.learning_rates)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_every_step_has_its_own_rate(name, optimizer, request):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 3, 3, 1), dtype=np.uint8)
    labels = rng.integers(0, CLASSES, IMAGES)
    network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(CLASSES))
    model = cnn.Model(
        network, (3, 3, 1), backend=backend(name, request), seed=SEED, dtype="float64"
    )
    before = [np.array(array) for array in model.parameters.values()]
    weight, bias = sorted(before, key=np.ndim, reverse=True)
    losses, right, weight, bias = by_hand(optimizer, images, labels, weight, bias)
    told = Told()
    history = model.fit(
        images, labels, epochs=EPOCHS, batch_size=BATCH, optimizer=optimizer, callbacks=[told]
    )
    np.testing.assert_allclose(history.step_losses, losses, rtol=1e-9)
    np.testing.assert_allclose(np.concatenate(told.accuracies), right, rtol=1e-12)
    np.testing.assert_allclose(np.concatenate(told.rates), [rate(n, STEPS) for n in range(STEPS)])
    assert right[5::6].any()  # of the short batches, too, or it shows nothing
    after = sorted(model.parameters.values(), key=np.ndim, reverse=True)
    np.testing.assert_allclose(after[0], weight, rtol=0, atol=1e-10)
    np.testing.assert_allclose(after[1], bias, rtol=0, atol=1e-10)
    for number, record in enumerate(history):
        assert record.learning_rate == rate(6 * number + 5, STEPS)
        sizes = np.array([BATCH] * 5 + [3])
        mean = (losses[6 * number : 6 * number + 6] * sizes).sum() / IMAGES
        hits = (right[6 * number : 6 * number + 6] * sizes).sum()
        assert record.train_accuracy == pytest.approx(hits / IMAGES, rel=1e-12)
        assert record.train_loss == pytest.approx(mean, rel=1e-9)
