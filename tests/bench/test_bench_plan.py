"""The plan of bench/gpu.py for a lent device: what has a predicted goal is measured, and first."""

import re

import pytest

import gpu
import roofline
from gpu_cells import FLOOR_GOALS, GOALS, STEP_GOALS, cells, name_of
from gpu_lines import lines_of

PLANNED = cells(gpu.parse(["--goals"]))


def test_every_predicted_goal_is_planned_before_all_else():
    predicted = {("train", *cell) for cell in roofline.GOALS}
    assert len(predicted) == 5
    assert set(PLANNED[: len(predicted)]) == predicted


def test_every_goal_is_planned_once_and_before_what_has_none():
    wanted = {*GOALS, *FLOOR_GOALS, *STEP_GOALS}
    names = [name_of(cell) for cell in PLANNED]
    assert len(names) == len(set(names))
    assert set(names[: len(wanted)]) == wanted
    nets = {net for _, net, _, _ in PLANNED[len(wanted) :]}
    assert nets == {"norm", "resnet20"}


def test_a_call_without_options_measures_every_goal():
    names = [name_of(cell) for cell in cells(gpu.parse([]))]
    assert {*GOALS, *FLOOR_GOALS, *STEP_GOALS} <= set(names)


@pytest.mark.parametrize("cell", roofline.GOALS)
@pytest.mark.parametrize(("factor", "said"), [(0.99, "met"), (1.01, "missed")])
def test_a_measured_step_is_held_against_its_predicted_goal(cell, factor, said):
    net, precision, batch = cell
    text = roofline.GOALS[cell]
    goal = float(text.split(" ")[0]) * 1e-6
    if text.endswith("floor"):
        goal *= roofline.floor_seconds(net, batch, precision, roofline.H200) * 1e6
    measured = {"rounds": [10 * goal * factor]}
    done = {"images": 10 * batch, "steps": 10, "contenders": {"arraycnn": measured}}
    on = {"device": "NVIDIA H200", "dry_run": False}
    name = name_of(("train", *cell))
    (line,) = lines_of(name, done, on)[1:]
    marks = re.findall(r"\(goal ([^:]*): (met|missed)\)", line)
    assert marks[0][1] == said
    assert len(marks) == (name in STEP_GOALS) + (name in FLOOR_GOALS)
