"""docs/RELIABILITY.md: every fault and every promise names tests, and those exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "docs" / "RELIABILITY.md").read_text()
NAMED = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", TEXT)


@cache
def functions_in(file):
    tree = ast.parse((ROOT / file).read_text())
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def rows(title):
    """The cells of each row of the table under ``title``."""
    section = TEXT.split(f"## {title}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_test_that_is_named_exists(file, name):
    assert name in functions_in(file)


@pytest.mark.parametrize(("title", "columns", "least"), [("Faults", 5, 21), ("Promises", 3, 12)])
def test_every_row_is_whole_and_names_its_test(title, columns, least):
    table = rows(title)
    assert len(table) >= least
    for row in table:
        assert len(row) == columns
        assert re.search(r"`tests/[\w/]+\.py::test_\w+`", row[-1]), row[0]
    if title == "Faults":
        assert all(all(row) for row in table)


def test_no_other_form_of_a_name_escapes_the_check():
    assert len(NAMED) == TEXT.count("::test_")
