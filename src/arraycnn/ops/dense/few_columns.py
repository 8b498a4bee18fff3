"""Launch code of few_columns.cu: products of few columns and rows, such as a classifier's last."""

from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.checks import as_numbers
from arraycnn.ops.cuda.ending import MakesEnding, launch_with_ending
from arraycnn.ops.cuda.launcher import Launcher, c_name
from arraycnn.ops.cuda.products import Product, with_epilogue
from arraycnn.ops.rounded import ROUNDED_BITS

_MOST_COLUMNS = 16
"""Sums that a thread has."""

_MOST_ROWS = 2 * 132
"""Each reads all of the second operand: more do well to share it, as the rows of a tile do."""

_MOST_DEPTH = 2**13
"""Of the sums: longer ones are shared out among blocks."""

_MOST_DEPTH_BESIDE_TENSOR_CORES = 2**10
"""The same where these would multiply."""

_THREADS = 256
_BYTES = 16


def suits(product: Product) -> bool:
    """Whether ``product`` is one of those: it is multiplied as float32 or float64 then."""
    (rows, columns), (_, _, depth) = product.shape, product.sizes
    exact = product.chosen.tile.math.startswith("Fma")
    most_depth = _MOST_DEPTH if exact else _MOST_DEPTH_BESIDE_TENSOR_CORES
    in_float = product.result.y.dtype not in ROUNDED_BITS
    in_order = [form.partition(",")[0] for form in product.forms] == ["Form<true", "Form<false"]
    gate, sums = product.operands[2], product.result.column_sums
    plain = in_float and in_order and gate is None and sums is None
    small = 0 < rows <= _MOST_ROWS and 0 < columns <= _MOST_COLUMNS
    return plain and small and depth <= most_depth


def launch(launcher: Launcher, product: Product, ending: MakesEnding | None) -> None:
    """Start ``product``, whose blocks have a row each, with ``ending`` where that can be."""
    (rows, columns, depth), (a, b, _) = product.sizes, product.operands
    assert a is not None
    assert b is not None
    a, b, y = as_numbers(a), as_numbers(b), product.result.y
    start = with_epilogue(
        launcher,
        product.result.epilogue,
        [y],
        "few_columns",
        f"few_columns<{c_name(a)}, {c_name(b)}, {columns}, {_pack(launcher, b)}>",
        (rows,),
        (_THREADS,),
        (a, b, y, depth),
    )
    made = None if ending is None else ending(y, 1, _THREADS, launcher.counter())
    if made is None:
        start.launch(launcher)
    else:
        launch_with_ending(launcher, start, made)


def _pack(launcher: Launcher, b: Array) -> int:
    """How many neighbours of a row of ``b`` one load takes."""
    pack = _BYTES // b.dtype.itemsize
    while b.shape[1] % pack or launcher.address(b) % (pack * b.dtype.itemsize):
        pack //= 2
    return pack
