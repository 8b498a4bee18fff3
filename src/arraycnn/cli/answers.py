"""What a model says of an image: words for a line, and values by name for a table."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import click
import numpy as np

from arraycnn.escaping import printable
from arraycnn.losses import MultiLabelLoss
from arraycnn.losses.loss import THRESHOLD
from arraycnn.model.averaged_inference import beginning
from arraycnn.model.label_inputs import label_kind
from arraycnn.model.model import Model


class Answer(NamedTuple):
    """Of one image.

    Attributes
    ----------
    text : str
    first, last : dict
        Values, by the names of a table's columns; the last ones stand at its end.
    """

    text: str
    first: dict[str, Any]
    last: dict[str, Any]


Says = Callable[[np.ndarray], Answer]


def names_of(model: Model) -> tuple[str, ...]:
    """The name of each class, label or number that ``model`` gives."""
    return model.class_names or tuple(map(str, range(model.classes)))


def check_options(model: Model, top: int | None, threshold: float | None, augment: int) -> None:
    """Refuse --top, --threshold and --augment where the model has no use for them."""
    if augment:
        _check_copies(model)
    if top is not None and label_kind(model.loss) != "classes":
        loss = type(model.loss).__name__
        message = f"--top: is of one class an image, the model was trained with {loss}"
        raise click.UsageError(message)
    if threshold is not None and not isinstance(model.loss, MultiLabelLoss):
        loss = type(model.loss).__name__
        message = f"--threshold: is of several labels an image, the model was trained with {loss}"
        raise click.UsageError(message)


def _check_copies(model: Model) -> None:
    """Refuse copies of images where nothing makes them, or their pixels lie elsewhere."""
    layers, _ = beginning(model.network)
    if not layers:
        message = (
            "--augment: must be of a model that begins with augmentation that makes copies of an "
            "image, as mixup and cutmix do not, which this one does not; train one with train "
            "--augment shift=1, for example"
        )
        raise click.UsageError(message)
    moving = [layer for _, layer in layers if getattr(layer, "moves_pixels", False)]
    if moving and len(model.output_shape) > 1:
        message = (
            "--augment: must keep the pixels of a model that says something of each, and this one "
            f"was trained with {moving[0]!r}, which moves them; leave it out"
        )
        raise click.UsageError(message)


def answers_of(model: Model, top: int | None, threshold: float | None) -> Says:
    """What turns a prediction of ``model``, of one image, into an `Answer`.

    ``top`` is how many classes are listed, None for all; ``threshold`` the probability above which an
    image has a label, None for `THRESHOLD`.
    """
    names, kind = names_of(model), label_kind(model.loss)
    least = THRESHOLD if threshold is None else threshold
    if kind == "classes":
        return lambda row: _of_class(names, row, top)
    if kind == "pixels":
        return lambda pixels: _of_pixels(names, pixels)
    if kind == "labels":
        return lambda row: _of_labels(names, row, least)
    return lambda row: _of_numbers(names, row)


def _of_class(names: Sequence[str], row: np.ndarray, top: int | None) -> Answer:
    likely = row.argsort(kind="stable")[::-1]
    best = likely[0]
    chosen = range(len(row)) if top is None else likely[:top]
    listed = ", ".join(f"{printable(names[n])} {row[n]:.1%}" for n in chosen)
    return Answer(
        f"{printable(names[best])} ({listed})",
        {"class": names[best], "probability": float(row[best])},
        {"probabilities": {names[n]: float(row[n]) for n in chosen}},
    )


def _of_pixels(names: Sequence[str], pixels: np.ndarray) -> Answer:
    """How many of the pixels are of each class, the most first."""
    taken = pixels.argmax(axis=-1)
    shares = np.bincount(taken.reshape(-1), minlength=len(names)) / taken.size
    order = [n for n in np.argsort(-shares, kind="stable") if shares[n]]
    listed = ", ".join(f"{printable(names[n])} {shares[n]:.1%}" for n in order)
    return Answer(
        f"pixels of {listed}",
        {},
        {"pixels": {name: float(share) for name, share in zip(names, shares, strict=True)}},
    )


def _of_labels(names: Sequence[str], row: np.ndarray, threshold: float) -> Answer:
    """The labels above the threshold, the most likely first; of images, the pixels that have each."""
    if row.ndim > 1:
        shares = (row > threshold).reshape(-1, len(names)).mean(axis=0)
        listed = ", ".join(
            f"{printable(name)} {share:.1%}" for name, share in zip(names, shares, strict=True)
        )
        values = {name: float(share) for name, share in zip(names, shares, strict=True)}
        return Answer(f"pixels with {listed}", {}, {"pixels": values})
    order = np.argsort(-row, kind="stable")
    has = [n for n in order if row[n] > threshold]
    listed = ", ".join(f"{printable(names[n])} {row[n]:.1%}" for n in has)
    best = order[0]
    none = f"no label (at most {printable(names[best])} {row[best]:.1%})"
    return Answer(
        listed or none,
        {"labels": [names[n] for n in has]},
        {"outputs": {name: float(value) for name, value in zip(names, row, strict=True)}},
    )


def _of_numbers(names: Sequence[str], row: np.ndarray) -> Answer:
    """Each number; of images the least, mean and greatest of each channel."""
    if row.ndim > 1:
        rows = row.reshape(-1, row.shape[-1])
        found = {
            f"{name} {what}": float(value)
            for what, values in (
                ("least", rows.min(axis=0)),
                ("mean", rows.mean(axis=0, dtype=np.float64)),
                ("greatest", rows.max(axis=0)),
            )
            for name, value in zip(names, values, strict=True)
        }
    else:
        found = {name: float(value) for name, value in zip(names, np.atleast_1d(row), strict=True)}
    listed = ", ".join(f"{printable(name)} {value:.6g}" for name, value in found.items())
    return Answer(listed, {}, {"outputs": found})
