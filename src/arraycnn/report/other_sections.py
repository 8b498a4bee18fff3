"""What the page says of models that tell no class of an image: labels, numbers, images."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from arraycnn.losses.loss import THRESHOLD
from arraycnn.report import charts, other_charts
from arraycnn.report import sentences as words
from arraycnn.report import thumbnails as tiles
from arraycnn.report.examined import Examined
from arraycnn.report.internals_sections import chart, tile
from arraycnn.report.markup import Html, table, tag
from arraycnn.report.measures import ClassScores
from arraycnn.report.number_measures import NumberScores
from arraycnn.report.other_examinations import (
    ImageExamination,
    LabelExamination,
    NumberExamination,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_WORST = 18


def lead(found: Examined) -> str:
    """The result in a sentence."""
    images = f"{found.total:,} test image{'s' if found.total > 1 else ''}"
    others = found.others
    if isinstance(found, LabelExamination):
        wrong = len(found.mistakes)
        text = f"{words.percent(others['accuracy'])} of the labels of {images} right"
        f1 = f", F1 {words.percent(others['f1'])} in the mean of labels" if "f1" in others else ""
        return f"{text}{f1}; all right of {found.total - wrong:,} images."
    if "accuracy" in others:
        return f"{words.percent(others['accuracy'])} of the pixels of {images} right."
    error = others.get("mean_absolute_error")
    far = "" if error is None else f"off by {error:.4g} in the mean"
    r2 = found.scores.r2 if isinstance(found, NumberExamination) else np.array([])
    known = r2[np.isfinite(r2)]
    share = f"; R2 {known.mean():.3f}" if known.size else ""
    return f"{images.capitalize()} {far}{share}."


def numbers(found: Examined) -> list[tuple[str, str]]:
    """What was measured, by name."""
    shares = ("accuracy", "f1", "f1_micro")
    names = {"f1": "F1, mean of labels", "f1_micro": "F1, all labels together"}
    listed = [
        (
            names.get(name, name.replace("_", " ")),
            words.percent(value, 2) if name in shares else f"{value:.4g}",
        )
        for name, value in found.others.items()
    ]
    return [*listed, (found.loss_name, f"{found.loss:.4f}")]


def test(found: Examined, prefix: str) -> list[Html]:
    """Figures and tables of what was measured on the test images."""
    if isinstance(found, LabelExamination):
        return _labels(found, prefix)
    if isinstance(found, NumberExamination):
        picture = "Outputs against labels, and the differences; the numbers are in the table."
        caption = "Above, what the network gives by what is true; below, what it is off by."
        figure = other_charts.plot_residuals(found.labels, found.outputs, found.class_names)
        drawn = chart(figure, f"{prefix}residuals", picture, "Residuals", caption)
        return [tag("div", [drawn], class_="charts"), _errors(found, found.scores)]
    assert isinstance(found, ImageExamination)
    if isinstance(found.scores, NumberScores):
        return [_errors(found, found.scores)]
    return [_scores(found, found.scores, "pixels")]


def worst(found: Any) -> list[Html]:
    """The images with the largest errors."""
    if not len(found.mistakes):
        return [tag("p", "There is none: all of every test image was told correctly.")]
    if isinstance(found, ImageExamination):
        text = "The image, its label, and what the network gives; the largest errors first."
        return [tag("p", text), _sheets(found, found.mistakes.tolist())]
    what = "labels" if isinstance(found, LabelExamination) else "numbers"
    text = f"True {what} → what the network says, the largest errors first."
    items = [
        tag(
            "figure",
            tile(tiles.grey_or_colour(found.picture(place)), f"Test image {place}", 96),
            tag("figcaption", tag("b", found.told(place)), tag("span", f"no. {place}")),
        )
        for place in found.mistakes[:_MOST_WORST].tolist()
    ]
    return [tag("p", text), tag("div", items, class_="tiles")]


def examples(found: ImageExamination) -> list[Html]:
    """The first images with their labels, and what the network gives."""
    text = "The image, its label, and what the network gives, one beside the other."
    return [tag("p", text), _sheets(found, found.examples.tolist())]


def figures(found: Examined) -> "Iterator[tuple[str, Figure]]":
    """The pictures of `test` and `worst`, by the names of their files."""
    names = found.class_names
    if isinstance(found, LabelExamination):
        yield "class-scores", charts.plot_class_scores(found.scores, names)
        given = found.thresholds, found.best_f1, found.scores.f1
        yield "thresholds", other_charts.plot_thresholds(*given, names)
    if isinstance(found, NumberExamination):
        yield "residuals", other_charts.plot_residuals(found.labels, found.outputs, names)
    if isinstance(found, ImageExamination):
        for name, places in (("examples", found.examples), ("mistakes", found.mistakes)):
            if len(places):
                sheets = [_triple(found, place) for place in places.tolist()]
                titles = [found.told(place) for place in places.tolist()]
                yield name, other_charts.plot_images_out(sheets, titles)


def _labels(found: LabelExamination, prefix: str) -> list[Html]:
    scores, names = found.scores, found.class_names
    drawn = [
        chart(
            charts.plot_class_scores(scores, names),
            f"{prefix}scores",
            f"Precision, recall and F1 of {len(names)} labels; the numbers are in the table.",
            "Labels",
            f"{words.classes(scores, names)} A label is told where its probability is above "
            f"{THRESHOLD:g}.",
        ),
        chart(
            other_charts.plot_thresholds(found.thresholds, found.best_f1, scores.f1, names),
            f"{prefix}thresholds",
            "F1 of each label by its threshold; the numbers are in the table.",
            "Thresholds",
            f"Blue at {THRESHOLD:g}, green where F1 is highest on these images: on others it is lower, "
            "so choose thresholds on images of validation.",
        ),
    ]
    return [tag("div", drawn, class_="charts"), _scores(found, scores, "images")]


def _scores(found: Examined, scores: ClassScores, unit: str) -> Html:
    columns = {"precision": scores.precision, "recall": scores.recall, "F1": scores.f1}
    if isinstance(found, LabelExamination):
        columns |= {
            "average precision": found.precision,
            "best threshold": found.thresholds,
            "F1 there": found.best_f1,
        }
    else:  # the share of what is of the class, or told to be, that is both: Jaccard's index
        columns["IoU"] = scores.f1 / (2.0 - scores.f1)
    rows = [
        [name, *(_number(column[n]) for column in columns.values()), f"{scores.support[n]:,}"]
        for n, name in enumerate(found.class_names)
    ]
    what = "class" if unit == "pixels" else "label"
    return table(f"Scores by {what}", [what, *columns, unit], rows, class_="figures")


def _errors(found: Examined, scores: NumberScores) -> Html:
    columns = {
        "mean absolute error": scores.mean_absolute_error,
        "root mean squared error": scores.root_mean_squared_error,
        "bias": scores.bias,
        "R2": scores.r2,
    }
    rows = [
        [name, *(_number(column[n], 4) for column in columns.values())]
        for n, name in enumerate(found.class_names)
    ]
    return table("Errors by number, in its own unit", ["number", *columns], rows, class_="figures")


def _sheets(found: ImageExamination, places: list[int]) -> Html:
    items = []
    for place in places:
        sheet = _triple(found, place)
        alt = f"Test image {place}, its label and the output of the network"
        caption = tag("figcaption", tag("b", found.told(place)))
        items.append(tag("figure", tile(sheet, alt, sheet.shape[1]), caption))
    return tag("div", items, class_="maps")


def _triple(found: ImageExamination, place: int) -> np.ndarray:
    given = found.picture(place), found.labels[place], found.outputs[place]
    shown = found.labels[list(found.outputs)]
    scale = float(shown.min()), float(shown.max())
    return other_charts.triple(*given, found.kind, scale)


def _number(value: float, digits: int = 3) -> str:
    if not np.isfinite(value):
        return "–"
    return f"{value:.3f}" if digits == 3 else f"{value:.{digits}g}"
