"""Faults of patch_convolution.cu and of its launch code."""

TESTS = ("ops/test_cuda_patches.py",)

_FILE = "ops/test_cuda_patches.py -k"
FORWARD = f"{_FILE} 'test_forward and padded'"
UNEVEN = f"{_FILE} 'test_forward and uneven'"
BACKWARD = f"{_FILE} 'test_backward and uneven'"

CHUNKS = f"{_FILE} 'test_forward and chunks'"
SUITS, DIVISORS, MANY = (f"{_FILE} {one}" for one in ("suits", "divisors", "many_images"))

CU, PY = "conv2d/patch_convolution.cu", "conv2d/cuda_patches.py"
FAULTS = [
    # Where a block is.
    (CU, "const int row = quotient(output, by_columns);", "const int row = quotient(output, by_rows);", "an index", UNEVEN),
    (CU, "quotient(line, by_rows) * (int)(tall - 1)", "quotient(line, by_rows) * (int)tall", "a stride", FORWARD),
    (CU, "met_by(Math::ROWS - 1) + (int)(tall - 1) * pitch + (int)wide;", "met_by(Math::ROWS - 1) + (int)(tall - 1) * pitch;", "an end too early", FORWARD),
    (CU, "lines = (int)(out_height + tall - 1);", "lines = (int)(out_height + tall);", "a rounding", FORWARD),
    # Weights.
    (CU, "(taps - 1 - first_tap) * to_tap", "first_tap * to_tap", "an index", BACKWARD),
    (CU, "f + (TURNED ? i * LINES : 0) < filters", "true", "a bound", f"{_FILE} 'every_tile and tf32'"),
    (CU, "TURNED ? -AT_ONCE * to_tap : AT_ONCE * to_tap", "AT_ONCE * to_tap", "a sign", BACKWARD),
    # The patch.
    (CU, "const int i = line - behind * lines - (int)top;", "const int i = line - behind * lines - (int)left;", "arguments swapped", UNEVEN),
    (CU, "image + behind < (int)images &", "true &", "a bound", FORWARD),
    (CU, "(unsigned)i < (unsigned)height &", "i < (int)height &", "a bound", FORWARD),
    (CU, "(unsigned)j < (unsigned)width;", "j < (int)width;", "a bound", FORWARD),
    (CU, "x + image * height * width * channels + channel", "x + image * (int)(height * width * channels) + channel", "an int overflow", MANY),
    (CU, "if (channel > 0) __syncthreads();", "", "a race", CHUNKS),
    (CU, "* channels + channel + thread % 2 * PACK", "* channels + thread % 2 * PACK", "a lost term", CHUNKS),
    # The products.
    (CU, "met = pixels + p * pitch * Pixels::STRIDE;", "met = pixels + p * (int)out_width * Pixels::STRIDE;", "a stride", FORWARD),
    ("cuda/targets.cuh", "return row >= rows ? -1 : row;", "return row > rows ? -1 : row;", "a bound", FORWARD),
    ("cuda/targets.cuh", "lines[LINES / AT_ONCE - 1][AT_ONCE - 1] >= 0;", "lines[0][0] >= 0;", "a bound", FORWARD),
    # Launch code.
    (PY, "channels % tile.depth == 0 and", "", "a check", SUITS),
    (PY, "* windows.pitch\n\n\ndef _crossed", "* windows.output[1]\n\n\ndef _crossed", "too little memory", FORWARD),
    (PY, "bits = (number - 1).bit_length()", "bits = number.bit_length() - 1", "a rounding", DIVISORS),
    ("conv2d/cuda.py", "corner = (tall - 1 - top, wide - 1 - left)", "corner = (tall - 1 - left, wide - 1 - top)", "arguments swapped", BACKWARD),
    ("conv2d/cuda.py", "window.stride == (1, 1) and y is None:", "window.stride == (1, 1):", "a lost gate", SUITS),
]  # fmt: skip
