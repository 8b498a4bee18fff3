"""PyTorch tensors: its kernels for convolutions and pools, the rest written here (no autograd)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from arraycnn.backends.backend import Backend, adopt
from arraycnn.backends.imports import import_library, one_line
from arraycnn.errors import BackendUnavailableError
from arraycnn.ops import Array, Kernels


@dataclass(frozen=True)
class Torch(Backend):
    """Tensors of PyTorch.

    Parameters
    ----------
    device : str
        A PyTorch device such as "cpu" or "cuda:0"; "meta" computes shapes and dtypes only.
    """

    device: str = "cpu"

    name: ClassVar[str] = "torch"

    @property
    def kernels(self) -> Kernels:
        from arraycnn.ops.torch_kernels import torch_kernels

        self._library()
        return torch_kernels()

    @property
    def device_name(self) -> str:
        return f"torch {self.device}"

    @property
    def version(self) -> str:
        return self._library().__version__

    def check(self) -> None:
        try:
            self._device()
        except BackendUnavailableError:
            raise
        except Exception as error:  # AssertionError where PyTorch was built without CUDA
            message = (
                f"backend torch: device {self.device!r} cannot be used ({one_line(error)}); "
                'take one that PyTorch has here, for example Torch(device="cpu")'
            )
            raise BackendUnavailableError(message) from error

    def asarray(self, array: Any) -> Array:
        torch = self._library()
        device = self._device()
        if isinstance(array, torch.Tensor) and array.device == device:
            return array.detach()
        if isinstance(array, np.ndarray):
            # PyTorch knows no read-only memory and no negative strides: those have to be copied.
            fits = array.flags.writeable and min(array.strides, default=0) >= 0
            return torch.asarray(array if fits else array.copy(), device=device)
        return adopt(self, array, self._from_dlpack)

    def free_memory(self) -> int | None:
        return super().free_memory() if self.device == "cpu" else None

    def to_numpy(self, array: Array) -> np.ndarray:
        return array.detach().cpu().numpy()

    def _from_dlpack(self, array: Any) -> Array:
        tensor = self._library().from_dlpack(array)
        if tensor.device != self._device():
            message = f"array on {tensor.device}"
            raise ValueError(message)
        return tensor

    def _device(self) -> Any:
        # A tensor knows its number where self.device may leave it out: "cuda" is "cuda:0".
        return self._library().empty(0, device=self.device).device

    def _library(self) -> Any:
        return import_library("torch", self.name, 'pip install "arraycnn[torch]"')
