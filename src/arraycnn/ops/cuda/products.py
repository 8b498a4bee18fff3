"""Launch code of products on tiles: alone or several side by side, and the sum of their parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.beside import Start, launch_beside
from arraycnn.ops.cuda.block_sizes import Asked, of_one_size
from arraycnn.ops.cuda.ending import MakesEnding, launch_with_ending
from arraycnn.ops.cuda.launcher import COUNTERS, Argument, Launcher, Size, Struct, blocks, c_name
from arraycnn.ops.cuda.tiles import AS_IS, Epilogue, Plan, Result, shared_bytes
from arraycnn.ops.rounded import ROUNDED_BITS

_MOST_OF_A_TILE = 64 * 1024
"""Bytes of a tile's parts that its last block adds up by itself: more take it longer than a second
kernel does, of which all multiprocessors take a share."""

_FEWEST_THREADS = 128
"""Of a block that goes on with its lines: in fewer that takes longer than in a kernel of its own, by
the model in bench/."""

_MOST_STEPS = 2**31 - 1024
"""Of a split: kernels count those of a block in 32 bits."""


@dataclass(frozen=True)
class Product:
    """A kernel on tiles of a matrix product, that is to be started.

    The kernel is ``kernel<the tile, *forms, an epilogue>``, where the forms are those of the operands;
    it takes (*operands, y, column_sums, *sizes, per_split, epilogue). One that ``adds_parts`` takes
    whole_y, whole_sums and counters behind the sizes, None where it must not.

    Attributes
    ----------
    shape : (int, int)
        Of what the tiles cover.
    products : int
        How many results of that shape there are, along z.
    shared : int
        Bytes of a block where they are not `shared_bytes`.
    asked : Asked or None
        What ``chosen`` was chosen for, where another plan would do.
    """

    file: str
    kernel: str
    forms: tuple[str, str]
    chosen: Plan
    shape: tuple[int, int]
    operands: tuple[Array | None, ...]
    result: Result
    sizes: tuple[int, ...]
    products: int = 1
    adds_parts: bool = False
    shared: int = 0
    asked: Asked | None = None

    @property
    def counters(self) -> int:
        """How many it needs: one for each tile whose last block adds up the parts of it."""
        chosen = self.chosen
        tile = chosen.tile
        parts = chosen.splits * tile.rows * tile.columns * tile.result_itemsize
        if not self.adds_parts or chosen.splits == 1 or parts > _MOST_OF_A_TILE:
            return 0
        return _tiles(self)


def _tiles(product: Product) -> int:
    rows, columns = product.shape
    if product.result.column_sums is not None:
        rows = max(1, rows)  # which no row has
    tile = product.chosen.tile
    return blocks(rows, tile.rows) * blocks(columns, tile.columns)


def launch_product(
    launcher: Launcher, product: Product, ending: MakesEnding | None = None
) -> Result:
    """Start ``product``, and add up its parts where it is split; its result.

    Of a result ``in_parts`` these may be left: then the arrays returned have an axis of them in front.
    ``ending`` is asked only where blocks store whole lines.
    """
    if ending is not None and _has_whole_lines(product):
        before = product.counters
        tile, counters = product.chosen.tile, launcher.counter()[before:]
        made = ending(product.result.y, tile.rows, tile.threads, counters)
        if made is not None:
            _, start, _ = _started(launcher, product, launcher.counter() if before else None)
            launch_with_ending(launcher, start, made)
            return product.result
    return _launch_together(launcher, [product])[0]


def _has_whole_lines(product: Product) -> bool:
    """Whether a block, or the last of those that share a tile, stores whole lines, and may go on."""
    chosen = product.chosen
    is_whole = product.adds_parts and (chosen.splits == 1 or product.counters > 0)
    fits = product.shape[1] <= chosen.tile.columns and product.counters < COUNTERS
    quick = chosen.tile.threads >= _FEWEST_THREADS
    return is_whole and fits and quick and product.products == 1 and 0 not in product.shape


def launch_gradients(
    launcher: Launcher, dx: Product | None, dweight: Product, together: bool
) -> tuple[Array | None, Array, Array]:
    """(dx or None, dweight, dbias) of the products that make them, as `launch_product`.

    With ``together``, they are one launch where that serves.
    """
    products = [dweight] if dx is None else [dx, dweight]
    if together:
        products = _with_blocks_alike(products)
    if together and _suit_each_other(products):
        results = _launch_together(launcher, products)
    else:
        results = [launch_product(launcher, product) for product in products]
    return None if dx is None else results[0].y, results[-1].y, results[-1].column_sums


def _with_blocks_alike(products: list[Product]) -> list[Product]:
    """The same, on other tiles where only the sizes of their blocks keep them apart."""
    asked = [product.asked for product in products if product.asked is not None]
    if len(products) != 2 or len(asked) != 2 or _suit_each_other(products):
        return products
    plans = of_one_size(asked[0], asked[1])
    if plans is None:
        return products
    alike = [replace(one, chosen=plan) for one, plan in zip(products, plans, strict=True)]
    return alike if _suit_each_other(alike) else products  # which may lack counters


def _suit_each_other(products: Sequence[Product]) -> bool:
    """Whether they can share a launch: blocks of one size, and counters for all."""
    alike = len({product.chosen.tile.threads for product in products}) == 1
    return alike and sum(product.counters for product in products) <= COUNTERS


def _launch_together(launcher: Launcher, products: Sequence[Product]) -> list[Result]:
    """`launch_product` of each, in one launch: none may read another's result."""
    started = []
    before = 0
    for product in products:
        count = product.counters
        started.append(_started(launcher, product, launcher.counter()[before:] if count else None))
        before += count
    # What takes a block long must not begin when the others end.
    order = sorted(started, key=lambda one: -one[0])
    launch_beside(launcher, [start for _, start, _ in order])
    return [
        _whole(launcher, *row) for row in zip(products, (of for _, _, of in started), strict=True)
    ]


def _started(
    launcher: Launcher, product: Product, counters: Array | None
) -> tuple[float, Start, Result | None]:
    """How long a block takes, the kernel, and its parts where these are still to be added up."""
    chosen, result = product.chosen, product.result
    if chosen.per_split > _MOST_STEPS:
        message = (
            f"{product.kernel} on CUDA: a block adds up at most {_MOST_STEPS} products of "
            f"a sum, got {chosen.per_split}; use smaller arrays"
        )
        raise InvalidValueError(message)
    y, column_sums, epilogue = result.y, result.column_sums, result.epilogue
    if chosen.splits > 1:
        number = "float32" if _is_rounded(y) else y.dtype
        y = launcher.empty((chosen.splits, *y.shape), number)
        if column_sums is not None:
            column_sums = launcher.empty((chosen.splits, *column_sums.shape), y.dtype)
    left = None
    whole: tuple[Argument, ...] = ()
    if product.adds_parts:
        whole = (None,) * 3 if counters is None else (result.y, result.column_sums, counters)
    if chosen.splits > 1 and counters is None:
        left, epilogue = Result(y, column_sums), AS_IS  # its own is for whole sums
    written = [y] if left is not None or chosen.splits == 1 else [y, result.y]
    start = with_epilogue(
        launcher,
        epilogue,
        written,
        product.file,
        f"{product.kernel}<{', '.join((chosen.tile.math, *product.forms))}>",
        (_tiles(product), chosen.splits, product.products),
        (chosen.tile.threads,),
        (*product.operands, y, column_sums, *product.sizes, *whole, chosen.per_split),
        product.shared or shared_bytes(chosen.tile, product.forms),
    )
    return chosen.block_time, start, left


def _whole(launcher: Launcher, product: Product, parts: Result | None) -> Result:
    """The result, once its kernel has run."""
    if parts is None:
        return product.result
    if product.result.in_parts:
        return parts
    sum_splits(launcher, product.chosen.splits, parts, product.shape[1], product.result)
    return product.result


def sum_splits(
    launcher: Launcher,
    splits: int,
    parts: Result,
    columns: int,
    result: Result,
) -> None:
    """Add up ``splits`` parts of y, lines of so many ``columns``, and of column_sums to ``result``."""
    size = result.y.size
    total = size if parts.column_sums is None else size + columns
    with_epilogue(
        launcher,
        result.epilogue,
        [result.y],
        "tiles",
        f"sum_splits<{c_name(parts.y)}>",
        (blocks(total, 32),),
        (32, 8),
        (parts.y, parts.column_sums, result.y, result.column_sums, splits, size, columns),
    ).launch(launcher)


def _is_rounded(array: Array) -> bool:
    return array.dtype in ROUNDED_BITS


def with_epilogue(
    launcher: Launcher,
    epilogue: Epilogue,
    written: Sequence[Array],
    file: str,
    kernel: str,
    grid: Size,
    block: Size,
    args: tuple[Argument, ...],
    shared: int = 0,
) -> Start:
    """A kernel with an epilogue of the numbers of what is ``written`` as its last argument.

    Where some of that is rounded, their types are named behind the epilogue's.
    """
    y = written[0]
    name = epilogue.name or f"BiasRelu<{'float' if _is_rounded(y) else c_name(y)}>"
    types = [c_name(array) for array in written] if any(map(_is_rounded, written)) else []
    if epilogue.name or types:
        kernel = f"{kernel.removesuffix('>')}, {', '.join((name, *types))}>"
    simple = (int, np.generic, type(None))
    launcher.ours("an epilogue", *[one for one in epilogue.members if not isinstance(one, simple)])
    given = Struct(epilogue.members, name)
    return Start(file, kernel, grid, block, (*args, given), shared, epilogue.text)
