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
#include "epilogue.cuh"

constexpr int SHARED_BYTES = 48 * 1024;

// WIDTH numbers are copied at once: 16 bytes of them, or 1 where lines do not begin at such addresses.
// GATED: a number counts as 0 unless its gate is above 0. That is the gradient of ReLU.
template <bool ALONG_K_, int WIDTH_, bool GATED_ = false>
struct Form {
    static constexpr bool ALONG_K = ALONG_K_, GATED = GATED_;
    static constexpr int WIDTH = WIDTH_;
};

template <typename T, int COUNT>
struct alignas(sizeof(T) * COUNT) Pack {
    T at[COUNT];
};

// A tile of an operand in shared memory: lines of numbers side by side, each followed by a gap.
template <bool ALONG_K, int OUTER, int DEPTH, int GAP>
struct Lines {
    static constexpr int LENGTH = ALONG_K ? DEPTH : OUTER, COUNT = ALONG_K ? OUTER : DEPTH;
    static constexpr int STRIDE = LENGTH + GAP, SIZE = COUNT * STRIDE;
};

// A number of three digits, such as (image, row, column); the first digit has no limit.
struct Digits {
    int high, middle, low;
};

DEVICE Digits digits(long long number, int middle, int low) {
    const long long rest = number / low;
    return {(int)(rest / middle), (int)(rest % middle), (int)(number % low)};
}

DEVICE void advance_digits(Digits& number, const Digits& step, int middle, int low) {
    number.low += step.low;
    number.middle += step.middle;
    number.high += step.high;
    if (number.low >= low) { number.low -= low; ++number.middle; }
    if (number.middle >= middle) { number.middle -= middle; ++number.high; }
}

// A matrix in C order, `steps` numbers along k, `outers` along m or n.
template <typename T, bool ALONG_K>
struct Matrix {
    const T* data;
    const T* gate;
    long long outers, steps;

    DEVICE long long outer(long long index) const { return index; }
    DEVICE long long k(long long index) const { return index; }
    DEVICE long long step(int count) const { return count; }
    DEVICE void advance(long long& k, long long step) const { k += step; }
    DEVICE bool holds(long long outer, long long k) const { return outer < outers && k < steps; }
    DEVICE long long offset(long long outer, long long k) const {
        return ALONG_K ? outer * steps + k : k * outers + outer;
    }
};

// Rows of y, of `columns` numbers, one after another: row m is line m of `data`; -1: there is none.
template <typename T>
struct Rows {
    T* data;
    long long rows, columns;

    DEVICE long long line(long long row) const { return row < rows ? row : -1; }
};

template <typename T, typename Target, typename Epilogue, int COUNT>
DEVICE void store(const Target& target, const Epilogue& epilogue, long long line, long long column,
                  Pack<T, COUNT> sums) {
    if (column >= target.columns) return;
    const bool whole = target.columns % COUNT == 0;
    T* place = target.data + line * target.columns + column;
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        if (!whole && column + i >= target.columns) break;
        sums.at[i] = epilogue(sums.at[i], line, column + i);
        if (!whole) place[i] = sums.at[i];
    }
    if (whole) *reinterpret_cast<Pack<T, COUNT>*>(place) = sums;
}

// One thread's share of copying the tiles of one operand.
//
// A tile is lines of LENGTH numbers; PER_LINE threads copy a line, WIDTH numbers each, so a thread
// always has the same place in its lines, which are STEP apart.
template <typename Math, typename Form, int OUTER, typename Source>
struct Loader {
    using T = typename Math::Number;
    using Values = Pack<T, Form::WIDTH>;
    static constexpr bool ALONG_K = Form::ALONG_K;
    using Tile = typename Math::template Tile<ALONG_K, OUTER>;
    static constexpr int PER_LINE = Tile::LENGTH / Form::WIDTH;
    static constexpr int STEP = Math::THREADS / PER_LINE;
    static constexpr int COPIES = Tile::COUNT / STEP;
    static constexpr int OUTERS = ALONG_K ? COPIES : 1;
    static constexpr int HELD = Form::GATED ? COPIES : 1;
    static_assert(Math::THREADS % PER_LINE == 0 && Tile::COUNT % STEP == 0, "threads share a tile evenly");

    const Source& source;
    decltype(source.outer(0)) outer[OUTERS];
    decltype(source.k(0)) k;
    const decltype(source.step(0)) step;
    const int line, place;
    Values values[HELD], gates[HELD];

    DEVICE Loader(const Source& source, long long first_outer, long long first_k, int thread)
        : source(source),
          k(source.k(first_k + (ALONG_K ? thread % PER_LINE * Form::WIDTH : thread / PER_LINE))),
          step(source.step(ALONG_K ? Math::DEPTH : STEP)),
          line(thread / PER_LINE),
          place(thread % PER_LINE * Form::WIDTH) {
#pragma unroll
        for (int i = 0; i < OUTERS; ++i)
            outer[i] = source.outer(first_outer + (ALONG_K ? line + i * STEP : place));
    }

    DEVICE T* target(T* tile, int copy) const {
        return tile + (line + copy * STEP) * Tile::STRIDE + place;
    }

    // Begin to copy the next tile; `settle` ends it.
    DEVICE void fetch(T* tile) {
#pragma unroll
        for (int i = 0; i < COPIES; ++i) {
            const auto& mine = outer[ALONG_K ? i : 0];
            const bool valid = source.holds(mine, k);
            const long long offset = valid ? source.offset(mine, k) : 0;
            if constexpr (Form::GATED) {
                values[i] = gates[i] = Values{};
                if (valid) {
                    values[i] = *reinterpret_cast<const Values*>(source.data + offset);
                    gates[i] = *reinterpret_cast<const Values*>(source.gate + offset);
                }
            } else {
                copy_async<sizeof(Values)>(target(tile, i), source.data + offset, valid);
            }
            if (!ALONG_K) source.advance(k, step);  // COPIES steps are DEPTH
        }
        if (ALONG_K) source.advance(k, step);
    }

    DEVICE void settle(T* tile) {
        if constexpr (Form::GATED) {
#pragma unroll
            for (int i = 0; i < COPIES; ++i) {
                for (int j = 0; j < Form::WIDTH; ++j)
                    if (!(gates[i].at[j] > 0)) values[i].at[j] = 0;
                *reinterpret_cast<Values*>(target(tile, i)) = values[i];
            }
        }
    }
};

// Products by multiply-add of T; each thread makes TALL x WIDE numbers of the tile.
template <typename T, int ROWS_, int COLUMNS_, int TALL, int WIDE>
struct Fma {
    using Number = T;
    static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_, DEPTH = 16;
    static constexpr int DOWN = ROWS / TALL, ACROSS = COLUMNS / WIDE;  // threads
    static constexpr int THREADS = DOWN * ACROSS;
    static constexpr int PACK = 16 / sizeof(T);

    // Behind lines along k a gap, so that the same step of neighbouring lines is in other banks.
    template <bool ALONG_K, int OUTER>
    using Tile = Lines<ALONG_K, OUTER, DEPTH, ALONG_K ? PACK : 0>;

    // The place, in a tile, of a thread's i-th row or column: neighbouring threads read neighbouring
    // lines of a tile along k, and neighbouring packs of a line of the other kind.
    template <bool ALONG_K, int LANES>
    static DEVICE int position(int lane, int i) {
        return ALONG_K ? i * LANES + lane : (i / PACK * LANES + lane) * PACK + i % PACK;
    }

    // Steps k to k + PACK of this thread's rows or columns.
    template <bool ALONG_K, int LANES, int COUNT>
    static DEVICE void read(T (&numbers)[COUNT][PACK], const T* tile, int lane, int k) {
        using Packed = Pack<T, PACK>;
        constexpr int STRIDE = Tile<ALONG_K, LANES * COUNT>::STRIDE;
        if constexpr (ALONG_K) {
#pragma unroll
            for (int i = 0; i < COUNT; ++i) {
                const T* line = tile + position<true, LANES>(lane, i) * STRIDE;
                const Packed pack = *reinterpret_cast<const Packed*>(line + k);
#pragma unroll
                for (int j = 0; j < PACK; ++j) numbers[i][j] = pack.at[j];
            }
        } else {
#pragma unroll
            for (int j = 0; j < PACK; ++j) {
#pragma unroll
                for (int i = 0; i < COUNT; i += PACK) {
                    const T* line = tile + (k + j) * STRIDE;
                    const int place = position<false, LANES>(lane, i);
                    const Packed pack = *reinterpret_cast<const Packed*>(line + place);
#pragma unroll
                    for (int p = 0; p < PACK; ++p) numbers[i + p][j] = pack.at[p];
                }
            }
        }
    }

    template <bool A_ALONG_K, bool B_ALONG_K>
    struct Sums {
        T sums[TALL][WIDE];

        DEVICE Sums() : sums{} {}

        DEVICE void multiply(const T* a, const T* b, int thread) {
#pragma unroll
            for (int k = 0; k < DEPTH; k += PACK) {
                T rows[TALL][PACK], columns[WIDE][PACK];
                read<A_ALONG_K, DOWN>(rows, a, thread / ACROSS, k);
                read<B_ALONG_K, ACROSS>(columns, b, thread % ACROSS, k);
#pragma unroll
                for (int p = 0; p < PACK; ++p)
#pragma unroll
                    for (int i = 0; i < TALL; ++i)
#pragma unroll
                        for (int j = 0; j < WIDE; ++j) sums[i][j] += rows[i][p] * columns[j][p];
            }
        }

        template <typename Target, typename Epilogue>
        DEVICE void write(const Target& target, const Epilogue& epilogue, long long row,
                          long long column, int thread) const {
            constexpr int RUN = B_ALONG_K ? 1 : PACK;  // columns side by side
#pragma unroll
            for (int i = 0; i < TALL; ++i) {
                const int down = position<A_ALONG_K, DOWN>(thread / ACROSS, i);
                const long long line = target.line(row + down);
                if (line < 0) continue;
#pragma unroll
                for (int j = 0; j < WIDE; j += RUN) {
                    Pack<T, RUN> run;
#pragma unroll
                    for (int p = 0; p < RUN; ++p) run.at[p] = sums[i][j + p];
                    const int place = position<B_ALONG_K, ACROSS>(thread % ACROSS, j);
                    store(target, epilogue, line, column + place, run);
                }
            }
        }
    };
};

// How `Mma` rounds pairs of neighbours along k, and multiplies 16 x 16 by 16 x 8 of them:
// a[half of k][half of rows], b[half of k], WORDS words a pair.
//
// The matrix unit's steps `place` and `place + 4` of k are given the numbers of steps 2 place and
// 2 place + 1. The order within a sum is free, and so both kinds read the same pairs.
struct Tf32 {
    static constexpr int WORDS = 2;

    static DEVICE void round(unsigned (&words)[2], Pack<float, 2> pair) {
        words[0] = to_tf32(pair.at[0]);
        words[1] = to_tf32(pair.at[1]);
    }
    static DEVICE void multiply(float (&sums)[4], const unsigned (&a)[2][2][2],
                                const unsigned (&b)[2][2]) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const unsigned left[4] = {a[half][0][0], a[half][1][0], a[half][0][1], a[half][1][1]};
            mma_tf32(sums, left, b[half]);
        }
    }
};

struct Bf16 {
    static constexpr int WORDS = 1;

    static DEVICE void round(unsigned (&words)[1], Pack<float, 2> pair) {
        words[0] = pack_bf16(pair.at[0], pair.at[1]);
    }
    static DEVICE void multiply(float (&sums)[4], const unsigned (&a)[2][2][1],
                                const unsigned (&b)[2][1]) {
        const unsigned left[4] = {a[0][0][0], a[0][1][0], a[1][0][0], a[1][1][0]};
        const unsigned right[2] = {b[0][0], b[1][0]};
        mma_bf16(sums, left, right);
    }
};

// Products on the matrix units, of float numbers rounded to `Rounding`; each warp makes TALL x WIDE
// numbers of the tile.
template <typename Rounding, int ROWS_, int COLUMNS_, int TALL, int WIDE>
struct Mma {
    using Number = float;
    static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_, DEPTH = 16;
    static constexpr int ACROSS = COLUMNS / WIDE;  // warps
    static constexpr int THREADS = 32 * ACROSS * (ROWS / TALL);

    // Gaps, so that what a warp reads at once is in 32 banks: 4 pairs of 4 lines along k, or a number
    // of 8 in each of 4 lines, two apart, of the other kind.
    template <bool ALONG_K, int OUTER>
    using Tile = Lines<ALONG_K, OUTER, DEPTH, ALONG_K ? 8 : 4>;

    template <bool ALONG_K, int OUTER>
    static DEVICE Pack<float, 2> pair(const float* tile, int outer, int k) {
        constexpr int STRIDE = Tile<ALONG_K, OUTER>::STRIDE;
        if constexpr (ALONG_K)
            return *reinterpret_cast<const Pack<float, 2>*>(tile + outer * STRIDE + k);
        else
            return {{tile[k * STRIDE + outer], tile[(k + 1) * STRIDE + outer]}};
    }

    template <bool A_ALONG_K, bool B_ALONG_K>
    struct Sums {
        float sums[TALL / 16][WIDE / 8][4];

        DEVICE Sums() : sums{} {}

        DEVICE void multiply(const float* a, const float* b, int thread) {
            const int group = thread % 32 / 4, place = thread % 4, warp = thread / 32;
            const int row = warp / ACROSS * TALL + group, column = warp % ACROSS * WIDE + group;
#pragma unroll
            for (int k = 0; k < DEPTH; k += 16) {
                unsigned rows[TALL / 16][2][2][Rounding::WORDS];
                unsigned columns[WIDE / 8][2][Rounding::WORDS];
#pragma unroll
                for (int half = 0; half < 2; ++half) {
                    const int step = k + 8 * half + 2 * place;
#pragma unroll
                    for (int i = 0; i < TALL / 16; ++i)
#pragma unroll
                        for (int below = 0; below < 2; ++below)
                            Rounding::round(rows[i][half][below],
                                            pair<A_ALONG_K, ROWS>(a, row + 16 * i + 8 * below, step));
#pragma unroll
                    for (int j = 0; j < WIDE / 8; ++j)
                        Rounding::round(columns[j][half],
                                        pair<B_ALONG_K, COLUMNS>(b, column + 8 * j, step));
                }
#pragma unroll
                for (int i = 0; i < TALL / 16; ++i)
#pragma unroll
                    for (int j = 0; j < WIDE / 8; ++j)
                        Rounding::multiply(sums[i][j], rows[i], columns[j]);
            }
        }

        template <typename Target, typename Epilogue>
        DEVICE void write(const Target& target, const Epilogue& epilogue, long long row,
                          long long column, int thread) const {
            const int group = thread % 32 / 4, place = thread % 4, warp = thread / 32;
            row += warp / ACROSS * TALL + group;
            column += warp % ACROSS * WIDE + 2 * place;
#pragma unroll
            for (int i = 0; i < TALL / 16; ++i)
#pragma unroll
                for (int below = 0; below < 2; ++below) {
                    const long long line = target.line(row + 16 * i + 8 * below);
                    if (line < 0) continue;
#pragma unroll
                    for (int j = 0; j < WIDE / 8; ++j) {
                        const float* run = sums[i][j] + 2 * below;
                        store(target, epilogue, line, column + 8 * j,
                              Pack<float, 2>{{run[0], run[1]}});
                    }
                }
        }
    };
};

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
