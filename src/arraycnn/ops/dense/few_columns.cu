// A product of few columns, as the last one of a classifier, which has no tile to fill: a block has a row of
// it, and its threads share the sums over k.
//
//   k   0   1   ..  255 | 256 ..      A thread takes every 256th k, for all columns; then the lanes of a
//       thread 0, 1, .. | 0, 1, ..    warp add up theirs, and the first threads what the warps have.
#include "epilogue.cuh"
#include "packs.cuh"
#include "warps.cuh"

constexpr int THREADS_OF_ROW = 256;

// y(m, n) = sum over k of a(m, k) b(k, n), all in C order, and of that what the epilogue makes. Of b PACK
// neighbours are read at once. Returns that this block has stored a whole row.
template <typename A, typename B, int COLUMNS, int PACK, typename Epilogue, typename T = SumOf<B>>
DEVICE bool few_columns_block(const Block& at, const A* __restrict__ a, const B* __restrict__ b, T* y,
                              long long depth, const Epilogue& epilogue) {
    constexpr int AT_ONCE = 72 / (COLUMNS + 1);  // steps of k whose numbers are on their way together
    constexpr int WARPS = THREADS_OF_ROW / WARP, PACKS = COLUMNS / PACK;
    __shared__ T of_warps[WARPS][COLUMNS];
    const int thread = threadIdx.x;
    const A* row = a + at.x * depth;
    T sums[COLUMNS] = {};
    for (long long first = thread; first < depth; first += AT_ONCE * THREADS_OF_ROW) {
        T left[AT_ONCE];
        Pack<B, PACK> right[AT_ONCE][PACKS];
#pragma unroll
        for (int i = 0; i < AT_ONCE; ++i) {
            const long long next = first + i * THREADS_OF_ROW, k = next < depth ? next : first;
            left[i] = T(row[k]);
#pragma unroll
            for (int p = 0; p < PACKS; ++p)
                right[i][p] = *reinterpret_cast<const Pack<B, PACK>*>(b + k * COLUMNS + p * PACK);
        }
#pragma unroll
        for (int i = 0; i < AT_ONCE; ++i)
            if (first + i * THREADS_OF_ROW < depth)
#pragma unroll
                for (int n = 0; n < COLUMNS; ++n) sums[n] += left[i] * T(right[i][n / PACK].at[n % PACK]);
    }
#pragma unroll
    for (int n = 0; n < COLUMNS; ++n) sums[n] = warp_sum(sums[n]);
    if (thread % WARP == 0)
#pragma unroll
        for (int n = 0; n < COLUMNS; ++n) of_warps[thread / WARP][n] = sums[n];
    __syncthreads();
    if (thread < COLUMNS) {
        T sum = of_warps[0][thread];
#pragma unroll
        for (int warp = 1; warp < WARPS; ++warp) sum += of_warps[warp][thread];
        y[(long long)at.x * COLUMNS + thread] = epilogue(sum, (long long)at.x, (long long)thread);
    }
    return true;
}

template <typename A, typename B, int COLUMNS, int PACK, typename Epilogue = BiasRelu<SumOf<B>>,
          typename T = SumOf<B>>
__global__ void __launch_bounds__(THREADS_OF_ROW)
few_columns(const A* __restrict__ a, const B* __restrict__ b, T* y, long long depth,
            Epilogue epilogue) {
    few_columns_block<A, B, COLUMNS, PACK>(block_of_grid(), a, b, y, depth, epilogue);
}
