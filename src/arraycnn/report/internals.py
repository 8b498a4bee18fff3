"""A look inside a network: what each layer puts out, how it learns, how long it takes.

Everything runs as in prediction: no dropout, batch norm by its running averages; and on one thread,
so that numbers and times do not depend on how a product is shared out.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from arraycnn.backends.backend import on_its_device
from arraycnn.execution.blas import single_threaded_blas
from arraycnn.layers import Layer, Sequential
from arraycnn.layers.branches import NumberedBranches
from arraycnn.layers.layer import Context, Shape
from arraycnn.model.model import Model
from arraycnn.ops import Array, array_namespace
from arraycnn.training.batch_size import images_at_once
from arraycnn.training.step import CROSS_ENTROPY
from arraycnn.tree import Tree, flatten, leaves

_Pair = TypeVar("_Pair", bound=tuple[Any, Any])

_SALIENCY_BATCH = 32


@dataclass(frozen=True, eq=False)
class Activation:
    """What one layer puts out.

    Attributes
    ----------
    path : str
        Where the layer stands, such as "3" or "3.0".
    layer : str
        How it was written, such as "Conv2d(32, 3)".
    output : array, (N, ...), floating, NumPy
    """

    path: str
    layer: str
    output: np.ndarray


@dataclass(frozen=True)
class LayerNorms:
    """Euclidean norms over all parameters of one layer, and over their gradients.

    Attributes
    ----------
    path, layer : str
        As of `Activation`.
    output_shape : tuple
        Without N.
    parameters : int
        How many numbers the layer has learned; 0 leaves both norms 0.
    parameter_norm, gradient_norm : float
        The gradient is that of the mean of the model's loss.
    """

    path: str
    layer: str
    output_shape: Shape
    parameters: int
    parameter_norm: float
    gradient_norm: float


@dataclass(frozen=True)
class LayerTime:
    """Seconds that one layer takes for a batch: the least of some runs, the least disturbed.

    ``path`` and ``layer`` are as of `Activation`. ``backward`` does what training asks of the
    layer, which for those before the first that learns is nothing: 0.
    """

    path: str
    layer: str
    forward: float
    backward: float


@dataclass(frozen=True, eq=False)
class _Part:
    """A layer with its parameters, its state, and the context to run it in."""

    path: str
    layer: Layer
    params: Tree
    state: Tree
    context: Context

    @property
    def title(self) -> str:
        return describe(self.layer)

    def forward(self, x: Array) -> tuple[Array, Any]:
        y, _, residuals = self.layer.forward(self.params, self.state, x, self.context)
        return y, residuals

    def backward(self, residuals: Any, dy: Array, need_dx: bool = True) -> tuple[Any, Tree]:
        return self.layer.backward(self.params, residuals, dy, self.context, need_dx)


@single_threaded_blas()
@on_its_device
def activations(model: Model, images: npt.ArrayLike) -> list[Activation]:
    """What each layer puts out for ``images``, uint8 or floating (N, H, W, C) or (N, H, W).

    A Sequential inside the network is laid open; a Residual is one layer.
    """
    x, found = _place(model, images), []
    for part in _parts(model):
        x, _ = part.forward(x)
        found.append(Activation(part.path, part.title, _host(model, x)))
    return found


@single_threaded_blas()
@on_its_device
def saliency(
    model: Model, images: npt.ArrayLike, classes: npt.ArrayLike | None = None
) -> np.ndarray:
    """The gradient of a class's score, or of the largest output, for the input: (N, H, W, C), floating.

    The score is the logit, before the softmax; the unit of the input is its own, a grey level where
    images are uint8. Simonyan, Vedaldi and Zisserman, "Deep inside convolutional networks", 2014.

    Parameters
    ----------
    images : array, (N, H, W, C) or (N, H, W), uint8 or floating
    classes : array, (N,), integers, or None
        Whose scores; None is the class that the network predicts for each image.
    """
    x = _place(model, images)
    chosen = None
    if classes is not None:
        chosen = model.intake.labels(classes, x.shape[0])
    parts, gradients = _parts(model), []
    size = images_at_once(model.input_shape, _SALIENCY_BATCH)
    for start in range(0, x.shape[0], size):
        batch = slice(start, min(start + size, x.shape[0]))
        scores, residuals = _forward(parts, x[batch, ...])
        picked = _host(model, scores).argmax(axis=1) if chosen is None else chosen[batch]
        one_hot = np.eye(model.classes, dtype=model.dtype)[picked]
        dx, _ = _backward(parts, residuals, model.backend.asarray(one_hot))
        gradients.append(_host(model, dx))
    return np.concatenate(gradients)


@single_threaded_blas()
@on_its_device
def layer_norms(model: Model, images: npt.ArrayLike, labels: npt.ArrayLike) -> list[LayerNorms]:
    """Norms of parameters and gradients, for the mean loss over ``images``, layer by layer."""
    x, y = _place_both(model, images, labels)
    parts, outputs, residuals = _parts(model), [], []
    for part in parts:
        x, kept = part.forward(x)
        outputs.append(x)
        residuals.append(kept)
    _, gradients = _backward(parts, residuals, _loss_gradient(model, x, y))
    return [
        LayerNorms(
            path=part.path,
            layer=part.title,
            output_shape=tuple(output.shape[1:]),
            parameters=sum(int(np.prod(leaf.shape)) for leaf in leaves(part.params)),
            parameter_norm=_norm(model, part.params),
            gradient_norm=_norm(model, gradient),
        )
        for part, output, gradient in zip(parts, outputs, gradients, strict=True)
    ]


@single_threaded_blas()
@on_its_device
def layer_times(
    model: Model, images: npt.ArrayLike, labels: npt.ArrayLike, repeats: int = 5
) -> list[LayerTime]:
    """How long each layer takes for the batch ``images``, forward and backward, by itself.

    Nothing is fused or shared out among threads here as a plan does: a training step may be faster.
    """
    x, y = _place_both(model, images, labels)
    parts, residuals, forward = _parts(model), [], []
    for part in parts:
        seconds, (x, kept) = _timed(model, repeats, partial(part.forward, x), _made_forward)
        forward.append(seconds)
        residuals.append(kept)
    dy, backward = _loss_gradient(model, x, y), [0.0] * len(parts)
    first = next((place for place, part in enumerate(parts) if leaves(part.params)), 0)
    for place in reversed(range(first, len(parts))):
        call = partial(parts[place].backward, residuals[place], dy, need_dx=place > first)
        backward[place], (dy, _) = _timed(model, repeats, call, _made_backward)
    return [
        LayerTime(part.path, part.title, ahead, back)
        for part, ahead, back in zip(parts, forward, backward, strict=True)
    ]


def describe(layer: Any) -> str:
    """``layer`` in short: what has no default by value, the rest where it differs from it."""
    if isinstance(layer, Sequential | NumberedBranches):
        return f"{type(layer).__name__}({', '.join(map(describe, layer.layers))})"
    if not is_dataclass(layer):
        return repr(layer)
    words = []
    for field in fields(layer):
        value = getattr(layer, field.name)
        text = describe(value) if hasattr(value, "forward") else repr(value)
        if field.default is MISSING:
            words.append(text)
        elif value != field.default:
            words.append(f"{field.name}={text}")
    return f"{type(layer).__name__}({', '.join(words)})"


def _parts(model: Model) -> list[_Part]:
    context = Context(model.backend.kernels, "infer", model.dtype)
    return _laid_open(model.network, *model.trees, context)


def _laid_open(layer: Layer, params: Tree, state: Tree, context: Context) -> list[_Part]:
    if not isinstance(layer, Sequential):
        return [_Part(".".join(context.path) or "0", layer, params, state, context)]
    return [
        part
        for name, inner in layer.named_layers()
        for part in _laid_open(inner, params[name], state[name], context.inside(name))
    ]


def _forward(parts: Sequence[_Part], x: Array) -> tuple[Array, list[Any]]:
    residuals = []
    for part in parts:
        x, kept = part.forward(x)
        residuals.append(kept)
    return x, residuals


def _backward(
    parts: Sequence[_Part], residuals: Sequence[Any], dy: Array
) -> tuple[Array, list[Tree]]:
    """(gradient for the input, gradients of the parameters part by part)."""
    gradients = []
    for part, kept in zip(reversed(parts), reversed(residuals), strict=True):
        dy, gradient = part.backward(kept, dy)
        gradients.append(gradient)
    return dy, gradients[::-1]


def _loss_gradient(model: Model, outputs: Array, labels: Array) -> Array:
    """The gradient of the mean of the model's loss for the outputs."""
    if model.loss == CROSS_ENTROPY:
        return model.backend.kernels.softmax_cross_entropy(outputs, labels, outputs.shape[0])[1]
    xp = array_namespace(outputs)
    gradient = model.loss.loss_and_gradient(xp, outputs, labels)[1]
    return gradient / float(outputs.shape[0])


def _place(model: Model, images: npt.ArrayLike) -> Array:
    return model.intake.array(images)


def _place_both(model: Model, images: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Array, Array]:
    x = _place(model, images)
    return x, model.backend.asarray(model.intake.labels(labels, x.shape[0]))


def _host(model: Model, array: Array) -> np.ndarray:
    return np.asarray(model.backend.to_numpy(array))


def _norm(model: Model, tree: Tree) -> float:
    squares = [
        np.square(_host(model, leaf).astype(np.float64)).sum() for leaf in flatten(tree).values()
    ]
    return float(np.sqrt(sum(squares)))


def _timed(
    model: Model, repeats: int, call: Callable[[], _Pair], made: Callable[[_Pair], list[Array]]
) -> tuple[float, _Pair]:
    """The least seconds of ``call``, after one to warm up, and what it returns.

    ``made`` picks the arrays of its result that must have been computed: a device answers before.
    """
    result, seconds = call(), []
    for _ in range(repeats):
        began = time.perf_counter()
        result = call()
        for array in made(result):
            model.backend.to_numpy(array[:1, ...])
        seconds.append(time.perf_counter() - began)
    return min(seconds), result


def _made_forward(result: tuple[Array, Any]) -> list[Array]:
    return [result[0]]


def _made_backward(result: tuple[Array | None, Tree]) -> list[Array]:
    dx, gradients = result
    return leaves(gradients) + ([] if dx is None else [dx])
