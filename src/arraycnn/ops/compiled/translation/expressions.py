"""Expressions of a kernel's function."""

from __future__ import annotations

import ast
import builtins
from typing import Any

import numpy as np

from arraycnn.ops.compiled.translation.names import Names, Variable
from arraycnn.ops.compiled.translation.values import (
    Arithmetic,
    NotInTheLanguage,
    Number,
    Pointer,
    Struct,
    View,
    dtype_of,
)

_SIGNS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//", ast.Mod: "%",
    ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^", ast.LShift: "<<", ast.RShift: ">>",
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
}  # fmt: skip


def sign_of(node: ast.AST) -> str:
    sign = _SIGNS.get(type(node))
    if sign is None:
        raise NotInTheLanguage(ast.dump(node))
    return sign


class Expressions(Arithmetic):
    """Expressions, in the names of one function and of its module."""

    def __init__(self, builder: Any, outside: dict[str, Any]) -> None:
        super().__init__(builder)
        self.names = Names()
        self._outside = outside

    def call_function(self, function: Any, arguments: list[Any]) -> Any:
        """What a function of the language gives."""
        raise NotImplementedError

    def value(self, node: ast.expr) -> Any:
        """The value of ``node``: of the code, or one that Python knows."""
        name = f"_{type(node).__name__.lower()}"
        found = getattr(self, name, None)
        if found is None:
            raise NotInTheLanguage(ast.unparse(node))
        return found(node)

    def _constant(self, node: ast.Constant) -> Any:
        return node.value

    def _name(self, node: ast.Name) -> Any:
        if node.id not in self.names:
            known = {**vars(builtins), **self._outside}
            if node.id not in known:
                raise NotInTheLanguage(f"no name: {node.id}")
            return known[node.id]
        found = self.names.read(node.id)
        if isinstance(found, Variable):
            return found.kind(found.dtype, self.builder.load(found.cell))
        return found

    def _attribute(self, node: ast.Attribute) -> Any:
        of = self.value(node.value)
        if isinstance(of, Struct):
            return self.field(of, node.attr)
        if isinstance(of, View):
            return {"dtype": np.dtype(of.dtype), "shape": of.shape}[node.attr]
        return getattr(of, node.attr)

    def _tuple(self, node: ast.Tuple) -> tuple[Any, ...]:
        return tuple(map(self.value, node.elts))

    def _binop(self, node: ast.BinOp) -> Any:
        return self.joined(sign_of(node.op), self.value(node.left), self.value(node.right))

    def _unaryop(self, node: ast.UnaryOp) -> Any:
        value = self.value(node.operand)
        if isinstance(node.op, ast.USub):
            return self.negative(value)
        if isinstance(node.op, ast.Not):
            return self.inverse(value)
        raise NotInTheLanguage(ast.unparse(node))

    def _compare(self, node: ast.Compare) -> Any:
        if len(node.ops) > 1:
            raise NotInTheLanguage(ast.unparse(node))
        (sign,), (other,) = node.ops, node.comparators
        if isinstance(sign, ast.Is | ast.IsNot):
            if self.value(other) is not None:
                raise NotInTheLanguage(ast.unparse(node))
            missing = self.is_missing(self.value(node.left))
            return missing if isinstance(sign, ast.Is) else self.inverse(missing)
        return self.compared(sign_of(sign), self.value(node.left), self.value(other))

    def _boolop(self, node: ast.BoolOp) -> Number:
        """A later operand is computed where the earlier ones have not decided, as in Python."""
        first, *others = node.values
        held = self.truth(self.value(first))
        for other in others:
            wanted = held if isinstance(node.op, ast.And) else self.builder.not_(held)
            cell = self.cell(held.type)
            self.builder.store(held, cell)
            with self.builder.if_then(wanted):
                self.builder.store(self.truth(self.value(other)), cell)
            held = self.builder.load(cell)
        return Number("bool", held)

    def _ifexp(self, node: ast.IfExp) -> Any:
        """Only the operand that is wanted is computed."""
        ends, results = [], []
        wanted = self.truth(self.value(node.test))
        with self.builder.if_else(wanted) as branches:
            for branch, operand in zip(branches, (node.body, node.orelse), strict=True):
                with branch:
                    results.append(self.number(self.value(operand)))
                    ends.append(self.builder.block)
        one, other = results
        if one.dtype != other.dtype:
            raise NotInTheLanguage(f"{ast.unparse(node)}: {one.dtype} or {other.dtype}")
        merged = self.builder.phi(one.value.type)
        for result, end in zip(results, ends, strict=True):
            merged.add_incoming(result.value, end)
        return Number(one.dtype, merged)

    def _subscript(self, node: ast.Subscript) -> Any:
        of = self.value(node.value)
        if not isinstance(of, View):
            return of[self.value(node.slice)]
        place = self.place(of, node.slice)
        return self.load(place) if isinstance(place, Pointer) else place

    def place(self, view: View, index: ast.expr) -> View | Pointer:
        """What an index of a view names: numbers, and then perhaps a part of the next axis."""
        indices = index.elts if isinstance(index, ast.Tuple) else [index]
        numbers = [self.value(one) for one in indices if not isinstance(one, ast.Slice)]
        found = self.part(view, numbers) if numbers else view
        if len(numbers) == len(indices):
            return found
        cut = indices[-1]
        if len(numbers) != len(indices) - 1 or not isinstance(cut, ast.Slice) or cut.step:
            raise NotInTheLanguage(ast.unparse(index))
        assert isinstance(found, View)
        first = self.value(cut.lower) if cut.lower else 0
        last = self.value(cut.upper) if cut.upper else found.shape[0]
        start = self.part(found, [first])
        if isinstance(start, View):
            start = start.start
        return View(start, (self.joined("-", last, first), *found.shape[1:]))

    def _call(self, node: ast.Call) -> Any:
        if node.keywords:
            raise NotInTheLanguage(ast.unparse(node))
        function = self.value(node.func)
        arguments = [self.value(argument) for argument in node.args]
        if function in (min, max):
            found, *others = arguments
            for other in others:
                found = self.chosen("<" if function is min else ">", other, found)
            return found
        if isinstance(function, type) and issubclass(function, np.generic):
            return self.cast(arguments[0], dtype_of(function))
        return self.call_function(function, arguments)
