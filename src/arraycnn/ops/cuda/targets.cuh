// Where a product of tiles.cuh goes: targets, and what stores numbers there as an epilogue has them.
#pragma once
#include "epilogue.cuh"
#include "packs.cuh"

// Rows of y, of `columns` numbers, one after another: row m is line m of `data`; -1: there is none. A block
// asks for its first row and many offsets.
template <typename T>
struct Rows {
    T* data;
    long long rows, columns;

    DEVICE long long line(long long first, int offset) const {
        const long long row = first + offset;
        return row < rows ? row : -1;
    }
};

// The same of rows whose numbers 32 bits hold.
template <typename T>
struct ShortRows {
    T* data;
    int rows, columns;

    DEVICE int line(long long first, int offset) const {
        const int row = (int)first + offset;
        return row >= rows ? -1 : row;
    }
};

template <typename Target>
DEVICE auto* address(const Target& target, long long line, long long column) {
    return target.data + line * target.columns + column;
}
template <typename T>
DEVICE T* address(const ShortRows<T>& target, long long line, long long column) {
    return target.data + (unsigned long long)(unsigned)line * (unsigned)target.columns + column;
}

// Of some lines RUNS runs of COUNT numbers, whose columns are STEP apart, all of which are there, as the epilogue
// has them. They are computed before one is stored: what the epilogue reads is on its way together, and what it
// reads of a column once.
template <int STEP, typename L, typename T, typename Target, typename Epilogue, int LINES, int RUNS,
          int COUNT>
DEVICE void store(const Target& target, const Epilogue& epilogue, const L (&lines)[LINES],
                  long long column, Pack<T, COUNT> (&runs)[LINES][RUNS]) {
#pragma unroll
    for (int i = 0; i < LINES; ++i)
#pragma unroll
        for (int run = 0; run < RUNS; ++run)
#pragma unroll
            for (int j = 0; j < COUNT; ++j)
                runs[i][run].at[j] =
                    epilogue(runs[i][run].at[j], lines[i], column + run * STEP + j);
#pragma unroll
    for (int i = 0; i < LINES; ++i) {
        auto* place = address(target, lines[i], column);
#pragma unroll
        for (int run = 0; run < RUNS; ++run) put(place + run * STEP, runs[i][run]);
    }
}

// The same of one line at the edge of y, where some are not there, or packs of them at no whole address.
template <int STEP, typename L, typename T, typename Target, typename Epilogue, int RUNS, int COUNT>
DEVICE void store_at_edge(const Target& target, const Epilogue& epilogue, L line, long long column,
                          Pack<T, COUNT> (&runs)[RUNS]) {
    const long long left = target.columns - column;
    const int there = line < 0 ? 0 : left < RUNS * STEP ? (int)left : RUNS * STEP;
    auto* place = address(target, line, column);
#pragma unroll
    for (int run = 0; run < RUNS; ++run)
#pragma unroll
        for (int j = 0; j < COUNT; ++j) {
            T& number = runs[run].at[j];
            if (run * STEP + j < there) number = epilogue(number, line, column + run * STEP + j);
        }
#pragma unroll
    for (int run = 0; run < RUNS; ++run)
#pragma unroll
        for (int j = 0; j < COUNT; ++j)
            if (run * STEP + j < there) put(place + run * STEP + j, Pack<T, 1>{runs[run].at[j]});
}

// What a thread has of a tile: of each of LINES lines, of which a later one is there only if the earlier are,
// RUNS runs. `line_of(i)` is the target's i-th of these lines, `run_of(i, run)` the Pack of a run of it.
template <int STEP, int LINES, int RUNS, typename Target, typename Epilogue, typename LineOf,
          typename RunOf>
DEVICE void write_lines(const Target& target, const Epilogue& epilogue, long long column,
                        LineOf line_of, RunOf run_of) {
    using Run = decltype(run_of(0, 0));
    constexpr int COUNT = sizeof(Run::at) / sizeof(Run::at[0]), MOST = 16 / (RUNS * COUNT);
    constexpr int AT_ONCE = MOST < 1 ? 1 : MOST < LINES ? MOST : LINES;  // registers hold 16 numbers
    static_assert(LINES % AT_ONCE == 0, "lines are stored some at a time");
    decltype(line_of(0)) lines[LINES / AT_ONCE][AT_ONCE];  // together: they share divisions
    Run runs[LINES / AT_ONCE][AT_ONCE][RUNS];
#pragma unroll
    for (int i = 0; i < LINES; ++i) {
        lines[i / AT_ONCE][i % AT_ONCE] = line_of(i);
#pragma unroll
        for (int run = 0; run < RUNS; ++run) runs[i / AT_ONCE][i % AT_ONCE][run] = run_of(i, run);
    }
    const bool is_inside = column + (RUNS - 1) * STEP + COUNT <= target.columns &&
                           lines[LINES / AT_ONCE - 1][AT_ONCE - 1] >= 0;
    if (target.columns % COUNT == 0 && is_inside) {
#pragma unroll
        for (int i = 0; i < LINES / AT_ONCE; ++i)
            store<STEP>(target, epilogue, lines[i], column, runs[i]);
        return;
    }
    // The lines move up, so that there is code for one: else compilers take longer for the edge than for all
    // the rest.
#pragma unroll 1
    for (int turn = 0; turn < LINES; ++turn) {
        store_at_edge<STEP>(target, epilogue, lines[0][0], column, runs[0][0]);
#pragma unroll
        for (int i = 1; i < LINES; ++i) {
            const int before = i - 1;
            lines[before / AT_ONCE][before % AT_ONCE] = lines[i / AT_ONCE][i % AT_ONCE];
#pragma unroll
            for (int run = 0; run < RUNS; ++run)
                runs[before / AT_ONCE][before % AT_ONCE][run] = runs[i / AT_ONCE][i % AT_ONCE][run];
        }
    }
}

// What a warp of matrix units has of its tile: of each of 2 DOWN lines of a lane two neighbouring columns of
// every block of 8, the first from `column` on. `line_of(i)` is the target's i-th line of the lane.
template <typename Target, typename Epilogue, int DOWN, int ACROSS, typename LineOf>
DEVICE void write_blocks(const Target& target, const Epilogue& epilogue,
                         const float (&sums)[DOWN][ACROSS][4], LineOf line_of, long long column) {
    const auto run_of = [&](int i, int j) {
        return Pack<float, 2>{sums[i / 2][j][i % 2 * 2], sums[i / 2][j][i % 2 * 2 + 1]};
    };
    write_lines<8, 2 * DOWN, ACROSS>(target, epilogue, column, line_of, run_of);
}
