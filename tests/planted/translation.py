"""Faults in the translation of kernels to LLVM's instructions, and in what keeps their code."""

FAULTS = [
    ("ops/compiled/translation/values.py", "below = build.and_(build.icmp_signed(\"!=\", rest, zero), apart)", "below = apart", "test_translation.py"),
    ("ops/compiled/translation/values.py", "build.select(below, build.add(rest, b), rest)", "rest", "test_translation.py"),
    ("ops/compiled/translation/values.py", "return build.add(build.sdiv(a, b), build.sext(below, INT))", "return build.sdiv(a, b)", "test_translation.py"),
    ("ops/compiled/translation/values.py", "\"<\" if step > 0 else \">\", here, last", "\"<\", here, last", "test_translation.py"),
    ("ops/compiled/translation/values.py", "\">>\": (None, \"ashr\")", "\">>\": (None, \"lshr\")", "test_translation.py"),
    ("ops/compiled/translation/values.py", "offset = self.joined(\"*\", offset, size) if axis else 0", "offset = 0", "test_translation.py"),
    ("ops/compiled/translation/values.py", "self.cast(value, start.dtype).value, start.value", "self.number(value).value, start.value", "test_translation.py"),
    ("ops/compiled/translation/expressions.py", "wanted = held if isinstance(node.op, ast.And) else self.builder.not_(held)", "wanted = held", "test_translation.py"),
    ("ops/compiled/translation/expressions.py", "\"<\" if function is min else \">\", other, found", "\"<\", other, found", "test_translation.py"),
    ("ops/compiled/translation/expressions.py", "self.joined(\"-\", last, first), *found", "last, *found", "test_translation.py"),
    ("ops/compiled/translation/statements.py", "self._loops.append((head, end))", "self._loops.append((end, head))", "test_translation.py"),
    ("ops/compiled/translation/statements.py", "self.builder.branch(self._loops[-1][1])", "self.builder.branch(self._loops[0][1])", "test_translation.py"),
    ("ops/compiled/translation/statements.py", "        if variant not in self.linked:\n            self.linked.append(variant)\n", "        self.linked[:] = [variant]\n", "test_translation.py"),
    ("ops/compiled/launches.py", "        with _lock:\n", "        if True:\n", "test_kernel_cache.py -k first_for"),
]  # fmt: skip
