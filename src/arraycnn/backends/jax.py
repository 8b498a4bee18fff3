"""JAX arrays, computed by this library's own kernels (no autodiff)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from arraycnn.backends.backend import Backend, adopt
from arraycnn.backends.imports import import_library, one_line
from arraycnn.errors import BackendUnavailableError, InvalidTypeError
from arraycnn.ops import Array


@dataclass(frozen=True)
class JAX(Backend):
    """Arrays of JAX on its first CPU device. float64 needs ``jax_enable_x64``."""

    name: ClassVar[str] = "jax"

    @property
    def device_name(self) -> str:
        return str(self._device())

    @property
    def version(self) -> str:
        return self._library().__version__

    def check(self) -> None:
        try:
            self._device()
        except RuntimeError as error:
            if isinstance(error, BackendUnavailableError):
                raise
            message = (
                f"backend jax: JAX does not offer the CPU ({one_line(error)}); "
                "unset JAX_PLATFORMS, or add cpu to it"
            )
            raise BackendUnavailableError(message) from error

    def check_dtype(self, dtype: str) -> None:
        super().check_dtype(dtype)
        if dtype == "float64" and not self._library().config.jax_enable_x64:
            message = (
                "backend jax: float64 is switched off in JAX, which would compute in float32; "
                'call jax.config.update("jax_enable_x64", True) or set JAX_ENABLE_X64=1'
            )
            raise InvalidTypeError(message)

    def asarray(self, array: Any) -> Array:
        jax = self._library()
        if isinstance(array, jax.Array) and array.devices() == {self._device()}:
            return array
        if isinstance(array, np.ndarray):
            return jax.device_put(array, self._device())
        return adopt(self, array, jax.numpy.from_dlpack)

    def to_numpy(self, array: Array) -> np.ndarray:
        return np.asarray(array)

    def _device(self) -> Any:
        return self._library().devices("cpu")[0]

    def _library(self) -> Any:
        return import_library("jax", self.name, 'pip install "arraycnn[jax]"')
