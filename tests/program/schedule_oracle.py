"""Runs a schedule on NumPy with its memory as declared: what is freed is spoilt, what shares memory
shares it. An oracle for the passes that needs no compiler."""

import numpy as np
from numpy.lib.stride_tricks import as_strided

from arraycnn.program.access import Access, dense, sliced
from arraycnn.program.interpret import _HANDLERS, _NUMPY_NAMES
from arraycnn.program.nodes import Node
from arraycnn.program.passes import chains
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.loops import expression_of
from arraycnn.program.passes.schedule import aligned_bytes


def run_by_image(schedule, values):
    """The outputs, where the steps of a chain work on one image after the other.

    What a step makes of an image is made of whatever the others have left by then; what it makes of
    all images together, of what it has seen of each.
    """
    memory = beginning(schedule, values)
    taken = peak = 0
    for chain, freed in chains_and_freed(schedule):
        for node in (node for step in chain.steps for node in step.writes):
            if node in schedule.memory_of:
                memory[node] = memory[schedule.memory_of[node]].reshape(node.shape)
            elif node not in memory:
                memory[node] = spoilt(node)
                taken += aligned_bytes(node)
        peak = max(peak, taken)
        changing = {node for step in chain.steps for node in step.writes}
        changing |= {schedule.memory_of[node] for node in changing if node in schedule.memory_of}
        seen = {
            step: {node: memory[node].copy() for node in step.reads & changing}
            for step in chain.steps
        }
        for image in range(chain.images):
            for step in chain.steps:
                for node, held in seen[step].items():
                    if node.size % chain.images == 0:
                        shares = [array.reshape(chain.images, -1) for array in (held, memory[node])]
                        shares[0][image] = shares[1][image]
                changed = dict(memory) | {node: memory[node].copy() for node in step.writes}
                run_step(step, schedule, changed)
                for node in step.writes:
                    if is_by_image(step, node):
                        shares = [
                            held[node].reshape(chain.images, -1) for held in (memory, changed)
                        ]
                        shares[0][image] = shares[1][image]
        # Those that are run side by side may be run in any order: here the last one first.
        for step in chain.steps if chain.images else reversed(chain.steps):
            changed = dict(memory) | (seen[step] if chain.images else {})
            changed |= {node: memory[node].copy() for node in step.writes}
            run_step(step, schedule, changed)
            for node in step.writes:
                if not chain.images or not is_by_image(step, node):
                    memory[node][...] = changed[node]
        for node in freed:
            memory[node][...] = spoilt(node)
            taken -= aligned_bytes(node)
    assert peak == chains.peak_bytes(schedule)
    return ending(schedule, memory)


def chains_and_freed(schedule):
    """The chains of a schedule, which must be its steps in order, and what is not needed after each."""
    found, position = chains.chains(schedule), 0
    for chain in found:
        last = position + len(chain.steps)
        assert chain.steps == schedule.steps[position:last]
        assert chain.images or len(chain.steps) == 1 or all(s.head is None for s in chain.steps)
        yield chain, [node for part in schedule.freed[position:last] for node in part]
        position = last
    assert position == len(schedule.steps)


def is_by_image(step, node):
    """Whether each image has a share of its own in a result."""
    if step.head is not None:
        op = step.head.op
        return not (op.startswith("conv2d") and op.endswith("backward")) or node.attrs[0] == 0
    return all(0 not in root.axes for root in step.roots if root.target is node)


def beginning(schedule, values):
    memory = {
        node: np.ascontiguousarray(values[name]) for name, node in schedule.program.inputs.items()
    }
    return memory | {
        n: n.attrs[0].array.copy() for n in schedule.program.nodes if n.op == "constant"
    }


def ending(schedule, memory):
    for node, place in schedule.copies():
        memory[place][...] = memory[base(node)].reshape(node.shape)
    return {
        name: memory[base(node)].reshape(node.shape)
        for name, node in schedule.program.outputs.items()
    }


def run(schedule, values):
    """(outputs, the most bytes that values took at once); ``values`` are overwritten as declared."""
    memory = beginning(schedule, values)
    taken = peak = 0
    for step, freed in zip(schedule.steps, schedule.freed, strict=True):
        for node in dict.fromkeys(step.writes):
            if node in memory:
                continue
            if node in schedule.memory_of:
                memory[node] = memory[schedule.memory_of[node]].reshape(node.shape)
            else:
                memory[node] = spoilt(node)
                taken += aligned_bytes(node)
        peak = max(peak, taken)
        run_step(step, schedule, memory)
        for node in freed:
            memory[node][...] = spoilt(node)
            taken -= aligned_bytes(node)
    return ending(schedule, memory), peak


def run_step(step, schedule, memory):
    if step.head is not None:
        run_head(step, memory)
    else:
        run_loop(step, schedule, memory)


def spoilt(node: Node) -> np.ndarray:
    kind = node.dtype.kind
    return np.full(node.shape, np.nan if kind == "f" else kind == "b" or 111, node.dtype)


def run_head(step, memory):
    inputs = [memory[base(operand)].reshape(operand.shape) for operand in step.head.operands]
    result = _HANDLERS[step.head.op](step.head, inputs)
    if step.writes == [step.head]:
        memory[step.head][...] = result
    else:
        for part in step.writes:
            memory[part][...] = result[part.attrs[0]]


def run_loop(step, schedule, memory):
    expression, numbers = expression_of(step.roots, schedule.held - step.recomputed)
    space = step.roots[0].space
    assert {root.space for root in step.roots} == {space}
    assert len({root.axes for root in step.roots if root.op != "write"}) <= 1
    results = []
    for instruction in expression.instructions:
        results.append(evaluate(instruction, results, memory, space))
    # A loop reads a point before it writes it, but may write one before it reads another: so what
    # is written where something is read must be read there only.
    for root in step.roots:
        if root.op != "write":
            continue
        for instruction in expression.instructions:
            if instruction.buffer is None:
                continue
            if np.shares_memory(memory[instruction.buffer], memory[root.target]):
                assert instruction.op == "load"
                assert instruction.access == target_access(root), "reads what is written elsewhere"
    for root, number in zip(step.roots, numbers, strict=True):
        value = np.broadcast_to(results[number], space)
        target = memory[root.target]
        if root.op == "write":
            strided(target, target_access(root))[...] = value
        elif "arg" in root.op:
            target[...] = getattr(np, root.op)(value, axis=root.axes[0]).reshape(target.shape)
        else:
            dtype = {"dtype": target.dtype} if root.op in ("sum", "prod") else {}
            total = getattr(np, root.op)(value, axis=root.axes, **dtype)
            target[...] = np.reshape(total, target.shape)


def target_access(root):
    return dense(root.space) if root.index is None else sliced(dense(root.target.shape), root.index)


def strided(array: np.ndarray, access: Access) -> np.ndarray:
    """The numbers of an access; it must stay within the array."""
    ends = [access.offset, access.offset]
    for size, stride in zip(access.shape, access.strides, strict=True):
        ends[stride > 0] += (size - 1) * stride
    assert 0 <= ends[0] <= ends[1] < max(array.size, 1), "reaches beyond the array"
    flat = array.reshape(-1)[access.offset :]
    strides = [stride * array.itemsize for stride in access.strides]
    return as_strided(flat, access.shape, strides)


@np.errstate(all="ignore")
def evaluate(instruction, results, memory, space):
    if instruction.op == "number":
        return np.asarray(instruction.value, instruction.dtype)
    if instruction.op == "coordinate":
        return coordinates(instruction.access, space).astype(instruction.dtype)
    if instruction.op == "load":
        return strided(memory[instruction.buffer], instruction.access).copy()
    if instruction.op == "gather":
        stride, _ = instruction.axis
        places = coordinates(instruction.access, space) + stride * results[instruction.inputs[0]]
        return memory[instruction.buffer].reshape(-1)[places]
    inputs = [results[number] for number in instruction.inputs]
    if instruction.op == "astype":
        return inputs[0].astype(instruction.dtype)
    if instruction.op == "pow":
        return inputs[0] ** inputs[1]
    return getattr(np, _NUMPY_NAMES.get(instruction.op, instruction.op))(*inputs)


def coordinates(access, space):
    total = np.full(space, access.offset, np.int64)
    for axis, stride in enumerate(access.strides):
        shape = [1] * len(space)
        shape[axis] = space[axis]
        total = total + stride * np.arange(space[axis]).reshape(shape)
    return total
