"""Numbers that NumPy and CuPy have no dtype for: arrays hold their bits, as unsigned integers."""

import numpy as np

BFLOAT16_BITS = np.dtype("uint16")
"""Of arrays that hold numbers of bfloat16."""
TENSOR_FLOAT32_BITS = np.dtype("uint32")
"""Of arrays that hold numbers of TensorFloat32: float32 with 10 bits after the point, 0 behind them."""
ROUNDED_BITS = BFLOAT16_BITS, TENSOR_FLOAT32_BITS
"""What the products of tensor cores round their operands to."""
