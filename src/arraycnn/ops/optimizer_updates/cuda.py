"""Launch code of optimizers.cu. Contracts in `arraycnn.ops.generic`.

With ``in_place`` the results are written over parameters, velocities, moments and decays, and those
arrays are returned: a recorded step finds them where they were.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.checks import check_shape
from arraycnn.ops.cuda.launcher import WARP, Addresses, Launcher, blocks, c_name

_MOST_TENSORS = 32  # as in optimizers.cu
_THREADS = 512
_MOST_BLOCKS = 528  # for a tensor: four on each of the 132 processors of an H100 or H200


def sgd_update(
    launcher: Launcher,
    parameters: list[Array],
    gradients: list[Array],
    velocities: list[Array],
    learning_rate: Array,
    *,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    in_place: bool = False,
) -> tuple[list[Array], list[Array]]:
    changed = [parameters, velocities] if momentum else [parameters]
    olds, gradients, (rate,) = _checked(
        launcher, "sgd_update", changed, gradients, (learning_rate,), in_place
    )
    news = [_results(launcher, arrays, in_place) for arrays in olds]
    old_velocities, new_velocities = (olds[1], news[1]) if momentum else ([], [])
    real = np.dtype(str(rate.dtype)).type
    _launch(
        launcher,
        f"sgd_update<{c_name(rate)}>",
        (olds[0], gradients, old_velocities, news[0], new_velocities),
        (rate, real(momentum), real(weight_decay), int(nesterov)),
    )
    return news[0], new_velocities if momentum else velocities


def adam_update(
    launcher: Launcher,
    parameters: list[Array],
    gradients: list[Array],
    first_moments: list[Array],
    second_moments: list[Array],
    decays: tuple[Array, Array],
    learning_rate: Array,
    *,
    betas: tuple[float, float],
    epsilon: float,
    weight_decay: float,
    decoupled: bool,
    in_place: bool = False,
) -> tuple[list[Array], list[Array], list[Array], tuple[Array, Array]]:
    changed = [parameters, first_moments, second_moments]
    olds, gradients, (rate, *old_decays) = _checked(
        launcher, "adam_update", changed, gradients, (learning_rate, *decays), in_place
    )
    news = [_results(launcher, arrays, in_place) for arrays in olds]
    first_decay, second_decay = _results(launcher, old_decays, in_place)
    real = np.dtype(str(rate.dtype)).type
    (beta1, beta2), c_type = betas, c_name(rate)
    launcher.launch(
        "optimizers",
        f"adam_decays<{c_type}>",
        (1,),
        (WARP,),
        (*old_decays, first_decay, second_decay, real(beta1), real(beta2)),
    )
    _launch(
        launcher,
        f"adam_update<{c_type}>",
        (olds[0], gradients, *olds[1:], *news),
        (
            *(first_decay, second_decay, rate),
            *(real(beta1), real(1.0 - beta1), real(beta2), real(1.0 - beta2)),
            *(real(epsilon), real(weight_decay), int(decoupled)),
        ),
    )
    return news[0], news[1], news[2], (first_decay, second_decay)


def _checked(
    launcher: Launcher,
    owner: str,
    changed: list[list[Array]],
    gradients: list[Array],
    scalars: Sequence[Array],
    in_place: bool,
) -> tuple[list[list[Array]], list[Array], list[Array]]:
    """All arrays in C order, of one dtype and of fitting shapes."""
    for tensors in (*changed[1:], gradients):
        for parameter, tensor in zip(changed[0], tensors, strict=True):
            check_shape(f"{owner}: the tensors of a parameter", tensor, parameter.shape)
    for scalar in scalars:
        check_shape(f"{owner}: learning rate and decays", scalar, ())
    if in_place and not all(a.flags.c_contiguous for tensors in changed for a in tensors):
        message = f"{owner} on CUDA: what is changed in place must lie in C order; copy it first"
        raise InvalidValueError(message)
    every = [*changed, gradients, list(scalars)]
    flat = iter(launcher.floating(owner, *(array for arrays in every for array in arrays)))
    *olds, gradients, scalars = ([next(flat) for _ in arrays] for arrays in every)
    return olds, gradients, scalars


def _results(launcher: Launcher, olds: list[Array], in_place: bool) -> list[Array]:
    return olds if in_place else [launcher.empty(old.shape, old.dtype) for old in olds]


def _launch(
    launcher: Launcher, kernel: str, lists: Sequence[list[Array]], args: tuple[Any, ...]
) -> None:
    """Start ``kernel`` for all tensors, some at a time; ``lists`` begins with the parameters."""
    parameters = lists[0]
    filled = [number for number, parameter in enumerate(parameters) if parameter.size]
    for start in range(0, len(filled), _MOST_TENSORS):
        part = filled[start : start + _MOST_TENSORS]
        # An array's length is told by its last number, which needs no other kind of argument.
        lasts = [parameters[number].reshape((-1,))[-1:] for number in part]
        tables = [[arrays[number] for number in part] if arrays else [] for arrays in lists]
        tables.insert(1, lasts)
        largest = max(parameters[number].size for number in part)
        launcher.launch(
            "optimizers",
            kernel,
            (min(blocks(largest, _THREADS), _MOST_BLOCKS), len(part)),
            (_THREADS,),
            (*(Addresses(tuple(table), _MOST_TENSORS) for table in tables), *args),
        )
