"""Pickles of arrays: what they hold is built, and nothing in them runs."""

import builtins
import copyreg
import gzip
import io
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest

from arraycnn.data import load_dataset, pickled
from arraycnn.data.pickled import read_pickle
from arraycnn.data.pickled_arrays import PickledArray
from arraycnn.errors import DataFileError
from python2_pickles import python2


def built(content, folder):
    (folder / "a.pkl").write_bytes(content)
    return read_pickle(folder / "a.pkl")


def plain(value):
    """``value`` with arrays as NumPy's own and bytes as bytes."""
    if isinstance(value, PickledArray):
        return value.array
    if isinstance(value, memoryview):
        return bytes(value)
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    if isinstance(value, dict):
        return {key: plain(one) for key, one in value.items()}
    return value


def check_same(found, expected):
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    elif isinstance(expected, list | tuple):
        assert type(found) is type(expected)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            check_same(one, other)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        check_same(list(found.values()), list(expected.values()))
    else:
        assert type(found) is type(expected)
        assert found == expected


PLAIN = [
    *(None, True, False, 0, 255, 65535, -1, 2**31, -(2**63), 2**100, 1.5, float("inf"), -0.0),
    *("", "cat", "caf\xe9 \u732b", "\udce9", "x" * 300, b"", b"\x80\xff\n'", b"y" * 70_000),
    *(
        [],
        [1, [2, [3]]],
        (),
        (1,),
        (1, 2),
        (1, 2, 3),
        (1, 2, 3, 4),
        {},
        {"a": 1, b"b": (2,), 3: []},
    ),
]
ARRAYS = [
    *(
        np.arange(24).astype(kind).reshape(2, 3, 4)
        for kind in ("u1", "<i4", ">i2", "f4", "f8", "?")
    ),
    np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
    np.array(["cat", "caf\xe9"]),
    np.array([b"cat", b"d"]),
    np.array(3.5),
    np.zeros((0, 4), np.float32),
    np.random.default_rng(0).integers(0, 255, (90, 1000)).astype(np.uint8),
]


@pytest.mark.parametrize("protocol", range(6))
def test_what_pickle_writes_is_built_again(tmp_path, protocol):
    for value in [*PLAIN, *ARRAYS, np.float32(0.1), {"data": ARRAYS[0], "labels": [1, 2]}]:
        found = plain(built(pickle.dumps(value, protocol), tmp_path))
        check_same(found, value.item() if isinstance(value, np.generic) else value)


@pytest.mark.parametrize("protocol", range(6))
def test_shared_and_recursive_lists_are_as_pickle_has_them(tmp_path, protocol):
    inner = [1]
    outer = [inner, inner]
    outer.append(outer)
    found = built(pickle.dumps(outer, protocol), tmp_path)
    assert found[0] is found[1]
    assert found[2] is found
    assert found[0] == [1]


def test_what_python_2_wrote(tmp_path):
    value = {"data": ARRAYS[0], "labels": [1, 2], "name": "batch 1", "pair": (ARRAYS[3], ARRAYS[1])}
    found = plain(built(python2(value), tmp_path))
    check_same(found.pop(b"name"), b"batch 1")
    expected = {key.encode(): one for key, one in value.items() if key != "name"}
    check_same(found, expected)
    # The reference is Python's own unpickler, told to take bytes as Latin-1.
    loaded = pickle.loads(python2(value), encoding="latin1")
    check_same(loaded, value)


def test_gzipped_pickles_and_the_read_only_arrays_of_large_ones(tmp_path):
    array = np.arange(2**21, dtype=np.uint8)
    found = plain(built(gzip.compress(pickle.dumps(array), 1), tmp_path))
    check_same(found, array)
    assert not found.flags.writeable


# --- hostile pickles


class Calls:
    """Pickled as a call of ``function`` with ``arguments``."""

    def __init__(self, function, *arguments):
        self.reduced = (function, arguments)

    def __reduce__(self):
        return self.reduced


def with_state(function, arguments, state):
    made = Calls(function, *arguments)
    made.reduced = (*made.reduced, state)
    return made


class Persistent(pickle.Pickler):
    def persistent_id(self, value):
        return 7 if value == "system" else None


def persistent(protocol):
    buffer = io.BytesIO()
    Persistent(buffer, protocol).dump(["system"])
    return buffer.getvalue()


def extension():
    copyreg.add_extension("os", "system", 0x7F)
    try:
        return pickle.dumps(Calls(os.system, "true"), 2)
    finally:
        copyreg.remove_extension("os", "system", 0x7F)


class Subclass(np.ndarray):
    pass


class Plain:
    pass


ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
BYTES = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR"
HUGE = struct.pack("<q", 2**62)
DEEP = b"(" * 50_000
MADE = "MADE_BY_A_PICKLE"
RUN = f"touch {MADE}"
PYTHON = f"open({MADE!r}, 'w')"
HOSTILE = {
    "os.system": pickle.dumps(Calls(os.system, RUN)),
    "os.system in protocol 0": pickle.dumps(Calls(os.system, RUN), 0),
    "os.system beside an array": pickle.dumps([ARRAYS[0], Calls(os.system, RUN)], 2),
    "builtins.eval": pickle.dumps(Calls(builtins.eval, PYTHON)),
    "builtins.exec of Python 2": b"c__builtin__\nexec\n(S'" + PYTHON.encode() + b"'\ntR.",
    "builtins.getattr": b"cbuiltins\ngetattr\n(cos\nsystem\nS'x'\ntR.",
    "a dotted name of a module that is known": b"\x80\x04\x8c\x05numpy\x8c\x0dcore.os.system\x93.",
    "numpy's own loader": b"cnumpy\nload\n(S'" + MADE.encode() + b"'\ntR.",
    "numpy.testing's runstring": b"cnumpy.testing._private.utils\nrunstring\n(S'x'\n}tR.",
    "codecs.open": b"c_codecs\nopen\n(S'" + MADE.encode() + b"'\nS'w'\ntR.",
    "codecs.encode with another codec": b"c_codecs\nencode\n(X\x01\0\0\0aX\x03\0\0\0hextR.",
    "INST": b"(S'" + RUN.encode() + b"'\nios\nsystem\n.",
    "OBJ": b"(cos\nsystem\nS'" + RUN.encode() + b"'\no.",
    "NEWOBJ": pickle.dumps(Plain(), 2),
    "NEWOBJ of a known name": b"cnumpy\nndarray\n)\x81.",
    "NEWOBJ_EX": b"\x80\x04cnumpy\nndarray\n)}\x92.",
    "an extension code": extension(),
    "a persistent id": persistent(0),
    "a binary persistent id": persistent(2),
    "a set": pickle.dumps({1, 2}, 4),
    "an out-of-band buffer": b"\x80\x05\x97.",
    "a call of a list": b"])R.",
    "a call of a text": b"S'os.system'\n(S'x'\ntR.",
    "bytes of the size asked for": b"c__builtin__\nbytes\n(J\xff\xff\xff\x7ftR.",
    "a call of what a call made": ARRAY + b")R.",
    "a state for a dict": b"}}S'x'\nK\x01sb.",
    "a subclass of array": pickle.dumps(np.zeros(2).view(Subclass)),
    "an array of objects": pickle.dumps(np.array([Plain()], object), 2),
    "a dtype of records": pickle.dumps(np.zeros(2, "i4,f4"), 2),
    "a dtype that is a call": b"cnumpy\ndtype\n(S'O8'\nK\0K\1tR.",
    "ndarray called itself": b"cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.",
    "a shape beyond the bytes": ARRAY + b"(K\1(J\xff\xff\xff\x7ft" + BYTES + b"\x89C\x01atb.",
    "a negative shape": ARRAY + b"(K\1(J\xff\xff\xff\xfft" + BYTES + b"\x89C\x01atb.",
    "a shape whose product overflows": ARRAY
    + (b"(K\1(" + (b"\x8a\x08" + struct.pack("<q", 2**40)) * 4 + b"t" + BYTES + b"\x89C\x01atb."),
    "an array of too many axes": ARRAY + b"(K\1(" + b"K\1" * 40 + b"t" + BYTES + b"\x89C\x01atb.",
    "a dtype of a gigabyte": b"cnumpy\ndtype\n(S'V1000000000'\nK\0K\1tR.",
    "bytes beyond the file": b"\x80\x04\x8e" + HUGE + b"abc.",
    "a text beyond the file": b"\x80\x04\x8d" + HUGE + b"abc.",
    "a bytearray beyond the file": b"\x80\x05\x96" + HUGE + b"abc.",
    "a negative length": b"T\xff\xff\xff\xffabc.",
    "a number of a million digits": b"I" + b"9" * 1_000_000 + b"\n.",
    "a long of a million digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "a long of four kilobytes": b"\x8b\x00\x10\0\0" + b"\xff" * 4096 + b".",
    "tuples in tuples as a key": b"})" + b"\x85" * 100_000 + b"K\1s.",
    "marks without end": DEEP + b".",
    "tuples closed too often": DEEP + b"t" * 50_001 + b".",
    "a memo that is not there": b"h\x07.",
    "a stack that is empty": b"\x85.",
    "two pickles": pickle.dumps(1) + pickle.dumps(Calls(os.system, RUN)),
    "nothing left": b"0.",
    "no end": b"\x80\x02]",
    "empty": b"",
    "an unknown instruction": b"\xff",
    "a gzip file that is cut": gzip.compress(pickle.dumps(list(range(999))))[:-9],
}


@pytest.fixture
def nothing_runs(monkeypatch):
    """Whatever could import or run anything fails the test."""

    def refuse(*_, **__):
        raise AssertionError("a pickle ran something")

    for place, name in [(pickle, "loads"), (pickle, "load"), (os, "system"), (builtins, "eval")]:
        monkeypatch.setattr(place, name, refuse)
    monkeypatch.setattr(builtins, "exec", refuse)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles_run_nothing_and_take_nothing(tmp_path, monkeypatch, nothing_runs, name):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pkl"
    path.write_bytes(HOSTILE[name])
    tracemalloc.start()
    try:
        with pytest.raises(DataFileError) as caught:
            read_pickle(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2**25
    assert not (tmp_path / MADE).exists()
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 500
    assert message.startswith(str(path))
    assert ";" in message  # a remedy
    with pytest.raises(DataFileError):
        load_dataset(path)


def test_too_many_instructions(tmp_path, monkeypatch):
    monkeypatch.setattr(pickled, "MOST_INSTRUCTIONS", 1000)
    built(b"]" + b"0]" * 499 + b".", tmp_path)
    with pytest.raises(DataFileError, match="may have at most 1000 instructions"):
        built(b"]" * 1000 + b".", tmp_path)
    monkeypatch.setattr(pickled, "MAX_BYTES", 99)
    with pytest.raises(DataFileError, match="may hold at most 99 bytes"):
        built(b"]" * 100 + b".", tmp_path)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_list_that_grows_when_it_becomes_an_array(tmp_path, protocol):
    """Thirty lists of ten times the one before: 10^30 numbers where somebody expands it."""
    bomb = [1] * 10
    for _ in range(30):
        bomb = [bomb] * 10
    for value in ({"images": bomb, "labels": bomb}, ((bomb, bomb), (bomb, bomb)), [bomb]):
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(value, protocol))
        with pytest.raises(ValueError, match="must hold"):
            load_dataset(tmp_path / "a.pkl")


# --- the sets that people have


def mnist(counts, pack=python2, scale=256):
    rng = np.random.default_rng(0)
    parts, expected = [], []
    for count in counts:
        pixels = rng.integers(0, 256, (count, 784)).astype(np.uint8)
        pixels[0, 0] = 255
        labels = (np.arange(count) % 10).astype(np.int64)
        parts.append((pixels.astype(np.float32) / np.float32(scale), labels))
        expected.append((pixels.reshape(-1, 28, 28, 1), labels))
    return pack(tuple(parts)), expected


@pytest.mark.parametrize("pack", [python2, pickle.dumps])
def test_mnist_pkl_gz(tmp_path, caplog, pack):
    content, expected = mnist((50, 20, 30), pack)
    (tmp_path / "mnist.pkl.gz").write_bytes(gzip.compress(content))
    data = load_dataset(tmp_path / "mnist.pkl.gz")
    assert (data.name, data.image_shape, data.has_test_part) == ("mnist", (28, 28, 1), True)
    for part, (images, labels) in zip(("train", "validation", "test"), expected, strict=True):
        np.testing.assert_array_equal(getattr(data, f"{part}_images"), images)
        np.testing.assert_array_equal(getattr(data, f"{part}_labels"), labels)
    assert caplog.records == []


def test_a_pickle_of_two_parts_and_one_of_a_dict(tmp_path):
    content, expected = mnist((50, 20), pickle.dumps)
    (tmp_path / "a.pickle").write_bytes(content)
    data = load_dataset(tmp_path / "a.pickle")
    np.testing.assert_array_equal(data.test_images, expected[1][0])
    images = expected[0][0][..., 0]
    value = {"x_train": images, "y_train": ["even", "odd"] * 25, "meta": 3, "spare": images}
    (tmp_path / "b").write_bytes(pickle.dumps(value))
    data = load_dataset(tmp_path / "b")
    assert data.class_names == ("even", "odd")
    assert len(data.train_labels) + len(data.test_labels) == 50


def test_pickles_that_are_no_set(tmp_path):
    for value, said in [
        (3, "holds another int"),
        ((ARRAYS[0],), "holds another tuple"),
        ({"a": ARRAYS[0]}, "must hold arrays called images and labels"),
        (
            ((np.zeros((4, 7)), np.zeros(4, int)),) * 2,
            "no square image; train with --image-size",
        ),
        (((np.full((4, 4), np.nan), np.zeros(4, int)),) * 2, "images"),
    ]:
        (tmp_path / "a.pkl").write_bytes(pickle.dumps(value))
        with pytest.raises(ValueError, match=said) as caught:
            load_dataset(tmp_path / "a.pkl")
        assert str(caught.value).isprintable()
    data = ((np.zeros((9, 8)), np.arange(9) % 2),) * 2
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(data))
    assert load_dataset(tmp_path / "a.pkl", image_size=(2, 4)).image_shape == (2, 4, 1)
