"""Reading pickles of arrays without running them.

A pickle is a program for a stack machine that can call anything. This machine has only the
instructions that build numbers, texts, lists, tuples, dicts and NumPy arrays; there is no way in it
to import or to call, as the few names that it knows stand for functions of
`pickled_arrays`. Sizes are compared with what the file holds before anything is taken from it.

Format: the comments of Python's own Lib/pickletools.py.
"""

import codecs
import gzip
import pickletools
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from arraycnn.data.idx import MAX_BYTES
from arraycnn.data.pickled_arrays import NAMES, PickledArray, PickledDType
from arraycnn.errors import DataFileError, one_line

# A set of 50,000 images with two labels and a file name for each takes some 300,000.
MOST_INSTRUCTIONS = 2**20
_READ_BYTES = 2**20
_LONGEST_NUMBER = 64  # of digits: Python takes time that grows with their square
_LONGEST_LINE = 256
_MOST_INT_BYTES = 16
# What is longer stays where it is in the file's bytes.
_COPIED_BYTES = 2**16
_REMEDY = "nothing of it was run; save the arrays with numpy.savez and name that file"
_DAMAGED = "it is damaged or no pickle: fetch it again"
_KEYS = (str, bytes, int, float, type(None))


def read_pickle(path: Path) -> Any:
    """What the pickle ``path``, gzipped or not, describes, built without running anything.

    Numbers, truth values, None, str, bytes, lists, tuples and dicts are Python's; an array is a
    `PickledArray`, read-only, and large bytes are a `memoryview`. Lists may hold themselves: what
    is made of the result must not recurse.

    Raises `DataFileError` where the file is missing, no pickle, damaged, holds or asks for anything
    else, takes more than 1 GiB, or has more than 2^20 instructions.
    """
    return _Machine(path, _content(path)).run()


def _content(path: Path) -> memoryview:
    """All bytes of the file, unpacked where it is a gzip file."""
    content = bytearray()
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            stream: Any = gzip.GzipFile(fileobj=file) if packed else file
            while piece := stream.read(_READ_BYTES):
                content += piece
                if len(content) > MAX_BYTES:
                    reason = f"may hold at most {MAX_BYTES} bytes to be read into memory, has more"
                    raise DataFileError(path, reason, "save its arrays with numpy.savez")
    except FileNotFoundError:
        raise DataFileError(path, "must exist, there is no such file", "check the path") from None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        reason = f"must be an intact gzip file, is damaged ({one_line(error)})"
        raise DataFileError(path, reason, "fetch it again") from None
    except OSError as error:
        reason = f"must be readable, the system says: {error.strerror or error}"
        raise DataFileError(path, reason, "check the file's permissions and the disk") from None
    return memoryview(content).toreadonly()


def is_pickle(path: Path) -> bool:
    """Whether the first bytes of ``path``, unpacked where it is a gzip file, begin a pickle.

    Those of protocols 0 and 1 begin with anything: there the file's name must say it.
    """
    try:
        with path.open("rb") as file:
            start = file.read(2)
            if start == b"\x1f\x8b":
                file.seek(0)
                start = gzip.GzipFile(fileobj=file).read(2)
    except (OSError, EOFError, zlib.error):
        return False
    named = {".pkl", ".pickle", ".p"} & {suffix.lower() for suffix in path.suffixes}
    return bool(named) or (start[:1] == b"\x80" and b"\2" <= start[1:2] <= b"\5")


def text_of(value: Any) -> str:
    """A text, which Python 2 may have written as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


class _Refused(Exception):
    """The reason why a pickle is not read."""


class _Machine:
    """The state: where in the file it is, the stack, the stacks below marks, the memo."""

    def __init__(self, path: Path, content: memoryview) -> None:
        self._path, self._content = path, content
        self._at = 0
        self._stack: list[Any] = []
        self._below: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        for _ in range(MOST_INSTRUCTIONS):
            began = self._at
            try:
                code = bytes(self._take(1))
                if code == b".":
                    return self._result()
                action = _ACTIONS.get(code)
                if action is None:
                    raise _Refused(_told(code))
                action(self)
            except _Refused as error:
                raise DataFileError(self._path, str(error), _REMEDY, began) from None
            except (ValueError, TypeError, LookupError, OverflowError, struct.error) as error:
                reason = f"must be a whole pickle, cannot be followed ({one_line(error)})"
                raise DataFileError(self._path, reason, _DAMAGED, began) from None
        reason = f"may have at most {MOST_INSTRUCTIONS} instructions, has more"
        raise DataFileError(self._path, reason, _REMEDY, self._at)

    def _result(self) -> Any:
        if self._at != len(self._content):
            message = f"{len(self._content) - self._at} bytes behind its end"
            raise ValueError(message)
        (value,) = self._stack
        return value

    # --- the file

    def _take(self, count: int) -> memoryview:
        end = self._at + count
        if count < 0 or end > len(self._content):
            message = f"asks for {count} bytes, {len(self._content) - self._at} are left"
            raise ValueError(message)
        part = self._content[self._at : end]
        self._at = end
        return part

    def number(self, pattern: str) -> Any:
        return struct.unpack(pattern, self._take(struct.calcsize(pattern)))[0]

    def data(self, pattern: str) -> bytes | memoryview:
        """Bytes, their number before them."""
        part = self._take(self.number(pattern))
        return bytes(part) if len(part) <= _COPIED_BYTES else part

    def line(self, longest: int = _LONGEST_LINE) -> bytes:
        """The bytes to the next line break, which is passed over."""
        start, length = self._at, 0
        while True:  # in pieces: a memoryview cannot be searched
            piece = bytes(self._content[start + length : start + length + 4096])
            place = piece.find(b"\n")
            length += len(piece) if place < 0 else place
            if length > longest or not piece:
                message = "a line is too long or has no end"
                raise ValueError(message)
            if place >= 0:
                line = bytes(self._take(length))
                self._take(1)
                return line

    # --- the stack

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def pop(self) -> Any:
        return self._stack.pop()

    def top(self) -> Any:
        return self._stack[-1]

    def mark(self) -> None:
        self._below.append(self._stack)
        self._stack = []

    def pop_mark(self) -> list[Any]:
        """What was pushed since the last mark."""
        above, self._stack = self._stack, self._below.pop()
        return above

    def discard(self) -> None:
        if self._stack:
            self._stack.pop()
        else:
            self.pop_mark()

    # --- the memo

    def put(self, key: int) -> None:
        self._memo[key] = self.top()

    def get(self, key: int) -> None:
        self.push(self._memo[key])

    def memoize(self) -> None:
        self.put(len(self._memo))

    # --- texts and numbers written as lines

    def line_int(self) -> None:
        text = self.line(_LONGEST_NUMBER)
        self.push({b"00": False, b"01": True}[text] if text in (b"00", b"01") else int(text))

    def line_long(self) -> None:
        self.push(int(self.line(_LONGEST_NUMBER).removesuffix(b"L")))

    def line_string(self) -> None:
        text = self.line(len(self._content))
        if len(text) < 2 or text[:1] not in (b"'", b'"') or text[-1:] != text[:1]:
            message = "a text has no quotes"
            raise ValueError(message)
        self.push(codecs.escape_decode(text[1:-1])[0])

    def line_text(self) -> None:
        self.push(self.line(len(self._content)).decode("raw-unicode-escape"))

    def long(self, pattern: str) -> None:
        count = self.number(pattern)
        if not 0 <= count <= _MOST_INT_BYTES:
            raise _Refused(f"whole numbers may have {_MOST_INT_BYTES} bytes, one has {count}")
        self.push(int.from_bytes(self._take(count), "little", signed=True))

    def text(self, pattern: str) -> None:
        self.push(bytes(self.data(pattern)).decode("utf-8", "surrogatepass"))

    # --- containers

    def append(self) -> None:
        value = self.pop()
        self._list().append(value)

    def appends(self) -> None:
        values = self.pop_mark()
        self._list().extend(values)

    def _list(self) -> list[Any]:
        value = self.top()
        if type(value) is not list:
            raise _Refused(f"only a list can be added to, not {_kind(value)}")
        return value

    def set_items(self, values: list[Any]) -> None:
        target = self.top()
        if type(target) is not dict:
            raise _Refused(f"only a dict takes items, not {_kind(target)}")
        target.update(_dict(values))

    def set_item(self) -> None:
        value, key = self.pop(), self.pop()
        self.set_items([key, value])

    # --- the names that are known

    def name(self, module: Any, name: Any) -> None:
        found = NAMES.get((module, name)) if type(module) is type(name) is str else None
        if found is None:
            raise _Refused(
                "may hold numbers, texts, lists, dicts and NumPy arrays only, asks for "
                f"{one_line(module)}.{one_line(name)}"
            )
        self.push(found)

    def line_name(self) -> None:
        module, name = self.line().decode(), self.line().decode()
        self.name(module, name)

    def stack_name(self) -> None:
        name, module = self.pop(), self.pop()
        self.name(module, name)

    def reduce(self) -> None:
        given, function = self.pop(), self.pop()
        if not any(function is known for known in NAMES.values()) or type(given) is not tuple:
            raise _Refused(f"cannot call {_kind(function)}")
        self.push(function(*given))

    def build(self) -> None:
        state, target = self.pop(), self.top()
        if not isinstance(target, PickledArray | PickledDType):
            raise _Refused(f"cannot give a state to {_kind(target)}")
        target.build(state)


def _dict(values: list[Any]) -> dict[Any, Any]:
    """Keys and values in turn. The hash of a tuple in a tuple in ... would recurse."""
    keys = values[::2]
    if not all(type(key) in _KEYS or type(key) is bool for key in keys):
        raise _Refused("keys of a dict must be texts or numbers")
    return dict(zip(keys, values[1::2], strict=True))


def _kind(value: Any) -> str:
    return type(value).__name__


def _told(code: bytes) -> str:
    names = (known.name for known in pickletools.opcodes if known.code == code.decode("latin-1"))
    what = f"instruction {next(names, code.hex())}"
    return f"may hold numbers, texts, lists, dicts and NumPy arrays only, has {what}"


_ACTIONS: dict[bytes, Callable[[_Machine], None]] = {
    b"\x80": lambda m: m.number("<B"),  # the protocol; all have the same instructions
    b"\x95": lambda m: m.number("<Q"),  # the length of a frame
    b"(": _Machine.mark,
    b"0": _Machine.discard,
    b"1": lambda m: m.pop_mark().clear(),
    b"2": lambda m: m.push(m.top()),
    b"N": lambda m: m.push(None),
    b"\x88": lambda m: m.push(True),
    b"\x89": lambda m: m.push(False),
    b"I": _Machine.line_int,
    b"L": _Machine.line_long,
    b"F": lambda m: m.push(float(m.line(_LONGEST_NUMBER))),
    b"J": lambda m: m.push(m.number("<i")),
    b"K": lambda m: m.push(m.number("<B")),
    b"M": lambda m: m.push(m.number("<H")),
    b"G": lambda m: m.push(m.number(">d")),
    b"\x8a": lambda m: m.long("<B"),
    b"\x8b": lambda m: m.long("<i"),
    b"S": _Machine.line_string,
    b"U": lambda m: m.push(m.data("<B")),
    b"T": lambda m: m.push(m.data("<i")),
    b"C": lambda m: m.push(m.data("<B")),
    b"B": lambda m: m.push(m.data("<I")),
    b"\x8e": lambda m: m.push(m.data("<Q")),
    b"\x96": lambda m: m.push(m.data("<Q")),
    b"V": _Machine.line_text,
    b"X": lambda m: m.text("<I"),
    b"\x8c": lambda m: m.text("<B"),
    b"\x8d": lambda m: m.text("<Q"),
    b"]": lambda m: m.push([]),
    b"l": lambda m: m.push(m.pop_mark()),
    b"a": _Machine.append,
    b"e": _Machine.appends,
    b")": lambda m: m.push(()),
    b"t": lambda m: m.push(tuple(m.pop_mark())),
    b"\x85": lambda m: m.push((m.pop(),)),
    b"\x86": lambda m: m.push((m.pop(), m.pop())[::-1]),
    b"\x87": lambda m: m.push((m.pop(), m.pop(), m.pop())[::-1]),
    b"}": lambda m: m.push({}),
    b"d": lambda m: m.push(_dict(m.pop_mark())),
    b"s": _Machine.set_item,
    b"u": lambda m: m.set_items(m.pop_mark()),
    b"p": lambda m: m.put(int(m.line(_LONGEST_NUMBER))),
    b"q": lambda m: m.put(m.number("<B")),
    b"r": lambda m: m.put(m.number("<I")),
    b"\x94": _Machine.memoize,
    b"g": lambda m: m.get(int(m.line(_LONGEST_NUMBER))),
    b"h": lambda m: m.get(m.number("<B")),
    b"j": lambda m: m.get(m.number("<I")),
    b"c": _Machine.line_name,
    b"\x93": _Machine.stack_name,
    b"R": _Machine.reduce,
    b"b": _Machine.build,
}
