"""What a launch hands to its kernel: fields by name, declared once and used by both sides.

Beside a kernel stands a class that lists the fields of its launches with their kinds, and the kernel's
parameter ``launch`` is annotated with it::

    class Scale(LaunchStruct):
        x: Reals
        mask: Bytes | None
        count: int

    @compiled
    def scale(block, launch: Scale, scratch):
        x, count = launch.x, launch.count

The launch code makes one by keyword, ``Scale(x=x, mask=None, count=x.size)``. In memory it is 64-bit
words, one a field in the order of the class, and those of a nested struct in their place. Which word
``launch.count`` is, is settled when the kernel is compiled: nothing is looked up when it runs.
It is read where it stands, and anew after each number that was written: what a loop needs is given a
name before it.
"""

from __future__ import annotations

import ctypes
from ctypes import addressof
from dataclasses import dataclass
from types import NoneType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Self,
    TypeAlias,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np

REAL = "real"
"""Numbers of the kind that the kernel is compiled for."""

ADDRESS = "address"
"""The address itself, an integer."""

COUNT = "count"
"""An int or a bool."""

# What a kernel is given of an array: a pointer to its numbers, or its address. A field that says
# ``| None`` may be without an array.
Reals: TypeAlias = Annotated[np.ndarray, REAL]
Bytes: TypeAlias = Annotated[np.ndarray, "uint8"]
Int32s: TypeAlias = Annotated[np.ndarray, "int32"]
Int64s: TypeAlias = Annotated[np.ndarray, "int64"]
Address: TypeAlias = Annotated[np.ndarray, ADDRESS]


@dataclass(frozen=True)
class Field:
    """Where a field lies, and what it is.

    Attributes
    ----------
    word : int
        Its first, from the struct's own first.
    kind : str or type
        `ADDRESS`; `REAL` or the dtype of an array's numbers; `COUNT`; or the
        class of a nested struct.
    """

    word: int
    kind: str | type[LaunchStruct]


@dataclass_transform(kw_only_default=True, frozen_default=True)
class LaunchStruct:
    """The fields of one launch; a subclass declares them, those of its own base first.

    Raises
    ------
    TypeError
        A name that is no field, or a field without a value.
    """

    FIELDS: ClassVar[dict[str, Field]] = {}
    WORDS: ClassVar[int] = 0
    _arrays: ClassVar[list[tuple[int, np.dtype | None]]] = []
    _nested: ClassVar[list[int]] = []  # the last first

    def __init_subclass__(cls) -> None:
        fields, words = {}, 0
        for name, annotation in get_type_hints(cls, include_extras=True).items():
            if get_origin(annotation) is not ClassVar:
                kind = _kind(f"{cls.__name__}.{name}", annotation)
                fields[name] = Field(words, kind)
                words += 1 if isinstance(kind, str) else kind.WORDS
        cls.FIELDS, cls.WORDS = fields, words
        kinds = list(enumerate(field.kind for field in fields.values()))
        cls._nested = [n for n, kind in reversed(kinds) if not isinstance(kind, str)]
        cls._arrays = [
            (n, None if kind in (REAL, ADDRESS) else np.dtype(kind))
            for n, kind in kinds
            if isinstance(kind, str) and kind != COUNT
        ]

    def __init__(self, **values: Any) -> None:
        if values.keys() != self.FIELDS.keys():
            wrong = [f"{name} is none" for name in values if name not in self.FIELDS]
            wrong += [f"{name} is missing" for name in self.FIELDS if name not in values]
            raise TypeError(f"{type(self).__name__}, of its fields: {', '.join(wrong)}")
        vars(self).update(values)

    def replaced(self, **values: Any) -> Self:
        """The same with other values of some fields."""
        return type(self)(**{**vars(self), **values})

    def words(self) -> list[int]:
        """Its words: of an array, which is in C order, the address; of None 0."""
        words: list[Any] = list(map(vars(self).__getitem__, self.FIELDS))
        for place, dtype in self._arrays:
            words[place] = 0 if words[place] is None else _address(words[place], dtype)
        for place in self._nested:
            words[place : place + 1] = words[place].words()
        return words


def _address(array: np.ndarray, dtype: np.dtype | None) -> int:
    assert array.flags.c_contiguous
    assert dtype is None or array.dtype == dtype
    return addressof(start_of(array)) if array.flags.writeable else array.ctypes.data


start_of: Any = (ctypes.c_char * 0).from_buffer
"""Where a writable array in C order begins: a quarter of the time that its ``ctypes`` takes."""


def _kind(owner: str, annotation: Any) -> str | type[LaunchStruct]:
    """The kind that an annotation of a field says."""
    options = [one for one in get_args(annotation) if one is not NoneType]
    if get_origin(annotation) is not Annotated and len(options) == 1:  # ... | None
        (annotation,) = options
    if get_origin(annotation) is Annotated:
        return str(annotation.__metadata__[0])
    if annotation in (int, bool):
        return COUNT
    if isinstance(annotation, type) and issubclass(annotation, LaunchStruct):
        return annotation
    raise TypeError(f"{owner}: no kind of field: {annotation}")
