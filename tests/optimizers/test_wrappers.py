"""What stands around an optimizer, and Muon: against PyTorch, plain loops and singular values."""

import re

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn import EMA, ClipNorm, Group, Lookahead, Muon, ParameterGroups
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops import GENERIC
from arraycnn.optimizers import frozen_paths, rule_of
from arraycnn.optimizers.evaluated import EVALUATED
from arraycnn.tree import flatten, map_leaves

RNG = np.random.default_rng(0)
PARAMS = {
    "0": {"weight": RNG.normal(size=(3, 2, 1, 7)), "bias": RNG.normal(size=7)},
    "1": {},
    "2": {"weight": RNG.normal(size=(9, 4)), "bias": RNG.normal(size=4)},
    "10": {"body": {"0": {"weight": RNG.normal(size=(4, 3))}}},
}
FROZEN = Group("2.weight", frozen=True)


def gradients_at(step):
    """Some large, some small: bounds of norms lie among theirs."""
    rng, size = np.random.default_rng(100 + step), 10.0 ** (step % 3 - 1.5)
    return map_leaves(lambda leaf: size * rng.normal(size=leaf.shape), PARAMS)


def rate_at(step):
    return 0.01 * (1.0 + 0.5 * np.sin(step))


def run(optimizer, steps, place=lambda array: array, compiled=lambda update: update):
    """(parameters, state) after each of so many steps, as they are on NumPy."""
    params, state = map_leaves(place, PARAMS), map_leaves(place, optimizer.init(PARAMS))
    update = compiled(lambda *trees: optimizer.update(GENERIC, *trees))
    found = []
    for step in range(steps):
        rate, gradients = place(np.array(rate_at(step))), map_leaves(place, gradients_at(step))
        params, state = update(params, gradients, state, rate)
        found.append((flatten(params), state))
    return found


@pytest.mark.parametrize("frozen", [(), (FROZEN,)], ids=["all", "frozen"])
@pytest.mark.parametrize("most", [0.6, 5.0, 1e6])
def test_clipping_is_torchs(most, frozen, torch):
    rule = cnn.AdamW(0.01)
    optimizer = ClipNorm(ParameterGroups(rule, *frozen) if frozen else rule, most)
    tensors = {path: torch.tensor(array) for path, array in flatten(PARAMS).items()}
    trained = {path: t for path, t in tensors.items() if not frozen or path != "2.weight"}
    theirs, clipped = torch.optim.AdamW(trained.values(), weight_decay=0.01), set()
    for step, (found, _) in enumerate(run(optimizer, 6)):
        theirs.param_groups[0]["lr"] = rate_at(step)
        for path, gradient in flatten(gradients_at(step)).items():
            tensors[path].grad = torch.tensor(gradient)
        clipped.add(bool(torch.nn.utils.clip_grad_norm_(trained.values(), most) > most))
        theirs.step()
        for path, array in found.items():
            np.testing.assert_allclose(array, tensors[path].numpy(), rtol=1e-12, atol=1e-13)
    assert clipped == {0.6: {True, False}, 5.0: {True, False}, 1e6: {False}}[most]


def test_slow_weights_follow_as_the_paper_says():
    rule, steps, share = cnn.SGD(0.1, momentum=0.9), 3, 0.3
    fast, velocity = flatten(PARAMS), dict.fromkeys(flatten(PARAMS), 0.0)
    slow = dict(fast)
    for step, (params, state) in enumerate(run(Lookahead(rule, steps, share), 8)):
        for path, gradient in flatten(gradients_at(step)).items():
            velocity[path] = 0.9 * velocity[path] + gradient
            fast[path] = fast[path] - rate_at(step) * velocity[path]
        if (step + 1) % steps == 0:
            slow = {path: s + share * (fast[path] - s) for path, s in slow.items()}
            fast = dict(slow)
        for path, array in params.items():
            np.testing.assert_allclose(array, fast[path], rtol=1e-12)
            np.testing.assert_allclose(flatten(state[EVALUATED])[path], slow[path], rtol=1e-12)


def test_slow_weights_go_on_where_a_resume_has_fewer_steps():
    *_, (_, state) = run(Lookahead(cnn.SGD(0.1), 6), 5)
    rule = Lookahead(cnn.SGD(0.0), 3)
    args = GENERIC, PARAMS, gradients_at(0), state, np.array(0.0)
    params, after = rule.update(*args)
    assert after["updates"] == 0
    for path, slow in flatten(after[EVALUATED]).items():
        wanted = (flatten(PARAMS)[path] + flatten(state[EVALUATED])[path]) / 2
        np.testing.assert_allclose(slow, wanted, rtol=1e-12)
        np.testing.assert_array_equal(flatten(params)[path], slow)


@pytest.mark.parametrize(
    "wrap", [lambda rule: rule, lambda rule: EMA(ClipNorm(rule))], ids=["alone", "inside"]
)
def test_a_training_too_short_for_slow_weights_is_refused(wrap):
    rule = wrap(Lookahead(cnn.SGD(0.1), 5))
    model = cnn.Model(cnn.Sequential(cnn.Flatten(), cnn.Dense(2)), (3, 3))
    rng, labels = np.random.default_rng(0), np.arange(8) % 2
    images, before = rng.normal(size=(8, 3, 3, 1)), model.parameters
    with pytest.raises(InvalidValueError, match="at most the updates of the training, 4, got 5"):
        model.fit(images, labels, batch_size=2, optimizer=rule)
    assert model.steps_done == 0
    model.fit(images, labels, batch_size=2, epochs=2, optimizer=rule)
    assert any((model.parameters[name] != array).any() for name, array in before.items())


def test_what_is_frozen_stays_in_every_wrapper():
    groups = ParameterGroups(cnn.SGD(0.1), FROZEN)
    optimizer = EMA(ClipNorm(Lookahead(groups, 2)), 0.9)
    assert frozen_paths(optimizer, PARAMS) == {"2.weight"}
    assert rule_of(optimizer) is groups.optimizer
    begins = flatten(PARAMS), optimizer.init(PARAMS)
    for params, state in (begins, *run(optimizer, 4)):
        assert params["2.weight"] is PARAMS["2"]["weight"]
        assert not any(path.endswith("2.weight") for path in flatten(state))


# Muon


def by_singular_values(gradient, iterations):
    """U p(p(...(S / |S|))) V^T: what the products of matrices come to."""
    matrix = gradient.reshape(-1, gradient.shape[-1])
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    s = s / (np.sqrt(np.sum(s * s)) + 1e-7)
    for _ in range(iterations):
        s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
    return (u @ np.diag(s) @ v).reshape(gradient.shape)


@pytest.mark.parametrize(
    "optimizer",
    [Muon(0.02), Muon(0.02, 0.5, 0.0, 3), Muon(0.02, head=("2.weight",)), Muon(0.02, head=())],
    ids=str,
)
def test_muon_is_orthogonal_momentum_and_adamw(optimizer, torch):
    head = ("10.body.0.weight",) if optimizer.head is None else optimizer.head
    flat = flatten(PARAMS)
    matrices = {path for path, array in flat.items() if array.ndim > 1} - set(head)
    assert len(matrices) == (3 if optimizer.head == () else 2)
    expected, momentum = dict(flat), dict.fromkeys(matrices, 0.0)
    tensors = {path: torch.tensor(flat[path]) for path in set(flat) - matrices}
    adamw = torch.optim.AdamW(tensors.values(), weight_decay=optimizer.weight_decay)
    for step, (params, _) in enumerate(run(optimizer, 4)):
        rate, gradients = rate_at(step), flatten(gradients_at(step))
        for path in matrices:
            momentum[path] = optimizer.momentum * momentum[path] + gradients[path]
            nesterov = gradients[path] + optimizer.momentum * momentum[path]
            way = by_singular_values(nesterov, optimizer.iterations)
            outputs = way.shape[-1]
            scale = max(1.0, outputs / (way.size // outputs)) ** 0.5
            decay = optimizer.weight_decay * expected[path]
            expected[path] = expected[path] - rate * (scale * way + decay)
        for path, tensor in tensors.items():
            tensor.grad = torch.tensor(gradients[path])
        adamw.param_groups[0]["lr"] = 0.15 * rate
        adamw.step()
        expected |= {path: tensor.numpy() for path, tensor in tensors.items()}
        for path, array in params.items():
            np.testing.assert_allclose(array, expected[path], rtol=1e-9, atol=1e-11, err_msg=path)


def test_the_iteration_brings_singular_values_near_one():
    step = by_singular_values(RNG.normal(size=(40, 8)), 5)
    moved, _ = Muon(1.0, 0.0, 0.0, head=()).update(
        *(GENERIC, {"0": np.zeros((40, 8))}, {"0": step}, Muon(head=()).init({"0": step})),
        np.array(1.0),
    )
    values = np.linalg.svd(moved["0"], compute_uv=False)
    assert values.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.parametrize(
    "given",
    [
        ("9.weight", "10.weight"),
        ["9.weight", "10.weight"],
        {"9.weight": 1, "10.weight": 2},
        (path for path in ("9.weight", "10.weight")),
    ],
    ids=lambda value: type(value).__name__,
)
def test_muon_takes_paths_in_whatever_is_iterated_over(given):
    assert Muon(head=given) == Muon(head=("9.weight", "10.weight"))


def test_muon_has_the_same_settings_whatever_the_order_of_a_set():
    paths = [f"{number}.weight" for number in range(20)]
    for given in (set(paths), frozenset(paths), dict.fromkeys(reversed(paths)).keys()):
        assert Muon(head=given).head == tuple(sorted(paths))


def test_muon_in_groups_knows_the_head_of_the_whole_network():
    """Each matrix is alone in its part; none of these ends the network but the last."""
    apart = Group("2.weight", weight_decay=0.3), Group("0", frozen=True)
    groups = ParameterGroups(Muon(0.02, weight_decay=0.1), *apart)
    alone = [Muon(0.02, weight_decay=decay, head=("10.body.0.weight",)) for decay in (0.3, 0.1)]
    runs = zip(run(groups, 3), *(run(rule, 3) for rule in alone), strict=True)
    for (grouped, _), (strong, _), (weak, _) in runs:
        np.testing.assert_allclose(grouped["2.weight"], strong["2.weight"], rtol=1e-12)
        for path in ("2.bias", "10.body.0.weight"):
            np.testing.assert_allclose(grouped[path], weak[path], rtol=1e-12)


ALL = EMA(ClipNorm(Lookahead(ParameterGroups(Muon(0.05), FROZEN), 2), 0.5), 0.4)


def test_every_library_computes_the_same(xp):
    found = run(ALL, 3, xp.asarray, xp.compiled)
    for (params, state), (expected, expected_state) in zip(found, run(ALL, 3), strict=True):
        for path, array in {**expected, **flatten(expected_state)}.items():
            xp.check_close({**params, **flatten(state)}[path], array)


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: EMA(cnn.AdamW), InvalidTypeError, "EMA: must first be given an optimizer"),
        (lambda: EMA(cnn.AdamW(), 1.0), InvalidValueError, "EMA: decay must be below 1, got 1.0"),
        (lambda: EMA(cnn.AdamW(), -0.1), InvalidValueError, "EMA: decay must be finite and at"),
        (
            lambda: ClipNorm(EMA(cnn.SGD(0.5)), 2.0),
            *(InvalidTypeError, "write EMA(ClipNorm(SGD(learning_rate=0.5, momentum=0.0"),
        ),
        (lambda: ClipNorm(0.1), InvalidTypeError, "ClipNorm: must first be given an optimizer"),
        (lambda: ClipNorm(cnn.SGD(), 0.0), InvalidValueError, "max_norm must be above 0, got 0"),
        (lambda: ClipNorm(cnn.SGD(), float("nan")), InvalidValueError, "max_norm must be finite"),
        (lambda: Lookahead(cnn.SGD(), 0), InvalidValueError, "Lookahead: steps must be at least 1"),
        (lambda: Lookahead(cnn.SGD(), 2.0), InvalidTypeError, "Lookahead: steps must be an int"),
        (lambda: Lookahead(cnn.SGD(), 5, 0.0), InvalidValueError, "share must be above 0"),
        (lambda: Lookahead(cnn.SGD(), 5, 1.1), InvalidValueError, "at most 1, got 1.1"),
        (
            lambda: ParameterGroups(ClipNorm(cnn.SGD(0.5))),
            *(InvalidTypeError, "write ClipNorm(ParameterGroups(SGD(learning_rate=0.5"),
        ),
        (lambda: Muon(-1.0), InvalidValueError, "Muon: learning_rate must be finite"),
        (lambda: Muon(momentum=1.0), InvalidValueError, "Muon: momentum must be below 1"),
        (lambda: Muon(iterations=0), InvalidValueError, "Muon: iterations must be at least 1"),
        (lambda: Muon(adamw_scale=-1.0), InvalidValueError, "Muon: adamw_scale must be finite"),
        (lambda: Muon(weight_decay=-1.0), InvalidValueError, "Muon: weight_decay must be finite"),
        (
            lambda: Muon(head="9.weight"),
            InvalidTypeError,
            'such as ("9.weight",), or None, got \'9.w',
        ),
        (lambda: Muon(head=(9,)), InvalidTypeError, "Muon: head must be a tuple of paths"),
        (lambda: Muon(head=9), InvalidTypeError, "Muon: head must be a tuple of paths"),
        (lambda: Muon(head={9, "9.weight"}), InvalidTypeError, "Muon: head must be a tuple of"),
        (lambda: Muon(head=b"9.weight"), InvalidTypeError, "Muon: head must be a tuple of paths"),
        (lambda: Muon(betas=(0.9, 1.0)), InvalidValueError, "betas must be below 1"),
    ],
)
def test_wrong_settings(make, error, words):
    with pytest.raises(error, match=re.escape(words)):
        make()
