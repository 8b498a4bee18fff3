"""One CNN, every array library.

Layers are written once, forward and backward by hand, against the Python array-API namespace, and
run unchanged on NumPy, CuPy, PyTorch and JAX arrays.

Axes everywhere: N images, H rows, W columns, C channels (last), F filters, KH x KW window,
OH x OW output, K classes.
"""

from importlib import import_module
from typing import Any

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
from arraycnn.callbacks import (
    BestCheckpoint,
    Callback,
    Checkpoint,
    CSVLog,
    EarlyStopping,
    JSONLog,
    StepLog,
    TensorBoard,
    TimeLimit,
)
from arraycnn.data.image_source import ImageSource
from arraycnn.errors import (
    ArraycnnError,
    BackendUnavailableError,
    CheckpointError,
    DataError,
    DataFileError,
    DeviceLostError,
    InvalidTypeError,
    InvalidValueError,
    MissingPackageError,
    NonFiniteError,
    OutOfMemoryError,
    RunFolderError,
)
from arraycnn.layers import (
    ELU,
    Activation,
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GELUTanh,
    GlobalAvgPool2d,
    GroupNorm,
    Hardswish,
    Layer,
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
    TorchModule,
)
from arraycnn.losses import (
    BinaryCrossEntropy,
    ClassificationLoss,
    Huber,
    Loss,
    MeanSquaredError,
    MultiLabelLoss,
    RegressionLoss,
    SoftmaxCrossEntropy,
    softmax_cross_entropy,
)
from arraycnn.model.model import Model
from arraycnn.moved_modules import serve_former_names as _serve_former_names
from arraycnn.optimizers import SGD, Adam, AdamW, Lion
from arraycnn.optimizers.schedules import Constant, Cosine, OneCycle, StepDecay
from arraycnn.training.batch_stream import Batches
from arraycnn.training.history import EpochRecord, History, Metrics, Progress
from arraycnn.training.state import TrainingState

__version__ = "0.1.0"

_serve_former_names()

__all__ = [
    "ELU",
    "JAX",
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "ArrayAPIStrict",
    "ArraycnnError",
    "AvgPool2d",
    "Backend",
    "BackendUnavailableError",
    "BatchNorm2d",
    "Batches",
    "BestCheckpoint",
    "BinaryCrossEntropy",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "ClassificationLoss",
    "Constant",
    "Conv2d",
    "Cosine",
    "CuPy",
    "DataError",
    "DataFileError",
    "Dense",
    "DeviceLostError",
    "Dropout",
    "EarlyStopping",
    "EpochRecord",
    "Flatten",
    "GELUTanh",
    "GlobalAvgPool2d",
    "GroupNorm",
    "Hardswish",
    "History",
    "Huber",
    "ImageSource",
    "InvalidTypeError",
    "InvalidValueError",
    "JSONLog",
    "Layer",
    "LeakyReLU",
    "Lion",
    "Loss",
    "MaxPool2d",
    "MeanSquaredError",
    "Metrics",
    "MissingPackageError",
    "Model",
    "MultiLabelLoss",
    "NonFiniteError",
    "NumPy",
    "OneCycle",
    "OutOfMemoryError",
    "Progress",
    "ReLU",
    "RegressionLoss",
    "Rescale",
    "Residual",
    "RunFolderError",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "SoftmaxCrossEntropy",
    "StepDecay",
    "StepLog",
    "Tanh",
    "TensorBoard",
    "TimeLimit",
    "Torch",
    "TorchModule",
    "TrainingState",
    "available_backends",
    "get_backend",
    "softmax_cross_entropy",
]


_MODULES = ("export", "networks", "profiling", "report", "scratch")
"""Public modules that nothing above imports: each is imported when it is first asked for."""


def __getattr__(name: str) -> Any:
    # Not in __all__: it is there only where scikit-learn is, and is imported when first asked for.
    if name == "CNNClassifier":
        from arraycnn.estimator import CNNClassifier

        return CNNClassifier
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted({*globals(), "CNNClassifier", *_MODULES})
