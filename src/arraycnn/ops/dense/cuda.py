"""Launch code of matmul.cu: products and dense layers. Contracts in `arraycnn.ops.generic`.

Operands are read as they lie: an array in C order, or the transpose of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from arraycnn.errors import InvalidValueError
from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.checks import check_shape
from arraycnn.ops.cuda.launcher import Launcher
from arraycnn.ops.cuda.tiles import (
    Epilogue,
    Late,
    Result,
    bias_relu,
    form,
    kind,
    launch_product,
    tiling,
    weight_gradient,
)

if TYPE_CHECKING:
    from arraycnn.ops.kernels import Kernels


def matmul(launcher: Launcher, a: Array, b: Array, *, precision: str) -> Array:
    return _product(launcher, "matmul", a, b, precision)[0]


def dense(
    launcher: Launcher,
    ops: Kernels,
    x: Array,
    weight: Array,
    bias: Array | None,
    *,
    precision: str,
) -> Array:
    return _product(launcher, "dense", x, weight, precision, bias=bias)[0]


def dense_with_epilogue(
    launcher: Launcher, x: Array, weight: Array, epilogue: Epilogue, *, precision: str
) -> Array:
    """``x @ weight``, each number of it as the epilogue has it."""
    return _product(launcher, "dense_with_epilogue", x, weight, precision, epilogue=epilogue)[0]


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
    return _product(launcher, "dense_relu", x, weight, precision, bias=bias, relu=True)[0]


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
) -> tuple[Array | None, Array, Array]:
    """With ``late``, dweight is what that makes of it."""
    owner = "dense_backward"
    dx = _product(launcher, owner, dy, weight.T, precision)[0] if need_dx else None
    return dx, *_product(launcher, owner, x.T, dy, precision, sums=True, late=late)


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
) -> tuple[Array | None, Array, Array]:
    """Gradients of `dense_relu`, whose output was ``y``: (dx or None, dweight, dbias)."""
    owner = "dense_relu_backward"
    check_shape(f"{owner} on CUDA: y", y, dy.shape)
    y, dy = launcher.floating(owner, y, dy)
    dx = None
    if need_dx:
        dx = _product(launcher, owner, dy, weight.T, precision, gate_a=y)[0]
    return dx, *_product(launcher, owner, x.T, dy, precision, gate_b=y, sums=True, late=late)


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
) -> tuple[Array, Array]:
    """(``a @ b``, sums of the columns of ``b`` or None).

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
    launch_product(
        launcher,
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
    return result.y, result.column_sums


def _is_turned(matrix: Array) -> bool:
    """Whether ``matrix`` is the transpose of one in C order."""
    return not matrix.flags.c_contiguous and matrix.flags.f_contiguous
