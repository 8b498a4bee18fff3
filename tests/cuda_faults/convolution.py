"""Faults of convolution.cu and of its launch code."""

TESTS = ("ops/test_cuda_convolution.py",)

CU, PY = "conv2d/convolution.cu", "conv2d/cuda.py"
FAULTS = [
    # Windows.
    (CU, "DEVICE Digits pixel(long long index) const { return digits(index, rows, columns); }", "DEVICE Digits pixel(long long index) const { return digits(index, columns, rows); }", "an index"),
    (CU, "DEVICE Digits place(long long index) const { return digits(index, wide, channels); }", "DEVICE Digits place(long long index) const { return digits(index, tall, channels); }", "an index"),
    (CU, "return {pixel.high, top + down * pixel.middle, left + right * pixel.low};", "return {pixel.high, top + right * pixel.middle, left + right * pixel.low};", "a stride"),
    (CU, "advance_digits(k, step, wide, channels);\n        else", "advance_digits(k, step, wide + 1, channels);\n        else", "a carry"),
    (CU, "            advance_digits(k, step, rows, columns);", "            advance_digits(k, step, rows + 1, columns);", "a carry"),
    (CU, "return begin.high < images && place.high < tall &&", "return begin.high <= images && place.high < tall &&", "a bound"),
    (CU, "return begin.high < images && place.high < tall &&", "return begin.high < images && place.high <= tall &&", "a bound"),
    (CU, "(unsigned)(begin.middle + TURN * place.high) < (unsigned)height &&", "begin.middle + TURN * place.high < height &&", "a bound"),
    (CU, "(unsigned)(begin.low + TURN * place.middle) < (unsigned)width;", "(unsigned)(begin.low + TURN * place.middle) <= (unsigned)width;", "a bound"),
    (CU, "(row * width + column) * channels + place.low;", "(row * height + column) * channels + place.low;", "a stride"),
    (CU, "return (long long)begin.high * (height * width * channels) + in_image;", "return (int)((unsigned)begin.high * (unsigned)(height * width * channels)) + in_image;", "an int overflow"),
    # Forward.
    (CU, "y + blockIdx.y * pixels * filters, pixels", "y, pixels", "parts that are written twice"),
    (CU, "const Windows<T, true, 1> windows{\n        x, nullptr, (int)images, (int)height, (int)width, (int)channels, (int)out_height,\n        (int)out_width, (int)tall, (int)wide, -(int)top, -(int)left, (int)down, (int)right};", "const Windows<T, true, 1> windows{\n        x, nullptr, (int)images, (int)height, (int)width, (int)channels, (int)out_height,\n        (int)out_width, (int)tall, (int)wide, -(int)left, -(int)top, (int)down, (int)right};", "arguments swapped"),
    # Gradient of the weights.
    (CU, "const Windows<T, false, 1> windows{\n        x, nullptr, (int)images, (int)height, (int)width, (int)channels, (int)out_height,\n        (int)out_width, (int)tall", "const Windows<T, false, 1> windows{\n        x, nullptr, (int)images, (int)height, (int)width, (int)channels, (int)out_width,\n        (int)out_height, (int)tall", "arguments swapped"),
    (CU, "first + per_split < pixels ? first + per_split : pixels;", "pixels;", "an end too late"),
    (CU, "gradient{dy, gate, filters, pixels};", "gradient{dy, dy, filters, pixels};", "a lost gate"),
    (CU, "dweight + blockIdx.y * places * filters", "dweight + blockIdx.y * places", "a stride"),
    (CU, "dbias + blockIdx.y * filters);", "dbias);", "parts that are written twice"),
    (CU, "T* dbias, long long images,\n               long long height, long long width, ", "T* dbias, long long images,\n               long long width, long long height, ", "arguments swapped"),
    # Gradient of the image.
    (CU, "const int place = (first_row + down * k.high) * full_width + first_column + right * k.middle;", "const int place = (first_row + down * k.high) * wide + first_column + right * k.middle;", "a stride"),
    (CU, "const int place = (first_row + down * k.high) * full_width + first_column + right * k.middle;", "const int place = (first_row + k.high) * full_width + first_column + right * k.middle;", "a stride"),
    (CU, "return channel < channels && k.high < tall;", "return channel <= channels && k.high < tall;", "a bound"),
    (CU, "(long long)(place * channels + channel) * filters + k.low;", "(long long)(place * channels + channel) * channels + k.low;", "a stride"),
    (CU, "return (pixel.high * height + h) * width + w;", "return (pixel.high * (int)height + h) * (int)width + w;", "an int overflow"),
    (CU, "if (row >= rows) return -1;", "if (row > rows) return -1;", "a bound"),
    (CU, "first = phase >= pad ? 0 : (pad - phase + stride - 1) / stride;", "first = phase >= pad ? 0 : (pad - phase) / stride;", "a rounding"),
    (CU, "count = (size + pad - phase + stride - 1) / stride - first;", "count = (size + pad - phase) / stride - first;", "a rounding"),
    (CU, "start = first * stride + phase - pad;", "start = first * stride + phase;", "an index"),
    (CU, "places = phase < kernel ? (kernel - phase + stride - 1) / stride : 0;", "places = (kernel + stride - 1) / stride;", "a bound"),
    (CU, "row_phase = blockIdx.z / (int)right, column_phase = blockIdx.z % (int)right;", "row_phase = blockIdx.z / (int)down, column_phase = blockIdx.z % (int)down;", "an index"),
    (CU, "dx + blockIdx.y * images * height * width * channels", "dx", "parts that are written twice"),
    (CU, "dy, gate, (int)images", "dy, dy, (int)images", "a lost gate"),
    # Launch code.
    (PY, "pixels = images * blocks(height, down) * blocks(width, right)", "pixels = images * (height // down) * (width // right)", "a grid rounding"),
    (PY, "        sizes,\n        down * right,\n", "        sizes,\n", "a lost phase"),
    (PY, "depth = blocks(tall, down) * blocks(wide, right) * weight.shape[3]", "depth = blocks(tall, down) * (wide // right) * weight.shape[3]", "steps that no split takes"),
    (PY, "top, _, left, _ = window.padding", "_, top, _, left = window.padding", "arguments swapped"),
    (PY, "return form(launcher, width_of_copy(launcher, images, gate) > 1, images, gate)", "return form(launcher, True, images, None)", "a lost gate"),
    (PY, "if largest >= _MOST:", "if False:", "a check"),
    (PY, "epilogue or bias_relu(bias, relu)", "epilogue or bias_relu(bias)", "a lost ReLU"),
]  # fmt: skip
