"""What changes when a channels-last network is run channels first, (N, C, H, W).

Every layer that works on images does the same in either order, once its own axes are moved. Only
`Flatten` lets the order of an image's numbers be seen: H, W, C here, C, H, W elsewhere. Where all
that sees them is `Dense`, its weights take up the difference and the flattening is the ordinary
one; where the order reaches a sum or the output, that Flatten has to go back to channels last.
"""

from dataclasses import dataclass, field

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers import Dense, Flatten, Identity, Rescale, Sequential
from arraycnn.layers.branches import Branches, is_of_branches
from arraycnn.layers.export_forms import names_its_module
from arraycnn.layers.layer import Layer, Shape
from arraycnn.layers.undrawn import Undrawn


@dataclass(frozen=True)
class Plan:
    """How the layers of a network stand, each named by its path such as "3.body.0".

    Attributes
    ----------
    input_shapes : dict of path to shape
        What each layer takes, channels last, without N.
    takes_pixels : bool
        Whether the network takes uint8, that is has a `Rescale`.
    ordered : set of path
        The `Flatten` layers that must give their numbers in the order H, W, C.
    flattened : dict of path to (H, W, C)
        The `Dense` layers that see a flattened image in the order C, H, W.
    """

    input_shapes: dict[str, Shape]
    takes_pixels: bool
    ordered: frozenset[str]
    flattened: dict[str, Shape]


def plan(network: Layer, input_shape: Shape) -> Plan:
    """The `Plan` of ``network`` on images of ``input_shape``, (H, W, C), as PyTorch has it.

    Raises
    ------
    InvalidTypeError
        A layer does not say what it is there: it has no ``torch_module``.
    InvalidValueError
        A `Residual`, or another layer of branches, takes up raw pixels.
    """
    walk = _Walk()
    walk.keep_order(walk.follow(network, "", _Value(input_shape, raw=True)))
    if walk.takes_pixels and walk.raw_joins:
        message = (
            f"export: {walk.raw_joins[0]} must not join pixels of one byte with numbers; "
            "put Rescale() before it"
        )
        raise InvalidValueError(message)
    return Plan(
        walk.input_shapes,
        walk.takes_pixels,
        frozenset(walk.ordered),
        {path: shape for path, (of, shape) in walk.flattened.items() if of not in walk.ordered},
    )


def inside(path: str, name: str) -> str:
    """The path of the part ``name`` of the layer at ``path``."""
    return f"{path}.{name}" if path else name


@dataclass(frozen=True)
class _Value:
    """What flows between layers: its shape, whether it is the input itself, and the Flatten that
    its order comes from."""

    shape: Shape
    raw: bool = False
    flattened: tuple[str, Shape] | None = None


@dataclass
class _Walk:
    input_shapes: dict[str, Shape] = field(default_factory=dict)
    takes_pixels: bool = False
    raw_joins: list[str] = field(default_factory=list)
    ordered: set[str] = field(default_factory=set)
    flattened: dict[str, tuple[str, Shape]] = field(default_factory=dict)

    def follow(self, layer: Layer, path: str, x: _Value) -> _Value:
        self.input_shapes[path] = x.shape
        if type(layer) is Sequential:
            for name, part in layer.named_layers():
                x = self.follow(part, inside(path, name), x)
            return x
        if not names_its_module(layer):
            name = type(layer).__name__
            message = (
                f"export: each layer must say what it is there, got {name} at "
                f"{path or 'the top'}, a class without torch_module; "
                f"give class {name} a method torch_module"
            )
            raise InvalidTypeError(message)
        if is_of_branches(layer):
            return self._join(layer, path, x)
        if isinstance(layer, Identity) or getattr(layer, "training_only", False):
            return x
        _, _, shape = layer.init(Undrawn(), x.shape)
        if isinstance(layer, Rescale):
            self.takes_pixels = True
            return _Value(shape, flattened=x.flattened)
        if isinstance(layer, Flatten):
            height, width, channels = x.shape if len(x.shape) == 3 else (1, 1, 1)
            if height * width > 1 and channels > 1:
                return _Value(shape, x.raw, (path, x.shape))
            return _Value(shape, x.raw, x.flattened)
        if isinstance(layer, Dense):
            if x.flattened is not None:
                self.flattened[path] = x.flattened
            return _Value(shape)
        if getattr(layer, "any_order", False):
            return _Value(shape, flattened=x.flattened)
        self.keep_order(x)
        return _Value(shape)

    def keep_order(self, x: _Value) -> None:
        """Somebody sees the order of ``x``: its Flatten has to give H, W, C."""
        if x.flattened is not None:
            self.ordered.add(x.flattened[0])

    def _join(self, layer: Branches, path: str, x: _Value) -> _Value:
        outputs = [
            x if part is None else self.follow(part, inside(path, name), x)
            for name, part in layer.named_branches()
        ]
        if len(outputs) > 1 and any(output.raw for output in outputs):
            self.raw_joins.append(f"{type(layer).__name__} at {path or 'the top'}")
        shape = layer.joined_shape([output.shape for output in outputs])
        first = outputs[0]
        alike = all(output.flattened == first.flattened for output in outputs)
        if alike and getattr(layer, "any_order", False):
            return _Value(shape, first.raw, first.flattened)
        for output in outputs:
            self.keep_order(output)
        return _Value(shape)
