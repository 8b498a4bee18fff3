"""The kernels in groups, each few enough that compute-sanitizer is done with them in minutes."""

from kernel_cases import KERNEL_CASES

GROUPS = {
    "products": ("matmul", "dense", "dense_relu", "dense_backward", "dense_relu_backward"),
    "convolutions": ("conv2d", "conv2d_relu"),
    "convolution-gradients": ("conv2d_backward", "conv2d_relu_backward"),
    "groups": ("grouped_conv2d", "grouped_conv2d_backward"),
    "pooled-forward": ("conv2d_max_pool2d",),
    "pooled-gradients": ("conv2d_max_pool2d_backward",),
    "pools": ("max_pool2d", "max_pool2d_backward", "avg_pool2d", "avg_pool2d_backward"),
    "columns": ("im2col", "col2im"),
    "norms": ("batch_norm", "batch_norm_backward", "at_winners"),
    "updates": ("sgd_update", "adam_update"),
}
"""Ops by what their kernels share; all others are the group "others"."""
GROUPS["others"] = tuple(
    sorted({case.op for case in KERNEL_CASES} - {op for ops in GROUPS.values() for op in ops})
)
HEADER = "device-header"
"""The group of what has no op: the functions of the device header."""
PARTS = (*GROUPS, HEADER)
SECONDS = 8 * 60
"""Of a part, at the most; none should come near it."""


def selection(part: str) -> str:
    """What pytest is to select (-k) of tests/backends/test_gpu.py."""
    if part == HEADER:
        return "test_functions_of_the_device_header"
    ops = " or ".join(f"[{op}-" for op in GROUPS[part])
    return f"test_kernels_equal_the_generic_ones and not float64 and ({ops})"
