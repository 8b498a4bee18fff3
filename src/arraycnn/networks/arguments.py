"""Calls a function that builds a network, with arguments that are text."""

import ast
import difflib
import inspect
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from arraycnn.errors import InvalidValueError

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def build(
    function: Callable[..., Any],
    where: str,
    known: Mapping[str, Any],
    texts: Iterable[tuple[str, str]],
) -> Any:
    """What ``function`` returns for the arguments ``texts``, (name, value) each.

    Parameters
    ----------
    where : str
        What errors begin with: "network resnet20".
    known : mapping
        What the function is given beside them, of those that it takes: classes, input_shape.

    Raises
    ------
    InvalidValueError
        The function does not take an argument, a value is not of the kind that its annotation names,
        or an argument without default is missing.
    """
    parameters = _parameters(function)
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    named = {
        name: parameter
        for name, parameter in parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    given = {name: value for name, value in known.items() if name in named or open_ended}
    settable = {name: p for name, p in named.items() if name not in known}
    for name, text in texts:
        _check_name(where, name, settable, known, open_ended)
        if name in given:
            message = f"{where}: argument {name} is given twice; give it once"
            raise InvalidValueError(message)
        annotation = settable[name].annotation if name in settable else inspect.Parameter.empty
        given[name] = _converted(f"{where}: argument {name}", text, annotation)
    lacks = [name for name, p in settable.items() if p.default is p.empty and name not in given]
    if lacks:
        message = (
            f"{where}: needs a value for {', '.join(lacks)}; add --network-arg {lacks[0]}=VALUE"
        )
        raise InvalidValueError(message)
    return function(**given)


def nearest(name: str, names: Iterable[str]) -> str:
    """What to say of ``names`` the one that was probably meant: ", perhaps NAME", or nothing."""
    close = difflib.get_close_matches(name, list(names), n=1)
    return f", perhaps {close[0]}" if close else ""


def _parameters(function: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """With annotations as objects where they were written as text."""
    try:
        return inspect.signature(function, eval_str=True).parameters
    except Exception:  # a name in an annotation may be of a type checker alone
        return inspect.signature(function).parameters


def _check_name(
    where: str,
    name: str,
    settable: Mapping[str, inspect.Parameter],
    known: Mapping[str, Any],
    open_ended: bool,
) -> None:
    if name in known:
        message = f"{where}: argument {name} comes from the images, got one more; leave it out"
        raise InvalidValueError(message)
    if name in settable or open_ended:
        return
    takes = ", ".join(f"{n} ({_in_words(p.annotation)})" for n, p in settable.items())
    message = (
        f"{where}: has no argument {name!r}{nearest(name, settable)}, it takes {takes or 'none'}"
    )
    raise InvalidValueError(message)


def _in_words(annotation: Any) -> str:
    if typing.get_origin(annotation) is Literal:
        return " or ".join(map(str, typing.get_args(annotation)))
    if annotation is bool:
        return "true or false"
    if _is_union(annotation):
        return " or ".join(map(_in_words, typing.get_args(annotation)))
    if annotation is inspect.Parameter.empty:
        return "any value"
    return getattr(annotation, "__name__", str(annotation)).replace("NoneType", "none")


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _converted(what: str, text: str, annotation: Any) -> Any:
    try:
        return _value(text, annotation)
    except ValueError as error:
        message = f"{what} must be {_in_words(annotation)}, got {text!r}"
        raise InvalidValueError(message) from error


def _value(text: str, annotation: Any) -> Any:
    """``text`` as the annotation says; a literal of Python, or text, where it says nothing of it."""
    if typing.get_origin(annotation) is Literal:
        return {str(choice): choice for choice in typing.get_args(annotation)}[
            _one_of(annotation, text)
        ]
    if _is_union(annotation):
        return _first(text, typing.get_args(annotation))
    if annotation is bool:
        return _boolean(text)
    if annotation is type(None):
        return _nothing(text)
    if annotation is int:
        return int(text)
    if annotation is float:
        return _finite(text)
    return text if annotation is str else _literal(text)


def _one_of(annotation: Any, text: str) -> str:
    if text not in map(str, typing.get_args(annotation)):
        raise ValueError(text)
    return text


def _first(text: str, annotations: Iterable[Any]) -> Any:
    """By the first of the kinds that takes it, text last."""
    for kind in sorted(annotations, key=lambda one: one is str):
        try:
            return _value(text, kind)
        except ValueError:
            continue
    raise ValueError(text)


def _boolean(text: str) -> bool:
    if text.lower() not in _TRUE + _FALSE:
        raise ValueError(text)
    return text.lower() in _TRUE


def _nothing(text: str) -> None:
    if text.lower() != "none":
        raise ValueError(text)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(text)
    return number


def _literal(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
