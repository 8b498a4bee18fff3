"""The command line as a user meets it: once through its real entry point, then in this process."""

import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from arraycnn import Model
from arraycnn.data import load_dataset
from arraycnn.storage.provenance import source_commit
from conftest import run_arraycnn

DATA = Path(__file__).parent.parent.parent.parent / "shared" / "data"
NOTICE = re.compile("using NumPy, because|using the files as your own")
QUICK = ("--backend", "numpy", "--epochs", "1", "--limit", "200")


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with the defaults: the first command a user tries."""
    folder = tmp_path_factory.mktemp("defaults")
    result = run_arraycnn("train", cwd=folder)
    assert result.returncode == 0, result.stderr
    (run_folder,) = (folder / "runs").iterdir()
    return result, run_folder


def test_the_first_command_needs_nothing_and_reaches_97_percent(trained):
    result, folder = trained
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["test_accuracy"] >= 0.97
    assert summary["seconds"] < summary["total_seconds"]
    assert {"test_loss", "images_per_second", "backend", "device", "versions"} <= set(summary)
    assert f"test accuracy {summary['test_accuracy']:.2%}" in result.stdout
    assert str(folder.name) in result.stdout
    # "auto" says in one line why it runs on NumPy; on a machine with CUDA there is nothing to say.
    assert result.stderr.count("using NumPy, because") == (summary["backend"] == "numpy")


def test_the_run_folder_tells_the_whole_story(trained):
    _, folder = trained
    config = json.loads((folder / "config.json").read_text())
    metrics = lines(folder / "metrics.jsonl")
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "metrics.jsonl",
        "last.npz",
        "best.npz",
        "summary.json",
    }
    assert config["dataset"] == "digits"
    assert config["network"] == "basic"
    assert [record["epoch"] for record in metrics] == list(range(1, config["epochs"] + 1))
    assert set(metrics[0]) == {
        "epoch",
        "train_loss",
        "train_accuracy",
        "validation_loss",
        "validation_accuracy",
        "seconds",
        "images_per_second",
        "learning_rate",
        "backend",
        "device",
    }
    assert metrics[-1]["train_loss"] < metrics[0]["train_loss"] / 4


def test_evaluate_finds_the_accuracy_of_the_summary(trained, tmp_path, command):
    _, folder = trained
    summary = json.loads((folder / "summary.json").read_text())
    result = command("evaluate", folder / "last.npz", "--dataset", "digits", "--json", cwd=tmp_path)
    metrics = json.loads(result.stdout)
    assert metrics["accuracy"] == summary["test_accuracy"]
    assert metrics["loss"] == pytest.approx(summary["test_loss"], rel=1e-6)
    assert metrics["images"] == 360
    plain = command("evaluate", folder / "last.npz", cwd=tmp_path)
    assert f"test accuracy {summary['test_accuracy']:.2%}  on 360 images" in plain.stdout


def test_predict_reads_pictures_of_any_size_and_polarity(trained, tmp_path, command):
    _, folder = trained
    data = load_dataset("digits")
    model = Model.load(folder / "last.npz")
    sure = np.flatnonzero(model.predict(data.test_images).max(axis=1) > 0.99)[:3]
    for number, index in enumerate(sure):
        pixels = data.test_images[index, :, :, 0]
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        Image.fromarray(255 - pixels).resize((80, 80), Image.Resampling.BICUBIC).save(
            tmp_path / f"inverted{number}.jpg", quality=95
        )
    expected = [str(data.test_labels[index]) for index in sure]
    result = command(
        "predict", folder / "last.npz", *sorted(tmp_path.glob("?.png")), "--json", cwd=tmp_path
    )
    predictions = json.loads(result.stdout)
    assert [p["class"] for p in predictions] == expected
    assert sum(predictions[0]["probabilities"].values()) == pytest.approx(1.0)
    plain = command(
        "predict", folder / "last.npz", "--invert", *sorted(tmp_path.glob("i*.jpg")), cwd=tmp_path
    )
    assert [line.split(": ")[1].split()[0] for line in plain.stdout.splitlines()] == expected


def test_json_is_all_that_stdout_gets_and_every_step_can_be_logged(tmp_path, command):
    result = command("train", *QUICK, "--json", "--log-steps", "--out", "run", cwd=tmp_path)
    value = json.loads(result.stdout)
    assert value["run"] == "run"
    steps = lines(tmp_path / "run" / "steps.jsonl")
    (record,) = lines(tmp_path / "run" / "metrics.jsonl")
    assert len(value["history"]) == 1
    assert [step["step"] for step in steps] == list(range(1, len(steps) + 1))
    kept = 200 - round(200 / 12)
    assert len(steps) == -(-kept // 32)
    sizes = [32] * (len(steps) - 1) + [kept - 32 * (len(steps) - 1)]
    mean = sum(size * step["loss"] for size, step in zip(sizes, steps, strict=True)) / kept
    assert record["train_loss"] == pytest.approx(mean)


def test_the_summary_says_what_ran(trained):
    summary = json.loads((trained[1] / "summary.json").read_text())
    assert {"arraycnn", "python", "numpy", summary["backend"]} <= set(summary["versions"])
    assert (summary["versions"]["numpy"], summary["commit"]) == (np.__version__, source_commit())


def test_the_same_seed_is_the_same_run(tmp_path, command):
    for name in ("one", "two"):
        assert command("train", *QUICK, "--seed", "3", "--out", name, cwd=tmp_path).returncode == 0
    assert (tmp_path / "one" / "last.npz").read_bytes() == (
        tmp_path / "two" / "last.npz"
    ).read_bytes()


@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("schedule", ["constant", "cosine", "step"])
def test_every_optimizer_and_schedule_trains(tmp_path, optimizer, schedule, command):
    chosen = ("--network", "scratch", "--optimizer", optimizer, "--schedule", schedule)
    result = command("train", *chosen, "--epochs", "3", "--json", cwd=tmp_path)
    assert json.loads(result.stdout)["test_accuracy"] > 0.6


def test_info_lists_every_backend(tmp_path, command):
    value = json.loads(command("info", "--json", cwd=tmp_path).stdout)
    assert value["versions"]["numpy"] == np.__version__
    backends = {backend["name"]: backend for backend in value["backends"]}
    assert set(backends) == {"numpy", "cupy", "torch", "jax", "array-api-strict"}
    assert backends["numpy"]["usable"]
    plain = command("info", cwd=tmp_path).stdout
    assert f"numpy             usable: {np.__version__}" in plain


def test_fashion_mnist_from_a_users_own_files(tmp_path, command):
    folder = DATA / "fashion-mnist-sample"
    if not folder.is_dir():
        pytest.skip("the Fashion-MNIST sample is not beside the project")
    chosen = ("--dataset", "fashion-mnist", "--data-dir", folder, "--network", "scratch")
    result = command("train", *chosen, "--backend", "numpy", "--json", cwd=tmp_path)
    assert json.loads(result.stdout)["test_accuracy"] > 0.6
    (notice,) = result.stderr.splitlines()
    assert "is not the published one; using the files as your own" in notice


def test_mnist_learns(tmp_path, command):
    if not (DATA / "mnist").is_dir():
        pytest.skip("the real MNIST files are not beside the project")
    chosen = ("--dataset", "mnist", "--data-dir", DATA / "mnist", "--network", "lenet5")
    result = command("train", *chosen, "--epochs", "1", "--limit", "6000", "--json", cwd=tmp_path)
    assert json.loads(result.stdout)["test_accuracy"] > 0.9


def idx_folder(path, images, labels):
    path.mkdir()
    for part in ("train", "t10k"):
        (path / f"{part}-images-idx3-ubyte.gz").write_bytes(images)
        (path / f"{part}-labels-idx1-ubyte.gz").write_bytes(labels)
    return path


def test_a_users_mistake_is_one_line_and_exit_code_2(trained, tmp_path, cli):
    _, folder = trained
    model = (folder / "last.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(model[: len(model) // 2])
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "text.png").write_text("hello")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    (tmp_path / "file").touch()
    Image.new("L", (9, 9)).save(tmp_path / "picture.png")
    images = gzip.compress(b"\0\0\x08\x03" + (2).to_bytes(4) + (28).to_bytes(4) * 2 + bytes(1568))
    labels = gzip.compress(b"\0\0\x08\x01" + (2).to_bytes(4) + bytes(2))
    cut = idx_folder(tmp_path / "cut", images[: len(images) // 2], labels)
    html = idx_folder(tmp_path / "html", b"<!DOCTYPE html><html>403</html>", labels)
    high = idx_folder(tmp_path / "high", images, gzip.compress(b"\0\0\x08\x01\0\0\0\2\0\x0c"))
    (tmp_path / "nothing").mkdir()
    mnist = ("train", "--backend", "numpy", "--dataset", "mnist", "--data-dir")
    train = ("train", "--backend", "numpy")
    table = [
        (("train", "--dataset", "cifar"), "'cifar' is not one of"),
        ((*train, "--learning-rate", "nan"), "must be finite, got nan"),
        ((*train, "--learning-rate", "inf"), "must be finite, got inf"),
        ((*train, "--learning-rate", "-1"), "must be above 0"),
        ((*train, "--learning-rate", "fast"), "'fast' is not a number"),
        ((*train, "--epochs", "0"), "0 is not in the range"),
        ((*train, "--batch-size", "0"), "0 is not in the range"),
        ((*train, "--seed", str(2**64)), f"{2**64} is not in the range"),
        (("find-rate", "--seed", str(2**64)), f"{2**64} is not in the range"),
        ((*train, "--validation", "1.0"), "must be below 1"),
        ((*train, "--validation", "nan"), "must be finite"),
        ((*train, "--bogus"), "No such option"),
        (("trian",), "No such command 'trian'"),
        (("train", "--backend", "cupy"), "backend cupy: "),
        ((*train, "--network", "lenet5"), "takes images of at least 12x12 pixels, digits has 8x8"),
        ((*train, "--out", "taken"), "run folder taken: must be new or empty"),
        ((*train, "--out", "file/run"), "Not a directory"),
        ((*train, "--data-dir", "nothing"), "digits: ships inside arraycnn"),
        ((*mnist, "absent"), "the data folder must exist"),
        ((*mnist, "nothing"), "missing: train-images-idx3-ubyte"),
        ((*mnist, cut), "train-images-idx3-ubyte.gz"),
        ((*mnist, html), "is a web page"),
        ((*mnist, high), "correct the labels"),
        (("evaluate", "half.npz"), "model file half.npz: is not a whole file of arraycnn"),
        (("evaluate", "text.npz"), "model file text.npz: is not a whole file of arraycnn"),
        (("evaluate", "absent.npz"), "model file absent.npz: cannot be read"),
        (
            ("evaluate", folder / "last.npz", "--dataset", "mnist", "--data-dir", "nothing"),
            "mnist",
        ),
        (("predict", folder / "last.npz"), "Missing argument 'IMAGES...'"),
        (("predict", folder / "last.npz", "absent.png"), "image absent.png: cannot be read"),
        (("predict", folder / "last.npz", "text.png"), "is not a picture Pillow can read"),
        (("predict", "half.npz", "picture.png"), "is not a whole file of arraycnn"),
    ]
    before = sorted(tmp_path.iterdir())
    for arguments, expected in table:
        code, out, said = cli(*arguments)
        errors = [line for line in said if not NOTICE.search(line)]
        assert code == 2, (arguments, said)
        assert len(errors) == 1, (arguments, said)
        assert errors[0].startswith("arraycnn: "), errors
        assert expected in errors[0], (arguments, errors)
        assert out == "", arguments
    assert sorted(tmp_path.iterdir()) == before


def test_debug_shows_the_traceback(tmp_path, command):
    result = command("evaluate", "absent.npz", "--debug", cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback (most recent call last)" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("arraycnn: model file absent.npz")


def test_a_loss_of_nan_names_its_step_and_keeps_the_model(tmp_path, command):
    chosen = ("--optimizer", "sgd", "--schedule", "constant", "--learning-rate", "1e30")
    result = command("train", *QUICK, *chosen, "--out", "run", cwd=tmp_path)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "epoch 1, step " in result.stderr.splitlines()[-1]
    model = Model.load(tmp_path / "run" / "last.npz")
    assert all(np.isfinite(array).all() for array in model.parameters.values())


def test_the_module_runs_too(tmp_path):
    entry = [sys.executable, "-m", "arraycnn", "--version"]
    result = subprocess.run(entry, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("arraycnn, version 0.1.0")


def test_a_training_does_not_wait_for_the_other_commands(tmp_path):
    program = (
        "import sys; sys.argv = ['arraycnn', 'train', '--help']\n"
        "from arraycnn.cli import cli\n"
        "cli.main(standalone_mode=False)\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    loaded = done.stdout.split()
    assert "arraycnn.cli.train" in loaded
    assert not {"arraycnn.cli.report", "arraycnn.report", "arraycnn.export"} & set(loaded)


@pytest.mark.parametrize(("option", "kernels"), [("--fast", "compiled"), ("--no-fast", "NumPy")])
def test_the_kernels_can_be_chosen(option, kernels, tmp_path, command):
    if option == "--fast":
        pytest.importorskip("llvmlite", reason="llvmlite is not installed")
    done = command("train", *QUICK, option, "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (
        f"{kernels} kernels"
        in json.loads((tmp_path / "run" / "summary.json").read_text())["device"]
    )


def test_the_kernels_of_another_backend_cannot_be_chosen(tmp_path, command):
    done = command("train", "--backend", "torch", "--no-fast", cwd=tmp_path)
    assert done.returncode == 2
    assert "--fast: is a setting of --backend numpy, got --backend torch" in done.stderr
