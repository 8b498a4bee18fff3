"""Parts of a layer's protocol, and what layers refuse: settings, shapes, inputs."""

import dataclasses
import re

import numpy as np
import pytest

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers import (
    ELU,
    LAYERS,
    AdaptiveAvgPool2d,
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
    Dropout2d,
    Flatten,
    GlobalAvgPool2d,
    GroupNorm,
    Identity,
    LayerNorm,
    LeakyReLU,
    MaxPool2d,
    ReLU,
    Rescale,
    Reshape,
    Residual,
    Sequential,
    Softmax,
    StochasticDepth,
    Upsample2d,
    ZeroPad2d,
    ZeroPadChannels,
)
from arraycnn.ops import GENERIC

INFER = Context(GENERIC, "infer", "float64")


# Parts of the protocol


@pytest.mark.parametrize("layer", LAYERS.values())
def test_layers_are_frozen_records(layer):
    assert dataclasses.is_dataclass(layer)
    assert layer.__dataclass_params__.frozen


def test_equal_layers_are_equal_keys():
    first, second = (Sequential(Conv2d(2, (3, 3)), Residual(ReLU())) for _ in range(2))
    assert len({first, second}) == 1
    assert first != Sequential(Conv2d(2, (3, 3)), Residual(ReLU(), ReLU()))


@dataclasses.dataclass(frozen=True)
class Counting:
    """Adds its one parameter, and refuses to compute dx."""

    def init(self, rng, input_shape):
        return {"bias": np.zeros(())}, {}, input_shape

    def forward(self, params, state, x, context):
        return x + params["bias"], state, ()

    def backward(self, params, residuals, dy, context, need_dx):
        assert not need_dx, "nobody needs this dx"
        return None, {"bias": dy.sum()}


def test_sequential_asks_the_first_learning_layer_for_no_dx():
    network = Sequential(ReLU(), Sequential(Flatten(), Counting()), ReLU(), Dense(2))
    params, state, _ = network.init(np.random.default_rng(0), (2, 2, 1))
    y, _, residuals = network.forward(params, state, np.ones((3, 2, 2, 1)), INFER)
    dx, gradients = network.backward(params, residuals, y, INFER, need_dx=False)
    assert dx is None
    assert gradients["1"]["1"]["bias"].shape == ()


# Messages


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Conv2d(0, 3), ValueError, "Conv2d: filters must be at least 1, got 0"),
        (lambda: Conv2d(2.0, 3), TypeError, "Conv2d: filters must be an int"),
        (lambda: Conv2d(True, 3), TypeError, "Conv2d: filters must be an int"),
        (lambda: Conv2d((2, 3), 3), TypeError, "Conv2d: filters must be an int, got (2, 3)"),
        (lambda: Conv2d(2, 2.5), TypeError, "Conv2d: kernel_size must be an int or a pair of ints"),
        (lambda: Conv2d(2, (3, 3, 3)), TypeError, "got (3, 3, 3)"),
        (lambda: Conv2d(2, [3, 3]), TypeError, "got [3, 3]"),
        (lambda: Conv2d(2, 3, stride=0), ValueError, "Conv2d: stride must be at least 1, got 0"),
        (lambda: Conv2d(2, 3, padding="full"), ValueError, 'padding must be "valid", "same" or'),
        (lambda: Conv2d(2, 3, padding=1), TypeError, 'padding must be "valid", "same" or'),
        (lambda: Conv2d(2, 3, padding=(-1, 0)), ValueError, "padding must be at least 0"),
        (
            lambda: Conv2d(2, 3, dilation=0),
            ValueError,
            "Conv2d: dilation must be at least 1, got 0",
        ),
        (
            lambda: Conv2d(2, 3, dilation="2"),
            TypeError,
            "Conv2d: dilation must be an int or a pair",
        ),
        (lambda: Conv2d(2, 3, groups=0), ValueError, "Conv2d: groups must be at least 1, got 0"),
        (lambda: Conv2d(4, 3, groups=3), ValueError, "groups must divide the filters, got 3 for 4"),
        (lambda: Conv2d(2, 3, initial="he"), ValueError, "Conv2d: initial must be one of glorot_"),
        (
            lambda: Dense(2, initial=None),
            ValueError,
            "Dense: initial must be one of glorot_uniform",
        ),
        (lambda: ConvTranspose2d(0, 3), ValueError, "ConvTranspose2d: filters must be at least 1"),
        (
            lambda: ConvTranspose2d(2, 3, 0),
            ValueError,
            "ConvTranspose2d: stride must be at least 1",
        ),
        (lambda: ConvTranspose2d(2, 3, padding=1), TypeError, "ConvTranspose2d: padding must be"),
        (
            lambda: ConvTranspose2d(2, 3, (3, 2), output_padding=2),
            ValueError,
            "ConvTranspose2d: output_padding must be less than the stride, got 2",
        ),
        (
            lambda: ConvTranspose2d(2, 3, 2, "same", 1),
            ValueError,
            'ConvTranspose2d: output_padding must be 0 with "same", got 1',
        ),
        (lambda: MaxPool2d(0), ValueError, "MaxPool2d: kernel_size must be at least 1, got 0"),
        (lambda: MaxPool2d(2, (1, 0)), ValueError, "MaxPool2d: stride must be at least 1"),
        (lambda: MaxPool2d(2, ties="last"), ValueError, 'ties must be "first" or "all", got'),
        (lambda: MaxPool2d(2, padding="full"), ValueError, 'MaxPool2d: padding must be "valid"'),
        (lambda: MaxPool2d(2, padding=1), TypeError, 'MaxPool2d: padding must be "valid"'),
        (
            lambda: MaxPool2d((3, 2), padding=(1, 2)),
            ValueError,
            "MaxPool2d: padding must be less than the window, got (1, 2) for a window of (3, 2)",
        ),
        (lambda: AvgPool2d(2, padding=(2, 0)), ValueError, "AvgPool2d: padding must be less than"),
        (lambda: AvgPool2d("2"), TypeError, "AvgPool2d: kernel_size must be an int"),
        (lambda: AvgPool2d(2, -1), ValueError, "AvgPool2d: stride must be at least 1, got -1"),
        (lambda: Dense(0), ValueError, "Dense: outputs must be at least 1, got 0"),
        (lambda: Dense(1.5), TypeError, "Dense: outputs must be an int"),
        (lambda: Dense((2, 3)), TypeError, "Dense: outputs must be an int, got (2, 3)"),
        (lambda: Dropout(1.0), ValueError, "must be in [0, 1), got 1.0"),
        (lambda: Dropout(-0.1), ValueError, "must be in [0, 1), got -0.1"),
        (lambda: Dropout(float("nan")), ValueError, "must be in [0, 1), got nan"),
        (lambda: Dropout("0.5"), TypeError, "Dropout: rate must be a number"),
        (lambda: Dropout(True), TypeError, "Dropout: rate must be a number"),
        (lambda: Dropout2d(1.0), ValueError, "Dropout2d: rate, the probability of dropping, must"),
        (lambda: StochasticDepth("1"), TypeError, "StochasticDepth: rate must be a number"),
        (lambda: BatchNorm2d(momentum=0.0), ValueError, "momentum must be in (0, 1], got 0.0"),
        (lambda: BatchNorm2d(momentum=1.5), ValueError, "momentum must be in (0, 1], got 1.5"),
        (lambda: BatchNorm2d(momentum=float("nan")), ValueError, "momentum must be in (0, 1]"),
        (lambda: BatchNorm2d(momentum="0.1"), TypeError, "momentum must be a number"),
        (lambda: BatchNorm2d(epsilon=0.0), ValueError, "epsilon must be above 0"),
        (lambda: BatchNorm2d(epsilon=float("inf")), ValueError, "epsilon must be above 0"),
        (lambda: BatchNorm2d(epsilon=None), TypeError, "epsilon must be a number"),
        (lambda: LeakyReLU("0.1"), TypeError, "LeakyReLU: slope must be a number, got '0.1'"),
        (lambda: LeakyReLU(float("inf")), ValueError, "LeakyReLU: slope must be finite, got inf"),
        (lambda: ELU("1"), TypeError, "ELU: alpha must be a number, got '1'"),
        (lambda: ELU(float("nan")), ValueError, "ELU: alpha must be finite, got nan"),
        (lambda: GroupNorm(0), ValueError, "GroupNorm: groups must be at least 1, got 0"),
        (lambda: GroupNorm(2.0), TypeError, "GroupNorm: groups must be an int, got 2.0"),
        (lambda: GroupNorm(2, 0.0), ValueError, "GroupNorm: epsilon must be above 0"),
        (lambda: GroupNorm(2, "1"), TypeError, "GroupNorm: epsilon must be a number"),
        (lambda: LayerNorm(-1.0), ValueError, "LayerNorm: epsilon must be above 0"),
        (lambda: LayerNorm("1"), TypeError, "LayerNorm: epsilon must be a number"),
        (lambda: ZeroPad2d(-1), ValueError, "ZeroPad2d: padding must be at least 0, got -1"),
        (lambda: ZeroPad2d((0, 1, 0, -1)), ValueError, "ZeroPad2d: padding must be at least 0"),
        (lambda: ZeroPad2d((1, 2, 3)), TypeError, "ZeroPad2d: padding must be an int, (pad_h,"),
        (lambda: ZeroPad2d(1.5), TypeError, "ZeroPad2d: padding must be an int"),
        (lambda: ZeroPad2d(()), TypeError, "ZeroPad2d: padding must be an int"),
        (lambda: ZeroPadChannels(1, -1), ValueError, "ZeroPadChannels: after must be at least 0"),
        (lambda: ZeroPadChannels(1.0, 1), TypeError, "ZeroPadChannels: before must be an int"),
        (lambda: AdaptiveAvgPool2d(0), ValueError, "AdaptiveAvgPool2d: output_size must be at le"),
        (lambda: Upsample2d(0), ValueError, "Upsample2d: scale must be at least 1, got 0"),
        (lambda: Upsample2d(1.5), TypeError, "Upsample2d: scale must be an int or a pair"),
        (lambda: Upsample2d(2, "cubic"), ValueError, 'must be "nearest" or "bilinear", got'),
        (lambda: Reshape(4), TypeError, "Reshape: shape must be a tuple of ints, without N, got 4"),
        (lambda: Reshape(()), TypeError, "Reshape: shape must be a tuple of ints"),
        (lambda: Reshape((2, 0)), ValueError, "must be of sizes of at least 1, one of them -1"),
        (lambda: Reshape((-1, 2, -1)), ValueError, "one of them -1 at most, got (-1, 2, -1)"),
        (lambda: Concatenate(), ValueError, "Concatenate: needs at least one branch, got none"),
        (lambda: Add(ReLU), TypeError, "Add: branch 0 must be a layer object"),
        (lambda: Sequential(), ValueError, "Sequential: needs at least one layer"),
        (lambda: Sequential(Flatten(), ReLU), TypeError, "layer 1 must be a layer object"),
        (lambda: Sequential(ReLU), TypeError, "write for example ReLU(), with parentheses"),
        (lambda: Sequential([ReLU()]), TypeError, "layer 0 must be a layer object, got [ReLU()]"),
        (lambda: Residual(ReLU), TypeError, "Residual: body must be a layer object"),
        (lambda: Residual(ReLU(), ReLU), TypeError, "Residual: shortcut must be a layer object"),
    ],
)
def test_bad_settings(make, error, message):
    kind = InvalidTypeError if error is TypeError else InvalidValueError
    with pytest.raises(kind, match=re.escape(message)):
        make()


@pytest.mark.parametrize(
    ("layer", "input_shape", "message"),
    [
        (Conv2d(2, 3), (28, 28), "Conv2d: input must have 4 axes (N, H, W, C), got (N, 28, 28)"),
        (Conv2d(2, 5), (4, 9, 1), "the 5x5 window must fit into the image, got 4x9 pixels"),
        (Conv2d(2, 5, padding=(1, 0)), (2, 9, 1), "got 2x9 pixels (padded 4x9)"),
        (MaxPool2d(2), (10,), "MaxPool2d: input must have 4 axes"),
        (MaxPool2d(3), (2, 2, 1), "the 3x3 window must fit into the image, got 2x2 pixels"),
        (AvgPool2d(2), (1, 5, 1), "AvgPool2d: the 2x2 window must fit into the image"),
        (GlobalAvgPool2d(), (5,), "GlobalAvgPool2d: input must have 4 axes"),
        (BatchNorm(), (5, 2), "BatchNorm: input must be images, (N, H, W, C), or rows"),
        (
            Conv2d(2, 3, dilation=3),
            (6, 9, 1),
            "Conv2d: the 7x7 window must fit into the image, got 6x9 pixels",
        ),
        (Conv2d(4, 3, groups=2), (5, 5, 3), "Conv2d: groups must divide the channels, got 2 for 3"),
        (ConvTranspose2d(2, 3), (6,), "ConvTranspose2d: input must have 4 axes"),
        (
            ConvTranspose2d(2, 3, padding=(2, 0)),
            (2, 2, 1),
            "ConvTranspose2d: padding must leave something of the output, got (2, 0) for 2x2 pixels",
        ),
        (LayerNorm(), (), "LayerNorm: input must have a last axis, got (N)"),
        (Dropout2d(0.1), (6,), "Dropout2d: input must have 4 axes"),
        (ZeroPad2d(1), (6,), "ZeroPad2d: input must have 4 axes"),
        (Upsample2d(2), (6,), "Upsample2d: input must have 4 axes"),
        (Reshape((4, 2)), (3, 3), "the 9 numbers of an image (N, 3, 3) must fill (N, 4, 2)"),
        (Reshape((4, -1)), (3, 3), "the 9 numbers of an image (N, 3, 3) must fill (N, 4, -1)"),
        (
            Concatenate(Identity(), Conv2d(2, 3)),
            (5, 5, 1),
            "equal but for the last axis, got (N, 5, 5, 1), (N, 3, 3, 2)",
        ),
        (
            Add(Identity(), Conv2d(2, 1)),
            (5, 5, 1),
            "Add: the branches must give one shape, got (N, 5, 5, 1), (N, 5, 5, 2)",
        ),
        (GroupNorm(2), (6,), "GroupNorm: input must have 4 axes"),
        (
            GroupNorm(3),
            (5, 5, 4),
            "GroupNorm: groups must divide the channels, got 3 for 4 channels",
        ),
        (Dense(3), (4, 4, 1), "Dense: input must have 2 axes (N, inputs), got (N, 4, 4, 1)"),
        (Residual(Conv2d(2, 3)), (5, 5, 2), "got (3, 3, 2) and (5, 5, 2)"),
        (Sequential(ReLU(), Dense(3)), (4, 4, 1), "layer 1, Dense: input must have 2 axes"),
        (
            Sequential(ReLU(), Sequential(ReLU(), MaxPool2d(3))),
            (2, 2, 1),
            "layer 1, layer 1, MaxPool2d: the 3x3 window",
        ),
    ],
    ids=str,
)
def test_shapes_that_do_not_fit(layer, input_shape, message):
    with pytest.raises(InvalidValueError, match=re.escape(message)):
        layer.init(np.random.default_rng(0), input_shape)


@pytest.mark.parametrize(
    ("layer", "made_for", "x", "error", "message"),
    [
        (Conv2d(2, 3), (5, 5, 1), np.zeros((2, 5, 5)), ValueError, "got shape (2, 5, 5)"),
        (Conv2d(2, 3), (5, 5, 3), np.zeros((2, 5, 5, 1)), ValueError, "must have 3 channels"),
        (Conv2d(2, 3), (5, 5, 1), np.zeros((2, 2, 5, 1)), ValueError, "the 3x3 window must fit"),
        (Conv2d(2, 3), (5, 5, 1), np.zeros((2, 5, 5, 1), np.uint8), TypeError, "Rescale()"),
        (Conv2d(2, 3), (5, 5, 1), np.zeros((2, 5, 5, 1), int), TypeError, "got int64"),
        (Rescale(), (5, 5, 1), np.zeros((2, 5, 5, 1)), TypeError, "must be uint8 (0 to 255)"),
        (MaxPool2d(2), (5, 5, 1), np.zeros((2, 5, 5)), ValueError, "MaxPool2d: input must have"),
        (MaxPool2d(2), (5, 5, 1), np.zeros((2, 5, 5, 1), int), TypeError, "MaxPool2d: input must"),
        (AvgPool2d(2), (5, 5, 1), np.zeros((2, 5)), ValueError, "AvgPool2d: input must have"),
        (GlobalAvgPool2d(), (5, 5, 1), np.zeros((2, 5)), ValueError, "GlobalAvgPool2d: input"),
        (BatchNorm2d(), (5, 5, 3), np.zeros((2, 5, 5, 1)), ValueError, "must have 3 channels"),
        (GroupNorm(2), (5, 5, 2), np.zeros((2, 5, 5, 4)), ValueError, "must have 2 channels"),
        (Dense(2), (5,), np.zeros((2, 6)), ValueError, "Dense: input must be (N, 5), got"),
        (Dense(2), (5,), np.zeros((2, 5, 1)), ValueError, "Dense: input must be (N, 5), got"),
        (Dense(2), (5,), np.zeros((2, 5), int), TypeError, "Dense: input must be float32 or"),
        (ReLU(), (5,), np.zeros((2, 5), int), TypeError, "ReLU: input must be float32 or"),
        (Softmax(), (5,), np.zeros((2, 5), int), TypeError, "Softmax: input must be float32 or"),
        (Dropout(0.5), (5,), np.zeros((2, 5), int), TypeError, "Dropout: input must be float32"),
        (
            Sequential(ReLU(), ReLU(), Flatten(), Dense(2)),
            (2, 2, 1),
            np.zeros((2, 3, 2, 1)),
            ValueError,
            "layer 3, Dense: input must be (N, 4), got shape (2, 6)",
        ),
        (Sequential(Conv2d(2, 3)), (5, 5, 1), np.zeros((1, 5, 5, 1), int), TypeError, "layer 0, "),
    ],
)
def test_inputs_that_do_not_fit(layer, made_for, x, error, message):
    params, state, _ = layer.init(np.random.default_rng(0), made_for)
    kind = InvalidTypeError if error is TypeError else InvalidValueError
    with pytest.raises(kind, match=re.escape(message)):
        layer.forward(params, state, x, INFER)


def test_dropout_without_randomness():
    with pytest.raises(InvalidValueError, match="pass Randomness"):
        Dropout(0.5).forward({}, {}, np.zeros((2, 3)), Context(GENERIC, "train", "float64"))
