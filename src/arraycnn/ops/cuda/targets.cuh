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

template <typename T, typename Target, typename Epilogue, int COUNT>
DEVICE void store(const Target& target, const Epilogue& epilogue, long long line, long long column,
                  Pack<T, COUNT> sums) {
    if (column >= target.columns) return;
    const bool whole = target.columns % COUNT == 0;
    auto* place = address(target, line, column);
#pragma unroll
    for (int i = 0; i < COUNT; ++i) {
        if (!whole && column + i >= target.columns) break;
        sums.at[i] = epilogue(sums.at[i], line, column + i);
        if (!whole) put(place + i, Pack<T, 1>{sums.at[i]});
    }
    if (whole) put(place, sums);
}

// Of each of some lines, of which a later one is there only if the earlier are, RUNS runs of COUNT numbers,
// whose columns are STEP apart, as the epilogue has them. Where all of them are there, they are computed
// before one is stored: what the epilogue reads is on its way together, and what it reads of a column once.
template <int STEP, typename L, typename T, typename Target, typename Epilogue, int LINES, int RUNS,
          int COUNT>
DEVICE void store(const Target& target, const Epilogue& epilogue, const L (&lines)[LINES],
                  long long column, Pack<T, COUNT> (&runs)[LINES][RUNS]) {
    if (target.columns % COUNT != 0 || column + (RUNS - 1) * STEP + COUNT > target.columns ||
        lines[LINES - 1] < 0) {
#pragma unroll
        for (int i = 0; i < LINES; ++i) {
            if (lines[i] < 0) continue;
#pragma unroll
            for (int run = 0; run < RUNS; ++run)
                store(target, epilogue, lines[i], column + run * STEP, runs[i][run]);
        }
        return;
    }
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

// What a warp of matrix units has of its tile: of each of 2 DOWN lines of a lane two neighbouring columns of
// every block of 8, the first from `column` on. `line_of(i)` is the target's i-th line of the lane.
template <typename Target, typename Epilogue, int DOWN, int ACROSS, typename LineOf>
DEVICE void write_blocks(const Target& target, const Epilogue& epilogue,
                         const float (&sums)[DOWN][ACROSS][4], LineOf line_of, long long column) {
    constexpr int MOST = ACROSS < 8 ? 8 / ACROSS : 1;  // lines at once: registers hold so many numbers
    constexpr int AT_ONCE = MOST < 2 * DOWN ? MOST : 2 * DOWN;
    decltype(line_of(0)) lines[2 * DOWN / AT_ONCE][AT_ONCE];  // together: they share divisions
#pragma unroll
    for (int i = 0; i < 2 * DOWN; ++i) lines[i / AT_ONCE][i % AT_ONCE] = line_of(i);
#pragma unroll
    for (int first = 0; first < 2 * DOWN; first += AT_ONCE) {
        Pack<float, 2> runs[AT_ONCE][ACROSS];
#pragma unroll
        for (int line = 0; line < AT_ONCE; ++line)
#pragma unroll
            for (int j = 0; j < ACROSS; ++j) {
                const int i = first + line;
                runs[line][j] = {sums[i / 2][j][i % 2 * 2], sums[i / 2][j][i % 2 * 2 + 1]};
            }
        store<8>(target, epilogue, lines[first / AT_ONCE], column, runs);
    }
}
