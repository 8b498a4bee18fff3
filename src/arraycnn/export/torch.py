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
from arraycnn.layers import Layer, Sequential
from arraycnn.layers.branches import is_of_branches
from arraycnn.layers.export_forms import torch_module
from arraycnn.losses import MultiLabelLoss, RegressionLoss
from arraycnn.model.model import Model
from arraycnn.storage.atomic_writes import write_atomically
from arraycnn.storage.user_paths import user_path

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
        A layer, a user's own, has no ``torch_module``.
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
    sources: dict[str, None] = {}
    expression = _expression(model.network, layout, sources, "", indent=4)
    height, width, channels = model.input_shape
    names = model.class_names or tuple(str(number) for number in range(model.classes))
    return torch_parts.FILE.format(
        name=name,
        version=metadata.version("arraycnn"),
        channels=channels,
        height=height,
        width=width,
        outputs="outputs" if isinstance(model.loss, RegressionLoss) else "logits",
        results=_results(model),
        pixels="uint8, 0 to 255" if layout.takes_pixels else model.dtype,
        class_names="".join(f"    {_literal(text)},\n" for text in names),
        digest=digest,
        dtype=model.dtype,
        expression=expression,
        parts="".join(f"\n{source.strip()}\n\n" for source in sources if source),
    )


def definition(model: Model) -> tuple[str, str]:
    """Python that makes the module of ``model``, untrained: the classes that PyTorch lacks, and the
    expression, in terms of ``torch`` and ``nn``.

    Raises InvalidTypeError where a layer has no ``torch_module``.
    """
    layout = plan(model.network, model.input_shape)
    sources: dict[str, None] = {}
    expression = _expression(model.network, layout, sources, "", indent=0)
    return "\n".join(sources), expression


def _results(model: Model) -> str:
    """What the module gives, in words."""
    height_width, channels = model.output_shape[:-1], model.output_shape[-1:]
    shape = f"(N, {', '.join(map(str, (*channels, *height_width)))})"
    if isinstance(model.loss, RegressionLoss):
        return torch_parts.OUTPUTS.format(shape=shape)
    is_several = isinstance(model.loss, MultiLabelLoss)
    return (torch_parts.LABELS if is_several else torch_parts.CLASSES).format(shape=shape)


def _literal(text: str) -> str:
    """``text`` as Python source; with escapes where it would not be read as it is."""
    return json.dumps(text, ensure_ascii=False) if text.isprintable() else repr(text)


def _expression(
    layer: Layer, layout: Plan, sources: dict[str, None], path: str, indent: int
) -> str:
    """The Python expression that makes ``layer``, its further lines indented by ``indent``.

    The classes that it needs are added to ``sources``.
    """
    inner = " " * (indent + 4)

    def parts(layers: list[tuple[str, Layer]]) -> str:
        lines = [
            f"{inner}{_expression(part, layout, sources, inside(path, name), indent + 4)},\n"
            for name, part in layers
        ]
        return f"(\n{''.join(lines)}{' ' * indent})"

    if type(layer) is Sequential:
        return f"nn.Sequential{parts(layer.named_layers())}"
    if path in layout.ordered:
        sources[torch_parts.FLATTEN_CHANNELS_LAST] = None
        return "FlattenChannelsLast()"
    module = torch_module(layer, layout.input_shapes[path])
    sources[module.source] = None
    if is_of_branches(layer):
        return f"{module.expression}{parts(layer.named_layers())}"
    return module.expression
