"""What weights are at first, by name."""

from typing import TypeAlias

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.layers.layer import Shape, glorot_uniform

Initial: TypeAlias = str
INITIAL = ("glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "orthogonal", "zeros")


def check_initial(owner: str, name: Initial) -> None:
    """Refuse what is none of `INITIAL`."""
    if name not in INITIAL:
        message = f"{owner}: initial must be one of {', '.join(INITIAL)}, got {name!r}"
        raise InvalidValueError(message)


def initial_values(
    name: Initial, rng: np.random.Generator, shape: Shape, inputs: int, outputs: int
) -> np.ndarray:
    """Weights of ``shape``, whose last axis is that of the outputs, float64.

    "glorot_..." (Glorot and Bengio, 2010) have the variance 2 / (inputs + outputs), "he_..." (He et
    al., 2015), for what a ReLU follows, 2 / inputs; "orthogonal" (Saxe et al., 2014) makes the filters
    of one window orthonormal, or, where there are more filters than numbers in it, the numbers.

    Parameters
    ----------
    inputs, outputs : int
        How many numbers one output is a sum of, and one input is a term of.
    """
    if name == "glorot_uniform":
        return glorot_uniform(rng, shape, inputs, outputs)
    if name == "glorot_normal":
        return rng.normal(0.0, np.sqrt(2.0 / (inputs + outputs)), shape)
    if name == "he_uniform":
        limit = np.sqrt(6.0 / inputs)
        return rng.uniform(-limit, limit, shape)
    if name == "he_normal":
        return rng.normal(0.0, np.sqrt(2.0 / inputs), shape)
    if name == "orthogonal":
        return _orthogonal(rng, shape)
    # Drawn, too: what counts the numbers that a file's network asks for sees draws alone.
    return rng.uniform(0.0, 0.0, shape)


def _orthogonal(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    long, short = max(rows, columns), min(rows, columns)
    q, r = np.linalg.qr(rng.normal(0.0, 1.0, (long, short)))
    q = q * np.where(np.diag(r) < 0.0, -1.0, 1.0)  # or its signs would not be uniform
    return (q if rows >= columns else q.T).reshape(shape)
