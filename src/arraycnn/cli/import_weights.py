"""arraycnn import."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from arraycnn.cli import options
from arraycnn.cli.console import show, show_json
from arraycnn.cli.export import check_free
from arraycnn.errors import CheckpointError, InvalidValueError
from arraycnn.export import import_safetensors
from arraycnn.layers import Layer
from arraycnn.layers.config import network_from_config
from arraycnn.model import Model
from arraycnn.networks import NETWORKS


class ImageShape(click.ParamType):
    """28x28 or 32x32x3: rows, columns, and channels where they are not one."""

    name = "HxW[xC]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        sizes = str(value).split("x")
        if len(sizes) not in (2, 3) or not all(size.isdecimal() and int(size) for size in sizes):
            self.fail(f"must be rows x columns, or x channels too, such as 28x28, got {value}")
        return tuple(map(int, sizes))


class Renaming(click.ParamType):
    """conv1=1: the name of a module in the file, and the path of a layer."""

    name = "OLD=NEW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        old, equals, new = str(value).partition("=")
        if not old or not equals:
            self.fail(f"must be OLD=NEW, such as conv1=1, got {value}")
        return old, new


@click.command("import")
@click.argument("weights", type=click.Path(path_type=Path))
@click.option(
    "--network",
    help=f"What the weights belong to: {', '.join(NETWORKS)}, a model file that train saved, or a "
    "JSON file with network and input_shape.  [default: what export wrote into WEIGHTS]",
)
@click.option(
    "--input-shape",
    type=ImageShape(),
    metavar="HxW[xC]",
    help="Of a named network's images.  [default: 28x28]",
)
@click.option("--classes", type=click.IntRange(min=1), help="Of a named network.  [default: 10]")
@click.option(
    "--rename",
    type=Renaming(),
    multiple=True,
    help="A module's name in WEIGHTS and the layer's path, such as conv1=1; once for each.",
)
@click.option("--out", type=click.Path(path_type=Path), help="[default: WEIGHTS with .npz]")
@options.force
@options.as_json
@options.debug
def import_weights(
    weights: Path,
    network: str | None,
    input_shape: tuple[int, ...] | None,
    classes: int | None,
    rename: tuple[tuple[str, str], ...],
    out: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    """Make a model file of WEIGHTS, a safetensors file of export or of a PyTorch module.

    The module must have the layers of the network, and its tensors PyTorch's own layouts.
    """
    if network not in NETWORKS and (input_shape is not None or classes is not None):
        message = "import: --input-shape and --classes belong to a named network; leave them out"
        raise InvalidValueError(message)
    layer, shape, names = _described(network, input_shape or (28, 28), classes or 10)
    model = import_safetensors(weights, layer, shape, class_names=names, rename=dict(rename))
    out = weights.with_suffix(".npz") if out is None else out
    check_free([out], force)
    model.save(out)
    if as_json:
        count = sum(array.size for array in model.parameters.values())
        show_json({"weights": str(weights), "model": str(out), "parameters": count})
        return
    show(model.summary())
    show(f"wrote {out}")


def _described(
    network: str | None, input_shape: tuple[int, ...], classes: int
) -> tuple[Layer | None, Sequence[int] | None, Sequence[str] | None]:
    """Network, input shape and class names that ``--network`` stands for."""
    if network is None:
        return None, None, None
    if network in NETWORKS:
        return NETWORKS[network](classes), input_shape, None
    if Path(network).suffix != ".json":
        model = Model.load(network)
        return model.network, model.input_shape, model.class_names
    try:
        about = json.loads(Path(network).read_bytes())
        return (
            network_from_config(about["network"]),
            about["input_shape"],
            about.get("class_names"),
        )
    except CheckpointError as error:
        message = f"network file {network}: {error}"
        raise CheckpointError(message) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = (
            f"network file {network}: must hold network and input_shape as a model file's header "
            f"has them ({type(error).__name__}: {error})"
        )
        raise CheckpointError(message) from error
