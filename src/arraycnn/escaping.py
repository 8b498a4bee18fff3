"""Names are data: of files, folders, classes and runs, whatever is in them. How each output has them.

Machine-readable outputs hold a name exactly; what people read shows what would do something else
there (a line break, a terminal's commands, a change of direction) as Python's escapes.
"""

import codecs
import re
import shlex
import unicodedata

# Letters of some scripts and pictographs are joined by these, which are not printable by themselves.
_JOINERS = "\u200c\u200d"
_FIRST_STRONG, _END = "\u2068", "\u2069"
_ISOLATED = re.compile(f"{_FIRST_STRONG}([^\u2066-\u2069]*){_END}")  # as `isolated` makes it
_RIGHT_TO_LEFT = {"R", "AL", "AN"}

_PLAIN = str.maketrans(
    {
        "\N{NARROW NO-BREAK SPACE}": " ",
        "\N{EN DASH}": "-",
        "\N{RIGHTWARDS ARROW}": "->",
        "\N{MULTIPLICATION SIGN}": "x",
        "\N{MICRO SIGN}": "u",
        "\N{HORIZONTAL ELLIPSIS}": "...",
    }
)


def printable(name: object) -> str:
    """``name`` on one line, without what a terminal or a page would take for a command.

    Control characters, line breaks, marks that change the direction and bytes that are no text become
    Python's escapes, such as \\n, \\x1b, \\u202e and \\udce9. Letters of every script stay.
    """
    text = str(name)
    if text.isprintable():
        return text
    return "".join(
        f"{_FIRST_STRONG}{_escaped(part)}{_END}" if number % 2 else _escaped(part)
        for number, part in enumerate(_ISOLATED.split(text))
    )


def isolated(name: object) -> str:
    """`printable`, and where it is written from right to left, kept from turning what is around it."""
    text = printable(name)
    if any(unicodedata.bidirectional(letter) in _RIGHT_TO_LEFT for letter in text):
        return f"{_FIRST_STRONG}{text}{_END}"
    return text


def shortened(name: object, most: int) -> str:
    """`printable`, of at most ``most`` characters, the last an ellipsis where some were left out."""
    text = printable(name).replace(_FIRST_STRONG, "").replace(_END, "")
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def for_shell(word: str) -> str:
    """``word`` as a shell takes it: quoted, and as $'...' where it could not be copied from a page."""
    if word.isprintable():
        return shlex.quote(word)
    escaped = "".join(
        letter if letter.isprintable() and letter not in "'\\" else _octal(letter)
        for letter in word
    )
    return f"$'{escaped}'"


def _escaped(text: str) -> str:
    return "".join(letter if _is_harmless(letter) else _escape(letter) for letter in text)


def _is_harmless(letter: str) -> bool:
    spaces = unicodedata.category(letter) == "Zs"
    return letter.isprintable() or spaces or letter in _JOINERS


def _escape(letter: str) -> str:
    return letter.encode("unicode_escape").decode()


def _octal(letter: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in letter.encode("utf-8", EXACT))


EXACT = "arraycnn-exact"
"""An error handler: bytes of a file name that are no text are written as these bytes."""

PLAIN = "arraycnn-plain"
"""An error handler: what an encoding lacks is written as something like it, else as its escape."""


def _exact(error: UnicodeError) -> tuple[bytes | str, int]:
    if not isinstance(error, UnicodeEncodeError):  # the way back
        return codecs.lookup_error("surrogateescape")(error)
    letter = error.object[error.start]
    if "\udc80" <= letter <= "\udcff":
        return bytes([ord(letter) - 0xDC00]), error.start + 1
    return _escape(letter), error.start + 1


def _plain(error: UnicodeError) -> tuple[bytes | str, int]:
    if not isinstance(error, UnicodeEncodeError):
        return codecs.lookup_error("backslashreplace")(error)
    letters = error.object[error.start : error.end]
    known = (letter.translate(_PLAIN) for letter in letters)
    return "".join(text if text.isascii() else _escape(text) for text in known), error.end


codecs.register_error(EXACT, _exact)
codecs.register_error(PLAIN, _plain)
