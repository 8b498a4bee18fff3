"""Fine-tuning by ``arraycnn train``: --from, --freeze, --rate-scale, --no-decay."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from arraycnn.backends import Backend
from arraycnn.cli import options
from arraycnn.cli.classifiers import load_model
from arraycnn.cli.networks import comes_from_a_run
from arraycnn.data import DataSet
from arraycnn.errors import InvalidValueError
from arraycnn.layers import Dense, Layer, Sequential
from arraycnn.losses import Loss
from arraycnn.model.model import Model
from arraycnn.model.new_head import with_head
from arraycnn.networks.user_code import UserCode
from arraycnn.optimizers import NO_DECAY, Group, Optimizer, ParameterGroups
from arraycnn.optimizers.parameter_groups import check_patterns
from arraycnn.storage.run_folder import read_config
from arraycnn.tree import flatten


class LayersFile(options.UserPath):
    """A file that is run: only where the command names it, and not since a run has it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if comes_from_a_run(param, ctx):
            self.fail(
                f"the run has layers of {value}, whose code is run only where the command names it; "
                f"add --layers {value}",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


class RateScale(click.ParamType):
    """PATTERN=NUMBER, kept as it is written."""

    name = "PATTERN=X"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        pattern, _, number = str(value).rpartition("=")
        if not pattern:
            self.fail(f"must be a pattern and a number, such as 0=0.1, got {value!r}", param, ctx)
        options.FiniteFloat(0.0, strict=True).convert(number, param, ctx)
        return str(value)


from_model: options.Decorator = click.option(
    "--from",
    "from_model",
    type=options.UserPath(dir_okay=False),
    metavar="MODEL",
    help="Begin with what this model file has learned: all layers but the last, as layer 0, then a "
    "new last layer for the classes of the data, as layer 1.",
)
layers: options.Decorator = click.option(
    "--layers",
    type=LayersFile(),
    metavar="FILE.py",
    help="With --from, the file with the layers of your own that the model has. It is run: a model "
    "file itself never makes code run.",
)
freeze: options.Decorator = click.option(
    "--freeze",
    multiple=True,
    metavar="PATTERN",
    help="Leave parameters as they are whose paths match: with --from, 0 is all but the new layer. "
    "May be given more than once.",
)
rate_scale: options.Decorator = click.option(
    "--rate-scale",
    type=RateScale(),
    multiple=True,
    help="Multiply the learning rate of parameters whose paths match, such as 0=0.1. May be given "
    "more than once.",
)
no_decay: options.Decorator = click.option(
    "--no-decay", is_flag=True, help="No weight decay of biases, and of scales and shifts of norms."
)


@dataclass(frozen=True)
class Tuning:
    """What is different from a training of all parameters at one rate, from the first ones on.

    Attributes
    ----------
    from_model : Path or None
    groups : tuple of Group
    """

    from_model: Path | None
    groups: tuple[Group, ...]

    @classmethod
    def of(cls, given: dict[str, Any]) -> "Tuning":
        """Of the options' values by name."""
        scaled = (text.rpartition("=") for text in given["rate_scale"])
        groups = [
            *(Group(pattern, learning_rate_scale=float(number)) for pattern, _, number in scaled),
            *(Group(pattern, frozen=True) for pattern in given["freeze"]),
            *([NO_DECAY] if given["no_decay"] else []),
        ]
        return cls(given["from_model"], tuple(groups))

    def optimizer(self, optimizer: Optimizer, model: Model) -> Optimizer:
        """``optimizer`` with the groups.

        Raises InvalidValueError where one selects nothing of ``model``, click.UsageError where they
        freeze all of it.
        """
        if not self.groups:
            return optimizer
        grouped, params = ParameterGroups(optimizer, *self.groups), model.trees[0]
        check_patterns(self.groups, params, _option_of)
        if grouped.frozen_paths(params).issuperset(flatten(params)):
            given = " ".join(group.pattern for group in self.groups if group.frozen)
            message = (
                f"--freeze must leave something to train, got {given}, all there is; name less"
            )
            raise click.UsageError(message)
        return grouped

    def digest(self, resumed: Path | None) -> str | None:
        """The SHA-256 of the model file to begin with, or that of the run that is ``resumed``."""
        if resumed is not None:
            return read_config(resumed).get("from_sha256")
        return None if self.from_model is None else _sha256(self.from_model)

    def model(
        self, data: DataSet, backend: Backend, seed: int, loss: Loss, code: UserCode
    ) -> Model:
        """The model to begin with: that of the file, with a new last layer.

        ``code`` has the classes of a user's own that the file may name.
        """
        path = self.from_model
        assert path is not None
        old = load_model(path, backend, code)
        if old.input_shape != tuple(data.image_shape):
            wanted, got = ("x".join(map(str, s)) for s in (old.input_shape, data.image_shape))
            message = (
                f"model file {path}: takes images of {wanted}, {data.name} has {got}; "
                f"stretch pictures with --image-size {wanted}, or choose another --from"
            )
            raise InvalidValueError(message)
        network = old.network
        last = network.layers[-1] if isinstance(network, Sequential) else network
        head = _with_outputs(path, last, len(data.class_names))
        return with_head(old, head, class_names=data.class_names, loss=loss, seed=seed)


def _option_of(group: Group) -> str:
    return (
        "--freeze"
        if group.frozen
        else "--rate-scale"
        if group.learning_rate_scale
        else "--no-decay"
    )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _with_outputs(path: Path, layer: Layer, classes: int) -> Layer:
    """``layer`` with as many outputs as ``classes``."""
    if isinstance(layer, Sequential):
        *before, last = layer.layers
        return Sequential(*before, _with_outputs(path, last, classes))
    if not isinstance(layer, Dense):
        message = (
            f"model file {path}: must end with a Dense layer to be given another, ends with "
            f"{layer!r}; use arraycnn.with_head in Python"
        )
        raise InvalidValueError(message)
    return replace(layer, outputs=classes)
