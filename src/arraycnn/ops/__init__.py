"""The kernels that layers call, and the record that says which library runs which."""

from arraycnn.ops.arrays import Array, array_namespace
from arraycnn.ops.kernels import GENERIC, Kernels
from arraycnn.ops.window import Window

__all__ = ["GENERIC", "Array", "Kernels", "Window", "array_namespace"]
