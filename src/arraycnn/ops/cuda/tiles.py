"""Launch code that every product of tiles.cuh shares: which tiles, and how many blocks to a sum."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from arraycnn.errors import InvalidValueError
from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.launcher import Argument, Launcher, blocks, c_name
from arraycnn.ops.rounded import BFLOAT16_BITS, ROUNDED_BITS

_DEPTH = 16
"""Steps of k that a block has in shared memory at once, but for `Tile.depth`."""

_STAGES = 3
"""Tiles of each operand in shared memory, as in tiles.cuh: two are on their way."""

_LEAST_STEPS = 8 * _DEPTH
"""Of a split, so that its product takes longer than beginning and ending it."""

MULTIPROCESSORS = 132
"""Of an H200. A constant, so that the order of a sum depends on its shape and on nothing else."""

_COST_OF_PART = 10.0
"""Time to store and add one number of a part, in multiply-adds of one multiprocessor's full rate
spread over all of them: predicted by the model in bench/, not measured."""

_BYTES = 16
"""What one asynchronous copy takes at most."""


@dataclass(frozen=True)
class Tile:
    """One way to multiply, as tiles.cuh names it.

    Attributes
    ----------
    math : str
        The C++ type.
    rows, columns : int
        What a block makes of the result.
    threads : int
        A block.
    itemsize : int
        Bytes of a number in shared memory.
    gaps : (int, int)
        Numbers behind each line of a tile in shared memory, along k and across, as `Tile` of the type.
    rate : float
        Estimated, as a share of the best tile's: smaller ones read more for each product.
    gated : bool
        Whether a thread has registers left to hold an operand and its gate.
    singly : bool
        Whether it has some left for the places of operands that are copied number by number
        along k.
    depth : int
        Steps of k that a block has in shared memory at once; splits begin at multiples of it.
    """

    math: str
    rows: int
    columns: int
    threads: int
    itemsize: int
    gaps: tuple[int, int]
    rate: float
    gated: bool = True
    singly: bool = True
    depth: int = _DEPTH

    @property
    def result_itemsize(self) -> int:
        """Bytes of a number of a sum."""
        return max(self.itemsize, 4)


def _fma(number: str, rows: int, columns: int, tall: int, wide: int, rate: float) -> Tile:
    name = f"Fma<{number}, {rows}, {columns}, {tall}, {wide}>"
    itemsize = {"float": 4, "double": 8}[number]
    gaps = _BYTES // itemsize, 0
    return Tile(name, rows, columns, rows * columns // (tall * wide), itemsize, gaps, rate)


def mma(
    products: str, rows: int, columns: int, tall: int, wide: int, rate: float = 1.0, **forms: bool
) -> Tile:
    name = f"Mma<{products}, {rows}, {columns}, {tall}, {wide}>"
    threads = 32 * rows * columns // (tall * wide)
    return Tile(name, rows, columns, threads, 4, (4, 8), rate, **forms)


def _mma_tiles(products: str) -> tuple[Tile, ...]:
    # By count, not measured: shared memory binds them, of which a warp reads TALL + WIDE numbers for
    # TALL x WIDE products. 64 x 64, the largest that registers hold, leaves room for two thirds of
    # the TF32 peak, 64 x 32 for two fifths.
    return (
        mma(products, 128, 128, 64, 64, 1.0, gated=False, singly=False),
        mma(products, 128, 64, 64, 32, 0.75),
        mma(products, 128, 32, 32, 32, 0.5),
        mma(products, 64, 64, 32, 32, 0.5),
        mma(products, 32, 32, 16, 16, 0.25),
    )


def mma16(*size: int, rate: float = 1.0, depth: int = 32, **forms: bool) -> Tile:
    rows, columns, tall, wide = size
    threads = 32 * rows * columns // (tall * wide)
    name = f"Mma16<{rows}, {columns}, {tall}, {wide}{'' if depth == 32 else f', {depth}'}>"
    return Tile(name, rows, columns, threads, 2, (8, 8), rate, **forms, depth=depth)


TILES = {
    "fp32": (
        _fma("float", 128, 64, 8, 8, 1.0),
        _fma("float", 128, 32, 8, 4, 0.8),
        _fma("float", 64, 64, 8, 4, 0.85),
        _fma("float", 32, 32, 4, 4, 0.6),
    ),
    "tf32": _mma_tiles("Tf32"),
    "bf16": _mma_tiles("Bf16"),
    "tensorfloat32": _mma_tiles("RoundedTf32"),
    "bfloat16": (
        mma16(128, 128, 64, 64, rate=1.0, gated=False, singly=False),
        mma16(128, 64, 64, 32, rate=0.75, singly=False),
        mma16(128, 32, 32, 32, rate=0.5),
        mma16(64, 64, 32, 32, rate=0.5),
        mma16(32, 32, 16, 16, rate=0.25),
    ),
    "float64": (
        _fma("double", 64, 64, 8, 4, 1.0),
        _fma("double", 32, 32, 4, 2, 0.6),
    ),
}
"""By precision; arrays of float64 are multiplied as such under any. Those of "bfloat16" and of
"tensorfloat32" multiply what lies in memory as such, or one operand of it."""


@dataclass(frozen=True)
class Plan:
    """A tile, and how many blocks share the sum of each: `splits`, each of `per_split` steps."""

    tile: Tile
    splits: int
    per_split: int

    @property
    def block_time(self) -> float:
        """Of a block, in multiply-adds of one multiprocessor."""
        return self.per_split * self.tile.rows * self.tile.columns / self.tile.rate


@lru_cache(maxsize=4096)
def tiling(
    precision: str,
    rows: int,
    columns: int,
    depth: int,
    products: int = 1,
    gated: bool = False,
    singly: bool = False,
) -> Plan:
    """The quickest tiling, by estimate, for ``products`` results of ``rows`` x ``columns``.

    ``gated`` and ``singly`` leave out tiles whose threads would lack registers, as `Tile` has it.
    """
    plans = timed_plans(precision, rows, columns, depth, products, gated, singly)
    return min(plans, key=lambda timed: timed[0])[1]


def timed_plans(
    precision: str,
    rows: int,
    columns: int,
    depth: int,
    products: int = 1,
    gated: bool = False,
    singly: bool = False,
) -> list[tuple[float, Plan]]:
    """All that `tiling` chooses from, each behind the time that it is estimated to take."""
    return [
        _plan(tile, rows, columns, depth, products)
        for tile in TILES[precision]
        if (tile.gated or not gated) and (tile.singly or not singly)
    ]


def _plan(tile: Tile, rows: int, columns: int, depth: int, products: int) -> tuple[float, Plan]:
    """(time, tiling), time in multiply-adds of one multiprocessor."""
    count = products * blocks(rows, tile.rows) * blocks(columns, tile.columns)
    splits = 1
    if 0 < count < MULTIPROCESSORS:
        splits = max(1, min(2 * MULTIPROCESSORS // count, depth // _LEAST_STEPS))
    per_split = max(1, blocks(blocks(depth, tile.depth), splits)) * tile.depth
    splits = max(1, blocks(depth, per_split))
    # A block alone on its multiprocessor leaves half of it idle.
    each = max(2, blocks(count * splits, MULTIPROCESSORS))
    plan = Plan(tile, splits, per_split)
    time = each * plan.block_time
    if splits > 1:
        time += _COST_OF_PART * splits * products * rows * columns
    return time, plan


@dataclass(frozen=True)
class Epilogue:
    """What is done to each number of a product before it is stored: a struct of epilogue.cuh's kind.

    Attributes
    ----------
    name : str
        The C++ type; "" stands for BiasRelu of the product's numbers.
    members : tuple of arrays in C order, None, int, np.float32 or np.float64
        Of the struct, in order: one at least.
    text : str
        The struct's definition, where epilogue.cuh has none.
    """

    name: str
    members: tuple[Argument, ...]
    text: str = ""


@dataclass(frozen=True)
class Late:
    """What becomes of a gradient of weights before it is stored: an update, say.

    Attributes
    ----------
    epilogue : Epilogue
    out : array, of the weights' shape, or None
        Where its results go: memory of its own for None.
    """

    epilogue: Epilogue
    out: Array | None = None


AS_IS = Epilogue("AsIs", (0,))
"""Leaves numbers as they are."""


def bias_relu(bias: Array | None = None, relu: bool = False) -> Epilogue:
    """Adds ``bias``, (columns,), to each row; then, if ``relu``, negative numbers become 0."""
    return Epilogue("", (bias, int(relu))) if relu or bias is not None else AS_IS


@dataclass(frozen=True)
class Result:
    """Where a product goes, and how.

    Attributes
    ----------
    y : array
        All of it is written.
    column_sums : array, (columns,), optional
        Where the sums of the second operand's columns go.
    epilogue : Epilogue
        What becomes of a number of y before it is stored.
    in_parts : bool
        Whether the parts of a split sum may be left for the caller to add up: `launch_product`.
    """

    y: Array
    column_sums: Array | None = None
    epilogue: Epilogue = AS_IS
    in_parts: bool = False


def weight_gradient(
    launcher: Launcher,
    shape: tuple[int, ...],
    bias_shape: tuple[int, ...],
    dtype: Any,
    late: Late | None,
    in_parts: bool = False,
) -> Result:
    """Where a gradient of weights goes, and that of the bias with it."""
    dbias = launcher.empty(bias_shape, dtype)
    if late is None:
        return Result(launcher.empty(shape, dtype), dbias, in_parts=in_parts)
    y = launcher.empty(shape, dtype) if late.out is None else late.out
    if tuple(y.shape) != shape or y.dtype != dtype:
        message = f"a late gradient: its place must be {dtype} {shape}, got {y.dtype} {y.shape}"
        raise InvalidValueError(message)
    return Result(y, dbias, late.epilogue, in_parts)


def shared_bytes(tile: Tile, forms: tuple[str, str]) -> int:
    """Of the stages of a block."""
    numbers = 0
    for form_, outer in zip(forms, (tile.rows, tile.columns), strict=True):
        along_k = form_.startswith("Form<true")
        count, length = (outer, tile.depth) if along_k else (tile.depth, outer)
        numbers += count * (length + tile.gaps[not along_k])
    return _STAGES * numbers * tile.itemsize


def form(launcher: Launcher, along_k: bool, operand: Array, gate: Array | None = None) -> str:
    """The Form of an operand in C order, whose last axis is that of k if ``along_k``."""
    gated = "" if gate is None else ", true"
    if operand.dtype in ROUNDED_BITS:
        gated = f"{gated or ', false'}, {c_name(operand)}"
    return f"Form<{str(along_k).lower()}, {width_of_copy(launcher, operand, gate)}{gated}>"


def width_of_copy(launcher: Launcher, operand: Array, gate: Array | None = None) -> int:
    """How many numbers one copy takes: 16 bytes of them where lines begin at such addresses."""
    itemsize = operand.dtype.itemsize
    whole = operand.shape[-1] * itemsize % _BYTES == 0
    read = (operand,) if gate is None else (operand, gate)
    aligned = all(launcher.address(array) % _BYTES == 0 for array in read)
    return _BYTES // itemsize if whole and aligned else 1


def kind(precision: str, *operands: Array) -> str:
    """The key of `TILES` for a product of such arrays."""
    for operand in operands:
        if operand.dtype in ROUNDED_BITS:
            return "bfloat16" if operand.dtype == BFLOAT16_BITS else "tensorfloat32"
    return "float64" if str(operands[0].dtype) == "float64" else precision
