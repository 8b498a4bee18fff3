"""Faults in tracing, in the passes over programs, and in their renderer."""

_TRACE = "-k 'not random' program/test_program_trace.py"
_PASSES = "program/test_program_passes.py"
_RENDER = (
    "program/test_program_render.py -k 'reductions or functions or powers or blocks or rendered'"
)

# (file under src/arraycnn, what stands there, the fault, the tests that are to notice)
FAULTS = [
    ("program/trace.py", 'if op == "divide" and np.dtype(dtype).kind in "iub"', "if False", _TRACE),
    (
        "program/trace.py",
        "pointwise(op, other, self) if reflected",
        "pointwise(op, self, other) if reflected",
        _TRACE,
    ),
    ("program/trace.py", "np.generic | np.ndarray", "np.ndarray", _TRACE),
    ("program/namespace.py", "return Traced(x.node) if copy else x", "return x", _TRACE),
    (
        "program/namespace.py",
        "float(max(_count(x, axis) - correction, 0.0))",
        "float(_count(x, axis) - correction - 1.0)",
        _TRACE,
    ),
    (
        "program/namespace.py",
        '{"b": np.int64, "i": np.int64',
        '{"b": np.int32, "i": np.int64',
        _TRACE,
    ),
    (
        "program/heads.py",
        "x if need_dx else None, weight, dbias",
        "x if need_dx else None, weight, weight",
        _TRACE,
    ),
    (
        "program/steps.py",
        'Context(HEADS, "train", dtype, random)',
        'Context(HEADS, "infer", dtype, random)',
        _TRACE,
    ),
    (
        "program/access.py",
        "step *= size\n    return Access(shape",
        "step += size\n    return Access(shape",
        _PASSES,
    ),
    (
        "program/access.py",
        "offset += (taken.start if len(taken) else 0) * stride",
        "offset += taken.start",
        _PASSES,
    ),
    (
        "program/access.py",
        "taken.step * stride if len(taken) > 1",
        "stride if len(taken) > 1",
        _PASSES,
    ),
    (
        "program/access.py",
        "if old[axis][1] != old[axis + 1][0] * old[axis + 1][1]:",
        "if False:",
        _PASSES,
    ),
    ("program/access.py", "part + size if part < 0 else part", "part", _PASSES),
    (
        "program/expression.py",
        "strides = tuple(stride * step for",
        "strides = tuple(stride for",
        _PASSES,
    ),
    (
        "program/expression.py",
        "*(0,) * count, *whole.strides",
        "*(1,) * count, *whole.strides",
        _PASSES,
    ),
    ("program/expression.py", "type(value).__name__, repr(value))", "0)", _PASSES),
    ("program/passes/simplify.py", "(type(value).__name__, repr(value))", "value", _PASSES),
    ("program/passes/simplify.py", "node.attrs == tuple(range(len(node.shape)))", "True", _PASSES),
    ("program/passes/dead.py", "waiting += [operand", "continue; waiting += [operand", _PASSES),
    ("program/passes/loops.py", "needed.add(self._maker[root.target])", "pass", _PASSES),
    ("program/passes/loops.py", "read not in identical or made[read].op", "made[read].op", _PASSES),
    ("program/passes/loops.py", "and axes and axes != {root.axes}", "and False", _PASSES),
    ("program/passes/loops.py", "first = last\n", "", _PASSES),
    (
        "program/passes/schedule.py",
        "if any(place in later.reads for later",
        "if any(False for later",
        _PASSES,
    ),
    (
        "program/passes/schedule.py",
        "if not own or not _reads_only(",
        "if False and _reads_only(",
        _PASSES,
    ),
    ("program/passes/schedule.py", "if not waiting[after]:", "if waiting[after] <= 1:", _PASSES),
    (
        "program/passes/schedule.py",
        "held -= sum(map(aligned_bytes, freed))",
        "held -= 2 * sum(map(aligned_bytes, freed))",
        _PASSES,
    ),
    ("program/passes/schedule.py", "last.pop(memory(node), None)", "last.pop(node, None)", _PASSES),
    ("program/render/functions.py", "high, low = _LOG2[wide]", "low, high = _LOG2[wide]", _RENDER),
    ("program/render/functions.py", "self._same(x, 0.35)", "self._same(x, 2.0)", _RENDER),
    (
        "program/render/functions.py",
        'result = self._where("<", x, zero,',
        'result = self._where("<", x, infinity,',
        _RENDER,
    ),
    (
        "program/render/values.py",
        'if dtype.kind == "f":\n            better',
        "if False:\n            better",
        _RENDER,
    ),
    (
        "program/render/reductions.py",
        "better = build.and_(build.or_(better, nan), build.not_(was))",
        "pass",
        _RENDER,
    ),
    (
        "program/render/reductions.py",
        'if result.op in ("prod", "all"):\n        return 1',
        'if result.op in ("prod", "all"):\n        return 0',
        _RENDER,
    ),
    ("program/render/layout.py", "self.blocks > 1", "self.blocks > 2", _RENDER),
    (
        "program/render/llvm.py",
        'wanted = build.and_(wanted, build.icmp_signed("==", self.block, final))',
        "pass",
        _RENDER,
    ),
    ("program/render/llvm.py", "if steady.mask is not None and not", "if False and not", _RENDER),
    (
        "program/render/loop_code.py",
        "(walk.lane * layout.width,) if layout.split",
        "(walk.lane,) if layout.split",
        _RENDER,
    ),
    (
        "program/render/launching.py",
        "zip(self._combining, partial_sums, strict=False)",
        "()",
        _RENDER,
    ),
]
