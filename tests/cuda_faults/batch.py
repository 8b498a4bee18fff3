"""Faults of batch.cu and of its launch code."""

TESTS = ("ops/test_cuda_batch.py",)

CU, PY = "batch/batch.cu", "batch/cuda.py"

FAULTS = [
    (CU, "row < rows; row += (long long)gridDim.y * blockDim.y", "row <= rows; row += (long long)gridDim.y * blockDim.y", "bound"),
    (CU, "unit < units; unit +=", "unit + 1 < units; unit +=", "bound"),
    (CU, "unit += (long long)gridDim.x * blockDim.x", "unit += blockDim.x", "stride"),
    (CU, "const long long from = indices ? (long long)indices[row] : row;", "const long long from = row;", "index"),
    (CU, "indices ? (long long)indices[row] : row;", "indices ? (long long)indices[first_row] + 0 * row : row;", "index"),
    (CU, "const long long first_row = (long long)blockIdx.y * blockDim.y + threadIdx.y;", "const long long first_row = (long long)blockIdx.y * blockDim.x + threadIdx.y;", "index"),
    (CU, "images[from * units + unit];", "images[(int)from * (int)units + unit];", "int overflow"),
    (CU, "batch[row * units + unit] = images", "batch[(int)row * (int)units + unit] = images", "int overflow"),
    (CU, "return (T)pixel / T(255) - T(0.5);", "return (T)pixel * (T(1) / T(255)) - T(0.5);", "rounding"),
    (CU, "return (T)pixel / T(255) - T(0.5);", "return ((T)pixel - T(127.5)) / T(255);", "rounding"),
    (CU, "rescaled<T>(images[from * units + unit]);", "rescaled<T>(images[(int)from * (int)units + unit]);", "int overflow"),
    (CU, "batch[row * units + unit] = rescaled", "batch[(int)row * (int)units + unit] = rescaled", "int overflow"),
    (CU, "(unsigned char)(pixels >> 8 * i)", "(unsigned char)(pixels >> 8 * (3 - i))", "order of bytes"),
    (CU, "i < 4; ++i) four", "i < 3; ++i) four", "unwritten output"),
    (CU, "batch[row * units + unit] = four;", "batch[(int)(4 * (row * units + unit)) / 4] = four;", "int overflow"),
    (PY, "row % w == 0 and _aligned(launcher, w, images, batch)", "row % w == 0", "alignment"),
    (PY, "row % w == 0 and _aligned", "_aligned", "units that do not fit"),
    (PY, "_aligned(launcher, 4, images) and _aligned(launcher, 16, batch)", "_aligned(launcher, 1, images) and _aligned(launcher, 16, batch)", "alignment"),
    (PY, "units = row // width", "units = row", "argument"),
    (PY, "wide = min(WARP if rows > 1 else _THREADS, 1 << max(units - 1, 0).bit_length())", "wide = WARP + 1", "block"),
]  # fmt: skip
