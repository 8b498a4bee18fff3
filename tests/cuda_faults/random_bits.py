"""Faults of random_bits.cu, elements.cuh and the launch code."""

TESTS = ("ops/test_cuda_random.py",)

CU, ELEMENTS, PY = "random_bits/random_bits.cu", "cuda/elements.cuh", "random_bits/cuda.py"

FAULTS = [
    (CU, "x >> (32 - distance)", "x >> (31 - distance)", "rotation"),
    (CU, "constexpr int ROUNDS = 13;", "constexpr int ROUNDS = 12;", "rounds"),
    (CU, "{13, 15, 26, 6, 17, 29, 16, 24}", "{13, 15, 26, 6, 17, 29, 16, 25}", "rotation"),
    (CU, "key.x ^ key.y ^ 0x1BD11BDAu", "key.x ^ key.y", "parity"),
    (CU, "round % 4 == 3", "round % 4 == 2", "rounds"),
    (CU, "keys[(turn + 1) % 3] + (unsigned)turn", "keys[(turn + 1) % 3]", "lost term"),
    (CU, "const long long half = (count + 1) / 2;", "const long long half = count / 2;", "bound"),
    (CU, "if (element >= half) return;", "if (element > half) return;", "bound"),
    (CU, "{(unsigned)seed[0], (unsigned)seed[1]}", "{(unsigned)seed[0], (unsigned)seed[0]}", "index"),
    (CU, "{(unsigned)step[0], (unsigned)layer}", "{(unsigned)layer, (unsigned)step[0]}", "arguments swapped"),
    (CU, "n += gridDim.y)", "n += gridDim.y + 1)", "stride"),
    (CU, "{(unsigned)indices[n], (unsigned)element}", "{(unsigned)n, (unsigned)element}", "index"),
    (CU, "if (half + element < count) use(n, half + element, (int)words.y);", "use(n, half + element, (int)words.y);", "bound"),
    (CU, "use(n, half + element, (int)words.y)", "use(n, count - 1 - element, (int)words.y)", "index"),
    (CU, "words[n * count + place] = word;", "words[(int)n * (int)count + place] = word;", "int overflow"),
    (CU, "const long long i = n * count + place;", "const long long i = (int)n * (int)count + place;", "int overflow"),
    (CU, "word >= threshold ? x[i] / kept : T(0)", "(unsigned)word >= (unsigned)threshold ? x[i] / kept : T(0)", "sign"),
    (CU, "x[i] / kept : T(0)", "x[i] * (T(1) / kept) : T(0)", "rounding"),
    (CU, "dx[i] = keep[i] ? dy[i] / kept : T(0);", "dx[i] = dy[i] / kept * (T)keep[i];", "zero times infinity"),
    (ELEMENTS, "part < PER_THREAD; ++part", "part < PER_THREAD - 1; ++part", "unwritten output"),
    (ELEMENTS, "blockIdx.x * blockDim.x * PER_THREAD + threadIdx.x;", "blockIdx.x * blockDim.x + threadIdx.x;", "stride"),
    (ELEMENTS, "i < count; i += blockDim.x) use(i);", "i <= count; i += blockDim.x) use(i);", "bound"),
    (ELEMENTS, "(long long)blockIdx.x * blockDim.x", "blockIdx.x * blockDim.x", "int overflow"),
    (PY, "blocks(blocks(count, 2), THREADS)", "blocks(count // 2, THREADS)", "grid rounding"),
    (PY, "(blocks(dx.size, PER_BLOCK),)", "(dx.size // PER_BLOCK,)", "grid rounding"),
]  # fmt: skip
