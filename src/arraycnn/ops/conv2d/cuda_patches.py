"""Launch code of patch_convolution.cu: which products of a convolution it makes, and on which tiles."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.launcher import blocks
from arraycnn.ops.cuda.products import Product
from arraycnn.ops.cuda.tiles import MULTIPROCESSORS, Plan, Tile, mma, mma16
from arraycnn.ops.rounded import ROUNDED_BITS

_MOST_SHARED = 75 * 1024
"""Bytes of a block: a multiprocessor of an H200 holds three such: one copies while two compute."""

_FEWEST_BLOCKS = MULTIPROCESSORS // 2
"""Fewer leave too much idle: other kernels share out a sum."""

_MOST_FLOATS = 127
"""Filters of float32 operands, rounded as often as they are read: more are for tiles of 128."""

_READING = {"bfloat16": 1, "tensorfloat32": 3}
"""Instructions that read what a product of tensor cores takes, about, where nothing is rounded."""

_ROUNDING = 5
"""Those that read and round it."""

_MOST_OUTPUTS = 2**31 - 2**10
"""What the kernel counts in 32 bits."""


def _tiles(precision: str) -> tuple[Tile, ...]:
    if precision != "bfloat16":
        products = {"tf32": "Tf32", "bf16": "Bf16", "tensorfloat32": "RoundedTf32"}[precision]
        sizes = ((128, 64, 64, 32), (128, 32, 32, 32), (128, 16, 32, 16), (64, 32, 32, 16))
        return tuple(mma(products, *size) for size in sizes)
    sizes = ((128, 64, 64, 32), (128, 32, 32, 32), (64, 32, 32, 16), (32, 32, 16, 16))
    shallow = ((128, 64, 64, 32), (128, 32, 32, 32), (128, 16, 32, 16), (64, 16, 16, 16))
    return (
        *[mma16(*size) for size in sizes],
        *[mma16(*size, depth=16) for size in shallow],
    )


_OF_ROUNDED = "bfloat16", "tensorfloat32"
"""Keys of `tiles.TILES` whose products convert nothing."""

PRECISIONS = "tf32", "bf16", *_OF_ROUNDED
"""Those that tensor cores multiply."""

_TILES = {precision: _tiles(precision) for precision in PRECISIONS}


@dataclass(frozen=True)
class Windows:
    """A convolution of stride 1.

    Attributes
    ----------
    shape : (N, H, W, C)
        Of the images.
    output : (int, int)
        Rows and columns of the outputs of an image.
    filters : int
    size, corner : (int, int)
        Of a window, and how far the first one begins above and left of the image.
    """

    shape: tuple[int, ...]
    output: tuple[int, int]
    filters: int
    size: tuple[int, int]
    corner: tuple[int, int]

    @property
    def outputs(self) -> int:
        """Of an image."""
        return self.output[0] * self.output[1]

    @property
    def lines(self) -> int:
        """Of pixels that the windows on an image meet."""
        return self.output[0] + self.size[0] - 1

    @property
    def pitch(self) -> int:
        """Pixels of a line."""
        return self.output[1] + self.size[1] - 1


def on_patches(product: Product, precision: str, windows: Windows, turned: bool) -> Product:
    """What makes the result of ``product``, a convolution of stride 1 by (images, weights, ...), in one
    of `PRECISIONS`, that reads no gate: the same on patches where that is quicker, by estimate.

    ``turned``: the weights are those of the convolution whose gradient of the images this is.
    """
    images, weight = product.operands[:2]
    if any(_is_copied_singly(form) for form in product.forms):
        return product
    if precision in _OF_ROUNDED and not (_is_rounded(images) and _is_rounded(weight)):
        return product
    plan = _plan(precision, windows, turned)
    if plan is None:
        return product
    tile = plan.tile
    by = (
        blocks(windows.filters, tile.columns),
        windows.outputs,
        *windows.output,
        windows.lines,
        windows.pitch,
    )
    sizes = (*windows.shape, *windows.output, windows.filters, *windows.size, *windows.corner)
    return replace(
        product,
        file="patch_convolution",
        kernel="conv2d_patch",
        chosen=plan,
        shape=(windows.shape[0] * windows.outputs, windows.filters),
        operands=(images, weight),
        sizes=(*sizes, *[divisor(number) for number in by]),
        products=1,
        shared=_shared(tile, windows, turned),
        asked=None,
    )


def _is_copied_singly(form: str) -> bool:
    return form.split(", ")[1].rstrip(">") == "1"


def _is_rounded(array: Array | None) -> bool:
    return array is not None and array.dtype in ROUNDED_BITS


@lru_cache(maxsize=1024)
def _plan(precision: str, windows: Windows, turned: bool) -> Plan | None:
    """The quickest, by estimate; None where the kernel does not suit."""
    images, height, width, channels = windows.shape
    tall, wide = windows.size
    total = images * windows.outputs
    if tall * wide == 1 or not 0 < total <= _MOST_OUTPUTS or min(windows.corner) < 0:
        return None
    if precision not in _OF_ROUNDED and windows.filters > _MOST_FLOATS:
        return None
    timed = []
    for tile in _TILES[precision]:
        count = blocks(total, tile.rows) * blocks(windows.filters, tile.columns)
        touched = _images_met(tile, windows) * height * width * channels
        fits = _shared(tile, windows, turned) <= _MOST_SHARED and touched < 2**31
        if channels % tile.depth == 0 and count >= _FEWEST_BLOCKS and fits:
            time = blocks(count, MULTIPROCESSORS) * _instructions(precision, tile, windows)
            timed.append((time, Plan(tile, 1, tall * wide * channels)))
    return min(timed, key=lambda one: one[0])[1] if timed else None


def _instructions(precision: str, tile: Tile, windows: Windows) -> float:
    """Of a warp, about: counted in machine code for sm_90."""
    taps = windows.size[0] * windows.size[1]
    numbers = tile.rows * tile.columns / tile.threads
    packs = 16 // tile.itemsize
    weights = taps * tile.depth * tile.columns / packs / tile.threads
    copied = 6 * weights + _pixels(tile, windows) * 2 / tile.threads * (25 + tile.depth / packs)
    products = numbers * 16 / 64 * (2 if tile.itemsize == 4 else 1)  # of a step of 16
    read = (numbers / 4) ** 0.5 * 2 * _READING.get(precision, _ROUNDING)
    chunk = 45 + copied + taps * (4 + tile.depth / 16 * (products + read))
    return 260 + 5 * numbers + windows.shape[3] / tile.depth * chunk


def _images_met(tile: Tile, windows: Windows) -> int:
    """By the windows of a block, at most."""
    return 1 + _crossed(tile.rows, windows.outputs)


def _pixels(tile: Tile, windows: Windows) -> int:
    """Of a patch, at most."""
    tall = windows.size[0]
    lines = _crossed(tile.rows, windows.output[1])
    return (lines + tall + _crossed(tile.rows, windows.outputs) * (tall - 1)) * windows.pitch


def _crossed(rows: int, of: int) -> int:
    """How many borders between runs of ``of`` outputs lie among ``rows`` of a block, at most."""
    if of % rows == 0:
        return 0
    return (rows - 1) // of if rows % of == 0 else (of + rows - 2) // of


def _shared(tile: Tile, windows: Windows, turned: bool) -> int:
    """Bytes of a block: weights of each place of the window, and a patch, of a chunk of channels."""
    along, across = tile.gaps
    lines, length = (tile.columns, tile.depth) if turned else (tile.depth, tile.columns)
    weights = windows.size[0] * windows.size[1] * lines * (length + (along if turned else across))
    return tile.itemsize * (weights + _pixels(tile, windows) * (tile.depth + along))


def divisor(number: int) -> int:
    """What `quotient` of operands.cuh is given for divisions by ``number``: floor(n / number) is the
    upper half of 2 n times the lower 32 bits, without the last bits that the upper ones count."""
    bits = (number - 1).bit_length()
    return bits << 32 | -(-(2 ** (31 + bits)) // number)
