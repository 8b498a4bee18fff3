"""HTML from Python, everything escaped that is not HTML already."""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import Any, TypeAlias

from arraycnn.escaping import printable

_VOID = {"img", "meta", "link"}


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


Content: TypeAlias = str | Iterable["str"] | None


def escaped(content: Any) -> Html:
    """``content`` as HTML: text escaped, a list joined, None nothing."""
    if content is None:
        return Html("")
    if isinstance(content, Html):
        return content
    if isinstance(content, str | int | float):
        return Html(html.escape(printable(content)))
    return Html("".join(map(escaped, content)))


def tag(name: str, /, *content: Any, **attributes: Any) -> Html:
    """An element: ``tag("p", "x < y", class_="note")``.

    Attributes of None or False are left out; True is one without a value; ``aria_label`` is
    written aria-label.
    """
    words = [name]
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        key = key.rstrip("_").replace("_", "-")
        words.append(key if value is True else f'{key}="{html.escape(printable(value))}"')
    opening = f"<{' '.join(words)}>"
    return Html(opening if name in _VOID else f"{opening}{escaped(content)}</{name}>")


def picture(png: bytes, alt: str, width: int, height: int, **attributes: Any) -> Html:
    """An <img> that holds its PNG; ``width`` and ``height`` in CSS pixels."""
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    return tag("img", src=source, alt=alt, width=width, height=height, **attributes)


def table(
    caption: str, head: Sequence[str], rows: Iterable[Sequence[Any]], **attributes: Any
) -> Html:
    """A table whose first column names its rows, in a box that scrolls where it must."""
    header = tag("tr", [tag("th", cell, scope="col") for cell in head])
    body = [
        tag("tr", tag("th", first, scope="row"), [tag("td", cell) for cell in rest])
        for first, *rest in rows
    ]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", tag("span", caption)),
            tag("thead", header),
            tag("tbody", body),
            **attributes,
        ),
        class_="scroll",
        role="region",
        aria_label=caption,
        tabindex="0",
    )
