"""predict and evaluate: every kind of input, every form of output, what is said on the way."""

import csv
import gzip
import io
import json
import struct
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from arraycnn import Adam, Conv2d, Dense, Flatten, MaxPool2d, Model, ReLU, Rescale, Sequential
from arraycnn.cli import main
from arraycnn.data import load_dataset

DIGITS = load_dataset("digits")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    network = Sequential(Rescale(), Conv2d(8, 3), ReLU(), MaxPool2d(2), Flatten(), Dense(10))
    model = Model(network, (8, 8, 1), class_names=DIGITS.class_names)
    model.fit(DIGITS.train_images, DIGITS.train_labels, epochs=6, optimizer=Adam(0.01))
    path = tmp_path_factory.mktemp("model") / "model.npz"
    model.save(path)
    return path, model


@pytest.fixture
def sure(trained):
    """Five test images that the model is sure of, and their classes."""
    rows = trained[1].predict(DIGITS.test_images)
    chosen = np.flatnonzero(rows.max(axis=1) > 0.99)[:5]
    return DIGITS.test_images[chosen], [str(n) for n in rows[chosen].argmax(axis=1)]


@pytest.fixture
def run(trained, monkeypatch, capsys, tmp_path):
    """Run a command in an empty folder: (exit code, stdout, lines of stderr)."""
    monkeypatch.chdir(tmp_path)

    def call(command, *arguments, stdin=b""):
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
        words = ["arraycnn", command, str(trained[0]), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", [*words, "--backend", "numpy"])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        out, err = capsys.readouterr()
        return end.value.code, out, err.splitlines()

    return call


def save_pictures(folder, images, kind="png"):
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(folder / f"{number}.{kind}")


def classes(out):
    return [json.loads(line)["class"] for line in out.splitlines()]


def png(image):
    buffer = io.BytesIO()
    Image.fromarray(image[..., 0]).save(buffer, "PNG")
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def idx(array):
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def test_pictures_folders_patterns_and_files_of_arrays(run, sure, tmp_path):
    images, expected = sure
    save_pictures(tmp_path / "a" / "deeper", images)
    np.save(tmp_path / "a.npy", images[..., 0])
    np.savez(tmp_path / "a.npz", images=images, labels=np.zeros(5))
    np.savez_compressed(tmp_path / "one.npz", anything=images)
    (tmp_path / "a-idx3-ubyte").write_bytes(idx(images[..., 0]))
    (tmp_path / "a-idx4.gz").write_bytes(gzip.compress(idx(images)))
    arguments = ["a", "a/deeper/*.png", "**/*.png", "a/deeper/0.png"]
    arguments += ["a.npy", "a.npz", "one.npz", "a-idx3-ubyte", "a-idx4.gz"]
    for argument in arguments:
        code, out, _ = run("predict", argument, "--format", "jsonl")
        assert code == 0
        assert classes(out) == (expected[:1] if argument.endswith("0.png") else expected), argument
    code, out, _ = run("predict", "a.npy", "a", "a.npz", "--format", "jsonl")
    names = [json.loads(line)["image"] for line in out.splitlines()]
    assert names[0] == "a.npy[0]"
    assert names[5] == "a/deeper/0.png"
    assert names[14] == "a.npz[4]"


def test_one_image_as_an_array(run, sure, tmp_path):
    for image in (sure[0][0], sure[0][0, ..., 0]):
        np.save(tmp_path / "one.npy", image)
        assert classes(run("predict", "one.npy", "--format", "jsonl")[1]) == sure[1][:1]


def test_standard_input(run, sure, tmp_path):
    images, expected = sure
    save_pictures(tmp_path / "a", images)
    names = "\n".join(f"a/{n}.png" for n in range(5)).encode() + b"\n"
    for content, count in (
        (png(images[0]), 1),
        (npy(images), 5),
        (idx(images), 5),
        (gzip.compress(idx(images)), 5),
        (names, 5),
        (b"a\n", 5),
    ):
        code, out, _ = run("predict", "-", "--format", "jsonl", stdin=content)
        assert (code, classes(out)) == (0, expected[:count])


def test_dark_on_light_is_inverted_with_a_notice(run, sure, tmp_path):
    images, expected = sure
    save_pictures(tmp_path / "a", [255 - images[0], images[1], 255 - images[2]])
    code, out, err = run("predict", "a", "--format", "jsonl")
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [row["class"] for row in rows] == expected[:3]
    assert [row["inverted"] for row in rows] == [True, False, True]
    assert err[0].startswith("arraycnn: 2 of 3 images inverted, whose background is the opposite")
    assert err[1].startswith("arraycnn: 3 images in ")
    _, _, err = run("predict", "a/0.png")
    assert err[0].startswith("arraycnn: 1 of 1 image inverted")
    assert err[1].startswith("arraycnn: 1 image in ")
    _, out, err = run("predict", "a", "--no-invert", "--format", "jsonl")
    assert not any(json.loads(line)["inverted"] for line in out.splitlines())
    assert len(err) == 1
    _, out, err = run("predict", "a", "--invert", "--format", "jsonl")
    assert classes(out)[::2] == expected[:3:2]
    assert all(json.loads(line)["inverted"] for line in out.splitlines())


def test_forms_of_output(run, sure, tmp_path):
    np.save(tmp_path / "a.npy", sure[0])
    code, out, err = run("predict", "a.npy", "--top", "2")
    assert out.splitlines()[0].startswith(f"a.npy[0]: {sure[1][0]} ({sure[1][0]} 99.")
    assert out.splitlines()[0].count("%") == 2
    assert "5 images in" in err[-1]
    assert "mean confidence 99." in err[-1]
    (row, *others) = csv.DictReader(io.StringIO(run("predict", "a.npy", "--format", "csv")[1]))
    assert len(others) == 4
    assert row["class"] == sure[1][0]
    assert float(row["probability"]) > 0.99 > float(row["probability_2"])
    assert list(row)[-1] == "probability_3"
    values = json.loads(run("predict", "a.npy", "--json")[1])
    assert [value["class"] for value in values] == sure[1]
    assert sum(values[0]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    code, out, _ = run("predict", "a.npy", "--format", "jsonl", "--top", "3", "--output", "out")
    assert (code, out) == (0, "")
    rows = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()]
    assert len(rows) == 5
    assert len(rows[0]["probabilities"]) == 3
    assert next(iter(rows[0]["probabilities"])) == rows[0]["class"]


def test_a_picture_among_many_that_cannot_be_read_does_not_stop_the_others(run, sure, tmp_path):
    save_pictures(tmp_path / "a", sure[0])
    (tmp_path / "a" / "2.png").write_text("hello")
    code, out, err = run("predict", "a", "--format", "jsonl")
    assert code == 2
    assert classes(out) == sure[1][:2] + sure[1][3:]
    assert err[0].startswith("arraycnn: image a/2.png: is not a picture")
    assert err[-1].startswith("arraycnn: predict: 1 of 5 files could not be read")


def test_what_predict_refuses(run, sure, tmp_path):
    (tmp_path / "empty").mkdir()
    np.save(tmp_path / "large.npy", np.zeros((2, 9, 9), np.uint8))
    np.save(tmp_path / "int.npy", np.full((2, 8, 8), 300))
    np.save(tmp_path / "float.npy", np.full((2, 8, 8), -0.5))
    np.savez(tmp_path / "two.npz", a=sure[0], b=sure[0])
    (tmp_path / "labels-idx1").write_bytes(idx(np.zeros(5, np.uint8)))
    (tmp_path / "bad.png").write_text("hello")
    for arguments, said in (
        (["empty"], "holds none"),
        (["*.jpg"], "the pattern must match files"),
        (["absent.png"], "image absent.png: cannot be read"),
        (["large.npy"], "got shape (2, 9, 9); resize them"),
        (["int.npy"], "images must be grey values 0 to 255, got int64 from 300 to 300"),
        (["float.npy"], "got float64 from -0.5 to -0.5; pass them as they were before"),
        (["two.npz"], "must hold one array, or one called images, holds a, b"),
        (["labels-idx1"], "got shape (5,); resize"),
        (["bad.png"], "is not a picture"),
        (["-"], "must name at least one picture, is empty"),
        (["a.npy", "--top", "0"], "0 is not in the range"),
        (["a.npy", "--format", "xml"], "'xml' is not one of"),
    ):
        code, out, err = run("predict", *arguments)
        assert (code, out, len(err)) == (2, "", 1), (arguments, err)
        assert said in err[0], (arguments, err)
    assert "lines of paths" in run("predict", "-", stdin=b"\xff\xfe\xfd")[2][0]


def test_evaluate_tells_more_when_asked(run, trained, tmp_path):
    _, out, err = run("evaluate", "--top", "2", "--per-class", "--json", "--limit", "100")
    value = json.loads(out)
    few = DIGITS.limited(100, trained[1].seed)
    images, labels = few.test_images, few.test_labels
    rows = trained[1].predict(images)
    right = rows.argmax(axis=1) == labels
    assert value["accuracy"] == right.mean()
    assert value["confidence"] == pytest.approx(rows.max(axis=1).mean())
    among = [label in row.argsort()[-2:] for row, label in zip(rows, labels, strict=True)]
    assert value["top_accuracy"] == np.mean(among)
    assert value["per_class"]["3"] == right[labels == 3].mean()
    assert value["images_per_second"] > 0
    _, out, err = run("evaluate", "--limit", "100", "--output", "rows.csv", "--format", "csv")
    with open("rows.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["label"] for line in lines] == [str(label) for label in labels]
    assert [line["correct"] == "True" for line in lines] == right.tolist()
    assert "100 images in" in err[-1]


def test_evaluate_on_a_set_of_ones_own(run, trained, tmp_path):
    for image, label in zip(DIGITS.test_images[:60], DIGITS.test_labels[:60], strict=True):
        folder = tmp_path / "mine" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{len(list(folder.iterdir()))}.png"
        large = image[..., 0].repeat(2, axis=0).repeat(2, axis=1)
        Image.fromarray(large).save(folder / name)
    code, out, err = run("evaluate", "--dataset", "mine", "--json")
    assert (code, json.loads(out)["images"]) == (0, 12)
    assert "has no test part" in err[0]
    code, out, err = run("evaluate", "--dataset", "mine", "--json", "--part", "all")
    whole = trained[1].evaluate(DIGITS.test_images[:60], DIGITS.test_labels[:60])
    assert json.loads(out)["images"] == 60
    assert json.loads(out)["accuracy"] > 0.8 * whole.accuracy
    assert err == []
    code, out, _ = run("evaluate", "--dataset", "mine", "--json", "--part", "train")
    assert (code, json.loads(out)["part"]) == (0, "train")
    for part, said in (("train", "train loss "), ("test", "test loss "), ("all", "loss ")):
        assert run("evaluate", "--dataset", "mine", "--part", part)[1].startswith(said)
