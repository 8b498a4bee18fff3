"""Faults in few_columns.cu and its launch code."""

TESTS = ("ops/test_cuda_few_columns.py",)

CU, PY = "dense/few_columns.cu", "dense/few_columns.py"

FAULTS = [
    (CU, "const A* row = a + at.x * depth;", "const A* row = a;", "index"),
    (CU, "first < depth; first += AT_ONCE", "first <= depth; first += AT_ONCE", "bound"),
    (CU, "first += AT_ONCE * THREADS_OF_ROW", "first += 2 * AT_ONCE * THREADS_OF_ROW", "lost steps"),
    (CU, "k = next < depth ? next : first;", "k = next;", "bound"),
    (CU, "if (first + i * THREADS_OF_ROW < depth)", "if (depth)", "a step twice"),
    (CU, "b + k * COLUMNS + p * PACK", "b + k * COLUMNS + p", "index"),
    (CU, "right[i][n / PACK].at[n % PACK]", "right[i][n % PACKS].at[n % PACK]", "index"),
    (CU, "sums[n] = warp_sum(sums[n]);", "sums[n] = sums[n];", "lost lanes"),
    (CU, "= sums[n];\n    __syncthreads();", "= sums[n];", "barrier"),
    (CU, "if (thread % WARP == 0)", "if (thread < WARPS)", "unwritten sums"),
    (CU, "warp = 1; warp < WARPS", "warp = 1; warp < WARPS - 1", "lost warp"),
    (CU, "epilogue(sum, (long long)at.x, (long long)thread)", "epilogue(sum, (long long)thread, (long long)at.x)", "index"),
    (CU, "y[(long long)at.x * COLUMNS + thread]", "y[(long long)at.x + thread]", "stride"),
    (CU, "if (thread < COLUMNS) {", "if (thread <= COLUMNS) {", "bound"),
    (PY, "b.shape[1] % pack or launcher", "launcher", "packs across rows"),
    (PY, " or launcher.address(b) % (pack * b.dtype.itemsize)", "", "alignment"),
    (PY, "(a, b, y, depth)", "(a, b, y, columns)", "size"),
    (PY, "0 < rows <= _MOST_ROWS", "0 < rows", "choice"),
    (PY, "return plain and small and depth <= most_depth", "return plain and small", "choice"),
    (PY, "in_float and in_order and gate", "in_float and gate", "turned weights"),
    (PY, "plain = in_float and in_order", "plain = in_order", "a rounded result"),
    (PY, "_MOST_DEPTH if exact else _MOST_DEPTH_BESIDE_TENSOR_CORES", "_MOST_DEPTH", "choice"),
]  # fmt: skip
