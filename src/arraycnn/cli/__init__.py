"""The command line: the only place that prints, and where errors become one line.

Exit codes: 0 done, 1 a fault of this program, 2 a user's mistake, 130 interrupted, 143 terminated.
"""

import logging
import sys
import traceback
from collections import UserDict
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from arraycnn.cli.console import OneLine, notice, prepare_streams
from arraycnn.cli.signals import end_on_sigterm
from arraycnn.distributed import MPI
from arraycnn.distributed.failures import end_all
from arraycnn.errors import ArraycnnError


class _Commands(UserDict[str, Any]):
    """Commands by name, each imported when it is asked for: a training waits for no other."""

    def __getitem__(self, name: str) -> click.Command:
        function = self.data[name]  # named as its module
        command: click.Command = getattr(import_module(f"arraycnn.cli.{function}"), function)
        return command


_NAMES = ("train", "evaluate", "predict", "report", "export", "bench", "info")
_FUNCTIONS = {name: name for name in _NAMES}
_FUNCTIONS |= {"import": "import_weights", "find-rate": "find_rate"}


@click.group(
    commands=_Commands(_FUNCTIONS),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="arraycnn")
def cli() -> None:
    """Convolutional networks, one source for every array library."""


def main() -> None:
    """The entry point ``arraycnn``; always ends in SystemExit."""
    prepare_streams()
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(OneLine())
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    debug = "--debug" in sys.argv
    end_on_sigterm()
    try:
        cli.main(prog_name="arraycnn", standalone_mode=False)
    except click.exceptions.Abort:
        _end_ranks("interrupted")
        notice("interrupted")
        sys.exit(130)
    except click.ClickException as error:
        _end_ranks(error.format_message())
        _usage(error)
        sys.exit(2)
    except (ArraycnnError, OSError, MemoryError) as error:
        if debug:
            traceback.print_exc()
        _end_ranks(_describe(error))
        notice(_describe(error))
        sys.exit(2)
    except Exception as error:
        if debug:
            traceback.print_exc()
        _end_ranks(f"internal error, {type(error).__name__}: {error}")
        notice(f"internal error, {type(error).__name__}: {error}; --debug shows where")
        sys.exit(1)
    sys.exit(0)


def _end_ranks(cause: str) -> None:
    """End the ranks of ``--distributed``, with one line; nothing where there is no other.

    What fails before they are joined, all of them may have met: so they are, to tell it once.
    """
    if "--distributed" in sys.argv:
        with suppress(Exception):  # there is no MPI: each tells what it has met
            _ = MPI().communicator
    end_all(cause)


def _usage(error: click.ClickException) -> None:
    hint = ""
    if isinstance(error, click.UsageError) and error.ctx is not None:
        hint = f" ({error.ctx.command_path} --help shows the options)"
    notice(f"{error.format_message()}{hint}")


def _describe(error: Exception) -> str:
    if isinstance(error, OSError) and not isinstance(error, ArraycnnError):
        return f"{error.filename or 'file'}: {error.strerror or error}"
    if isinstance(error, MemoryError) and not isinstance(error, ArraycnnError):
        return f"out of memory ({error}); use smaller batches, or fewer or smaller images"
    return str(error)


__all__ = ["cli", "main"]
