// What a product of tiles.cuh reads: forms, sources, and the loader that copies their tiles to shared memory.
#pragma once
#include "packs.cuh"

// WIDTH numbers are copied at once: 16 bytes of them, or 1 where lines do not begin at such addresses.
// GATED: a number counts as 0 unless its gate is above 0. That is the gradient of ReLU.
// Stored: as what they lie in memory, the gates, too; void: as the numbers of the product.
template <bool ALONG_K_, int WIDTH_, bool GATED_ = false, typename Stored_ = void>
struct Form {
    static constexpr bool ALONG_K = ALONG_K_, GATED = GATED_;
    static constexpr int WIDTH = WIDTH_;
    using Stored = Stored_;
};

template <typename T, typename Default> struct Or { using Type = T; };
template <typename Default> struct Or<void, Default> { using Type = Default; };
template <typename Math, typename Form>
using StoredOf = typename Or<typename Form::Stored, typename Math::Number>::Type;

template <bool CONDITION, typename A, typename B> struct Choice { using Type = A; };
template <typename A, typename B> struct Choice<false, A, B> { using Type = B; };
template <bool CONDITION, typename A, typename B>
using If = typename Choice<CONDITION, A, B>::Type;

template <typename A, typename B> constexpr bool IS_SAME = false;
template <typename A> constexpr bool IS_SAME<A, A> = true;

// What `Math` multiplies.
template <typename Math>
using Number = typename Math::Number;

// A tile of an operand in shared memory: lines of numbers side by side, each followed by a gap.
template <bool ALONG_K, int OUTER, int DEPTH, int GAP>
struct Lines {
    static constexpr int LENGTH = ALONG_K ? DEPTH : OUTER, COUNT = ALONG_K ? OUTER : DEPTH;
    static constexpr int STRIDE = LENGTH + GAP, SIZE = COUNT * STRIDE;
};

// number / d of a number below 2^31, where the host knows d: `by` is divisor(d) of cuda_patches.py.
DEVICE int quotient(int number, long long by) {
    const unsigned high = (2ull * (unsigned)number * (unsigned)by) >> 32;
    return (int)(high >> (by >> 32));
}

// A number of three digits, such as (image, row, column); the first digit has no limit.
struct Digits {
    int high, middle, low;
};

DEVICE Digits digits(unsigned number, int middle, int low) {
    const unsigned rest = number / (unsigned)low;
    return {(int)(rest / (unsigned)middle), (int)(rest % (unsigned)middle),
            (int)(number % (unsigned)low)};
}

DEVICE Digits digits(long long number, int middle, int low) {
    if (number < 1ll << 32) return digits((unsigned)number, middle, low);  // ten times as quick
    const long long rest = number / low;
    return {(int)(rest / middle), (int)(rest % middle), (int)(number % low)};
}

// The digits of first + offset, of which a block knows the first and has many offsets: only the number of
// the image may need 64 bits, and it is divided once. middle * low is less than 2^31.
DEVICE Digits digits(long long first, int offset, int middle, int low) {
    const long long whole = (long long)middle * low, high = first / whole;
    Digits number = digits((unsigned)(first - high * whole) + (unsigned)offset, middle, low);
    number.high += (int)high;
    return number;
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

    DEVICE Line<T> outer(long long first, int offset) const {
        const long long index = first + offset;
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

// One thread's share of copying the tiles of one operand.
//
// A tile is lines of LENGTH numbers, of which a thread copies WIDTH at once: BESIDE times in a line, which
// SHARE threads share, and in DOWN lines, which are STEP apart. Across, threads take all lines at once where
// packs are copied: then k advances once a tile.
template <typename Math, typename Form, int OUTER, typename Source>
struct Loader {
    using T = typename Math::Staged;
    using Stored = StoredOf<Math, Form>;
    using Values = typename Held<Stored, Form::WIDTH>::Type;
    static constexpr bool ALONG_K = Form::ALONG_K;
    using Tile = typename Math::template Tile<ALONG_K, OUTER>;
    static constexpr int PER_LINE = Tile::LENGTH / Form::WIDTH;
    static constexpr int ALL_LINES = Math::THREADS / Tile::COUNT;
    static constexpr int SHARE =
        ALONG_K || Form::WIDTH == 1 || ALL_LINES > PER_LINE ? PER_LINE : ALL_LINES;
    static constexpr int BESIDE = PER_LINE / SHARE, STEP = Math::THREADS / SHARE;
    static constexpr int DOWN = Tile::COUNT / STEP, COPIES = BESIDE * DOWN;
    static constexpr int OUTERS = ALONG_K ? DOWN : BESIDE;
    static constexpr int NEXT = SHARE * Form::WIDTH;  // numbers from a copy to that beside it
    // Through registers, where numbers change on their way, or no asynchronous copy is so small.
    static constexpr bool IS_HELD = Form::GATED || !IS_SAME<Stored, T> || sizeof(Values) < 4;
    static constexpr int HELD = IS_HELD ? COPIES : 1, GATES = Form::GATED ? COPIES : 1;
    static_assert(Math::THREADS % SHARE == 0 && PER_LINE % SHARE == 0 && Tile::COUNT % STEP == 0,
                  "threads share a tile evenly");

    const Source& source;
    decltype(source.outer(0, 0)) outer[OUTERS];
    decltype(source.k(0)) k;
    const decltype(source.step(0)) step;
    const int line, place;
    const long long to_gate;  // bytes
    Values values[HELD], gates[GATES];

    DEVICE Loader(const Source& source, long long first_outer, long long first_k, int thread)
        : source(source),
          k(source.k(first_k + (ALONG_K ? thread % SHARE * Form::WIDTH : thread / SHARE))),
          step(source.step(ALONG_K ? Math::DEPTH : STEP)),
          line(thread / SHARE),
          place(thread % SHARE * Form::WIDTH),
          to_gate(Form::GATED ? (const char*)source.gate - (const char*)source.data : 0) {
#pragma unroll
        for (int i = 0; i < OUTERS; ++i)
            outer[i] = source.outer(first_outer, ALONG_K ? line + i * STEP : place + i * NEXT);
    }

    DEVICE T* target(T* tile, int copy) const {
        return tile + (line + copy / BESIDE * STEP) * Tile::STRIDE + place + copy % BESIDE * NEXT;
    }

    // Begin to copy the next tile, in which `left` steps of k are left; `settle` ends it.
    DEVICE void fetch(T* tile, int left) {
#pragma unroll
        for (int i = 0; i < COPIES; ++i) {
            const auto& mine = outer[ALONG_K ? i : i % BESIDE];
            const bool in_sum = (ALONG_K ? place : line + i / BESIDE * STEP) < left;
            const bool valid = source.holds(mine, k, in_sum);
            const Stored* number = source.number(mine, k);  // read only where it is valid
            if constexpr (IS_HELD) {
                values[i] = Values{};
                if (valid) values[i] = *reinterpret_cast<const Values*>(number);
                if constexpr (Form::GATED) {
                    gates[i] = Values{};
                    if (valid)
                        gates[i] = *reinterpret_cast<const Values*>(moved(number, to_gate));
                }
            } else {
                copy_async<sizeof(Values)>(target(tile, i), number, valid);
            }
            if (!ALONG_K && i % BESIDE == BESIDE - 1) source.advance(k, step);  // DOWN are DEPTH
        }
        if (ALONG_K) source.advance(k, step);
    }

    DEVICE void settle(T* tile) {
        if constexpr (IS_HELD) {
#pragma unroll
            for (int i = 0; i < COPIES; ++i) {
                if constexpr (Form::GATED) shut(values[i], gates[i]);
                put(target(tile, i), values[i]);
            }
        }
    }
};
