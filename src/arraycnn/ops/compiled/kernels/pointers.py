"""Pointers and views: into arrays, and from the words of a launch, which are addresses."""

from __future__ import annotations

from typing import Any

import numpy as np

from arraycnn.ops.compiled.kernels.vectors import Emitter
from arraycnn.ops.compiled.translation.functions import compiled, instruction
from arraycnn.ops.compiled.translation.values import (
    MUCH,
    Arithmetic,
    Pointer,
    View,
    dtype_of,
    llvm_type,
)


@instruction
def carray(code: Arithmetic, start: Pointer, shape: Any) -> View:
    """The numbers from ``start`` on, in C order, as an array of ``shape``."""
    return View(start, shape if isinstance(shape, tuple) else (shape,))


@instruction
def at(code: Arithmetic, array: View, offset: Any) -> Pointer:
    """A pointer to the number at ``offset`` of an array in C order."""
    return code.after(array.start, offset)


@instruction
def pointer(code: Arithmetic, address: Any, like: Any) -> Pointer:
    """The pointer of an ``address``, to numbers of the dtype ``like`` or of that array's."""
    dtype = dtype_of(like)
    kind = llvm_type(dtype).as_pointer()
    return Pointer(dtype, code.builder.inttoptr(code.integer(address), kind))


@instruction
def after(code: Arithmetic, start: Pointer, offset: Any) -> Pointer:
    """The pointer ``offset`` numbers after ``start``."""
    return code.after(start, offset)


@instruction
def lanes_of(code: Arithmetic, start: Pointer) -> int:
    """How many numbers of the kind at the pointer ``start`` make a vector."""
    return Emitter(code.builder, llvm_type(start.dtype)).lanes


@compiled
def real(words, place, scratch):  # type: ignore[no-untyped-def]
    """The pointer whose address is a word of a launch, to numbers of the kind in ``scratch``."""
    return pointer(words[place], scratch)


@compiled
def numbers(words, place, scratch):  # type: ignore[no-untyped-def]
    """What lies at `real`'s pointer, as an array whose length is not told."""
    return carray(real(words, place, scratch), MUCH)


@compiled
def integers(words, place):  # type: ignore[no-untyped-def]
    """The same of int32."""
    return carray(pointer(words[place], np.int32), MUCH)
