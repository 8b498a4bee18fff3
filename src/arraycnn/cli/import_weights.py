"""arraycnn import."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from arraycnn.cli import networks, options, user_code
from arraycnn.cli.classifiers import load_model
from arraycnn.cli.console import show, show_json
from arraycnn.cli.export import check_free
from arraycnn.cli.networks import OF_A_FILE, Texts, choose, file_of, not_a_network
from arraycnn.cli.user_code import naming_the_option
from arraycnn.errors import CheckpointError, InvalidValueError, UnknownClassError
from arraycnn.export.checkpoint_keys import KnownCheckpoint
from arraycnn.export.known_checkpoints import known_checkpoint
from arraycnn.export.safetensors_import import model_of_weights, renamed, scaling_of
from arraycnn.export.weights_file import WeightsFile, read_weights
from arraycnn.layers import Layer, Rescale
from arraycnn.layers.config import network_from_config
from arraycnn.losses import Loss, SoftmaxCrossEntropy
from arraycnn.losses.config import loss_from_config
from arraycnn.model.model import Model
from arraycnn.networks import NETWORKS, PIXEL_NETWORKS, listing
from arraycnn.networks.user_code import UserCode
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
    help=f"What the weights belong to: {listing(NETWORKS | PIXEL_NETWORKS)}; {OF_A_FILE}, your own, "
    "whose file is run; a model file that train saved, or a JSON file with network and input_shape.  "
    "[default: what export wrote into WEIGHTS, or what its keys are of]",
)
@networks.network_arg
@user_code.code
@click.option(
    "--input-shape",
    type=ImageShape(),
    metavar="HxW[xC]",
    help="Of a named network's images.  [default: 28x28; what its keys are of: as in its training]",
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
    "(x / 255 - mean) / std.  [default: the network's own, x / 255 - 0.5 of a named one; what "
    "torchvision, or another project whose keys these are, trains behind]",
)
@click.option("--std", type=ByChannel(), help="With --mean; 1 where it was only subtracted.")
@click.option("--out", type=options.UserPath(), help="[default: WEIGHTS with .npz]")
@options.force
@options.as_json
@options.debug
def import_weights(
    weights: Path,
    network: str | None,
    network_arg: Texts,
    code: UserCode,
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

    Weights of torchvision (resnet18/34/50, vgg11/13/16 with batch norm or without), and the usual
    ones for CIFAR (resnet20/32/44/56, VGG), are known by their keys. Another module must have the
    layers of the network, and its tensors PyTorch's own layouts.
    """
    described: _Described | None = None
    if network is not None and not _is_named(network):
        # What --network stands for is looked at before the weights are read.
        _check_settings(network, None, network_arg, input_shape, classes)
        described = _described(network, network_arg, input_shape or (28, 28), classes or 10, code)
    held = renamed(read_weights(weights), dict(rename))
    known = _known(held, network)
    if described is None:
        _check_settings(network, known, network_arg, input_shape, classes)
    if (mean is None) != (std is None):
        message = "import: --mean and --std go together; where one was not used give 0 or 1 for it"
        raise InvalidValueError(message)
    scaling = None if mean is None or std is None else Rescale(mean, std)
    if known is not None:
        described = (network, input_shape, None, None)
    elif described is None:
        described = _described(network, network_arg, input_shape or (28, 28), classes or 10, code)
    layer, shape, names, loss = described
    with naming_the_option(code):
        model = model_of_weights(
            *(held, layer, shape),
            class_names=names,
            scaling=scaling,
            layers=code.layers,
            loss=loss,
            losses=code.losses,
        )
    out = weights.with_suffix(".npz") if out is None else out
    check_free([out], force)
    model.save(out)
    if as_json:
        count = sum(array.size for array in model.parameters.values())
        written = {"weights": str(weights), "model": str(out), "parameters": count}
        title = None if known is None else known.title
        show_json({**written, "checkpoint": title, "pixels": _pixels(model)})
        return
    if known is not None:
        show(f"weights of {known.title}, {model.classes} classes")
    for line in model.summary().splitlines():
        show(line)
    unsaid = scaling is None and (network is not None or known is not None)
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


_Described = tuple[Layer | str | None, Sequence[int] | None, Sequence[str] | None, Loss | None]
"""Network, input shape, class names and loss."""


def _is_named(network: str | None) -> bool:
    return network in NETWORKS or network in PIXEL_NETWORKS


def _known(weights: WeightsFile, network: str | None) -> KnownCheckpoint | None:
    """What the keys are of, where that says or decides what ``--network`` stands for."""
    if _is_named(network) or (network is None and not weights.describes_itself):
        return known_checkpoint(weights)
    return None


def _check_settings(
    network: str | None,
    known: KnownCheckpoint | None,
    texts: Texts,
    input_shape: tuple[int, ...] | None,
    classes: int | None,
) -> None:
    """Refuse settings of a network that has its own."""
    if known is not None and (texts or classes is not None):
        message = (
            "import: --network-arg and --classes are told by the weights, of "
            f"{known.title}; leave them out"
        )
        raise InvalidValueError(message)
    if known is not None or _is_named(network) or file_of(network or ""):
        return
    if input_shape is not None or classes is not None or texts:
        message = (
            "import: --input-shape, --classes and --network-arg belong to a named network; "
            "leave them out"
        )
        raise InvalidValueError(message)


def _described(
    network: str | None, texts: Texts, input_shape: tuple[int, ...], classes: int, code: UserCode
) -> _Described:
    """What ``--network`` stands for."""
    if network is None:
        return None, None, None, None
    if _is_named(network) or file_of(network):
        shape = (*input_shape, 1)[:3]
        layer = choose(network).build(texts, classes=classes, input_shape=shape)
        loss = SoftmaxCrossEntropy(per_pixel=True) if network in PIXEL_NETWORKS else None
        return layer, shape, None, loss
    file = user_path(network)
    if not file.exists():
        message = (
            f"import: --network must be a network, a model file or a JSON file, got {network}, and "
            f"no such path exists: {not_a_network(network)}"
        )
        raise InvalidValueError(message)
    if file.suffix != ".json":
        model = load_model(file, "numpy", code)
        return model.network, model.input_shape, model.class_names, model.loss
    try:
        about = json.loads(file.read_bytes())
        return (
            network_from_config(about["network"], code.layers),
            about["input_shape"],
            about.get("class_names"),
            loss_from_config(about["loss"], code.losses) if "loss" in about else None,
        )
    except UnknownClassError as error:
        with naming_the_option(code):
            raise error.within(f"network file {network}") from error
    except CheckpointError as error:
        message = f"network file {network}: {error}"
        raise CheckpointError(message) from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        message = (
            f"network file {network}: must hold network and input_shape as a model file's header "
            f"has them ({type(error).__name__}: {error})"
        )
        raise CheckpointError(message) from error
