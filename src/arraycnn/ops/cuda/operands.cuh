// What a product of tiles.cuh reads and writes: forms, sources, the loader that copies their tiles to
// shared memory, and targets.
#pragma once
#include "epilogue.cuh"

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

// What `Math` multiplies.
template <typename Math>
using Number = typename Math::Number;

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

// A line of an operand, in memory: where it begins, and whether there is such a line.
template <typename T>
struct Line {
    const T* data;
    bool exists;
};

// The address `bytes` behind `data`: one addition, where an index is multiplied first.
template <typename T>
DEVICE const T* moved(const T* data, long long bytes) {
    return reinterpret_cast<const T*>(reinterpret_cast<const char*>(data) + bytes);
}

// A matrix in C order, `steps` numbers along k, `outers` along m or n. Its k is an offset in bytes.
template <typename T, bool ALONG_K>
struct Matrix {
    const T* data;
    const T* gate;
    long long outers, steps;

    DEVICE Line<T> outer(long long index) const {
        return {computed(data + (ALONG_K ? index * steps : index)), index < outers};
    }
    DEVICE long long k(long long index) const {
        return (long long)sizeof(T) * (ALONG_K ? index : index * outers);
    }
    DEVICE long long step(int count) const { return k(count); }
    DEVICE void advance(long long& k, long long step) const { k += step; }
    DEVICE bool holds(const Line<T>& outer, long long k, bool in_sum) const {
        return outer.exists & in_sum;
    }
    DEVICE const T* number(const Line<T>& outer, long long k) const { return moved(outer.data, k); }
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
    const long long to_gate;  // bytes
    Values values[HELD], gates[HELD];

    DEVICE Loader(const Source& source, long long first_outer, long long first_k, int thread)
        : source(source),
          k(source.k(first_k + (ALONG_K ? thread % PER_LINE * Form::WIDTH : thread / PER_LINE))),
          step(source.step(ALONG_K ? Math::DEPTH : STEP)),
          line(thread / PER_LINE),
          place(thread % PER_LINE * Form::WIDTH),
          to_gate(Form::GATED ? (const char*)source.gate - (const char*)source.data : 0) {
#pragma unroll
        for (int i = 0; i < OUTERS; ++i)
            outer[i] = source.outer(first_outer + (ALONG_K ? line + i * STEP : place));
    }

    DEVICE T* target(T* tile, int copy) const {
        return tile + (line + copy * STEP) * Tile::STRIDE + place;
    }

    // Begin to copy the next tile, in which `left` steps of k are left; `settle` ends it.
    DEVICE void fetch(T* tile, int left) {
#pragma unroll
        for (int i = 0; i < COPIES; ++i) {
            const auto& mine = outer[ALONG_K ? i : 0];
            const bool in_sum = (ALONG_K ? place : line + i * STEP) < left;
            const bool valid = source.holds(mine, k, in_sum);
            const T* number = source.number(mine, k);  // read only where it is valid
            if constexpr (Form::GATED) {
                values[i] = gates[i] = Values{};
                if (valid) {
                    values[i] = *reinterpret_cast<const Values*>(number);
                    gates[i] = *reinterpret_cast<const Values*>(moved(number, to_gate));
                }
            } else {
                copy_async<sizeof(Values)>(target(tile, i), number, valid);
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
