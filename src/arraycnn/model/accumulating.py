"""Gradients of a batch in parts: what is said of layers that see more than one image."""

import logging
from collections.abc import Iterator

from arraycnn.distributed.settings import Distributed
from arraycnn.errors import InvalidValueError
from arraycnn.layers import Layer
from arraycnn.optimizers import Optimizer, frozen_paths
from arraycnn.setting_checks import check_count
from arraycnn.tree import Tree, flatten

_MOST_NAMED = 5
_log = logging.getLogger("arraycnn")


def check_parts(accumulate: int, batch_size: int, distributed: Distributed | None) -> int:
    """``accumulate`` as an int, of at most the images of a batch; 1 where each block is a part."""
    if check_count("accumulate:", accumulate) > batch_size:
        message = (
            f"accumulate: must be at most the {batch_size} images of a batch, which is cut into so "
            f"many parts, got {accumulate}"
        )
        raise InvalidValueError(message)
    if accumulate > 1 and distributed is not None and distributed.deterministic:
        message = (
            "accumulate: must be 1 with deterministic=True, which computes the blocks of a batch one "
            f"after the other already, got {accumulate}; leave it out"
        )
        raise InvalidValueError(message)
    return int(accumulate)


def tell_of_parts(
    network: Layer, optimizer: Optimizer, params: Tree, accumulate: int, batch_size: int
) -> None:
    """Say, in a line, which layers see a part of the batch where they would see the whole."""
    if accumulate == 1:
        return
    frozen = frozen_paths(optimizer, params)
    places = [
        f"{path or '0'} {type(layer).__name__}"
        for path, layer in parts_of(network)
        if getattr(layer, "over_batch", False) and not _is_frozen(path, params, frozen)
    ]
    if not places:
        return
    more = f" and {len(places) - _MOST_NAMED} more" if len(places) > _MOST_NAMED else ""
    _log.warning(
        "fit: accumulate=%d: %s%s see parts of %d images of the batch of %d: what they take from a "
        "batch, as mean, variance or partners, is of a part",
        *(accumulate, ", ".join(places[:_MOST_NAMED]), more),
        *(-(-batch_size // accumulate), batch_size),
    )


def parts_of(layer: Layer, path: str = "") -> Iterator[tuple[str, Layer]]:
    """The layers that ``layer`` is made of, down to those that show none, by their paths."""
    if not hasattr(layer, "named_layers"):
        yield path, layer
        return
    for name, part in layer.named_layers():
        yield from parts_of(part, f"{path}.{name}" if path else name)


def _is_frozen(path: str, params: Tree, frozen: frozenset[str]) -> bool:
    within = [name for name in flatten(params) if name.startswith(f"{path}." if path else "")]
    return bool(within) and frozen.issuperset(within)
