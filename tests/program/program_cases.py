"""Networks, optimizers and arrays that programs are tried on, and a user's own of each."""

from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn import networks
from arraycnn.layers import Context, Randomness
from arraycnn.ops import GENERIC, array_namespace
from arraycnn.ops.random_bits import seed_words
from arraycnn.program import memo
from arraycnn.program.compose import image_dtype
from arraycnn.program.passes import chains, recompute
from arraycnn.program.steps import named
from arraycnn.training.step import Batch, Carry, train_step
from arraycnn.tree import map_leaves


@dataclass(frozen=True)
class Swish:
    """A user's activation, with a learned number of no axes."""

    def init(self, rng, input_shape):
        return {"scale": np.array(1.5)}, {}, input_shape

    def forward(self, params, state, x, context):
        gate = 1.0 / (1.0 + array_namespace(x).exp(-params["scale"] * x))
        return x * gate, state, (x, gate)

    def backward(self, params, residuals, dy, context, need_dx):
        x, gate = residuals
        slope = x * gate * (1.0 - gate)
        gradients = {"scale": array_namespace(x).sum(dy * x * slope)}
        return (dy * (gate + params["scale"] * slope) if need_dx else None), gradients


@dataclass(frozen=True)
class LayerNorm:
    """A user's norm over the last axis, with the standard's own means and roots."""

    def init(self, rng, input_shape):
        return {"weight": np.ones(input_shape[-1])}, {}, input_shape

    def forward(self, params, state, x, context):
        xp = array_namespace(x)
        deviation = xp.std(x, axis=-1, keepdims=True) + 1e-3
        normal = (x - xp.mean(x, axis=-1, keepdims=True)) / deviation
        return normal * params["weight"], state, (normal, deviation)

    def backward(self, params, residuals, dy, context, need_dx):
        normal, deviation = residuals
        xp = array_namespace(dy)
        gradients = {"weight": xp.sum(dy * normal, axis=tuple(range(dy.ndim - 1)))}
        if not need_dx:
            return None, gradients
        part = dy * params["weight"]
        mean = xp.mean(part, axis=-1, keepdims=True)
        along = normal * xp.mean(part * normal, axis=-1, keepdims=True)
        return (part - mean - along) / deviation, gradients


@dataclass(frozen=True)
class Mixer:
    """A user's layer of views: flipped columns, rows moved on by one, channels the other way."""

    def init(self, rng, input_shape):
        return {}, {}, input_shape

    def forward(self, params, state, x, context):
        xp = array_namespace(x)
        moved = xp.concat([x[:, 1:, :, :], x[:, :1, :, :]], axis=1)
        y = 0.5 * x + 0.3 * xp.flip(moved, axis=2) + 0.1 * xp.flip(x, axis=3)
        return xp.tanh(y), state, (xp.tanh(y),)

    def backward(self, params, residuals, dy, context, need_dx):
        (y,) = residuals
        xp = array_namespace(dy)
        dy = dy * (1.0 - y * y)
        turned = xp.flip(dy, axis=2)
        back = xp.concat([turned[:, -1:, :, :], turned[:, :-1, :, :]], axis=1)
        dx = 0.5 * dy + 0.3 * back + 0.1 * xp.flip(dy, axis=3)
        return (dx if need_dx else None), {}


@dataclass(frozen=True)
class Outside:
    """A user's activation that calls NumPy itself, with learned numbers and a state: not traceable."""

    def init(self, rng, input_shape):
        return {"scale": np.ones(input_shape[-1]), "shift": np.array(0.1)}, {
            "of": {"mean": np.zeros(input_shape[-1])}, "count": np.array(0.0)
        }, input_shape  # fmt: skip

    def forward(self, params, state, x, context):
        z = x * params["scale"] + params["shift"]
        gate = 1.0 / (1.0 + np.exp(-z))
        if context.mode == "train":
            mean = np.mean(z, axis=tuple(range(z.ndim - 1)))
            state = {
                "of": {"mean": state["of"]["mean"] * 0.9 + mean * 0.1},
                "count": np.asarray(state["count"] + 1.0),
            }
        return z * gate, state, {"kept": (x, z), "gate": gate}

    def backward(self, params, residuals, dy, context, need_dx):
        (x, z), gate = residuals["kept"], residuals["gate"]
        dz = dy * (gate + z * gate * (1.0 - gate))
        gradients = {"scale": np.sum(dz * x, axis=tuple(range(x.ndim - 1))), "shift": np.sum(dz)}
        return (dz * params["scale"] if need_dx else None), gradients


@dataclass(frozen=True)
class Alternating:
    """A user's layer with a counter: x on every other call, and x / 2 between."""

    calls: list = field(default_factory=list, repr=False, compare=False)

    def init(self, rng, input_shape):
        return {}, {}, input_shape

    def forward(self, params, state, x, context):
        self.calls.append(context.mode)
        factor = 1.0 if len(self.calls) % 2 else 0.5
        return x * factor, state, factor

    def backward(self, params, residuals, dy, context, need_dx):
        return dy * residuals, {}


@dataclass(frozen=True)
class Lion:
    """A user's optimizer: Chen et al., "Symbolic discovery of optimization algorithms", 2023."""

    learning_rate: float = 0.01

    def init(self, params):
        return {"moment": map_leaves(lambda leaf: np.zeros(leaf.shape), params)}

    def update(self, ops, params, gradients, state, learning_rate):
        def step(p, g, m):
            xp = array_namespace(g)
            moved = p - learning_rate * xp.sign(0.9 * m + 0.1 * g)
            return moved, 0.99 * m + 0.01 * g

        pairs = _map_all(step, params, gradients, state["moment"])
        first, second = (_map_all(lambda pair, i=i: pair[i], pairs) for i in (0, 1))
        return first, {"moment": second}


def _map_all(function, tree, *others):
    return {
        name: _map_all(function, value, *(other[name] for other in others))
        if isinstance(value, dict)
        else function(value, *(other[name] for other in others))
        for name, value in tree.items()
    }


def block(filters, stride=1):
    """Two convolutions with batch norm, around which the input goes as well."""
    body = cnn.Sequential(
        cnn.Conv2d(filters, 3, stride=stride, padding=(1, 1), bias=False),
        cnn.BatchNorm2d(),
        cnn.ReLU(),
        cnn.Conv2d(filters, 3, padding=(1, 1), bias=False),
        cnn.BatchNorm2d(),
    )
    shortcut = None
    if stride > 1:
        shortcut = cnn.Sequential(
            cnn.Conv2d(filters, 1, stride=stride, bias=False), cnn.BatchNorm2d()
        )
    return [cnn.Residual(body, shortcut), cnn.ReLU()]


NETWORKS = {
    "scratch": (networks.scratch(), (8, 8, 1)),
    "ties all": (networks.scratch(ties="all"), (7, 9, 2)),
    "basic": (networks.basic(), (10, 9, 1)),
    "lenet5": (networks.lenet5(), (20, 20, 1)),
    "resnet": (
        cnn.Sequential(
            cnn.Rescale(),
            cnn.Conv2d(5, 3, padding=(1, 1), bias=False),
            cnn.BatchNorm2d(),
            cnn.ReLU(),
            *block(5),
            *block(7, 2),
            cnn.GlobalAvgPool2d(),
            cnn.Dense(10),
        ),
        (6, 7, 3),
    ),
    "average": (
        cnn.Sequential(
            cnn.Conv2d(3, 3), cnn.AvgPool2d(2), cnn.Dropout(0.3), cnn.Flatten(), cnn.Dense(10)
        ),
        (7, 8, 2),
    ),
    "user's": (
        cnn.Sequential(
            cnn.Rescale(),
            cnn.Sequential(cnn.Conv2d(4, 3), Swish(), LayerNorm()),
            Mixer(),
            cnn.Flatten(),
            cnn.Dropout(0.4),
            cnn.ReLU(),
            cnn.Dense(10),
        ),
        (6, 5, 2),
    ),
    "activation and pool": (
        cnn.Sequential(
            *(cnn.Rescale(), cnn.Conv2d(8, 3), cnn.SiLU(), cnn.MaxPool2d(2), cnn.BatchNorm2d()),
            *(cnn.Conv2d(4, 2), Swish(), cnn.MaxPool2d((2, 1)), cnn.SiLU()),
            *(cnn.Flatten(), cnn.Dense(10)),
        ),
        (12, 12, 1),
    ),
    "lone dense": (cnn.Sequential(cnn.Flatten(), cnn.Dense(10)), (1, 5, 1)),
}
OPTIMIZERS = {
    "SGD": cnn.SGD(0.05),
    "momentum": cnn.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "Adam": cnn.Adam(0.01),
    "AdamW": cnn.AdamW(0.01),
    "Lion": Lion(),
}


@dataclass(frozen=True)
class Trial:
    """A network, an optimizer, and arrays for one step of them."""

    network: object
    optimizer: object
    carry: Carry
    given: dict
    dtype: str

    def values(self):
        """Copies of all that the step's program takes, by name."""
        named_carry = {name: np.array(leaf) for name, leaf in named(self.carry).items()}
        return {**self.given, **named_carry}

    def eager(self, ops=GENERIC, accumulate=1):
        """The step's results by name, as the eager plan computes them."""
        given = self.given
        random = Randomness(given["seed"], given["step"], given["indices"])
        carry, loss, correct = train_step(
            *(self.network, self.optimizer, self.carry, Batch(given["images"], given["labels"])),
            *(given["rate"], Context(ops, "train", self.dtype, random)),
            accumulate=accumulate,
        )
        return {"loss": loss, "correct": correct, **named(carry)}


def trial(network, shape, optimizer, images=3, dtype="float64", seed=0):
    """A trial with random numbers everywhere, and an optimizer that has run before."""
    rng = np.random.default_rng(seed)
    params, state, output_shape = network.init(rng, shape)
    params = map_leaves(lambda a: (a + 0.1 * rng.standard_normal(a.shape)).astype(dtype), params)
    state = map_leaves(lambda a: (a + rng.uniform(0.1, 0.2, a.shape)).astype(dtype), state)
    moments = map_leaves(
        lambda a: (0.9 * a + rng.uniform(0.0, 0.05, a.shape)).astype(dtype), optimizer.init(params)
    )
    x = rng.integers(0, 256, (images, *shape), dtype=np.uint8)
    if image_dtype(network, dtype) != "uint8":
        x = (x / 255 - 0.5).astype(dtype)
    given = {
        "images": x,
        "labels": rng.integers(0, output_shape[0], images).astype(np.int32),
        "indices": rng.permutation(images).astype(np.int32) + 5,
        "rate": np.asarray(0.01, dtype),
        "seed": seed_words(seed + 2**40),
        "step": np.array([7], np.int32),
    }
    return Trial(network, optimizer, Carry(params, state, moments), given, dtype)


@contextmanager
def on_small_sizes():
    """Within the block, what is done for large batches and arrays is done for small ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chains, "FEWEST_IMAGES", 2)
        patch.setattr(chains, "SMALLEST", 1)
        patch.setattr(recompute, "BIG", 16)
        _forget()
        yield
    _forget()


def _forget():
    memo._schedule.cache_clear()
    memo.rendered_of.cache_clear()
