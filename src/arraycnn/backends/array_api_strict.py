"""array-api-strict: the standard and nothing more, on simulated devices. For tests."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from arraycnn.backends.backend import Backend, adopt
from arraycnn.backends.imports import import_library
from arraycnn.errors import BackendUnavailableError, InvalidTypeError
from arraycnn.ops import Array


@dataclass(frozen=True)
class ArrayAPIStrict(Backend):
    """Arrays that refuse whatever the array-API standard does not promise.

    Parameters
    ----------
    device : str
        "CPU_DEVICE", "device1", "device2", or "no_float64" (float32 only).
    """

    device: str = "CPU_DEVICE"

    name: ClassVar[str] = "array-api-strict"

    @property
    def device_name(self) -> str:
        return f"simulated {self.device}"

    @property
    def version(self) -> str:
        return self._library().__version__

    def check(self) -> None:
        try:
            self._library().Device(self.device)
        except ValueError as error:
            message = (
                f"backend {self.name}: device {self.device!r} cannot be used; "
                'take one that array-api-strict has, for example "CPU_DEVICE" or "device1"'
            )
            raise BackendUnavailableError(message) from error

    def check_dtype(self, dtype: str) -> None:
        super().check_dtype(dtype)
        if dtype == "float64" and self.device == "no_float64":
            message = (
                f"backend {self.name}: device no_float64 has no float64; "
                'use dtype="float32" or another device'
            )
            raise InvalidTypeError(message)

    def asarray(self, array: Any) -> Array:
        xp = self._library()
        device = xp.Device(self.device)
        if isinstance(array, type(xp.empty(0))) and array.device == device:
            return array
        if isinstance(array, np.ndarray):
            return xp.asarray(array, device=device)
        return adopt(self, array, self._from_dlpack)

    def _from_dlpack(self, array: Any) -> Array:
        if self.device != "CPU_DEVICE":
            message = f"array of the host for {self.device}"
            raise ValueError(message)
        return self._library().from_dlpack(array)

    def to_numpy(self, array: Array) -> np.ndarray:
        xp = self._library()
        return np.from_dlpack(xp.asarray(array, device=xp.Device("CPU_DEVICE")))

    def _library(self) -> Any:
        return import_library("array_api_strict", self.name, 'pip install "array-api-strict"')
