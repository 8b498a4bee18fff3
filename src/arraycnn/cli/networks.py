"""Networks on the command line: by name, or of a user's own file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from arraycnn.cli.options import Decorator
from arraycnn.cli.user_code import nothing_on_stdout, run_code
from arraycnn.layers import Layer
from arraycnn.networks import NETWORKS, PIXEL_NETWORKS, listing
from arraycnn.networks.arguments import build, nearest
from arraycnn.networks.user_code import UserCode, network_of

Texts = Sequence[tuple[str, str]]
"""(name, value) of each --network-arg."""

OF_A_FILE = "FILE.py:FUNCTION"


@dataclass(frozen=True)
class ChosenNetwork:
    """A function that builds a network, and the code that it is of.

    Attributes
    ----------
    name : str
        As it was given: resnet20, or net.py:build.
    code : UserCode
        Empty for a named network.
    """

    name: str
    code: UserCode = field(default_factory=UserCode)

    @property
    def function(self) -> str:
        """The name of the function."""
        return self.name.rpartition(":")[2]

    def build(self, texts: Texts, **known: Any) -> Layer:
        """The network for what is known of its images, with further arguments as text."""
        if self.code.sha256 is None:
            function = (NETWORKS | PIXEL_NETWORKS)[self.name]
            layer: Layer = build(function, f"network {self.name}", known, texts)
            return layer
        with nothing_on_stdout():
            return network_of(self.code, self.function, known, texts)


def choose(name: str, layers: Path | None = None) -> ChosenNetwork:
    """The network of ``name``, whose file is run where it is of one; ``layers`` where given instead."""
    file = file_of(name) if layers is None else str(layers)
    return ChosenNetwork(name, run_code(file) if file else UserCode())


def file_of(name: str) -> str:
    """The file of FILE.py:FUNCTION, or nothing where ``name`` is no such thing."""
    file, _, function = name.rpartition(":")
    return file if file.endswith(".py") and function else ""


class NetworkName(click.ParamType):
    """The name of a network, or a function of a file of the user's own."""

    name = f"NAME|{OF_A_FILE}"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        name = str(value)
        if name in NETWORKS or name in PIXEL_NETWORKS:
            return name
        if not file_of(name):
            self.fail(not_a_network(name), param, ctx)
        if comes_from_a_run(param, ctx):
            self.fail(
                f"the run is of {name}, whose code is run only where the command names it; "
                f"add --network {name}",
                param,
                ctx,
            )
        return name


def not_a_network(name: str) -> str:
    """What is wrong with ``name``, in words."""
    if name.endswith(".py"):
        return f"{name!r} names no function; write {name}:FUNCTION, such as {name}:build"
    close = nearest(name, NETWORKS)
    return f"{name!r} is none of {listing(NETWORKS)}, and no {OF_A_FILE}{close}"


def comes_from_a_run(param: click.Parameter | None, ctx: click.Context | None) -> bool:
    """Whether an option has its value from the run that is resumed."""
    if ctx is None or param is None or param.name is None:
        return False
    return ctx.get_parameter_source(param.name) is ParameterSource.DEFAULT_MAP


class NetworkArgument(click.ParamType):
    """NAME=VALUE, for the function that builds a network."""

    name = "NAME=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, text = str(value).partition("=")
        if not equals or not name.isidentifier():
            self.fail(f"must be NAME=VALUE, such as width=32, got {value!r}", param, ctx)
        return name, text


network: Decorator = click.option(
    "--network",
    type=NetworkName(),
    metavar=f"NAME|{OF_A_FILE}",
    default="basic",
    show_default=True,
    help=f"{listing(NETWORKS)}; or {OF_A_FILE}, your own: the file is run, and the function called "
    "with classes= and input_shape=, of these what it takes.",
)
network_arg: Decorator = click.option(
    "--network-arg",
    type=NetworkArgument(),
    multiple=True,
    help="An argument of the function that builds the network, such as width=32; once for each.",
)


def named_again(config: Mapping[str, Any]) -> str:
    """What a command adds to go on with the run of ``config``: a user's file is run where named."""
    if config.get("network_sha256") is None:
        return ""
    layers = config.get("layers")
    return f" --layers {layers}" if layers else f" --network {config['network']}"
