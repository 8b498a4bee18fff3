"""What stands around the optimizer of ``arraycnn train``: the run is that of Python, to the bit."""

import json
from pathlib import Path

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn import networks
from arraycnn.data import load_dataset, split_validation

EPOCHS, BATCH, STEPS = 2, 16, 10
TRAIN = ("train", "--backend", "numpy", "--no-fast", "--network", "scratch", "--limit", 80)
TRAIN += ("--epochs", EPOCHS, "--batch-size", BATCH, "--schedule", "constant")
RULE = cnn.AdamW(0.003)
KIT = {
    "ema": (("--ema", 0.8), cnn.EMA(RULE, 0.8), 0.8),
}


def in_python(optimizer, **settings):
    data = load_dataset("digits").limited(80, 0)
    kept, _held_out = split_validation(data.train_labels, 1 / 12, 0)
    model = cnn.Model(networks.scratch(), data.image_shape, cnn.NumPy(fast=False))
    images, labels = data.train_images, data.train_labels
    model.fit(
        *(images[kept], labels[kept]), epochs=EPOCHS, batch_size=BATCH, optimizer=optimizer, **settings
    )  # fmt: skip
    return model


def check_equal(path, model):
    for name, array in cnn.Model.load(path).parameters.items():
        np.testing.assert_array_equal(array, model.parameters[name], err_msg=name)


@pytest.mark.parametrize("name", KIT)
def test_a_run_is_the_training_of_python(name, cli):
    given, optimizer, kept = KIT[name]
    assert cli(*TRAIN, *given, "--out", "run")[0] == 0
    check_equal("run/last.npz", in_python(optimizer))
    assert json.loads(Path("run/config.json").read_text())[name.replace("-", "_")] == kept


def test_it_goes_on_exactly_and_with_the_same_settings_alone(cli):
    given = [word for words, _, _ in KIT.values() for word in words]
    assert cli(*TRAIN, *given, "--out", "whole")[0] == 0
    assert cli(*TRAIN, *given, "--out", "run", "--time-limit", 1e-9, "--save-every", 1)[0] == 0
    for name, (words, _, kept) in KIT.items():
        code, _, said = cli("train", "--resume", "run", words[0], 0.75)
        assert code == 2
        assert f"{words[0]} was {kept}, got 0.75" in " ".join(said), name
    assert cli("train", "--resume", "run")[0] == 0
    check_equal("run/last.npz", cnn.Model.load("whole/last.npz"))
