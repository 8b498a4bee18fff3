"""What cannot be recorded on CUDA: a layer is called in its turn, of all else it is said why.

Injected, in CuPy's own words.
"""

import weakref
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn import CuPy, InvalidValueError, MissingPackageError
from arraycnn.backends.backend import Backend
from arraycnn.ops.cuda.launcher import NotRecordedError
from test_cuda_graph import HostCUDA, Recorder, images_and_labels

IMAGES, LABELS = images_and_labels()
NO_CAPTURE = "calling cuBLAS API during stream capture is currently unsupported"
NO_LIBRARY = (
    'Failure finding "libcublasLt.so.13 or libcublasLt.so.12": No such file: libcublasLt.so.13\n'
    '  listdir("/usr/lib"):\n    libnvrtc.so.13'
)


class Refusing(Recorder):
    """Fails to record, as CuPy's launcher does, once it ``refuses``."""

    def __init__(self):
        super().__init__()
        self.refuses, self.recording = False, []

    def empty(self, shape, dtype):
        array = super().empty(shape, dtype)
        if self.launches is not None:
            self.recording.append(weakref.ref(array))
        return array

    def capture(self, work):
        def refused():
            work()
            if self.refuses:
                raise NotImplementedError(NO_CAPTURE)

        try:
            return super().capture(refused)
        except NotImplementedError as error:
            raise NotRecordedError(f"NotImplementedError: {error}") from error


@dataclass(frozen=True)
class OnCUDA(HostCUDA):
    """Says what the CuPy backend says, and records where that does."""

    graph: bool = True
    in_words = CuPy.in_words

    def training_plan(self, task, carry):
        of = HostCUDA if self.graph else Backend
        return of.training_plan(self, task, carry)

    def inference_plan(self, *of_model):
        of = HostCUDA if self.graph else Backend
        return of.inference_plan(self, *of_model)


@dataclass(frozen=True)
class Mine:
    """A dense layer without a bias; ``products`` of (context, a, b), forward and backward."""

    features: int
    forwards: Callable
    backwards: Callable

    def init(self, rng, input_shape):
        weight = rng.normal(0.0, 0.1, (input_shape[0], self.features))
        return {"weight": weight}, {}, (self.features,)

    def forward(self, params, state, x, context):
        return self.forwards(context, x, params["weight"]), state, x

    def backward(self, params, residuals, dy, context, need_dx):
        product = self.backwards
        dx = product(context, dy, params["weight"].T) if need_dx else None
        return dx, {"weight": product(context, residuals.T, dy)}


def ours(context, a, b):
    return context.ops.matmul(a, b)


def model_with(backend, forwards, backwards):
    layers = cnn.Rescale(), cnn.Flatten(), Mine(7, forwards, backwards), cnn.Dense(5)
    return cnn.Model(cnn.Sequential(*layers), (10, 9), backend=backend)


@pytest.fixture
def launcher():
    return Refusing()


@pytest.fixture
def theirs(launcher):
    """Products by a library whose calls cannot be recorded."""

    def product(context, a, b):
        if launcher.launches is not None:
            raise NotImplementedError(NO_CAPTURE)
        return np.matmul(a, b)

    return product


def test_products_that_cannot_be_recorded_are_called_in_turn(launcher, theirs):
    """To the same end as without a graph, and as our own products."""
    models = [
        model_with(OnCUDA(launcher, graph=False), theirs, theirs),
        model_with(OnCUDA(launcher), theirs, theirs),
        model_with(OnCUDA(launcher), theirs, ours),
        model_with(OnCUDA(launcher), ours, theirs),
        model_with(OnCUDA(launcher), ours, ours),
    ]
    found = []
    for model in models:
        model.fit(IMAGES, LABELS, batch_size=8, epochs=2)
        found.append({**model.parameters, "predictions": model.predict(IMAGES)})
        np.testing.assert_array_equal(model.predict(IMAGES), found[-1]["predictions"])
    for other in found[1:]:
        for name, array in found[0].items():
            np.testing.assert_allclose(other[name], array, rtol=1e-4, atol=1e-6, err_msg=name)


def check_refusal(caught):
    message = str(caught.value)
    assert message.startswith("backend cupy: the network cannot be recorded as a CUDA graph, got ")
    assert f"NotImplementedError: {NO_CAPTURE}" in message
    assert message.endswith("; use CuPy(graph=False), as train --no-graph does")
    assert message.isprintable()
    first = caught.value.__cause__.__cause__
    assert isinstance(first, NotImplementedError)
    assert str(first) == NO_CAPTURE


def test_what_cannot_be_recorded_is_told_with_the_remedy(launcher):
    model = model_with(OnCUDA(launcher), ours, ours)
    first = model.predict(IMAGES)  # which comes for the first time, and runs launch by launch
    launcher.refuses = True
    for call in (
        lambda: model.fit(IMAGES, LABELS, batch_size=8),
        lambda: model.predict(IMAGES),
        lambda: model.evaluate(IMAGES, LABELS),
    ):
        with pytest.raises(InvalidValueError) as caught:
            call()
        check_refusal(caught)
    np.testing.assert_allclose(model.predict(IMAGES[:3]), first[:3], rtol=1e-6)  # others go on


@pytest.mark.parametrize("kind", [ImportError, RuntimeError])
def test_a_library_that_is_not_installed_names_layer_and_remedy(launcher, kind):
    def product(context, a, b):
        raise kind(NO_LIBRARY)

    model = model_with(OnCUDA(launcher), product, ours)
    for call in (lambda: model.fit(IMAGES, LABELS), lambda: model.predict(IMAGES)):
        with pytest.raises(MissingPackageError) as caught:
            call()
        message = str(caught.value)
        assert (
            "layer 2, Mine must call what is installed, got a call of CUDA's libcublas" in message
        )
        assert 'pip install "cupy-cuda' in message
        assert '[ctk]" brings it, and context.ops.matmul multiplies without it' in message
        assert str(caught.value.__cause__) == NO_LIBRARY


@pytest.mark.parametrize("error", [ImportError("No module named 'mine'"), KeyError("mine")])
def test_other_errors_of_a_layer_stay_what_they_are(launcher, error):
    def product(context, a, b):
        raise error

    model = model_with(OnCUDA(launcher), product, ours)
    with pytest.raises(type(error)) as caught:
        model.predict(IMAGES)
    assert caught.value is error


def test_a_refusal_holds_nothing_of_what_the_step_had_made(launcher):
    """Memory of a recording is given back before the error has reached anybody."""
    launcher.refuses = True
    with pytest.raises(InvalidValueError) as caught:
        model_with(OnCUDA(launcher), ours, ours).fit(IMAGES, LABELS, batch_size=8)
    assert launcher.recording
    assert {array() for array in launcher.recording} == {None}
    check_refusal(caught)


def test_an_error_that_names_a_layer_holds_nothing_either(launcher):
    """Though whoever looks for the layer has looked at the variables of each frame."""
    made = []

    def product(context, a, b):
        y = np.matmul(a, b)
        made.append(weakref.ref(y))
        raise RuntimeError(NO_LIBRARY)

    with pytest.raises(MissingPackageError, match="layer 2, Mine") as caught:
        model_with(OnCUDA(launcher), product, ours).predict(IMAGES)
    assert made
    assert all(array() is None for array in made)
    assert str(caught.value.__cause__) == NO_LIBRARY
