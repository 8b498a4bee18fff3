"""The sections of the page."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from arraycnn.report import charts
from arraycnn.report import internals_sections as inner
from arraycnn.report import other_sections as others
from arraycnn.report import sentences as words
from arraycnn.report.examination import Examination
from arraycnn.report.examined import Examined
from arraycnn.report.figures import to_inline_svg
from arraycnn.report.internals_sections import chart
from arraycnn.report.markup import Html, escaped, table, tag
from arraycnn.report.names import in_tables
from arraycnn.report.other_examinations import ImageExamination
from arraycnn.report.run import Run
from arraycnn.storage import provenance
from arraycnn.training.batch_size import same_images
from arraycnn.training.history import EpochRecord

_MOST_CELLS = 32
_CURVES = "Loss and accuracy are of the images held out for validation, or as the legend says."
_TITLES = {"loss": "Loss", "accuracy": "Accuracy", "learning_rate": "Learning rate"}


@dataclass(frozen=True)
class Section:
    """A part of the page: its anchor, its heading, all of it."""

    id: str
    title: str
    html: Html


def opening(run: Run, found: Examined) -> Html:
    """The result in a sentence and a few numbers."""
    numbers = [*_numbers(found), ("parameters", f"{found.parameters:,}")]
    spent = [record.seconds for record in run.epochs if record.seconds is not None]
    if spent:
        numbers.append(("training time", words.seconds(sum(spent))))
    return Html(
        tag("p", lead(found), class_="lead")
        + tag(
            "dl",
            [tag("div", tag("dt", name), tag("dd", value)) for name, value in numbers],
            class_="numbers",
        )
    )


def lead(found: Examined) -> str:
    """The result in a sentence."""
    return words.accuracy(found) if isinstance(found, Examination) else others.lead(found)


def _numbers(found: Examined) -> list[tuple[str, str]]:
    if not isinstance(found, Examination):
        return others.numbers(found)
    return [
        ("test accuracy", words.percent(found.accuracy, 2)),
        *_top_k(found),
        ("F1, mean of classes", words.percent(found.f1, 2)),
        (found.loss_name, f"{found.loss:.4f}"),
        ("calibration error", words.percent(found.calibration.ece)),
    ]


def _top_k(found: Examination) -> list[tuple[str, str]]:
    if found.top_k is None:
        return []
    k, accuracy = found.top_k
    return [(f"among the {k} most likely", words.percent(accuracy, 2))]


def of_run(run: Run, found: Examined, prefix: str, level: int) -> list[Section]:
    """The sections on one run, with ids that begin with ``prefix`` and headings of ``level``."""

    def section(name: str, title: str, *content: Any) -> Section:
        place = f"{prefix}{name}"
        heading = tag(f"h{level}", title, id=f"{place}-title")
        inner = tag("section", heading, content, id=place, aria_labelledby=f"{place}-title")
        return Section(place, title, inner)

    return [
        section("training", "Training", _training(run, prefix)),
        *(
            [section("augmented", "Augmented images", inner.augmented(found))]
            if found.augmented is not None
            else []
        ),
        section("test", "Test images", _test(run, found, prefix)),
        *(
            [section("examples", "Images out", others.examples(found))]
            if isinstance(found, ImageExamination)
            else []
        ),
        (
            section("mistakes", "Most confident mistakes", inner.mistakes(found))
            if isinstance(found, Examination)
            else section("mistakes", "Largest errors", others.worst(found))
        ),
        section("filters", "First filters", inner.filters(found)),
        section("maps", "Feature maps", inner.feature_maps(found)),
        *(
            [section("saliency", "Saliency", inner.saliency(found))]
            if found.saliency is not None
            else []
        ),
        section("layers", "Layers", inner.layers(found, prefix)),
        section("provenance", "Provenance", _provenance(run)),
    ]


def comparison(runs: Sequence[tuple[str, Run, Examined]]) -> Section:
    """All runs side by side: results, what was set differently, curves."""
    names = [name for name, _, _ in runs]
    rows = [*_results([found for _, _, found in runs], names)]
    rows += [
        ["parameters", *(f"{found.parameters:,}" for _, _, found in runs)],
        ["epochs done", *(len(run.epochs) for _, run, _ in runs)],
        ["training time", *(_spent(run) for _, run, _ in runs)],
        ["images a second", *(_rate(run) for _, run, _ in runs)],
    ]
    settings = list(dict.fromkeys(key for _, run, _ in runs for key in run.config))
    for key in settings:
        values = [run.config.get(key) for _, run, _ in runs]
        if any(value != values[0] for value in values):
            rows.append([key.replace("_", " "), *map(_setting, values)])
    epochs = {name: run.epochs for name, run, _ in runs if run.epochs}
    panels = [
        tag(
            "figure",
            Html(
                to_inline_svg(
                    charts.plot_comparison(epochs, [panel]),
                    f"comparison-{panel}",
                    "; ".join(
                        words.curve_picture(f"{_TITLES[panel]}, {name}", records, panel)
                        for name, records in epochs.items()
                    ),
                )
            ),
        )
        for panel in (charts.PANELS if epochs else ())
    ]
    body = tag(
        "section",
        tag("h2", "Comparison", id="comparison-title"),
        table("Results, and the settings that differ", ["", *names], rows, class_="figures"),
        tag("p", _CURVES),
        tag("div", panels, class_="charts"),
        id="comparison",
        aria_labelledby="comparison-title",
    )
    return Section("comparison", "Comparison", body)


def _results(found: Sequence[Examined], names: Sequence[str]) -> list[list[Any]]:
    """What was measured, a row each; and, of classes, which images one run has right and not others."""
    numbers = [dict(_numbers(one)) for one in found]
    every = list(dict.fromkeys(name for one in numbers for name in one))
    rows: list[list[Any]] = [[name, *(one.get(name, "–") for one in numbers)] for name in every]
    of_classes = [one for one in found if isinstance(one, Examination)]
    if len(of_classes) < len(found):
        return rows
    wrong = ["wrong", *(f"{one.total - one.right:,} of {one.total:,}" for one in of_classes)]
    rows.insert(1 + every.index("F1, mean of classes"), wrong)
    first = of_classes[0]
    if all(same_images(one.images, first.images) for one in of_classes):
        right = [one.predictions == one.labels for one in of_classes]
        rows.append(
            [f"right, {names[0]} wrong", "–", *(f"{(r & ~right[0]).sum():,}" for r in right[1:])]
        )
        rows.append(
            [f"wrong, {names[0]} right", "–", *(f"{(~r & right[0]).sum():,}" for r in right[1:])]
        )
    return rows


def _training(run: Run, prefix: str) -> list[Html]:
    behind = " Grey: the training loss within the epochs." if run.steps else ""
    text = tag("p", words.training(run.epochs, bool(run.summary)), behind)
    if not run.epochs:
        return [text]
    figures = [
        tag(
            "figure",
            Html(
                to_inline_svg(
                    charts.plot_learning_curves(run.epochs, run.steps, [panel]),
                    f"{prefix}{panel}",
                    words.curve_picture(*_curve(run.epochs, panel)),
                )
            ),
        )
        for panel in charts.PANELS
    ]
    always = ["loss", charts.measure_of(run.epochs)]
    known = {name for record in run.epochs for name in record.measured()}
    kinds = {"train": "training", "validation": "validation"}
    more = sorted({name.partition("_")[2] for name in known} - set(always))
    columns = {
        f"{kind} {name.replace('_', ' ')}": f"{part}_{name}"
        for part, kind in kinds.items()
        for name in (*always, *more)
        if name in always or f"{part}_{name}" in known
    }
    columns |= {"learning rate": "learning_rate", "images a second": "images_per_second"}
    rows = [
        [
            record.epoch,
            *(_shown(name, getattr(record, name, record.value(name))) for name in columns.values()),
        ]
        for record in run.epochs
    ]
    numbers = table("Every epoch", ["epoch", *columns], rows, class_="figures")
    return [text, tag("div", figures, class_="charts"), _folded("Every epoch as a table", numbers)]


def _test(run: Run, found: Examined, prefix: str) -> list[Html]:
    part = "all" if run.config.get("limit") is None else "a sample of"
    measured = (
        f"Measured on {part} {found.total:,} images of the test part of "
        f"{run.config.get('dataset', 'the data set')}, which the training did not see, with the "
        f"model in {run.model_file.name}."
    )
    if not isinstance(found, Examination):
        return [tag("p", measured), *others.test(found, prefix)]
    return [tag("p", measured, " ", words.certainty(found)), *_classes(found, prefix)]


def _classes(found: Examination, prefix: str) -> list[Html]:
    names, scores = found.class_names, found.scores
    figures = [
        chart(
            charts.plot_confusion_matrix(found.confusion, names),
            f"{prefix}confusion",
            words.confusion_picture(found),
            "Confusion",
            "Rows are the true classes, columns what they were taken for. Blue is right, orange "
            "wrong; stronger is more.",
        ),
        chart(
            charts.plot_class_scores(scores, names),
            f"{prefix}scores",
            f"Precision, recall and F1 of {len(names)} classes; the numbers are in the table.",
            "Classes",
            words.classes(scores, names),
        ),
        chart(
            charts.plot_calibration(found.calibration),
            f"{prefix}calibration",
            "Reliability diagram: accuracy against confidence. "
            + words.calibration(found.calibration),
            "Calibration",
            f"{words.calibration(found.calibration)} On the dashed line it would be right exactly "
            "as often as it is sure; bars are 95 % intervals.",
        ),
    ]
    listed = in_tables(names)
    rows = [
        [listed[n], *(_score(s[n]) if scores.support[n] else "–"
           for s in (scores.precision, scores.recall, scores.f1)),
         f"{scores.support[n]:,}"]
        for n in range(len(names))
    ]  # fmt: skip
    head = ["class", "precision", "recall", "F1", "images"]
    tables = [
        _folded(
            "Classes as a table",
            table("Precision, recall and F1 by class", head, rows, class_="figures"),
        )
    ]
    if len(names) <= _MOST_CELLS:
        cells = [
            [names[n], *(f"{count:,}" if count else "" for count in found.confusion[n])]
            for n in range(len(names))
        ]
        numbers = table(
            "Images by true class (rows) and predicted class (columns)",
            ["true", *names],
            cells,
            class_="figures",
        )
        tables.append(_folded("Confusion as a table", numbers))
    return [tag("div", figures, class_="charts"), *tables]


def _curve(epochs: Sequence[EpochRecord], panel: str) -> tuple[str, Sequence[EpochRecord], str]:
    """The title, the records and the measure of a panel: for accuracy what the loss measures."""
    measure = charts.measure_of(epochs) if panel == "accuracy" else panel
    title = _TITLES.get(measure, measure.replace("_", " ").capitalize())
    return title, epochs, measure


def _provenance(run: Run) -> list[Html]:
    trained = run.summary.get("versions")
    trained = trained if isinstance(trained, dict) else {}
    device = run.summary.get("device")
    facts = [
        ("run folder", str(run.path)),
        ("model", run.model_file.name),
        ("data set", run.config.get("dataset")),
        ("network", run.config.get("network")),
        ("SHA-256 of its file", run.config.get("network_sha256")),
        ("seed", run.config.get("seed")),
        ("trained on", device if device else f"{run.config.get('backend', '?')} (not finished)"),
        ("trained with", _versions(trained) or "not recorded"),
        ("at commit", run.summary.get("commit") or "not known"),
        ("report made", f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"),
        ("report made with", _versions(provenance.versions("matplotlib"))),
        ("at commit", provenance.source_commit() or "not known"),
    ]
    rows = [[name, "–" if value is None else str(value)] for name, value in facts]
    settings = [[key.replace("_", " "), _setting(value)] for key, value in run.config.items()]
    return [
        tag("p", "To repeat the run:"),
        tag("pre", tag("code", _unbroken(run.command))),
        table("Origin of these results", ["what", "value"], rows),
        _folded("All settings", table("Settings of the run", ["setting", "value"], settings)),
    ]


def _setting(value: Any) -> str:
    if isinstance(value, list):  # of an option that may be given several times
        return ", ".join(map(str, value)) or "–"
    return "–" if value is None else str(value)


def _folded(title: str, content: Html) -> Html:
    return tag("details", tag("summary", title), content)


def _versions(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in found.items())


def _score(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "–"


def _shown(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name.endswith("accuracy"):
        return words.percent(value, 2)
    return f"{value:,.0f}" if name == "images_per_second" else f"{value:.4g}"


def _unbroken(command: str) -> list[Html]:
    """A command line that is broken between options only."""
    words = command.replace(" --", "\n--").split("\n")
    return [escaped([tag("span", word), " "]) for word in words]


def _spent(run: Run) -> str:
    known = [record.seconds for record in run.epochs if record.seconds is not None]
    return words.seconds(sum(known)) if known else "–"


def _rate(run: Run) -> str:
    rates = [r.images_per_second for r in run.epochs if r.images_per_second is not None]
    return f"{np.median(rates):,.0f}" if rates else "–"
