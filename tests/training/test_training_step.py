"""A whole step of training: on every library, compiled, and against PyTorch."""

import dataclasses

import numpy as np
import pytest

from arraycnn.layers import Context, Dropout, Layer, Randomness, Sequential
from arraycnn.networks import basic, lenet5, scratch
from arraycnn.ops import GENERIC
from arraycnn.ops.random_bits import seed_words
from arraycnn.optimizers import SGD, Adam, AdamW, Optimizer
from arraycnn.training.step import (
    Batch,
    Carry,
    evaluate_batch,
    infer,
    loss_and_gradients,
    train_step,
)
from arraycnn.tree import flatten, map_leaves
from cases import network_with_everything

CLASSES = 4


@dataclasses.dataclass(frozen=True)
class Training:
    """A network, an optimizer and a batch of images that just fits them."""

    network: Layer
    optimizer: Optimizer
    input_shape: tuple[int, int, int]
    images: int = 5

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(images, labels, data-set indices) of one step."""
        rng = np.random.default_rng(step)
        pixels = rng.integers(0, 256, (self.images, *self.input_shape), dtype=np.uint8)
        labels = rng.integers(0, CLASSES, self.images).astype(np.int32)
        return pixels, labels, rng.permutation(1000)[: self.images].astype(np.int32)

    def carry(self) -> Carry:
        params, state, shape = self.network.init(np.random.default_rng(0), self.input_shape)
        assert shape == (CLASSES,)
        return Carry(params, state, self.optimizer.init(params))


# Adam divides by the size of the gradient: a large epsilon keeps it from magnifying the rounding
# errors of gradients that are almost zero.
TRAININGS = {
    "scratch": Training(scratch(CLASSES), SGD(0.3), (8, 8, 1)),
    "scratch-ties-all": Training(scratch(CLASSES, ties="all"), SGD(0.05, 0.9), (7, 6, 3)),
    "basic": Training(basic(CLASSES), SGD(0.02, 0.9), (8, 8, 1), images=3),
    "lenet5": Training(lenet5(CLASSES), Adam(0.01, epsilon=0.01), (12, 12, 1)),
    "everything": Training(network_with_everything(CLASSES), AdamW(0.02, epsilon=0.01), (6, 8, 3)),
}
SEED = 11


def step_of(training: Training, dtype: str):
    """`train_step` as a function of arrays only."""

    def run(network, optimizer, carry, images, labels, rate, seed, step, indices):
        context = Context(GENERIC, "train", dtype, Randomness(seed, step, indices))
        return train_step(network, optimizer, carry, Batch(images, labels), rate, context)

    return run


def arguments(training: Training, place, step: int, batch: int | None = None) -> list:
    """What the step takes behind the carry, of one library; a batch of its own unless given."""
    images, labels, indices = training.batch(step if batch is None else batch)
    rate = np.array(training.optimizer.learning_rate)
    number = np.array([step], dtype=np.int32)
    return [place(array) for array in (images, labels, rate, seed_words(SEED), number, indices)]


def run_numpy(training: Training, steps: int):
    """The carry, loss and hits after so many steps on NumPy in float64."""
    carry = training.carry()
    run = step_of(training, "float64")
    for step in range(steps):
        carry, loss, correct = run(
            training.network, training.optimizer, carry, *arguments(training, np.asarray, step)
        )
    return carry, loss, correct


def check_carry(xp, actual: Carry, expected: Carry) -> None:
    for tree, expected_tree in zip(actual, expected, strict=True):
        assert set(flatten(tree)) == set(flatten(expected_tree))
        for name, array in flatten(expected_tree).items():
            xp.check_close(flatten(tree)[name], array)


@pytest.mark.parametrize("name", TRAININGS)
def test_train_step_equals_numpy(name, xp):
    training, steps = TRAININGS[name], 3
    carry = Carry(*(map_leaves(xp.asarray, tree) for tree in training.carry()))
    run = step_of(training, xp.dtype)
    if xp.name == "jax":
        run = xp.compiled(run, static_argnums=(0, 1))
    for step in range(steps):
        batch = arguments(training, xp.asarray, step)
        with xp.step():
            carry, loss, correct = run(training.network, training.optimizer, carry, *batch)
    expected_carry, expected_loss, expected_correct = run_numpy(training, steps)
    check_carry(xp, carry, expected_carry)
    xp.check_close(loss, expected_loss)
    xp.check_close(correct, expected_correct)


def test_equal_networks_are_compiled_once(jax):
    run = jax.jit(step_of(TRAININGS["scratch"], "float64"), static_argnums=(0, 1))
    for _ in range(2):
        training = Training(scratch(CLASSES), SGD(0.05), (5, 5, 1), images=2)
        carry = Carry(*(map_leaves(jax.numpy.asarray, tree) for tree in training.carry()))
        run(scratch(CLASSES), SGD(0.05), carry, *arguments(training, jax.numpy.asarray, 0))
    assert run._cache_size() == 1


@pytest.mark.parametrize("name", TRAININGS)
def test_evaluate_batch_equals_numpy(name, xp):
    training = TRAININGS[name]
    carry, _, _ = run_numpy(training, steps=2)
    images, labels, _ = training.batch(7)

    def run(params, state, images, labels, dtype=xp.dtype):
        context = Context(GENERIC, "infer", dtype)
        logits = infer(training.network, params, state, images, context)
        return logits, *evaluate_batch(training.network, params, state, images, labels, context)

    trees = (map_leaves(xp.asarray, tree) for tree in carry[:2])
    actual = xp.run(run, *trees, xp.asarray(images), xp.asarray(labels))
    expected = run(carry.params, carry.state, images, labels, dtype="float64")
    for array, wanted in zip(actual, expected, strict=True):
        xp.check_close(array, wanted)


@pytest.mark.parametrize("name", TRAININGS)
def test_training_learns_one_batch(name):
    # The loss of one batch, seen again and again, must fall well below that of guessing.
    training = TRAININGS[name]
    images, labels, _ = training.batch(0)
    carry = training.carry()
    run = step_of(training, "float64")
    for step in range(60):
        batch = arguments(training, np.asarray, step, batch=0)
        carry, _, _ = run(training.network, training.optimizer, carry, *batch)
    context = Context(GENERIC, "infer", "float64")
    params, state = carry.params, carry.state
    loss_sum, correct = evaluate_batch(training.network, params, state, images, labels, context)
    assert loss_sum / len(images) < 0.5 * np.log(CLASSES)
    assert correct == len(images)


def test_the_number_of_the_step_changes_dropout_only():
    def loss(training, step):
        carry, run = training.carry(), step_of(training, "float64")
        batch = arguments(training, np.asarray, step, batch=0)
        return run(training.network, training.optimizer, carry, *batch)[1]

    assert loss(TRAININGS["basic"], 0) != loss(TRAININGS["basic"], 1)
    assert loss(TRAININGS["lenet5"], 0) == loss(TRAININGS["lenet5"], 1)


def torch_basic(torch, height: int, width: int, params: dict):
    """The network basic without dropout, as PyTorch users write it, channels first."""
    nn = torch.nn
    rows, columns = (height - 4) // 2, (width - 4) // 2
    module = nn.Sequential(
        *(nn.Conv2d(1, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(64 * rows * columns, 128), nn.ReLU(), nn.Linear(128, CLASSES)),
    ).double()
    # Flattened pixels run (H, W, C) here and (C, H, W) there.
    order = np.arange(rows * columns * 64).reshape(rows, columns, 64).transpose(2, 0, 1).ravel()
    weights = convert_basic(params, order)
    with torch.no_grad():
        for parameter, array in zip(module.parameters(), weights, strict=True):
            parameter.copy_(torch.tensor(array))
    return module, order


def convert_basic(tree: dict, order: np.ndarray) -> list[np.ndarray]:
    """Parameters, or gradients, of our `basic` in the order and the axes of PyTorch's."""
    layers = [tree[name] for name in tree if tree[name]]
    weights = [layer["weight"] for layer in layers]
    weights = [
        weights[0].transpose(3, 2, 0, 1),
        weights[1].transpose(3, 2, 0, 1),
        weights[2][order].T,
        weights[3].T,
    ]
    return [
        array
        for weight, layer in zip(weights, layers, strict=True)
        for array in (weight, layer["bias"])
    ]


def test_gradients_and_step_of_basic_equal_torch(torch):
    with_dropout = basic(CLASSES)
    network = Sequential(*(layer for layer in with_dropout.layers if type(layer) is not Dropout))
    training = Training(network, SGD(0.1), (10, 9, 1), images=6)
    params, state, _ = training.carry()
    images, labels, _ = training.batch(0)
    batch, context = Batch(images, labels), Context(GENERIC, "train", "float64")
    loss_sum, correct, gradients, _ = loss_and_gradients(network, params, state, batch, context)

    module, order = torch_basic(torch, 10, 9, params)
    pixels = torch.tensor(images).permute(0, 3, 1, 2).double() / 255 - 0.5
    logits, targets = module(pixels), torch.tensor(labels, dtype=torch.int64)
    loss = torch.nn.functional.cross_entropy(logits, targets)
    loss.backward()

    np.testing.assert_allclose(loss_sum / 6, loss.item(), rtol=1e-12)
    assert correct == (logits.argmax(1) == targets).sum().item()
    theirs = [parameter.grad.numpy() for parameter in module.parameters()]
    for actual, expected in zip(convert_basic(gradients, order), theirs, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-13)

    torch.optim.SGD(module.parameters(), lr=0.1).step()
    rate = np.array(0.1)
    carry, mean_loss, hits = train_step(network, SGD(), training.carry(), batch, rate, context)
    np.testing.assert_allclose(mean_loss, loss.item(), rtol=1e-12)
    assert hits == correct
    moved = [parameter.detach().numpy() for parameter in module.parameters()]
    for actual, expected in zip(convert_basic(carry.params, order), moved, strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-13)
