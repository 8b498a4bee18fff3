"""The tables of faults name code that is still there."""

import pytest

from plant_faults import FAULTS, ROOT


@pytest.mark.parametrize(("file", "text", "fault"), FAULTS)
def test_a_fault_changes_the_file_it_names(file, text, fault):
    assert text != fault
    assert text in (ROOT / "src" / "arraycnn" / file).read_text("utf-8")
