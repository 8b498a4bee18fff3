"""Arguments that are text, for functions that build networks; and files of functions that are run."""

import hashlib
import sys
from typing import Literal

import pytest

from arraycnn import Conv2d, InvalidTypeError, InvalidValueError, Sequential
from arraycnn.networks.arguments import build
from arraycnn.networks.user_code import UserCode, network_of, run_file

KNOWN = {"classes": 10, "input_shape": (8, 8, 1)}


def built(function, *texts, **known):
    pairs = [tuple(text.split("=", 1)) for text in texts]
    return build(function, "network f", known or KNOWN, pairs)


def annotated(
    classes: int,
    *,
    count: int = 1,
    share: float = 0.5,
    wide: bool = False,
    name: str = "a",
    kind: Literal["x", 3] = "x",
    most: int | None = None,
    mixed: "str | int" = "b",
    sizes: tuple[int, ...] = (),
    free=None,
):
    given = locals()
    return {name: value for name, value in given.items() if value != DEFAULTS.get(name)}


DEFAULTS = annotated.__kwdefaults__ | {"classes": 10}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("count=-3", -3), ("share=2", 2.0), ("share=1e-3", 0.001)),
        *(("wide=true", True), ("wide=Yes", True), ("wide=1", True), ("name=3", "3")),
        *(("name=x=y", "x=y"), ("name=", ""), ("kind=3", 3), ("most=7", 7)),
        *(("mixed=7", 7), ("mixed=x", "x"), ("sizes=(1, 2)", (1, 2))),
        *(("free=7", 7), ("free=7.5", 7.5), ("free=true", True), ("free=[1]", [1])),
        *(("free=seven", "seven"), ("free='7'", "7"), ("free=(", "(")),
    ],
)
def test_text_becomes_what_the_annotation_says(text, value):
    name = text.partition("=")[0]
    found = built(annotated, text)
    assert found == {name: value}
    assert type(found[name]) is type(value)


def test_none_and_false_are_values_too():
    def function(classes, most: int | None = 3, wide: bool = True):
        return most, wide

    assert built(function, "most=none", "wide=off") == (None, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("count=1.5", "network f: argument count must be int, got '1.5'"),
        ("share=x", "argument share must be float, got 'x'"),
        ("share=nan", "argument share must be float, got 'nan'"),
        ("wide=maybe", "argument wide must be true or false, got 'maybe'"),
        ("kind=y", "argument kind must be x or 3, got 'y'"),
        ("most=x", "argument most must be int or none, got 'x'"),
        (
            "coutn=1",
            "network f: has no argument 'coutn', perhaps count, it takes count (int), share",
        ),
        (
            "classes=3",
            "network f: argument classes comes from the images, got one more; leave it out",
        ),
    ],
)
def test_what_does_not_fit_is_refused(text, said):
    with pytest.raises(InvalidValueError) as refused:
        built(annotated, text)
    assert str(refused.value).startswith(
        said if said.startswith("network") else f"network f: {said}"
    )


def test_a_function_is_given_what_it_takes_and_no_more():
    assert built(lambda: 1) == 1
    assert built(lambda classes: classes) == 10
    assert built(lambda input_shape, classes=3: (input_shape, classes)) == ((8, 8, 1), 10)
    assert built(lambda **rest: rest, "depth=3") == {**KNOWN, "depth": 3}
    with pytest.raises(
        InvalidValueError, match="needs a value for depth; add --network-arg depth=V"
    ):
        built(lambda classes, depth: depth)
    with pytest.raises(InvalidValueError, match="argument depth is given twice"):
        built(lambda classes, depth: depth, "depth=1", "depth=2")
    with pytest.raises(InvalidValueError, match="has no argument 'x', it takes none"):
        built(lambda classes: 1, "x=2")


def test_an_annotation_that_cannot_be_read_is_none():
    def function(classes, width: "Nowhere" = 1):  # noqa: F821
        return width

    assert built(function, "width=4") == 4


# --- files ----------------------------------------------------------------------------------------

NETWORK = '''
from __future__ import annotations
from dataclasses import dataclass
import arraycnn as cnn
from beside_it import FILTERS

@dataclass(frozen=True)
class Half(cnn.Activation):
    """Half of it."""
    def function(self, xp, x): return x / 2
    def derivative(self, xp, x): return xp.ones_like(x) / 2

class ReLU(Half): pass

class Far(cnn.MeanSquaredError): pass

def build(classes: int, filters: int = FILTERS):
    return cnn.Sequential(cnn.Conv2d(filters, 3), Half(), cnn.Flatten(), cnn.Dense(classes))

def nothing(classes): pass
def wrong(classes):
    return cnn.Conv2d(0, 3)
def fails(classes):
    return undefined
def leaves(classes):
    raise SystemExit(3)
def stack(classes):
    return cnn.ReLU
number = 3
'''


@pytest.fixture
def code(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "beside_it.py").write_text("FILTERS = 5\n")
    (tmp_path / "net.py").write_text(NETWORK)
    monkeypatch.chdir(tmp_path)
    made = run_file("net.py")
    yield made
    for name in (made.names["__name__"], "beside_it"):
        del sys.modules[name]


def test_a_file_is_run_and_known_by_its_digest(code):
    assert code.path == "net.py"
    assert code.sha256 == hashlib.sha256(NETWORK.encode()).hexdigest()
    network = network_of(code, "build", KNOWN, [])
    assert isinstance(network, Sequential)
    assert network.layers[0] == Conv2d(5, 3)
    assert network_of(code, "build", KNOWN, [("filters", "2")]).layers[0] == Conv2d(2, 3)


def test_its_own_classes_are_those_that_a_file_may_need(code):
    # ReLU is what files call the library's own.
    assert [kind.__name__ for kind in code.layers] == ["Half"]
    assert [kind.__name__ for kind in code.losses] == ["Far"]
    assert UserCode().layers == UserCode().losses == ()


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("nothing", "network net.py:nothing: must return a network, got None; end it with return"),
        (
            "wrong",
            "network net.py:wrong: fails at line 22 (InvalidValueError: Conv2d: filters must",
        ),
        ("fails", "network net.py:fails: fails at line 24 (NameError: name 'undefined' is not def"),
        ("leaves", "network net.py:leaves: fails at line 26 (SystemExit: 3); correct it"),
        ("stack", "network net.py:stack: what it returns must be a layer object, got <class"),
        ("number", "network net.py:number: must be a function that returns a network, got int"),
        (
            "biuld",
            "network file net.py: has no function 'biuld', perhaps build, it has build, noth",
        ),
    ],
)
def test_a_function_that_builds_no_network_is_refused(code, function, said):
    with pytest.raises((InvalidValueError, InvalidTypeError)) as refused:
        network_of(code, function, KNOWN, [])
    assert str(refused.value).startswith(said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"a = 1\nb = (\n",
            "network file n.py: is no Python: line 2: '(' was never closed; corr",
        ),
        (
            b"import nowhere_at_all\n",
            "network file n.py: fails at line 1 (ModuleNotFoundError: No mod",
        ),
        (
            b"\n\n1 / 0\n",
            "network file n.py: fails at line 3 (ZeroDivisionError: division by zero); c",
        ),
        (b"raise SystemExit\n", "network file n.py: fails at line 1 (SystemExit); correct it"),
        (b"a = '\xff'\n", "network file n.py: is no Python: line 1: "),
        (b"a = 1\0\n", "network file n.py: "),
    ],
)
def test_a_file_that_cannot_be_run_is_refused(tmp_path, monkeypatch, content, said):
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "n.py").write_bytes(content)
    before = set(sys.modules)
    with pytest.raises(InvalidValueError) as refused:
        run_file("n.py")
    assert str(refused.value).startswith(said)
    assert not [name for name in set(sys.modules) - before if name.startswith("arraycnn_user")]


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(InvalidValueError, match=r"nowhere\.py: cannot be read .*; check the path"):
        run_file("nowhere.py")
