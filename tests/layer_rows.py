"""A row for each layer that came after the table was made, and for a user's own.

From a row follow: the forward pass against its plain loops; finite differences; PyTorch's autograd of
the module that the layer names, JAX's of the layer; every array library; tracing
(`layers/test_layers.py`, `program/`); ONNX and PyTorch files (`test_export_*.py`); training on
every backend, files, resuming, the summary, fused loops (`test_extending.py`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import arraycnn as cnn
import augmentation_loops as augmented
import outside
from arraycnn.layers import LAYERS
from random_words import FIRST_INDEX, SEED, STEP, words_by_integers


@dataclass(frozen=True)
class Row:
    """A layer that takes images of 4 channels; what changes their shape stands at the end.

    Attributes
    ----------
    layer : Layer
    by_loops : callable
        Its output from (layer, params, x), float64: plain loops over its definition.
    """

    layer: cnn.Layer
    by_loops: Callable


def each(function):
    """``function(layer, number)`` of each number."""
    return lambda layer, params, x: np.array([function(layer, v) for v in x.ravel()]).reshape(
        x.shape
    )


def rms_norm(layer, params, x):
    y = np.zeros_like(x)
    for place in np.ndindex(x.shape[:-1]):
        root = math.sqrt(math.fsum(v * v for v in x[place]) / x.shape[-1] + 1e-6)
        y[place] = [v / root * s for v, s in zip(x[place], params["scale"], strict=True)]
    return y


def gelu_tanh(layer, v):
    return v / 2 * (1 + math.tanh((v + 0.044715 * v**3) * (2 / math.pi) ** 0.5))


def group_norm(layer, params, x):
    y, size = np.zeros_like(x), x.shape[3] // layer.groups
    for n, g in np.ndindex(x.shape[0], layer.groups):
        part = (n, slice(None), slice(None), slice(g * size, (g + 1) * size))
        normal = (x[part] - np.mean(x[part])) / math.sqrt(np.var(x[part]) + layer.epsilon)
        y[part] = normal * params["weight"][part[3]] + params["bias"][part[3]]
    return y


def layer_norm(layer, params, x):
    y = np.zeros_like(x)
    for place in np.ndindex(x.shape[:-1]):
        normal = (x[place] - np.mean(x[place])) / math.sqrt(np.var(x[place]) + layer.epsilon)
        y[place] = normal * params["weight"] + params["bias"]
    return y


def dropped(count):
    """The first ``count(image)`` words of each image decide, one for each of its last axis."""

    def by_loops(layer, params, x):
        y = np.zeros_like(x)
        for n, image in enumerate(x):
            words = words_by_integers(SEED, STEP, (), FIRST_INDEX + n, count(image))
            signed = [word - 2**32 if word >= 2**31 else word for word in words]
            for word, channel in zip(
                signed * (image.shape[-1] // count(image)), range(image.shape[-1]), strict=True
            ):
                if (word + 2**31) / 2**32 >= layer.rate:
                    y[n, ..., channel] = image[..., channel] / (1 - layer.rate)
        return y

    return by_loops


def zero_padded(layer, params, x):
    top, bottom, left, right = layer.padding
    images, height, width, channels = x.shape
    y = np.zeros((images, top + height + bottom, left + width + right, channels))
    for n, i, j, c in np.ndindex(x.shape):
        y[n, top + i, left + j, c] = x[n, i, j, c]
    return y


def channel_padded(layer, params, x):
    images, height, width, channels = x.shape
    y = np.zeros((images, height, width, layer.before + channels + layer.after))
    for n, i, j, c in np.ndindex(x.shape):
        y[n, i, j, layer.before + c] = x[n, i, j, c]
    return y


def adaptively_averaged(layer, params, x):
    """Each mean is of the pixels that share a piece of the axis with its part, however small."""
    images, height, width, channels = x.shape
    down, right = layer.output_size
    y = np.zeros((images, down, right, channels))
    for n, i, j, c in np.ndindex(y.shape):
        rows = [
            r for r in range(height) if r * down < (i + 1) * height and i * height < (r + 1) * down
        ]
        columns = [
            s for s in range(width) if s * right < (j + 1) * width and j * width < (s + 1) * right
        ]
        y[n, i, j, c] = np.mean([x[n, r, s, c] for r in rows for s in columns])
    return y


def upsampled(layer, params, x):
    """Each new pixel from its own place in the old image, clamped to the pixels' centres."""
    down, right = (layer.scale,) * 2 if isinstance(layer.scale, int) else layer.scale
    images, height, width, channels = x.shape
    y = np.zeros((images, height * down, width * right, channels))
    for n, i, j, c in np.ndindex(y.shape):
        if layer.method == "nearest":
            y[n, i, j, c] = x[n, i // down, j // right, c]
            continue
        row = min(max((i + 0.5) / down - 0.5, 0.0), height - 1.0)
        column = min(max((j + 0.5) / right - 0.5, 0.0), width - 1.0)
        for a, b in np.ndindex(height, width):
            share = max(0.0, 1 - abs(row - a)) * max(0.0, 1 - abs(column - b))
            y[n, i, j, c] += share * x[n, a, b, c]
    return y


def reshaped(layer, params, x):
    return np.array([list(image.flat) for image in x]).reshape(len(x), *layer.shape)


def largest(layer, params, x):
    return np.array([[max(image[..., c].flat) for c in range(x.shape[3])] for image in x])


ROWS = [
    Row(cnn.LeakyReLU(0.2), each(lambda layer, v: v if v > 0 else layer.slope * v)),
    Row(cnn.GELUTanh(), each(gelu_tanh)),
    Row(cnn.SiLU(), each(lambda layer, v: v / (1 + math.exp(-v)))),
    Row(cnn.ELU(0.7), each(lambda layer, v: v if v > 0 else layer.alpha * (math.exp(v) - 1))),
    Row(cnn.Hardswish(), each(lambda layer, v: v * min(max(v + 3, 0), 6) / 6)),
    Row(cnn.Tanh(), each(lambda layer, v: math.tanh(v))),
    Row(cnn.Sigmoid(), each(lambda layer, v: 1 / (1 + math.exp(-v)))),
    Row(cnn.GroupNorm(2), group_norm),
    Row(cnn.LayerNorm(1e-3), layer_norm),
    Row(cnn.Dropout2d(0.4), dropped(lambda image: image.shape[-1])),
    Row(cnn.StochasticDepth(0.4), dropped(lambda image: 1)),
    Row(cnn.HorizontalFlip(), augmented.by_image(augmented.flipped)),
    Row(cnn.RandomShift((2, 1), fill="edge"), augmented.by_image(augmented.shifted)),
    Row(cnn.RandomCrop(1, fill=0.25), augmented.by_image(augmented.shifted)),
    Row(cnn.Cutout((1, 2), 0.7, fill=0.5), augmented.by_image(augmented.cut_out)),
    Row(cnn.RandomErasing(0.7, (0.1, 0.9)), augmented.by_image(augmented.erased)),
    Row(cnn.RandomBrightness(0.3), augmented.by_image(augmented.brighter)),
    Row(cnn.RandomContrast(0.9), augmented.by_image(augmented.contrasted)),
    Row(
        cnn.RandomAffine(60.0, (0.7, 1.5), 20.0, 0.1, fill=0.25),
        augmented.by_image(augmented.turned),
    ),
    Row(cnn.ElasticDeformation(3.0, 2, fill="edge"), augmented.by_image(augmented.pulled)),
    Row(cnn.Mixup(1.0, 0.9), augmented.mixed),
    Row(cnn.CutMix(1.0, 0.9), augmented.mixed),
    Row(outside.Squareplus(2.0), each(lambda layer, v: (v + math.hypot(v, layer.b**0.5)) / 2)),
    Row(outside.RMSNorm(), rms_norm),
    Row(cnn.Reshape((2, -1, 4)), reshaped),
    Row(cnn.ZeroPad2d((1, 0, 2, 1)), zero_padded),
    Row(cnn.ZeroPadChannels(1, 2), channel_padded),
    Row(cnn.Upsample2d((1, 2)), upsampled),
    Row(cnn.Upsample2d((3, 2), "bilinear"), upsampled),
    Row(cnn.AdaptiveAvgPool2d((2, 4)), adaptively_averaged),
    Row(cnn.GlobalMaxPool2d(), largest),
]
ROW_OF = {type(row.layer): row for row in ROWS}
USERS = [type(row.layer) for row in ROWS if type(row.layer) not in LAYERS.values()]
