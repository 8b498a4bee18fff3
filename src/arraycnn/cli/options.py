"""Options that several commands share, and the kinds of numbers they take."""

import math
import os
import re
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from arraycnn.backends import BACKENDS, Backend, get_backend
from arraycnn.cli.tables import FORMATS
from arraycnn.data import DATASETS
from arraycnn.ops.cuda.record import PRECISIONS
from arraycnn.storage.user_paths import user_path


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


class UserPath(click.Path):
    """A path, in which ``~`` stands for a home folder; see `user_path`."""

    def __init__(self, dir_okay: bool = True) -> None:
        super().__init__(path_type=Path, dir_okay=dir_okay)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(user_path(value), param, ctx)


class DataSetName(click.ParamType):
    """The name of a known set, or the path of one of the user's own."""

    name = "NAME|PATH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value not in DATASETS and not os.path.exists(user_path(value)):
            known = ", ".join(DATASETS)
            if ctx is not None and param is not None and param.name is not None:
                source = ctx.get_parameter_source(param.name)
                if source is ParameterSource.DEFAULT_MAP:
                    message = (
                        f"the run to resume was trained on {value}, which is gone; say where it is "
                        "now with --dataset"
                    )
                    self.fail(message, param, ctx)
            self.fail(f"{value!r} is not one of {known}, and no such path exists", param, ctx)
        # As it was given, but for ~: ./mnist is no published set.
        return str(user_path(value)) if value.startswith("~") else value


class ImageSize(click.ParamType):
    """HEIGHTxWIDTH, one number for a square, HEIGHTxWIDTHxCHANNELS."""

    name = "HxW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        if isinstance(value, tuple):
            return value
        parts = str(value).lower().split("x")
        if not all(re.fullmatch("[1-9][0-9]{0,4}", part) for part in parts) or len(parts) > 3:
            self.fail(f"must be a size such as 32x32, got {value!r}", param, ctx)
        sizes = tuple(int(part) for part in parts)
        if len(sizes) == 3 and sizes[2] not in (1, 3):
            self.fail(f"pictures have 1 or 3 channels, got {sizes[2]}", param, ctx)
        return sizes * 2 if len(sizes) == 1 else sizes


Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

dataset: Decorator = click.option(
    "--dataset",
    type=DataSetName(),
    default="digits",
    show_default=True,
    help=f"{', '.join(DATASETS)}; or the path of your own: a folder with one subfolder of pictures "
    "a class, an .npz with images and labels, IDX files, CSV, CIFAR (docs/DATA.md).",
)
image_size: Decorator = click.option(
    "--image-size",
    type=ImageSize(),
    help="Stretch pictures of your own to this size, such as 32x32 or 32x32x1 for grey.",
)
data_dir: Decorator = click.option(
    "--data-dir",
    type=UserPath(),
    help="Folder with the data set's IDX files; without it, ARRAYCNN_DATA, the cache, a download.",
)
skip_damaged: Decorator = click.option(
    "--skip-damaged", is_flag=True, help="Leave pictures out that cannot be read, and count them."
)
seed: Decorator = click.option(
    "--seed", type=click.IntRange(min=0, max=2**64 - 1), default=0, show_default=True
)
limit: Decorator = click.option(
    "--limit",
    type=click.IntRange(min=1),
    help="Use at most N training and N test images, drawn within classes by the seed.",
)
force: Decorator = click.option(
    "--force", is_flag=True, help="Write over files that exist already."
)
as_json: Decorator = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON value on stdout and nothing else there."
)
top: Decorator = click.option(
    "--top", type=click.IntRange(min=1), help="Show the K most likely classes.", metavar="K"
)
table_format: Decorator = click.option(
    "--format",
    "table_format",
    type=click.Choice(FORMATS),
    default="text",
    show_default=True,
    help="A line an image, as text, CSV or JSON; or one JSON list.",
)
output: Decorator = click.option(
    "--output",
    type=UserPath(dir_okay=False),
    help="Write the lines to this file instead of stdout.",
)
threshold: Decorator = click.option(
    "--threshold",
    type=FiniteFloat(0.0, below=1.0),
    metavar="P",
    help="Of several labels an image, the probability above which it has one.  [default: 0.5]",
)
debug: Decorator = click.option(
    "--debug", is_flag=True, expose_value=False, help="Show a traceback with an error."
)

_SETTINGS = {  # each of one backend, which its help names
    "device": click.option("--device", type=click.IntRange(min=0), help="cupy: number of the GPU."),
    "precision": click.option(
        "--precision",
        type=click.Choice(PRECISIONS),
        help="cupy: what matrix products multiply with; fp32 unless said.",
    ),
    "graph": click.option(
        "--graph/--no-graph", default=None, help="cupy: record training steps as a CUDA graph."
    ),
    "threads": click.option(
        "--threads", type=click.IntRange(min=1), help="numpy: one for each core unless said."
    ),
    "fast": click.option(
        "--fast/--no-fast",
        default=None,
        help="numpy: compiled kernels, as where llvmlite is installed.",
    ),
}
_OF_NUMPY = ("threads", "fast")


def backend(command: Callable[..., Any]) -> Callable[..., Any]:
    """--backend and the backends' settings; the command is given ``backend``, a `Backend`."""

    @wraps(command)
    def with_backend(*args: Any, backend: str, **options: Any) -> Any:
        settings = {name: options.pop(name) for name in _SETTINGS}
        return command(*args, backend=_backend_value(backend, settings), **options)

    for option in reversed(_SETTINGS.values()):
        with_backend = option(with_backend)
    return click.option(
        "--backend",
        type=click.Choice(["auto", *BACKENDS]),
        default="auto",
        show_default=True,
        help="auto is cupy where a CUDA device works, else numpy.",
    )(with_backend)


def _backend_value(name: str, settings: dict[str, Any]) -> Backend:
    given = {}
    for setting, value in settings.items():
        owner = "numpy" if setting in _OF_NUMPY else "cupy"
        if value is None:
            continue
        if name == owner:
            given[setting] = value
        elif not is_remembered(setting):
            message = f"--{setting}: is a setting of --backend {owner}, got --backend {name}"
            raise click.UsageError(message)
    return get_backend(BACKENDS[name](**given) if given else name)


def is_remembered(setting: str) -> bool:
    """Whether it comes from the run that is resumed, and the command line has another of its kind."""
    source = click.get_current_context().get_parameter_source(setting)
    return source is ParameterSource.DEFAULT_MAP
