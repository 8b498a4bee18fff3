"""A generator for those who ask `Layer.init` for shapes alone."""

import math
from typing import Any

import numpy as np


class Undrawn(np.random.Generator):
    """Draws no numbers: what the library's layers ask for is zeros, of any size at once."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def count(self, wanted: int) -> None:
        """Called with how many numbers were asked for."""

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        shape = size if isinstance(size, tuple) else (1 if size is None else size,)
        self.count(math.prod(shape))
        return np.zeros(shape)  # memory that nobody touches is given out of nothing

    def normal(self, loc: Any = 0.0, scale: Any = 1.0, size: Any = None) -> Any:
        return self.uniform(size=size)
