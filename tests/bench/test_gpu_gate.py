"""The gate of bench/gpu.py: who computes what NumPy does passes, and nobody else, in each precision."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from optional import Late, needs

BENCH = Path(__file__).parent.parent.parent / "bench"
BATCH = 4
PRECISIONS = ("fp32", "tf32", "bf16")
NETS = ("a", "b", "norm", "resnet20", "cifar")
NAMES = (
    "arraycnn",
    pytest.param("torch-eager", marks=needs("torch")),
    pytest.param("jax-jit", marks=needs("jax")),
)

torch = Late("torch")


@pytest.fixture
def gate(monkeypatch, tmp_path):
    """(build, network, precision) -> what is wrong with its two epochs of the gate."""
    monkeypatch.syspath_prepend(str(BENCH))
    import gpu_gate
    import nets

    def wrong(build, net, precision):
        images, labels = nets.dataset(net, gpu_gate.CHECKED_STEPS * BATCH)
        first = gpu_gate.named(nets.initial_parameters(net))
        np.savez(tmp_path / f"{net}.npz", images=images, labels=labels, **first)
        gpu_gate.write_gate(tmp_path, net, BATCH)
        return gpu_gate.check(build, tmp_path, net, BATCH, precision, "cpu")

    return wrong


@pytest.fixture
def compared(gate, monkeypatch):
    """The last parameters that the gate has compared: (learned, expected, first)."""
    import gpu_gate

    last, fault = [], gpu_gate.fault

    def noted(*arguments):
        last[:] = arguments[:3]
        return fault(*arguments)

    monkeypatch.setattr(gpu_gate, "fault", noted)
    return last


def contender(name, precision):
    """Its class; PyTorch's "tf32" is as a device has it, with operands of products rounded."""
    import contenders

    build = contenders.CONTENDERS[name]
    if (name, precision) != ("torch-eager", "tf32"):
        return build

    class Rounded(build):
        def _step(self, indices):
            with rounds_operands():
                return super()._step(indices)

    return Rounded


def rounds_operands():
    """A mode of PyTorch in which operands of each product keep 10 bits behind the first, as in TF32."""
    from torch.utils._python_dispatch import TorchDispatchMode

    dropped = 13

    def rounded(array):
        bits = array.clone(memory_format=torch.preserve_format).view(torch.int32)
        return ((bits + (1 << (dropped - 1))) & -(1 << dropped)).view(torch.float32)

    class Rounds(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            kind = function.name().split("::")[1].split(".")[0]
            first = {"convolution": 0, "convolution_backward": 0, "mm": 0, "addmm": 1}.get(kind)
            if first is not None:
                operands = (rounded(array) for array in args[first : first + 2])
                args = (*args[:first], *operands, *args[first + 2 :])
            return function(*args, **(kwargs or {}))

    return Rounds()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("net", NETS)
def test_each_measured_network_has_a_gate_that_who_is_right_passes(net, name, gate, compared):
    """And nobody at another rate, or one layer of whom learns nothing, or twice what it should."""
    import gpu_cells

    assert set(NETS) == set(gpu_cells.NETS_MEASURED)
    assert set(PRECISIONS) == set(gpu_cells.TOLERANCES)
    for precision in PRECISIONS:
        if precision == "fp32" or name == "torch-eager" or (name, precision) == ("jax-jit", "bf16"):
            # Any other is on a CPU as in float32: only limits differ.
            assert gate(contender(name, precision), net, precision) is None
            learned, expected, first = compared
        wrong = partial(fault_of_others, learned, expected, first, net, precision)
        layers = len(learned)
        assert wrong([1] * layers) is None
        for rate in (0, 0.5, 1.5, 2):
            assert wrong([rate] * layers) is not None
        for place in range(layers):
            if learned[place].ndim > 1:
                for factor in (0, 2, -1):
                    factors = [factor if i == place else 1 for i in range(layers)]
                    assert wrong(factors) is not None


def fault_of_others(learned, expected, first, net, precision, factors):
    """What is wrong with who goes ``factors`` times as far with each parameter."""
    from gpu_gate import fault

    others = [f + k * (a - f) for a, f, k in zip(learned, first, factors, strict=True)]
    return fault(others, expected, first, net, precision)


@pytest.mark.parametrize("net", NETS)
def test_nobody_passes_at_a_rate_of_nought_or_twice_the_rate(net, gate, monkeypatch):
    import contenders

    for precision in PRECISIONS:
        for rate in (0.0, 0.02):
            monkeypatch.setattr(contenders, "LEARNING_RATE", rate)
            assert gate(contenders.ArrayCNN, net, precision) is not None


@pytest.mark.parametrize("name", NAMES)
def test_who_never_updates_is_found_in_every_precision(name, gate, monkeypatch):
    """Whose losses alone might pass: in bfloat16 these are compared to a thirtieth."""
    import contenders
    import twins

    monkeypatch.setattr(contenders, "LEARNING_RATE", 0.0)
    monkeypatch.setattr(twins, "LEARNING_RATE", 0.0)
    found = [gate(contender(name, precision), "a", precision) for precision in PRECISIONS]
    assert None not in found
    assert "a parameter is 1 of its way" in found[-1]


def test_who_updates_in_the_first_epoch_alone_is_found(gate):
    import contenders

    class Stops(contenders.ArrayCNN):
        def epochs(self, count):
            return super().epochs(count) if self._first else []

    assert gate(Stops, "resnet20", "bf16") == "a parameter stands still in a second epoch"


def test_a_parameter_that_is_not_finite_is_found(gate):
    from gpu_gate import fault

    one = [np.ones((2, 2))]
    assert "not finite" in fault([one[0] * np.nan], one, [one[0] * 0], "a", "bf16")
