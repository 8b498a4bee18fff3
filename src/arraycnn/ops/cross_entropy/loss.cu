// Softmax over the last axis, and its cross-entropy. Rows are images; one warp takes one row, and
// its lane l the classes l, l + 32, ...
#include "warps.cuh"

template <typename T>
__global__ void softmax(const T* x, T* y, long long rows, long long classes) {
    const int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    const long long number = (long long)blockIdx.x * warps + threadIdx.x / WARP;
    if (number >= rows) return;  // the whole warp
    const T* row = x + number * classes;
    const T largest = warp_largest_of(row, (int)classes, lane).value;
    T total = T(0);
    for (int k = lane; k < classes; k += WARP) total += exp(row[k] - largest);
    total = warp_sum(total);
    for (int k = lane; k < classes; k += WARP)
        y[number * classes + k] = exp(row[k] - largest) / total;
}

// Sums over all threads of a block, in a fixed order.
template <typename T>
DEVICE void write_block_sums(T loss, int is_correct, T* loss_sum, int* hit_sum) {
    __shared__ T losses_of_warps[WARP];
    __shared__ int hits_of_warps[WARP];
    loss = warp_sum(loss);
    is_correct = warp_sum(is_correct);
    if (threadIdx.x % WARP == 0) {
        losses_of_warps[threadIdx.x / WARP] = loss;
        hits_of_warps[threadIdx.x / WARP] = is_correct;
    }
    __syncthreads();
    if (threadIdx.x > 0) return;
    for (int warp = 1; warp < blockDim.x / WARP; ++warp) {
        loss += losses_of_warps[warp];
        is_correct += hits_of_warps[warp];
    }
    *loss_sum = loss;
    *hit_sum = is_correct;
}

// dlogits = (softmax - one hot) / batch_size; losses and is_correct: one sum for each block.
template <typename T>
__global__ void __launch_bounds__(1024, 1)
softmax_cross_entropy(const T* logits, const int* labels, T* dlogits, T* losses, int* is_correct,
                      long long rows, long long classes, long long batch_size) {
    const int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    T loss = T(0);
    int hit = 0;
    for (long long number = (long long)blockIdx.x * warps + threadIdx.x / WARP; number < rows;
         number += (long long)gridDim.x * warps) {
        const T* row = logits + number * classes;
        const int label = labels[number];
        const Placed<T> largest = warp_largest_of(row, (int)classes, lane);
        T total = T(0), at_label = T(0);
        // Few classes are the rule: copies of the loops would only cost registers.
#pragma unroll 1
        for (int k = lane; k < classes; k += WARP) {
            const T shifted = row[k] - largest.value;
            total += exp(shifted);
            if (k == label) at_label = shifted;
        }
        total = warp_sum(total);
#pragma unroll 1
        for (int k = lane; k < classes; k += WARP) {
            const T share = exp(row[k] - largest.value) / total;
            dlogits[number * classes + k] = (share - (k == label ? T(1) : T(0))) / (T)batch_size;
        }
        if (lane == label % WARP) {
            loss += log(total) - at_label;
            hit += largest.place == label;
        }
    }
    write_block_sums(loss, hit, &losses[blockIdx.x], &is_correct[blockIdx.x]);
}

// One block: the sums of all blocks of softmax_cross_entropy.
template <typename T>
__global__ void sum_losses(const T* losses, const int* is_correct, T* loss_sum, int* correct,
                           long long count) {
    T loss = T(0);
    int hit = 0;
    for (long long i = threadIdx.x; i < count; i += blockDim.x) {
        loss += losses[i];
        hit += is_correct[i];
    }
    write_block_sums(loss, hit, loss_sum, correct);
}
