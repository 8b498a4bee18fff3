"""Faults in what makes CUDA C++ of programs: walks, groups, reductions, epilogues, launches."""

_WALKS = "program/test_program_cuda_kernels.py program/test_program_cuda_reductions.py"

OPS = "program/test_program_cuda.py -k 'not eager'"
SUMS = "program/test_program_cuda_reductions.py"
KERNELS = f"{_WALKS} -k 'not named_network'"
STEPS = "program/test_program_cuda.py -k eager_step"
SUMS_AND_STEPS = (
    "program/test_program_cuda_reductions.py program/test_program_cuda.py -k 'not random'"
)
KERNELS_AND_STEPS = f"{_WALKS} program/test_program_cuda.py -k 'not random and not named_network'"
MEMORY = "--host-driver=lazy backends/test_host_driver_memory.py -k 'names_a_batch or take_what'"
EPILOGUES = "program/test_program_cuda_epilogues.py"

ROWS = "program/test_program_cuda_rows.py"
PARTS = "program/test_program_cuda_sums.py"
NODES = (
    "program/test_program_cuda_kernels.py program/test_program_cuda_epilogues.py "
    "-k 'kernels_of or parts_of'"
)
STORAGE = "program/test_program_storage.py -k 'leaves or read_and or others_read or half or only_a or dtype'"
STORED_STEP = "program/test_program_storage.py -k 'epilogue or rounding or nan'"

PROLOGUES = "program/test_program_cuda_prologue.py"
UPDATES = "program/test_program_cuda_updates.py"
DIVISIONS = "program/test_program_cuda.py -k known_number"

_CUDA = "program/render/cuda"
_STORAGE = "program/passes/storage.py"

FAULTS = [
    (_STORAGE, '("dense_backward", "conv2d_backward"), (0, 1, 2)', '("dense_backward", "conv2d_backward"), (0, 1)', STORAGE),
    (_STORAGE, "if suits(x.shape, weight.shape, window, pool):", "if False:", STORAGE),
    (_STORAGE, "refused = {base(node) for node in program.outputs.values()}", "refused: set[Node] = set()", STORAGE),
    (_STORAGE, '(node.is_alone or node.op == "take")', "node.is_alone", STORAGE),
    (_STORAGE, "elif place not in picked or not _in_packs(operand):", "elif place not in picked:", STORAGE),
    (_STORAGE, "if node.dtype != _FLOAT32 or not _in_packs(node):", "if not _in_packs(node):", STORAGE),
    (_STORAGE, "instead[old] = cast(stored[old], _FLOAT32)", "pass", STORAGE),
    (_STORAGE, 'elif old.op == "reshape" and old.inputs[0] in stored:', "elif False:", STORAGE),
    ("program/nodes.py", 'return dtype["bits"] if dtype == BFLOAT16 else dtype', "return dtype", STORAGE),
    ("execution/device.py", 'if precision == "bf16" else', 'if precision != "fp32" else', STORAGE),
    (f"{_CUDA}/epilogue.py", 'if product.dtype != BFLOAT16 else "Bfloat16(value)"', 'if product else ""', STORED_STEP),
    (f"{_CUDA}/heads.py", "if BFLOAT16 not in known:", "if BFLOAT16 in known:", STORED_STEP),
    (f"{_CUDA}/pointwise.py", 'and dtype.kind != "f" and dtype != BFLOAT16:', 'and dtype.kind != "f":', STORED_STEP),
    ("ops/cuda/pointwise.cuh", "return a > b || a != a ? a : b;", "return a > b ? a : b;", OPS),
    ("ops/cuda/pointwise.cuh", "return rest != T(0) &&", "return rest == T(0) &&", OPS),
    ("ops/cuda/pointwise.cuh", "(rest < T(0)) != (b < T(0))", "rest < T(0)", OPS),
    ("ops/cuda/pointwise.cuh", "if (b == T(0)) return T(0);", "", OPS),
    ("ops/cuda/pointwise.cuh", "return (T)((U)a * (U)b);", "return (T)(a * b);", OPS),
    ("ops/cuda/pointwise.cuh", "if (x != x) return T(0);", "", OPS),
    ("ops/cuda/pointwise.cuh", "x >= (double)most ? most", "x > (double)most ? most", OPS),
    ("ops/cuda/pointwise.cuh", "left % 2", "left", OPS),
    ("ops/cuda/pointwise.cuh", "index < 0 ? index + size : index", "index", OPS),
    ("ops/cuda/pointwise.cuh", "return a.place < b.place ? a : b;", "return a;", SUMS),
    ("ops/cuda/pointwise.cuh", "!nan_a && (nan_b || better)", "better", SUMS),
    ("ops/cuda/pointwise.cuh", "if (a.place < 0) return b;", "", SUMS),
    ("ops/cuda/pointwise.cuh", "away * away * a.count * share", "away * away * share", SUMS),
    ("ops/cuda/pointwise.cuh", "so_far.squares += away * (x - so_far.mean)", "so_far.squares += away * away", SUMS),
    ("ops/cuda/pointwise.cuh", "shared[place + half * STRIDE]", "shared[place + half]", SUMS),
    ("ops/cuda/pointwise.cuh", "        __syncthreads();\n        if (rank < half) {", "        if (rank < half) {", SUMS),
    ("ops/cuda/pointwise.cuh", "    __syncthreads();  // `shared` may be written again\n", "", SUMS_AND_STEPS),
    ("ops/cuda/pointwise.cuh", "split + i * RANKS", "split + i * (RANKS + 1)", SUMS),
    ("ops/cuda/device.cuh", "        if (is_last) *counter = 0;\n", "", SUMS),
    ("ops/cuda/device.cuh", "    __threadfence();\n    __syncthreads();", "    __syncthreads();", KERNELS),
    (f"{_CUDA}/pointwise.py", '"round": "rint"', '"round": "floor"', OPS),
    (f"{_CUDA}/pointwise.py", 'return f"(1 / {whole})" if exponent < 0 else whole', "return whole", OPS),
    (f"{_CUDA}/walk.py", "for axis in axes", "for axis in axes[:1]", KERNELS),
    (f"{_CUDA}/walk.py", "lanes * widest > 16 or groups[-1][1] % lanes", "lanes * widest > 16", OPS),
    (f"{_CUDA}/walk.py", "all(place % lanes == 0 for place in (access.offset, *others))", "True", OPS),
    (f"{_CUDA}/walk.py", "per = max(1, -(-rows // wanted))", "per = max(1, rows // wanted)", SUMS),
    (f"{_CUDA}/lines.py", "terms.append(str(access.offset))", "terms.append(str(-access.offset))", OPS),
    (f"{_CUDA}/lines.py", "{rest} % {axis.size}", "{rest} % {axis.size + 1}", OPS),
    (f"{_CUDA}/loop_text.py", 'first + (Index){share}"', 'first + (Index){share} - 1"', SUMS),
    (f"{_CUDA}/loop_text.py", "{' * LANES + l' if along else ''}", "", SUMS),
    (f"{_CUDA}/kernel_text.py", 'self._lines.append("__syncthreads();")', "pass", KERNELS),
    (f"{_CUDA}/kernel_text.py", "int(bool(group.following) or any(parts))", "int(any(parts))", KERNELS_AND_STEPS),
    (f"{_CUDA}/kernel_text.py", "found[root.target, root.target.dtype.itemsize * walk.lanes] = None", "pass", OPS),
    (f"{_CUDA}/parameters.py", "if node in self._written else", "if False else", KERNELS),
    ("program/passes/schedule.py", "writes & other_reads or reads & other_writes", "writes & other_reads", STEPS),
    (f"{_CUDA}/grouping.py", "if room and _are_apart(group.following, schedule):", "if room:", STEPS),
    (f"{_CUDA}/grouping.py", 'any(node.op in ("update", "concat") for node in step.writes)', "False", STEPS),
    (f"{_CUDA}/moments.py", "if number is None or _seen_through(node.inputs[0]) is not total:", "if number is None:", SUMS),
    (f"{_CUDA}/moments.py", "abs(float(number) - wanted) <= _ROUNDING * wanted", "True", SUMS),
    (f"{_CUDA}/moments.py", "found[0].strides == tuple(strides)", "True", SUMS),
    (f"{_CUDA}/epilogue.py", "one.op != \"load\" or one.access != dense(node.shape)", "one.op != \"load\"", EPILOGUES),
    (f"{_CUDA}/epilogue.py", "if any(node in other.reads for other in schedule.steps if other is not step):", "if False:", EPILOGUES),
    (f"{_CUDA}/epilogue.py", "if base(node) in {base(one) for one in schedule.program.outputs.values()}:", "if False:", EPILOGUES),
    (f"{_CUDA}/epilogue.py", 'body.append(f"value += ', 'body.append(f"value -= ', EPILOGUES),
    (f"{_CUDA}/epilogue.py", 'if node.op.endswith("_relu"):', "if False:", EPILOGUES),
    (f"{_CUDA}/parameters.py", "return text_of(False) if astray else text", "return text", KERNELS),
    (f"{_CUDA}/launches.py", "            del freed[step]\n", "            pass\n", KERNELS),
    ("ops/max_pool2d/windows.cu", "s.pixel(place / s.wide, place % s.wide, 0)", "s.pixel(place % s.wide, place / s.wide, 0)", "ops/test_cuda_windows.py"),
    ("program/steps.py", "xp.arange(table.shape[0], dtype=np.int32) == cursor, value, table", "xp.arange(table.shape[0], dtype=np.int32) <= cursor, value, table", "--host-driver=eager backends/test_host_driver_programs.py"),
    ("ops/cuda/cupy.py", "        recording.parts.append(function)\n", "", "--host-driver=eager backends/test_host_driver_programs.py"),
    ("ops/cuda/cupy.py", "                stream.synchronize()  # the recording may be started on another one\n", "", "--host-driver=lazy backends/test_host_driver_programs.py"),
    ("program/render/arrays.py", "if place is not None and place in held:", "if False:", STEPS),
    ("ops/cuda/unstarted.py", "sum(pool.most for pool in self._pools)", "self._open.most", MEMORY),
    ("execution/device.py", "*[images] * (UNROLLED + 1)", "images", MEMORY),
    ("backends/cupy.py", "usable_memory: ClassVar[float] = 0.8", "usable_memory: ClassVar[float] = 0.3", MEMORY),
    ("program/opaque.py", "found == wanted", "found is not None", "program/test_program_opaque.py -k 'not True'"),
    (f"{_CUDA}/sums.py", "if step.head is not None or step.reads & others or", "if step.head is not None or", PARTS),
    (f"{_CUDA}/sums.py", "one.access == dense(node.shape) for", "one.access is not None for", PARTS),
    (f"{_CUDA}/sums.py", "len(readers) > 1 or is_kept(node)", "False", PARTS),
    (f"{_CUDA}/sums.py", "late = [step for step in beside if step.reads & set(totals)]", "late = []", PARTS),
    (f"{_CUDA}/sums.py", "if any(points(step) > SMALL for", "if any(points(step) < 0 for", PARTS),
    (f"{_CUDA}/pending.py", "node in lasting or any(", "any(", PARTS),
    (f"{_CUDA}/pending.py", "if any(node in step.reads for step in group.steps):", "if group.alone is None:", PARTS),
    (f"{_CUDA}/loop_text.py", "lines.indices(\"place_\", after.kept", "lines.indices(\"0\", after.kept", PARTS),
    (f"{_CUDA}/walk.py", "return 1, rows", "return 1, rows - 1", PARTS),
    (f"{_CUDA}/launches.py", "where |= one.held", "pass", PARTS),
    (f"{_CUDA}/rows.py", "if self.written & after.across or self.across & after.written:", "if self.across & after.written:", ROWS),
    (f"{_CUDA}/rows.py", "if self.written & after.across or self.across & after.written:", "if self.written & after.across:", ROWS),
    (f"{_CUDA}/rows.py", "return not self.totals & (", "return not frozenset() & (", ROWS),
    (f"{_CUDA}/rows.py", "and not any(depend(step, other, schedule) for other in others)", "and True", ROWS),
    (f"{_CUDA}/rows.py", "access.strides[0] == share and not rest", "not rest", ROWS),
    (f"{_CUDA}/rows.py", "access.strides[0] == share and not rest", "access.strides[0] == share", ROWS),
    (f"{_CUDA}/rows.py", "if few or any(step in rest for step in group.beside):", "if few:", ROWS),
    (f"{_CUDA}/loop_text.py", "const Index begin = (Index)block * (Index){share};", "const Index begin = (Index)block;", ROWS),
    (f"{_CUDA}/loop_text.py", "smaller(begin + (Index){share}, (Index){kept})", "begin + (Index){share}", ROWS),
    (f"{_CUDA}/loop_text.py", "split = (Index)block, first = split * (Index){share};", "split = (Index)block, first = 0;", ROWS),
    (f"{_CUDA}/loop_text.py", "{begin or 0} + tile * ACROSS", "tile * ACROSS", ROWS),
    (f"{_CUDA}/kernel_text.py", "            if number:\n                self._lines.append(\"__syncthreads();\")\n            self._call(step, LoopText.in_rows", "            self._call(step, LoopText.in_rows", ROWS),
    (f"{_CUDA}/kernel_text.py", "return -(-walk.roots[0].space[0] // walk.rows)", "return walk.roots[0].space[0] // walk.rows", ROWS),
    (f"{_CUDA}/walk.py", "return -(-self.roots[0].space[0] // self.rows), self.reduced_at_once", "return self.roots[0].space[0] // self.rows, self.reduced_at_once", ROWS),
    (f"{_CUDA}/rows.py", "touched) == group.rows", "touched) != []", ROWS),
    (f"{_CUDA}/rows.py", "across=reads - writes)", "across=frozenset())", ROWS),
    (f"{_CUDA}/kernel_text.py", "    writes |= {schedule.place_of(node) for node in also}\n", "", ROWS),
    (f"{_CUDA}/kernel_text.py", '        body.blocks = "blocks"\n', '        body.blocks = "gridDim.y"\n', ROWS),
    (f"{_CUDA}/kernel_text.py", "wide = wide and rows >= FEWEST_ROWS", "wide = bool(rows)", ROWS),
    ("ops/cuda/ending.py", 'f"if (!{product}) return;"', 'f"{product};"', ROWS),
    ("ops/cuda/ending.py", ', "__syncthreads();"),', '),', ROWS),
    ("ops/cuda/ending.py", "shared = max(start.shared, ending.shared)", "shared = 0", ROWS),
    ("ops/cuda/products.py", "product.chosen.tile, launcher.counter()[before:]", "product.chosen.tile, launcher.counter()", ROWS),
    ("ops/cuda/products.py", "fits = product.shape[1] <= chosen.tile.columns and", "fits =", ROWS),
    ("ops/cuda/products.py", "(chosen.splits == 1 or product.counters > 0)", "True", ROWS),
    ("ops/cuda/tiles.py", "return Result(y, dbias, late.epilogue, in_parts)", "return Result(y, dbias, late.epilogue)", NODES),
    (f"{_CUDA}/short_rows.py", "known.get(one.buffer) != loop.read(one)", "one.buffer not in known", ROWS),
    (f"{_CUDA}/short_rows.py", "len(found) == 1 and None not in found", "found", ROWS),
    (f"{_CUDA}/short_rows.py", "exists = first + group < last;", "exists = first + group <= last;", ROWS),
    (f"{_CUDA}/short_rows.py", 'f"if (rank < {loop.columns}) {one.operation}', 'f"{one.operation}', ROWS),
    (f"{_CUDA}/short_rows.py", 'f"if ({works}) {one.operation}', 'f"{one.operation}', ROWS),
    (f"{_CUDA}/short_rows.py", "*(merged if points == 1 else []),", "*merged,", ROWS),
    (f"{_CUDA}/short_rows.py", "({parts})[{block} * {points} + rank]", "({parts})[{block} + rank]", ROWS),
    (f"{_CUDA}/short_rows.py", "if (exists && rank == 0) {self", "if (exists) {self", ROWS),
    (f"{_CUDA}/kernel_text.py", "if lanes and rows * lanes <= threads:", "if lanes:", ROWS),
    ("ops/cuda/pointwise.cuh", "for (int distance = COUNT / 2; distance", "for (int distance = COUNT / 4; distance", ROWS),
    ("ops/cuda/pointwise.cuh", "mine = Op::merged(mine, other.state);", "mine = Op::merged(mine, own.state);", ROWS),
    (f"{_CUDA}/prologue.py", "or not all(_can_take(one, node) for one in readers)", "or not any(_can_take(one, node) for one in readers)", PROLOGUES),
    (f"{_CUDA}/prologue.py", "if node in {base(one) for one in schedule.program.outputs.values()}:", "if False:", PROLOGUES),
    (f"{_CUDA}/prologue.py", "wide=False)).are_apart:", "wide=False)).read:", PROLOGUES),
    (f"{_CUDA}/prologue.py", "sum(self.read) == 1 and all(", "all(", PROLOGUES),
    (f"{_CUDA}/prologue.py", 'one.op == "number" or not same', "True", PROLOGUES),
    (f"{_CUDA}/prologue.py", 'read in inputs or read.op == "constant" for read', "read for read", PROLOGUES),
    (f"{_CUDA}/prologue.py", "if any(schedule.place_of(node) in places for one in until for node in one.writes):", "if False:", PROLOGUES),
    (f"{_CUDA}/prologue.py", "any(one.access.strides[1:])", "any(one.access.strides)", PROLOGUES),
    (f"{_CUDA}/prologue.py", "set(), accesses, apart=True)", "set(), accesses)", PROLOGUES),
    (f"{_CUDA}/updates.py", "if any(_leaves_parts(step) for step in schedule.steps if step is not head):", "if False:", UPDATES),
    (f"{_CUDA}/updates.py", "late = [step for step in group.beside if _comes_after(step, before, schedule)]", "late: list[Step] = []", UPDATES),
    (f"{_CUDA}/kernel_text.py", '"sums();", "__syncthreads();"', '"__syncthreads();"', UPDATES),
    (f"{_CUDA}/kernel_text.py", '"sums();", "__syncthreads();"', '"sums();"', UPDATES),
    ("ops/cuda/ending.py", "(start.blocks + ending.blocks,)", "(start.blocks + ending.blocks + 1,)", UPDATES),
    ("ops/cuda/ending.py", "(start.blocks + ending.blocks,)", "(start.blocks,)", UPDATES),
    ("ops/cuda/ending.py", 'f"if (number < 0) {each}(at, {given});",', 'f"{each}(at, {given});",', UPDATES),
    ("ops/cuda/pointwise.cuh", "fma(rest, inverse, quotient) : quotient", "quotient : quotient", DIVISIONS),
    ("ops/cuda/pointwise.cuh", "return rest < T(0) || rest > T(0) ?", "return rest == rest ?", DIVISIONS),
    (f"{_CUDA}/pointwise.py", "1 <= abs(divisor) <= _MOST_DIVISOR", "0 < abs(divisor) <= _MOST_DIVISOR", DIVISIONS),
]  # fmt: skip
