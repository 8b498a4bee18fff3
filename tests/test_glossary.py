"""CONTRIBUTING.md's glossary: each term stands where it says, and what it rules out is no name."""

import io
import keyword
import re
import tokenize
from pathlib import Path

import pytest

import arraycnn
from rules import for_each

SOURCE = Path(arraycnn.__file__).parent
PAGE = (Path(__file__).parent.parent / "CONTRIBUTING.md").read_text("utf-8")
_FOUND = re.search(r"^## Glossary\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
GLOSSARY = _FOUND[1] if _FOUND else ""
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in GLOSSARY.splitlines()
    if line.startswith("|") and not line.startswith("|---")
]
TERMS = [(row[0], row[2].strip("`")) for row in ROWS if len(row) == 3 and row[0] != "term"]
RULED_OUT = {
    word: row[1]
    for row in ROWS
    if len(row) == 2 and row[0] != "not"
    for word in re.findall(r"\w+", row[0])
}


def words_of(name: str) -> set[str]:
    """The words of an identifier: ``loss_sum`` and ``LossSum`` are of two."""
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def names_ruled_out(code: str) -> list[str]:
    """The identifiers of ``code`` that hold a word which the glossary rules out, with what to say."""
    tokens = tokenize.generate_tokens(io.StringIO(code).readline)
    names = {
        token.string
        for token in tokens
        if token.type == tokenize.NAME and not keyword.iskeyword(token.string)
    }
    return sorted(
        f"{name}: not {word}, but {RULED_OUT[word]}"
        for name in names
        for word in words_of(name) & set(RULED_OUT)
    )


def test_there_is_a_glossary():
    assert len(TERMS) >= 20
    assert len(RULED_OUT) >= 10
    assert len({term for term, _ in TERMS}) == len(TERMS)


@pytest.mark.parametrize(("term", "file"), TERMS)
def test_a_term_is_used_where_the_glossary_says(term, file):
    text = (SOURCE / file).read_text("utf-8").lower()
    for word in re.findall(r"\w+", term.lower()):
        assert re.search(rf"(?<![a-z]){word}", text), f"{file} does not say {word}"


@for_each(sorted(str(path.relative_to(SOURCE)) for path in SOURCE.rglob("*.py")))
def test_no_name_is_ruled_out(file):
    assert names_ruled_out((SOURCE / file).read_text("utf-8")) == []


@pytest.mark.parametrize("name", ["hits", "tells_hits", "HitRate", "img_size", "LR", "dgrad"])
def test_a_name_that_is_ruled_out_is_found(name):
    found = names_ruled_out(f"def one({name}):\n    return {name} + 1\n")
    assert bool(found) == (name != "dgrad")  # a word of its own, not a part of one


def test_prose_may_use_every_word():
    assert names_ruled_out('"""A learning rate: lr."""\n# no hits\n') == []
