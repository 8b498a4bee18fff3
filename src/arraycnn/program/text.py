"""Programs as text, for people and for tests."""

from __future__ import annotations

from typing import Any

from arraycnn.program.nodes import Node, Program


def listing(program: Program) -> str:
    """One line a node: its number, what makes it, of which nodes, and the layer that asked for it."""
    numbers = {node: number for number, node in enumerate(program.nodes)}
    lines = [f"%{numbers[node]} = {definition(node, numbers)}" for node in program.nodes]
    width = min(max(map(len, lines), default=0), 88)
    lines = [
        f"{line:<{width}}  # {node.where}" if node.where else line
        for line, node in zip(lines, program.nodes, strict=True)
    ]
    lines += [f"return {name} = %{numbers[node]}" for name, node in program.outputs.items()]
    return "\n".join(lines)


def definition(node: Node, numbers: dict[Node, int]) -> str:
    """ "add float32 (64, 10) %3 %4": operation, dtype, shape, inputs, attributes."""
    inputs = [
        f"%{numbers[value]}" if isinstance(value, Node) else repr(value) for value in node.inputs
    ]
    attrs = [_attribute(value) for value in node.attrs]
    return " ".join([node.op, str(node.dtype), str(node.shape), *inputs, *attrs])


def _attribute(value: Any) -> str:
    if isinstance(value, slice):
        return ":".join(
            "" if end is None else str(end) for end in (value.start, value.stop, value.step)
        )
    return repr(value)


def bytes_in_words(count: int) -> str:
    """ "3.2 MB", "64 kB", "12 B"."""
    if count >= 10**5:
        return f"{count / 1e6:,.1f} MB"
    return f"{count / 1e3:.0f} kB" if count >= 1000 else f"{count} B"
