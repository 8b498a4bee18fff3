"""`arraycnn train --loss`, and what evaluate and predict tell of models that are no classifiers."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.data import load_dataset, split_validation

TRAIN = ("train", "--backend", "numpy", "--no-fast", "--epochs", 1, "--batch-size", 8)
QUICK = ("--backend", "numpy", "--no-fast")
RNG = np.random.default_rng(7)
IMAGES = RNG.integers(0, 256, (40, 8, 8), dtype=np.uint8)
LABELS = (RNG.random((40, 3)) < [0.5, 0.25, 0.5]).astype(int)
VALUES = RNG.normal(size=(40, 2))
PIXELS = RNG.integers(0, 3, (40, 8, 8))
UNET = ("--network", "unet_small", "--network-arg", "width=2")
NAMES = {"labels": ["a", "b", "c"], "numbers": ["x", "y"], "pixels": ["sky", "road", "tree"]}
SETS = {"labels": LABELS, "numbers": VALUES, "pixels": PIXELS, "images": IMAGES / 255.0}
LOSSES = {
    "labels": ("binary-cross-entropy", cnn.BinaryCrossEntropy(), ()),
    "numbers": ("huber", cnn.Huber(0.5), ("--huber-delta", 0.5)),
    "pixels": ("pixel-cross-entropy", cnn.SoftmaxCrossEntropy(per_pixel=True), UNET),
    "images": ("mean-squared-error", cnn.MeanSquaredError(), UNET),
}


def write(kind, folder="."):
    names = {"class_names": NAMES[kind]} if kind in NAMES else {}
    np.savez(Path(folder) / "set.npz", images=IMAGES, labels=SETS[kind], **names)


def train(cli, kind, *more):
    name, _, settings = LOSSES[kind]
    code, out, said = cli(*TRAIN, "--dataset", "set.npz", "--loss", name, *settings, *more)
    assert code == 0, said
    return out, said


def kind_of(kind):
    return "numbers" if kind == "images" else kind


@pytest.mark.parametrize("kind", SETS)
def test_a_run_is_what_python_makes_of_the_same_images(cli, kind):
    write(kind)
    out, said = train(cli, kind, "--out", "run", "--seed", 3, "--monitor", "validation_loss")
    data = load_dataset("set.npz", seed=3, labels=kind_of(kind))
    kept, held_out = split_validation(np.zeros(len(data.train_labels), int), 1 / 12, 3)
    network = cnn.networks.unet_small(len(data.class_names), 2)
    if kind in ("labels", "numbers"):
        network = cnn.networks.basic(len(data.class_names))
    model = cnn.Model(network, (8, 8), cnn.NumPy(fast=False), seed=3, loss=LOSSES[kind][1])
    part = data.train_images[held_out], data.train_labels[held_out]
    how = {"epochs": 1, "batch_size": 8, "optimizer": cnn.AdamW(cnn.OneCycle(0.003))}
    history = model.fit(data.train_images[kept], data.train_labels[kept], validation=part, **how)
    last = cnn.Model.load("run/last.npz")
    assert (last.loss, last.class_names) == (LOSSES[kind][1], data.class_names)
    for name, array in model.parameters.items():
        np.testing.assert_array_equal(last.parameters[name], array)
    tested = model.evaluate(data.test_images, data.test_labels)
    summary = json.loads(Path("run/summary.json").read_text())
    measured = {"loss": tested.loss, "accuracy": tested.accuracy, **tested.others}
    for name, value in measured.items():
        assert summary.get(f"test_{name}") == pytest.approx(value)
    epoch = next(line for line in said if line.startswith("epoch 1"))
    assert f"validation loss {history[0].validation_loss:.4f} " in epoch
    if kind == "labels":
        assert f"test f1 {tested.others['f1']:.2%}" in out
    if kind in ("numbers", "images"):
        error = f"mean absolute error {tested.others['mean_absolute_error']:.4g}"
        assert f"test {error}" in out
        assert "accuracy" not in out + epoch
    check_evaluate(cli, kind, model, data)
    check_predict(cli, kind, model)


def check_evaluate(cli, kind, model, data):
    code, out, _ = cli("evaluate", "run/last.npz", *QUICK, "--per-class", "--json")
    found, tested = json.loads(out), model.evaluate(data.test_images, data.test_labels)
    assert (code, found["images"]) == (0, 8)
    assert found["loss"] == pytest.approx(tested.loss)
    told = model.predict(data.test_images)
    true = data.test_labels
    for place, name in enumerate(data.class_names):
        scores = found["per_class"][name]
        if kind == "labels":
            has, said = true[:, place] > 0.5, told[:, place] > 0.5
            assert scores["images"] == has.sum()
            assert scores["recall"] == pytest.approx((has & said).sum() / has.sum())
        elif kind == "pixels":
            has, said = true == place, told.argmax(axis=-1) == place
            assert scores["pixels"] == has.sum()
            assert scores["f1"] == pytest.approx(2 * (has & said).sum() / (has.sum() + said.sum()))
        else:
            errors = (told - true)[..., place]
            assert scores["mean_absolute_error"] == pytest.approx(np.abs(errors).mean(), rel=1e-5)
            spread = np.square(true[..., place] - true[..., place].mean(dtype=float)).sum()
            assert scores["r2"] == pytest.approx(1 - np.square(errors).sum() / spread, rel=1e-4)
    everything = json.loads(cli("evaluate", "run/last.npz", *QUICK, "--part", "all", "--json")[1])
    both = [np.concatenate(pair) for pair in zip(*data.parts.values(), strict=True)]
    whole = model.evaluate(*both)
    assert everything["loss"] == pytest.approx(whole.loss, rel=1e-5)
    for name, value in whole.others.items():
        assert everything[name] == pytest.approx(value, rel=1e-5)


def check_predict(cli, kind, model):
    how = ("--no-invert", "--format", "jsonl", "--outputs", "outputs.npz")
    code, out, _ = cli("predict", "run/last.npz", "set.npz", *QUICK, *how)
    assert code == 0
    expected, rows = model.predict(IMAGES), [json.loads(line) for line in out.splitlines()]
    with np.load("outputs.npz") as kept:
        np.testing.assert_allclose(kept["outputs"], expected, rtol=1e-6, atol=1e-7)
        assert kept["names"].tolist() == [row["image"] for row in rows]
    for row, one in zip(rows, expected, strict=True):
        if kind == "labels":
            assert row["outputs"] == pytest.approx(dict(zip("abc", map(float, one), strict=True)))
            assert sorted(row["labels"]) == [n for n, p in zip("abc", one, strict=True) if p > 0.5]
        elif kind == "numbers":
            assert row["outputs"] == pytest.approx({"x": float(one[0]), "y": float(one[1])})
        elif kind == "pixels":
            shares = [(one.argmax(axis=-1) == place).mean() for place in range(3)]
            assert row["pixels"] == pytest.approx(dict(zip(NAMES[kind], shares, strict=True)))
        else:
            assert row["outputs"]["0 greatest"] == pytest.approx(float(one.max()))


def test_rows_of_labels_follow_the_threshold(cli):
    write("labels")
    train(cli, "labels", "--out", "run")
    model = cnn.Model.load("run/last.npz")
    how = (*QUICK, "--threshold", 0.45, "--format", "csv")
    _, out, _ = cli("predict", "run/last.npz", "set.npz", "--no-invert", *how)
    rows = list(csv.DictReader(io.StringIO(out)))
    chances = model.predict(IMAGES)
    for row, one in zip(rows, chances, strict=True):
        has = [name for name, p in zip("abc", one, strict=True) if p > 0.45]
        assert sorted(filter(None, row["labels"].split("; "))) == has
        assert float(row["outputs b"]) == pytest.approx(float(one[1]), rel=1e-5)
    data = load_dataset("set.npz", labels="labels")
    cli("evaluate", "run/last.npz", *how, "--output", "rows.csv")
    told = model.predict(data.test_images) > 0.45
    rows = csv.DictReader(io.StringIO(Path("rows.csv").read_text()))
    for row, has, true in zip(rows, told, data.test_labels > 0.5, strict=True):
        assert row["labels"] == "; ".join(n for n, one in zip("abc", true, strict=True) if one)
        assert row["told"] == "; ".join(n for n, one in zip("abc", has, strict=True) if one)
        assert row["correct"] == str(bool((has == true).all()))


def test_weights_of_labels_are_of_the_training_images(cli):
    write("labels")
    train(cli, "labels", "--positive-weight", "balanced", "--validation", 0, "--out", "run")
    has = load_dataset("set.npz", labels="labels").train_labels.sum(axis=0)
    loss = cnn.Model.load("run/last.npz").loss
    assert loss.positive_weight == pytest.approx((32 - has) / has, rel=1e-6)


def test_a_run_goes_on_with_its_loss(cli):
    write("numbers")
    train(cli, "numbers", "--out", "whole", "--epochs", 2)
    train(cli, "numbers", "--out", "half")
    assert cli("train", "--resume", "half", "--epochs", 2)[0] != 0
    train(cli, "numbers", "--out", "stopped", "--epochs", 2, "--time-limit", 1e-9)
    assert cli("train", "--resume", "stopped")[0] == 0
    one, other = (cnn.Model.load(f"{run}/last.npz") for run in ("whole", "stopped"))
    for name, array in one.parameters.items():
        np.testing.assert_array_equal(other.parameters[name], array)
    code, _, said = cli("train", "--resume", "stopped", "--loss", "mean-squared-error")
    assert code == 2
    assert "--loss was huber, got mean-squared-error" in said[-1]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--loss", "hubert"), "--loss: must be one of cross-entropy, pixel-cross-entropy, binary"),
        (("--loss", "huber", "--class-weight", "balanced"), "--class-weight: is a setting of --loss"),
        (("--huber-delta", "1"), "--huber-delta: is a setting of --loss huber, got --loss cross-en"),
        (("--loss", "huber"), "digits: labels must be numbers, (N,), (N, numbers), or images"),
        (("--monitor", "validation_f1"), "must be one of validation_loss, validation_accuracy, got"),
        (("--layers", "net.py"), "--layers needs --from MODEL: a network of your own is named by"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(cli, given, said):
    Path("net.py").write_text("")
    code, _, lines = cli(*TRAIN, *given)
    assert code == 2
    assert said in lines[-1]


def test_options_of_other_labels_are_refused(cli):
    write("numbers")
    train(cli, "numbers", "--out", "run")
    for command, option in (("evaluate", "--top"), ("predict", "--threshold")):
        images = ("set.npz",) if command == "predict" else ()
        value = 1 if option == "--top" else 0.4
        code, _, lines = cli(command, "run/last.npz", *images, *QUICK, option, value)
        assert code == 2
        assert f"{option}: is of " in lines[-1]
        assert "the model was trained with Huber" in lines[-1]


def test_outputs_that_never_differ_are_told(cli):
    labels = LABELS.copy()
    labels[:, 1] = 0
    np.savez("set.npz", images=IMAGES, labels=labels, class_names=["a", "b", "c"])
    _, said = train(cli, "labels")
    assert any("label 'b' has one value in all training images" in line for line in said)
