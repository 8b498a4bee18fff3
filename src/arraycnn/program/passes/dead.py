"""Dead nodes: what no output needs is left out."""

from __future__ import annotations

from arraycnn.program.nodes import Node, Program


def without_dead(program: Program) -> Program:
    """The program without nodes that no output is made of; inputs stay."""
    living: set[Node] = set(program.inputs.values())
    waiting = list(program.outputs.values())
    while waiting:
        node = waiting.pop()
        if node not in living or node.op == "input":
            living.add(node)
            waiting += [operand for operand in node.operands if operand not in living]
    return Program(
        tuple(node for node in program.nodes if node in living), program.inputs, program.outputs
    )
