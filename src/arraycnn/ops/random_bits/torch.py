"""The random bits of `arraycnn.ops.random_bits`, computed in place by PyTorch: the same, and faster."""

from typing import Any

from arraycnn.ops.arrays import Array
from arraycnn.ops.random_bits import PARITY, ROTATIONS, ROUNDS, threefry2x32


def random_bits(seed: Array, step: Array, layer: int, indices: Array, count: int) -> Array:
    import torch

    like: dict[str, Any] = {"dtype": torch.int32, "device": indices.device}
    key = threefry2x32((seed[0:1], seed[1:2]), (step, torch.full((1,), layer, **like)))
    half = (count + 1) // 2
    words = torch.empty((indices.shape[0], 2, half), **like)
    words[:, 0] = indices[:, None]
    words[:, 1] = torch.arange(half, **like)
    _threefry2x32_(key, words[:, 0], words[:, 1])
    return words.view(indices.shape[0], 2 * half)[:, :count]


def _threefry2x32_(key: tuple[Array, Array], x: Array, y: Array) -> None:
    """`threefry2x32` of the counters ``x`` and ``y``, which become the words."""
    import torch

    keys = (key[0], key[1], key[0] ^ key[1] ^ PARITY)
    x += keys[0]
    y += keys[1]
    turned = torch.empty_like(y)
    for number in range(ROUNDS):
        x += y
        distance = ROTATIONS[number % 8]
        torch.bitwise_right_shift(y, 32 - distance, out=turned)
        turned &= (1 << distance) - 1
        # The bits that go to the left meet zeros: to add them, times 2^distance, is to set them.
        turned.add_(y, alpha=1 << distance)
        torch.bitwise_xor(turned, x, out=y)
        if number % 4 == 3:
            turn = number // 4 + 1
            x += keys[turn % 3]
            y += keys[(turn + 1) % 3] + turn
