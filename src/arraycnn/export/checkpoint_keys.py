"""The keys of a checkpoint, and what they say once they are known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NoReturn

from arraycnn.errors import CheckpointError
from arraycnn.export.weights_file import WeightsFile
from arraycnn.layers import Rescale, Sequential
from arraycnn.layers.layer import Shape

IMAGENET = Rescale((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""The Normalize that torchvision's weights were trained behind, and akamaster's: red, green, blue."""

_CIFAR10 = Rescale((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_CIFAR100 = Rescale((0.5070, 0.4865, 0.4409), (0.2673, 0.2564, 0.2761))

# What nn.DataParallel and torch.compile put before all keys.
_PREFIXES = ("module.", "_orig_mod.")


def cifar(classes: int) -> Rescale:
    """The Normalize of chenyaofo's and kuangliu's trainings on CIFAR-10, or on CIFAR-100."""
    return _CIFAR100 if classes == 100 else _CIFAR10


@dataclass(frozen=True)
class KnownCheckpoint:
    """What a file is by its keys.

    Attributes
    ----------
    title : str
        "torchvision's resnet18".
    name : str
        Of the network here: "resnet18".
    network : Sequential
    modules : tuple of str
        What the file calls the layers with arrays, in the order that ``network`` has them.
    input_shape : (H, W, C)
        Of the images that such weights are trained on.
    scaling : Rescale or None
        What such weights are trained behind; None where images are not of three channels.
    """

    title: str
    name: str
    network: Sequential
    modules: tuple[str, ...]
    input_shape: Shape
    scaling: Rescale | None


@dataclass(frozen=True)
class Keys:
    """The keys of ``weights`` without the ``prefix`` that wrappers have put before all of them."""

    weights: WeightsFile
    prefix: str

    def __contains__(self, key: str) -> bool:
        return self.prefix + key in self.weights.arrays

    def __iter__(self) -> Iterator[str]:
        return (key.removeprefix(self.prefix) for key in self.weights.arrays)

    def shape(self, key: str, axes: int) -> Shape:
        """Of an array by which the network is known: it must be there, and have so many axes."""
        array = self.weights.arrays.get(self.prefix + key)
        if array is None:
            self._refuse(f"lacks {self.prefix}{key}, which tells the sizes of its network")
        if array.ndim != axes or 0 in array.shape:
            self._refuse(f"{self.prefix}{key} must have {axes} axes, got shape {array.shape}")
        return array.shape

    def refuse_network(self, has: str, known: str) -> NoReturn:
        """Raise CheckpointError for a network of a known kind that is none of those known."""
        message = (
            f"weights file {self.weights.path}: must be of {known}, has {has}; give the network "
            "itself, and rename modules"
        )
        raise CheckpointError(message)

    def known(
        self,
        owner: str,
        name: str,
        network: Sequential,
        modules: Sequence[str],
        input_shape: Shape,
        scaling: Rescale,
    ) -> KnownCheckpoint:
        """The `KnownCheckpoint`, whose ``modules`` are told without prefix."""
        return KnownCheckpoint(
            title=f"{owner} {name}",
            name=name,
            network=network,
            modules=tuple(self.prefix + module for module in modules),
            input_shape=input_shape,
            scaling=scaling if input_shape[2] == 3 else None,
        )

    def _refuse(self, reason: str) -> NoReturn:
        message = f"weights file {self.weights.path}: {reason}; take the whole checkpoint"
        raise CheckpointError(message)


def keys_of(weights: WeightsFile) -> Keys:
    """The keys of ``weights``, with the prefix found that all have."""
    prefix, found = "", True
    while found and weights.arrays:
        longer = (prefix + one for one in _PREFIXES)
        found = False
        for candidate in longer:
            if all(key.startswith(candidate) for key in weights.arrays):
                prefix, found = candidate, True
    return Keys(weights, prefix)
