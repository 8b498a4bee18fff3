"""The layers under test, and what each of them should give, in plain loops."""

import math
from dataclasses import dataclass

import numpy as np

from arraycnn.layers import (
    Add,
    AvgPool2d,
    BatchNorm,
    BatchNorm2d,
    Concatenate,
    Context,
    Conv2d,
    ConvTranspose2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Identity,
    Layer,
    LayerNorm,
    MaxPool2d,
    Randomness,
    ReLU,
    Rescale,
    Residual,
    Sequential,
    Softmax,
)
from arraycnn.ops import GENERIC
from arraycnn.ops.random_bits import seed_words
from arraycnn.tree import map_leaves
from layer_rows import ROW_OF, ROWS
from random_words import FIRST_INDEX, SEED, STEP, words_by_integers


@dataclass(frozen=True)
class Case:
    """One layer, one size of image (without N), one number of images, one mode."""

    layer: Layer
    input_shape: tuple[int, ...]
    images: int = 2
    mode: str = "train"
    pixels: bool = False

    def __str__(self) -> str:
        return f"{self.layer!r}-{self.images}x{'x'.join(map(str, self.input_shape))}-{self.mode}"

    def arrays(self) -> "Arrays":
        """Random parameters and state, an input without ties or zeros, and a gradient."""
        rng = np.random.default_rng(3)
        params, state, output_shape = self.layer.init(rng, self.input_shape)
        shape = (self.images, *self.input_shape)
        size = math.prod(shape)
        if self.pixels:
            x = rng.integers(0, 256, shape, dtype=np.uint8)
        else:
            # Evenly spaced, so that no step of a finite difference crosses a kink.
            x = ((rng.permutation(size) - size / 2 + 0.25) * (4.0 / size)).reshape(shape)
        return Arrays(
            map_leaves(lambda leaf: rng.normal(size=leaf.shape), params),
            map_leaves(lambda leaf: rng.uniform(0.5, 2.0, leaf.shape), state),
            x,
            rng.normal(size=(self.images, *output_shape)),
            seed_words(SEED),
            np.array([STEP], dtype=np.int32),
            np.arange(FIRST_INDEX, FIRST_INDEX + self.images, dtype=np.int32),
        )

    def context(self, dtype: str, seed, step, indices) -> Context:
        return Context(GENERIC, self.mode, dtype, Randomness(seed, step, indices))


@dataclass(frozen=True)
class Arrays:
    """What one case is run on, float64."""

    params: dict
    state: dict
    x: np.ndarray
    dy: np.ndarray
    seed: np.ndarray
    step: np.ndarray
    indices: np.ndarray


CASES = [
    Case(Rescale(), (3, 3, 2), pixels=True),
    Case(Rescale(0.1307, 0.3081), (3, 4, 1), pixels=True),
    Case(Rescale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)), (2, 3, 3), pixels=True),
    Case(Rescale((0.1, 0.7), 2.0), (3, 2, 2), pixels=True),
    Case(Rescale(std=(0.5, 0.25)), (3, 2, 2), pixels=True),
    Case(Conv2d(3, 1), (4, 4, 2)),
    Case(Conv2d(2, 3), (5, 6, 3)),
    Case(Conv2d(1, 3), (5, 5, 1), images=1),
    Case(Conv2d(2, 5, bias=False), (7, 6, 2)),
    Case(Conv2d(2, (2, 3)), (5, 5, 2)),
    Case(Conv2d(2, (4, 1), bias=False), (6, 3, 1)),
    Case(Conv2d(2, 3, stride=2), (7, 8, 2)),
    Case(Conv2d(2, 2, stride=3), (8, 7, 2)),
    Case(Conv2d(2, 3, stride=(2, 1)), (7, 5, 2)),
    Case(Conv2d(2, 3, padding="same"), (4, 5, 2)),
    Case(Conv2d(2, (2, 4), padding="same"), (5, 5, 2)),
    Case(Conv2d(2, 3, stride=2, padding="same"), (6, 5, 2)),
    Case(Conv2d(2, 2, stride=2, padding="same"), (5, 6, 1)),
    Case(Conv2d(2, 4, stride=3, padding="same"), (8, 7, 1)),
    Case(Conv2d(2, 1, stride=3, padding="same"), (8, 7, 2)),
    Case(Conv2d(2, 3, padding=(1, 2)), (4, 4, 2)),
    Case(Conv2d(2, 3, stride=2, padding=(2, 0), bias=False), (4, 5, 2)),
    Case(Conv2d(2, 3, dilation=2), (6, 7, 2)),
    Case(Conv2d(2, (2, 3), stride=2, padding="same", dilation=(3, 2)), (7, 5, 2)),
    Case(Conv2d(4, 3, padding=(1, 0), groups=2), (4, 4, 4)),
    Case(Conv2d(6, (1, 2), stride=2, groups=3, bias=False), (4, 5, 6)),
    Case(Conv2d(3, 3, padding="same", groups=3), (4, 5, 3)),
    Case(Conv2d(4, (3, 2), stride=(2, 1), dilation=(1, 2), groups=2, bias=False), (6, 5, 2)),
    Case(Conv2d(4, 2, padding=(1, 1), dilation=2, groups=2), (4, 3, 4)),
    Case(ConvTranspose2d(3, 2, stride=2), (3, 2, 4)),
    Case(ConvTranspose2d(2, 3), (3, 4, 2)),
    Case(ConvTranspose2d(2, 3, stride=2, padding="same", bias=False), (3, 2, 3)),
    Case(ConvTranspose2d(2, (1, 4), stride=(3, 2), padding="same"), (2, 3, 2)),
    Case(
        ConvTranspose2d(2, (4, 3), stride=(3, 2), padding=(2, 1), output_padding=(1, 0)), (3, 4, 2)
    ),
    Case(MaxPool2d(2), (6, 4, 3)),
    Case(MaxPool2d(2), (5, 7, 1), images=1),
    Case(MaxPool2d(3), (7, 8, 2)),
    Case(MaxPool2d((2, 3)), (5, 6, 2)),
    Case(MaxPool2d(3, stride=1), (5, 5, 2)),
    Case(MaxPool2d(3, stride=(2, 1)), (7, 5, 2)),
    Case(MaxPool2d(2, stride=3), (8, 7, 2)),
    Case(MaxPool2d(2, ties="all"), (5, 5, 2)),
    Case(MaxPool2d(3, stride=2, ties="all"), (7, 6, 1)),
    Case(MaxPool2d(3, stride=2, padding=(1, 1)), (7, 6, 2)),
    Case(MaxPool2d((2, 3), padding=(1, 2)), (4, 5, 2)),
    Case(MaxPool2d(3, stride=2, padding="same"), (6, 5, 2)),
    Case(MaxPool2d(2, padding="same", ties="all"), (5, 5, 1)),
    Case(AvgPool2d(2), (6, 4, 3)),
    Case(AvgPool2d(3, stride=1, padding="same"), (5, 4, 2)),
    Case(AvgPool2d(2, padding=(1, 0)), (4, 6, 2)),
    Case(AvgPool2d((3, 4), stride=(2, 3), padding="same"), (6, 7, 1)),
    Case(AvgPool2d((3, 2)), (7, 5, 2)),
    Case(AvgPool2d(3, stride=1), (5, 5, 1), images=1),
    Case(AvgPool2d(2, stride=(3, 1)), (8, 4, 2)),
    Case(GlobalAvgPool2d(), (3, 4, 3)),
    Case(Flatten(), (3, 4, 2)),
    Case(Dense(4), (6,)),
    Case(Dense(1, bias=False), (5,), images=1),
    Case(ReLU(), (4, 3, 2)),
    Case(ReLU(), (7,)),
    Case(Dropout(0.4), (4, 3, 3)),
    Case(Dropout(0.5), (11,), images=3),
    Case(Dropout(0.0), (6,)),
    Case(Dropout(0.4), (4, 3, 3), mode="infer"),
    Case(BatchNorm2d(), (3, 4, 2), images=3),
    Case(BatchNorm2d(momentum=0.3, epsilon=0.01), (2, 2, 1)),
    Case(BatchNorm2d(epsilon=0.1), (3, 4, 2), mode="infer"),
    Case(BatchNorm(momentum=0.3), (5,), images=4),
    Case(BatchNorm(epsilon=0.1), (3,), mode="infer"),
    Case(LayerNorm(), (5,)),
    Case(Identity(), (2, 3, 2)),
    Case(Softmax(), (5,), images=3),
    Case(Softmax(), (2, 3, 4)),
    Case(Sequential(Conv2d(2, 3), ReLU(), MaxPool2d(2), Flatten(), Dense(3)), (6, 6, 1)),
    Case(Sequential(Rescale(), Conv2d(2, 3), Flatten(), Dropout(0.3)), (4, 4, 2), pixels=True),
    Case(Sequential(Sequential(ReLU(), Conv2d(2, 2)), Sequential(AvgPool2d(2))), (5, 5, 2)),
    Case(Sequential(Dropout(0.3), Sequential(Dropout(0.3))), (8,)),
    Case(Residual(Sequential(Conv2d(2, 3, padding="same"), ReLU())), (4, 4, 2)),
    Case(
        Residual(
            Sequential(Conv2d(3, 3, stride=2, padding="same"), BatchNorm2d(), Dropout(0.2)),
            shortcut=Conv2d(3, 1, stride=2, bias=False),
        ),
        (5, 4, 2),
    ),
    Case(Concatenate(Identity(), Conv2d(3, 3, padding="same"), BatchNorm()), (4, 3, 2)),
    Case(Concatenate(Dense(2), Dropout(0.2)), (5,)),
    Case(Add(Conv2d(2, 2), Conv2d(2, 2, bias=False), MaxPool2d(2, stride=1)), (3, 4, 2)),
    Case(Add(Sequential(ReLU(), Dense(4))), (4,)),
    *(Case(row.layer, (3, 2, 4), images=3) for row in ROWS),
]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's rule: ceil(size / stride) outputs, the odd pixel at the end."""
    outputs = math.ceil(size / stride)
    total = max((outputs - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def padding_of(
    layer: Conv2d | MaxPool2d | AvgPool2d,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    height: int,
    width: int,
) -> tuple[int, int, int, int]:
    """(top, bottom, left, right)."""
    if layer.padding == "valid":
        return 0, 0, 0, 0
    if layer.padding == "same":
        return (
            *same_padding(height, kernel[0], stride[0]),
            *same_padding(width, kernel[1], stride[1]),
        )
    rows, columns = layer.padding
    return rows, rows, columns, columns


def both(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else value


def convolution_by_loops(x, weight, bias, stride, padding, dilation=(1, 1)):
    """Cross-correlation, one product at a time; where filters see few channels, in groups."""
    images, height, width, channels = x.shape
    kernel_height, kernel_width, own, filters = weight.shape
    top, bottom, left, right = padding
    rows = (height + top + bottom - (kernel_height - 1) * dilation[0] - 1) // stride[0] + 1
    columns = (width + left + right - (kernel_width - 1) * dilation[1] - 1) // stride[1] + 1
    y = np.zeros((images, rows, columns, filters))
    for n, i, j, f in np.ndindex(y.shape):
        total = 0.0 if bias is None else bias[f]
        first = f * (channels // own) // filters * own
        for a, b, c in np.ndindex(kernel_height, kernel_width, own):
            row = i * stride[0] + a * dilation[0] - top
            column = j * stride[1] + b * dilation[1] - left
            if 0 <= row < height and 0 <= column < width:
                total += x[n, row, column, first + c] * weight[a, b, c, f]
        y[n, i, j, f] = total
    return y


def transposed_by_loops(layer, params, x):
    """A window of numbers for each pixel, added up where they meet, then cut."""
    (down, right), kernel, weight = both(layer.stride), both(layer.kernel_size), params["weight"]
    images, height, width, _ = x.shape
    more = both(layer.output_padding)
    whole = (height - 1) * down + kernel[0] + more[0], (width - 1) * right + kernel[1] + more[1]
    if layer.padding == "same":  # the odd pixel at the end; what is missing is zero
        shape = height * down, width * right
        cut = [max(kernel[0] - down, 0) // 2, max(kernel[1] - right, 0) // 2]
    else:
        cut = (0, 0) if layer.padding == "valid" else layer.padding
        shape = whole[0] - 2 * cut[0], whole[1] - 2 * cut[1]
    y = np.zeros((images, *shape, layer.filters))
    for n, i, j, c, a, b, f in np.ndindex(*x.shape, *kernel, layer.filters):
        row, column = i * down + a - cut[0], j * right + b - cut[1]
        if 0 <= row < shape[0] and 0 <= column < shape[1]:
            y[n, row, column, f] += x[n, i, j, c] * weight[a, b, f, c]
    return y + params.get("bias", 0.0)


def pool_by_loops(x, kernel, stride, reduce):
    """``reduce`` of each window."""
    images, height, width, channels = x.shape
    rows = len(range(0, height - kernel[0] + 1, stride[0]))
    columns = len(range(0, width - kernel[1] + 1, stride[1]))
    y = np.zeros((images, rows, columns, channels))
    for n, i, j, c in np.ndindex(y.shape):
        row, column = i * stride[0], j * stride[1]
        y[n, i, j, c] = reduce(x[n, row : row + kernel[0], column : column + kernel[1], c])
    return y


def max_pool_gradient_by_loops(x, dy, kernel, stride, ties):
    """Give each dy to the first or to every maximum of its window."""
    dx = np.zeros_like(x)
    for n, i, j, c in np.ndindex(dy.shape):
        row, column = i * stride[0], j * stride[1]
        places = [(row + a, column + b) for a, b in np.ndindex(*kernel)]
        largest = max(x[n, r, s, c] for r, s in places)
        winners = [(r, s) for r, s in places if x[n, r, s, c] == largest]
        for r, s in winners[:1] if ties == "first" else winners:
            dx[n, r, s, c] += dy[n, i, j, c]
    return dx


def forward_by_loops(layer, params, state, x, mode, path=()):
    """(y, new state) of ``layer``, from its definition."""
    match layer:
        case Sequential():
            new_state = {}
            for position, part in enumerate(layer.layers):
                name = str(position)
                x, new_state[name] = forward_by_loops(
                    part, params[name], state[name], x, mode, (*path, name)
                )
            return x, new_state
        case Residual():
            body = ("body", layer.body)
            parts = [body] if layer.shortcut is None else [body, ("shortcut", layer.shortcut)]
            total, new_state = 0.0 if layer.shortcut else x, {}
            for name, part in parts:
                y, new_state[name] = forward_by_loops(
                    part, params[name], state[name], x, mode, (*path, name)
                )
                total = total + y
            return total, new_state
        case Concatenate() | Add():
            outputs, new_state = [], {}
            for position, part in enumerate(layer.layers):
                name = str(position)
                y, new_state[name] = forward_by_loops(
                    part, params[name], state[name], x, mode, (*path, name)
                )
                outputs.append(y)
            join = sum if type(layer) is Add else lambda parts: np.concatenate(parts, axis=-1)
            return join(outputs), new_state
        case BatchNorm2d():
            return _batch_norm_by_loops(layer, params, state, x, mode)
        case _:
            return _simple_by_loops(layer, params, x, mode, path), {}


def _simple_by_loops(layer, params, x, mode, path):
    match layer:
        case Rescale():
            y = np.zeros(x.shape)
            for place in np.ndindex(x.shape):
                mean, std = (
                    value[place[-1]] if isinstance(value, tuple) else value
                    for value in (layer.mean, layer.std)
                )
                y[place] = (int(x[place]) / 255.0 - mean) / std
            return y
        case Conv2d():
            kernel, stride = both(layer.kernel_size), both(layer.stride)
            dilation = both(layer.dilation)
            extent = tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))
            padding = padding_of(layer, extent, stride, *x.shape[1:3])
            weight, bias = params["weight"], params.get("bias")
            return convolution_by_loops(x, weight, bias, stride, padding, dilation)
        case ConvTranspose2d():
            return transposed_by_loops(layer, params, x)
        case MaxPool2d() | AvgPool2d():
            kernel = both(layer.kernel_size)
            stride = kernel if layer.stride is None else both(layer.stride)
            top, bottom, left, right = padding_of(layer, kernel, stride, *x.shape[1:3])
            reduce, value = (np.max, -np.inf) if type(layer) is MaxPool2d else (np.mean, 0.0)
            sides = (0, 0), (top, bottom), (left, right), (0, 0)
            return pool_by_loops(np.pad(x, sides, constant_values=value), kernel, stride, reduce)
        case GlobalAvgPool2d():
            return np.array([[np.mean(image[:, :, c]) for c in range(x.shape[3])] for image in x])
        case Identity():
            return x
        case Flatten():
            return np.array([image.ravel() for image in x])
        case Dense():
            weight, bias = params["weight"], params.get("bias", np.zeros(layer.outputs))
            return np.array(
                [[math.fsum(row * weight[:, k]) + bias[k] for k in range(len(bias))] for row in x]
            )
        case ReLU():
            return np.array([max(v, 0.0) for v in x.ravel()]).reshape(x.shape)
        case Dropout():
            return x if mode == "infer" else _dropout_by_loops(layer, x, path)
        case Softmax():
            rows = [np.array([math.exp(v) for v in row]) for row in x.reshape(-1, x.shape[-1])]
            return np.array([row / math.fsum(row) for row in rows]).reshape(x.shape)
    return ROW_OF[type(layer)].by_loops(layer, params, x)


def _dropout_by_loops(layer, x, path):
    y = np.zeros_like(x)
    for n, image in enumerate(x):
        words = words_by_integers(SEED, STEP, path, FIRST_INDEX + n, image.size)
        # The words count as signed numbers; the smallest part of them drops.
        signed = [word - 2**32 if word >= 2**31 else word for word in words]
        kept = [(word + 2**31) / 2**32 >= layer.rate for word in signed]
        y[n] = np.where(kept, image.ravel() / (1.0 - layer.rate), 0.0).reshape(image.shape)
    return y


def _batch_norm_by_loops(layer, params, state, x, mode):
    y, new_state = np.zeros_like(x), {name: value.copy() for name, value in state.items()}
    for c in range(x.shape[-1]):
        values = x[..., c]
        mean, variance = state["mean"][c], state["variance"][c]
        if mode == "train":
            mean, variance = values.mean(), values.var()
            for name, new in (("mean", mean), ("variance", values.var(ddof=1))):
                old = state[name][c]
                new_state[name][c] = (1 - layer.momentum) * old + layer.momentum * new
        normal = (values - mean) / math.sqrt(variance + layer.epsilon)
        y[..., c] = normal * params["weight"][c] + params["bias"][c]
    return y, new_state


def network_with_everything(classes: int = 4) -> Sequential:
    """Batch norm, both kinds of residual block, average pools and dropout."""
    return Sequential(
        Rescale(),
        Conv2d(4, 3, padding="same", bias=False),
        BatchNorm2d(),
        ReLU(),
        Residual(Sequential(Conv2d(4, 3, padding="same", bias=False), BatchNorm2d(), Dropout(0.2))),
        Residual(
            Sequential(ReLU(), Conv2d(6, 3, stride=2, padding="same")),
            shortcut=Sequential(AvgPool2d(2), Conv2d(6, 1, bias=False)),
        ),
        ReLU(),
        GlobalAvgPool2d(),
        Dense(classes),
    )
