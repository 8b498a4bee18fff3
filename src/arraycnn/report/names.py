"""Names in pictures: a font that has their letters, else the number of the class."""

import logging
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from arraycnn.escaping import shortened

_MOST_LETTERS = 20
_log = logging.getLogger("arraycnn")


def in_pictures(
    names: Sequence[str], kind: str = "class", first: int = 0, most: int = _MOST_LETTERS
) -> list[str]:
    """``names`` as pictures show them: short, and such as some font here can draw.

    The others become "class 3", by their number, counted from ``first``; that is said in a line.
    """
    short = [shortened(name, most) for name in names]
    short = [  # two that are the same now are told apart by their numbers
        f"{shortened(name, most - 4)} {number}" if name != text and short.count(text) > 1 else text
        for number, (name, text) in enumerate(zip(names, short, strict=True), start=first)
    ]
    drawable = [all(_font_of(letter) is not None for letter in set(name)) for name in short]
    shown = [
        name if can else f"{kind} {number}"
        for number, (name, can) in enumerate(zip(short, drawable, strict=True), start=first)
    ]
    if missing := tuple(
        f"{name} as {instead}"
        for name, instead, can in zip(short, shown, drawable, strict=True)
        if not can
    ):
        _say_missing(missing)
    return shown


def in_tables(names: Sequence[str]) -> list[str]:
    """``names`` of classes, those that pictures cannot show with what they show instead."""
    return [
        f"{name} ({shown})" if shown == f"class {number}" != name else name
        for number, (name, shown) in enumerate(zip(names, in_pictures(names), strict=True))
    ]


def families(texts: Iterable[str]) -> list[str]:
    """The families of the fonts, beside the usual one, that these texts need."""
    found = {_font_of(letter) for text in texts for letter in set(text)}
    return sorted(name for name in found if name)


@cache
def _say_missing(missing: tuple[str, ...]) -> None:
    more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
    _log.warning(
        "report: no font here has the letters of these names, so pictures show %s%s; install a font "
        "that has them, such as Noto Sans",
        ", ".join(missing[:3]),
        more,
    )


@cache
def _font_of(letter: str) -> str | None:
    """The family of a font with ``letter``: "" where the usual one has it, None where none does."""
    if letter in "\n\t\u200c\u200d" or ord(letter) in _usual():
        return ""
    return next((name for name, path in _others() if _draws(path, letter)), None)


@cache
def _usual() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont

    return frozenset(_opened(findfont(FontProperties(family=["sans-serif"]))).get_charmap())


@cache
def _others() -> list[tuple[str, str]]:
    """(family, path) of the upright fonts of this system, sans-serif ones first."""
    from matplotlib.font_manager import fontManager

    # The last resort draws a frame for every letter.
    fonts = [font for font in fontManager.ttflist if "last resort" not in font.name.lower()]
    upright = [font for font in fonts if font.style == "normal"]
    upright.sort(key=lambda font: ("sans" not in font.name.lower(), abs(int(font.weight) - 400)))
    return list({font.name: font.fname for font in reversed(upright)}.items())[::-1]


@cache
def _draws(path: str, letter: str) -> bool:
    try:
        font = _opened(path)
        if ord(letter) not in font.get_charmap():
            return False
        font.set_size(8, 100)
        font.load_char(ord(letter))  # fails for pictures instead of outlines
    except Exception:  # a damaged font is one that has no letters
        return False
    return True


@cache
def _opened(path: str) -> Any:
    from matplotlib.ft2font import FT2Font

    return FT2Font(path)
