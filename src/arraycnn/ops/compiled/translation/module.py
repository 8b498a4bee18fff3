"""A function of the language as a module of LLVM's, to be compiled by itself."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from arraycnn.ops.compiled.translation.functions import Function, Variant
from arraycnn.ops.compiled.translation.statements import Body, type_of
from arraycnn.ops.compiled.translation.values import (
    INT,
    MUCH,
    NotInTheLanguage,
    Number,
    Pointer,
    Struct,
    View,
    llvm_type,
)


def module_of(variant: Variant, dtype: str, words: int) -> tuple[Any, list[Variant]]:
    """The module of a function for ``dtype``, and what is to be linked with it.

    What is not to be linked with others is a kernel, void(block, launch, scratch): of an integer, the
    struct of its launches, so many ``words`` at the most, and numbers of ``dtype``.
    """
    function = variant.function
    kind = type_of(function, dtype) if function.is_linked else _kernel_type(dtype)
    written = ir.Function(ir.Module(variant.name), kind, variant.name)
    if function.is_linked:
        known = dict(variant.known)
        given: list[Any] = [
            known.get(name, Number("int64", value))
            if name not in function.pointers
            else Pointer(dtype, value)
            for name, value in zip(function.parameters, written.args, strict=True)
        ]
    else:
        block, first_word, first_number = written.args
        given = [
            Number("int64", block),
            _launch(function, Pointer("int64", first_word), dtype, words),
            View(Pointer(dtype, first_number), (MUCH,)),
        ]
    callees: list[Variant] = []
    body = Body(ir.IRBuilder(written.append_basic_block("entry")), function, dtype, callees)
    body.run(given)
    body.builder.ret_void()
    return written.module, callees


def _launch(function: Function, first: Pointer, dtype: str, words: int) -> Struct | View:
    """What a kernel's second parameter is: its struct, or all words where it has declared none."""
    kind = function.launch_struct
    if kind is None:
        return View(first, (words,))
    if words < kind.WORDS:
        message = f"{function.full_name}: {kind.__name__} has {kind.WORDS} words, a launch {words}"
        raise NotInTheLanguage(message)
    return Struct(kind, first, dtype)


def _kernel_type(dtype: str) -> Any:
    kinds = [INT, INT.as_pointer(), llvm_type(dtype).as_pointer()]
    return ir.FunctionType(ir.VoidType(), kinds)
