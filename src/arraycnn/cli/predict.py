"""arraycnn predict."""

import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import click
import numpy as np

from arraycnn.backends import Backend
from arraycnn.cli import augmentation, options, pictures, user_code
from arraycnn.cli.answers import answers_of, check_options, names_of
from arraycnn.cli.classifiers import load_model
from arraycnn.cli.console import counted, counting_bar, notice
from arraycnn.cli.folder_names import FolderNames
from arraycnn.cli.tables import Table, table
from arraycnn.data.picture_values import PictureNotes
from arraycnn.data.polarity import blank, inverted
from arraycnn.data.reader_result import LeftOut
from arraycnn.errors import DataError
from arraycnn.escaping import printable
from arraycnn.model.label_inputs import label_kind
from arraycnn.model.model import Model
from arraycnn.networks.user_code import UserCode
from arraycnn.storage.atomic_writes import write_atomically
from arraycnn.training.batch_size import images_to_read

_SHOWN = 3


@click.command()
@click.argument("model", type=options.UserPath())
@click.argument("images", nargs=-1, required=True)
@click.option(
    "--invert/--no-invert",
    default=None,
    help="Swap dark and light, or never do.  [default: for images whose background is the opposite "
    "of the training images', such as dark digits on white for MNIST's white on black]",
)
@options.skip_damaged
@options.top
@augmentation.copies
@options.threshold
@options.table_format
@options.output
@click.option(
    "--outputs",
    type=options.UserPath(dir_okay=False),
    help="Also write what the network gives for each image, as predicted: an .npz with names and "
    "outputs.",
)
@user_code.code
@options.backend
@options.as_json
@options.debug
def predict(
    model: Path,
    images: tuple[str, ...],
    invert: bool | None,
    skip_damaged: bool,
    top: int | None,
    augment: int,
    threshold: float | None,
    table_format: str,
    output: Path | None,
    outputs: Path | None,
    code: UserCode,
    backend: Backend,
    as_json: bool,
) -> None:
    """Say what MODEL sees in each image.

    IMAGES are pictures (PNG, JPEG, BMP, GIF, WebP, TIFF, PGM), .npy, .npz and IDX files, folders of
    pictures, "patterns*" in quotes, or - for one of these on standard input or paths, one a line.
    """
    trained = load_model(model, backend, code)
    check_options(trained, top, threshold, augment)
    notes = PictureNotes()
    shown = pictures.find(images, trained.intake.form, notes)
    total = sum(len(part) for part in shown)
    kind = "json" if as_json else table_format
    # JSON has room for every class, a line has not.
    shown_top = top or (None if kind in ("json", "jsonl") else _SHOWN)
    run = _Run(trained, invert, shown_top, augment, threshold, images, keep=outputs is not None)
    left_out = LeftOut()
    began = time.perf_counter()
    with counting_bar("predicting", total) as progress, table(kind, output) as rows:
        for batch in pictures.batches(shown, images_to_read(trained.input_shape)):
            names, pixels, errors = pictures.split_errors(batch)
            if errors and total == 1:
                raise errors[0]
            for error in [] if skip_damaged else errors:
                notice(str(error))
            for error in errors if skip_damaged else []:
                left_out.add("damaged picture{s}", error.path.removeprefix("image "))
            run.bad += len(errors)
            if pixels:
                run.predict(names, np.stack(pixels), rows)
            progress(run.done + run.bad)
        if not run.done:
            message = f"predict: must read at least one image, could read none of {total}"
            raise DataError(f"{message}; see the lines above")
    seconds = time.perf_counter() - began
    for line in notes.take():
        notice(line)
    if str(left_out):
        notice(f"not used: {left_out}")
        run.bad = 0
    if outputs is not None:
        write_outputs(outputs, run.names, run.outputs)
    _report(run, invert, seconds, total)


def write_outputs(path: Path, names: list[str], outputs: list[np.ndarray]) -> None:
    """An .npz with the ``names`` of images, and what the network gives for each."""
    content = BytesIO()
    np.savez(content, names=np.array(names), outputs=np.concatenate(outputs))
    write_atomically(path, content.getvalue())


class _Run:
    """Predicts batch after batch and counts."""

    def __init__(
        self,
        model: Model,
        invert: bool | None,
        top: int | None,
        augment: int,
        threshold: float | None,
        arguments: Sequence[str],
        keep: bool,
    ) -> None:
        self._model, self._invert, self._augment = model, invert, augment
        self._is_classifier = label_kind(model.loss) == "classes"
        self._answer = answers_of(model, top, threshold)
        self._keep = keep
        self.folders = FolderNames(arguments, names_of(model)) if self._is_classifier else None
        self.names: list[str] = []
        self.outputs: list[np.ndarray] = []
        self.done = self.bad = self.inverted = self.blank = 0
        self.confidence = 0.0

    def predict(self, names: list[str], images: np.ndarray, rows: Table) -> None:
        images, flipped = self._polarised(images)
        nothing = blank(images)
        predicted = self._model.predict(images, augment=self._augment)
        if self._keep:
            self.names += names
            self.outputs.append(predicted)
        for name, row, was, empty in zip(names, predicted, flipped, nothing, strict=True):
            answer = self._answer(row)
            flags = {"inverted": bool(was), "blank": bool(empty)}
            said = "blank, nothing to see: " if empty else ""
            values = {"image": name, **answer.first, **flags, **answer.last}
            rows.add(f"{printable(name)}: {said}{answer.text}", values)
            if self.folders is not None:
                self.confidence += float(row.max())
                # As `answers_of` has it: the last of equal ones.
                self.folders.add(name, int(row.argsort(kind="stable")[-1]))
        self.done += len(names)
        self.inverted += int(flipped.sum())
        self.blank += int(nothing.sum())

    def _polarised(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if images.dtype != np.uint8 or self._invert is False:
            return images, np.zeros(len(images), np.bool_)
        if self._invert:
            return 255 - images, np.ones(len(images), np.bool_)
        return inverted(images, self._model.background)


def _report(run: _Run, invert: bool | None, seconds: float, total: int) -> None:
    if run.inverted and invert is None:
        notice(
            f"{run.inverted} of {counted(run.done, 'image')} inverted, whose background is the "
            "opposite of the training images'; --no-invert leaves them as they are"
        )
    if run.blank:
        notice(
            f"{run.blank} of {counted(run.done, 'image')} blank, all of one grey value: what the "
            "network says of them means nothing"
        )
    sure = ""
    if run.folders is not None:
        sure = f", mean confidence {run.confidence / run.done:.1%}"
        if said := run.folders.said():
            notice(said)
    notice(
        f"{counted(run.done, 'image')} in {seconds:.2f} s ({run.done / seconds:,.0f} images/s){sure}"
    )
    if run.bad:
        raise DataError(
            f"predict: {run.bad} of {total} files could not be read; see the lines above, or leave "
            "damaged files out with --skip-damaged"
        )
