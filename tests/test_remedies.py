"""Every remedy in the source is followed to the letter, or stands on a list that may not grow."""

import importlib
from pathlib import Path

import pytest

from remedies.exempt import ELSEWHERE, EXEMPT, MOST_EXEMPT
from remedies.following import CASES, Here
from remedies.listing import remedies

for _module in sorted(Path(__file__).parent.glob("remedies/follow_*.py")):
    importlib.import_module(f"remedies.{_module.stem}")


def test_every_remedy_is_followed_or_exempt():
    listed = set(remedies())
    known = [*CASES, *ELSEWHERE, *EXEMPT]
    assert listed - set(known) == set(), "remedies that no case follows"
    assert set(known) - listed == set(), "cases of remedies that are gone"
    assert len(set(known)) == len(known)


@pytest.mark.parametrize("test", ELSEWHERE.values())
def test_those_followed_elsewhere_name_a_test_that_exists(test):
    file, _, name = test.partition("::")
    assert f"\ndef {name}(" in (Path(__file__).parent / file).read_text()


def test_the_list_of_those_that_cannot_be_followed_does_not_grow():
    assert len(EXEMPT) <= MOST_EXEMPT
    assert all(reason.strip() for reason in EXEMPT.values())


@pytest.mark.parametrize("remedy", CASES, ids=lambda remedy: f"{remedy.file}-{remedy.words}"[:80])
def test_doing_as_told_helps(remedy, tmp_path, cli, monkeypatch, caplog):
    here = Here(remedy, tmp_path, cli, monkeypatch, caplog)
    CASES[remedy](here)
    assert here.seen, "the case never met its remedy"
