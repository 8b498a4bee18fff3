// A kernel that does the same with each of `count` numbers, whatever their axes.
#pragma once
#include "device.cuh"

constexpr int PER_THREAD = 4;  // as in elementwise.py: several loads are under way at once

// Calls use(i) for the numbers of this thread: neighbouring threads have neighbouring numbers.
template <typename Use>
DEVICE void for_each_element(long long count, Use use) {
    const long long first = (long long)blockIdx.x * blockDim.x * PER_THREAD + threadIdx.x;
    if (first + (PER_THREAD - 1) * blockDim.x < count) {  // all of them, without a question between
#pragma unroll
        for (int part = 0; part < PER_THREAD; ++part) use(first + part * blockDim.x);
    } else {
        for (long long i = first; i < count; i += blockDim.x) use(i);
    }
}
