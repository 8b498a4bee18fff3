"""A training step with each loss as a program: the eager step's numbers, all of them traced."""

import numpy as np
import pytest

import arraycnn as cnn
import program_cases
from arraycnn.layers import Context, Randomness
from arraycnn.ops import GENERIC
from arraycnn.program.interpret import interpret
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.steps import named, training_program
from arraycnn.training.step import Batch, Objective, train_step
from loss_rows import ROWS

NETWORK = cnn.Sequential(cnn.Rescale(), cnn.Conv2d(2, 3), cnn.Flatten(), cnn.Dense(3))
OPTIMIZER = cnn.SGD(0.1, momentum=0.9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_a_traced_step_is_the_eager_step_and_notes_its_measure(row, weighted):
    step = program_cases.trial(NETWORK, (5, 4, 1), OPTIMIZER)
    whole = {"labels": row.labels, "weights": np.linspace(0.1, 2.0, len(row.labels))}
    rows = step.given["indices"]
    labels, weights = (array[rows] for array in whole.values())
    given, random = step.given, [step.given[name] for name in ("seed", "step", "indices")]
    after, loss, measured = train_step(
        *(NETWORK, OPTIMIZER, step.carry),
        Batch(given["images"], labels, weights if weighted else None),
        *(given["rate"], Context(GENERIC, "train", "float64", Randomness(*random)), row.loss),
    )
    objective = Objective(row.loss, row.labels.shape[1:], row.labels.dtype.kind == "f", weighted)
    arguments = step.carry, given["images"], 3, "float64"
    program = training_program(
        *(NETWORK, OPTIMIZER, *arguments), objective=objective, whole=len(row.labels), noted=6
    )
    program.check()
    whole |= {"labels": labels} if objective.are_numbers else {}
    places = {"cursor": np.array([4], np.int32), "measures": np.arange(6.0)}
    found = interpret(simplified(program), step.values() | whole | places)
    for name, array in {"loss": loss, "correct": measured, **named(after)}.items():
        np.testing.assert_allclose(found[name], array, rtol=1e-12, atol=1e-14, err_msg=name)
    expected = np.where(np.arange(6) == 4, float(measured), np.arange(6.0))
    np.testing.assert_allclose(found["measures"], expected, rtol=1e-12)
