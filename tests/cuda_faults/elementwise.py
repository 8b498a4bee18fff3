"""Faults of elementwise.cu, elements.cuh and the launch code."""

TESTS = ("ops/test_cuda_elementwise.py",)

CU, EACH, PY = "relu/elementwise.cu", "cuda/elements.cuh", "relu/cuda.py"

FAULTS = [
    (CU, "dx[i] = y[i] > T(0) ? gradient : T(0);", "dx[i] = y[i] >= T(0) ? gradient : T(0);", "tie"),
    (CU, "dx[i] = y[i] > T(0) ? gradient : T(0);", "dx[i] = gradient * (T)(y[i] > T(0));", "zero times NaN"),
    (CU, "dx[i] = y[i] > T(0) ? gradient : T(0);", "if (y[i] > T(0)) dx[i] = gradient;", "unwritten output"),
    (CU, "const T gradient = dy[i];", "const T gradient = dy[(int)i];", "int overflow"),
    (EACH, "(long long)blockIdx.x * blockDim.x * PER_THREAD", "(int)(blockIdx.x * blockDim.x * PER_THREAD)", "int overflow"),
    (EACH, "blockDim.x * PER_THREAD + threadIdx.x;", "blockDim.x + threadIdx.x;", "stride"),
    (EACH, "if (first + (PER_THREAD - 1) * blockDim.x < count) {", "if (first + (PER_THREAD - 2) * blockDim.x < count) {", "bound"),
    (EACH, "part < PER_THREAD; ++part", "part < PER_THREAD - 1; ++part", "unwritten output"),
    (EACH, "use(first + part * blockDim.x);", "use(first * PER_THREAD + part);", "index"),
    (EACH, "i < count; i += blockDim.x", "i <= count; i += blockDim.x", "bound"),
    (EACH, "i < count; i += blockDim.x", "i < count; i += 2 * blockDim.x", "stride"),
    (PY, "(blocks(dx.size, PER_BLOCK),)", "(blocks(dx.size, 2 * PER_BLOCK),)", "unwritten output"),
    (PY, "(blocks(dx.size, PER_BLOCK),)", "(dx.size // PER_BLOCK,)", "grid rounding"),
    (PY, "(y, dy, dx, dx.size)", "(dy, y, dx, dx.size)", "argument"),
]  # fmt: skip
