"""Updates of one parameter tensor; old and new arrays may be the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from arraycnn.ops.compiled.kernels.pointers import after, as_real, at, numbers, real
from arraycnn.ops.compiled.kernels.vectors import Emitter, emitted


def _sgd(momentum: bool, nesterov: bool) -> Any:
    """SGD of ``count`` numbers; ``factors`` are minus the learning rate, decay and momentum."""

    def update(
        emit: Emitter, new: Any, new_velocity: Any, old: Any, old_velocity: Any, gradients: Any,
        factors: Any, count: Any,
    ) -> None:  # fmt: skip
        rate, decay, keep = (emit.spread(emit.moved(factors, emit.integer(k))) for k in range(3))

        def work(place: Any, mask: Any) -> None:
            p, change = (emit.load(emit.moved(a, place), mask) for a in (old, gradients))
            change = emit.multiply_add(decay, p, change)
            if momentum:
                velocity = emit.load(emit.moved(old_velocity, place), mask)
                velocity = emit.multiply_add(keep, velocity, change)
                emit.store(velocity, emit.moved(new_velocity, place), mask)
                change = emit.multiply_add(keep, velocity, change) if nesterov else velocity
            emit.store(emit.multiply_add(rate, change, p), emit.moved(new, place), mask)

        emit.along(count, work)

    return emitted(update)


_plain, _momentum, _nesterov = _sgd(False, False), _sgd(True, False), _sgd(True, True)


@njit(error_model="numpy")
def sgd_update(block, words, scratch):  # type: ignore[no-untyped-def]
    """See `arraycnn.ops.generic.sgd_update`; ``per`` numbers a block."""
    size, per, nesterov = words[6], words[7], words[10]
    first = block * per
    count = min(per, size - first)
    momentum = as_real(words[8])
    scratch[0] = -numbers(words, 5, scratch)[0]
    scratch[1], scratch[2] = as_real(words[9]), momentum
    old, gradients = after(real(words, 0, scratch), first), after(real(words, 1, scratch), first)
    old_velocity = after(real(words, 2, scratch), first)
    new, new_velocity = after(real(words, 3, scratch), first), after(real(words, 4, scratch), first)
    factors = at(scratch, 0)
    if momentum == 0.0:
        _plain(new, new_velocity, old, old_velocity, gradients, factors, count)
    elif nesterov == 0:
        _momentum(new, new_velocity, old, old_velocity, gradients, factors, count)
    else:
        _nesterov(new, new_velocity, old, old_velocity, gradients, factors, count)


@njit(error_model="numpy")
def adam_decays(block, words, scratch):  # type: ignore[no-untyped-def]
    """beta1^t and beta2^t of one step more."""
    kind = scratch.dtype.type
    for place in range(2):
        decay = numbers(words, place, scratch)[0]
        numbers(words, 2 + place, scratch)[0] = decay * kind(as_real(words[4 + place]))


def _adam(decoupled: bool) -> Any:
    """Adam of ``count`` numbers; ``factors`` as `adam_update` writes them."""

    def update(
        emit: Emitter, new: Any, new_first: Any, new_second: Any, old: Any, old_first: Any,
        old_second: Any, gradients: Any, factors: Any, count: Any,
    ) -> None:  # fmt: skip
        keep1, take1, keep2, take2, decay, step_size, correction, epsilon = (
            emit.spread(emit.moved(factors, emit.integer(k))) for k in range(8)
        )

        def work(place: Any, mask: Any) -> None:
            p, gradient, first, second = (
                emit.load(emit.moved(a, place), mask)
                for a in (old, gradients, old_first, old_second)
            )
            if decoupled:
                p = p - decay * p
            else:
                gradient = emit.multiply_add(decay, p, gradient)
            first = emit.multiply_add(take1, gradient, keep1 * first)
            second = emit.multiply_add(take2, gradient * gradient, keep2 * second)
            emit.store(first, emit.moved(new_first, place), mask)
            emit.store(second, emit.moved(new_second, place), mask)
            scale = emit.root(second) / correction + epsilon
            emit.store(p - step_size * (first / scale), emit.moved(new, place), mask)

        emit.along(count, work)

    return emitted(update)


_coupled, _decoupled = _adam(False), _adam(True)


@njit(error_model="numpy")
def adam_update(block, words, scratch):  # type: ignore[no-untyped-def]
    """See `arraycnn.ops.generic.adam_update`; ``per`` numbers a block."""
    size, per, decoupled = words[10], words[11], words[16]
    first = block * per
    count = min(per, size - first)
    kind = scratch.dtype.type
    beta1, beta2, decay = as_real(words[12]), as_real(words[13]), kind(as_real(words[15]))
    rate = numbers(words, 9, scratch)[0]
    scratch[0], scratch[1] = beta1, 1.0 - beta1
    scratch[2], scratch[3] = beta2, 1.0 - beta2
    scratch[4] = decay if decoupled == 0 else rate * decay
    scratch[5] = rate / (kind(1) - numbers(words, 7, scratch)[0])
    scratch[6] = np.sqrt(kind(1) - numbers(words, 8, scratch)[0])
    scratch[7] = as_real(words[14])
    old, gradients = after(real(words, 0, scratch), first), after(real(words, 1, scratch), first)
    old_first = after(real(words, 2, scratch), first)
    old_second = after(real(words, 3, scratch), first)
    new, new_first = after(real(words, 4, scratch), first), after(real(words, 5, scratch), first)
    new_second = after(real(words, 6, scratch), first)
    factors = at(scratch, 0)
    if decoupled == 0:
        _coupled(new, new_first, new_second, old, old_first, old_second, gradients, factors, count)
    else:
        _decoupled(
            new, new_first, new_second, old, old_first, old_second, gradients, factors, count
        )
