"""Layers that cannot be traced: called as they are written, between compiled parts."""

import logging
import pickle
import threading
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import pytest

import arraycnn as cnn
import program_cases
import schedule_oracle
from arraycnn.execution import EagerInference, EagerTraining, traceable
from arraycnn.program.compose import inference_schedule, training_schedule
from arraycnn.program.effects import copied
from arraycnn.program.interpret import interpret
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.screening import screened_inference, screened_training
from arraycnn.program.steps import opaque_layers, parts, training_program
from optional import needs
from program_cases import Alternating, Outside, block
from test_program_plan import arrays_of, check_close, check_equal, data, model_of

SHAPE = (8, 7, 3)


@dataclass(frozen=True)
class Flipping:
    """A user's layer that flips uint8 images by random numbers of its own, which it keeps."""

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def init(self, rng, input_shape):
        return {}, {}, input_shape

    def forward(self, params, state, x, context):
        if context.mode == "train":
            turned = self.rng.random(x.shape[0]) < 0.5
            x = np.where(turned[:, None, None, None], x[:, :, ::-1], x)
        return x, state, ()

    def backward(self, params, residuals, dy, context, need_dx):
        raise AssertionError("nothing is learned below")


@dataclass(frozen=True)
class Noisy(Alternating):
    """A user's layer that draws from the process's random numbers."""

    def forward(self, params, state, x, context):
        if context.mode == "train":
            x = x + np.random.normal(size=x.shape).astype(x.dtype)  # noqa: NPY002
        return x, state, 1.0


@dataclass(frozen=True)
class Held(Alternating):
    """A user's layer that holds what cannot be copied, and reads a value."""

    lock: object = field(default_factory=threading.Lock, compare=False)

    def forward(self, params, state, x, context):
        return x * (1.0 if float(np.mean(x)) > 0.0 else 2.0), state, 1.0

    def backward(self, params, residuals, dy, context, need_dx):
        return dy, {}


@dataclass(frozen=True)
class Narrow(Outside):
    """A user's layer that knows float32 only, as one of another library with weights of its own."""

    def forward(self, params, state, x, context):
        if x.dtype != np.float32:
            raise TypeError("expected float32")
        return super().forward(params, state, x, context)


@dataclass(frozen=True)
class Keeping(Alternating):
    """A user's layer that keeps what it is given, for good."""

    def forward(self, params, state, x, context):
        for array in (x, context.randomness.indices):
            self.calls.append((array, float(np.sum(array))))
        return x * 2.0, state, x

    def backward(self, params, residuals, dy, context, need_dx):
        self.calls.append((dy, float(np.sum(dy))))
        return dy * 2.0 + 0.1 * residuals, {}


NETWORKS = {
    "in the middle": lambda: cnn.Sequential(
        cnn.Rescale(),
        cnn.Conv2d(4, 3, bias=False),
        cnn.BatchNorm2d(),
        Outside(),
        cnn.MaxPool2d(2),
        cnn.Flatten(),
        cnn.Dense(6),
        Alternating(),
        cnn.Dense(5),
    ),
    "residual": lambda: cnn.Sequential(
        cnn.Rescale(),
        cnn.Conv2d(4, 3, padding="same"),
        cnn.Residual(
            cnn.Sequential(Outside(), cnn.Conv2d(4, 3, padding="same"), cnn.Dropout(0.3)), Outside()
        ),
        *block(4),
        cnn.GlobalAvgPool2d(),
        cnn.Dense(5),
    ),
    "first": lambda: cnn.Sequential(
        Flipping(), cnn.Rescale(), cnn.Flatten(), Alternating(), cnn.Dense(5)
    ),
    "last": lambda: cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.Dense(5), Outside()),
}
each_network = pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)


def own(network):
    kinds = Outside | Alternating | Flipping
    return [layer for layer in parts(network) if isinstance(layer, kinds)]


def schedule_of(step, network):
    given = step.given["images"]
    return training_schedule(network, step.optimizer, step.carry, given, 3, step.dtype)


def screened(step, network, **settings):
    is_uint8 = step.given["images"].dtype == np.uint8
    return screened_training(network, step.optimizer, step.carry, SHAPE, is_uint8, **settings)


# Programs, without a compiler


@pytest.mark.parametrize("optimizer", ["momentum", "Adam"])
@each_network
def test_a_program_with_calls_is_the_eager_step_in_the_memory_it_declares(make, optimizer):
    network = make()
    step = program_cases.trial(network, SHAPE, program_cases.OPTIMIZERS[optimizer])
    found = screened(step, network, dtype="float64")
    assert found.cause is None
    assert [opaque.layer for opaque in opaque_layers(found.network)] == own(network)
    schedule = schedule_of(step, copied(found.network))
    run, peak = schedule_oracle.run(schedule, step.values())
    arguments = copied(found.network), step.optimizer, step.carry, step.given["images"], 3
    got = interpret(simplified(training_program(*arguments, "float64")), step.values())
    expected = step.eager()  # of the layers themselves, which nobody has called before
    assert peak == schedule.peak_bytes
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)
        np.testing.assert_allclose(run[name], array, rtol=1e-10, atol=1e-12, err_msg=name)


@each_network
def test_what_a_step_begins_with_is_whole_until_its_last_call_is_over(make):
    network = make()
    step = program_cases.trial(network, SHAPE, program_cases.OPTIMIZERS["Adam"])
    schedule = schedule_of(step, screened(step, network, dtype="float64").network)
    last_call = max(n for n, each in enumerate(schedule.steps) if each.is_call)
    inputs = set(schedule.program.inputs.values())
    in_place = {node for node, place in schedule.memory_of.items() if place in inputs}
    early = {node for each in schedule.steps[: last_call + 1] for node in each.writes}
    assert not early & in_place
    copied_last = {node for node, _ in schedule.copies()}
    assert early & copied_last or make is NETWORKS["first"]


def test_calls_keep_their_order_and_none_is_left_out():
    network = cnn.Sequential(
        *(Alternating(), cnn.Residual(Alternating(), Alternating())),
        *(cnn.Flatten(), Alternating(), cnn.Dense(5)),
    )
    step = program_cases.trial(network, SHAPE, cnn.SGD(0.1))
    schedule = schedule_of(step, screened(step, network, dtype="float64").network)
    calls = [repr(each.head.attrs[0]) for each in schedule.steps if each.is_call]
    # Nothing is learned below the dense layer, so that nothing goes back there, as in the eager step.
    places = ["0", "1.body", "1.shortcut", "3"]
    assert calls == [f"Alternating {place} forward" for place in places]
    nodes = [node for node in schedule.program.nodes if node.kind == "opaque"]
    for one, after in pairwise(nodes):  # whatever steps may be joined, they cannot change places
        assert after.inputs[-1].inputs == (one,)


def test_a_call_whose_results_nobody_needs_is_made_as_in_the_eager_step():
    network = cnn.Sequential(
        cnn.Residual(cnn.Conv2d(3, 1), Alternating()), cnn.Flatten(), cnn.Dense(5)
    )
    step = program_cases.trial(network, SHAPE, cnn.SGD(0.1))
    schedule = schedule_of(step, screened(step, network, dtype="float64").network)
    calls = [repr(each.head.attrs[0]) for each in schedule.steps if each.is_call]
    assert calls == ["Alternating 0.shortcut forward", "Alternating 0.shortcut backward"]


@each_network
def test_a_pass_forward_calls_them_too(make):
    network = make()
    step = program_cases.trial(network, SHAPE, cnn.SGD(0.1))
    params, state, images = step.carry.params, step.carry.state, step.given["images"]
    is_uint8 = images.dtype == np.uint8
    found = screened_inference(network, params, state, SHAPE, is_uint8, "float64")
    schedule = inference_schedule(found.network, params, state, images, "float64")
    names = [each.head.attrs[0].name for each in schedule.steps if each.is_call]
    always = [type(layer).__name__ for layer in own(network) if not isinstance(layer, Flipping)]
    assert names == always


@pytest.mark.parametrize(
    ("layer", "dtype", "cause"),
    [
        (Held(), "float64", "layer 1, Held: must not read the value"),
        (Narrow(), "float32", "layer 1, Narrow: must not give an array to NumPy"),
        (Narrow(), "float64", None),
    ],
)
def test_what_a_layer_needs_is_found(layer, dtype, cause):
    network = cnn.Sequential(cnn.Rescale(), layer, cnn.Flatten(), cnn.Dense(5))
    step = program_cases.trial(network, SHAPE, cnn.SGD(0.1), dtype=dtype)
    found = screened(step, network, dtype=dtype)
    if cause is None:  # the eager step has that error, too
        assert "expected float32" in found.cause
        return
    (opaque,) = opaque_layers(found.network)
    assert opaque.cause.startswith(cause)
    assert found.cause is None


class _Returns(Alternating):
    """A user's layer whose results are not what a program relies on."""

    def __init__(self, forward=lambda y: y, backward=lambda dx: dx):
        object.__setattr__(self, "_change", (forward, backward))

    def forward(self, params, state, x, context):
        return self._change[0](np.exp(x)), state, x

    def backward(self, params, residuals, dy, context, need_dx):
        return self._change[1](dy * np.exp(residuals)), {}


class _Wide(Outside):
    """A user's layer whose gradients have an axis too many."""

    def backward(self, params, residuals, dy, context, need_dx):
        dx, gradients = super().backward(params, residuals, dy, context, need_dx)
        return dx, gradients | {"shift": gradients["shift"].reshape(1)}


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        (_Returns(lambda y: y.astype(np.float32)), "its output is float32"),
        (
            _Returns(backward=lambda dx: dx.astype(np.float32)),
            "its input's gradient is not float64",
        ),
        (_Returns(backward=lambda dx: dx.reshape(2, -1)), "its input's gradient is not float64"),
        (_Wide(), "its gradients are not of the arrays' shapes and dtypes"),
    ],
)
def test_what_no_program_can_rely_on_leaves_the_whole_step_eager(layer, words):
    network = cnn.Sequential(cnn.Conv2d(2, 1), layer, cnn.Flatten(), cnn.Dense(5))
    step = program_cases.trial(network, SHAPE, cnn.SGD(0.1), dtype="float64")
    found = screened(step, network, dtype="float64")
    assert found.network is network
    assert words in found.cause


def test_a_model_shows_its_calls_and_why():
    network = NETWORKS["in the middle"]()
    model = cnn.Model(network, SHAPE, seed=1)
    text = str(model.program(batch_size=4, optimizer=cnn.Adam(0.01)))
    assert "4 calls of layers as they are written, between compiled parts" in text
    assert "their own memory is not counted" in text
    assert "    layer 7 Alternating, forward: does something else each time it is called" in text
    assert "    layer 3, Outside: " in text
    assert "call of Outside on (4, 6, 5, 4), 2 kB to 2 kB" in text
    assert "3 Outside, backward" in text
    assert not network.layers[7].calls
    assert "2 calls of" in str(model.program(batch_size=4, mode="infer"))


# Plans, on compiled kernels and on NumPy's own


class Eager(cnn.NumPy):
    """The reference: layer by layer."""

    def training_plan(self, task, carry):
        return EagerTraining(self, task, carry)

    def inference_plan(self, *of):
        return EagerInference(self, *of)


each_kind = pytest.mark.parametrize("fast", [pytest.param(True, marks=needs("llvmlite")), False])


def model_on(network, fast, dtype="float64"):
    """A model; without ``fast`` or not, the reference."""
    backend = Eager(1, fast=False) if fast is None else cnn.NumPy(2, fast=fast)
    return cnn.Model(network, SHAPE, backend, seed=3, dtype=dtype)


@each_kind
@pytest.mark.parametrize(
    ("network", "dtype"),
    [
        ("in the middle", "float64"),
        ("residual", "float64"),
        ("first", "float64"),
        ("last", "float32"),
    ],
)
def test_a_training_is_that_of_the_eager_plan(network, dtype, fast):
    images, labels = data()
    results, calls, make = [], [], NETWORKS[network]
    for kind in (fast, None):
        network = make()
        model = model_on(network, kind, dtype)
        history = model.fit(images, labels, epochs=2, batch_size=16, optimizer=cnn.Adam(0.005))
        results.append({**arrays_of(model), "losses": np.array(history.step_losses)})
        for _ in range(3):  # recorded, too
            results[-1]["probabilities"] = model.predict(images)
        results[-1]["loss"] = np.array(model.evaluate(images, labels).loss)
        calls.append([list(layer.calls) for layer in own(network) if hasattr(layer, "calls")])
    check_close(*results, 1e-10 if dtype == "float64" else 1e-3)
    assert calls[0] == calls[1]  # nobody has called the layers but for steps


@each_kind
def test_the_number_of_threads_shows_in_no_bit(fast):
    images, labels = data()
    results = []
    for threads in (1, 2, 3):
        model = model_of(NETWORKS["residual"](), threads=threads, fast=fast)
        model.fit(images, labels, epochs=1, batch_size=20, optimizer=cnn.Adam(0.01))
        results.append({**arrays_of(model), "predicted": model.predict(images)})
    for result in results[1:]:
        check_equal(result, results[0])


@each_kind
def test_random_numbers_of_the_process_are_drawn_as_in_the_eager_plan(fast):
    images, labels = data(20)
    results = []
    for kind in (fast, None):
        network = cnn.Sequential(cnn.Rescale(), Noisy(), cnn.Flatten(), cnn.Dense(5))
        np.random.seed(3)  # noqa: NPY002
        model = model_on(network, kind)
        model.fit(images, labels, epochs=1, batch_size=10)
        results.append(arrays_of(model))
    check_close(*results)


@each_kind
def test_a_layer_may_keep_what_it_is_given(fast):
    images, labels = data(20)
    results, kept = [], []
    for kind in (fast, None):
        network = cnn.Sequential(
            *(cnn.Rescale(), cnn.Conv2d(4, 3), cnn.ReLU(), Keeping(), cnn.ReLU()),
            *(cnn.Flatten(), cnn.Dense(5)),
        )
        model = model_on(network, kind)
        model.fit(images, labels, epochs=1, batch_size=10)
        results.append(arrays_of(model))
        kept.append(network.layers[3].calls)
    check_close(*results)
    sums = [total for _, total in kept[1]]
    assert len(sums) == 6
    for calls in kept:
        np.testing.assert_allclose([total for _, total in calls], sums, rtol=1e-10, atol=1e-12)
        assert [float(np.sum(array)) for array, _ in calls] == [total for _, total in calls]


@each_kind
def test_one_line_names_each_layer_and_why(caplog, fast):
    traceable.say.cache_clear()
    images, labels = data(20)
    model = model_on(NETWORKS["in the middle"](), fast)
    with caplog.at_level(logging.WARNING, "arraycnn"):
        model.fit(images, labels, epochs=1, batch_size=10)
        model.fit(images, labels, epochs=1, batch_size=7)
        model.predict(images)
    lines = [line for line in caplog.messages if "compiling kernels" not in line]
    assert [line.partition(", the rest is one program: ")[0] for line in lines] == [
        f"numpy: {what} calls a layer as it is written" for what in ("training", "inference") * 1
        for _ in range(2)
    ]  # fmt: skip
    assert [("layer 3, Outside: " in line, "layer 7 Alternating" in line) for line in lines] == [
        (True, False), (False, True)
    ] * 2  # fmt: skip


class Ends(Exception):
    pass


@dataclass(frozen=True)
class Ending(Outside):
    """Raises at the call ``at``, once."""

    left: list = field(default_factory=list, compare=False)
    calls: list = field(default_factory=list, compare=False)

    def _count(self):
        self.calls.append(1)
        if self.left:
            self.left[0] -= 1
            if self.left[0] == 0:
                raise self.left[1]

    def forward(self, params, state, x, context):
        if context.mode == "train" and type(x) is np.ndarray:
            self._count()
        return super().forward(params, state, x, context)

    def backward(self, params, residuals, dy, context, need_dx):
        self._count()
        return super().backward(params, residuals, dy, context, need_dx)


@each_kind
@pytest.mark.parametrize(
    ("at", "error"),
    [
        *((1, KeyboardInterrupt), (2, ValueError("odd number")), (5, ValueError("odd number"))),
        *((6, KeyboardInterrupt), (14, Ends)),
    ],
)
def test_an_error_within_a_call_leaves_the_steps_before(at, error, fast, monkeypatch):
    monkeypatch.setattr("arraycnn.training.loop._REPORT_SECONDS", 1e9)  # chunks of 1, 4, 16 steps
    images, labels = data()
    settings = {"epochs": 2, "batch_size": 8, "optimizer": cnn.Adam(0.01)}
    ending = Ending()
    network = cnn.Sequential(
        cnn.Rescale(), cnn.BatchNorm2d(), ending, cnn.Flatten(), cnn.Dropout(0.2), cnn.Dense(5)
    )
    model, whole = model_on(network, fast), model_on(network, fast)
    whole.fit(images, labels, **settings)

    class Arm(cnn.Callback):
        def on_begin(self, state):
            ending.left[:] = [at, error]
            ending.calls.clear()

    kind = error if isinstance(error, type) else type(error)
    with pytest.raises(kind) as raised:
        model.fit(images, labels, callbacks=[Arm()], **settings)
    if kind is ValueError:
        assert str(raised.value) == ("layer 2, odd number" if at % 2 else "odd number")
    assert model.steps_done == (at - 1) // 2
    assert len(ending.calls) == at  # no step that is whole is done again
    ending.left.clear()
    model.fit(images, labels, resume=model.unfinished, **settings)
    check_equal(arrays_of(model), arrays_of(whole))


@dataclass(frozen=True)
class Changing(Alternating):
    """A user's layer whose output is another dtype from the third call on."""

    def forward(self, params, state, x, context):
        self.calls.append(1)
        y = np.exp(x)
        return (y.astype(np.float32) if len(self.calls) > 2 else y), state, 1.0


@each_kind
def test_results_that_change_their_kind_are_refused_with_the_layers_name(fast):
    images, labels = data(40)
    network = cnn.Sequential(cnn.Rescale(), Changing(), cnn.Flatten(), cnn.Dense(5))
    with pytest.raises(
        cnn.InvalidValueError,
        match=r"layer 1, Changing: forward must return float64 \(10, 8, 7, 3\), got float32 .*; "
        "return arrays of the same shape and dtype each time",
    ):
        model_on(network, fast).fit(images, labels, epochs=1, batch_size=10)


@each_kind
def test_the_memory_of_a_step_is_measured_without_a_call(fast):
    images, labels = data()
    network = NETWORKS["in the middle"]()
    model = model_on(network, fast)
    plan = model.backend.training_plan(
        cnn.execution.Task(network, cnn.SGD(0.1), images, labels.astype(np.int32), 1, "float64"),
        cnn.training.Carry(*model.trees, {}),
    )
    assert plan.memory().per_image > 0
    assert not network.layers[7].calls


@each_kind
def test_a_model_with_calls_can_be_copied(fast):
    images, labels = data(20)
    model = model_on(NETWORKS["last"](), fast)
    model.fit(images, labels, epochs=1)
    expected = model.predict(images)
    copy = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copy.predict(images), expected)
