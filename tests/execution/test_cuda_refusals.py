"""What a user's layer cannot do on CUDA, and what is said of it. Injected, in CuPy's own words."""

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


class Capturing(Recorder):
    """Fails to record as CuPy's launcher does."""

    def capture(self, work):
        try:
            return super().capture(work)
        except NotImplementedError as error:
            self.launches = None
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
    return Capturing()


@pytest.fixture
def theirs(launcher):
    """Products by a library whose calls cannot be recorded."""

    def product(context, a, b):
        if launcher.launches is not None:
            raise NotImplementedError(NO_CAPTURE)
        return np.matmul(a, b)

    return product


def check_refusal(caught):
    message = str(caught.value)
    assert message.startswith("backend cupy: layer 2, Mine must start kernels and nothing else")
    assert f"NotImplementedError: {NO_CAPTURE}" in message
    assert "; use CuPy(graph=False), as train --no-graph does, or context.ops.matmul" in message
    assert message.isprintable()
    first = caught.value.__cause__.__cause__
    assert isinstance(first, NotImplementedError)
    assert str(first) == NO_CAPTURE


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_a_training_that_cannot_be_recorded_names_layer_and_remedy(launcher, theirs, where):
    products = (theirs, ours) if where == "forward" else (ours, theirs)
    with pytest.raises(InvalidValueError) as caught:
        model_with(OnCUDA(launcher), *products).fit(IMAGES, LABELS, batch_size=8)
    check_refusal(caught)


def test_inference_that_cannot_be_recorded_names_layer_and_remedy(launcher, theirs):
    model = model_with(OnCUDA(launcher), theirs, theirs)
    first = model.predict(IMAGES)  # which comes for the first time, and runs kernel by kernel
    for call in (lambda: model.predict(IMAGES), lambda: model.evaluate(IMAGES, LABELS)):
        with pytest.raises(InvalidValueError) as caught:
            call()
        check_refusal(caught)
    np.testing.assert_allclose(model.predict(IMAGES[:3]), first[:3], rtol=1e-6)  # others go on


def test_done_as_told_the_layer_trains_to_the_same_end(launcher, theirs):
    models = [
        model_with(OnCUDA(launcher, graph=False), theirs, theirs),
        model_with(OnCUDA(launcher), ours, ours),
    ]
    for model in models:
        model.fit(IMAGES, LABELS, batch_size=8, epochs=2)
    first, second = (model.parameters for model in models)
    for name, array in first.items():
        np.testing.assert_allclose(array, second[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_what_a_network_of_one_layer_cannot_do_is_said_of_the_network(launcher, theirs):
    backend = OnCUDA(launcher)
    said = backend.in_words(NotRecordedError("RuntimeError: no"))
    assert str(said).startswith("backend cupy: the network must start kernels and nothing else")


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
    seen = []

    def product(context, a, b):
        if launcher.launches is not None:
            seen.append(weakref.ref(a))
            raise NotImplementedError(NO_CAPTURE)
        return np.matmul(a, b)

    with pytest.raises(InvalidValueError) as caught:
        model_with(OnCUDA(launcher), product, ours).fit(IMAGES, LABELS, batch_size=8)
    assert [array() for array in seen] == [None]
    check_refusal(caught)
