"""What launch code checks of its arrays beyond `Launcher.floating`."""

from typing import Any

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.launcher import Launcher
from arraycnn.ops.rounded import ROUNDED_BITS, TENSOR_FLOAT32_BITS


def of_dtype(
    launcher: Launcher, owner: str, dtypes: tuple[str, ...], *arrays: Array
) -> tuple[Array, ...]:
    """``arrays`` in C order; InvalidTypeError unless ours and each of one of ``dtypes``."""
    launcher.ours(owner, *arrays)
    for array in arrays:
        if str(array.dtype) not in dtypes:
            message = f"{owner} on CUDA: takes {' or '.join(dtypes)} here, got {array.dtype}"
            raise InvalidTypeError(message)
    return tuple(launcher.contiguous(array) for array in arrays)


def stored_as(launcher: Launcher, owner: str, stored: Any, *arrays: Array) -> tuple[Array, ...]:
    """``arrays`` in C order, of what ``stored`` allows.

    That is the dtype of a kernel's result: None for that of its operands, which are then all float32
    or all float64; else float32 or one of ROUNDED_BITS, and each operand is float32 or of that one.
    """
    if stored is None:
        return launcher.floating(owner, *arrays)
    dtypes = [stored, *(array.dtype for array in arrays)]
    rounded = [one.name for one in ROUNDED_BITS if one in dtypes]
    return of_dtype(launcher, owner, ("float32", *rounded[:1]), *arrays)


def as_numbers(array: Array) -> Array:
    """``array`` for who reads it alone, or writes what was read: TensorFloat32 is float32."""
    return array.view("float32") if array.dtype == TENSOR_FLOAT32_BITS else array


def check_shape(what: str, array: Array, expected: tuple[int, ...]) -> None:
    """InvalidValueError unless ``array`` is of the ``expected`` shape."""
    if tuple(array.shape) != tuple(expected):
        message = f"{what} must be of shape {tuple(expected)}, got {tuple(array.shape)}"
        raise InvalidValueError(message)
