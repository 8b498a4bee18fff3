"""Parameter groups: parameters chosen by their paths are frozen, or have settings of their own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops import Array, Kernels
from arraycnn.optimizers.optimizer import Optimizer
from arraycnn.optimizers.schedules import Schedule
from arraycnn.optimizers.wrapper import Wrapper
from arraycnn.setting_checks import check_number
from arraycnn.tree import Tree, flatten, map_paths, part_of

_MOST_NAMED = 40
"""Paths that an error lists."""


@dataclass(frozen=True)
class Group:
    """The parameters that a pattern selects, and what is different for them.

    Parameters
    ----------
    pattern : str
        Of a parameter's path, as `Model.parameters` has it, "0.3.weight"; or of a layer's, "0.3",
        for all parameters in it. As in a shell (`fnmatch`): ``*`` is any text, dots included, ``?``
        any character, ``[0-4]`` one of these.
    frozen : bool or None
        Whether they stay as they are. A `BatchNorm` all of whose parameters are frozen computes, in
        training too, with its running averages, and leaves these as they are.
    learning_rate_scale : float or None
        Above 0: the optimizer's learning rate, or its schedule's, times this.
    weight_decay : float or None
        Instead of the optimizer's.
    vectors_only : bool
        Select those with less than two axes alone: biases, and scale and shift of norms.

    What is None is as an earlier group has it, or the optimizer.
    """

    pattern: str
    frozen: bool | None = None
    learning_rate_scale: float | None = None
    weight_decay: float | None = None
    vectors_only: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.pattern, str) or not self.pattern:
            message = (
                f"Group: pattern must be a path or pattern such as '0.*', got {self.pattern!r}"
            )
            raise InvalidTypeError(message)
        for name, known in (("frozen", (None, True, False)), ("vectors_only", (True, False))):
            if not any(getattr(self, name) is value for value in known):
                message = f"Group: {name} must be a bool, got {getattr(self, name)!r}"
                raise InvalidTypeError(message)
        if self.learning_rate_scale is not None:
            name = "Group: learning_rate_scale"
            check_number(name, self.learning_rate_scale, minimum=0.0)
            if not self.learning_rate_scale:
                message = f"{name} must be above 0, got 0; freeze parameters with frozen=True"
                raise InvalidValueError(message)
        if self.weight_decay is not None:
            check_number("Group: weight_decay", self.weight_decay, minimum=0.0)
        if self.frozen is None and self.learning_rate_scale is None and self.weight_decay is None:
            message = (
                f"Group: must say what is different for {self.pattern!r}, got nothing; set frozen, "
                "learning_rate_scale or weight_decay"
            )
            raise InvalidValueError(message)

    def __repr__(self) -> str:
        shown = [
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(self)[1:]
            if getattr(self, field.name) != field.default
        ]
        return f"Group({', '.join([repr(self.pattern), *shown])})"

    def matches(self, path: str) -> bool:
        """Whether the pattern is that of ``path``, or of a layer that it lies in."""
        names = path.split(".")
        places = (".".join(names[:count]) for count in range(1, len(names) + 1))
        return any(fnmatchcase(place, self.pattern) for place in places)


NO_DECAY = Group("*", weight_decay=0.0, vectors_only=True)
"""Biases, and scales and shifts of norms, without weight decay."""


@dataclass(frozen=True, init=False)
class ParameterGroups:
    """An optimizer that treats parameters differently: ``ParameterGroups(AdamW(), *groups)``.

    Each setting of a parameter is that of the last group that selects it and has the setting. What
    is frozen takes part in the forward pass alone: no gradient is computed for it that nothing else
    needs, and it has no optimizer state.

    Parameters
    ----------
    optimizer : Optimizer
        For `Group.weight_decay`, a dataclass with the field ``weight_decay``.
    groups : Group

    Raises
    ------
    InvalidValueError
        Where training begins: a pattern selects nothing (the message lists the paths), or all
        parameters are frozen.
    """

    optimizer: Optimizer
    groups: tuple[Group, ...]

    def __init__(self, optimizer: Optimizer, *groups: Group) -> None:
        if not hasattr(optimizer, "update") or isinstance(optimizer, type | ParameterGroups):
            message = (
                "ParameterGroups: must first be given an optimizer such as AdamW(), got "
                f"{optimizer!r}"
            )
            raise InvalidTypeError(message)
        if isinstance(optimizer, Wrapper):
            kind = type(optimizer).__name__
            message = (
                f"ParameterGroups: must be given the optimizer itself, got {optimizer!r}; "
                f"write {kind}(ParameterGroups({rule_of(optimizer)!r}, ...))"
            )
            raise InvalidTypeError(message)
        for group in groups:
            if not isinstance(group, Group):
                message = (
                    f"ParameterGroups: groups must be Group objects, got {group!r}; "
                    "write for example Group('0.*', frozen=True)"
                )
                raise InvalidTypeError(message)
        settings = {field.name for field in fields(optimizer)} if is_dataclass(optimizer) else ()
        decays = any(group.weight_decay is not None for group in groups)
        if decays and "weight_decay" not in settings:
            message = (
                f"ParameterGroups: weight_decay needs an optimizer that has one, got {optimizer!r}; "
                "leave it out of the groups"
            )
            raise InvalidValueError(message)
        object.__setattr__(self, "optimizer", optimizer)
        object.__setattr__(self, "groups", groups)

    def __repr__(self) -> str:
        return f"ParameterGroups({', '.join(map(repr, (self.optimizer, *self.groups)))})"

    @property
    def learning_rate(self) -> float | Schedule:
        """That of parameters whose groups do not scale it."""
        return self.optimizer.learning_rate

    def init(self, params: Tree) -> Tree:
        """The state of each part of the parameters that is treated alike, by its number."""
        check_patterns(self.groups, params)
        parts = self._parts(params)
        if not parts:
            given = _listed(list(map(repr, self.groups)))
            message = (
                f"ParameterGroups: must leave something to train, {given} freeze all parameters; "
                "add a group with frozen=False for those to train"
            )
            raise InvalidValueError(message)
        return {
            name: self._optimizer_of(way, params).init(part_of(params, paths.__contains__))
            for name, (way, paths) in parts.items()
        }

    def update(
        self, ops: Kernels, params: Tree, gradients: Tree, state: Tree, learning_rate: Array
    ) -> tuple[Tree, Tree]:
        moved, after = flatten(params), {}
        for name, (way, paths) in self._parts(params).items():
            trees = (part_of(tree, paths.__contains__) for tree in (params, gradients))
            rate = learning_rate if way.scale == 1.0 else learning_rate * way.scale
            new, after[name] = self._optimizer_of(way, params).update(
                ops, *trees, state[name], rate
            )
            moved.update(flatten(new))
        return map_paths(lambda path, _: moved[path], params), after

    def frozen_paths(self, params: Tree) -> frozenset[str]:
        """The paths of the parameters that stay as they are."""
        ways = _ways(self.groups, _forms(params))
        return frozenset(path for path, way in ways.items() if way.frozen)

    def _parts(self, params: Tree) -> dict[str, tuple["_Way", frozenset[str]]]:
        """What is trained alike: a name of each part, and the paths of its parameters."""
        paths: dict[_Way, list[str]] = {}
        for path, way in _ways(self.groups, _forms(params)).items():
            if not way.frozen:
                paths.setdefault(way, []).append(path)
        return {str(n): (way, frozenset(of)) for n, (way, of) in enumerate(paths.items())}

    def _optimizer_of(self, way: "_Way", params: Tree) -> Any:
        """Of a part of ``params``: some optimizers must know the whole."""
        known: Any = getattr(self.optimizer, "of_network", None)
        optimizer: Any = self.optimizer if known is None else known(params)
        if way.weight_decay is None:
            return optimizer
        return replace(optimizer, weight_decay=way.weight_decay)


def check_patterns(
    groups: Sequence[Group], params: Tree, name_of: Callable[[Group], str] | None = None
) -> None:
    """Refuse a group that selects none of ``params``; ``name_of`` names its pattern to the user."""
    for group in groups:
        if not any(map(group.matches, flatten(params))):
            name = "ParameterGroups: a pattern" if name_of is None else name_of(group)
            message = (
                f"{name} must select parameters, {group.pattern!r} selects none; "
                f"choose among {_listed(list(flatten(params)))}"
            )
            raise InvalidValueError(message)


def rule_of(optimizer: Optimizer) -> Optimizer:
    """What computes the updates: of parameter groups, and of what wraps an optimizer, that one."""
    while isinstance(optimizer, ParameterGroups | Wrapper):
        optimizer = optimizer.optimizer
    return optimizer


class _Way(NamedTuple):
    """How a parameter is treated."""

    frozen: bool = False
    scale: float = 1.0
    weight_decay: float | None = None


_Forms = tuple[tuple[str, int], ...]


def _forms(params: Tree) -> _Forms:
    # A compiled function may be given dicts in another order.
    return tuple((path, len(leaf.shape)) for path, leaf in sorted(flatten(params).items()))


@lru_cache(64)  # plans that run layer by layer ask at each step
def _ways(groups: tuple[Group, ...], forms: _Forms) -> dict[str, _Way]:
    ways = {}
    for path, axes in forms:
        way = _Way()
        for group in groups:
            if group.matches(path) and not (group.vectors_only and axes > 1):
                way = _Way(
                    way.frozen if group.frozen is None else group.frozen,
                    way.scale if group.learning_rate_scale is None else group.learning_rate_scale,
                    way.weight_decay if group.weight_decay is None else group.weight_decay,
                )
        ways[path] = way
    return ways


def _listed(paths: list[str]) -> str:
    more = len(paths) - _MOST_NAMED
    return ", ".join(paths[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
