"""Pickles as Python 2 wrote them, which Python 3 can no longer write: protocol 2, bytes as texts."""

import struct

import numpy as np


def python2(value):
    """``value`` pickled as cPickle of Python 2 and NumPy 1 did, protocol 2, no memo."""
    return b"\x80\x02" + _python2(value) + b"."


def _python2(value):
    if isinstance(value, bool):
        return b"\x88" if value else b"\x89"
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, str | bytes):
        content = value.encode() if isinstance(value, str) else value
        if len(content) < 256:
            return b"U" + bytes([len(content)]) + content
        return b"T" + struct.pack("<i", len(content)) + content
    if isinstance(value, list):
        return b"](" + b"".join(map(_python2, value)) + b"e"
    if isinstance(value, tuple):
        return b"(" + b"".join(map(_python2, value)) + b"t"
    if isinstance(value, dict):
        items = b"".join(_python2(key) + _python2(one) for key, one in value.items())
        return b"}(" + items + b"u"
    assert isinstance(value, np.ndarray)
    made = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    code, order = value.dtype.str[1:], value.dtype.str[:1]
    dtype = b"cnumpy\ndtype\n" + _python2((code, 0, 1)) + b"R"
    dtype += b"(K\x03" + _python2(order) + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    state = b"(K\x01" + _python2(value.shape) + dtype + b"\x89" + _python2(value.tobytes()) + b"tb"
    return made + state
