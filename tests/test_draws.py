"""What is drawn for a test is the same each time, whatever ran before it in its process."""

from hypothesis import given
from hypothesis import strategies as st


def drawn():
    numbers = []

    @given(st.integers(0, 10**9))
    def draw(number):
        numbers.append(number)

    draw()
    return numbers


def test_what_is_imported_meanwhile_changes_nothing_of_what_is_drawn(tmp_path, monkeypatch):
    before = drawn()
    (tmp_path / "full_of_constants.py").write_text(f"NUMBERS = {list(range(1000, 2000))}")
    monkeypatch.syspath_prepend(tmp_path)
    import full_of_constants

    assert len(full_of_constants.NUMBERS) == 1000
    assert drawn() == before
    assert len(set(before)) > 50
