"""What a network's first layers make of images in training: its augmentation, drawn several times."""

from itertools import takewhile

import numpy as np
import numpy.typing as npt

from arraycnn.backends.backend import on_its_device
from arraycnn.layers import Layer, Rescale, Sequential
from arraycnn.layers.layer import Context, Randomness
from arraycnn.model.model import Model
from arraycnn.ops.random_bits import seed_words

Path = tuple[str, ...]


@on_its_device
def augmented(model: Model, images: npt.ArrayLike, draws: int = 7) -> np.ndarray | None:
    """Images as the network's first layer that learns or measures sees them in training.

    (draws, N, H, W, C), with the bits of the steps 0, 1, ... and of the positions among ``images``,
    among which `Mixup` and `CutMix` find partners, too. None for a network without augmentation there.

    Parameters
    ----------
    images : array, (N, H, W, C) or (N, H, W), as of `Model.predict`
    """
    layers = before_learning(model.network)
    if not any(getattr(layer, "training_only", False) for _, layer in layers):
        return None
    given = model.backend.asarray
    source = model.intake.images(images)
    (_, x), *_ = model.intake.placed(source)
    indices = given(np.arange(x.shape[0], dtype=np.int32))
    found = []
    for draw in range(draws):
        step, y = given(np.array([draw], np.int32)), x
        randomness = Randomness(given(seed_words(model.seed)), step, indices)
        for path, layer in layers:
            context = Context(model.backend.kernels, "train", model.dtype, randomness, path)
            y, _, _ = layer.forward({}, {}, y, context)
        found.append(np.asarray(model.backend.to_numpy(y)))
    return np.stack(found)


def before_learning(network: Layer) -> list[tuple[Path, Layer]]:
    """The augmentation, and `Rescale` between or behind it, that ``network`` begins with."""
    return list(takewhile(lambda one: _is_before(one[1]), _in_order(network, ())))


def _is_before(layer: Layer) -> bool:
    return isinstance(layer, Rescale) or getattr(layer, "training_only", False)


def _in_order(network: Layer, path: Path) -> list[tuple[Path, Layer]]:
    if not isinstance(network, Sequential):
        return [(path, network)]
    layers = network.named_layers()
    return [one for name, layer in layers for one in _in_order(layer, (*path, name))]
