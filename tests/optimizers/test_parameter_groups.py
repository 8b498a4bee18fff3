"""Parameters chosen by path: against PyTorch's parameter groups, on trees of arrays."""

import re

import numpy as np
import pytest

import arraycnn as cnn
import outside
from arraycnn import NO_DECAY, Group, ParameterGroups
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops import GENERIC
from arraycnn.optimizers import frozen_paths
from arraycnn.tree import flatten, map_leaves

RNG = np.random.default_rng(0)
PARAMS = {
    "0": {"weight": RNG.normal(size=(3, 3, 1, 4)), "bias": RNG.normal(size=4)},
    "1": {"weight": RNG.normal(size=4), "bias": RNG.normal(size=4)},
    "2": {},
    "10": {
        "body": {"0": {"weight": RNG.normal(size=(4, 3))}},
        "shortcut": {"weight": RNG.normal(size=(4, 3)), "bias": RNG.normal(size=3)},
    },
}
BASE = {
    "momentum": cnn.SGD(0.05, momentum=0.8, nesterov=True, weight_decay=0.02),
    "Adam": cnn.Adam(0.01, weight_decay=0.1),
    "AdamW": cnn.AdamW(0.01, weight_decay=0.3),
}
# In two of them a later group takes back a part of what an earlier one says.
GROUPS = (
    Group("*", learning_rate_scale=0.5),
    Group("10", learning_rate_scale=3.0, weight_decay=0.07),
    Group("1?.short*", frozen=True),
    Group("*.shortcut.bias", frozen=False),
    NO_DECAY,
    Group("1", frozen=True),
)
FROZEN = {"1.weight", "1.bias", "10.shortcut.weight"}
# (rate's factor, decay) of all others, as the rule says by hand.
SETTINGS = {
    "0.weight": (0.5, None),
    "0.bias": (0.5, 0.0),
    "10.body.0.weight": (3.0, 0.07),
    "10.shortcut.bias": (3.0, 0.0),
}


def gradients_at(step):
    rng = np.random.default_rng(100 + step)
    return map_leaves(lambda leaf: rng.normal(size=leaf.shape), PARAMS)


def rate_at(step):
    return 0.01 * (1.0 + 0.5 * np.sin(step))


def turned(tree):
    """``tree`` as a compiled function may hand it back: with its names in another order."""
    return {n: turned(v) if isinstance(v, dict) else v for n, v in sorted(tree.items())}


def run(optimizer, place=lambda array: array, update=None, steps=8):
    params, state = map_leaves(place, PARAMS), map_leaves(place, optimizer.init(PARAMS))
    for step in range(steps):
        rate, gradients = place(np.array(rate_at(step))), map_leaves(place, gradients_at(step))
        params, state = (update or optimizer.update)(*(GENERIC, params, gradients, state, rate))
    return params, state


@pytest.mark.parametrize("base", BASE.values(), ids=BASE)
def test_updates_are_those_of_torchs_parameter_groups(base, torch):
    tensors = {path: torch.tensor(array) for path, array in flatten(PARAMS).items()}
    for path, tensor in tensors.items():
        tensor.requires_grad_(path not in FROZEN)
    groups = [
        {"params": tensors[path], "scale": scale}
        | ({} if decay is None else {"weight_decay": decay})
        for path, (scale, decay) in SETTINGS.items()
    ]
    if type(base) is cnn.SGD:
        settings = {"momentum": base.momentum, "nesterov": base.nesterov}
    else:
        settings = {"betas": base.betas, "eps": base.epsilon}
    theirs = getattr(torch.optim, type(base).__name__)(
        groups, lr=1.0, weight_decay=base.weight_decay, **settings
    )
    for step in range(8):
        for group in theirs.param_groups:
            group["lr"] = rate_at(step) * group["scale"]
        for path, gradient in flatten(gradients_at(step)).items():
            if path not in FROZEN:
                tensors[path].grad = torch.tensor(gradient)
        theirs.step()
    optimizer = ParameterGroups(base, *GROUPS)
    params, _ = run(optimizer)
    assert list(flatten(params)) == list(flatten(PARAMS))
    for path, array in flatten(params).items():
        expected = tensors[path].detach().numpy()
        np.testing.assert_allclose(array, expected, rtol=1e-12, atol=1e-13, err_msg=path)
        assert (array is flatten(PARAMS)[path]) == (path in FROZEN)
    assert frozen_paths(optimizer, PARAMS) == FROZEN
    assert frozen_paths(base, PARAMS) == frozenset()


def test_every_library_computes_the_same_whatever_the_order_of_names(xp):
    optimizer = ParameterGroups(BASE["AdamW"], *GROUPS)

    def update(ops, params, gradients, state, rate):
        return optimizer.update(ops, turned(params), gradients, turned(state), rate)

    compiled = xp.compiled(lambda *trees: update(GENERIC, *trees))
    found = run(optimizer, xp.asarray, lambda _, *trees: compiled(*trees), steps=3)
    for actual, expected in zip(found, run(optimizer, steps=3), strict=True):
        assert set(flatten(actual)) == set(flatten(expected))
        for path, array in flatten(expected).items():
            xp.check_close(flatten(actual)[path], array)


def test_what_is_frozen_has_no_state_and_what_is_alike_is_one_part():
    optimizer = ParameterGroups(cnn.SGD(0.1, momentum=0.9), Group("0.bias", frozen=True), NO_DECAY)
    state = optimizer.init(PARAMS)
    paths = {path.partition("velocity.")[2] for path in flatten(state)}
    assert paths == set(flatten(PARAMS)) - {"0.bias"}
    assert len(state) == 2  # matrices, and the rest without decay


def test_a_users_own_optimizer_is_grouped_too():
    optimizer = ParameterGroups(outside.Signum(0.5), Group("10.*", learning_rate_scale=0.1))
    params, _ = optimizer.update(
        *(GENERIC, PARAMS, gradients_at(0), optimizer.init(PARAMS), np.array(0.5))
    )
    for path, array in flatten(params).items():
        moved = np.abs(array - flatten(PARAMS)[path])
        np.testing.assert_allclose(moved, 0.05 if path.startswith("10.") else 0.5, rtol=1e-12)


@pytest.mark.parametrize(
    ("pattern", "selected"),
    [
        ("1", {"1.weight", "1.bias"}),  # and not 10
        ("10.body", {"10.body.0.weight"}),
        ("*.bias", {"0.bias", "1.bias", "10.shortcut.bias"}),
        ("[01].weight", {"0.weight", "1.weight"}),
        ("10.*.weight", {"10.body.0.weight", "10.shortcut.weight"}),
        ("body", set()),  # a path is meant from its beginning
        ("*", set(flatten(PARAMS))),
        ("*.BIAS", set()),
    ],
)
def test_patterns(pattern, selected):
    group = Group(pattern, frozen=True)
    assert set(filter(group.matches, flatten(PARAMS))) == selected


def test_a_pattern_that_selects_nothing_is_refused_with_the_paths():
    optimizer = ParameterGroups(cnn.AdamW(), Group("*", weight_decay=0.1), Group("11", frozen=True))
    message = "'11' selects none; choose among 0.weight, 0.bias, 1.weight, 1.bias, 10.body.0.weight"
    with pytest.raises(InvalidValueError, match=re.escape(message)):
        optimizer.init(PARAMS)
    many = {str(number): {"weight": np.zeros(1)} for number in range(50)}
    with pytest.raises(InvalidValueError, match=r"39\.weight and 10 more$"):
        ParameterGroups(cnn.AdamW(), Group("x", frozen=True)).init(many)


def test_nothing_to_train_is_refused():
    with pytest.raises(InvalidValueError, match=r"Group\('\*', frozen=True\) freeze all"):
        ParameterGroups(cnn.AdamW(), Group("*", frozen=True)).init(PARAMS)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Group("0"), InvalidValueError, "must say what is different for '0'"),
        (lambda: Group("", frozen=True), InvalidTypeError, "pattern"),
        (lambda: Group(0, frozen=True), InvalidTypeError, "pattern"),
        (lambda: Group("0", frozen=1), InvalidTypeError, "frozen must be a bool, got 1"),
        (lambda: Group("0", frozen=True, vectors_only=0), InvalidTypeError, "vectors_only"),
        (lambda: Group("0", learning_rate_scale=0), InvalidValueError, "frozen=True"),
        (lambda: Group("0", learning_rate_scale=-1.0), InvalidValueError, "learning_rate_scale"),
        (lambda: Group("0", weight_decay=-0.1), InvalidValueError, "weight_decay"),
        (lambda: ParameterGroups(cnn.AdamW), InvalidTypeError, "an optimizer such as AdamW()"),
        (lambda: ParameterGroups(Group("0", frozen=True)), InvalidTypeError, "an optimizer"),
        (
            lambda: ParameterGroups(ParameterGroups(cnn.AdamW())),
            *(InvalidTypeError, "an optimizer such as AdamW()"),
        ),
        (lambda: ParameterGroups(cnn.AdamW(), "0"), InvalidTypeError, "Group objects, got '0'"),
        (
            lambda: ParameterGroups(outside.Signum(0.1), NO_DECAY),
            *(InvalidValueError, "needs an optimizer that has one"),
        ),
    ],
)
def test_wrong_groups(make, error, words):
    with pytest.raises(error, match=re.escape(words)):
        make()


def test_groups_are_written_as_they_are_made():
    written = (
        "ParameterGroups(SGD(learning_rate=0.1, momentum=0.0, nesterov=False, weight_decay=0.0), "
        "Group('0', frozen=True), Group('*', weight_decay=0.0, vectors_only=True))"
    )
    optimizer = ParameterGroups(cnn.SGD(0.1), Group("0", frozen=True), NO_DECAY)
    assert repr(optimizer) == written
    assert eval(written, vars(cnn)) == optimizer
