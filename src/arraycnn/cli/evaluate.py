"""arraycnn evaluate."""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np

from arraycnn.backends import Backend
from arraycnn.cli import augmentation, options, user_code
from arraycnn.cli import evaluation_details as details
from arraycnn.cli.answers import check_options
from arraycnn.cli.classifiers import load_model
from arraycnn.cli.console import counted, counting_bar, download_bar, notice, show, show_json
from arraycnn.cli.measures import measures
from arraycnn.data import DATASETS, DataSet, load_dataset
from arraycnn.data.image_source import Images, in_memory
from arraycnn.data.sampling import unmeasured
from arraycnn.errors import DataError
from arraycnn.escaping import printable
from arraycnn.model.class_names import in_the_models_numbers
from arraycnn.model.label_inputs import label_kind
from arraycnn.model.model import Model
from arraycnn.networks.user_code import UserCode
from arraycnn.storage.run_folder import (
    is_training_data,
    limited,
    read_config,
    recorded_data,
    sampling_of,
)
from arraycnn.training.batch_size import batches
from arraycnn.training.history import Metrics


@click.command()
@click.argument("model", type=options.UserPath())
@click.option(
    "--dataset",
    type=options.DataSetName(),
    help=f"{', '.join(DATASETS)}; or the path of your own.  [default: what the run whose folder MODEL "
    "lies in was trained on, else digits]",
)
@options.data_dir
@options.skip_damaged
@click.option(
    "--part",
    type=click.Choice(["test", "train", "validation", "all"]),
    default="test",
    show_default=True,
    help="Which images to measure on.",
)
@options.top
@augmentation.copies
@options.threshold
@click.option(
    "--per-class",
    is_flag=True,
    help="Show the accuracy of each class, or what is measured of each label or number.",
)
@options.table_format
@options.output
@user_code.code
@options.backend
@options.limit
@options.as_json
@options.debug
def evaluate(
    model: Path,
    dataset: str | None,
    data_dir: Path | None,
    skip_damaged: bool,
    part: str,
    top: int | None,
    augment: int,
    threshold: float | None,
    per_class: bool,
    table_format: str,
    output: Path | None,
    code: UserCode,
    backend: Backend,
    limit: int | None,
    as_json: bool,
) -> None:
    """Measure MODEL, a file that train saved, on a data set's test images.

    With --output, a line for each image goes to that file: label, prediction, confidence; --format
    says how. --top K adds the share of images whose class is among the K most likely.
    """
    trained = load_model(model, backend, code)
    check_options(trained, top, threshold, augment)
    if dataset is None:
        dataset, data_dir, skipped = _recorded(model, data_dir)
        skip_damaged = skip_damaged or skipped
    data, said = in_the_models_numbers(
        _load(trained, dataset, data_dir, skip_damaged), trained.class_names, trained.classes
    )
    if said:
        notice(said)
    _tell_of_training(model.parent, data, part)
    if limit is not None:
        data = data.limited(limit, trained.seed)
    sets = data.parts
    if part == "validation" and part not in sets:
        message = f"{data.name}: has no validation part of its own; measure with --part test"
        raise DataError(message)
    if part == "test" and not data.has_test_part:
        notice(
            f"{data.name} has no test part: measured on the fifth of it that training with seed "
            f"{trained.seed} holds out; --part all measures on every image"
        )
    chosen = list(sets.values()) if part == "all" else [sets[part]]
    total = sum(len(labels) for _, labels in chosen)
    if data.kind == "classes":
        every, shown = (
            np.concatenate([labels for _, labels in chosen]),
            "" if part == "all" else part,
        )
        said = unmeasured(data.name, shown, data.class_names, every)
        if said and len(np.unique(every)) > 1:  # of one class the model tells itself
            notice(said)
    began = time.perf_counter()
    with counting_bar("testing", total) as progress:
        metrics = _measured(trained, chosen, progress, augment)
    seconds = time.perf_counter() - began
    result: dict[str, Any] = {
        "model": str(model),
        "dataset": dataset,
        "part": part,
        "images": total,
        "loss": metrics.loss,
        **({} if metrics.accuracy is None else {"accuracy": metrics.accuracy}),
        **metrics.others,
        "seconds": seconds,
        "images_per_second": total / seconds,
        "backend": trained.backend.name,
        "device": trained.backend.device_name,
    }
    if top is not None or per_class or output is not None:
        shown_as = augment, per_class, table_format, output
        if data.kind == "classes":
            result |= details.of_classes(trained, data.class_names, chosen, top, *shown_as)
        else:
            result |= details.of_others(trained, chosen, threshold, *shown_as)
    if as_json:
        show_json(result)
        return
    of, measured = "" if part == "all" else f"{part} ", counted(total, "image")
    found = {"loss": metrics.loss, "accuracy": metrics.accuracy, **metrics.others}
    prefix = of.replace(" ", "_")
    named = {f"{prefix}{name}": value for name, value in found.items()}
    show(f"{measures(named, prefix)}  on {measured}")
    if top is not None:
        show(f"among the {top} most likely: {result['top_accuracy']:.2%}")
    for name, score in result.get("per_class", {}).items():
        show(f"  {printable(name):<20} {_score(score)}")
    confidence = ""
    if "confidence" in result:
        confidence = f", mean confidence {result['confidence']:.1%}"
    notice(
        f"{counted(total, 'image')} in {seconds:.2f} s ({total / seconds:,.0f} images/s){confidence}"
    )


def _measured(
    trained: Model,
    chosen: list[tuple[Images, np.ndarray]],
    progress: Callable[[int], None],
    augment: int,
) -> Metrics:
    """Means over all images of the ``chosen`` parts."""
    done, metrics = 0, []
    if len(chosen) > 1 and trained.loss.measures != ("accuracy",):  # an F1 is no mean of the parts'
        held = (
            (images, labels[part])
            for source, labels in chosen
            for part, images in batches(source, trained.input_shape)
        )
        return trained.evaluate(held, augment=augment)
    for images, labels in chosen:
        metrics.append(
            trained.evaluate(images, labels, partial(_count_on, progress, done), augment=augment)
        )
        done += len(labels)
    if len(chosen) == 1:
        return metrics[0]
    counts = [len(labels) for _, labels in chosen]
    loss = sum(one.loss * count for one, count in zip(metrics, counts, strict=True))
    right = sum((one.accuracy or 0.0) * count for one, count in zip(metrics, counts, strict=True))
    return Metrics(loss / done, right / done)


def _score(score: Any) -> str:
    """Of one class its accuracy; of others what was measured, by name."""
    if not isinstance(score, dict):
        return "no images" if score is None else f"{score:.2%}"
    known = {name: value for name, value in score.items() if value is not None}
    return "  ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in known.items())


def _count_on(progress: Callable[[int], None], before: int, done: int) -> None:
    progress(before + done)


def _recorded(model: Path, data_dir: Path | None) -> tuple[str, Path | None, bool]:
    """The data set of the run that ``model`` is of, and its data folder unless one is given.

    And whether the run left damaged pictures out.
    """
    if not (model.parent / "config.json").is_file():
        return "digits", data_dir, False
    config = read_config(model.parent)
    if data_dir is not None:
        config = config | {"data_dir": str(data_dir)}
    name, folder = recorded_data(model.parent, config)
    return name, None if folder is None else Path(folder), config.get("skip_damaged") is True


def _load(trained: Model, dataset: str, data_dir: Path | None, skip_damaged: bool) -> DataSet:
    """The set; one of the user's own in the sizes and the split of the model."""
    own: dict[str, Any] = {"skip_damaged": skip_damaged, "labels": label_kind(trained.loss)}
    if dataset not in DATASETS:
        own |= {"image_size": trained.input_shape, "seed": trained.seed}
    with download_bar() as progress:
        return load_dataset(dataset, data_dir, progress, **own)


def _tell_of_training(run: Path, data: DataSet, part: str) -> None:
    """Say where the images to be measured are, or may be, such as the model was trained on.

    That is known where the model lies in the folder of its ``run``. Images that are not in memory
    are not compared: all of them would be read for it.
    """
    of_training = part in ("train", "all")
    compared = (of_training or not data.has_test_part) and (run / "config.json").is_file()
    if not compared or not in_memory(data.train_images):
        return
    config = read_config(run)
    drawn = limited(data, config.get("limit"), config.get("seed", 0), sampling_of(config))
    same = is_training_data(config, drawn)
    if same and of_training:
        among = "are" if part == "train" else "hold"
        notice(
            f"{data.name}: these {among} images that the model was trained on: "
            "the accuracy does not show how it does on new ones"
        )
    elif same is False and not of_training:
        notice(
            f"{data.name}: is not the data set, as it was, that the model was trained on: "
            "some of the images measured may be among those of the training"
        )
