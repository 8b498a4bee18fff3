"""Networks that between them show every way the order of axes can go wrong."""

from dataclasses import dataclass

import numpy as np

from arraycnn import (
    Add,
    AvgPool2d,
    BatchNorm,
    BatchNorm2d,
    Concatenate,
    Conv2d,
    ConvTranspose2d,
    Cutout,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Identity,
    InvalidValueError,
    MaxPool2d,
    Model,
    RandomShift,
    ReLU,
    Rescale,
    Reshape,
    Residual,
    Sequential,
    Softmax,
)
from arraycnn.layers import Context
from arraycnn.ops import GENERIC
from arraycnn.training.step import infer
from arraycnn.tree import flatten, map_leaves
from layer_rows import ROWS

EVERY_LAYER = Sequential(
    Rescale(),
    Conv2d(4, 3, padding="same"),
    BatchNorm2d(epsilon=1e-3),
    ReLU(),
    Residual(Sequential(Conv2d(4, 3, padding=(1, 1), bias=False), BatchNorm2d(momentum=0.2))),
    Residual(
        Sequential(Conv2d(6, 3, stride=2, padding="same"), Dropout(0.2)),
        shortcut=Conv2d(6, 1, stride=2, bias=False),
    ),
    AvgPool2d(2, stride=1),
    Softmax(),
    MaxPool2d((2, 1)),
    Concatenate(Identity(), Conv2d(2, (1, 3), padding="same")),
    Add(Conv2d(6, 1), Sequential(ReLU(), Conv2d(6, 3, padding="same", bias=False))),
    Residual(Sequential(GlobalAvgPool2d(), Dense(6)), shortcut=GlobalAvgPool2d()),
    Dense(48),
    Softmax(),
    ReLU(),
    Flatten(),
    Dense(10, bias=False),
)


@dataclass(frozen=True)
class Faster(ReLU):
    """A user's layer, though it derives from one of ours."""


def convolved(layer, *after):
    return Sequential(layer, *(after or (Flatten(), Dense(3))))


def takes_rows(layer):
    """Whether ``layer`` takes what a Flatten gives."""
    try:
        return len(layer.init(np.random.default_rng(0), (24,))[2]) == 1
    except InvalidValueError:
        return False


# Network and input shape; images of two or three channels, of sizes that are not square.
SMALL = {
    "every layer": (EVERY_LAYER, (11, 9, 2)),
    "valid": (convolved(Conv2d(3, 3)), (6, 5, 2)),
    "kernel of two sizes": (convolved(Conv2d(2, (2, 3), bias=False)), (5, 6, 3)),
    "stride": (convolved(Conv2d(2, 3, stride=2)), (8, 7, 2)),
    "two strides": (convolved(Conv2d(2, 3, stride=(2, 1))), (8, 7, 2)),
    "same": (convolved(Conv2d(2, 3, padding="same")), (5, 4, 2)),
    "same, even kernel": (convolved(Conv2d(2, (2, 4), padding="same")), (5, 4, 2)),
    "same, stride, one side": (convolved(Conv2d(2, 3, stride=2, padding="same")), (6, 4, 2)),
    "same, stride, both sides": (convolved(Conv2d(2, 3, stride=2, padding="same")), (5, 7, 2)),
    "same, stride, mixed": (convolved(Conv2d(2, 3, stride=2, padding="same")), (5, 6, 2)),
    "same, kernel 4, stride 3": (convolved(Conv2d(2, 4, stride=3, padding="same")), (8, 7, 2)),
    "padding": (convolved(Conv2d(2, 3, padding=(2, 2))), (4, 4, 2)),
    "two paddings": (convolved(Conv2d(2, 3, stride=2, padding=(2, 1))), (4, 5, 2)),
    "dilation": (convolved(Conv2d(3, (2, 3), dilation=(3, 2))), (6, 7, 2)),
    "dilation, same": (convolved(Conv2d(3, (2, 3), padding="same", dilation=2)), (4, 5, 2)),
    "groups": (convolved(Conv2d(4, 3, stride=2, padding="same", groups=2)), (6, 4, 6)),
    "depthwise": (convolved(Conv2d(6, 2, padding="same", groups=3, bias=False)), (4, 5, 3)),
    "transposed": (convolved(ConvTranspose2d(3, (2, 3), stride=2)), (3, 4, 2)),
    "transposed, same": (
        convolved(ConvTranspose2d(3, 2, stride=(1, 2), padding="same")),
        (3, 4, 2),
    ),
    "transposed, same, small": (
        convolved(ConvTranspose2d(3, (1, 4), stride=(3, 2), padding="same", bias=False)),
        (3, 4, 2),
    ),
    "transposed, padded": (
        convolved(ConvTranspose2d(2, (4, 3), (3, 2), (2, 1), output_padding=(1, 0))),
        (3, 4, 2),
    ),
    "max-pool drops edges": (convolved(MaxPool2d(2)), (5, 7, 2)),
    "max-pool overlaps": (convolved(MaxPool2d(3, stride=(2, 1), ties="all")), (7, 6, 2)),
    "max-pool pads": (convolved(MaxPool2d(3, stride=2, padding=(1, 1))), (7, 6, 2)),
    "max-pool pads by more than half": (convolved(MaxPool2d(3, padding=(2, 0))), (5, 6, 2)),
    "max-pool pads unevenly": (convolved(MaxPool2d(2, padding="same")), (6, 5, 2)),
    "average pool": (convolved(AvgPool2d((3, 2))), (7, 5, 2)),
    "average pool pads": (convolved(AvgPool2d(3, stride=1, padding="same")), (5, 6, 3)),
    "average pool pads unevenly": (convolved(AvgPool2d(2, padding="same")), (6, 6, 2)),
    "average pool overlaps": (convolved(AvgPool2d(3, stride=1)), (5, 6, 3)),
    "batch norm": (convolved(BatchNorm2d(epsilon=0.5)), (4, 3, 2)),
    "batch norm of rows": (convolved(Flatten(), BatchNorm(0.2, 0.5), Dense(3)), (2, 3, 4)),
    "batch norm behind dense": (
        Sequential(Flatten(), Dense(5), BatchNorm(), Dense(3)),
        (2, 3, 4),
    ),
    "concatenation of rows": (
        Sequential(
            Concatenate(
                Sequential(Conv2d(3, 2), Flatten()),
                Sequential(ReLU(), Flatten()),
                Sequential(Flatten(), Dense(4)),
            ),
            Dense(3),
        ),
        (3, 4, 2),
    ),
    "concatenation of one row": (
        Sequential(Flatten(), Concatenate(Identity(), ReLU()), Dense(3)),
        (3, 4, 2),
    ),
    "a sum of one flatten": (
        Sequential(Flatten(), Add(Identity(), ReLU(), Dropout(0.1)), Dense(3)),
        (3, 4, 2),
    ),
    "a sum of flatten and dense": (
        Sequential(Flatten(), Add(Identity(), Dense(24)), Dense(3)),
        (3, 4, 2),
    ),
    "rows become images": (
        Sequential(Flatten(), Reshape((3, 2, 4)), Conv2d(3, 2), Flatten(), Dense(3)),
        (3, 4, 2),
    ),
    "images become rows": (Sequential(Conv2d(4, 2), Reshape((-1,)), Dense(3)), (3, 4, 2)),
    "softmax of channels": (convolved(Softmax()), (4, 3, 3)),
    "rescale": (Sequential(Rescale(), Flatten(), Dense(3)), (4, 3, 2)),
    "rescale by mean and std": (
        Sequential(Rescale(0.1307, 0.3081), Flatten(), Dense(3)),
        (4, 3, 2),
    ),
    "rescale by channel": (
        Sequential(
            Rescale((0.485, 0.456, 0.4), (0.229, 0.5, 0.225)), Conv2d(2, 2), Flatten(), Dense(3)
        ),
        (4, 3, 3),
    ),
    "rescale by mean of channels": (
        Sequential(Rescale((0.2, 0.7)), Flatten(), Dense(3)),
        (4, 3, 2),
    ),
    "global average": (convolved(Conv2d(5, 2), GlobalAvgPool2d(), Dense(3)), (5, 4, 2)),
    "flatten at once": (Sequential(Flatten(), Dense(4), ReLU(), Dense(3)), (4, 3, 2)),
    "flatten, then rescale": (Sequential(Flatten(), Rescale(), Dense(3)), (4, 3, 2)),
    "flatten twice": (Sequential(Flatten(), Flatten(), Dense(3)), (4, 3, 2)),
    "flatten far from dense": (
        Sequential(Flatten(), Sequential(ReLU(), Dropout(0.3)), Softmax(), Dense(3)),
        (4, 3, 2),
    ),
    "flatten in a nest": (Sequential(Sequential(Conv2d(2, 2), Flatten()), Dense(3)), (5, 4, 2)),
    "flatten is the end": (Sequential(Conv2d(5, 3), Flatten()), (4, 3, 2)),
    "flatten, residual, dense": (Sequential(Flatten(), Residual(ReLU()), Dense(3)), (4, 3, 2)),
    "flatten meets dense in a sum": (
        Sequential(Flatten(), Residual(Dense(24)), Dense(3)),
        (4, 3, 2),
    ),
    "flatten in both branches": (
        Sequential(
            Residual(
                Sequential(Conv2d(2, 3, padding="same"), Flatten()),
                shortcut=Sequential(ReLU(), Flatten()),
            ),
            Dense(3),
        ),
        (4, 3, 2),
    ),
    "flatten in one branch": (
        Sequential(
            Residual(
                Sequential(Conv2d(5, (4, 3)), Flatten()),
                shortcut=Sequential(Conv2d(5, (4, 3)), GlobalAvgPool2d()),
            ),
            Dense(3),
        ),
        (4, 3, 2),
    ),
    "flatten against dense in a sum": (
        Sequential(
            Residual(Sequential(Flatten(), Dense(24)), shortcut=Flatten()), ReLU(), Dense(3)
        ),
        (4, 3, 2),
    ),
    "augmentation to begin with": (
        Sequential(Cutout(2), Sequential(RandomShift(1)), Rescale(), Flatten(), Dense(3)),
        (4, 3, 2),
    ),
    "no sequential around": (
        Residual(Sequential(Flatten(), Dense(3)), Sequential(Conv2d(3, 2), GlobalAvgPool2d())),
        (4, 3, 2),
    ),
}
SMALL |= {
    f"{row.layer!r}": (convolved(Conv2d(4, 2), row.layer, Flatten(), Dense(3)), (5, 4, 2))
    for row in ROWS
}
SMALL |= {
    f"{layer!r} after flatten": (Sequential(Flatten(), layer, Dense(3)), (3, 4, 2))
    for layer in (row.layer for row in ROWS)
    if takes_rows(layer)
}


def images(network, input_shape, count=9):
    """uint8 where ``network`` begins with Rescale, else float32."""
    rng = np.random.default_rng(5)
    pixels = rng.integers(0, 256, (count, *input_shape), dtype=np.uint8)
    return pixels if "Rescale" in repr(network) else (pixels / 255.0 - 0.5).astype("float32")


def model_of(network, input_shape, **settings):
    """A model whose every parameter and state is random, so that no two can be mistaken."""
    model = Model(network, input_shape, **settings)
    rng = np.random.default_rng(6)
    near_one = lambda array: np.asarray(array + rng.uniform(-0.3, 0.3, array.shape))  # noqa: E731
    model.assign(map_leaves(near_one, model.parameters), map_leaves(near_one, model.state))
    return model


def logits(model, x):
    """What the network gives before the softmax, (N, classes), by the portable kernels."""
    trees = [nested(arrays, model) for arrays in (model.parameters, model.state)]
    return infer(model.network, *trees, x, Context(GENERIC, "infer", model.dtype))


def nested(flat, model):
    """The tree that ``flat``, arrays by path, is the flat form of."""
    params, state, _ = model.network.init(np.random.default_rng(0), model.input_shape)
    tree = params if set(flat) == set(flatten(params)) else state
    fill = lambda part, path: {  # noqa: E731
        name: fill(value, f"{path}{name}.") if isinstance(value, dict) else flat[f"{path}{name}"]
        for name, value in part.items()
    }
    return fill(tree, "")
