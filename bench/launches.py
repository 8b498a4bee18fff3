"""What a training step starts on a CUDA device: noted, with no device, and nothing computed.

    for launch in launches_of_step("b", 64, "tf32"):
        print(launch.file, launch.kernel, launch.grid, launch.block, launch.bytes)

The plan that runs on a device is made as always, on arrays of zeros in memory of the
host and with a launcher that notes each kernel instead of starting it. What a step computes with
functions of the array library itself is computed by NumPy and not noted: those are CuPy's kernels on
a device (tests/host_driver shows them).
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from arraycnn.ops.cuda.launcher import Launcher, Struct
from arraycnn.ops.cuda.unstarted import UnstartedLauncher
from nets import NETS, network, optimizer


@dataclass(frozen=True)
class Launch:
    """A kernel that is started.

    Attributes
    ----------
    grid, block : up to three ints
    shared : int
        Bytes of dynamic shared memory.
    parameters : tuple
        An int for a whole number or an address, 0 where there is no array; a float for a float; a
        tuple for a struct of such.
    bytes : int
        Of the arrays it is given, each once.
    grids : tuple of (up to three ints)
        Those of several kernels that are one launch, one after another; () of one alone.
    """

    file: str
    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared: int
    parameters: tuple[Any, ...]
    bytes: int
    grids: tuple[tuple[int, ...], ...] = ()

    @property
    def threads(self) -> int:
        """Of a block."""
        return math.prod(self.block)


class NotingLauncher(UnstartedLauncher):
    """Notes what it is to start; its arrays are NumPy's, of zeros."""

    sends = False

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[Launch] = []
        self.recorded: list[list[Launch]] = []
        """Of each recording."""
        self._memory: dict[int, tuple[int, np.ndarray]] = {}

    def start(
        self,
        file: str,
        kernel: str,
        grid: tuple[int, ...],
        block: tuple[int, ...],
        args: tuple[Any, ...],
        shared: int,
    ) -> None:
        parameters = tuple(map(self._parameter, args))
        arrays = {id(array): array.nbytes for array in _arrays(args)}
        size = sum(arrays.values())
        self.noted.append(Launch(file, kernel, grid, block, shared, parameters, size))

    def launch_shared(self, grids: tuple[Any, ...], *launch: Any, **more: Any) -> None:
        super().launch_shared(grids, *launch, **more)
        self.noted[-1] = replace(self.noted[-1], grids=grids)

    def capture(self, work):
        first = len(self.noted)
        work()
        self.recorded.append(self.noted[first:])
        return lambda: None

    def _parameter(self, argument: Any) -> Any:
        if isinstance(argument, Struct):
            return tuple(map(self._parameter, argument.members))
        if isinstance(argument, np.ndarray):
            return self._address(argument)
        if isinstance(argument, np.floating):
            return float(argument)
        return 0 if argument is None else int(argument)

    def _address(self, array: np.ndarray) -> int:
        """Its address in a memory where arrays lie far apart, in the order in which they come."""
        whole = array
        while isinstance(whole.base, np.ndarray):
            whole = whole.base
        # Kept, so that no other array comes to lie there.
        start, _ = self._memory.setdefault(id(whole), ((len(self._memory) + 1) << 36, whole))
        return start + array.ctypes.data - whole.ctypes.data


def _arrays(args: tuple[Any, ...]) -> list[np.ndarray]:
    found = []
    for argument in args:
        if isinstance(argument, Struct):
            found += _arrays(argument.members)
        elif isinstance(argument, np.ndarray):
            found.append(argument)
    return found


def launches_of_step(net: str, batch: int, precision: str) -> list[Launch]:
    """The kernels of ours that a training step of ``net`` starts, in order."""
    launcher = NotingLauncher()
    run_step(launcher, net, batch, precision)
    return launcher.recorded[0]


def run_step(launcher: Launcher, net: str, batch: int, precision: str) -> None:
    """Record a step as `Model.fit` would on a device, with ``launcher`` in place of CuPy's; run it."""
    import arraycnn as cnn
    from arraycnn.data.image_source import ArraySource
    from arraycnn.execution import Task
    from arraycnn.execution.device import DevicePlans
    from arraycnn.training.step import Carry
    from arraycnn.tree import map_leaves

    layers, rule = network(net), optimizer(net)
    params, state, _ = layers.init(np.random.default_rng(0), NETS[net].image_shape)
    trees = (params, state, rule.init(params))
    carry = Carry(*(map_leaves(lambda leaf: np.asarray(leaf, "float32"), of) for of in trees))
    images = np.zeros((2 * batch, *NETS[net].image_shape), np.uint8)
    labels = np.zeros(2 * batch, np.int32)
    task = Task(layers, rule, ArraySource(images), ArraySource(labels), 0, "float32")
    plans = DevicePlans(launcher, precision, "cupy")
    plan = plans.training_plan(cnn.NumPy(fast=False), task, carry)
    plan.run(0, [np.arange(batch, dtype=np.int32)], np.zeros(1))
