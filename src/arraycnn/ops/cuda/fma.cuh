// Products by multiply-add, for tiles.cuh.
#pragma once
#include "operands.cuh"
#include "targets.cuh"

// Products by multiply-add of T; each thread makes TALL x WIDE numbers of the tile.
template <typename T, int ROWS_, int COLUMNS_, int TALL, int WIDE>
struct Fma {
    using Number = T;
    using Staged = T;
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
            const auto line_of = [&](int i) {
                return target.line(row, position<A_ALONG_K, DOWN>(thread / ACROSS, i));
            };
            const auto run_of = [&](int i, int run) {
                Pack<T, RUN> numbers;
#pragma unroll
                for (int p = 0; p < RUN; ++p) numbers.at[p] = sums[i][run * RUN + p];
                return numbers;
            };
            write_lines<ACROSS * RUN, TALL, WIDE / RUN>(
                target, epilogue, column + position<B_ALONG_K, ACROSS>(thread % ACROSS, 0), line_of,
                run_of);
        }
    };
};
