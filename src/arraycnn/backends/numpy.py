"""NumPy on the CPU: the default."""

import platform
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from arraycnn.backends.backend import Backend, adopt
from arraycnn.ops import Array


@dataclass(frozen=True)
class NumPy(Backend):
    """NumPy arrays, computed by NumPy."""

    name: ClassVar[str] = "numpy"

    @property
    def device_name(self) -> str:
        return f"CPU ({platform.machine()})"

    @property
    def version(self) -> str:
        return np.__version__

    def asarray(self, array: Any) -> Array:
        return array if isinstance(array, np.ndarray) else adopt(self, array, np.from_dlpack)

    def to_numpy(self, array: Array) -> np.ndarray:
        return np.asarray(array)
