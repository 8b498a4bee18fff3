"""The run lines of the documentation: what they hand to the command line is taken, and so by launchers.

Nothing is run: no cluster is here.
"""

import re
import shlex
import subprocess
from pathlib import Path

import click
import pytest

from arraycnn.cli import cli as commands

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "docs" / "DISTRIBUTED.md", ROOT / "docker" / "README.md"]

# Of the options that each launcher documents, those that are used here, and whether a value follows.
MPICH = {"-n": True, "-hosts": True}
OPEN_MPI = {"-n": True, "--host": True, "--oversubscribe": False}
SRUN = {"--ntasks", "--mpi"}
SBATCH = {"--nodes", "--ntasks-per-node", "--gpus-per-node", "--signal"}


def blocks():
    """What stands between fences that name no language, or text."""
    return [
        block
        for page in PAGES
        for language, block in re.findall(
            r"^```(\w*)\n(.*?)^```$", page.read_text(), re.DOTALL | re.MULTILINE
        )
        if language in ("", "text")
    ]


def lines():
    """(words, comment) of each line that trains."""
    found = []
    for line in "\n".join(blocks()).splitlines():
        if in_yaml := re.search(r"command: \[(.*)\]", line):
            line = in_yaml[1].replace(",", " ")
        line, _, comment = line.partition("  # ")
        if re.search(r"\barraycnn(:cuda)?\s+train\b", line):
            found.append((shlex.split(line), comment.strip()))
    return found


def arguments(words):
    """What follows the last arraycnn: those before it are the name of an image."""
    last = max(place for place, word in enumerate(words) if word.partition(":")[0] == "arraycnn")
    return words[last + 1 :]


@pytest.mark.parametrize("words", [words for words, _ in lines()], ids=" ".join)
def test_the_command_line_takes_what_a_line_gives_it(words):
    name, *given = arguments(words)
    command = commands.commands[name]
    context = click.Context(command)
    options, rest, _ = command.make_parser(context).parse_args(list(given))
    assert rest == []
    for parameter in command.params:
        if parameter.name in options:
            parameter.type_cast_value(context, options[parameter.name])
    if {"mpiexec", "srun"} & {Path(word).name for word in words}:
        assert options["distributed"]


def test_launchers_are_given_options_of_theirs():
    seen = set()
    for words, comment in lines():
        if "mpiexec" in words and "docker" not in words:
            known = OPEN_MPI if "Open MPI" in comment else MPICH
            waiting = iter(words[words.index("mpiexec") + 1 : words.index("arraycnn")])
            for option in waiting:
                seen.add(option)
                if known[option]:
                    assert re.fullmatch(r"\d+|node1:8,node2:8", next(waiting))
        if "srun" in words:
            given = words[words.index("srun") + 1 : words.index("arraycnn")]
            assert {word.partition("=")[0] for word in given} <= SRUN
            assert "--mpi=pmi2" in given or "Open MPI" in comment
    assert seen == {*MPICH, *OPEN_MPI}


def test_the_batch_script_is_one():
    (script,) = [block for block in blocks() if block.startswith("#!/bin/bash")]
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    (line,) = re.findall(r"^#SBATCH (.*)$", script, re.MULTILINE)
    assert {word.partition("=")[0] for word in line.split()} == SBATCH
