"""What NumPy's names in a pickle stand for here: functions that make arrays of bytes that are there.

NumPy writes an array as ``_reconstruct(ndarray, (0,), b"b")`` with a state that is set afterwards,
or, since protocol 5, as ``_frombuffer(bytes, dtype, shape, order)``.
"""

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

_MOST_AXES = 8
_CODE = re.compile("b1|[uif][1248]|[SU][0-9]{1,4}")


class PickledArray:
    """An array, read-only; None until the pickle has said what is in it."""

    def __init__(self) -> None:
        self.array: npt.NDArray[Any] | None = None

    def build(self, state: Any) -> None:
        """Take NumPy's state: (version, shape, dtype, is Fortran, bytes)."""
        _, shape, dtype, fortran, data = state
        self.array = _made(data, dtype, shape, "F" if fortran is True else "C")


_FLAGS = (0, 8)
"""Of numbers, and of text; NumPy itself takes the bytes of others for addresses."""


class PickledDType:
    """A dtype of numbers, truth values or text; objects are refused."""

    def __init__(self, code: str) -> None:
        self.dtype = np.dtype(code)

    def build(self, state: Any) -> None:
        """Take NumPy's state, of which the byte order is needed.

        (version, order, subarray, names, fields, size, alignment, flags), and metadata perhaps.
        """
        _, order, subarray, names, fields, _, _, flags, *_ = state
        order = _text(order)
        if (subarray, names, fields) != (None, None, None) or flags not in _FLAGS:
            message = "arrays must be of numbers or text"
            raise ValueError(message)
        if order not in ("<", ">", "|", "="):
            message = "a dtype has no byte order"
            raise ValueError(message)
        if order != "|":
            self.dtype = self.dtype.newbyteorder(order)  # type: ignore[arg-type]


def _reconstruct(kind: Any, shape: Any, code: Any) -> PickledArray:
    if kind is not _ndarray:
        message = "only plain arrays are read"
        raise ValueError(message)
    return PickledArray()


def _dtype(code: Any, align: Any = False, copy: Any = False) -> PickledDType:
    text = _text(code)
    if not _CODE.fullmatch(text):
        message = "arrays must be of numbers or text"
        raise ValueError(message)
    return PickledDType(text)


def _scalar(dtype: Any, data: Any) -> Any:
    return _made(data, dtype, (), "C").item()


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any) -> PickledArray:
    found = PickledArray()
    found.array = _made(data, dtype, shape, "F" if _text(order) == "F" else "C")
    return found


def _encode(text: Any, encoding: Any) -> bytes:
    """How Python 3 writes bytes in a protocol of Python 2."""
    if _text(encoding) not in ("latin1", "latin-1") or type(text) is not str:
        message = "only bytes written as Latin-1 are read"
        raise ValueError(message)
    return text.encode("latin-1")


def _empty_bytes() -> bytes:
    """How Python 3 writes b"" in a protocol of Python 2."""
    return b""


def _ndarray(*_: Any) -> Any:
    message = "arrays are not made by calling their class"
    raise ValueError(message)


def _made(data: Any, dtype: Any, shape: Any, order: Any) -> npt.NDArray[Any]:
    """An array over the bytes ``data``, whose number the shape must agree with."""
    if not isinstance(dtype, PickledDType) or not isinstance(data, bytes | memoryview):
        message = "an array must have a dtype and bytes"
        raise ValueError(message)
    sizes = shape if type(shape) is tuple else (shape,)
    if len(sizes) > _MOST_AXES or not all(type(size) is int and size >= 0 for size in sizes):
        message = "an array's shape must be whole numbers of at least 0"
        raise ValueError(message)
    expected = math.prod(sizes) * dtype.dtype.itemsize
    if expected != len(data):
        message = f"an array must have {expected} bytes, has {len(data)}"
        raise ValueError(message)
    if not expected:
        return np.empty(sizes, dtype.dtype)
    return np.frombuffer(data, dtype.dtype).reshape(sizes, order=order)


def _text(value: Any) -> str:
    if type(value) is bytes:
        return value.decode("latin-1")
    if type(value) is not str:
        message = f"a text must stand here, got {type(value).__name__}"
        raise ValueError(message)
    return value


_OF_MULTIARRAY: dict[str, Callable[..., Any]] = {"_reconstruct": _reconstruct, "scalar": _scalar}
NAMES: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): _ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _encode,
    ("__builtin__", "bytes"): _empty_bytes,
    **{
        (f"numpy.{core}.multiarray", name): function
        for core in ("core", "_core")
        for name, function in _OF_MULTIARRAY.items()
    },
    **{(f"numpy.{core}.numeric", "_frombuffer"): _frombuffer for core in ("core", "_core")},
}
