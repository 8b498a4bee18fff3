"""The tutorial's network, PyTorch's basic one and LeNet-5: minutes on a CPU."""

from typing import Literal

from arraycnn.layers import (
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    MaxPool2d,
    ReLU,
    Rescale,
    Sequential,
)


def scratch(classes: int = 10, ties: Literal["first", "all"] = "first") -> Sequential:
    """The network of the tutorial "CNN from scratch" (V. Zhou, 2019).

    A 3x3 convolution with 8 filters and no bias, a 2x2 max-pool, one dense layer. The tutorial's
    own pool sends the gradient to every maximum (``ties="all"``); the first maximum learns better.
    """
    return Sequential(
        Rescale(),
        Conv2d(8, 3, bias=False),
        MaxPool2d(2, ties=ties),
        Flatten(),
        Dense(classes),
    )


def basic(classes: int = 10) -> Sequential:
    """PyTorch's basic MNIST example: two convolutions, a pool, two dense layers, dropout."""
    return Sequential(
        Rescale(),
        Conv2d(32, 3),
        ReLU(),
        Conv2d(64, 3),
        ReLU(),
        MaxPool2d(2),
        Dropout(0.25),
        Flatten(),
        Dense(128),
        ReLU(),
        Dropout(0.5),
        Dense(classes),
    )


def lenet5(classes: int = 10) -> Sequential:
    """LeNet-5 (LeCun et al., 1998) with today's parts: ReLU for tanh, max-pool for subsampling."""
    return Sequential(
        Rescale(),
        Conv2d(6, 5, padding="same"),
        ReLU(),
        MaxPool2d(2),
        Conv2d(16, 5),
        ReLU(),
        MaxPool2d(2),
        Flatten(),
        Dense(120),
        ReLU(),
        Dense(84),
        ReLU(),
        Dense(classes),
    )
