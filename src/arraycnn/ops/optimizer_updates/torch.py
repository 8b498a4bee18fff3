"""The optimizers' updates in PyTorch's functions of whole lists: one call for all parameters.

They take the learning rate as a number, which on another device than the CPU would be waited for:
there the generic ones are called. What is given stays as it is.
"""

from typing import Any

from arraycnn.ops import generic
from arraycnn.ops.arrays import Array


def sgd_update(
    parameters: list[Array],
    gradients: list[Array],
    velocities: list[Array],
    learning_rate: Array,
    *,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
) -> tuple[list[Array], list[Array]]:
    if not _has_lists(parameters, learning_rate):
        return generic.sgd_update(
            *(parameters, gradients, velocities, learning_rate),
            momentum=momentum,
            nesterov=nesterov,
            weight_decay=weight_decay,
        )
    import torch

    if weight_decay:
        gradients = torch._foreach_add(gradients, parameters, alpha=weight_decay)
    directions: Any = gradients
    if momentum:
        velocities = torch._foreach_mul(velocities, momentum)
        torch._foreach_add_(velocities, gradients)
        directions = velocities
        if nesterov:
            directions = torch._foreach_add(gradients, velocities, alpha=momentum)
    moved = torch._foreach_add(parameters, directions, alpha=-learning_rate.item())
    return list(moved), list(velocities)


def adam_update(
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
) -> tuple[list[Array], list[Array], list[Array], tuple[Array, Array]]:
    if not _has_lists(parameters, learning_rate):
        return generic.adam_update(
            *(parameters, gradients, first_moments, second_moments, decays, learning_rate),
            betas=betas,
            epsilon=epsilon,
            weight_decay=weight_decay,
            decoupled=decoupled,
        )
    import torch

    (beta1, beta2), rate = betas, learning_rate.item()
    decays = decays[0] * beta1, decays[1] * beta2
    step_size = rate / (1.0 - decays[0].item())
    root_correction = (1.0 - decays[1].item()) ** 0.5
    if weight_decay and not decoupled:
        gradients = torch._foreach_add(gradients, parameters, alpha=weight_decay)
    first = torch._foreach_mul(first_moments, beta1)
    torch._foreach_add_(first, gradients, alpha=1.0 - beta1)
    second = torch._foreach_mul(second_moments, beta2)
    torch._foreach_addcmul_(second, gradients, gradients, value=1.0 - beta2)
    scales = torch._foreach_sqrt(second)
    torch._foreach_div_(scales, root_correction)
    torch._foreach_add_(scales, epsilon)
    if weight_decay and decoupled:
        parameters = torch._foreach_add(parameters, parameters, alpha=-rate * weight_decay)
    moved = torch._foreach_addcdiv(parameters, first, scales, value=-step_size)
    return list(moved), list(first), list(second), decays


def _has_lists(parameters: list[Array], learning_rate: Array) -> bool:
    return len(parameters) > 0 and learning_rate.device.type == "cpu"
