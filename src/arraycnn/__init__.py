"""One CNN, every array library.

Layers are written once, forward and backward by hand, against the Python array-API namespace, and
run unchanged on NumPy, CuPy, PyTorch and JAX arrays.

Axes everywhere: N images, H rows, W columns, C channels (last), F filters, KH x KW window,
OH x OW output, K classes.
"""

from arraycnn.backends import (
    JAX,
    ArrayAPIStrict,
    Backend,
    CuPy,
    NumPy,
    Torch,
    available_backends,
    get_backend,
)
from arraycnn.errors import (
    ArraycnnError,
    BackendUnavailableError,
    CheckpointError,
    DataError,
    InvalidTypeError,
    InvalidValueError,
    MissingPackageError,
    NonFiniteError,
    RunFolderError,
)
from arraycnn.history import Callback, EpochRecord, History, Metrics, Progress
from arraycnn.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    MaxPool2d,
    ReLU,
    Rescale,
    Residual,
    Sequential,
    Softmax,
)
from arraycnn.losses import softmax_cross_entropy
from arraycnn.model import Model
from arraycnn.optimizers import SGD, Adam, AdamW
from arraycnn.schedules import Constant, Cosine, OneCycle, StepDecay

__version__ = "0.1.0"

__all__ = [
    "JAX",
    "SGD",
    "Adam",
    "AdamW",
    "ArrayAPIStrict",
    "ArraycnnError",
    "AvgPool2d",
    "Backend",
    "BackendUnavailableError",
    "BatchNorm2d",
    "Callback",
    "CheckpointError",
    "Constant",
    "Conv2d",
    "Cosine",
    "CuPy",
    "DataError",
    "Dense",
    "Dropout",
    "EpochRecord",
    "Flatten",
    "GlobalAvgPool2d",
    "History",
    "InvalidTypeError",
    "InvalidValueError",
    "Layer",
    "MaxPool2d",
    "Metrics",
    "MissingPackageError",
    "Model",
    "NonFiniteError",
    "NumPy",
    "OneCycle",
    "Progress",
    "ReLU",
    "Rescale",
    "Residual",
    "RunFolderError",
    "Sequential",
    "Softmax",
    "StepDecay",
    "Torch",
    "available_backends",
    "get_backend",
    "softmax_cross_entropy",
]
