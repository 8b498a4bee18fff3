// Rows of a data set at the positions of a batch: batch[i] = images[indices[i]].
//
// threadIdx.y and blockIdx.y go over the rows, threadIdx.x and blockIdx.x over a row's units: what
// one thread moves at once, a number or several bytes.
#include "device.cuh"

template <int COUNT>
struct __align__(4 * COUNT) Words {
    unsigned at[COUNT];
};

template <typename T>
struct __align__(16) Four {
    T at[4];
};

// Calls move(row of images, row of batch, unit) for all that this thread has to do. Without indices
// it is row i that becomes row i.
template <typename Move>
DEVICE void for_each_unit(const int* indices, long long rows, long long units, Move move) {
    const long long first_row = (long long)blockIdx.y * blockDim.y + threadIdx.y;
    const long long first_unit = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    for (long long row = first_row; row < rows; row += (long long)gridDim.y * blockDim.y) {
        const long long from = indices ? (long long)indices[row] : row;
        for (long long unit = first_unit; unit < units; unit += (long long)gridDim.x * blockDim.x)
            move(from, row, unit);
    }
}

template <typename Unit>
__global__ void gather(const Unit* __restrict__ images, const int* __restrict__ indices,
                       Unit* __restrict__ batch, long long rows, long long units) {
    for_each_unit(indices, rows, units, [&](long long from, long long row, long long unit) {
        batch[row * units + unit] = images[from * units + unit];
    });
}

// Division and subtraction apart, as on the CPU: the same number to the bit.
template <typename T>
DEVICE T rescaled(unsigned char pixel) {
    return (T)pixel / T(255) - T(0.5);
}

template <typename T>
__global__ void gather_rescale(const unsigned char* __restrict__ images,
                               const int* __restrict__ indices, T* __restrict__ batch,
                               long long rows, long long units) {
    for_each_unit(indices, rows, units, [&](long long from, long long row, long long unit) {
        batch[row * units + unit] = rescaled<T>(images[from * units + unit]);
    });
}

template <typename T>
__global__ void gather_rescale_by_4(const Words<1>* __restrict__ images,
                                    const int* __restrict__ indices, Four<T>* __restrict__ batch,
                                    long long rows, long long units) {
    for_each_unit(indices, rows, units, [&](long long from, long long row, long long unit) {
        const unsigned pixels = images[from * units + unit].at[0];  // the first in the low byte
        Four<T> four;
        for (int i = 0; i < 4; ++i) four.at[i] = rescaled<T>((unsigned char)(pixels >> 8 * i));
        batch[row * units + unit] = four;
    });
}
