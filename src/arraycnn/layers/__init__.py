"""The layers, and the table from class name to class that files use."""

from arraycnn.layers.activation import Activation
from arraycnn.layers.adaptive_avg_pool2d import AdaptiveAvgPool2d
from arraycnn.layers.add import Add
from arraycnn.layers.augmentation import (
    CutMix,
    Cutout,
    ElasticDeformation,
    HorizontalFlip,
    Mixup,
    RandomAffine,
    RandomBrightness,
    RandomContrast,
    RandomCrop,
    RandomErasing,
    RandomShift,
)
from arraycnn.layers.avg_pool2d import AvgPool2d
from arraycnn.layers.batch_norm import BatchNorm, BatchNorm2d
from arraycnn.layers.branches import Branches
from arraycnn.layers.concatenate import Concatenate
from arraycnn.layers.conv2d import Conv2d
from arraycnn.layers.conv_transpose2d import ConvTranspose2d
from arraycnn.layers.dense import Dense
from arraycnn.layers.dropout import Dropout
from arraycnn.layers.dropout2d import Dropout2d
from arraycnn.layers.elu import ELU
from arraycnn.layers.export_forms import TorchModule
from arraycnn.layers.flatten import Flatten
from arraycnn.layers.gelu_tanh import GELUTanh
from arraycnn.layers.global_avg_pool2d import GlobalAvgPool2d
from arraycnn.layers.global_max_pool2d import GlobalMaxPool2d
from arraycnn.layers.group_norm import GroupNorm
from arraycnn.layers.hardswish import Hardswish
from arraycnn.layers.identity import Identity
from arraycnn.layers.layer import Context, Layer, Randomness
from arraycnn.layers.layer_norm import LayerNorm
from arraycnn.layers.leaky_relu import LeakyReLU
from arraycnn.layers.max_pool2d import MaxPool2d
from arraycnn.layers.relu import ReLU
from arraycnn.layers.rescale import Rescale
from arraycnn.layers.reshape import Reshape
from arraycnn.layers.residual import Residual
from arraycnn.layers.sequential import Sequential
from arraycnn.layers.sigmoid import Sigmoid
from arraycnn.layers.silu import SiLU
from arraycnn.layers.softmax import Softmax
from arraycnn.layers.stochastic_depth import StochasticDepth
from arraycnn.layers.tanh import Tanh
from arraycnn.layers.upsample2d import Upsample2d
from arraycnn.layers.zero_pad2d import ZeroPad2d
from arraycnn.layers.zero_pad_channels import ZeroPadChannels

LAYERS: dict[str, type] = {
    layer.__name__: layer
    for layer in (
        AdaptiveAvgPool2d,
        Add,
        AvgPool2d,
        BatchNorm,
        Concatenate,
        Conv2d,
        ConvTranspose2d,
        CutMix,
        Cutout,
        Dense,
        Dropout,
        Dropout2d,
        ElasticDeformation,
        ELU,
        Flatten,
        GELUTanh,
        GlobalAvgPool2d,
        GlobalMaxPool2d,
        GroupNorm,
        Hardswish,
        HorizontalFlip,
        Identity,
        LayerNorm,
        LeakyReLU,
        MaxPool2d,
        Mixup,
        RandomAffine,
        RandomBrightness,
        RandomContrast,
        RandomCrop,
        RandomErasing,
        RandomShift,
        ReLU,
        Rescale,
        Reshape,
        Residual,
        Sequential,
        Sigmoid,
        SiLU,
        Softmax,
        StochasticDepth,
        Tanh,
        Upsample2d,
        ZeroPad2d,
        ZeroPadChannels,
    )
}

FORMER_LAYERS: dict[str, type] = {"BatchNorm2d": BatchNorm}
"""By the names that older files have."""

__all__ = [
    "ELU",
    "FORMER_LAYERS",
    "LAYERS",
    "Activation",
    "AdaptiveAvgPool2d",
    "Add",
    "AvgPool2d",
    "BatchNorm",
    "BatchNorm2d",
    "Branches",
    "Concatenate",
    "Context",
    "Conv2d",
    "ConvTranspose2d",
    "CutMix",
    "Cutout",
    "Dense",
    "Dropout",
    "Dropout2d",
    "ElasticDeformation",
    "Flatten",
    "GELUTanh",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
    "GroupNorm",
    "Hardswish",
    "HorizontalFlip",
    "Identity",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "MaxPool2d",
    "Mixup",
    "RandomAffine",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomErasing",
    "RandomShift",
    "Randomness",
    "ReLU",
    "Rescale",
    "Reshape",
    "Residual",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "StochasticDepth",
    "Tanh",
    "TorchModule",
    "Upsample2d",
    "ZeroPad2d",
    "ZeroPadChannels",
]
