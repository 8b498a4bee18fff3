"""What ``arraycnn train`` does once all is prepared: train, measure, report."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arraycnn.callbacks import (
    BestCheckpoint,
    Callback,
    Checkpoint,
    CSVLog,
    EarlyStopping,
    JSONLog,
    StepLog,
    TensorBoard,
    TimeLimit,
)
from arraycnn.callbacks.logs import write_records
from arraycnn.cli.console import counted, counting_bar, notice, show, show_json, training_bar
from arraycnn.cli.measures import measures
from arraycnn.cli.networks import named_again
from arraycnn.cli.ranks import Ranks
from arraycnn.cli.signals import exit_code, stopping_on_signals
from arraycnn.data.image_source import Images
from arraycnn.errors import (
    ArraycnnError,
    DeviceLostError,
    NonFiniteError,
    OutOfMemoryError,
    RunFolderError,
)
from arraycnn.model.model import Model
from arraycnn.networks.user_code import UserCode
from arraycnn.optimizers import Optimizer
from arraycnn.storage.provenance import source_commit, versions
from arraycnn.storage.run_folder import RunFolder, unused
from arraycnn.training.history import Metrics
from arraycnn.training.state import TrainingState

ImageSet = tuple[Images, np.ndarray]


@dataclass(frozen=True, eq=False)
class Job:
    """A run that is ready to begin, or to go on from ``training``.

    ``config`` is the content of config.json; ``code`` what a user's file with the network defines;
    image sets are (images, labels). The first of several ranks alone has a folder.
    """

    config: dict[str, Any]
    code: UserCode
    model: Model
    override: bool
    images: Images
    labels: np.ndarray
    validation: ImageSet | None
    test: ImageSet
    optimizer: Optimizer
    time_limit: float | None
    ranks: Ranks
    training: TrainingState | None = None
    folder: Any = None


def carry_out(job: Job, as_json: bool) -> None:
    """Train, measure on the test images, write the summary, and show it."""
    job.ranks.agreed(True)
    began, commit = time.perf_counter(), source_commit()  # before somebody changes the source
    ended_by = _train(job, quiet=as_json)
    summary = _summary(job, ended_by) | {"commit": commit}
    summary["total_seconds"] = time.perf_counter() - began
    job.folder.write_summary(summary)
    _report(job.folder, summary, as_json)


def follow(job: Job) -> None:
    """The part in `carry_out` of the ranks that have no folder."""
    if not job.ranks.agreed(True):
        return
    with stopping_on_signals():  # a signal reaches all; the first rank decides
        _fit(job, [])
    stopped: int | None = job.ranks.agreed(None)
    if stopped is not None:
        raise SystemExit(exit_code(stopped))
    _measure(job, job.model, "testing")
    if (best := job.ranks.agreed(None)) is not None:
        job.model.assign(*best)
        _measure(job, job.model, "testing the best epoch's model")


def _fit(job: Job, callbacks: Sequence[Callback]) -> None:
    job.model.fit(
        *(job.images, job.labels),
        epochs=job.config["epochs"],
        batch_size=job.config["batch_size"],
        optimizer=job.optimizer,
        accumulate=job.config["accumulate"],
        validation=job.validation,
        callbacks=callbacks,
        resume=job.training,
        override=job.override,
        distributed=job.ranks.settings,
    )


def say_finished(folder: RunFolder, as_json: bool) -> None:
    """Show the result of a run that has nothing left to do."""
    notice(f"run folder {folder.path}: is finished; --epochs N --override would train it further")
    _report(folder, folder.read_summary() or {}, as_json)


def _train(job: Job, quiet: bool) -> str:
    """Fit the model; what ended it: "epochs", "patience" or "time limit"."""
    folder, model, config = job.folder, job.model, job.config
    patience, limit = config["patience"], job.time_limit
    stopping = EarlyStopping(patience, config["monitor"]) if patience else None
    timing = TimeLimit(limit) if limit else None
    with training_bar(quiet) as bar, stopping_on_signals() as stop:
        callbacks = [
            *_logs(job),
            *(callback for callback in (stopping, timing) if callback is not None),
            stop,
            bar,
            # Last, so that a training is never saved before its lines are.
            Checkpoint(model, folder.last, config["save_every"]),
            BestCheckpoint(model, folder.best, config["monitor"]),
        ]
        with _nothing_lost(job):
            _fit(job, callbacks)
    job.ranks.agreed(stop.received)
    if stop.received is not None:
        place = model.unfinished.place if model.unfinished else "its end"
        more = named_again(config)
        notice(f"stopped at {place} and saved; arraycnn train --resume {folder.path}{more} goes on")
        raise SystemExit(exit_code(stop.received))
    if model.unfinished is None:
        return "epochs"
    return "patience" if stopping is not None and stopping.stopped else "time limit"


def _logs(job: Job) -> Iterator[Callback]:
    folder = job.folder
    yield JSONLog(folder.metrics, _where(job))
    if job.config["log_steps"]:
        yield StepLog(folder.steps)
    if job.config["csv"]:
        yield CSVLog(folder.table)
    if job.config["tensorboard"]:
        yield TensorBoard(folder.events)


def _where(job: Job) -> dict[str, str]:
    backend = job.model.backend
    return {"backend": backend.name, "device": backend.device_name}


@contextlib.contextmanager
def _nothing_lost(job: Job) -> Iterator[None]:
    """Where the run folder fails, keep the training elsewhere; in any case say where it is."""
    folder = job.folder
    try:
        yield
    except NonFiniteError:
        notice(f"the model of the last finite loss is in {folder.last}")
        raise
    except OutOfMemoryError as error:
        if training := job.model.unfinished:
            with contextlib.suppress(MemoryError):  # the save before it is whole
                job.model.save(folder.last, training)
        size = error.batch_size or "N"
        smaller = f"--batch-size {size} --override{named_again(job.config)}"
        notice(f"arraycnn train --resume {folder.path} {smaller} goes on from the last save")
        raise
    except DeviceLostError:
        more = named_again(job.config)
        notice(f"arraycnn train --resume {folder.path}{more} goes on from the last save")
        raise
    except (ArraycnnError, OSError) as error:
        training = job.model.unfinished
        if training is not None and training.position:
            _rescue(job, training)
        if isinstance(error, OSError) and not isinstance(error, ArraycnnError):
            message = f"run folder {folder.path}: cannot be written ({error.strerror or error})"
            raise RunFolderError(f"{message}; check folder and disk") from error
        raise


def _rescue(job: Job, training: TrainingState) -> None:
    name = f"{job.folder.path.name}-rescued"
    for parent in (job.folder.path.parent, Path(tempfile.gettempdir())):
        path = unused(parent / name)
        try:
            with RunFolder.create(path, job.config) as folder:
                write_records(folder.metrics, training.records, _where(job))
                for file in job.folder.logs_and_best():
                    shutil.copy(file, folder.path)
                job.model.save(folder.last, training)
        except (ArraycnnError, OSError):
            shutil.rmtree(path, ignore_errors=True)
        else:
            more = named_again(job.config)
            notice(
                f"the training so far is in {path}; arraycnn train --resume {path}{more} goes on"
            )
            return
    notice(f"the training could be saved nowhere else; {job.folder.last} holds its last save")


def _summary(job: Job, ended_by: str) -> dict[str, Any]:
    model, folder = job.model, job.folder
    test = _measure(job, model, "testing")
    records = folder.records()
    timed = [record for record in records if record.get("seconds") is not None]
    seconds = sum(record["seconds"] for record in timed)
    images = sum(record["seconds"] * record["images_per_second"] for record in timed)
    return {
        **_measured(test),
        "best": _best(job, test),
        "ended_by": ended_by,
        "epochs": model.epochs_done,
        "images_per_second": images / seconds if seconds else 0.0,
        "seconds": seconds,
        "backend": model.backend.name,
        "device": model.backend.device_name,
        "versions": versions() | {model.backend.name: model.backend.version},
    }


def _best(job: Job, test: Metrics) -> dict[str, Any] | None:
    """The epoch that best.npz is of, and that model's measures."""
    if not job.folder.best.exists():
        job.ranks.agreed(None)
        return None
    classes = {"layers": job.code.layers, "losses": job.code.losses}
    best = Model.load(job.folder.best, backend=job.model.backend, **classes)
    differs = best.steps_done != job.model.steps_done
    job.ranks.agreed((best.parameters, best.state) if differs else None)
    if differs:
        test = _measure(job, best, "testing the best epoch's model")
    return {
        "epoch": best.epochs_done,
        "monitor": job.config["monitor"],
        **_measured(test),
    }


def _measure(job: Job, model: Model, title: str) -> Metrics:
    images, labels = job.test
    with counting_bar(title, len(images)) as progress:
        return model.evaluate(images, labels, progress, distributed=job.ranks.settings)


def _report(folder: RunFolder, summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        files = {"run": str(folder.path), "model": str(folder.last)}
        show_json({**files, **summary, "history": folder.records()})
        return
    show(_measures(summary))
    best = summary["best"]
    if best and best["epoch"] != summary["epochs"]:
        show(
            f"best epoch {best['epoch']} by {best['monitor'].replace('_', ' ')}: {_measures(best)}"
        )
    if summary["ended_by"] != "epochs":
        show(f"ended by its {summary['ended_by']} after {counted(summary['epochs'], 'epoch')}")
    show(f"trained in {summary['seconds']:.2f} s on {summary['backend']}, {summary['device']}")
    show(f"saved to {folder.path}")


def _measured(test: Metrics) -> dict[str, float]:
    """The loss as the model was trained with it, and what that measures, by name."""
    found = {"loss": test.loss, "accuracy": test.accuracy, **test.others}
    return {f"test_{name}": value for name, value in found.items() if value is not None}


def _measures(found: dict[str, Any]) -> str:
    """test loss 0.1234  test accuracy 98.76%, and what else was measured."""
    return measures({n: v for n, v in found.items() if n.startswith("test_")}, "test_")
