// Products on the matrix units, for tiles.cuh.
#pragma once
#include "operands.cuh"

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
