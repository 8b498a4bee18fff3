// Small helpers of the dense and convolutional layers' gradients.
#include "elements.cuh"

template <typename T>
__global__ void relu_backward(const T* __restrict__ y, const T* __restrict__ dy,
                              T* __restrict__ dx, long long count) {
    for_each_element(count, [&](long long i) {
        const T gradient = dy[i];
        dx[i] = y[i] > T(0) ? gradient : T(0);
    });
}

// sums[slice, column] = the sum of x[row, column] over the rows of a slice. One block has one slice
// and up to THREADS columns. Where there are fewer, several lanes share the rows, so that
// neighbouring threads still read neighbouring numbers:
//
//   thread      0  1 .. wide-1 | wide .. 2 wide-1 | ...      wide = columns of this block
//   column      0  1 .. wide-1 |  0   ..  wide-1  | ...
//   rows        0, lanes, ..   |  1, 1 + lanes, ..| ...      lanes = THREADS / wide
constexpr int THREADS = 256;

template <typename T>
__global__ void column_sums(const T* __restrict__ x, T* __restrict__ sums, long long rows,
                            long long columns, long long rows_a_slice) {
    __shared__ T partial[THREADS];
    const long long first_column = (long long)blockIdx.x * THREADS;
    const int wide = columns - first_column < THREADS ? (int)(columns - first_column) : THREADS;
    const int lanes = THREADS / wide, lane = threadIdx.x / wide;
    const long long column = first_column + threadIdx.x % wide;
    const long long first_row = blockIdx.y * rows_a_slice;
    const long long end_row = first_row + rows_a_slice < rows ? first_row + rows_a_slice : rows;
    T sum = T(0);
    if (lane < lanes) {
#pragma unroll 4
        for (long long row = first_row + lane; row < end_row; row += lanes)
            sum += x[row * columns + column];
    }
    partial[threadIdx.x] = sum;
    __syncthreads();
    // The upper half of the lanes that are left is added to the lower.
    for (int left = lanes; left > 1; left = (left + 1) / 2) {
        const int half = (left + 1) / 2;
        if (lane + half < left) partial[threadIdx.x] += partial[threadIdx.x + half * wide];
        __syncthreads();
    }
    if (lane == 0) sums[blockIdx.y * columns + column] = partial[threadIdx.x];
}
