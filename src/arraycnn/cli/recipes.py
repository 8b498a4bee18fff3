"""``--recipe``: a named set of options; what the command line has beside it overrides them."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import click
from click.core import ParameterSource

from arraycnn.cli import options


@dataclass(frozen=True)
class Recipe:
    """What for, in a few words, and options of ``arraycnn train`` as one types them."""

    about: str
    options: str


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "best-mnist": Recipe(
            "the fewest errors on MNIST below 500,000 parameters",
            "--dataset mnist --network strided_cnn --validation 0 --epochs 30 --batch-size 64 "
            "--optimizer adamw --learning-rate 0.003 --ema 0.999 "
            "--augment affine=15,scale=0.85:1.15,shear=10,translate=0.1",
        ),
        "fast-mnist": Recipe(
            "99 % on MNIST in seconds",
            "--dataset mnist --network fast_cnn --validation 0 --epochs 2 --batch-size 256 "
            "--optimizer adamw --learning-rate 0.01",
        ),
        "cifar": Recipe(
            "CIFAR-10 or -100, whose folder is --dataset PATH",
            "--network resnet20 --epochs 60 --batch-size 128 --optimizer adamw --learning-rate 0.005 "
            "--no-decay --label-smoothing 0.1 --ema 0.999 --augment flip --augment crop "
            "--augment cutout",
        ),
        "fashion": Recipe(
            "Fashion-MNIST, or a part of it by --data-dir",
            "--dataset fashion-mnist --network fast_cnn --validation 0 --epochs 150 --batch-size 32 "
            "--optimizer adamw --learning-rate 0.003 --label-smoothing 0.1 --ema 0.99 "
            "--augment affine=5,scale=0.95:1.05,translate=0.04 --augment erasing=0.5",
        ),
        "small-data": Recipe(
            "a folder with some 50 pictures a class, which may be mirrored: --dataset PATH",
            "--network resnet8 --epochs 60 --batch-size 16 --optimizer adamw --learning-rate 0.003 "
            "--no-decay --label-smoothing 0.1 --augment flip "
            "--augment affine=15,scale=0.85:1.15,translate=0.1,fill=edge "
            "--augment brightness --augment contrast",
        ),
    }
)


def take_recipe(context: click.Context, _: click.Parameter, name: str | None) -> str | None:
    """Callback of the option: what the command line leaves out is as the recipe has it."""
    if name is not None and context.params.get("resume") is None:
        context.default_map = defaults(context.command, RECIPES[name])
    return name


def own_rate(context: click.Context, _: click.Parameter, rate: float | None) -> float | None:
    """Callback of --learning-rate: a recipe's is of its optimizer, another one has its usual rate."""
    is_given = context.get_parameter_source("learning_rate") is not ParameterSource.DEFAULT_MAP
    if is_given or context.params.get("resume") is not None:
        return rate
    is_its = context.params["optimizer"] == (context.default_map or {}).get("optimizer")
    return rate if is_its else None


recipe: options.Decorator = click.option(
    "--recipe",
    type=click.Choice(list(RECIPES)),
    callback=take_recipe,
    help="A set of options, of which those given here override any: "
    + "; ".join(f"{name}: {one.about}" for name, one in RECIPES.items()),
)
show: options.Decorator = click.option(
    "--show", is_flag=True, help="Print the options of --recipe, and what overrides them; no more."
)


def defaults(command: click.Command, recipe: Recipe) -> dict[str, Any]:
    """The recipe's options by the names of the command's parameters, as text."""
    known = {option: one for one in command.params for option in one.opts}
    found: dict[str, Any] = {}
    words = iter(shlex.split(recipe.options))
    for word in words:
        one = known[word]
        assert one.name is not None
        is_flag = isinstance(one, click.Option) and one.is_flag
        value = True if is_flag else next(words)
        found[one.name] = [*found.get(one.name, []), value] if one.multiple else value
    return found


def in_full(context: click.Context, config: dict[str, Any]) -> str:
    """The command without its recipe: ``config`` has the options' values, of which some are usual."""
    from arraycnn.report.run import command_of  # a training need not wait for reports

    said = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)
    names = [one.name or "" for one in context.command.params if one.name != "recipe"]
    return command_of(
        {n: config[n] for n in names if n in config and context.get_parameter_source(n) in said}
    )


def check_alone(context: click.Context) -> None:
    """Refuse a recipe beside a run, which has its own settings, or without the data that it is for.

    And --show without a recipe.

    Raises click.UsageError.
    """
    given = context.params
    source = context.get_parameter_source("recipe")
    if given["resume"] is not None and source is ParameterSource.COMMANDLINE:
        message = "--recipe and --resume exclude each other: a run goes on with its own settings"
        raise click.UsageError(message)
    of_nothing = context.get_parameter_source("dataset") is ParameterSource.DEFAULT
    if given["recipe"] is not None and of_nothing and not given["show"]:
        about = RECIPES[given["recipe"]].about
        message = f"--recipe {given['recipe']} is for {about}, which is missing"
        raise click.UsageError(message)
    if given["show"] and given["recipe"] is None:
        message = f"--show needs --recipe, one of {', '.join(RECIPES)}"
        raise click.UsageError(message)
