"""An ONNX graph as it grows: nodes and arrays with their names, and moves that cancel each other."""

from __future__ import annotations

from typing import Any

import numpy as np

from arraycnn.export.onnx.batch import OfBatch

Shape = tuple[int, ...]
IMAGES = "images"


class Graph:
    """The nodes made so far, each named by its layer's path and its operation.

    In shapes, a size below 0 is that many times the batch.

    Parameters
    ----------
    onnx : module
    taken : names that no array may have: those of what goes in and out.
    """

    def __init__(self, onnx: Any, taken: tuple[str, ...]) -> None:
        self._onnx = onnx
        self._all_nodes: list[Any] = []
        self._arrays: dict[str, Any] = {}
        self._stored: dict[str, tuple] = dict.fromkeys(taken, ())
        self._labels: dict[str, int] = {}
        self._shapes: dict[str, Shape] = {}
        self._known: dict[tuple, str] = {}
        self._turned: dict[str, tuple[str, Shape]] = {}
        self._reshaped: dict[str, str] = {}

    def kind_of(self, dtype: Any) -> int:
        """The number that ONNX has for a dtype."""
        return self._onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))

    def give(self, name: str, shape: Shape) -> str:
        """Say that the graph is given ``name``."""
        self._shapes[name] = shape
        return name

    def add(self, kind: str, inputs: list[str], path: str, shape: Shape, **settings: Any) -> str:
        """Add a node for the layer at ``path``; the name of its output, which has ``shape``."""
        key = (kind, tuple(inputs), repr(sorted(settings.items())))
        if key in self._known:
            return self._known[key]
        label = f"{path}/{kind}"
        self._labels[label] = self._labels.get(label, 0) + 1
        if self._labels[label] > 1:
            label = f"{label}_{self._labels[label]}"
        self._all_nodes.append(
            self._onnx.helper.make_node(kind, inputs, [label], label, **settings)
        )
        self._shapes[label] = shape
        self._known[key] = label
        return label

    def constant(self, label: str, value: Any) -> str:
        """Add an array, unless it is there; the name it has."""
        value = np.ascontiguousarray(value).reshape(np.shape(value))
        content = (value.dtype, value.shape, value.tobytes())
        name, number = label, 1
        while self._stored.setdefault(name, content) != content:
            number += 1
            name = f"{label}_{number}"
        if name not in self._arrays:
            self._arrays[name] = self._onnx.numpy_helper.from_array(value, name)
            self._shapes[name] = value.shape
        return name

    def ints(self, values: Any) -> str:
        """Add sizes or axes, int64."""
        return self.constant(f"{list(values)}", np.array(values, np.int64))

    def scalar(self, value: Any, dtype: Any) -> str:
        """Add a number, or one that grows with the batch; the name of an array without axes."""
        if isinstance(value, OfBatch):
            images = self.add("Squeeze", [self._batch()], IMAGES, ())
            as_dtype = self.cast(images, dtype, IMAGES)
            times = self.scalar(value.times, dtype)
            return self.add("Mul", [as_dtype, times], IMAGES, ())
        return self.constant(f"{np.dtype(dtype).type(value)}", np.array(value, dtype))

    def cast(self, x: str, dtype: Any, path: str) -> str:
        return self.add("Cast", [x], path, self._shapes[x], to=self.kind_of(dtype))

    def transpose(self, x: str, axes: Shape, path: str) -> str:
        """``x`` with its axes in another order; what has been turned before is turned once."""
        if x in self._turned:
            x, before = self._turned[x]
            axes = tuple(before[axis] for axis in axes)
        old = self._shapes[x]
        shape = tuple(old[axis] for axis in axes)
        moving = [axis for axis in axes if old[axis] != 1]
        if moving == sorted(moving):
            return self.reshape(x, shape, path)
        name = self.add("Transpose", [x], path, shape, perm=list(axes))
        self._turned[name] = x, axes
        return name

    def reshape(self, x: str, shape: Shape, path: str) -> str:
        """``x`` in another shape, in the order in which it lies."""
        x = self._reshaped.get(x, x)
        old = self._shapes[x]
        if old == shape:
            return x
        open_sizes = [axis for axis, size in enumerate(shape) if size < 0]
        if len(open_sizes) > 1:
            sizes = self.sizes(shape)
        elif open_sizes == [0] and old and old[0] == shape[0]:
            sizes = self.ints([0, *shape[1:]])  # as it is
        else:
            sizes = self.ints([max(size, -1) for size in shape])
        name = self.add("Reshape", [x, sizes], path, shape)
        self._reshaped[name] = x
        return name

    def expand(self, x: str, shape: Shape, path: str) -> str:
        """``x`` repeated along the axes in which it has one number, or none."""
        old = self._shapes[x]
        if old == shape:
            return x
        old = (1,) * (len(shape) - len(old)) + old
        # 1 keeps a size, whatever it is.
        asked = [1 if had == size else size for had, size in zip(old, shape, strict=True)]
        return self.add("Expand", [x, self.sizes(tuple(asked))], path, shape)

    def sizes(self, shape: Shape) -> str:
        """An array that holds ``shape``, int64."""
        if min(shape, default=0) >= 0:
            return self.ints(shape)
        parts, batch = [], self._batch()
        for size in shape:
            if size >= 0:
                parts.append(self.ints([size]))
            elif size == -1:
                parts.append(batch)
            else:
                parts.append(self.add("Mul", [batch, self.ints([-size])], IMAGES, (1,)))
        return self.add("Concat", parts, IMAGES, (len(shape),), axis=0)

    def _batch(self) -> str:
        """The number of images, as an array of one."""
        return self.add("Shape", [IMAGES], IMAGES, (1,), start=0, end=1)

    def shape_of(self, name: str) -> Shape:
        return self._shapes[name]

    def finish(self, x: str, name: str) -> tuple[list[Any], list[Any]]:
        """(nodes, initializers) of all that ``x`` needs, which is called ``name`` from now on."""
        needed, backward = {x}, []
        for node in reversed(self._all_nodes):
            if node.output[0] in needed:
                backward.append(node)
                needed |= set(node.input)
        nodes = backward[::-1]
        if any(node.output[0] == x for node in nodes):
            for node in nodes:
                for names in (node.input, node.output):
                    names[:] = [name if one == x else one for one in names]
        else:  # the images themselves, or an array
            nodes.append(self._onnx.helper.make_node("Identity", [x], [name], f"{name}/Identity"))
        return nodes, [array for label, array in self._arrays.items() if label in needed]
