"""What the fuzzers run: the parsers, each with an independent judgement of the result.

A target takes bytes and returns in silence where the parser did what it must: refuse what is wrong
with an error of the `ArraycnnError` family in one line, or return exactly what the bytes say. Every
other exception, a wrong acceptance or refusal, and memory beyond the cap leave the target.
"""

import io
import logging
import math
import struct
import sys
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from unittest import mock

import numpy as np

from arraycnn.cli import cli, main
from arraycnn.data import image_files
from arraycnn.errors import DataFileError
from data_targets import arrays, idx, published, table
from model_targets import checkpoint, config
from pickle_target import pickled
from promises import FILE, bounded, refused, require

# Pictures of full size would only make the fuzzer slow.
MAX_PIXELS = 2**16

# --- pictures

_SHAPES = ((8, 8, 1), (28, 28, 1), (5, 7, 3), (1, 1, 1))


def image(data: bytes) -> None:
    """The first byte chooses the shape asked for, the rest is the file."""
    if not data:
        return
    with mock.patch.object(image_files, "MAX_PIXELS", MAX_PIXELS):
        _image(data[1:], _SHAPES[data[0] % len(_SHAPES)])


def _image(content: bytes, shape: tuple[int, int, int]) -> None:
    try:
        with bounded():
            pixels = image_files.decode_image(content, "input", shape)
    except DataFileError as error:
        refused(error)
    else:
        require(pixels.shape == shape, "the shape is the one asked for", pixels.shape, shape)
        require(pixels.dtype == np.uint8, "pixels are bytes", pixels.dtype)
        declared = _png_pixels(content)
        require(declared <= MAX_PIXELS, "pixels are limited", declared)
    FILE.write_bytes(content)
    try:
        height, width, channels = image_files.image_shape(FILE)
    except DataFileError as error:
        refused(error)
    else:
        require(0 < height * width <= MAX_PIXELS, "pixels are limited", height, width)
        require(channels in (1, 3), "pictures are grey or colour", channels)


def _png_pixels(content: bytes) -> int:
    """How many pixels the header of a PNG declares; 0 for other files."""
    if not content.startswith(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR") or len(content) < 24:
        return 0
    width, height = struct.unpack(">II", content[16:24])
    return width * height


# --- the command line


def options(data: bytes) -> None:
    """Arguments, one a line; the system passes none with a zero byte."""
    arguments = data.replace(b"\0", b"").decode("utf-8", "surrogateescape").split("\n")
    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["arraycnn", *arguments]
    handlers, logging.root.handlers = logging.root.handlers, [logging.NullHandler()]
    try:
        with ExitStack() as stack:
            for command in cli.commands.values():
                stack.enter_context(mock.patch.object(command, "callback", _judge))
            stack.enter_context(bounded())
            stack.enter_context(redirect_stdout(out))
            stack.enter_context(redirect_stderr(err))
            main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv, logging.root.handlers = argv, handlers
    lines = err.getvalue().splitlines()
    require(code in (0, 2), "a user's mistake ends with code 2", code, lines, arguments)
    if code == 2 and "--debug" not in arguments:
        one = len(lines) == 1 and lines[0].startswith("arraycnn: ")
        require(one, "a mistake is told in one line", lines, arguments)


def _judge(**chosen: object) -> None:
    """In place of a command: what was parsed is what its help says."""
    for name, value in chosen.items():
        if value is None:
            continue
        if name in ("epochs", "batch_size", "limit", "top"):
            require(type(value) is int and value >= 1, f"--{name} is a positive int", value)
        elif name == "seed":
            require(type(value) is int and value >= 0, "--seed is at least 0", value)
        elif name == "learning_rate":
            require(math.isfinite(value) and value > 0, "--learning-rate is positive", value)
        elif name == "image_size":
            good = len(value) in (2, 3) and all(1 <= size <= 99_999 for size in value)
            require(good, "--image-size is two or three sizes", value)
        elif name == "validation":
            require(0 <= value < 1, "--validation is in [0, 1)", value)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (idx, arrays, pickled, table, published, image, checkpoint, config, options)
}
