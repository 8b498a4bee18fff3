"""Faults of convolution.cu and of its launch code."""

TESTS = ("ops/test_cuda_convolution.py",)

_FILE = "ops/test_cuda_convolution.py -k"
FORWARD, BACKWARD = f"{_FILE} forward", f"{_FILE} test_backward"
SPLIT, SPLIT_Y = (f"{_FILE} 'test_{one} and split'" for one in ("backward", "forward"))
IN_PARTS = f"{_FILE} 'test_backward and many'"
STRIDES = f"{_FILE} 'test_backward and (stride or phase)'"
GATED = f"{_FILE} 'test_backward and 3x3 and True'"
MANY, REFUSED = f"{_FILE} many_images", f"{_FILE} 'refused and beyond'"

CU, PY = "conv2d/convolution.cu", "conv2d/cuda.py"
FAULTS = [
    # Windows.
    (CU, "digits(first, offset, this->rows, this->columns)", "digits(first, offset, this->columns, this->rows)", "an index", FORWARD),
    (CU, "const Digits pixel = digits(index, rows, columns);", "const Digits pixel = digits(index, columns, rows);", "an index", BACKWARD),
    (CU, "{ return digits(index, wide, channels); }", "{ return digits(index, tall, channels); }", "an index", FORWARD),
    (CU, "offset, this->wide, this->channels)", "offset, this->tall, this->channels)", "an index", BACKWARD),
    (CU, "this->top + this->down * pixel.middle;", "this->top + this->right * pixel.middle;", "a stride", FORWARD),
    (CU, "offset(n, down * i, right * j)", "offset(n, right * i, right * j)", "a stride", BACKWARD),
    (CU, "outer.row + down * k.row,", "outer.row + right * k.row,", "a stride", BACKWARD),
    (CU, "advance_digits(k, step, wide, channels);", "advance_digits(k, step, wide + 1, channels);", "a carry", FORWARD),
    (CU, "if (k.row >= rows) {", "if (k.row > rows) {", "a carry", BACKWARD),
    (CU, "if (k.column >= columns) { k.column -= columns; ++k.row; k.bytes += to_next_row; }", "if (k.column >= columns) { k.column -= columns; ++k.row; }", "a carry", BACKWARD),
    (CU, "bytes(0, 1, -columns)", "bytes(0, 1, -rows)", "a carry", BACKWARD),
    (CU, "bytes(1, -rows, 0)", "bytes(1, -columns, 0)", "a carry", BACKWARD),
    (CU, "pixel.high < this->images ?", "pixel.high <= this->images ?", "a bound", FORWARD),
    (CU, "return in_sum & (unsigned)row", "return (unsigned)row", "a bound", FORWARD),
    (CU, "(unsigned)row < (unsigned)height &", "row < height &", "a bound", FORWARD),
    (CU, "(unsigned)column < (unsigned)width;", "(unsigned)column <= (unsigned)width;", "a bound", FORWARD),
    (CU, "(unsigned)k.high * width + k.middle;", "(unsigned)k.high * tall + k.middle;", "a stride", FORWARD),
    (CU, "return ((n * height + row) * width + column) * channels;", "return (int)(((n * height + row) * width + column) * channels);", "an int overflow", MANY),
    # Forward.
    (CU, "y + at.y * pixels * filters, pixels", "y, pixels", "parts that are written twice", SPLIT_Y),
    (CU, "const Windows<X, 1> windows{{\n        x, nullptr, (int)images, (int)height, (int)width, (int)channels, (int)out_height,\n        (int)out_width, (int)tall, (int)wide, -(int)top, -(int)left,", "const Windows<X, 1> windows{{\n        x, nullptr, (int)images, (int)height, (int)width, (int)channels, (int)out_height,\n        (int)out_width, (int)tall, (int)wide, -(int)left, -(int)top,", "arguments swapped", FORWARD),
    # Gradient of the weights.
    (CU, "const PixelsOfPlaces<X> windows{{\n        x, nullptr, (int)images, (int)height, (int)width, (int)channels, (int)out_height,\n        (int)out_width, (int)tall", "const PixelsOfPlaces<X> windows{{\n        x, nullptr, (int)images, (int)height, (int)width, (int)channels, (int)out_width,\n        (int)out_height, (int)tall", "arguments swapped", BACKWARD),
    (CU, "first + per_split < pixels ? first + per_split : pixels;", "pixels;", "an end too late", IN_PARTS),
    (CU, "gradient{dy, gate, filters, pixels};", "gradient{dy, dy, filters, pixels};", "a lost gate", GATED),
    (CU, "dweight + at.y * places * filters", "dweight + at.y * places", "a stride", IN_PARTS),
    (CU, "dbias + at.y * filters);", "dbias);", "parts that are written twice", IN_PARTS),
    (CU, "    images, height, width, channels, out_height,", "    images, width, height, channels, out_height,", "arguments swapped", BACKWARD),
    # Gradient of the image.
    (CU, "(row * full_width + column)", "(row * wide + column)", "a stride", STRIDES),
    (CU, "row = first_row + down * k.high,", "row = first_row + k.high,", "a stride", STRIDES),
    (CU, "channel < channels};", "channel <= channels};", "a bound", BACKWARD),
    (CU, "return channel.exists & in_sum;", "return channel.exists;", "a bound", BACKWARD),
    (CU, "data + channel * filters),", "data + channel * channels),", "a stride", BACKWARD),
    (CU, "(channels * filters)) + k.low", "(channels * channels)) + k.low", "a stride", BACKWARD),
    (CU, "(pixel.high * height + h) * width + w : -1;", "(pixel.high * (int)height + h) * (int)width + w : -1;", "an int overflow", MANY),
    (CU, "return first + offset < rows ?", "return first + offset <= rows ?", "a bound", BACKWARD),
    (CU, "first = phase >= pad ? 0 : (pad - phase + stride - 1) / stride;", "first = phase >= pad ? 0 : (pad - phase) / stride;", "a rounding", STRIDES),
    (CU, "count = (size + pad - phase + stride - 1) / stride - first;", "count = (size + pad - phase) / stride - first;", "a rounding", STRIDES),
    (CU, "start = first * stride + phase - pad;", "start = first * stride + phase;", "an index", BACKWARD),
    (CU, "places = phase < kernel ? (kernel - phase + stride - 1) / stride : 0;", "places = (kernel + stride - 1) / stride;", "a bound", STRIDES),
    (CU, "row_phase = at.z / (int)right, column_phase = at.z % (int)right;", "row_phase = at.z / (int)down, column_phase = at.z % (int)down;", "an index", STRIDES),
    (CU, "dx + at.y * images * height * width * channels", "dx", "parts that are written twice", SPLIT),
    (CU, "dy, gate, (int)images", "dy, dy, (int)images", "a lost gate", GATED),
    # Launch code.
    (PY, "pixels = images * blocks(height, down) * blocks(width, right)", "pixels = images * (height // down) * (width // right)", "a grid rounding", STRIDES),
    (PY, "        sizes,\n        down * right,\n", "        sizes,\n", "a lost phase", STRIDES),
    (PY, "depth = blocks(tall, down) * blocks(wide, right) * weight.shape[3]", "depth = blocks(tall, down) * (wide // right) * weight.shape[3]", "steps that no split takes", SPLIT),
    (PY, "top, _, left, _ = window.padding", "_, top, _, left = window.padding", "arguments swapped", BACKWARD),
    (PY, "return form(launcher, width_of_copy(launcher, images, gate) > 1, images, gate)", "return form(launcher, True, images, None)", "a lost gate", BACKWARD),
    (PY, "if largest >= _MOST:", "if False:", "a check", REFUSED),
    (PY, "epilogue or bias_relu(bias, relu)", "epilogue or bias_relu(bias)", "a lost ReLU", FORWARD),
]  # fmt: skip
