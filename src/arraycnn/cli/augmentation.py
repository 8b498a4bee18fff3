"""``--augment``: of train, the layers that change images in training; else, copies in inference."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import Field, fields
from typing import Any

import click

from arraycnn.cli import options
from arraycnn.data.label_kinds import LabelKind
from arraycnn.errors import ArraycnnError
from arraycnn.layers import LAYERS, Layer
from arraycnn.layers.augmentation import Augmentation
from arraycnn.networks.arguments import nearest

AUGMENTATIONS: dict[str, type[Any]] = dict(
    sorted(
        (re.sub("^Random|^Horizontal|Deformation$", "", name).lower(), kind)
        for name, kind in LAYERS.items()
        if issubclass(kind, Augmentation)
    )
)
"""By what is left of the name of the class: shift is RandomShift, elastic ElasticDeformation."""
NONE = "none"
USUAL = {("digits", "basic"): ("affine=10,shear=5,translate=0.05",)}
"""By data set and network, what images are augmented by where nothing is said: the first command's."""


class Augment(click.ParamType):
    """NAME or NAME=VALUE,SETTING=VALUE,...; in one spelling for all that say the same."""

    name = "NAME[=VALUE,...]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value == NONE:
            return NONE
        try:
            layer = layer_of(str(value))
            if ctx is None or ctx.params.get("resume") is None:  # or it has trained with it
                # Data sets are of bytes, and it stands before all that scales them.
                layer.check_use(on_bytes=True)
            return spelled(layer)
        except (ArraycnnError, ValueError) as error:
            self.fail(str(error), param, ctx)


class Copies(click.IntRange):
    """How many copies, or an error for one who says which."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name = str(value).partition("=")[0]
        if name in AUGMENTATIONS or name == NONE:
            self.fail(
                f"must be how many copies, such as 8, got {value}: they are made by what MODEL was "
                "trained with",
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


augment: options.Decorator = click.option(
    "--augment",
    type=Augment(),
    multiple=True,
    help=f"Change images while training: {', '.join(AUGMENTATIONS)}, each with its settings, such as "
    "shift=2 or affine=15,scale=0.9:1.1,fill=edge (docs/GUIDE.md); once for each, in their order. "
    f"{NONE} is no change.  [default: {USUAL['digits', 'basic'][0]} of digits for the network basic]",
)
copies: options.Decorator = click.option(
    "--augment",
    type=Copies(min=0),
    default=0,
    metavar="N",
    help="Give the mean over each image and N copies, made by the augmentation that MODEL was trained "
    "with.",
)


def _moves_pixels(name: str) -> bool:
    return name != NONE and bool(AUGMENTATIONS[name].moves_pixels)


def texts_of(
    given: Sequence[str], dataset: str, network: str | None, resumed: bool, labels: LabelKind
) -> tuple[str, ...]:
    """What --augment says, or what is usual for ``dataset`` and a named ``network`` in a new run.

    Raises click.UsageError for "none" beside others, and for what moves pixels that have ``labels``.
    """
    moving = [text for text in given if _moves_pixels(text.partition("=")[0])]
    if labels == "pixels" and moving:
        message = f"--augment: must not move pixels that have a class each, got {' '.join(moving)}"
        raise click.UsageError(message)
    if NONE in given and len(given) > 1:
        message = f"--augment: {NONE} stands alone, got {' '.join(given)}"
        raise click.UsageError(message)
    return tuple(given) if given or resumed else USUAL.get((dataset, network or ""), ())


def layers_of(texts: Iterable[str]) -> tuple[Layer, ...]:
    """The layers of `texts_of`."""
    return tuple(layer_of(text) for text in texts if text != NONE)


def layer_of(text: str) -> Augmentation:
    """The layer that ``text`` describes: "shift=2", "affine=15,scale=0.9:1.1".

    A value without a name is of the first setting; a:b is a pair. Raises ValueError with what is wrong
    with the text, and what the layer raises.
    """
    name, equals, settings = text.partition("=")
    if name not in AUGMENTATIONS:
        close = nearest(name, AUGMENTATIONS)
        message = f"{name!r} is none of {', '.join(AUGMENTATIONS)}{close}"
        raise ValueError(message)
    known = {field.name: field for field in fields(AUGMENTATIONS[name])}
    takes = ", ".join(known) or "none"
    given: dict[str, Any] = {}
    for place, part in enumerate(settings.split(",") if equals else ()):
        setting, named, value = part.partition("=")
        if not named:
            setting, value = next(iter(known), ""), part
            if place or not setting:
                message = f"{name}: {part!r} must be SETTING=VALUE, of the settings {takes}"
                raise ValueError(message)
        if setting not in known or setting in given:
            wrong = "is given twice" if setting in given else "is no setting"
            message = f"{name}: {setting!r} {wrong}, the settings are {takes}"
            raise ValueError(message)
        given[setting] = _value(f"{name}: {setting}", value, known[setting])
    layer: Augmentation = AUGMENTATIONS[name](**given)
    return layer


def spelled(layer: Augmentation) -> str:
    """The text of ``layer``, with the settings that are not as usual: `layer_of` reads it."""
    (name,) = (name for name, kind in AUGMENTATIONS.items() if kind is type(layer))
    first, *others = (
        (field.name, value := getattr(layer, field.name), value == field.default)
        for field in fields(AUGMENTATIONS[name])
    )
    parts = [f"{setting}={_text(value)}" for setting, value, is_usual in others if not is_usual]
    if parts or not first[2]:
        parts = [_text(first[1]), *parts]
    return f"{name}={','.join(parts)}" if parts else name


def _text(value: Any) -> str:
    """15 for 15.0, 1:2 for a pair."""
    if isinstance(value, tuple):
        return ":".join(map(_text, value))
    return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def _value(what: str, text: str, field: Field[Any]) -> Any:
    """A number, as the setting's usual value has it; a pair of them; or a word of a fill."""
    usual = field.default
    is_real = isinstance(usual[0] if isinstance(usual, tuple) else usual, float)
    try:
        numbers = tuple(float(part) if is_real else int(part) for part in text.split(":"))
    except ValueError:
        if field.name == "fill" and text.isalpha():
            return text
        kind = "a number" if is_real else "a whole number"
        message = f"{what} must be {kind}, or two such as 1:2, got {text!r}"
        raise ValueError(message) from None
    return numbers[0] if len(numbers) == 1 else numbers
