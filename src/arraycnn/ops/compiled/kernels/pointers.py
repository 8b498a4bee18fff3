"""Pointers for numba code: into arrays, and from the words of a launch, which are addresses."""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic
from numba.np import arrayobj

from arraycnn.ops.compiled.kernels.vectors import Emitter


@intrinsic
def at(typing_context, array, offset):  # type: ignore[no-untyped-def]
    """A pointer to the number at ``offset`` of an array in C order."""

    def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]
        data = arrayobj.make_array(signature.args[0])(context, builder, values[0]).data
        return builder.gep(data, [values[1]])

    return types.CPointer(array.dtype)(array, types.intp), generate


@intrinsic
def pointer(typing_context, address, like):  # type: ignore[no-untyped-def]
    """The pointer of an ``address``, to numbers of the dtype ``like`` or of that array's."""

    def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.inttoptr(values[0], context.get_value_type(signature.return_type))

    return types.CPointer(like.dtype)(types.intp, like), generate


@intrinsic
def after(typing_context, start, offset):  # type: ignore[no-untyped-def]
    """The pointer ``offset`` numbers after ``start``."""

    def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.gep(values[0], [values[1]])

    return start(start, types.intp), generate


@intrinsic
def lanes_of(typing_context, start):  # type: ignore[no-untyped-def]
    """How many numbers of the kind at the pointer ``start`` make a vector."""

    def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]
        real = context.get_value_type(signature.args[0].dtype)
        return ir.Constant(ir.IntType(64), Emitter(builder, real).lanes)

    return types.intp(start), generate


@njit(error_model="numpy")
def real(words, place, scratch):  # type: ignore[no-untyped-def]
    """The pointer whose address is a word of a launch, to numbers of the kind in ``scratch``."""
    return pointer(words[place], scratch)


_MUCH = 2**40


@njit(error_model="numpy")
def numbers(words, place, scratch):  # type: ignore[no-untyped-def]
    """What lies at `real`'s pointer, as an array whose length is not told."""
    return carray(real(words, place, scratch), _MUCH)


@njit(error_model="numpy")
def integers(words, place):  # type: ignore[no-untyped-def]
    """The same of int32."""
    return carray(pointer(words[place], np.int32), _MUCH)
