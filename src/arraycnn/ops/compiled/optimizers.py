"""Launch code of the optimizers' updates."""

from __future__ import annotations

from typing import Any

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.ops.compiled.kernels import optimizers as kernels
from arraycnn.ops.compiled.launcher import ELEMENTS, Launcher


def sgd_update(
    launcher: Launcher, parameters: list[np.ndarray], gradients: list[np.ndarray],
    velocities: list[np.ndarray], learning_rate: Any, *, momentum: float, nesterov: bool,
    weight_decay: float, in_place: bool = False,
) -> tuple[list[np.ndarray], list[np.ndarray]]:  # fmt: skip
    changed = [parameters, velocities] if momentum else [parameters]
    olds, news, gradients, rate = _tensors(
        launcher, "sgd_update", changed, gradients, learning_rate, in_place
    )
    for place, (p, g) in enumerate(zip(olds[0], gradients, strict=True)):
        before, after = (olds[1][place], news[1][place]) if momentum else (None, None)
        words = (p, g, before, news[0][place], after, rate, p.size, ELEMENTS)
        launcher.launch(
            kernels.sgd_update, -(-p.size // ELEMENTS),
            *words, float(momentum), float(weight_decay), nesterov, like=p, room=3,
        )  # fmt: skip
    return news[0], news[1] if momentum else velocities


def adam_update(
    launcher: Launcher, parameters: list[np.ndarray], gradients: list[np.ndarray],
    first_moments: list[np.ndarray], second_moments: list[np.ndarray], decays: tuple[Any, Any],
    learning_rate: Any, *, betas: tuple[float, float], epsilon: float, weight_decay: float,
    decoupled: bool, in_place: bool = False,
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray], tuple[Any, Any]]:  # fmt: skip
    changed = [parameters, first_moments, second_moments]
    olds, news, gradients, rate = _tensors(
        launcher, "adam_update", changed, gradients, learning_rate, in_place
    )
    old_decays = [np.asarray(decay, rate.dtype) for decay in decays]
    new_decays = old_decays if in_place else [launcher.empty((), rate.dtype) for _ in decays]
    beta1, beta2 = betas
    launcher.launch(
        kernels.adam_decays, 1, *old_decays, *new_decays, float(beta1), float(beta2), like=rate
    )
    for place, (p, g) in enumerate(zip(olds[0], gradients, strict=True)):
        words = (p, g, olds[1][place], olds[2][place], *(new[place] for new in news))
        launcher.launch(
            kernels.adam_update, -(-p.size // ELEMENTS),
            *words, *new_decays, rate, p.size, ELEMENTS,
            float(beta1), float(beta2), float(epsilon), float(weight_decay), decoupled,
            like=p, room=8,
        )  # fmt: skip
    return news[0], news[1], news[2], (new_decays[0], new_decays[1])


def _tensors(
    launcher: Launcher, owner: str, changed: list[list[np.ndarray]],
    gradients: list[np.ndarray], learning_rate: Any, in_place: bool,
) -> tuple[list[list[np.ndarray]], list[list[np.ndarray]], list[np.ndarray], np.ndarray]:  # fmt: skip
    """Old tensors, new tensors, gradients and the learning rate."""
    every = [array for tensors in changed for array in tensors]
    if in_place and not all(array.flags.c_contiguous for array in every):
        message = f"{owner}: what is changed in place must lie in C order; copy it first"
        raise InvalidValueError(message)
    if not every:
        return changed, changed, gradients, np.asarray(learning_rate)
    checked = iter(launcher.floating(owner, *every, *gradients))
    *olds, gradients = ([next(checked) for _ in arrays] for arrays in (*changed, gradients))
    news = olds
    if not in_place:
        news = [[launcher.empty(old.shape, old.dtype) for old in tensors] for tensors in olds]
    return olds, news, gradients, np.asarray(learning_rate, olds[0][0].dtype)
