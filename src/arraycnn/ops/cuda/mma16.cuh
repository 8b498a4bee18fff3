// Products on the matrix units of numbers that are bfloat16 in shared memory, for tiles.cuh.
#pragma once
#include "operands.cuh"
#include "targets.cuh"

// Each warp makes TALL x WIDE numbers of the tile; sums are float. A float operand is rounded on its way
// to shared memory, a bfloat16 one copied as it is: nothing is converted in the main loop.
template <int ROWS_, int COLUMNS_, int TALL, int WIDE, int DEPTH_ = 32>
struct Mma16 {
    using Number = float;
    using Staged = Bfloat16;
    static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_, DEPTH = DEPTH_;
    static constexpr int ROWS_OF_WARP = TALL;
    static constexpr int ACROSS = COLUMNS / WIDE;  // warps
    static constexpr int THREADS = 32 * ACROSS * (ROWS / TALL);

    // Behind each line 16 bytes, so that those of 8 lines, which are read at once, are in 32 banks.
    template <bool ALONG_K, int OUTER>
    using Tile = Lines<ALONG_K, OUTER, DEPTH, 8>;

    // COUNT times 16 rows or columns, of those from `first` on, at 16 steps from k on: four blocks of 8 by
    // 8, of which a lane gets two neighbours along k each. Of A the second has later rows and the third
    // later steps, as in device.cuh; of B, which the matrix unit takes in halves, the other way round.
    template <bool IS_A, bool ALONG_K, int OUTER, int COUNT>
    static DEVICE void read(unsigned (&words)[COUNT][4], const Bfloat16* tile, int first, int k,
                            int lane) {
        constexpr int STRIDE = Tile<ALONG_K, OUTER>::STRIDE;
        const int second = lane / 8 % 2 * 8, third = lane / 16 * 8;
        first += IS_A ? second : third;
        k += IS_A ? third : second;
        if constexpr (ALONG_K) {
            const Bfloat16* line = tile + (first + lane % 8) * STRIDE + k;
#pragma unroll
            for (int i = 0; i < COUNT; ++i) load_matrices(words[i], line + i * 16 * STRIDE);
        } else {
            const Bfloat16* line = tile + (k + lane % 8) * STRIDE + first;
#pragma unroll
            for (int i = 0; i < COUNT; ++i) load_matrices_turned(words[i], line + i * 16);
        }
    }

    template <bool A_ALONG_K, bool B_ALONG_K>
    struct Sums {
        static constexpr int DOWN = TALL / 16, BESIDE = WIDE / 16;
        float sums[DOWN][2 * BESIDE][4];

        DEVICE Sums() : sums{} {}

        DEVICE void multiply(const Bfloat16* a, const Bfloat16* b, int thread) {
            const int warp = thread / 32, lane = thread % 32;
#pragma unroll
            for (int k = 0; k < DEPTH; k += 16) {
                unsigned rows[DOWN][4];
                read<true, A_ALONG_K, ROWS>(rows, a, warp / ACROSS * TALL, k, lane);
                add(rows, b, k, thread);
            }
        }

        // The same where rows of A lie anywhere, along k: a lane tells `lines`, as load_matrices wants them.
        DEVICE void multiply_lines(const Bfloat16* a, const int (&lines)[DOWN], const Bfloat16* b,
                                   int thread) {
#pragma unroll
            for (int k = 0; k < DEPTH; k += 16) {
                unsigned rows[DOWN][4];
#pragma unroll
                for (int i = 0; i < DOWN; ++i) load_matrices(rows[i], a + lines[i] + k);
                add(rows, b, k, thread);
            }
        }

        DEVICE void add(const unsigned (&rows)[DOWN][4], const Bfloat16* b, int k, int thread) {
            unsigned columns[BESIDE][4];
            read<false, B_ALONG_K, COLUMNS>(columns, b, thread / 32 % ACROSS * WIDE, k, thread % 32);
#pragma unroll
            for (int j = 0; j < 2 * BESIDE; ++j) {
                const unsigned right[2] = {columns[j / 2][j % 2 * 2], columns[j / 2][j % 2 * 2 + 1]};
#pragma unroll
                for (int i = 0; i < DOWN; ++i) mma_bf16(sums[i][j], rows[i], right);
            }
        }

        template <typename Target, typename Epilogue>
        DEVICE void write(const Target& target, const Epilogue& epilogue, long long row,
                          long long column, int thread) const {
            const int group = thread % 32 / 4, place = thread % 4, warp = thread / 32;
            const auto line_of = [&](int i) {
                return target.line(row, warp / ACROSS * TALL + i * 8 + group);
            };
            write_blocks(target, epilogue, sums, line_of, column + warp % ACROSS * WIDE + 2 * place);
        }
    };
};
