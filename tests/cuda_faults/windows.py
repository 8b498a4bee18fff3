"""Faults of windows.cu and of its launch code."""

TESTS = ("ops/test_cuda_windows.py", "ops/test_cuda_rounded.py")

_FILE = "ops/test_cuda_windows.py -k"
BEYOND, POOLS = f"{_FILE} beyond_2", f"{_FILE} 'max_pool or winners or nan'"
ALIGNED = f"{_FILE} packs_of_channels"
MEANS, PACKS = f"{_FILE} avg", "ops/test_cuda_rounded.py -k pools"

CU, PY = "max_pool2d/windows.cu", "max_pool2d/cuda.py"
PACKED = "max_pool2d/packed_pools.cu"
FAULTS = [
    (
        CU,
        "const bool inside = h >= 0 && h < s.height",
        "const bool inside = h >= 0 && h <= s.height",
        "a bound",
    ),
    (
        CU,
        "if (my_element() >= per_image) return;",
        "if (my_element() > per_image) return;",
        "a bound",
    ),
    (
        CU,
        "const unsigned ow = rest % (unsigned)s.out_width, oh = rest / (unsigned)s.out_width;\n    const int h",
        "const unsigned ow = rest % (unsigned)s.out_height, oh = rest / (unsigned)s.out_height;\n    const int h",
        "an index",
    ),
    (
        CU,
        "w = (int)(ow * s.right + kw) - s.left",
        "w = (int)(ow * s.down + kw) - s.left",
        "a stride",
    ),
    (
        CU,
        "inside ? x[n * s.image() + s.pixel(h, w, (int)c)] : T(0)",
        "x[n * s.image() + s.pixel(inside ? h : 0, inside ? w : 0, (int)c)]",
        "a missing zero-fill",
    ),
    (
        CU,
        "return (long long)height * width * channels; }",
        "return (long long)width * channels; }",
        "a stride",
    ),
    (
        CU,
        "inside ? x[n * s.image() +",
        "inside ? x[(int)n * (int)s.image() +",
        "an int overflow",
        BEYOND,
    ),
    (
        CU,
        "x[n * s.image() + my_element()] =\n            sum_over_readers<T>(readers, s, [&](int oh, int ow, int kh, int kw) {\n                const int window",
        "x[(int)n * (int)s.image() + my_element()] =\n            sum_over_readers<T>(readers, s, [&](int oh, int ow, int kh, int kw) {\n                const int window",
        "an int overflow",
        BEYOND,
    ),
    (
        CU,
        "return (long long)blockIdx.x * blockDim.x + threadIdx.x; }",
        "return (long long)blockIdx.x * blockDim.x + threadIdx.x / 32 * 32 + threadIdx.x % 31; }",
        "a lost last lane",
    ),
    (
        CU,
        "oh < s.out_height ? oh : s.out_height - 1",
        "oh <= s.out_height ? oh : s.out_height - 1",
        "a bound",
    ),
    (
        CU,
        "readers.first_kw = (int)column - readers.last_ow * s.right;",
        "readers.first_kw = (int)column % s.right;",
        "an index",
    ),
    (CU, "ow >= 0 && kw < s.wide;", "ow > 0 && kw < s.wide;", "a bound"),
    (CU, "--oh, kh += s.down)", "--oh, ++kh)", "a stride"),
    (
        CU,
        "const T* image = columns + n * s.out_height * s.out_width * per_window;",
        "const T* image = columns + (int)n * s.out_height * s.out_width * per_window;",
        "an int overflow",
        BEYOND,
    ),
    (
        CU,
        "if (pixel > largest) winner = kh * s.wide + kw;",
        "if (pixel >= largest) winner = kh * s.wide + kw;",
        "a tie",
        POOLS,
    ),
    (
        CU,
        "if (pixel > largest || pixel != pixel) largest = pixel;  // nothing",
        "if (pixel > largest) largest = pixel;  // nothing",
        "a lost NaN",
        POOLS,
    ),
    (
        CU,
        "        winners[n * s.output() + my_element()] = (Winner)winner;",
        "        if (winner) winners[n * s.output() + my_element()] = (Winner)winner;",
        "an unwritten output",
        POOLS,
    ),
    (
        CU,
        "winners[n * s.output() + my_element()] = (Winner)winner;",
        "winners[n * s.output() + my_element()] = (unsigned char)winner;",
        "a winner cut short",
        POOLS,
    ),
    (CU, "winner += s.images * s.output())", "winner += s.output())", "a stride", POOLS),
    (
        CU,
        "return winners[place * s.images * s.output() + output];",
        "return winners[place * (int)s.images * (int)s.output() + output];",
        "an int overflow",
        BEYOND,
    ),
    (
        CU,
        "sum += window[s.pixel(kh, kw, 0)];\n        y[n * s.output() + my_element()] = sum / (T)(s.tall * s.wide);",
        "sum += window[s.pixel(kh, kw, 0)];\n        y[n * s.output() + my_element()] = sum / (T)(s.tall * s.tall);",
        "an index",
        MEANS,
    ),
    (
        CU,
        "return dy[n * s.output() + s.place(oh, ow, readers.c)] / (T)(s.tall * s.wide);",
        "return dy[n * s.output() + s.place(oh, ow, readers.c)] * (T)(1.0f / (s.tall * s.wide));",
        "a rounding",
        MEANS,
    ),
    (
        CU,
        "if (EDGE > 0) tall = wide = down = right = EDGE;",
        "if (EDGE > 0) tall = wide = down = right = EDGE + 1;",
        "a specialised size",
        POOLS,
    ),
    (
        PY,
        "wide = blocks(per_image, _THREADS)",
        "wide = max(1, per_image // _THREADS)",
        "a grid rounding",
    ),
    (
        PY,
        "return wide, min(images, max(1, _MOST_WANTED // max(wide, 1)))",
        "return wide, 1 if images else 0, min(images, 2)",
        "blocks that write the same",
    ),
    (
        PY,
        '"uint8" if places <= _MOST_PLACES else "int32"',
        '"uint8"',
        "an overflow of the winners",
        POOLS,
    ),
    (
        PY,
        "top, _, left, _ = window.padding",
        "left, _, top, _ = window.padding",
        "arguments swapped",
    ),
    (
        PY,
        "*window.kernel_size, *window.stride, top, left",
        "*window.stride, *window.kernel_size, top, left",
        "arguments swapped",
    ),
    # Packs of channels.
    (
        PACKED,
        "exists = element < (long long)rows * columns * packs;",
        "exists = true;",
        "a bound",
        PACKS,
    ),
    (PACKED, "if (pixel > best) winner", "if (pixel >= best) winner", "a tie", PACKS),
    (PACKED, "pixel > best || pixel != pixel", "pixel > best", "a lost NaN", PACKS),
    (
        PACKED,
        "(p / EDGE * (int)width + p % EDGE)",
        "(p % EDGE * (int)width + p / EDGE)",
        "an index",
        PACKS,
    ),
    (PACKED, "mine.row < rows && mine.column < columns;", "true;", "a bound", PACKS),
    (
        PACKED,
        "row >= (int)height || column >= (int)width",
        "column >= (int)width",
        "a bound",
        PACKS,
    ),
    (PACKED, "if (gate) shut(", "if (!gate) shut(", "a lost gate", PACKS),
    (PACKED, "winner.at[i] == p ?", "winner.at[i] != p ?", "a pixel that has not won", PACKS),
    (
        PACKED,
        "((int)height + EDGE - 1) / EDGE, (",
        "(int)height / EDGE, (",
        "pixels that nobody writes",
        PACKS,
    ),
    (PY, "if _overlap(window):", "if False:", "sums that are not rounded", PACKS),
    (
        PY,
        "as_numbers(written) if read.dtype == written.dtype else written",
        "as_numbers(written)",
        "a lost rounding",
        PACKS,
    ),
    (PY, "image_shape[3] % pack == 0", "True", "packs of two pixels", POOLS),
    (
        PY,
        "all(launcher.address(one) % _BYTES == 0 for one in arrays)",
        "True",
        "an address that is not aligned",
        ALIGNED,
    ),
]
