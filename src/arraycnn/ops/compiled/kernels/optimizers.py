"""Updates of one parameter tensor; old and new arrays may be the same.

New ones are first made equal to the old and then changed in place: a loop over arrays that may overlap
becomes no vector code.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from arraycnn.ops.compiled.kernels.vectors import as_real, numbers


@njit(error_model="numpy")
def _changed(words, old, new, size, first, last, scratch):  # type: ignore[no-untyped-def]
    """Numbers ``first`` to ``last`` of the array at the word ``new``, those of ``old`` at first."""
    target = numbers(words, new, scratch)[first:last]
    if words[new] != words[old]:
        target[:] = numbers(words, old, scratch)[first:last]
    return target


@njit(error_model="numpy")
def sgd_update(block, words, scratch):  # type: ignore[no-untyped-def]
    """See `arraycnn.ops.generic.sgd_update`; ``per`` numbers a block."""
    size, per, nesterov = words[6], words[7], words[10]
    first = block * per
    last = min(size, first + per)
    kind = scratch.dtype.type
    momentum, decay = kind(as_real(words[8])), kind(as_real(words[9]))
    rate = numbers(words, 5, scratch)[0]
    gradients = numbers(words, 1, scratch)[first:last]
    new = _changed(words, 0, 3, size, first, last, scratch)
    if momentum == kind(0):
        for i in range(new.shape[0]):
            new[i] -= rate * (gradients[i] + decay * new[i])
        return
    velocity = _changed(words, 2, 4, size, first, last, scratch)
    for i in range(new.shape[0]):
        gradient = gradients[i] + decay * new[i]
        speed = momentum * velocity[i] + gradient
        velocity[i] = speed
        new[i] -= rate * (gradient + momentum * speed if nesterov != 0 else speed)


@njit(error_model="numpy")
def adam_decays(block, words, scratch):  # type: ignore[no-untyped-def]
    """beta1^t and beta2^t of one step more."""
    kind = scratch.dtype.type
    for place in range(2):
        decay = numbers(words, place, scratch)[0]
        numbers(words, 2 + place, scratch)[0] = decay * kind(as_real(words[4 + place]))


@njit(error_model="numpy")
def adam_update(block, words, scratch):  # type: ignore[no-untyped-def]
    """See `arraycnn.ops.generic.adam_update`; ``per`` numbers a block."""
    size, per, decoupled = words[10], words[11], words[16]
    first = block * per
    last = min(size, first + per)
    kind = scratch.dtype.type
    beta1, beta2 = as_real(words[12]), as_real(words[13])
    keep1, take1 = kind(beta1), kind(1.0 - beta1)
    keep2, take2 = kind(beta2), kind(1.0 - beta2)
    epsilon, decay = kind(as_real(words[14])), kind(as_real(words[15]))
    rate = numbers(words, 9, scratch)[0]
    step_size = rate / (kind(1) - numbers(words, 7, scratch)[0])
    correction = np.sqrt(kind(1) - numbers(words, 8, scratch)[0])
    gradients = numbers(words, 1, scratch)[first:last]
    new = _changed(words, 0, 4, size, first, last, scratch)
    first_moment = _changed(words, 2, 5, size, first, last, scratch)
    second_moment = _changed(words, 3, 6, size, first, last, scratch)
    for i in range(new.shape[0]):
        parameter, gradient = new[i], gradients[i]
        if decoupled == 0:
            gradient += decay * parameter
        else:
            parameter -= (rate * decay) * parameter
        m = keep1 * first_moment[i] + take1 * gradient
        v = keep2 * second_moment[i] + take2 * (gradient * gradient)
        first_moment[i], second_moment[i] = m, v
        new[i] = parameter - step_size * (m / (np.sqrt(v) / correction + epsilon))
