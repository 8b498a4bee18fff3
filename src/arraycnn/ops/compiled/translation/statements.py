"""Statements of a kernel's function, and calls of other such functions."""

from __future__ import annotations

import ast
from typing import Any

from llvmlite import ir

from arraycnn.ops.compiled.translation.expressions import Expressions, sign_of
from arraycnn.ops.compiled.translation.functions import Function, Instruction, Variant
from arraycnn.ops.compiled.translation.names import Variable
from arraycnn.ops.compiled.translation.values import (
    INT,
    NotInTheLanguage,
    Number,
    Pointer,
    View,
    llvm_type,
)


def type_of(function: Function, dtype: str) -> Any:
    """LLVM's type of a linked function."""
    pointer = llvm_type(dtype).as_pointer()
    kinds = [pointer if name in function.pointers else INT for name in function.parameters]
    return ir.FunctionType(ir.VoidType(), kinds)


class Body(Expressions):
    """The body of one function, written where the builder stands.

    Parameters
    ----------
    linked : list of Variant
        Takes those that it calls and that are compiled by themselves.
    """

    def __init__(self, builder: Any, function: Function, dtype: str, linked: list[Variant]) -> None:
        super().__init__(builder, function.outside)
        self._of, self.dtype, self.linked = function, dtype, linked
        self._end: Any = None
        self._here: ast.AST = function.tree  # what is being written
        self._loops: list[tuple[Any, Any]] = []  # where continue and break go to

    def run(self, arguments: list[Any]) -> Any:
        """Write the body for ``arguments``; what it returns in its last statement."""
        for parameter, value in zip(self._of.parameters, arguments, strict=True):
            self._bind(parameter, value)
        *statements, last = self._of.tree.body
        result = None
        try:
            for node in statements:
                self._statement(node)
            self._here = last
            if isinstance(last, ast.Return) and last.value is not None:
                result = self.value(last.value)
            else:
                self._statement(last)
        except NotInTheLanguage as error:
            raise NotInTheLanguage(f"{self._of.at(self._here)}: {error}") from None
        if self._end is not None:
            self._go(self._end)
            self.builder.position_at_end(self._end)
        return result

    def call_function(self, function: Any, arguments: list[Any]) -> Any:
        if isinstance(function, Instruction):
            return function.write(self, *arguments)
        if not isinstance(function, Function):
            raise NotInTheLanguage(f"a call of {function}")
        if not function.is_linked:
            return Body(self.builder, function, self.dtype, self.linked).run(arguments)
        given = zip(function.parameters, arguments, strict=True)
        fixed = [(name, value) for name, value in given if name in function.fixed]
        known = tuple((name, int(value)) for name, value in fixed if isinstance(value, int))
        variant = Variant(function, known)
        if variant not in self.linked:
            self.linked.append(variant)
        values = [
            argument.value if isinstance(argument, Pointer) else self.integer(argument)
            for argument in arguments
        ]
        callee = self.declared(variant.name, type_of(function, self.dtype))
        self.builder.call(callee, values)
        return None

    def _block(self, statements: list[ast.stmt]) -> None:
        with self.names.block():
            for statement in statements:
                self._statement(statement)

    def _statement(self, node: ast.stmt) -> None:
        self._here = node
        if self.builder.block.is_terminated:
            raise NotInTheLanguage(f"never reached: {ast.unparse(node)}")
        name = f"_do_{type(node).__name__.lower()}"
        if not hasattr(self, name):
            raise NotInTheLanguage(ast.unparse(node))
        getattr(self, name)(node)

    def _go(self, block: Any) -> None:
        if not self.builder.block.is_terminated:
            self.builder.branch(block)

    def _do_expr(self, node: ast.Expr) -> None:
        if not isinstance(node.value, ast.Constant):
            self.value(node.value)

    def _do_assign(self, node: ast.Assign) -> None:
        value = self.value(node.value)
        for target in node.targets:
            self._assign(target, value)

    def _do_augassign(self, node: ast.AugAssign) -> None:
        sign, added = sign_of(node.op), self.value(node.value)
        if isinstance(node.target, ast.Name):
            held = self.value(ast.Name(node.target.id, ast.Load()))
            self._bind(node.target.id, self.joined(sign, held, added))
            return
        place = self._place_of(node.target)
        if not isinstance(place, Pointer):
            raise NotInTheLanguage(ast.unparse(node))
        self.store(self.joined(sign, self.load(place), added), place)

    def _do_for(self, node: ast.For) -> None:
        call, target = node.iter, node.target
        named = isinstance(call, ast.Call) and self.value(call.func) is range
        if not named or not isinstance(target, ast.Name) or node.orelse:
            raise NotInTheLanguage(ast.unparse(node))
        assert isinstance(call, ast.Call)
        bounds = [self.value(argument) for argument in call.args]
        first, last, step = (0, *bounds, 1) if len(bounds) == 1 else (*bounds, 1)[:3]
        step = step if isinstance(step, int) else self.integer(step)
        with self.counting(self.integer(first), self.integer(last), step) as (here, onward, end):
            self._bind(target.id, Number("int64", here))
            self._loops.append((onward, end))
            self._block(node.body)
            self._loops.pop()

    def _do_while(self, node: ast.While) -> None:
        function = self.builder.function
        head, body, end = (function.append_basic_block() for _ in range(3))
        self.builder.branch(head)
        self.builder.position_at_end(head)
        self.builder.cbranch(self.truth(self.value(node.test)), body, end)
        self.builder.position_at_end(body)
        self._loops.append((head, end))
        self._block(node.body)
        self._loops.pop()
        self._go(head)
        self.builder.position_at_end(end)

    def _do_if(self, node: ast.If) -> None:
        function = self.builder.function
        then, other, end = (function.append_basic_block() for _ in range(3))
        self.builder.cbranch(self.truth(self.value(node.test)), then, other)
        for block, statements in ((then, node.body), (other, node.orelse)):
            self.builder.position_at_end(block)
            self._block(statements)
            self._go(end)
        self.builder.position_at_end(end)

    def _do_continue(self, _: ast.Continue) -> None:
        self.builder.branch(self._loops[-1][0])

    def _do_break(self, _: ast.Break) -> None:
        self.builder.branch(self._loops[-1][1])

    def _do_return(self, node: ast.Return) -> None:
        if node.value is not None:
            raise NotInTheLanguage("a value is returned by the last statement alone")
        if self._end is None:
            self._end = self.builder.function.append_basic_block()
        self.builder.branch(self._end)

    def _assign(self, target: ast.expr, value: Any) -> None:
        if isinstance(target, ast.Tuple):
            for one, part in zip(target.elts, value, strict=True):
                self._assign(one, part)
        elif isinstance(target, ast.Name):
            self._bind(target.id, value)
        else:
            self._fill(self._place_of(target), value)

    def _place_of(self, target: ast.expr) -> View | Pointer:
        if not isinstance(target, ast.Subscript):
            raise NotInTheLanguage(ast.unparse(target))
        view = self.value(target.value)
        if not isinstance(view, View):
            raise NotInTheLanguage(ast.unparse(target))
        return self.place(view, target.slice)

    def _fill(self, place: View | Pointer, value: Any) -> None:
        """Write one number, or all of a view of one axis: the same number, or those of another."""
        if isinstance(place, Pointer):
            self.store(value, place)
            return
        (size,) = place.shape
        with self.counting(self.integer(0), self.integer(size), 1) as (here, _, _):
            number = Number("int64", here)
            given = value
            if isinstance(value, View):
                given = self.load(self.after(value.start, number))
            self.store(given, self.after(place.start, number))

    def _bind(self, name: str, value: Any) -> None:
        """Give a variable its value; a view and what Python knows is only named."""
        if isinstance(value, bool | int | float):
            value = self.number(value)
        if isinstance(value, Number) and value.dtype in ("uint8", "int32"):
            value = self.cast(value, "int64")
        if not isinstance(value, Number | Pointer):
            self.names.give(name, value)
            return
        held = self.names.variable(name)
        if held is None:
            held = Variable(type(value), value.dtype, self.cell(value.value.type))
            self.names.give(name, held)
        if held.kind is not type(value):
            raise NotInTheLanguage(f"{name} is a number and a pointer")
        if value.dtype != held.dtype:
            raise NotInTheLanguage(f"{name} is of {held.dtype}, and then of {value.dtype}")
        self.builder.store(value.value, held.cell)
