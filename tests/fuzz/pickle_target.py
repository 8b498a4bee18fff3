"""The reader of pickles, which runs nothing, against Python's own."""

import builtins
import codecs
import gzip
import io
import os
import pickle
from unittest import mock

import numpy as np

from arraycnn.data.pickled import read_pickle
from arraycnn.data.pickled_arrays import PickledArray, PickledDType
from arraycnn.errors import DataFileError
from promises import FILE, Violation, bounded, refused, require


class _Known(pickle.Unpickler):
    """Python's own unpickler, for what the restricted one has accepted."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) == ("__builtin__", "bytes"):
            return bytes
        if (module, name) == ("_codecs", "encode"):
            return codecs.encode
        require(module.split(".")[0] == "numpy", "only names of NumPy's are known", module, name)
        require(name in _NUMPY, "only names of NumPy's are known", module, name)
        return _NUMPY[name]


_NUMPY = {
    "ndarray": np.ndarray,
    "dtype": np.dtype,
    "_reconstruct": np._core.multiarray._reconstruct,
    "scalar": np._core.multiarray.scalar,
    "_frombuffer": np._core.numeric._frombuffer,
}


def pickled(data: bytes) -> None:
    """The first byte says whether the rest is gzipped. Nothing may run, import or open."""
    if not data:
        return
    content = data[1:]
    FILE.write_bytes(gzip.compress(content, 1, mtime=0) if data[0] % 4 == 1 else content)
    refuse = mock.Mock(side_effect=Violation("a pickle ran something"))
    try:
        with (
            mock.patch.object(pickle, "Unpickler", refuse),
            mock.patch.object(pickle, "loads", refuse),
            mock.patch.object(builtins, "eval", refuse),
            mock.patch.object(os, "system", refuse),
            bounded(len(content), slack=2**22),
        ):
            found = read_pickle(FILE)
    except DataFileError as error:
        refused(error)
        require(error.offset is None or 0 <= error.offset <= len(content), "an offset is in it")
        return
    try:
        expected = _Known(io.BytesIO(content), encoding="bytes").load()
    except Violation:
        raise
    except Exception:  # it may be stricter
        return
    _check_same(found, expected)


def _check_same(found: object, expected: object) -> None:
    """Compare without recursion: lists may hold themselves, and each other many times."""
    waiting, seen = [(found, expected)], set()
    while waiting:
        one, other = waiting.pop()
        if (id(one), id(other)) in seen:
            continue
        seen.add((id(one), id(other)))
        if isinstance(one, PickledArray):
            one = one.array
            require(type(other) is np.ndarray, "an array is one", other)
            if one is None:  # never filled: NumPy has an empty one
                continue
            same = one.dtype == other.dtype and one.shape == other.shape
            require(same and one.tobytes() == other.tobytes(), "the pickle's values", one, other)
        elif isinstance(one, list | tuple):
            require(type(one) is type(other) and len(one) == len(other), "the pickle's list")
            waiting += zip(one, other, strict=True)
        elif isinstance(one, dict):
            require(type(other) is dict and len(one) == len(other), "the pickle's dict")
            waiting += zip(one, other, strict=True)
            waiting += zip(one.values(), other.values(), strict=True)
        elif isinstance(one, int | str | bytes | memoryview | float | None):
            kind = bytes if isinstance(one, memoryview) else type(one)
            plain = other.item() if isinstance(other, np.generic) else other
            plain = bytes(plain) if isinstance(plain, bytearray) else plain
            require(kind is type(plain), "the pickle's kind", one, other)
            require(one == plain or one != one, "the pickle's value", one, other)
        else:  # a name or a dtype that stands alone
            require(callable(one) or isinstance(one, PickledDType), "nothing else is built", one)
