"""Trees of arrays: dicts of dicts, as parameters, gradients and state are."""

from collections.abc import Callable
from typing import Any, TypeAlias

Tree: TypeAlias = dict[str, Any]
"""Arrays by name, nested as the layers are: {"0": {"weight": ..., "bias": ...}, "1": {}}."""


def leaves(tree: Tree) -> list[Any]:
    """The arrays of ``tree``, in the order of its keys."""
    found: list[Any] = []
    for value in tree.values():
        if isinstance(value, dict):
            found += leaves(value)
        else:
            found.append(value)
    return found


def flatten(tree: Tree, prefix: str = "") -> dict[str, Any]:
    """The arrays of ``tree`` by their paths, such as "0.weight"."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        flat.update(flatten(value, f"{path}.") if isinstance(value, dict) else {path: value})
    return flat


def map_leaves(function: Callable[[Any], Any], tree: Tree) -> Tree:
    """A tree of the same names with ``function`` of each array."""
    return {
        name: map_leaves(function, value) if isinstance(value, dict) else function(value)
        for name, value in tree.items()
    }


def map_paths(function: Callable[[str, Any], Any], tree: Tree, prefix: str = "") -> Tree:
    """A tree of the same names with ``function`` of the path and the array of each."""
    return {
        name: map_paths(function, value, f"{prefix}{name}.")
        if isinstance(value, dict)
        else function(f"{prefix}{name}", value)
        for name, value in tree.items()
    }


def with_leaves(tree: Tree, values: list[Any]) -> Tree:
    """A tree of the same names with ``values`` in the order of `leaves`."""
    remaining = iter(values)
    result = map_leaves(lambda _: next(remaining), tree)
    if next(remaining, remaining) is not remaining:
        message = "with_leaves: more values than leaves"
        raise ValueError(message)
    return result


def unflatten(arrays: dict[str, Any]) -> Tree:
    """The tree whose `flatten` gives ``arrays``, without branches that hold none."""
    tree: Tree = {}
    for path, array in arrays.items():
        *branches, name = path.split(".")
        place = tree
        for branch in branches:
            place = place.setdefault(branch, {})
        place[name] = array
    return tree


def part_of(tree: Tree, has: Callable[[str], bool], prefix: str = "") -> Tree:
    """The arrays of ``tree`` whose paths ``has`` approves, without branches that hold none."""
    part: Tree = {}
    for name, value in tree.items():
        path = f"{prefix}{name}"
        if not isinstance(value, dict):
            if has(path):
                part[name] = value
        elif inner := part_of(value, has, f"{path}."):
            part[name] = inner
    return part


def replaced(tree: Tree, part: Tree) -> Tree:
    """``tree`` with the arrays of ``part``, each at its path in ``tree``."""
    new = flatten(part)
    return map_paths(lambda path, array: new.get(path, array), tree) if new else tree
