"""Writing a report: the page, and every picture as PNG and SVG."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from arraycnn.data.image_source import rows
from arraycnn.report import charts, galleries
from arraycnn.report import other_sections as others
from arraycnn.report import sentences as words
from arraycnn.report.examination import Examination
from arraycnn.report.examined import Examined
from arraycnn.report.figures import require_matplotlib, to_png, to_svg
from arraycnn.report.names import in_pictures
from arraycnn.report.page import Reported, page, reported
from arraycnn.report.run import Run
from arraycnn.storage.atomic_writes import write_atomically
from arraycnn.storage.user_paths import user_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_report(runs: Sequence[tuple[Run, Examined]], out: str | Path) -> Path:
    """Write report.html and the folder pictures/ into ``out``; two or more runs are compared.

    What an earlier report left there under the same names is replaced.

    Parameters
    ----------
    runs : sequence of (Run, Examined)
        From `read_run` and `examine`.
    out : path
        A folder, made where it does not exist.

    Returns
    -------
    Path
        Of report.html, which holds all it shows: the pictures are for other uses.

    Raises
    ------
    MissingPackageError
        matplotlib is not installed.
    OSError
        The folder cannot be written.
    """
    require_matplotlib()
    out, all_runs = user_path(out), reported(runs)
    (out / "pictures").mkdir(parents=True, exist_ok=True)
    if len(all_runs) > 1:
        epochs = {one.name: one.run.epochs for one in all_runs if one.run.epochs}
        if epochs:
            _write(out / "pictures" / "comparison", charts.plot_comparison(epochs))
    for number, one in enumerate(all_runs, start=1):
        folder = out / "pictures" if len(all_runs) == 1 else out / "pictures" / f"run-{number}"
        folder.mkdir(exist_ok=True)
        for name, figure in _figures(one):
            _write(folder / name, figure)
    path = out / "report.html"
    write_atomically(path, page(all_runs).encode())
    return path


def _figures(one: Reported) -> "Iterator[tuple[str, Figure]]":
    run, found = one.run, one.found
    if run.epochs:
        yield "learning-curves", charts.plot_learning_curves(run.epochs, run.steps)
    yield from _of_classes(found) if isinstance(found, Examination) else others.figures(found)
    if found.augmented is not None:
        yield (
            "augmented",
            galleries.plot_augmented(rows(found.images, found.examples), found.augmented),
        )
    if found.filters is not None:
        yield "filters", galleries.plot_filters(found.filters, found.images.shape[1:])
    yield "feature-maps", galleries.plot_feature_maps(found.maps)
    if found.saliency is not None:
        titles = _titles(found)
        yield (
            "saliency",
            galleries.plot_saliency(rows(found.images, found.examples), found.saliency, titles),
        )
    yield "norms", charts.plot_norms(found.norms)
    yield "layer-times", charts.plot_layer_times(found.times)


def _of_classes(found: Examination) -> "Iterator[tuple[str, Figure]]":
    yield "confusion-matrix", charts.plot_confusion_matrix(found.confusion, found.class_names)
    yield "class-scores", charts.plot_class_scores(found.scores, found.class_names)
    yield "calibration", charts.plot_calibration(found.calibration)
    if len(found.mistakes):
        yield (
            "mistakes",
            galleries.plot_mistakes(
                found.images, found.labels, found.probabilities, found.mistakes, found.class_names
            ),
        )


def _titles(found: Examined) -> list[str]:
    """What the model says of each of the examples."""
    if not isinstance(found, Examination):
        return [found.told(place) for place in found.examples]
    names = in_pictures(found.class_names)
    return [
        f"{names[found.predictions[n]]}  {words.percent(found.probabilities[n].max())}"
        for n in found.examples
    ]


def _write(stem: Path, figure: "Figure") -> None:
    write_atomically(stem.with_name(f"{stem.name}.png"), to_png(figure))
    write_atomically(stem.with_name(f"{stem.name}.svg"), to_svg(figure))
