"""Counter-based random bits: the same on every array library, shard count and resume.

Threefry-2x32 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011)
turns a 64-bit key and a 64-bit counter into 64 random bits with additions, rotations and
exclusive-ors only. That suits the array API: int32 additions wrap and int32 shifts are exact in
every library, where uint32 is missing in some and int64 is off by default in another.

One bit pattern is fixed by (seed, step, layer path, data-set index of the image, element):

    step key   = threefry(seed,     counter=(step, layer key))
    bits of an = threefry(step key, counter=(image index, element))
    image
"""

import zlib

import numpy as np

from arraycnn.ops.arrays import Array, array_namespace, device

ROUNDS = 13
"""Rounds of Threefry-2x32: the fewest that pass BigCrush in the paper's table 2."""

ROTATIONS = (13, 15, 26, 6, 17, 29, 16, 24)
PARITY = 0x1BD11BDA


def seed_words(seed: int) -> np.ndarray:
    """A seed of up to 64 bits as the generator's key: int32, shape (2,)."""
    return np.array([seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF], dtype=np.uint32).view(np.int32)


def layer_key(path: tuple[str, ...]) -> int:
    """The layer's place in the network, such as ("3", "body"), as a signed 32-bit number."""
    return _signed(zlib.crc32("/".join(path).encode()))


def random_bits(seed: Array, step: Array, layer: int, indices: Array, count: int) -> Array:
    """``count`` random words for each image.

    Parameters
    ----------
    seed : array, (2,), int32
        From `seed_words`.
    step : array, (1,), int32
        The training step.
    layer : int
        From `layer_key`.
    indices : array, (N,), int32
        Positions of the images in the data set.
    count : int
        Words wanted for each image.

    Returns
    -------
    array, (N, count), int32, uniform over all 2^32 patterns
    """
    xp = array_namespace(indices)
    place = device(indices)
    key = threefry2x32(
        (seed[0:1], seed[1:2]), (step, xp.full((1,), layer, dtype=xp.int32, device=place))
    )
    # Each call gives two words, so half as many counters do: words 0..half-1, then half..count-1.
    half = (count + 1) // 2
    elements = xp.arange(half, dtype=xp.int32, device=place)
    counter = (
        xp.broadcast_to(indices[:, None], (indices.shape[0], half)),
        xp.broadcast_to(elements[None, :], (indices.shape[0], half)),
    )
    words = xp.concat(threefry2x32(key, counter), axis=1)
    return words[:, :count]


def whole_numbers(words: Array, count: int) -> Array:
    """``words`` as whole numbers from 0 to ``count`` - 1, int32, of equal chances.

    ``count`` is at most 32767, and no chance is more than a share of count / 65536 off.
    """
    return (((words >> 16) & 0xFFFF) * count) >> 16


def threefry2x32(
    key: tuple[Array, Array], counter: tuple[Array, Array], rounds: int = ROUNDS
) -> tuple[Array, Array]:
    """Threefry-2x32 on int32 arrays of at least one axis; key and counter broadcast."""
    keys = (key[0], key[1], key[0] ^ key[1] ^ PARITY)
    x, y = counter[0] + keys[0], counter[1] + keys[1]
    for number in range(rounds):
        x = x + y
        y = x ^ _rotate_left(y, ROTATIONS[number % 8])
        if number % 4 == 3:
            turn = number // 4 + 1
            x = x + keys[turn % 3]
            y = y + keys[(turn + 1) % 3] + turn
    return x, y


def _rotate_left(x: Array, distance: int) -> Array:
    # int32 >> copies the sign bit in from the left; the mask takes those copies away.
    return (x << distance) | ((x >> (32 - distance)) & ((1 << distance) - 1))


def _signed(word: int) -> int:
    return word - 2**32 if word >= 2**31 else word
