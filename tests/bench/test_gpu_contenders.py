"""What bench/gpu.py runs of its contenders, as far as a CPU shows it."""

from pathlib import Path

import numpy as np
import pytest

from optional import Late, needs

BENCH = Path(__file__).parent.parent.parent / "bench"

pytestmark = needs("torch")

torch = Late("torch")


@pytest.fixture
def made(monkeypatch):
    """(contender, network, batch size, images) -> the contender, in float32 on the CPU."""
    monkeypatch.syspath_prepend(str(BENCH))
    import contenders
    import nets

    def build(name, net, batch, count):
        given = nets.dataset(net, count), nets.initial_parameters(net)
        build = contenders.CONTENDERS[name]
        return build(net, batch, *given[0], given[1], "fp32", "cpu")

    # A contender sets it for its process, which here is everyone's: afterwards it is as before.
    with torch._dynamo.config.patch(fail_on_recompile_limit_hit=False):
        yield build


@pytest.fixture
def graphs(monkeypatch):
    """The sizes of the inputs of each graph that torch.compile makes, which then runs as it is."""
    found = []

    def backend(graph, inputs):
        found.append([size for array in inputs for size in getattr(array, "shape", [array])])
        return graph.forward

    compiled = torch.compile

    def compile_(function, **settings):
        settings.pop("mode", None)
        return compiled(function, **(settings | {"backend": backend}))

    monkeypatch.setattr("torch.compile", compile_)
    return found


def test_each_size_is_compiled_for_itself(made, graphs):
    """And not for sizes of any kind, nor by and by for none: a code object has eight compilations."""
    for count in range(1, 10):
        before = len(graphs)
        trained = made("torch-compile", "a", 4 + count, 2 * (4 + count))
        trained.epochs(1)
        for images in (1, 2):
            trained.predict(np.zeros((images, 28, 28, 1), np.uint8))
        assert len(graphs) == before + 3
    assert {type(size) for sizes in graphs for size in sizes} == {int}


TORCH = ("torch-eager", "torch-compile", "torch-graph")


@pytest.mark.parametrize("name", [*TORCH, pytest.param("jax-jit", marks=needs("jax"))])
def test_what_is_predicted_is_what_a_model_predicts(name, made, graphs):
    """By running averages, before a training and after, and a training goes on by its batch's."""
    ours, other = made("arraycnn", "norm", 4, 8), made(name, "norm", 4, 8)
    image = np.full((1, 28, 28, 1), 99, np.uint8)
    np.testing.assert_allclose(other.predict(image), ours.predict(image), atol=1e-5)
    (_, wanted), (_, losses) = ours.epochs(1)[0], other.epochs(1)[0]
    np.testing.assert_allclose(losses, wanted, rtol=1e-4)
    np.testing.assert_allclose(other.predict(image), ours.predict(image), atol=1e-4)
    other.epochs(1)
    assert len(graphs) == (2 if name == "torch-compile" else 0)  # of steps, and of predictions


def test_trial_steps_leave_no_trace(made, monkeypatch):
    """What is recorded for a GPU runs some steps before: all that they have moved is set back."""
    import contenders

    class Tried(contenders.TorchGraph):
        def _recorded(self, count):
            self._next_step()
            return super()._recorded(count)

    monkeypatch.setitem(contenders.CONTENDERS, "tried", Tried)
    image = np.full((1, 28, 28, 1), 99, np.uint8)
    plain, tried = (made(name, "norm", 4, 8) for name in ("torch-eager", "tried"))
    np.testing.assert_array_equal(tried.predict(image), plain.predict(image))


@pytest.mark.parametrize("kind", ["norm", "conv", "dense"])
@needs("jax")
def test_jax_sums_gradients_in_float32_where_it_computes_in_bfloat16(kind, monkeypatch):
    """Of which sums of thousands end at 256: as much again is less than what is rounded away."""
    monkeypatch.syspath_prepend(str(BENCH))
    import jax

    import twins

    numpy, count = jax.numpy, 4
    shape = {"dense": (8192, count)}.get(kind, (128, 8, 8, count))
    x = numpy.asarray(np.random.default_rng(0).normal(size=shape), numpy.bfloat16)
    weight = {"norm": np.ones(count), "conv": np.ones((1, 1, count, count))}
    weight = numpy.asarray(weight.get(kind, np.ones((count, count))), numpy.bfloat16)
    settings = {"conv": (count, "valid", True, 1), "dense": (count,), "norm": ()}[kind]

    def total(bias):
        averages = [(numpy.zeros(count), numpy.ones(count))]
        given = iter([[weight, bias.astype(numpy.bfloat16)]])
        parts = twins._JaxParts(jax, given, iter(averages), True)
        return parts.chain(x, [(kind, *settings)]).astype(numpy.float32).sum()

    gradient = jax.jit(jax.grad(total))(numpy.zeros(count))
    np.testing.assert_array_equal(gradient, 8192.0)
