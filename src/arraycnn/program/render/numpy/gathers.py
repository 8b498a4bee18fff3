"""Rows, or numbers, taken at places that are known when the step runs."""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from arraycnn.program.render.numpy.grid import Grid
from arraycnn.program.render.numpy.lines import Line, coordinates
from arraycnn.program.render.numpy.pointwise import Call, Memory


def gather(
    call: Call,
    memory: Memory,
    line: Line,
    source: np.ndarray,
    places: np.ndarray,
    out: np.ndarray,
    parts: tuple[slice, ...],
    walk: Grid,
) -> None:
    """Write what lies at ``places``, int64; one below 0 counts from the end.

    ``places`` may have one number along an axis where ``out`` has more.
    """
    rows = _rows(line, source, places, out, walk)
    if rows is not None:
        axis, array = rows
        taken = out if places.size > 1 else out.reshape(1, *out.shape)
        call(array.take, places.reshape(-1), axis=axis, out=taken, mode="wrap")
        return
    assert line.of.axis is not None
    stride, size = line.of.axis
    base = coordinates(_of_int64(line), walk)
    base = base[
        tuple(slice(None) if n == 1 else part for n, part in zip(base.shape, parts, strict=True))
    ]
    where = memory.take(out.shape, np.int64)
    call(np.remainder, places, np.asarray(size), out=where)
    call(np.multiply, where, np.asarray(stride), out=where)
    call(np.add, where, base, out=where)
    call(source.reshape(-1).take, where, out=out, mode="clip")
    memory.give(where)


def _of_int64(line: Line) -> Line:
    return Line(line.op, np.dtype(np.int64), line.inputs, line.moves, line.of)


def _rows(
    line: Line, source: np.ndarray, places: np.ndarray, out: np.ndarray, walk: Grid
) -> tuple[int, np.ndarray] | None:
    """(axis, array of which whole parts are taken), where that is what a gather does."""
    access, extent = line.of.access, line.of.axis
    assert access is not None
    assert extent is not None
    moving = [axis for axis, size in enumerate(places.shape) if size > 1]
    strides = list(walk.strides(access))
    sizes = [size if stride else 1 for size, stride in zip(walk.groups, strides, strict=True)]
    shape = list(out.shape)
    if not moving:  # one place, of an axis that the grid has not
        axis, sizes, strides, shape = 0, [1, *sizes], [0, *strides], [1, *shape]
    elif len(moving) != 1 or strides[moving[0]]:
        return None
    else:
        (axis,) = moving
    sizes[axis], strides[axis] = extent[1], extent[0]
    flat = source.reshape(-1)[access.offset :]
    array = as_strided(flat, tuple(sizes), tuple(s * source.itemsize for s in strides))
    del sizes[axis], shape[axis]
    return (axis, array) if sizes == shape and array.flags.c_contiguous else None
