"""Faults of optimizers.cu and of its launch code."""

TESTS = ("ops/test_cuda_optimizers.py",)

CU, PY = "optimizer_updates/optimizers.cu", "optimizer_updates/cuda.py"

FAULTS = [
    (CU, "return (T*)tensors.address[blockIdx.y];", "return (T*)tensors.address[blockIdx.x];", "index"),
    (CU, "const long long count = last - first + 1;", "const long long count = last - first;", "lost last number"),
    (CU, "const long long count = last - first + 1;", "const long long count = last - first + 2;", "bound"),
    (CU, "const long long count = last - first + 1;", "const int count = (int)(last - first + 1);", "int overflow"),
    (CU, "i += (long long)gridDim.x * blockDim.x)", "i += blockDim.x)", "stride"),
    (CU, "i += (long long)gridDim.x * blockDim.x)", "i = count)", "numbers left out"),
    (CU, "if (weight_decay != T(0)) gradient += weight_decay * p[i];", "gradient += weight_decay * p[i];", "zero times infinity"),
    (CU, "momentum * v[i] + gradient;", "momentum * (v[i] + gradient);", "formula"),
    (CU, "            new_v[i] = velocity;\n", "", "unwritten output"),
    (CU, "nesterov ? gradient + momentum * velocity : velocity", "nesterov ? gradient + momentum * v[i] : velocity", "old velocity"),
    (CU, "new_p[i] = p[i] - rate * direction;", "new_p[i] = p[i] - direction;", "lost learning rate"),
    (CU, "*new_second = *second * beta2;", "*new_second = *second * beta1;", "argument"),
    (CU, "    *new_first = *first * beta1;", "    *new_first *= beta1;", "output that is read"),
    (CU, "const T step_size = rate / (T(1) - *decay1);", "const T step_size = rate / (T(1) - *decay2);", "argument"),
    (CU, "sqrt(T(1) - *decay2)", "(T(1) - *decay2)", "formula"),
    (CU, "            if (decoupled)", "            if (!decoupled)", "flag"),
    (CU, "parameter -= (rate * weight_decay) * parameter;", "parameter -= weight_decay * parameter;", "formula"),
    (CU, "left2 * (gradient * gradient)", "left2 * (g[i] * g[i])", "decay left out"),
    (CU, "        new_m[i] = first;\n        new_v[i] = second;", "        new_m[i] = second;\n        new_v[i] = first;", "arguments swapped"),
    (CU, "const T second = beta2 * v[i]", "new_m[i] = T(0);\n        const T second = beta2 * m[i]", "read after write"),
    (CU, "/ root_correction + epsilon)", "/ root_correction)", "lost term"),
    (PY, "for start in range(0, len(filled), _MOST_TENSORS):", "for start in range(0, len(filled) - 1, _MOST_TENSORS):", "lost last tensors"),
    (PY, "part = filled[start : start + _MOST_TENSORS]", "part = filled[start : start + _MOST_TENSORS - 1]", "lost tensor"),
    (PY, "(min(blocks(largest, _THREADS), _MOST_BLOCKS), len(part))", "(min(largest // _THREADS, _MOST_BLOCKS), len(part))", "grid rounding"),
    (PY, "*(first_decay, second_decay, rate),", "*(*old_decays, rate),", "old decays"),
    (PY, "return olds if in_place else [", "return olds if not in_place else [", "results in the wrong place"),
    (PY, "real(1.0 - beta1)", "real(1) - real(beta1)", "rounding"),
]  # fmt: skip
