"""Remedies of the command line: run folders, train, resume, evaluate, predict, export, import."""

import errno
import io
import json
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import arraycnn as cnn
from arraycnn.errors import CheckpointError
from remedies import making
from remedies.following import Here, follows

_QUICK = ("--backend", "numpy", "--limit", 60, "--epochs", 1, "--network", "scratch")


_KEPT: dict[str, bytes] = {}
"""The files of a run: all cases begin with the same one, so it is trained once."""


def _train(here: Here, *arguments, out: str = "run") -> Path:
    folder = here.path / out
    if arguments or not _KEPT:
        here.accepted_command("train", *_QUICK, "--out", out, *arguments)
    if not arguments and not _KEPT:
        _KEPT.update({path.name: path.read_bytes() for path in folder.iterdir()})
    folder.mkdir(exist_ok=True)
    if not arguments:
        for name, content in _KEPT.items():
            (folder / name).write_bytes(content)
    return folder


def _report(here: Here) -> tuple[str, ...]:
    """The command for a report on "run", which draws nothing: only what comes before can refuse."""
    from arraycnn.cli import report

    here.patch.setattr(report, "write_report", lambda runs, folder: folder / "report.html")
    return ("report", "run", "--backend", "numpy")


def _command(text: str) -> list[str]:
    """The arguments of a command ``arraycnn ...`` as a message has it."""
    return shlex.split(text)[1:]


@follows("cli/__init__.py", "--debug shows where")
def an_internal_error(here: Here) -> None:
    from arraycnn.cli import info

    def broken(*_: object, **__: object) -> None:
        message = "planted"
        raise RuntimeError(message)

    here.patch.setattr(info.info, "callback", broken)
    code, _, lines = here.cli("info")
    assert code == 1
    here._see("\n".join(lines))
    code, _, lines = here.cli("info", "--debug")
    assert any(line.startswith("Traceback") for line in lines)
    assert any("raise RuntimeError(message)" in line for line in lines)


@follows("cli/__init__.py", "use smaller batches, or fewer or smaller images")
def memory_runs_out(here: Here) -> None:
    def limited(data: object, count: int, *seed: int) -> object:
        if count > 100:
            raise MemoryError
        return original(data, count, *seed)

    from arraycnn.data.dataset import DataSet

    original = DataSet.limited
    here.patch.setattr(DataSet, "limited", limited)
    here.refused_command("train", "--backend", "numpy", "--limit", 200, "--out", "run")
    shutil.rmtree(here.path / "run", ignore_errors=True)
    here.accepted_command("train", *_QUICK, "--out", "run")


@follows("cli/evaluate.py", "--part all measures on every image")
def evaluated_on_the_part_held_out(here: Here) -> None:
    making.write_pictures(here.path / "pets", count=12)
    run = ("train", "--dataset", "pets", "--network", "scratch", "--epochs", 1)
    here.accepted_command(*run, "--backend", "numpy", "--out", "run")
    evaluate = ("evaluate", "run/last.npz", "--dataset", "pets", "--json", "--backend", "numpy")
    here.told_command(*evaluate)
    out = here.accepted_command(*evaluate, "--part", "all")
    assert json.loads(out)["images"] == 24


@follows("cli/export.py", "choose another --out, or add --force")
def an_export_that_exists(here: Here) -> None:
    run = _train(here)
    export = ("export", run / "last.npz", "--format", "safetensors")
    here.accepted_command(*export)
    (run / "last.safetensors").write_bytes(b"something else")
    here.refused_command(*export)
    here.accepted_command(*export, "--out", here.path / "other.safetensors")
    here.accepted_command(*export, "--force")


@follows("cli/import_weights.py", "leave them out")
def a_shape_for_a_file_that_has_one(here: Here) -> None:
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    run = _train(here)
    here.accepted_command("export", run / "last.npz", "--format", "safetensors")
    given = ("import", run / "last.safetensors", "--out", here.path / "m.npz")
    here.refused_command(*given, "--input-shape", "8x8", "--classes", 10)
    here.accepted_command(*given)


@follows("cli/bench.py", "leave it out")
def a_shape_to_bench_a_file_that_has_one(here: Here) -> None:
    run = _train(here)
    given = (
        "bench",
        run,
        "--backend",
        "numpy",
        "--seconds",
        0.001,
        "--batch-size",
        1,
        "--no-torch",
    )
    here.refused_command(*given, "--input-shape", "8x8")
    here.accepted_command(*given)


def _exported(here: Here) -> Path:
    """The weights of a run, without what describes their network."""
    library = pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")
    run = _train(here)
    here.accepted_command("export", run / "last.npz", "--format", "safetensors")
    arrays = library.load_file(run / "last.safetensors")
    library.save_file(arrays, here.path / "w.safetensors")
    return here.path / "w.safetensors"


_IMPORT = ("--network", "scratch", "--input-shape", "8x8", "--force")


@follows("cli/import_weights.py", "where one was not used give 0 or 1 for it")
def a_mean_without_its_deviation(here: Here) -> None:
    given = ("import", _exported(here), *_IMPORT, "--mean", 0.1307)
    here.refused_command(*given)
    here.accepted_command(*given, "--std", 1)


@follows(
    "cli/import_weights.py",
    "were the weights trained behind another Normalize, give its --mean and --std",
)
def weights_trained_behind_another_normalize(here: Here) -> None:
    given = ("import", _exported(here), *_IMPORT)
    assert re.search(here.remedy.pattern(), here._see(here.cli(*given)[1]))
    out = here.accepted_command(*given, "--mean", 0.1307, "--std", 0.3081)
    assert not re.search(here.remedy.pattern(), out)
    assert "0.1307" in out


@follows("export/safetensors_import.py", "begin it with Rescale()")
def a_mean_for_a_network_that_scales_nothing(here: Here) -> None:
    from arraycnn.export import export_safetensors, import_safetensors

    pytest.importorskip("safetensors", reason="safetensors is not installed")
    raw = cnn.Sequential(cnn.Flatten(), cnn.Dense(3))
    export_safetensors(cnn.Model(raw, (8, 8)), here.path / "raw.safetensors")
    scaling = cnn.Rescale(0.1307, 0.3081)
    with here.refused():
        import_safetensors(here.path / "raw.safetensors", raw, (8, 8), scaling=scaling)
    export_safetensors(making.model(), here.path / "w.safetensors")
    import_safetensors(here.path / "w.safetensors", making.small(), (8, 8), scaling=scaling)


def _stdin(here: Here, content: bytes) -> None:
    here.patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def _predicted(here: Here, make_wrong: Callable[[], str], make_right: Callable[[], str]) -> None:
    """Something to predict is refused, and when changed as told is not."""
    run = _train(here)
    predict = ("predict", run / "last.npz", "--backend", "numpy")
    here.refused_command(*predict, make_wrong())
    here.accepted_command(*predict, make_right())


def _picture(here: Here, name: str) -> str:
    path = here.path / name
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(making.some()[0][0, :, :, 0]).save(path)
    return str(path)


@follows("cli/pictures.py", "check the folder")
def a_pattern_without_files(here: Here) -> None:
    pattern = str(here.path / "pictures" / "*.png")
    _predicted(here, lambda: pattern, lambda: _picture(here, "pictures/a.png") and pattern)


@follows("cli/pictures.py", "name another")
def a_folder_without_pictures(here: Here) -> None:
    (here.path / "empty").mkdir()
    full = here.path / "full"
    _predicted(
        here, lambda: str(here.path / "empty"), lambda: _picture(here, "full/a.png") and str(full)
    )


@follows("cli/pictures.py", "write its paths, one a line")
def standard_input_without_a_line(here: Here) -> None:
    def wrong() -> str:
        _stdin(here, b"\n")
        return "-"

    def right() -> str:
        paths = [_picture(here, "a.png"), _picture(here, "b.png")]
        _stdin(here, "\n".join(paths).encode())
        return "-"

    _predicted(here, wrong, right)


@follows("cli/pictures.py", "name a file")
def standard_input_of_something_else(here: Here) -> None:
    def wrong() -> str:
        _stdin(here, b"\xff\xfe\x00what")
        return "-"

    _predicted(here, wrong, lambda: _picture(here, "a.png"))


@follows("cli/pictures.py", "save it to a file")
def standard_input_too_large(here: Here) -> None:
    from arraycnn.cli import pictures

    here.patch.setattr(pictures, "_STDIN_BYTES", 1000)
    content = io.BytesIO()
    np.save(content, making.some(40)[0])

    def wrong() -> str:
        _stdin(here, content.getvalue())
        return "-"

    def right() -> str:
        (here.path / "x.npy").write_bytes(content.getvalue())
        return str(here.path / "x.npy")

    _predicted(here, wrong, right)


@follows("cli/pictures.py", "rename the array")
def two_arrays_without_a_known_name(here: Here) -> None:
    path = here.path / "x.npz"
    images = making.some()[0]

    def written(**arrays: np.ndarray) -> str:
        np.savez(path, **arrays)
        return str(path)

    _predicted(here, lambda: written(a=images, b=images), lambda: written(images=images, b=images))


@follows("cli/predict.py", "see the lines above")
def pictures_of_which_one_is_damaged(here: Here) -> None:
    run = _train(here)
    predict = ("predict", run / "last.npz", "--backend", "numpy")
    (here.path / "bad.png").write_bytes(b"no picture")
    good = _picture(here, "good.png")
    here.refused_command(*predict, good, here.path / "bad.png")
    above = next(line for line in here.message.splitlines() if "bad.png" in line)
    assert "use PNG or JPEG" in above
    Image.open(good).save(here.path / "bad.png")
    here.accepted_command(*predict, good, here.path / "bad.png")


@follows("cli/predict.py", "--no-invert leaves them as they are")
def a_picture_of_the_opposite_background(here: Here) -> None:
    from arraycnn.data import load_dataset

    run = _train(here)
    image = load_dataset("digits").test_images[0, :, :, 0]
    Image.fromarray(255 - image).save(here.path / "x.png")
    predict = ("predict", run / "last.npz", "--backend", "numpy", here.path / "x.png")
    here.told_command(*predict)
    here.accepted_command(*predict, "--no-invert")


@follows("cli/report.py", "reporting on {}")
def a_report_of_a_run_that_was_stopped(here: Here) -> None:
    run = _train(here)
    (run / "summary.json").unlink()
    here.told_command(*_report(here))
    assert f"reporting on {'best.npz' if 'best' in here.message else 'last.npz'}" in here.message


@follows("cli/resume.py", "that cannot change within a run: leave it out, or begin a new run")
def another_seed_on_resuming(here: Here) -> None:
    _train(here)
    here.refused_command("train", "--resume", "run", "--seed", 5)
    here.accepted_command("train", "--resume", "run")
    _train(here, "--seed", 5, out="new")


@follows("cli/resume.py", "leave that out, or add --override")
def other_epochs_on_resuming(here: Here) -> None:
    _train(here)
    here.refused_command("train", "--resume", "run", "--epochs", 2)
    here.accepted_command("train", "--resume", "run", "--epochs", 2, "--override")
    here.accepted_command("train", "--resume", "run")


@follows("cli/resume.py", "restore the file that belongs there")
def another_runs_save(here: Here) -> None:
    run = _train(here)
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
    _train(here)
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
        return here.refused_command("train", *_QUICK, "--out", "run")


@follows("cli/run.py", "arraycnn train --resume {}{} goes on")
def the_training_is_kept_elsewhere(here: Here) -> None:
    text = _stopped(here, lambda path: path.parent.name == "run")
    told = re.search(r"(arraycnn train --resume \S+) goes on", text)[1]
    here.accepted_command(*_command(told))


@follows("cli/run.py", "{} holds its last save")
def the_training_can_be_kept_nowhere(here: Here) -> None:
    run = _train(here)
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
        here.refused_command("train", *_QUICK, "--out", "run")
    here.accepted_command("train", *_QUICK, "--out", "again")


@follows("estimator.py", "give a function of the number of classes as network")
def an_estimators_network_of_other_classes(here: Here) -> None:
    pytest.importorskip("sklearn", reason="sklearn is not installed")
    images, labels = making.some()
    network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(5))
    with here.refused():
        cnn.CNNClassifier(network, epochs=1).fit(images, labels)
    cnn.CNNClassifier(making.small, epochs=1).fit(images, labels)


def _classifier(**given) -> "cnn.CNNClassifier":
    pytest.importorskip("sklearn", reason="sklearn is not installed")
    return cnn.CNNClassifier(making.small, epochs=1, **given)


@follows("estimator.py", "resize or reshape them")
def an_estimator_shown_another_size(here: Here) -> None:
    images, labels = making.some()
    fitted = _classifier().fit(images, labels)
    with here.refused():
        fitted.predict(images.reshape(-1, 16, 4, 1))
    fitted.predict(images.reshape(-1, 16, 4, 1).reshape(-1, 8, 8, 1))


@follows("estimator.py", "give the optimizer its own, as SGD(0.1)")
def an_estimator_with_two_learning_rates(here: Here) -> None:
    images, labels = making.some()
    with here.refused():
        _classifier(learning_rate=0.1, optimizer=cnn.SGD(0.2)).fit(images, labels)
    _classifier(optimizer=cnn.SGD(0.1)).fit(images, labels)


@follows("estimator.py", "correct it, or leave it out for X of (N, H, W, C)")
def an_estimators_wrong_image_shape(here: Here) -> None:
    images, labels = making.some()
    with here.refused():
        _classifier(image_shape=(9, 9)).fit(images, labels)
    _classifier(image_shape=(8, 8)).fit(images, labels)
    _classifier().fit(images, labels)


@follows("estimator.py", "give image_shape=(H, W, C), or X as (N, H, W, C)")
def rows_that_are_no_square(here: Here) -> None:
    images, labels = making.some()
    rows = images.reshape(len(images), -1)[:, :60]
    with here.refused():
        _classifier().fit(rows, labels)
    _classifier(image_shape=(6, 10, 1)).fit(rows, labels)
    _classifier().fit(rows.reshape(-1, 6, 10, 1), labels)


@follows("report/run.py", "wait for its first save, or train again")
def a_report_without_a_model(here: Here) -> None:
    run = _train(here)
    kept = {path: path.read_bytes() for path in run.glob("*.npz")}
    for path in kept:
        path.unlink()
    here.refused_command("report", "run", "--backend", "numpy")
    for path, content in kept.items():
        path.write_bytes(content)
    here.accepted_command("report", "run", "--backend", "numpy")


@follows(
    "storage/run_folder.py",
    "say what it is with --dataset, or hand the images over in Python: "
    "arraycnn.report.examine(model, images, labels)",
)
def a_report_on_no_data_set(here: Here) -> None:
    from arraycnn import report

    run = _train(here)
    config = json.loads((run / "config.json").read_text())
    del config["dataset"]
    (run / "config.json").write_text(json.dumps(config))
    here.refused_command(*_report(here))
    here.accepted_command(*_report(here), "--dataset", "digits")
    images, labels = making.some(12, 8, classes=10)
    report.examine(cnn.Model.load(run / "best.npz"), images, labels)


@follows("cli/report.py", "not compared")
def a_report_on_data_without_a_digest(here: Here) -> None:
    run = _train(here)
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "data_sha256": None}))
    here.told_command(*_report(here))
    (run / "config.json").write_text(json.dumps(config))
    here.accepted_command(*_report(here))


@follows("report/run.py", "restore it")
def a_report_of_a_damaged_size(here: Here) -> None:
    run = _train(here)
    text = (run / "config.json").read_text()
    (run / "config.json").write_text(json.dumps(json.loads(text) | {"image_size": "large"}))
    here.refused_command(*_report(here))
    (run / "config.json").write_text(text)
    here.accepted_command(*_report(here))


@follows("storage/run_folder.py", "check the path")
def a_folder_without_a_run(here: Here) -> None:
    here.refused_command("train", "--resume", here.path)
    _train(here)
    here.accepted_command("train", "--resume", "run")


@follows("storage/run_folder.py", "choose another --out, remove it, or go on with --resume {}")
def a_run_folder_that_is_not_empty(here: Here) -> None:
    _train(here)
    here.refused_command("train", *_QUICK, "--out", "run")
    here.accepted_command("train", *_QUICK, "--out", "another")
    here.accepted_command("train", "--resume", here.message.split()[-1])
    shutil.rmtree(here.path / "run")
    here.accepted_command("train", *_QUICK, "--out", "run")


@follows("storage/run_folder.py", "restore it")
def a_damaged_config(here: Here) -> None:
    run = _train(here)
    text = (run / "config.json").read_text()
    (run / "config.json").write_text(text[:-9])
    here.refused_command("train", "--resume", "run")
    (run / "config.json").write_text(text)
    here.accepted_command("train", "--resume", "run")


@follows("storage/run_folder.py", "choose another --out")
def a_run_folder_that_cannot_be_made(here: Here) -> None:
    (here.path / "file").write_text("in the way")
    here.refused_command("train", *_QUICK, "--out", "file/run")
    here.accepted_command("train", *_QUICK, "--out", "elsewhere")


@follows("storage/run_folder.py", "make it writable")
def a_run_folder_that_may_not_be_written(here: Here) -> None:
    from arraycnn.storage import run_folder

    run = _train(here)

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
        here.refused_command("train", *_QUICK, "--out", "run")
    here.accepted_command("train", *_QUICK, "--out", "run")


@follows("storage/run_folder.py", "say where it is with --data-dir")
def a_report_on_files_that_were_moved(here: Here) -> None:
    making.write_mnist_files(here.path / "before")
    train = ("train", "--dataset", "mnist", "--data-dir", here.path / "before", *_QUICK)
    here.accepted_command(*train, "--out", "run")
    (here.path / "before").rename(here.path / "after")
    report = _report(here)
    here.refused_command(*report)
    here.accepted_command(*report, "--data-dir", "after")


def _moved(here: Here) -> None:
    """A run on pictures, which then lie elsewhere."""
    making.write_pictures(here.path / "before", count=12)
    here.accepted_command("train", "--dataset", "before", *_QUICK, "--out", "run")
    (here.path / "before").rename(here.path / "after")


@follows("storage/run_folder.py", "say where it is now with --dataset")
def a_report_on_pictures_that_were_moved(here: Here) -> None:
    _moved(here)
    report = _report(here)
    here.refused_command(*report)
    here.accepted_command(*report, "--dataset", "after")


@follows("cli/options.py", "say where it is now with --dataset")
def a_run_resumed_on_pictures_that_were_moved(here: Here) -> None:
    _moved(here)
    resume = ("train", "--resume", "run")
    here.refused_command(*resume)
    here.accepted_command(*resume, "--dataset", "after")
