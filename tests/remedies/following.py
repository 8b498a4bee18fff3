"""What a case of a remedy is, and what it works with."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from traceback import walk_tb
from typing import Any

import numpy as np
import pytest

from arraycnn.errors import ArraycnnError
from remedies.listing import SOURCE, Remedy

CASES: dict[Remedy, Callable[["Here"], None]] = {}
"""For each remedy what follows it."""


def follows(file: str, words: str) -> Callable[[Callable], Callable]:
    """Registers a case, a function of a `Here`, as the one that does what these words say."""

    def register(case: Callable[["Here"], None]) -> Callable[["Here"], None]:
        remedy = Remedy(file, words)
        assert remedy not in CASES, remedy
        CASES[remedy] = case
        return case

    return register


@dataclass
class Here:
    """A folder of the case's own, the command line, and whether the remedy has been seen.

    Attributes
    ----------
    cli : function
        Runs a command in this process: (exit code, stdout, lines on stderr).
    """

    remedy: Remedy
    path: Path
    cli: Callable[..., tuple[int, str, list[str]]]
    patch: pytest.MonkeyPatch
    log: pytest.LogCaptureFixture
    seen: list[str] = field(default_factory=list)

    @contextmanager
    def refused(self, by: str | None = None) -> Iterator[None]:
        """The block must end with an error of the family, with these words.

        It must come from the file ``by``, which is the one with the words unless said.
        """
        with pytest.raises(ArraycnnError) as info:
            yield
        assert SOURCE / (by or self.remedy.file) in _files(info.value)
        self._see(str(info.value))

    def refused_command(self, *arguments: Any) -> str:
        """The command must end with code 2 and these words; what it said."""
        code, _, lines = self.cli(*arguments)
        assert code == 2, (code, lines)
        return self._see("\n".join(lines))

    def told_command(self, *arguments: Any) -> str:
        """The command must end well, or stopped, and say these words on the way."""
        code, _, lines = self.cli(*arguments)
        assert code in (0, 1), (code, lines)
        return self._see("\n".join(lines))

    def accepted_command(self, *arguments: Any) -> str:
        """The command must end well, with nothing of these words; its output."""
        code, out, lines = self.cli(*arguments)
        assert code == 0, (code, lines)
        assert not re.search(self.remedy.pattern(), "\n".join(lines))
        return out

    @contextmanager
    def told(self) -> Iterator[None]:
        """The block must end well, and these words be logged."""
        self.log.clear()
        yield
        self._see(self.log.text)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """The block must end well, and these words not be logged."""
        self.log.clear()
        yield
        assert not re.search(self.remedy.pattern(), self.log.text)

    @property
    def message(self) -> str:
        """The last message with the remedy."""
        return self.seen[-1]

    def done_as_told(self, before: str, **names: Any) -> Any:
        """The value of the expression in the last message, between ``before`` and a comma."""
        code = self.message.rpartition(before)[2].rpartition(", or ")
        return eval(code[0] or code[2], {"numpy": np, **names})

    def _see(self, text: str) -> str:
        assert re.search(self.remedy.pattern(), text), text
        self.seen.append(text)
        return text


def _files(error: BaseException | None) -> set[Path]:
    """The files that raised ``error``, or the error which it puts in its own words."""
    files = set()
    while error is not None:
        files |= {Path(frame.f_code.co_filename) for frame, _ in walk_tb(error.__traceback__)}
        error = error.__cause__ or error.__context__
    return files
