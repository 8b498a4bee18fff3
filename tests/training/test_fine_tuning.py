"""Fine-tuning: frozen parameters and a new head, in whole trainings, on every backend."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn import NO_DECAY, Group, ParameterGroups
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.execution.traceable import say
from arraycnn.ops import array_namespace
from arraycnn.program.description import places
from optional import needs
from resume_cases import StopAt

RNG = np.random.default_rng(3)
IMAGES = RNG.normal(size=(12, 7, 7, 2))
LABELS = RNG.integers(0, 3, 12)
_CONV = cnn.Conv2d(4, 3, padding="same", bias=False)  # a norm would undo its bias
BODY = (
    cnn.Conv2d(4, 3, padding="same"),
    cnn.BatchNorm(),
    cnn.ReLU(),
    cnn.Residual(cnn.Sequential(_CONV, cnn.BatchNorm(), cnn.ReLU())),
    cnn.GlobalAvgPool2d(),
)
NETWORK = cnn.Sequential(cnn.Sequential(*BODY), cnn.Dense(3))
# The first norm has running averages of its own from here on, the second goes on with its batch's.
OPTIMIZER = ParameterGroups(
    cnn.AdamW(cnn.Cosine(0.01), weight_decay=0.1),
    Group("0", learning_rate_scale=0.25),
    Group("0.[01]", frozen=True),
    Group("0.3.body.0.weight", frozen=True),
    NO_DECAY,
)
HEAD_ONLY = ParameterGroups(cnn.AdamW(0.01), Group("0", frozen=True))
STEPS = 5
FAST = pytest.param(cnn.NumPy(fast=True, threads=2), marks=needs("llvmlite"), id="compiled")


def new_model(backend="numpy", dtype="float64"):
    """A model with averages in its norms that are those of no batch to come."""
    model = cnn.Model(NETWORK, (7, 7, 2), backend, seed=2, dtype=dtype)
    rng = np.random.default_rng(7)
    state = {
        name: rng.uniform(0.5, 1.5, array.shape).astype(dtype)
        for name, array in model.state.items()
    }
    model.assign(model.parameters, state)
    return model


def trained(backend, optimizer, **settings):
    model = new_model(backend)
    settings = {"epochs": STEPS, "batch_size": 12, "optimizer": optimizer, **settings}
    return model, model.fit(IMAGES, LABELS, **settings)


def changed(before, after):
    return {name for name, array in before.items() if (array != after[name]).any()}


@pytest.fixture(scope="module")
def expected():
    """(parameters and state by name, losses) of the training by PyTorch, layer by layer."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    functional = torch.nn.functional
    model = new_model()
    tensors = {n: torch.tensor(a) for n, a in {**model.parameters, **model.state}.items()}
    frozen = {"0.0.weight", "0.0.bias", "0.1.weight", "0.1.bias", "0.3.body.0.weight"}
    for name in model.parameters:
        tensors[name].requires_grad_(name not in frozen)
    alike = {}  # of (rate's factor, decay)
    for name in set(model.parameters) - frozen:
        factor = 0.25 if name.startswith("0") else 1.0
        alike.setdefault((factor, 0.1 if name == "1.weight" else 0.0), []).append(tensors[name])
    rule = torch.optim.AdamW(
        [{"params": p, "factor": f, "weight_decay": decay} for (f, decay), p in alike.items()]
    )

    def convolved(x, path):
        weight = tensors[f"{path}.weight"].permute(3, 2, 0, 1)
        return functional.conv2d(x, weight, tensors.get(f"{path}.bias"), padding=1)

    def normalised(x, path, trains):
        names = ("mean", "variance", "weight", "bias")
        return functional.batch_norm(x, *(tensors[f"{path}.{n}"] for n in names), trains)

    losses = []
    for step in range(STEPS):
        for group in rule.param_groups:
            group["lr"] = group["factor"] * 0.005 * (1.0 + np.cos(np.pi * step / STEPS))
        x = torch.tensor(IMAGES).permute(0, 3, 1, 2)
        x = torch.relu(normalised(convolved(x, "0.0"), "0.1", trains=False))
        inside = normalised(convolved(x, "0.3.body.0"), "0.3.body.1", trains=True)
        x = (x + torch.relu(inside)).mean(dim=(2, 3)) @ tensors["1.weight"] + tensors["1.bias"]
        loss = functional.cross_entropy(x, torch.tensor(LABELS))
        losses.append(loss.item())
        rule.zero_grad()
        loss.backward()
        rule.step()
    return {name: tensor.detach().numpy() for name, tensor in tensors.items()}, losses


@pytest.mark.parametrize(
    "backend",
    [cnn.NumPy(fast=False, threads=2), FAST, cnn.ArrayAPIStrict("device1"), "torch", "jax"],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_it_is_pytorchs_training_with_the_same_frozen(backend, expected, request, caplog):
    if isinstance(backend, str):
        request.getfixturevalue(backend)
    say.cache_clear()
    arrays, losses = expected
    model, history = trained(backend, OPTIMIZER)
    np.testing.assert_allclose(history.step_losses, losses, rtol=1e-9)
    before = new_model()
    for name, array in {**model.parameters, **model.state}.items():
        np.testing.assert_allclose(array, arrays[name], rtol=1e-8, atol=1e-10, err_msg=name)
    trained_ones = changed(before.parameters, model.parameters)
    assert trained_ones == {
        *("0.3.body.1.weight", "0.3.body.1.bias", "1.weight", "1.bias"),
    }
    assert changed(before.state, model.state) == {"0.3.body.1.mean", "0.3.body.1.variance"}
    assert "layer by layer" not in caplog.text


@pytest.mark.parametrize("position", [1, 3, 4])
def test_resumed_the_end_is_the_same_to_the_last_bit(position, tmp_path):
    path, settings = tmp_path / "last.npz", {"epochs": 2, "batch_size": 5}  # 3 steps an epoch
    whole, history = trained("numpy", OPTIMIZER, **settings)
    stopped = new_model()
    callbacks = [StopAt(position), cnn.Checkpoint(stopped, path)]
    stopped.fit(IMAGES, LABELS, optimizer=OPTIMIZER, callbacks=callbacks, **settings)
    again, training = cnn.Model.load_training(path)
    assert "Group('0.[01]', frozen=True)" in training.optimizer  # the file says what was frozen
    ended = again.fit(IMAGES, LABELS, optimizer=OPTIMIZER, resume=training, **settings)
    for name, array in {**whole.parameters, **whole.state}.items():
        np.testing.assert_array_equal({**again.parameters, **again.state}[name], array, name)
    assert [r.train_loss for r in ended] == [r.train_loss for r in history]


def test_resumed_with_other_groups_is_refused(tmp_path):
    model = new_model()
    stop = StopAt(1)
    model.fit(IMAGES, LABELS, optimizer=HEAD_ONLY, callbacks=[stop], batch_size=5)
    with pytest.raises(InvalidValueError, match=r"optimizer was ParameterGroups.*got AdamW"):
        model.fit(IMAGES, LABELS, optimizer=cnn.AdamW(0.01), resume=model.unfinished, batch_size=5)


def passes_of(optimizer, network=NETWORK, shape=(7, 7, 2)):
    """What the program of a step computes: "0.0 Conv2d, forward", ..."""
    schedule = cnn.Model(network, shape).program(8, optimizer).schedule
    return {place for step in schedule.steps for place in places(schedule, step)}


def test_no_gradient_is_computed_below_what_is_trained():
    backward = {place for place in passes_of(HEAD_ONLY) if "backward" in place}
    assert backward == {"1 Dense, backward"}
    assert len({place for place in passes_of(cnn.AdamW()) if "backward" in place}) > 4
    last = ParameterGroups(cnn.AdamW(), Group("0.[0-2]", frozen=True))
    assert not {place for place in passes_of(last) if place.startswith(("0.0", "0.1", "0.2"))} & {
        place for place in passes_of(last) if "backward" in place
    }


@dataclass(frozen=True)
class Counting:
    """A user's layer that keeps count of its passes: it is called as it is written."""

    calls: list

    def init(self, rng, input_shape):
        return {"scale": np.ones(input_shape[-1])}, {}, input_shape

    def forward(self, params, state, x, context):
        self.calls.append(("forward", context.trains(params)))
        return x * params["scale"], state, x

    def backward(self, params, residuals, dy, context, need_dx):
        self.calls.append(("backward", need_dx))
        axes = tuple(range(dy.ndim - 1))
        return (dy * params["scale"] if need_dx else None), {
            "scale": array_namespace(dy).sum(dy * residuals, axis=axes)
        }


@pytest.mark.parametrize("backend", [cnn.NumPy(fast=False), cnn.ArrayAPIStrict(), "torch"], ids=str)
def test_a_layer_is_told_whether_it_is_trained(backend, request):
    if backend == "torch":
        request.getfixturevalue("torch")
    calls = []
    network = cnn.Sequential(cnn.Conv2d(2, 3), Counting(calls), cnn.Flatten(), cnn.Dense(3))
    model = cnn.Model(network, (7, 7, 2), backend, dtype="float64")
    frozen = ParameterGroups(cnn.SGD(0.1), Group("[01]", frozen=True))
    model.fit(IMAGES, LABELS, optimizer=frozen)
    assert set(calls) == {("forward", False)}
    calls.clear()
    model.fit(IMAGES, LABELS, optimizer=ParameterGroups(cnn.SGD(0.1), Group("0", frozen=True)))
    assert set(calls) == {("forward", True), ("backward", False)}


@dataclass(frozen=True)
class Reading(Counting):
    """The same that reads a value, and so is called as it is written."""

    def forward(self, params, state, x, context):
        float(array_namespace(x).sum(x))
        return super().forward(params, state, x, context)


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_around_a_layer_that_reads_values_too(backend, request, caplog):
    if backend == "jax":
        request.getfixturevalue("jax")
    say.cache_clear()
    calls = []
    body = cnn.Conv2d(2, 3), cnn.BatchNorm(), Reading(calls)
    network = cnn.Sequential(*body, cnn.Flatten(), cnn.Dense(3))
    model = cnn.Model(network, (7, 7, 2), backend, dtype="float64")
    before = model.parameters
    optimizer = ParameterGroups(cnn.SGD(0.1), Group("[0-2]", frozen=True))
    model.fit(IMAGES, LABELS, optimizer=optimizer, batch_size=12)
    assert set(calls) == {("forward", False)}
    assert changed(before, model.parameters) == {"4.weight", "4.bias"}
    assert "calls a layer as it is written" in caplog.text
    assert "BatchNorm" not in caplog.text


def test_a_frozen_branch_beside_one_that_is_trained_is_left_alone():
    calls = []
    add = cnn.Add(cnn.Sequential(Counting(calls)), cnn.Conv2d(2, 1))
    network = cnn.Sequential(add, cnn.Flatten(), cnn.Dense(3))
    model = cnn.Model(network, (7, 7, 2), cnn.ArrayAPIStrict(), dtype="float64")
    model.fit(IMAGES, LABELS, optimizer=ParameterGroups(cnn.SGD(0.1), Group("0.0", frozen=True)))
    assert set(calls) == {("forward", False)}


# --- a new head ---------------------------------------------------------------------------------


def test_a_new_head_stands_on_what_the_body_has_learned(tmp_path):
    old = cnn.Model(cnn.Sequential(*BODY, cnn.Dense(3)), (7, 7, 2), class_names=["a", "b", "c"])
    old.fit(IMAGES.astype("float32"), LABELS, optimizer=cnn.AdamW(0.01))
    kept = old.parameters
    old.save(tmp_path / "old.npz")
    # The three lines of docs/GUIDE.md.
    body = cnn.Model.load(tmp_path / "old.npz")
    model = cnn.with_head(body, cnn.Dense(5), class_names=list("vwxyz"))
    model.fit(IMAGES.astype("float32"), LABELS + 2, optimizer=HEAD_ONLY, epochs=2)

    assert model.predict(IMAGES.astype("float32")).shape == (12, 5)
    assert (model.class_names, model.epochs_done) == (tuple("vwxyz"), 2)
    for name, array in kept.items():
        np.testing.assert_array_equal(old.parameters[name], array)
        if not name.startswith("5"):
            np.testing.assert_array_equal(model.parameters[f"0.{name}"], array)
    for name, array in old.state.items():
        np.testing.assert_array_equal(model.state[f"0.{name}"], array)
    assert model.pixels is not None


def test_a_head_in_place_of_a_head_leaves_the_paths_as_they_are():
    first = cnn.with_head(new_model(), cnn.Sequential(cnn.Dense(4), cnn.ReLU(), cnn.Dense(2)))
    assert set(first.parameters) - set(new_model().parameters) == {
        *("1.0.weight", "1.0.bias", "1.2.weight", "1.2.bias"),
    }
    second = cnn.with_head(first, cnn.Dense(3), seed=5)
    assert set(second.parameters) == set(new_model().parameters)
    assert second.seed == 5
    assert (second.parameters["1.weight"] != new_model().parameters["1.weight"]).any()
    with pytest.raises(InvalidValueError, match="layer 1, Conv2d: input must have 4 axes"):
        cnn.with_head(new_model(), cnn.Conv2d(2, 1))


def test_a_head_for_numbers():
    model = cnn.with_head(new_model(), cnn.Dense(2), loss=cnn.Huber())
    model.fit(IMAGES, RNG.normal(size=(12, 2)), optimizer=HEAD_ONLY)
    assert model.predict(IMAGES).shape == (12, 2)


@pytest.mark.parametrize("network", [cnn.Dense(3), cnn.Sequential(cnn.Dense(3))], ids=str)
def test_a_network_without_a_body_is_refused(network):
    model = cnn.Model(cnn.Sequential(cnn.Flatten(), network), (2, 2))
    model.network = network
    with pytest.raises(
        InvalidTypeError, match="with_head: the model's network must be a Sequential"
    ):
        cnn.with_head(model, cnn.Dense(2))


def test_what_the_page_shows_runs(tmp_path, monkeypatch):
    page = (Path(__file__).parent.parent.parent / "docs" / "FINE_TUNING.md").read_text()
    monkeypatch.chdir(tmp_path)
    new_model().save("pretrained.npz")
    shown = {"images": IMAGES, "labels": LABELS}
    for example in re.findall(r"^```python\n(.*?)^```$", page, flags=re.DOTALL | re.MULTILINE):
        exec(example, shown)
    assert changed(new_model().parameters, shown["body"].parameters) == set()
    model = shown["model"]
    assert model.predict(IMAGES).shape == (12, 5)
    np.testing.assert_array_equal(
        model.parameters["0.0.weight"], new_model().parameters["0.0.weight"]
    )
