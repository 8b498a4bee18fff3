"""arraycnn bench: what it prints, of which models, and what it says where it cannot."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.profiling import machine, profile, torch_twin
from arraycnn.profiling.steps import trial_data

QUICK = ("--seconds", 0.001, "--batch-size", 2)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    """A machine whose rates are measured in no time."""
    monkeypatch.setattr(machine, "_SIDE", 16)
    monkeypatch.setattr(machine, "_COPIED", 2**12)


def network(*last):
    return cnn.Sequential(
        *(cnn.Rescale(), cnn.Conv2d(4, 3, padding=(1, 1)), cnn.BatchNorm2d(), cnn.ReLU()),
        cnn.Residual(cnn.Sequential(cnn.Conv2d(4, 3, padding=(1, 1)), cnn.BatchNorm2d())),
        *(cnn.MaxPool2d(2), cnn.Flatten(), cnn.Dense(3), *last),
    )


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "mine.npz"
    cnn.Model(network(), (8, 10, 3)).save(path)
    return path


def test_json_has_both_modes_and_each_size(cli, saved):
    options = ("--batch-size", 3, "--backend", "numpy", "--threads", 1, "--no-torch", "--json")
    code, out, lines = cli("bench", saved, *QUICK, *options)
    assert (code, lines) == (0, [])
    found = json.loads(out)
    assert (found["backend"], found["dtype"], found["input_shape"]) == (
        "numpy",
        "float32",
        [8, 10, 3],
    )
    sizes = [(one["mode"], one["batch_size"]) for one in found["profiles"]]
    assert sizes == [("train", 2), ("train", 3), ("infer", 2), ("infer", 3)]
    for one in found["profiles"]:
        assert one["images_per_second"] == pytest.approx(one["batch_size"] / one["seconds"])
        assert one["machine"]["threads"] == 1
        assert min(one["machine"]["operations"], one["machine"]["bytes"]) > 0
        assert sum(part["share"] for part in one["parts"]) == pytest.approx(1.0)
        *parts, ends = one["parts"]
        assert ends["steps"] == []
        numbers = [step["number"] for part in parts for step in part["steps"]]
        assert numbers == list(range(len(numbers)))
        assert {part["bound"] for part in parts} <= {"arithmetic", "memory"}
        layers = {layer for part in parts for step in part["steps"] for layer in step["layers"]}
        assert any("1 Conv2d, forward" in layer for layer in layers)
        assert any("backward" in layer for layer in layers) == (one["mode"] == "train")


@pytest.mark.parametrize("option", ["--training", "--inference"])
def test_text_names_the_parts_of_a_named_network(cli, option):
    options = ("--input-shape", "9x9", "--classes", 4, "--dtype", "float64", "--no-torch", option)
    code, out, _ = cli("bench", "scratch", *QUICK, *options, "--backend", "numpy", "--no-fast")
    assert code == 0
    assert out.startswith("scratch, 9x9x1, float64")
    said = [
        "GFLOP/s of matrix products",
        "head dense (2, 72) to (2, 4)",
        "longest: step ",
        "sum of the parts",
    ]
    said += ["training step of 2 images" if option == "--training" else "pass forward of 2 images"]
    assert [words for words in said if words not in out] == []


def test_a_run_is_measured_with_its_optimizer(cli):
    train = ("train", "--backend", "numpy", "--limit", 60, "--epochs", 1, "--network", "scratch")
    assert cli(*train, "--optimizer", "momentum", "--out", "run")[0] == 0
    options = ("--backend", "numpy", "--training", "--no-torch", "--json")
    for path in ("run", "run/last.npz"):
        code, out, _ = cli("bench", path, *QUICK, *options)
        assert (code, json.loads(out)["optimizer"]) == (0, "momentum")


def test_other_backends_tell_the_whole(cli):
    options = ("--input-shape", "6x6", "--backend", "array-api-strict", "--no-torch", "--training")
    code, out, _ = cli("bench", "scratch", *QUICK, *options)
    assert code == 0
    assert "images/s" in out
    assert "parts are not timed: backend array-api-strict runs the step as one" in out


def test_a_step_that_is_no_program_tells_the_whole():
    class Reading(cnn.SGD):
        def update(self, ops, params, gradients, state, rate):
            float(rate)
            return super().update(ops, params, gradients, state, rate)

    model = cnn.Model(network(), (8, 8, 1), cnn.NumPy(1, fast=False))
    found = profile(model, 2, optimizer=Reading(0.1), seconds=0.001, with_torch=False)
    assert (found.parts, found.seconds > 0) == ((), True)
    assert "parts are not timed: the step is no program" in str(found)


def test_the_call_of_a_layer_has_no_share_of_the_machine():
    class Reading(Nameless):
        def function(self, xp, x):
            float(xp.sum(x))
            return x * 2.0

    model = cnn.Model(network(Reading()), (8, 10, 3), cnn.NumPy(1, fast=False))
    found = profile(model, 2, seconds=0.001, with_torch=False)
    calls = [part for part in found.to_plain()["parts"] if part["operations"] is None]
    assert calls
    assert not any("of_machine" in part for part in calls)


def test_of_a_pass_that_is_cut_one_piece_is_shown():
    model = cnn.Model(network(), (8, 8, 1), cnn.NumPy(1, fast=False))
    found = profile(model, 300, mode="infer", seconds=0.001, with_torch=False)
    assert (found.batch_size, found.parts_images) == (300, 256)
    assert "sum of the parts of 256 images" in str(found)


@pytest.mark.parametrize("config", ["[1]", "{", '{"optimizer": ["sgd"]}'])
def test_a_file_may_lie_beside_anything(cli, saved, config):
    (saved.parent / "config.json").write_text(config)
    code, out, _ = cli("bench", saved, *QUICK, "--no-torch", "--training", "--backend", "numpy")
    assert (code, "adamw" in out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere",), "must be a model file, a run folder or a network, got nowhere"),
        (("nowhere.npz",), "no such path exists"),
        (("scratch", "--batch-size", 0), "--batch-size"),
        (("scratch", "--seconds", 0), "must be above 0"),
        (("scratch", "--seconds", "nan"), "must be finite"),
        (("scratch", "--input-shape", "2x2"), "Conv2d"),
        (("mine.npz", "--classes", 3), "--classes belongs to a named network"),
        ((".",), "holds no run"),
        (("bad.npz",), "model file bad.npz"),
    ],
)
def test_what_cannot_be_measured_is_said_in_one_line(cli, saved, arguments, said):
    (saved.parent / "bad.npz").write_bytes(b"PK\x03\x04 damaged")
    code, out, lines = cli("bench", *arguments, "--backend", "numpy")
    assert (code, out, len(lines)) == (2, "", 1), lines
    assert said in lines[0]


def test_it_is_said_why_there_is_no_torch_to_compare_with(cli, saved, monkeypatch):
    monkeypatch.setattr(torch_twin, "find_spec", lambda name: None)
    code, out, _ = cli("bench", saved, *QUICK, "--inference", "--backend", "numpy")
    assert code == 0
    assert "not compared with torch: torch is not installed" in out


class Nameless(cnn.Activation):
    """A user's activation that does not say what it is in PyTorch."""

    def function(self, xp, x):
        return x * 2.0

    def derivative(self, xp, x):
        return xp.zeros_like(x) + 2.0


@pytest.mark.parametrize("mode", ["train", "infer"])
def test_the_same_network_runs_in_torch(torch, mode):
    model = cnn.Model(network(), (8, 10, 3), cnn.NumPy(1, fast=False))
    found = profile(model, 3, mode=mode, optimizer=cnn.Adam(0.1), seconds=0.001)
    assert found.torch_seconds > 0
    assert "the same in torch" in str(found)
    images, _ = trial_data(model, 3)
    module = torch_twin.torch_module_of(model).eval()
    with torch.inference_mode():
        given = module(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    expected = torch.softmax(given, 1).numpy()
    np.testing.assert_allclose(model.predict(images), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [
        (cnn.SGD(0.1, weight_decay=0.2), {"momentum": 0.0, "nesterov": False, "weight_decay": 0.2}),
        (
            cnn.SGD(0.1, 0.7, nesterov=True),
            {"momentum": 0.7, "nesterov": True, "weight_decay": 0.0},
        ),
        (cnn.Adam(0.1, (0.5, 0.6), 1e-3, 0.2), {"weight_decay": 0.2}),
        (cnn.AdamW(0.1, (0.5, 0.6), 1e-3), {"weight_decay": 0.01}),
    ],
    ids=str,
)
def test_torch_does_the_same_work_in_its_update(torch, optimizer, settings, monkeypatch):
    made = []
    name = type(optimizer).__name__
    rule = getattr(torch.optim, name)
    monkeypatch.setattr(torch.optim, name, lambda *a, **k: made.append(rule(*a, **k)) or made[-1])
    model = cnn.Model(network(), (8, 10, 3), cnn.NumPy(1, fast=False))
    torch_twin.torch_step(model, "train", optimizer, *trial_data(model, 2), 2)
    (group,) = made[0].param_groups
    if isinstance(optimizer, cnn.Adam):
        settings = settings | {"betas": (0.5, 0.6), "eps": 1e-3}
    assert {name: group[name] for name in settings} == settings


def test_what_torch_has_not_is_not_compared(torch):
    model = cnn.Model(network(Nameless()), (8, 10, 3), cnn.NumPy(1, fast=False))
    assert "Nameless" in profile(model, 2, mode="infer", seconds=0.001).untwinned
    losses = cnn.Model(network(), (8, 10, 3), cnn.NumPy(1, fast=False), loss=cnn.Huber())
    assert "loss" in profile(losses, 2, seconds=0.001).untwinned
    lion = profile(cnn.Model(network(), (8, 10, 3)), 2, optimizer=cnn.Lion(0.1), seconds=0.001)
    assert "PyTorch has no Lion" in lion.untwinned
    on_a_gpu = SimpleNamespace(backend=SimpleNamespace(name="cupy"))
    with pytest.raises(torch_twin.NoTwinError, match="on the CPU"):
        torch_twin.torch_step(on_a_gpu, "infer", cnn.SGD(0.1), *trial_data(losses, 1), 1)
