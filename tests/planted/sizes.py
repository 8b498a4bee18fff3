"""Faults that show at some sizes only, or only in memory that no result is read from."""

COMPILED = "ops/test_kernel_sizes.py -k compiled"
CUDA = "ops/test_cuda_sizes.py"

FAULTS = [
    ("ops/conv2d/compiled.py", "(rows * columns * filters if pool else 0)", "0", "ops/test_numpy_kernels.py -k compiled"),
    ("ops/conv2d/compiled.py", "+ 4 * filters\n", "\n", "ops/test_kernel_sizes.py -k 'compiled and convolutions'"),
    ("ops/conv2d/compiled.py", "8 * filters + 16 *", "7 * filters + 16 *", "ops/test_kernel_sizes.py -k 'compiled and convolutions'"),
    ("ops/dense/compiled_kernels.py", "// outputs + 1)\n", "// outputs + 2)\n", "ops/test_kernel_sizes.py -k 'compiled and dense'"),
    ("ops/dense/compiled.py", "block_inputs * (images + outputs)", "block_inputs * images", "ops/test_kernel_sizes.py -k 'compiled and dense'"),
    ("ops/dense/compiled_kernels.py", "range(1, count):\n        part", "range(1, min(count, 16)):\n        part", "ops/test_kernel_sizes.py -k 'parts_of_a_gradient'"),
    ("ops/dense/compiled_products.py", "builder.sub(last, emit.integer(ROWS - 1))", "emit.integer(ROWS)", "ops/test_kernel_sizes.py -k 'compiled and narrow'"),
    ("ops/dense/compiled_products.py", "left >= tile_columns and last >= ROWS - 1", "left >= tile_columns and last >= ROWS - 2", "ops/test_kernel_sizes.py -k 'compiled and dense'"),
    ("ops/dense/compiled_products.py", "(rows + ROWS - 1) // _TALL", "(rows + ROWS) // _TALL", "ops/test_kernel_sizes.py -k 'compiled and narrow'"),
    ("ops/conv2d/compiled_phases.py", "output_height - reached) - skipped", "output_height - reached)", "ops/test_kernel_sizes.py -k 'compiled and narrow'"),
    ("ops/conv2d/compiled_phases.py", "after(turned, skipped * across", "after(turned, 0 * across", "ops/test_kernel_sizes.py -k 'compiled and narrow'"),
    ("ops/generic.py", "if weight_decay:\n        gradients = [g + weight_decay * p", "if weight_decay:\n        gradients = [g + weight_decay * g", "ops/test_kernel_sizes.py -k 'optimizer'"),
    ("ops/generic.py", "decoupled:\n        gradients = [g + weight_decay * p", "decoupled:\n        gradients = [g + weight_decay * g", "ops/test_kernel_sizes.py -k 'optimizer'"),
    ("ops/cuda/tiles.cu", "split < splits; split += 8", "split < splits && split < 16; split += 8", CUDA),
]  # fmt: skip
