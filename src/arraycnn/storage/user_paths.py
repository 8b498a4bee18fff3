"""What a path that a user gave stands for: the one place where ``~`` is looked at.

A shell expands ``~/digits`` but not ``--out=~/digits``, and neither does a program, a Dockerfile or
a list of files; every way in that takes a path from a user therefore takes it through here.
"""

import glob
import os
from pathlib import Path


def user_path(path: str | os.PathLike[str]) -> Path:
    """``path`` with a first part ``~`` or ``~user`` replaced by that home folder.

    As in a shell, ``~`` stands for a home folder only where it begins the path, and stays where
    there is no such user. Something really called ``~`` is reached as the text ``./~``; a
    `pathlib.Path` leaves out the ``./``, so there it takes an absolute path.

    What is returned never begins with ``~``: given to this function again, it stays as it is.
    """
    # os.path's, as Path.expanduser raises for a user that does not exist.
    found = Path(os.path.expanduser(path))
    return Path.cwd() / found if found.parts[:1] and found.parts[0].startswith("~") else found


def user_pattern(pattern: str) -> str:
    """A pattern of `glob`, with ``~`` as in `user_path`; a home folder's own name is no pattern."""
    first, separator, rest = pattern.partition("/")
    home = os.path.expanduser(first)
    return (glob.escape(home) if home != first else first) + separator + rest
