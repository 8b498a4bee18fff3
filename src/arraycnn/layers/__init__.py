"""The layers, and the table from class name to class that files use."""

from arraycnn.layers.activation import Activation
from arraycnn.layers.avg_pool2d import AvgPool2d
from arraycnn.layers.batch_norm2d import BatchNorm2d
from arraycnn.layers.conv2d import Conv2d
from arraycnn.layers.dense import Dense
from arraycnn.layers.dropout import Dropout
from arraycnn.layers.elu import ELU
from arraycnn.layers.export_forms import OnnxGraph, TorchModule
from arraycnn.layers.flatten import Flatten
from arraycnn.layers.gelu_tanh import GELUTanh
from arraycnn.layers.global_avg_pool2d import GlobalAvgPool2d
from arraycnn.layers.group_norm import GroupNorm
from arraycnn.layers.hardswish import Hardswish
from arraycnn.layers.layer import Context, Layer, Randomness
from arraycnn.layers.leaky_relu import LeakyReLU
from arraycnn.layers.max_pool2d import MaxPool2d
from arraycnn.layers.relu import ReLU
from arraycnn.layers.rescale import Rescale
from arraycnn.layers.residual import Residual
from arraycnn.layers.sequential import Sequential
from arraycnn.layers.sigmoid import Sigmoid
from arraycnn.layers.silu import SiLU
from arraycnn.layers.softmax import Softmax
from arraycnn.layers.tanh import Tanh

LAYERS: dict[str, type] = {
    layer.__name__: layer
    for layer in (
        AvgPool2d,
        BatchNorm2d,
        Conv2d,
        Dense,
        Dropout,
        ELU,
        Flatten,
        GELUTanh,
        GlobalAvgPool2d,
        GroupNorm,
        Hardswish,
        LeakyReLU,
        MaxPool2d,
        ReLU,
        Rescale,
        Residual,
        Sequential,
        Sigmoid,
        SiLU,
        Softmax,
        Tanh,
    )
}

__all__ = [
    "ELU",
    "LAYERS",
    "Activation",
    "AvgPool2d",
    "BatchNorm2d",
    "Context",
    "Conv2d",
    "Dense",
    "Dropout",
    "Flatten",
    "GELUTanh",
    "GlobalAvgPool2d",
    "GroupNorm",
    "Hardswish",
    "Layer",
    "LeakyReLU",
    "MaxPool2d",
    "OnnxGraph",
    "Randomness",
    "ReLU",
    "Rescale",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "TorchModule",
]
