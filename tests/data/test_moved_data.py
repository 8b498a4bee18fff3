"""Data that are no longer where they were when the run began: what is said, and that it helps."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PLAIN = ("--backend", "numpy", "--no-fast")
TRAIN = ("--network", "scratch", *PLAIN, "--epochs", "1")


def pictures(folder, seed=0):
    rng = np.random.default_rng(seed)
    for part, count in (("train", 8), ("test", 4)):
        for number, name in enumerate(("cat", "dog")):
            place = folder / part / name
            place.mkdir(parents=True)
            for file in range(count):
                pixels = rng.integers(0, 100, (10, 10), np.uint8) + np.uint8(100 * number)
                Image.fromarray(pixels).save(place / f"{file}.png")
    return folder


def arrays(file, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(20) % 2
    images = rng.integers(0, 100, (20, 10, 10), np.uint8) + np.uint8(100) * labels[
        :, None, None
    ].astype(np.uint8)
    np.savez(file, images=images, labels=labels)
    return file


@pytest.fixture(params=["pictures", "arrays"])
def run(request, tmp_path, cli):
    """A run, whose data were moved: where they are now."""
    made = pictures(tmp_path / "set") if request.param == "pictures" else arrays(tmp_path / "a.npz")
    code, _, errors = cli("train", "--dataset", made.name, *TRAIN, "--out", "run")
    assert code == 0, errors
    return shutil.move(made, tmp_path / f"moved-{made.name}")


def test_evaluate_takes_the_runs_data_and_then_those_it_is_told_of(run, cli):
    code, _, (line,) = cli("evaluate", "run/last.npz", *PLAIN)
    assert code == 2
    assert "must exist" in line
    assert "say where it is now with --dataset" in line
    code, out, errors = cli("evaluate", "run/last.npz", "--dataset", run, *PLAIN, "--json")
    assert code == 0, errors
    summary = json.loads(Path("run/summary.json").read_text())
    assert json.loads(out)["accuracy"] == summary["test_accuracy"]
    shutil.move(run, json.loads(Path("run/config.json").read_text())["dataset"])
    code, out, errors = cli("evaluate", "run/last.npz", *PLAIN, "--json")
    assert code == 0, errors
    assert json.loads(out)["accuracy"] == summary["test_accuracy"]


def test_a_run_goes_on_with_data_that_were_moved(run, cli):
    code, _, errors = cli("train", "--resume", "run")
    assert code == 2
    assert "is gone; say where it is now with --dataset" in errors[-1]
    more = ("--epochs", "2", "--override", "--dataset", run)
    code, _, errors = cli("train", "--resume", "run", *more)
    assert code == 0, errors
    assert json.loads(Path("run/config.json").read_text())["dataset"] == str(run)
    # Of a finished run, nothing but its place has changed: that needs no --override.
    code, _, errors = cli("train", "--resume", "run", "--dataset", run)
    assert code == 0, errors
    assert any("is finished" in line for line in errors)


def test_a_run_does_not_go_on_with_other_data_there(run, cli, tmp_path):
    other = (pictures if run.is_dir() else arrays)(tmp_path / f"other-{run.name}", seed=1)
    code, _, errors = cli("train", "--resume", "run", "--dataset", other)
    assert code == 2
    assert "--dataset was" in errors[-1]
    assert "digests" in errors[-1]


def test_report_says_the_remedy_and_takes_it(run, cli, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    monkeypatch.setattr("arraycnn.cli.report.write_report", lambda pairs, folder: folder)
    code, _, errors = cli("report", "run", *PLAIN)
    assert code == 2
    assert "say where it is now with --dataset" in errors[-1]
    code, out, errors = cli("report", "run", "--dataset", run, *PLAIN, "--json")
    assert code == 0, errors
    assert not any("digest" in line for line in errors)
    summary = json.loads(Path("run/summary.json").read_text())
    assert json.loads(out)["runs"][0]["accuracy"] == summary["test_accuracy"]
    other = (pictures if run.is_dir() else arrays)(tmp_path / f"other-{run.name}", seed=1)
    code, _, errors = cli("report", "run", "--dataset", other, *PLAIN)
    assert code == 0, errors
    assert any("is not the data it was trained on" in line for line in errors)


def test_a_relative_path_from_another_folder_is_data_that_are_gone(run, cli, tmp_path, monkeypatch):
    shutil.move(run, json.loads(Path("run/config.json").read_text())["dataset"])
    monkeypatch.chdir(tmp_path / "run")
    code, _, errors = cli("train", "--resume", ".")
    assert code == 2
    assert "say where it is now with --dataset" in errors[-1]


def test_a_data_folder_that_is_gone_is_said_with_its_option(cli, tmp_path):
    config = {"dataset": "mnist", "data_dir": str(tmp_path / "gone")}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    from arraycnn import Model
    from arraycnn.networks import scratch

    Model(scratch(), (28, 28)).save(tmp_path / "run" / "last.npz")
    for command in (("evaluate", "run/last.npz"), ("report", "run")):
        code, _, errors = cli(*command, *PLAIN)
        assert code == 2
        assert "say where it is with --data-dir" in errors[-1]
