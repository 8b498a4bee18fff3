"""The optimizers' updates in CUDA: PyTorch's steps, and to the bit the generic kernels'.

On a device a multiplication and an addition may be rounded once instead of twice; the CPU that runs
the kernels here is told not to.
"""

from functools import partial

import numpy as np
import pytest

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops import GENERIC
from arraycnn.ops.optimizer_updates.cuda import adam_update, sgd_update
from host_cuda import HostLauncher, check, lazy_zeros

SHAPES = [(3, 3, 1, 8), (8,), (0, 5), (), (40, 30), (1,), (511,), (512,), (513,), (2, 3)]

SGD = [
    {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
    {"momentum": 0.0, "nesterov": False, "weight_decay": 0.02},
    {"momentum": 0.9, "nesterov": False, "weight_decay": 0.0},
    {"momentum": 0.9, "nesterov": True, "weight_decay": 0.0},
    {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
]
ADAM = [
    {"weight_decay": 0.0, "decoupled": False},
    {"weight_decay": 0.1, "decoupled": False},
    {"weight_decay": 0.0, "decoupled": True},
    {"weight_decay": 0.1, "decoupled": True},
]
MORE_OF_ADAM = {"betas": (0.9, 0.99), "epsilon": 1e-8}

dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])
in_place_or_not = pytest.mark.parametrize("in_place", [False, True])


def tensors(seed, dtype, shapes=SHAPES):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def scalar(value, dtype):
    return np.array(value, dtype)


def in_memory_of(cuda, array):
    """A copy between margins that no kernel may touch."""
    copy = cuda.empty(array.shape, array.dtype)
    copy[...] = array
    return copy


def run(update, cuda, arguments, in_place, **settings):
    """``update`` on copies; all arrays that it is to leave alone must be what they were."""
    copies = [
        type(part)(in_memory_of(cuda, a) for a in part)
        if isinstance(part, list | tuple)
        else in_memory_of(cuda, part)
        for part in arguments
    ]
    results = update(cuda, *copies, **settings, in_place=in_place)
    unchanged = {1, len(arguments) - 1} if in_place else set(range(len(arguments)))
    for number in unchanged:
        for a, b in zip(flat([copies[number]]), flat([arguments[number]]), strict=True):
            np.testing.assert_array_equal(a, b)
    if in_place:
        changed = [part for number, part in enumerate(copies) if number not in unchanged]
        assert [id(a) for a in flat(results)] == [id(a) for a in flat(changed)]
    return results


def flat(parts):
    return [a for part in parts for a in (part if isinstance(part, list | tuple) else [part])]


def same_to_the_bit(actual, expected):
    assert len(actual) == len(expected)
    for a_list, e_list in zip(actual, expected, strict=True):
        for a, e in zip(a_list, e_list, strict=True):
            assert a.shape == np.shape(e)
            assert a.dtype == e.dtype
            np.testing.assert_array_equal(a, e)


@in_place_or_not
@dtypes
@pytest.mark.parametrize("settings", SGD, ids=str)
def test_sgd_is_the_generic_one(settings, dtype, in_place):
    p, g, v = (tensors(seed, dtype) for seed in range(3))
    arguments = (p, g, v if settings["momentum"] else [], scalar(0.1, dtype))
    actual = check(lambda cuda: run(sgd_update, cuda, arguments, in_place, **settings))
    same_to_the_bit(actual, GENERIC.sgd_update(*arguments, **settings))


@in_place_or_not
@dtypes
@pytest.mark.parametrize("settings", ADAM, ids=str)
def test_adam_is_the_generic_one(settings, dtype, in_place):
    p, g, m, v = (tensors(seed, dtype) for seed in range(4))
    decays = (scalar(0.9**3, dtype), scalar(0.99**3, dtype))
    arguments = (p, g, m, [x * x for x in v], decays, scalar(0.1, dtype))
    settings = settings | MORE_OF_ADAM
    actual = check(lambda cuda: run(adam_update, cuda, arguments, in_place, **settings))
    same_to_the_bit(actual, GENERIC.adam_update(*arguments, **settings))


@in_place_or_not
@pytest.mark.parametrize("settings", [*SGD, *ADAM], ids=str)
def test_steps_are_those_of_torch(settings, in_place, torch):
    start, shapes, rates = tensors(0, "float64"), SHAPES, [0.1, 0.02, 0.3, 0.1]
    theirs = [torch.tensor(p, requires_grad=True) for p in start]
    if "decoupled" in settings:
        kind = torch.optim.AdamW if settings["decoupled"] else torch.optim.Adam
        optimizer = kind(theirs, weight_decay=settings["weight_decay"], betas=(0.9, 0.99))
        state = [[np.zeros(s) for s in shapes], [np.zeros(s) for s in shapes]]
        state.append((np.ones(()), np.ones(())))
        update = partial(adam_update, **settings, **MORE_OF_ADAM)
    else:
        optimizer = torch.optim.SGD(theirs, lr=1.0, **settings)
        state = [[np.zeros(s) for s in shapes] if settings["momentum"] else []]
        update = partial(sgd_update, **settings)
    p, cuda = [p.copy() for p in start], HostLauncher()
    for step, rate in enumerate(rates):
        g = tensors(10 + step, "float64")
        optimizer.param_groups[0]["lr"] = rate
        for tensor, gradient in zip(theirs, g, strict=True):
            tensor.grad = torch.tensor(gradient)
        optimizer.step()
        p, *state = update(cuda, p, g, *state, np.array(rate), in_place=in_place)
    for actual, wanted in zip(p, theirs, strict=True):
        np.testing.assert_allclose(actual, wanted.detach().numpy(), rtol=1e-11, atol=1e-13)


@in_place_or_not
@pytest.mark.parametrize("count", [0, 31, 32, 33, 70])
def test_any_number_of_tensors(count, in_place):
    shapes = [(n % 7,) for n in range(count)]
    p, g, m, v = (tensors(seed, "float64", shapes) for seed in range(4))
    arguments = (p, g, m, scalar(0.1, "float64"))
    actual = run(sgd_update, HostLauncher(), arguments, in_place, **SGD[-1])
    same_to_the_bit(actual, GENERIC.sgd_update(*arguments, **SGD[-1]))
    arguments = (p, g, m, [x * x for x in v], (np.array(0.9), np.array(0.5)), np.array(0.1))
    settings = ADAM[-1] | MORE_OF_ADAM
    actual = run(adam_update, HostLauncher(), arguments, in_place, **settings)
    same_to_the_bit(actual, GENERIC.adam_update(*arguments, **settings))


def test_more_numbers_than_threads():
    p, g = (tensors(seed, "float32", [(300_000,), (5,)]) for seed in range(2))
    arguments = (p, g, [], scalar(0.1, "float32"))
    actual = sgd_update(HostLauncher(), *arguments, **SGD[1])
    same_to_the_bit(actual, GENERIC.sgd_update(*arguments, **SGD[1]))


def test_no_decay_does_not_touch_an_infinite_parameter():
    p, g = [np.array([np.inf, 1.0])], [np.array([1.0, 1.0])]
    moved, _ = sgd_update(HostLauncher(), p, g, [], np.array(0.5), **SGD[0])
    np.testing.assert_array_equal(moved[0], [np.inf, 0.5])


def test_views_are_taken_as_they_are():
    p, g, v = (tensors(seed, "float64", [(6, 5), (4,)]) for seed in range(3))
    views = [[np.repeat(np.asfortranarray(a), 2, axis=0)[::2] for a in part] for part in (p, g, v)]
    same_to_the_bit(
        sgd_update(HostLauncher(), *views, np.array(0.1), **SGD[-1]),
        sgd_update(HostLauncher(), p, g, v, np.array(0.1), **SGD[-1]),
    )
    same_to_the_bit(
        sgd_update(HostLauncher(), p, views[1], v, np.array(0.1), **SGD[-1], in_place=True),
        sgd_update(HostLauncher(), *views, np.array(0.1), **SGD[-1]),
    )


@pytest.mark.parametrize("changed", [0, 2])
def test_views_are_not_changed_in_place(changed):
    arguments = [tensors(seed, "float64", [(6, 5)]) for seed in range(3)]
    arguments[changed] = [np.asfortranarray(arguments[changed][0])]
    before = arguments[changed][0].copy()
    with pytest.raises(InvalidValueError, match=r"^sgd_update on CUDA: .* must lie in C order"):
        sgd_update(HostLauncher(), *arguments, np.array(0.1), **SGD[-1], in_place=True)
    np.testing.assert_array_equal(arguments[changed][0], before)


def test_what_does_not_fit_is_refused():
    p, g, v = (tensors(seed, "float64", [(6, 5), (4,)]) for seed in range(3))
    rate = np.array(0.1)
    with pytest.raises(InvalidTypeError, match=r"^sgd_update on CUDA: .* float32 or all float64"):
        sgd_update(HostLauncher(), p, g, v, rate.astype("float32"), **SGD[-1])
    with pytest.raises(InvalidTypeError, match=r"^sgd_update on CUDA: .* float32 or all float64"):
        sgd_update(HostLauncher(), p, [g[0], g[1].astype("int32")], v, rate, **SGD[-1])
    with pytest.raises(InvalidValueError, match=r"must be of shape \(4,\), got \(3,\)"):
        sgd_update(HostLauncher(), p, [g[0], g[1][1:]], v, rate, **SGD[-1])
    with pytest.raises(InvalidValueError, match=r"learning rate .* must be of shape \(\)"):
        sgd_update(HostLauncher(), p, g, v, rate[None], **SGD[-1])
    with pytest.raises(ValueError, match="shorter"):
        sgd_update(HostLauncher(), p, g[:1], v, rate, **SGD[-1])


def test_beyond_2_to_the_31():
    count = 2**31 + 5
    p, g, v = (lazy_zeros((count,), np.float32) for _ in range(3))
    p[-5:], g[-5:], v[-5:] = 3.0, 1.0, 2.0
    # 528 blocks of 512 threads in turn: the one that comes to the last numbers.
    block = (count - 1) // 512 % 528
    cuda = HostLauncher(blocks=slice(block, block + 1))
    settings = {"momentum": 0.5, "nesterov": False, "weight_decay": 0.0}
    moved, velocities = sgd_update(
        cuda, [p], [g], [v], scalar(0.5, "float32"), **settings, in_place=True
    )
    np.testing.assert_array_equal(velocities[0][-6:], [0.0, *[2.0] * 5])
    np.testing.assert_array_equal(moved[0][-6:], [0.0, *[2.0] * 5])
