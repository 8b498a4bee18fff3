"""Muon: momentum made orthogonal, for matrices; AdamW for all else."""

from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from arraycnn.errors import InvalidTypeError
from arraycnn.ops import Array, Kernels, array_namespace
from arraycnn.optimizers.adam import AdamW
from arraycnn.optimizers.optimizer import check_share, paired, zeros_like
from arraycnn.optimizers.schedules import Schedule, check_rate
from arraycnn.setting_checks import check_count, check_number
from arraycnn.tree import Tree, flatten, part_of, replaced, with_leaves

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial that each step of the iteration applies to the singular values."""

_EPSILON = 1e-7


@dataclass(frozen=True)
class Muon:
    """Steps along the momentum of each weight matrix, its singular values brought near 1.

    Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; why it is the
    steepest descent in the spectral norm: Bernstein and Newhouse, "Old optimizer, new norm", 2024.
    Nesterov's momentum m = b m + g, u = g + b m of a matrix is brought near U V^T of its singular value
    decomposition by ``iterations`` steps of Newton and Schulz, of products of matrices alone; the
    step is rate * sqrt(max(1, outputs / inputs)) times that.

    Weights of a convolution are matrices of inputs x outputs, (KH KW C, F). Vectors, which are biases
    and the scales and shifts of norms, are AdamW's, and so is the network's last weight, its head, as
    the paper has it. Rates that serve are about 0.02, about 7 times AdamW's.

    Parameters
    ----------
    learning_rate : float or Schedule
        Of the matrices.
    momentum : float
        In [0, 1).
    weight_decay : float
        Decoupled, of all: times the rate and the parameter, subtracted from the parameter.
    iterations : int
    adamw_scale : float
        AdamW's learning rate, as a multiple of that of the matrices.
    betas, epsilon : AdamW's
    head : tuple of str, or other texts to iterate over, or None
        Paths of further matrices that are AdamW's, such as ("9.weight",); None is the last weight of
        the network, () none.
    """

    learning_rate: float | Schedule = 0.02
    momentum: float = 0.95
    weight_decay: float = 0.01
    iterations: int = 5
    adamw_scale: float = 0.15
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    head: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_rate("Muon", self.learning_rate)
        check_share("Muon", "momentum", self.momentum)
        check_number("Muon: weight_decay", self.weight_decay, minimum=0.0)
        check_count("Muon: iterations", self.iterations)
        check_number("Muon: adamw_scale", self.adamw_scale, minimum=0.0)
        AdamW(0.0, self.betas, self.epsilon)
        if self.head is not None:
            object.__setattr__(self, "head", _checked_paths(self.head))

    def of_network(self, params: Tree) -> "Muon":
        """These settings, the head named: for those who train a part of the network's parameters."""
        return replace(self, head=self._head(params))

    def init(self, params: Tree) -> Tree:
        matrices, others = self._parts(params)
        return {"momentum": zeros_like(matrices), "adamw": self._adamw.init(others)}

    def update(
        self, ops: Kernels, params: Tree, gradients: Tree, state: Tree, learning_rate: Array
    ) -> tuple[Tree, Tree]:
        matrices, others = self._parts(params)
        moved, momentum = [], []
        for p, g, before in paired(matrices, gradients, state["momentum"]):
            m = self.momentum * before + g
            momentum.append(m)
            step = _orthogonal(ops, g + self.momentum * m, self.iterations)
            inputs, outputs = prod(p.shape[:-1]), p.shape[-1]
            rate = learning_rate * max(1.0, outputs / inputs) ** 0.5
            decayed = p - learning_rate * self.weight_decay * p if self.weight_decay else p
            moved.append(decayed - rate * step)
        rest, adamw = self._adamw.update(
            ops, others, gradients, state["adamw"], learning_rate * self.adamw_scale
        )
        after = replaced(replaced(params, with_leaves(matrices, moved)), rest)
        return after, {"momentum": with_leaves(matrices, momentum), "adamw": adamw}

    @property
    def _adamw(self) -> AdamW:
        return AdamW(0.0, self.betas, self.epsilon, self.weight_decay)

    def _parts(self, params: Tree) -> tuple[Tree, Tree]:
        """(what is orthogonal, what is AdamW's)."""
        head = self._head(params)
        chosen = {
            path for path, p in flatten(params).items() if len(p.shape) > 1 and path not in head
        }
        return part_of(params, chosen.__contains__), part_of(params, lambda p: p not in chosen)

    def _head(self, params: Tree) -> tuple[str, ...]:
        if self.head is not None:
            return self.head
        paths = [path for path, p in flatten(params).items() if len(p.shape) > 1]
        return tuple(sorted(paths, key=_place)[-1:])


def _place(path: str) -> list[tuple[int, str]]:
    """Where a layer stands, whatever the order of names in a dict: numbers as numbers."""
    return [(int(name) if name.isdecimal() else -1, name) for name in path.split(".")]


def _orthogonal(ops: Kernels, update: Array, iterations: int) -> Array:
    """``update`` as a matrix of inputs x outputs with its singular values near 1, in its shape."""
    xp = array_namespace(update)
    x = xp.reshape(update, (-1, update.shape[-1]))
    x = x / (xp.sqrt(xp.sum(x * x)) + _EPSILON)
    a, b, c = _COEFFICIENTS
    is_wide = x.shape[0] < x.shape[1]
    for _ in range(iterations):
        # Of the two products of x with itself the smaller one.
        gram = ops.matmul(x, x.T) if is_wide else ops.matmul(x.T, x)
        inner = b * gram + c * ops.matmul(gram, gram)
        x = a * x + (ops.matmul(inner, x) if is_wide else ops.matmul(x, inner))
    return xp.reshape(x, update.shape)


def _checked_paths(head: Any) -> tuple[str, ...]:
    """``head`` as a tuple of texts: a text alone would be taken for its letters."""
    given = tuple(head) if isinstance(head, Iterable) else (head,)
    if isinstance(head, str) or not all(isinstance(path, str) for path in given):
        message = (
            f'Muon: head must be a tuple of paths such as ("9.weight",), or None, got {head!r}'
        )
        raise InvalidTypeError(message)
    # A set is in another order in each process, and a training that goes on has the same settings.
    return tuple(sorted(given)) if isinstance(head, Set) else given
