"""New layers and optimizers, a user's own among them: the whole way, on every backend."""

import re
from pathlib import Path

import numpy as np
import pytest

import arraycnn as cnn
import outside
from arraycnn.execution.traceable import say
from arraycnn.export import export_torch
from arraycnn.layers.augmentation import Augmentation
from arraycnn.layers.augmentation.mixing import Mixing
from arraycnn.layers.layer import with_n
from arraycnn.program.description import places
from layer_rows import ROWS, USERS
from optional import needs

NETWORK = cnn.Sequential(
    cnn.Rescale(), cnn.Conv2d(4, 3), *(row.layer for row in ROWS), cnn.Flatten(), cnn.Dense(3)
)
OPTIMIZERS = [outside.Signum(0.01), cnn.Lion(0.003, weight_decay=0.1)]
IMAGES = np.random.default_rng(1).integers(0, 256, (20, 6, 5, 1), dtype=np.uint8)
LABELS = np.random.default_rng(2).integers(0, 3, 20)
# Where nothing is computed.
IDLE = {
    "train": cnn.Reshape,
    "infer": cnn.Reshape | cnn.Dropout2d | cnn.StochasticDepth | Augmentation,
}
FAST = pytest.param(True, marks=needs("llvmlite"), id="compiled")
each_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=str)


def new_model(backend):
    return cnn.Model(NETWORK, (6, 5), backend, seed=3, dtype="float64")


def trained(backend, optimizer, epochs=2, **settings):
    """A model after an epoch of two batches of one size, and again."""
    model = new_model(backend)
    model.fit(IMAGES, LABELS, epochs=epochs, batch_size=10, optimizer=optimizer, **settings)
    return model


def check_close(model, expected):
    for name, array in expected.parameters.items():
        np.testing.assert_allclose(model.parameters[name], array, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(
        model.predict(IMAGES[:10]), expected.predict(IMAGES[:10]), rtol=1e-10
    )


@pytest.fixture(scope="session")
def eager():
    """The model after training with each optimizer, layer by layer."""
    return {optimizer: trained(cnn.ArrayAPIStrict(), optimizer) for optimizer in OPTIMIZERS}


@each_optimizer
@pytest.mark.parametrize("fast", [False, FAST])
def test_numpy_runs_the_program_of_the_eager_step(fast, optimizer, eager, caplog):
    say.cache_clear()
    first = new_model("numpy").parameters
    for name, array in eager[optimizer].parameters.items():
        assert np.abs(array - first[name]).max() > 1e-3, name
    check_close(trained(cnn.NumPy(fast=fast, threads=2), optimizer), eager[optimizer])
    # What is said of a step, or a layer, that has no program.
    assert not re.search("layer by layer|calls a layer", caplog.text)


@pytest.mark.parametrize("name", ["device1", "torch", "jax"])
def test_training_on_another_library_is_the_same(name, request, eager):
    if name in ("torch", "jax"):
        request.getfixturevalue(name)
    backend = cnn.ArrayAPIStrict("device1") if name == "device1" else cnn.get_backend(name)
    check_close(trained(backend, OPTIMIZERS[-1]), eager[OPTIMIZERS[-1]])


@pytest.mark.parametrize("mode", ["train", "infer"])
def test_each_layer_becomes_fused_loops(mode):
    schedule = new_model("numpy").program(10, OPTIMIZERS[-1], mode).schedule
    for number, layer in list(enumerate(NETWORK.layers))[2:-2]:
        wanted = f"{number} {type(layer).__name__},"
        steps = [step for step in schedule.steps if wanted in ", ".join(places(schedule, step))]
        assert steps or isinstance(layer, IDLE[mode]), wanted
        # Other layers may share its loops, but no head computes any of it: of mixtures, only their
        # backward pass is a product.
        heads = [step.head for step in steps if step.head is not None]
        is_product = [head.op == "matmul" and head.where.endswith("backward") for head in heads]
        assert all(is_product), wanted
        assert isinstance(layer, Mixing) or not heads, wanted


class Stop(cnn.Callback):
    """Interrupts a training after its third step."""

    save_every, steps = 1, 0

    def on_save(self, state):
        self.steps += 1
        if self.steps == 3:
            raise KeyboardInterrupt


@each_optimizer
@pytest.mark.parametrize("fast", [False, FAST])
def test_a_training_goes_on_from_its_file_to_the_last_bit(fast, optimizer, tmp_path):
    whole = trained(cnn.NumPy(fast=fast), optimizer)
    model, path = new_model(cnn.NumPy(fast=fast)), tmp_path / "last.npz"
    settings = {"epochs": 2, "batch_size": 10, "optimizer": optimizer}
    with pytest.raises(KeyboardInterrupt):
        model.fit(*(IMAGES, LABELS), callbacks=[cnn.Checkpoint(model, path, 1), Stop()], **settings)
    again, state = cnn.Model.load_training(path, cnn.NumPy(fast=fast), layers=USERS)
    assert again.network == NETWORK
    again.fit(IMAGES, LABELS, resume=state, **settings)
    for name, array in whole.parameters.items():
        np.testing.assert_array_equal(again.parameters[name], array)
    np.testing.assert_array_equal(again.predict(IMAGES), whole.predict(IMAGES))


def test_the_summary_shows_each_as_it_was_written():
    lines = new_model("numpy").summary().splitlines()
    shape = (4, 3, 4)
    for number, row in enumerate(ROWS, start=4):
        shape = row.layer.init(np.random.default_rng(0), shape)[2]
        assert f"{row.layer!r}  {with_n(shape)}" in " ".join(lines[number].split()).replace(
            " (N", "  (N"
        )


def test_what_the_page_on_extending_shows_runs(tmp_path, monkeypatch):
    page = (Path(__file__).parent.parent / "docs" / "EXTENDING.md").read_text()
    monkeypatch.chdir(tmp_path)
    shown = {"__name__": "shown"}
    for example in re.findall(r"^```python\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE):
        exec(example, shown)
    assert shown["model"].epochs_done == 2
    assert shown["again"].network == shown["network"]
    assert shown["with_loss"].loss == shown["LogCosh"]()
    errors = shown["with_loss"].predict(shown["images"]) - shown["values"]
    measured = shown["regression"].evaluate(shown["images"], shown["values"])
    assert measured.loss == pytest.approx(np.log(np.cosh(errors)).mean(), rel=1e-5)
    export_torch(shown["model"], tmp_path / "own.py")
    assert "Squareplus()," in (tmp_path / "own.py").read_text()
