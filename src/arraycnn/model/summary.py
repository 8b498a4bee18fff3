"""What a model shows of itself: the table of its layers, and the program of its step."""

from dataclasses import dataclass

from arraycnn.backends import Backend
from arraycnn.layers import Sequential
from arraycnn.layers.layer import Layer, Shape, with_n
from arraycnn.layers.undrawn import Undrawn
from arraycnn.losses import Loss
from arraycnn.model.inputs import check_optimizer
from arraycnn.optimizers import SGD, Optimizer
from arraycnn.program.compose import Program, step_program
from arraycnn.setting_checks import check_count
from arraycnn.training.step import Objective
from arraycnn.tree import leaves, map_leaves


@dataclass(frozen=True)
class Row:
    """A layer: its path such as "3.0", how it was written, its output without N, its size."""

    path: str
    layer: str
    output_shape: Shape
    parameters: int


def rows(network: Layer, input_shape: Shape, prefix: str = "") -> list[Row]:
    """The layers of ``network`` in order; a Sequential inside is laid open."""
    if not isinstance(network, Sequential):
        params, _, shape = network.init(Undrawn(), input_shape)
        count = sum(leaf.size for leaf in leaves(params))
        return [Row(prefix or "0", repr(network), shape, count)]
    result: list[Row] = []
    shape = input_shape
    for position, layer in enumerate(network.layers):
        path = f"{prefix}.{position}" if prefix else str(position)
        result += rows(layer, shape, path)
        shape = result[-1].output_shape
    return result


def table(network: Layer, input_shape: Shape) -> str:
    """`rows` as text, with the total number of parameters below."""
    entries = rows(network, input_shape)
    cells = [("", "layer", "output", "parameters"), ("", "input", with_n(input_shape), "")]
    cells += [(r.path, r.layer, with_n(r.output_shape), f"{r.parameters:,}") for r in entries]
    total = sum(r.parameters for r in entries)
    cells.append(("", "total", "", f"{total:,}"))
    widths = [max(len(row[column]) for row in cells) for column in range(4)]
    return "\n".join(
        f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}".rstrip()
        for a, b, c, d in cells
    )


class Described:
    """The part of a `Model` that shows what it is made of."""

    network: Layer
    input_shape: tuple[int, int, int]
    dtype: str
    trees: property
    loss: Loss
    output_shape: Shape
    backend: Backend

    def summary(self) -> str:
        """The layers with their output shapes and numbers of parameters, as text."""
        return table(self.network, self.input_shape)

    def program(
        self, batch_size: int = 64, optimizer: Optimizer | None = None, mode: str = "train"
    ) -> Program:
        """The step of ``batch_size`` images as it is traced and fused: print it.

        It shows the fused loops, the operations with kernels of their own, what they read and
        write, the memory that values take, and by which of them each layer is computed. A layer
        that cannot be traced, since it reads a value, calls another library, or does something
        else each time, is shown as a call between compiled parts, with the reason. To find those,
        copies of the layers are run on a batch of two images.

        Parameters
        ----------
        batch_size : int
        optimizer : Optimizer or None
            Whose update is part of a training step; None is ``SGD(0.05)``.
        mode : "train" or "infer"

        Raises
        ------
        TracingError
            An InvalidTypeError: the optimizer, or all of a step, does what cannot be traced.
        """
        chosen = check_optimizer(optimizer or SGD(0.05))
        params, state = (map_leaves(self.backend.to_numpy, tree) for tree in self.trees)
        shape = (check_count("batch_size:", batch_size), *self.input_shape)
        objective = Objective(self.loss, *self.loss.label_form(self.output_shape))
        trees = params, state
        return step_program(self.network, *trees, shape, chosen, mode, self.dtype, objective)
