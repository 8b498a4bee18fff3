// Tiles of a matrix product, y(m, n) = sum over k of a(m, k) b(k, n), wherever a and b are found.
//
//                 n ->               A block makes one tile of y. It walks along k in steps of DEPTH,
//               +-------+            copying the next tiles of a and b to shared memory while it
//           k   |   b   |            multiplies those that are there.
//           |   +-------+
//   m       v   :       :            An operand is a function of (outer, k), where outer is m or n.
//   |  +--------+.......+            ALONG_K: neighbours along k lie side by side, in the array and
//   v  |   a    |   y   |            in shared memory, which is tile[outer][k]. If not, neighbours
//      +--------+-------+            along m or n do: tile[k][outer].
//
// Whoever writes a kernel gives three things:
// - Math, how to multiply: `Fma` or `Mma` below, with the sizes of tiles;
// - for each operand a Form, how it is copied, and a source, where its numbers lie:
//     data             the array; gate: one of its shape, null where the Form is not GATED
//     outer(i), k(i)   what the source has to know of an index i
//     step(count)      what `advance(k, step)` needs to go on by count
//     holds(outer, k)  whether there is such a number; if not, it is 0
//     offset(outer, k) its place in data; where it is held, so are the WIDTH - 1 that follow it
// - a target: where row m of y is stored, see `Rows`;
// - an epilogue: what becomes of a number before it is stored, see `BiasRelu`.
#pragma once
#include "fma.cuh"
#include "mma.cuh"

constexpr int SHARED_BYTES = 48 * 1024;

// The block's tile of y, from the steps of k in [first_k, last_k).
//
// Blocks x run over the tiles of a row of y first, so that blocks at work together share rows of a.
// With `column_sums`, the blocks of the first row also store there the sums of b's columns.
template <typename Math, typename FormA, typename FormB, typename A, typename B, typename Target,
          typename Epilogue>
DEVICE void tile_product(const A& a, const B& b, const Target& target, const Epilogue& epilogue,
                         long long first_k, long long last_k, typename Math::Number* column_sums) {
    using T = typename Math::Number;
    using TileA = typename Math::template Tile<FormA::ALONG_K, Math::ROWS>;
    using TileB = typename Math::template Tile<FormB::ALONG_K, Math::COLUMNS>;
    constexpr int BYTES = (TileA::SIZE + TileB::SIZE) * sizeof(T);
    constexpr int STAGES = 3 * BYTES + Math::THREADS * sizeof(T) <= SHARED_BYTES ? 3 : 2;
    __shared__ __align__(16) T tiles_a[STAGES][TileA::SIZE];
    __shared__ __align__(16) T tiles_b[STAGES][TileB::SIZE];

    const int thread = threadIdx.x;
    const unsigned across = (unsigned)((target.columns + Math::COLUMNS - 1) / Math::COLUMNS);
    const long long row = (long long)(blockIdx.x / across) * Math::ROWS;
    const long long column = (long long)(blockIdx.x % across) * Math::COLUMNS;
    const long long tiles = (last_k - first_k + Math::DEPTH - 1) / Math::DEPTH;
    const bool summing = column_sums && row == 0;
    if (row >= target.rows && !summing) return;
    typename Math::template Sums<FormA::ALONG_K, FormB::ALONG_K> sums;
    constexpr int GROUPS = Math::THREADS / Math::COLUMNS;  // of threads, for the sums of columns
    T column_sum = 0;

    if (first_k < last_k) {
        Loader<Math, FormA, Math::ROWS, A> load_a(a, row, first_k, thread);
        Loader<Math, FormB, Math::COLUMNS, B> load_b(b, column, first_k, thread);
        auto fetch = [&](int stage) {
            load_a.fetch(tiles_a[stage]);
            load_b.fetch(tiles_b[stage]);
        };
        auto settle = [&](int stage) {
            load_a.settle(tiles_a[stage]);
            load_b.settle(tiles_b[stage]);
        };
        for (int stage = 0; stage < STAGES - 1; ++stage) {
            if (stage < tiles) {
                fetch(stage);
                settle(stage);
            }
            copy_async_commit();
        }
        int now = 0, next = STAGES - 1;
        for (long long tile = 0; tile < tiles; ++tile) {
            copy_async_wait<STAGES - 2>();
            __syncthreads();  // this tile is there, and nobody still reads the one before
            const bool more = tile + STAGES - 1 < tiles;
            if (more) fetch(next);
            copy_async_commit();  // an empty group counts, too
            sums.multiply(tiles_a[now], tiles_b[now], thread);
            if constexpr (!FormB::ALONG_K)
                if (summing)
                    for (int k = thread / Math::COLUMNS; k < Math::DEPTH; k += GROUPS)
                        column_sum += tiles_b[now][k * TileB::STRIDE + thread % Math::COLUMNS];
            if (more) settle(next);
            now = now + 1 == STAGES ? 0 : now + 1;
            next = next + 1 == STAGES ? 0 : next + 1;
        }
    }
    sums.write(target, epilogue, row, column, thread);
    if constexpr (!FormB::ALONG_K) {
        __shared__ T parts[Math::THREADS];
        if (!summing) return;
        parts[thread] = column_sum;
        __syncthreads();
        if (thread >= Math::COLUMNS || column + thread >= target.columns) return;
        for (int i = thread + Math::COLUMNS; i < Math::THREADS; i += Math::COLUMNS)
            column_sum += parts[i];
        column_sums[column + thread] = column_sum;
    }
}
