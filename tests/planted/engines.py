"""Faults in the kernels of PyTorch, in what JAX compiles part by part, and in memory of the host's."""

TORCH = "ops/test_engine_kernels.py -k pytorch"
JITTED = "execution/test_jitted.py -k "

ALIGNED = "ops/test_aligned_memory.py"

FAULTS = [
    ("ops/aligned_memory.py", "first = -memory.ctypes.data % LINE", "first = 0", ALIGNED),
    ("ops/aligned_memory.py", "size + LINE - 1", "size", ALIGNED),
    ("ops/compiled/launcher.py", "array = aligned_empty(shape, dtype)", "array = np.empty(shape, dtype)", ALIGNED),
    ("ops/compiled/launcher.py", "memory = aligned_empty((size,), np.uint8)", "memory = np.empty(size, np.uint8)", ALIGNED),
    ("ops/compiled/launcher.py", "held = aligned_empty((max(room, 1024),), dtype)", "held = np.empty(max(room, 1024), dtype)", ALIGNED),
    ("execution/copies.py", "return aligned_copy(array)", "return np.array(array)", ALIGNED),
    ("ops/torch_kernels.py", "dbias = dy.sum((0, 1, 2))", "dbias = dy.mean((0, 1, 2))", TORCH),
    ("ops/torch_kernels.py", ":: window.stride[0], :: window.stride[1]", ":: window.stride[1], :: window.stride[0]", TORCH),
    ("ops/torch_kernels.py", "and not any(window.padding)", "", TORCH),
    ("ops/torch_kernels.py", "threshold_backward.default(dy, y, 0)", "threshold_backward.default(y, dy, 0)", TORCH),
    ("ops/torch_kernels.py", "tuple(part.clone() for part in running)", "running", TORCH),
    ("ops/torch_kernels.py", "if trains and images.numel() == images.shape[1]:", "if False:", TORCH),
    ("ops/torch_kernels.py", "div_(float(batch_size))", "div_(float(len(rows)))", TORCH),
    ("ops/torch_kernels.py", "dlogits.new_full((), -1.0)", "dlogits.new_full((), 1.0)", TORCH),
    ("ops/optimizer_updates/torch.py", "torch._foreach_add(gradients, velocities, alpha=momentum)", "velocities", TORCH),
    ("ops/optimizer_updates/torch.py", "alpha=-rate * weight_decay", "alpha=-weight_decay", TORCH),
    ("ops/optimizer_updates/torch.py", "(1.0 - decays[1].item()) ** 0.5", "1.0 - decays[1].item()", TORCH),
    ("ops/optimizer_updates/torch.py", "value=1.0 - beta2", "value=beta2", TORCH),
    ("ops/random_bits/torch.py", "&= (1 << distance) - 1", "&= (1 << distance)", TORCH),
    ("ops/random_bits/torch.py", "keys[(turn + 1) % 3] + turn", "keys[(turn + 1) % 3]", TORCH),
    ("ops/random_bits/torch.py", "half = (count + 1) // 2", "half = count // 2 + 1", TORCH),
    ("execution/jitted_parts.py", "need_dx or place > first", "need_dx", JITTED + "alone"),
    ("execution/jitted_parts.py", "return self._backward[key](params, arrays, dy, _arrays(context))", "return dy, params", JITTED + "alone"),
    ("execution/jitted_inference.py", "1 << (count - 1).bit_length() if pads else count", "count", JITTED + "few_sizes"),
    ("execution/jitted_inference.py", "[:count] for array", "[:] for array", JITTED + "few_sizes"),
    ("execution/jitted_inference.py", "return takes_more_images(*trees, image, uint8)", "return True", JITTED + "padded"),
    ("execution/xla.py", "key = known, *more", "key = known", JITTED + "device"),
]  # fmt: skip
