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
    AdaptiveAvgPool2d,
    Add,
    AvgPool2d,
    BatchNorm,
    BatchNorm2d,
    Branches,
    Concatenate,
    Conv2d,
    ConvTranspose2d,
    CutMix,
    Cutout,
    Dense,
    Dropout,
    Dropout2d,
    ElasticDeformation,
    Flatten,
    GELUTanh,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
    GroupNorm,
    Hardswish,
    HorizontalFlip,
    Identity,
    Layer,
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
    TorchModule,
    Upsample2d,
    ZeroPad2d,
    ZeroPadChannels,
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
from arraycnn.model.new_head import with_head
from arraycnn.model.rate_search import RateSearch, find_learning_rate
from arraycnn.model.with_augmentation import with_augmentation
from arraycnn.moved_modules import serve_former_names as _serve_former_names
from arraycnn.optimizers import (
    EMA,
    NO_DECAY,
    SGD,
    Adam,
    AdamW,
    ClipNorm,
    Group,
    Lion,
    Lookahead,
    Muon,
    ParameterGroups,
)
from arraycnn.optimizers.schedules import Constant, Cosine, Exponential, OneCycle, StepDecay, Warmup
from arraycnn.training.batches import Batches
from arraycnn.training.history import EpochRecord, History, Metrics, Progress
from arraycnn.training.plateau import Plateau
from arraycnn.training.state import TrainingState

__version__ = "0.1.0"

_serve_former_names()

__all__ = [
    "ELU",
    "EMA",
    "JAX",
    "NO_DECAY",
    "SGD",
    "Activation",
    "Adam",
    "AdamW",
    "AdaptiveAvgPool2d",
    "Add",
    "ArrayAPIStrict",
    "ArraycnnError",
    "AvgPool2d",
    "Backend",
    "BackendUnavailableError",
    "BatchNorm",
    "BatchNorm2d",
    "Batches",
    "BestCheckpoint",
    "BinaryCrossEntropy",
    "Branches",
    "CSVLog",
    "Callback",
    "Checkpoint",
    "CheckpointError",
    "ClassificationLoss",
    "ClipNorm",
    "Concatenate",
    "Constant",
    "Conv2d",
    "ConvTranspose2d",
    "Cosine",
    "CuPy",
    "CutMix",
    "Cutout",
    "DataError",
    "DataFileError",
    "Dense",
    "DeviceLostError",
    "Dropout",
    "Dropout2d",
    "EarlyStopping",
    "ElasticDeformation",
    "EpochRecord",
    "Exponential",
    "Flatten",
    "GELUTanh",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
    "Group",
    "GroupNorm",
    "Hardswish",
    "History",
    "HorizontalFlip",
    "Huber",
    "Identity",
    "ImageSource",
    "InvalidTypeError",
    "InvalidValueError",
    "JSONLog",
    "Layer",
    "LayerNorm",
    "LeakyReLU",
    "Lion",
    "Lookahead",
    "Loss",
    "MaxPool2d",
    "MeanSquaredError",
    "Metrics",
    "MissingPackageError",
    "Mixup",
    "Model",
    "MultiLabelLoss",
    "Muon",
    "NonFiniteError",
    "NumPy",
    "OneCycle",
    "OutOfMemoryError",
    "ParameterGroups",
    "Plateau",
    "Progress",
    "RandomAffine",
    "RandomBrightness",
    "RandomContrast",
    "RandomCrop",
    "RandomErasing",
    "RandomShift",
    "RateSearch",
    "ReLU",
    "RegressionLoss",
    "Rescale",
    "Reshape",
    "Residual",
    "RunFolderError",
    "Sequential",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "SoftmaxCrossEntropy",
    "StepDecay",
    "StepLog",
    "StochasticDepth",
    "Tanh",
    "TensorBoard",
    "TimeLimit",
    "Torch",
    "TorchModule",
    "TrainingState",
    "Upsample2d",
    "Warmup",
    "ZeroPad2d",
    "ZeroPadChannels",
    "available_backends",
    "find_learning_rate",
    "get_backend",
    "softmax_cross_entropy",
    "with_augmentation",
    "with_head",
]


_MODULES = ("export", "networks", "profiling", "report", "scratch")
"""Public modules that nothing above imports: each is imported when it is first asked for."""

_ESTIMATORS = ("CNNClassifier", "CNNRegressor")
"""Not in __all__: they are there only where scikit-learn is, and imported when first asked for."""


def __getattr__(name: str) -> Any:
    if name in _ESTIMATORS:
        return getattr(import_module(f"{__name__}.estimator"), name)
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted({*globals(), *_ESTIMATORS, *_MODULES})
