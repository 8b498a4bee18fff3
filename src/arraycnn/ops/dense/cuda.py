"""Launch code of matmul.cu: products and dense layers. Contracts in `arraycnn.ops.generic`.

Operands are read as they lie: an array in C order, or the transpose of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from arraycnn.errors import InvalidValueError
from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.checks import check_shape
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

if TYPE_CHECKING:
    from arraycnn.ops.kernels import Kernels


def matmul(launcher: Launcher, a: Array, b: Array, *, precision: str) -> Array:
    return launch_product(launcher, _product(launcher, "matmul", a, b, precision)).y


def dense(
    launcher: Launcher,
    ops: Kernels,
    x: Array,
    weight: Array,
    bias: Array | None,
    *,
    precision: str,
) -> Array:
    return launch_product(launcher, _product(launcher, "dense", x, weight, precision, bias=bias)).y


def dense_with_epilogue(
    launcher: Launcher, x: Array, weight: Array, epilogue: Epilogue, *, precision: str
) -> Array:
    """``x @ weight``, each number of it as the epilogue has it."""
    owner = "dense_with_epilogue"
    return launch_product(
        launcher, _product(launcher, owner, x, weight, precision, epilogue=epilogue)
    ).y


def dense_relu(
    launcher: Launcher,
    ops: Kernels,
    x: Array,
    weight: Array,
    bias: Array | None,
    *,
    precision: str,
) -> Array:
    """max(`dense`, 0)."""
    owner = "dense_relu"
    return launch_product(
        launcher, _product(launcher, owner, x, weight, precision, bias=bias, relu=True)
    ).y


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
) -> tuple[Array | None, Array, Array]:
    """With ``late``, dweight is what that makes of it; ``together``, one kernel makes both gradients
    where one can."""
    owner = "dense_backward"
    dx = _product(launcher, owner, dy, weight.T, precision) if need_dx else None
    dweight = _product(launcher, owner, x.T, dy, precision, sums=True, late=late)
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
) -> tuple[Array | None, Array, Array]:
    """Gradients of `dense_relu`, whose output was ``y``: (dx or None, dweight, dbias)."""
    owner = "dense_relu_backward"
    check_shape(f"{owner} on CUDA: y", y, dy.shape)
    y, dy = launcher.floating(owner, y, dy)
    dx = _product(launcher, owner, dy, weight.T, precision, gate_a=y) if need_dx else None
    dweight = _product(launcher, owner, x.T, dy, precision, gate_b=y, sums=True, late=late)
    return launch_gradients(launcher, dx, dweight, together and late is None)


def _product(
    launcher: Launcher,
    owner: str,
    a: Array,
    b: Array,
    precision: str,
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
    a, b, *_ = launcher.floating(owner, a.T if a_turned else a, b.T if b_turned else b, *others)
    bias = launcher.contiguous(bias) if bias is not None else None
    if sums:
        result = weight_gradient(launcher, (rows, columns), (columns,), a.dtype, late)
    else:
        y = launcher.empty((rows, columns), a.dtype)
        result = Result(y, epilogue=epilogue or bias_relu(bias, relu))
    gate = gate_b if gate_a is None else gate_a
    forms = form(launcher, not a_turned, a, gate_a), form(launcher, b_turned, b, gate_b)
    needs = {"gated": gate is not None, "singly": set(forms) == {"Form<true, 1>"}}
    chosen = tiling(kind(precision, a), rows, columns, depth, **needs)
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
