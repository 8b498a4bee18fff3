"""Faults of elementwise.cu and of its launch code."""

TESTS = ("test_cuda_elementwise.py",)

CU, PY = "elementwise.cu", "elementwise.py"

FAULTS = [
    (CU, "dx[i] = y[i] > T(0) ? gradient : T(0);", "dx[i] = y[i] >= T(0) ? gradient : T(0);", "tie"),
    (CU, "dx[i] = y[i] > T(0) ? gradient : T(0);", "dx[i] = gradient * (T)(y[i] > T(0));", "zero times NaN"),
    (CU, "dx[i] = y[i] > T(0) ? gradient : T(0);", "if (y[i] > T(0)) dx[i] = gradient;", "unwritten output"),
    (CU, "(long long)blockIdx.x * THREADS;", "(long long)blockIdx.x * (THREADS - 1);", "stride"),
    (CU, "columns - first_column < THREADS ?", "columns < THREADS ?", "bound"),
    (CU, "lane = threadIdx.x / wide;", "lane = threadIdx.x / lanes;", "index"),
    (CU, "first_column + threadIdx.x % wide;", "first_column + threadIdx.x / lanes;", "index"),
    (CU, "? first_row + rows_a_slice : rows;", "? first_row + rows_a_slice - 1 : rows;", "bound"),
    (CU, "first_row + rows_a_slice < rows ? first_row + rows_a_slice : rows;", "first_row + rows_a_slice;", "bound"),
    (CU, "row < end_row; row += lanes", "row < end_row; row += lanes + 1", "stride"),
    (CU, "sum += x[row * columns + column];", "sum += x[(int)row * (int)columns + (int)column];", "int overflow"),
    (CU, "    partial[threadIdx.x] = sum;\n    __syncthreads();", "    partial[threadIdx.x] = sum;", "barrier"),
    (CU, "half * wide];\n        __syncthreads();", "half * wide];", "barrier"),
    (CU, "left > 1; left = (left + 1) / 2", "left > 1; left = left / 2", "lost lane"),
    (CU, "if (lane + half < left)", "if (lane + half <= left)", "bound"),
    (CU, "if (lane + half < left)", "if (lane < half)", "bound"),
    (CU, "sums[blockIdx.y * columns + column]", "sums[blockIdx.y * wide + column]", "stride"),
    (CU, "if (lane == 0) sums", "if (lane < 2) sums", "race"),
    (PY, "(blocks(columns, THREADS), slices),", "(max(1, columns // THREADS), slices),", "grid rounding"),
    (PY, "blocks(rows, slices)),", "rows // slices),", "lost last rows"),
    (PY, "(blocks(dx.size, PER_BLOCK),)", "(blocks(dx.size, 2 * PER_BLOCK),)", "unwritten output"),
]  # fmt: skip
