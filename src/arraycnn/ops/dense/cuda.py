"""Launch code of matmul.cu: products and dense layers. Contracts in `arraycnn.ops.generic`.

Operands are read as they lie: an array in C order, or the transpose of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from arraycnn.errors import InvalidValueError
from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.checks import check_shape, of_dtype, stored_as
from arraycnn.ops.cuda.ending import MakesEnding
from arraycnn.ops.cuda.launcher import Launcher
from arraycnn.ops.cuda.products import Product, launch_gradients, launch_product
from arraycnn.ops.cuda.tiles import (
    Epilogue,
    Late,
    Result,
    bias_relu,
    form,
    kind,
    tiling,
    weight_gradient,
)
from arraycnn.ops.dense import few_columns
from arraycnn.ops.rounded import ROUNDED_BITS

if TYPE_CHECKING:
    from arraycnn.ops.kernels import Kernels

_SINGLY = "Form<true, 1"
"""The beginning of the Form of an operand along k that is copied number by number."""


def matmul(launcher: Launcher, a: Array, b: Array, *, precision: str, stored: Any = None) -> Array:
    """``stored``, here and below, as `stored_as` has it: the dtype of y, or of dx."""
    return launch_product(launcher, _product(launcher, "matmul", a, b, precision, stored)).y


def dense(
    launcher: Launcher,
    ops: Kernels,
    x: Array,
    weight: Array,
    bias: Array | None,
    *,
    precision: str,
    stored: Any = None,
) -> Array:
    how = precision, stored
    return _launched(launcher, _product(launcher, "dense", x, weight, *how, bias=bias))


def dense_with_epilogue(
    launcher: Launcher,
    x: Array,
    weight: Array,
    epilogue: Epilogue,
    *,
    precision: str,
    ending: MakesEnding | None = None,
    stored: Any = None,
) -> Array:
    """``x @ weight``, each number of it as the epilogue has it; ``ending`` as `launch_product`."""
    owner = "dense_with_epilogue"
    product = _product(launcher, owner, x, weight, precision, stored, epilogue=epilogue)
    return _launched(launcher, product, ending)


def dense_relu(
    launcher: Launcher,
    ops: Kernels,
    x: Array,
    weight: Array,
    bias: Array | None,
    *,
    precision: str,
    stored: Any = None,
) -> Array:
    """max(`dense`, 0)."""
    owner = "dense_relu"
    return _launched(
        launcher, _product(launcher, owner, x, weight, precision, stored, bias=bias, relu=True)
    )


def dense_backward(
    launcher: Launcher,
    ops: Kernels,
    x: Array,
    weight: Array,
    dy: Array,
    need_dx: bool,
    *,
    precision: str,
    late: Late | None = None,
    together: bool = False,
    stored: Any = None,
) -> tuple[Array | None, Array, Array]:
    """With ``late``, dweight is what that makes of it; ``together``, one kernel makes both gradients
    where one can."""
    owner = "dense_backward"
    how = precision, stored
    dx = _product(launcher, owner, dy, weight.T, *how) if need_dx else None
    dweight = _product(launcher, owner, x.T, dy, *how, sums=True, late=late)
    return launch_gradients(launcher, dx, dweight, together and late is None)


def dense_relu_backward(
    launcher: Launcher,
    ops: Kernels,
    x: Array,
    weight: Array,
    y: Array,
    dy: Array,
    need_dx: bool,
    *,
    precision: str,
    late: Late | None = None,
    together: bool = False,
    stored: Any = None,
) -> tuple[Array | None, Array, Array]:
    """Gradients of `dense_relu`, whose output was ``y``: (dx or None, dweight, dbias)."""
    owner = "dense_relu_backward"
    check_shape(f"{owner} on CUDA: y", y, dy.shape)
    y, dy = stored_as(launcher, owner, stored, y, dy)
    of_dtype(launcher, f"{owner}: y", (str(dy.dtype),), y)
    how = precision, stored
    dx = _product(launcher, owner, dy, weight.T, *how, gate_a=y) if need_dx else None
    dweight = _product(launcher, owner, x.T, dy, *how, gate_b=y, sums=True, late=late)
    return launch_gradients(launcher, dx, dweight, together and late is None)


def _launched(launcher: Launcher, product: Product, ending: MakesEnding | None = None) -> Array:
    if few_columns.suits(product):
        few_columns.launch(launcher, product, ending)
        return product.result.y
    return launch_product(launcher, product, ending).y


def _product(
    launcher: Launcher,
    owner: str,
    a: Array,
    b: Array,
    precision: str,
    stored: Any,
    *,
    bias: Array | None = None,
    relu: bool = False,
    gate_a: Array | None = None,
    gate_b: Array | None = None,
    sums: bool = False,
    epilogue: Epilogue | None = None,
    late: Late | None = None,
) -> Product:
    """``a @ b``; with ``sums``, those of the columns of ``b``, too.

    A gate, in C order as its operand, makes 0 of the numbers where it is not above 0.
    """
    if len(a.shape) != 2 or len(b.shape) != 2 or a.shape[1] != b.shape[0]:
        shapes = f"{tuple(a.shape)} and {tuple(b.shape)}"
        message = f"{owner} on CUDA: takes matrices (M, K) and (K, N), got {shapes}"
        raise InvalidValueError(message)
    (rows, depth), columns = a.shape, b.shape[1]
    if bias is not None:
        check_shape(f"{owner} on CUDA: bias", bias, (columns,))
    others = [array for array in (bias, gate_a, gate_b) if array is not None]
    launcher.ours(owner, a, b, *others)
    # Columns are summed on their way through registers, where b's rows lie side by side.
    a_turned, b_turned = _is_turned(a), _is_turned(b) and not sums
    operands = a.T if a_turned else a, b.T if b_turned else b
    a, b, *_ = stored_as(launcher, owner, stored, *operands, *others)
    multiplied = kind(precision, a, b)
    number = "float32" if a.dtype in ROUNDED_BITS else a.dtype
    bias = launcher.contiguous(bias) if bias is not None else None
    if sums:
        result = weight_gradient(launcher, (rows, columns), (columns,), number, late)
    else:
        y = launcher.empty((rows, columns), a.dtype if stored is None else stored)
        result = Result(y, epilogue=epilogue or bias_relu(bias, relu))
    gate = gate_b if gate_a is None else gate_a
    forms = form(launcher, not a_turned, a, gate_a), form(launcher, b_turned, b, gate_b)
    singly = forms[0].startswith(_SINGLY), forms[1].startswith(_SINGLY)
    lacks_registers = any(singly) if multiplied == "tensorfloat32" else all(singly)
    needs = {"gated": gate is not None, "singly": lacks_registers}
    chosen = tiling(multiplied, rows, columns, depth, **needs)
    return Product(
        "matmul",
        "matmul",
        forms,
        chosen,
        (rows, columns),
        (a, b, gate),
        result,
        (rows, columns, depth),
        adds_parts=True,
    )


def _is_turned(matrix: Array) -> bool:
    """Whether ``matrix`` is the transpose of one in C order."""
    return not matrix.flags.c_contiguous and matrix.flags.f_contiguous
