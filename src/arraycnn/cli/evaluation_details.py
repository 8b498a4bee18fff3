"""What ``arraycnn evaluate`` tells beside the means: each class, label or number, and each image."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arraycnn.cli.answers import names_of
from arraycnn.cli.tables import Table, table
from arraycnn.data.image_source import Images
from arraycnn.escaping import printable
from arraycnn.losses.loss import THRESHOLD
from arraycnn.model.label_inputs import label_kind
from arraycnn.model.model import Model
from arraycnn.report.label_measures import label_counts, scores_of_counts
from arraycnn.report.measures import class_scores, confusion_matrix
from arraycnn.report.number_measures import NumberSums, number_scores, number_sums
from arraycnn.training.batch_size import batches

ImageSet = tuple[Images, np.ndarray]


def of_classes(
    trained: Model,
    names: Sequence[str],
    chosen: list[ImageSet],
    top: int | None,
    augment: int,
    per_class: bool,
    table_format: str,
    output: Path | None,
) -> dict[str, Any]:
    """What needs the probabilities of every image, which the loss does not."""
    counts, correct = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
    among, confidence, number = 0, 0.0, 0
    with table(table_format if output else "text", output) as rows:
        for images, labels in chosen:
            for part, probabilities in _predicted(trained, images, augment):
                expected = labels[part]
                likely = np.argsort(-probabilities, axis=1, kind="stable")
                right = likely[:, 0] == expected
                np.add.at(counts, expected, 1)
                np.add.at(correct, expected[right], 1)
                among += int((likely[:, :top] == expected[:, None]).any(axis=1).sum())
                confidence += float(probabilities.max(axis=1).sum())
                for place in range(len(expected) if output else 0):
                    best = int(likely[place, 0])
                    row = {
                        "image": number + place,
                        "label": names[expected[place]],
                        "class": names[best],
                        "probability": float(probabilities[place, best]),
                        "correct": bool(right[place]),
                    }
                    rows.add("  ".join(map(printable, row.values())), row)
                number += len(expected)
    found: dict[str, Any] = {"confidence": confidence / number}
    if top is not None:
        found["top_accuracy"] = among / number
    if per_class:
        found["per_class"] = {
            name: float(c / n) if n else None
            for name, c, n in zip(names, correct, counts, strict=True)
        }
    return found


def of_others(
    trained: Model,
    chosen: list[ImageSet],
    threshold: float | None,
    augment: int,
    per_class: bool,
    table_format: str,
    output: Path | None,
) -> dict[str, Any]:
    """Scores of each label, number or class of pixels, and a row for each image in ``output``."""
    sums = _Sums(trained, THRESHOLD if threshold is None else threshold)
    number = 0
    with table(table_format if output else "text", output) as rows:
        for images, labels in chosen:
            for part, told in _predicted(trained, images, augment):
                true = labels[part]
                sums.add(true, told)
                for pair in zip(true, told, strict=True) if output else ():
                    sums.add_row(rows, number, *pair)
                    number += 1
    return {"per_class": sums.scores()} if per_class else {}


def _predicted(trained: Model, images: Images, augment: int) -> Iterator[tuple[slice, np.ndarray]]:
    """What ``trained`` predicts for each batch: (where, predictions)."""
    if augment:  # copies go by an image's position among all, as they did for the accuracy
        yield slice(None), trained.predict(images, augment=augment)
        return
    for part, held in batches(images, trained.input_shape):
        yield part, trained.predict(held)


class _Sums:
    """What the scores are computed from, added up batch by batch."""

    def __init__(self, trained: Model, threshold: float) -> None:
        self._names, self._kind = names_of(trained), label_kind(trained.loss)
        self._threshold = threshold
        self._counts: np.ndarray | int = 0
        self._sums: NumberSums | None = None

    def add(self, true: np.ndarray, told: np.ndarray) -> None:
        if self._kind == "numbers":
            self._sums = number_sums(true, told, self._sums)
        elif self._kind == "labels":
            self._counts = self._counts + label_counts(true, told, self._threshold)
        else:
            pair = true.reshape(-1), told.argmax(axis=-1).reshape(-1)
            self._counts = self._counts + confusion_matrix(*pair, len(self._names))

    def scores(self) -> dict[str, dict[str, float | int | None]]:
        """Measures by name, of each label, number or class; None where one is undefined."""
        if self._sums is not None:
            errors = number_scores(self._sums)
            columns: dict[str, np.ndarray] = {
                "mean_absolute_error": errors.mean_absolute_error,
                "root_mean_squared_error": errors.root_mean_squared_error,
                "bias": errors.bias,
                "r2": errors.r2,
            }
        else:
            counts = np.asarray(self._counts)
            found = scores_of_counts(counts) if self._kind == "labels" else class_scores(counts)
            columns = {
                "precision": found.precision,
                "recall": found.recall,
                "f1": found.f1,
                "images" if self._kind == "labels" else "pixels": found.support,
            }
        return {
            name: {what: _plain(values[place]) for what, values in columns.items()}
            for place, name in enumerate(self._names)
        }

    def add_row(self, rows: Table, number: int, true: np.ndarray, told: np.ndarray) -> None:
        """The row of one image: its labels beside what was told; of images, what they measure."""
        row: dict[str, Any] = {"image": number}
        if told.ndim > 1:
            row |= self._of_image(true, told)
        elif self._kind == "labels":
            row["labels"] = [n for n, has in zip(self._names, true > 0.5, strict=True) if has]
            has = told > self._threshold
            row["told"] = [name for name, one in zip(self._names, has, strict=True) if one]
            row["correct"] = bool((has == (true > 0.5)).all())
            row["outputs"] = dict(zip(self._names, map(float, told), strict=True))
        else:
            row["labels"] = dict(zip(self._names, map(float, true), strict=True))
            row["outputs"] = dict(zip(self._names, map(float, np.atleast_1d(told)), strict=True))
        rows.add("  ".join(f"{key} {_text(value)}" for key, value in row.items()), row)

    def _of_image(self, true: np.ndarray, told: np.ndarray) -> dict[str, float]:
        if self._kind == "numbers":
            return {"mean_absolute_error": float(np.abs(told - true).mean(dtype=np.float64))}
        if self._kind == "labels":
            return {"accuracy": float(((told > self._threshold) == (true > 0.5)).mean())}
        return {"accuracy": float((told.argmax(axis=-1) == true).mean())}


def _plain(value: Any) -> float | int | None:
    if isinstance(value, np.integer):
        return int(value)
    return float(value) if np.isfinite(value) else None


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{printable(name)} {number:.6g}" for name, number in value.items())
    return ", ".join(map(printable, value)) or "none" if isinstance(value, list) else str(value)
