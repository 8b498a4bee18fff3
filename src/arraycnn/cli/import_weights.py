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
from arraycnn.export.safetensors_import import scaling_of
from arraycnn.layers import Layer, Rescale
from arraycnn.layers.config import network_from_config
from arraycnn.losses import Loss
from arraycnn.losses.config import loss_from_config
from arraycnn.model.model import Model
from arraycnn.networks import NETWORKS
from arraycnn.storage.user_paths import user_path


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


class ByChannel(click.ParamType):
    """0.1307, or 0.485,0.456,0.406: a number for each channel."""

    name = "X[,Y,Z]"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | tuple[float, ...]:
        try:
            numbers = tuple(map(float, str(value).strip("()[] ").split(",")))
        except ValueError:
            self.fail(f"must be a number, or one for each channel as 0.4,0.5,0.6, got {value}")
        return numbers[0] if len(numbers) == 1 else numbers


@click.command("import")
@click.argument("weights", type=options.UserPath())
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
@click.option(
    "--mean",
    type=ByChannel(),
    help="Of the Normalize that the weights were trained behind; with --std. Pixels enter as "
    "(x / 255 - mean) / std.  [default: the network's own, x / 255 - 0.5 of a named one]",
)
@click.option("--std", type=ByChannel(), help="With --mean; 1 where it was only subtracted.")
@click.option("--out", type=options.UserPath(), help="[default: WEIGHTS with .npz]")
@options.force
@options.as_json
@options.debug
def import_weights(
    weights: Path,
    network: str | None,
    input_shape: tuple[int, ...] | None,
    classes: int | None,
    rename: tuple[tuple[str, str], ...],
    mean: float | tuple[float, ...] | None,
    std: float | tuple[float, ...] | None,
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
    if (mean is None) != (std is None):
        message = "import: --mean and --std go together; where one was not used give 0 or 1 for it"
        raise InvalidValueError(message)
    scaling = None if mean is None or std is None else Rescale(mean, std)
    layer, shape, names, loss = _described(network, input_shape or (28, 28), classes or 10)
    model = import_safetensors(
        *(weights, layer, shape),
        class_names=names,
        rename=dict(rename),
        scaling=scaling,
        loss=loss,
    )
    out = weights.with_suffix(".npz") if out is None else out
    check_free([out], force)
    model.save(out)
    if as_json:
        count = sum(array.size for array in model.parameters.values())
        described = {"weights": str(weights), "model": str(out), "parameters": count}
        show_json({**described, "pixels": _pixels(model)})
        return
    for line in model.summary().splitlines():
        show(line)
    unsaid = scaling is None and network is not None
    more = "; were the weights trained behind another Normalize, give its --mean and --std"
    show(f"pixels enter as {_pixels(model)}{more if unsaid else ''}")
    show(f"wrote {out}")


def _pixels(model: Model) -> str:
    """What the network makes of a pixel, in words."""
    scaling = scaling_of(model.network)
    if scaling is None:
        return "floating numbers, as they are"
    if scaling.is_plain:
        return "x / 255 - 0.5"
    return f"(x / 255 - {scaling.mean}) / {scaling.std}"


def _described(
    network: str | None, input_shape: tuple[int, ...], classes: int
) -> tuple[Layer | None, Sequence[int] | None, Sequence[str] | None, Loss | None]:
    """Network, input shape, class names and loss that ``--network`` stands for."""
    if network is None:
        return None, None, None, None
    if network in NETWORKS:
        return NETWORKS[network](classes), input_shape, None, None
    file = user_path(network)
    if file.suffix != ".json":
        model = Model.load(file)
        return model.network, model.input_shape, model.class_names, model.loss
    try:
        about = json.loads(file.read_bytes())
        return (
            network_from_config(about["network"]),
            about["input_shape"],
            about.get("class_names"),
            loss_from_config(about["loss"]) if "loss" in about else None,
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
