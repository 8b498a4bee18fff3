"""Faults of classifier.cu and of its launch code."""

TESTS = ("test_cuda_classifier.py",)

CU, PY = "classifier.cu", "classifier.py"
FAULTS = [
    (CU, "if (a_nan != b_nan) return a_nan;", "if (a_nan != b_nan) return b_nan;", "a lost NaN"),
    (
        CU,
        "if (a_nan || a == b) return a_place < b_place;",
        "if (a_nan || a == b) return a_place > b_place;",
        "a tie",
    ),
    (
        CU,
        "const T* image = x + blockIdx.x * inputs;",
        "const T* image = x + (blockIdx.x > 1 ? 1 : blockIdx.x) * inputs;",
        "an index",
    ),
    (CU, "i += slices)\n", "i += slices + (slices > 64 ? 1 : 0))\n", "a stride"),
    (
        CU,
        "    partial[thread] = sum;\n    __syncthreads();\n",
        "    partial[thread] = sum;\n",
        "a missing barrier",
    ),
    (CU, "slice < slices; ++slice)", "slice < slices - 1; ++slice)", "a lost last slice"),
    (
        CU,
        "    }\n    __syncthreads();\n\n    if (thread < 32) {",
        "    }\n\n    if (thread < 32) {",
        "a missing barrier",
    ),
    (
        CU,
        "for (int k = thread; k < count; k += 32)\n            if (leads",
        "for (int k = thread; k < 32; k += 32)\n            if (leads",
        "a lost last warp",
    ),
    (CU, "        __syncwarp();  // lane 0", "        // lane 0", "a missing barrier"),
    (CU, "row[k] = share / (T)batch_size;", "row[k] = share / (T)gridDim.x;", "an index"),
    (
        CU,
        "            dlogits[blockIdx.x * classes + k] = row[k];\n",
        "            if (k < 32) dlogits[blockIdx.x * classes + k] = row[k];\n",
        "an unwritten output",
    ),
    (
        CU,
        "        }\n    }\n    __syncthreads();\n\n    if (dx)",
        "        }\n    }\n\n    if (dx)",
        "a missing barrier",
    ),
    (CU, "i < inputs; i += THREADS) {", "i < inputs; i += THREADS + 1) {", "a stride"),
    (CU, "n < images; n += 32) loss", "n < 32 && n < images; n += 32) loss", "a lost last warp"),
    (
        CU,
        "if (element >= weights + classes) return;",
        "if (element > weights + classes) return;",
        "a bound",
    ),
    (
        CU,
        "for (long long n = 0; n < images; ++n) sum += dlogits",
        "for (long long n = 1; n < images; ++n) sum += dlogits",
        "an index",
    ),
    (
        PY,
        "blocks(weight.size + classes, _THREADS) + 1,",
        "(weight.size + classes) // _THREADS + 1,",
        "a grid rounding",
    ),
    (PY, "launcher.contiguous(labels)", "labels", "a view"),
]
