"""What an array of images or labels may be: one place for all who take one.

The functions here are pure and know no caller. What breaks a rule raises `BrokenRule`, which the
caller makes an error of its own of, with the name of the argument or the path of the file.
"""

from typing import Any

import numpy as np
import numpy.typing as npt


class BrokenRule(Exception):
    """An array is not what it must be.

    Attributes
    ----------
    reason, remedy : str
        The rule and the value; what to do.
    of_kind : bool
        Whether the kind of object or the dtype is wrong, not its values.
    """

    def __init__(self, reason: str, remedy: str, of_kind: bool = False) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.reason, self.remedy, self.of_kind = reason, remedy, of_kind


def plain_array(values: Any) -> npt.NDArray[Any]:
    """``values`` as a NumPy array of numbers, truth values or text in this machine's byte order.

    Takes arrays, lists of numbers or of equal arrays, object arrays of these, masked arrays without
    a masked value, and whatever converts itself (``__array__``). Nothing is copied that need not be.
    """
    if isinstance(values, list | tuple) and any(np.ma.isMaskedArray(value) for value in values):
        values = _joined(np.ma.stack, list(values))
    if np.ma.isMaskedArray(values):
        values = _unmasked(values)
    array = _joined(np.asarray, values)
    if array.dtype.kind == "O":
        array = _unboxed(array)
    if array.dtype.names is not None or array.dtype.kind not in "biufcUSmM":
        reason = f"must be an array of numbers, got records of {array.dtype}"
        raise BrokenRule(reason, "take the column with the numbers", of_kind=True)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _unmasked(values: Any) -> npt.NDArray[Any]:
    masked = int(np.ma.getmaskarray(values).sum())
    if masked:
        reason = f"must have a value everywhere, got a masked array that lacks {masked}"
        raise BrokenRule(reason, "give those a value with .filled(value), or leave them out")
    return np.asarray(np.ma.getdata(values))


def _joined(join: Any, values: Any) -> Any:
    try:
        return join(values)
    except ValueError:
        reason = "must make one array, got a list with parts of different sizes"
        raise BrokenRule(reason, "bring all to one size") from None
    except TypeError as error:  # of an array on a device, or of another class's own making
        reason = f"must be arrays of numbers, got {_kind(values)}, which says: {error}"
        raise BrokenRule(
            reason, "copy it to the host as a NumPy array first", of_kind=True
        ) from None


def _unboxed(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """An array of objects as one of what they are."""
    if array.ndim == 0:
        value = array[()]
        remedy = "pass its .toarray()" if hasattr(value, "toarray") else "pass a NumPy array"
        reason = f"must be arrays of numbers, got {_kind(value)}"
        raise BrokenRule(reason, remedy, of_kind=True)
    values = list(array.flat)
    shapes = {np.shape(value) for value in values}
    if len(shapes) > 1:
        one, other, *_ = sorted(shapes, key=str)
        reason = f"must be of one size, got parts of different sizes, {one} and {other}"
        raise BrokenRule(reason, "bring all to one size")
    plain = np.array([np.asarray(value) if np.ndim(value) else value for value in values])
    if plain.dtype.kind == "O":
        place = next(n for n, value in enumerate(values) if np.asarray(value).dtype.kind == "O")
        reason = f"must be numbers, got objects: {_kind(values[place])} at position {place}"
        raise BrokenRule(reason, "leave it out, or give it a number", of_kind=True)
    return plain.reshape(array.shape + plain.shape[1:])


def _kind(value: Any) -> str:
    return type(value).__name__
