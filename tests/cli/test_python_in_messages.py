"""A message that a command may end with tells to write Python where Python is what it takes.

What a command can reach is found by names, as in test_options_in_messages.py: more than it does.
"""

import re

import pytest

import arraycnn
from test_options_in_messages import COMMANDS, OPTION, definitions, reached, texts

NAMES = "|".join(name for name in arraycnn.__all__ if name[0].isalpha())
PYTHON = re.compile(rf"\b(?:{NAMES})\(|\b[a-z_]+=(?!\{{)[\w\"'\[(]")
"""A call of something of the package, or an argument by its name."""

WRITTEN_IN_PYTHON = (
    *("layers", "losses", "program", "networks", "cli.model_for_data"),  # a network or a loss
    *("data.label_rules", "data.shape_rules", "data.file_kinds"),  # files of arrays
    *("export.channels_first", "export.safetensors_import", "export.torch_files"),
)
"""Modules whose messages are for those who write what the command is given."""

GIVEN_BY_THE_COMMAND = {
    ("backends", "get_backend"),
    ("backends.array_api_strict", "ArrayAPIStrict.check_dtype"),  # on its usual device alone
    ("backends.torch", "Torch.check"),
    ("model.accumulating", "check_parts"),  # asked before, as options
    ("model.averaged_inference", "AveragedInference.__init__"),  # as --augment
    ("model.inputs", "Intake.numbered_by"),
    ("model.inputs", "check_callbacks"),
    ("model.inputs", "check_loss"),
    ("model.inputs", "check_optimizer"),
    ("model.inputs", "check_output"),  # for those who write a network
    ("model.inputs", "check_validation"),
    ("model.label_inputs", "_numbers"),  # or they are divided
    ("model.model", "Model.__repr__"),
    ("model.new_head", "with_head"),  # of a network of somebody's own
    ("model.with_augmentation", "with_augmentation"),
    ("optimizers.parameter_groups", "Group.__post_init__"),  # as --rate-scale
    ("optimizers.parameter_groups", "ParameterGroups.__init__"),
    ("optimizers.parameter_groups", "ParameterGroups.init"),  # as --freeze
    ("optimizers.schedules", "check_rate"),
    ("optimizers.sgd", "SGD.__post_init__"),
    ("optimizers.wrapper", "Wrapper.__post_init__"),
    ("report.page", "page"),  # HTML
    ("training.batches", "count_batches"),
    ("training.history", "check_among"),  # as --validation and --monitor
    ("training.team", "Team.divide"),
}
"""Places that a command cannot fail at: it gives what fits, or has looked before."""


def tells_python(text):
    """Whether ``text`` tells to write Python, and no option beside it."""
    return " " in text and bool(PYTHON.search(text)) and not OPTION.search(text)


def found():
    for command in COMMANDS:
        for module, name in reached(command):
            place = module.removeprefix("arraycnn."), name
            if place[0].startswith(WRITTEN_IN_PYTHON) or place[0] == "cli.networks":
                continue
            for text in texts(definitions()[module, name]):
                if tells_python(text):
                    yield place, text


def test_what_a_command_may_say_is_for_its_user():
    places = dict(found())
    assert {place: places[place] for place in places.keys() - GIVEN_BY_THE_COMMAND} == {}
    assert GIVEN_BY_THE_COMMAND - places.keys() == set(), "say nothing of Python any more"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("augment: needs augmentation; put for example RandomShift(1) before Rescale", True),
        ('no device is there; use backend="numpy"', True),
        ("must leave something to train; add a group with frozen=False", True),
        ("use CuPy(graph=False), as train --no-graph does", False),
        ("must be at most 4, got 5; use smaller batches (or more epochs)", False),
    ],
)
def test_python_in_a_message_is_found(text, expected):
    assert tells_python(text) == expected
