"""What launch code checks of its arrays beyond `Launcher.floating`."""

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.launcher import Launcher


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


def check_shape(what: str, array: Array, expected: tuple[int, ...]) -> None:
    """InvalidValueError unless ``array`` is of the ``expected`` shape."""
    if tuple(array.shape) != tuple(expected):
        message = f"{what} must be of shape {tuple(expected)}, got {tuple(array.shape)}"
        raise InvalidValueError(message)
