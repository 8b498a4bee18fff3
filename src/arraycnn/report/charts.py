"""Charts of numbers, each a matplotlib figure."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.report.figures import (
    BLUE,
    GREEN,
    MUTED,
    ORANGE,
    RULE,
    SERIES,
    new_figure,
    styled,
)
from arraycnn.report.internals import LayerNorms, LayerTime
from arraycnn.report.measures import Calibration, ClassScores, wilson_interval
from arraycnn.report.names import in_pictures
from arraycnn.report.run import StepRecord
from arraycnn.training.history import EpochRecord

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Panel = Literal["loss", "accuracy", "learning_rate"]
PANELS: tuple[Panel, ...] = ("loss", "accuracy", "learning_rate")
_TITLES = {"loss": "Loss, nats", "accuracy": "Accuracy", "learning_rate": "Learning rate"}
_MOST_POINTS = 250
_MOST_NUMBERED_CLASSES = 20
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)))


@styled
def plot_learning_curves(
    epochs: Sequence[EpochRecord],
    steps: Sequence[StepRecord] = (),
    panels: Sequence[Panel] = PANELS,
) -> "Figure":
    """Loss, accuracy and learning rate by epoch, a panel each; ``epochs`` may be a `History`.

    Instead of an accuracy that the loss does not measure, the panel shows what it measures. Where
    steps were logged, their losses lie behind, as means of a few where there are many, and the rates
    are theirs. Raises InvalidValueError where there is no epoch.
    """
    if not len(epochs):
        message = "plot_learning_curves: needs at least one epoch, got none; train first"
        raise InvalidValueError(message)
    figure, measure = new_figure(3.35 * len(panels), 2.35), measure_of(epochs)
    for axes, panel in zip(_row(figure, len(panels)), panels, strict=True):
        if steps and panel != "accuracy":
            axes.plot(
                *_within_epochs(steps, panel),
                color=RULE if panel == "loss" else BLUE,
                lw=0.9 if panel == "loss" else 1.6,
                zorder=1,
            )
        if panel != "learning_rate":
            shown = measure if panel == "accuracy" else panel
            _curve(axes, epochs, f"train_{shown}", "training", ORANGE, "--", "s")
            _curve(axes, epochs, f"validation_{shown}", "validation", BLUE, "-", "o")
            axes.legend(loc="best")
        elif not steps:
            _curve(axes, epochs, panel, "at the epoch's last step", BLUE, "-", "o")
        _finish_curves(axes, panel, measure)
    return figure


@styled
def plot_comparison(
    runs: Mapping[str, Sequence[EpochRecord]], panels: Sequence[Panel] = PANELS
) -> "Figure":
    """The curves of several runs by their names: validation, or training where there was none."""
    figure = new_figure(3.35 * len(panels), 2.35 + 0.17 * len(runs))
    names = in_pictures(list(runs), "run", first=1, most=48)
    measure = measure_of([record for epochs in runs.values() for record in epochs])
    for axes, panel in zip(_row(figure, len(panels)), panels, strict=True):
        for number, (name, epochs) in enumerate(zip(names, runs.values(), strict=True)):
            watched = any(record.validation_loss is not None for record in epochs)
            kind = "validation_" if watched else "train_"
            shown = measure if panel == "accuracy" else panel
            field = panel if panel == "learning_rate" else f"{kind}{shown}"
            # matplotlib leaves what begins with an underscore out of legends.
            name = f" {name}" if name.startswith("_") else name
            label = name if watched or panel == "learning_rate" else f"{name} (training)"
            colour = SERIES[number % len(SERIES)]
            dash = _DASHES[number // len(SERIES) % len(_DASHES)]
            _curve(axes, epochs, field, label, colour, dash, "os^Dv"[number % 5])
        _finish_curves(axes, panel, measure)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), handlelength=2.4)
    return figure


@styled
def plot_confusion_matrix(confusion: np.ndarray, class_names: Sequence[str]) -> "Figure":
    """What each class was taken for: rows true, columns predicted, (K, K).

    Blue is right, orange wrong; the stronger, the more of the row's images. Only mistakes that
    occurred have a colour.
    """
    classes = len(confusion)
    side = float(np.clip(0.27 * classes + 1.0, 3.35, 9.0))
    figure = new_figure(side, side)
    axes = figure.add_subplot()
    totals = np.maximum(confusion.sum(axis=1), 1)
    shares = confusion / totals[:, np.newaxis]
    wrong = shares - np.diag(np.diagonal(shares))
    worst = float(wrong.max()) or 1.0
    for true, predicted in np.argwhere(confusion):
        right = true == predicted
        share = shares[true, predicted]
        alpha = 0.5 * share if right else 0.12 + 0.4 * share / worst
        cell = (predicted - 0.5, true - 0.5)
        axes.add_patch(_cell(cell, BLUE if right else ORANGE, alpha))
        if classes <= _MOST_NUMBERED_CLASSES:
            text = f"{confusion[true, predicted]:,}"
            axes.text(predicted, true, text, ha="center", va="center", fontsize=7)
    axes.set_xlim(-0.5, classes - 0.5)
    axes.set_ylim(classes - 0.5, -0.5)
    axes.set_aspect("equal")
    shown = in_pictures(class_names)
    turned = 90 if max(map(len, shown)) > 3 else 0
    every = range(0, classes, -(-classes // 40))
    axes.set_xticks(every, [shown[n] for n in every], rotation=turned)
    axes.set_yticks(every, [shown[n] for n in every])
    axes.tick_params(length=0)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for edge in ("top", "right"):
        axes.spines[edge].set_visible(True)
    return figure


@styled
def plot_class_scores(scores: ClassScores, class_names: Sequence[str]) -> "Figure":
    """Precision, recall and F1, a row for each class. A score that is undefined is left out."""
    count, shown = len(class_names), in_pictures(class_names)
    # Beyond a usual name's length, the room for it is added to that of the scores.
    figure = new_figure(3.35 + 0.065 * max(0, max(map(len, shown)) - 10), 0.9 + 0.22 * count)
    axes = figure.add_subplot()
    rows = np.arange(count)
    every = np.stack([scores.precision, scores.recall, scores.f1])
    spans = [column[np.isfinite(column)] for column in every.T]
    for row, span in enumerate(spans):
        if span.size:
            axes.plot([span.min(), span.max()], [row, row], color=RULE, lw=1.2, zorder=1)
    for values, marker, colour, label in (
        (scores.precision, ">", BLUE, "precision"),
        (scores.recall, "<", ORANGE, "recall"),
        (scores.f1, "o", GREEN, "F1"),
    ):
        axes.plot(values, rows, marker, color=colour, label=label, ms=4.5, mew=0, clip_on=False)
    least = min((float(span.min()) for span in spans if span.size), default=0.0)
    axes.set_xlim(left=max(0.0, least - 0.05 * (1 - least) - 0.002), right=1.0)
    axes.set_ylim(count - 0.4, -0.6)
    axes.set_yticks(rows, shown)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="y")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=3, columnspacing=1, borderpad=0)
    return figure


@styled
def plot_calibration(calibration: Calibration) -> "Figure":
    """The reliability diagram: each bin's accuracy against its confidence, and its images below.

    Bars are 95 % intervals (Wilson); on the diagonal, confidence is borne out.
    """
    figure = new_figure(3.35, 3.6)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([0, 1], [0, 1], color=MUTED, lw=0.9, ls=(0, (4, 3)))
    filled = np.flatnonzero(calibration.counts)
    for place in filled:
        count = int(calibration.counts[place])
        low, high = wilson_interval(round(float(calibration.accuracy[place]) * count), count)
        upper.plot([calibration.confidence[place]] * 2, [low, high], color=BLUE, lw=1.2, alpha=0.45)
    upper.plot(
        calibration.confidence[filled], calibration.accuracy[filled], "o", color=BLUE, ms=4.5
    )
    upper.set_xlim(0, 1.02)
    upper.set_ylim(0, 1.02)
    upper.grid(axis="y")
    upper.set_title("Accuracy")
    width = np.diff(calibration.edges) * 0.86
    middle = (calibration.edges[1:] + calibration.edges[:-1]) / 2
    lower.bar(middle, np.maximum(calibration.counts, 0), width=width, color=BLUE, alpha=0.6)
    lower.set_yscale("symlog", linthresh=1)
    _plain_log(lower.yaxis, calibration.counts)
    lower.set_title("Images")
    lower.set_xlabel("confidence")
    return figure


@styled
def plot_norms(norms: Sequence[LayerNorms]) -> "Figure":
    """Norms of parameters and of their gradients, a row for each layer that learns."""
    learning = [row for row in norms if row.parameters]
    figure, axes = _layer_rows([f"{row.path}  {_kind(row.layer)}" for row in learning])
    for number, row in enumerate(learning):
        pair = [row.gradient_norm, row.parameter_norm]
        if all(pair):
            axes.plot(pair, [number, number], color=RULE, lw=1.2, zorder=1)
        axes.plot(pair[1:], [number], "s", color=BLUE, ms=5, label="parameters")
        axes.plot(pair[:1], [number], "o", color=ORANGE, ms=5, label="gradient")
    values = [v for row in learning for v in (row.parameter_norm, row.gradient_norm) if v > 0]
    if values:
        axes.set_xscale("log")
        axes.set_xlim(min(values) / 2, max(values) * 2)
        _plain_log(axes.xaxis, np.array(values))
    _legend_above(axes)
    return figure


@styled
def plot_layer_times(times: Sequence[LayerTime]) -> "Figure":
    """Milliseconds of each layer, forward and backward, a row each."""
    figure, axes = _layer_rows([f"{row.path}  {_kind(row.layer)}" for row in times])
    rows = np.arange(len(times))
    forward = np.array([row.forward for row in times]) * 1e3
    backward = np.array([row.backward for row in times]) * 1e3
    axes.barh(rows - 0.19, forward, 0.34, color=BLUE, label="forward, ms")
    axes.barh(rows + 0.19, backward, 0.34, color=ORANGE, label="backward, ms")
    axes.set_xlim(left=0)
    _legend_above(axes)
    return figure


def _row(figure: "Figure", count: int) -> "Sequence[Axes]":
    return list(figure.subplots(1, count, squeeze=False)[0])


def measure_of(epochs: Sequence[EpochRecord]) -> str:
    """What the loss measures beside it, of which the records have the training's mean."""
    for record in epochs:
        if record.train_accuracy is None and record.validation_accuracy is None:
            for name in record.others:
                if name.startswith("train_"):
                    return name.removeprefix("train_")
    return "accuracy"


def _curve(
    axes: "Axes",
    epochs: Sequence[EpochRecord],
    field: str,
    label: str,
    colour: str,
    dash: Any,
    marker: str,
) -> None:
    rated = field == "learning_rate"
    points = [(one.epoch, one.learning_rate if rated else one.value(field)) for one in epochs]
    known = [(epoch, value) for epoch, value in points if value is not None]
    if not known:
        return
    many = len(known) > 30
    axes.plot(
        *zip(*known, strict=True),
        color=colour,
        ls=dash,
        marker="" if many else marker,
        mew=0,
        label=label,
        zorder=3,
    )


def _within_epochs(steps: Sequence[StepRecord], field: str) -> tuple[np.ndarray, np.ndarray]:
    """(epochs done, ``field``): means of neighbours, no more than a chart can show."""
    per_epoch = max(step.step for step in steps)
    points = np.array(
        [(s.epoch - 1 + s.step / per_epoch, getattr(s, field)) for s in steps], dtype=float
    )
    points = points[np.isfinite(points[:, 1])]
    size = max(1, -(-len(points) // _MOST_POINTS))
    means = [points[start : start + size].mean(axis=0) for start in range(0, len(points), size)]
    places, values = np.reshape(means, (-1, 2)).T
    return places, values


def _finish_curves(axes: "Axes", panel: Panel, measure: str) -> None:
    from matplotlib.ticker import MaxNLocator

    title = _TITLES[panel]
    if measure != "accuracy" and panel != "learning_rate":  # in the unit of the labels
        title = "Loss" if panel == "loss" else measure.replace("_", " ").capitalize()
    axes.set_title(title)
    axes.set_xlabel("epoch")
    low, high = axes.get_xlim()
    if high - low < 1:  # a single epoch: as long as it takes
        axes.set_xlim(round(low) - 1.05, round(high) + 0.05)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.grid(axis="y")
    axes.spines["left"].set_visible(False)
    heights = [y for line in axes.lines for y in np.asarray(line.get_ydata(), float)]
    drawn = [y for y in heights if y > 0]
    if min(heights, default=0) < 0:  # as a user's own loss may be
        return
    if panel == "loss" and drawn and max(drawn) > 20 * min(drawn):
        axes.set_yscale("log")
        _plain_log(axes.yaxis, np.array(drawn))
    elif panel != "accuracy" or measure != "accuracy":
        axes.set_ylim(bottom=0)
    elif drawn and min(drawn) > 0.5:
        axes.set_ylim(top=1.0)


def _plain_log(axis: Any, values: np.ndarray) -> None:
    """Few ticks on a logarithmic axis, in plain numbers: 0.01, 0.1, 1."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    positive = values[values > 0]
    decades = np.log10(positive.max() / positive.min()) if positive.size else 0
    subs = (1.0, 3.0) if decades < 2 else (1.0,)
    axis.set_major_locator(LogLocator(10, subs=subs, numticks=6))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axis.set_minor_formatter(NullFormatter())


def _layer_rows(labels: Sequence[str]) -> "tuple[Figure, Axes]":
    figure = new_figure(3.35, 0.85 + 0.24 * max(len(labels), 1))
    axes = figure.add_subplot()
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    return figure, axes


def _legend_above(axes: "Axes") -> None:
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.legend(
        once.values(),
        once.keys(),
        loc="lower left",
        bbox_to_anchor=(0, 1.0),
        ncols=2,
        columnspacing=1.2,
        borderpad=0,
    )


def _kind(layer: str) -> str:
    return layer.partition("(")[0]


def _cell(corner: tuple[float, float], colour: str, alpha: float) -> Any:
    from matplotlib.patches import Rectangle

    return Rectangle(corner, 1, 1, facecolor=colour, alpha=alpha, linewidth=0)
