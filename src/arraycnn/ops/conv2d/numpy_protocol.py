"""What a way to compute a convolution's gradients is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

import numpy as np

Gradients: TypeAlias = Callable[[np.ndarray, np.ndarray, np.ndarray, int, np.ndarray | None], None]
"""``write(images, dy, total, place, dx)``: makes the calls for some images, in a task.

``dy`` is the output's gradient in the blocks of the pool that follows (`numpy_columns.py`), (blocks, n,
OH, OW, F). It is for ``total``, as in `add_product`, and for ``dx``, unless that is None.
"""


class Backward(Protocol):
    """The gradients of one convolution, computed some images at a time."""

    sums: tuple[int, ...]
    """The shape of a total over images, of which `dweight` is made."""

    images: int
    """How many to compute at a time."""

    def gradients(self, need_dx: bool) -> Gradients: ...

    def dweight(self, total: np.ndarray) -> np.ndarray:
        """The gradient of the weights, of the total over all images."""
