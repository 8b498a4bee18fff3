"""Faults of convolution.cu and of its launch code."""

TESTS = ("ops/test_cuda_convolution.py",)

CU, PY = "conv2d/convolution.cu", "conv2d/cuda.py"
FAULTS = [
    # Windows.
    (CU, "digits(first, offset, this->rows, this->columns)", "digits(first, offset, this->columns, this->rows)", "an index"),
    (CU, "const Digits pixel = digits(index, rows, columns);", "const Digits pixel = digits(index, columns, rows);", "an index"),
    (CU, "{ return digits(index, wide, channels); }", "{ return digits(index, tall, channels); }", "an index"),
    (CU, "offset, this->wide, this->channels)", "offset, this->tall, this->channels)", "an index"),
    (CU, "this->top + this->down * pixel.middle;", "this->top + this->right * pixel.middle;", "a stride"),
    (CU, "offset(n, down * i, right * j)", "offset(n, right * i, right * j)", "a stride"),
    (CU, "outer.row + down * k.row,", "outer.row + right * k.row,", "a stride"),
    (CU, "advance_digits(k, step, wide, channels);", "advance_digits(k, step, wide + 1, channels);", "a carry"),
    (CU, "if (k.row >= rows) {", "if (k.row > rows) {", "a carry"),
    (CU, "if (k.column >= columns) { k.column -= columns; ++k.row; k.bytes += to_next_row; }", "if (k.column >= columns) { k.column -= columns; ++k.row; }", "a carry"),
    (CU, "bytes(0, 1, -columns)", "bytes(0, 1, -rows)", "a carry"),
    (CU, "bytes(1, -rows, 0)", "bytes(1, -columns, 0)", "a carry"),
    (CU, "pixel.high < this->images ?", "pixel.high <= this->images ?", "a bound"),
    (CU, "return in_sum & (unsigned)row", "return (unsigned)row", "a bound"),
    (CU, "(unsigned)row < (unsigned)height &", "row < height &", "a bound"),
    (CU, "(unsigned)column < (unsigned)width;", "(unsigned)column <= (unsigned)width;", "a bound"),
    (CU, "(unsigned)k.high * width + k.middle;", "(unsigned)k.high * tall + k.middle;", "a stride"),
    (CU, "return ((n * height + row) * width + column) * channels;", "return (int)(((n * height + row) * width + column) * channels);", "an int overflow"),
    # Forward.
    (CU, "y + at.y * pixels * filters, pixels", "y, pixels", "parts that are written twice"),
    (CU, "const Windows<X, 1> windows{{\n        x, nullptr, (int)images, (int)height, (int)width, (int)channels, (int)out_height,\n        (int)out_width, (int)tall, (int)wide, -(int)top, -(int)left,", "const Windows<X, 1> windows{{\n        x, nullptr, (int)images, (int)height, (int)width, (int)channels, (int)out_height,\n        (int)out_width, (int)tall, (int)wide, -(int)left, -(int)top,", "arguments swapped"),
    # Gradient of the weights.
    (CU, "const PixelsOfPlaces<X> windows{{\n        x, nullptr, (int)images, (int)height, (int)width, (int)channels, (int)out_height,\n        (int)out_width, (int)tall", "const PixelsOfPlaces<X> windows{{\n        x, nullptr, (int)images, (int)height, (int)width, (int)channels, (int)out_width,\n        (int)out_height, (int)tall", "arguments swapped"),
    (CU, "first + per_split < pixels ? first + per_split : pixels;", "pixels;", "an end too late"),
    (CU, "gradient{dy, gate, filters, pixels};", "gradient{dy, dy, filters, pixels};", "a lost gate"),
    (CU, "dweight + at.y * places * filters", "dweight + at.y * places", "a stride"),
    (CU, "dbias + at.y * filters);", "dbias);", "parts that are written twice"),
    (CU, "    images, height, width, channels, out_height,", "    images, width, height, channels, out_height,", "arguments swapped"),
    # Gradient of the image.
    (CU, "(row * full_width + column)", "(row * wide + column)", "a stride"),
    (CU, "row = first_row + down * k.high,", "row = first_row + k.high,", "a stride"),
    (CU, "channel < channels};", "channel <= channels};", "a bound"),
    (CU, "return channel.exists & in_sum;", "return channel.exists;", "a bound"),
    (CU, "data + channel * filters),", "data + channel * channels),", "a stride"),
    (CU, "(channels * filters)) + k.low", "(channels * channels)) + k.low", "a stride"),
    (CU, "(pixel.high * height + h) * width + w : -1;", "(pixel.high * (int)height + h) * (int)width + w : -1;", "an int overflow"),
    (CU, "return first + offset < rows ?", "return first + offset <= rows ?", "a bound"),
    (CU, "first = phase >= pad ? 0 : (pad - phase + stride - 1) / stride;", "first = phase >= pad ? 0 : (pad - phase) / stride;", "a rounding"),
    (CU, "count = (size + pad - phase + stride - 1) / stride - first;", "count = (size + pad - phase) / stride - first;", "a rounding"),
    (CU, "start = first * stride + phase - pad;", "start = first * stride + phase;", "an index"),
    (CU, "places = phase < kernel ? (kernel - phase + stride - 1) / stride : 0;", "places = (kernel + stride - 1) / stride;", "a bound"),
    (CU, "row_phase = at.z / (int)right, column_phase = at.z % (int)right;", "row_phase = at.z / (int)down, column_phase = at.z % (int)down;", "an index"),
    (CU, "dx + at.y * images * height * width * channels", "dx", "parts that are written twice"),
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
