"""Faults of the products' tiles, of matmul.cu, of tiles.cu, and of their launch code."""

TESTS = (
    "ops/test_cuda_rounded.py",
    *("ops/test_cuda_primitives.py", "ops/test_cuda_sizes.py"),
    *("ops/test_cuda_matmul.py", "ops/test_cuda_epilogues.py"),
)

# What runs a row, where not all need be run: the quicker, the more rows are run.
MANY_PIXELS = "ops/test_cuda_convolution.py -k many_images"
_MATMUL = "ops/test_cuda_matmul.py -k"
PRODUCTS_OF_32 = f"{_MATMUL} '(products or every_tile) and fp32'"
PRODUCTS_ALL = f"{_MATMUL} '(products or every_tile) and not bf16'"
MULTIPLIED = f"{_MATMUL} '(products or every_tile) and (tf32 or bf16)'"
DENSE = f"{_MATMUL} 'test_dense and fp32'"
GATED = f"{_MATMUL} 'dense_backward and fp32'"
MANY, NAN = f"{_MATMUL} many", f"{_MATMUL} nan"
PLANS, NOTHING, SHARED = (f"{_MATMUL} {one}" for one in ("plans_cover", "nothing", "shared_memory"))
VIEWS = f"{_MATMUL} 'views or odd_products'"
GATE_ASTRAY = f"{_MATMUL} not_aligned"
REFUSED = f"{_MATMUL} 'cannot_count or refused'"
EPILOGUES = "ops/test_cuda_epilogues.py"
SPLIT_EPILOGUES = f"{EPILOGUES} -k 'convolution and split'"
MEMBERS = f"{EPILOGUES} -k members"
IN_MEMORY = "ops/test_cuda_rounded.py"
PRIMITIVES = "ops/test_cuda_primitives.py"
FEW_COLUMNS = "ops/test_cuda_few_columns.py -k against_numpy"
SUMS = "ops/test_cuda_sizes.py -k number_of_parts"

TILES, MATMUL, SPLITS = "cuda/tiles.cuh", "dense/matmul.cu", "cuda/tiles.cu"
EPILOGUE, OPERANDS, TARGETS = "cuda/epilogue.cuh", "cuda/operands.cuh", "cuda/targets.cuh"
PRODUCTS = "cuda/products.py"
PACKS, MMA16 = "cuda/packs.cuh", "cuda/mma16.cuh"
FMA, MMA, DEVICE = "cuda/fma.cuh", "cuda/mma.cuh", "cuda/device.cuh"
FAULTS = [
    # Tiles: sources and targets.
    (OPERANDS, "(ALONG_K ? place : line + i / BESIDE * STEP) < left;", "(ALONG_K ? place : line + i / BESIDE * STEP) <= left;", "a bound", PRODUCTS_OF_32),
    (OPERANDS, "index < outers};", "index <= outers};", "a bound", PRODUCTS_OF_32),
    (OPERANDS, "return outer.exists & in_sum;", "return in_sum;", "a bound", PRODUCTS_OF_32),
    (OPERANDS, "return outer.exists & in_sum;", "return outer.exists;", "a bound", PRODUCTS_OF_32),
    (OPERANDS, "(ALONG_K ? index * steps : index)),", "(ALONG_K ? (int)index * (int)steps : index)),", "an int overflow", MANY),
    (OPERANDS, "(ALONG_K ? index : index * outers);", "(ALONG_K ? index : (int)index * (int)outers);", "an int overflow", MANY),
    (OPERANDS, "(ALONG_K ? index : index * outers);", "(ALONG_K ? index : index * steps);", "a stride", PRODUCTS_OF_32),
    (OPERANDS, "moved(number, to_gate)", "number", "a lost gate", GATED),
    (TARGETS, "return row < rows ? row : -1;", "return row <= rows ? row : -1;", "a bound", PRODUCTS_OF_32),
    (TARGETS, "target.data + line * target.columns + column;", "target.data + (int)line * (int)target.columns + column;", "an int overflow", MANY),
    # What is stored.
    (TARGETS, "left < RUNS * STEP ? (int)left :", "left < RUNS * STEP ? (int)left + 1 :", "a bound", PRODUCTS_OF_32),
    (TARGETS, "there = line < 0 ? 0 : left", "there = left", "a bound", PRODUCTS_OF_32),
    (TARGETS, "if (target.columns % COUNT == 0 && is_inside)", "if (target.columns % COUNT != 1 && is_inside)", "an address that is not aligned", PRODUCTS_OF_32),
    (TARGETS, "epilogue(number, line, column + run * STEP + j);", "epilogue(number, line, column + j);", "an index", EPILOGUES),
    (TARGETS, "epilogue(number, line, column + run * STEP + j);", "epilogue(number, 0, column + run * STEP + j);", "an index", EPILOGUES),
    (TARGETS, "lines[before / AT_ONCE][before % AT_ONCE] = lines[i / AT_ONCE][i % AT_ONCE];", "", "a line twice", PRODUCTS_OF_32),
    (EPILOGUE, "if (bias) value += bias[column];", "", "a lost bias", DENSE),
    (EPILOGUE, "relu && value < 0 ? T(0) : value;", "relu && !(value > 0) ? T(0) : value;", "a lost NaN", NAN),
    (EPILOGUE, "return relu && value < 0 ?", "return value < 0 ?", "a ReLU nobody asked for", PRODUCTS_OF_32),
    # Copies.
    (OPERANDS, "copy_async<sizeof(Values)>(target(tile, i), number, valid);", "if (valid) copy_async<sizeof(Values)>(target(tile, i), number, valid);", "a missing zero-fill", PRODUCTS_OF_32),
    (OPERANDS, "                values[i] = Values{};", "                for (unsigned n = 0; n < sizeof(Values); ++n) reinterpret_cast<char*>(values + i)[n] = 0x3f;", "a missing zero-fill", IN_MEMORY),
    (OPERANDS, "if (!ALONG_K && i % BESIDE == BESIDE - 1) source.advance(k, step);", "if (!ALONG_K && i > BESIDE) source.advance(k, step);", "a step left out", PRODUCTS_OF_32),
    (OPERANDS, "step(source.step(ALONG_K ? Math::DEPTH : STEP)),", "step(source.step(Math::DEPTH)),", "a step too long", PRODUCTS_OF_32),
    (OPERANDS, "ALONG_K ? line + i * STEP : place + i * NEXT", "ALONG_K ? line + i : place + i * NEXT", "an index", PRODUCTS_OF_32),
    (OPERANDS, "return tile + (line + copy / BESIDE * STEP) * Tile::STRIDE + place", "return tile + (line + copy / BESIDE * STEP) * Tile::LENGTH + place", "a stride", PRODUCTS_ALL),
    (PACKS, "if (!(gates.at[i] > 0)) values.at[i] = T(0);", "if (gates.at[i] <= 0) values.at[i] = T(0);", "a NaN that lets through", GATED),
    (PACKS, "if (!(gates.at[i] > 0)) values.at[i] = T(0);", "if (!(gates.at[i] >= 0)) values.at[i] = T(0);", "a tie", GATED),
    # bfloat16 in memory.
    (OPERANDS, "place + i * NEXT);", "place);", "an index", IN_MEMORY),
    (OPERANDS, "place + copy % BESIDE * NEXT;", "place;", "an index", IN_MEMORY),
    (TARGETS, "lines[i], column + run * STEP + j);", "lines[i], column + j);", "an index", IN_MEMORY),
    (TARGETS, "put(place + run * STEP, runs[i][run]);", "put(place, runs[i][run]);", "an index", IN_MEMORY),
    (TARGETS, "column + (RUNS - 1) * STEP + COUNT <= target.columns", "column <= target.columns", "a bound", IN_MEMORY),
    (OPERANDS, "high = first / whole;", "high = 0;", "an int overflow", MANY_PIXELS),
    (OPERANDS, "number.high += (int)high;", "", "a lost image", MANY_PIXELS),
    (OPERANDS, "if (number < 1ll << 32) return", "if (number < 1ll << 40) return", "an int overflow", MANY_PIXELS),
    (PACKS, "values.at[i] &= 0xffff0000u;", "values.at[i] &= 0x0000ffffu;", "the other of two", IN_MEMORY),
    (PACKS, "__uint_as_float(gates.at[i] & 0xffff0000u) > 0)", "__uint_as_float(gates.at[i]) > 0)", "a gate that its neighbour opens", IN_MEMORY),
    (PACKS, "pack_bf16(values.at[2 * i], values.at[2 * i + 1]);", "pack_bf16(values.at[2 * i + 1], values.at[2 * i]);", "swapped neighbours", IN_MEMORY),
    (DEVICE, "__uint_as_float((unsigned)bits << 16)", "__uint_as_float((unsigned)bits << 15)", "a wrong number", PRIMITIVES),
    (MMA16, "lane / 8 % 2 * 8, third = lane / 16 * 8;", "lane / 16 * 8, third = lane / 8 % 2 * 8;", "swapped fragments", IN_MEMORY),
    (MMA16, "first += IS_A ? second : third;", "first += second;", "swapped fragments", IN_MEMORY),
    (MMA16, "k += IS_A ? third : second;", "k += third;", "steps in another order than the other operand", IN_MEMORY),
    (MMA16, "load_matrices_turned(words[i]", "load_matrices(words[i]", "lines that are not turned", IN_MEMORY),
    (MMA16, "line + i * 16 * STRIDE", "line + i * 8 * STRIDE", "an index", IN_MEMORY),
    (MMA16, "j % 2 * 2 + 1]}", "j % 2 + 1]}", "swapped fragments", IN_MEMORY),
    (MMA16, "warp % ACROSS * WIDE + 2 * place);", "warp % ACROSS * WIDE + place);", "an index", IN_MEMORY),
    (MMA16, "TALL + i * 8 + group);", "TALL + i + group);", "an index", IN_MEMORY),
    (TARGETS, "sums[i / 2][j][i % 2 * 2 + 1]};", "sums[i / 2][j][i % 2 + 1]};", "an index", IN_MEMORY),
    (PACKS, "rounded.at[i] = TensorFloat32(values.at[i]);", "rounded.at[i].bits = __float_as_uint(values.at[i]);", "a lost rounding", IN_MEMORY),
    (MMA, "words[IS_A ? 1 : 2]", "words[1]", "swapped fragments", IN_MEMORY),
    (MMA, "words[IS_A ? 2 : 1]", "words[2]", "steps in another order than the other operand", IN_MEMORY),
    (MMA, "later_line = IS_A ? second : third,", "later_line = second,", "swapped fragments", IN_MEMORY),
    (MMA, "later_step = IS_A ? third : second;", "later_step = third;", "steps in another order than the other operand", IN_MEMORY),
    (MMA, "column + 2 * SIDE * place, line_of", "column + SIDE * place, line_of", "an index", IN_MEMORY),
    ("cuda/tiles.py", "if operand.dtype in ROUNDED_BITS:\n        gated", "if operand.dtype == BFLOAT16_BITS:\n        gated", "a type", IN_MEMORY),
    ("dense/cuda.py", "any(singly) if multiplied == \"tensorfloat32\" else all(singly)", "all(singly)", "registers", IN_MEMORY),
    ("cuda/checks.py", "(\"float32\", *rounded[:1])", "(\"float32\",)", "a check", IN_MEMORY),
    (PRODUCTS, "number = \"float32\" if _is_rounded(y) else y.dtype", "number = y.dtype", "parts that are rounded", IN_MEMORY),
    (PRODUCTS, "written = [y] if left is not None or chosen.splits == 1 else [y, result.y]", "written = [y]", "a type", IN_MEMORY),
    ("cuda/checks.py", "if stored is None:", "if stored is None and False:", "a check", IN_MEMORY),
    # Multiplying.
    (FMA, "return ALONG_K ? i * LANES + lane : (i / PACK * LANES + lane) * PACK + i % PACK;", "return ALONG_K ? i * LANES + lane : (i / PACK * LANES + lane) * PACK + i % 2;", "an index", PRODUCTS_ALL),
    (MMA, "right[j][i] = word(b[j][half + i]);", "right[j][i] = __float_as_uint(b[j][half + i]);", "a lost rounding", MULTIPLIED),
    (MMA, "return ROUNDING ? to_tf32(x) : __float_as_uint(x);", "return __float_as_uint(x);", "a lost rounding", MULTIPLIED),
    (DEVICE, "& 0xff800000u);", "& 0x7f800000u);", "rounding towards one side", PRIMITIVES),
    (DEVICE, "1.0f / 2048, x", "1.0f / 1024, x", "rounding by too much", PRIMITIVES),
    (MMA, "word(a[i][half]), word(a[i + 1][half]),", "word(a[i + 1][half]), word(a[i][half]),", "swapped fragments", MULTIPLIED),
    (MMA, "pack_bf16(a[i][2], a[i][3]), pack_bf16(a[i + 1][2], a[i + 1][3])", "pack_bf16(a[i + 1][2], a[i + 1][3]), pack_bf16(a[i][2], a[i][3])", "swapped fragments", MULTIPLIED),
    (MMA, "pack_bf16(b[j][2 * i], b[j][2 * i + 1])", "pack_bf16(b[j][i], b[j][i + 2])", "steps in another order than the other operand", MULTIPLIED),
    (MMA, "load_matrices(words, line + step * 4);", "load_matrices(words, line + step * 2);", "an index", MULTIPLIED),
    (MMA, "STRIDE + k + later_step * 4;", "STRIDE + k + later_step * 8;", "an index", MULTIPLIED),
    (MMA, "from + step * 4 * STRIDE + i * 8", "from + step * 4 * STRIDE + i * 4", "an index", MULTIPLIED),
    (MMA, "return (i / SIDE * 8 + group) * SIDE + i % SIDE;", "return i * 8 + group;", "an index", MULTIPLIED),
    (MMA, "[i % 2 * 2 + p / SIDE]", "[i % 2 + p / SIDE * 2]", "an index", MULTIPLIED),
    (MMA, "sums[i / 2][run * SIDE + p % SIDE]", "sums[i / 2][run * SIDE + p / SIDE]", "an index", MULTIPLIED),
    # The pipeline.
    (TILES, "__syncthreads();  // this tile is there", "// this tile is there", "a barrier", PRODUCTS_OF_32),
    (TILES, "copy_async_wait<STAGES - 2>();", "copy_async_wait<STAGES - 1>();", "a wait too short", PRODUCTS_OF_32),
    (TILES, "const bool more = left > 0;", "const bool more = left > 1;", "a lost last tile", PRODUCTS_OF_32),
    (TILES, "left > -(STAGES - 1) * Math::DEPTH;", "left > -(STAGES - 2) * Math::DEPTH;", "a lost last tile", PRODUCTS_OF_32),
    (TILES, "            free = now;\n", "", "a wrong stage", PRODUCTS_OF_32),
    (TILES, "column[(k + thread / Math::COLUMNS) * TileB::STRIDE]", "column[k * TileB::STRIDE]", "a sum that counts lines twice", GATED),
    (TILES, "now = now + 1 == STAGES ? 0 : now + 1;", "now = now + 1 >= 2 ? 0 : now + 1;", "a wrong stage", PRODUCTS_OF_32),
    (TILES, "            if (more) settle(stages[free]);\n", "            if (more && now) settle(stages[free]);\n", "an unwritten tile", GATED),
    (PRODUCTS, "if chosen.per_split > _MOST_STEPS:", "if chosen.per_split > 2 * _MOST_STEPS:", "a check", REFUSED),
    (TILES, "(target.columns + Math::COLUMNS - 1) / Math::COLUMNS", "(target.columns + Math::COLUMNS) / Math::COLUMNS", "a grid rounding", PRODUCTS_OF_32),
    (TILES, "const long long row = (long long)(at.x / across) * Math::ROWS;", "const long long row = (long long)(at.x / across * (unsigned)Math::ROWS * 32 / 32);", "an int overflow", MANY),
    (TILES, "const bool summing = column_sums && row == 0;", "const bool summing = column_sums && row <= Math::ROWS;", "blocks that write the same", GATED),
    (TILES, "        __syncthreads();  // nobody reads", "        // nobody reads", "a barrier", GATED),
    (TILES, "parts[thread] = column_sum;\n        __syncthreads();", "parts[thread] = column_sum;", "a barrier", GATED),
    (TILES, "if (thread >= Math::COLUMNS || column + thread >= target.columns) return;", "if (thread >= Math::COLUMNS) return;", "a bound", GATED),
    (TILES, "for (int i = thread + Math::COLUMNS; i < Math::THREADS;", "for (int i = thread + Math::COLUMNS; i < Math::THREADS / 2;", "a lost group", GATED),
    # The kernel.
    (MATMUL, "first + per_split < depth ? first + per_split : depth;", "depth;", "an end too late", DENSE),
    (MATMUL, "const long long first = at.y * per_split;", "const long long first = 0 * per_split;", "a split", DENSE),
    (MATMUL, "gate_of<FormA, A>(gate), rows, depth};", "gate_of<FormA, A>(gate), depth, rows};", "arguments swapped", PRODUCTS_OF_32),
    (MATMUL, "gate_of<FormB, B>(gate), columns, depth};", "gate_of<FormB, B>(gate), rows, depth};", "arguments swapped", PRODUCTS_OF_32),
    (MATMUL, "right{b, gate_of<FormB, B>(gate),", "right{b, b,", "a lost gate", GATED),
    (MATMUL, "left{a, gate_of<FormA, A>(gate),", "left{a, a,", "a lost gate", GATED),
    (MATMUL, "y + at.y * rows * columns, rows", "y, rows", "parts that are written twice", DENSE),
    (MATMUL, "y + at.y * rows * columns, rows", "y + at.y * rows, rows", "a stride", DENSE),
    (MATMUL, "column_sums ? column_sums + at.y * columns : nullptr", "column_sums", "parts that are written twice", GATED),
    (MATMUL, "is_whole ? epilogue(value, line, column) : value", "epilogue(value, line, column)", "an epilogue of each split", DENSE),
    (MATMUL, "if (!is_last_block(counters + at.x, at.tall)) return false;", "if (at.y > 0) return false;", "a race", DENSE),
    (MATMUL, "if (!is_last_block(counters + at.x, at.tall)) return false;", "if (!is_last_block(counters, at.tall)) return false;", "tiles that share a counter", DENSE),
    (MATMUL, "if (number >= Math::ROWS * Math::COLUMNS || line >= rows || column >= columns) continue;", "if (line >= rows) continue;", "a bound", DENSE),
    (MATMUL, "sums[j] += parts[(split * rows + line) * columns + column];", "sums[j] += parts[split * rows * columns + i];", "an index", DENSE),
    (MATMUL, "split = 0; split < splits; ++split)\n", "split = 1; split < splits; ++split)\n", "a lost part", DENSE),
    (MATMUL, "column_parts[split * columns + column];", "column_parts[column];", "a part that is counted again", GATED),
    (MATMUL, "|| row > 0 ||", "||", "blocks that write the same", GATED),
    # Adding parts.
    (SPLITS, "(long long)blockIdx.x * 32 + threadIdx.x;", "(long long)blockIdx.x * 31 + threadIdx.x;", "an index", SUMS),
    (SPLITS, "const bool of_y = element < size;", "const bool of_y = element <= size;", "a bound", SUMS),
    (SPLITS, "element < size + columns);", "element <= size + columns);", "a bound", SUMS),
    (SPLITS, "split = threadIdx.y; split < splits;", "split = threadIdx.y; split <= splits;", "a bound", SUMS),
    (SPLITS, "split = threadIdx.y; split < splits;", "split = threadIdx.y; split < splits - 1;", "a lost part", SUMS),
    (SPLITS, "const long long stride = of_y ? size : columns;", "const long long stride = size;", "a stride", SUMS),
    (SPLITS, "column_parts + (element - size);", "column_parts + element;", "an index", SUMS),
    (SPLITS, "__syncthreads();", "", "a barrier", SUMS),
    (SPLITS, "for (int group = 1; group < 8; ++group)", "for (int group = 0; group < 8; ++group)", "a part counted twice", SUMS),
    (SPLITS, "for (int group = 1; group < 8; ++group)", "for (int group = 1; group < 7; ++group)", "a lost group", SUMS),
    (SPLITS, "epilogue(sum, element / columns, element % columns)", "epilogue(sum, 0, element % columns)", "an index", SPLIT_EPILOGUES),
    (SPLITS, "epilogue(sum, element / columns, element % columns)", "epilogue(sum, element / columns, element)", "an index", SPLIT_EPILOGUES),
    (SPLITS, "column_sums[element - size] = sum;", "", "an unwritten output", SUMS),
    # Launch code.
    ("cuda/tiles.py", "per_split = max(1, blocks(blocks(depth, tile.depth), splits)) * tile.depth", "per_split = max(1, depth // splits)", "a rounding", PLANS),
    (PRODUCTS, "left, epilogue = Result(y, column_sums), AS_IS", "left = Result(y, column_sums)", "an epilogue of each split", SPLIT_EPILOGUES),
    ("cuda/launcher.py", "for argument in flat(args):", "for argument in args:", "a check", MEMBERS),
    (PRODUCTS, "rows = max(1, rows)  # which no row has", "pass", "an unwritten output", NOTHING),
    ("cuda/tiles.py", "(length + tile.gaps[not along_k])", "(length + tile.gaps[along_k])", "too little shared memory", SHARED),
    ("cuda/tiles.py", "return _STAGES * numbers", "return (_STAGES + 1) * numbers", "too much shared memory", SHARED),
    ("cuda/tiles.py", "if whole and aligned else 1", "if whole else 1", "an address that is not aligned", VIEWS),
    ("cuda/tiles.py", "if whole and aligned else 1", "if aligned else 1", "an address that is not aligned", VIEWS),
    ("cuda/tiles.py", "read = (operand,) if gate is None else (operand, gate)", "read = (operand,)", "a gate that is not aligned", GATE_ASTRAY),
    (PRODUCTS, "total = size if parts.column_sums is None else size + columns", "total = size", "an unwritten output", SUMS),
    ("dense/cuda.py", "form(launcher, b_turned, b, gate_b)", "form(launcher, not b_turned, b, gate_b)", "a form", VIEWS),
    ("dense/cuda.py", "return not matrix.flags.c_contiguous and matrix.flags.f_contiguous", "return matrix.flags.f_contiguous", "a form", FEW_COLUMNS),
    ("dense/cuda.py", "a.shape[1] != b.shape[0]", "a.shape[0] != b.shape[0]", "a check", REFUSED),
]  # fmt: skip
