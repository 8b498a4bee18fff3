"""Faults in direct_convolution.cu and its launch code."""

TESTS = ("ops/test_cuda_direct_convolution.py",)

BACKWARD = "ops/test_cuda_direct_convolution.py -k 'not forward'"
HUGE = "ops/test_cuda_direct_convolution.py -k huge"
NAN, TIE = (f"ops/test_cuda_direct_convolution.py -k {one}" for one in ("nan", "equals"))
AT_ZERO = "ops/test_cuda_direct_convolution.py -k at_zero"
SUMS = "ops/test_cuda_direct_convolution.py -k 'sums_over or in_parts'"
CU, PY = "conv2d/direct_convolution.cu", "conv2d/cuda_direct.py"

NOWHERE = "ops/test_cuda_direct_convolution.py -k lie_nowhere"
FAULTS = [
    (CU, "h >= 0 && h < height", "h >= 0 && h <= height", "bound"),
    (CU, "w >= 0 && w < width", "w > 0 && w < width", "bound"),
    (CU, "f < s.filters && from ? from[f] : T(0)", "from ? from[f] : T(0)", "missing zero-fill"),
    (CU, "from ? from[f] : T(0);\n    }\n    __syncthreads();", "from ? from[f] : T(0);\n    }", "barrier"),
    (CU, "if (pixel >= (unsigned)(s.rows", "if (pixel > (unsigned)(s.rows", "bound"),
    (CU, "const int w0 = (int)(pixel % (unsigned)s.columns) * 2 - s.left;", "const int w0 = (int)(pixel % (unsigned)s.columns) * 2 - s.top;", "index"),
    (CU, "data + n * size;", "data + (int)n * (int)size;", "int overflow", HUGE),
    (CU, "place < 2 ? upper[kw + place % 2] : lower[kw + place % 2]", "place % 2 ? lower[kw + place / 2] : upper[kw + place / 2]", "index"),
    (CU, "load_row(lower, x, read[kh + 1], s, h0 + kh + 1, w0)", "load_row(lower, x, read[kh], s, h0 + kh, w0)", "index"),
    (CU, "load_row(lower, x, read[kh + 1], s, h0 + kh + 1, w0)", "load_row(lower, x, read[kh + 1], s, h0 + kh, w0)", "bound"),
    (CU, "? source.value(read[b]) : T(0);", "? source.value(read[b]) : source.value(0);", "missing zero-fill", NOWHERE),
    (CU, "return inside ? (h * width + w) * channels + c : 0;", "return (h * width + w) * channels + c;", "bound"),
    (CU, "upper[b] = lower[b];", "if (b > 0) upper[b] = lower[b];", "unwritten row"),
    (CU, "(kh * EDGE + kw) * s.channels + c;", "(kh * EDGE + kw) + c * EDGE * EDGE;", "stride"),
    (CU, "if (output > best) winner", "if (output >= best) winner", "tie", TIE),
    (CU, "output > best || output != output", "output > best", "NaN", NAN),
    (CU, "winner.at[g] = 0;", "", "unwritten output"),
    (CU, "const long long target = n * s.output() +", "const long long target = (int)n * (int)s.output() +", "int overflow", HUGE),
    (CU, "if (first_filter + g < s.filters) {", "if (first_filter + g <= s.filters) {", "bound"),
    (CU, "winners[target + g] = winner.at[g];", "", "unwritten output"),
    (CU, "relu && best < T(0) ? T(0) : best", "relu && !(best > T(0)) ? T(0) : best", "NaN", NAN),
    (CU, "y[place] > T(0)", "y[place] >= T(0)", "tie", AT_ZERO),
    (CU, "lane = threadIdx.x / pairs, pair", "lane = threadIdx.x / pairs + 1, pair", "lost lane", BACKWARD),
    (CU, "f = pair % s.filters, c = pair / s.filters;\n    const unsigned pixels", "f = pair / s.channels, c = pair % s.channels;\n    const unsigned pixels", "index", BACKWARD),
    (CU, "first += PIXELS * step", "first += step", "stride", BACKWARD),
    (CU, "first += PIXELS * step", "first += 2 * PIXELS * step", "lost pixels", BACKWARD),
    (CU, "gradients[i] = exists ? gradient : T(0);", "gradients[i] = gradient;", "a pixel twice", BACKWARD),
    (CU, "* 2 + winner / 2 - s.top", "* 2 + winner % 2 - s.top", "index", BACKWARD),
    (CU, "const long long place = n * s.output() +", "const long long place = (int)n * (int)s.output() +", "int overflow", HUGE),
    (CU, "sums[TAPS] += gradients[i];", "sums[TAPS] = gradients[i];", "lost sum", BACKWARD),
    (CU, "= sums[first + i];\n        __syncthreads();", "= sums[first + i];", "barrier", BACKWARD),
    (CU, "+ behind] = sum;\n        }\n        __syncthreads();", "+ behind] = sum;\n        }", "barrier", BACKWARD),
    (CU, "other < lanes", "other < lanes - 1", "lost lane", BACKWARD),
    (CU, "i < count * pairs", "i < (count - 1) * pairs", "unwritten output", BACKWARD),
    (CU, "(long long)at.y * at.wide + at.x", "(long long)at.y * at.tall + at.x", "stride", BACKWARD),
    (CU, "if (!counter || !is_last_block(counter)) return;", "if (!counter || blockIdx.x + blockIdx.y > 0) return;", "race", SUMS),
    (CU, "first += PARTS * shares", "first += PARTS * shares + 1", "stride", SUMS),
    (CU, "if (first + j * shares < blocks) sum.at[i]", "sum.at[i]", "a part twice", SUMS),
    (CU, "= sum;\n    __syncthreads();\n    if (share", "= sum;\n    if (share", "barrier", BACKWARD),
    (CU, "other < shares; ++other", "other < shares - 1; ++other", "lost share", SUMS),
    (CU, "parts[block * (TAPS * pairs) + number]", "parts[block * (LINES * pairs) + number]", "stride", BACKWARD),
    (CU, "else if (behind < s.filters)", "else", "race", SUMS),
    (CU, "bias_parts[block * s.filters + behind]", "bias_parts[block * pairs + behind]", "stride", BACKWARD),
    (CU, "place = weighs ? quad : quad - of_weights;", "place = weighs ? quad : quad - of_bias;", "index", BACKWARD),
    (CU, "stride = weighs ? of_weights : of_bias,", "stride = quads,", "stride", BACKWARD),
    (CU, "(weighs ? dweight : dbias)[place * 4 + i]", "(weighs ? dweight : dbias)[quad * 4 + i]", "index", BACKWARD),
    (CU, "weights[i] = weight[i];\n    __syncthreads();", "weights[i] = weight[i];", "barrier", BACKWARD),
    (CU, "oh >= 2 * s.rows", "oh > 2 * s.rows", "bound", BACKWARD),
    (CU, "oh % 2 * 2 + ow % 2", "ow % 2 * 2 + oh % 2", "index", BACKWARD),
    (CU, "oh = h + s.top - kh, ow = w + s.left - kw", "oh = h + s.left - kh, ow = w + s.top - kw", "index", BACKWARD),
    (CU, "dx[n * s.image() + element] = sum;", "if (sum != T(0)) dx[n * s.image() + element] = sum;", "unwritten output", BACKWARD),
    (CU, "const long long first =\n                    n * s.output()", "const long long first =\n                    (int)n * (int)s.output()", "int overflow", HUGE),
    (PY, "threads = blocks(blocks(per_image, max(wide, 1)), WARP) * WARP", "threads = blocks(per_image, max(wide, 1)) // WARP * WARP", "grid rounding"),
    (PY, "weight.size % 4 == filters % 4 == 0 and", "weight.size % 4 == 0 and", "alignment", BACKWARD),
    (PY, "few = 0 < (parts", "few = (parts", "unwritten output", BACKWARD),
    (PY, "if in_parts and splits:", "if in_parts:", "parts of nothing", SUMS),
    (PY, "(tall * tall * channels + 1) * groups", "tall * tall * channels * groups", "shared memory"),
]  # fmt: skip
