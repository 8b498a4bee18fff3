"""Faults of classifier.cu and of its launch code."""

TESTS = ("ops/test_cuda_classifier.py",)

CU, PY = "dense/classifier.cu", "dense/cuda_classifier.py"
FAULTS = [
    (
        CU,
        "const T* image = x + blockIdx.x * inputs;",
        "const T* image = x + (blockIdx.x > 1 ? 1 : blockIdx.x) * inputs;",
        "an index",
    ),
    (CU, "i += slices)\n", "i += slices + (slices > 64 ? 1 : 0))\n", "a stride"),
    (
        CU,
        "slice have is not used\n    __syncthreads();\n",
        "slice have is not used\n",
        "a missing barrier",
    ),
    (CU, "slice < slices; ++slice)", "slice < slices - 1; ++slice)", "a lost last slice"),
    (
        CU,
        "    }\n    __syncthreads();\n\n    if (thread < WARP) {",
        "    }\n\n    if (thread < WARP) {",
        "a missing barrier",
    ),
    (CU, "warp_largest_of(row, count, thread)", "warp_largest_of(row, count, 0)", "a lost lane"),
    (CU, "total = warp_sum(total);", "", "a lost sum"),
    (
        CU,
        "        T total = T(0);\n        for (int k = thread; k < count; k += WARP)",
        "        T total = T(0);\n        for (int k = thread; k < count && k < WARP; k += WARP)",
        "a lost last warp",
    ),
    (CU, "        __syncwarp();  // lane 0", "        // lane 0", "a missing barrier"),
    (CU, "row[k] = share / (T)batch_size;", "row[k] = share / (T)gridDim.x;", "an index"),
    (
        CU,
        "            dlogits[blockIdx.x * classes + k] = row[k];\n",
        "            if (k < WARP) dlogits[blockIdx.x * classes + k] = row[k];\n",
        "an unwritten output",
    ),
    (
        CU,
        "        }\n    }\n    __syncthreads();\n\n    if (dx)",
        "        }\n    }\n\n    if (dx)",
        "a missing barrier",
    ),
    (CU, "i < inputs; i += THREADS) {", "i < inputs; i += THREADS + 1) {", "a stride"),
    (
        CU,
        "n < images; n += WARP) loss",
        "n < WARP && n < images; n += WARP) loss",
        "a lost last warp",
    ),
    (
        CU,
        "if (element >= weights + classes) return;",
        "if (element > weights + classes) return;",
        "a bound",
    ),
    (
        CU,
        "for (int n = 0; n < (int)images; ++n) sum += dlogits",
        "for (int n = 1; n < (int)images; ++n) sum += dlogits",
        "an index",
    ),
    (
        PY,
        "blocks(weight.size + classes, _SUM_THREADS) + 1,",
        "(weight.size + classes) // _SUM_THREADS + 1,",
        "a grid rounding",
    ),
    (PY, "launcher.contiguous(labels)", "labels", "a view"),
]
