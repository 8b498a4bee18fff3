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
