"""Fine-tuning and the settings of the loss, from the command line."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.data import load_dataset, split_validation
from remedies import making

TRAIN = ("train", "--backend", "numpy", "--no-fast", "--epochs", 2, "--batch-size", 8)


@pytest.fixture
def sets(cli):
    """Two sets in the folder at hand, of three and of two classes, and a model of the first."""
    for name, classes in (("old", 3), ("new", 2)):
        images, labels = making.some(40, classes=classes)
        np.savez(f"{name}.npz", images=images, labels=labels)
    network = cnn.Sequential(
        cnn.Rescale(), cnn.Conv2d(4, 3), cnn.BatchNorm(), cnn.ReLU(), cnn.Flatten(), cnn.Dense(3)
    )
    model = cnn.Model(network, (8, 8), cnn.NumPy(fast=False))
    model.fit(*making.some(40), optimizer=cnn.AdamW(0.01))
    model.save("old_model.npz")
    return model


def parameters(path):
    model = cnn.Model.load(path)
    return {**model.parameters, **model.state}


def test_a_run_begins_with_a_model_and_leaves_its_body_as_it_is(sets, cli):
    begin = ("--dataset", "new.npz", "--from", "old_model.npz", "--freeze", "0")
    assert cli(*TRAIN, *begin, "--out", "run")[0] == 0
    found = parameters("run/last.npz")
    for name, array in {**sets.parameters, **sets.state}.items():
        if not name.startswith("5."):
            np.testing.assert_array_equal(found[f"0.{name}"], array, name)
    assert found["1.weight"].shape == (6 * 6 * 4, 2)
    config = json.loads(Path("run/config.json").read_text())
    digest = hashlib.sha256(Path("old_model.npz").read_bytes()).hexdigest()
    assert (config["from_model"], config["from_sha256"]) == ("old_model.npz", digest)
    assert (config["freeze"], config["network"]) == (["0"], None)


def test_the_groups_are_those_of_python(sets, cli):
    options = ("--freeze", "0.1", "--freeze", "0.2", "--rate-scale", "1=0.5", "--no-decay")
    begin = ("--dataset", "new.npz", "--from", "old_model.npz", "--schedule", "constant")
    assert cli(*TRAIN, *begin, *options, "--out", "run")[0] == 0
    data = load_dataset("new.npz")
    kept, _ = split_validation(data.train_labels, 1 / 12, 0)
    model = cnn.with_head(sets, cnn.Dense(2), class_names=data.class_names)
    optimizer = cnn.ParameterGroups(
        cnn.AdamW(0.003),
        cnn.Group("1", learning_rate_scale=0.5),
        cnn.Group("0.[12]", frozen=True),
        cnn.NO_DECAY,
    )
    images, labels = data.train_images[kept], data.train_labels[kept]
    model.fit(images, labels, epochs=2, batch_size=8, optimizer=optimizer)
    for name, array in parameters("run/last.npz").items():
        np.testing.assert_array_equal(array, {**model.parameters, **model.state}[name], name)


def test_it_goes_on_without_the_file_it_began_with(sets, cli):
    begin = ("--dataset", "new.npz", "--from", "old_model.npz", "--freeze", "0.1")
    assert cli(*TRAIN, *begin, "--out", "whole")[0] == 0
    assert cli(*TRAIN, *begin, "--out", "run", "--time-limit", 1e-9, "--save-every", 1)[0] == 0
    Path("old_model.npz").unlink()
    assert cli("train", "--resume", "run")[0] == 0
    for name, array in parameters("whole/last.npz").items():
        np.testing.assert_array_equal(parameters("run/last.npz")[name], array, name)

    code, _, said = cli("train", "--resume", "run", "--from", "other.npz")
    assert code == 2
    assert "--from was old_model.npz, got other.npz; that cannot change" in said[-1]
    code, _, said = cli("train", "--resume", "run", "--freeze", "1")
    assert code == 2
    assert "--freeze was 0.1, got 1;" in said[-1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--from", "old_model.npz", "--network", "basic"), "--network and --from exclude"),
        (("--freeze", "9"), "--freeze must select parameters, '9' selects none; choose among 1.w"),
        (
            ("--rate-scale", "9=0.1"),
            "--rate-scale must select parameters, '9' selects none; choose",
        ),
        (("--freeze", "*", "--freeze", "nothere"), "'nothere' selects none; choose among 1.weight"),
        (
            ("--freeze", "*"),
            "--freeze must leave something to train, got *, all there is; name less",
        ),
        (("--rate-scale", "1"), "such as 0=0.1, got '1'"),
        (("--rate-scale", "1=0"), "must be above 0"),
        (("--class-weight", "1,2,3"), "must be 2 numbers, one for each class of new"),
        (("--class-weight", "0,0"), "one above 0, got 0,0"),
        (("--class-weight", "heavy"), "'heavy' is not a number"),
        (("--top-k", 2), "--top-k: must be below 2"),
    ],
)
def test_wrong_options_leave_no_run(options, words, sets, cli):
    code, _, said = cli(*TRAIN, "--dataset", "new.npz", *options, "--out", "run")
    assert (code, Path("run").exists()) == (2, False)
    assert words in said[-1]


def test_the_loss_has_its_settings(cli):
    images, labels = making.some(40)
    labels[labels == 2] = np.where(np.arange((labels == 2).sum()) % 3 == 0, 2, 1)
    np.savez("old.npz", images=images, labels=labels)
    settings = ("--label-smoothing", 0.1, "--class-weight", "balanced", "--top-k", 2)
    run = (*TRAIN, "--dataset", "old.npz", "--network", "scratch", "--out", "run", "--json")
    code, out, _ = cli(*run, *settings)
    assert code == 0
    data = load_dataset("old.npz")
    kept, _ = split_validation(data.train_labels, 1 / 12, 0)
    counts = np.bincount(data.train_labels[kept])
    expected = cnn.SoftmaxCrossEntropy(0.1, tuple(len(kept) / 3 / counts), top_k=2)
    model = cnn.Model.load("run/last.npz")
    np.testing.assert_allclose(model.loss.class_weight, expected.class_weight, rtol=1e-12)
    assert (model.loss.label_smoothing, model.loss.top_k) == (0.1, 2)
    chances = model.predict(data.test_images)
    right = chances[np.arange(len(chances)), data.test_labels]
    among = ((chances > right[:, None]).sum(axis=1) < 2).mean()
    assert json.loads(out)["test_top_2_accuracy"] == pytest.approx(among)

    code, _, said = cli("train", "--resume", "run", "--label-smoothing", 0.2)
    assert code == 2
    assert "--label-smoothing was 0.1, got 0.2" in said[-1]
    more = ("--label-smoothing", 0.2, "--class-weight", "1,1,2", "--epochs", 3, "--override")
    assert cli("train", "--resume", "run", *more)[0] == 0
    loss = cnn.Model.load("run/last.npz").loss
    assert loss == cnn.SoftmaxCrossEntropy(0.2, (1.0, 1.0, 2.0), top_k=2)
