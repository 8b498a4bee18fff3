"""Steps as programs on real CuPy: what is a node of a graph, what is called between two of them."""

import logging
from dataclasses import dataclass
from threading import Thread

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn import SGD, CuPy, Model, NumPy
from arraycnn.execution import traceable
from arraycnn.ops import array_namespace
from captured_kernels import not_ours
from launches import launches_of_step
from nets import NETS, network, optimizer
from optional import Late
from program_cases import block

pytestmark = pytest.mark.usefixtures("driver")
cupy = Late("cupy")

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (22, 8, 8, 2), np.uint8)
LABELS = RNG.integers(0, 3, len(IMAGES))


@dataclass(frozen=True)
class Product:
    """A user's dense layer, of the standard's own products."""

    features: int

    def init(self, rng, input_shape):
        weight = rng.normal(0.0, 0.1, (input_shape[0], self.features))
        return {"weight": weight}, {}, (self.features,)

    def forward(self, params, state, x, context):
        return array_namespace(x).matmul(x, params["weight"]), state, x

    def backward(self, params, residuals, dy, context, need_dx):
        dx = dy @ params["weight"].T if need_dx else None
        return dx, {"weight": residuals.T @ dy}


@dataclass(frozen=True)
class Clipped:
    """A user's activation that reads a value: no program says what it does."""

    def init(self, rng, input_shape):
        return {"scale": np.ones(input_shape[-1])}, {"most": np.array(0.0)}, input_shape

    def forward(self, params, state, x, context):
        xp = array_namespace(x)
        most = 0.9 * float(xp.max(xp.abs(x)))
        if context.mode == "train":
            state = {"most": xp.asarray(most, dtype=x.dtype)}
        inside = xp.abs(x) <= most
        return xp.clip(x, -most, most) * params["scale"], state, (x, inside, most)

    def backward(self, params, residuals, dy, context, need_dx):
        x, inside, most = residuals
        xp = array_namespace(x)
        gradients = {"scale": xp.sum(dy * xp.clip(x, -most, most), axis=(0, 1, 2))}
        return (xp.where(inside, dy * params["scale"], 0.0) if need_dx else None), gradients


NETWORKS = {
    "residual": cnn.Sequential(
        cnn.Rescale(), cnn.Conv2d(4, 3, padding=(1, 1), bias=False), cnn.BatchNorm2d(), cnn.ReLU(),
        *block(4), *block(8, 2), cnn.GlobalAvgPool2d(), cnn.Dense(3),
    ),
    "norms": cnn.Sequential(
        cnn.Rescale(), cnn.Conv2d(6, 3), cnn.GroupNorm(2), cnn.SiLU(), cnn.MaxPool2d(2),
        cnn.Conv2d(5, 2), cnn.LeakyReLU(), cnn.AvgPool2d(2), cnn.Flatten(), cnn.Dropout(0.2),
        cnn.Dense(3),
    ),
    "product": cnn.Sequential(cnn.Rescale(), cnn.Flatten(), Product(9), cnn.ReLU(), Product(3)),
    "clipped": cnn.Sequential(
        cnn.Rescale(), cnn.Conv2d(4, 3), Clipped(), cnn.MaxPool2d(2), Clipped(), cnn.Flatten(),
        cnn.Dense(3),
    ),
}  # fmt: skip


def trained(name, backend, **options):
    model = Model(NETWORKS[name], (8, 8, 2), backend=backend, seed=3, dtype="float64", **options)
    history = model.fit(IMAGES, LABELS, epochs=2, batch_size=8, optimizer=SGD(0.05, 0.9))
    return model, [history.step_losses, *model.parameters.values(), *map(model.predict, (IMAGES,))]


def check_close(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_is_the_eager_one_and_all_its_nodes_are_ours(name, driver):
    model, found = trained(name, CuPy())
    nodes = driver.state().nodes
    check_close(found, trained(name, NumPy(fast=False))[1])
    assert nodes
    assert not not_ours(nodes)
    again = [model.predict(IMAGES[:5]) for _ in range(4)]
    for other in again[1:]:
        np.testing.assert_array_equal(other, again[0])


def test_the_nodes_of_a_step_are_the_launches_that_are_noted_without_a_device(driver):
    spec = NETS["a"]
    images = RNG.integers(0, 256, (4, *spec.image_shape), np.uint8)
    model = Model(network("a"), spec.image_shape, backend=CuPy(), seed=0)
    model.fit(images, LABELS[:4], epochs=1, batch_size=2, optimizer=optimizer("a"))
    noted = [f"kernel {launch.kernel}" for launch in launches_of_step("a", 2, "fp32")]
    assert list(driver.state().nodes) == noted, "and no copy, and no kernel of CuPy's"


def test_what_is_frozen_stays_and_the_graph_computes_no_gradient_of_it(driver):
    def tuned(backend):
        model = Model(NETWORKS["residual"], (8, 8, 2), backend=backend, seed=3, dtype="float64")
        groups = cnn.Group("[0-5]", frozen=True), cnn.Group("9", learning_rate_scale=4.0)
        settings = {"batch_size": 11, "optimizer": cnn.ParameterGroups(SGD(0.05, 0.9), *groups)}
        first = {**model.parameters, **model.state}
        model.fit(IMAGES, LABELS, epochs=2, **settings)
        last = {**model.parameters, **model.state}
        return {name: array for name, array in last.items() if (array != first[name]).any()}

    found, nodes = tuned(CuPy()), len(driver.state().nodes)
    expected = tuned(NumPy(fast=False))
    assert set(found) == set(expected)
    assert {name[0] for name in found} == {"6", "9"}
    check_close(found.values(), expected.values())
    trained("residual", CuPy())
    assert nodes < len(driver.state().nodes)


def test_a_layer_that_reads_values_is_called_between_graphs(driver, caplog):
    traceable.say.cache_clear()  # which says a line once a process
    before = driver.state()
    with caplog.at_level(logging.WARNING, "arraycnn"):
        _, found = trained("clipped", CuPy())
    calls = driver.state().calls_since(before)
    steps = len(found[0])
    said = [record.getMessage() for record in caplog.records]
    assert any("calls a layer as it is written" in line and "layer 2, Clipped" in line
               for line in said)  # fmt: skip
    # Two layers, forward and backward, are four calls: five graphs of each of the recordings.
    assert calls["cudaGraphInstantiate"] % 5 == 0
    assert calls["cudaGraphLaunch"] >= 5 * (steps - 2)


def test_an_error_in_a_layer_between_graphs_leaves_the_step_undone():
    """What a step changes, it changes after its last call."""
    failing = []

    @dataclass(frozen=True)
    class Failing(Clipped):
        def backward(self, *arguments):
            failing.append(None)
            if len(failing) == 9:
                raise ValueError("mine")
            return super().backward(*arguments)

    network = cnn.Sequential(
        *NETWORKS["clipped"].layers[:2], Failing(), cnn.Flatten(), cnn.Dense(3)
    )
    backend = CuPy()
    model = Model(network, (8, 8, 2), backend=backend, seed=3, dtype="float64")
    with pytest.raises(ValueError, match="mine"):
        model.fit(IMAGES, LABELS, epochs=4, batch_size=8, optimizer=SGD(0.05))
    assert all(np.isfinite(array).all() for array in model.parameters.values())


def test_a_rehearsal_of_one_thread_leaves_out_no_call_of_another():
    """A layer of one network, each time it is traced, has another one trained beside it."""
    wanted = trained("clipped", CuPy())[1]
    found = []

    @dataclass(frozen=True)
    class Beside(cnn.ReLU):
        def forward(self, *arguments):
            thread = Thread(target=lambda: found.append(trained("clipped", CuPy())[1]))
            thread.start()
            thread.join()
            return super().forward(*arguments)

    network = cnn.Sequential(cnn.Rescale(), cnn.Flatten(), Beside(), cnn.Dense(3))
    model = Model(network, (8, 8, 2), backend=CuPy(), seed=3)
    model.fit(IMAGES[:2], LABELS[:2], epochs=1, batch_size=2)
    assert found
    for one in found:
        check_close(one, wanted)


def test_memory_of_recordings_with_calls_is_given_back(driver):
    trained("clipped", CuPy())
    cupy.get_default_memory_pool().free_all_blocks()
    before = driver.state().live
    for _ in range(3):
        trained("clipped", CuPy())
    cupy.get_default_memory_pool().free_all_blocks()
    after = driver.state().live
    assert after["graphs"] <= before["graphs"]
    assert after["bytes0"] <= before["bytes0"]


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        (cnn.MeanSquaredError(), RNG.normal(size=(22, 3))),
        (cnn.BinaryCrossEntropy(), RNG.integers(0, 2, (22, 3)).astype(float)),
        (cnn.SoftmaxCrossEntropy(label_smoothing=0.1), LABELS),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_loss_without_a_kernel_is_recorded_with_its_measures(loss, labels, driver):
    weights = RNG.uniform(0.5, 2.0, 22)
    found = []
    for backend in (CuPy(), NumPy(fast=False)):
        network = cnn.Sequential(cnn.Rescale(), cnn.Conv2d(4, 3), cnn.Flatten(), cnn.Dense(3))
        model = Model(network, (8, 8, 2), backend=backend, seed=3, dtype="float64", loss=loss)
        how = {"epochs": 2, "batch_size": 8, "optimizer": SGD(0.05)}
        history = model.fit(IMAGES, labels, sample_weight=weights, **how)
        measured = model.evaluate(IMAGES, labels)
        found.append([history.step_losses, measured.loss, *model.parameters.values()])
        if backend.name == "cupy":
            assert not not_ours(driver.state().nodes)
    check_close(*found)
