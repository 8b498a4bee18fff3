"""arraycnn export."""

import re
from pathlib import Path

import click

from arraycnn.cli import options, user_code
from arraycnn.cli.classifiers import load_model
from arraycnn.cli.console import show, show_json
from arraycnn.errors import InvalidValueError
from arraycnn.export import export_onnx, export_safetensors, export_torch
from arraycnn.export.safetensors import to_safetensors
from arraycnn.model.model import Model
from arraycnn.networks.user_code import UserCode

# For each format: what writes it, and the endings of its files, the one that is named first.
FORMATS = {
    "onnx": (export_onnx, (".onnx",)),
    "safetensors": (export_safetensors, (".safetensors",)),
    "torch": (export_torch, (".py", ".safetensors")),
}


@click.command()
@click.argument("model", type=options.UserPath())
@click.option(
    "--format",
    "kind",
    type=click.Choice(list(FORMATS)),
    required=True,
    help="torch is a Python file that defines the module, and its weights as safetensors.",
)
@click.option("--out", type=options.UserPath(), help="[default: beside MODEL]")
@user_code.code
@options.force
@options.as_json
@options.debug
def export(
    model: Path, kind: str, out: Path | None, code: UserCode, force: bool, as_json: bool
) -> None:
    """Write MODEL, a file that train saved, for other programs.

    ONNX takes the same images as predict and gives probabilities. The PyTorch module takes them
    channels first and gives logits.
    """
    write, endings = FORMATS[kind]
    trained = load_model(model, "numpy", code)
    out = _beside(model, endings[0]) if out is None else out
    files = [out, *(out.with_suffix(ending) for ending in endings[1:])]
    check_free([file for file in files if not _holds_weights(file, trained)], force)
    write(trained, out)
    if as_json:
        show_json({"model": str(model), "format": kind, "files": [str(file) for file in files]})
        return
    for file in files:
        show(f"wrote {file}, {file.stat().st_size:,} bytes")


def check_free(files: list[Path], force: bool) -> None:
    """Refuse to write over a file, unless ``force``."""
    taken = [str(file) for file in files if file.exists()]
    if taken and not force:
        message = f"{', '.join(taken)}: exists already; choose another --out, or add --force"
        raise InvalidValueError(message)


def _holds_weights(file: Path, model: Model) -> bool:
    """Whether ``file`` is that of another format, which stores the same weights."""
    stores = file.suffix == ".safetensors" and file.is_file()
    return stores and file.read_bytes() == to_safetensors(model)


def _beside(model: Path, ending: str) -> Path:
    # Python imports no module with a hyphen or a point in its name.
    stem = re.sub(r"\W|^(?=\d)", "_", model.stem) if ending == ".py" else model.stem
    return model.with_name(stem + ending)
