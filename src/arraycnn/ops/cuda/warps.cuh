// What the 32 lanes of a warp find together; every lane gets the result.
#pragma once
#include "device.cuh"

constexpr int WARP = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;

// The sum of the lanes' values, added in the same order each time.
template <typename T>
DEVICE T warp_sum(T value) {
    for (int distance = WARP / 2; distance > 0; distance /= 2)
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    return value;
}

// A number and where it stands.
template <typename T>
struct Placed {
    T value;
    int place;
};

// Whether `a` comes before `b` in looking for the largest: the first of equals, and NaN before all
// numbers, as in argmax.
template <typename T>
DEVICE bool leads(const Placed<T>& a, const Placed<T>& b) {
    const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
    if (a_nan != b_nan) return a_nan;
    if (a_nan || a.value == b.value) return a.place < b.place;
    return a.value > b.value;
}

template <typename T>
DEVICE Placed<T> warp_largest(Placed<T> mine) {
    for (int distance = WARP / 2; distance > 0; distance /= 2) {
        const Placed<T> other = {__shfl_xor_sync(ALL_LANES, mine.value, distance),
                                 __shfl_xor_sync(ALL_LANES, mine.place, distance)};
        if (leads(other, mine)) mine = other;
    }
    return mine;
}

// The largest of `count` numbers, and the first place it stands at.
template <typename T>
DEVICE Placed<T> warp_largest_of(const T* numbers, int count, int lane) {
    Placed<T> mine = {numbers[0], 0};
    for (int i = lane; i < count; i += WARP) {
        const Placed<T> other = {numbers[i], i};
        if (leads(other, mine)) mine = other;
    }
    return warp_largest(mine);
}
