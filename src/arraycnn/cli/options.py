"""Options that several commands share, and the kinds of numbers they take."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from arraycnn.backends import BACKENDS
from arraycnn.data import DATASETS


class FiniteFloat(click.ParamType):
    """A finite number of at least ``minimum``: no nan, no inf."""

    name = "number"

    def __init__(self, minimum: float = 0.0, below: float = math.inf, strict: bool = False) -> None:
        self.minimum, self.below, self.strict = minimum, below, strict

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            self.fail(f"{value!r} is not a number", param, ctx)
        if not math.isfinite(number):
            self.fail(f"must be finite, got {value}", param, ctx)
        if number < self.minimum or (self.strict and number == self.minimum):
            bound = "above" if self.strict else "at least"
            self.fail(f"must be {bound} {self.minimum:g}, got {value}", param, ctx)
        if number >= self.below:
            self.fail(f"must be below {self.below:g}, got {value}", param, ctx)
        return number


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

dataset: Decorator = click.option(
    "--dataset", type=click.Choice(DATASETS), default="digits", show_default=True
)
data_dir: Decorator = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    help="Folder with the data set's IDX files; without it, ARRAYCNN_DATA, the cache, a download.",
)
backend: Decorator = click.option(
    "--backend",
    type=click.Choice(["auto", *BACKENDS]),
    default="auto",
    show_default=True,
    help="auto is cupy where a CUDA device works, else numpy.",
)
limit: Decorator = click.option(
    "--limit", type=click.IntRange(min=1), help="Use only the first N training and test images."
)
force: Decorator = click.option(
    "--force", is_flag=True, help="Write over files that exist already."
)
as_json: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON value on stdout and nothing else there."
)
debug: Decorator = click.option(
    "--debug", is_flag=True, expose_value=False, help="Show a traceback with an error."
)
