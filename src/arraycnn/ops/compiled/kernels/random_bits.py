"""Dropout, on the bits of `arraycnn.ops.random_bits`, in unsigned arithmetic."""

from __future__ import annotations

import numpy as np
from numba import carray, njit

from arraycnn.ops.compiled.kernels.pointers import as_real, pointer, real


@njit(error_model="numpy")
def _round(x, y, distance):  # type: ignore[no-untyped-def]
    x = np.uint32(x + y)
    turned = np.uint32(np.uint32(y << np.uint32(distance)) | (y >> np.uint32(32 - distance)))
    return x, np.uint32(x ^ turned)


@njit(error_model="numpy")
def _four_rounds(x, y, a, b, c, d, key_x, key_y, turn):  # type: ignore[no-untyped-def]
    x, y = _round(x, y, a)
    x, y = _round(x, y, b)
    x, y = _round(x, y, c)
    x, y = _round(x, y, d)
    return np.uint32(x + key_x), np.uint32(y + key_y + np.uint32(turn))


@njit(error_model="numpy")
def threefry(key0, key1, x, y):  # type: ignore[no-untyped-def]
    """Threefry-2x32 of 13 rounds, written out so that it becomes vector code."""
    key2 = np.uint32(key0 ^ key1 ^ np.uint32(0x1BD11BDA))
    x, y = np.uint32(x + key0), np.uint32(y + key1)
    x, y = _four_rounds(x, y, 13, 15, 26, 6, key1, key2, 1)
    x, y = _four_rounds(x, y, 17, 29, 16, 24, key2, key0, 2)
    x, y = _four_rounds(x, y, 13, 15, 26, 6, key0, key1, 3)
    return _round(x, y, 17)


@njit(error_model="numpy")
def dropout(block, words, scratch):  # type: ignore[no-untyped-def]
    """y = x / (1 - rate) where a number is kept, else 0, and which are; one image a block."""
    count, layer, threshold = words[6], words[7], words[8]
    seed, step = carray(pointer(words[3], np.uint32), 2), carray(pointer(words[4], np.uint32), 1)
    index = carray(pointer(words[5], np.uint32), block + 1)[block]
    key0, key1 = threefry(seed[0], seed[1], step[0], np.uint32(layer))
    x = carray(real(words, 0, scratch), (block + 1, count))[block]
    y = carray(real(words, 1, scratch), (block + 1, count))[block]
    keep = carray(pointer(words[2], np.uint8), (block + 1, count))[block]
    kept, zero = scratch.dtype.type(as_real(words[9])), scratch.dtype.type(0)
    least, half = np.int32(threshold), (count + 1) // 2
    for n in range(count // 2):
        first, second = threefry(key0, key1, index, np.uint32(n))
        stays = np.int32(first) >= least
        keep[n], y[n] = stays, x[n] / kept if stays else zero
        stays = np.int32(second) >= least
        keep[half + n], y[half + n] = stays, x[half + n] / kept if stays else zero
    if count % 2:  # whose second word is not wanted
        first, _ = threefry(key0, key1, index, np.uint32(half - 1))
        stays = np.int32(first) >= least
        keep[half - 1], y[half - 1] = stays, x[half - 1] / kept if stays else zero


@njit(error_model="numpy")
def dropout_backward(block, words, scratch):  # type: ignore[no-untyped-def]
    """dx = dy / (1 - rate) where a number was kept, else 0; ``per`` numbers a block."""
    size, per = words[3], words[4]
    first = block * per
    part = slice(first, min(size, first + per))
    dy, dx = (
        carray(real(words, 0, scratch), size)[part],
        carray(real(words, 2, scratch), size)[part],
    )
    keep = carray(pointer(words[1], np.uint8), size)[part]
    kept, zero = scratch.dtype.type(as_real(words[5])), scratch.dtype.type(0)
    for i in range(dy.shape[0]):
        dx[i] = dy[i] / kept if keep[i] else zero
