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
// - Math, how to multiply: `Fma`, `Mma` or `Mma16`, with the sizes of tiles;
// - for each operand a Form, how it is copied, and a source, where its numbers lie:
//     data             the array; gate: one of its shape, null where the Form is not GATED
//     outer(i), k(i)   what the source has to know of an index i
//     step(count)      what `advance(k, step)` needs to go on by count
//     holds(outer, k, in_sum)   whether there is such a number, where k is in the sum; if not, it is 0
//     number(outer, k)          where it lies, if it is held: so are then the WIDTH - 1 that follow it
// - a target: where row m of y is stored, see `Rows`;
// - an epilogue: what becomes of a number before it is stored, see `BiasRelu`.
#pragma once
#include "fma.cuh"
#include "mma.cuh"
#include "mma16.cuh"

constexpr int STAGES = 3;  // tiles of each operand in shared memory, as in tiles.py

// The block's tile of y, from the steps of k in [first_k, last_k).
//
// Blocks x run over the tiles of a row of y first, so that blocks at work together share rows of a.
// With `column_sums`, the blocks of the first row also store there the sums of b's columns.
template <typename Math, typename FormA, typename FormB, typename A, typename B, typename Target,
          typename Epilogue>
DEVICE void tile_product(const Block& at, const A& a, const B& b, const Target& target,
                         const Epilogue& epilogue, long long first_k, long long last_k,
                         typename Math::Number* column_sums) {
    using T = typename Math::Number;
    using Staged = typename Math::Staged;
    using TileA = typename Math::template Tile<FormA::ALONG_K, Math::ROWS>;
    using TileB = typename Math::template Tile<FormB::ALONG_K, Math::COLUMNS>;
    struct alignas(16) Stage {
        Staged a[TileA::SIZE], b[TileB::SIZE];
    };
    DYNAMIC_SHARED(Stage, stages);  // of which launch_product in tiles.py says the size

    const int thread = threadIdx.x;
    const unsigned across = (unsigned)((target.columns + Math::COLUMNS - 1) / Math::COLUMNS);
    const long long row = (long long)(at.x / across) * Math::ROWS;
    const long long column = (long long)(at.x % across) * Math::COLUMNS;
    const bool summing = column_sums && row == 0;
    if (row >= target.rows && !summing) return;
    typename Math::template Sums<FormA::ALONG_K, FormB::ALONG_K> sums;
    constexpr int GROUPS = Math::THREADS / Math::COLUMNS;  // of threads, for the sums of columns
    T column_sum = 0;

    if (first_k < last_k) {
        Loader<Math, FormA, Math::ROWS, A> load_a(a, row, first_k, thread);
        Loader<Math, FormB, Math::COLUMNS, B> load_b(b, column, first_k, thread);
        int left = (int)(last_k - first_k);  // steps that are not on their way
        auto fetch = [&](Stage& stage) {
            load_a.fetch(stage.a, left);
            load_b.fetch(stage.b, left);
        };
        auto settle = [&](Stage& stage) {
            load_a.settle(stage.a);
            load_b.settle(stage.b);
        };
        for (int stage = 0; stage < STAGES - 1; ++stage) {
            if (left > 0) {
                fetch(stages[stage]);
                settle(stages[stage]);
            }
            left -= Math::DEPTH;
            copy_async_commit();
        }
        int now = 0, free = STAGES - 1;  // the one that was read last
        for (; left > -(STAGES - 1) * Math::DEPTH; left -= Math::DEPTH) {
            copy_async_wait<STAGES - 2>();
            __syncthreads();  // this tile is there, and nobody still reads the one before
            const bool more = left > 0;
            if (more) fetch(stages[free]);
            copy_async_commit();  // an empty group counts, too
            sums.multiply(stages[now].a, stages[now].b, thread);
            if constexpr (!FormB::ALONG_K)
                if (summing) {
                    const Staged* column = stages[now].b + thread % Math::COLUMNS;
#pragma unroll
                    for (int k = 0; k < Math::DEPTH; k += GROUPS)
                        column_sum += column[(k + thread / Math::COLUMNS) * TileB::STRIDE];
                }
            if (more) settle(stages[free]);
            free = now;
            now = now + 1 == STAGES ? 0 : now + 1;
        }
    }
    sums.write(target, epilogue, row, column, thread);
    if constexpr (!FormB::ALONG_K) {
        if (!summing) return;
        T* parts = reinterpret_cast<T*>(stages);
        __syncthreads();  // nobody reads the last tile any more
        parts[thread] = column_sum;
        __syncthreads();
        if (thread >= Math::COLUMNS || column + thread >= target.columns) return;
        for (int i = thread + Math::COLUMNS; i < Math::THREADS; i += Math::COLUMNS)
            column_sum += parts[i];
        column_sums[column + thread] = column_sum;
    }
}
