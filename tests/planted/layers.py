"""Faults in layers that have a row in `layer_rows.py`, in Lion, and in what layers say of themselves."""

LAYERS, ONNX, TORCH = "test_layers.py -k ", "test_export_onnx.py", "test_export_torch.py"

FAULTS = [
    ("layers/activation.py", "return dy * self.derivative(", "return self.derivative(", LAYERS + "SiLU"),
    ("layers/leaky_relu.py", "xp.ones_like(x), self.slope)", "xp.ones_like(x), 0.0)", LAYERS + "LeakyReLU"),
    ("layers/leaky_relu.py", "alpha=float(self.slope)", "alpha=0.01", ONNX + " -k LeakyReLU"),
    ("layers/gelu_tanh.py", "1.0 + 3.0 * _CUBE", "1.0 + _CUBE", LAYERS + "GELUTanh"),
    ("layers/gelu_tanh.py", 'nn.GELU(approximate="tanh")', 'nn.GELU(approximate="none")', LAYERS + "GELUTanh"),
    ("layers/silu.py", "s + x * s * (1.0 - s)", "s + x * s", LAYERS + "SiLU"),
    ("layers/silu.py", "xp.exp(-xp.abs(x))", "xp.exp(-x)", LAYERS + "SiLU"),
    ("layers/group_norm.py", "part - mean - along * share", "part - along * share", LAYERS + "GroupNorm"),
    ("layers/group_norm.py", "part - mean - along * share", "part - mean", LAYERS + "GroupNorm"),
    ("layers/group_norm.py", 'graph.node("Add", ', 'graph.node("Sub", ', ONNX + " -k GroupNorm"),
    ("optimizers/lion.py", "beta1 * m + (1.0 - beta1) * g", "beta2 * m + (1.0 - beta2) * g", "test_optimizers.py -k Lion"),
    ("optimizers/lion.py", "direction + self.weight_decay * p", "direction - self.weight_decay * p", "test_optimizers.py -k Lion"),
    ("layers/twins.py", "if name in vars(type(layer))", "if hasattr(layer, name)", ONNX + " -k unknown"),
    ("export/channels_first.py", '"any_order", False', '"any_order", True', ONNX + " -k RMSNorm"),
    ("layers/conv2d.py", "pads=[top, left, bottom, right]", "pads=[top, bottom, left, right]", ONNX + " -k small"),
    ("layers/conv2d.py", "sides={(left, right, top, bottom)}", "sides={(top, bottom, left, right)}", TORCH + " -k 'small or keeps'"),
    ("layers/conv2d.py", "top if top == left else (top, left)", "top", TORCH + " -k 'small or keeps'"),
    ("layers/batch_norm2d.py", "epsilon=self.epsilon)", "epsilon=1e-5)", ONNX + " -k small"),
    ("layers/batch_norm2d.py", "eps={self.epsilon}", "eps=1e-5", TORCH + " -k 'small or keeps'"),
    ("layers/batch_norm2d.py", "momentum={self.momentum}", "momentum=0.1", TORCH + " -k 'small or keeps'"),
    ("layers/max_pool2d.py", "strides=window.stride", "strides=window.kernel_size", ONNX + " -k small"),
    ("layers/rescale.py", "self.largest - self.mean", "self.largest + self.mean", TORCH + " -k 'small or keeps'"),
    ("layers/rescale.py", "by_channel(self.std)", "by_channel(self.mean)", ONNX + " -k small"),
]  # fmt: skip
