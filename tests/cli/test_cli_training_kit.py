"""What stands around the optimizer of ``arraycnn train``: the run is that of Python, to the bit."""

import json
from pathlib import Path

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn import networks
from arraycnn.data import load_dataset, split_validation
from optional import needs

EPOCHS, BATCH, STEPS = 2, 16, 10
TRAIN = ("train", "--backend", "numpy", "--no-fast", "--network", "scratch", "--limit", 80)
TRAIN += ("--epochs", EPOCHS, "--batch-size", BATCH, "--schedule", "constant")
RULE = cnn.AdamW(0.003)
KIT = {
    "ema": (("--ema", 0.8), cnn.EMA(RULE, 0.8), 0.8),
    "clip_norm": (("--clip-norm", 0.25), cnn.ClipNorm(RULE, 0.25), 0.25),
    "lookahead": (("--lookahead", 3), cnn.Lookahead(RULE, 3), 3),
    "warmup": (("--warmup", 0.8), cnn.AdamW(cnn.Warmup(cnn.Constant(0.003), 4)), 0.8),
}
ALL = cnn.AdamW(cnn.Warmup(cnn.Plateau(0.003, "validation_accuracy", 3), 4))
ALL = cnn.EMA(cnn.ClipNorm(cnn.Lookahead(ALL, 3), 0.25), 0.8)


def in_python(optimizer, watch=False, **settings):
    data = load_dataset("digits").limited(80, 0)
    kept, held_out = split_validation(data.train_labels, 1 / 12, 0)
    model = cnn.Model(networks.scratch(), data.image_shape, cnn.NumPy(fast=False))
    images, labels = data.train_images, data.train_labels
    if watch:
        settings["validation"] = images[held_out], labels[held_out]
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
    assert json.loads(Path("run/config.json").read_text())[name] == kept


def test_all_together_go_on_exactly_and_with_the_same_settings_alone(cli):
    given = [word for words, _, _ in KIT.values() for word in words]
    given += ["--schedule", "plateau", "--monitor", "validation_accuracy", "--accumulate", 2]
    assert cli(*TRAIN, *given, "--out", "whole")[0] == 0
    check_equal("whole/last.npz", in_python(ALL, accumulate=2, watch=True))
    assert cli(*TRAIN, *given, "--out", "run", "--time-limit", 1e-9, "--save-every", 1)[0] == 0
    for words, _, kept in (*KIT.values(), (("--accumulate",), None, 2)):
        now = 7 if isinstance(kept, int) else 0.75
        code, _, said = cli("train", "--resume", "run", words[0], now)
        assert code == 2
        assert f"{words[0]} was {kept}, got {now}" in " ".join(said)
    assert cli("train", "--resume", "run")[0] == 0
    check_equal("run/last.npz", cnn.Model.load("whole/last.npz"))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--schedule", "plateau", "--validation", 0), "plateau needs images to watch"),
        (
            ("--accumulate", 17),
            "--accumulate must be at most --batch-size, and the images of a batch",
        ),
        (
            ("--accumulate", 74, "--batch-size", 80),
            "the images of a batch, 73, got 74: a batch is cut",
        ),
        pytest.param(
            ("--accumulate", 2, "--distributed", "--deterministic"),
            "--accumulate and --deterministic exclude each other",
            marks=needs("mpi4py"),
        ),
        (("--ema", 1), "must be below 1, got 1"),
        (("--clip-norm", 0), "must be above 0, got 0"),
        (("--warmup", "nan"), "must be finite"),
        (("--lookahead", 0), "is not in the range"),
        (
            ("--lookahead", 11),
            "Lookahead: steps must be at most the updates of the training, 10, got",
        ),
        (
            ("--warmup", 2),
            "--warmup must take fewer steps than the 10 of the training, got 2 of 2 epochs: the rate",
        ),
        (("--warmup", 2.05), "the 10 of the training, got 2.05 of 2 epochs: the rate would never"),
        (
            ("--warmup", 2),
            "schedule; have fewer epochs of it or none, or more --epochs",
        ),
        (
            ("--warmup", 1e308),
            "got 1e+308 of 2 epochs: the rate would never be that of the schedule",
        ),
        (("--schedule", "plateau", "--patience", 3), "--patience must be above 3 with --schedule"),
    ],
)
def test_wrong_options_leave_no_run(given, words, cli):
    code, _, said = cli(*TRAIN, *given, "--out", "run")
    assert code == 2
    assert words in " ".join(said)
    assert not Path("run").exists()


@pytest.mark.parametrize(("epochs", "steps"), [(0.95, 2), (0.9999, 10), (0.5, 2)])
def test_less_than_the_training_leaves_a_step_at_the_rate_of_the_schedule(epochs, steps, cli):
    """However few steps there are: half a step is no warm-up as long as the training."""
    given = (*TRAIN, "--epochs", 1, "--batch-size", -(-74 // steps), "--log-steps", "--out", "run")
    assert cli(*given, "--warmup", epochs)[0] == 0
    lines = [json.loads(line) for line in Path("run/steps.jsonl").read_text().splitlines()]
    rates = [line["learning_rate"] for line in lines]
    assert len(rates) == steps
    assert rates[0] < rates[-1] == 0.003


def test_a_run_killed_before_its_first_save_is_told_of_its_options(cli):
    """One of an earlier version, which took a warm-up as long as the training."""
    assert cli(*TRAIN, "--warmup", 1.5, "--out", "run")[0] == 0
    config = json.loads(Path("run/config.json").read_text())
    Path("run/config.json").write_text(json.dumps({**config, "warmup": 2.0}))
    for name in ("last.npz", "best.npz", "summary.json"):
        Path("run", name).unlink()
    code, _, said = cli("train", "--resume", "run")
    assert code == 2
    assert "--warmup must take fewer steps than the 10 of the training, got 2 of 2" in said[-1]
    assert cli("train", "--resume", "run", "--warmup", 1.5, "--override")[0] == 0


def test_a_run_goes_on_as_it_began_but_takes_nothing_new_that_is_wrong(cli):
    """One of an earlier version, which took a warm-up as long as the training."""
    stopped = ("--time-limit", 1e-9, "--save-every", 1, "--out", "run")
    assert cli(*TRAIN, "--warmup", 1.5, "--schedule", "plateau", *stopped)[0] == 0
    config = json.loads(Path("run/config.json").read_text())
    for given, words in (
        (("--warmup", 2), "got 2 of 2 epochs: the rate would never"),
        (("--patience", 3), "--patience must be above 3 with --schedule plateau, got 3"),
    ):
        code, _, said = cli("train", "--resume", "run", *given, "--override")
        assert code == 2
        assert words in said[-1]
    Path("run/config.json").write_text(json.dumps({**config, "warmup": 2.0, "patience": 3}))
    assert cli("train", "--resume", "run", "--override", "--seed", 0, "--csv")[0] == 0


NET = """
import arraycnn as cnn

class Odd(cnn.Tanh):
    def forward(self, params, state, x, context):
        if context.mode == MODE:
            BROKEN
        return super().forward(params, state, x, context)

def net(classes):
    return cnn.Sequential(cnn.Rescale(), Odd(), cnn.Flatten(), cnn.Dense(classes))
"""


@pytest.mark.parametrize("broken", ["x + 'a'", "1 / 0", "x.reshape(3, 3, 3)", "raise ValueError"])
@pytest.mark.parametrize("there", [True, False])
def test_a_run_that_is_refused_at_its_first_step_leaves_nothing(cli, broken, there):
    if there:
        Path("run").mkdir()
    Path("net.py").write_text(NET.replace("MODE", "'train'").replace("BROKEN", broken))
    own = ("train", "--backend", "numpy", "--no-fast", "--limit", 60, "--epochs", 1, "--log-steps")
    own += ("--csv", "--tensorboard", "--network", "net.py:net", "--out", "run/one")
    code, _, said = cli(*own)
    assert (code, Path("run").exists()) == (2, there), said
    assert not there or not list(Path("run").iterdir())
    Path("run/one").mkdir(parents=True)
    assert cli(*own)[0] == 2
    assert [path.name for path in Path("run").iterdir()] == ["one"]
    assert not list(Path("run/one").iterdir())
    Path("net.py").write_text(NET.replace("MODE", "'train'").replace("BROKEN", "pass"))
    assert cli(*own)[0] == 0


def test_a_run_that_met_a_fault_later_is_kept(cli):
    Path("net.py").write_text(NET.replace("MODE", "'infer'").replace("BROKEN", "1 / 0"))
    own = ("train", "--backend", "numpy", "--no-fast", "--limit", 60, "--epochs", 1, "--log-steps")
    assert cli(*own, "--network", "net.py:net", "--out", "run")[0] == 2
    assert len(Path("run/steps.jsonl").read_text().splitlines()) == 2
    assert Path("run/config.json").exists()
