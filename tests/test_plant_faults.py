"""The tables of faults name code, and tests, that are still there."""

import shlex

import pytest

from plant_faults import ROOT, all_faults


@pytest.mark.parametrize("planted", all_faults(), ids=str)
def test_a_fault_changes_the_file_it_names(planted):
    assert planted.text != planted.fault
    assert planted.text in (ROOT / "src" / "arraycnn" / planted.file).read_text("utf-8")
    files = [word for word in shlex.split(planted.tests) if ".py" in word]
    assert files
    for file in files:
        assert (ROOT / "tests" / file.split("::")[0]).is_file()
