"""Code of a user's own on the command line: run where a command names it, and nowhere else."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Any

import click

from arraycnn.cli import options
from arraycnn.cli.console import notice
from arraycnn.errors import (
    ArraycnnError,
    CheckpointError,
    InvalidValueError,
    RunFolderError,
    UnknownClassError,
)
from arraycnn.networks.user_code import UserCode, failure, run_file
from arraycnn.storage.run_folder import read_config


def code(command: Callable[..., Any]) -> Callable[..., Any]:
    """--layers; the command is given ``code``, what the file defines."""

    @wraps(command)
    def with_code(*args: Any, layers: Path | None, **others: Any) -> Any:
        found = UserCode() if layers is None else run_code(str(layers))
        return command(*args, code=found, **others)

    return click.option(
        "--layers",
        type=options.UserPath(),
        metavar="FILE.py",
        help="The file with the layers of your own that the model has. It is run: a model file "
        "itself never makes code run.",
    )(with_code)


def run_code(file: str) -> UserCode:
    """What the file defines; see `run_file`. What it prints goes to stderr."""
    with nothing_on_stdout():
        return run_file(file)


@contextmanager
def nothing_on_stdout() -> Iterator[None]:
    """What a user's code prints is no result."""
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def naming_the_option(code: UserCode) -> Iterator[None]:
    """Where a file has a class that is not known, say that --layers brings it."""
    try:
        yield
    except UnknownClassError as error:
        has = ", ".join(kind.__name__ for kind in code.layers + code.losses)
        but = f", and {code.path} has {has or 'none'}" if code.sha256 else ""
        message = (
            f"{error.file}: has the {error.what} of somebody's own{but}; name the file that defines "
            "it, which is then run: --layers FILE.py"
        )
        raise CheckpointError(message) from error


def tell_of_other_code(run: Path, code: UserCode) -> None:
    """Say where ``code`` is not what the run in that folder, if it is one, was trained with."""
    try:
        known = read_config(run).get("network_sha256")
    except RunFolderError:  # a model file may lie in any folder
        return
    if None not in (known, code.sha256) and known != code.sha256:
        notice(
            f"{code.path} is not the file that the run in {run} was trained with (their SHA-256 "
            "differ): its layers may compute something else"
        )


@contextmanager
def blaming(code: UserCode) -> Iterator[None]:
    """An error in a user's layers is none of this program."""
    try:
        yield
    except (ArraycnnError, OSError, MemoryError, click.ClickException, click.exceptions.Exit):
        raise
    except Exception as error:
        if code.sha256 is None:
            raise
        message = f"network file {code.path}: {failure(code.path, error)}"
        raise InvalidValueError(message) from error
