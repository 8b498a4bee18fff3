"""Faults of loss.cu, warps.cuh and the launch code."""

TESTS = ("ops/test_cuda_loss.py",)

CU, WARPS, PY = "cross_entropy/loss.cu", "cuda/warps.cuh", "cross_entropy/cuda.py"

FAULTS = [
    (WARPS, "const Placed<T> other = {numbers[i], i};", "const Placed<T> other = {numbers[i], lane};", "index"),
    (WARPS, "i < count; i += WARP", "i < count - 1; i += WARP", "bound"),
    (CU, "const T* row = x + number * classes;", "const T* row = x + (int)number * (int)classes;", "int overflow"),
    (CU, "y[number * classes + k]", "y[(int)number * (int)classes + k]", "int overflow"),
    (CU, "if (number >= rows) return;", "if (number > rows) return;", "bound"),
    (CU, "total += exp(row[k] - largest);", "total += exp(row[k]);", "overflow of exp"),
    (CU, "    __syncthreads();\n", "", "barrier"),
    (CU, "if (threadIdx.x > 0) return;", "if (threadIdx.x > 1) return;", "race"),
    (CU, "warp < blockDim.x / WARP; ++warp", "warp < blockDim.x / WARP - 1; ++warp", "lost last warp"),
    (CU, "if (threadIdx.x % WARP == 0) {", "if (threadIdx.x == 0) {", "shared memory not written"),
    (CU, "number += (long long)gridDim.x * warps)", "number += (long long)gridDim.x * blockDim.x)", "stride"),
    (CU, "const T* row = logits + number * classes;", "const T* row = logits + (int)number * (int)classes;", "int overflow"),
    (CU, "if (k == label) at_label = shifted;", "if (k == label) at_label = row[k];", "lost maximum"),
    (CU, "(share - (k == label ? T(1) : T(0))) / (T)batch_size", "(share - (k == label ? T(1) : T(0))) / (T)rows", "argument"),
    (CU, "if (lane == label % WARP) {", "if (lane == label) {", "lost lane"),
    (CU, "loss += log(total) - at_label;", "loss = log(total) - at_label;", "lost sum"),
    (CU, "hit += largest.place == label;", "hit += row[label] == largest.value;", "tie"),
    (CU, "for (long long i = threadIdx.x; i < count; i += blockDim.x) {", "for (long long i = threadIdx.x; i < count; i += 2 * blockDim.x) {", "stride"),
    (CU, "dlogits[number * classes + k] =", "if (share > T(0)) dlogits[number * classes + k] =", "unwritten output"),
    (WARPS, "if (a_nan != b_nan) return a_nan;", "", "NaN"),
    (WARPS, "return a.place < b.place;", "return a.place > b.place;", "tie"),
    (WARPS, "value += __shfl_xor_sync(ALL_LANES, value, distance);", "value += __shfl_xor_sync(ALL_LANES, value, 1);", "lane"),
    (WARPS, "T warp_sum(T value) {\n    for (int distance = WARP / 2;", "T warp_sum(T value) {\n    for (int distance = WARP / 4;", "lost half of a warp"),
    (PY, "(blocks(rows, _THREADS // WARP),)", "(rows // (_THREADS // WARP),)", "grid rounding"),
    (PY, "(losses, is_correct, loss_sum, correct, count)", "(losses, is_correct, loss_sum, correct, count - 1)", "lost last block"),
]  # fmt: skip
