"""Trained networks for other programs: ONNX, safetensors, PyTorch; and safetensors back."""

from arraycnn.export.onnx import export_onnx, to_onnx
from arraycnn.export.safetensors import export_safetensors
from arraycnn.export.safetensors_import import import_safetensors
from arraycnn.export.torch import export_torch

__all__ = [
    "export_onnx",
    "export_safetensors",
    "export_torch",
    "import_safetensors",
    "to_onnx",
]
