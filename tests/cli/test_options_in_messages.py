"""A message names no option that the command at hand lacks, as far as the source shows.

What a command can reach is taken by names: a function reaches those whose name it mentions, in its own
module and in those that it imports, and methods of that name in classes that it can reach.
"""

import ast
import re
from functools import cache

import pytest

from arraycnn.cli import cli as group
from test_architecture import MODULES, TREES

OPTION = re.compile(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*")
COMMANDS = sorted(group.commands)
NAMED = re.compile(rf"\b({'|'.join(COMMANDS)})\b[^;()]*$")
"""The name of a command before an option: it is that command's."""

NO_OPTIONS = {"--sans", "--no"}
"""Of a style sheet; the beginning of one that is put together from the options themselves."""

NAMES = {"import": "import_weights", "find-rate": "find_rate"}
"""Functions that are not called as their commands."""

NEVER = {
    ("predict", "arraycnn.cli.options", "DataSetName.convert"),
    ("find-rate", "arraycnn.cli.training_data", "_own_validation"),
    ("find-rate", "arraycnn.training.state", "resumed"),
}
"""Reached by name, but where an option is given that the command has not."""

Place = tuple[str, str]
"""A module and what is defined there: a function, a class, "class.method", or "" for the rest."""


def options_of(command):
    found = [o for p in group.commands[command].params for o in (*p.opts, *p.secondary_opts)]
    return {*found, "--help"}


@cache
def definitions():
    """The code of every place."""
    found = {}
    for module, file in MODULES.items():
        rest = []
        for node in TREES[file].body:
            name = getattr(node, "name", "")
            if isinstance(node, ast.ClassDef):
                inner = [n for n in node.body if isinstance(n, ast.FunctionDef)]
                found |= {(module, f"{name}.{n.name}"): [n] for n in inner}
                own = [n for n in node.body if n not in inner]
                found[module, name] = [*own, *node.bases]
            elif isinstance(node, ast.FunctionDef):
                found[module, name] = [node]
            else:
                rest.append(node)
        found[module, ""] = rest
    return found


@cache
def imported(module):
    """What a name stands for that ``module`` imports anywhere: (module, name), name "" for all."""
    found = {}
    for node in ast.walk(TREES[MODULES[module]]):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                place = (whole, "") if whole in MODULES else (node.module, alias.name)
                found[alias.asname or alias.name] = place
    return found


def resolved(module, name):
    """The place that ``name`` means in ``module``, through packages that pass it on; or None."""
    while module in MODULES:
        if (module, name) in definitions():
            return module, name
        if name not in imported(module):
            return None
        module, name = imported(module)[name]
        if not name:
            return module, ""
    return None


@cache
def mentions(place):
    """(places named outright, names of attributes) in the code of ``place``."""
    module = place[0]
    named, attributes = {(module, "")}, set()
    for root in definitions()[place]:
        for node in ast.walk(root):
            if isinstance(node, ast.Name) and (found := resolved(module, node.id)):
                named.add(found)
            elif isinstance(node, ast.Attribute):
                attributes.add(node.attr)
                if isinstance(node.value, ast.Name):
                    base = resolved(module, node.value.id)
                    if base and not base[1] and (found := resolved(base[0], node.attr)):
                        named.add(found)
    return named & set(definitions()), attributes


def reached(command):
    function = group.commands[command].callback
    start = (function.__module__, NAMES.get(command, command))
    seen, attributes, waiting = {start}, set(), [start]
    while waiting:
        named, more = mentions(waiting.pop())
        attributes |= more
        new = named - seen
        if not waiting and not new:  # methods last, as what has been seen decides on them
            new = {
                place
                for place in set(definitions()) - seen
                if "." in place[1] and _is_called(place, seen, attributes)
            }
        seen |= new
        waiting += new
    return seen


def _is_called(place, seen, attributes):
    owner, _, method = place[1].partition(".")
    return (place[0], owner) in seen and (method in attributes or method.startswith("__"))


def texts(nodes):
    """The words of messages in ``nodes``: no docstrings, no help and names of options."""
    silent = set()
    for root in nodes:
        for node in ast.walk(root):
            inner = []
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                inner = [node.value]
            elif isinstance(node, ast.FunctionDef):
                inner = [n for d in node.decorator_list for n in ast.walk(d)]
            elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "option":
                inner = ast.walk(node)
            elif isinstance(node, ast.JoinedStr) and id(node) not in silent:
                yield "".join(
                    str(getattr(v, "value", "")) if isinstance(v, ast.Constant) else "{}"
                    for v in node.values
                )
                inner = ast.walk(node)
            elif isinstance(getattr(node, "value", None), str) and id(node) not in silent:
                yield node.value
            silent |= {id(n) for n in inner}


def wrong_options(text, command):
    for match in OPTION.finditer(text):
        named = NAMED.search(text[: match.start()])
        owner = named[1] if named else command
        if " " in text and match[0] not in options_of(owner) | NO_OPTIONS:
            yield match[0]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_in_a_message_is_one_of_the_command(command):
    wrong = [
        (place, option, text)
        for place in reached(command)
        if (command, *place) not in NEVER
        for text in texts(definitions()[place])
        for option in wrong_options(text, command)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("command", "module", "place"),
    [
        ("evaluate", "arraycnn.data.user_sets", "_check_size"),
        ("report", "arraycnn.data.picture_folder", "common_shape"),
        ("evaluate", "arraycnn.data.flat_rows", "row_shape"),
        ("export", "arraycnn.backends.numpy", "NumPy.check"),
        ("predict", "arraycnn.cli.pictures", "PictureFiles.read"),
        ("train", "arraycnn.storage.run_folder", "RunFolder.create"),
    ],
)
def test_what_a_command_calls_is_reached(command, module, place):
    assert (module, place) in reached(command)


@pytest.mark.parametrize(
    ("command", "text", "wrong"),
    [
        ("evaluate", "must be 8x8; leave --image-size out", ["--image-size"]),
        ("train", "must be 8x8; leave --image-size out", []),
        ("evaluate", "must be 8x8; train with --image-size", []),
        ("predict", "must be 8x8; evaluate with --image-size", ["--image-size"]),
        ("export", "does not work; take --no-fast, or --out x", ["--no-fast"]),
    ],
)
def test_options_that_a_command_lacks_are_found(command, text, wrong):
    assert list(wrong_options(text, command)) == wrong
