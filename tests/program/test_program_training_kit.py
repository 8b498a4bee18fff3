"""What stands around an optimizer, and batches in parts, as a step's program on every engine."""

from dataclasses import replace

import numpy as np
import pytest

import arraycnn as cnn
import cuda_rendering
import program_cases
import test_program_plain
import test_program_render
from arraycnn.program.compose import training_schedule
from arraycnn.training.step import CLASSIFICATION
from arraycnn.tree import flatten, map_paths
from optional import needs

NETWORK = cnn.Sequential(
    *(cnn.Rescale(), cnn.Conv2d(4, 3), cnn.BatchNorm(), cnn.ReLU(), cnn.Conv2d(3, 2)),
    *(cnn.Flatten(), cnn.Dropout(0.2), cnn.Dense(5), cnn.Tanh(), cnn.Dense(4)),
)
GROUPS = cnn.ParameterGroups(cnn.Muon(0.05), cnn.NO_DECAY, cnn.Group("1", frozen=True))
ALL = cnn.EMA(cnn.ClipNorm(cnn.Lookahead(GROUPS, steps=4), 0.5), 0.9)


def trial(optimizer, updates):
    """Of an optimizer that has counted so many updates."""
    step = program_cases.trial(NETWORK, (6, 5, 1), optimizer, images=5)
    state = map_paths(
        lambda path, a: np.full_like(a, updates) if path.endswith("updates") else a,
        step.carry.optimizer_state,
    )
    return replace(step, carry=step.carry._replace(optimizer_state=state))


def check(engine, step, objective, expected):
    schedule = training_schedule(
        *(step.network, step.optimizer, step.carry, step.given["images"], 5, step.dtype),
        objective=objective,
    )
    if engine == "compiled":
        test_program_render.check_rendered(schedule, step.values(), expected)
    elif engine == "cuda":
        cuda_rendering.check_rendered(schedule, step.values(), expected)
    else:
        found = test_program_plain.rendered(schedule, step.values(), threads=2)
        for name, array in expected.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-10, atol=1e-10, err_msg=name)


ENGINES = [pytest.param("compiled", marks=needs("llvmlite")), "plain", "cuda"]


@pytest.mark.parametrize("updates", [2, 3])
@pytest.mark.parametrize("engine", ENGINES)
def test_all_around_an_optimizer_is_the_eager_step(engine, updates):
    step = trial(ALL, updates)
    check(engine, step, CLASSIFICATION, step.eager())


@pytest.mark.parametrize("engine", ENGINES)
def test_parts_of_a_batch_are_the_eager_ones(engine):
    step = trial(cnn.ClipNorm(cnn.SGD(0.05), 0.5), 0)
    check(engine, step, replace(CLASSIFICATION, accumulate=2), step.eager(accumulate=2))


@pytest.mark.parametrize("name", ["resnet", "lenet5"])
def test_a_step_in_parts_takes_the_memory_of_a_part(name):
    """Beside gradients, which are there once more: not of several parts together."""
    network, shape = program_cases.NETWORKS[name]
    step = program_cases.trial(network, shape, cnn.SGD(0.1), images=64)
    gradients = sum(array.nbytes for array in flatten(step.carry.params).values())
    peaks = {}
    for parts in (1, 2, 4, 8):
        schedule = training_schedule(
            *(step.network, step.optimizer, step.carry, step.given["images"], 64, step.dtype),
            objective=replace(CLASSIFICATION, accumulate=parts),
        )
        peaks[parts] = schedule.peak_bytes
    for parts in (2, 4, 8):
        assert peaks[parts] < 1.1 * peaks[1] / parts + 2 * gradients
    assert peaks[8] < peaks[4] < peaks[2]
