"""What a backend is: the one value on which placement, kernels and execution hang."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import wraps
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

import numpy as np

from arraycnn.backends.host_memory import free_host_memory
from arraycnn.errors import ArraycnnError, InvalidTypeError
from arraycnn.execution import (
    EagerInference,
    EagerTraining,
    InferencePlan,
    Task,
    TrainingPlan,
)
from arraycnn.layers.layer import Layer, Tree
from arraycnn.losses import Loss
from arraycnn.ops import GENERIC, Array, Kernels
from arraycnn.ops.arrays import is_torch_array
from arraycnn.training.step import CROSS_ENTROPY, Carry
from arraycnn.tree import leaves

DTYPES = ("float32", "float64")

Owner = TypeVar("Owner")
Rest = ParamSpec("Rest")
Result = TypeVar("Result")


class Backend(ABC):
    """One array library on one device. Subclasses are frozen dataclasses of its settings."""

    name: ClassVar[str]
    """What users write: ``backend="numpy"``."""

    usable_memory: ClassVar[float] = 0.5
    """The share of free memory that arrays may take: a heap has gaps, and each thread its own."""

    @property
    def kernels(self) -> Kernels:
        """The kernels that run on its arrays."""
        return GENERIC

    @property
    @abstractmethod
    def device_name(self) -> str:
        """The device in words, for records and summaries."""

    @property
    @abstractmethod
    def version(self) -> str:
        """The library's version."""

    @property
    def description(self) -> str:
        """Library and device, for `arraycnn info`."""
        return f"{self.version}, {self.device_name}"

    @abstractmethod
    def asarray(self, array: Any) -> Array:
        """``array`` on this backend's device, dtype kept.

        NumPy arrays are placed; arrays of other libraries come through DLPack where they are on
        the same device already. Raises InvalidTypeError for anything else: no hidden copies.
        """

    def active(self) -> AbstractContextManager[Any]:
        """A context in which functions of the library run on this device.

        CUDA's have a current device; most libraries run where their arrays lie.
        """
        return nullcontext()

    def fits(self, size: int) -> bool:
        """Whether a data set of ``size`` bytes should be kept on the device."""
        return True

    def free_memory(self) -> int | None:
        """How many bytes the device has left for this process; None where it does not tell."""
        return free_host_memory()

    def is_lost(self, error: Exception) -> bool:
        """Whether ``error`` says that the device does not answer any more."""
        return False

    def in_words(self, error: Exception) -> ArraycnnError | None:
        """``error`` of the library as one of our family, where the backend knows what it means."""
        return None

    @abstractmethod
    def to_numpy(self, array: Array) -> np.ndarray:
        """``array`` on the host."""

    def check(self) -> None:
        """Raise BackendUnavailableError unless the library and the device can be used here."""
        _ = self.version

    def check_dtype(self, dtype: str) -> None:
        """Refuse a dtype this backend cannot compute in."""
        if not isinstance(dtype, str) or dtype not in DTYPES:
            message = (
                f"backend {self.name}: dtype must be one of {', '.join(DTYPES)}, got {dtype!r}"
            )
            raise InvalidTypeError(message)

    def is_finite(self, tree: Tree) -> bool:
        """Whether all numbers in ``tree`` are."""
        return all(np.isfinite(self.to_numpy(leaf)).all() for leaf in leaves(tree))

    def training_plan(self, task: Task, carry: Carry) -> TrainingPlan:
        """The plan that runs ``task`` from ``carry``, wherever its images are."""
        return EagerTraining(self, task, carry)

    def inference_plan(
        self,
        network: Layer,
        params: Tree,
        state: Tree,
        dtype: str,
        loss: Loss = CROSS_ENTROPY,
    ) -> InferencePlan:
        """The plan that runs ``network`` forward."""
        return EagerInference(self, network, params, state, dtype, loss)


def on_its_device(
    function: Callable[Concatenate[Owner, Rest], Result],
) -> Callable[Concatenate[Owner, Rest], Result]:
    """Run ``function`` with its first argument's `backend` active."""

    @wraps(function)
    def run(owner: Owner, /, *args: Rest.args, **keywords: Rest.kwargs) -> Result:
        backend: Backend = owner.backend  # type: ignore[attr-defined]
        with backend.active():
            return function(owner, *args, **keywords)

    return run


def adopt(backend: Backend, array: Any, from_dlpack: Any) -> Array:
    """An array of another library through DLPack, or an error that says what to do."""
    try:
        if is_simulated(array):
            message = f"array on {array.device}"
            raise ValueError(message)
        # PyTorch lets no tensor out that follows gradients; nobody here asks for them.
        return from_dlpack(array.detach() if is_torch_array(array) else array)
    except (AttributeError, TypeError, ValueError, RuntimeError, BufferError) as error:
        kind = f"{type(array).__module__.partition('.')[0]}.{type(array).__name__}"
        message = (
            f"backend {backend.name}: arrays must be NumPy's or lie on {backend.device_name}, "
            f"got {kind}; copy it to the host as a NumPy array first"
        )
        raise InvalidTypeError(message) from error


def is_simulated(array: Any) -> bool:
    """Whether ``array`` lies on a device that array-api-strict only simulates.

    To DLPack it lies on the host; taken from there, it would slip through as no real device can.
    """
    module = type(array).__module__.partition(".")[0]
    return module == "array_api_strict" and "CPU_DEVICE" not in str(array.device)
