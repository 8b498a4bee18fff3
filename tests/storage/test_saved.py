"""What earlier versions wrote, loaded by this one: tests/saved/COMMIT, which tests/saved/write.py made.

Numbers are those that the earlier version computed by plain NumPy. Where versions of NumPy and BLAS
and the processor's kind are as they were then, plain NumPy gives them to the last bit; elsewhere, and
on other backends, sums may round in another way.
"""

import json
import lzma
import pickle
import shutil
import subprocess
import sys
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from arraycnn import (
    SGD,
    Adam,
    AdamW,
    Checkpoint,
    Cosine,
    Dense,
    Flatten,
    Model,
    NumPy,
    OneCycle,
    Sequential,
    get_backend,
)
from arraycnn.export import import_safetensors
from arraycnn.storage.checkpoint import read_checkpoint, write_checkpoint
from arraycnn.storage.provenance import versions
from conftest import import_optional, jax_in_float64
from saved.write import COMMANDS, TRAINING, machine

SAVED = Path(__file__).parent.parent / "saved"
COMMITS = sorted(path.parent.name for path in SAVED.glob("*/about.json"))
TOLERANCE = {"float32": 2e-5, "float64": 1e-11}
OPTIMIZERS = {
    "sgd": SGD(OneCycle(0.1)),
    "momentum": SGD(0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": Adam(Cosine(0.01)),
    "adamw": AdamW(OneCycle(0.01)),
}
"""As in write.py, and here once more: a change of their text must not stop a training."""
MODELS = [(commit, path) for commit in COMMITS for path in (SAVED / commit / "models").iterdir()]
TRAININGS = [
    (commit, path) for commit in COMMITS for path in (SAVED / commit / "trainings").iterdir()
]


def named(cases):
    return pytest.mark.parametrize(
        ("commit", "path"), cases, ids=[f"{commit}-{path.name}" for commit, path in cases]
    )


@pytest.fixture(params=["plain", "compiled", "torch", "jax", "array-api-strict"])
def backend(request):
    if request.param in ("plain", "compiled"):
        if request.param == "compiled":
            import_optional("llvmlite")
        yield NumPy(fast=request.param == "compiled")
    elif request.param == "jax":
        with jax_in_float64():
            yield get_backend("jax")
    else:
        if request.param == "torch":
            import_optional("torch")
        yield get_backend(request.param)


@cache
def arrays(commit, name):
    """Everything in an .npz of what was expected."""
    with np.load(SAVED / commit / f"{name}.npz") as file:
        return dict(file)


@cache
def about(commit):
    return json.loads((SAVED / commit / "about.json").read_text())


def check(actual, expected, commit, backend, dtype):
    exact = backend == NumPy(fast=False) and about(commit)["machine"] == machine()
    exact = exact and about(commit)["versions"]["numpy"] == versions()["numpy"]
    tolerance = 0.0 if exact else TOLERANCE[dtype]
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


@named(MODELS)
def test_models_predict_the_same(commit, path, backend, tmp_path):
    name, dtype = path.name.split(".")[0].rsplit("-", 1)
    file = tmp_path / f"{name}.npz"
    content = path.read_bytes()
    file.write_bytes(lzma.decompress(content) if path.suffix == ".xz" else content)
    model = Model.load(file, backend=backend)
    assert model.dtype == dtype
    kept = arrays(commit, "models")
    found = model.predict(kept[f"{name}-{dtype}/images"])
    check(found, kept[f"{name}-{dtype}/predictions"], commit, backend, dtype)


@named(TRAININGS)
def test_trainings_go_on_to_the_same_end(commit, path, backend):
    name, dtype, place = path.stem.split("-")
    model, training = Model.load_training(path, backend=backend)
    assert training.step == (0 if place == "end" else 1)
    kept = arrays(commit, "trainings")
    model.fit(
        kept["images"], kept["labels"], optimizer=OPTIMIZERS[name], resume=training, **TRAINING
    )
    assert model.epochs_done == TRAINING["epochs"]
    found = {**model.parameters, **model.state}
    expected = {key: kept[f"{name}-{dtype}/{key}"] for key in found}
    assert len(expected) == sum(key.startswith(f"{name}-{dtype}/") for key in kept)
    for key, array in expected.items():
        check(found[key], array, commit, backend, dtype)


@pytest.mark.parametrize("commit", COMMITS)
@pytest.mark.parametrize("run", ["run", "interrupted"])
def test_runs_go_on_and_are_evaluated(commit, run, cli, tmp_path, caplog):
    folder = tmp_path / "kept"
    shutil.copytree(SAVED / commit / run, folder)
    code, out, errors = cli("train", "--resume", folder)
    assert code == 0, errors
    if run == "interrupted":  # another version wrote it, and this one says what that means
        assert caplog.text.count("may not go on to the same bit") == 1
    kept = arrays(commit, "run")
    plain = NumPy(fast=False)
    for file in ("last.npz", "best.npz"):
        model = Model.load(folder / file, backend=plain)
        check(model.predict(kept["images"]), kept["predictions"], commit, plain, "float32")
    for key, array in model.parameters.items():
        check(array, kept[f"parameters/{key}"], commit, plain, "float32")
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 3
    code, out, errors = cli("evaluate", folder / "best.npz", "--backend", "numpy", "--json")
    assert code == 0, errors
    assert json.loads(out)["loss"] == pytest.approx(float(kept["loss"]), abs=1e-5)


@pytest.mark.parametrize("commit", COMMITS)
def test_a_run_is_reported(commit, cli, tmp_path):
    shutil.copytree(SAVED / commit / "run", tmp_path / "kept")
    code, _, errors = cli("report", "kept", "--backend", "numpy")
    assert code == 0, errors
    assert (tmp_path / "kept" / "report" / "report.html").is_file()


@pytest.mark.parametrize("commit", COMMITS)
@pytest.mark.parametrize("name", ["batch_norm", "conv", "residual"])
def test_weights_are_imported(commit, name, backend):
    import_optional("safetensors")
    model = import_safetensors(SAVED / commit / f"{name}.safetensors", backend=backend)
    kept = arrays(commit, "exports")
    found = model.predict(kept[f"{name}/images"])
    check(found, kept[f"{name}/predictions"], commit, backend, "float32")


@pytest.mark.parametrize("commit", COMMITS)
@pytest.mark.filterwarnings("ignore:.*unpickle estimator")  # of another version of scikit-learn
def test_an_estimator_is_unpickled(commit):
    import_optional("sklearn")
    classifier = pickle.loads((SAVED / commit / "estimator.pickle").read_bytes())
    kept = arrays(commit, "exports")
    assert list(classifier.classes_) == ["no", "yes"]
    found = classifier.predict_proba(kept["estimator/images"])
    check(found, kept["estimator/predictions"], commit, NumPy(fast=False), "float32")


@pytest.mark.parametrize("commit", COMMITS)
def test_public_names_are_still_there(commit):
    for module, names in about(commit)["modules"].items():
        missing = [name for name in names if not hasattr(import_module(module), name)]
        assert not missing, module
    assert set(about(commit)["lazy"]) <= set(dir(import_module("arraycnn")))


@pytest.mark.parametrize("commit", COMMITS)
@pytest.mark.parametrize("command", COMMANDS)
def test_commands_and_options_are_still_there(commit, command):
    from arraycnn.cli import cli

    options = {
        option
        for parameter in cli.commands[command].params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    assert set(about(commit)["commands"][command]) <= options


def test_the_files_are_small():
    for commit in COMMITS:
        files = [path for path in (SAVED / commit).rglob("*") if path.is_file()]
        assert sum(path.stat().st_size for path in files) < 300_000
        assert max(path.stat().st_size for path in files) < 30_000


def test_the_script_still_writes_all_of_it(tmp_path):
    import_optional("sklearn")
    script = [sys.executable, SAVED / "write.py", tmp_path / "now"]
    subprocess.run(script, check=True, capture_output=True)
    now = {path.relative_to(tmp_path / "now") for path in (tmp_path / "now").rglob("*")}
    for commit in COMMITS:
        assert {path.relative_to(SAVED / commit) for path in (SAVED / commit).rglob("*")} <= now


def one_step(path):
    """A training of one step of SGD, in a file of this version."""
    model = Model(Sequential(Flatten(), Dense(2)), (2, 2), NumPy(fast=False))
    callbacks = [Checkpoint(model, path)]
    model.fit(
        *(np.ones((2, 2, 2), "float32"), [0, 1]),
        epochs=1,
        batch_size=2,
        optimizer=SGD(0.1),
        callbacks=callbacks,
    )


def test_a_training_of_these_versions_goes_on_without_a_word(tmp_path, caplog):
    one_step(tmp_path / "last.npz")
    Model.load_training(tmp_path / "last.npz")
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("saved", "said"),
    [
        (None, "by a version of arraycnn that did not note itself; this is arraycnn "),
        ({"arraycnn": "0.0.9", "numpy": "2.0.0"}, "by arraycnn 0.0.9, numpy 2.0.0; this is "),
        ({**versions(), "numpy": "1.9\n\x1b[2J"}, "numpy 1.9 ?[2J"),
        (["?"], "did not note itself"),
    ],
)
def test_a_training_of_other_versions_says_that_bits_may_differ(saved, said, tmp_path, caplog):
    one_step(tmp_path / "last.npz")
    header, kept = read_checkpoint(tmp_path / "last.npz")
    header = {name: value for name, value in header.items() if name != "versions"}
    write_checkpoint(
        tmp_path / "old.npz", header if saved is None else {**header, "versions": saved}, kept
    )
    Model.load_training(tmp_path / "old.npz")
    (line,) = caplog.messages
    assert said in line
    assert "its training goes on, but may not go on to the same bit" in line
    assert line.isprintable()
    caplog.clear()
    Model.load(tmp_path / "old.npz")  # a model is none the worse for it
    assert caplog.messages == []
