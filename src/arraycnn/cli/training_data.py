"""The data of ``arraycnn train``: which images it learns from, which it is watched and measured on."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from arraycnn.cli.console import counted, download_bar, notice
from arraycnn.cli.resume import as_the_run_has_it
from arraycnn.cli.run import ImageSet
from arraycnn.data import DATASETS, DataSet, load_dataset, split_validation
from arraycnn.data.digest import shared_images
from arraycnn.data.image_source import Images, select
from arraycnn.data.label_kinds import LabelKind, strata
from arraycnn.data.sampling import check_can_be_learned, gaps, nothing_to_learn
from arraycnn.networks.user_code import UserCode

_VALIDATION_SHARE = float(Fraction(1, 12))


@dataclass(frozen=True, eq=False)
class TrainingData:
    """A data set as a run takes it.

    Attributes
    ----------
    data : DataSet
        Limited, and in the numbers of the model's classes.
    images, labels
        What the training learns from.
    validation : (images, labels) or None
        What it is watched on.
    watches_own_part : bool
        Whether that is the set's own validation part.
    share : float or None
        Of the training images, held out; None where the set's own part is watched.
    sampling : str
        How a limit is drawn.
    """

    data: DataSet
    images: Images
    labels: np.ndarray
    validation: ImageSet | None
    watches_own_part: bool
    share: float | None
    sampling: str


def prepare(
    dataset: str,
    data_dir: Path | None,
    image_size: tuple[int, int] | None,
    skip_damaged: bool,
    *,
    resume: Path | None,
    limit: int | None,
    seed: int,
    validation: float | None,
    code: UserCode,
    labels: LabelKind,
) -> TrainingData:
    """Load the set, limit it, and hold images out; say what cannot be learned or judged.

    Parameters are the options of their names, the ``code`` of the run to ``resume``, and what
    ``labels`` the loss takes.
    """
    with download_bar() as progress:
        data = load_dataset(
            *(dataset, data_dir, progress),
            image_size=image_size,
            seed=seed,
            skip_damaged=skip_damaged,
            labels=labels,
        )
    data, sampling = as_the_run_has_it(resume, data, limit, seed, code)
    if data.kind == "classes":
        check_can_be_learned(data.name, data.class_names, data.train_labels)
    own_part = _own_validation(data, validation)
    if validation is None:
        validation = None if own_part else _VALIDATION_SHARE
    kept, held_out = split_validation(strata(data.train_labels), validation or 0.0, seed)
    watched = own_part
    if len(held_out):
        watched = (select(data.train_images, held_out), data.train_labels[held_out])
    if resume is None:
        _tell_of_gaps(data, data.train_labels[kept], watched)
    return TrainingData(
        data=data,
        images=select(data.train_images, kept),
        labels=data.train_labels[kept],
        validation=watched,
        watches_own_part=own_part is not None,
        share=validation,
        sampling=sampling,
    )


def _own_validation(data: DataSet, share: float | None) -> ImageSet | None:
    """The set's own validation part, unless ``share`` says to hold out another; says which."""
    if data.validation_images is None or data.validation_labels is None:
        return None
    count = counted(len(data.validation_labels), "image")
    if share is not None:
        notice(
            f"{data.name}: its own validation part of {count} is not used: --validation is given"
        )
        return None
    notice(f"{data.name}: watches the training on the set's own validation part, {count}")
    return data.validation_images, data.validation_labels


def _tell_of_gaps(data: DataSet, train: np.ndarray, watched: ImageSet | None) -> None:
    validation = train[:0] if watched is None else watched[1]
    if data.kind == "classes":
        lines = gaps(data.name, data.class_names, train, validation, data.test_labels)
    else:
        lines = nothing_to_learn(data.name, data.class_names, train, data.kind)
    for line in lines:
        notice(line)
    # The published sets have no such images.
    shared = 0 if data.name in DATASETS else shared_images(data.train_images, data.test_images)
    if shared:
        notice(
            f"{data.name}: {shared} of {counted(len(data.test_labels), 'test image')} are among the "
            "training images, to the pixel: what is measured counts them as new ones"
        )
