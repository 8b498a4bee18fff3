"""arraycnn report."""

from pathlib import Path

import click

from arraycnn.backends import Backend
from arraycnn.cli import options, user_code
from arraycnn.cli.classifiers import load_model
from arraycnn.cli.console import counting_bar, download_bar, notice, show, show_json
from arraycnn.data import DataSet
from arraycnn.data.image_source import in_memory
from arraycnn.data.sampling import unmeasured
from arraycnn.model.class_names import in_the_models_numbers
from arraycnn.model.label_inputs import label_kind
from arraycnn.networks.user_code import UserCode
from arraycnn.report import (
    Examination,
    Run,
    examine,
    is_data_of,
    load_run_data,
    read_run,
    write_report,
)
from arraycnn.report.examined import Examined
from arraycnn.report.figures import require_matplotlib
from arraycnn.report.sections import lead


@click.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=options.UserPath())
@click.option(
    "--out",
    type=options.UserPath(),
    help="Folder for the report.  [default: RUN/report; report for several runs]",
)
@click.option(
    "--dataset",
    type=options.DataSetName(),
    help="Where the data set of the runs is now, or another to report on.  [default: where it was]",
)
@options.data_dir
@options.skip_damaged
@click.option(
    "--image",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    help="The test image, from 0, whose feature maps are shown.",
)
@user_code.code
@options.backend
@options.as_json
@options.debug
def report(
    runs: tuple[Path, ...],
    out: Path | None,
    dataset: str | None,
    data_dir: Path | None,
    skip_damaged: bool,
    image: int,
    code: UserCode,
    backend: Backend,
    as_json: bool,
) -> None:
    """Make a page on each RUN, the folder of a training; several are compared.

    report.html holds everything it shows and opens without a network; the folder pictures/ beside
    it has each picture as PNG and SVG.
    """
    require_matplotlib()
    known = [read_run(path) for path in runs]
    given = dataset, data_dir, skip_damaged, image, code, backend
    pairs = [(run, _examine(run, *given)) for run in known]
    folder = out if out is not None else (runs[0] / "report" if len(runs) == 1 else Path("report"))
    path = write_report(pairs, folder)
    if as_json:
        show_json({"report": str(path), "runs": [_result(run, found) for run, found in pairs]})
        return
    for run, found in pairs:
        show(lead(found) if len(pairs) == 1 else f"{run.path}: {lead(found)}")
    show(f"report in {path}")


def _examine(
    run: Run,
    dataset: str | None,
    data_dir: Path | None,
    skip_damaged: bool,
    image: int,
    code: UserCode,
    backend: Backend,
) -> Examined:
    if not run.summary:
        notice(f"run folder {run.path}: is not finished; reporting on {run.model_file.name}")
    model = load_model(run.model_file, backend, code)
    with download_bar() as progress:
        kind = label_kind(model.loss)
        data = load_run_data(run, data_dir, progress, dataset, skip_damaged, kind)
    data, said = in_the_models_numbers(data, model.class_names, model.classes)
    absent = ""
    if data.kind == "classes":
        absent = unmeasured(data.name, "test", data.class_names, data.test_labels)
    for line in (said, absent):
        if line:
            notice(line)
    elsewhere = dataset is not None or data_dir is not None
    if (elsewhere or in_memory(data.train_images)) and not is_data_of(run, data):
        notice(_other_data(run, data))
    images = data.test_images
    with counting_bar("testing", len(images)) as progress:
        return examine(model, images, data.test_labels, image, progress)


def _other_data(run: Run, data: DataSet) -> str:
    if run.config.get("data_sha256") is None:
        return f"run folder {run.path}: does not say which data it was trained on; not compared"
    return (
        f"run folder {run.path}: {data.name} is not the data it was trained on (the training images "
        "and labels have another digest), so its test images may be such as the training saw"
    )


def _result(run: Run, found: Examined) -> dict[str, object]:
    known = {
        "run": str(run.path),
        "model": str(run.model_file),
        "dataset": run.config.get("dataset"),
        "images": found.total,
    }
    if not isinstance(found, Examination):
        return {**known, **found.others, "loss": found.loss}
    return {
        **known,
        "accuracy": found.accuracy,
        "f1": found.f1,
        **({f"top_{found.top_k[0]}_accuracy": found.top_k[1]} if found.top_k else {}),
        "loss": found.loss,
        "expected_calibration_error": found.calibration.ece,
    }
