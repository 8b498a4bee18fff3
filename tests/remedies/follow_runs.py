"""Remedies of run folders: what is resumed, stopped, damaged or moved."""

import errno
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import arraycnn as cnn
from arraycnn.errors import CheckpointError
from remedies import making
from remedies.following import Here, follows
from remedies.trained import QUICK, report_command, trained


def _command(text: str) -> list[str]:
    """The arguments of a command ``arraycnn ...`` as a message has it."""
    return shlex.split(text)[1:]


@follows("cli/resume.py", "that cannot change within a run: leave it out, or begin a new run")
def another_seed_on_resuming(here: Here) -> None:
    trained(here)
    here.refused_command("train", "--resume", "run", "--seed", 5)
    here.accepted_command("train", "--resume", "run")
    trained(here, "--seed", 5, out="new")


@follows("cli/resume.py", "leave that out, or add --override")
def other_epochs_on_resuming(here: Here) -> None:
    trained(here)
    here.refused_command("train", "--resume", "run", "--epochs", 2)
    here.accepted_command("train", "--resume", "run", "--epochs", 2, "--override")
    here.accepted_command("train", "--resume", "run")


@follows("cli/resume.py", "restore the file that belongs there")
def another_runs_save(here: Here) -> None:
    run = trained(here)
    here.accepted_command(
        "train", "--backend", "numpy", "--limit", 60, "--epochs", 1, "--out", "other"
    )
    copy = (run / "last.npz").read_bytes()
    shutil.copy(here.path / "other" / "last.npz", run / "last.npz")
    (run / "summary.json").unlink()
    here.refused_command("train", "--resume", "run")
    (run / "last.npz").write_bytes(copy)
    here.accepted_command("train", "--resume", "run")


@follows("cli/run.py", "--epochs N --override would train it further")
def a_finished_run_is_resumed(here: Here) -> None:
    trained(here)
    here.told_command("train", "--resume", "run")
    here.accepted_command("train", "--resume", "run", "--epochs", 2, "--override")


def _stopped(here: Here, fails: Callable[[Path], bool]) -> str:
    """What the command says where no model file can be written to paths for which ``fails``."""
    from arraycnn.storage import checkpoint, model_file

    def write(path: str | Path, *content: object) -> None:
        if fails(Path(path)):
            message = f"model file {path}: cannot be written (No space left on device)"
            raise CheckpointError(message)
        checkpoint.write_checkpoint(path, *content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_file, "write_checkpoint", write)
        return here.refused_command("train", *QUICK, "--out", "run")


@follows("cli/run.py", "arraycnn train --resume {}{} goes on")
def the_training_is_kept_elsewhere(here: Here) -> None:
    text = _stopped(here, lambda path: path.parent.name == "run")
    told = re.search(r"(arraycnn train --resume \S+) goes on", text)[1]
    here.accepted_command(*_command(told))


@follows("cli/run.py", "{} holds its last save")
def the_training_can_be_kept_nowhere(here: Here) -> None:
    run = trained(here)
    (run / "summary.json").unlink()
    with pytest.MonkeyPatch.context() as patch:
        from arraycnn.storage import checkpoint, model_file

        def full(path: str | Path, *content: object) -> None:
            message = f"model file {path}: cannot be written (No space left on device)"
            raise CheckpointError(message)

        patch.setattr(model_file, "write_checkpoint", full)
        again = ("train", "--resume", "run", "--epochs", 2, "--override")
        here.refused_command(*again)
        assert checkpoint.write_checkpoint is not full
    assert str(Path("run") / "last.npz") in here.message
    cnn.Model.load_training(here.path / "run" / "last.npz")
    here.accepted_command(*again)


@follows("cli/run.py", "check folder and disk")
def a_log_that_cannot_be_written(here: Here) -> None:
    from arraycnn.callbacks.logs import JSONLog

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(JSONLog, "on_epoch", full)
        here.refused_command("train", *QUICK, "--out", "run")
    here.accepted_command("train", *QUICK, "--out", "again")


@follows("storage/run_folder.py", "check the path")
def a_folder_without_a_run(here: Here) -> None:
    here.refused_command("train", "--resume", here.path)
    trained(here)
    here.accepted_command("train", "--resume", "run")


@follows("storage/run_folder.py", "choose another --out, remove it, or go on with --resume {}")
def a_run_folder_that_is_not_empty(here: Here) -> None:
    trained(here)
    here.refused_command("train", *QUICK, "--out", "run")
    here.accepted_command("train", *QUICK, "--out", "another")
    here.accepted_command("train", "--resume", here.message.split()[-1])
    shutil.rmtree(here.path / "run")
    here.accepted_command("train", *QUICK, "--out", "run")


@follows("storage/run_folder.py", "restore it")
def a_damaged_config(here: Here) -> None:
    run = trained(here)
    text = (run / "config.json").read_text()
    (run / "config.json").write_text(text[:-9])
    here.refused_command("train", "--resume", "run")
    (run / "config.json").write_text(text)
    here.accepted_command("train", "--resume", "run")


@follows("storage/run_folder.py", "choose another --out")
def a_run_folder_that_cannot_be_made(here: Here) -> None:
    (here.path / "file").write_text("in the way")
    here.refused_command("train", *QUICK, "--out", "file/run")
    here.accepted_command("train", *QUICK, "--out", "elsewhere")


@follows("storage/run_folder.py", "make it writable")
def a_run_folder_that_may_not_be_written(here: Here) -> None:
    from arraycnn.storage import run_folder

    run = trained(here)

    def denied(folder: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(folder))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "FolderLock", denied)
        here.refused_command("train", "--resume", run)
    here.accepted_command("train", "--resume", run)


@follows("storage/run_folder.py", "check folder and disk")
def a_config_that_cannot_be_written(here: Here) -> None:
    from arraycnn.storage import run_folder

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder, "write_atomically", full)
        here.refused_command("train", *QUICK, "--out", "run")
    here.accepted_command("train", *QUICK, "--out", "run")


@follows("storage/run_folder.py", "say where it is with --data-dir")
def a_report_on_files_that_were_moved(here: Here) -> None:
    making.write_mnist_files(here.path / "before")
    train = ("train", "--dataset", "mnist", "--data-dir", here.path / "before", *QUICK)
    here.accepted_command(*train, "--out", "run")
    (here.path / "before").rename(here.path / "after")
    report = report_command(here)
    here.refused_command(*report)
    here.accepted_command(*report, "--data-dir", "after")


def _moved(here: Here) -> None:
    """A run on pictures, which then lie elsewhere."""
    making.write_pictures(here.path / "before", count=12)
    here.accepted_command("train", "--dataset", "before", *QUICK, "--out", "run")
    (here.path / "before").rename(here.path / "after")


@follows("storage/run_folder.py", "say where it is now with --dataset")
def a_report_on_pictures_that_were_moved(here: Here) -> None:
    _moved(here)
    report = report_command(here)
    here.refused_command(*report)
    here.accepted_command(*report, "--dataset", "after")


@follows("cli/options.py", "say where it is now with --dataset")
def a_run_resumed_on_pictures_that_were_moved(here: Here) -> None:
    _moved(here)
    resume = ("train", "--resume", "run")
    here.refused_command(*resume)
    here.accepted_command(*resume, "--dataset", "after")
