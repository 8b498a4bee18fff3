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
