"""Reading run folders: whole, unfinished, old, damaged."""

import json
import re
import shlex

import numpy as np
import pytest
from PIL import Image

from arraycnn import RunFolderError
from arraycnn.cli.train import run_config, train
from arraycnn.data import load_dataset
from arraycnn.report import load_run_data, read_run
from arraycnn.report.run import unique_names

EPOCH = {
    "epoch": 1,
    "train_loss": 0.5,
    "train_accuracy": 0.8,
    "validation_loss": None,
    "validation_accuracy": None,
    "seconds": 1.5,
    "images_per_second": 100.0,
    "learning_rate": 0.1,
    "backend": "numpy",
}
STEP = {"epoch": 1, "step": 1, "loss": 2.0, "accuracy": 0.1, "learning_rate": 0.1}


@pytest.fixture
def folder(tmp_path):
    """A run folder whose model nobody reads."""
    path = tmp_path / "run"
    path.mkdir()
    (path / "config.json").write_text(json.dumps({"dataset": "digits", "limit": 20, "seed": 3}))
    (path / "metrics.jsonl").write_text(
        "".join(json.dumps({**EPOCH, "epoch": n}) + "\n" for n in (1, 2))
    )
    (path / "last.npz").write_bytes(b"")
    return path


def test_a_run_is_what_its_files_say(folder):
    run = read_run(folder)
    assert (run.name, run.config["seed"], run.summary) == ("run", 3, {})
    assert [record.epoch for record in run.epochs] == [1, 2]
    assert run.epochs[0].validation_loss is None
    assert run.steps == ()
    (folder / "steps.jsonl").write_text(json.dumps(STEP) + "\n")
    (folder / "summary.json").write_text('{"device": "CPU"}')
    run = read_run(str(folder))
    assert run.steps[0].loss == 2.0
    assert run.summary == {"device": "CPU"}


def test_what_a_loss_measures_besides_is_read_back(folder):
    """Lines as a log writes them, text of a user's own beside; those of before had none of it."""
    assert [record.others for record in read_run(folder).epochs] == [{}, {}]
    others = {"train_mean_absolute_error": 0.25, "validation_f1": 0.5}
    more = {"train_set": "mine", "validation_top_5_accuracy": float("nan"), "device": "CPU"}
    line = {**EPOCH, "train_accuracy": None, **others, **more}
    (folder / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    step = {**STEP, "mean_absolute_error": 0.3}
    del step["accuracy"]
    (folder / "steps.jsonl").write_text(json.dumps(step) + "\n")
    run = read_run(folder)
    assert (run.epochs[0].others, run.epochs[0].train_accuracy) == (others, None)
    assert (run.steps[0].accuracy, run.steps[0].loss) == (None, 2.0)


def test_the_best_model_comes_before_the_last_one(folder):
    for name in ("last.npz", "best.npz"):
        (folder / name).write_bytes(b"")
        assert read_run(folder).model_file == folder / name


def test_a_line_that_is_being_written_is_left_out(folder):
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"epoch": 3, "train_lo')
    assert len(read_run(folder).epochs) == 2


def test_a_run_without_an_epoch_has_none(folder):
    (folder / "metrics.jsonl").unlink()
    assert read_run(folder).epochs == ()


def test_values_that_are_not_finite_are_unknown(folder):
    (folder / "metrics.jsonl").write_text(json.dumps({**EPOCH, "train_loss": float("nan")}) + "\n")
    assert read_run(folder).epochs[0].train_loss is None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "holds no run (no config.json)"),
        ("last.npz", None, "holds no model yet (best.npz, last.npz)"),
        ("config.json", b"{", "config.json is damaged"),
        ("config.json", b"[]", "config.json is damaged (it is no table of names and values)"),
        ("config.json", b"\xff", "config.json is damaged"),
        ("config.json", b"[" * 100_000, "config.json is damaged"),
        ("summary.json", b"nothing", "summary.json is damaged"),
        ("metrics.jsonl", b'{"epoch": 1}\n', "metrics.jsonl line 1 lacks 'train_loss'"),
        (
            "metrics.jsonl",
            json.dumps({**EPOCH, "seconds": "long"}).encode() + b"\n",
            "metrics.jsonl line 1 lacks a number",
        ),
        ("metrics.jsonl", b"{\n", "metrics.jsonl is damaged"),
        ("steps.jsonl", b"7\n", "steps.jsonl is damaged (it is no table of names and values)"),
    ],
)
def test_what_is_damaged_is_named_in_one_line(folder, name, content, message):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(RunFolderError, match=re.escape(message)) as caught:
        read_run(folder)
    assert str(caught.value).startswith(f"run folder {folder}: ")
    assert "\n" not in str(caught.value)


def test_the_data_are_those_of_the_run(folder):
    data = load_run_data(read_run(folder))
    assert (data.name, len(data.test_images)) == ("digits", 20)


def test_pictures_of_ones_own_are_split_and_stretched_as_in_the_run(folder, tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(10):
            picture = Image.new("L", (6, 8 + number // 5), number)
            picture.save(tmp_path / "pets" / name / f"{number}.png")
    pets, seed, size = str(tmp_path / "pets"), 3, (5, 4)
    config = {"dataset": pets, "seed": seed, "image_size": "5x4", "limit": None}
    (folder / "config.json").write_text(json.dumps(config))
    trained_on = load_dataset(pets, image_size=size, seed=seed)
    data = load_run_data(read_run(folder))
    assert data.image_shape == (5, 4, 1)
    assert np.array_equal(data.test_images, trained_on.test_images)
    assert not np.array_equal(data.test_images, load_dataset(pets, image_size=size).test_images)


@pytest.mark.parametrize(
    ("config", "kind", "message"),
    [
        ({}, RunFolderError, "names no data set"),
        ({"dataset": "mnist", "data_dir": "absent"}, RunFolderError, "say where it is with --data"),
        ({"dataset": "cifar"}, RunFolderError, "say where it is now with --dataset"),
        ({"dataset": "x", "image_size": "wide"}, RunFolderError, "must be a size such as 32x32"),
    ],
)
def test_data_that_cannot_be_found_are_an_error(folder, config, kind, message):
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(kind, match=message):
        load_run_data(read_run(folder))


@pytest.mark.parametrize(
    "settings",
    [
        ["--dataset", "mnist", "--data-dir", "my data", "--network", "lenet5"],
        ["--dataset", ".", "--image-size", "32x30x1", "--backend", "cupy", "--no-graph"],
        ["--backend", "cupy", "--graph", "--device", "1", "--precision", "tf32"],
        ["--from", "old.npz", "--freeze", "0", "--freeze", "1.bias"],
        ["--augment", "shift=1", "--augment", "mixup", "--recipe", "cifar"],
    ],
)
def test_the_command_repeats_the_settings(folder, settings):
    settings = [
        *settings,
        "--epochs",
        "2",
        "--learning-rate",
        "0.001",
        "--seed",
        "7",
        "--log-steps",
    ]
    given = train.make_context("train", list(settings)).params
    config = run_config(given, data_sha256="0" * 64, from_sha256="1" * 64)
    (folder / "config.json").write_text(json.dumps(config))
    words = shlex.split(read_run(folder).command)
    assert words[:2] == ["arraycnn", "train"]
    assert train.make_context("train", words[2:]).params == given


def test_runs_of_one_name_are_told_apart_by_their_paths(folder, tmp_path):
    other = tmp_path / "elsewhere" / "run"
    other.parent.mkdir()
    other.symlink_to(folder)
    third = tmp_path / "third"
    third.mkdir()
    for file in folder.iterdir():
        (third / file.name).write_bytes(file.read_bytes())
    one, three = read_run(folder), read_run(third)
    assert unique_names([one, three]) == ["run", "third"]
    names = unique_names([one, read_run(other), three])
    path = str(folder.resolve())
    assert names == [path, f"{path} (2)", "third"]
