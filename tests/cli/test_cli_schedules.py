"""The learning rate of every step that a command trains with, and its optimizers, by their formulas."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn import networks
from arraycnn.data import load_dataset, split_validation

IMAGES, EPOCHS, BATCH = 80, 3, 16
KEPT = IMAGES - round(IMAGES / 12)
STEPS = EPOCHS * 5  # four whole batches an epoch, and a short one
BASE = ("train", "--backend", "numpy", "--network", "scratch", "--limit", IMAGES)
QUICK = (*BASE, "--epochs", EPOCHS, "--batch-size", BATCH, "--log-steps", "--out", "run")


def one_cycle(step):
    """Up to the rate in the first 30 % of the steps, then down to a 10,000th of where it began."""
    peak, last = 0.3 * STEPS - 1, STEPS - 1
    start, end, part = (1 / 25, 1, step / peak) if step < peak else (
        1, 1 / 25 / 1e4, (step - peak) / (last - peak))  # fmt: skip
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


SCHEDULES = {
    None: one_cycle,
    "one-cycle": one_cycle,
    "cosine": lambda step: (1 + math.cos(math.pi * step / STEPS)) / 2,
    "step": lambda step: 0.1 ** (step // (STEPS // 3)),
    "exponential": lambda step: 0.1 ** (step / (STEPS // 2)),
    "constant": lambda step: 1.0,
}


@pytest.mark.parametrize("rate", [None, 0.02])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_step_has_the_rate_of_its_schedule(cli, schedule, rate):
    given = () if schedule is None else ("--schedule", schedule)
    given += () if rate is None else ("--learning-rate", rate)
    assert cli(*QUICK, *given)[0] == 0
    assert STEPS % 3 == 0
    assert KEPT % BATCH
    steps = [json.loads(line) for line in Path("run/steps.jsonl").read_text().splitlines()]
    found = [step["learning_rate"] for step in steps]
    wanted = [(rate or 0.003) * SCHEDULES[schedule](step) for step in range(STEPS)]
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    records = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [record["learning_rate"] for record in records] == found[4::5]


OPTIMIZERS = {
    "sgd": lambda rate: cnn.SGD(rate or 0.1),
    "momentum": lambda rate: cnn.SGD(rate or 0.03, momentum=0.9, nesterov=True),
    "adam": lambda rate: cnn.Adam(rate or 0.003),
    "adamw": lambda rate: cnn.AdamW(rate or 0.003),
    "lion": lambda rate: cnn.Lion(rate or 0.002),
    "muon": lambda rate: cnn.Muon(rate or 0.02),
}


@pytest.mark.parametrize("rate", [None, 0.01])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_is_what_it_is_called(cli, name, rate):
    """The run ends where the same training in Python does, to the bit."""
    given = ("--optimizer", name, "--schedule", "constant")
    given += () if rate is None else ("--learning-rate", rate)
    assert cli(*QUICK, *given, "--seed", 5)[0] == 0
    data = load_dataset("digits").limited(IMAGES, 5)
    kept, _ = split_validation(data.train_labels, 1 / 12, 5)
    assert len(kept) == KEPT
    model = cnn.Model(networks.scratch(), data.image_shape, seed=5)
    model.fit(
        data.train_images[kept], data.train_labels[kept], epochs=EPOCHS, batch_size=BATCH,
        optimizer=OPTIMIZERS[name](rate),
    )  # fmt: skip
    for key, values in cnn.Model.load("run/last.npz").parameters.items():
        np.testing.assert_array_equal(values, model.parameters[key])
