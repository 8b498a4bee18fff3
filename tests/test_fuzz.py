"""The parsers against structured nonsense, and against everything the fuzzers ever found.

`tests/fuzz/run.py` looks for more, guided by coverage; what a target demands is in
`tests/fuzz/targets.py`.
"""

import copy
import gzip
import io
import json
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

FUZZ = Path(__file__).parent / "fuzz"
sys.path.insert(0, str(FUZZ))

from promises import Violation  # noqa: E402
from seeds import EVERY_LAYER, HEADER, NETWORK, SEEDS, WORDS  # noqa: E402
from targets import TARGETS  # noqa: E402

FOUND = sorted((FUZZ / "found").glob("*/*"))


@pytest.mark.parametrize("target", TARGETS)
def test_the_seeds_pass(target):
    for seed in SEEDS[target]():
        TARGETS[target](seed)


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_what_was_found_is_mended(path):
    TARGETS[path.parent.name](path.read_bytes())


def test_something_was_found():
    assert len(FOUND) >= 8


def test_a_target_notices_what_is_wrong(monkeypatch):
    """A target that accepts everything would prove nothing."""
    import data_targets

    seed = SEEDS["idx"]()[0]
    monkeypatch.setattr(data_targets, "read_idx", lambda path: np.zeros((2, 3, 4), np.uint8))
    with pytest.raises(Violation, match="the values are the file's"):
        TARGETS["idx"](seed)
    monkeypatch.setattr(data_targets, "read_idx", lambda path: [0] * 10_000_000)
    with pytest.raises(Violation, match="memory is bounded"):
        TARGETS["idx"](seed)


def test_a_fuzzer_that_is_silent_is_looked_at_all_the_same():
    """Its time must be able to end while it finds nothing to tell."""
    from run import _lines

    program = "import sys; print('first'); sys.stdout.flush(); sys.stdin.read(); print('last')"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", program], **pipes) as process:
        told = _lines(process)
        assert next(line for line in told if line) == "first\n"
        assert next(told) == ""
        process.stdin.close()
        assert [line for line in told if line] == ["last\n"]


# --- Hypothesis: inputs that are nearly right


@st.composite
def edited(draw, content):
    """``content`` (a strategy) with some bytes changed, removed or put in."""
    data = bytearray(draw(content))
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(data)))
        length = draw(st.integers(0, 3))
        data[place : place + length] = draw(st.binary(max_size=4))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


@st.composite
def idx_files(draw):
    shape = draw(st.lists(st.integers(0, 4) | st.integers(0, 2**32 - 1), max_size=9))
    code = draw(st.sampled_from([8, 9, 11, 12, 13, 14]) | st.integers(0, 255))
    head = struct.pack(
        f">HBB{len(shape)}I", draw(st.sampled_from([0, 0, 1])), code, len(shape), *shape
    )
    size = int(np.prod([float(side) for side in shape])) if shape else 0
    count = min(size, 600) * draw(st.sampled_from([1, 2, 4, 8])) + draw(st.integers(-1, 1))
    body = bytes(max(count, 0))
    kind = draw(st.integers(0, 2))
    content = head + body
    return bytes([kind]) + (gzip.compress(content, mtime=0) if kind == 2 else content)


@st.composite
def pictures(draw):
    mode = draw(st.sampled_from(["L", "RGB", "RGBA", "LA", "P", "1", "I;16", "CMYK"]))
    kind = {"CMYK": "JPEG", "I;16": "PNG"}.get(mode, draw(st.sampled_from(["PNG", "GIF", "WEBP"])))
    if kind != "PNG" and mode not in ("CMYK", "L", "RGB"):
        kind = "PNG"
    size = draw(st.tuples(st.integers(1, 9), st.integers(1, 9)))
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return bytes([draw(st.integers(0, 3))]) + buffer.getvalue()


PICKLABLE = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.sampled_from([np.arange(6).reshape(2, 3), np.array(["a"]), np.float64(2), np.zeros(0)]),
    lambda part: (
        st.lists(part, max_size=3)
        | st.tuples(part, part)
        | st.dictionaries(st.text(max_size=3) | st.binary(max_size=3), part, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def pickles(draw):
    content = pickle.dumps(draw(PICKLABLE), draw(st.integers(0, 5)))
    return bytes([draw(st.integers(0, 3))]) + content


CELL = st.integers(0, 255).map(str) | st.sampled_from(
    ["", " 7", "1.5", "256", "-1", "nan", '"8"', "cat", "1e2", '"a,b"', "٣", "1_0"]
)


@st.composite
def tables(draw):
    columns = draw(st.integers(4, 8))
    names = draw(st.sampled_from(["", "label,", "id,label,"]))
    header = names + ",".join(f"pixel{n}" for n in range(columns - 1)) + "\n"
    rows = draw(st.lists(st.lists(CELL, min_size=columns, max_size=columns), max_size=4))
    body = draw(st.sampled_from(["\n", "\r\n", "\n\n"])).join(",".join(row) for row in rows)
    text = (header if draw(st.booleans()) else "") + body
    return bytes([draw(st.integers(0, 3))]) + text.encode()


@st.composite
def published_files(draw):
    form = draw(st.integers(0, 3))
    if form == 0:
        content = bytes(draw(st.sampled_from([3072, 3073, 6146]))) + draw(st.binary(max_size=1))
    elif form == 3:
        rows = draw(st.lists(st.integers(-(2**31), 2**31 - 1), min_size=16, max_size=16))
        content = struct.pack(">HBB2I16i", 0, 12, 2, 2, 8, *rows)
    else:
        cell = st.integers(0, 3).map(str) | st.sampled_from(["48", "65", "x", "", "猫", '"'])
        lines = draw(st.lists(st.lists(cell, min_size=2, max_size=4), max_size=4))
        content = "\n".join((" ,"[form - 1]).join(line) for line in lines).encode()
    return bytes([form]) + content


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda part: (
        st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=5), part, max_size=3)
    ),
    max_leaves=6,
)
SETTINGS = JSON | st.sampled_from([*EVERY_LAYER["layers"], NETWORK, -1, 0, 10**30, "same", [2, 2]])


@st.composite
def changed(draw, value):
    """A copy of the JSON ``value`` with one place in it replaced, removed or added to."""
    whole = copy.deepcopy(value)
    part = whole
    while True:
        keys = sorted(part) if isinstance(part, dict) else list(range(len(part)))
        key = draw(st.sampled_from(keys)) if keys else None
        inner = part[key] if keys else None
        if isinstance(inner, dict | list) and inner and draw(st.booleans()):
            part = inner
            continue
        if key is None or draw(st.integers(0, 5)) == 0:
            if isinstance(part, dict):
                part[draw(st.text(max_size=6) | st.sampled_from(["class", "layers"]))] = draw(
                    SETTINGS
                )
            else:
                part.append(draw(SETTINGS))
        elif draw(st.booleans()):
            part[key] = draw(SETTINGS)
        else:
            del part[key]
        return json.dumps(whole).encode()


WORD = st.sampled_from(WORDS["options"]) | st.text(max_size=6).map(lambda text: text.encode())
NEARLY_RIGHT = {
    "idx": idx_files() | edited(st.sampled_from(SEEDS["idx"]())),
    "arrays": edited(st.sampled_from(SEEDS["arrays"]())),
    "pickled": pickles() | edited(pickles()) | edited(st.sampled_from(SEEDS["pickled"]())),
    "table": tables() | edited(tables()) | edited(st.sampled_from(SEEDS["table"]())),
    "published": published_files()
    | edited(published_files())
    | edited(st.sampled_from(SEEDS["published"]())),
    "image": edited(pictures()) | edited(st.sampled_from(SEEDS["image"]())),
    "checkpoint": changed(HEADER).map(lambda text: b"\2" + text)
    | edited(st.sampled_from(SEEDS["checkpoint"]())),
    "config": changed(EVERY_LAYER) | changed(NETWORK) | JSON.map(lambda v: json.dumps(v).encode()),
    "options": st.lists(WORD, max_size=8).map(b"\n".join),
}


@pytest.mark.parametrize("target", TARGETS)
@given(data=st.data())
@settings(max_examples=150)
def test_nonsense_of_the_right_form(target, data):
    TARGETS[target](data.draw(NEARLY_RIGHT[target]))
