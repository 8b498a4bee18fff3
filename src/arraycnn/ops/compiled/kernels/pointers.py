"""Pointers to numbers, and views of what lies there."""

from __future__ import annotations

from typing import Any

from arraycnn.ops.compiled.kernels.vectors import Emitter
from arraycnn.ops.compiled.translation.functions import instruction
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
    return code.pointer(dtype_of(like), address)


@instruction
def after(code: Arithmetic, start: Pointer, offset: Any) -> Pointer:
    """The pointer ``offset`` numbers after ``start``."""
    return code.after(start, offset)


@instruction
def as_integers(code: Arithmetic, start: Pointer) -> Pointer:
    """The same place, of int32."""
    kind = llvm_type("int32").as_pointer()
    return Pointer("int32", code.builder.bitcast(start.value, kind))


@instruction
def lanes_of(code: Arithmetic, start: Pointer) -> int:
    """How many numbers of the kind at the pointer ``start`` make a vector."""
    return Emitter(code.builder, llvm_type(start.dtype)).lanes


@instruction
def numbers(code: Arithmetic, start: Pointer) -> View:
    """The numbers from ``start`` on, as an array whose length is not told."""
    return View(start, (MUCH,))
