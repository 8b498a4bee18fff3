"""Dead nodes: what no output needs is left out, but for calls of Python code."""

from __future__ import annotations

from arraycnn.program.nodes import Node, Program


def without_dead(program: Program) -> Program:
    """The program without nodes that no output is made of; inputs and opaque calls stay."""
    living: set[Node] = set(program.inputs.values())
    waiting = [*program.outputs.values(), *filter(_is_of_a_call, program.nodes)]
    while waiting:
        node = waiting.pop()
        if node not in living or node.op == "input":
            living.add(node)
            waiting += [operand for operand in node.operands if operand not in living]
    return Program(
        tuple(node for node in program.nodes if node in living), program.inputs, program.outputs
    )


def _is_of_a_call(node: Node) -> bool:
    """Whether it is an opaque call, or one of its results: who knows what else it does."""
    return node.kind == "opaque" or (node.kind == "part" and node.inputs[0].kind == "opaque")
