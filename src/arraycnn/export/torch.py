"""PyTorch: a Python file that defines the module, and its weights beside it as safetensors.

A pickled module would need this library to load, and a bare state_dict does not say what it
belongs to. The Python file is both readable and complete: it imports PyTorch and safetensors, no
arraycnn, and checks the weights it loads against their digest.
"""

import hashlib
import json
import keyword
from importlib import metadata
from pathlib import Path

from arraycnn.errors import InvalidValueError
from arraycnn.export import torch_parts
from arraycnn.export.channels_first import Plan, inside, plan
from arraycnn.export.safetensors import to_safetensors
from arraycnn.files import write_atomically
from arraycnn.layers import (
    AvgPool2d,
    BatchNorm2d,
    Conv2d,
    Dense,
    Dropout,
    Flatten,
    GlobalAvgPool2d,
    Layer,
    MaxPool2d,
    ReLU,
    Rescale,
    Residual,
    Sequential,
    Softmax,
)
from arraycnn.model import Model
from arraycnn.user_paths import user_path

# A module of such a name would hide what the file itself imports.
_TAKEN = ("hashlib", "pathlib", "safetensors", "torch")


def export_torch(model: Model, path: str | Path) -> None:
    """Write ``model`` as the Python file ``path`` with its weights beside it (.safetensors).

    The file has two functions: ``build()``, the module untrained, and ``load()``, with the weights.
    The module takes images channels first, (N, C, H, W), uint8 where the network begins with
    `Rescale`, and gives logits, (N, classes). It needs PyTorch and safetensors to run; writing it
    needs neither.

    Raises
    ------
    InvalidTypeError
        A layer is not one of this library's.
    InvalidValueError
        ``path`` is not the name of a module that Python can import.
    """
    path = user_path(path)
    name = path.stem
    usable = name.isidentifier() and not keyword.iskeyword(name) and name not in _TAKEN
    if path.suffix != ".py" or not usable:
        message = (
            f"export torch: the file must be a module that Python can import, got {path}; "
            "take a name of letters, digits and underscores that ends with .py"
        )
        raise InvalidValueError(message)
    weights = to_safetensors(model)
    source = torch_source(model, name, hashlib.sha256(weights).hexdigest())
    write_atomically(path.with_suffix(".safetensors"), weights)
    write_atomically(path, source.encode())


def torch_source(model: Model, name: str, digest: str) -> str:
    """The text of the Python file called ``name``, whose weights have the SHA-256 ``digest``."""
    layout = plan(model.network, model.input_shape)
    expression = _expression(model.network, layout, "", indent=4)
    height, width, channels = model.input_shape
    names = model.class_names or tuple(str(number) for number in range(model.classes))
    return torch_parts.FILE.format(
        name=name,
        version=metadata.version("arraycnn"),
        channels=channels,
        height=height,
        width=width,
        classes=model.classes,
        pixels="uint8, 0 to 255" if layout.takes_pixels else model.dtype,
        class_names="".join(f"    {_literal(text)},\n" for text in names),
        digest=digest,
        dtype=model.dtype,
        expression=expression,
        parts="".join(
            source for part, source in torch_parts.CLASSES.items() if f"{part}(" in expression
        ),
    )


def _literal(text: str) -> str:
    """``text`` as Python source; with escapes where it would not be read as it is."""
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else repr(text)


def _expression(layer: Layer, layout: Plan, path: str, indent: int) -> str:
    """The Python expression that makes ``layer``, its further lines indented by ``indent``."""
    if isinstance(layer, Sequential):
        inner = " " * (indent + 4)
        parts = [
            f"{inner}{_expression(part, layout, inside(path, name), indent + 4)},\n"
            for name, part in layer.named_layers()
        ]
        return f"nn.Sequential(\n{''.join(parts)}{' ' * indent})"
    if isinstance(layer, Residual):
        inner = " " * (indent + 4)
        parts = [f"{inner}{_expression(layer.body, layout, inside(path, 'body'), indent + 4)},\n"]
        if layer.shortcut is not None:
            around = _expression(layer.shortcut, layout, inside(path, "shortcut"), indent + 4)
            parts.append(f"{inner}{around},\n")
        return f"Residual(\n{''.join(parts)}{' ' * indent})"
    return _single(layer, layout, path)


def _single(layer: Layer, layout: Plan, path: str) -> str:
    shape = layout.input_shapes[path]
    match layer:
        case Conv2d():
            return _convolution(layer, shape)
        case Dense():
            bias = "" if layer.bias else ", bias=False"
            return f"nn.Linear({shape[0]}, {layer.outputs}{bias})"
        case MaxPool2d() | AvgPool2d():
            stride = "" if layer.stride is None else f", stride={layer.stride}"
            return f"nn.{type(layer).__name__}({layer.kernel_size}{stride})"
        case BatchNorm2d():
            return f"nn.BatchNorm2d({shape[2]}, eps={layer.epsilon}, momentum={layer.momentum})"
        case Dropout():
            return f"nn.Dropout({layer.rate})"
        case Flatten():
            return "FlattenChannelsLast()" if path in layout.ordered else "nn.Flatten()"
        case Softmax():
            return "nn.Softmax(dim=1)"
        case ReLU():
            return "nn.ReLU()"
        case Rescale():
            return repr(layer)
        case GlobalAvgPool2d():
            return "GlobalAvgPool2d()"
    raise NotImplementedError(layer)  # a new layer of this library; the tests ask for all


def _convolution(layer: Conv2d, shape: tuple[int, ...]) -> str:
    height, width, channels = shape
    window = layer.window(height, width)
    top, bottom, left, right = window.padding
    settings = [str(channels), str(layer.filters), str(layer.kernel_size)]
    if window.stride != (1, 1):
        settings.append(f"stride={layer.stride}")
    name = "nn.Conv2d"
    if (top, left) != (bottom, right):
        name = "PaddedConv2d"
        settings.append(f"sides={(left, right, top, bottom)}")
    elif layer.padding == "same" and window.stride == (1, 1):
        settings.append('padding="same"')
    elif (top, left) != (0, 0):
        settings.append(f"padding={top if top == left else (top, left)}")
    if not layer.bias:
        settings.append("bias=False")
    return f"{name}({', '.join(settings)})"
