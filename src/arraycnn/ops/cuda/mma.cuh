// Products on the matrix units, for tiles.cuh.
#pragma once
#include "operands.cuh"
#include "targets.cuh"

// How `Mma` multiplies 16 rows by 8 columns, 16 steps of k. A lane has of a row or column the
// numbers of steps place, place + 4, place + 8 and place + 12: `at[0]` to `at[3]`. Which of them the
// matrix unit takes for which of its own steps is free, as long as a and b agree: the order in a sum is.
// Numbers are rounded each time they are multiplied, unless they are TensorFloat32 in shared memory.
template <typename Staged_>
struct Tf32Products {
    using Staged = Staged_;
    static constexpr bool ROUNDING = IS_SAME<Staged, float>;

    static DEVICE unsigned word(float x) { return ROUNDING ? to_tf32(x) : __float_as_uint(x); }

    template <int TALL, int WIDE>
    static DEVICE void multiply(float (&sums)[TALL / 2][WIDE][4], const float (&a)[TALL][4],
                                const float (&b)[WIDE][4]) {
#pragma unroll
        for (int half = 0; half < 4; half += 2) {
            unsigned right[WIDE][2];
#pragma unroll
            for (int j = 0; j < WIDE; ++j)
#pragma unroll
                for (int i = 0; i < 2; ++i) right[j][i] = word(b[j][half + i]);
#pragma unroll
            for (int i = 0; i < TALL; i += 2) {
                const unsigned left[4] = {word(a[i][half]), word(a[i + 1][half]),
                                          word(a[i][half + 1]), word(a[i + 1][half + 1])};
#pragma unroll
                for (int j = 0; j < WIDE; ++j) mma_tf32(sums[i / 2][j], left, right[j]);
            }
        }
    }
};

using Tf32 = Tf32Products<float>;
using RoundedTf32 = Tf32Products<TensorFloat32>;

struct Bf16 {
    using Staged = float;
    static constexpr bool ROUNDING = true;

    template <int TALL, int WIDE>
    static DEVICE void multiply(float (&sums)[TALL / 2][WIDE][4], const float (&a)[TALL][4],
                                const float (&b)[WIDE][4]) {
        unsigned right[WIDE][2];
#pragma unroll
        for (int j = 0; j < WIDE; ++j)
#pragma unroll
            for (int i = 0; i < 2; ++i) right[j][i] = pack_bf16(b[j][2 * i], b[j][2 * i + 1]);
#pragma unroll
        for (int i = 0; i < TALL; i += 2) {
            const unsigned left[4] = {
                pack_bf16(a[i][0], a[i][1]), pack_bf16(a[i + 1][0], a[i + 1][1]),
                pack_bf16(a[i][2], a[i][3]), pack_bf16(a[i + 1][2], a[i + 1][3])};
#pragma unroll
            for (int j = 0; j < WIDE; ++j) mma_bf16(sums[i / 2][j], left, right[j]);
        }
    }
};

// Products on the matrix units, of numbers that `Products` multiplies; each warp makes TALL x WIDE numbers
// of the tile. What is rounded in shared memory is so on its way there, or was in memory.
template <typename Products, int ROWS_, int COLUMNS_, int TALL, int WIDE>
struct Mma {
    using Number = float;
    using Staged = typename Products::Staged;
    static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_, DEPTH = 16;
    static constexpr int ROWS_OF_WARP = TALL;
    static constexpr int ACROSS = COLUMNS / WIDE;  // warps
    static constexpr int THREADS = 32 * ACROSS * (ROWS / TALL);

    // Gaps, so that what is read at once is in 32 banks: 16 bytes of 8 lines along k, or 32 bytes of
    // each of 4 lines of the other kind.
    template <bool ALONG_K, int OUTER>
    using Tile = Lines<ALONG_K, OUTER, DEPTH, ALONG_K ? 4 : 8>;

    // How many rows or columns of a lane lie side by side, of COUNT: those that it reads at once. Rounding
    // puts a number in any register; without it they are read into those where the matrix unit wants them.
    template <bool IS_A, bool ALONG_K, int COUNT>
    static constexpr int PACK = ALONG_K              ? 1
                                : Products::ROUNDING ? (COUNT < 4 ? COUNT : 4)
                                                     : (IS_A ? 2 : 1);

    // The place, among a warp's, of the i-th row or column of a group of lanes.
    template <bool IS_A, bool ALONG_K, int COUNT>
    static DEVICE int position(int i, int group) {
        constexpr int SIDE = PACK<IS_A, ALONG_K, COUNT>;
        return (i / SIDE * 8 + group) * SIDE + i % SIDE;
    }

    // Of 16 lines along k, of which a lane tells one as load_matrices wants it: its two, 16 steps of each. Of
    // A the second block has later lines and the third later steps, of B the other way round.
    template <bool IS_A>
    static DEVICE void read_line(float (&one)[4], float (&other)[4], const Staged* line) {
#pragma unroll
        for (int step = 0; step < 4; step += 2) {
            unsigned words[4];
            load_matrices(words, line + step * 4);
            one[step] = __uint_as_float(words[0]);
            other[step] = __uint_as_float(words[IS_A ? 1 : 2]);
            one[step + 1] = __uint_as_float(words[IS_A ? 2 : 1]);
            other[step + 1] = __uint_as_float(words[3]);
        }
    }

    // A lane's COUNT rows or columns, of those from `first` on, and its steps of the 16 from k on.
    template <bool IS_A, bool ALONG_K, int OUTER, int COUNT>
    static DEVICE void read(float (&numbers)[COUNT][4], const Staged* tile, int first, int k,
                            int lane) {
        constexpr int STRIDE = Tile<ALONG_K, OUTER>::STRIDE, SIDE = PACK<IS_A, ALONG_K, COUNT>;
        if constexpr (ALONG_K) {
            const int second = lane / 8 % 2, third = lane / 16;
            const int later_line = IS_A ? second : third, later_step = IS_A ? third : second;
            const Staged* line =
                tile + (first + lane % 8 + later_line * 8) * STRIDE + k + later_step * 4;
#pragma unroll
            for (int i = 0; i < COUNT; i += 2)
                read_line<IS_A>(numbers[i], numbers[i + 1], line + i * 8 * STRIDE);
        } else {
            const Staged* from = tile + (k + lane % 4) * STRIDE + first + lane / 4 * SIDE;
#pragma unroll
            for (int step = 0; step < 4; ++step)
#pragma unroll
                for (int i = 0; i < COUNT; i += SIDE) {
                    const auto pack =
                        *reinterpret_cast<const Pack<Staged, SIDE>*>(from + step * 4 * STRIDE + i * 8);
#pragma unroll
                    for (int p = 0; p < SIDE; ++p) numbers[i + p][step] = pack.at[p];
                }
        }
    }

    template <bool A_ALONG_K, bool B_ALONG_K>
    struct Sums {
        static constexpr int BLOCKS_DOWN = TALL / 8, BLOCKS_ACROSS = WIDE / 8;
        float sums[BLOCKS_DOWN / 2][BLOCKS_ACROSS][4];

        DEVICE Sums() : sums{} {}

        DEVICE void multiply(const Staged* a, const Staged* b, int thread) {
            const int warp = thread / 32, lane = thread % 32;
#pragma unroll
            for (int k = 0; k < DEPTH; k += 16) {
                float rows[BLOCKS_DOWN][4];
                read<true, A_ALONG_K, ROWS>(rows, a, warp / ACROSS * TALL, k, lane);
                add(rows, b, k, thread);
            }
        }

        // The same where rows of A lie anywhere, along k: a lane tells `lines`, as load_matrices wants them.
        DEVICE void multiply_lines(const Staged* a, const int (&lines)[BLOCKS_DOWN / 2], const Staged* b,
                                   int thread) {
#pragma unroll
            for (int k = 0; k < DEPTH; k += 16) {
                float rows[BLOCKS_DOWN][4];
#pragma unroll
                for (int i = 0; i < BLOCKS_DOWN; i += 2)
                    read_line<true>(rows[i], rows[i + 1], a + lines[i / 2] + k);
                add(rows, b, k, thread);
            }
        }

        DEVICE void add(const float (&rows)[BLOCKS_DOWN][4], const Staged* b, int k, int thread) {
            float columns[BLOCKS_ACROSS][4];
            read<false, B_ALONG_K, COLUMNS>(columns, b, thread / 32 % ACROSS * WIDE, k, thread % 32);
            Products::template multiply<BLOCKS_DOWN, BLOCKS_ACROSS>(sums, rows, columns);
        }

        template <typename Target, typename Epilogue>
        DEVICE void write(const Target& target, const Epilogue& epilogue, long long row,
                          long long column, int thread) const {
            const int group = thread % 32 / 4, place = thread % 4, warp = thread / 32;
            constexpr int SIDE = PACK<false, B_ALONG_K, BLOCKS_ACROSS>;
            const auto line_of = [&](int i) {
                const int down = position<true, A_ALONG_K, BLOCKS_DOWN>(i, group);
                return target.line(row, warp / ACROSS * TALL + down);
            };
            column += warp % ACROSS * WIDE;
            // Of a block a lane has columns 2 place and 2 place + 1; those of SIDE blocks lie side by side.
            const auto run_of = [&](int i, int run) {
                Pack<float, 2 * SIDE> numbers;
#pragma unroll
                for (int p = 0; p < 2 * SIDE; ++p)
                    numbers.at[p] = sums[i / 2][run * SIDE + p % SIDE][i % 2 * 2 + p / SIDE];
                return numbers;
            };
            write_lines<8 * SIDE, BLOCKS_DOWN, BLOCKS_ACROSS / SIDE>(
                target, epilogue, column + 2 * SIDE * place, line_of, run_of);
        }
    };
};
