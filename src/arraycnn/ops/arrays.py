"""The one door to array-api-compat and array-api-extra; nothing else imports them."""

from typing import Any, TypeAlias

import array_api_compat
from array_api_compat import (
    device,
    is_array_api_obj,
    is_cupy_array,
    is_jax_array,
    is_numpy_array,
    is_torch_array,
)
from array_api_extra import at, pad

Array: TypeAlias = Any
"""An array of any library; the docstrings say its axes and its kind of dtype."""

_namespaces: dict[tuple[type, ...], Any] = {}


def array_namespace(*arrays: Array) -> Any:
    """The array-API namespace of ``arrays``; TypeError where they are of several libraries.

    The answer depends on nothing but the types, and a step of a small network asks some 50 times.
    """
    types = tuple(map(type, arrays))
    if types not in _namespaces:
        _namespaces[types] = array_api_compat.array_namespace(*arrays)
    return _namespaces[types]


__all__ = [
    "Array",
    "array_namespace",
    "at",
    "device",
    "is_array_api_obj",
    "is_cupy_array",
    "is_jax_array",
    "is_numpy_array",
    "is_torch_array",
    "pad",
]
