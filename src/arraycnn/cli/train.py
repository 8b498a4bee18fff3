"""arraycnn train."""

import platform
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from arraycnn.backends import Backend, get_backend
from arraycnn.cli import options
from arraycnn.cli.console import (
    counting_bar,
    download_bar,
    notice,
    show,
    show_json,
    training_bar,
)
from arraycnn.data import DataSet, load_dataset, split_validation
from arraycnn.data.image_source import select
from arraycnn.errors import InvalidValueError
from arraycnn.layers import Layer
from arraycnn.model import Model
from arraycnn.networks import NETWORKS, smallest_image
from arraycnn.optimizers import SGD, Adam, AdamW, Optimizer
from arraycnn.run_folder import RunFolder, RunLog, new_run_path
from arraycnn.schedules import Constant, Cosine, OneCycle, Schedule, StepDecay

# For each optimizer: how it is made, and the learning rate that serves it unless one is given.
OPTIMIZERS: dict[str, tuple[Callable[[Schedule], Optimizer], float]] = {
    "sgd": (SGD, 0.1),
    "momentum": (lambda rate: SGD(rate, momentum=0.9, nesterov=True), 0.03),
    "adam": (Adam, 0.003),
    "adamw": (AdamW, 0.003),
}
SCHEDULES = ("one-cycle", "cosine", "step", "constant")
# Small sets need more passes.
EPOCHS = {"digits": 10, "mnist": 3, "fashion-mnist": 5}


@click.command()
@options.dataset
@options.data_dir
@options.image_size
@click.option("--network", type=click.Choice(list(NETWORKS)), default="basic", show_default=True)
@options.backend
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help=f"Passes over the training images.  [default: {EPOCHS}]".replace("'", ""),
)
@click.option("--batch-size", type=click.IntRange(min=1), default=32, show_default=True)
@click.option(
    "--optimizer",
    type=click.Choice(list(OPTIMIZERS)),
    default="adamw",
    show_default=True,
    help="momentum is SGD with Nesterov momentum 0.9.",
)
@click.option(
    "--learning-rate",
    type=options.FiniteFloat(0.0, strict=True),
    help="The highest of the schedule.  [default: 0.003 adam, adamw; 0.1 sgd; 0.03 momentum]",
)
@click.option(
    "--schedule",
    type=click.Choice(SCHEDULES),
    default="one-cycle",
    show_default=True,
    help="step divides the rate by 10 after each third of the training.",
)
@click.option(
    "--validation",
    type=options.FiniteFloat(0.0, below=1.0),
    default=float(Fraction(1, 12)),
    show_default="1/12",
    help="Share of the training images held out to watch the training; the test images are not.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@options.limit
@click.option("--log-steps", is_flag=True, help="Write every step's loss to steps.jsonl.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for the run, new or empty.  [default: runs/DATASET-NETWORK-DATE-TIME]",
)
@options.as_json
@options.debug
def train(
    dataset: str,
    data_dir: Path | None,
    image_size: tuple[int, int] | None,
    network: str,
    backend: str,
    epochs: int | None,
    batch_size: int,
    optimizer: str,
    learning_rate: float | None,
    schedule: str,
    validation: float,
    seed: int,
    limit: int | None,
    log_steps: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Train a network and measure it once on the test images.

    Without options: the digits that ship inside, 10 epochs, about a second.
    """
    settings = dict(click.get_current_context().params)
    chosen = get_backend(backend)
    with download_bar() as progress:
        data = load_dataset(dataset, data_dir, progress, image_size=image_size, seed=seed)
    data = data if limit is None else data.limited(limit)
    kept, held_out = split_validation(data.train_labels, validation, seed)
    model = Model(
        _network(network, data),
        data.image_shape,
        backend=chosen,
        seed=seed,
        class_names=data.class_names,
    )
    epochs = EPOCHS.get(dataset, EPOCHS["digits"]) if epochs is None else epochs
    steps = epochs * -(-len(kept) // min(batch_size, len(kept)))
    make_optimizer, usual_rate = OPTIMIZERS[optimizer]
    learning_rate = usual_rate if learning_rate is None else learning_rate
    folder = RunFolder(out if out is not None else new_run_path(f"{data.name}-{network}"))
    folder.write_config(
        _config(
            settings,
            epochs=epochs,
            learning_rate=learning_rate,
            backend=chosen.name,
            batch_size=min(batch_size, len(kept)),
        )
    )
    began = time.perf_counter()
    log, history = RunLog(folder, model, log_steps), None
    try:
        with training_bar(quiet=as_json) as bar:
            history = model.fit(
                select(data.train_images, kept),
                data.train_labels[kept],
                epochs=epochs,
                batch_size=batch_size,
                optimizer=make_optimizer(_schedule(schedule, learning_rate, steps)),
                validation=(select(data.train_images, held_out), data.train_labels[held_out])
                if len(held_out)
                else None,
                callbacks=(log, bar),
            )
    finally:
        if log.begun:
            model.save(folder.model)
            if history is None:
                notice(f"the model as trained so far is in {folder.model}")
    with counting_bar("testing", len(data.test_images)) as counted:
        test = model.evaluate(data.test_images, data.test_labels, counted)
    seconds = sum(record.seconds for record in history)
    summary = {
        "test_loss": test.loss,
        "test_accuracy": test.accuracy,
        "images_per_second": len(kept) * len(history) / seconds,
        "seconds": seconds,
        "total_seconds": time.perf_counter() - began,
        "epochs": len(history),
        "backend": chosen.name,
        "device": chosen.device_name,
        "versions": _versions(chosen),
    }
    folder.write_summary(summary)
    if as_json:
        records = [asdict(record) for record in history]
        show_json(
            {"run": str(folder.path), "model": str(folder.model), **summary, "history": records}
        )
    else:
        show(f"test loss {test.loss:.4f}  test accuracy {test.accuracy:.2%}")
        show(f"trained in {seconds:.2f} s on {chosen.name}, {chosen.device_name}")
        show(f"saved to {folder.path}")


def _config(settings: dict[str, Any], **resolved: Any) -> dict[str, Any]:
    """The settings of a run for JSON, defaults made explicit."""
    kept = {name: value for name, value in settings.items() if name not in ("out", "as_json")}
    return {
        name: str(value) if isinstance(value, Path) else value
        for name, value in (kept | resolved).items()
    }


def _versions(backend: Backend) -> dict[str, str]:
    """What ran: this package, Python, the array library."""
    found = {"arraycnn": metadata.version("arraycnn"), "python": platform.python_version()}
    for package in ("numpy", "numba"):
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found | {backend.name: backend.version}


def _network(name: str, data: DataSet) -> Layer:
    """The network for the data's classes, or an error that names the smallest image it takes."""
    network = NETWORKS[name](classes=len(data.class_names))
    height, width, channels = data.image_shape
    smallest = smallest_image(network, channels)
    if smallest is not None and min(height, width) < smallest:
        message = (
            f"network {name}: takes images of at least {smallest}x{smallest} pixels, "
            f"{data.name} has {height}x{width}; choose another --network or --dataset"
        )
        raise InvalidValueError(message)
    return network


def _schedule(name: str, rate: float, steps: int) -> Schedule:
    if name == "one-cycle":
        return OneCycle(rate)
    if name == "cosine":
        return Cosine(rate)
    if name == "step":
        return StepDecay(rate, every=max(1, steps // 3))
    return Constant(rate)
