"""Plant one fault at a time in the package: do the tests notice?

    python tests/plant_faults.py               # all faults, some hours
    python tests/plant_faults.py conv2d        # those whose file, text or fault contains the word
    python tests/plant_faults.py planted/      # those of the tables in tests/planted
    python tests/plant_faults.py --only onnx   # those of tests/planted/onnx.py; --help says more

Each fault is a sign, an index, a bound or a missing term, put into a copy of the package. A fault
that no test notices is printed, and makes the exit code 1. The table here is of layers, kernels and
exports; those in tests/planted name the tests that are to notice, with pytest's own options.
"""

import runpy
from fnmatch import fnmatch

import planting
from planting import ROOT, Fault

TESTS = (
    "layers/test_layers.py",
    "layers/test_layer_corners.py",
    "layers/test_layer_protocol.py",
    "ops/test_ops.py",
    "optimizers/test_optimizers.py",
    "ops/test_random_bits.py",
)
# What only NumPy's plan runs has tests of its own.
NUMPY_FILES = ("ops/numpy/*", "ops/compiled/*", "ops/*/numpy*", "ops/*/compiled*", "execution/*")
NUMPY_TESTS = ("ops/test_numpy_kernels.py", "execution/test_host_plans.py")
EXPORT_TESTS = (
    "export/test_export_torch.py",
    "export/test_import_safetensors.py",
)

# (file under src/arraycnn, what stands there, the fault)
FAULTS = [
    ("layers/rescale.py", "dy / 255.0", "dy"),
    ("ops/generic.py", "/ 255.0 - 0.5", "/ 256.0 - 0.5"),
    ("layers/conv2d.py", 'if self.bias else {"weight": dweight}', 'if False else {"weight": dweight}'),
    ("layers/dense.py", '{"weight": dweight, "bias": dbias} if', '{"weight": dweight, "bias": -dbias} if'),
    ("ops/generic.py", "ops.matmul(x.T, dy), array_namespace", "-ops.matmul(x.T, dy), array_namespace"),
    ("ops/generic.py", "array_namespace(dy).sum(dy, axis=0)", "array_namespace(dy).mean(dy, axis=0)"),
    ("ops/generic.py", "ops.matmul(dy, weight.T) if need_dx", "ops.matmul(-dy, weight.T) if need_dx"),
    ("ops/generic.py", "y if bias is None else y + bias", "y if bias is None else y - bias"),
    ("ops/generic.py", "where(y > 0.0, dy", "where(y >= 0.0, dy"),
    ("ops/generic.py", "where(y > 0.0, dy, 0.0)", "where(y > 0.0, y, 0.0)"),
    ("layers/softmax.py", "y * (dy - along_y)", "y * dy"),
    ("layers/softmax.py", "y * (dy - along_y)", "y * (dy + along_y)"),
    ("layers/dropout.py", "layer_key(context.path)", "layer_key(())"),
    ("ops/generic.py", "where(keep, dy / (1.0 - rate), 0.0)", "where(keep, dy, 0.0)"),
    ("ops/generic.py", "xp.where(keep, x / (1.0 - rate), 0.0)", "xp.where(keep, x, 0.0)"),
    ("ops/generic.py", ">= dropout_threshold(rate)", "< dropout_threshold(rate)"),
    ("layers/global_avg_pool2d.py", "x.shape[1] * x.shape[2]", "x.shape[1] * x.shape[1]"),
    ("layers/flatten.py", "reshape(dy, x.shape)", "reshape(-dy, x.shape)"),
    ("ops/batch_norm.py", "- mean_part - variance_part", "- variance_part"),
    ("ops/batch_norm.py", "- mean_part - variance_part", "- mean_part"),
    ("ops/batch_norm.py", "- mean_part - variance_part", "- mean_part + variance_part"),
    ("ops/batch_norm.py", "xp.sum(dy * normal", "xp.sum(dy"),
    ("ops/batch_norm.py", "count / max(count - 1, 1)", "1.0"),
    ("ops/batch_norm.py", "return dy * scale, dweight", "return dy, dweight"),
    ("ops/batch_norm.py", "1.0 - momentum, momentum", "momentum, momentum"),
    ("layers/residual.py", "return body + around", "return body"),
    ("layers/sequential.py", "need_dx or place > first", "need_dx"),
    ("layers/sequential.py", "place for place, learns in enumerate(learning) if learns", "place + 1 for place, learns in enumerate(learning) if learns"),
    ("ops/generic.py", "ops.matmul(ops.im2col(x, window).T, rows)", "-ops.matmul(ops.im2col(x, window).T, rows)"),
    ("ops/generic.py", "dbias = xp.sum(rows, axis=0)", "dbias = xp.sum(rows[1:, :], axis=0)"),
    ("ops/generic.py", "return ops.col2im(dcolumns, x.shape, window), dweight", "return ops.col2im(-dcolumns, x.shape, window), dweight"),
    ("ops/generic.py", "by_offset[:, :, :, number, :]", "by_offset[:, :, :, -1 - number, :]"),
    ("ops/generic.py", "pixel > y, place", "pixel >= y, place"),
    ("ops/generic.py", "winners == place if", "winners == place + 1 if"),
    ("ops/generic.py", "xp.stack([pixel == y for pixel in pixels])", "xp.stack([pixel >= pixels[0] for pixel in pixels])"),
    ("ops/generic.py", "[dy / float(count)] * count", "[dy] * count"),
    ("ops/generic.py", "total / float(len(pixels))", "total"),
    ("ops/generic.py", "top : top + height, left : left + width", "left : left + height, top : top + width"),
    ("ops/generic.py", ".add(part)", ".set(part)"),
    ("ops/generic.py", "((0, 0), (top, bottom), (left, right), (0, 0))", "((0, 0), (bottom, top), (right, left), (0, 0))"),
    ("ops/generic.py", "logits - xp.max(logits, axis=1, keepdims=True)", "logits"),
    ("ops/generic.py", "exponentials / total - xp.astype(is_label, logits.dtype)", "exponentials / total"),
    ("ops/generic.py", "/ float(batch_size)", "/ float(logits.shape[0])"),
    ("ops/generic.py", "momentum * v + g for", "momentum * v - g for"),
    ("ops/generic.py", "g + momentum * v for", "g + v for"),
    ("ops/generic.py", "(1.0 - beta2) * (g * g)", "(1.0 - beta2) * g"),
    ("ops/generic.py", "/ root_correction + epsilon", "+ epsilon"),
    ("ops/generic.py", "learning_rate / (1.0 - decays[0])", "learning_rate"),
    ("ops/generic.py", "p - (learning_rate * weight_decay) * p", "p - weight_decay * p"),
    ("ops/window.py", "return total // 2, total - total // 2", "return total - total // 2, total // 2"),
    ("ops/window.py", "slice(i, i + down * (rows - 1) + 1, down)", "slice(i, i + down * (rows - 1) + 1, right)"),
    ("ops/window.py", "(padded_width - wide) // self.stride[1] + 1", "(padded_width - wide) // self.stride[0] + 1"),
    ("ops/random_bits/__init__.py", "((1 << distance) - 1)", "((1 << distance) + 1)"),
    ("ops/random_bits/__init__.py", "keys[(turn + 1) % 3] + turn", "keys[(turn + 1) % 3]"),
    ("ops/random_bits/__init__.py", "words[:, :count]", "words[:, -count:]"),
    ("ops/random_bits/__init__.py", "(step, xp.full", "(step - step, xp.full"),
    ("ops/numpy/launcher.py", "scratch.clear()", "pass"),
    ("ops/numpy/launcher.py", "range(lane, len(groups), lanes)", "range(lane, len(groups) - 1, lanes)"),
    ("ops/numpy/arena.py", "first, last = 0, count", "first, last = 0, count + 1"),
    ("ops/numpy/arena.py", "if memory is self._memory else 0", "if memory is not self._memory else 0"),
    ("ops/numpy/arena.py", "(place, first + size, last)", "(place, first, last)"),
    ("ops/numpy/tasks.py", "-(-size // tile)", "size // tile"),
    ("ops/dense/numpy_products.py", "a[:, part], b[part]", "a[:, part], b[: part.stop - part.start]"),
    ("ops/dense/numpy_products.py", "b[:, part], out[:, part]", "b[:, part], out[:, : part.stop - part.start]"),
    ("ops/dense/numpy.py", "np.add, y, bias", "np.subtract, y, bias"),
    ("ops/numpy/masks.py", "np.greater, y, 0.0", "np.greater_equal, y, 0.0"),
    ("ops/numpy/masks.py", "np.multiply, bits, ones", "np.bitwise_and, bits, ones"),
    ("ops/max_pool2d/numpy.py", "np.add, lower, np.uint8(2)", "np.add, lower, np.uint8(1)"),
    ("ops/max_pool2d/numpy.py", "np.greater, larger[1], larger[0]", "np.greater_equal, larger[1], larger[0]"),
    ("ops/max_pool2d/numpy.py", "np.greater, pairs[:, 1], pairs[:, 0]", "np.greater_equal, pairs[:, 1], pairs[:, 0]"),
    ("ops/max_pool2d/numpy.py", "np.greater, pixel, y", "np.greater_equal, pixel, y"),
    ("ops/max_pool2d/numpy.py", "launcher.call(dx[part].fill, 0)\n", "\n"),
    ("ops/max_pool2d/numpy.py", "np.uint8 if math.prod(window.kernel_size) <= 256", "np.uint8 if math.prod(window.kernel_size) <= 512"),
    ("ops/conv2d/numpy_columns.py", "pool.stride[0] * steps[0], pool.stride[1]", "pool.stride[1] * steps[0], pool.stride[0]"),
    ("ops/conv2d/numpy_columns.py", "launcher.call(padded.fill, 0)\n", "\n"),
    ("ops/conv2d/numpy_columns.py", "(row, column, number, *strides)", "(column, row, number, *strides)"),
    ("ops/conv2d/numpy_by_columns.py", "weight[::-1, ::-1]", "weight[::-1]"),
    ("ops/dense/numpy_products.py", "np.add, total, term, out=total", "np.copyto, total, term"),
    ("ops/conv2d/numpy_by_columns.py", "(tall - 1 - top, tall - 1 - bottom, wide - 1 - left, wide - 1 - right)", "(tall - 1 - bottom, tall - 1 - top, wide - 1 - right, wide - 1 - left)"),
    ("ops/conv2d/numpy_by_columns.py", "launcher.call(dy.fill, 0)\n", "launcher.call(dy.fill, 1)\n"),
    ("ops/conv2d/numpy_by_columns.py", "launcher.call(total.fill, 0)\n", "\n"),
    ("ops/conv2d/numpy_winograd.py", "[0, 1, -1, -1]", "[0, 1, -1, 1]"),
    ("ops/conv2d/numpy_winograd.py", "(np.subtract, next_e, o)", "(np.subtract, e, o)"),
    ("ops/conv2d/numpy_winograd.py", "call(_end(odd, axis).fill, 0)\n", "pass\n"),
    ("ops/conv2d/numpy_winograd.py", "self._launcher.call(planes.fill, 0)\n", "pass\n"),
    ("ops/conv2d/numpy_winograd.py", "self._launcher.call(dx.fill, 0)\n", "pass\n"),
    ("ops/conv2d/numpy_winograd.py", "self._launcher.call(blocks.fill, 0)\n", "pass\n"),
    ("ops/conv2d/numpy_winograd.py", "start = 2 * first + odd - before", "start = 2 * first + odd"),
    ("ops/conv2d/numpy_winograd.py", "-(-(before - odd) // 2)", "(before - odd) // 2"),
    ("ops/conv2d/numpy_winograd.py", "u_transposed[column]", "u_transposed[:, column]"),
    ("ops/conv2d/numpy_winograd.py", "dm, total[column], place)", "dm, total[column], 0)"),
    ("ops/dense/numpy_products.py", "self.a[rows], self.b", "self.a[: rows.stop - rows.start], self.b"),
    ("ops/numpy/launcher.py", "dtype if type(value) in kinds else None", "None"),
    ("ops/numpy/steps.py", "tables.cursor[0] = place + 1", "tables.cursor[0] = place"),
    ("ops/dense/compiled_products.py", "deep = min(_DEPTH, length - first) if runs == 1 else length", "deep = min(_DEPTH, length) if runs == 1 else length"),
    ("ops/dense/compiled_products.py", "deep, 0, min(left - lanes, lanes)", "deep, 0, min(left, lanes)"),
    ("ops/dense/compiled_products.py", "deep, last, min(left - lanes, lanes)", "deep, last, min(left, lanes)"),
    ("ops/dense/compiled_products.py", "        adding = 1\n", "        adding = 0\n"),
    ("ops/dense/compiled_products.py", "builder.select(b, n, last)", "n"),
    ("ops/dense/compiled_products.py", "emit.moved(b, builder.mul(run, b_run))", "b"),
    ("ops/conv2d/compiled_winograd_tiles.py", "(0, -1, 1, 0), (0, 1, 0, -1)", "(0, -1, 1, 0), (0, 1, 0, 1)"),
    ("ops/conv2d/compiled_winograd_tiles.py", "_A_T = ((1, 1, 1, 0), (0, 1, -1, -1))", "_A_T = ((1, 1, 1, 0), (0, 1, -1, 1))"),
    ("ops/conv2d/compiled_winograd_tiles.py", "(0.5, -0.5, 0.5)", "(0.5, 0.5, 0.5)"),
    ("ops/conv2d/compiled_winograd_tiles.py", "((a + b) + (c + d))", "((a + b) + c)"),
    ("ops/conv2d/compiled_winograd_tiles.py", "emit.store(a + b, pixel)", "emit.store(b, pixel)"),
    ("ops/conv2d/compiled_winograd_tiles.py", "within(i, height), within(j, width)", "within(i, height), within(j, height)"),
    ("ops/conv2d/compiled_winograd.py", "    clear_vector(zeros)\n", ""),
    ("ops/conv2d/compiled_winograd.py", "range(min(2, output_height - i))", "range(2)"),
    ("ops/conv2d/compiled_winograd_gradients.py", "    if part != 0:  #", "    if part < 0:  #"),
    ("ops/conv2d/compiled_winograd_gradients.py", "group * 9 * all_channels * filters + part * filters", "group * 9 * all_channels * filters"),
    ("ops/conv2d/compiled_winograd_tiles.py", "_inside(emit, patch, i, j, height, width, waste)", "_inside(emit, patch, i, j, width, height, waste)"),
    ("ops/conv2d/compiled_winograd_gradients.py", "if i + a < output_height and j + b < output_width:", "if i + a < output_height:"),
    ("ops/max_pool2d/compiled_windows.py", "larger = emit.larger(value, held)", "larger = emit.larger(held, value)"),
    ("ops/max_pool2d/compiled_windows.py", "emit.chosen(emit.either(larger, emit.is_nan(value)), value, held)", "emit.chosen(larger, value, held)"),
    ("ops/max_pool2d/compiled_windows.py", "taken, emit.chosen(larger, place, winner)", "taken, emit.chosen(emit.larger(held, value), winner, place)"),
    ("ops/max_pool2d/compiled_windows.py", "builder.mul(i, kernel_width)\n                with emit.repeat(kernel_width) as j:\n                    value = emit.load(emit.moved(row, builder.mul(j, channels)))\n                    here", "builder.mul(i, kernel_height)\n                with emit.repeat(kernel_width) as j:\n                    value = emit.load(emit.moved(row, builder.mul(j, channels)))\n                    here"),
    ("ops/max_pool2d/compiled_windows.py", "builder.mul(i, kernel_width)\n                with emit.repeat(kernel_width) as j:\n                    pixel", "builder.mul(i, kernel_height)\n                with emit.repeat(kernel_width) as j:\n                    pixel"),
    ("ops/max_pool2d/compiled_windows.py", "builder.mul(i, kernel_width)\n                with emit.repeat(kernel_width) as j:\n                    value = emit.load(emit.moved(row, builder.mul(j, channels)))\n                    won", "builder.mul(i, kernel_height)\n                with emit.repeat(kernel_width) as j:\n                    value = emit.load(emit.moved(row, builder.mul(j, channels)))\n                    won"),
    ("ops/max_pool2d/compiled_windows.py", "emit.store(emit.load(pixel) + part, pixel)", "emit.store(part, pixel)"),
    ("ops/max_pool2d/compiled_windows.py", "emit.times(number // 2, row), emit.times(number % 2, column)", "emit.times(number % 2, row), emit.times(number // 2, column)"),
    ("ops/max_pool2d/compiled_windows.py", "emit.load(target) + added", "emit.load(target)"),
    ("ops/conv2d/compiled_nine_taps.py", "min(count, pixel + 1))", "min(count, pixel))"),
    ("ops/conv2d/compiled_nine_taps.py", "builder.add(done, rest)", "rest"),
    ("ops/conv2d/compiled_nine_taps.py", "emit.times(tap // 3, line)", "emit.times(tap % 3, line)"),
    ("ops/conv2d/compiled_nine_taps.py", "emit.load(target).value) for target", "emit.zero.value) for target"),
    ("ops/conv2d/compiled_kernels.py", "after(image, i * stride_height * padded_width * channels)", "after(image, i * padded_width * channels)"),
    ("ops/conv2d/compiled_kernels.py", "source, stride_height * padded_width, padded_width, start", "source, padded_width, padded_width, start"),
    ("ops/conv2d/compiled_shapes.py", "kernel_size == (3, 3) and stride_width == 1", "kernel_size == (3, 3)"),
    ("ops/conv2d/compiled_phases.py", "range(last_column, -1, -stride_width)", "range(left, last_column + 1, stride_width)"),
    ("ops/conv2d/compiled_phases.py", "stride_height > kernel_height or stride_width > kernel_width", "stride_height > kernel_height"),
    ("ops/conv2d/compiled_phases.py", "output_width - 1 + across - before", "output_width + across - before"),
    ("ops/conv2d/compiled_phases.py", "(upper - padding_top) % stride_height", "(upper + padding_top) % stride_height"),
    ("ops/conv2d/compiled_kernels.py", "padded[top + i, left * channels + n]", "padded[top + i, top * channels + n]"),
    ("ops/conv2d/compiled_kernels.py", "after(source, (first * stride_height + i)", "after(source, (first + i)"),
    ("ops/conv2d/compiled_kernels.py", "min(together, output_height - first)", "min(together, output_height - first - 1)"),
    ("ops/max_pool2d/compiled_kernels.py", "line, apart, stride_width * apart", "line, apart, stride_height * apart"),
    ("ops/max_pool2d/compiled_kernels.py", "    carray(dx, height * width * channels)[:] = 0.0\n", ""),
    ("ops/conv2d/compiled_phases.py", "reached_rows < height + padding_top", "reached_rows < height"),
    ("ops/max_pool2d/compiled_windows.py", "emit.larger(emit.load(y), emit.zero), gradient", "emit.larger(emit.zero, emit.load(y)), gradient"),
    ("ops/max_pool2d/compiled_windows.py", "emit.builder.store((emit.held(total) + gradient).value, total)", "pass"),
    ("ops/conv2d/compiled_kernels.py", "        if pooled and not by_fours:\n            everything[:] = 0.0\n", ""),
    ("ops/dense/compiled_kernels.py", "dy[n, j] if y[n, j] > zero else zero", "dy[n, j]"),
    ("ops/dense/compiled_kernels.py", "across[k, i] = weights[i, k]", "across[k, i] = weights[i, 0]"),
    ("ops/dense/compiled_kernels.py", "for k in range(1, count):\n        part", "for k in range(2, count):\n        part"),
    ("ops/dense/compiled_kernels.py", "emit.smaller(builder.add(first, emit.integer(lane)), last)", "emit.smaller(first, last)"),
    ("ops/dense/compiled_kernels.py", "i = builder.add(whole, rest)", "i = rest"),
    ("ops/compiled/kernels/vectors.py", "start + source + first + lane", "start + source + first"),
    ("ops/compiled/kernels/vectors.py", "range(part, part + self.lanes)", "range(self.lanes)"),
    ("ops/compiled/kernels/vectors.py", "self.builder.sub(numbers, self._spread(count, lanes).value)", "self.builder.sub(self._spread(count, lanes).value, numbers)"),
    ("ops/compiled/kernels/vectors.py", "first = builder.mul(whole, lanes)", "first = whole"),
    ("ops/compiled/kernels/vectors.py", "self.integer(-2 * lanes)", "self.integer(-lanes)"),
    ("ops/compiled/kernels/vectors.py", "        lanes = self.lanes // 2\n        while", "        lanes = self.lanes // 4\n        while"),
    ("ops/conv2d/compiled_winograd.py", "(tap * channels + c) * filters + f", "tap * channels * filters + f"),
    ("ops/conv2d/compiled_winograd.py", "range(min(_FEW, channels - c))", "range(min(8, channels - c))"),
    ("ops/conv2d/compiled_winograd.py", "target = after(u, first * columns + offset)", "target = after(u, offset)"),
    ("ops/compiled/kernels/steps.py", "order[place * batch + n]", "order[n]"),
    ("ops/compiled/launcher.py", "memory = self._free.pop(place)", "memory = self._free[place]"),
    ("ops/compiled/launcher.py", "bisect_left(self._free, size, key=len)", "0"),
    ("ops/compiled/kernels/run_launches.py", "_put(at(shared, 0), (number + 1) << 32)", "_put(at(shared, 0), (number + 2) << 32)"),
    ("execution/recorded.py", "overwrite(self._carry, before)", "pass"),
    ("export/tensors.py", "(*image, leaf.shape[1]), (3, 2, 0, 1)", "(*image, leaf.shape[1]), (3, 0, 1, 2)"),
    ("export/tensors.py", "leaf.shape[axis] for axis in axes)", "leaf.shape[axis] for axis in sorted(axes))"),
    ("export/tensors.py", "np.argsort(self.axes)", "self.axes"),
    ("export/channels_first.py", "            self.keep_order(output)\n", "            pass\n"),
    ("export/channels_first.py", "walk.keep_order(walk.follow(", "((walk.follow("),
    ("export/channels_first.py", " if of not in walk.ordered", ""),
    ("export/channels_first.py", "height * width > 1 and", "width > 1 and"),
    ("export/torch_parts.py", "permute(0, 2, 3, 1)", "permute(0, 3, 2, 1)"),
    ("export/safetensors.py", "hashlib.sha256(written).hexdigest() != labels[DIGEST]", "False"),
    ("export/safetensors.py", 'NETWORK not in labels:', 'True:'),
]  # fmt: skip


def all_faults() -> list[Fault]:
    """Those of the table above, whose tests go by the file, and those of tests/planted."""
    faults = [Fault(*row, " ".join(tests_of(row[0])), "plant_faults") for row in FAULTS]
    for table in sorted((ROOT / "tests" / "planted").glob("*.py")):
        rows = runpy.run_path(str(table))["FAULTS"]
        faults += [Fault(*row, f"planted/{table.stem}") for row in rows]
    return faults


def tests_of(file: str) -> tuple[str, ...]:
    if file.startswith("export/"):
        return EXPORT_TESTS
    return NUMPY_TESTS if any(fnmatch(file, one) for one in NUMPY_FILES) else TESTS


if __name__ == "__main__":
    planting.main(__doc__, all_faults(), jobs=1)
